"""One place of the comparison: how far the server is, and what is sent to it in which way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

PLAIN = "plain"
TLS = "TLS"
CHUNKING = "CHUNKING"


@dataclass(frozen=True)
class Cell:
    round_trip: int  # milliseconds
    connections: int
    length: int = 2048  # octets of body on the wire
    way: str = PLAIN

    @property
    def seconds(self) -> float:
        return self.round_trip / 1000

    @property
    def size(self) -> str:
        for unit, name in ((1_000_000, "MB"), (1000, "kB")):
            if self.length >= unit:
                return f"{self.length // unit} {name}"
        return f"{self.length} B"

    def __str__(self) -> str:
        plural = "" if self.connections == 1 else "s"
        return (
            f"{self.round_trip} ms, {self.connections} connection{plural}, {self.size}, {self.way}"
        )


@dataclass(frozen=True)
class Target:
    """Where a sender shall deliver."""

    port: int
    ca: Path  # the authority that a TLS server's certificate is from
