"""System calls as places for faults: which ones a command makes, and how strace meddles with one.

A place is a name and a number, "the third fsync", because strace counts the calls of each name by
themselves, also where it is told inject=all.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, Iterable, Iterator, List, Sequence, TypeVar

from lab import measure
from lab.django_site import DjangoSite

from .report import Row

WORKERS = 2
MEMORY = Path("/dev/shm")
REACHED_MIN = 0.9
TIMEOUT = 20.0  # seconds that a run under strace may take
OUTSIDE = ("execve",)  # by which strace starts the program: not the program's own

T = TypeVar("T")

_CALL = re.compile(r"^(?:(?P<pid>\d+) +)?(?P<name>[a-z_][a-z0-9_]*)\(")

_ABOVE = re.compile(r"/[^<>\"]*/(?=spool\b|maildrain\.conf)")  # the directory of the case


@dataclass(frozen=True)
class Place:
    """The NUMBER-th call of its NAME; TEXT is how strace showed it in an undisturbed run."""

    name: str
    number: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.number}, {self.text[:100]}"

    def kill(self) -> List[str]:
        """strace's options: SIGKILL on entering the call, which is not carried out any more."""
        return ["-e", f"inject={self.name}:signal=KILL:when={self.number}"]

    def fail(self, error: str, when: str = "") -> List[str]:
        """ERROR instead of the call; WHEN is "", "+" for all further ones too, or "..N"."""
        return ["-e", f"inject={self.name}:error={error}:when={self.number}{when}"]


def places(text: str) -> List[Place]:
    """Those that strace's output TEXT shows, in order. Threads and children count for themselves:
    what two of them have is one place."""
    found: List[Place] = []
    seen: "Counter[tuple[str, str]]" = Counter()
    known = set()
    for line in text.splitlines():
        match = _CALL.match(line)
        if not match or match["name"] in OUTSIDE:
            continue
        task = (match["pid"] or "", match["name"])
        seen[task] += 1
        text = _ABOVE.sub("/", line[match.start("name") :])
        place = Place(match["name"], seen[task], text)
        if (place.name, place.number) not in known:
            known.add((place.name, place.number))
            found.append(place)
    return found


