"""What a message may ask for beside being sent: when, how urgently, and by which relay.

Each option can be given, from the weakest to the strongest, by settings.MAILDRAIN, as an option of
the backend, in a header of the message, or to maildrain.send(). None stands for "not given".

    settings.MAILDRAIN   backend, send()   header
    PRIORITY             priority          X-Maildrain-Priority
    NOT_BEFORE           not_before        X-Maildrain-Not-Before
    EXPIRES              expires           X-Maildrain-Expires
    RELAY                relay             X-Maildrain-Relay
    ENVELOPE_FROM        envelope_from     X-Maildrain-Envelope-From
    ON_COMMIT            on_commit

The first three become fields of the file's name, the next two lines of its envelope, as
maildrain-spool(5) describes them; none goes on the wire.
"""

from __future__ import annotations

import copy
import math
import re
import time
from datetime import date, datetime, timedelta
from typing import Any, Dict, Mapping, Tuple

from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

Options = Dict[str, Any]  # by the names of the middle column; what is not given is not in it

NAMES = ("priority", "not_before", "expires", "relay", "envelope_from")
HEADERS = {f"x-maildrain-{name.replace('_', '-')}": name for name in NAMES}
SETTINGS = {name.upper(): name for name in (*NAMES, "on_commit")}

PRIORITIES = {"high": 1, "normal": 5, "low": 9}
DEFAULT_PRIORITY = 5  # what a name without P means

# What Python and Django take for ISO 8601 differs between versions; this is in all of them.
ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d{1,6})?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.A)
SECONDS = re.compile(r"[+-]?\d+(\.\d+)?", re.A)
LATEST = 253_402_300_799  # the last second of the year 9999
RELAY = re.compile(r"[A-Za-z0-9_-]{1,32}")  # as maildrain.conf(5) lets a relay be called


def from_settings() -> Options:
    """The defaults of the site; ImproperlyConfigured for a key that is none."""
    given = getattr(settings, "MAILDRAIN", None) or {}
    for key in given:
        if key not in SETTINGS:
            known = ", ".join(SETTINGS)
            raise ImproperlyConfigured(f"MAILDRAIN has no key {key!r}: it may have {known}")
    return merged({SETTINGS[key]: value for key, value in given.items()})


def merged(*layers: Mapping[str, Any]) -> Options:
    """All that is given; of what is given twice, the last."""
    return {name: value for layer in layers for name, value in layer.items() if value is not None}


def taken_out(message: mail.EmailMessage) -> Tuple[mail.EmailMessage, Options]:
    """The message without the headers that are options, and these. The one given stays as it is:
    without such headers it is returned itself, else a copy."""
    found: Options = {}
    rest: Dict[str, Any] = {}
    for header, value in message.extra_headers.items():
        name = HEADERS.get(header.lower())
        if name is None:
            rest[header] = value
        elif name in found:
            raise ValueError(f"Invalid header {header}: {value!r}: it is given twice")
        else:
            found[name] = value
    if found:
        message = copy.copy(message)
        message.extra_headers = rest
    return message, found


def fields(options: Options) -> str:
    """What follows the name of the message: ",P=1,T=1763790600,X=1763795000", or less, or nothing.
    ValueError for what can't be."""
    now = time.time()
    priority = _priority(options.get("priority", DEFAULT_PRIORITY))
    not_before = _time("not_before", options.get("not_before", "now"), "now", now)
    expires = _time("expires", options.get("expires", "never"), "never", now)
    made = "" if priority == DEFAULT_PRIORITY else f",P={priority}"
    if not_before is not None:  # rounded so that it is neither sent too early nor too late
        made += f",T={max(1, math.ceil(not_before))}"
    if expires is not None:
        if not_before is not None and not_before >= expires:
            raise ValueError(
                f"Invalid expires {options['expires']!r}: the message would expire before it may be"
                f" sent, with not_before {options['not_before']!r}"
            )
        made += f",X={max(1, math.floor(expires))}"
    return made


def relay(options: Options) -> str:
    """The name of the relay that is asked for, or "" for any."""
    value = options.get("relay", "")
    if value == "" or (isinstance(value, str) and RELAY.fullmatch(value)):
        return str(value)
    raise ValueError(f"Invalid relay {value!r}: a name has 1 to 32 letters, digits, '-' or '_'")


def on_commit(options: Options) -> str | None:
    """The alias of the database whose commit the message waits for; None when it doesn't."""
    value = options.get("on_commit", False)
    if value is False:
        return None
    if value is True:
        return "default"
    if isinstance(value, str) and value:
        return value
    raise ValueError(f"Invalid on_commit {value!r}: it must be True, False or a database's alias")


def _priority(value: Any) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    text = str(int(value)) if is_number else str(value).strip().lower()
    if text in PRIORITIES:
        return PRIORITIES[text]
    if re.fullmatch("[0-9]", text):
        return int(text)
    raise ValueError(f"Invalid priority {value!r}: it must be high, normal, low, or 0 to 9")


def _time(name: str, value: Any, none: str, now: float) -> float | None:
    """Seconds since 1970; None when the value is the word that stands for no such time."""
    if isinstance(value, str):
        value = value.strip()
        if value.lower() == none:
            return None
    try:
        seconds = _seconds(value, now)
    except Exception as error:  # of a time zone too, and of numbers that are too large
        raise ValueError(f"Invalid {name} {value!r}: {error}") from error
    if not -LATEST < seconds < LATEST:
        raise ValueError(f"Invalid {name} {value!r}: it must be a time that a calendar has")
    return seconds


def _seconds(value: Any, now: float) -> float:
    if isinstance(value, str):
        value = float(value) if SECONDS.fullmatch(value) else _parsed(value)
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, date):
        return _moment(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("it must be a datetime, a text in ISO 8601, or seconds from now")
    return now + float(value)


def _parsed(text: str) -> date:
    parsed: date | None = None
    if ISO.fullmatch(text):
        parsed = parse_datetime(text) or parse_date(text)
    if parsed is None:
        raise ValueError("it must be seconds from now, or a time such as 2026-11-22T08:00:00+01:00")
    return parsed


def _moment(value: date) -> float:
    """A date is its first moment. What has no time zone is in the current one, or, without USE_TZ,
    in that of the site."""
    moment = datetime(value.year, value.month, value.day)
    if isinstance(value, datetime):
        moment = value
    if timezone.is_naive(moment):
        zone = timezone.get_current_timezone() if settings.USE_TZ else timezone.get_default_timezone()
        localize = getattr(zone, "localize", None)  # of pytz, which Django had before 4.0
        moment = localize(moment) if localize else moment.replace(tzinfo=zone)
    return moment.timestamp()
