"""Relays that take mail by HTTP: the engine, with an endpoint of one's own, POST message/rfc822."""

from __future__ import annotations

import email.utils
import ssl
import time
from contextlib import ExitStack
from typing import Any, Callable

import pytest
from lab.certs import Certs
from lab.httpstub import (
    Cut,
    Drip,
    Early,
    Hangup,
    HttpStub,
    PostApi,
    Raw,
    Reply,
    Silence,
    basic,
)
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

Serve = Callable[..., HttpStub]
WIRE = LETTER.replace(b"\n", b"\r\n")


@pytest.fixture
def serve(servers: ExitStack) -> Serve:
    """serve(api, …) is a running HttpStub."""
    return lambda api, **options: servers.enter_context(HttpStub(api, **options))


def aim(spool: Spool, stub: HttpStub, **relay: Any) -> None:
    """Makes STUB the only relay, over one connection unless RELAY says more."""
    spool.write_config({}, **{"url": f"{stub.url}/mail", "connections": 1, **relay})


# What is sent


def test_one_message(spool: Spool, serve: Serve) -> None:
    api = PostApi()
    stub = serve(api)
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


def test_null_sender_utf8_and_dots(spool: Spool, serve: Serve) -> None:
    """Octets are counted, so no dot is doubled; addresses beyond ASCII go as UTF-8."""
    api = PostApi()
    aim(spool, serve(api))
    spool.drop(LETTER + ".\n..x\ny".encode(), envelope=("", ["jürgen@example.net"]))
    run(spool)
    (mail,) = api.mails
    assert (mail.sender, mail.recipients) == ("", ("jürgen@example.net",))
    assert mail.data == WIRE + b".\r\n..x\r\ny\r\n"


