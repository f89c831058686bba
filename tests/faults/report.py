"""What a fault came to, and the table of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List

SHOWN_MAX = 10  # problems of one row that are printed


@dataclass
class Row:
    """One fault, tried in a number of cases.

    LOST are recipients that were to get a message and never did, TWICE further deliveries to one
    that has it, STUCK messages that no further run brings to an end. A fault may have a number of
    repeats that SMTP makes unavoidable (the answer to a final dot that nobody could record):
    MAY_REPEAT, summed over its cases, is the bound."""

    fault: str
    cases: int = 0
    lost: int = 0
    twice: int = 0
    may_repeat: int = 0
    stuck: int = 0
    problems: List[str] = field(default_factory=list)  # whatever else was not as it should be

    def add(self, lost: int, twice: int, stuck: int, may_repeat: int = 0) -> None:
        """Counts one more case."""
        self.cases += 1
        self.lost += lost
        self.twice += twice
        self.stuck += stuck
        self.may_repeat += may_repeat

    def include(self, other: "Row") -> None:
        """Adds the cases of OTHER."""
        self.add(other.lost, other.twice, other.stuck, other.may_repeat)
        self.cases += other.cases - 1

    @property
    def good(self) -> bool:
        return (
            self.cases > 0
            and not self.lost
            and not self.stuck
            and self.twice <= self.may_repeat
            and not self.problems
        )


_WIDTHS = "{:<52} {:>6} {:>5} {:>6} {:>10} {:>6}"
HEADER = _WIDTHS.format("fault", "cases", "lost", "twice", "unavoidable", "stuck")


def line(row: Row) -> str:
    """ROW as a line of the table; behind it what went wrong."""
    text = _WIDTHS.format(row.fault, row.cases, row.lost, row.twice, row.may_repeat, row.stuck)
    if row.good:
        return text
    problems = row.problems[:SHOWN_MAX]
    if len(row.problems) > SHOWN_MAX:
        problems.append(f"… and {len(row.problems) - SHOWN_MAX} more")
    return "\n".join([text + "  FAILED", *(f"    {problem}" for problem in problems)])
