"""The file that says what was imported, for the time when the spool no longer does.

Each line is a sign, a key and an id: "?" before the message gets its name in new/, "=" after it,
"!" when it got none. The last line of a key counts.
"""

from __future__ import annotations

import fcntl
import os
from typing import Dict, NamedTuple

BEGUN, DONE, UNDONE = "?", "=", "!"


class Note(NamedTuple):
    sign: str
    id: str


class Unusable(Exception):
    """The file is none of these, or another process has it."""


class Record:
    """The file at PATH. One that is to be written is made, and is this process's until close()."""

    def __init__(self, path: str, is_written: bool) -> None:
        try:
            self._file = open(path if is_written or os.path.exists(path) else os.devnull, "a+")
        except OSError as error:
            raise Unusable(str(error)) from error
        try:
            self._start(path, is_written)
        except BaseException:
            self._file.close()
            raise

    def _start(self, path: str, is_written: bool) -> None:
        try:
            if is_written:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(f"{path} is in use by another import") from None
        self._file.seek(0)
        try:
            text = self._file.read()
            self.notes = parsed(text)
        except ValueError as error:
            raise Unusable(f"{path}: {error}") from error
        if is_written:
            _sync_folder(path)
            if text and not text.endswith("\n"):
                self._file.write("\n")  # what was cut off is a line of its own, and does not count

    def close(self) -> None:
        self._file.close()

    def write(self, sign: str, key: str, id: str) -> None:
        """It is on the disk when this returns."""
        self._file.write(f"{sign} {key} {id}\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.notes[key] = Note(sign, id)


def parsed(text: str) -> Dict[str, Note]:
    """ValueError for a file of another kind."""
    notes: Dict[str, Note] = {}
    if text and text[0] not in (BEGUN, DONE, UNDONE):
        raise ValueError("it is no record of an import")
    for line in text.split("\n"):
        sign, key, id = (line.split(" ") + ["", ""])[:3]
        if key and id.endswith(f".{key}"):
            notes[key] = Note(sign, id)
    return notes


def _sync_folder(path: str) -> None:
    folder = os.open(os.path.dirname(os.path.abspath(path)), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
