"""The two small C programs of the bench: what a command costs, and a distance to a server."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Mapping, Optional, Sequence

from lab import net, repo

HERE = Path(__file__).resolve().parent
BUILD = repo.ROOT / "build" / "bench"
_FLAGS = "-std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Wconversion -Wshadow -Werror".split()


@contextlib.contextmanager
def scratch(directory: Optional[Path] = None) -> Iterator[Path]:
    """A folder for queues in DIRECTORY, by default in the build tree: /tmp may be no disk. Other
    users can enter it."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=directory or BUILD) as name:
        Path(name).chmod(0o755)
        yield Path(name)


@functools.lru_cache(maxsize=None)
def compiled(name: str) -> Path:
    """The program of NAME.c, compiled when it is not there or older."""
    source, program = HERE / f"{name}.c", BUILD / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILD.mkdir(parents=True, exist_ok=True)
        compiler = os.environ.get("CC", "cc")
        subprocess.run([compiler, *_FLAGS, "-o", str(program), str(source)], check=True)
    return program


@dataclass(frozen=True)
class Cost:
    """What a drain took."""

    wall: float  # seconds
    cpu: float  # seconds, user and system, of all processes
    memory: int  # bytes: see each sender


class Launched:
    """A command under the launcher, which knows what it and all its descendants used."""

    def __init__(
        self, argv: Sequence[str], log: Path, env: Optional[Mapping[str, str]] = None
    ) -> None:
        handle, name = tempfile.mkstemp(prefix="cost-", dir=log.parent)
        os.close(handle)
        self._report = Path(name)
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [str(compiled("launch")), name, *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(env or {})},
            )

    def cost(self, timeout: float = 600, accept: Sequence[int] = (0,)) -> Cost:
        """Waits for the end; fails unless the command's exit status is one of ACCEPT."""
        self.process.wait(timeout)
        wall, user, system, kilobytes, status = self._report.read_text().split()
        self._report.unlink()
        if int(status) not in accept:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.process.args}: exit {status}\n{tail}")
        return Cost(float(wall), float(user) + float(system), int(kilobytes) * 1024)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()


def launch(argv: Sequence[str], log: Path, timeout: float = 600) -> Cost:
    """Runs ARGV to the end of all its processes."""
    return Launched(argv, log).cost(timeout)


class Distance:
    """A relay to PORT that makes its round trip ROUND_TRIP seconds long; self.port is its own.
    Without a round trip there is none, and self.port is PORT."""

    def __init__(self, port: int, round_trip: float) -> None:
        self.port = port
        self._target = port
        self._half = round(round_trip / 2 * 1e6)
        self._process: Optional["subprocess.Popen[bytes]"] = None

    def __enter__(self) -> "Distance":
        if self._half:
            self.start()
        return self

    def start(self) -> None:
        """Also with no delay, to see what the relay itself costs."""
        argv: List[str] = [str(compiled("delay")), str(self._target), str(self._half)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], 10)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            raise RuntimeError("the delaying relay did not start")
        self.port = int(line)

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            assert self._process.stdout
            self._process.stdout.close()


def url(port: int, scheme: str = "smtp") -> str:
    return f"{scheme}://{net.HOST}:{port}"
