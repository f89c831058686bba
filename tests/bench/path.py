"""Shows that the delaying relay delays as it shall and limits nothing."""

from __future__ import annotations

import socket
import statistics
import threading
import time
from typing import List

from lab import net
from lab.sink import Sink, run_smtp_source

from .receiver import BACKLOG
from .tools import Distance, scratch


def _echo(listener: socket.socket) -> None:
    peer, _ = listener.accept()
    with peer:
        while True:
            octets = peer.recv(65536)
            if not octets:
                return
            peer.sendall(octets)


def round_trips(seconds: float, count: int = 50) -> List[float]:
    """What a byte takes there and back through a relay of SECONDS."""
    with net.listener() as listener, Distance(listener.getsockname()[1], seconds) as distance:
        threading.Thread(target=_echo, args=(listener,), daemon=True).start()
        times = []
        with socket.create_connection((net.HOST, distance.port)) as peer:
            for turn in range(count + 1):
                start = time.monotonic()
                peer.sendall(b"x")
                peer.recv(1)
                if turn:  # the first also waits for the other side to be called
                    times.append(time.monotonic() - start)
    return times


def main() -> int:
    for milliseconds in (20, 50):
        times = round_trips(milliseconds / 1000)
        print(
            f"a byte's round trip of {milliseconds} ms: median {statistics.median(times) * 1e3:.2f}"
            f" ms, at most {max(times) * 1e3:.2f} ms"
        )
    with scratch() as place:
        with Sink(place, counters=False, backlog=BACKLOG) as sink:
            _rates(sink.port)
    return 0


def _rates(port: int) -> None:
    """Messages and octets per second, past the relay and through it."""
    with Distance(port, 0.05) as far:
        octets = 500e6 / run_smtp_source(far.port, sessions=4, count=20, length=25_000_000)
    relay = Distance(port, 0)
    with relay:
        relay.start()
        for sessions in (4, 100):
            direct = 10_000 / run_smtp_source(port, sessions=sessions, count=10_000)
            through = 10_000 / run_smtp_source(relay.port, sessions=sessions, count=10_000)
            print(
                f"smtp-source -d -s {sessions}: {direct:,.0f} msg/s without the relay, "
                f"{through:,.0f} through it with no delay"
            )
    print(f"4 connections at 50 ms carry {octets / 1e6:,.0f} MB/s; no drain here needs more than")
    print("5,000 msg/s (one message per round trip, 100 connections, 20 ms) or that")
