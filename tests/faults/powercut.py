"""Power that goes while mail is dropped, sent, imported, or a spool is made.

The file system is shut down for real, so that what was not synced is gone; then it is mounted again
and runs go on until all is quiet.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from lab.django_site import DjangoSite
from lab.faultactions import Delay
from lab.faultsession import Session
from lab.measure import have_strace, trace
from lab.spool import Spool

from .load import NOBODY, SENDER, Load, text
from .mounts import BTRFS, EXT4, XFS, Kind, Volume, private_mounts, why_not
from .report import Row

SEED = 20261122
LETTERS = 300
# Some of the first are for three, of whom one gets it, one is busy, one unknown. Not later ones: to
# write such a result takes an fsync, with which an ext4 brings all that was before to the disk.
PARTIAL = range(0, 60, 10)
# The contract: what may be repeated after a cut.
RESULTS_AT_RISK = 100
SECONDS_AT_RISK = 1.0
SLACK = 0.3  # seconds from an accepted dot until a busy machine has read its reply


# ---- dropping ----

_DROPPER = r"""
import sys
wait = {wait!r}
number = {first}
connection = get_connection("maildrain.{module}.EmailBackend")

def letter(number):
    body = f"X-Lines {{number}}\n" + "A line of this message.\n" * (number % 7 * 20) + "The end.\n"
    return EmailMessage(f"drop{{number}}", body, None, [f"drop{{number}}@example.net"])

while True:
    numbers = range(number, number + {each})
    connection.send_messages([letter(number) for number in numbers])
    print(*numbers, sep="\n", flush=True)
    number += {each}
    if wait:
        sys.stdin.readline()
