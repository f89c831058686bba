"""What waits in the tables of django-post_office and django-mailer, as these would send it."""

from __future__ import annotations

import email.encoders
import email.mime.nonmultipart
import json
import re
from datetime import datetime, timezone
from typing import Any, Callable, Collection, Dict, List, Mapping, NamedTuple, Optional, Tuple

from django.conf import settings
from django.core import mail
from django.core.files import storage
from django.db import models
from django.template import engines

from maildrain.options import Options

from . import pickled
from .tables import Row, Table, has_table, moment


class LeftOut(Exception):
    """The message is not to be sent, and that is all right; the text is a word for the counts."""


class Letter(NamedTuple):
    message: mail.EmailMessage
    options: Options
    note: str = ""  # what is not as the package would have sent it


class Choices(NamedTuple):
    """What the user has said."""

    database: str
    relays: Mapping[str, str]  # by the aliases of backends
    allowed: Collection[str]  # classes, for pickles


class Source:
    """The queue of a package; its rows have a number and a key, which stays what it is."""

    name: str  # as the user types it
    package: str
    sender: str  # the command that sends for it, and has to be stopped

    queue: Table
    made: str  # the column with the time of the message

    def numbers(self) -> List[int]:
        """Of those that wait."""
        raise NotImplementedError

    def row(self, number: int) -> Row:
        """LeftOut when it is gone meanwhile."""
        row = self.queue.row(number)
        if row is None:
            raise LeftOut("gone meanwhile")
        return row

    def key(self, row: Row) -> str:
        """Of a message, the same at any time, and another than that of any other message. A number
        alone is not: each table begins with 1."""
        made = moment(row[self.made]).astimezone(timezone.utc)
        since = made - datetime(1970, 1, 1, tzinfo=timezone.utc)
        seconds = since.days * 86_400 + since.seconds
        return f"{self.name}-{row['id']}-{seconds}{since.microseconds:06}"

    def letter(self, row: Row) -> Letter:
        """LeftOut, or an error that says what is wrong with the row."""
        raise NotImplementedError


KEY = re.compile(r"(?:post_office|mailer)-[0-9]+-[0-9]+")


# ---- django-post_office ----

QUEUED, REQUEUED = 2, 3  # its status
HTML = "text/html"
PLAIN = "text/plain"


