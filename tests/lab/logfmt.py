"""The log lines of maildrain: one event and its fields, `sent id=… to=… reply="250 Ok"`."""

from __future__ import annotations

import re
from typing import Dict, List, Optional

_VALUE = r'"(?:[^"\\]|\\.)*"|[^\s"]*'
_LINE = re.compile(rf"(?:<\d>)?(?P<event>[a-z][a-z_-]*)(?P<fields>(?: [a-z_]+=(?:{_VALUE}))+)\Z")
_FIELD = re.compile(rf" ([a-z_]+)=({_VALUE})")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


def _unquote(value: str) -> str:
    if not value.startswith('"'):
        return value
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), value[1:-1])


def parse_line(line: str) -> Optional[Dict[str, str]]:
    """The fields of LINE with its first word as "event"; None when it is no logfmt line."""
    match = _LINE.match(line)
    if not match:
        return None
    fields = {"event": match["event"]}
    fields.update((key, _unquote(value)) for key, value in _FIELD.findall(match["fields"]))
    return fields


def parse(text: str) -> List[Dict[str, str]]:
    """The events among the lines of TEXT; lines for people are passed over."""
    return [fields for fields in map(parse_line, text.split("\n")) if fields]
