#!/usr/bin/python3
"""How fast a run drains a spool, beside smtp-source, which sends the same from memory.

Both send 10,000 messages of 2 kB over 4 connections to the same smtp-sink, by turns, because a
machine's speed changes from minute to minute. maildrain's time is that of the whole command, from
its start to its exit, with every claim, rename and fsync done. Filling the spool is not timed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import List, Sequence

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import repo
from lab.measure import Usage, measure
from lab.sink import Sink, run_smtp_source
from lab.spool import Spool

SESSIONS = 4
LENGTH = 2048  # of the body, as smtp-source counts it: with CRLF line ends
ADDRESS = "user@example.test"


def message(number: int, length: int = LENGTH) -> bytes:
    """A message of about the form that smtp-source sends: LENGTH octets of body on the wire."""
    header = (
        f"From: <{ADDRESS}>\nTo: <{ADDRESS}>\nDate: Thu, 1 Jan 2026 00:00:00 +0000 (UTC)\n"
        f"Message-Id: <{number:010}@example.test>\n\n"
    )
    lines = [b"X" * 78 + b"\n"] * (length // 80)
    rest = length % 80
    if rest >= 2:
        lines.append(b"X" * (rest - 2) + b"\n")
    return header.encode() + b"".join(lines)


@dataclass(frozen=True)
class Round:
    """One turn of each: seconds, and what maildrain's run cost."""

    source: float
    drain: Usage

    @property
    def ratio(self) -> float:
        """How many times as fast as smtp-source maildrain was."""
        return self.source / self.drain.wall


@dataclass(frozen=True)
class Comparison:
    count: int
    rounds: Sequence[Round]

    @property
    def source(self) -> float:
        return statistics.median(turn.source for turn in self.rounds)

    @property
    def drain(self) -> float:
        return statistics.median(turn.drain.wall for turn in self.rounds)

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return self.source / self.drain

    def report(self) -> str:
        lines = [
            f"{self.count} messages of {LENGTH} bytes over {SESSIONS} connections to smtp-sink",
            "          smtp-source   maildrain   (CPU s, peak MB)   times as fast",
        ]
        lines += [
            f"turn {number}    {turn.source:8.3f} s  {turn.drain.wall:8.3f} s"
            f"   ({turn.drain.cpu:5.2f}, {turn.drain.max_rss / 1e6:7.1f})   {turn.ratio:12.2f}"
            for number, turn in enumerate(self.rounds, 1)
        ]
        lines.append(
            f"median    {self.source:8.3f} s  {self.drain:8.3f} s"
            f"   {self.count / self.drain:9.0f} msg/s   {self.ratio:12.2f}"
        )
        return "\n".join(lines)


def fill(spool: Spool, count: int) -> None:
    """Puts COUNT messages into new/, all on disk before it returns."""
    block = f"X-Maildrain-From: <{ADDRESS}>\nX-Maildrain-To: <{ADDRESS}>\n".encode()
    for number in range(count):
        name = f"1700000000.M{number:06}P1Q{number}.bench"
        draft = spool.path / "tmp" / name
        draft.write_bytes(block + message(number))
        os.rename(draft, spool.path / "new" / name)
    os.sync()


def refill(spool: Spool) -> None:
    """Puts what has been sent back into new/, under its first name."""
    for name in spool.ls()["cur"]:
        os.rename(spool.path / "cur" / name, spool.path / "new" / name.split(",", 1)[0])
    os.sync()


def drain_once(program: Path, spool: Spool, count: int) -> Usage:
    """Drains COUNT messages by one run of PROGRAM; fails unless each is sent with one attempt."""
    used = measure([str(program), *spool.argv("run")[1:]])
    counts = spool.counts()
    if used.returncode or counts != {"tmp": 0, "new": 0, "cur": count, "failed": 0}:
        raise AssertionError(f"exit {used.returncode}, {counts}: {used.stderr[-2000:]}")
    if not all(name.endswith(",A=1:2,S") for name in spool.ls()["cur"]):
        raise AssertionError("a message took more than one attempt")
    return used


def compare(
    program: Path, directory: Path, *, rounds: int = 5, count: int = 10_000
) -> Comparison:
    """Lets smtp-source and PROGRAM send by turns. The spool is in DIRECTORY."""
    spool = Spool(directory)
    turns: List[Round] = []
    fill(spool, count)
    with Sink(directory, counters=False) as sink:
        spool.write_config(url=sink.url, tls="none", connections=SESSIONS)
        for _ in range(rounds):
            source = run_smtp_source(sink.port, sessions=SESSIONS, count=count, length=LENGTH)
            turns.append(Round(source, drain_once(program, spool, count)))
            refill(spool)
    return Comparison(count, turns)


def _file_system(directory: Path) -> str:
    shown = subprocess.run(
        ["df", "--output=fstype", str(directory)], stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return shown[-1] if shown else "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (5)")
    parser.add_argument("--count", type=int, default=10_000, help="messages in a turn (10000)")
    parser.add_argument("--directory", type=Path, help="where the spool is made (a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="maildrain-bench-", dir=options.directory) as name:
        print(f"{repo.program()}, spool on {_file_system(Path(name))}", flush=True)
        result = compare(
            repo.program(), Path(name), rounds=options.rounds, count=options.count
        )
    print(result.report())


if __name__ == "__main__":
    main()
