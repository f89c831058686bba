"""What the tests of the SMTP part share: letters, a config for one relay, a run and its log."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any, Dict, List, Mapping, Optional

from lab import logfmt
from lab.faultserver import FaultServer
from lab.spool import Spool, fields_of

Event = Dict[str, str]

SENDER = "a@example.com"
LETTER = b"From: a@example.com\nSubject: x\n\ntext\n"
OUTCOMES = ("sent", "deferred", "failed")

_STARTED = time.time()
_counter = itertools.count()


def aim(
    spool: Spool, server: Any, options: Optional[Mapping[str, Any]] = None, /, **relay: Any
) -> None:
    """Makes SERVER the spool's only relay, over one plain connection unless RELAY says more."""
    relay = {"url": server.url, "tls": "none", "connections": 1, **relay}
    spool.write_config(options, **relay)


def _next_name() -> str:
    """Names sort in the order in which they were made, whatever the clock says."""
    return f"{int(_STARTED)}.M{next(_counter):06}P{os.getpid()}Q0.lab"


def letter(spool: Spool, *to: str, text: bytes = LETTER, sender: str = SENDER) -> str:
    """Drops a letter for TO, by default b@example.net, to be sent after those dropped before;
    returns its name."""
    return spool.drop(text, _next_name(), envelope=(sender, to or ("b@example.net",)))


def letters(spool: Spool, count: int) -> List[str]:
    """COUNT letters, the nth for rN@example.net from sN@example.com."""
    return [
        letter(spool, f"r{n}@example.net", sender=f"s{n}@example.com") for n in range(count)
    ]


def run(spool: Spool, status: int = 0, timeout: float = 60) -> List[Event]:
    """Runs once and returns the log; fails unless the exit status is STATUS."""
    done = spool.run(timeout=timeout)
    assert done.returncode == status, done.stderr
    return logfmt.parse(done.stderr)


def results(events: List[Event]) -> List[Event]:
    """The events that tell a recipient's result."""
    return [event for event in events if event["event"] in OUTCOMES and "to" in event]


def result(events: List[Event]) -> Event:
    """The only result."""
    found = results(events)
    assert len(found) == 1, events
    return found[0]


def about_relay(events: List[Event]) -> List[Event]:
    return [event for event in events if event["event"].startswith("relay-")]


def assert_waiting(spool: Spool, *names: str) -> None:
    """Each is as it was dropped: in new/, nothing charged."""
    for name in names:
        assert spool.find(name) == spool.path / "new" / name


def assert_deferred(spool: Spool, name: str, status: str, attempts: int = 1) -> None:
    """In new/ with the fields of a deferred message, due after the first step of the schedule."""
    place, fields = spool.state(name)
    assert place == "new"
    due = int(fields.pop("T")) - time.time()
    assert fields == {"A": str(attempts), "E": status}
    assert attempts != 1 or 50 <= due <= 67


def assert_failed(spool: Spool, name: str, status: str, attempts: int = 1) -> None:
    assert spool.state(name) == ("failed", {"A": str(attempts), "E": status})


def assert_sent(spool: Spool, name: str, attempts: int = 1) -> None:
    path = spool.find(name)
    assert path.parent.name == "cur"
    assert path.name.endswith(f",A={attempts}:2,S")


def block(spool: Spool, name: str) -> List[str]:
    """The X-Maildrain lines at the top of the file."""
    lines = spool.find(name).read_bytes().decode(errors="backslashreplace").split("\n")
    stop = next(n for n, line in enumerate(lines) if not line.startswith("X-Maildrain-"))
    return lines[:stop]


def make_due(spool: Spool, name: str) -> None:
    """Takes T away, as an operator would for "now"."""
    path = spool.find(name)
    until = fields_of(path.name)["T"]
    os.rename(path, path.with_name(path.name.replace(f",T={until}", "")))


def senders(server: FaultServer) -> List[str]:
    return [message.sender for message in server.messages]
