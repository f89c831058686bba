"""What the tests of status, list and show share: messages in each state, JSON, a terminal."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any, Dict, List, Optional

import pytest

from lab import terminal
from lab.spool import Spool, unique_of

MESSAGE = (
    b"From: Ann <a@example.com>\n"
    b"To: b@example.net,\n"
    b"\tc@example.net\n"
    b"Subject: hello\n"
    b"\n"
    b"text\n"
)
TO_B = ("a@example.com", ["b@example.net"])
STATES = ("waiting", "in_flight", "deferred", "failed", "sent")
FIELDS = {
    "id", "state", "file", "made", "attempts", "status", "priority", "due", "next", "expires",
    "claim", "warned", "untold", "size", "sender", "recipients", "fault",
}  # fmt: skip

_count = itertools.count(1)


def name(age: int, fields: str = "") -> str:
    """A name as the backend makes it, AGE seconds ago."""
    return f"{int(time.time()) - age}.M{next(_count):06}P1Q1.h{fields}"


def put(spool: Spool, folder: str, file: str, content: bytes = MESSAGE) -> str:
    (spool.path / folder / file).write_bytes(content)
    return file


def as_json(spool: Spool, *args: str) -> Any:
    done = spool.command(*args)
    assert done.returncode == 0 and done.stderr == "", done
    assert done.stdout.isascii() and done.stdout.endswith("\n")
    return json.loads(done.stdout)


def by_id(spool: Spool, *args: str) -> Dict[str, Dict[str, Any]]:
    messages = as_json(spool, "list", "--json", *args)
    assert len({message["id"] for message in messages}) == len(messages)
    return {message["id"]: message for message in messages}


RECIPIENTS = [
    "b@example.net",
    "\u4f60\u597d\u4f60\u597d\u4f60\u597d\u4f60\u597d\u4f60\u597d\u4f60\u597d@example.net",
    "e\u0301" * 40 + "@example.net",
    "\U0001f4e7\U0001f4e7@example.net",
    "ä" * 60 + "@example.net",
]


def fill_for_a_terminal(spool: Spool) -> List[str]:
    """A message for each state and each kind of address; their ids in the order of a listing."""
    now = int(time.time())
    files = [
        spool.drop(MESSAGE, name(5000 + i), ("a@example.com", [recipient, *RECIPIENTS]))
        for i, recipient in reversed(list(enumerate(RECIPIENTS)))
    ]
    files.append(spool.drop(MESSAGE, "letter ö with a name of \u4f60\u597d its own.eml", TO_B))
    files.append(
        spool.drop(MESSAGE, name(400, f",A=12,E=4.2.1,T={now + 13 * 3600 + 720}"), TO_B)
    )
    files.append(spool.drop(MESSAGE, name(90, f",A=1,C=other-7,T={now + 3600}"), TO_B))
    files.append(put(spool, "failed", name(90_000, ",A=1,E=5.1.1")))
    files.append(put(spool, "failed", name(80_000, ",A=1,E=5.6.0"), b"no message\n"))
    files.append(put(spool, "cur", name(80, ",A=1:2,S")))
    return [unique_of(file) for file in files]


def screen(spool: Spool, columns: int, *args: str, **env: Optional[str]) -> List[str]:
    """The lines that a terminal of COLUMNS shows."""
    pytest.importorskip("pyte", reason="python3-pyte is missing")
    rows = terminal.emulate(terminal.run(spool.argv(*args), columns, env), columns)
    return [terminal.text_of(row) for row in rows]