"""
_WHOLE = re.compile(
    rb"\nSubject: drop(\d+)\n.*\n\nX-Lines \1\n((?:A line[^\n]*\n)*)The end\.\n\Z", re.S
)


class Drops:
    """A Django that drops again and again on one file system, and what it was told is queued. With
    the MODULE for mass mail it drops several at a time."""

    def __init__(self, volume: Volume, row: Row, module: str) -> None:
        self.volume = volume
        self.row = row
        self.module = module
        self.each = 30 if module == "bulk" else 1
        self.reported: Set[int] = set()

    def cut_after(self, count: int) -> None:
        """Cuts once COUNT calls have been reported, before the next one begins."""
        self._session(count, None)

    def cut_when(self, seconds: float) -> None:
        """Cuts SECONDS after the first report, wherever Django is then."""
        self._session(1, seconds)

    def _session(self, count: int, seconds: Optional[float]) -> None:
        first = max(self.reported, default=-1) + 1000
        dropper = _DROPPER.format(
            wait=seconds is None, first=first, module=self.module, each=self.each
        )
        process = DjangoSite(self.volume.path).start(dropper)
        assert process.stdin and process.stdout
        for n in range(count):
            if n and seconds is None:
                print(file=process.stdin, flush=True)
            for _ in range(self.each):
                self._take(process.stdout.readline())
        time.sleep(seconds or 0)
        self.volume.cut([process.pid])
        for line in process.stdout:
            self._take(line)
        process.wait()
        process.stdin.close()
        process.stdout.close()
        self.volume.mount_again()
        self._check(f"{self.volume.kind.name}, {len(self.reported)} reported")

    def _take(self, line: str) -> None:
        if line.endswith("\n"):
            self.reported.add(int(line))

    def _check(self, where: str) -> None:
        found: List[int] = []
        for path in (self.volume.path / "new").iterdir():
            data = path.read_bytes()
            match = _WHOLE.search(data)
            if match and len(match[2].splitlines()) == int(match[1]) % 7 * 20:
                found.append(int(match[1]))
            else:
                self.row.problems.append(f"{where}: new/{path.name} is half: {data[-80:]!r}")
        lost = self.reported - set(found)
        self.row.add(len(lost), len(found) - len(set(found)), 0)
        if lost:
            self.row.problems.append(f"{where}: gone, and Django knows as queued: {sorted(lost)}")
            self.reported -= lost

    def send(self, load: Load) -> None:
        """All that is queued goes out, once."""
        load.recover()
        got = Counter(message.recipients[0] for message in load.server.messages)
        expected = {f"drop{number}@example.net" for number in self.reported}
        self.row.add(
            len(expected - set(got)),
            sum(got.values()) - len(got),
            len(os.listdir(self.volume.path / "new")),
        )


def _dropping(
    scratch: Path,
    kind: Kind,
    counts: Sequence[int],
    seconds: Sequence[float],
    module: str = "filebased",
) -> Row:
    row = Row(f"power cut while Django drops ({module}), {kind.name}")
    directory = scratch / "site"
    if kind == EXT4:
        kind = replace(kind.with_mkfs("-N", "16384"), size=48 << 20)
    with Volume(directory, kind) as volume, Load(directory) as load:
        _sync(volume)
        drops = Drops(volume, row, module)
        for count in counts:
            drops.cut_after(count)
        for moment in seconds:
            drops.cut_when(moment)
        drops.send(load)
        _check_volume(volume, row)
    return row


def _sync(volume: Volume) -> None:
    volume.unmount()
    volume.mount()


def _check_volume(volume: Volume, row: Row, where: str = "") -> None:
    if wrong := volume.check():
        row.problems.append(f"{volume.kind.name}{where}: fsck: {wrong[-300:]}")


# ---- sending ----


def _recipients(number: int) -> Tuple[str, ...]:
    mine = f"m{number}@example.net"
    return (mine, NOBODY, f"l{number}@example.net") if number in PARTIAL else (mine,)


def _fill(spool: Spool) -> None:
    for number in range(LETTERS):
        spool.drop(text(f"m{number}"), envelope=(SENDER, _recipients(number)))


def _template(scratch: Path, kind: Kind) -> Path:
    """An image of a spool with all the letters."""
    directory = scratch / "template"
    with Volume(directory, kind) as volume:
        _fill(Spool(directory))
        volume.unmount()
        image = scratch / f"letters-{kind.name}"
        subprocess.run(["cp", "--sparse=always", volume.image, image], check=True)
    return image


class Cut:
    """A run whose power is cut after so many accepted dots, or after some time."""

    def __init__(self, volume: Volume, after: Optional[int], seconds: Optional[float]) -> None:
        self.volume = volume
        self.after = after
        self.seconds = seconds
        self.accepted: List[Tuple[float, Tuple[str, ...]]] = []  # when, and for whom
        self.at: Optional[float] = None
        self.seen = 0  # dots accepted up to the cut
        self.over = False  # what comes now belongs to the runs after the cut
        self.run: Optional["subprocess.Popen[bytes]"] = None
        self._lock = threading.Lock()

    def on_dot(self, session: Session) -> None:
        with self._lock:
            if not self.over:
                self.accepted.append((time.monotonic(), tuple(session.recipients)))
            if self.at is None and len(self.accepted) == self.after:
                self._now()

    def _now(self) -> None:
        assert self.run
        self.at = time.monotonic()
        self.seen = len(self.accepted)
        self.volume.cut([self.run.pid])

    def perform(self, load: Load, log: Path) -> None:
        with open(log, "wb") as output:
            with self._lock:
                self.run = subprocess.Popen(
                    load.spool.argv("run"), stdin=subprocess.DEVNULL, stdout=output, stderr=output
                )
            if self.seconds is not None:
                time.sleep(self.seconds)
                with self._lock:
                    self._now()
            self.run.wait(60)
        load.server.settle()  # what was under way may still be accepted
        self.over = True
        self.volume.mount_again()

    def at_risk(self, connections: int) -> Set[str]:
        """Who may get a message again: all for whom those are that had the last results, as far as
        these are young, or that were under way."""
        assert self.at is not None
        first = max(0, self.seen - RESULTS_AT_RISK - 2 * connections)
        oldest = self.at - SECONDS_AT_RISK - SLACK
        return {
            recipient
            for when, recipients in self.accepted[first:]
            for recipient in (*recipients, recipients[0].replace("m", "l", 1))
            if when >= oldest
        }


def _answers(on_dot: Any) -> Dict[str, Any]:
    busy: Dict[str, Any] = {
        f"l{number}@example.net": ["451 4.2.2 Mailbox busy"]
        for number in PARTIAL
    }
    return {"RCPT": {NOBODY: "550 5.1.1 Nobody of this name", **busy}, "DOT": on_dot}


def _cut_sending(
    scratch: Path,
    row: Row,
    kind: Kind,
    image: Path,
    *,
    after: Optional[int] = None,
    seconds: Optional[float] = None,
    connections: int = 1,
    delay: float = 0.0,
) -> None:
    where = f"{kind.name}, {after or 'at %.3f s' % (seconds or 0)}, {connections} connections"
    directory = scratch / "site"
    with Volume(directory, kind, image=image) as volume:
        cut = Cut(volume, after, seconds)

        def on_dot(session: Session) -> Any:
            cut.on_dot(session)
            return Delay(delay) if delay and cut.at is None else None

        with Load(directory, connections=connections, answers=_answers(on_dot)) as load:
            _sync(volume)
            cut.perform(load, scratch / "run.log")
            if cut.at is None:
                row.problems.append(f"{where}: it ended before the cut")
                return
            _check_letters(volume, row, where)
            load.recover()
            _check_letters(volume, row, f"{where}, at the end", names=1)
            _account(load, row, where, cut.at_risk(connections))
        _check_volume(volume, row, where)


def _check_letters(volume: Volume, row: Row, where: str, names: int = 2) -> None:
    """Each letter is there, and whole. After a cut a file may stand in two places: btrfs takes a
    rename for two steps when only the directory of the new name is synced."""
    seen: Set[str] = set()
    for folder in ("new", "cur", "failed"):
        for path in (volume.path / folder).iterdir():
            seen.add(path.name.split(".")[1])  # what is behind may have got a "-2"
            if path.stat().st_nlink > names:
                row.problems.append(f"{where}: {folder}/{path.name} has other names still")
            if not path.read_bytes().endswith(b"\nA line.\n"):
                row.problems.append(f"{where}: {folder}/{path.name} is half")
    if len(seen) != LETTERS:
        row.problems.append(f"{where}: {len(seen)} of {LETTERS} letters are there")


def _account(load: Load, row: Row, where: str, at_risk: Set[str]) -> None:
    expected = {to for n in range(LETTERS) for to in _recipients(n) if to != NOBODY}
    got = Counter(to for message in load.server.messages for to in message.recipients)
    again = {to: count - 1 for to, count in got.items() if count > 1}
    excused = sum(count for to, count in again.items() if to in at_risk)
    stuck = os.listdir(load.spool.path / "new")
    row.add(len(expected - set(got)), sum(again.values()), len(stuck), excused)
    wrong = sorted(set(again) - at_risk)
    if wrong:
        row.problems.append(f"{where}: repeated though their results were old: {wrong[:8]}")
    if max(again.values(), default=0) > 1:
        row.problems.append(f"{where}: repeated more than once: {again}")
    if stuck:
        row.problems.append(f"{where}: stuck: {stuck[:4]}")
    row.problems += [f"{where}: {text}" for text in load.server.violations + load.server.bugs]


def _sending(
    scratch: Path, kind: Kind, image: Path, afters: Sequence[int], seconds: Sequence[float]
) -> Row:
    row = Row(f"power cut while {LETTERS} messages are sent, {kind.name}")
    for number, after in enumerate(afters):
        _cut_sending(scratch, row, kind, image, after=after, connections=1 + number % 2 * 3)
    for number, moment in enumerate(seconds):
        _cut_sending(scratch, row, kind, image, seconds=moment, connections=1 + number % 2 * 3)
    return row


def _slowly(scratch: Path, kind: Kind, image: Path, seconds: Sequence[float]) -> Row:
    """Results come one by one: here it is the second that counts, not the hundred."""
    row = Row(f"power cut while a slow relay takes them, {kind.name}")
    for moment in seconds:
        _cut_sending(scratch, row, kind, image, seconds=moment, delay=0.03)
    return row


# ---- each step ----

_STEPS = ("openat", "write", "fsync", "renameat2", "unlinkat", "sendto", "recvfrom")
_INIT_STEPS = ("mkdirat", "openat", "fchmod", "fsync", "close")


def _count_steps(argv: Sequence[str], calls: Sequence[str], path: Path) -> List[Tuple[str, int]]:
    """Each of CALLS by number, from the first that has to do with the spool."""
    steps: List[Tuple[str, int]] = []
    counts: "Counter[str]" = Counter()
    begun = False
    for line in trace(argv, calls).text.splitlines():
        match = re.match(r"\d+ +(\w+)\(", line)
        if match:
            counts[match[1]] += 1
            begun = begun or f'"{path}"' in line
            if begun:
                steps.append((match[1], counts[match[1]]))
    return steps


def _die_at(argv: Sequence[str], step: Tuple[str, int]) -> None:
    """Runs ARGV up to STEP, which is not made."""
    call, number = step
    inject = f"inject={call}:signal=KILL:when={number}"
    trace(argv, [call], options=("-e", inject))


def _each_step(scratch: Path, kind: Kind, every: int) -> Row:
    """A run over a message of every kind: partial results are rewritten, a dump is imported. Power
    goes between each two system calls that matter."""
    row = Row(f"power cut at each step of a run, {kind.name}")
    directory = scratch / "site"
    steps: List[Tuple[str, int]] = []
    number = 0
    while number == 0 or number < len(steps):
        with Volume(directory, kind) as volume, Load(directory) as load:
            load.drop()
            _sync(volume)
            if not steps:
                steps = _count_steps(load.spool.argv("run"), _STEPS, load.spool.path)[::every]
                continue
            where = f"{kind.name}, before {steps[number][0]} number {steps[number][1]}"
            _die_at(load.spool.argv("run"), steps[number])
            volume.cut()
            volume.mount_again()
            sent = sum(load.delivered().values())
            load.recover()
            load.account(row, min(sent, _repeats(load)), where)
            _check_volume(volume, row, where)
        number += 1
    return row


def _repeats(load: Load) -> int:
    """So many as are sent here are all among the last 100, of which each may be repeated: once."""
    return sum(min(count - 1, 1) for count in load.delivered().values())


def _each_init_step(scratch: Path, kind: Kind, every: int) -> Row:
    """A spool half made is refused or works, and init completes it; what init has made stays."""
    row = Row(f"power cut at each step of init, {kind.name}")
    directory = scratch / "site"
    steps: List[Tuple[str, int]] = []
    number = 0
    while number == 0 or number < len(steps) + 1:
        with Volume(directory, kind) as volume, Load(directory) as load:
            load.spool.path = volume.path / "queue"
            load.aim()
            _sync(volume)
            if not steps:
                steps = _count_steps(load.spool.argv("init"), _INIT_STEPS, load.spool.path)[::every]
                continue
            if number < len(steps):
                where = f"{kind.name}, before {steps[number][0]} number {steps[number][1]}"
                _die_at(load.spool.argv("init"), steps[number])
            else:
                where = f"{kind.name}, after init"
                load.spool.command("init").check_returncode()
            volume.cut()
            volume.mount_again()
            _check_init(load, row, where, complete=number == len(steps))
            _check_volume(volume, row, where)
        number += 1
    return row


def _check_init(load: Load, row: Row, where: str, complete: bool) -> None:
    status = load.spool.run().returncode
    if status not in ([0] if complete else [0, 77, 78]):
        row.problems.append(f"{where}: a run ends with {status}")
    if complete and not load.spool.path.exists():
        row.problems.append(f"{where}: there is no spool")
    load.spool.command("init").check_returncode()
    modes = {
        name: (load.spool.path / name).stat().st_mode & 0o7777
        for name in (".", "tmp", "new", "cur", "failed")
    }
    if modes != {".": 0o3770, "tmp": 0o3770, "new": 0o3770, "cur": 0o2750, "failed": 0o2750}:
        row.problems.append(f"{where}: modes {modes}")
    load.spool.drop(text("after"), envelope=(SENDER, ["after@example.net"]))
    load.recover()
    got = load.delivered()["after", "after@example.net"]
    row.add(got == 0, max(got - 1, 0), len(os.listdir(load.spool.path / "new")))


# ---- all of them ----


def _say(text: str) -> None:
    print(f"    powercut: {text}", file=sys.stderr)


def _short(scratch: Path) -> Iterator[Row]:
    yield _dropping(scratch, EXT4, (1, 2), (0.01, 0.05))
    yield _dropping(scratch, EXT4, (1, 2), (0.01,), "bulk")
    image = _template(scratch, EXT4)
    yield _sending(scratch, EXT4, image, (2, 150, 290), (0.1,))
    yield _slowly(scratch, EXT4, image, (3.3,))
    if have_strace():
        yield _each_step(scratch, EXT4, 17)
        yield _each_init_step(scratch, EXT4, 9)


def _long(scratch: Path, kind: Kind) -> Iterator[Row]:
    chance = random.Random(SEED)
    moments = [chance.uniform(0.0, 0.4) for _ in range(20)]
    yield _dropping(scratch, kind, (1, 1, 2, 3, 5, 8, 13), [moment / 4 for moment in moments])
    yield _dropping(scratch, kind, (1, 2, 3), [moment / 4 for moment in moments[:8]], "bulk")
    image = _template(scratch, kind)
    afters = (1, 2, 50, 98, 99, 100, 101, 102, 103, 150, 199, 200, 201, 250, 299, 300)
    yield _sending(scratch, kind, image, afters, moments)
    yield _slowly(scratch, kind, image, [1.0 + moment * 6 for moment in moments[:6]])
    if have_strace():
        yield _each_step(scratch, kind, 1)
        yield _each_init_step(scratch, kind, 1)


def rows(short: bool, scratch: Path) -> Iterator[Row]:
    if reason := why_not(EXT4):
        _say(f"left out: {reason}")
        return
    if not have_strace():
        _say("the cuts at each step are left out: strace is missing")
    with private_mounts(scratch):
        if short:
            yield from _short(scratch)
            return
        for kind in (EXT4, XFS, BTRFS):
            if reason := why_not(kind):
                _say(f"{kind.name} is left out: {reason}")
            else:
                yield from _long(scratch, kind)
