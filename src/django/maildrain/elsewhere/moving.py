"""What is in a source goes to the spool, each message once.

A message is known by its key, which its id in the spool ends with: as long as its file is there, in
whatever state, it is not queued again. The record holds for longer than that.
"""

from __future__ import annotations

import re
import time
from typing import Dict, Iterator, NamedTuple, Optional

from django.core import mail
from django.db import InterfaceError, OperationalError

from maildrain.content import Draft
from maildrain.filebased import EmailBackend, unique_name
from maildrain.options import Options
from maildrain.spool import FOLDERS, Spool

from .record import BEGUN, DONE, UNDONE, Record
from .sources import KEY, LeftOut, Letter, Source

QUEUED = "queued"
BEFORE = "queued before"
DOUBT = "in doubt"
WRONG = "wrong"


class Outcome(NamedTuple):
    """What became, or would become, of a row."""

    number: int
    what: str  # a word for the counts
    text: str = ""
    letter: Optional[Letter] = None
    id: str = ""


class Move:
    """With nothing sent, nothing is written, but everything is tried until then."""

    def __init__(
        self, source: Source, backend: EmailBackend, record: Optional[Record], is_real: bool
    ) -> None:
        self._source = source
        self._backend = backend
        self._record = record
        self._is_real = is_real
        self._spool = Spool(backend.file_path)
        self._there = self._keys()

    def outcomes(self) -> Iterator[Outcome]:
        for number in self._source.numbers():
            yield self._one(number)

    def _one(self, number: int) -> Outcome:
        try:
            row = self._source.row(number)
            key = self._source.key(row)
            known = self._known(number, key)
            if known:
                return known
            letter = self._source.letter(row)
            draft = self._draft(letter.message, letter.options)
        except LeftOut as reason:
            return Outcome(number, str(reason))
        except (OperationalError, InterfaceError):
            raise  # the next row would not fare better
        except Exception as error:  # a row can be wrong in any way
            return Outcome(number, WRONG, _words(error))
        id = unique_name(key)
        if self._is_real:
            self._drop(draft, key, id)
        return Outcome(number, QUEUED, letter.note, letter, id)

    def _known(self, number: int, key: str) -> Optional[Outcome]:
        id = self._there.get(key)
        note = self._record.notes.get(key) if self._record else None
        if id is not None:
            if self._is_real and self._record and (note is None or note.sign != DONE):
                self._record.write(DONE, key, id)
            return Outcome(number, BEFORE, id=id)
        if note is None or note.sign == UNDONE:
            return None
        return Outcome(number, BEFORE if note.sign == DONE else DOUBT, id=note.id)

    def _draft(self, message: mail.EmailMessage, options: Options) -> Draft:
        if not message.recipients():
            raise ValueError("it is for nobody")
        return self._backend.draft(message, {k: v for k, v in options.items() if v is not None})

    def _drop(self, draft: Draft, key: str, id: str) -> None:
        assert self._record is not None
        self._record.write(BEGUN, key, id)
        try:
            self._backend.drop(draft, id)
        except BaseException:
            # It may have been sent already, although it was not to be.
            if not self._spool.find([id]):
                self._record.write(UNDONE, key, id)
            raise
        self._record.write(DONE, key, id)

    def _keys(self) -> Dict[str, str]:
        """Those in the spool, with their ids. A message may go back to new/ in the meantime."""
        found: Dict[str, str] = {}
        for folder in (*FOLDERS, "new"):
            for record in self._spool.records(folder, time.time()):
                key = record.id.rpartition(".")[2]
                if KEY.fullmatch(key):
                    found[key] = record.id
        return found


def _words(error: Exception) -> str:
    said = re.sub(r"\s+", " ", str(error)).strip()
    if isinstance(error, ValueError) and said:
        return said
    return f"{type(error).__name__}: {said}"
