"""Puts the table into README.md, between two comments, and the chart beside the bench."""

from __future__ import annotations

from pathlib import Path

from lab import repo

from . import chart, table
from .compare import Comparison
from .tools import HERE

BEGIN = "<!-- bench: written by make bench-readme -->"
END = "<!-- bench: end -->"
CHART = HERE / "bench.svg"


def between(text: str, content: str) -> str:
    """TEXT with CONTENT between the marks; fails when they are not there once."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"README.md must hold one {BEGIN!r} and behind it one {END!r}")
    return f"{before}{BEGIN}\n{content}\n{END}{after}"


def write(comparison: Comparison, readme: Path = repo.ROOT / "README.md") -> None:
    image = chart.svg(comparison)
    if image is None:
        raise ValueError("nothing that the chart shows was measured")
    text = between(readme.read_text(), table.markdown(comparison))
    CHART.write_text(image)
    readme.write_text(text)
