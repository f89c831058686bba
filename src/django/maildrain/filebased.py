"""A Django email backend that writes each message to a file of its own in a maildrain spool.

    EMAIL_BACKEND = "maildrain.filebased.EmailBackend"
    EMAIL_FILE_PATH = "/var/spool/maildrain"

or, from Django 6.1 on, that BACKEND in MAILERS with "file_path" among its OPTIONS.

A file starts with the envelope, in lines that never go on the wire (see maildrain-spool(5)), and
the message follows. Before Django is told that a message was sent, both the file and its name in
new/ are on disk.
"""

from __future__ import annotations

import contextlib
import email.policy
import itertools
import os
import re
import socket
import time
from email.errors import InvalidHeaderDefect
from email.headerregistry import AddressHeader
from typing import Any, Iterable

import django
from django.conf import settings
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail.backends import filebased
from django.utils.encoding import punycode

# Python's words for an address like "root", which is one to Django and to sendmail.
NO_DOMAIN = "addr-spec local part with no domain"

# An address that needs no parser. One with "=?" might be an encoded word to it.
BARE = re.compile(r"[\w!#$%&'*+/=^`{|}~-]+(\.[\w!#$%&'*+/=^`{|}~-]+)*@[\w-]+(\.[\w-]+)*", re.A)

# What would continue the envelope at the start of a message, and our names anywhere in its header.
FORGERY = re.compile(rb"\A[ \t]|(?:\A|[\r\n])x-maildrain-", re.IGNORECASE)

# The next number is taken in one step of the interpreter: no lock, so none that a fork leaves held.
counter = itertools.count(1)


class EmailBackend(filebased.EmailBackend):
    """Writes to the spool at EMAIL_FILE_PATH, or at file_path."""

    def __init__(
        self, *args: Any, file_path: str | os.PathLike[str] | None = None, **kwargs: Any
    ) -> None:
        kwargs["stream"] = None
        # Past Django's own file backend: it would make a bare directory where a spool is missing.
        super(filebased.EmailBackend, self).__init__(*args, **kwargs)
        if file_path is None and getattr(self, "alias", None) is None:
            file_path = _file_path_setting()
        if file_path is None:
            raise self._misconfigured("EMAIL_FILE_PATH (MAILERS: file_path) must name a spool.")
        self.file_path = os.path.abspath(file_path)
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
        if not message.recipients():
            return False
        self._drop(_content(message))
        return True

    def _drop(self, data: bytes) -> None:
        """A new file in new/, whole and durable; or, when anything fails, none at all."""
        name = _unique_name()
        path = os.path.join(self._tmp, name)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            _fill(fd, memoryview(data))
            _sync(fd)
            os.rename(path, os.path.join(self._new, name))
            path = os.path.join(self._new, name)
            _sync(os.open(self._new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except BaseException as error:
            # Also out of new/: what is reported as failed is sent again by whoever asked for it.
            with contextlib.suppress(OSError):
                os.unlink(path)
            if isinstance(error, OSError) and error.filename is None:
                error.filename = path
            raise

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


def _file_path_setting() -> Any:
    """EMAIL_FILE_PATH. Django 6.1 warns those who set it, and again those who read it through
    settings: that second warning would put the blame on us."""
    overridden = settings.is_overridden("EMAIL_FILE_PATH")
    return settings._wrapped.EMAIL_FILE_PATH if overridden else None


def _envelope(message: mail.EmailMessage) -> str:
    """The block of lines that says who the message is from and who it is for."""
    sender = str(message.from_email)
    sender = "" if sender.strip() == "<>" else _addr_spec(sender)
    recipients = dict.fromkeys(_addr_spec(str(address)) for address in message.recipients())
    lines = [f"X-Maildrain-From: <{sender}>", *(f"X-Maildrain-To: <{to}>" for to in recipients)]
    return "\n".join(lines) + "\n"


def _addr_spec(text: str) -> str:
    """The bare address in text, its domain in ASCII; ValueError unless it is exactly one."""
    if BARE.fullmatch(text):
        return text
    try:
        parsed = AddressHeader.value_parser(text)
        defects = [d for d in parsed.all_defects if isinstance(d, InvalidHeaderDefect)]
        mailboxes = parsed.all_mailboxes
    except Exception as error:  # Python's parser trips in many ways over what is no address
        raise ValueError(f"Invalid address {text!r}: it can't be parsed") from error
    if any(str(defect) != NO_DOMAIN for defect in defects):
        raise ValueError(f"Invalid address {text!r}: {'; '.join(map(str, defects))}")
    if len(mailboxes) != 1 or mailboxes[0].route or text.splitlines() != [text]:
        raise ValueError(f"Invalid address {text!r}: it must be one address, on one line")
    address = mailboxes[0].addr_spec
    domain = mailboxes[0].domain or ""
    if not domain.isascii():
        address = address[: -len(domain)] + punycode(domain)
    if not address.isprintable() or "<" in address or ">" in address:
        raise ValueError(f"Invalid address {text!r}: control characters, '<' and '>' can't be sent")
    return address


def _content(message: mail.EmailMessage) -> bytes:
    """What the file holds. The header has UTF-8 in it if the addresses need SMTPUTF8 anyway."""
    envelope = _envelope(message)
    options = {} if envelope.isascii() else {"policy": email.policy.default.clone(utf8=True)}
    parsed = message.message(**options if django.VERSION >= (6, 0) else {})
    del parsed["Bcc"]
    content = parsed.as_bytes()
    if FORGERY.search(re.split(rb"\n\r?\n", content, maxsplit=1)[0]):
        raise ValueError("Header names that start with X-Maildrain- are kept for the envelope")
    return envelope.encode() + content


def _unique_name() -> str:
    """SECONDS.M<microseconds>P<pid>Q<counter>.HOST; the zeros make names sort by time."""
    seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
    host = re.sub(r"[/:,=\x00-\x1f\x7f]", "", socket.gethostname())[:63] or "localhost"
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
