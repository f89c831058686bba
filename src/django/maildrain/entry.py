"""The name of a spool file, which is all that is recorded of a message's state.

The grammar is in maildrain-spool(5). Fields that are unknown, or whose value can't be read, or of
which several can, mean nothing and are kept.
"""

from __future__ import annotations

import os
import re
from typing import Dict, List, NamedTuple, Optional, Tuple

WAITING = "waiting"
IN_FLIGHT = "in_flight"
DEFERRED = "deferred"
HELD = "held"
FAILED = "failed"
SENT = "sent"
STATES = (WAITING, IN_FLIGHT, DEFERRED, HELD, FAILED, SENT)

PRIORITY_DEFAULT = 5
NAME_MAX = 255  # bytes

_CHARACTER = r"[^\x00-\x1f\x7f/]"
_NAME = re.compile(
    rf"((?!\.)(?:(?![,:]){_CHARACTER})+)((?:,(?:(?!:){_CHARACTER})*)?)(:{_CHARACTER}*)?"
)
_BIRTH = re.compile(r"([0-9]{1,18})\.M[0-9]+P[0-9]+Q[0-9]+\.[^,:]")
_NUMBER = re.compile(r"0*[0-9]{1,19}")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_CLAIM = re.compile(r".+-([0-9]+)")
_NUMBERS = frozenset("ADNOPTX")
_LIMITS = {"A": 999_999, "P": 9}
_TIME_MAX = 2**63 - 1
_PID_MAX = 2**31 - 1


class Entry(NamedTuple):
    """A parsed name. Times are seconds since 1970; None stands for what the name does not say."""

    name: str
    unique: str  # the id of the message, the same in every state
    attempts: int = 0
    claim: Optional[str] = None  # HOST-PID
    delayed: Optional[int] = None
    status: str = ""  # of RFC 3463
    notify: Optional[int] = None
    priority: int = PRIORITY_DEFAULT
    not_before: Optional[int] = None
    expires: Optional[int] = None
    flags: Optional[str] = None

    @property
    def birth(self) -> Optional[int]:
        """When it was made, if maildrain or its backend has made it."""
        return birth(self.name)

    @property
    def process(self) -> Tuple[str, int]:
        """The host and the process of the claim."""
        host, _, pid = (self.claim or "-0").rpartition("-")
        return host, int(pid)

    def state(self, folder: str, now: float) -> str:
        """What `maildrain list` says of a file of this name in FOLDER."""
        if folder == "cur" or (folder == "new" and self.status.startswith("2")):
            return SENT  # or only the move to cur/ is missing
        if folder in _STATE_OF_FOLDER:
            return _STATE_OF_FOLDER[folder]
        if self.claim and self.not_before is not None and self.not_before > now:
            return IN_FLIGHT
        return DEFERRED if self.attempts or self.status.startswith("4") else WAITING

    def due_at_once(self) -> str:
        """The name without its T."""
        head, fields, info = _split(self.name)
        kept = [field for field in fields if not (field[:2] == "T=" and _number(field[2:], "T"))]
        if self.not_before is None:
            return self.name
        kept.sort(key=lambda field: os.fsencode(field.partition("=")[0]))
        return ",".join([head, *kept]) + info


_STATE_OF_FOLDER = {"hold": HELD, "failed": FAILED}


def parse(name: str) -> Optional[Entry]:
    """None for what is no name of a message."""
    match = _NAME.fullmatch(name)
    if not match or len(os.fsencode(name)) > NAME_MAX:
        return None
    unique, fields, info = match.groups()
    if not fields and not info:
        return Entry(name, unique)
    values: Dict[str, str] = {}
    seen: Dict[str, int] = {}
    for field in fields.split(","):
        key, _, value = field.partition("=")
        if _is_readable(key, value):
            seen[key] = seen.get(key, 0) + 1
            values[key] = value
    known = {key: value for key, value in values.items() if seen[key] == 1}
    return Entry(
        name,
        unique,
        attempts=int(known.get("A", 0)),
        claim=known.get("C"),
        delayed=_time(known.get("D")),
        status=known.get("E", ""),
        notify=_time(known.get("N")),
        priority=int(known.get("P", PRIORITY_DEFAULT)),
        not_before=_time(known.get("T")),
        expires=_time(known.get("X")),
        flags=info[3:] if info and info.startswith(":2,") else None,
    )


def birth(name: str) -> Optional[int]:
    """When the file of this name was made, if maildrain or its backend has made it."""
    match = _BIRTH.match(name)
    return int(match[1]) if match else None


def _split(name: str) -> Tuple[str, List[str], str]:
    """UNIQUE, the fields, and the info part with its colon."""
    plain, colon, info = name.partition(":")
    head, *fields = plain.split(",")
    return head, fields, colon + info


def _is_readable(key: str, value: str) -> bool:
    if key == "C":
        claim = _CLAIM.fullmatch(value)
        return claim is not None and 0 < int(claim[1]) <= _PID_MAX
    if key == "E":
        return _STATUS.fullmatch(value) is not None
    return key in _NUMBERS and _number(value, key)


def _number(value: str, key: str) -> bool:
    return bool(_NUMBER.fullmatch(value)) and int(value) <= _LIMITS.get(key, _TIME_MAX)


def _time(value: Optional[str]) -> Optional[int]:
    """0 is no time: the sender takes it for none."""
    return int(value) or None if value else None
