"""Each wait has an end, what it means is right, and other connections go on meanwhile."""

from __future__ import annotations

import socket
import time
from contextlib import closing
from typing import Any, Callable, Dict, List, Tuple

import pytest

from relaying import (
    Event,
    about_relay,
    aim,
    assert_deferred,
    assert_sent,
    assert_waiting,
    letter,
    letters,
    result,
    results,
    run,
)
from lab import net
from lab.certs import Certs
from lab.faultactions import AfterOctets, Delay, Dribble, Hang, Then
from lab.faultserver import DEFAULT_EHLO, FaultServer, Session
from lab.spool import Spool

Servers = Callable[..., FaultServer]

QUIT = 3  # seconds that the replies to QUIT may take
SLACK = 2  # for a busy machine
HUGE = b"From: a@example.com\n\n" + (b"x" * 99 + b"\n") * 80_000


def timed(spool: Spool, status: int, least: float, most: float) -> List[Event]:
    start = time.monotonic()
    events = run(spool, status)
    took = time.monotonic() - start
    assert least - 0.1 <= took <= most + SLACK, f"{took:.1f} s"
    return events


def assert_down(events: List[Event]) -> Event:
    (event,) = about_relay(events)
    assert event["event"] == "relay-down"
    assert results(events) == []
    return event


def tls_options(certs: Certs, smtps: bool) -> Tuple[Dict[str, Any], Dict[str, Any]]:
    """For the server and for the relay, with TLS from the first byte or with none."""
    if not smtps:
        return {}, {}
    server = {"tls": certs.server_context(), "implicit_tls": True}
    return server, {"tls": "required", "ca_file": certs.ca}


# While the session opens


@pytest.mark.parametrize("step", ["CONNECT", "EHLO", "STARTTLS", "AUTH"])
def test_hang_while_opening(
    spool: Spool, fault_server: Servers, certs: Certs, step: str
) -> None:
    server = fault_server(
        ehlo=("STARTTLS",),
        ehlo_tls=(*DEFAULT_EHLO, "AUTH PLAIN"),
        tls=certs.server_context(),
        answers={step: Hang()},
    )
    login = {"user": "site", "password_file": spool.secret("secret")}
    aim(spool, server, **login, tls="required", ca_file=certs.ca, timeout_greeting="1s")
    names = letters(spool, 3)
    assert_down(timed(spool, 75, 1, 2))
    assert_waiting(spool, *names)
    server.check()


def test_hang_in_the_handshake(spool: Spool, fault_server: Servers, certs: Certs) -> None:
    server = fault_server(
        ehlo=("STARTTLS",),
        tls=certs.server_context(),
        answers={"STARTTLS": Hang("220 2.0.0 Go ahead")},
    )
    aim(spool, server, tls="required", timeout_connect="1s", timeout_greeting="2s")
    name = letter(spool)
    assert_down(timed(spool, 75, 1, 3))
    assert_waiting(spool, name)


def test_nobody_accepts(spool: Spool) -> None:
    """With its queue full a listener drops the handshakes of further clients."""
    with socket.create_server((net.HOST, 0), backlog=0) as full, closing(socket.socket()) as first:
        port = full.getsockname()[1]
        first.connect((net.HOST, port))
        spool.write_config(url=f"smtp://{net.HOST}:{port}", tls="none", timeout_connect="1s")
        name = letter(spool)
        assert_down(timed(spool, 75, 1, 2))
        assert_waiting(spool, name)


def test_several_connections_that_hang_while_opening(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"CONNECT": Hang()})
    aim(spool, server, connections=4, timeout_greeting="2s")
    names = letters(spool, 10)
    assert_down(timed(spool, 75, 2, 4))
    assert_waiting(spool, *names)


@pytest.mark.parametrize("smtps", [False, True], ids=["plain", "smtps"])
def test_a_slow_greeting_is_waited_for(
    spool: Spool, fault_server: Servers, certs: Certs, smtps: bool
) -> None:
    """The time to connect does not cover what the server takes for its words."""
    tls, trust = tls_options(certs, smtps)
    server = fault_server(answers={"CONNECT": Delay(2), "EHLO": Delay(2)}, **tls)
    aim(spool, server, **trust, timeout_connect="1s", timeout_greeting="4s")
    name = letter(spool)
    timed(spool, 0, 4, 5)
    assert_sent(spool, name)


# In a transaction


@pytest.mark.parametrize(
    "step, option", [("MAIL", "command"), ("RCPT", "command"), ("DATA", "data")]
)
def test_hang_before_the_body(
    spool: Spool, fault_server: Servers, step: str, option: str
) -> None:
    server = fault_server(answers={step: [Hang()]})
    aim(spool, server, **{f"timeout_{option}": "1s"})
    names = letters(spool, 3)
    events = timed(spool, 0, 1, 2)
    for name in names:
        assert_sent(spool, name)
    assert {event["attempt"] for event in results(events)} == {"1"}
    assert len(server.sessions) == 2
    server.check()


