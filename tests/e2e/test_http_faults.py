"""What breaks under a relay that takes mail by HTTP, what TLS asks for, and what verify says."""

from __future__ import annotations

import email.utils
import ssl
import time
from typing import Any, Callable

import pytest
from lab import net
from lab.certs import Certs
from lab.httpstub import (
    Cut,
    Drip,
    Early,
    Endless,
    Hangup,
    HttpStub,
    PostApi,
    Raw,
    Reply,
    Silence,
    Stall,
)
from lab.spool import Spool
from relaying import (
    LETTER,
    about_relay,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    letter,
    result,
    run,
)

Stub = Callable[..., HttpStub]


def aim(spool: Spool, stub: HttpStub, **relay: Any) -> None:
    """Makes STUB the only relay, over one connection unless RELAY says more."""
    spool.write_config({}, **{"url": f"{stub.url}/mail", "connections": 1, **relay})


def _one(spool: Spool) -> str:
    name = letter(spool)
    run(spool)
    return name


# What can break


def test_nobody_there(spool: Spool, http_stub: Stub) -> None:
    with HttpStub(PostApi()) as gone:
        pass
    aim(spool, gone)
    names = [letter(spool) for _ in range(3)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down" and str(gone.port) in event["reply"]
    assert_waiting(spool, *names)


@pytest.mark.parametrize("fault", [Hangup(), Raw(b"250 2.0.0 Ok\r\n"), Raw(b"HTTP/1.1 ")])
def test_no_answer_is_in_doubt(spool: Spool, http_stub: Stub, fault: Any) -> None:
    """It may have taken the message: charged, deferred, and said; the others are sent."""
    api = PostApi()
    aim(spool, http_stub(api, faults=[fault]))
    name, other = letter(spool), letter(spool, "c@example.net")
    events = run(spool)
    assert_deferred(spool, name, "4.4.2")
    assert_sent(spool, other)
    assert any("duplicate" in str(event) for event in events)


def test_a_connection_used_before_is_no_reason_to_send_twice(spool: Spool, http_stub: Stub) -> None:
    """Libcurl would try again by itself: the request has gone out, and nobody knows what became
    of it."""
    stub = http_stub(PostApi(), faults=[None, Hangup()])
    aim(spool, stub)
    names = [letter(spool) for _ in range(3)]
    run(spool)
    assert len(stub.requests) == 3
    assert_sent(spool, names[0])
    assert_deferred(spool, names[1], "4.4.2")
    assert_sent(spool, names[2])


def test_lost_in_the_midst(spool: Spool, http_stub: Stub) -> None:
    """What makes a server hang up is charged, but not in doubt."""
    stub = http_stub(PostApi(), faults=[Cut(100_000)])
    aim(spool, stub)
    name = spool.drop(LETTER + b"x" * 78 * 1_000_000, envelope=("a@example.com", ["b@c.example"]))
    events = run(spool)
    assert_deferred(spool, name, "4.4.2")
    assert not any("duplicate" in str(event) for event in events)


def test_three_strikes(spool: Spool, http_stub: Stub) -> None:
    stub = http_stub(PostApi(), faults=[None] + [Hangup()] * 9)
    aim(spool, stub)
    names = [letter(spool) for _ in range(7)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down" and len(stub.requests) == 4
    assert_waiting(spool, *names[4:])


def test_no_answer_in_time(spool: Spool, http_stub: Stub) -> None:
    aim(spool, http_stub(PostApi(), faults=[Silence()]), timeout_dot="1s")
    name = letter(spool)
    event = result(run(spool))
    assert "in time" in event["reply"]
    assert_deferred(spool, name, "4.4.2")


def test_answer_that_drips(spool: Spool, http_stub: Stub) -> None:
    """Only a whole answer ends the wait."""
    drip = Drip(b"HTTP/1.1 200 Ok and so on and so on")
    aim(spool, http_stub(PostApi(), faults=[drip]), timeout_dot="1s")
    name = letter(spool)
    start = time.monotonic()
    run(spool)
    assert_deferred(spool, name, "4.4.2")
    assert time.monotonic() - start < 8


def test_answer_without_an_end(spool: Spool, http_stub: Stub) -> None:
    """No more than its start is read, which says all that counts."""
    endless = Endless(b"HTTP/1.1 200 Ok\r\n\r\nqueued ")
    aim(spool, http_stub(PostApi(), faults=[endless]), timeout_dot="2s")
    name = letter(spool)
    assert result(run(spool))["reply"] == "200 queued"
    assert_sent(spool, name)


@pytest.mark.parametrize("code, place", [(200, "cur"), (422, "failed")])
def test_answer_that_stalls_behind_its_code(
    spool: Spool, http_stub: Stub, code: int, place: str
) -> None:
    """That says what became of the message: it is not sent again for an end that is missing."""
    stalled = Stall(b"HTTP/1.1 %d So\r\nContent-Length: 100\r\n\r\n{" % code)
    stub = http_stub(PostApi(), faults=[stalled])
    aim(spool, stub, timeout_dot="1s")
    name = letter(spool)
    run(spool)
    assert spool.state(name)[0] == place
    assert len(stub.requests) == 1


def test_tls_that_hangs(spool: Spool) -> None:
    """Somebody is there and says nothing: that costs timeout_connect, and no message."""
    with net.listener() as deaf:
        url = f"https://{net.HOST}:{deaf.getsockname()[1]}/mail"
        spool.write_config({}, url=url, timeout_connect="1s")
        name = letter(spool)
        (event,) = about_relay(run(spool, 75, timeout=20))
    assert event["event"] == "relay-down"
    assert_waiting(spool, name)


def test_no_proxy_sees_what_is_not_encrypted(
    spool: Spool, http_stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = http_stub(PostApi())
    for name in ("http_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    aim(spool, http_stub(PostApi()))
    assert_sent(spool, _one(spool))
    assert not proxy.requests


def test_early_refusal_of_a_large_message(spool: Spool, http_stub: Stub) -> None:
    """Who has seen the length may say no before the body, and leave."""
    early = b"HTTP/1.1 413 Too large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    stub = http_stub(PostApi(), faults=[Early(early)])
    aim(spool, stub)
    name = spool.drop(LETTER + b"x\n" * 2_000_000, envelope=("a@example.com", ["b@c.example"]))
    run(spool)
    assert_failed(spool, name, "5.3.4")


def test_early_yes_to_a_message_that_was_not_read(spool: Spool, http_stub: Stub) -> None:
    early = b"HTTP/1.1 200 Ok\r\nContent-Length: 0\r\n\r\n"
    aim(spool, http_stub(PostApi(), faults=[Early(early, whole=False)]))
    name = spool.drop(LETTER + b"x\n" * 6_000_000, envelope=("a@example.com", ["b@c.example"]))
    run(spool)
    assert_deferred(spool, name, "4.4.2")


# Retry-After


def _retry_after(spool: Spool, http_stub: Stub, value: str) -> float:
    aim(spool, http_stub(PostApi(), faults=[Reply(429, "slow", {"Retry-After": value})]))
    name = letter(spool)
    run(spool)
    place, fields = spool.state(name)
    assert place == "new"
    return int(fields["T"]) - time.time()


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after(spool: Spool, http_stub: Stub, form: str) -> None:
    when = {"seconds": "300", "date": email.utils.formatdate(time.time() + 300, usegmt=True)}
    assert 290 <= _retry_after(spool, http_stub, when[form]) <= 310


# TLS


def test_tls(spool: Spool, http_stub: Stub, certs: Certs) -> None:
    stub = http_stub(PostApi(), tls=certs.server_context())
    aim(spool, stub, ca_file=certs.ca)
    assert_sent(spool, _one(spool))


@pytest.mark.parametrize("pair", ["self_signed", "expired", "wrong_name"])
def test_bad_certificate(spool: Spool, http_stub: Stub, certs: Certs, pair: str) -> None:
    stub = http_stub(PostApi(), tls=certs.server_context(getattr(certs, pair)))
    aim(spool, stub, ca_file=certs.ca)
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert not stub.requests
    assert_waiting(spool, name)


def test_client_certificate(spool: Spool, http_stub: Stub, certs: Certs) -> None:
    stub = http_stub(PostApi(), tls=certs.server_context(require_client=True))
    client = certs.client
    aim(spool, stub, ca_file=certs.ca, cert_file=client.cert, key_file=client.key)
    assert_sent(spool, _one(spool))


def test_minimum_version(spool: Spool, http_stub: Stub, certs: Certs) -> None:
    context = certs.server_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    stub = http_stub(PostApi(), tls=context)
    aim(spool, stub, ca_file=certs.ca, tls_min_version="1.3")
    name = letter(spool)
    run(spool, 75)
    assert_waiting(spool, name)


# verify


def _problem(spool: Spool) -> str:
    done = spool.command("verify")
    assert done.returncode == 75 and "PROBLEM: " in done.stdout, done.stdout
    assert max(map(len, done.stdout.partition("to do: ")[2].splitlines())) <= 90
    return done.stdout


def test_verify_tells_of_tls_and_sends_nothing(spool: Spool, http_stub: Stub, certs: Certs) -> None:
    stub = http_stub(PostApi(), tls=certs.server_context())
    aim(spool, stub, ca_file=certs.ca, user="site", password_file=spool.secret("x"))
    done = spool.command("verify")
    assert done.returncode == 0 and not stub.requests, done.stdout
    assert "TLS: TLSv1.3" in done.stdout and "certificate Expire date:" in done.stdout
    assert "whether the password is right" in done.stdout


def test_verify_without_tls(spool: Spool, http_stub: Stub) -> None:
    aim(spool, http_stub(PostApi()))
    done = spool.command("verify")
    assert done.returncode == 0 and "TLS: none" in done.stdout


def test_verify_finds_nobody(spool: Spool) -> None:
    with HttpStub(PostApi()) as gone:
        pass
    aim(spool, gone)
    assert "port in url" in _problem(spool)


@pytest.mark.parametrize(
    "pair, advice",
    [("expired", "clock"), ("wrong_name", "name that its certificate has"), ("self_signed", "ca_")],
)
def test_verify_finds_a_bad_certificate(
    spool: Spool, http_stub: Stub, certs: Certs, pair: str, advice: str
) -> None:
    stub = http_stub(PostApi(), tls=certs.server_context(getattr(certs, pair)))
    aim(spool, stub, ca_file=certs.ca)
    assert advice in _problem(spool)


def test_verify_finds_no_tls(spool: Spool, http_stub: Stub) -> None:
    stub = http_stub(PostApi())
    aim(spool, stub, url=f"{stub.url.replace('http:', 'https:')}/mail", timeout_connect="5s")
    assert "without TLS" in _problem(spool)


def test_verify_names_a_host_that_does_not_resolve(spool: Spool, http_stub: Stub) -> None:
    spool.write_config({}, url="https://no-such-host.invalid/mail")
    assert "getent hosts" in _problem(spool)
