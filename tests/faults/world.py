"""The queue under a broken world: relays that are down, refuse us or take little; clocks that are
wrong; a new/ that is very full.

The clock of a run is set by libfaketime (package faketime), so that days pass in seconds. It goes
with the program as shipped only: a sanitizer's run-time wants to be loaded first.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import (
    Any, Callable, Dict, Generator, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple,
)  # fmt: skip

from lab import faked, logfmt, net, repo
from lab import postfix as lab_postfix
from lab.certs import Certs
from lab.faultactions import Close
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.measure import have_strace, measure, trace
from lab.postfix import Postfix
from lab.spool import Spool, envelope_block, fields_of

from .load import DEAD_PID, HOST
from .report import Row

SENDER = "site@example.com"
DOMAIN = "example.net"
TEXT = b"From: site@example.com\nSubject: x\n\nA line.\n"
MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400
STEP = 27 * HOUR  # longer than the longest retry delay with its spread
FILE_CALLS = ("openat", "newfstatat", "fstat", "faccessat2", "renameat2", "unlinkat", "fsync")
LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"


# ---- the clock ----


class Clock:
    """A clock for maildrain: OFFSET seconds from the true one, until move()d."""

    def __init__(self, directory: Path, offset: int = 0) -> None:
        self._file = directory / "clock"
        self.move(offset)

    @staticmethod
    def why_not() -> str:
        """Why no clock can be set; empty when it can."""
        if not glob.glob(LIBRARIES):
            return "libfaketime is missing: install the package faketime"
        return "" if repo.plain_program().exists() else f"{repo.plain_program()} is missing"

    def move(self, offset: int) -> None:
        """From now on, also for a run that is on."""
        self.offset = offset
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset:+d}\n")
        fresh.rename(self._file)

    def now(self) -> int:
        return int(time.time()) + self.offset

    def env(self) -> Dict[str, str]:
        return {
            "LD_PRELOAD": glob.glob(LIBRARIES)[0],
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


def plain_argv(spool: Spool, *args: str) -> List[str]:
    """maildrain's command line, for the program without sanitizers."""
    return [str(repo.plain_program()), *spool.argv(*args)[1:]]


def run_at(
    spool: Spool, clock: Clock, *args: str, timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """`maildrain run` by that clock."""
    with subprocess.Popen(
        plain_argv(spool, "run", *args),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.env()},
    ) as child:
        try:
            stdout, stderr = child.communicate(timeout=timeout)
        except BaseException:
            child.kill()
            raise
        finally:
            child.wait()
            faked.sweep()
    return subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr)


# ---- the mail ----


def address(number: int) -> str:
    return f"m{number}@{DOMAIN}"


def unique(number: int, birth: int = 1_700_000_000) -> str:
    return f"{birth}.M{number:06}P1Q1.lab"


def number_of(name: str) -> int:
    found = re.match(r"\d+\.M(\d+)P", name)
    return int(found[1]) if found else -1


def put(
    spool: Spool, number: int, fields: str = "", folder: str = "new", to: Optional[str] = None
) -> str:
    """The message of NUMBER, without the fsync of a good writer: there are many of them."""
    name = unique(number) + fields
    path = spool.path / folder / name
    path.write_bytes(envelope_block(SENDER, [to or address(number)]) + TEXT)
    return name


def make_site(
    directory: Path, options: Optional[Mapping[str, Any]] = None, /, **relay: Any
) -> Spool:
    directory.mkdir()
    spool = Spool(directory)
    aim(spool, options, **relay)
    return spool


def aim(spool: Spool, options: Optional[Mapping[str, Any]] = None, /, **relay: Any) -> None:
    options = {"keep_sent": "36500d", **(options or {})}
    spool.write_config(options, **{"url": "smtp://127.0.0.1:1", "tls": "none", **relay})


Seen = Dict[str, Tuple[int, int, int, int]]


def look(spool: Spool) -> Seen:
    """Each file of the spool by its path, with all that a rename or a write would change."""
    seen: Seen = {}
    for folder in ("tmp", "new", "cur", "failed"):
        for item in os.scandir(spool.path / folder):
            st = item.stat(follow_symlinks=False)
            seen[f"{folder}/{item.name}"] = (st.st_ino, st.st_ctime_ns, st.st_mtime_ns, st.st_size)
    return seen


def difference(before: Seen, after: Seen) -> str:
    """What has changed between two looks, in a few words; empty when nothing has."""
    if before == after:
        return ""
    gone = sorted(before.keys() - after.keys())[:2]
    come = sorted(after.keys() - before.keys())[:2]
    touched = sorted(path for path in before if path in after and before[path] != after[path])
    return f"the spool has changed: gone {gone}, new {come}, {len(touched)} touched {touched[:2]}"


