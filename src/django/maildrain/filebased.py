"""A Django email backend that writes each message to a file of its own in a maildrain spool.

    EMAIL_BACKEND = "maildrain.filebased.EmailBackend"
    EMAIL_FILE_PATH = "/var/spool/maildrain"

or, from Django 6.1 on, that BACKEND in MAILERS with "file_path" among its OPTIONS.

Further OPTIONS, and settings.MAILDRAIN, are in options.py.

A file starts with the envelope, in lines that never go on the wire (see maildrain-spool(5)), and
the message follows. Before Django is told that a message was sent, both the file and its name in
new/ are on disk.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import time
from typing import Any, Callable, Iterable

from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends import filebased
from django.db import transaction

from . import content, options
from .options import Options
from .signals import message_queued

# The next number is taken in one step of the interpreter: no lock, so none that a fork leaves held.
counter = itertools.count(1)


class EmailBackend(filebased.EmailBackend):
    """Writes to the spool at EMAIL_FILE_PATH, or at file_path."""

    def __init__(
        self, *args: Any, file_path: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> None:
        kwargs["stream"] = None
        own = {name: kwargs.pop(name, None) for name in options.SETTINGS.values()}
        # Past Django's own file backend: it would make a bare directory where a spool is missing.
        super(filebased.EmailBackend, self).__init__(*args, **kwargs)
        if file_path is None and getattr(self, "alias", None) is None:
            file_path = file_path_setting()
        if file_path is None:
            raise self._misconfigured("EMAIL_FILE_PATH (MAILERS: file_path) must name a spool.")
        self.file_path = os.path.abspath(file_path)
        self._defaults = options.merged(options.from_settings(), own)
        self._tmp = os.path.join(self.file_path, "tmp")
        self._new = os.path.join(self.file_path, "new")
        self._check_spool()

    def open(self) -> bool:
        return False  # nothing stays open between two messages

    def close(self) -> None:
        pass

    def send_messages(self, email_messages: Iterable[mail.EmailMessage] | None) -> int:
        """Write the messages; return how many were written."""
        written = 0
        for message in email_messages or ():
            try:
                written += self.write_message(message)
            except Exception:
                if not self.fail_silently:
                    raise
        return written

    def write_message(self, message: mail.EmailMessage) -> bool:
        """Write one message; return False when it is for nobody."""
        return bool(self.queue(message))

    def queue(self, message: mail.EmailMessage, **given: Any) -> str:
        """Write one message; return its id, or "" when it is for nobody. What is given are options,
        and stronger than those in the message's headers. An error is raised in any case."""
        if not message.recipients():
            return ""
        unique = unique_name()
        draft = self.draft(message, given)
        self._now_or_on_commit(lambda: self.drop(draft, unique), given)
        return unique

    def draft(self, message: mail.EmailMessage, given: Options) -> content.Draft:
        """The message as queue() would write it."""
        return content.draft(message, self._defaults, given)

    def _now_or_on_commit(self, write: Callable[[], object], given: Options) -> None:
        database = options.on_commit(options.merged(self._defaults, given))
        if database is None:
            write()
            return

        silenced = (Exception,) if self.fail_silently else ()

        def at_commit() -> None:
            with contextlib.suppress(*silenced):
                write()

        transaction.on_commit(at_commit, using=database)

    def drop(self, draft: content.Draft, unique: str) -> None:
        """A new file in new/, whole and durable; or, when anything fails, none at all."""
        path = os.path.join(self._tmp, unique)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            _fill(fd, memoryview(draft.data))
            _sync(fd)
            queued = os.path.join(self._new, unique + draft.fields)
            os.rename(path, queued)
            path = queued
            _sync(os.open(self._new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except BaseException as error:
            # Also out of new/: what is reported as failed is sent again by whoever asked for it.
            with contextlib.suppress(OSError):
                os.unlink(path)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = path
            raise
        message_queued.send_robust(sender=type(self), message=draft.message, id=unique)

    def _check_spool(self) -> None:
        for directory in (self._tmp, self._new):
            try:
                os.scandir(directory).close()
                reason = None if os.access(directory, os.W_OK | os.X_OK) else "Not writable"
            except OSError as error:
                reason = error.strerror
            if reason:
                raise self._misconfigured(
                    f"{self.file_path} is no spool this user can write to: {directory}: {reason}"
                    ". Make it with `maildrain init` on a writable disk; put the user in its group."
                )

    def _misconfigured(self, text: str) -> ImproperlyConfigured:
        alias = getattr(self, "alias", None)
        return mail.InvalidMailer(text, alias=alias) if alias else ImproperlyConfigured(text)


def file_path_setting() -> Any:
    """EMAIL_FILE_PATH. Django 6.1 warns those who set it, and again those who read it through
    settings: that second warning would put the blame on us."""
    overridden = settings.is_overridden("EMAIL_FILE_PATH")
    return settings._wrapped.EMAIL_FILE_PATH if overridden else None


def unique_name(host: str = "") -> str:
    """SECONDS.M<microseconds>P<pid>Q<counter>.HOST; the zeros make names sort by time."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    host = re.sub(r"[/:,=\x00-\x1f\x7f]", "", host or socket.gethostname())[:63] or "localhost"
    return f"{seconds}.M{microseconds:06}P{os.getpid()}Q{next(counter)}.{host}"


def _fill(fd: int, data: memoryview) -> None:
    """Writes all of data; closes fd when that fails."""
    try:
        os.fchmod(fd, 0o640)  # whatever the umask: the sender reads as a member of the group
        while data:
            data = data[os.write(fd, data) :]
    except BaseException:
        os.close(fd)
        raise


def _sync(fd: int) -> None:
    """Sees a file or a directory to the disk; closes fd in any case."""
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
