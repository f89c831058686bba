"""Daemons as child processes: output to a file, ended by their pid."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Mapping, Optional, Sequence


class Child:
    """A running daemon. Its output goes to a file: a daemon that inherits a pipe blocks whoever
    reads it."""

    def __init__(
        self, argv: Sequence[str], log: Path, *, env: Optional[Mapping[str, str]] = None
    ) -> None:
        self.argv = list(argv)
        self.log = log
        with open(log, "ab") as output:
            self.process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def tail(self, lines: int = 20) -> str:
        """The end of its output, for a failure's message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def wait(self, timeout: float) -> bool:
        """Whether it ended within TIMEOUT seconds."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, timeout: float = 10) -> None:
        if self.alive():
            self.process.terminate()
            if not self.wait(timeout):
                self.process.kill()
        self.process.wait()
