"""An error at every step: each system call of a run fails once, and then for good, with each error
that it can give.

What a run makes of it is judged by what it says and by what it leaves: an exit status that fits,
a line that names the trouble unless all was done nevertheless, every file whole, and after
runs without faults everybody served, once. A repeat is unavoidable only where the answer to a
final dot has not reached the program; strace's record says which ones have.

The loader's calls before main() are left out: nothing of the program runs yet, and a failure there
is the loader's to tell.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from lab import logfmt, measure, repo

from .inject import LETTERS_SENT, TIMEOUT, Place, Writers, can_inject, check_reached
from .inject import have_django, in_memory, in_parallel, letters_in, merge, places
from .load import Key, Load
from .report import Row

# What section 2 of the manual says; and EIO and ENOMEM for whatever looks into a file system. Not
# here: brk(2), which tells of a failure by what it returns and never by an error.
_PATH = ("EACCES", "EIO", "ENOMEM")
_CHANGE = (*_PATH, "ENOSPC", "EDQUOT", "EROFS")
_STORE = ("EIO", "ENOSPC", "EDQUOT", "EINTR")
_OPEN = (*_PATH, "EMFILE", "ENFILE", "EINTR")
ERRORS: Dict[str, Tuple[str, ...]] = {
    "clone3": ("ENOMEM",),
    "close": _STORE,
    "connect": ("EACCES", "EINTR"),
    "eventfd2": ("EMFILE", "ENFILE", "ENOMEM"),
    "faccessat": _PATH,
    "faccessat2": _PATH,
    "fallocate": ("EINTR", "EIO", "ENOSPC", "EDQUOT"),
    "fchmod": ("EIO", "EROFS"),
    "flock": ("EINTR",),
    "fstat": ("ENOMEM", "EIO"),
    "fsync": (*_STORE, "EROFS"),
    "ftruncate": ("EINTR", "EIO", "EROFS"),
    "getdents64": ("EIO", "ENOMEM"),
    "getrandom": ("EINTR",),
    "mmap": ("EACCES", "ENFILE", "ENOMEM"),
    "mprotect": ("EACCES", "ENOMEM"),
    "munmap": ("ENOMEM",),
    "newfstatat": _PATH,
    "openat": _OPEN,
    "pipe2": ("EMFILE", "ENFILE"),
    "poll": ("EINTR", "ENOMEM"),
    "pread64": ("EINTR", "EIO"),
    "read": ("EINTR", "EIO"),
    "recvfrom": ("EINTR", "ENOMEM"),
    "rename": _CHANGE,
    "renameat": _CHANGE,
    "renameat2": _CHANGE,
    "sendto": ("EACCES", "EINTR", "ENOMEM"),
    "socket": ("EACCES", "EMFILE", "ENFILE", "ENOMEM"),
    "socketpair": ("EMFILE", "ENFILE", "ENOMEM"),
    "unlink": (*_PATH, "EROFS"),
    "unlinkat": (*_PATH, "EROFS"),
    "write": _STORE,
}
CREATE = (*_OPEN, "ENOSPC", "EDQUOT", "EROFS")  # openat with O_CREAT
EINTR_TIMES = 2  # SIGTERM and SIGINT are caught once each: no more calls can be interrupted

ENDLESS = f"goes on for more than {TIMEOUT:.0f} s"
STATUSES = (0, 71, 74, 75, 77, 78)
FOR_PERMISSION = ("not readable for this user", "the right to read it")  # EACCES in words
OF_RESULTS = ("sent", "deferred", "failed")

SHORT_SPREAD = 60  # faults of the short form, besides a full disk at each call
JAM_RUNS = 5  # in a row, with the fault on
SANITIZED_LONG, SANITIZED_SHORT = 150, 10


@dataclass(frozen=True)
class Fault:
    """ERROR for PLACE; WHEN as in Place.fail."""

    place: Place
    error: str
    when: str = ""

    def __str__(self) -> str:
        return f"{self.error}{self.when} for {self.place}"

    def options(self) -> List[str]:
        return self.place.fail(self.error, self.when)

    @property
    def reason(self) -> str:
        return os.strerror(getattr(errno, self.error))


def faults(found: Iterable[Place]) -> Iterator[Fault]:
    """Each error of each place, once and from there on."""
    for place in found:
        errors = ERRORS.get(place.name, ())
        if place.name == "openat" and "O_CREAT" in place.text:
            errors = CREATE
        if place.name.startswith("faccessat") and "W_OK" in place.text:
            errors = (*errors, "EROFS")
        for error in errors:
            yield Fault(place, error)
            for_good = f"..{place.number + EINTR_TIMES - 1}" if error == "EINTR" else "+"
            yield Fault(place, error, for_good)


# What a run says and does


_VARYING = re.compile(r" (?:time|delay|id|seconds|size)=\S+")
_QUEUED = re.compile(rb"queued as (L\d+)")


class Run:
    """One run under strace with a fault, as far as it went."""

    def __init__(self, load: Load, options: Sequence[str], *calls: str) -> None:
        self.endless = False
        traced = [*calls, "recvfrom"]  # strace meddles with no call that it is not to trace
        try:
            done = measure.trace(
                *(load.spool.argv("run"), traced),
                options=["-y", "-s", "4096", *options],
                timeout=TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            self.endless = True
            return
        self.calls = places(done.text)
        self.status = done.returncode
        self.said = done.stderr
        self.injected = done.lines(r"\(INJECTED\)")
        read = "\n".join(done.lines(r"^(?:\d+ +)?recvfrom")).encode()
        self.answered = set(_QUEUED.findall(read))

    def events(self, *names: str) -> List[str]:
        """The lines of the events NAMES, without what differs from run to run."""
        lines = ((line, logfmt.parse_line(line)) for line in self.said.splitlines())
        return [
            _QUEUED.sub(b"", _VARYING.sub("", line).encode()).decode()
            for line, fields in lines
            if fields and fields["event"] in names
        ]

    def trouble(self, usual: "Run") -> List[str]:
        """The lines that tell of trouble: of events that no good run has, or for people, or
        results that it does not have."""
        quiet = (*OF_RESULTS, "imported", "run")
        odd = [
            line
            for line in self.said.splitlines()
            if (logfmt.parse_line(line) or {"event": ""})["event"] not in quiet
        ]
        news = Counter(self.events("deferred", "failed")) - Counter(
            usual.events("deferred", "failed")
        )
        return odd + list(news)

    def done(self, place: Place) -> int:
        """How many calls like PLACE were carried out: of its name, in its directories."""
        return sum(
            call.name == place.name
            and _directories(call) == _directories(place)
            and "(INJECTED)" not in call.text
            for call in self.calls
        )

    def retried(self, fault: Fault, usual: "Run") -> bool:
        """Whether what failed was done after all, in another try."""
        return self.done(fault.place) >= usual.done(fault.place)


def _directories(place: Place) -> List[str]:
    return re.findall(r"<(/spool(?:/\w+)?)[/>]", place.text)


def _unanswered(load: Load, run: Run) -> "Counter[Key]":
    """The deliveries whose answer has not reached RUN."""
    unread = [
        message
        for message in load.server.messages
        if not set(_QUEUED.findall(message.reply)) & run.answered
    ]
    return load.delivered(unread)


# Judging


def _path_of(fault: Fault) -> str:
    """What the call is about: "network", "config", "spool", "log" or "system"."""
    text, name = fault.place.text, fault.place.name
    if name in ("socket", "socketpair", "connect", "poll", "sendto", "recvfrom"):
        return "network"
    if "maildrain.conf" in text:
        return "config"
    if name == "write" and text.startswith("write(2<"):
        return "log"
    return "spool" if "/spool" in text else "system"


def _judge_status(fault: Fault, run: Run) -> Iterator[str]:
    about, status = _path_of(fault), run.status
    if status not in STATUSES:
        yield f"exit status {status}"
    elif status == 77 and fault.error not in ("EACCES", "EROFS"):
        yield "exit status 77 for what is no matter of permission"
    elif status == 75 and about not in ("network", "system"):
        yield f"exit status 75 for a fault of the {about}"
    elif status == 78 and about not in ("config", "spool"):
        yield f"exit status 78 for a fault of the {about}"
    if status == 0 and run.events("error"):
        yield "says error and exits 0"
    if "Sanitizer" in run.said or "runtime error:" in run.said:
        yield f"a sanitizer reports: {run.said[:2000]}"


def _judge_words(fault: Fault, run: Run, usual: Run) -> Iterator[str]:
    """A fault that had an effect is told, with its reason where it is the file system's."""
    trouble, about = run.trouble(usual), _path_of(fault)
    if about == "log":
        return
    if any("(2<" in line for line in run.injected):
        if run.status == 0:
            yield "exit status 0 where the log can't be written either"
        return
    if trouble:
        words = (fault.reason, *FOR_PERMISSION) if fault.error == "EACCES" else (fault.reason,)
        said = "\n".join(trouble).lower()
        if about in ("config", "spool") and not any(word.lower() in said for word in words):
            yield f"the reason is not told: {trouble[0]}"
        return
    if run.status != 0:
        yield f"exit status {run.status} without a word"
    if Counter(run.events(*OF_RESULTS)) != Counter(usual.events(*OF_RESULTS)):
        yield "not all was done, without a word"
    if fault.error != "EINTR" and _must_be_told(fault.place) and not run.retried(fault, usual):
        yield "nothing is said of it"


