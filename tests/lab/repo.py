"""Where things stand in the source tree."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DJANGO_SOURCE = ROOT / "src" / "django"


def program() -> Path:
    """The maildrain under test: $MAILDRAIN, or what `make` leaves in build/."""
    return Path(os.environ.get("MAILDRAIN", ROOT / "build" / "sbin" / "maildrain"))


def plain_program() -> Path:
    """A maildrain without sanitizers, for what their run-time would spoil: $MAILDRAIN_PLAIN."""
    return Path(os.environ.get("MAILDRAIN_PLAIN", ROOT / "build" / "sbin" / "maildrain"))