def sample(all_of_them: Sequence[Place], count: int, always: Iterable[str] = ()) -> List[Place]:
    """COUNT places spread evenly, and all whose name starts with one of ALWAYS."""
    starts = tuple(always)
    step = max(1, len(all_of_them) // count) if count else len(all_of_them) + 1
    return [
        place
        for number, place in enumerate(all_of_them)
        if number % step == step - 1 or (starts and place.name.startswith(starts))
    ]


def merge(row: Row, part: Row) -> None:
    """Adds the cases of PART to ROW."""
    row.cases += part.cases
    row.lost += part.lost
    row.twice += part.twice
    row.may_repeat += part.may_repeat
    row.stuck += part.stuck
    row.problems += part.problems


def in_parallel(row: Row, case: Callable[[T], Row], items: Iterable[T]) -> None:
    """Adds to ROW what CASE says of each of ITEMS."""
    with ThreadPoolExecutor(WORKERS) as pool:
        for part in pool.map(case, items):
            merge(row, part)
    _one_of_each_first(row)


def check_reached(row: Row, wanted: int) -> None:
    """Runs differ a little, so a few of the places are not met; more would mean that nothing is
    injected."""
    if row.cases < wanted * REACHED_MIN:
        row.problems.append(f"only {row.cases} of {wanted} faults have taken place")


def _one_of_each_first(row: Row) -> None:
    """Puts the problems in an order that shows each kind before any of them a second time."""
    seen: "Counter[str]" = Counter()
    turns = []
    for problem in row.problems:
        kind = re.sub(r"\d+", "", problem.rpartition(": ")[2])
        seen[kind] += 1
        turns.append(seen[kind])
    row.problems = [p for _, p in sorted(zip(turns, row.problems), key=lambda pair: pair[0])]


@contextlib.contextmanager
def in_memory(scratch: Path) -> Iterator[Path]:
    """A directory for the cases, in memory where there is room: each syncs a dozen times, and what
    the disk makes of that is of no interest here. Else SCRATCH itself."""
    if not os.access(MEMORY, os.W_OK | os.X_OK):
        yield scratch
        return
    with tempfile.TemporaryDirectory(prefix="maildrain-", dir=MEMORY) as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


def can_inject(family: str) -> bool:
    """Whether strace is there; says so if not."""
    if measure.have_strace():
        return True
    print(f"    {family}: skipped, strace is missing or may not trace", file=sys.stderr)
    return False


# The Django backend: a process of its own, with strace attached once Python has started

LETTERS_SENT = 3
# A server that forks a Django for each line it reads: the directory of the case. With the backend
# for mass mail all letters go in one call.
_WRITER = f"""
import ctypes, os, signal, sys, tempfile
import django
from maildrain import bulk, filebased

PR_SET_PTRACER, ANY = 0x59616D61, ctypes.c_ulong(-1)

def backend(module, spool):
    alias = {{"alias": "default"}} if django.VERSION >= (6, 1) else {{}}
    return module.EmailBackend(file_path=spool, **alias)

def letter(number):
    fixed = {{"Message-ID": f"<{{number}}@example.com>", "Date": "Sat, 22 Nov 2025 10:11:12 +0000"}}
    body = "A line.\\n" * (30000 if number == 1 else 3)
    return EmailMessage(str(number), body, None, ["a@example.net", "b@example.net"], headers=fixed)

def send(module, directory):
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ANY, 0, 0, 0)
    mailer = backend(module, directory + "/spool")
    letters = [letter(number) for number in range({LETTERS_SENT})]
    report = os.open(directory + "/report", os.O_WRONLY)
    os.write(1, f"{{os.getpid()}}\\n".encode())
    signal.sigwait([signal.SIGUSR1])
    calls = [letters] if module is bulk else [[message] for message in letters]
    number = 0
    for messages in calls:
        try:
            said = "ok" if mailer.send_messages(messages) == len(messages) else "not counted"
        except BaseException as error:
            said = "OSError" if isinstance(error, OSError) else repr(error)
        for _ in messages:
            os.writev(report, [f"{{number}} {{said}}\\n".encode()])  # a call that no fault is for
            number += 1

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
with tempfile.TemporaryDirectory() as warm:
    os.mkdir(warm + "/tmp")
    os.mkdir(warm + "/new")
    for module in (filebased, bulk):  # so that all is imported
        backend(module, warm).send_messages([letter(0), letter(1)])
for line in sys.stdin:
    name, directory = line.split()
    pid = os.fork()
    if pid == 0:
        send(getattr(sys.modules["maildrain"], name), directory)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass
class Sent:
    """What a Django process said and left behind."""

    status: int = 0  # of the process, as subprocess has it
    trace: str = ""  # strace's output
    said: Dict[int, str] = field(default_factory=dict)  # of each letter: "ok", "OSError", …
    new: List[bytes] = field(default_factory=list)  # the files in new/
    tmp: List[bytes] = field(default_factory=list)

    def judge(self, whole: Dict[int, bytes], where: str) -> Row:
        """One case: what was said to be queued is, and nothing that is not WHOLE[number]."""
        row = Row("")
        queued = Counter(n for n, data in whole.items() for new in self.new if new == data)
        twice = sum(count - 1 for count in queued.values())
        missing = [n for n, said in self.said.items() if said == "ok" and not queued[n]]
        row.add(len(missing), twice, 0)
        problems = [f"letter {number} was said to be queued and is not" for number in missing]
        if len(self.new) > sum(queued.values()):
            problems.append("a file in new/ that is not whole")
        for number, said in self.said.items():
            if said not in ("ok", "OSError"):
                problems.append(f"letter {number}: {said}")
            if said != "ok" and queued[number]:
                problems.append(f"letter {number} was said to have failed, and is in new/")
        row.problems += [f"Django, {where}: {problem}" for problem in problems]
        return row


def letters_in(sent: Sent) -> Dict[int, bytes]:
    """The letters of an undisturbed Django by their numbers."""
    found = (re.search(rb"^Subject: (\d+)$", data, re.MULTILINE) for data in sent.new)
    return {int(match[1]): match.string for match in found if match}


class Writers:
    """Starts Djangos that send LETTERS_SENT letters each to a spool of their own, under strace.

    They are forked from one that has imported all it needs; then strace is attached. So each call
    that is counted is one of sending. MODULE is that of the backend: "filebased" or "bulk"."""

    def __init__(self, scratch: Path, module: str) -> None:
        self.scratch = scratch
        self.module = module
        self._server = DjangoSite(scratch).start(_WRITER)
        self._lock = threading.Lock()

    def __enter__(self) -> "Writers":
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate()

    def send(self, options: Sequence[str] = (), calls: Iterable[str] = ("all",)) -> Sent:
        """One Django with strace's OPTIONS."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            directory = Path(name)
            for folder in ("spool/tmp", "spool/new"):
                (directory / folder).mkdir(parents=True)
            (directory / "report").touch()
            sent = Sent()
            with self._lock:
                sent.status = self._traced(directory, [*options, f"-etrace={','.join(calls)}"])
            sent.trace = (directory / "strace.out").read_text(errors="replace")
            for line in (directory / "report").read_text().splitlines():
                number, _, said = line.partition(" ")
                sent.said[int(number)] = said
            sent.new = [path.read_bytes() for path in (directory / "spool/new").iterdir()]
            sent.tmp = [path.read_bytes() for path in (directory / "spool/tmp").iterdir()]
            return sent

    def _traced(self, directory: Path, options: Sequence[str]) -> int:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(f"{self.module} {directory}\n")
        self._server.stdin.flush()
        pid = int(self._server.stdout.readline())
        output = str(directory / "strace.out")
        tracer = subprocess.Popen(
            ["strace", "-f", "-o", output, *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True
        )
        assert tracer.stderr
        attached = tracer.stderr.readline()  # it says so: from here on it sees every call
        os.kill(pid, signal.SIGUSR1)
        try:
            tracer.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)
            tracer.communicate()
        status = int(self._server.stdout.readline())
        if "attached" not in attached:
            raise RuntimeError(f"strace: {attached}")
        return status


def have_django(family: str) -> bool:
    """Whether the backend can be run; says so if not."""
    if importlib.util.find_spec("django"):
        return True
    print(f"    {family}: the Django backend is skipped, there is no Django", file=sys.stderr)
    return False
