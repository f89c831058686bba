"""How long something takes, as maildrain(8) writes it."""

from __future__ import annotations

UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def age(seconds: float) -> str:
    """"45s", "3m", "2h 5m" or "4d 3h"."""
    left = max(0, int(seconds))
    if left < 3_600:
        return f"{left // 60}m" if left >= 60 else f"{left}s"
    larger = 0 if left >= 86_400 else 1
    (name, size), (small, part) = UNITS[larger], UNITS[larger + 1]
    return f"{left // size}{name} {left % size // part}{small}"
