"""The Debian packages that "make deb" leaves, and older or newer ones made of them."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Callable, Optional

from . import repo

NAMES = ("maildrain", "maildrain-cron", "maildrain-mta", "python3-maildrain")


def folder() -> Path:
    """$MAILDRAIN_DEBS, or build/."""
    return Path(os.environ.get("MAILDRAIN_DEBS", repo.ROOT / "build"))


def find(name: str) -> Path:
    """The file of a package; there is one of each."""
    (found,) = folder().glob(f"{name}_*.deb")
    return found


def missing() -> bool:
    return any(not list(folder().glob(f"{name}_*.deb")) for name in NAMES)


def _run(*argv: str) -> str:
    return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout


def version() -> str:
    return _run("dpkg-deb", "--field", str(find("maildrain")), "Version").strip()


def repack(
    directory: Path, version: str, change: Optional[Callable[[Path], None]] = None
) -> Path:
    """The package maildrain as VERSION, made in DIRECTORY; CHANGE edits its tree before."""
    tree = directory / f"tree-{version}"
    _run("dpkg-deb", "--raw-extract", str(find("maildrain")), str(tree))
    control = tree / "DEBIAN" / "control"
    control.write_text(re.sub(r"(?m)^Version: .*$", f"Version: {version}", control.read_text()))
    if change:
        change(tree)
    made = directory / f"maildrain_{version}.deb"
    _run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(made))
    return made