def names(seen: Seen) -> Dict[str, int]:
    """The paths and inodes alone: a claim that was taken back leaves them as they were."""
    return {path: inode for path, (inode, *_) in seen.items()}


def delivered(server: FaultServer) -> "Counter[int]":
    return Counter(
        int(to[1:].partition("@")[0]) for message in server.messages for to in message.recipients
    )


def places(spool: Spool) -> Dict[int, List[str]]:
    """The folders in which the files of each number stand."""
    found: Dict[int, List[str]] = {}
    for folder in ("new", "cur", "failed"):
        for name in os.listdir(spool.path / folder):
            found.setdefault(number_of(name), []).append(folder)
    return found


class End(NamedTuple):
    """How a message may end: the folders its file may be in ("" for none), and its deliveries."""

    folders: Tuple[str, ...]
    times: int


SENT = End(("cur",), 1)
FAILED = End(("failed",), 0)
WAITS = End(("new",), 0)


def account(
    row: Row, spool: Spool, got: "Counter[int]", ends: Mapping[int, Tuple[End, ...]], where: str
) -> None:
    """Adds a case to ROW: each message of ENDS has come to one of the ends it may have."""
    found = places(spool)
    lost = twice = stuck = 0
    for number, wanted in ends.items():
        folders = found.get(number, [])
        times = got[number]
        lost += not times and not folders and not any("" in end.folders for end in wanted)
        twice += max(0, times - 1)
        stuck += "new" in folders and WAITS not in wanted
        fits = any(
            times == end.times and len(folders) <= 1 and (folders or [""])[0] in end.folders
            for end in wanted
        )
        if not fits:
            row.problems.append(f"{where}: m{number} in {folders}, delivered {times} times")
    strangers = sorted((got.keys() | found.keys()) - ends.keys())
    if strangers:
        row.problems.append(f"{where}: unknown messages {strangers[:5]}")
    row.add(lost, twice, stuck)


def all_sent(count: int) -> Dict[int, Tuple[End, ...]]:
    return {number: (SENT,) for number in range(count)}


def expect(row: Row, done: "subprocess.CompletedProcess[str]", status: int, where: str) -> None:
    if done.returncode != status:
        row.problems.append(
            f"{where}: exit {done.returncode}, not {status}: {done.stderr[-300:]!r}"
        )


def expect_one_line(
    row: Row, done: "subprocess.CompletedProcess[str]", event: str, where: str
) -> None:
    """All that is said is one line, and it names the event and the relay."""
    said = [line for line in done.stderr.splitlines() if line]
    events = [fields["event"] for fields in logfmt.parse(done.stderr)]
    if len(said) != 1 or events != [event] or "relay=main" not in done.stderr:
        row.problems.append(f"{where}: said {done.stderr[-300:]!r}")


# ---- a relay that is down ----


