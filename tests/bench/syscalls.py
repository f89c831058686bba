"""The system calls of a drain per message, counted by strace -c, and what each is for."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Dict

from lab.measure import have_strace
from lab.sink import Sink
from lab.spool import Spool

from . import load
from .tools import scratch

COUNT = 10_000
AIM = 8.0

WHAT_FOR = {
    "renameat2": "the claim before the first byte, the result after the answer",
    "rename": "the result, where nothing can stand in its way",
    "openat": "the message file",
    "close": "the message file",
    "read": "the message",
    "pread64": "the message, from the place where the last read ended",
    "fstat": "is it a regular file with one link, and how long",
    "newfstatat": "fstat of the message file; and the age of each sent one when cur/ is purged",
    "statx": "is it a regular file with one link, and how long",
    "sendto": "body, final dot, and the next message's MAIL, RCPT and DATA in one",
    "sendmsg": "body, final dot, and the next message's MAIL, RCPT and DATA in one",
    "write": "the log, in blocks",
    "recvfrom": "the replies; and a look before each write at what was said unasked",
    "poll": "waits for whichever connection has an answer",
    "ppoll": "waits for whichever connection has an answer",
    "epoll_wait": "waits for whichever connection has an answer",
    "fsync": "new/, cur/ and failed/ after every 100 results",
    "getdents64": "the names in new/, and those in cur/ when it is purged",
    "unlinkat": "a sent message that is not kept",
}
_LINE = re.compile(r"^ *[\d.]+ +[\d.]+ +\d+ +(\d+)(?: +\d+)? +(\w+)$", re.MULTILINE)


def per_message(directory: Path, count: int, connections: int = 4) -> Dict[str, float]:
    """Calls per message by name, the most frequent first. What starting takes is taken off by
    the difference of two drains."""
    few, many = (_counted(directory / str(n), n, connections) for n in (count // 10, count))
    names = sorted(many, key=lambda name: -many[name])
    step = count - count // 10
    return {name: (many[name] - few.get(name, 0)) / step for name in names}


def _counted(directory: Path, count: int, connections: int) -> Dict[str, int]:
    directory.mkdir()
    spool = Spool(directory)
    load.fill(spool, count, 2048)
    with Sink(directory, counters=False) as sink:
        spool.write_config(url=sink.url, tls="none", connections=connections)
        output = directory / "strace.out"
        subprocess.run(
            ["strace", "-f", "-c", "-o", str(output), *spool.argv("run")],
            check=True,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # LeakSanitizer can't work under a tracer.
            env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        )
    load.check_sent(spool, count)
    found = _LINE.findall(output.read_text())
    return {name: int(number) for number, name in found if name != "total"}


def main() -> int:
    if not have_strace():
        print("strace is missing, or may not trace")
        return 1
    with scratch() as place:
        calls = per_message(place, COUNT)
    print(f"system calls per message of 2 kB, 4 connections, {COUNT} messages (aim: {AIM:.0f})")
    for call, number in calls.items():
        if number >= 0.0005:
            print(f"  {number:6.3f}  {call:12} {WHAT_FOR.get(call, '')}")
    print(f"  {sum(calls.values()):6.3f}  in all")
    return 0