class PostOffice(Source):
    name = "post_office"
    package = "django-post_office"
    sender = "send_queued_mail"
    made = "created"

    PRIORITIES = {0: "low", 2: "high", 3: 0}  # medium is the site's default, as elsewhere

    def __init__(self, choices: Choices) -> None:
        self._relays = choices.relays
        self._settings: Mapping[str, Any] = getattr(settings, "POST_OFFICE", None) or {}
        text, time, number = models.TextField, models.DateTimeField, models.BigIntegerField
        self.queue = Table(
            choices.database,
            "post_office_email",
            {
                "id": models.BigAutoField(primary_key=True),
                **{name: text() for name in ("from_email", "to", "cc", "bcc", "subject")},
                **{name: text() for name in ("message", "html_message", "headers", "context")},
                **{name: text() for name in ("message_id", "backend_alias")},
                **{name: number() for name in ("status", "priority", "template_id")},
                **{name: time() for name in ("created", "scheduled_time", "expires_at")},
            },
            ["id", "from_email", "to", "cc", "bcc", "subject", "message", "status", "created"],
        )
        self._templates = Table(
            choices.database,
            "post_office_emailtemplate",
            {
                "id": models.BigAutoField(primary_key=True),
                **{name: text() for name in ("subject", "content", "html_content")},
            },
            ["id", "subject", "content", "html_content"],
        )
        self._attachments = Table(
            choices.database,
            "post_office_attachment",
            {
                "id": models.BigAutoField(primary_key=True),
                **{name: text() for name in ("file", "name", "mimetype", "headers")},
            },
            ["id", "file", "name"],
        )
        self._attached = Table(
            choices.database,
            "post_office_attachment_emails",
            {
                "id": models.BigAutoField(primary_key=True),
                **{name: number() for name in ("attachment_id", "email_id")},
            },
            ["id", "attachment_id", "email_id"],
        )

    def numbers(self) -> List[int]:
        return self.queue.numbers(status__in=(QUEUED, REQUEUED))

    def letter(self, row: Row) -> Letter:
        if row["status"] not in (QUEUED, REQUEUED):
            raise LeftOut("gone meanwhile")
        if row["expires_at"] is not None and not _is_ahead(row["expires_at"]):
            raise LeftOut("expired")
        if self._settings.get("OVERRIDE_RECIPIENTS"):
            raise ValueError("POST_OFFICE has OVERRIDE_RECIPIENTS, and it would go to others")
        return Letter(self._message(row), self._options(row))

    def _options(self, row: Row) -> Options:
        options: Options = {"priority": self.PRIORITIES.get(row["priority"])}
        if row["scheduled_time"] is not None and _is_ahead(row["scheduled_time"]):
            options["not_before"] = moment(row["scheduled_time"])
        if row["expires_at"] is not None:
            options["expires"] = moment(row["expires_at"])
        alias = row["backend_alias"] or "default"
        if alias in self._relays:
            options["relay"] = self._relays[alias]
        elif alias != "default":
            raise ValueError(
                f"it is for the backend {alias!r}: give --relay {alias}=NAME with the relay that "
                f"stands for it, or --relay {alias}= for any"
            )
        return options

    def _message(self, row: Row) -> mail.EmailMessage:
        subject, text, html, rendered = self._content(row)
        made = mail.EmailMultiAlternatives(
            subject=subject,
            body=text or html,
            from_email=row["from_email"],
            to=addresses(row["to"]),
            cc=addresses(row["cc"]),
            bcc=addresses(row["bcc"]),
            headers=_headers(row),
        )
        if html and text:
            made.attach_alternative(html, HTML)
        elif html:
            made.content_subtype = "html"
        if html and hasattr(rendered, "attach_related"):
            rendered.attach_related(made)  # images, by the package's own template engine
        for link in self._attached.rows(email_id=row["id"]):
            self._attach(made, link["attachment_id"])
        return made

    def _content(self, row: Row) -> Tuple[str, str, str, Any]:
        """Subject, text, HTML, and the template of the HTML if there is one."""
        context = _json(row["context"], "context")
        if row["template_id"] is None or context is None:
            texts = [str(row[name] or "") for name in ("subject", "message", "html_message")]
            if context is not None and not any(texts):
                raise ValueError("its template is gone")
            return texts[0], texts[1], texts[2], None
        template = self._templates.row(row["template_id"])
        if template is None:
            raise ValueError("its template is gone")
        engine = engines[self._settings.get("TEMPLATE_ENGINE", "django")]
        made = [engine.from_string(template[name]) for name in ("subject", "content")]
        html = engine.from_string(template["html_content"])
        subject, text = (str(each.render(context or {})) for each in made)
        return subject, text, str(html.render(context or {})), html

    def _attach(self, to: mail.EmailMessage, number: int) -> None:
        found = self._attachments.row(number)
        if found is None:
            raise ValueError(f"its attachment {number} is gone")
        with self._storage().open(found["file"]) as file:
            data = file.read()
        headers = _json(found["headers"], "headers")
        if headers:
            pickled.attach_part(to, _part(found["mimetype"], data, headers))
        else:
            to.attach(found["name"], data, found["mimetype"] or None)

    def _storage(self) -> Any:
        name = self._settings.get("FILE_STORAGE")
        return storage.storages[name] if name else storage.default_storage


def _is_ahead(time: datetime) -> bool:
    return moment(time) > datetime.now(timezone.utc)


