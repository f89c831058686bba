"""manage.py maildrain_import, from tables as other packages leave them."""

from __future__ import annotations

import email
import io
import os
import pickle
import re
import sys
from datetime import datetime, timedelta, timezone
from email.mime.image import MIMEImage
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple
from zoneinfo import ZoneInfo

import old_tables
import pytest
from django.core.files.storage import FileSystemStorage
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.core.management import CommandError, call_command
from django.db import connections
from django.test.utils import override_settings
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from lab.aiosmtp import AioServer
from lab.spool import Spool
from maildrain import filebased
from maildrain.elsewhere import pickled, sources
from maildrain.elsewhere.record import Record, parsed
from maildrain.testing import QueuedMessage, TemporarySpool, temporary_spool
from old_tables import keep, post
from test_api import needs_mailers
from test_checks import site

UTC = timezone.utc
SOON = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=2)
LATER = SOON + timedelta(hours=2)
PAST = SOON - timedelta(days=2)

TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]


class Import:
    """The command, with the same record each time."""

    def __init__(self, box: TemporarySpool, folder: Path) -> None:
        self.box = box
        self.record = folder / "record"
        self.error = ""
        self.troubles = ""

    def dry(self, source: str, *args: str) -> str:
        out, err = io.StringIO(), io.StringIO()
        self.error = ""
        try:
            call_command("maildrain_import", source, *args, stdout=out, stderr=err)
        except CommandError as error:
            self.error = str(error)
        self.troubles = err.getvalue()
        return out.getvalue()

    def __call__(self, source: str, *args: str) -> Dict[str, int]:
        """With --send; returns the counts."""
        return counts(self.dry(source, "--send", f"--record={self.record}", *args))

    def outbox(self) -> List[QueuedMessage]:
        return self.box.outbox()


def counts(said: str) -> Dict[str, int]:
    found = re.findall(r"^([a-z' ]+?) +([0-9]+)$", said, re.MULTILINE)
    return {what: int(count) for what, count in found}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Import]:
    """Both packages' tables, empty, in a site whose mail goes to a spool."""
    old_tables.create(old_tables.POST_OFFICE + old_tables.MAILER)
    try:
        with temporary_spool() as box, override_settings(TEMPLATES=TEMPLATES):
            yield Import(box, tmp_path)
    finally:
        old_tables.drop_all()


# ---- what is told, and what is done ----


def test_a_dry_run_queues_nothing(run: Import) -> None:
    post()
    post(status=old_tables.SENT)
    said = run.dry("post_office")
    assert counts(said) == {"would be queued": 1}
    assert "stop" in said and "send_queued_mail" in said
    run.dry("post_office", f"--record={run.record}")
    assert run.outbox() == [] and not run.record.exists()


def test_a_dry_run_names_the_messages_when_asked(run: Import) -> None:
    number = post(subject="Line\nbreak", cc="c@example.net")
    said = run.dry("post_office", "-v2")
    assert run.error  # a subject with a line break can't be sent
    old_tables.change("post_office_email", number, subject="Good day")
    said = run.dry("post_office", "-v2")
    assert f"#{number}: would be queued: 'Good day' to a@example.net, c@example.net" in said


