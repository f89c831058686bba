"""What each answer of a relay means for a message, its file and the log."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Tuple

import pytest

from relaying import (
    SENDER,
    about_relay,
    aim,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    block,
    letter,
    letters,
    make_due,
    result,
    results,
    run,
    senders,
)
from lab import canonical, net
from lab.faultactions import AfterOctets, Close, Reset
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.spool import Spool, unique_of

Servers = Callable[..., FaultServer]

THREE = ("b@example.net", "c@example.net", "d@example.net")
LOCK_STEP = tuple(line for line in DEFAULT_EHLO if line != "PIPELINING")
HUGE = b"From: a@example.com\n\n" + (b"x" * 99 + b"\n") * 80_000


@pytest.fixture(params=[DEFAULT_EHLO, LOCK_STEP], ids=["pipelined", "lock-step"])
def ehlo(request: pytest.FixtureRequest) -> Tuple[str, ...]:
    return request.param


# Success


@pytest.mark.parametrize("to", [THREE[:1], THREE], ids=["one", "three"])
def test_sent(spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], to: Any) -> None:
    server = fault_server(ehlo=ehlo)
    aim(spool, server)
    name = letter(spool, *to)
    content = (spool.path / "new" / name).read_bytes()
    events = run(spool)
    assert_sent(spool, name)
    assert spool.find(name).read_bytes() == content
    assert [event["to"] for event in results(events)] == list(to)
    assert {event["event"] for event in results(events)} == {"sent"}
    message = server.messages[0]
    assert (message.sender, message.recipients) == (SENDER, to)
    assert canonical.canonical(message.data) == canonical.without_block(content)
    server.check()


def test_log_line_of_a_sent_message(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"DOT": "250 2.0.0 Ok: queued as 4F"})
    aim(spool, server)
    name = letter(spool)
    least = time.time() - int(name.split(".")[0])
    event = result(run(spool))
    most = time.time() - int(name.split(".")[0])
    delay, when = float(event.pop("delay")), event.pop("time")
    assert least - 0.2 < delay < most + 0.2 and when.endswith("Z")
    assert event == {
        "event": "sent",
        "id": unique_of(name),
        "to": "b@example.net",
        "relay": "main",
        "attempt": "1",
        "size": str(len(server.messages[0].wire)),
        "reply": "250 2.0.0 Ok: queued as 4F",
    }
    server.check()


def test_null_sender(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    name = letter(spool, sender="")
    run(spool)
    assert_sent(spool, name)
    assert "MAIL FROM:<> " in server.sessions[0].commands[1]
    server.check()


def test_quit_ends_each_session(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, connections=4)
    letters(spool, 40)
    run(spool)
    server.settle()
    # One that was still opening when all was sent is just closed.
    used = [session for session in server.sessions if "MAIL" in session.verbs]
    assert used and [session.verbs[-1] for session in used] == ["QUIT"] * len(used)
    assert {session.ended for session in used} == {"QUIT"}
    server.check()


# 4xx and 5xx to one recipient: every command, with and without an enhanced status

STEPS = ("MAIL", "RCPT", "DATA", "DOT")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "reply, status",
    [("451 4.7.1 Greylisted", "4.7.1"), ("450 Not now", "4.0.0"), ("452 5.2.2 Odd", "4.0.0")],
)
def test_deferred(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], step: str, reply: str, status: str
) -> None:
    server = fault_server(ehlo=ehlo, answers={step: reply})
    aim(spool, server)
    name = letter(spool)
    before = block(spool, name)
    event = result(run(spool))
    assert_deferred(spool, name, status)
    assert block(spool, name) == before
    assert (event["event"], event["status"], event["attempt"]) == ("deferred", status, "1")
    assert event["reply"] == reply
    assert "duplicate" not in event
    server.check()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "reply, status",
    [("550 5.7.1 Spam", "5.7.1"), ("554 No", "5.0.0"), ("552 4.2.2 Odd", "5.0.0")],
)
def test_failed(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], step: str, reply: str, status: str
) -> None:
    server = fault_server(ehlo=ehlo, answers={step: reply})
    aim(spool, server)
    name = letter(spool)
    event = result(run(spool))
    assert_failed(spool, name, status)
    assert block(spool, name) == [
        f"X-Maildrain-From: <{SENDER}>",
        f"X-Maildrain-Failed: <b@example.net> {reply}",
    ]
    assert (event["event"], event["status"], event["reply"]) == ("failed", status, reply)
    server.check()


def test_last_attempt_fails(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": "450 4.2.0 Full"})
    aim(spool, server, {"retry": ["1m"]})
    name = letter(spool)
    run(spool)
    assert_deferred(spool, name, "4.2.0")
    make_due(spool, name)
    event = result(run(spool))
    assert_failed(spool, name, "5.4.7", attempts=2)
    assert block(spool, name)[1] == "X-Maildrain-Failed: <b@example.net> 450 4.2.0 Full"
    assert (event["event"], event["status"], event["attempt"]) == ("failed", "5.4.7", "2")
    server.check()


# Several recipients


def test_some_recipients_refused(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...]
) -> None:
    refusal = {"c@example.net": "550 5.1.1 No such user"}
    server = fault_server(ehlo=ehlo, answers={"RCPT": refusal, "DOT": "250 2.0.0 Taken"})
    aim(spool, server)
    name = letter(spool, *THREE)
    events = results(run(spool))
    assert_failed(spool, name, "5.1.1")
    assert block(spool, name) == [
        f"X-Maildrain-From: <{SENDER}>",
        "X-Maildrain-Done: <b@example.net> 250 2.0.0 Taken",
        "X-Maildrain-Failed: <c@example.net> 550 5.1.1 No such user",
        "X-Maildrain-Done: <d@example.net> 250 2.0.0 Taken",
    ]
    assert [event["event"] for event in events] == ["sent", "failed", "sent"]
    assert server.messages[0].recipients == ("b@example.net", "d@example.net")
    server.check()


def test_some_deferred_and_the_retry_serves_the_rest(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...]
) -> None:
    answers: Dict[str, Any] = {
        "RCPT": {"b@example.net": ["451 4.2.1 Later"], "c@example.net": "550 5.1.1 Unknown"},
        "DOT": "250 2.0.0 Taken",
    }
    server = fault_server(ehlo=ehlo, answers=answers)
    aim(spool, server)
    name = letter(spool, *THREE)
    content = canonical.without_block(spool.find(name).read_bytes())
    events = results(run(spool))
    assert_deferred(spool, name, "4.2.1")
    assert block(spool, name) == [
        f"X-Maildrain-From: <{SENDER}>",
        "X-Maildrain-To: <b@example.net>",
        "X-Maildrain-Failed: <c@example.net> 550 5.1.1 Unknown",
        "X-Maildrain-Done: <d@example.net> 250 2.0.0 Taken",
    ]
    assert canonical.without_block(spool.find(name).read_bytes()) == content
    assert [event["event"] for event in events] == ["deferred", "failed", "sent"]

    make_due(spool, name)
    events = results(run(spool))
    assert [(event["event"], event["to"]) for event in events] == [("sent", "b@example.net")]
    place, fields = spool.state(name)
    assert (place, fields["A"], fields["E"][0]) == ("failed", "2", "5")
    assert [message.recipients for message in server.messages] == [
        ("d@example.net",),
        ("b@example.net",),
    ]
    assert server.messages[0].data == server.messages[1].data
    server.check()


def test_partial_success_ends_as_sent(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": {"c@example.net": ["451 4.2.1 Later"]}})
    aim(spool, server)
    name = letter(spool, *THREE)
    run(spool)
    assert_deferred(spool, name, "4.2.1")
    make_due(spool, name)
    run(spool)
    assert_sent(spool, name, attempts=2)
    assert [message.recipients for message in server.messages] == [
        ("b@example.net", "d@example.net"),
        ("c@example.net",),
    ]
    server.check()


def test_rewritten_file_keeps_its_mode(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": {"c@example.net": "451 4.2.1 Later"}})
    aim(spool, server)
    name = letter(spool, *THREE)
    run(spool)
    assert spool.find(name).stat().st_mode & 0o777 == 0o640
    assert spool.counts()["tmp"] == 0


def test_all_recipients_refused(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...]
) -> None:
    replies = {to: f"550 5.1.{n} {to} refused" for n, to in enumerate(THREE, 1)}
    server = fault_server(ehlo=ehlo, answers={"RCPT": replies})
    aim(spool, server)
    name = letter(spool, *THREE)
    run(spool)
    assert_failed(spool, name, "5.1.1")
    assert block(spool, name)[1:] == [
        f"X-Maildrain-Failed: <{to}> {replies[to]}" for to in THREE
    ]
    assert not server.received
    server.check()


def test_some_refused_the_rest_deferred_at_the_dot(spool: Spool, fault_server: Servers) -> None:
    answers = {"RCPT": {"b@example.net": "550 5.1.1 No"}, "DOT": "452 4.3.1 Disk full"}
    server = fault_server(answers=answers)
    aim(spool, server)
    name = letter(spool, *THREE)
    run(spool)
    assert_deferred(spool, name, "4.3.1")
    assert block(spool, name)[1:] == [
        "X-Maildrain-Failed: <b@example.net> 550 5.1.1 No",
        "X-Maildrain-To: <c@example.net>",
        "X-Maildrain-To: <d@example.net>",
    ]
    server.check()


@pytest.mark.parametrize("step", ["MAIL", "DATA", "DOT"])
@pytest.mark.parametrize("reply, place", [("450 4.1.8 No", "new"), ("550 5.1.8 No", "failed")])
def test_whole_message_refused(
    spool: Spool, fault_server: Servers, step: str, reply: str, place: str
) -> None:
    server = fault_server(answers={step: reply})
    aim(spool, server)
    name = letter(spool, *THREE)
    events = results(run(spool))
    assert spool.state(name)[0] == place
    assert [(event["to"], event["reply"]) for event in events] == [(to, reply) for to in THREE]
    server.check()


def test_words_of_the_server_in_block_and_log(spool: Spool, fault_server: Servers) -> None:
    answer = b"550-5.1.1 First\x1b[31m line\r\n550-5.1.1 second\t\x00\r\n550 5.1.1 third \xff\r\n"
    server = fault_server(answers={"RCPT": answer})
    aim(spool, server)
    name = letter(spool)
    event = result(run(spool))
    words = "550 5.1.1 First?[31m line second?? third ?"
    assert event["reply"] == words
    assert block(spool, name)[1] == f"X-Maildrain-Failed: <b@example.net> {words}"
    server.check()


def test_a_refused_message_is_no_reason_to_reconnect(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...]
) -> None:
    answers = {
        "MAIL": {"s1@example.com": "550 5.7.1 No", "s2@example.com": "451 4.7.1 No"},
        "RCPT": {"r3@example.net": "550 5.1.1 No"},
        "DATA": {"s4@example.com": "554 5.5.1 No"},
        "DOT": {"s5@example.com": "554 5.6.0 No"},
    }
    server = fault_server(ehlo=ehlo, answers=answers)
    aim(spool, server)
    letters(spool, 9)
    events = results(run(spool))
    outcomes = [event["event"] for event in events]
    assert {n: outcomes.count(n) for n in outcomes} == {"sent": 4, "failed": 4, "deferred": 1}
    assert len(server.sessions) == 1
    server.check()


# The relay's fault: nothing is charged


def test_connection_refused(spool: Spool) -> None:
    url = f"smtp://{net.HOST}:{net.free_port()}"
    spool.write_config(url=url, tls="none")
    names = [letter(spool) for _ in range(3)]
    (event,) = about_relay(run(spool, 75))
    assert (event["event"], event["relay"], event["url"]) == ("relay-down", "main", url)
    assert "connect" in event["reply"]
    assert_waiting(spool, *names)


def test_unknown_host(spool: Spool) -> None:
    spool.write_config(url="smtp://relay.invalid", tls="none")
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert "resolve" in event["reply"]
    assert_waiting(spool, name)


@pytest.mark.parametrize("step", ["CONNECT", "EHLO"])
@pytest.mark.parametrize(
    "answer",
    ["421 4.3.2 Going down", "450 4.3.2 Busy", "554 5.3.2 No service", Close(), Reset()],
    ids=["421", "450", "554", "close", "reset"],
)
def test_no_session(spool: Spool, fault_server: Servers, step: str, answer: Any) -> None:
    server = fault_server(answers={step: answer, "HELO": answer})
    aim(spool, server, connections=4)
    names = letters(spool, 20)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    if isinstance(answer, str):
        assert answer in event["reply"]
    assert_waiting(spool, *names)
    assert len(server.sessions) == 1
    assert "MAIL" not in server.verbs
    server.check()


GONE = [("421 4.3.2 Going down", "421"), (Close(), "close"), (Reset(), "reset")]
EARLY = ("MAIL", "RCPT", "DATA")


@pytest.mark.parametrize("step", EARLY)
@pytest.mark.parametrize("answer", [a for a, _ in GONE], ids=[n for _, n in GONE])
def test_session_lost_once_before_the_body(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], step: str, answer: Any
) -> None:
    server = fault_server(ehlo=ehlo, answers={step: [None, None, answer]})
    aim(spool, server)
    names = letters(spool, 8)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert sorted(senders(server)) == [f"s{n}@example.com" for n in range(8)]
    assert len(server.sessions) == 2
    server.check()


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("step", EARLY)
@pytest.mark.parametrize("answer", [a for a, _ in GONE], ids=[n for _, n in GONE])
def test_session_lost_each_time_before_the_body(
    spool: Spool,
    fault_server: Servers,
    step: str,
    answer: Any,
    connections: int,
    count: int,
) -> None:
    server = fault_server(answers={step: answer})
    aim(spool, server, connections=connections)
    names = letters(spool, count)
    events = run(spool, 75)
    assert [event["event"] for event in about_relay(events)] == ["relay-down"]
    assert results(events) == []
    assert_waiting(spool, *names)
    assert len(server.sessions) <= 3 * connections
    server.check()


def test_session_lost_while_idle(spool: Spool, fault_server: Servers) -> None:
    script = [
        ("CONNECT", None),
        ("EHLO", None),
        *[(step, None) for step in ("MAIL", "RCPT", "DATA", "BODY")],
        ("DOT", None),
        (None, "421 4.4.2 Idle for too long"),
        (None, Close()),
    ]
    server = fault_server(ehlo=LOCK_STEP, scripts=[script])
    aim(spool, server)
    names = letters(spool, 5)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert len(server.messages) == 5
    assert len(server.sessions) == 2
    server.check()


# Lost within the DATA phase: charged


@pytest.mark.parametrize("answer", [Close(), Reset()], ids=["close", "reset"])
def test_lost_in_the_body(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], answer: Any
) -> None:
    server = fault_server(ehlo=ehlo, answers={"BODY": [AfterOctets(1000, answer)]})
    aim(spool, server)
    name = letter(spool, text=HUGE)
    others = letters(spool, 3)
    events = run(spool)
    assert_deferred(spool, name, "4.4.2")
    (event,) = [event for event in results(events) if event["id"] == unique_of(name)]
    assert (event["event"], event["status"]) == ("deferred", "4.4.2")
    assert "duplicate" not in event
    for other in others:
        assert_sent(spool, other)
    server.check()


@pytest.mark.parametrize("words", ["421 4.3.2 Going down", "554 5.7.1 Too much of it"])
def test_what_the_relay_says_before_it_leaves(
    spool: Spool, fault_server: Servers, words: str
) -> None:
    server = fault_server(answers={"BODY": AfterOctets(1000, Close(words))})
    aim(spool, server)
    name = letter(spool, text=HUGE)
    event = result(run(spool))
    assert_deferred(spool, name, "4.4.2")
    assert words in event["reply"]
    assert "duplicate" not in event
    server.check()


@pytest.mark.parametrize("answer", [Close(), Reset()], ids=["close", "reset"])
def test_lost_after_the_dot_is_in_doubt(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], answer: Any
) -> None:
    server = fault_server(ehlo=ehlo, answers={"DOT": [answer]})
    aim(spool, server)
    names = letters(spool, 4)
    events = results(run(spool))
    doubtful = [event for event in events if event["event"] == "deferred"]
    assert [(e["status"], e["duplicate"], e["attempt"]) for e in doubtful] == [
        ("4.4.2", "possible", "1")
    ]
    assert_deferred(spool, names[0], "4.4.2")
    for name in names[1:]:
        assert_sent(spool, name)
    server.check()


def test_pipelined_behind_a_lost_message_is_not_charged(
    spool: Spool, fault_server: Servers
) -> None:
    def stay_away(_: Any) -> Any:
        server.answer("CONNECT", "421 4.3.2 No more")
        return Reset()

    server = fault_server(answers={"DOT": stay_away})
    aim(spool, server)
    first, *others = letters(spool, 4)
    events = results(run(spool, 75))
    assert_deferred(spool, first, "4.4.2")
    assert [event["id"] for event in events] == [unique_of(first)]
    assert_waiting(spool, *others)
    assert server.verbs.count("MAIL") <= 2
    server.check()


def test_421_to_the_dot_defers_that_message_alone(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...]
) -> None:
    server = fault_server(ehlo=ehlo, answers={"DOT": [None, "421 4.3.2 Going down"]})
    aim(spool, server)
    names = letters(spool, 5)
    run(spool)
    assert_deferred(spool, names[1], "4.3.2")
    for name in names[:1] + names[2:]:
        assert_sent(spool, name)
    assert len(server.sessions) == 2
    server.check()


# Several connections


def test_some_connections_are_refused(spool: Spool, fault_server: Servers) -> None:
    limit = "421 4.7.0 Too many connections"
    scripts = [None, None, [("CONNECT", limit)], [("CONNECT", limit)]]
    server = fault_server(scripts=scripts, latency=0.02)
    aim(spool, server, connections=4)
    names = letters(spool, 30)
    events = run(spool)
    for name in names:
        assert_sent(spool, name)
    assert about_relay(events) == []
    assert [bool(session.messages) for session in server.sessions] == [True, True, False, False]
    server.check()


def test_reconnects_as_often_as_it_gets_on(spool: Spool, fault_server: Servers) -> None:
    def two_each(session: Any) -> Any:
        return "421 Two in one connection are enough" if len(session.messages) == 2 else None

    server = fault_server(answers={"MAIL": two_each}, ehlo=LOCK_STEP)
    aim(spool, server, connections=2)
    names = letters(spool, 21)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert sorted(senders(server)) == sorted(f"s{n}@example.com" for n in range(21))
    assert len(server.sessions) >= 10
    server.check()


def test_lost_sessions_in_a_row_are_what_counts(spool: Spool, fault_server: Servers) -> None:
    """Every third session takes a message: the two before it don't end the run."""

    def third_time_lucky(session: Any) -> Any:
        lucky = session.number % 3 == 2 and not session.messages
        return None if lucky else "421 4.3.2 Not now"

    server = fault_server(answers={"MAIL": third_time_lucky}, ehlo=LOCK_STEP)
    aim(spool, server)
    names = letters(spool, 4)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert len(server.sessions) == 12
    server.check()


def test_next_relay_when_the_first_is_down(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    down: Dict[str, Any] = {"url": f"smtp://{net.HOST}:{net.free_port()}", "tls": "none"}
    good: Dict[str, Any] = {"url": server.url, "tls": "none"}
    spool.write_config(relays={"first": down, "second": good})
    name = letter(spool)
    events = run(spool)
    assert_sent(spool, name)
    assert [event["relay"] for event in about_relay(events)] == ["first"]
    assert result(events)["relay"] == "second"
    server.check()


def test_next_relay_when_the_first_goes_down_with_one_message(
    spool: Spool, fault_server: Servers
) -> None:
    bad = fault_server(answers={"MAIL": "421 4.3.2 Going down"})
    good = fault_server()
    urls: List[str] = [bad.url, good.url]
    relays = {f"r{n}": {"url": url, "tls": "none"} for n, url in enumerate(urls)}
    spool.write_config(relays=relays)
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    assert len(good.messages) == 1