class BlackHole:
    """A port that answers nothing at all, as behind a firewall that drops: its queue is full."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind((net.HOST, 0))
        self._listener.listen(0)
        self._held = [self._connect() for _ in range(4)]
        time.sleep(0.05)

    def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(self._listener.getsockname())
        return sock

    @property
    def url(self) -> str:
        return f"smtp://{net.HOST}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "BlackHole":
        return self

    def __exit__(self, *_: object) -> None:
        for sock in (*self._held, self._listener):
            sock.close()


@contextlib.contextmanager
def _closed_port() -> Iterator[str]:
    yield f"smtp://{net.HOST}:{net.free_port()}"


@contextlib.contextmanager
def _greeting(text: Any) -> Iterator[str]:
    with FaultServer(answers={"CONNECT": text}) as server:
        yield server.url
        if "MAIL" in server.verbs:
            raise AssertionError("mail was offered to a relay that had not greeted")


@contextlib.contextmanager
def _black_hole() -> Iterator[str]:
    with BlackHole() as hole:
        yield hole.url


def _fill_for_days(spool: Spool, clock: Clock, count: int) -> Dict[int, Tuple[End, ...]]:
    """Waiting, retried and deferred mail; a fifth of it falls due while the relay is down."""
    for number in range(count):
        fields = ("", ",P=1", f",A=2,E=4.2.1,T={clock.now() + 900}", ",A=1,E=4.2.1", ",P=9")
        put(spool, number, fields[number % 5])
    put(spool, count, ",A=1:2,S", "cur")
    put(spool, count + 1, ",A=3,E=5.1.1", "failed")
    return {**all_sent(count), count: (End(("cur",), 0),), count + 1: (FAILED,)}


def _down_for_days(
    row: Row, where: Path, opened: Any, runs: int, count: int, seconds: float
) -> None:
    """RUNS runs in five days that find no relay, then one that finds it again."""
    clock = Clock(where.parent)
    spool = make_site(where, timeout_connect="1s", timeout_greeting="1s")
    ends = _fill_for_days(spool, clock, count)
    before = look(spool)
    with opened as url:
        aim(spool, url=url, timeout_connect="1s", timeout_greeting="1s")
        for number in range(runs):
            clock.move(number * 5 * DAY // runs)
            start = time.monotonic()
            done = run_at(spool, clock)
            took = time.monotonic() - start
            step = f"{where.name}, run {number}"
            expect(row, done, os.EX_TEMPFAIL, step)
            expect_one_line(row, done, "relay-down", step)
            changed = difference(before, look(spool))
            row.problems += [f"{step}: {changed}"] * bool(changed)
            if took > seconds:
                row.problems.append(f"{step}: took {took:.1f} s, more than {seconds}")
    with FaultServer() as server:
        aim(spool, url=server.url)
        expect(row, run_at(spool, clock), 0, f"{where.name}, up again")
        account(row, spool, delivered(server), ends, where.name)
        row.problems += server.violations + server.bugs


def rows_down(short: bool, scratch: Path) -> Iterator[Row]:
    runs, count = (10, 200) if short else (120, 2000)
    few = 2 if short else 20
    for title, opened, times, seconds in (
        ("relay down for days: port closed", _closed_port(), runs, 10.0),
        ("relay down for days: packets dropped", _black_hole(), few, 10.0),
        ("relay down for days: greeted with 421", _greeting("421 4.3.2 Down"), runs, 10.0),
        ("relay down for days: accepted and hung up", _greeting(Close()), runs, 10.0),
    ):
        row = Row(title)
        name = title.rpartition(": ")[2].replace(" ", "-")
        _down_for_days(row, scratch / name, opened, times, count, seconds)
        yield row


# ---- what a run costs when the relay is down ----


class Cost(NamedTuple):
    """Of one run: file calls by name, getdents64 calls, messages opened, CPU seconds."""

    calls: Mapping[str, int]
    reads: int
    opened: int
    cpu: float


def _cost(directory: Path, count: int) -> Cost:
    spool = make_site(directory, url=f"smtp://{net.HOST}:{net.free_port()}")
    for number in range(count):
        put(spool, number)
    argv = plain_argv(spool, "run")
    cpu = statistics.median(measure(argv).cpu for _ in range(5))
    traced = trace(argv)
    opened = len(traced.lines(r"open(at)?\(.*" + re.escape(".lab")))
    calls = {name: traced.counts[name] for name in FILE_CALLS}
    return Cost(calls, traced.counts["getdents64"], opened, cpu)


def row_cost(short: bool, scratch: Path) -> Iterator[Row]:
    if not have_strace():
        print("world: no strace, so the cost of a run is not looked at", file=sys.stderr)
        return
    row = Row("relay down: a run costs one reading of new/")
    few, many = _cost(scratch / "few", 20), _cost(scratch / "many", 2000)
    if many.calls != few.calls:
        row.problems.append(f"2,000 waiting cost {many.calls}, 20 cost {few.calls}")
    if many.opened > 1:
        row.problems.append(f"{many.opened} messages were opened")
    # Two calls for each of a few directories, and 32 KiB of names in one.
    if many.reads > few.reads + 2000 * 64 // 32768 + 1:
        row.problems.append(f"new/ was read in {many.reads} calls, {few.reads} for 20 messages")
    if many.cpu > few.cpu + 0.05:
        row.problems.append(f"2,000 waiting cost {many.cpu:.3f} s of CPU, 20 {few.cpu:.3f} s")
    row.add(0, 0, 0)
    yield row


# ---- a wrong password ----


def row_password(short: bool, scratch: Path) -> Iterator[Row]:
    row = Row("wrong password")
    count, runs = (50, 3) if short else (500, 20)
    users = {"site": "right"}
    with FaultServer(ehlo=(*DEFAULT_EHLO, "AUTH PLAIN LOGIN"), users=users) as server:
        spool = make_site(scratch / "password")
        for number in range(count):
            put(spool, number)
        before = look(spool)
        for number in range(runs):
            aim(spool, url=server.url, user="site", password_file=spool.secret("wrong"))
            done = spool.run()
            expect(row, done, os.EX_TEMPFAIL, f"run {number}")
            expect_one_line(row, done, "relay-misconfigured", f"run {number}")
            logins = sum(len(session.credentials) for session in server.sessions)
            if logins != number + 1 or "535" not in done.stderr:
                row.problems.append(f"{logins} logins in {number + 1} runs; said {done.stderr!r}")
            row.problems += filter(None, [difference(before, look(spool))])
        aim(spool, url=server.url, user="site", password_file=spool.secret("right"))
        expect(row, spool.run(), 0, "the right password")
        account(row, spool, delivered(server), all_sent(count), "then right")
        row.problems += server.violations + server.bugs
    yield row


def row_password_postfix(short: bool, scratch: Path) -> Iterator[Row]:
    """The same with Postfix and Dovecot, which count the logins in their log."""
    reason = lab_postfix.why_not() or ("it is in the long form" if short else "")
    if reason:
        print(f"world: no wrong password at Postfix: {reason}", file=sys.stderr)
        return
    row = Row("wrong password, Postfix with Dovecot")
    count, runs = 50, 5
    certs = Certs(scratch)
    spool = make_site(scratch / "postfix")
    relay = {"tls": "required", "ca_file": certs.ca, "user": "site"}
    with Postfix(
        certs, require_tls=True, users=lab_postfix.USERS, require_auth=True
    ) as postfix:
        to = f"b@{lab_postfix.DOMAIN}"
        for number in range(count):
            put(spool, number, to=to)
        before = look(spool)
        for number in range(runs):
            aim(spool, url=postfix.url, password_file=spool.secret("wrong"), **relay)
            done = spool.run()
            expect(row, done, os.EX_TEMPFAIL, f"run {number}")
            expect_one_line(row, done, "relay-misconfigured", f"run {number}")
            logins = len(re.findall(r"SASL \S+ authentication failed", postfix.log()))
            if logins != number + 1:
                row.problems.append(f"{logins} logins in {number + 1} runs")
            row.problems += filter(None, [difference(before, look(spool))])
        right = spool.secret(lab_postfix.USERS["site"])
        aim(spool, url=postfix.url, password_file=right, **relay)
        expect(row, spool.run(), 0, "the right password")
        arrived = len(postfix.wait_for(count))
        time.sleep(0.2)
        sent = len(os.listdir(spool.path / "cur"))
        row.add(count - arrived, postfix.count() - arrived, count - sent)
    yield row


# ---- relays that refuse ----


def _refused_at_mail(row: Row, spool: Spool, reply: str, runs: int) -> None:
    """Runs that are refused alike at MAIL FROM: nothing is charged, and no name is another."""
    before = names(look(spool))
    with FaultServer(answers={"MAIL": reply}) as server:
        aim(spool, url=server.url)
        for number in range(runs):
            done = spool.run()
            expect(row, done, os.EX_TEMPFAIL, f"run {number}")
            expect_one_line(row, done, "relay-misconfigured", f"run {number}")
            if names(look(spool)) != before:
                row.problems.append(f"run {number}: {difference(before, names(look(spool)))}")
        row.problems += server.violations + server.bugs


def row_refuses_5xx(short: bool, scratch: Path) -> Iterator[Row]:
    row = Row("relay refuses all at MAIL FROM, 5xx")
    count, runs = (100, 3) if short else (500, 20)
    for code in ("550 5.7.1 Sender rejected", "554 5.7.0 Not from here", "503 Login first"):
        where = code.partition(" ")[0]
        spool = make_site(scratch / where)
        for number in range(count):
            put(spool, number, ("", ",P=2", ",A=8,E=4.2.1")[number % 3])
        _refused_at_mail(row, spool, code, runs)
        with FaultServer() as server:
            aim(spool, url=server.url)
            expect(row, spool.run(), 0, f"{where}, mended")
            account(row, spool, delivered(server), all_sent(count), where)
    yield row


def row_refuses_4xx(short: bool, scratch: Path) -> Iterator[Row]:
    row = Row("relay refuses all at MAIL FROM, 4xx")
    count = 100 if short else 500
    clock = Clock(scratch)
    spool = make_site(scratch / "4xx")
    for number in range(count):
        put(spool, number)
    with FaultServer(answers={"MAIL": "451 4.7.1 Later"}) as server:
        aim(spool, url=server.url)
        # One attempt fewer than the schedule has.
        for attempt in range(1, 9):
            clock.move(attempt * STEP)
            done = run_at(spool, clock)
            expect(row, done, 0, f"attempt {attempt}")
            wrong = [
                name
                for name in os.listdir(spool.path / "new")
                if {**fields_of(name), "T": ""} != {"A": str(attempt), "E": "4.7.1", "T": ""}
            ]
            if wrong or len(os.listdir(spool.path / "new")) != count:
                row.problems.append(f"attempt {attempt}: new/ has {wrong[:3]}")
        server.answer("MAIL", None)
        clock.move(10 * STEP)
        expect(row, run_at(spool, clock), 0, "well again")
        account(row, spool, delivered(server), all_sent(count), "well again")
        row.problems += server.violations + server.bugs
    yield row


def _one_in_three(event: str) -> FaultServer:
    steps = itertools.count()
    return FaultServer(answers={event: lambda _: "451 4.3.0 Busy" if next(steps) % 3 else None})


def row_one_in_three(short: bool, scratch: Path) -> Iterator[Row]:
    """It defers two of three, and by the schedule each is tried nine times."""
    row = Row("relay takes one in three, for days")
    count = 60 if short else 400
    for event, connections in itertools.product(("MAIL", "RCPT", "DATA", "DOT"), (1, 4)):
        where = f"{event}-{connections}"
        directory = scratch / where
        spool = make_site(directory)
        clock = Clock(directory)
        for number in range(count):
            put(spool, number)
        with _one_in_three(event) as server:
            aim(spool, url=server.url, connections=connections)
            for attempt in range(9):
                clock.move(attempt * STEP)
                expect(row, run_at(spool, clock), 0, f"{where}, attempt {attempt}")
            ends = {number: (SENT, FAILED) for number in range(count)}
            account(row, spool, delivered(server), ends, where)
            # With nine chances of one in three each, few are left; none at all would prove nothing.
            if len(server.messages) < count * 9 // 10:
                row.problems.append(f"{where}: only {len(server.messages)} sent")
            row.problems += server.violations + server.bugs
        if short and event == "MAIL":
            break
    yield row


def row_one_in_three_for_good(short: bool, scratch: Path) -> Iterator[Row]:
    """A third is accepted, a third unknown for ever, a third accepted at the third attempt."""
    row = Row("relay refuses one in three, defers one in three")
    count = 60 if short else 600
    directory = scratch / "thirds"
    spool = make_site(directory)
    clock = Clock(directory)
    answers: Dict[str, Any] = {}
    for number in range(count):
        put(spool, number)
        kind = (None, "550 5.1.1 Unknown", ["451 4.2.2 Full"] * 2)[number % 3]
        answers[address(number)] = kind
    with FaultServer(answers={"RCPT": answers}) as server:
        aim(spool, url=server.url)
        for attempt in range(4):
            clock.move(attempt * STEP)
            expect(row, run_at(spool, clock), 0, f"attempt {attempt}")
        ends = {n: (FAILED,) if n % 3 == 1 else (SENT,) for n in range(count)}
        account(row, spool, delivered(server), ends, "thirds")
        row.problems += server.violations + server.bugs
    yield row


def row_then_554(short: bool, scratch: Path) -> Iterator[Row]:
    """It takes a few, hangs up, and greets with 554 for hours: a block list, say."""
    row = Row("relay takes some, then greets 554 for hours")
    count, taken, runs = (60, 20, 4) if short else (1000, 100, 24)
    for connections in (1, 4):
        directory = scratch / f"then-{connections}"
        spool = make_site(directory)
        clock = Clock(directory)
        for number in range(count):
            put(spool, number)
        dots = itertools.count(1)

        def dot(_: Any) -> Any:
            if next(dots) < taken:
                return None
            server.answer("CONNECT", "554 5.7.1 You are listed")
            server.answer("DOT", None)
            server.answer("MAIL", "421 4.7.0 Go away")
            return None

        with FaultServer(answers={"DOT": dot}) as server:
            aim(spool, url=server.url, connections=connections)
            for number in range(runs):
                clock.move(number * HOUR)
                done = run_at(spool, clock)
                expect(row, done, os.EX_TEMPFAIL, f"hour {number}")
                charged = [name for name in os.listdir(spool.path / "new") if "," in name]
                if charged:
                    row.problems.append(f"hour {number}: charged {charged[:3]}")
            if not taken <= len(server.messages) <= taken + 2 * connections:
                row.problems.append(f"{len(server.messages)} taken before the 554")
            for event in ("CONNECT", "MAIL"):
                server.answer(event, None)
            clock.move(runs * HOUR)
            expect(row, run_at(spool, clock), 0, "forgiven")
            account(row, spool, delivered(server), all_sent(count), f"{connections} connections")
            row.problems += server.violations + server.bugs
    yield row


# ---- clocks ----

GONE_OR_SENT = End(("cur", ""), 1)
BUSY = "451 4.2.1 Busy"
EXPIRING, EXPIRING_BUSY, DONE_BEFORE, FAILED_BEFORE, WISH = 90, 91, 92, 93, 94
WISHED = (3, 13, 23)  # T alone, in half a minute


def _clock_mail(spool: Spool, now: int) -> Dict[str, Any]:
    """A message of each state, by a clock that shows NOW; the relay's answers for them."""
    fields = [
        *("", ",P=1", ",P=9"),
        f",T={now + 30}",
        f",A=1,E=4.2.1,T={now + 60}",
        f",A=8,E=4.2.1,T={now + 25 * HOUR}",
        f",A=1,C={HOST}-{DEAD_PID},T={now + HOUR}",
        f",A=2,C=elsewhere-77,T={now + HOUR // 2}",
        f",A=2,C=elsewhere-78,E=4.2.1,T={now + HOUR // 2}",
    ]
    answers: Dict[str, Any] = {}
    for number, text in enumerate(fields):
        put(spool, number, text)
        put(spool, number + 10, text)
        put(spool, number + 20, text)
        # The ninth attempt is the last: put off once more, it would have failed, and rightly.
        if ",A=8" not in text:
            answers[address(number + 10)] = [BUSY]
            answers[address(number + 20)] = [BUSY, BUSY]
    put(spool, EXPIRING, f",X={now + 2 * HOUR}")
    put(spool, EXPIRING_BUSY, f",A=1,E=4.2.1,T={now + 60},X={now + 2 * HOUR}")
    put(spool, DONE_BEFORE, ",A=1:2,S", "cur")
    put(spool, FAILED_BEFORE, ",A=3,E=5.1.1", "failed")
    answers[address(EXPIRING_BUSY)] = [BUSY]
    return answers


