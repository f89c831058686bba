"""manage.py maildrain_import: puts what another package's tables hold into the spool."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any, Dict, Iterator, List, Optional

from django.core.mail import EmailMessage
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connections

from maildrain import options as wishes
from maildrain import sending
from maildrain.elsewhere.moving import DOUBT, QUEUED, WRONG, Move, Outcome
from maildrain.elsewhere.record import Record, Unusable
from maildrain.elsewhere.sources import SOURCES, Choices, Source
from maildrain.elsewhere.tables import NoTable
from maildrain.filebased import EmailBackend
from maildrain.spool import SpoolError

TROUBLE = (WRONG, DOUBT)


class Command(BaseCommand):
    help = (
        "Queues what still waits in the tables of another package. Those are only read. Without "
        "--send it tells what it would do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("source", choices=sorted(SOURCES), help="whose tables")
        parser.add_argument("--send", action="store_true", help="queue the messages")
        parser.add_argument(
            "--record", metavar="FILE", help="where it is noted what was queued; kept by you"
        )
        parser.add_argument("--limit", type=int, metavar="N", help="queue no more than so many")
        parser.add_argument("--database", default="default", help="an alias of DATABASES")
        parser.add_argument("--using", help="an alias of MAILERS (Django 6.1 and later)")
        parser.add_argument(
            "--relay",
            action="append",
            default=[],
            metavar="ALIAS=NAME",
            help="the relay for what post_office would send by the backend ALIAS",
        )
        parser.add_argument(
            "--allow",
            action="append",
            default=[],
            metavar="CLASS",
            help="a class, with its module, that mailer's messages may be of",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["send"] and not options["record"]:
            raise CommandError(
                "--send needs --record FILE: what is queued is noted there, so that it is not "
                "queued twice, even when the spool has forgotten it. Use one file for all imports."
            )
        if options["limit"] is not None and options["limit"] < 1:
            raise CommandError("--limit must be 1 or more.")
        source, backend = _source(options), _backend(options["using"])
        self.stdout.write(f"{source.queue.name} -> {backend.file_path}")
        with _errors(), _record(options) as record:
            move = Move(source, backend, record, options["send"])
            counts = self._told(move.outcomes(), options)
        self._summary(counts, options["send"])
        self.stdout.write(_advice(source, options["send"]))
        trouble = sum(counts[what] for what in TROUBLE)
        if trouble:
            raise CommandError(f"{trouble} of the messages need a look: see above.")

    def _told(self, outcomes: Iterator[Outcome], options: Any) -> Dict[str, int]:
        counts: Dict[str, int] = Counter({QUEUED: 0})
        for outcome in outcomes:
            counts[outcome.what] += 1
            if outcome.what in TROUBLE:
                text = outcome.text or _doubt(outcome, options["record"])
                self.stderr.write(f"#{outcome.number}: {text}")
            elif outcome.text or options["verbosity"] > 1:
                self.stdout.write(_line(outcome, options["send"]))
            if counts[QUEUED] == options["limit"]:
                break
        return counts

    def _summary(self, counts: Dict[str, int], is_real: bool) -> None:
        for what, count in counts.items():
            word = "would be queued" if what == QUEUED and not is_real else what
            self.stdout.write(f"{word:<16} {count:>8}")


def _line(outcome: Outcome, is_real: bool) -> str:
    if outcome.letter is None:
        return f"#{outcome.number}: {outcome.what} {outcome.id}".rstrip()
    message = outcome.letter.message
    said = f"queued as {outcome.id}" if is_real else "would be queued"
    subject = " ".join(str(message.subject).split())
    note = f" ({outcome.text})" if outcome.text else ""
    return f"#{outcome.number}: {said}: {subject!r} to {', '.join(message.recipients())}{note}"


def _doubt(outcome: Outcome, record: str) -> str:
    return (
        f"an import was ended while it queued this as {outcome.id}, of which the spool knows "
        f"nothing. Look into the log: journalctl -t maildrain -g {outcome.id}\n"
        f"If it was not sent, take its line out of {record}."
    )


def _advice(source: Source, is_real: bool) -> str:
    if is_real:
        return (
            f"To {source.package} these messages still wait: never start {source.sender} again, "
            "or they are sent twice."
        )
    return (
        f"Nothing was queued. First stop what sends for {source.package}, be it a cron job, a "
        f"timer or a worker: {source.sender}. Then call this with --send --record FILE."
    )


def _source(options: Any) -> Source:
    if options["database"] not in connections:
        raise CommandError(f"DATABASES has no alias {options['database']!r}.")
    choices = Choices(options["database"], _relays(options["relay"]), options["allow"])
    with _errors():
        return SOURCES[options["source"]](choices)


def _relays(given: List[str]) -> Dict[str, str]:
    relays = {}
    for text in given:
        alias, equals, name = text.partition("=")
        if not alias or not equals:
            raise CommandError(f"--relay {text}: it must be ALIAS=NAME.")
        try:
            relays[alias] = wishes.relay({"relay": name})
        except ValueError as error:
            raise CommandError(f"--relay {text}: {error}") from error
    return relays


def _backend(using: Optional[str]) -> EmailBackend:
    backend = sending.backend_of(EmailMessage(), using)
    if not isinstance(backend, EmailBackend):
        raise CommandError(
            f"The site's mail goes to {type(backend).__module__}, not to a spool: set "
            'EMAIL_BACKEND (MAILERS: BACKEND) to "maildrain.filebased.EmailBackend".'
        )
    return backend


@contextlib.contextmanager
def _record(options: Any) -> Iterator[Optional[Record]]:
    """A dry run makes none, and minds no other import."""
    path = options["record"]
    if path is None:
        yield None
        return
    record = Record(path, is_written=options["send"])
    try:
        yield record
    finally:
        record.close()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """What holds up everything, as an error of the command."""
    try:
        yield
    except SpoolError as error:
        raise CommandError(f"{error.text} {error.command}".strip()) from error
    except (NoTable, Unusable) as error:
        raise CommandError(f"{error}.") from error
    except (DatabaseError, InterfaceError, OSError) as error:
        raise CommandError(
            f"Stopped: {error}. What was queued until then is noted: call this again."
        ) from error
