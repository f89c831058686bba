"""A clock that is off, or goes faster, for one process: the program faketime."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import List, Optional

_SHARED = Path("/dev/shm")


def why_not() -> Optional[str]:
    return None if shutil.which("faketime") else "faketime is missing: install it"


def clock(spec: str) -> List[str]:
    """What stands before a command whose clock is SPEC: "-365d", or "+0 x60" for one that goes
    sixty times as fast. The command must be one without a sanitizer."""
    sweep()
    return ["faketime", "-f", spec]


def sweep() -> None:
    """Removes what it leaves in shared memory when it is killed: its next process of the same
    number would not start."""
    for path in _SHARED.glob("*faketime_s*_*"):
        number = re.search(r"(\d+)$", path.name)
        if number and not Path("/proc", number[1]).exists():
            with contextlib.suppress(OSError):
                os.unlink(path)
