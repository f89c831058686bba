"""Peers from Debian that can't be installed beside Postfix, each unpacked in a folder of its own.

The folder is also the root folder that the peer runs in (chroot): its own /etc and /var/spool are
there, and the libraries that it needs are copied into it. So nothing of the machine is touched.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import List, Optional, Sequence

from .tools import BUILD

_USERS = re.compile(r"^(root|mail|nobody|nogroup):", re.MULTILINE)


def why_not() -> Optional[str]:
    """Why no peer can be run from a folder, or None."""
    if os.geteuid() != 0:
        return "only root may change the root folder of a process"
    missing = [name for name in ("apt-get", "dpkg-deb") if not shutil.which(name)]
    return f"{missing[0]} is missing" if missing else None


def _run(*argv: str, cwd: Optional[Path] = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _download(package: str) -> Path:
    """The .deb, fetched when it is not there from last time."""
    debs = BUILD / "debs"
    debs.mkdir(parents=True, exist_ok=True)
    found = sorted(debs.glob(f"{package}_*.deb"))
    if not found:
        _run("apt-get", "-q", "download", package, cwd=debs)
        found = sorted(debs.glob(f"{package}_*.deb"))
    return found[-1]


def _libraries(program: Path) -> List[str]:
    """The paths of the libraries that PROGRAM loads; fails when one is not on this machine."""
    said = _run("ldd", str(program))
    missing = re.findall(r"(\S+) => not found", said)
    if missing:
        raise RuntimeError(f"{program.name} needs {missing[0]}, which is not on this machine")
    return re.findall(r"(/\S+) \(0x", said)


def _furnish(root: Path, programs: Sequence[str]) -> None:
    for program in programs:
        for library in _libraries(root / program):
            copy = root / library[1:]
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, copy)
    for name in ("dev", "etc", "tmp", "var/spool"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("passwd", "group"):
        lines = Path("/etc", name).read_text().splitlines(keepends=True)
        (root / "etc" / name).write_text("".join(filter(_USERS.match, lines)))
    shutil.copy2("/etc/hosts", root / "etc")
    _run("mknod", "-m", "666", str(root / "dev/null"), "c", "1", "3")


class Unpacked:
    """PACKAGE in a folder that a process can have as its root; PROGRAMS are those it starts."""

    def __init__(self, package: str, programs: Sequence[str]) -> None:
        deb = _download(package)
        self.version = _run("dpkg-deb", "-f", str(deb), "Version").strip()
        self.root = BUILD / "peers" / package
        complete = self.root / ".complete"
        if not complete.exists() or complete.read_text() != self.version:
            shutil.rmtree(self.root, ignore_errors=True)
            self.root.mkdir(parents=True)
            _run("dpkg-deb", "-x", str(deb), str(self.root))
            _furnish(self.root, programs)
            complete.write_text(self.version)

    def argv(self, *argv: str) -> List[str]:
        return ["/usr/sbin/chroot", str(self.root), *argv]


def installed_version(package: str) -> str:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True
    )
    return done.stdout.strip()
