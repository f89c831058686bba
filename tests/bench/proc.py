"""What processes that go on running have used, by /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, Iterator, List

_TICKS = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> List[str]:
    """The fields of /proc/PID/stat behind the name: the state is the first."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def _parents() -> Dict[int, int]:
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                found[int(name)] = int(_stat(int(name))[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def tree(root: int) -> Iterator[int]:
    """ROOT and all its descendants."""
    parents = _parents()
    wanted = [root]
    while wanted:
        pid = wanted.pop()
        yield pid
        wanted += [child for child, parent in parents.items() if parent == pid]


def _cpu(pid: int) -> float:
    """Seconds that PID has used, and those of its children that it has waited for."""
    own = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    stat = _stat(pid)
    return own + (int(stat[13]) + int(stat[14])) / _TICKS


def tree_cpu(root: int) -> float:
    """Seconds that ROOT and all its descendants have used, also those that have ended."""
    total = 0.0
    for pid in tree(root):
        try:
            total += _cpu(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def _proportional(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def tree_memory(root: int) -> int:
    """Bytes of memory of ROOT and its descendants; what several share counts once."""
    total = 0
    for pid in tree(root):
        try:
            total += _proportional(pid)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return total
