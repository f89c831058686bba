"""Postfix's smtp-sink and smtp-source: throughput without a queue behind it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import List, Optional, Sequence

from . import net
from .child import Child

_PATH = "/usr/sbin:/usr/bin"
_COUNTERS = re.compile(r"sess=(\d+) quit=(\d+) mesg=(\d+)")


def available() -> bool:
    """Whether both programs (package postfix) are installed."""
    return bool(shutil.which("smtp-sink", path=_PATH) and shutil.which("smtp-source", path=_PATH))


@dataclass(frozen=True)
class Counters:
    """What smtp-sink has seen."""

    sessions: int
    quits: int
    messages: int


class Sink:
    """smtp-sink on a free port. OPTIONS are its own: ("-8",) hides 8BITMIME, ("-p",) PIPELINING,
    ("-r", "RCPT") answers 4xx, ("-f", "DATA") 5xx, ("-w", "2") delays the reply to DATA.

    With DUMP it writes each message to a file of its own. COUNTERS costs it one short write for
    each message.
    """

    def __init__(
        self,
        directory: Path,
        options: Sequence[str] = (),
        *,
        dump: bool = False,
        counters: bool = True,
        backlog: int = 256,
    ) -> None:
        self.port = net.free_port()
        self._dumps = directory / "dumps"
        self._log = directory / f"smtp-sink-{self.port}.log"
        self._argv = ["smtp-sink", *options, *(["-c"] if counters else [])]
        if os.geteuid() == 0:
            self._argv += ["-u", "root"]  # it insists on a name, and the log is in a private folder
        if dump:
            self._argv += ["-d", f"{self._dumps}/"]
        self._argv += [f"inet:{net.HOST}:{self.port}", str(backlog)]
        self._child: Optional[Child] = None

    @property
    def url(self) -> str:
        return f"smtp://{net.HOST}:{self.port}"

    def counters(self) -> Counters:
        """Needs COUNTERS. One session more than the client's: the look whether it is up."""
        found = _COUNTERS.findall(self._log.read_text(errors="replace"))
        return Counters(*map(int, found[-1])) if found else Counters(0, 0, 0)

    def wait_for(self, messages: int, timeout: float = 10) -> bool:
        """Whether so many messages came within TIMEOUT."""
        end = time.monotonic() + timeout
        while self.counters().messages < messages:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True

    def dumps(self) -> List[bytes]:
        """The messages, with smtp-sink's own X- lines at their top and LF line ends."""
        return [path.read_bytes() for path in sorted(self._dumps.iterdir())]

    def __enter__(self) -> "Sink":
        program = shutil.which("smtp-sink", path=_PATH)
        if not program:
            raise RuntimeError("smtp-sink is missing: install the package postfix")
        self._dumps.mkdir(exist_ok=True)
        self._child = Child([program, *self._argv[1:]], self._log)
        if not net.wait_for_port(self.port, self._child.alive):
            self._child.stop()
            raise RuntimeError(f"smtp-sink did not start: {self._child.tail()}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._child:
            self._child.stop()


def smtp_source_argv(
    port: int,
    *,
    sessions: int = 4,
    count: int = 10_000,
    length: int = 2048,
    options: Sequence[str] = (),
) -> List[str]:
    """The command line of smtp-source, which sends COUNT messages of LENGTH octets in SESSIONS
    connections that it keeps open: the practical limit on this machine. OPTIONS are further ones
    of its own, ("-t", "b@example.test")."""
    program = shutil.which("smtp-source", path=_PATH)
    if not program:
        raise RuntimeError("smtp-source is missing: install the package postfix")
    numbers = ["-s", str(sessions), "-m", str(count), "-l", str(length)]
    return [program, "-d", *numbers, *options, f"inet:{net.HOST}:{port}"]


def run_smtp_source(
    port: int,
    *,
    sessions: int = 4,
    count: int = 10_000,
    length: int = 2048,
    options: Sequence[str] = (),
    timeout: float = 300,
) -> float:
    """Runs smtp-source to its end; returns its wall time in seconds."""
    argv = smtp_source_argv(port, sessions=sessions, count=count, length=length, options=options)
    start = time.monotonic()
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
    if done.returncode:
        raise RuntimeError(f"smtp-source: {done.stderr.decode(errors='replace')}")
    return time.monotonic() - start
