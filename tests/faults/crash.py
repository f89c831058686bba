"""A crash at every step: SIGKILL at each system call of a run, of the run that recovers from it,
and of the Django backend.

A kill on entering call N is the state behind call N - 1, so all of them are all states that the
kernel ever sees. The loader's calls before main() are among them.

SMTP leaves one repeat open: a server that has taken the final dot while nobody was left to write
that down. Whose deliveries these are follows from what the server has accepted since the last
crash and from who is still to be served by the files in new/; any other repeat is a failure.
"""

from __future__ import annotations

import random
import re
import signal
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Sequence, Tuple

from lab import measure
from lab.spool import fields_of

from .inject import TIMEOUT, Place, Writers, can_inject, check_reached, have_django
from .inject import in_memory, in_parallel, letters_in, merge, places, sample
from .load import EHLO, SENDER, Key, Load, text
from .report import Row

SHORT_SPREAD = 12  # places in the short form, besides those below
SHORT_TWICE = 8
LONG_TWICE = 150
# Between two of these calls nothing changes on the disk or at the server.
DECISIVE = ("rename", "fsync", "unlink", "sendto", "write")
CHANGING = ("rename", "unlink", "sendto")  # of these, with several connections
BEYOND = 2  # a run may have a few more calls of a name than the one that was looked at
SEED = 20


@dataclass(frozen=True)
class Way:
    """How mail goes out, and so how many messages may be in doubt at a crash."""

    title: str
    connections: int
    in_doubt: int
    ehlo: Tuple[str, ...] = EHLO
    parts: bool = False

    def load(self, directory: str) -> Load:
        return Load(
            Path(directory), connections=self.connections, parts=self.parts, ehlo=self.ehlo
        )


ONE = Way("connections = 1", 1, 1)
FOUR = Way("connections = 4", 4, 4)
CHUNKING = Way("by BDAT", 1, 20, (*EHLO, "CHUNKING"))  # 20 in flight are the default
PARTS = Way("two relays, in parts", 1, 2, parts=True)


class Crashes:
    """What the crashes of one case have left open."""

    def __init__(self, load: Load, way: Way) -> None:
        self.load = load
        self.way = way
        self.may_repeat: "Counter[Key]" = Counter()
        self.problems: List[str] = []
        self._delivered: "Counter[Key]" = Counter()

    def note(self) -> None:
        """To be called after each crash."""
        delivered = self.load.delivered()
        in_doubt = (delivered - self._delivered) & self.load.to_serve()
        self._delivered = delivered
        self.may_repeat += in_doubt
        self.problems += self.load.damaged()
        cases = {case for case, _ in in_doubt}
        if len(cases) > self.way.in_doubt:
            self.problems.append(f"{sorted(cases)} in doubt, {self.way.title}")

    def account(self, row: Row, where: str) -> None:
        """To be called when all is recovered."""
        self.problems += self.load.damaged()
        for key, count in (self.load.repeated() - self.may_repeat).items():
            self.problems.append(f"{key} sent again, {count} times too often")
        self.load.account(row, sum(self.may_repeat.values()), where)
        row.problems += [f"{where}: {problem}" for problem in self.problems]


def _run(load: Load, place: Place) -> bool:
    """Runs and is killed at PLACE; False when the run ended before."""
    done = measure.trace(
        load.spool.argv("run"), [place.name], options=place.kill(), timeout=TIMEOUT
    )
    return done.returncode == -signal.SIGKILL


def _case(scratch: Path, way: Way, kills: Sequence[Place]) -> Row:
    """One spool, and a run killed at each of KILLS, one after the other."""
    row, where = Row(""), ", then ".join(map(str, kills))
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        with way.load(directory) as load:
            load.drop()
            crashes = Crashes(load, way)
            for place in kills:
                if not _run(load, place):
                    break
                crashes.note()
                load.make_due()
            else:
                load.recover()
                crashes.account(row, where)
    return row


