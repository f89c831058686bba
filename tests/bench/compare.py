"""The comparison: each sender in each cell, interleaved, because a machine's speed changes from
minute to minute."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Type

from lab.certs import Certs

from . import machine, matrix, receiver
from .cell import Cell, Target
from .matrix import Plan
from .mta import Dma, Nullmailer, Postfix
from .senders import DjangoSmtp, Maildrain, Sender, SmtpSource
from .tools import BUILD, Cost, scratch

ALL: Tuple[Type[Sender], ...] = (Maildrain, SmtpSource, Postfix, DjangoSmtp, Dma, Nullmailer)
RESULTS = BUILD / "results.json"


@dataclass
class Result:
    """The rounds of one sender in one cell."""

    cell: Cell
    sender: str
    parallel: bool
    count: int
    costs: List[Cost] = field(default_factory=list)
    fault: str = ""

    def rates(self) -> List[float]:
        """Messages per second of each round, the slowest first."""
        return sorted(self.count / cost.wall for cost in self.costs)

    @property
    def rate(self) -> float:
        return statistics.median(self.rates())

    @property
    def cpu(self) -> float:
        """Milliseconds per message."""
        return statistics.median(cost.cpu for cost in self.costs) / self.count * 1000

    @property
    def memory(self) -> int:
        return max(cost.memory for cost in self.costs)

    @property
    def per_trip(self) -> Optional[float]:
        """Messages per round trip and connection; None where there is no round trip."""
        if not self.cell.round_trip or not self.parallel:
            return None
        return self.rate * self.cell.seconds / self.cell.connections


@dataclass
class Comparison:
    machine: Dict[str, str]
    versions: Dict[str, str]
    notes: Dict[str, str]
    results: List[Result]

    def at(self, cell: Cell, sender: str) -> Optional[Result]:
        for result in self.results:
            if result.cell == cell and result.sender == sender and result.costs:
                return result
        return None

    def near(self, cell: Cell, sender: str) -> Optional[Result]:
        """As `at`; of a sender that knows no number of connections, that for any number."""
        for result in self.results:
            other = result.cell
            same = (other.round_trip, other.length, other.way) == (
                cell.round_trip,
                cell.length,
                cell.way,
            )
            if result.sender == sender and same and not result.parallel and result.costs:
                return result
        return self.at(cell, sender)

    def cells(self) -> List[Cell]:
        return list(dict.fromkeys(result.cell for result in self.results))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1))


def load(path: Path) -> Comparison:
    """What save wrote."""
    data = json.loads(path.read_text())
    results = [
        Result(
            **{
                **result,
                "cell": Cell(**result["cell"]),
                "costs": [Cost(**cost) for cost in result["costs"]],
            }
        )
        for result in data.pop("results")
    ]
    return Comparison(**data, results=results)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _usable(directory: Path, wanted: Sequence[str]) -> List[Sender]:
    senders = [kind(directory / kind.__name__) for kind in ALL]
    found = []
    for sender in senders:
        if wanted and not any(name.lower() in sender.name.lower() for name in wanted):
            continue
        reason = sender.why_not()
        if reason:
            _say(f"left out: {sender.name}: {reason}")
        else:
            found.append(sender)
    return found


def _one_round(sender: Sender, result: Result, target: Target) -> None:
    try:
        sender.fill(result.cell, result.count)
        result.costs.append(sender.drain(result.cell, result.count, target))
    except (RuntimeError, AssertionError, OSError, subprocess.SubprocessError) as error:
        result.fault = str(error)
        _say(f"{result.cell}: {sender.name}: {error}")


def _one_cell(
    cell: Cell, senders: Sequence[Sender], plan: Plan, certs: Certs, directory: Path
) -> List[Result]:
    reason = receiver.why_not(cell)
    if reason:
        _say(f"left out: {cell}: {reason}")
        return []
    pairs = [
        (sender, Result(cell, sender.name, sender.parallel, matrix.count(sender, cell, plan)))
        for sender in senders
        if matrix.tries(sender, cell, plan.cells)
    ]
    start = time.monotonic()
    with receiver.receiver(cell, certs, directory) as target:
        for _ in range(plan.rounds):
            for sender, result in pairs:
                if not result.fault:
                    _one_round(sender, result, target)
    told = ", ".join(f"{r.sender} {r.rate:.0f}/s" for _, r in pairs if r.costs)
    _say(f"{cell}: {told} ({time.monotonic() - start:.0f} s)")
    return [result for _, result in pairs]


def compare(
    plan: Plan,
    *,
    senders: Sequence[str] = (),
    directory: Optional[Path] = None,
    keep: Optional[Path] = None,
) -> Comparison:
    """Runs PLAN; SENDERS are parts of names, none for all. The queues are in DIRECTORY. What is
    known so far is kept in the file KEEP."""
    with scratch(directory) as place:
        (place / "certs").mkdir()
        certs = Certs(place / "certs")
        usable = _usable(place, senders)
        comparison = Comparison(
            machine.described(place),
            {sender.name: sender.version() for sender in usable},
            {sender.name: sender.note for sender in usable},
            [],
        )
        try:
            for cell in plan.cells:
                comparison.results += _one_cell(cell, usable, plan, certs, place)
                if keep:
                    comparison.save(keep)
        finally:
            for sender in usable:
                sender.close()
        return comparison
