"""messages_per_connection: after so many a session says QUIT, and another is opened."""

from __future__ import annotations

import time
from typing import Callable

import pytest

from relaying import LETTER, aim, assert_failed, letter, letters, run
from lab.faultactions import Hang
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.spool import Spool

Servers = Callable[..., FaultServer]

EHLO = {"data": DEFAULT_EHLO, "chunks": (*DEFAULT_EHLO, "CHUNKING"), "lock-step": ("8BITMIME",)}


@pytest.mark.parametrize("scheme", ["smtp", "lmtp"])
@pytest.mark.parametrize("way", list(EHLO))
def test_no_more_than_configured(
    spool: Spool, fault_server: Servers, scheme: str, way: str
) -> None:
    server = fault_server(lmtp=scheme == "lmtp", ehlo=EHLO[way])
    aim(spool, server, messages_per_connection=3)
    letters(spool, 8)
    run(spool)
    assert [session.verbs.count("MAIL") for session in server.sessions] == [3, 3, 2]
    assert {session.verbs[-1] for session in server.sessions} == {"QUIT"}
    assert len(server.messages) == 8
    server.check()


def test_a_session_that_says_nothing_to_quit(spool: Spool, fault_server: Servers) -> None:
    """The next one is not held up by it for as long as by a command."""
    server = fault_server(answers={"QUIT": [Hang()]})
    aim(spool, server, messages_per_connection=2)
    letters(spool, 4)
    start = time.monotonic()
    run(spool)
    assert len(server.messages) == 4 and len(server.sessions) == 2
    assert time.monotonic() - start < 8


def test_what_never_goes_out_is_not_counted(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=("PIPELINING", "SIZE 100"))
    aim(spool, server, messages_per_connection=2)
    large = letter(spool, text=LETTER + b"x" * 100)
    letters(spool, 2)
    run(spool)
    assert_failed(spool, large, "5.3.4")
    assert len(server.sessions) == 1