def test_the_tables_are_only_read(run: Import) -> None:
    post(), post(status=old_tables.REQUEUED), keep(EmailMessage("Hi", "", None, ["a@example.net"]))
    before = old_tables.dump()
    asked: List[str] = []

    def note(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        asked.append(sql)
        return execute(sql, *args)

    with connections["default"].execute_wrapper(note):
        assert run("post_office") == {"queued": 2}
        assert run("mailer") == {"queued": 1}
    assert old_tables.dump() == before
    assert len(asked) > 4
    assert {sql.split()[0] for sql in asked} <= {"SELECT", "PRAGMA"}


def test_to_send_needs_a_record(run: Import) -> None:
    post()
    run.dry("post_office", "--send")
    assert "--record FILE" in run.error and run.outbox() == []


def test_the_old_sender_is_named_after_it_too(run: Import) -> None:
    post()
    said = run.dry("post_office", "--send", f"--record={run.record}")
    assert "never start send_queued_mail again" in said


def test_another_database(run: Import, tmp_path: Path) -> None:
    old_tables.create(old_tables.POST_OFFICE, "other")
    post(database="other")
    assert run("post_office", "--database=other") == {"queued": 1}
    run.dry("post_office", "--database=third")
    assert "'third'" in run.error
    run.dry("mailer", "--database=other")
    assert "no table mailer_message" in run.error


@needs_mailers
def test_another_backend(run: Import, spool_path: Path) -> None:
    post()
    options = {"file_path": str(spool_path)}
    mailers = {"mass": {"BACKEND": "maildrain.bulk.EmailBackend", "OPTIONS": options}}
    with override_settings(MAILERS=mailers):
        assert run("post_office", "--using=mass") == {"queued": 1}
    assert run.outbox() == []
    assert len(list((spool_path / "new").iterdir())) == 1


def test_without_a_spool(run: Import) -> None:
    with site(None, "django.core.mail.backends.dummy.EmailBackend"):
        run.dry("post_office")
    assert "django.core.mail.backends.dummy" in run.error


def test_no_more_than_asked_for_and_the_oldest_first(run: Import) -> None:
    for number in range(5):
        post(subject=str(number))
    assert run("post_office", "--limit=2") == {"queued": 2}
    assert [message.subject for message in run.outbox()] == ["0", "1"]
    assert run("post_office", "--limit=2") == {"queued": 2, "queued before": 2}
    assert run("post_office", "--limit=2") == {"queued": 1, "queued before": 4}
    assert [message.subject for message in run.outbox()] == ["0", "1", "2", "3", "4"]
    run.dry("post_office", "--limit=0")
    assert "--limit" in run.error


# ---- django-post_office ----


def test_a_message_of_post_office(run: Import) -> None:
    post(
        to='a@example.net, "Doe, Jane" <b@example.net>',
        cc="c@example.net",
        bcc="d@example.net",
        subject="Grüße",
        message="Täxt",
        html_message="<p>Hi</p>",
        headers={"Reply-To": "r@example.com", "message-id": "<old@example.com>", "X-Y": "1"},
        message_id="<new@example.com>",
    )
    assert run("post_office") == {"queued": 1}
    [message] = run.outbox()
    assert message.id.endswith(".post_office-1-1793534400250000")
    assert (message.envelope_from, message.envelope_to) == (
        "site@example.com",
        ["a@example.net", "b@example.net", "c@example.net", "d@example.net"],
    )
    assert (message.cc, message.bcc) == (["c@example.net"], ["d@example.net"])
    assert (message.subject, message.body.strip()) == ("Grüße", "Täxt")
    assert [tuple(each)[1] for each in message.alternatives] == ["text/html"]
    assert message.extra_headers["X-Y"] == "1" and message.reply_to == ["r@example.com"]
    assert message.parsed.get_all("Message-ID") == ["<new@example.com>"]
    assert (message.priority, message.not_before, message.expires) == (5, None, None)


def test_html_alone_is_the_body(run: Import) -> None:
    post(message="", html_message="<b>x</b>")
    assert run("post_office") == {"queued": 1}
    [message] = run.outbox()
    assert (message.content_subtype, message.body.strip()) == ("html", "<b>x</b>")


@pytest.mark.parametrize("given, made", [(0, 9), (1, 5), (2, 1), (3, 0), (None, 5)])
def test_priorities_of_post_office(run: Import, given: Optional[int], made: int) -> None:
    post(priority=given)
    assert run("post_office") == {"queued": 1}
    assert [message.priority for message in run.outbox()] == [made]


def test_medium_is_what_the_site_says(run: Import) -> None:
    post(priority=1), post(priority=2)
    with override_settings(MAILDRAIN={"PRIORITY": 7}), temporary_spool() as box:
        run("post_office")
        assert [message.priority for message in box.outbox()] == [7, 1]


@pytest.mark.parametrize(
    "zone, use_tz", [("UTC", True), ("Europe/Paris", True), ("UTC", False), ("Europe/Paris", False)]
)
def test_times(run: Import, zone: str, use_tz: bool) -> None:
    """Without USE_TZ the times of the tables are those of the site."""
    kept = UTC if use_tz else ZoneInfo(zone)
    soon, later, past = (each.astimezone(kept).replace(tzinfo=None) for each in (SOON, LATER, PAST))
    post(scheduled_time=soon, expires_at=later)
    post(scheduled_time=past)
    with override_settings(USE_TZ=use_tz, TIME_ZONE=zone):
        assert run("post_office") == {"queued": 2}
    times = [(message.not_before, message.expires) for message in run.outbox()]
    assert times == [(SOON, LATER), (None, None)]


def test_expired_is_left_out(run: Import) -> None:
    post(expires_at=PAST), post(expires_at=PAST, scheduled_time=PAST), post(expires_at=LATER)
    assert run("post_office") == {"queued": 1, "expired": 2}
    assert [message.expires for message in run.outbox()] == [LATER]


def test_only_what_waits(run: Import) -> None:
    for status in (old_tables.SENT, old_tables.FAILED, None):
        post(status=status)
    post(status=old_tables.REQUEUED, subject="again", number_of_retries=1)
    assert run("post_office") == {"queued": 1}
    assert [message.subject for message in run.outbox()] == ["again"]


def test_what_goes_in_the_meantime(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [post(status=old_tables.SENT), 77, post()]
    monkeypatch.setattr(sources.PostOffice, "numbers", lambda self: numbers)
    assert run("post_office") == {"queued": 1, "gone meanwhile": 2}


def test_templates(run: Import) -> None:
    number = old_tables.template("Hi {{ name|capfirst }}", "Dear {{ name }}", "<p>{{ name }}</p>")
    post(template_id=number, context={"name": "jörg"}, subject="", message="")
    post(template_id=number, context='""', subject="", message="")
    post(template_id=number, subject="Rendered before", message="Text")
    assert run("post_office") == {"queued": 3}
    first, second, third = run.outbox()
    assert (first.subject, first.body.strip()) == ("Hi Jörg", "Dear jörg")
    assert "<p>jörg</p>" in str(first.alternatives)
    assert second.body.strip() == "Dear"
    assert (third.subject, third.body.strip()) == ("Rendered before", "Text")


@pytest.mark.parametrize(
    "row, words",
    [
        ({"template_id": 99, "context": {"a": 1}}, "its template is gone"),
        ({"context": {"a": 1}, "subject": "", "message": ""}, "its template is gone"),
        ({"context": "gASVBw=="}, "its context can't be read as JSON"),
        ({"backend_alias": "ses"}, "--relay ses=NAME"),
        ({"to": "nobody"}, "'nobody' in 'nobody' is no address"),
        ({"to": "Doe, a@example.net"}, "'Doe'"),
        ({"to": '"x <a@example.net>, b@example.net'}, '"x'),
        ({"to": ""}, "for nobody"),
        ({"from_email": "a b@example.com"}, "a b@example.com"),
        ({"scheduled_time": LATER, "expires_at": SOON}, "expire before"),
        ({"headers": {"X-Maildrain-To": "x@example.net"}}, "X-Maildrain-"),
        ({"created": "yesterday"}, ""),
    ],
)
def test_a_bad_row_holds_up_nothing(run: Import, row: Dict[str, Any], words: str) -> None:
    bad = post(**row)
    post(subject="good")
    for _ in range(2):
        run("post_office")
        assert re.search(rf"^#{bad}: .*{re.escape(words)}", run.troubles)
        assert len(run.troubles.splitlines()) == 1
        assert run.error.startswith("1 of")
        assert [message.subject for message in run.outbox()] == ["good"]


def test_a_template_that_is_wrong(run: Import) -> None:
    number = old_tables.template("{% nonsense %}", "")
    post(template_id=number, context={})
    assert run("post_office") == {"queued": 0, "wrong": 1}
    assert "TemplateSyntaxError" in run.troubles


@pytest.fixture
def media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the attachments are."""
    folder = tmp_path / "media"
    (folder / "post_office_attachments").mkdir(parents=True)
    storage = FileSystemStorage(location=folder)
    monkeypatch.setattr(sources.storage, "default_storage", storage)
    return folder / "post_office_attachments"


def test_attachments(run: Import, media: Path) -> None:
    every = bytes(range(256))
    (media / "1.txt").write_bytes("Zeile ä".encode())
    (media / "2.bin").write_bytes(every)
    number = post()
    old_tables.attach(number, "post_office_attachments/1.txt", "ä.txt")
    old_tables.attach(number, "post_office_attachments/2.bin", "b", "application/x-foo")
    assert run("post_office") == {"queued": 1}
    [message] = run.outbox()
    _, first, second = [part for part in message.parsed.walk() if not part.is_multipart()]
    assert (first.get_filename(), first.get_content_type()) == ("ä.txt", "text/plain")
    assert first.get_content().strip() == "Zeile ä"
    assert (second.get_filename(), second.get_content_type()) == ("b", "application/x-foo")
    assert second.get_content() == every


@pytest.mark.parametrize("is_encoded", [True, False])
def test_an_attachment_with_headers(run: Import, media: Path, is_encoded: bool) -> None:
    """Of a MIME part its backend keeps the payload as it is encoded."""
    part = MIMEImage(b"\x89PNG\xff", "png")
    headers = {"Content-ID": "<logo>", "Content-Disposition": "inline; filename=logo.png"}
    headers["Content-Type"] = part["Content-Type"]
    if is_encoded:
        headers["Content-Transfer-Encoding"] = "base64"
        (media / "1.png").write_text(str(part.get_payload()))
    else:
        (media / "1.png").write_bytes(b"\x89PNG\xff")
    number = post(html_message="<img src='cid:logo'>")
    old_tables.attach(number, "post_office_attachments/1.png", "logo.png", "image/png", headers)
    assert run("post_office") == {"queued": 1}
    [message] = run.outbox()
    [image] = [part for part in message.parsed.walk() if part.get_content_maintype() == "image"]
    assert image.get_content() == b"\x89PNG\xff"
    assert (image["Content-ID"], image.get_filename()) == ("<logo>", "logo.png")
    for name in ("Content-Transfer-Encoding", "Content-Type"):
        assert len(image.get_all(name)) == 1


def test_an_attachment_that_is_gone(run: Import, media: Path) -> None:
    old_tables.attach(post(), "post_office_attachments/gone", "a.txt")
    number = post()
    old_tables.insert("post_office_attachment_emails", attachment_id=77, email_id=number)
    post(subject="good")
    assert run("post_office") == {"queued": 1, "wrong": 2}
    assert "FileNotFoundError" in run.troubles and "attachment 77 is gone" in run.troubles


def test_relays_stand_for_backends(run: Import) -> None:
    post(backend_alias="ses"), post(backend_alias="default"), post(backend_alias="other"), post()
    assert run("post_office", "--relay=ses=bulk", "--relay=other=") == {"queued": 4}
    assert [message.relay for message in run.outbox()] == ["bulk", "", "", ""]
    for wrong in ("ses", "=bulk", "ses=two words"):
        run.dry("post_office", f"--relay={wrong}")
        assert wrong in run.error


def test_recipients_that_are_overridden(run: Import) -> None:
    """A copy of a queue, on a machine of developers."""
    post()
    with override_settings(POST_OFFICE={"OVERRIDE_RECIPIENTS": ["me@example.com"]}):
        assert run("post_office") == {"queued": 0, "wrong": 1}
    assert "OVERRIDE_RECIPIENTS" in run.troubles and run.outbox() == []


def test_the_oldest_post_office(run: Import) -> None:
    old_tables.drop_all()
    old_tables.create(old_tables.OLDEST_POST_OFFICE)
    post(with_all=False, priority=2)
    attachment = old_tables.insert("post_office_attachment", file="x", name="x")
    assert attachment == 1
    assert run("post_office") == {"queued": 1}
    assert [message.priority for message in run.outbox()] == [1]


def test_tables_of_another_kind(run: Import) -> None:
    old_tables.drop_all()
    old_tables.create("CREATE TABLE post_office_email (id integer, subject text)")
    run.dry("post_office")
    assert "post_office_email has no column from_email, to" in run.error


# ---- django-mailer ----


def letters() -> Iterator[EmailMessage]:
    yield EmailMessage("Plain", "Täxt\n", "a@example.com", ["b@example.net"])
    yield EmailMessage(gettext_lazy("Yes"), mark_safe("Text\n"), None, ["b@example.net"])
    full = EmailMultiAlternatives(
        "Full",
        "Text\n",
        "Me <me@example.com>",
        ["a@example.net"],
        cc=["c@example.net"],
        bcc=["d@example.net"],
        reply_to=["r@example.com"],
        headers={"X-Y": "1", "Message-ID": "<1@example.com>"},
    )
    full.attach_alternative("<p>Text</p>\n", "text/html")
    full.attach("ä.txt", "Zeile ä\n", "text/plain")
    full.attach("b.bin", bytes(range(256)), "application/x-foo")
    yield full
    html = EmailMessage("Html", "<b>x</b>\n", None, ["a@example.net"])
    html.content_subtype = "html"
    html.encoding = "iso-8859-1"
    yield html
    forwarded = EmailMessage("Forward", "Text\n", None, ["a@example.net"])
    inner = EmailMessage("Inner", "Text\n", "a@example.com", ["b@example.net"])
    forwarded.attach("m.eml", inner, "message/rfc822")
    yield forwarded


CONTENTS = [letter.subject for letter in letters()]


def told(message: QueuedMessage) -> Any:
    header = [(k, str(v)) for k, v in message.parsed.items() if k not in VARYING]
    parts = [
        (part.get_content_type(), part.get_filename(), part.get_payload(decode=True))
        for part in message.parsed.walk()
    ]
    return header, parts, message.envelope_from, message.envelope_to


VARYING = ("Date", "Message-ID", "Content-Type")


@pytest.mark.parametrize("number", range(len(CONTENTS)), ids=[str(each) for each in CONTENTS])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_what_django_mailer_keeps(run: Import, number: int, protocol: int) -> None:
    """As if it had been sent to the spool at once."""
    letter = list(letters())[number]
    with temporary_spool() as box:
        letter.send()
        [expected] = box.outbox()
    letter = old_tables.sent_by_its_backend(list(letters())[number])
    keep(old_tables.pickled(letter, protocol))
    assert run("mailer") == {"queued": 1}
    [message] = run.outbox()
    assert told(message) == told(expected)
    assert message.id.endswith(".mailer-1-1793534400250000")


def test_an_image_that_was_attached_as_a_part(run: Import) -> None:
    """Django 6 takes no such part any more, and still gets it."""
    state = vars(EmailMessage("Hi", "Text", None, ["a@example.net"]))
    part = MIMEImage(b"\x89PNG\xff", "png")
    part.add_header("Content-ID", "<logo>")
    shell = EmailMessage()
    shell.__dict__ = {**state, "attachments": [part]}
    keep(shell)
    assert run("mailer") == {"queued": 1}
    [message] = run.outbox()
    [image] = [part for part in message.parsed.walk() if part.get_content_maintype() == "image"]
    assert (image.get_content(), image["Content-ID"]) == (b"\x89PNG\xff", "<logo>")


@pytest.mark.parametrize("given, made", [(1, 1), ("1", 1), (2, 5), (3, 9), (4, 5), ("4", 5)])
def test_priorities_of_mailer(run: Import, given: Any, made: int) -> None:
    keep(next(letters()), given)
    assert run("mailer") == {"queued": 1}
    assert [message.priority for message in run.outbox()] == [made]


def test_what_mailer_has_given_up(run: Import) -> None:
    for count, priority in [(2, 4), (3, 4), (3, 2)]:
        keep(next(letters()), priority, retry_count=count)
    with override_settings(MAILER_EMAIL_MAX_RETRIES=3):
        assert counts(run.dry("mailer")) == {"would be queued": 2, "given up": 1}
    assert counts(run.dry("mailer")) == {"would be queued": 3}


def test_the_dont_send_list(run: Import) -> None:
    old_tables.insert("mailer_dontsendentry", to_address="No@example.net", when_added=PAST)
    keep(EmailMessage("1", "", None, ["no@example.net"], bcc=["N. O. <NO@example.net>"]))
    keep(EmailMessage("2", "", None, ["a@example.net", "no@example.net"], cc=["b@example.net"]))
    said = run.dry("mailer", "--send", f"--record={run.record}")
    assert counts(said) == {"queued": 1, "don't send": 1}
    assert "on the don't-send list: no@example.net" in said
    [message] = run.outbox()
    assert message.envelope_to == ["a@example.net", "b@example.net"]
    assert message.to == ["a@example.net"]


def test_the_oldest_mailer(run: Import) -> None:
    old_tables.drop_all()
    old_tables.create(old_tables.OLDEST_MAILER)
    keep(next(letters()), "3", with_all=False)
    assert run("mailer") == {"queued": 1}
    assert [message.priority for message in run.outbox()] == [9]


class Harmful:
    """A pickle that calls a function when it is read."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = (function, args)

    def __reduce__(self) -> Any:
        return self._call


def dotted(module: str, name: str, *args: bytes) -> bytes:
    """By protocol 4 a name may go on inside of a class."""
    words = [module.encode(), name.encode(), *args]
    texts = [b"\x8c" + bytes([len(word)]) + word for word in words]
    return b"\x80\x04" + b"".join(texts[:2]) + b"\x93(" + b"".join(texts[2:]) + b"tR."


@pytest.mark.parametrize(
    "data, name",
    [
        (lambda file: pickle.dumps(Harmful(os.mkdir, file)), "posix.mkdir"),
        (lambda file: pickle.dumps(Harmful(eval, f"__import__('os').mkdir({file!r})")), "eval"),
        (lambda file: pickle.dumps(Harmful(getattr, Path(file), "mkdir")), "getattr"),
        (lambda file: dotted("django.core.mail.message", "EmailMessage.send"), "EmailMessage.send"),
        (lambda file: dotted("email.mime.image", "MIMEImage.__init__"), "MIMEImage.__init__"),
        (lambda file: dotted("email.charset", "codecs.open", file.encode(), b"w"), "codecs.open"),
        (lambda file: b"cposix\nmkdir\n(S'" + file.encode() + b"'\ntR.", "posix.mkdir"),
        (lambda file: b"P1\n.", "outside"),
    ],
)
def test_a_pickle_that_does_more(
    run: Import, tmp_path: Path, data: Callable[[str], bytes], name: str
) -> None:
    file = tmp_path / "made"
    bad = keep(old_tables.base64.encodebytes(data(str(file))).decode())
    keep(next(letters()))
    assert run("mailer") == {"queued": 1, "wrong": 1}
    assert re.search(rf"^#{bad}: .*{re.escape(name)}", run.troubles)
    assert not file.exists()


def test_all_that_can_be_called_by_a_pickle_is_harmless() -> None:
    """What is added here must not do anything but make an object or a text."""
    real = [thing for thing in pickled.KNOWN.values() if thing.__module__ != pickled.__name__]
    modules = {thing.__module__.split(".")[0] for thing in real}
    assert modules == {"builtins", "collections", "django", "email"}
    assert [t.__name__ for t in real if not isinstance(t, type)] == ["gettext"]
    assert {t.__name__ for t in real if t.__module__ in ("builtins", "collections")} == {
        "str",
        "OrderedDict",
    }


class TicketMessage(EmailMessage):
    """A site's own."""

    def message(self, *args: Any, **options: Any) -> Any:
        made = super().message(*args, **options)
        made["X-Ticket"] = "7"
        return made


def test_a_class_of_the_site(run: Import) -> None:
    keep(TicketMessage("Own", "", None, ["a@example.net"]))
    name = f"{TicketMessage.__module__}.TicketMessage"
    assert run("mailer") == {"queued": 0, "wrong": 1}
    assert f"--allow {name}" in run.troubles
    assert run("mailer", f"--allow={name}") == {"queued": 1}
    [message] = run.outbox()
    assert message.extra_headers["X-Ticket"] == "7"


@pytest.mark.parametrize(
    "data, words",
    [
        ("", "can't be unpickled"),
        ("no base64!", "no base64"),
        ("AAAA", "can't be unpickled"),
        (old_tables.pickled("text"), "a pickled str"),
        (old_tables.pickled(EmailMessage("No one", "", None, [])), "for nobody"),
        (old_tables.pickled(MIMEText("x")), "a pickled MIMEText"),
    ],
)
def test_what_is_no_message(run: Import, data: str, words: str) -> None:
    bad = keep(data)
    assert run("mailer") == {"queued": 0, "wrong": 1}
    assert re.search(rf"^#{bad}: .*{words}", run.troubles)


# ---- once ----


@pytest.mark.parametrize("has_record", [True, False], ids=["record", "spool alone"])
@pytest.mark.parametrize(
    "folder, fields",
    [
        ("new", ""),
        ("new", ",A=1,C=web1-42,T=1795333016"),
        ("new", ",A=2,E=4.2.2,P=1,T=1795333016"),
        ("hold", ""),
        ("failed", ",A=3,E=5.1.1"),
        ("cur", ",A=1:2,S"),
        ("cur", ",A=1:2,FS"),
    ],
)
def test_what_is_in_the_spool_is_not_queued_again(
    run: Import, folder: str, fields: str, has_record: bool
) -> None:
    post(), keep(next(letters()))
    run("post_office"), run("mailer")
    for message in run.outbox():
        target = Path(run.box.path) / folder
        target.mkdir(exist_ok=True)
        os.rename(message.path, target / (message.id + fields))
    if not has_record:
        run.record.write_bytes(b"")
        run.dry("post_office", f"--record={run.record}")
        assert run.record.read_bytes() == b""
    assert run("post_office") == {"queued": 0, "queued before": 1}
    assert run("mailer") == {"queued": 0, "queued before": 1}
    for path in Path(run.box.path).glob("*/*"):
        path.unlink()
    assert run("post_office") == {"queued": 0, "queued before": 1}, "not noted what was found"
    assert run("mailer") == {"queued": 0, "queued before": 1}
    assert run.outbox() == []


def test_neither_number_nor_time_alone_is_a_message(run: Import) -> None:
    number = post()
    run("post_office")
    old_tables.change("post_office_email", number, created="2026-11-02 12:00:00")
    assert run("post_office") == {"queued": 1}
    post(created="2026-11-02 12:00:00")
    assert run("post_office") == {"queued": 1, "queued before": 1}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_the_key_does_not_depend_on_the_time_zone(run: Import, zone: str) -> None:
    post()
    run("post_office")
    with override_settings(TIME_ZONE=zone):
        assert run("post_office") == {"queued": 0, "queued before": 1}


def in_another_process(work: Callable[[], object]) -> None:
    """That ends without any clean-up."""
    child = os.fork()
    if child == 0:
        sys.stdout = sys.stderr = io.StringIO()
        try:
            work()
        finally:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def end(*_: Any) -> None:
    os._exit(7)


def test_ended_before_the_message_is_there(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it was sent nobody can know any more: the command says so, and where to look."""
    post(), post()
    with monkeypatch.context() as patched:
        patched.setattr(filebased.EmailBackend, "drop", end)
        in_another_process(lambda: run("post_office"))
    assert run("post_office") == {"queued": 1, "in doubt": 1}
    [line, advice] = run.troubles.splitlines()
    id = re.search(r"journalctl -t maildrain -g (\S+\.post_office-1-\S+)", line)
    assert id and str(run.record) in advice
    assert run("post_office") == {"queued before": 1, "queued": 0, "in doubt": 1}
    kept = [text for text in run.record.read_text().splitlines() if id[1] not in text]
    run.record.write_text("\n".join(kept) + "\n")
    assert run("post_office") == {"queued": 1, "queued before": 1}


def test_the_record_is_on_the_disk_before_and_after(
    run: Import, calls: List[Tuple[str, str]]
) -> None:
    post()
    assert run("post_office") == {"queued": 1}
    seen = [call for call in calls if call[0] in ("fsync", "rename")]
    folder = run.record.parent.name
    file = ("fsync", "file")
    message = [file, ("rename", "tmp>new"), ("fsync", "new")]
    assert seen == [("fsync", folder), file, *message, file]


def test_ended_when_the_message_is_there(run: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    post()
    write = Record.write

    def end_at_last(self: Record, sign: str, key: str, id: str) -> None:
        if sign == "=":
            end()
        write(self, sign, key, id)

    with monkeypatch.context() as patched:
        patched.setattr(Record, "write", end_at_last)
        in_another_process(lambda: run("post_office"))
    [message] = run.outbox()
    assert run("post_office") == {"queued": 0, "queued before": 1}
    os.unlink(message.path)
    assert run("post_office") == {"queued": 0, "queued before": 1}


def test_a_message_that_was_sent_although_it_failed(
    run: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may take it up before the sync of new/ fails."""
    drop = filebased.EmailBackend.drop

    def fail(self: filebased.EmailBackend, draft: Any, unique: str) -> None:
        drop(self, draft, unique)
        raise OSError(5, "Input/output error")

    post()
    with monkeypatch.context() as patched:
        patched.setattr(filebased.EmailBackend, "drop", fail)
        run("post_office")
    assert "Input/output error" in run.error
    [message] = run.outbox()
    os.unlink(message.path)
    assert run("post_office") == {"queued": 0, "in doubt": 1}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_message_that_could_not_be_written_comes_next_time(
    run: Import, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise error

    post(), post()
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", fail)
        try:
            run("post_office")
            assert "No space left on device" in run.error and "call this again" in run.error
        except KeyboardInterrupt:
            pass
    assert run.outbox() == []
    assert run("post_office") == {"queued": 2}


def test_one_import_at_a_time(run: Import) -> None:
    post()
    other = Record(str(run.record), is_written=True)
    run("post_office")
    assert "in use by another import" in run.error and run.outbox() == []
    assert counts(run.dry("post_office", f"--record={run.record}")) == {"would be queued": 1}
    other.close()
    assert run("post_office") == {"queued": 1}


@pytest.mark.parametrize("content", [b"import os\n", b"\xff\xfe"])
def test_a_record_that_is_none_stays_as_it_is(run: Import, content: bytes) -> None:
    post()
    run.record.write_bytes(content)
    run("post_office")
    assert str(run.record) in run.error and run.outbox() == []
    assert run.record.read_bytes() == content


def test_a_record_in_a_folder_that_is_not_there(run: Import) -> None:
    post()
    run.record = run.record / "x"
    run("post_office")
    assert str(run.record) in run.error and run.outbox() == []


def test_a_line_that_was_cut_off_does_not_count() -> None:
    whole = "? mailer-1-2 9.M1P1Q1.mailer-1-2\n= mailer-1-2 9.M1P1Q1.mailer-1-2\n"
    for length in range(len(whole)):
        notes = parsed(whole[:length])
        sign = notes["mailer-1-2"].sign if notes else None
        assert sign == (None if length < 32 else "?" if length < 65 else "=")


def test_a_line_after_one_that_was_cut_off_counts(run: Import) -> None:
    post()
    run.record.write_text("? post_office-9-9 1.M1")
    run("post_office")
    lines = run.record.read_text().splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        [sign, "post_office-1-1793534400250000"] for sign in "?="
    ]


def test_the_program_sends_it_once(
    run: Import, spool: Spool, aio_server: Callable[..., AioServer]
) -> None:
    """In the order that was asked for, and not again when it is gone from cur/ too."""
    for number, priority in enumerate([0, 1, 2]):
        post(subject=str(number), priority=priority)
    keep(next(letters()), 1)
    server = aio_server()
    relay = {"url": server.url, "tls": "none", "connections": 1}
    spool.write_config({"keep_sent": "0"}, relays={"main": relay})
    with site(spool.path):
        for _ in range(2):
            run("post_office")
            run("mailer")
            spool.run()
        assert spool.counts() == {"tmp": 0, "new": 0, "cur": 0, "failed": 0}
    subjects = [email.message_from_bytes(each.data)["Subject"] for each in server.messages]
    assert sorted(subjects) == ["0", "1", "2", "Plain"]
    assert subjects.index("2") < subjects.index("1") < subjects.index("0")
