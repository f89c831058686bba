"""Disks that are full, in every way that a disk can be, at each moment that matters; limits that
have the same effect; and disks that are read-only."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set

from lab import logfmt, repo
from lab.django_site import DjangoSite
from lab.faultsession import Session

from .load import ANSWERS, DASHES, Load
from .mounts import BTRFS, EXT4, TMPFS, XFS, Kind, Volume, private_mounts, why_not
from .report import Row

PROBLEM_MAX = 600  # characters
RUNS = 5  # with the fault in place
EX_OK, EX_IOERR = 0, 74
NO_SPACE = os.strerror(errno.ENOSPC)
FEW_INODES = 64
_BLOCK = re.compile(rb"\A(?:X-Maildrain-[^\n]*\n)*")


def _body(data: bytes) -> bytes:
    """A file of the spool without its block."""
    return data[len(_BLOCK.match(data)[0]) :]  # type: ignore[index]


class Site:
    """A Load on a file system of its own, with what every case here asks of it."""

    def __init__(self, volume: Volume, load: Load, row: Row) -> None:
        self.volume = volume
        self.load = load
        self.row = row
        self.path = volume.path
        self.case = ""
        self._whole: Set[bytes] = set()

    def drop(self) -> None:
        self.load.drop()
        self._whole = {_body(path.read_bytes()) for path in (self.path / "new").iterdir()}
        for dump in self.path.glob("*.log*"):
            records = dump.read_bytes().split(DASHES)
            self._whole |= {record[:-1] for record in records[:-1]}

    def problem(self, text: str) -> None:
        self.row.problems.append(f"{self.case}: {text.strip()[:PROBLEM_MAX]}")

    def run(self, limit: Optional[Callable[[], None]] = None) -> "subprocess.CompletedProcess[str]":
        """One run, with what is deferred due. LIMIT is called in its process before it starts."""
        with contextlib.suppress(OSError):  # there may be no room for that, and it may be read-only
            self.load.make_due()
        return subprocess.run(
            self.load.spool.argv("run"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            preexec_fn=limit,
            timeout=60,
        )

    def judge(
        self, done: "subprocess.CompletedProcess[str]", statuses: Sequence[int], cause: str
    ) -> None:
        """The exit status is one of STATUSES; 74 comes with the path and CAUSE."""
        if done.returncode not in statuses:
            self.problem(f"exit status {done.returncode}, not in {statuses}: {done.stderr}")
        events = logfmt.parse(done.stderr)
        errors = [event.get("text", "") for event in events if event["event"] == "error"]
        said = [event.get("text", "") for event in events if event["event"] in ("error", "ignored")]
        named = any(str(self.path) in text and cause in text for text in said)
        if done.returncode == EX_IOERR and not named:
            self.problem(f"no error names {self.path} and says {cause!r}: {done.stderr}")
        if done.returncode == EX_OK and errors:
            self.problem(f"an error with exit status 0: {errors}")

    def check_whole(self) -> None:
        """Each file that counts as a message is one, from its first to its last byte."""
        for folder in ("new", "cur", "failed"):
            for path in (self.path / folder).iterdir():
                if path.name.startswith(".") or not path.is_file():
                    continue
                if _body(path.read_bytes()) not in self._whole:
                    self.problem(f"{folder}/{path.name} is no whole message")

    def check_once(self) -> None:
        """While the fault lasts nobody got a message twice."""
        twice = {key: n for key, n in self.load.delivered().items() if n > 1}
        if twice:
            self.problem(f"sent more than once while the fault lasted: {twice}")

    def finish(self, may_repeat: int = 0, may_go: bool = False) -> None:
        """The fault is over: all comes to its end."""
        self.check_whole()
        said = self.load.recover()
        self.check_whole()
        before = len(self.row.problems)
        self.load.account(self.row, may_repeat, self.case)
        if may_go:
            # What is sent and could be moved nowhere has been removed.
            excused = "ended in None, not cur"
            mine = self.row.problems[before:]
            self.row.problems[before:] = [text for text in mine if not text.endswith(excused)]
        if os.listdir(self.path / "new"):
            self.problem(f"left in new/: {os.listdir(self.path / 'new')}; {said[-1]}")


@contextlib.contextmanager
def _site(
    scratch: Path, row: Row, kind: Kind, case: str, *, options: str = "", **server: Any
) -> Iterator[Site]:
    directory = scratch / "site"
    with Volume(directory, kind, options=options) as volume, Load(directory, **server) as load:
        site = Site(volume, load, row)
        site.case = f"{kind.name}, {case}" if case else kind.name
        yield site


def _several(site: Site, statuses: Sequence[int], cause: str) -> None:
    for _ in range(RUNS):
        site.judge(site.run(), statuses, cause)
    site.check_once()


def _at_dot(number: int, action: Callable[[], None]) -> Dict[str, Any]:
    """Answers of a relay that does ACTION before it answers the dot NUMBER, counted from 1."""
    seen = [0]

    def answer(_: Session) -> None:
        seen[0] += 1
        if seen[0] == number:
            action()

    return {**ANSWERS, "DOT": answer}


# ---- full before the run ----


def _full_before(scratch: Path, kinds: Sequence[Kind]) -> Row:
    row = Row("disk full before the run")
    for kind in kinds:
        with _site(scratch, row, kind, "") as site:
            site.drop()
            site.volume.fill()
            _several(site, [EX_IOERR], NO_SPACE)  # the dump can't be imported
            site.volume.free()
            site.finish(may_go=kind in (XFS, BTRFS))
    return row


def _nearly_full(scratch: Path, kinds: Sequence[Kind], keeps: Sequence[int]) -> Row:
    """The disk gets full while the dump is imported or a result is written."""
    row = Row("disk full within the run: n blocks are left")
    for kind in kinds:
        for keep in keeps:
            with _site(scratch, row, kind, f"{keep} blocks left") as site:
                site.drop()
                site.volume.fill(keep)
                _several(site, [EX_OK, EX_IOERR], NO_SPACE)
                site.volume.free()
                site.finish()
    return row


# ---- full when a name must be found room for ----


def _cur_full(scratch: Path, connections: Sequence[int]) -> Row:
    row = Row("cur/ has no room for a name, nor the disk")
    for count in connections:
        with _site(scratch, row, EXT4, f"{count} connections", connections=count) as site:
            site.drop()
            site.volume.fill()
            site.volume.fill_names(site.path / "cur")
            site.judge(site.run(), [EX_IOERR], NO_SPACE)
            for _ in range(RUNS):
                site.judge(site.run(), [EX_OK, EX_IOERR], NO_SPACE)
            site.check_once()
            site.volume.free()
            site.volume.free_names(site.path / "cur")
            site.finish()
    return row


def _no_room_for_names(scratch: Path, dots: Sequence[int]) -> Row:
    """Neither cur/ nor new/ takes a name once the dot has come: what is sent can only go."""
    row = Row("cur/ and new/ full when the dot is accepted")
    for dot in dots:
        with _site(scratch, row, EXT4, f"dot {dot}") as site:

            def fill(site: Site = site) -> None:
                site.volume.fill()
                for folder in ("cur", "new", "failed"):
                    site.volume.fill_names(site.path / folder)

            for event, answer in _at_dot(dot, fill).items():
                site.load.server.answer(event, answer)
            site.drop()
            site.judge(site.run(), [EX_IOERR], NO_SPACE)
            _several(site, [EX_IOERR], NO_SPACE)
            site.volume.free()
            for folder in ("cur", "new", "failed"):
                site.volume.free_names(site.path / folder)
            site.finish(may_go=True)
    return row


def _failed_full(scratch: Path) -> Row:
    """Two of three are through, one has failed for good: the message belongs into failed/."""
    row = Row("failed/ has no room for a name, nor the disk")
    with _site(scratch, row, EXT4, "") as site:
        site.drop()
        site.judge(site.run(), [EX_OK], "")
        site.volume.fill()
        site.volume.fill_names(site.path / "failed")
        _several(site, [EX_OK, EX_IOERR], NO_SPACE)
        site.volume.free()
        site.volume.free_names(site.path / "failed")
        site.finish()
    return row


# ---- full when a partial result is written ----


def _no_room_for_partial(scratch: Path, kinds: Sequence[Kind]) -> Row:
    """A message to several waits, with a warning, while a rewritten copy would have no room."""
    row = Row("no room for a partial result: the message waits")
    for kind in kinds:
        with _site(scratch, row, kind, "") as site:
            site.drop()
            dump = _Aside(next(site.path.glob("*.log*")), scratch)
            site.volume.fill()
            for _ in range(RUNS):
                done = site.run()
                site.judge(done, [EX_OK, EX_IOERR], NO_SPACE)
            if any(case == "partial" for case, _ in site.load.delivered()):
                site.problem("the message to three was sent though its result has no room")
            if not any(event["event"] == "ignored" and NO_SPACE in event.get("text", "")
                       for event in logfmt.parse(done.stderr)):
                site.problem(f"no warning says why the message to three waits: {done.stderr}")
            site.check_once()
            site.volume.free()
            dump.bring_back()
            site.finish(may_go=kind in (XFS, BTRFS))
    return row


class _Aside:
    """A file that is kept elsewhere for a while."""

    def __init__(self, path: Path, scratch: Path) -> None:
        self.path = path
        self.kept = scratch / "aside"
        shutil.copy2(path, self.kept)
        path.unlink()

    def bring_back(self) -> None:
        shutil.copy2(self.kept, self.path)


def _full_at_partial(scratch: Path, kinds: Sequence[Kind]) -> Row:
    """There was room when the message to three was begun, and none when its result came."""
    row = Row("disk full when a partial result is written")
    for kind in kinds:
        with _site(scratch, row, kind, "") as site:
            site.drop()
            dump = _Aside(next(site.path.glob("*.log*")), scratch)
            for event, answer in _at_dot_of("x@example.net", site.volume.fill).items():
                site.load.server.answer(event, answer)
            _several(site, [EX_OK, EX_IOERR], NO_SPACE)
            site.volume.free()
            dump.bring_back()
            site.finish(may_go=kind in (XFS, BTRFS))
    return row


def _at_dot_of(recipient: str, action: Callable[[], None]) -> Dict[str, Any]:
    """Answers of a relay that does ACTION before it accepts the first message for RECIPIENT."""
    done: List[bool] = []

    def answer(session: Session) -> None:
        if recipient in session.recipients and not done:
            done.append(True)
            action()

    return {**ANSWERS, "DOT": answer}


# ---- a stock dump ----


def _dump_cannot_advance(scratch: Path, keeps: Sequence[int]) -> Row:
    """There is room for an imported message, but none for the new name of its dump."""
    row = Row("stock dump: no room for the name that tells the offset")
    for keep in keeps:
        with _site(scratch, row, EXT4, f"{keep} blocks left") as site:
            site.load.aim(keep_sent="0")
            site.drop()
            site.volume.fill()
            site.volume.fill_names(site.path)
            site.volume.fill(keep)
            _several(site, [EX_OK, EX_IOERR], NO_SPACE)
            site.volume.free()
            site.volume.free_names(site.path)
            site.load.aim()
            site.finish(may_go=True)
    return row


# ---- Django ----

_WRITER = r"""
import json, resource, sys
for line in sys.stdin:
    case, size, files = json.loads(line)
    resource.setrlimit(resource.RLIMIT_FSIZE, (files, -1))
    body = f"X-Size {size}\n" + (("x" * 49 + "\n") * (size // 50)) + "The end.\n"
    try:
        get_connection().send_messages([EmailMessage(case, body, None, ["a@example.net"])])
        print("queued", flush=True)
    except Exception as error:
        print(type(error).__name__, error, flush=True)
"""
_WHOLE = re.compile(rb"\nSubject: (\S+)\n.*\n\nX-Size (\d+)\n([x\n]*)The end\.\n\Z", re.S)
SIZES = (0, 900, 5000, 15_000)  # the relay takes no more


class Writer:
    """A Django that drops one message when told to."""

    def __init__(self, path: Path) -> None:
        self.process = DjangoSite(path).start(_WRITER)
        self.queued: List[str] = []

    def drop(self, size: int, files: int = -1) -> str:
        """What became of it: "queued", or what it raised."""
        case = f"case{len(self.queued)}-{time.monotonic_ns()}"
        assert self.process.stdin and self.process.stdout
        print(json.dumps([case, size, files]), file=self.process.stdin, flush=True)
        said = self.process.stdout.readline().strip()
        if said == "queued":
            self.queued.append(case)
        return said

    def close(self) -> None:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)


def _dropped(path: Path) -> List[str]:
    """The subjects of the messages in PATH; "?" for one that is not whole."""
    return sorted(_subject_if_whole(file.read_bytes()) for file in path.iterdir()
                  if not file.name.startswith("."))


def _subject_if_whole(data: bytes) -> str:
    found = _WHOLE.search(data)
    return found[1].decode() if found and len(found[3]) == int(found[2]) // 50 * 50 else "?"


def _check_drop(site: Site, writer: Writer, said: str, reasons: Sequence[str]) -> None:
    if said != "queued":
        if not any(reason in said for reason in reasons) or str(site.path) not in said:
            site.problem(f"Django is told {said!r}")
    if (left := os.listdir(site.path / "tmp")) != []:
        site.problem(f"left in tmp/: {left}")
    if (found := _dropped(site.path / "new")) != sorted(writer.queued):
        site.problem(f"in new/: {found}; queued: {writer.queued}")


def _drops(site: Site, writer: Writer, reasons: Sequence[str], files: int = -1) -> int:
    """Drops of all SIZES; how many were refused."""
    refused = 0
    for size in SIZES:
        said = writer.drop(size, files)
        refused += said != "queued"
        _check_drop(site, writer, said, reasons)
    return refused


def _django(scratch: Path, row: Row, kind: Kind, case: str, spoil: Callable[[Site], None],
            mend: Callable[[Site], None], reason: str, files: int = -1) -> None:
    """Drops while the disk is spoilt, and again when it is mended; then each is sent once."""
    with _site(scratch, row, kind, case) as site:
        writer = Writer(site.path)
        try:
            spoil(site)
            if not _drops(site, writer, [reason], files):
                site.problem("every drop was taken: this shows nothing")
            mend(site)
            if _drops(site, writer, ()):
                site.problem("a drop was refused after the disk had room again")
        finally:
            writer.close()
        _send_dropped(site, writer.queued)


def _send_dropped(site: Site, queued: Sequence[str]) -> None:
    site.load.recover()
    got = Counter(
        subject.decode()
        for message in site.load.server.messages
        for subject in re.findall(rb"^Subject: (\S+)", message.data, re.MULTILINE)
    )
    lost = sum(case not in got for case in queued)
    twice = sum(got.values()) - len(got)
    stuck = len(os.listdir(site.path / "new"))
    site.row.add(lost, twice, stuck)
    if unasked := set(got) - set(queued):
        site.problem(f"sent, and Django had not been told that it was queued: {unasked}")


def _django_full(scratch: Path, kinds: Sequence[Kind], keeps: Sequence[int]) -> Row:
    row = Row("Django drops: disk full, or n blocks left")
    for kind in kinds:
        for keep in keeps:
            _django(
                *(scratch, row, kind, f"{keep} blocks left"),
                *(lambda site, keep=keep: site.volume.fill(keep), lambda site: site.volume.free()),
                NO_SPACE,
            )
    return row


def _django_others(scratch: Path) -> Row:
    row = Row("Django drops: no name, inode, right or size to be had")

    def fill_names(site: Site) -> None:
        site.volume.fill()
        site.volume.fill_names(site.path / "new")
        site.volume.free()
        site.volume.fill(2)  # for the file, not for the directory: the file comes first

    def free_names(site: Site) -> None:
        site.volume.free()
        site.volume.free_names(site.path / "new")

    def remount(option: str) -> Callable[[Site], None]:
        return lambda site: site.volume.remount(option)

    def nothing(_: Site) -> None:
        pass

    too_large = os.strerror(errno.EFBIG)
    inodes = _few_inodes(EXT4)
    _django(scratch, row, EXT4, "new/ can't grow", fill_names, free_names, NO_SPACE)
    _django(scratch, row, inodes, "no inodes", _take_inodes, _give_inodes, NO_SPACE)
    _django(scratch, row, EXT4, "read-only", remount("ro"), remount("rw"), "Not writable")
    _django(scratch, row, EXT4, "ulimit -f", nothing, nothing, too_large, files=1024)
    return row


# ---- inodes and quota ----


def _few_inodes(kind: Kind) -> Kind:
    if kind.name == "tmpfs":
        return replace(kind, options=f"nr_inodes={FEW_INODES}")
    return kind.with_mkfs("-N", str(FEW_INODES))


def _take_inodes(site: Site) -> None:
    hoard = site.path / ".hoard"
    hoard.mkdir()
    for count in range(FEW_INODES * 2):
        try:
            (hoard / str(count)).touch()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return
    raise RuntimeError("the inodes have no end")


def _give_inodes(site: Site) -> None:
    shutil.rmtree(site.path / ".hoard", ignore_errors=True)


def _no_inodes(scratch: Path, kinds: Sequence[Kind]) -> Row:
    row = Row("no inodes left")
    for kind in kinds:
        with _site(scratch, row, _few_inodes(kind), "") as site:
            site.drop()
            _take_inodes(site)
            _several(site, [EX_IOERR], NO_SPACE)
            _give_inodes(site)
            site.finish()
    return row


QUOTA = 8 << 20


def _quota(scratch: Path) -> Row:
    """The spool has used up its share of a disk that has room."""
    row = Row("the quota of the spool is used up")
    cause = os.strerror(errno.EDQUOT)
    with _site(scratch, row, BTRFS, "before the run") as site:
        site.drop()
        _limit_quota(site)
        site.volume.fill()
        _several(site, [EX_IOERR], cause)
        site.volume.free()
        site.finish()
    with _site(scratch, row, BTRFS, "before a partial result is written") as site:
        site.drop()
        _limit_quota(site)
        for event, answer in _at_dot_of("x@example.net", site.volume.fill).items():
            site.load.server.answer(event, answer)
        _several(site, [EX_OK, EX_IOERR], cause)
        site.volume.free()
        site.finish(may_repeat=1)  # over its quota, btrfs refuses renames too
    return row


def _limit_quota(site: Site) -> None:
    for command in (["quota", "enable"], ["qgroup", "limit", str(QUOTA)]):
        done = subprocess.run(
            ["btrfs", *command, str(site.path)],
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
        if done.returncode:
            raise RuntimeError(done.stderr)


# ---- read-only ----


def _read_only(scratch: Path, dots: Sequence[int], kinds: Sequence[Kind]) -> Row:
    """Before a run (dot 0), or when the relay has the dot in its hands: that result, and the one of
    the message pipelined behind it, can be put down nowhere. An ext4 that goes read-only by itself
    also forgets what was not synced."""
    row = Row("read-only, before a run or within it")
    cause = os.strerror(errno.EROFS)
    for kind in kinds:
        for dot in dots:
            with _site(scratch, row, kind, f"at dot {dot}") as site:
                site.drop()
                site.volume.sync()
                if dot == 0:
                    site.volume.set_read_only()
                for event, answer in _at_dot(dot, site.volume.set_read_only).items():
                    site.load.server.answer(event, answer)
                _several(site, [EX_IOERR], cause)
                if dot == 0 and site.load.server.messages:
                    site.problem("it sent what it can't record")
                site.volume.set_writable()
                under_way = 2 if dot else 0
                unsynced = dot - 1 if dot and kind == EXT4 else 0
                site.finish(may_repeat=under_way + unsynced)
    return row


# ---- limits of the process ----

# In KiB: most of what the program and libcurl need, then finely up to where all goes well.
MEMORY = (*range(2 << 10, 16 << 10, 2 << 10), *range(16 << 10, 28 << 10, 256), 64 << 10)


def _limit(what: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (most, most))


def _limited(scratch: Path, row: Row, case: str, limit: Callable[[], None],
             cause: str) -> None:
    """Runs under LIMIT. It may start not at all (127), or give up for any reason of sysexits that
    it names; it is not killed."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory, Load(Path(directory)) as load:
        site = Site(_NoVolume(load.spool.path), load, row)  # type: ignore[arg-type]
        site.case = case
        site.drop()
        for _ in range(2):
            done = site.run(limit)
            if done.returncode < 0 or (done.returncode not in (0, 127) and done.returncode < 64):
                site.problem(f"ended with {done.returncode}: {done.stderr}")
            elif done.returncode not in (0, 127) and cause not in done.stderr:
                site.problem(f"exit status {done.returncode} without {cause!r}: {done.stderr}")
        site.check_once()
        site.finish()


@dataclass
class _NoVolume:
    path: Path


def _descriptors(scratch: Path, counts: Sequence[int]) -> Row:
    row = Row("ulimit -n, from too few to start to enough")
    for count in counts:
        _limited(scratch, row, f"ulimit -n {count}", _limit(resource.RLIMIT_NOFILE, count),
                 os.strerror(errno.EMFILE))
    return row


def _file_size(scratch: Path, sizes: Sequence[int]) -> Row:
    row = Row("ulimit -f")
    for size in sizes:
        _limited(scratch, row, f"ulimit -f of {size} bytes", _limit(resource.RLIMIT_FSIZE, size),
                 os.strerror(errno.EFBIG))
    return row


def _memory(scratch: Path, kilobytes: Sequence[int]) -> Row:
    row = Row("ulimit -v, from too little to start to enough")
    if repo.program().resolve() != repo.plain_program().resolve():
        print("    disk: ulimit -v is left out: the program under test has a sanitizer",
              file=sys.stderr)
        return row
    for size in kilobytes:
        limit = _limit(resource.RLIMIT_AS, size << 10)
        _limited(scratch, row, f"ulimit -v {size}", limit, "")
    return row


# ---- all of them ----


def _usable(kinds: Sequence[Kind]) -> List[Kind]:
    usable = []
    for kind in kinds:
        if reason := why_not(kind):
            print(f"    disk: {kind.name} is left out: {reason}", file=sys.stderr)
        else:
            usable.append(kind)
    return usable


def _limits(short: bool, scratch: Path) -> Iterator[Row]:
    yield _descriptors(scratch, (3, 8, 12, 13) if short else range(3, 33))
    yield _file_size(scratch, (200,) if short else (0, 1, 100, 200, 300, 1000, 20_000))
    memory = _memory(scratch, (8 << 10, 20 << 10) if short else MEMORY)
    if memory.cases:
        yield memory


def _disks(short: bool, scratch: Path, kinds: Sequence[Kind]) -> Iterator[Row]:
    small = [kind for kind in kinds if kind in (TMPFS, EXT4)]
    yield _full_before(scratch, small if short else kinds)
    yield _nearly_full(scratch, small, (3,) if short else range(1, 30))
    yield _no_room_for_partial(scratch, small if short else kinds)
    yield _full_at_partial(scratch, small if short else kinds)
    yield _django_full(scratch, small if short else kinds, (0,) if short else range(0, 8))
    yield _no_inodes(scratch, small)
    if EXT4 not in kinds:
        return
    yield _cur_full(scratch, (1,) if short else (1, 4))
    yield _no_room_for_names(scratch, (2,) if short else range(1, 8))
    yield _failed_full(scratch)
    yield _dump_cannot_advance(scratch, (1, 3) if short else range(0, 12))
    yield _django_others(scratch)
    yield _read_only(scratch, (0, 2) if short else range(0, 8), [EXT4])
    if not short and TMPFS in kinds:
        # Not while a file is open for writing, as one is for the result of a message to several.
        yield _read_only(scratch, range(0, 4), [TMPFS])
    if not short and BTRFS in kinds:
        yield _quota(scratch)


def rows(short: bool, scratch: Path) -> Iterator[Row]:
    yield from _limits(short, scratch)
    if reason := why_not():
        print(f"    disk: all but limits is left out: {reason}", file=sys.stderr)
        return
    with private_mounts(scratch):
        yield from _disks(short, scratch, _usable((TMPFS, EXT4, XFS, BTRFS)))
