"""What a run costs that finds nothing to send: it happens 1,440 times a day."""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path
from typing import List, Sequence

from lab.spool import Spool

from .tools import scratch

ROUNDS = 200
LIMIT = 0.002  # seconds


def _once(argv: Sequence[str], actions: Sequence[object]) -> float:
    start = time.perf_counter()
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
    _, status = os.waitpid(pid, 0)
    took = time.perf_counter() - start
    if status:
        raise RuntimeError(f"{argv}: exit {os.waitstatus_to_exitcode(status)}")
    return took


def _told(name: str, times: List[float]) -> str:
    tenths = statistics.quantiles(times, n=10)
    return (
        f"{name:12} median {statistics.median(times) * 1e3:.2f} ms"
        f"   (10 % {tenths[0] * 1e3:.2f}, 90 % {tenths[-1] * 1e3:.2f})"
    )


def measure(directory: Path, rounds: int = ROUNDS) -> List[List[float]]:
    """The wall times of `maildrain run` and of /bin/true, by turns."""
    run = Spool(directory).argv("run")
    actions = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
    turns = [
        (_once(run, actions), _once(["/bin/true"], actions)) for _ in range(rounds)
    ]
    return [list(times) for times in zip(*turns)]


def main() -> int:
    with scratch() as place:
        own, bare = measure(place)
    print(_told("empty run", own))
    print(_told("/bin/true", bare))
    if statistics.median(own) > LIMIT:
        print(f"more than {LIMIT * 1e3:.0f} ms", file=sys.stderr)
    return 0
