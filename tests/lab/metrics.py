"""Prometheus' text format, as far as maildrain writes it."""

from __future__ import annotations

import re
from typing import Dict, Set

_SAMPLE = re.compile(r'(maildrain_[a-z_]+(?:\{[a-z]+="[^"\\\n]*"\})?) (\d+(?:\.\d+)?)')
_HEAD = re.compile(r"# (HELP|TYPE) (maildrain_[a-z_]+) \S.*")


def parse(text: str) -> Dict[str, float]:
    """The samples by name and label, 'maildrain_messages{state="sent"}'; fails on anything that is
    not one line of the format, and on a sample whose HELP and TYPE do not stand before it."""
    samples: Dict[str, float] = {}
    heads: Dict[str, Set[str]] = {}
    for line in text.splitlines():
        head, sample = _HEAD.fullmatch(line), _SAMPLE.fullmatch(line)
        if head:
            heads.setdefault(head[2], set()).add(head[1])
            continue
        assert sample, line
        assert heads.get(sample[1].split("{")[0]) == {"HELP", "TYPE"}, line
        assert sample[1] not in samples, line
        samples[sample[1]] = float(sample[2])
    assert text.endswith("\n")
    return samples


def names(text: str) -> Set[str]:
    """The metrics that TEXT exports, or that an expression reads."""
    return set(re.findall(r"\bmaildrain_[a-z_]+", text))
