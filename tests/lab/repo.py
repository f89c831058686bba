"""Where things stand in the source tree."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DJANGO_SOURCE = ROOT / "src" / "django"


def program() -> Path:
    """The maildrain under test: $MAILDRAIN, or what `make` leaves in build/."""
    return _reachable(Path(os.environ.get("MAILDRAIN", ROOT / "build" / "sbin" / "maildrain")))


@functools.lru_cache(maxsize=None)
def _reachable(program: Path) -> Path:
    """PROGRAM, or a copy with its modules where any user gets to it: tests become other users."""
    if not program.exists() or all(p.stat().st_mode & 0o001 for p in program.resolve().parents):
        return program
    copy = Path(tempfile.mkdtemp(prefix="maildrain-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    (copy / "sbin").mkdir()
    shutil.copy2(program, copy / "sbin")
    modules = program.parents[1] / "lib" / "maildrain"
    if modules.exists():
        shutil.copytree(modules, copy / "lib" / "maildrain")
    return copy / "sbin" / program.name


def plain_program() -> Path:
    """A maildrain without sanitizers, for what their run-time would spoil: $MAILDRAIN_PLAIN."""
    return Path(os.environ.get("MAILDRAIN_PLAIN", ROOT / "build" / "sbin" / "maildrain"))
