#!/usr/bin/python3
"""What it costs Django to drop a message, beside the bare system calls that no backend can save.

The messages are built before, so that it is the backend's own time which is compared; --mime puts
Django's part into it. What is compared takes turns, because a disk's speed changes from minute to
minute. Nothing is removed until the end: an ext4 without a journal is slow to make files near those
that were removed within a minute. Then --directory should name a place that is more quiet.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, List, Sequence

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import repo

sys.path.insert(0, str(repo.DJANGO_SOURCE))

import django
from django.conf import settings

if not settings.configured:
    settings.configure(DEFAULT_FROM_EMAIL="site@example.test", SECRET_KEY="bench", USE_TZ=True)
    django.setup()

from django.core.mail import EmailMessage
from maildrain import bulk, filebased

SLICE = 50  # messages before it is the other's turn
BODY = "A line of a newsletter, as long as the lines of a newsletter often are.\n" * 28
ALIAS = {"alias": "default"} if django.VERSION >= (6, 1) else {}


class Built(EmailMessage):
    """One whose message() has nothing left to do."""

    def build(self) -> "Built":
        self.data = super().message().as_bytes()
        return self

    def message(self, *_: Any, **__: Any) -> Any:
        return self

    def as_bytes(self) -> bytes:
        return self.data

    def __delitem__(self, _: str) -> None:
        """The backend takes Bcc away."""


def letters(count: int, mime: bool) -> List[EmailMessage]:
    kind = EmailMessage if mime else Built
    found = [
        kind(f"Letter {number}", BODY, None, [f"user{number}@example.test"])
        for number in range(count)
    ]
    return found if mime else [letter.build() for letter in found]


class Bare:
    """Write, fsync, rename, fsync, with all names and data at hand."""

    def __init__(self, spool: Path) -> None:
        self.spool = spool
        self.new = os.open(spool / "new", os.O_RDONLY | os.O_DIRECTORY)
        self.done = 0

    def send(self, data: bytes, count: int) -> float:
        names = [str(self.done + number) for number in range(count)]
        files = [(f"{self.spool}/tmp/{name}", f"{self.spool}/new/{name}") for name in names]
        self.done += count
        start = time.perf_counter()
        for draft, path in files:
            fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)
            os.rename(draft, path)
            os.fsync(self.new)
        return time.perf_counter() - start


def send(backend: Any, mails: Sequence[EmailMessage]) -> float:
    start = time.perf_counter()
    sent = backend.send_messages(mails)
    took = time.perf_counter() - start
    assert sent == len(mails)
    return took


@dataclass(frozen=True)
class Turn:
    """Seconds for all messages."""

    bare: float
    single: float
    bulk: float


def take_turn(directory: Path, mails: Sequence[EmailMessage], data: bytes) -> Turn:
    spools = [directory / name for name in ("bare", "single", "bulk")]
    for spool in spools:
        for folder in ("tmp", "new"):
            (spool / folder).mkdir(parents=True)
    os.sync()
    bare = single = 0.0
    bare_files = Bare(spools[0])
    backend = filebased.EmailBackend(file_path=spools[1], **ALIAS)
    for first in range(0, len(mails), SLICE):
        part = mails[first : first + SLICE]
        bare += bare_files.send(data, len(part))
        single += send(backend, part)
    os.close(bare_files.new)
    mass = send(bulk.EmailBackend(file_path=spools[2], **ALIAS), mails)
    assert [len(os.listdir(spool / "new")) for spool in spools] == [len(mails)] * 3
    return Turn(bare, single, mass)


def report(count: int, turns: Sequence[Turn]) -> str:
    def line(name: str, turn: Turn, over: float, gain: float) -> str:
        each = (1e6 * seconds / count for seconds in (turn.bare, turn.single, turn.bulk))
        return "%-8s %10.0f %10.0f %10.0f %15.2f %15.2f" % (name, *each, over, gain)

    over = [turn.single / turn.bare for turn in turns]
    gain = [turn.single / turn.bulk for turn in turns]
    medians = Turn(*(statistics.median(column) for column in zip(*map(_seconds, turns))))
    titles = ("us each", "bare", "filebased", "bulk", "filebased/bare", "filebased/bulk")
    return "\n".join(
        ["%-8s %10s %10s %10s %15s %15s" % titles]
        + [line(f"turn {n}", *row) for n, row in enumerate(zip(turns, over, gain), 1)]
        + [line("median", medians, statistics.median(over), statistics.median(gain))]
    )


def _seconds(turn: Turn) -> Sequence[float]:
    return turn.bare, turn.single, turn.bulk


def _file_system(directory: Path) -> str:
    shown = subprocess.run(
        ["findmnt", "-n", "-o", "FSTYPE,OPTIONS", "-T", str(directory)],
        stdout=subprocess.PIPE,
        text=True,
    )
    return " ".join(shown.stdout.split()) or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7)")
    parser.add_argument("--count", type=int, default=1000, help="messages in a turn (1000)")
    parser.add_argument("--mime", action="store_true", help="with Django's building of the message")
    parser.add_argument("--directory", type=Path, help="where the spools are (a temporary one)")
    options = parser.parse_args()
    mails = letters(options.count, options.mime)
    data = letters(1, mime=False)[0].message().as_bytes()
    with tempfile.TemporaryDirectory(prefix="maildrain-bench-", dir=options.directory) as name:
        print(f"{len(data)} bytes, Django {django.get_version()}, {_file_system(Path(name))}")
        turns = [
            take_turn(Path(name, str(number)), mails, data) for number in range(options.rounds)
        ]
    print(report(options.count, turns))


if __name__ == "__main__":
    main()
