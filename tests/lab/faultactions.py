"""What the fault server can be told to answer, besides plain replies.

An answer is
	None        the correct answer of a healthy server
	str         one reply line; CRLF is added
	bytes       these octets, as they are: several lines, half a line, rubbish
	an Action   of this module
	a callable  called with the session; returns any of these
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Union

if TYPE_CHECKING:
    from .faultsession import Session


class Action:
    """Something other than a plain reply. DEFAULT is what a healthy server would say."""

    def perform(self, session: "Session", default: bytes) -> None:
        raise NotImplementedError


Answer = Union[None, str, bytes, Action, Callable[["Session"], "Answer"]]


@dataclass(frozen=True)
class Cut:
    """Ends a connection, whatever it is at, when the server has said ("S") or read ("C") COUNT
    octets: those inside TLS. RESET sends RST; else the client gets to see all that was said, and
    then the end, with NOTIFY that of TLS too."""

    who: str
    count: int
    reset: bool = False
    notify: bool = False


class SessionOver(Exception):
    """Ends a session; the text says how."""


class Close(Action):
    """Says REPLY (by default nothing) and closes the connection in good order: close_notify of
    TLS, FIN of TCP. Octets of the client that are still in the kernel turn the FIN into a RST."""

    def __init__(self, reply: Answer = b"") -> None:
        self.reply = reply

    def perform(self, session: "Session", default: bytes) -> None:
        session.perform(self.reply, default)
        session.flush()
        session.close()
        raise SessionOver("closed by the server")


class Reset(Action):
    """Says REPLY (by default nothing), then resets the connection (RST)."""

    def __init__(self, reply: Answer = b"") -> None:
        self.reply = reply

    def perform(self, session: "Session", default: bytes) -> None:
        session.perform(self.reply, default)
        session.flush()
        session.reset()
        raise SessionOver("reset by the server")


class Hang(Action):
    """Says REPLY (by default nothing), then neither speaks nor listens until the client goes."""

    def __init__(self, reply: Answer = b"") -> None:
        self.reply = reply

    def perform(self, session: "Session", default: bytes) -> None:
        session.perform(self.reply, default)
        session.flush()
        session.wait_for_client_to_go()
        raise SessionOver("hung until the client went")


class Delay(Action):
    """Answers REPLY (None: the right one) after SECONDS."""

    def __init__(self, seconds: float, reply: Answer = None) -> None:
        self.seconds = seconds
        self.reply = reply

    def perform(self, session: "Session", default: bytes) -> None:
        session.flush()
        session.pause(self.seconds)
        session.perform(self.reply, default)


class Dribble(Action):
    """Answers REPLY in pieces of SIZE octets, each its own write, PAUSE seconds apart."""

    def __init__(self, reply: Answer = None, pause: float = 0.0, size: int = 1) -> None:
        self.reply = reply
        self.pause = pause
        self.size = size

    def perform(self, session: "Session", default: bytes) -> None:
        session.flush()
        session.perform(self.reply, default)
        octets = session.take_unsent()
        for start in range(0, len(octets), self.size):
            session.write_now(octets[start : start + self.size])
            session.pause(self.pause)


class Drip(Action):
    """Says OCTETS over and over, a piece of SIZE each PAUSE seconds, until the client goes."""

    def __init__(self, octets: bytes, pause: float = 0.1, size: int = 1) -> None:
        self.octets = octets
        self.pause = pause
        self.size = size

    def perform(self, session: "Session", default: bytes) -> None:
        session.flush()
        while True:
            for start in range(0, len(self.octets), self.size):
                session.write_now(self.octets[start : start + self.size])
                session.pause(self.pause)


class Then(Action):
    """Several answers, one after another. The first reply said decides what the session does."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = answers

    def perform(self, session: "Session", default: bytes) -> None:
        for answer in self.answers:
            session.perform(answer, default)


class AfterOctets(Action):
    """For "BODY" only: reads COUNT octets of the body, then does ANSWER. Counts what this server
    has read; the client may have written more."""

    def __init__(self, count: int, answer: Answer) -> None:
        self.count = count
        self.answer = answer

    def perform(self, session: "Session", default: bytes) -> None:
        session.read_at_least(self.count)
        session.perform(self.answer, default)
