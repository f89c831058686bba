"""A relay that asks for less mail gets less: which of its words mean that."""

from __future__ import annotations

from typing import Callable, List

import pytest

from relaying import Event, aim, assert_sent, letters, run
from lab.faultactions import Then
from lab.faultserver import FaultServer
from lab.spool import Spool

Servers = Callable[..., FaultServer]

LOCK_STEP = ("8BITMIME", "ENHANCEDSTATUSCODES")
ASKED = "it wants less mail at a time: it gets half as much"


def slowed(events: List[Event]) -> List[str]:
    return [event["text"] for event in events if event["event"] == "slowed"]


@pytest.mark.parametrize("scheme", ["smtp", "lmtp"])
@pytest.mark.parametrize(
    "event, reply",
    [
        ("MAIL", "421 4.7.0 Too much mail from you"),
        ("RCPT", "450 4.7.1 Too much mail from you"),
        ("DOT", "450 4.7.1 Too much mail from you"),
        ("DATA", "452 4.3.2 Not just now"),
        ("MAIL", "454 Throttling failure: Maximum sending rate exceeded."),
    ],
)
def test_asked_in_answer_to_a_message(
    spool: Spool, fault_server: Servers, scheme: str, event: str, reply: str
) -> None:
    server = fault_server(answers={event: [None, reply]}, lmtp=scheme == "lmtp")
    aim(spool, server)
    letters(spool, 2)
    assert slowed(run(spool)) == [ASKED]


@pytest.mark.parametrize(
    "reply, asks",
    [
        ("421 4.7.0 Too much mail from you", True),
        ("421 4.4.2 Idle for too long", False),
        ("421 Too many messages in one connection", False),
    ],
)
def test_asked_between_messages(
    spool: Spool, fault_server: Servers, reply: str, asks: bool
) -> None:
    """The session ends with it, no message is charged, and the others go by the next one."""
    server = fault_server(ehlo=LOCK_STEP, answers={"DOT": [Then(None, reply)]})
    aim(spool, server)
    names = letters(spool, 2)
    assert slowed(run(spool)) == [ASKED] * asks
    for name in names:
        assert_sent(spool, name)
    assert len(server.sessions) == 2


@pytest.mark.parametrize("reply", ["450 4.2.0 Greylisted", "452 4.2.2 Full", "550 5.7.1 No"])
def test_other_refusals_slow_nothing_down(
    spool: Spool, fault_server: Servers, reply: str
) -> None:
    server = fault_server(answers={"RCPT": [None, reply]})
    aim(spool, server)
    letters(spool, 2)
    assert not slowed(run(spool))


def test_sessions_that_are_one_too_many(spool: Spool, fault_server: Servers) -> None:
    """A greeting of 421 says how many connections there may be, and nothing of the mail."""
    server = fault_server(answers={"CONNECT": [None, *["421 4.7.0 Too many connections"] * 9]})
    aim(spool, server, connections=4)
    names = letters(spool, 8)
    assert not slowed(run(spool))
    for name in names:
        assert_sent(spool, name)
