"""A program on a terminal: a pty, and what a terminal emulator makes of its output."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from typing import List, Mapping, Optional, Sequence


def run(
    argv: Sequence[str],
    columns: int = 80,
    env: Optional[Mapping[str, Optional[str]]] = None,
    timeout: float = 30,
) -> str:
    """Runs ARGV with a terminal of COLUMNS (0: it does not tell) as stdin, stdout and stderr.
    Returns what is written there. ENV is added to the environment, and None taken out of it.
    Unless it says otherwise there is colour."""
    wanted = {"TERM": "xterm-256color", "NO_COLOR": None, "COLUMNS": None, **(env or {})}
    everything = {key: value for key, value in os.environ.items() if key not in wanted}
    everything.update((key, value) for key, value in wanted.items() if value is not None)
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, env=everything)
    os.close(slave)
    try:
        shown = _read(master, time.monotonic() + timeout)
    finally:
        os.close(master)
    if process.wait(10) != 0:
        raise AssertionError(f"{argv}: exit {process.returncode}: {shown!r}")
    return shown.decode()


def _read(master: int, end: float) -> bytes:
    shown = b""
    while time.monotonic() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                shown += os.read(master, 65536)
            except OSError:
                break  # the last writer has gone
    return shown


def emulate(shown: str, columns: int, lines: int = 200) -> "List[List[Cell]]":
    """The lines that a terminal of COLUMNS has then, without empty ones at the end."""
    import pyte  # where it is missing the caller skips

    screen = pyte.Screen(columns, lines)
    pyte.Stream(screen).feed(shown)
    rows = [
        [Cell(screen.buffer[y][x].data, screen.buffer[y][x].fg) for x in range(columns)]
        for y in range(lines)
    ]
    while rows and not text_of(rows[-1]):
        rows.pop()
    return rows


class Cell(str):
    """What one place of the screen shows; empty behind a wide character."""

    colour: str

    def __new__(cls, text: str, colour: str) -> "Cell":
        cell = super().__new__(cls, text)
        cell.colour = colour
        return cell


def text_of(row: "Sequence[Cell]") -> str:
    return "".join(row).rstrip()
