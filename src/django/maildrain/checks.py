"""What keeps the mail of this site from being sent, as `manage.py check` shows it, with a command
that mends it. No message is opened for that, and nothing asks the network."""

from __future__ import annotations

import contextlib
import grp
import itertools
import os
import pwd
import re
import shlex
import stat
import time
from typing import Any, Iterator, List, Set

from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured

from . import content, options
from .places import Place, places
from .spool import Record, Spool, SpoolError

PATIENCE = 300  # seconds that mail may wait for a run, which comes each minute
NAMES_MAX = 100_000  # that are looked at; with more of them in new/ nobody is told of a wait

# As `maildrain init` makes them, and `maildrain verify` wants them.
MODES = {"tmp": 0o3770, "new": 0o3770, "cur": 0o2750, "failed": 0o2750}

_RELAY = re.compile(r"relay-(?P<name>[^,]+)(,.*)?")


@register("maildrain")
def check_settings(**_: Any) -> List[CheckMessage]:
    """E001: settings.MAILDRAIN has a wrong key or value."""
    try:
        given = options.from_settings()
        options.fields(given)
        options.relay(given)
        options.on_commit(given)
        content.path(str(given.get("envelope_from", "<>")))
    except (ImproperlyConfigured, ValueError) as error:
        hint = "Correct MAILDRAIN in the settings: see maildrain-django(7)."
        return [Error(str(error), hint=hint, obj="MAILDRAIN", id="maildrain.E001")]
    return []


@register("maildrain")
def check_spools(**_: Any) -> List[CheckMessage]:
    """The first thing that is wrong with each spool: what comes later follows from it."""
    found: List[CheckMessage] = []
    seen: Set[str] = set()
    for place in places():
        if place.path not in seen:
            looks = (_access, _folders, _modes, _file_systems, _wait)
            problems = (list(look(place)) for look in looks)
            found += next(filter(None, problems), [])
        seen.add(place.path)
        found += _stock(place)
    return found


def _warning(place: Place, number: int, text: str, hint: str) -> CheckMessage:
    return Warning(text, hint=hint, obj=place.label, id=f"maildrain.W{number:03}")


def _command(*words: str) -> str:
    return shlex.join(words)


def _init(place: Place) -> str:
    return _command("sudo", "maildrain", "init", place.path)


def _access(place: Place) -> Iterator[CheckMessage]:
    """W004: this user is not in the group of the spool."""
    for folder in ("", "tmp", "new"):
        path = os.path.join(place.path, folder)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = _stat(path)
            if found and os.access(path, os.R_OK | os.W_OK | os.X_OK):
                continue
            owner = found or _stat(place.path)
            if owner and owner.st_gid in {os.getegid(), *os.getgroups()}:
                continue  # so its mode is wrong
            yield _not_a_member(place, path, owner.st_gid if owner else None)
            return


def _not_a_member(place: Place, path: str, group: int | None) -> CheckMessage:
    user = _user()
    if group == 0:
        text = f"{path} belongs to root, and the user {user} can't put mail into it."
        hint = "Give it to the user maildrain: sudo systemd-sysusers maildrain.conf && "
        return _warning(place, 4, text, hint + _init(place))
    name = "maildrain" if group is None else _group(group)
    return _warning(
        place,
        4,
        f"The user {user} is not in the group {name}, and can't put mail into {path}.",
        "If the site runs as this user: "
        + _command("sudo", "usermod", "-aG", name, user)
        + "; then restart the site, and log in anew.",
    )


def _stat(path: str) -> os.stat_result | None:
    """None where this user may not know; FileNotFoundError where nothing is."""
    try:
        return os.stat(path)
    except PermissionError:
        return None


def _folders(place: Place) -> Iterator[CheckMessage]:
    """W001: there is no spool, or a part of it is missing."""
    missing = [name for name in MODES if not os.path.isdir(os.path.join(place.path, name))]
    if missing:
        what = place.path if len(missing) == len(MODES) else os.path.join(place.path, missing[0])
        text = f"There is no spool: {what} is missing."
        yield _warning(place, 1, text, "Make it: " + _init(place))


