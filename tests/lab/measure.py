"""What a command costs: time, CPU, memory, system calls."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Mapping, Optional, Sequence

# Linux counts the memory of the parent that forked a process into the peak of the child. So a small
# launcher starts the command, and pytest's own memory stays out of the figure.
_LAUNCHER = """
import json, os, sys, time
report, argv = sys.argv[1], sys.argv[2:]
start = time.monotonic()
pid = os.posix_spawnp(argv[0], argv, os.environ)
_, status, used = os.wait4(pid, 0)
figures = {
    "wall": time.monotonic() - start,
    "user": used.ru_utime,
    "system": used.ru_stime,
    "max_rss": used.ru_maxrss * 1024,
    "returncode": os.waitstatus_to_exitcode(status),
}
with open(report, "w") as file:
    json.dump(figures, file)
"""


@dataclass(frozen=True)
class Usage:
    """The cost of one run of a command."""

    returncode: int
    wall: float  # seconds
    user: float
    system: float
    max_rss: int  # bytes; never below some 9 MB, the launcher's own size
    stdout: str
    stderr: str

    @property
    def cpu(self) -> float:
        return self.user + self.system


def _run(
    argv: Sequence[str], env: Optional[Mapping[str, str]], timeout: float
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="backslashreplace",
        env={**os.environ, **(env or {})},
        timeout=timeout,
    )


def measure(
    argv: Sequence[str], *, env: Optional[Mapping[str, str]] = None, timeout: float = 300
) -> Usage:
    """Runs ARGV to its end; ENV is added to this process's environment."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report.json"
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(report)]
        done = _run([*launcher, *argv], env, timeout)
        if not report.exists():
            raise RuntimeError(f"{argv[0]} did not start: {done.stderr}")
        figures = json.loads(report.read_text())
    return Usage(**figures, stdout=done.stdout, stderr=done.stderr)


@dataclass(frozen=True)
class Trace:
    """The system calls of one run of a command, of all its threads and children."""

    returncode: int
    counts: "Counter[str]"
    text: str  # strace's lines
    stdout: str
    stderr: str

    def lines(self, pattern: str) -> list[str]:
        """The traced calls that match a regular expression."""
        return [line for line in self.text.splitlines() if re.search(pattern, line)]


_CALL = re.compile(r"^(?:\d+ +)?(?:<\.\.\. )?([a-z_][a-z0-9_]*)(?:\(| resumed>)")


def _count(text: str) -> "Counter[str]":
    """Each call once: an unfinished one is counted where it starts."""
    started = (line for line in text.splitlines() if " resumed>" not in line)
    return Counter(match[1] for match in map(_CALL.match, started) if match)


def have_strace() -> bool:
    """Whether strace is there and may trace."""
    if not shutil.which("strace"):
        return False
    return (
        subprocess.run(["strace", "-qq", "-o/dev/null", "true"], capture_output=True).returncode
        == 0
    )


def trace(
    argv: Sequence[str],
    calls: Iterable[str] = (),
    *,
    options: Sequence[str] = (),
    env: Optional[Mapping[str, str]] = None,
    timeout: float = 300,
) -> Trace:
    """Runs ARGV under strace and counts CALLS (none named: all). OPTIONS go to strace: ("-e",
    "inject=fsync:error=EIO:when=2")."""
    names = ",".join(calls) or "all"
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "strace.out"
        strace = ["strace", "-f", "-qq", "-s", "256", "-o", str(output), "-e", f"trace={names}"]
        # LeakSanitizer can't work under a tracer.
        asan = os.environ.get("ASAN_OPTIONS", "")
        quiet = {"ASAN_OPTIONS": f"{asan}:detect_leaks=0".lstrip(":"), **(env or {})}
        done = _run([*strace, *options, *argv], quiet, timeout)
        text = output.read_text(errors="replace") if output.exists() else ""
    if not text and "strace" in done.stderr:
        raise RuntimeError(done.stderr)
    return Trace(done.returncode, _count(text), text, done.stdout, done.stderr)
