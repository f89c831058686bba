"""Whether a large message holds up small ones, and how soon one of high priority gets ahead."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import List

from lab.spool import Spool

from . import load
from .tinyserver import Arrival, TinyServer
from .tools import Distance, scratch, url

CONNECTIONS = 4
ROUND_TRIP = 0.02
SMALL = 600
BIG_LENGTH = 25_000_000
PACE = 10e6  # octets per second that the server takes of each session: 2.5 s for the large one
BIG = 9_999_999_999  # the number of the large or the urgent message, in its Message-Id
QUEUE = 3000


def _start(spool: Spool, port: int) -> "subprocess.Popen[bytes]":
    spool.write_config(url=url(port), tls="none", connections=CONNECTIONS)
    return subprocess.Popen(
        spool.argv("run"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _finish(run: "subprocess.Popen[bytes]", spool: Spool, count: int) -> None:
    if run.wait(300):
        raise RuntimeError(f"maildrain: exit {run.returncode}")
    load.check_sent(spool, count)


def _spool(directory: Path, count: int) -> Spool:
    directory.mkdir()
    spool = Spool(directory)
    load.fill(spool, count, 2048)
    return spool


def drained(directory: Path, big: bool) -> List[Arrival]:
    """The arrivals of SMALL small messages, with a large one before them or not, in seconds from
    the first."""
    spool = _spool(directory, SMALL)
    if big:
        load.put(spool, f"{load.BORN - 1}.M0P1Q0.bench", load.message(BIG, BIG_LENGTH))
    with TinyServer(PACE) as server, Distance(server.port, ROUND_TRIP) as distance:
        _finish(_start(spool, distance.port), spool, SMALL + big)
    first = min(arrival.time for arrival in server.arrivals)
    return [Arrival(a.time - first, a.number) for a in server.arrivals]


def longest_gap(arrivals: List[Arrival]) -> float:
    """The longest time in which no small message came."""
    times = sorted(a.time for a in arrivals if a.number != BIG)
    return max(later - sooner for sooner, later in zip(times, times[1:]))


def overtaken(directory: Path) -> int:
    """How many of a long queue still went before a message with P=0, dropped in the midst."""
    spool = _spool(directory, QUEUE)
    with TinyServer() as server, Distance(server.port, ROUND_TRIP) as distance:
        run = _start(spool, distance.port)
        while len(server.arrivals) < QUEUE // 10:
            if run.poll() is not None:
                raise RuntimeError(f"maildrain: exit {run.returncode}")
            time.sleep(0.01)
        load.put(spool, f"{load.BORN * 2}.M0P1Q0.bench,P=0", load.message(BIG, 2048))
        dropped = time.monotonic()
        _finish(run, spool, QUEUE + 1)
    arrived = next(a.time for a in server.arrivals if a.number == BIG)
    return sum(dropped < a.time < arrived for a in server.arrivals)


def _told(name: str, arrivals: List[Arrival]) -> str:
    small = [a.time for a in arrivals if a.number != BIG]
    return (
        f"  {name:22} last small one after {max(small):5.2f} s,"
        f" longest pause between two {longest_gap(arrivals) * 1e3:4.0f} ms"
    )


def main() -> int:
    with scratch() as place:
        alone = drained(place / "alone", False)
        beside = drained(place / "beside", True)
        ahead = overtaken(place / "priority")
    big = next(a.time for a in beside if a.number == BIG)
    print(
        f"{SMALL} messages of 2 kB over {CONNECTIONS} connections at {ROUND_TRIP * 1e3:.0f} ms;"
        f" the large one (25 MB, sent first) took {big:.2f} s"
    )
    print(_told("without the large one", alone))
    print(_told("beside it", beside))
    print(
        f"P=0 dropped into a run of {QUEUE}: {ahead} others came before it"
        f" ({CONNECTIONS} connections hold 2 each)"
    )
    return 0
