"""What is compared: the whole cross product would take days, so these are the questions asked.

- 2 kB at each round trip over each number of connections: speed near, and round trips far.
- 50 kB and 25 MB over 4 connections, near and far: when the octets weigh more than the dialogue.
- TLS over 4 connections, near and far, of 2 kB and 50 kB; and over 20 near.
- A server with CHUNKING, far over one connection and near over four.

Left out: 50 kB, 25 MB and TLS over the other numbers of connections, and 25 MB with TLS. Senders
that know no number of connections are tried once for each round trip, size and way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from .cell import CHUNKING, TLS, Cell
from .senders import Sender

CONNECTIONS = (1, 4, 20, 100)
ROUND_TRIPS = (0, 20, 50)
_KB50, _MB25 = 50_000, 25_000_000
_OCTETS = 100e6  # a second, roughly, for how many messages fit

_PLACES = (
    *(Cell(trip, number) for trip in ROUND_TRIPS for number in CONNECTIONS),
    *(Cell(trip, 4, length) for length in (_KB50, _MB25) for trip in (0, 50)),
    *(Cell(trip, 4, way=TLS) for trip in (0, 50)),
    Cell(0, 20, way=TLS),
    Cell(0, 4, _KB50, TLS),
    Cell(50, 1, way=CHUNKING),
    Cell(0, 4, way=CHUNKING),
)

# By name, for a quick look: near and far, plain and encrypted.
_QUICK = (Cell(0, 4), Cell(50, 4), Cell(0, 4, way=TLS))


@dataclass(frozen=True)
class Plan:
    cells: Sequence[Cell]
    rounds: int
    seconds: float  # that one drain should take, roughly
    dialogue: int  # messages of one round trip on each connection, at the least


DRAIN = Plan((Cell(0, 4),), 5, 10.0, 250)
QUICK = Plan(_QUICK, 3, 0.7, 40)
FULL = Plan(_PLACES, 3, 2.0, 250)


def tries(sender: Sender, cell: Cell, cells: Sequence[Cell]) -> bool:
    """Whether SENDER is tried in CELL, one of CELLS."""
    if cell.way not in sender.ways:
        return False
    if cell.way == CHUNKING or sender.parallel:
        return sender.parallel
    same = [
        other
        for other in cells
        if (other.round_trip, other.length, other.way)
        == (cell.round_trip, cell.length, cell.way)
    ]
    slow = cell.length >= _MB25 and cell.round_trip > 0
    return cell == same[0] and not slow


def _seconds_each(sender: Sender, cell: Cell) -> float:
    """Roughly what one message takes."""
    trips = 0.0 if sender.all_at_once else sender.round_trips * cell.seconds
    if sender.parallel:
        trips /= cell.connections
    rate = sender.tls_rate if cell.way == TLS and sender.tls_rate else sender.rate
    return max(1 / rate, trips) + cell.length / _OCTETS


def count(sender: Sender, cell: Cell, plan: Plan) -> int:
    """How many messages SENDER gets in CELL."""
    sessions = cell.connections if sender.parallel else 1
    wanted = plan.seconds / _seconds_each(sender, cell)
    if cell.way == CHUNKING:
        return 300
    if cell.round_trip and cell.length < _MB25:
        # Opening a session takes round trips too, and shall not weigh.
        wanted = max(wanted, sessions * plan.dialogue / sender.round_trips)
    return int(max(sessions * 2 if cell.length >= _MB25 else 8, min(wanted, sender.most)))


