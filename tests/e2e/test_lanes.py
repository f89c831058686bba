"""Several relays in one run: routes, failover, shares, batches, staging."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List

import pytest

from e2e.relaying import (
    LETTER, about_relay, assert_deferred, assert_failed, assert_sent, assert_waiting, block,
    letter, letters, results, run,
)  # fmt: skip
from lab import net
from lab.faultactions import Close, Delay, Then
from lab.faultserver import FaultServer
from lab.spool import Spool

Servers = Callable[..., FaultServer]
Relay = Dict[str, Any]


def plain(server: FaultServer, **options: Any) -> Relay:
    return {"url": server.url, "tls": "none", "connections": 1, **options}


def down() -> Relay:
    return {"url": f"smtp://{net.HOST}:{net.free_port()}", "tls": "none"}


def got(server: FaultServer) -> List[List[str]]:
    """Who each message that SERVER took was for."""
    server.check()
    return [sorted(message.recipients) for message in server.messages]


def served_at(server: FaultServer) -> List[float]:
    """When SERVER took each message, of the monotonic clock."""
    return [
        chunk.at
        for session in server.sessions
        for chunk in session.chunks
        if chunk.who == "S" and b"queued as" in chunk.data
    ]


# ---- routes ----


def test_each_message_goes_by_its_route(spool: Spool, fault_server: Servers) -> None:
    tickets, news = fault_server(), fault_server()
    spool.write_config(
        relays={"tickets": plain(tickets), "news": plain(news)},
        routes={"bulk": {"sender": ["*@news.example.com"], "relays": ["news"]}},
    )
    for n in range(5):
        letter(spool, f"t{n}@example.net")
        letter(spool, f"n{n}@example.net", sender="list@news.example.com")
    events = run(spool)
    assert got(tickets) == [[f"t{n}@example.net"] for n in range(5)]
    assert got(news) == [[f"n{n}@example.net"] for n in range(5)]
    assert {(e["to"][0], e["relay"]) for e in results(events)} == {("t", "tickets"), ("n", "news")}


def test_a_slow_relay_does_not_hold_up_the_others(spool: Spool, fault_server: Servers) -> None:
    slow = fault_server(answers={"DOT": Delay(0.5)})
    quick = fault_server()
    spool.write_config(
        relays={"slow": plain(slow), "quick": plain(quick)},
        routes={"s": {"recipient": ["slow.example"], "relays": ["slow"]},
                "q": {"relays": ["quick"]}},
    )  # fmt: skip
    for n in range(6):
        letter(spool, f"a{n}@slow.example")
    for n in range(30):
        letter(spool, f"b{n}@example.net")
    run(spool)
    assert len(got(slow)) == 6 and len(got(quick)) == 30
    assert max(served_at(quick)) < min(served_at(slow)) + 1


def test_a_relay_that_does_not_answer_does_not_hold_up_the_others(
    spool: Spool, fault_server: Servers
) -> None:
    mute = fault_server(answers={"CONNECT": Delay(3)})
    good = fault_server()
    spool.write_config(
        relays={"mute": plain(mute), "good": plain(good)},
        routes={
            "m": {"recipient": ["mute.example"], "relays": ["mute"]},
            "g": {"relays": ["good"]},
        },
    )
    letter(spool, "a@mute.example")
    letters(spool, 3)
    began = time.monotonic()
    run(spool)
    assert len(got(good)) == 3 and len(got(mute)) == 1
    assert max(served_at(good)) - began < 2.5


# ---- failover ----


def test_the_next_of_a_route_where_one_is_down(spool: Spool, fault_server: Servers) -> None:
    second, other = fault_server(), fault_server()
    spool.write_config(
        relays={"first": down(), "second": plain(second), "other": plain(other)},
        routes={
            "r": {"recipient": ["example.net"], "relays": ["first", "second"]},
            "rest": {"relays": ["other"]},
        },
    )
    names = letters(spool, 5) + [letter(spool, "x@example.org")]
    events = run(spool)
    for name in names:
        assert_sent(spool, name)
    assert len(got(second)) == 5 and got(other) == [["x@example.org"]]
    assert [event["relay"] for event in about_relay(events)] == ["first"]


def test_only_the_mail_of_a_relay_that_is_down_waits(spool: Spool, fault_server: Servers) -> None:
    good = fault_server()
    spool.write_config(
        relays={"bad": down(), "good": plain(good)},
        routes={
            "b": {"recipient": ["bad.example"], "relays": ["bad"]},
            "g": {"relays": ["good"]},
        },
    )
    stuck = [letter(spool, f"a{n}@bad.example") for n in range(3)]
    names = letters(spool, 3)
    run(spool, 75)
    assert_waiting(spool, *stuck)
    for name in names:
        assert_sent(spool, name)


def test_a_relay_that_goes_down_in_the_middle(spool: Spool, fault_server: Servers) -> None:
    first = fault_server(answers={"MAIL": [None, None, *["421 4.3.2 Going down"] * 9]})
    second = fault_server()
    spool.write_config(relays={"first": plain(first), "second": plain(second)})
    names = letters(spool, 20)
    events = run(spool)
    for name in names:
        assert_sent(spool, name)
    assert sorted(got(first) + got(second)) == sorted([f"r{n}@example.net"] for n in range(20))
    assert [event["relay"] for event in about_relay(events)] == ["first"]


def test_a_relay_that_was_down_is_left_alone_for_a_while(
    spool: Spool, fault_server: Servers
) -> None:
    first = fault_server(answers={"CONNECT": ["421 4.3.2 Not now"] * 1})
    second = fault_server()
    spool.write_config(relays={"first": plain(first), "second": plain(second)})
    letter(spool)
    run(spool)
    assert len(first.sessions) == 1
    shown = spool.command("status").stdout
    assert "first" in shown and "left alone" in shown
    letter(spool)
    run(spool)
    assert len(first.sessions) == 1 and len(got(second)) == 2
    record = next((spool.path / "state").glob("relay-first,*"))
    fields = [f for f in record.name.split(",") if not f.startswith("P=")]
    record.rename(record.with_name(",".join(fields[:-1] + [f"P={int(time.time())}"] + fields[-1:])))
    letter(spool)
    run(spool)
    assert len(got(first)) == 1
    assert "left alone" not in spool.command("status").stdout


def test_a_relay_that_rests_is_used_where_there_is_no_other(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"CONNECT": ["421 4.3.2 Not now"] * 1})
    spool.write_config(relays={"first": plain(server), "second": down()})
    name = letter(spool)
    run(spool, 75)
    run(spool)
    assert_sent(spool, name)


def test_a_relay_that_goes_down_with_each_message_is_given_up_at_once(
    spool: Spool, fault_server: Servers
) -> None:
    first = fault_server(answers={"MAIL": "421 4.3.2 Going down"})
    second = fault_server()
    spool.write_config(relays={"first": plain(first), "second": plain(second)})
    name = letter(spool)
    began = time.monotonic()
    run(spool)
    assert time.monotonic() - began < 2
    assert_sent(spool, name)


def test_a_login_that_is_refused_with_the_last_result(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"DOT": "530 5.7.0 Authentication required"})
    spool.write_config(url=server.url, tls="none", connections=1)
    letter(spool)
    assert [event["event"] for event in about_relay(run(spool, 75))] == ["relay-misconfigured"]


# ---- shares ----


def test_weights_share_the_load_of_equals(spool: Spool, fault_server: Servers) -> None:
    big, small = fault_server(), fault_server()
    spool.write_config(
        relays={"big": plain(big, weight="3"), "small": plain(small)},
        routes={"all": {"relays": ["big small"]}},
    )
    letters(spool, 40)
    run(spool)
    assert (len(got(big)), len(got(small))) == (30, 10)


def test_an_equal_takes_over_all_of_the_load(spool: Spool, fault_server: Servers) -> None:
    small = fault_server()
    spool.write_config(
        relays={"big": {**down(), "weight": "3"}, "small": plain(small)},
        routes={"all": {"relays": ["big small"]}},
    )
    letters(spool, 12)
    run(spool)
    assert len(got(small)) == 12


# ---- groups ----


TWO = ("a@one.example", "b@two.example", "c@one.example", "d@two.example")


def two_routes(spool: Spool, one: Relay, two: Relay) -> None:
    spool.write_config(
        relays={"one": one, "two": two},
        routes={"o": {"recipient": ["one.example"], "relays": ["one"]},
                "t": {"recipient": ["two.example"], "relays": ["two"]}},
    )  # fmt: skip


def test_recipients_of_two_routes(spool: Spool, fault_server: Servers) -> None:
    one, two = fault_server(), fault_server()
    two_routes(spool, plain(one), plain(two))
    name = letter(spool, *TWO)
    events = run(spool)
    assert_sent(spool, name)
    assert got(one) == [["a@one.example", "c@one.example"]]
    assert got(two) == [["b@two.example", "d@two.example"]]
    assert [(e["to"], e["relay"], e["attempt"]) for e in results(events)] == [
        ("a@one.example", "one", "1"), ("c@one.example", "one", "1"),
        ("b@two.example", "two", "1"), ("d@two.example", "two", "1"),
    ]  # fmt: skip
    assert one.messages[0].data == two.messages[0].data == LETTER.replace(b"\n", b"\r\n")


def test_one_group_waits_while_its_relay_is_down(spool: Spool, fault_server: Servers) -> None:
    one, two = fault_server(), fault_server()
    two_routes(spool, plain(one), down())
    name = letter(spool, *TWO)
    run(spool, 75)
    assert spool.state(name) == ("new", {})
    assert [line.split(":")[0] for line in block(spool, name)[1:]] == [
        "X-Maildrain-Done", "X-Maildrain-To", "X-Maildrain-Done", "X-Maildrain-To",
    ]  # fmt: skip
    two_routes(spool, plain(one), plain(two))
    run(spool)
    assert_sent(spool, name)
    assert len(got(one)) == 1 and got(two) == [["b@two.example", "d@two.example"]]


def test_one_group_is_deferred(spool: Spool, fault_server: Servers) -> None:
    one = fault_server(answers={"RCPT": "451 4.3.0 Not now"})
    two = fault_server()
    two_routes(spool, plain(one), plain(two))
    name = letter(spool, *TWO)
    run(spool)
    assert_deferred(spool, name, "4.3.0")
    assert got(two) == [["b@two.example", "d@two.example"]]
    assert sum("X-Maildrain-To" in line for line in block(spool, name)) == 2


def test_one_group_fails(spool: Spool, fault_server: Servers) -> None:
    one = fault_server(answers={"DOT": "554 5.7.1 No"})
    two = fault_server()
    two_routes(spool, plain(one), plain(two))
    name = letter(spool, *TWO)
    run(spool)
    assert_failed(spool, name, "5.7.1")
    assert got(two) == [["b@two.example", "d@two.example"]]
    lines = block(spool, name)
    assert sum("X-Maildrain-Done" in line for line in lines) == 2
    assert sum("X-Maildrain-Failed" in line for line in lines) == 2


def test_a_session_lost_with_the_second_group(spool: Spool, fault_server: Servers) -> None:
    """Nothing is charged for what was not tried, and nobody gets it twice."""
    one = fault_server()
    two = fault_server(answers={"MAIL": Then("421 4.3.2 Down", Close())})
    two_routes(spool, plain(one), plain(two))
    name = letter(spool, *TWO)
    run(spool, 75)
    assert spool.state(name) == ("new", {})
    run(spool, 75)
    assert len(got(one)) == 1


def test_many_of_two_routes_with_one_connection_each(spool: Spool, fault_server: Servers) -> None:
    one, two = fault_server(), fault_server(answers={"DOT": [Delay(0.1)] * 20})
    two_routes(spool, plain(one), plain(two))
    names = [letter(spool, f"a{n}@one.example", f"b{n}@two.example") for n in range(20)]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert len(got(one)) == len(got(two)) == 20


def test_taken_away_between_two_groups(spool: Spool, fault_server: Servers) -> None:
    """Nobody gets what a person has cancelled, even if the first group was just deferred."""

    def cancel(session: Any) -> None:
        for path in (spool.path / "new").iterdir():
            path.unlink()

    one = fault_server(answers={"RCPT": "451 4.3.0 Not now"})
    two = fault_server(answers={"CONNECT": cancel})
    two_routes(spool, plain(one), plain(two))
    letter(spool, *TWO)
    events = run(spool)
    assert len(two.sessions) == 1 and not two.messages
    assert "vanished" in [event["event"] for event in events]
    assert not list((spool.path / "new").iterdir())


# ---- wishes ----


def drop_wish(spool: Spool, wish: str, to: str = "b@example.net") -> str:
    head = f"X-Maildrain-From: <a@example.com>\nX-Maildrain-Relay: {wish}\nX-Maildrain-To: <{to}>\n"
    return spool.drop(head.encode() + LETTER)


def test_a_wish_goes_before_routes(spool: Spool, fault_server: Servers) -> None:
    one, two = fault_server(), fault_server()
    spool.write_config(
        relays={"one": plain(one), "two": plain(two)}, routes={"all": {"relays": ["one"]}}
    )
    name = drop_wish(spool, "two")
    letter(spool, "c@example.net")
    run(spool)
    assert_sent(spool, name)
    assert (got(one), got(two)) == ([["c@example.net"]], [["b@example.net"]])


def test_a_wish_is_found_behind_mail_that_is_paced(spool: Spool, fault_server: Servers) -> None:
    slow, other = fault_server(), fault_server()
    spool.write_config(
        relays={"slow": plain(slow, rate="1/s"), "other": plain(other)},
        routes={"all": {"relays": ["slow"]}},
    )
    letters(spool, 12)
    drop_wish(spool, "other", "c@example.net")
    run(spool)
    assert len(got(slow)) == 12
    assert served_at(other)[0] < served_at(slow)[3]


@pytest.mark.parametrize("count", (1, 2))
def test_a_wish_for_what_there_is_not(spool: Spool, fault_server: Servers, count: int) -> None:
    servers = [fault_server() for _ in range(count)]
    relays = {f"r{n}": plain(server) for n, server in enumerate(servers)}
    spool.write_config(relays=relays)
    name = drop_wish(spool, "gone")
    events = run(spool)
    place, fields = spool.state(name)
    assert place == "new" and fields["E"] == "4.3.5" and "A" not in fields
    assert 3500 < int(fields["T"]) - time.time() <= 3601
    assert [event["status"] for event in events if event["event"] == "held"] == ["4.3.5"]
    spool.write_config(relays={**relays, "gone": plain(servers[0])})
    spool.command("retry", name).check_returncode()
    run(spool)
    assert_sent(spool, name)


# ---- sizes ----


def test_too_large_for_one_relay_goes_by_the_next(spool: Spool, fault_server: Servers) -> None:
    small, large = fault_server(), fault_server()
    spool.write_config(
        relays={"small": plain(small, message_size="2K"), "large": plain(large)},
    )
    letter(spool, "a@example.net")
    letter(spool, "b@example.net", text=LETTER + b"x" * 70 + b"\n" + b"y\n" * 2000)
    run(spool)
    assert (got(small), got(large)) == ([["a@example.net"]], [["b@example.net"]])


def test_too_large_for_each(spool: Spool, fault_server: Servers) -> None:
    one, two = fault_server(), fault_server()
    spool.write_config(
        relays={"one": plain(one, message_size="1K"), "two": plain(two, message_size="2K")}
    )
    name = letter(spool, "b@example.net", text=LETTER + b"y\n" * 2000)
    events = run(spool)
    assert_failed(spool, name, "5.3.4")
    assert results(events)[0]["status"] == "5.3.4" and "relay" not in results(events)[0]
    assert not one.sessions and not two.sessions


# ---- staging ----


def test_only_allowed_recipients_get_mail(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    spool.write_config({"allow_recipients": ["example.net"]}, **plain(server))
    name = letter(spool, "a@example.net", "real@customer.example")
    other = letter(spool, "b@customer.example")
    events = run(spool)
    assert got(server) == [["a@example.net"]]
    for held in (name, other):
        place, fields = spool.state(held)
        assert place == "new" and set(fields) == {"E", "T"} and fields["E"] == "4.7.1"
    assert [event["id"] for event in events if event["event"] == "held"] == [other, name]
    spool.write_config(**plain(server))
    spool.command("retry", "--all").check_returncode()
    run(spool)
    assert got(server)[1:] == [["real@customer.example"], ["b@customer.example"]]


def test_all_mail_is_redirected(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    spool.write_config({"redirect_to": "dev@example.com"}, **plain(server))
    name = letter(spool, "a@example.net", "b@example.net")
    events = run(spool)
    assert_sent(spool, name)
    assert got(server) == [["dev@example.com"]]
    assert server.messages[0].data.startswith(
        b"X-Original-To: a@example.net\r\nX-Original-To: b@example.net\r\n"
    )
    assert [(e["to"], e["redirected"]) for e in results(events)] == [
        ("a@example.net", "dev@example.com"), ("b@example.net", "dev@example.com"),
    ]  # fmt: skip