def _clock_ends(spool: Spool, writer: int, wish: int) -> Dict[int, Tuple[End, ...]]:
    """A run with the clock ahead may take what is in cur/ for old and purge it. A writer whose
    clock was ahead by WRITER has wished for what he got."""
    numbers = {number_of(name) for name in os.listdir(spool.path / "new")}
    ends: Dict[int, Tuple[End, ...]] = {number: (GONE_OR_SENT,) for number in numbers}
    ends[EXPIRING] = ends[EXPIRING_BUSY] = (GONE_OR_SENT, FAILED)
    ends[DONE_BEFORE] = (End(("cur", ""), 0),)
    ends[FAILED_BEFORE] = (FAILED,)
    if writer > 0:
        ends.update({number: (WAITS,) for number in WISHED})
    put(spool, WISH, f",T={wish}")
    ends[WISH] = (WAITS,)
    return ends


class Steps(NamedTuple):
    """Where the clock stands, in multiples of the step: at the writers, at the first run, from its
    third message on, and at the second run. After that it is right."""

    title: str
    writer: int
    first: int
    middle: int
    second: int


CLOCK_STEPS = (
    Steps("mended before the next run", 1, 1, 1, 0),
    Steps("wrong for one run", 0, 1, 1, 0),
    Steps("wrong from within a run", 0, 0, 1, 1),
    Steps("wrong only within a run", 0, 0, 1, 0),
    Steps("mended within a run", 1, 1, 0, 0),
    Steps("wrong after a run", 0, 0, 0, 1),
)


