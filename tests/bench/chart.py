"""The comparison as a chart: an SVG that reads in light and in dark, with nothing but text.

Horizontal bars of messages per second on a logarithmic scale, in groups of one place each.
"""

from __future__ import annotations

import math
from typing import List, Optional, Sequence, Tuple
from xml.sax.saxutils import escape

from .cell import TLS, Cell
from .compare import Comparison
from .senders import Maildrain

PLACES: Tuple[Cell, ...] = (
    Cell(0, 4),
    Cell(20, 4),
    Cell(50, 4),
    Cell(50, 100),
    Cell(0, 4, way=TLS),
)

WIDTH = 760
_LEFT, _RIGHT = 130, 70
_BAR, _GAP, _HEAD = 13, 5, 30

# Mid-grey text and two blues have contrast enough on white and on near-black. Where a style sheet
# is heard, dark gets lighter ones.
_STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #5c6470 }
.head { font-weight: 600 }
.bar { fill: #9aa3ae }
.own { fill: #2f7dc8 }
.grid { stroke: #9aa3ae; stroke-opacity: .35; stroke-width: 1 }
@media (prefers-color-scheme: dark) {
  text { fill: #b4bcc8 }
  .bar { fill: #6e7781 }
  .own { fill: #58a6ff }
}"""


class _Scale:
    """From messages per second to pixels; logarithmic, in whole powers of ten."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.first = math.floor(math.log10(min(rates)))
        self.last = max(math.ceil(math.log10(max(rates))), self.first + 1)

    def x(self, rate: float) -> float:
        share = (math.log10(rate) - self.first) / (self.last - self.first)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def ticks(self) -> List[int]:
        return list(range(self.first, self.last + 1))


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"{style}>{escape(words)}</text>'


def _number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _bar(scale: _Scale, y: float, name: str, rate: float) -> List[str]:
    end = max(scale.x(rate), _LEFT + 2)
    kind = "own" if name == Maildrain.name else "bar"
    return [
        _text(_LEFT - 8, y + _BAR - 2, name, "end"),
        f'<rect class="{kind}" x="{_LEFT}" y="{y:.0f}" width="{end - _LEFT:.1f}"'
        f' height="{_BAR}" rx="2"/>',
        _text(end + 6, y + _BAR - 2, _number(rate)),
    ]


def _grid(scale: _Scale, height: float) -> List[str]:
    lines = []
    for power in scale.ticks():
        x = scale.x(10.0**power)
        lines.append(f'<line class="grid" x1="{x:.1f}" y1="34" x2="{x:.1f}" y2="{height - 24}"/>')
        label = f"{10**power:,}" if power >= 0 else str(10.0**power)
        lines.append(_text(x, height - 8, label, "middle"))
    return lines


def _heading(cell: Cell) -> str:
    distance = "no delay" if not cell.round_trip else f"{cell.round_trip} ms round trip"
    tls = ", TLS" if cell.way == TLS else ""
    return f"{distance}, {cell.connections} connections, {cell.size}{tls}"


def _rates(comparison: Comparison, cell: Cell) -> List[Tuple[str, float]]:
    found = [(name, comparison.near(cell, name)) for name in comparison.versions]
    rates = [(name, result.rate) for name, result in found if result]
    return sorted(rates, key=lambda pair: -pair[1])


def svg(comparison: Comparison) -> Optional[str]:
    """The PLACES where maildrain was measured; None when there is none."""
    here = [cell for cell in PLACES if comparison.near(cell, Maildrain.name)]
    groups = [(cell, _rates(comparison, cell)) for cell in here]
    if not groups:
        return None
    scale = _Scale([rate for _, rates in groups for _, rate in rates])
    body: List[str] = []
    y = 40.0
    for cell, rates in groups:
        body.append(_text(_LEFT, y + 16, _heading(cell), kind="head"))
        y += _HEAD - 6
        for name, rate in rates:
            body += _bar(scale, y, name, rate)
            y += _BAR + _GAP
        y += 8
    height = y + 28
    title = "Messages per second (logarithmic scale)"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'width="{WIDTH}" height="{height:.0f}" role="img" aria-label="{title}">'
    )
    lines = [head, f"<style>{_STYLE}</style>", _text(_LEFT, 22, title, kind="head")]
    return "\n".join([*lines, *_grid(scale, height), *body, "</svg>\n"])
