"""manage.py sendtestmail: queues a message, tells its id and, with --wait, what became of it."""

from __future__ import annotations

import re
import socket
import time
from typing import Any, List, Optional

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from maildrain import sending
from maildrain.ages import age
from maildrain.entry import FAILED, SENT
from maildrain.filebased import EmailBackend
from maildrain.spool import Record, Spool, SpoolError

WAIT = 90  # seconds, when --wait names none: runs come each minute
PAUSE = 0.2
TEMPORARY = 75  # EX_TEMPFAIL of sysexits(3)

HEAD_MAX = 64 * 1024  # bytes that are read for the envelope lines
ENVELOPE = re.compile(rb"(?:X-Maildrain-[^\n]*\n)*", re.IGNORECASE)
FAILURE = re.compile(rb"^X-Maildrain-Failed: <([^>\r\n]*)> *([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


class Command(BaseCommand):
    help = "Sends a test mail by the site's backend, and tells its id in the spool."
    missing_args_message = "Name some recipients, or give --managers or --admins."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="*", help="recipients, all of the one message")
        parser.add_argument("--managers", action="store_true", help="to settings.MANAGERS too")
        parser.add_argument("--admins", action="store_true", help="to settings.ADMINS too")
        parser.add_argument("--using", help="an alias of MAILERS (Django 6.1 and later)")
        parser.add_argument("--priority", help="high, normal, low, or 0 to 9")
        parser.add_argument("--relay", help="a relay of maildrain.conf(5)")
        parser.add_argument(
            "--wait",
            nargs="?",
            type=float,
            const=WAIT,
            metavar="SECONDS",
            help=f"tell what became of it, for at most so long; {WAIT} when not given",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        recipients = _recipients(options)
        if not recipients:
            raise CommandError(self.missing_args_message)
        message = EmailMessage(
            f"Test mail from {socket.gethostname()} on {timezone.now():%Y-%m-%d %H:%M:%S %Z}",
            "This is what `manage.py sendtestmail` sends. If you read it, mail works.\n",
            None,
            recipients,
        )
        backend = sending.backend_of(message, options["using"])
        if not isinstance(backend, EmailBackend):
            raise CommandError(
                f"The site's mail goes to {type(backend).__module__}, not to a spool; for that "
                "backend there is Django's own command, sendtestemail."
            )
        unique = _queue(message, backend, options)
        self.stdout.write(f"Queued as {unique} in {backend.file_path}")
        if options["wait"] is not None:
            self.stdout.write(_fate(Spool(backend.file_path), unique, options["wait"]))


def _recipients(options: Any) -> List[str]:
    """Those of the command line, and those of the settings, which Django takes in two forms."""
    people = settings.MANAGERS if options["managers"] else []
    people = [*people, *(settings.ADMINS if options["admins"] else [])]
    named = [str(one) if not isinstance(one, (list, tuple)) else one[1] for one in people]
    return [*options["email"], *named]


def _queue(message: EmailMessage, backend: EmailBackend, options: Any) -> str:
    wishes = {name: options[name] for name in ("priority", "relay")}
    try:
        return backend.queue(message, on_commit=False, **wishes)
    except (OSError, ValueError) as error:
        raise CommandError(f"Not queued: {error}") from error


def _fate(spool: Spool, unique: str, patience: float) -> str:
    """What became of the message; CommandError unless it is sent."""
    start = time.monotonic()
    while True:
        record = _find(spool, unique)
        waited = time.monotonic() - start
        if record is None:
            return (
                "Gone from the spool: sent, where keep_sent is 0, or removed by somebody.\n"
                f"See: journalctl -t maildrain -g {unique}"
            )
        if record.state == SENT:
            return f"Sent, at attempt {record.entry.attempts}, after {waited:.1f} s"
        if record.state == FAILED:
            raise CommandError(f"Failed with {record.entry.status}:\n{_words(spool, record)}")
        if record.entry.status and not record.is_claimed:
            raise CommandError(_deferred(record), returncode=TEMPORARY)
        if waited >= patience:
            raise CommandError(
                f"Still {record.state.replace('_', ' ')} after {age(waited)}. Does the timer run? "
                "systemctl list-timers maildrain.timer\nAre the relays up? sudo maildrain verify",
                returncode=TEMPORARY,
            )
        time.sleep(PAUSE)


def _find(spool: Spool, unique: str) -> Optional[Record]:
    """While the message goes from one folder to the next it can be seen in neither: so twice."""
    try:
        return next(iter(spool.find([unique]) or spool.find([unique])), None)
    except SpoolError as error:
        raise CommandError(f"{error.text} {error.command}".strip()) from error


def _deferred(record: Record) -> str:
    entry = record.entry
    then = age((entry.not_before or 0) - time.time())
    if entry.attempts:
        said = f"Deferred with {entry.status} at attempt {entry.attempts}; the next is in {then}."
    else:  # by the configuration, not by a relay
        said = f"Held back with {entry.status}; that is looked at again in {then}."
    return f"{said}\nSee why: journalctl -t maildrain -g {entry.unique}"


def _words(spool: Spool, record: Record) -> str:
    """What the relay said of each recipient that failed, in the envelope lines of the file."""
    try:
        data, _ = spool.read(record, HEAD_MAX)
    except SpoolError as error:
        return f"{error.text} {error.command}".strip()
    block = ENVELOPE.match(data)
    lines = FAILURE.findall(block[0] if block else b"")
    said = [b"  " + address + b": " + words for address, words in lines]
    if said:
        return b"\n".join(said).decode("utf-8", "replace")
    return f"See: sudo maildrain show {record.id}"