def try_steps(row: Row, directory: Path, steps: Steps, by: int) -> None:
    """A case of ROW: mail in each state meets with a clock that moves by BY as STEPS say."""
    spool = make_site(directory)
    clock = Clock(directory, steps.writer * by)
    answers = _clock_mail(spool, clock.now())
    ends = _clock_ends(spool, clock.offset, int(time.time()) + 3 * YEAR)
    bodies = itertools.count(1)

    def move(_: Any) -> None:
        if next(bodies) == 3:
            clock.move(steps.middle * by)

    with FaultServer(answers={"RCPT": answers, "BODY": move}) as server:
        aim(spool, {"keep_sent": "7d"}, url=server.url, connections=1)
        for offset in (steps.first * by, steps.second * by, 0, 30 * MINUTE, 2 * HOUR, *_days(5)):
            clock.move(offset)
            expect(row, run_at(spool, clock), 0, f"{directory.name}, at {offset}")
        account(row, spool, delivered(server), ends, directory.name)
        row.problems += server.violations + server.bugs


def _days(count: int) -> List[int]:
    return [number * STEP for number in range(1, count + 1)]


def rows_clock(short: bool, scratch: Path) -> Iterator[Row]:
    for title, by in (("ahead", YEAR), ("behind", -YEAR)):
        row = Row(f"clock a year {title}, six ways")
        for number, steps in enumerate(CLOCK_STEPS):
            name = f"{title}-{number}-{steps.title.replace(' ', '-')}"
            try_steps(row, scratch / name, steps, by)
        yield row


