"""The mail that is sent: messages as smtp-source makes them, and a spool full of them."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Iterator, Sequence

from lab.spool import DIRECTORIES, Spool, envelope_block, unique_of

ADDRESS = "user@example.test"
BORN = int(time.time())  # when the first message of a full spool was dropped, by its name


def message(number: int, length: int) -> bytes:
    """A message of about the form that smtp-source sends: LENGTH octets of body on the wire."""
    header = (
        f"From: <{ADDRESS}>\nTo: <{ADDRESS}>\nDate: Thu, 1 Jan 2026 00:00:00 +0000 (UTC)\n"
        f"Message-Id: <{number:010}@example.test>\n\n"
    )
    lines = [(b"X" * 78 + b"\n") * (length // 80)]
    rest = length % 80
    if rest >= 2:
        lines.append(b"X" * (rest - 2) + b"\n")
    return header.encode() + b"".join(lines)


def name_of(number: int) -> str:
    return f"{BORN + number // 1_000_000}.M{number % 1_000_000:06}P1Q{number}.bench"


def put(
    spool: Spool, name: str, content: bytes, recipients: Sequence[str] = (ADDRESS,)
) -> None:
    """Puts a message into new/ under NAME, in a file of its own; syncs nothing."""
    draft = spool.path / "tmp" / name
    draft.write_bytes(envelope_block(ADDRESS, recipients) + content)
    os.rename(draft, spool.path / "new" / name)


def fill(spool: Spool, count: int, length: int) -> None:
    """Puts COUNT messages into new/, all on disk before it returns."""
    for number in range(count):
        put(spool, name_of(number), message(number, length))
    os.sync()


def names(directory: Path) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            yield entry.name


def refill(spool: Spool) -> None:
    """Puts what has been sent back into new/, under its first name."""
    for name in list(names(spool.path / "cur")):
        os.rename(spool.path / "cur" / name, spool.path / "new" / unique_of(name))
    os.sync()


def check_sent(spool: Spool, count: int) -> None:
    """Fails unless all COUNT messages have been sent, with one attempt each."""
    counts = spool.counts()
    if counts != {**dict.fromkeys(DIRECTORIES, 0), "cur": count}:
        raise AssertionError(f"not all of {count} were sent: {counts}")
    if not all(name.endswith(",A=1:2,S") for name in names(spool.path / "cur")):
        raise AssertionError("a message took more than one attempt")