def test_a_relay_that_always_hangs_is_given_up(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": Hang()})
    aim(spool, server, timeout_command="1s")
    names = letters(spool, 8)
    event = assert_down(timed(spool, 75, 3, 4))
    assert "in time" in event["reply"]
    assert_waiting(spool, *names)
    assert len(server.sessions) == 3
    server.check()


@pytest.mark.parametrize("smtps", [False, True], ids=["plain", "smtps"])
def test_hang_in_the_body(
    spool: Spool, fault_server: Servers, certs: Certs, smtps: bool
) -> None:
    """What the kernel still takes while the server has stopped reading is no progress."""
    tls, trust = tls_options(certs, smtps)
    server = fault_server(answers={"BODY": [Hang()]}, **tls)
    aim(spool, server, **trust, timeout_block="1s")
    name = letter(spool, text=HUGE)
    other = letter(spool)
    events = timed(spool, 0, 1, 2)
    assert_deferred(spool, name, "4.4.2")
    assert_sent(spool, other)
    (event,) = [event for event in results(events) if event["event"] == "deferred"]
    assert (event["status"], event["attempt"]) == ("4.4.2", "1")
    assert "duplicate" not in event
    server.check()


def test_hang_after_the_dot(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"DOT": [Hang()]})
    aim(spool, server, timeout_dot="1s")
    name, *others = letters(spool, 4)
    events = timed(spool, 0, 1, 2)
    assert_deferred(spool, name, "4.4.2")
    for other in others:
        assert_sent(spool, other)
    (event,) = [event for event in results(events) if event["event"] == "deferred"]
    assert (event["status"], event["duplicate"]) == ("4.4.2", "possible")
    server.check()


def test_hang_at_rset(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(
        answers={"DATA": ["451 4.3.0 Trouble"], "RSET": Hang()}, ehlo=("8BITMIME",)
    )
    aim(spool, server, timeout_command="1s")
    first, second = letters(spool, 2)
    timed(spool, 0, 1, 2)
    assert_deferred(spool, first, "4.3.0")
    assert_sent(spool, second)
    server.check()


def test_hang_at_quit(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"QUIT": Hang()})
    aim(spool, server, connections=3)
    names = letters(spool, 9)
    timed(spool, 0, 0, QUIT)
    for name in names:
        assert_sent(spool, name)
    server.check()


# Others go on meanwhile


@pytest.mark.parametrize("step, option", [("MAIL", "command"), ("DATA", "data"), ("DOT", "dot")])
def test_other_connections_go_on(
    spool: Spool, fault_server: Servers, step: str, option: str
) -> None:
    at: List[float] = []

    def note(_: Session) -> Any:
        at.append(time.monotonic())
        return None

    answers: Dict[str, Dict[str, Any]] = {"DOT": {"*": note}}
    answers.setdefault(step, {})["s0@example.com"] = [Hang()]
    server = fault_server(answers=answers, latency=0.01)
    aim(spool, server, connections=2, **{f"timeout_{option}": "3s"})
    names = letters(spool, 30)
    start = time.monotonic()
    timed(spool, 0, 3, 4)
    early = [moment for moment in at if moment < start + 2.5]
    assert len(early) >= 28
    for name in names[2:]:
        assert_sent(spool, name)
    server.check()


def test_a_blocked_body_holds_nobody_up(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"BODY": {"huge@example.com": [Hang()]}}, latency=0.01)
    aim(spool, server, connections=2, timeout_block="3s")
    name = letter(spool, text=HUGE, sender="huge@example.com")
    others = letters(spool, 30)
    start = time.monotonic()
    timed(spool, 0, 3, 4)
    last = max(chunk.at for chunk in server.sessions[1].chunks if b"DATA" in chunk.data)
    assert last < start + 2.5
    assert_deferred(spool, name, "4.4.2")
    for other in others:
        assert_sent(spool, other)


# What is slow, but not too slow


def test_each_phase_has_its_own_time(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"DOT": [Delay(2)], "DATA": [Delay(2)]})
    aim(
        *(spool, server),
        timeout_command="1s",
        timeout_block="1s",
        timeout_data="4s",
        timeout_dot="4s",
    )
    name = letter(spool)
    timed(spool, 0, 4, 5)
    assert_sent(spool, name)
    server.check()


def test_a_slow_reader_is_no_hang(spool: Spool, fault_server: Servers) -> None:
    """Time runs from the last octet that moved, not from the beginning of the body."""
    pauses = [AfterOctets(n * 6_000_000, Delay(0.7, b"")) for n in range(1, 5)]
    server = fault_server(answers={"BODY": Then(*pauses)}, keep_chunks=False)
    aim(spool, server, timeout_block="2s", timeout_dot="2s")
    name = letter(spool, text=HUGE * 4)
    timed(spool, 0, 2.8, 5)
    assert_sent(spool, name)
    server.check()


def test_a_reply_in_slow_pieces(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"DOT": Dribble(pause=0.05)})
    aim(spool, server, timeout_dot="4s")
    name = letter(spool)
    event = result(timed(spool, 0, 1, 4))
    assert_sent(spool, name)
    assert event["event"] == "sent"
    server.check()
