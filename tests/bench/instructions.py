"""A regression check that no noise disturbs: the instructions of a run, counted by callgrind.

What one message of 2 kB costs in user space, of maildrain and all its libraries, is the difference
of two runs, one connection, no TLS, divided by the difference of their messages. Starting, which
depends mostly on what libcurl stands on, is not counted. The committed number has a bound of 15 %:
compilers differ. `python3 -m bench instructions --update` writes it anew.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Optional

from lab.spool import Spool

from . import load
from .tinyserver import TinyServer
from .tools import HERE, scratch, url

COMMITTED = HERE / "instructions.json"
BOUND = 0.15
FEW, MANY = 100, 600
_COLLECTED = re.compile(r"Collected : (\d+)")


def why_not() -> Optional[str]:
    return None if shutil.which("valgrind") else "valgrind is missing"


def _counted(directory: Path, count: int) -> int:
    """The instructions of a run that sends COUNT messages."""
    directory.mkdir()
    spool = Spool(directory)
    load.fill(spool, count, 2048)
    with TinyServer() as server:
        spool.write_config(url=url(server.port), tls="none", connections=1)
        done = subprocess.run(
            [
                "valgrind",
                "--tool=callgrind",
                f"--callgrind-out-file={directory / 'callgrind.out'}",
                *spool.argv("run"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120,
        )
    found = _COLLECTED.search(done.stderr)
    if done.returncode or not found:
        raise RuntimeError(f"valgrind: exit {done.returncode}\n{done.stderr[-2000:]}")
    load.check_sent(spool, count)
    return int(found[1])


def per_message() -> float:
    with scratch() as place:
        few, many = (_counted(place / str(count), count) for count in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def _judge(number: float, committed: float) -> int:
    change = number / committed - 1
    print(f"{number:,.0f} instructions per message, {change:+.1%} of {committed:,.0f}")
    if change > BOUND:
        print(f"more than {BOUND:.0%} above what is committed", file=sys.stderr)
        return 1
    if change < -BOUND:
        print("much less: bench instructions --update keeps it so")
    return 0


def main(update: bool) -> int:
    reason = why_not()
    if reason:
        print(f"not counted: {reason}", file=sys.stderr)
        return 1
    number = per_message()
    if update:
        COMMITTED.write_text(json.dumps({"per_message": round(number)}) + "\n")
        print(f"{number:,.0f} instructions per message, noted")
        return 0
    return _judge(number, json.loads(COMMITTED.read_text())["per_message"])