def addresses(text: Optional[str]) -> List[str]:
    """Those of a list with commas, of which some may be in quotes."""
    text = text or ""
    whole = re.fullmatch(r'(?:[^"]|"(?:\\.|[^"\\])*")*', text, re.DOTALL)
    found = re.findall(r'(?:[^,"]|"(?:\\.|[^"\\])*")+', text) if whole else text.split(",")
    parts = [part.strip() for part in found if part.strip()]
    for part in parts:
        if "@" not in part:
            raise ValueError(f"{part!r} in {text!r} is no address")
    return parts


def _headers(row: Row) -> Dict[str, str]:
    headers = _json(row["headers"], "headers")
    found = dict(headers) if isinstance(headers, dict) else {}
    if row["message_id"]:
        found = {name: value for name, value in found.items() if name.lower() != "message-id"}
        found["Message-ID"] = row["message_id"]
    return found


def _json(value: Any, name: str) -> Any:
    """Some databases give it parsed."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"its {name} can't be read as JSON: {error}") from error


def _part(mimetype: str, data: bytes, headers: Mapping[str, str]) -> Any:
    """Of an attachment that came with headers the package keeps the payload as it was encoded."""
    part = email.mime.nonmultipart.MIMENonMultipart(*(mimetype or PLAIN).split("/"))
    part.set_payload(data.decode("ascii", "surrogateescape"))
    for name, value in headers.items():
        del part[name]
        part[name] = str(value)
    if "Content-Transfer-Encoding" not in part:
        email.encoders.encode_base64(part)
    return part


# ---- django-mailer ----

DEFERRED = 4  # its priority of what has failed, until retry_deferred


class Mailer(Source):
    name = "mailer"
    package = "django-mailer"
    sender = "send_mail, runmailer, retry_deferred"
    made = "when_added"

    PRIORITIES = {1: "high", 3: "low"}  # what was deferred was medium, or is when it is retried

    def __init__(self, choices: Choices) -> None:
        self._choices = choices
        self.queue = Table(
            choices.database,
            "mailer_message",
            {
                "id": models.BigAutoField(primary_key=True),
                "message_data": models.TextField(),
                "when_added": models.DateTimeField(),
                "priority": models.TextField(),  # a number, since version 2.0
                "retry_count": models.BigIntegerField(),
            },
            ["id", "message_data", "when_added", "priority"],
        )
        self._unwanted: Optional[Table] = None
        if has_table(choices.database, "mailer_dontsendentry"):
            fields = {"id": models.BigAutoField(primary_key=True), "to_address": models.TextField()}
            self._unwanted = Table(
                choices.database, "mailer_dontsendentry", fields, ["id", "to_address"]
            )

    def numbers(self) -> List[int]:
        return self.queue.numbers()

    def letter(self, row: Row) -> Letter:
        priority = int(row["priority"])
        most = getattr(settings, "MAILER_EMAIL_MAX_RETRIES", None)
        if priority == DEFERRED and most is not None and (row["retry_count"] or 0) >= most:
            raise LeftOut("given up")
        message = pickled.message(row["message_data"] or "", self._choices.allowed)
        left_out = self._without_the_unwanted(message)
        if left_out and not message.recipients():
            raise LeftOut("don't send")
        note = f"on the don't-send list: {', '.join(left_out)}" if left_out else ""
        return Letter(message, {"priority": self.PRIORITIES.get(priority)}, note)

    def _without_the_unwanted(self, message: mail.EmailMessage) -> List[str]:
        left_out: List[str] = []
        for name in ("to", "cc", "bcc"):
            given = [str(address) for address in getattr(message, name)]
            unwanted = [address for address in given if self._is_unwanted(address)]
            if unwanted:
                setattr(message, name, [each for each in given if each not in unwanted])
                left_out += unwanted
        return left_out

    def _is_unwanted(self, address: str) -> bool:
        """By the bare address; the package itself compares all that stands there."""
        if self._unwanted is None:
            return False
        bare = re.sub(r".*<([^<>]*)>\s*", r"\1", address, flags=re.DOTALL).strip()
        return bool(self._unwanted.numbers(to_address__iexact=bare))


SOURCES: Dict[str, Callable[[Choices], Source]] = {
    source.name: source for source in (PostOffice, Mailer)
}
