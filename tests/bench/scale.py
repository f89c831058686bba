"""Whether cost grows linearly with the queue, and memory not at all."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import List, Optional

from lab.sink import Sink
from lab.spool import Spool

from . import load
from .tools import Cost, launch, scratch

ROUNDS = 3
SMALL, BIG, HUGE = 10_000, 100_000, 1_000_000
_LENGTH = 2048


def _drain(spool: Spool, sink: Sink, connections: int = 4) -> Cost:
    spool.write_config(url=sink.url, tls="none", connections=connections)
    return launch(spool.argv("run"), spool.path.parent / "run.log", timeout=3600)


def _told(what: str, cost: Cost, count: Optional[int] = None) -> str:
    rate = f"{count / cost.wall:9,.0f} msg/s" if count else " " * 15
    cpu = f"{cost.cpu / count * 1e3:6.3f} ms CPU each" if count else " " * 18
    return f"  {what:42} {cost.wall:8.3f} s {rate} {cpu} {cost.memory / 1e6:7.1f} MB"


def _queue(directory: Path, sink: Sink, count: int) -> float:
    """Drains COUNT messages, several times when that is quick; returns the rate."""
    place = directory / str(count)
    place.mkdir()
    spool = Spool(place)
    costs: List[Cost] = []
    load.fill(spool, count, _LENGTH)
    for _ in range(1 if count >= HUGE else ROUNDS):
        load.refill(spool)
        costs.append(_drain(spool, sink))
        load.check_sent(spool, count)
    costs.sort(key=lambda cost: cost.wall)
    print(_told(f"{count:,} waiting", costs[len(costs) // 2], count), flush=True)
    shutil.rmtree(place)
    return count / costs[len(costs) // 2].wall


def _deferred(directory: Path, sink: Sink, count: int) -> None:
    """COUNT messages that are deferred, none of them due. Their files are empty: none is opened."""
    place = directory / "deferred"
    place.mkdir()
    spool = Spool(place)
    later = int(time.time()) + 86400
    for number in range(count):
        name = f"{load.name_of(number)},A=1,E=4.2.2,T={later}"
        os.close(os.open(spool.path / "new" / name, os.O_CREAT | os.O_WRONLY, 0o640))
    os.sync()
    costs = sorted((_drain(spool, sink) for _ in range(ROUNDS)), key=lambda cost: cost.wall)
    print(_told(f"{count:,} deferred, nothing due", costs[ROUNDS // 2]), flush=True)
    shutil.rmtree(place)


def _single(directory: Path, sink: Sink, what: str, content: bytes, recipients: int) -> None:
    place = directory / "single"
    place.mkdir()
    spool = Spool(place)
    to = [f"user{number}@example.test" for number in range(recipients)]
    load.put(spool, load.name_of(0), content, to)
    print(_told(what, _drain(spool, sink)), flush=True)
    load.check_sent(spool, 1)
    shutil.rmtree(place)


def _many_connections(directory: Path, sink: Sink, count: int, length: int) -> None:
    place = directory / "many"
    place.mkdir()
    spool = Spool(place)
    load.fill(spool, count, length)
    cost = _drain(spool, sink, 100)
    load.check_sent(spool, count)
    print(_told(f"100 connections, {count:,} of {length // 1000} kB", cost, count), flush=True)
    shutil.rmtree(place)


def main(directory: Optional[Path], long: bool) -> int:
    with scratch(directory) as place:
        with Sink(place, counters=False, backlog=1024) as sink:
            counts = (SMALL, BIG, HUGE) if long else (SMALL, BIG)
            rates = [_queue(place, sink, count) for count in counts]
            print(f"  the longest queue at {rates[-1] / rates[0]:.0%} of the rate of the shortest")
            _deferred(place, sink, HUGE if long else BIG)
            _single(place, sink, "one of 100 MB", load.message(0, 100_000_000), 1)
            _single(place, sink, "one with 100 recipients", load.message(0, _LENGTH), 100)
            _many_connections(place, sink, SMALL, _LENGTH)
            _many_connections(place, sink, 1000, 200_000)
    return 0
