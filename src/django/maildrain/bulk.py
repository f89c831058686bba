"""The backend for mass mail: all messages of one call of send_messages() go to the disk together.

    with get_connection("maildrain.bulk.EmailBackend") as connection:
        connection.send_messages(newsletters)

or, from Django 6.1 on, an alias in MAILERS with this BACKEND. Settings and options are those of
maildrain.filebased.

All data is synced, then each file gets its name in new/, then new/ is synced: what Django is told
was sent is as durable as with the other backend, and costs a fraction. When a message can't be
written the exception says why, and none of its call is queued, so the call can be made again. With
fail_silently such messages are left out, and the others are counted.

With on_commit, and where message_queued has receivers, the messages of a call are held in memory
until they are written.
"""

from __future__ import annotations

import contextlib
import os
import threading
from bisect import bisect
from collections import deque
from typing import ContextManager, Dict, Iterable, Iterator, List, Tuple

from django.core import mail

from . import content, filebased, options
from .content import Draft
from .filebased import _fill, _sync, unique_name
from .signals import message_queued

SYNCS = 16  # at the same time; a disk does them in hardly more than the time of one
HELD = 200  # files that are open until they are synced

Opened = List[Tuple[int, int]]  # numbers of files, and their descriptors


class EmailBackend(filebased.EmailBackend):
    """Writes to the spool at EMAIL_FILE_PATH, or at file_path; fast when given many messages."""

    def send_messages(self, email_messages: Iterable[mail.EmailMessage] | None) -> int:
        """Write the messages; return how many were written. Unless fail_silently, all or none."""
        drafts = self._drafts(email_messages or ())
        if options.on_commit(self._defaults) is None:
            return self._write(drafts)
        ready = list(drafts)
        self._now_or_on_commit(lambda: self._write(ready), {})
        return len(ready)

    def _drafts(self, messages: Iterable[mail.EmailMessage]) -> Iterator[Draft]:
        for message in messages:
            draft = None
            with self._silence():
                if message.recipients():
                    draft = content.draft(message, self._defaults, {})
            if draft:
                yield draft

    def _write(self, drafts: Iterable[Draft]) -> int:
        with _Batch(self._tmp, self._new, self._silence()) as batch:
            listening = message_queued.has_listeners(type(self))
            messages: Dict[int, mail.EmailMessage] = {}
            for draft in drafts:
                with batch.silence:
                    number = batch.add(draft)
                    if listening:
                        messages[number] = draft.message
                batch.sync(HELD)
            count = batch.publish()
        for number, message in messages.items():
            if count and number not in batch.left_out:
                unique = batch.unique(number)
                message_queued.send_robust(sender=type(self), message=message, id=unique)
        return count

    def _silence(self) -> ContextManager[None]:
        return contextlib.suppress(Exception) if self.fail_silently else contextlib.nullcontext()


class _Batch:
    """The files of one call. Left without being published, it removes them all.

    Their names differ in a number, and seldom in the fields, so a million of them need no memory.
    SILENCE takes the errors that concern one file, or all."""

    def __init__(self, tmp: str, new: str, silence: ContextManager[None]) -> None:
        self.silence = silence
        self._tmp = tmp
        self._new = new
        self._name = unique_name().split(".", 2)
        self._count = 0
        self._starts = [0]  # the fields of the files from this number on are …
        self._fields = [""]
        self.left_out: set[int] = set()
        self._opened: Opened = []
        self._published = False

    def __enter__(self) -> _Batch:
        return self

    def __exit__(self, *_: object) -> None:
        for _number, fd in self._opened:
            with contextlib.suppress(OSError):
                os.close(fd)
        if not self._published:
            self._withdraw()

    def add(self, draft: Draft) -> int:
        """One more file, which is not on the disk yet; returns its number."""
        number = self._count
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(self._draft_path(number), flags, 0o640)
        self._count += 1
        with self._or_left_out(number):
            _fill(fd, memoryview(draft.data))
        if draft.fields != self._fields[-1]:
            self._starts.append(number)
            self._fields.append(draft.fields)
        self._opened.append((number, fd))
        # The disk can begin at once, so that the syncs find less to wait for.
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        return number

    def sync(self, least: int = 1) -> None:
        """The data of all files to the disk, if there are LEAST of which it is not."""
        if len(self._opened) < least:
            return
        opened, self._opened = self._opened, []
        for number, error in _sync_all(opened):
            with self.silence, self._or_left_out(number):
                raise error

    def publish(self) -> int:
        """Gives all files their names in new/; returns how many there are."""
        self.sync()
        count = 0
        for number in range(self._count):
            if number in self.left_out:
                continue
            with self.silence, self._or_left_out(number):
                os.rename(self._draft_path(number), self._queued_path(number))
                count += 1
        with self.silence:
            if count:
                _sync(os.open(self._new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
            self._published = True
            return count
        return 0

    def unique(self, number: int) -> str:
        """The id of the message of that number."""
        seconds, unique, host = self._name
        return f"{seconds}.{unique}{number:07}.{host}"

    def _draft_path(self, number: int) -> str:
        return os.path.join(self._tmp, self.unique(number))

    def _queued_path(self, number: int) -> str:
        fields = self._fields[bisect(self._starts, number) - 1]
        return os.path.join(self._new, self.unique(number) + fields)

    @contextlib.contextmanager
    def _or_left_out(self, number: int) -> Iterator[None]:
        """After an error the file gets no name in new/, not even if it can't be removed."""
        try:
            yield
        except BaseException as error:
            path = self._draft_path(number)
            self.left_out.add(number)
            with contextlib.suppress(OSError):
                os.unlink(path)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = path
            raise

    def _withdraw(self) -> None:
        """Also out of new/: what is reported as failed is sent again by whoever asked for it."""
        for number in range(self._count):
            for path in (self._queued_path(number), self._draft_path(number)):
                with contextlib.suppress(OSError):
                    os.unlink(path)


def _sync_all(opened: Opened) -> List[Tuple[int, BaseException]]:
    """Syncs and closes all, several at a time; returns which of them failed, and why."""
    todo = deque(opened)
    failed: List[Tuple[int, BaseException]] = []

    def work() -> None:
        while True:
            try:
                number, fd = todo.popleft()
            except IndexError:
                return
            try:
                _sync(fd)
            except BaseException as error:
                failed.append((number, error))

    helpers = []
    with contextlib.suppress(RuntimeError):  # no more threads: it only takes longer
        for _ in range(min(SYNCS, len(opened)) - 1):
            helper = threading.Thread(target=work, daemon=True)
            helper.start()
            helpers.append(helper)
    work()
    for helper in helpers:
        helper.join()
    return failed
