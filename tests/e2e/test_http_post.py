"""Relays that take mail by HTTP: the engine, with an endpoint of one's own, POST message/rfc822."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from lab.httpstub import HttpStub, PostApi, Reply, basic
from lab.spool import Spool
from relaying import (
    LETTER,
    about_relay,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    block,
    letter,
    make_due,
    result,
    results,
    run,
)

Stub = Callable[..., HttpStub]
WIRE = LETTER.replace(b"\n", b"\r\n")


def aim(spool: Spool, stub: HttpStub, **relay: Any) -> None:
    """Makes STUB the only relay, over one connection unless RELAY says more."""
    spool.write_config({}, **{"url": f"{stub.url}/mail", "connections": 1, **relay})


# What is sent


def test_one_message(spool: Spool, http_stub: Stub) -> None:
    api = PostApi()
    stub = http_stub(api)
    aim(spool, stub)
    name = letter(spool, "b@example.net", "c@example.net")
    events = run(spool)
    (mail,) = api.mails
    assert (mail.sender, mail.recipients) == ("a@example.com", ("b@example.net", "c@example.net"))
    assert mail.data == WIRE
    assert_sent(spool, name)
    assert [event["reply"] for event in results(events)] == ["200 n1", "200 n1"]
    (request,) = stub.requests
    assert request.one("Idempotency-Key") == name
    assert request.one("User-Agent").startswith("maildrain/")


def test_null_sender_utf8_and_dots(spool: Spool, http_stub: Stub) -> None:
    """Octets are counted, so no dot is doubled; addresses beyond ASCII go as UTF-8."""
    api = PostApi()
    aim(spool, http_stub(api))
    spool.drop(LETTER + ".\n..x\ny".encode(), envelope=("", ["jürgen@example.net"]))
    run(spool)
    (mail,) = api.mails
    assert (mail.sender, mail.recipients) == ("", ("jürgen@example.net",))
    assert mail.data == WIRE + b".\r\n..x\r\ny\r\n"


def test_bcc_stays_here(spool: Spool, http_stub: Stub) -> None:
    api = PostApi()
    aim(spool, http_stub(api))
    spool.drop(b"From: a@example.com\nTo: b@example.net\nBcc: c@example.net\n\nx\n")
    run(spool)
    (mail,) = api.mails
    assert mail.recipients == ("b@example.net", "c@example.net")
    assert b"c@example.net" not in mail.data


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_large_messages(spool: Spool, http_stub: Stub, size: int) -> None:
    api = PostApi()
    aim(spool, http_stub(api))
    text = LETTER + b"".join(b"%079d\n" % n for n in range(size // 80))
    spool.drop(text, envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    assert api.mails[0].data == text.replace(b"\n", b"\r\n")


def test_many_over_few_connections(spool: Spool, http_stub: Stub) -> None:
    """Without HTTP/2 as many requests as connections, and those are used again."""
    api = PostApi()
    stub = http_stub(api, delay=0.01)
    aim(spool, stub, connections=3)
    for n in range(40):
        letter(spool, f"r{n}@example.net")
    run(spool)
    assert sorted(api.recipients()) == sorted((f"r{n}@example.net",) for n in range(40))
    assert 2 <= stub.connections <= 3 and stub.most_connections <= 3


def test_key_of_a_part_of_the_recipients(spool: Spool, http_stub: Stub) -> None:
    """Whoever is not served now makes another key, which is the same each time."""
    api = PostApi()
    stub = http_stub(api, faults=[Reply(503), Reply(503)])
    aim(spool, stub)
    head = b"X-Maildrain-From: <a@example.com>\nX-Maildrain-Done: <d@example.net> 250 Ok\n"
    name = spool.drop(head + b"X-Maildrain-To: <b@example.net>\n" + LETTER, "part")
    for _ in range(3):
        run(spool)
        if spool.state(name)[0] == "new":
            make_due(spool, name)
    keys = {request.one("Idempotency-Key") for request in stub.requests}
    assert len(stub.requests) == 3 and len(keys) == 1
    assert keys.pop().startswith("part-")
    spool.drop(head + b"X-Maildrain-To: <c@example.net>\n" + LETTER, "part")
    run(spool)
    assert len({request.one("Idempotency-Key") for request in stub.requests}) == 2


def test_more_recipients_than_a_request_has(spool: Spool, http_stub: Stub) -> None:
    """No more than 50 at a time, each lot with a key of its own, which is the same when it comes
    again."""
    api = PostApi()
    stub = http_stub(api, faults=[None, Reply(503)])
    aim(spool, stub)
    everybody = tuple(f"r{n:03}@example.net" for n in range(120))
    name = spool.drop(LETTER, envelope=("a@example.com", everybody))
    run(spool)
    if spool.state(name)[0] == "new":
        make_due(spool, name)
        run(spool)
    assert_sent(spool, name, attempts=int(spool.state(name)[1]["A"]))
    assert sorted(who for lot in api.recipients() for who in lot) == sorted(everybody)
    assert [len(lot) for lot in api.recipients()] == [50, 20, 50]
    keys = [request.one("Idempotency-Key") for request in stub.requests]
    assert len(keys) == 4 and len(set(keys)) == 3


def test_key_of_an_odd_name(spool: Spool, http_stub: Stub) -> None:
    stub = http_stub(PostApi())
    aim(spool, stub)
    spool.drop(LETTER, "odd näme\"%", envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    assert stub.requests[0].one("Idempotency-Key") == "odd%20n%C3%A4me%22%25"


# Who we are


def test_user_and_password(spool: Spool, http_stub: Stub) -> None:
    api = PostApi(login=basic("site", "hunter2"))
    aim(spool, http_stub(api), user="site", password_file=spool.secret("hunter2"))
    assert_sent(spool, _one(spool))


def test_wrong_password(spool: Spool, http_stub: Stub) -> None:
    """It is met once, nothing is charged, and the password is not shown though it is repeated."""

    def api(request: Any) -> Reply:
        return Reply(401, {"message": f"not hunter3, {request.one('Authorization')[6:]}"})

    stub = http_stub(api)
    aim(spool, stub, user="site", password_file=spool.secret("hunter3"), connections=4)
    names = [letter(spool) for _ in range(5)]
    done = spool.run()
    assert done.returncode == 75 and len(stub.requests) == 1
    assert "hunter3" not in done.stderr
    assert basic("site", "hunter3")[6:] not in done.stderr
    assert_waiting(spool, *names)


@pytest.mark.parametrize("code", [200, 422, 500])
def test_answer_that_repeats_the_password(spool: Spool, http_stub: Stub, code: int) -> None:
    """Neither the log nor the file in the spool has it, nor how Basic sends it."""

    def api(request: Any) -> Reply:
        return Reply(code, {"message": f"hunter4, {request.one('Authorization')}"})

    aim(spool, http_stub(api), user="site", password_file=spool.secret("hunter4"))
    name = letter(spool)
    done = spool.run()
    for text in (done.stderr, spool.find(name).read_text()):
        assert "hunter4" not in text and basic("site", "hunter4")[6:] not in text
    assert f"{code} " in done.stderr


def test_password_where_an_answer_is_cut(spool: Spool, http_stub: Stub) -> None:
    """Of a long answer the start is kept, and of a password that stands at its end nothing."""

    def api(request: Any) -> Reply:
        number = int(request.one("X-Envelope-To")[2:].partition("@")[0])
        return Reply(422, {"message": "x" * number + "wooden-Horse"})

    aim(spool, http_stub(api), user="site", password_file=spool.secret("wooden-Horse"))
    for number in range(485, 515):
        letter(spool, f"r{number}@example.net")
    done = spool.run()
    assert "failed=30" in done.stderr and "xw" not in done.stderr
    assert not [path for path in spool.path.glob("*/*") if "xw" in path.read_text()]


def _one(spool: Spool) -> str:
    name = letter(spool)
    run(spool)
    return name


# What the answers mean


@pytest.mark.parametrize(
    "reply, words",
    [
        (Reply(200, {"message": "Queued.", "id": "<7@x>"}), "200 Queued. <7@x>"),
        (Reply(201, "ok 17\r\nmore\x1b[31m"), "201 ok 17 more?[31m"),
        (Reply(202, b"", {"Request-Id": "r-1"}), "202 r-1"),
        (Reply(204), "204"),
        (Reply(200, "<html>hi</html>"), "200"),
        (Reply(200, {"id": "x" * 70000}), None),
    ],
    ids=["json", "text", "id", "nothing", "html", "long"],
)
def test_sent(spool: Spool, http_stub: Stub, reply: Reply, words: Any) -> None:
    aim(spool, http_stub(PostApi(), faults=[reply]))
    name = letter(spool)
    event = result(run(spool))
    assert event["event"] == "sent"
    assert event["reply"] == words if words else len(event["reply"]) < 600
    assert_sent(spool, name)


@pytest.mark.parametrize(
    "reply, status, words",
    [
        (Reply(400, {"message": "no such"}), "5.0.0", "400 5.0.0 no such"),
        (Reply(413, "too big"), "5.3.4", "413 5.3.4 too big"),
        (
            Reply(422, {"title": "Bad", "detail": "line\x1b 1\n2\x00 3"}),
            "5.0.0",
            "422 5.0.0 line? 1 2",
        ),
        (Reply(418, "<p>teapot"), "5.0.0", "418 5.0.0 it gives no reason"),
        (Reply(400, {"error": {"code": "E7", "message": "x"}}), "5.0.0", "400 5.0.0 E7: x"),
    ],
)
def test_failed(spool: Spool, http_stub: Stub, reply: Reply, status: str, words: str) -> None:
    """One answer is that of all recipients."""
    aim(spool, http_stub(PostApi(), faults=[reply]))
    name = letter(spool, "b@example.net", "c@example.net")
    events = results(run(spool))
    assert [event["reply"] for event in events] == [words, words]
    assert_failed(spool, name, status)
    assert block(spool, name)[1:] == [
        f"X-Maildrain-Failed: <{who}@example.net> {words}" for who in "bc"
    ]


@pytest.mark.parametrize(
    "reply, status",
    [
        (Reply(429, "slow"), "4.4.5"),
        (Reply(503), "4.4.5"),
        (Reply(500, "oh"), "4.0.0"),
        (Reply(502), "4.0.0"),
        (Reply(504), "4.0.0"),
        (Reply(408), "4.0.0"),
        (Reply(425), "4.0.0"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else None,
)
def test_deferred(spool: Spool, http_stub: Stub, reply: Reply, status: str) -> None:
    aim(spool, http_stub(PostApi(), faults=[reply]))
    name = letter(spool)
    assert result(run(spool))["event"] == "deferred"
    assert_deferred(spool, name, status)


@pytest.mark.parametrize("code", [301, 307, 401, 402, 403, 404, 405, 407, 410, 415])
def test_the_relay_is_at_fault(spool: Spool, http_stub: Stub, code: int) -> None:
    """A wrong URL or key must never turn a queue into failed/; and nobody is followed elsewhere."""
    elsewhere = http_stub(PostApi())
    location = {"Location": f"{elsewhere.url}/mail"}
    stub = http_stub(PostApi(), faults=[Reply(code, "", location)] * 9)
    aim(spool, stub)
    names = [letter(spool) for _ in range(3)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured" and event["reply"].startswith(str(code))
    assert (elsewhere.url in event["reply"]) is (code < 400)
    assert len(stub.requests) == 1 and not elsewhere.requests
    assert_waiting(spool, *names)
