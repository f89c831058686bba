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


class _Group:
    """A control group of its own for a command, where the kernel lets us make one; else there is
    none, and the time is that of the processes that were waited for."""

    def __init__(self) -> None:
        self._path = self._made()

    @staticmethod
    def _made() -> Optional[Path]:
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, kind, *_ = line.split()
            if kind == "cgroup2":
                path = Path(place) / f"maildrain-bench-{os.getpid()}"
                with contextlib.suppress(OSError):
                    path.mkdir(exist_ok=True)
                    if "usage_usec" in (path / "cpu.stat").read_text():
                        return path
        return None

    def __str__(self) -> str:
        return str(self._path or "-")

    def take(self) -> Optional[float]:
        """Seconds of user and system time of all that was in it; then it is gone."""
        if not self._path:
            return None
        used = dict(line.split() for line in (self._path / "cpu.stat").read_text().splitlines())
        self._path.rmdir()
        return int(used["usage_usec"]) / 1e6


def have_groups() -> bool:
    """Whether control groups can be made here."""
    group = _Group()
    return group.take() is not None


class Launched:
    """A command under the launcher, which knows what it and all its descendants used."""

    def __init__(
        self, argv: Sequence[str], log: Path, env: Optional[Mapping[str, str]] = None
    ) -> None:
        handle, name = tempfile.mkstemp(prefix="cost-", dir=log.parent)
        os.close(handle)
        self._report = Path(name)
        self.log = log
        self._group = _Group()
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [str(compiled("launch")), name, str(self._group), *argv],
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
        used = self._group.take()
        if int(status) not in accept:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.process.args}: exit {status}\n{tail}")
        cpu = float(user) + float(system) if used is None else used
        return Cost(float(wall), cpu, int(kilobytes) * 1024)

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