def _modes(place: Place) -> Iterator[CheckMessage]:
    """W002: a folder has another mode."""
    for name, wanted in MODES.items():
        path = os.path.join(place.path, name)
        mode = stat.S_IMODE(os.stat(path).st_mode)
        if mode != wanted:
            text = f"{path} has mode {mode:04o} and should have {wanted:04o}."
            yield _warning(place, 2, text, "Mend it: " + _init(place))
            return


def _file_systems(place: Place) -> Iterator[CheckMessage]:
    """W003: a rename from one folder to the other is impossible."""
    for name in MODES:
        path = os.path.join(place.path, name)
        if os.stat(path).st_dev == os.stat(place.path).st_dev:
            continue
        remove = "rm" if os.path.islink(path) else "umount"
        yield _warning(
            place,
            3,
            f"{path} is on another file system than {place.path}: mail can't be moved.",
            "Move the mail that is there away, and have all of the spool in one place: "
            + _command("sudo", remove, path)
            + " && "
            + _init(place),
        )
        return


def _wait(place: Place) -> Iterator[CheckMessage]:
    """W006: mail is due and no run takes it. W007: one did, and the relay was down."""
    now = time.time()
    with contextlib.suppress(SpoolError, OSError):
        waits = _waits(Spool(place.path), now)
        state = os.listdir(os.path.join(place.path, "state"))
        if waits is None or _ran_lately(state, now):
            return
        said = f"Mail in {place.path} is due for {waits // 60:.0f} minutes and not sent"
        down = _relay_down(state)
        if down:
            text = f"{said}; the relay {down} was down when it was last tried."
            yield _warning(place, 7, text, "See why: sudo maildrain verify")
            return
        yield _warning(
            place,
            6,
            f"{said}; no run of maildrain seems to come.",
            "Start the timer: sudo systemctl enable --now maildrain.timer; then see what it says: "
            "journalctl -t maildrain",
        )


def _waits(spool: Spool, now: float) -> float | None:
    """For how many seconds the message is due that is so for the longest time. None when that is no
    cause for concern: it is not long, or a run has messages in its hands."""
    longest = 0.0
    records = spool.records("new", now)
    for record in itertools.islice(records, NAMES_MAX):
        if record.is_claimed:
            return None
        longest = max(longest, _due_for(record, now))
    if longest < PATIENCE or next(records, None) is not None:
        return None
    return longest


def _due_for(record: Record, now: float) -> float:
    if not record.is_due(now):
        return 0
    since = max(record.entry.birth or 0, record.entry.not_before or 0)
    return now - since if since else 0


def _ran_lately(state: List[str], now: float) -> bool:
    """Of the names in state/, "run,D=…,T=…" says when a run ended that had results."""
    return any(
        name.startswith("run,") and now - _value(name, "T") < PATIENCE for name in state
    )


def _relay_down(state: List[str]) -> str:
    """The name of a relay that could not be used, if there is none that could: no U=1."""
    matches = list(filter(None, map(_RELAY.fullmatch, sorted(state))))
    if any(_value(match[0], "U") for match in matches):
        return ""
    return matches[0]["name"] if matches else ""


def _value(name: str, key: str) -> int:
    match = re.search(rf",{key}=([0-9]{{1,18}})(?:,|\Z)", name)
    return int(match[1]) if match else 0


def _stock(place: Place) -> Iterator[CheckMessage]:
    """W005: Django's own backend, which loses Bcc."""
    if place.is_stock:
        yield _warning(
            place,
            5,
            "Django's own file-based backend writes to a spool: Bcc recipients get nothing, and it"
            " does not wait for the disk.",
            'Set EMAIL_BACKEND (MAILERS: BACKEND) to "maildrain.filebased.EmailBackend".',
        )


def _group(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _user() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
