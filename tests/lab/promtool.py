"""Prometheus' promtool: the machine's, or the one of Debian's package, unpacked in a folder.

The package is not installed for it: that would start a server.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import List, Optional

PACKAGES = ("promtool", "prometheus")  # of its own from Debian 13 on


def why_not() -> Optional[str]:
    """Why there can be none here, or None; that it can't be fetched shows later."""
    if shutil.which("promtool"):
        return None
    missing = [name for name in ("apt-get", "dpkg-deb") if not shutil.which(name)]
    return f"promtool is missing, and so is {missing[0]} to fetch it" if missing else None


def fetch(directory: Path) -> Path:
    """The program; fails with subprocess.SubprocessError or OSError."""
    found = shutil.which("promtool")
    if found:
        return Path(found)
    for name in PACKAGES:
        download = ["apt-get", "-q", "download", name]
        if subprocess.run(download, cwd=directory, check=False, timeout=300).returncode != 0:
            continue
        (package,) = directory.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", package, directory], check=True, timeout=300)
        package.unlink()
        break
    program = directory / "usr" / "bin" / "promtool"
    if not program.exists():
        raise FileNotFoundError(f"no promtool in the packages {', '.join(PACKAGES)}")
    return program


class Promtool:
    """Calls of the program; each returns what it has to complain of, and "" when all is well."""

    def __init__(self, program: Path) -> None:
        self.program = program

    def _run(self, argv: List[str], stdin: str = "") -> str:
        done = subprocess.run(
            [str(self.program), *argv], input=stdin, capture_output=True, text=True, timeout=120
        )
        said = done.stdout + done.stderr
        return said or f"exit status {done.returncode}" if done.returncode else ""

    def check_metrics(self, text: str) -> str:
        return self._run(["check", "metrics"], text)

    def check_rules(self, rules: Path) -> str:
        return self._run(["check", "rules", str(rules)])

    def test_rules(self, tests: Path) -> str:
        return self._run(["test", "rules", str(tests)])