def _must_be_told(place: Place) -> bool:
    """What the next power cut tells, and not this run: even when all is sent."""
    if place.name == "close":
        return "/spool/tmp/" in place.text and "(deleted)" not in place.text
    return place.name in ("fsync", "getdents64") or place.name.startswith("rename")


def _case(scratch: Path, fault: Fault, usual: Run) -> Row:
    """No case when the run has no such call: its waits differ a little from time to time."""
    row = Row("")
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        with Load(Path(directory)) as load:
            load.drop()
            run = Run(load, fault.options(), fault.place.name)
            if run.endless:
                row.add(0, 0, 0)
                row.problems.append(f"{fault}: {ENDLESS}")
            elif run.injected:
                problems = [*_judge_status(fault, run), *_judge_words(fault, run, usual)]
                problems += _judge_spool(load, fault, run, row)
                row.problems += [f"{fault}: {problem}" for problem in problems]
    return row


def _judge_spool(load: Load, fault: Fault, run: Run, row: Row) -> List[str]:
    """What the fault has left, and what comes of it in good runs."""
    may_repeat = _unanswered(load, run) + _unrecorded(load, fault)
    problems, gone = load.damaged(), _gone(load, fault)
    load.repair()
    load.recover()
    repeated = load.repeated()
    load.account(row, sum((repeated & may_repeat).values()), str(fault), gone)
    return [
        *problems,
        *load.damaged(),
        *(f"{key} sent again, {n} times too often" for key, n in (repeated - may_repeat).items()),
    ]