def _places(scratch: Path, way: Way) -> List[Place]:
    """The calls of an undisturbed run."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        with way.load(directory) as load:
            load.drop()
            return places(measure.trace(load.spool.argv("run")).text)


def _beyond(found: Sequence[Place]) -> List[Place]:
    """Places that another run may have."""
    last = Counter(place.name for place in found)
    return [
        Place(name, count + more, "beyond the run that was looked at")
        for name, count in last.items()
        for more in range(1, BEYOND + 1)
    ]


def _once(scratch: Path, short: bool, way: Way) -> Row:
    found = _places(scratch, way)
    always = DECISIVE if way is ONE else CHANGING
    chosen = sample(found, SHORT_SPREAD, always) if short else found
    row = Row(f"killed at each system call, {way.title}")
    if short:
        row.fault = f"killed at a sample of calls, {way.title}"
    in_parallel(row, lambda place: _case(scratch, way, [place]), chosen)
    check_reached(row, len(chosen))
    if not short:
        beyond = _beyond(found)
        in_parallel(row, lambda place: _case(scratch, way, [place]), beyond)
    return row


def _twice(scratch: Path, short: bool, way: Way) -> Row:
    """The run that recovers is killed as well. It is shorter: some of the kills come to nothing."""
    choose = random.Random(SEED)
    found = [p for p in _places(scratch, way) if p.name.startswith(DECISIVE)]
    pairs: List[Tuple[Place, Place]] = [
        (choose.choice(found), choose.choice(found))
        for _ in range(SHORT_TWICE if short else LONG_TWICE)
    ]
    row = Row(f"killed twice, {way.title}")
    in_parallel(row, lambda pair: _case(scratch, way, pair), pairs)
    return row


def _tell(directory: str) -> Load:
    """A relay that refuses what SENDER sends, and a message to be told of: nothing else."""
    load = Load(Path(directory), answers={"RCPT": {SENDER: None, "*": "550 5.1.1 Unknown"}})
    load.server.__enter__()
    load.aim(notify=["sender"])
    _drop_refused(load, "first")
    return load


def _drop_refused(load: Load, case: str) -> None:
    load.spool.drop(text(case), envelope=(SENDER, [f"{case}@example.net"]))


def _reports(load: Load, case: str) -> List[bytes]:
    """Those about CASE that the relay has taken, one for each that is another mail."""
    about = f"; {case}@example.net".encode()
    taken = [m.data for m in load.server.messages if m.sender == "" and about in m.data]
    ids = {re.search(rb"^Message-ID: (.*)$", data, re.MULTILINE) for data in taken}
    return sorted({found[1] for found in ids if found})


def _told_case(scratch: Path, place: Place) -> Row:
    """Killed at PLACE; what is left is told by the next run that has something to tell."""
    row = Row("")
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        load = _tell(directory)
        try:
            if not _run(load, place):
                return row
            load.make_due()
            load.spool.run()
            _drop_refused(load, "second")
            for _ in range(3):
                load.make_due()
                load.spool.run()
            told = [len(_reports(load, case)) for case in ("first", "second")]
            left = load.spool.ls()
            failed = [fields_of(name).keys() for name in left["failed"]]
            row.add(told.count(0), 0, len(left["new"]))
            if told != [1, 1] or failed != [{"A", "E"}] * 2:
                row.problems.append(f"{place}: told {told} times, left {left}")
        finally:
            load.server.stop()
    return row


def _told(scratch: Path, short: bool) -> Row:
    """A message fails and its sender is to be told: of each failure there is one mail."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        load = _tell(directory)
        try:
            found = places(measure.trace(load.spool.argv("run")).text)
        finally:
            load.server.stop()
    chosen = sample(found, SHORT_SPREAD, CHANGING) if short else found
    row = Row("killed at each system call, a failure to be told")
    if short:
        row.fault = "killed at a sample of calls, a failure to be told"
    in_parallel(row, lambda place: _told_case(scratch, place), chosen)
    check_reached(row, len(chosen))
    return row


def _django(scratch: Path, short: bool, module: str) -> Row:
    """The backend, from just before its first message on; a leftover in tmp/ is what sweeping is
    for."""
    row = Row(f"Django backend ({module}) killed at each system call")
    with Writers(scratch, module) as writers:
        undisturbed = writers.send()
        whole = letters_in(undisturbed)
        # How often threads have to wait for each other is different each time.
        found = [place for place in places(undisturbed.trace) if place.name != "futex"]
        if short:
            row.fault = f"Django backend ({module}) killed at a sample of calls"
            found = sample(found, 0, DECISIVE)
        for place in found:
            sent = writers.send(place.kill(), [place.name])
            if sent.status == -signal.SIGKILL:
                merge(row, sent.judge(whole, str(place)))
    check_reached(row, len(found))
    return row


def rows(short: bool, scratch: Path) -> Iterator[Row]:
    if not can_inject("crash"):
        return
    with in_memory(scratch) as scratch:
        yield from _rows(short, scratch)


def _rows(short: bool, scratch: Path) -> Iterator[Row]:
    for way in (ONE, FOUR, CHUNKING, PARTS):
        yield _once(scratch, short, way)
        yield _twice(scratch, short, way)
    yield _told(scratch, short)
    if have_django("crash"):
        for module in ("filebased", "bulk"):
            yield _django(scratch, short, module)
