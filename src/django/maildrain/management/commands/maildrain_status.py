"""manage.py maildrain_status: what is in the spools of this site, as `maildrain status` counts it."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator

from django.core.management.base import BaseCommand, CommandError, CommandParser

from maildrain.ages import age
from maildrain.places import spools
from maildrain.spool import Spool, SpoolError, Survey


class Command(BaseCommand):
    help = "Counts the messages in the spools of this site, by their names alone."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--spool", help="only that folder; else all that the settings name")
        parser.add_argument("--json", action="store_true", help="as `maildrain status --json`")

    def handle(self, *args: Any, **options: Any) -> None:
        paths = {"": options["spool"]} if options["spool"] else spools()
        if not paths:
            raise CommandError(
                "The settings name no spool: set EMAIL_BACKEND (MAILERS: BACKEND) to "
                '"maildrain.filebased.EmailBackend", or give one with --spool.'
            )
        surveys = {path: _survey(path) for path in paths.values()}
        if options["json"]:
            self.stdout.write(json.dumps([_data(*item) for item in surveys.items()], indent=2))
            return
        for path, survey in surveys.items():
            self.stdout.write("\n".join(_lines(path, survey)) + "\n")


def _survey(path: str) -> Survey:
    try:
        return Spool(path).survey()
    except SpoolError as error:
        raise CommandError(f"{error.text} {error.command}".strip()) from error


def _lines(path: str, survey: Survey) -> Iterator[str]:
    now = int(survey.now)
    yield f"spool {path}"
    yield ""
    yield "state      messages   oldest"
    for state, tally in survey.states.items():
        yield _line(state.replace("_", " "), tally.count, tally.oldest, now)
    yield ""
    yield _line("due now", survey.due.count, survey.due.oldest, now)
    if survey.next is not None:
        yield f"next attempt in {age(survey.next - now)}"


def _line(what: str, count: int, oldest: int | None, now: int) -> str:
    return f"{what:<10} {count:>8}   {'-' if oldest is None else age(now - oldest)}"


def _data(path: str, survey: Survey) -> Dict[str, Any]:
    return {
        "spool": path,
        "time": int(survey.now),
        "states": {
            state: {"count": tally.count, "oldest": tally.oldest}
            for state, tally in survey.states.items()
        },
        "due": {"count": survey.due.count, "oldest": survey.due.oldest},
        "due_since": survey.due_since,
        "next": survey.next,
    }
