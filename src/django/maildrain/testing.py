"""A temporary spool for the tests of a site, and what is in it.

    @temporary_spool()
    class TicketTests(TestCase):
        def test_reply(self):
            …
            [message] = outbox()
            self.assertEqual(message.bcc, ["archive@example.com"])
            self.assertEqual(message.priority, 1)

It decorates test functions too, and is a context manager: a fixture of pytest is

    @pytest.fixture
    def mail_spool():
        with temporary_spool() as spool:
            yield spool

Mail is written as in production, options and errors included, and read back from the files.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import os
import shutil
import tempfile
from datetime import datetime, timezone
from email.message import EmailMessage as ParsedMessage
from email.utils import getaddresses
from typing import Any, Iterator, List

from django.conf import settings
from django.core import mail
from django.test.utils import TestContextDecorator, override_settings

from . import entry
from .checks import MODES

BACKEND = "maildrain.filebased.EmailBackend"
POLICY: Any = email.policy.default  # its type is not the same to each mypy

_active: List["TemporarySpool"] = []  # the last one is where mail goes now


class QueuedMessage(mail.EmailMultiAlternatives):
    """A message of the spool, as it will be sent."""

    id: str
    priority: int
    not_before: datetime | None
    expires: datetime | None
    relay: str
    envelope_from: str  # "" is the null sender
    envelope_to: List[str]
    path: str  # of its file
    parsed: ParsedMessage  # the same as Python's email package has it


class TemporarySpool(TestContextDecorator):
    """What temporary_spool() returns; PATH is there while it is active."""

    path: str

    def __init__(self, backend: str = BACKEND, **options: Any) -> None:
        super().__init__(attr_name="spool")
        self._backend = backend
        self._options = options

    def enable(self) -> TemporarySpool:
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self.path = tempfile.mkdtemp(prefix="maildrain-test-")
            stack.callback(shutil.rmtree, self.path, ignore_errors=True)
            for name, mode in MODES.items():
                os.mkdir(os.path.join(self.path, name))
                os.chmod(os.path.join(self.path, name), mode)
            stack.enter_context(override_settings(**self._overridden()))
            _active.append(self)
            stack.callback(_active.remove, self)
            self._undo = stack.pop_all()
        return self

    def disable(self) -> None:
        self._undo.close()

    def outbox(self) -> List[QueuedMessage]:
        """The messages in this spool, in the order in which they were sent."""
        return outbox(self.path)

    def _overridden(self) -> Any:
        options = {**self._options, "file_path": self.path}
        if hasattr(mail, "mailers"):
            aliases = {"default", *(getattr(settings, "MAILERS", None) or {})}
            mailer = {"BACKEND": self._backend, "OPTIONS": options}
            return {"MAILERS": {alias: mailer for alias in aliases}}
        keys = {name.upper(): value for name, value in self._options.items()}
        site = getattr(settings, "MAILDRAIN", None) or {}
        return {
            "EMAIL_BACKEND": self._backend,
            "EMAIL_FILE_PATH": self.path,
            "MAILDRAIN": {**site, **keys},
        }


def temporary_spool(backend: str = BACKEND, **options: Any) -> TemporarySpool:
    """All mail of the site goes to a spool that is made for this and removed after it, for each
    test anew. Options are those of the backend, such as on_commit=True; settings.MAILDRAIN stays in
    force. A decorated class has it as self.spool."""
    return TemporarySpool(backend, **options)


def outbox(path: str | os.PathLike[str] | None = None) -> List[QueuedMessage]:
    """The messages that wait in the temporary spool, or in the one at PATH, in the order in which
    they were sent."""
    if path is None:
        if not _active:
            raise RuntimeError("outbox() needs a path, or a temporary_spool() around it")
        path = _active[-1].path
    new = os.path.join(path, "new")
    return [_read(os.path.join(new, name)) for name in sorted(os.listdir(new))]


def _read(path: str) -> QueuedMessage:
    with open(path, "rb") as file:
        lines, content = _split(file.read())
    parsed = email.message_from_bytes(content, policy=POLICY)
    assert isinstance(parsed, ParsedMessage)
    message = _message(parsed)
    message.path, message.parsed = path, parsed
    message.envelope_from = next((_address(text) for key, text in lines if key == "from"), "")
    message.envelope_to = [_address(text) for key, text in lines if key == "to"]
    message.relay = next((text for key, text in lines if key == "relay"), "")
    shown = {address.lower() for address in _bare(message.to) + _bare(message.cc)}
    message.bcc = [one for one in message.envelope_to if one.lower() not in shown]
    _read_name(message, os.path.basename(path))
    return message


def _read_name(message: QueuedMessage, name: str) -> None:
    found = entry.parse(name)
    if found is None:
        raise ValueError(f"{name!r} is no name of a message")
    message.id, message.priority = found.unique, found.priority
    message.not_before, message.expires = _time(found.not_before), _time(found.expires)


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


def _split(data: bytes) -> tuple[List[tuple[str, str]], bytes]:
    """The envelope lines, as ("to", "<a@example.net>"), and the message behind them."""
    lines = []
    while data[:12].lower() == b"x-maildrain-":
        line, _, data = data.partition(b"\n")
        key, _, value = line[12:].decode("utf-8", "replace").partition(":")
        lines.append((key.lower(), value.strip()))
    return lines, data


def _address(text: str) -> str:
    return text.partition("<")[2].rpartition(">")[0]


def _bare(fields: List[str]) -> List[str]:
    return [address for _, address in getaddresses(fields)]


HEADERS = {"subject", "from", "to", "cc", "reply-to", "mime-version"}  # and those of the content


def _message(parsed: ParsedMessage) -> QueuedMessage:
    """As the site made it, as far as what it made tells."""
    message = QueuedMessage(
        subject=_mended(parsed["Subject"] or ""),
        from_email=_mended(parsed["From"] or ""),
        to=_list(parsed, "To"),
        cc=_list(parsed, "Cc"),
        reply_to=_list(parsed, "Reply-To"),
        headers={
            name: _mended(value)
            for name, value in parsed.items()
            if name.lower() not in HEADERS and not name.lower().startswith("content-")
        },
    )
    bodies = list(_bodies(parsed))
    if bodies:
        message.body = _text(bodies[0])
        message.content_subtype = bodies[0].get_content_subtype()
    for part in bodies[1:]:
        message.attach_alternative(_text(part), part.get_content_type())
    for part in _attachments(parsed):
        message.attach(part.get_filename(), part.get_content(), part.get_content_type())
    return message


def _list(parsed: ParsedMessage, name: str) -> List[str]:
    header = parsed[name]
    return [] if header is None else [_mended(address) for address in header.addresses]


def _mended(header: object) -> str:
    """The UTF-8 that a header with SMTPUTF8 addresses has, and Python's parser leaves undecoded."""
    return str(header).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _bodies(parsed: ParsedMessage) -> Iterator[ParsedMessage]:
    """The text, and its alternatives."""
    body = parsed
    while body.get_content_maintype() == "multipart":
        parts = [part for part in body.iter_parts() if isinstance(part, ParsedMessage)]
        if body.get_content_subtype() == "alternative":
            yield from (part for part in parts if part.get_content_maintype() == "text")
            return
        if not parts or parts[0].is_attachment():
            return
        body = parts[0]
    if body.get_content_maintype() == "text" and not body.is_attachment():
        yield body


def _attachments(parsed: ParsedMessage) -> Iterator[ParsedMessage]:
    if parsed.get_content_type() == "multipart/mixed":
        bodies = list(_bodies(parsed))
        for part in parsed.iter_parts():
            is_body = part.get_content_maintype() == "multipart" or part in bodies
            if isinstance(part, ParsedMessage) and not is_body:
                yield part


def _text(part: ParsedMessage) -> str:
    return str(part.get_content())