def test_bcc_stays_here(spool: Spool, serve: Serve) -> None:
    api = PostApi()
    aim(spool, serve(api))
    spool.drop(b"From: a@example.com\nTo: b@example.net\nBcc: c@example.net\n\nx\n")
    run(spool)
    (mail,) = api.mails
    assert mail.recipients == ("b@example.net", "c@example.net")
    assert b"c@example.net" not in mail.data


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_large_messages(spool: Spool, serve: Serve, size: int) -> None:
    api = PostApi()
    aim(spool, serve(api))
    text = LETTER + b"".join(b"%079d\n" % n for n in range(size // 80))
    spool.drop(text, envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    assert api.mails[0].data == text.replace(b"\n", b"\r\n")


def test_many_over_few_connections(spool: Spool, serve: Serve) -> None:
    """Without HTTP/2 as many requests as connections, and those are used again."""
    api = PostApi()
    stub = serve(api, delay=0.01)
    aim(spool, stub, connections=3)
    for n in range(40):
        letter(spool, f"r{n}@example.net")
    run(spool)
    assert sorted(api.recipients()) == sorted((f"r{n}@example.net",) for n in range(40))
    assert 2 <= stub.connections <= 3 and stub.most_connections <= 3


def test_key_of_a_part_of_the_recipients(spool: Spool, serve: Serve) -> None:
    """Whoever is not served now makes another key, which is the same each time."""
    api = PostApi()
    stub = serve(api, faults=[Reply(503), Reply(503)])
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


def test_more_recipients_than_a_request_has(spool: Spool, serve: Serve) -> None:
    """No more than 50 at a time, each lot with a key of its own, which is the same when it comes
    again."""
    api = PostApi()
    stub = serve(api, faults=[None, Reply(503)])
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


def test_key_of_an_odd_name(spool: Spool, serve: Serve) -> None:
    stub = serve(PostApi())
    aim(spool, stub)
    spool.drop(LETTER, "odd näme\"%", envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    assert stub.requests[0].one("Idempotency-Key") == "odd%20n%C3%A4me%22%25"


# Who we are


def test_user_and_password(spool: Spool, serve: Serve) -> None:
    api = PostApi(login=basic("site", "hunter2"))
    aim(spool, serve(api), user="site", password_file=spool.secret("hunter2"))
    assert_sent(spool, _one(spool))


def test_wrong_password(spool: Spool, serve: Serve) -> None:
    """It is met once, nothing is charged, and the password is not shown though it is repeated."""

    def api(request: Any) -> Reply:
        return Reply(401, {"message": f"not hunter3, {request.one('Authorization')[6:]}"})

    stub = serve(api)
    aim(spool, stub, user="site", password_file=spool.secret("hunter3"), connections=4)
    names = [letter(spool) for _ in range(5)]
    done = spool.run()
    assert done.returncode == 75 and len(stub.requests) == 1
    assert "hunter3" not in done.stderr
    assert basic("site", "hunter3")[6:] not in done.stderr
    assert_waiting(spool, *names)


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
def test_sent(spool: Spool, serve: Serve, reply: Reply, words: Any) -> None:
    aim(spool, serve(PostApi(), faults=[reply]))
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
def test_failed(spool: Spool, serve: Serve, reply: Reply, status: str, words: str) -> None:
    """One answer is that of all recipients."""
    aim(spool, serve(PostApi(), faults=[reply]))
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
def test_deferred(spool: Spool, serve: Serve, reply: Reply, status: str) -> None:
    aim(spool, serve(PostApi(), faults=[reply]))
    name = letter(spool)
    assert result(run(spool))["event"] == "deferred"
    assert_deferred(spool, name, status)


@pytest.mark.parametrize("code", [301, 307, 401, 402, 403, 404, 405, 407, 410, 415])
def test_the_relay_is_at_fault(spool: Spool, serve: Serve, code: int) -> None:
    """A wrong URL or key must never turn a queue into failed/; and nobody is followed elsewhere."""
    elsewhere = serve(PostApi())
    location = {"Location": f"{elsewhere.url}/mail"}
    stub = serve(PostApi(), faults=[Reply(code, "", location)] * 9)
    aim(spool, stub)
    names = [letter(spool) for _ in range(3)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured" and event["reply"].startswith(str(code))
    assert (elsewhere.url in event["reply"]) is (code < 400)
    assert len(stub.requests) == 1 and not elsewhere.requests
    assert_waiting(spool, *names)


# What can break


def test_nobody_there(spool: Spool, serve: Serve) -> None:
    with HttpStub(PostApi()) as gone:
        pass
    aim(spool, gone)
    names = [letter(spool) for _ in range(3)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down" and str(gone.port) in event["reply"]
    assert_waiting(spool, *names)


@pytest.mark.parametrize("fault", [Hangup(), Raw(b"250 2.0.0 Ok\r\n"), Raw(b"HTTP/1.1 ")])
def test_no_answer_is_in_doubt(spool: Spool, serve: Serve, fault: Any) -> None:
    """It may have taken the message: charged, deferred, and said; the others are sent."""
    api = PostApi()
    aim(spool, serve(api, faults=[fault]))
    name, other = letter(spool), letter(spool, "c@example.net")
    events = run(spool)
    assert_deferred(spool, name, "4.4.2")
    assert_sent(spool, other)
    assert any("duplicate" in str(event) for event in events)


def test_a_connection_used_before_is_no_reason_to_send_twice(spool: Spool, serve: Serve) -> None:
    """Libcurl would try again by itself: the request has gone out, and nobody knows what became
    of it."""
    stub = serve(PostApi(), faults=[None, Hangup()])
    aim(spool, stub)
    names = [letter(spool) for _ in range(3)]
    run(spool)
    assert len(stub.requests) == 3
    assert_sent(spool, names[0])
    assert_deferred(spool, names[1], "4.4.2")
    assert_sent(spool, names[2])


def test_lost_in_the_midst(spool: Spool, serve: Serve) -> None:
    """What makes a server hang up is charged, but not in doubt."""
    stub = serve(PostApi(), faults=[Cut(100_000)])
    aim(spool, stub)
    name = spool.drop(LETTER + b"x" * 78 * 1_000_000, envelope=("a@example.com", ["b@c.example"]))
    events = run(spool)
    assert_deferred(spool, name, "4.4.2")
    assert not any("duplicate" in str(event) for event in events)


def test_three_strikes(spool: Spool, serve: Serve) -> None:
    stub = serve(PostApi(), faults=[None] + [Hangup()] * 9)
    aim(spool, stub)
    names = [letter(spool) for _ in range(7)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down" and len(stub.requests) == 4
    assert_waiting(spool, *names[4:])


def test_no_answer_in_time(spool: Spool, serve: Serve) -> None:
    aim(spool, serve(PostApi(), faults=[Silence()]), timeout_dot="1s")
    name = letter(spool)
    event = result(run(spool))
    assert "in time" in event["reply"]
    assert_deferred(spool, name, "4.4.2")


def test_answer_that_drips(spool: Spool, serve: Serve) -> None:
    """Only a whole answer ends the wait."""
    drip = Drip(b"HTTP/1.1 200 Ok and so on and so on")
    aim(spool, serve(PostApi(), faults=[drip]), timeout_dot="1s")
    name = letter(spool)
    start = time.monotonic()
    run(spool)
    assert_deferred(spool, name, "4.4.2")
    assert time.monotonic() - start < 8


def test_early_refusal_of_a_large_message(spool: Spool, serve: Serve) -> None:
    """Who has seen the length may say no before the body, and leave."""
    early = b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    stub = serve(PostApi(), faults=[Early(early)])
    aim(spool, stub)
    name = spool.drop(LETTER + b"x\n" * 2_000_000, envelope=("a@example.com", ["b@c.example"]))
    run(spool)
    assert_failed(spool, name, "5.3.4")


# Retry-After


def _retry_after(spool: Spool, serve: Serve, value: str) -> float:
    aim(spool, serve(PostApi(), faults=[Reply(429, "slow", {"Retry-After": value})]))
    name = letter(spool)
    run(spool)
    place, fields = spool.state(name)
    assert place == "new"
    return int(fields["T"]) - time.time()


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after(spool: Spool, serve: Serve, form: str) -> None:
    when = {"seconds": "300", "date": email.utils.formatdate(time.time() + 300, usegmt=True)}
    assert 290 <= _retry_after(spool, serve, when[form]) <= 310


# TLS


def test_tls(spool: Spool, serve: Serve, certs: Certs) -> None:
    stub = serve(PostApi(), tls=certs.server_context())
    aim(spool, stub, ca_file=certs.ca)
    assert_sent(spool, _one(spool))


@pytest.mark.parametrize("pair", ["self_signed", "expired", "wrong_name"])
def test_bad_certificate(spool: Spool, serve: Serve, certs: Certs, pair: str) -> None:
    stub = serve(PostApi(), tls=certs.server_context(getattr(certs, pair)))
    aim(spool, stub, ca_file=certs.ca)
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert not stub.requests
    assert_waiting(spool, name)


def test_client_certificate(spool: Spool, serve: Serve, certs: Certs) -> None:
    stub = serve(PostApi(), tls=certs.server_context(require_client=True))
    client = certs.client
    aim(spool, stub, ca_file=certs.ca, cert_file=client.cert, key_file=client.key)
    assert_sent(spool, _one(spool))


def test_minimum_version(spool: Spool, serve: Serve, certs: Certs) -> None:
    context = certs.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    stub = serve(PostApi(), tls=context)
    aim(spool, stub, ca_file=certs.ca, tls_min_version="1.3")
    name = letter(spool)
    run(spool, 75)
    assert_waiting(spool, name)
