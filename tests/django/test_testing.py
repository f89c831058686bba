"""maildrain.testing, as the tests of a site use it."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any, List

import maildrain
import pytest
from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.db import transaction
from django.test import SimpleTestCase, TestCase
from django.test.utils import override_settings
from maildrain import bulk, testing
from maildrain.testing import outbox, temporary_spool
from test_api import HAS_MAILERS, letter, needs_mailers

paths: List[str] = []


@temporary_spool()
class TestDecoratedClass(SimpleTestCase):
    spool: testing.TemporarySpool

    def setUp(self) -> None:
        mail.send_mail("from setUp", "Text", None, ["a@example.net"])

    def look(self) -> None:
        assert [message.subject for message in outbox()] == ["from setUp"]
        assert self.spool.path not in paths
        assert all(not os.path.exists(path) for path in paths)
        paths.append(self.spool.path)

    def test_one(self) -> None:
        self.look()

    def test_another_has_a_spool_of_its_own(self) -> None:
        self.look()


@temporary_spool(on_commit=True, priority="low")
class TestWithOptions(TestCase):
    def test_they_are_the_backends(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            letter().send()
            assert outbox() == []
        [message] = outbox()
        assert message.priority == 9

    def test_together_with_those_of_the_site(self) -> None:
        with override_settings(MAILDRAIN={"RELAY": "bulk", "PRIORITY": 1, "ON_COMMIT": False}):
            with transaction.atomic():
                maildrain.send(letter(), on_commit=False, priority=3)
        [message] = outbox()
        assert (message.relay, message.priority) == ("bulk", 3)


@temporary_spool()
def test_decorated_function() -> None:
    given = maildrain.send(letter())
    assert [message.id for message in outbox()] == [given]


@pytest.fixture
def mail_spool() -> Any:
    with temporary_spool() as spool:
        yield spool


def test_fixture(mail_spool: testing.TemporarySpool) -> None:
    for number in range(9):
        letter(str(number)).send()
    assert [int(message.subject) for message in mail_spool.outbox()] == list(range(9))


def test_nothing_is_left() -> None:
    before = settings._wrapped
    with temporary_spool() as spool:
        path = spool.path
        assert os.listdir(path)
    assert not os.path.exists(path)
    assert settings._wrapped is before
    with pytest.raises(RuntimeError, match="temporary_spool"):
        outbox()


def test_one_within_another(tmp_path: Any) -> None:
    with temporary_spool() as outer:
        letter("outer").send()
        with temporary_spool():
            letter("inner").send()
            assert [message.subject for message in outbox()] == ["inner"]
            assert [message.subject for message in outer.outbox()] == ["outer"]
            assert [message.subject for message in outbox(outer.path)] == ["outer"]
        assert [message.subject for message in outbox()] == ["outer"]


def test_an_error_removes_it() -> None:
    class Broken(Exception):
        pass

    with pytest.raises(Broken), temporary_spool() as spool:
        path = spool.path
        raise Broken
    assert not os.path.exists(path)


@needs_mailers
def test_all_aliases_go_there() -> None:
    locmem = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
    with override_settings(MAILERS={"default": locmem, "mass": locmem}):
        with temporary_spool("maildrain.bulk.EmailBackend"):
            assert type(mail.mailers["mass"]) is bulk.EmailBackend
            letter("1").send(using="mass")
            letter("2").send()
            assert len(outbox()) == 2


@pytest.mark.skipif(HAS_MAILERS, reason="with MAILERS a backend has an alias")
def test_another_backend_of_ours() -> None:
    with temporary_spool("maildrain.bulk.EmailBackend"):
        assert type(mail.get_connection()) is bulk.EmailBackend
        assert letter().send() == 1
        assert len(outbox()) == 1


@temporary_spool()
def test_a_message_comes_back_as_it_was_made() -> None:
    sent = EmailMultiAlternatives(
        "Grüße",
        "Text über alles\n",
        "Site <site@example.com>",
        ["Jörg <j@example.net>", "b@example.net"],
        cc=["c@example.net"],
        bcc=["d@example.net"],
        reply_to=["help@example.com"],
        headers={
            "In-Reply-To": "<1@example.com>",
            "Message-ID": "<2@example.com>",
            "X-Maildrain-Priority": "high",
            "X-Maildrain-Not-Before": datetime(2040, 1, 1, tzinfo=timezone.utc),
            "X-Maildrain-Expires": "2040-01-02T00:00:00Z",
            "X-Maildrain-Relay": "bulk",
            "X-Maildrain-Envelope-From": "bounces@example.com",
        },
    )
    sent.attach_alternative("<p>Text über alles</p>\n", "text/html")
    sent.attach("übersicht.pdf", b"\x00\xff", "application/pdf")
    sent.attach("notiz.txt", "Grüße\n", "text/plain")
    sent.send()
    [read] = outbox()
    assert isinstance(read, EmailMultiAlternatives)
    assert (read.subject, read.body, read.content_subtype) == (
        "Grüße",
        "Text über alles\n",
        "plain",
    )
    assert [tuple(one) for one in read.alternatives] == [
        ("<p>Text über alles</p>\n", "text/html")
    ]
    assert [tuple(one) for one in read.attachments] == [
        ("übersicht.pdf", b"\x00\xff", "application/pdf"),
        ("notiz.txt", "Grüße\n", "text/plain"),
    ]
    assert (read.from_email, read.to) == (sent.from_email, sent.to)
    assert (read.cc, read.bcc, read.reply_to) == (sent.cc, sent.bcc, sent.reply_to)
    assert sorted(read.recipients()) == sorted(sent.recipients())
    assert read.extra_headers["In-Reply-To"] == "<1@example.com>"
    assert set(read.extra_headers) == {"Date", "Message-ID", "In-Reply-To"}
    assert (read.priority, read.relay) == (1, "bulk")
    assert read.not_before == datetime(2040, 1, 1, tzinfo=timezone.utc)
    assert read.expires == datetime(2040, 1, 2, tzinfo=timezone.utc)
    assert read.envelope_from == "bounces@example.com"
    assert read.envelope_to == [
        "j@example.net",
        "b@example.net",
        "c@example.net",
        "d@example.net",
    ]
    assert os.path.basename(read.path).startswith(read.id)
    assert read.parsed["Subject"] == "Grüße"
    assert read.message()["Subject"] is not None


@temporary_spool()
def test_addresses_beyond_ascii() -> None:
    letter("Grüße", to="Jörg <jörg@example.net>").send()
    [read] = outbox()
    assert (read.subject, read.to, read.bcc) == ("Grüße", ["Jörg <jörg@example.net>"], [])
    assert read.envelope_to == ["jörg@example.net"]


@temporary_spool()
def test_other_forms() -> None:
    html = EmailMessage("html", "<p>Hi</p>\n", None, ["a@example.net"])
    html.content_subtype = "html"
    html.send()
    only = EmailMessage("only an attachment", "", None, bcc=["a@example.net"])
    only.attach("a.csv", "1,2\n", "text/csv")
    only.send()
    forward = EmailMessage("forward", "See below\n", "<>", ["a@example.net"])
    forward.attach(None, letter("original"), "message/rfc822")
    forward.attach("dot.gif", b"GIF89a", "image/gif")
    forward.send()
    read = outbox()
    assert (read[0].content_subtype, read[0].body) == ("html", "<p>Hi</p>\n")
    assert (read[0].alternatives, read[0].attachments) == ([], [])
    assert (read[1].body.strip(), read[1].to, read[1].bcc) == ("", [], ["a@example.net"])
    assert [tuple(one) for one in read[1].attachments] == [("a.csv", "1,2\n", "text/csv")]
    assert (read[2].body, read[2].envelope_from) == ("See below\n", "")
    kinds = [part.get_content_type() for part in read[2].parsed.iter_parts()]
    assert kinds == ["text/plain", "message/rfc822", "image/gif"]
    assert [tuple(one)[2] for one in read[2].attachments] == ["message/rfc822", "image/gif"]
    assert (read[2].not_before, read[2].expires, read[2].priority) == (None, None, 5)


@temporary_spool()
def test_what_is_wrong_is_raised_as_in_production() -> None:
    with pytest.raises(ValueError, match="'urgent'"):
        maildrain.send(letter(), priority="urgent")
    assert outbox() == []
