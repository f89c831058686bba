"""The comparison as text and as Markdown."""

from __future__ import annotations

import textwrap
from typing import List, Optional, Sequence

from .cell import PLAIN, Cell
from .compare import Comparison, Result
from .mta import Postfix
from .senders import Maildrain, SmtpSource

_HEAD = (
    "sender", "messages", "msg/s", "min", "max", "x Postfix", "x source",
    "per trip", "CPU ms/msg", "peak MB",
)  # fmt: skip


def number(value: float) -> str:
    """With as many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(mine: Result, other: Optional[Result]) -> str:
    return f"{mine.rate / other.rate:.2f}" if other else ""


def _fields(comparison: Comparison, result: Result) -> List[str]:
    if not result.costs:
        return [result.sender, "failed"]
    slowest, *_, fastest = [*result.rates(), result.rates()[-1]]
    per_trip = result.per_trip
    return [
        result.sender,
        str(result.count),
        number(result.rate),
        number(slowest),
        number(fastest),
        _times(result, comparison.at(result.cell, Postfix.name)),
        _times(result, comparison.at(result.cell, SmtpSource.name)),
        "" if per_trip is None else f"{per_trip:.2f}",
        f"{result.cpu:.3f}",
        f"{result.memory / 1e6:.1f}",
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> List[str]:
    full = [[*row, *[""] * (len(_HEAD) - len(row))] for row in rows]
    widths = [max(len(row[column]) for row in full) for column in range(len(_HEAD))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in full
    ]


def text(comparison: Comparison) -> str:
    """All there is, a block for each cell."""
    rows: List[Sequence[str]] = [_HEAD]
    places = {}
    for cell in comparison.cells():
        places[len(rows)] = cell
        rows += [_fields(comparison, r) for r in comparison.results if r.cell == cell]
    lines = _aligned(rows)
    out = [", ".join(f"{key}: {value}" for key, value in comparison.machine.items())]
    for index, line in enumerate(lines):
        if index in places:
            out += ["", f"-- {places[index]}"]
        out.append(line)
    return "\n".join([*out, "", *legend(comparison)])


def legend(comparison: Comparison) -> List[str]:
    return [
        "msg/s is the median of the rounds; per trip: messages per round trip and connection.",
        "CPU: user and system time of all of the sender's processes. Peak: the largest resident",
        "size of one of its processes; for Postfix, that of all of them together at the end (PSS).",
        *(f"{name} {comparison.versions[name]}: {note}" for name, note in comparison.notes.items()),
    ]


# ---- for the README ----


def _rate(result: Optional[Result]) -> str:
    return number(result.rate) if result else "-"


def _row(comparison: Comparison, cell: Cell, names: Sequence[str]) -> str:
    plural = "" if cell.connections == 1 else "s"
    what = f"{cell.size}{'' if cell.way == PLAIN else ', ' + cell.way}"
    place = f"{cell.round_trip} ms, {cell.connections} connection{plural}, {what}"
    rates = [_rate(comparison.near(cell, name)) for name in names]
    return f"| {place} | " + " | ".join(rates) + " |"


def _costs(comparison: Comparison, cell: Cell, names: Sequence[str]) -> List[str]:
    found = [comparison.near(cell, name) for name in names]
    cpu = ["-" if not result else f"{result.cpu:.3f}" for result in found]
    memory = ["-" if not result else f"{result.memory / 1e6:.1f}" for result in found]
    return [
        f"| CPU, ms per message ({cell.size}) | " + " | ".join(cpu) + " |",
        "| peak memory, MB | " + " | ".join(memory) + " |",
    ]


def _machine(comparison: Comparison) -> str:
    known = comparison.machine
    versions = ", ".join(
        f"{name} {version}"
        for name, version in comparison.versions.items()
        if name not in (Maildrain.name, SmtpSource.name)
    )
    return (
        f"Measured on {known['CPU']}, {known['memory']}, Linux {known['kernel']}, "
        f"{known['file system']}, {known['system']}, with {versions}, libcurl {known['libcurl']}."
    )


def markdown(comparison: Comparison) -> str:
    """Messages per second: a row for each cell, a column for each sender."""
    names = list(comparison.versions)
    lines = [
        "| messages per second | " + " | ".join(names) + " |",
        "|---|" + "--:|" * len(names),
        *(_row(comparison, cell, names) for cell in comparison.cells()),
    ]
    first = Cell(0, 4)
    if comparison.at(first, Maildrain.name):
        lines += _costs(comparison, first, names)
    return "\n".join([*lines, "", *_wrapped(_machine(comparison))])


def _wrapped(line: str, width: int = 100) -> List[str]:
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