def row_clock_shaky(short: bool, scratch: Path) -> Iterator[Row]:
    """A clock that is a year off one way or the other at each look: nothing depends on it for
    safety."""
    row = Row("clock that jumps within each run")
    for seed in range(1 if short else 6):
        directory = scratch / f"shaky-{seed}"
        spool = make_site(directory)
        clock = Clock(directory)
        answers = _clock_mail(spool, clock.now())
        ends = _clock_ends(spool, 0, int(time.time()) + 9 * YEAR)
        jumps = itertools.cycle((YEAR, -YEAR, 0, 2 * YEAR, -2 * YEAR)[seed % 5 :] or (0,))

        def jump(_: Any, clock: Clock = clock, jumps: Any = jumps) -> None:
            clock.move(next(jumps))

        with FaultServer(answers={"RCPT": answers, "BODY": jump, "QUIT": jump}) as server:
            aim(spool, {"keep_sent": "7d"}, url=server.url, connections=1)
            for _ in range(4):
                expect(row, run_at(spool, clock), 0, directory.name)
            server.answer("BODY", None)
            server.answer("QUIT", None)
            for offset in (0, 2 * HOUR, *_days(9)):
                clock.move(offset)
                expect(row, run_at(spool, clock), 0, f"{directory.name}, at {offset}")
            # A message that was due at each jump may have used up its attempts.
            for number in ends.keys() - {WISH, DONE_BEFORE, FAILED_BEFORE}:
                ends[number] = (GONE_OR_SENT, FAILED)
            account(row, spool, delivered(server), ends, directory.name)
            row.problems += server.violations + server.bugs
    yield row