def _unrecorded(load: Load, fault: Fault) -> "Counter[Key]":
    """The deliveries that nothing could record, because no rename works any more."""
    if not (fault.place.name.startswith("rename") and fault.when == "+"):
        return Counter()
    claimed = [name for name in os.listdir(load.spool.path / "new") if ",C=" in name]
    return load.delivered() & load.to_serve(claimed)


def _gone(load: Load, fault: Fault) -> Set[str]:
    """The sent messages that could neither be moved nor marked: their copy is given up, for it is
    worth less than one duplicate more each minute."""
    if not (fault.place.name.startswith("rename") and fault.when == "+"):
        return set()
    there = load.ends()
    return {case for case, _ in load.delivered() if case not in there}


def _usual(scratch: Path) -> Tuple[Run, List[Place]]:
    """A run without a fault, and its calls from the first of main() on."""
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        with Load(Path(directory)) as load:
            load.drop()
            found = places(measure.trace(load.spool.argv("run"), options=["-y"]).text)
    first = next(n for n, place in enumerate(found) if "maildrain.conf" in place.text)
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        with Load(Path(directory)) as load:
            load.drop()
            return Run(load, (), "all"), found[first:]


def _is_full_disk(fault: Fault) -> bool:
    return fault.error == "ENOSPC" and not fault.when and fault.place.name != "close"


def _each(scratch: Path, short: bool, usual: Run, found: Sequence[Place]) -> Iterator[Row]:
    every = list(faults(found))
    if short:
        step = len(every) // SHORT_SPREAD
        chosen = [
            fault
            for number, fault in enumerate(every)
            if number % step == step - 1 or _is_full_disk(fault)
        ]
        row = Row("an error from a sample of system calls")
        in_parallel(row, lambda fault: _case(scratch, fault, usual), chosen)
        check_reached(row, len(chosen))
        yield row
        return
    for error in sorted({fault.error for fault in every}):
        row = Row(f"{error} from each system call that can give it")
        of_it = [fault for fault in every if fault.error == error]
        in_parallel(row, lambda fault: _case(scratch, fault, usual), of_it)
        check_reached(row, len(of_it))
        yield row


# Sent, and no way to say so


@dataclass(frozen=True)
class Jam:
    """A file system that goes on failing: strace's options for the first run that meets with it and
    for those that follow."""

    text: str
    first: Tuple[str, ...]
    later: Tuple[str, ...] = ()
    gone: bool = False  # the copies of sent messages are given up
    unrecorded: int = 0  # messages that may be sent and stay to be sent: none could be helped


def _jams(error: str, to_cur: int) -> List[Jam]:
    """TO_CUR is the number of the first rename to cur/ among all."""
    fail = f"inject=renameat2:error={error}:when="
    keep = f"inject=unlinkat:error={error}:when=1+"
    cur = ("-P", "SPOOL/cur")
    # The second message is on its way when the first can't be recorded.
    return [
        Jam(f"{error} for one rename to cur/", (*cur, "-e", f"{fail}1")),
        Jam(f"{error} for all renames to cur/", *[(*cur, "-e", f"{fail}1+")] * 2),
        Jam(f"{error} for all renames", ("-e", f"{fail}{to_cur}+"), ("-e", f"{fail}1+"), True),
        Jam(
            f"{error} for all renames and removals",
            ("-e", f"{fail}{to_cur}+", "-e", keep),
            *(("-e", f"{fail}1+", "-e", keep), False, 2),
        ),
    ]


def _jammed(scratch: Path, jam: Jam) -> Row:
    """JAM_RUNS runs in a row, each as the timer would start it, then good ones."""
    row = Row("")
    with tempfile.TemporaryDirectory(dir=scratch) as directory:
        with Load(Path(directory)) as load:
            load.drop()
            problems = _run_jammed(load, jam.first)
            unrecorded = load.delivered() & load.to_serve()
            if len({case for case, _ in unrecorded}) > jam.unrecorded:
                problems.append(f"sent, and still to be sent: {list(unrecorded)}")
            for _ in range(JAM_RUNS - 1):
                load.make_due()
                problems += [each for each in _run_jammed(load, jam.later) if ENDLESS in each]
            there = load.ends()
            load.recover()
            for key, count in (load.repeated() - unrecorded).items():
                problems.append(f"{key} sent again, {count} times too often")
            gone = {case for case, _ in load.delivered() if jam.gone and case not in there}
            load.account(row, sum(unrecorded.values()), jam.text, gone)
            row.problems += [f"{jam.text}: {problem}" for problem in problems]
    return row