def row_clock_certificate(short: bool, scratch: Path) -> Iterator[Row]:
    """By a wrong clock the relay's certificate is none: the relay's fault, not the mail's."""
    row = Row("clock off, so the certificate has expired")
    certs = Certs(scratch)
    for offset in (20 * YEAR, -20 * YEAR):
        directory = scratch / f"certificate{offset:+d}"
        spool = make_site(directory)
        clock = Clock(directory, offset)
        for number in range(20):
            put(spool, number)
        before = look(spool)
        with FaultServer(ehlo=(*DEFAULT_EHLO, "STARTTLS"), tls=certs.server_context()) as server:
            aim(spool, url=server.url, tls="required", ca_file=certs.ca)
            for _ in range(3):
                done = run_at(spool, clock)
                expect(row, done, os.EX_TEMPFAIL, directory.name)
                row.problems += filter(None, [difference(before, look(spool))])
            if "MAIL" in server.verbs:
                row.problems.append(f"{directory.name}: the certificate was accepted")
            clock.move(0)
            expect(row, run_at(spool, clock), 0, directory.name)
            account(row, spool, delivered(server), all_sent(20), directory.name)
    yield row


# ---- a very full new/ ----


def _make_empty(folder: Path, fields: str, count: int) -> None:
    """COUNT empty files: nobody is to look at more than their names."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number in range(count):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            os.close(os.open(unique(number) + fields, flags, 0o640, dir_fd=fd))
    finally:
        os.close(fd)


def _remove_all(folder: Path) -> None:
    for item in os.scandir(folder):
        os.unlink(item.path)


def row_million(short: bool, scratch: Path) -> Iterator[Row]:
    count = 20_000 if short else 1_000_000
    row = Row(f"{count:,} deferred in new/")
    spool = make_site(scratch / "million", url=f"smtp://{net.HOST}:{net.free_port()}")
    new = spool.path / "new"
    _make_empty(new, f",A=8,E=4.2.1,T={int(time.time()) + 20 * HOUR}", count)
    used = measure(plain_argv(spool, "run"))
    if used.returncode or used.stderr:
        row.problems.append(f"exit {used.returncode}, said {used.stderr[-300:]!r}")
    if used.max_rss > 64 << 20:
        row.problems.append(f"{used.max_rss >> 20} MiB of memory at the peak")
    if used.cpu > 0.5 + count / 500_000:
        row.problems.append(f"{used.cpu:.1f} s of CPU")
    if have_strace():
        row.problems += _touched(spool)
    left = len(os.listdir(new))
    row.add(count - left, 0, 0)
    print(
        f"world: {count:,} deferred: {used.wall:.2f} s, CPU {used.cpu:.2f} s, "
        f"{used.max_rss / (1 << 20):.0f} MiB",
        file=sys.stderr,
    )
    _remove_all(new)
    yield row


def _touched(spool: Spool) -> List[str]:
    """What a run did beside reading names: nothing, please."""
    options = ("-e", "trace=!getdents64,brk,mmap,munmap")
    traced = trace(plain_argv(spool, "run"), options=options)
    found = [f"network: {line}" for line in traced.lines(r" (socket|connect)\(")[:1]]
    found += [f"a look at a file: {line}" for line in traced.lines(r"\.lab,A=8")[:1]]
    return found + [f"libcurl: {line}" for line in traced.lines(r"libcurl\.so\S* *\", .* = \d")[:1]]


class Counting:
    """A relay that does nothing but take mail, fast, and note the recipients in their order."""

    _EHLO = b"250-lab.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
    _REPLIES = {b"EHLO": _EHLO, b"DATA": b"354 Go on\r\n", b"QUIT": b"221 2.0.0 Bye\r\n"}

    def __init__(self) -> None:
        self.taken: List[int] = []
        self._listener = net.listener()
        self._threads: List[threading.Thread] = []

    @property
    def url(self) -> str:
        return f"smtp://{net.HOST}:{self._listener.getsockname()[1]}"

    def __enter__(self) -> "Counting":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        take = self._session()
        take.send(None)
        rest = b""
        with contextlib.suppress(OSError, StopIteration), sock:
            sock.sendall(b"220 lab.example\r\n")
            while data := sock.recv(1 << 17):
                *lines, rest = (rest + data).split(b"\n")
                sock.sendall(b"".join(map(take.send, lines)))

    def _session(self) -> Generator[bytes, Any, None]:
        """Is sent line by line, and yields what is to be said."""
        number, reply = -1, b""
        while True:
            line = yield reply
            reply = self._REPLIES.get(line[:4], b"250 2.0.0 Ok\r\n")
            if line.startswith(b"RCPT TO:<m"):
                number = int(line[10 : line.index(b"@")])
            elif line == b"DATA\r":
                while (yield reply) != b".\r":
                    reply = b""
                self.taken.append(number)
                reply = b"250 2.0.0 Ok\r\n"


def _order(number: int) -> Tuple[int, int, int]:
    """Of message NUMBER of a backlog: priority, fresh before retried, age."""
    return number * 7 % 10, number * 3 % 4 == 0, number


def _backlog_fields(number: int) -> str:
    priority, retried, _ = _order(number)
    return (",A=1,E=4.2.1" if retried else "") + ("" if priority == 5 else f",P={priority}")


def _drop_meanwhile(spool: Spool, first: int, count: int, server: Counting) -> None:
    """A writer that drops as the run gets on."""
    for number in range(first, first + count):
        while not server.taken:
            time.sleep(0.001)
        name = put(spool, number, folder="tmp")
        os.rename(spool.path / "tmp" / name, spool.path / "new" / name)
        time.sleep(0.001)


def row_backlog(short: bool, scratch: Path) -> Iterator[Row]:
    """In one connection the order of sending can be seen exactly."""
    waiting, more = (2_000, 200) if short else (100_000, 3_000)
    row = Row(f"{waiting:,} waiting, {more:,} more during the run")
    spool = make_site(scratch / "backlog")
    for number in range(waiting):
        put(spool, number, _backlog_fields(number))
    with Counting() as server:
        aim(spool, url=server.url, connections=1)
        writer = threading.Thread(target=_drop_meanwhile, args=(spool, waiting, more, server))
        writer.start()
        start = time.monotonic()
        done = [spool.run(timeout=900)]
        took = time.monotonic() - start
        writer.join(60)
        done.append(spool.run())
    for number, run in enumerate(done):
        expect(row, run, 0, f"run {number}")
    print(f"world: {waiting:,} sent in {took:.1f} s", file=sys.stderr)
    backlog = [number for number in server.taken if number < waiting]
    if backlog != sorted(backlog, key=_order):
        row.problems.append("the backlog was not sent in the order of its priorities")
    account(row, spool, Counter(server.taken), all_sent(waiting + more), "backlog")
    yield row


# ---- all of them ----


def rows(short: bool, scratch: Path) -> Iterator[Row]:
    needing_clock: Set[Any] = {
        rows_down, row_refuses_4xx, row_one_in_three, row_one_in_three_for_good, row_then_554,
        rows_clock, row_clock_shaky, row_clock_certificate,
    }  # fmt: skip
    for family in (
        rows_down, row_cost, row_password, row_password_postfix, row_refuses_5xx,
        row_refuses_4xx, row_one_in_three, row_one_in_three_for_good, row_then_554, rows_clock,
        row_clock_shaky, row_clock_certificate, row_million, row_backlog,
    ):  # fmt: skip
        reason = Clock.why_not() if family in needing_clock else ""
        if reason:
            print(f"world: no {family.__name__}: {reason}", file=sys.stderr)
            continue
        yield from family(short, scratch)