def _run_jammed(load: Load, options: Sequence[str]) -> List[str]:
    """What is wrong with a run that has sent something and could not record it."""
    filled = [option.replace("SPOOL", str(load.spool.path)) for option in options]
    run = Run(load, filled, "renameat2", "unlinkat")
    if run.endless:
        return [ENDLESS]
    if run.status != 74:
        return [f"exit status {run.status}, not 74"]
    return [] if run.events("error") else ["no line says error"]


def _jam(scratch: Path, short: bool, found: Sequence[Place]) -> Row:
    renames = [place for place in found if place.name == "renameat2"]
    to_cur = next(place.number for place in renames if "/spool/cur>" in place.text)
    errors = ("ENOSPC",) if short else ("ENOSPC", "EDQUOT", "EIO")
    row = Row(f"sent but not to be recorded, {JAM_RUNS} runs in a row")
    jams = [jam for error in errors for jam in _jams(error, to_cur)]
    in_parallel(row, lambda jam: _jammed(scratch, jam), jams)
    return row


# The Django backend


def _django(scratch: Path, short: bool, module: str) -> Row:
    row = Row(f"an error from a call of the Django backend ({module})")
    with Writers(scratch, module) as writers:
        undisturbed = writers.send(["-y"])
        whole = letters_in(undisturbed)
        found = [p for p in places(undisturbed.trace) if "/spool/" in p.text]
        chosen = list(faults(found))
        for fault in chosen[:: 4 if short else 1]:
            merge(row, _judge_django(writers, fault, whole))
    return row


def _judge_django(writers: Writers, fault: Fault, whole: Dict[int, bytes]) -> Row:
    sent = writers.send(fault.options(), [fault.place.name])
    row = sent.judge(whole, str(fault))
    if sent.status != 0 or len(sent.said) != LETTERS_SENT:
        row.problems.append(f"Django, {fault}: ended with {sent.status}, said {sent.said}")
    elif "INJECTED" in sent.trace and fault.error != "EINTR":
        if "OSError" not in sent.said.values():
            row.problems.append(f"Django, {fault}: no OSError was raised")
    return row


# The build with sanitizers


@contextlib.contextmanager
def _program(path: Path) -> Iterator[None]:
    """$MAILDRAIN is PATH for a while."""
    before = os.environ.get("MAILDRAIN")
    os.environ["MAILDRAIN"] = str(path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MAILDRAIN"]
        else:
            os.environ["MAILDRAIN"] = before


def _is_for_memory(place: Place) -> bool:
    names = ("mmap", "mprotect", "munmap")
    return place.name in names or ".so" in place.text or "/proc/" in place.text


def _sanitized(scratch: Path, short: bool) -> Iterator[Row]:
    """A sample with sanitizers, which meet with no errors of their own calls for memory."""
    program = Path(os.environ.get("MAILDRAIN_SANITIZED", repo.ROOT / "build/clang/sbin/maildrain"))
    if not program.exists() or program.resolve() == repo.program().resolve():
        print(f"    errors: no row of its own for {program}", file=sys.stderr)
        return
    with _program(program):
        usual, found = _usual(scratch)
        own = [place for place in found if not _is_for_memory(place)]
        every = list(faults(own))
        step = max(1, len(every) // (SANITIZED_SHORT if short else SANITIZED_LONG))
        row = Row("an error from a sample of calls, with sanitizers")
        in_parallel(row, lambda fault: _case(scratch, fault, usual), every[step - 1 :: step])
    yield row


def rows(short: bool, scratch: Path) -> Iterator[Row]:
    if not can_inject("errors"):
        return
    with in_memory(scratch) as scratch:
        yield from _rows(short, scratch)


def _rows(short: bool, scratch: Path) -> Iterator[Row]:
    usual, found = _usual(scratch)
    yield from _each(scratch, short, usual, found)
    yield _jam(scratch, short, found)
    yield from _sanitized(scratch, short)
    if have_django("errors"):
        for module in ("filebased", "bulk"):
            yield _django(scratch, short, module)
