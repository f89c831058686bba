"""maildrain.send(), the signal, and mail that waits for the commit of a transaction."""

from __future__ import annotations

import errno
import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple
from unittest import mock

import dropped
import maildrain
import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.locmem import EmailBackend as LocmemBackend
from django.db import connections, transaction
from django.test import TestCase, TransactionTestCase
from django.test.utils import override_settings
from maildrain import bulk, filebased
from maildrain.signals import message_queued
from test_api import HAS_MAILERS, by_settings, letter, mailers, needs_mailers, subjects

MakeBackend = Callable[..., filebased.EmailBackend]
Told = List[Tuple[Any, EmailMessage, str]]


@contextmanager
def the_site_uses(spool: Path, **options: Any) -> Iterator[None]:
    """The spool is where the site's mail goes by default, with the given options."""
    keys = {name.upper(): value for name, value in options.items()}
    where = mailers(file_path=str(spool)) if HAS_MAILERS else by_settings(str(spool))
    with where, override_settings(MAILDRAIN=keys):
        yield


@pytest.fixture
def told() -> Iterator[Told]:
    """What message_queued tells."""
    calls: Told = []

    def receiver(sender: Any, message: EmailMessage, id: str, **_: Any) -> None:
        calls.append((sender, message, id))

    message_queued.connect(receiver)
    yield calls
    message_queued.disconnect(receiver)


# ---- send() ----


def test_it_returns_the_id(spool_path: Path) -> None:
    with the_site_uses(spool_path, priority=7):
        given = maildrain.send(letter(), priority="high", expires="2099-01-01T00:00Z", relay="bulk")
    found = dropped.read_one(spool_path)
    assert found.unique == given
    assert (found.fields, found.relay) == (",P=1,X=4070908800", "bulk")


def test_it_is_stronger_than_a_header(spool_path: Path) -> None:
    message = letter()
    message.extra_headers = {"X-Maildrain-Priority": 8, "X-Maildrain-Relay": "other"}
    with the_site_uses(spool_path):
        maildrain.send(message, priority=0, envelope_from="<>")
    found = dropped.read_one(spool_path)
    assert (found.fields, found.relay, found.sender) == (",P=0", "other", "")


@pytest.mark.parametrize("kind", [filebased, bulk])
def test_by_a_connection(spool_path: Path, kind: Any) -> None:
    alias = {"alias": "default"} if HAS_MAILERS else {}
    backend = kind.EmailBackend(file_path=spool_path, **alias)
    assert maildrain.send(letter(), connection=backend) == dropped.read_one(spool_path).unique


@pytest.mark.skipif(HAS_MAILERS, reason="messages have no connection of their own any more")
def test_by_the_messages_own_connection(spool_path: Path, backend: filebased.EmailBackend) -> None:
    message = EmailMessage("Hi", "Text", None, ["a@example.net"], connection=backend)
    assert maildrain.send(message) == dropped.read_one(spool_path).unique


@needs_mailers
def test_by_an_alias(spool_path: Path) -> None:
    entry = {"BACKEND": "maildrain.bulk.EmailBackend", "OPTIONS": {"file_path": str(spool_path)}}
    with override_settings(MAILERS={"mass": entry}):
        assert maildrain.send(letter(), using="mass") == dropped.read_one(spool_path).unique
        with pytest.raises(mail.MailerDoesNotExist, match="other"):
            maildrain.send(letter(), using="other")


@pytest.mark.skipif(HAS_MAILERS, reason="this Django has aliases")
def test_without_mailers_there_are_no_aliases() -> None:
    with pytest.raises(TypeError, match="'mass'.*MAILERS"):
        maildrain.send(letter(), using="mass")


@needs_mailers
def test_alias_and_connection_exclude_each_other(backend: filebased.EmailBackend) -> None:
    with pytest.raises(TypeError, match="'mass'"):
        maildrain.send(letter(), using="mass", connection=backend)


def test_a_message_for_nobody_has_no_id(spool_path: Path, told: Told) -> None:
    with the_site_uses(spool_path):
        assert maildrain.send(letter(to="")) == ""
    assert dropped.read_all(spool_path) == []
    assert told == []


@pytest.mark.usefixtures("empty_after")
def test_fail_silently(make_backend: MakeBackend) -> None:
    with pytest.raises(ValueError, match="'urgent'"):
        maildrain.send(letter(), priority="urgent", connection=make_backend())
    silent = make_backend(fail_silently=True)
    assert maildrain.send(letter(), priority="urgent", connection=silent) == ""


def test_other_backends_get_the_message_as_it_is() -> None:
    """In tests, say, where Django puts its locmem in place of the site's backend."""
    backend = LocmemBackend()
    with mock.patch.object(mail, "outbox", [], create=True):
        message = letter()
        assert maildrain.send(message, priority="high", connection=backend) == ""
        [sent] = mail.outbox
        assert (sent.subject, sent.extra_headers) == ("Hi", {})
        for wrong in ({"priority": 77}, {"on_commit": 77}, {"envelope_from": "7 77"}):
            with pytest.raises(ValueError, match="77"):
                maildrain.send(letter(), connection=backend, **wrong)  # type: ignore[arg-type]
        assert len(mail.outbox) == 1


# ---- the signal ----


@pytest.mark.parametrize("kind", [filebased, bulk])
def test_who_listens_is_told(spool_path: Path, told: Told, kind: Any) -> None:
    alias = {"alias": "default"} if HAS_MAILERS else {}
    backend = kind.EmailBackend(file_path=spool_path, fail_silently=True, **alias)
    mails = [letter("0"), letter("1", to="no address"), letter("2"), letter("3", to="")]
    mails[0].extra_headers = {"X-Maildrain-Priority": 1}
    assert backend.send_messages(mails) == 2
    found = dropped.read_all(spool_path)
    assert [(sender, id) for sender, _, id in told] == [
        (kind.EmailBackend, each.unique) for each in found
    ]
    assert [message for _, message, _ in told] == [mails[0], mails[2]]


@pytest.mark.parametrize("kind", [filebased, bulk])
def test_it_is_told_once_the_message_is_durable(
    spool_path: Path, calls: List[Tuple[str, str]], kind: Any
) -> None:
    alias = {"alias": "default"} if HAS_MAILERS else {}
    backend = kind.EmailBackend(file_path=spool_path, **alias)
    before: List[List[Tuple[str, str]]] = []

    def receiver(**_: Any) -> None:
        before.append(list(calls))

    message_queued.connect(receiver)
    try:
        backend.send_messages([letter()])
    finally:
        message_queued.disconnect(receiver)
    [seen] = before
    assert seen[-3:] == [("rename", "tmp>new"), ("fsync", "new"), ("close", "new")]


@pytest.mark.parametrize("kind", [filebased, bulk])
@pytest.mark.parametrize("when", [1, 2])
def test_of_what_could_not_be_written_nobody_is_told(
    spool_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, kind: Any, when: int
) -> None:
    alias = {"alias": "default"} if HAS_MAILERS else {}
    backend = kind.EmailBackend(file_path=spool_path, fail_silently=True, **alias)
    real, count = os.fsync, 0

    def fsync(fd: int) -> None:
        nonlocal count
        count += 1
        if count == when:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert backend.send_messages([letter()]) == 0
    assert told == []
    assert dropped.read_all(spool_path) == []


@pytest.mark.parametrize("kind", [filebased, bulk])
def test_a_receiver_that_raises_changes_nothing(
    spool_path: Path, told: Told, caplog: pytest.LogCaptureFixture, kind: Any
) -> None:
    alias = {"alias": "default"} if HAS_MAILERS else {}
    backend = kind.EmailBackend(file_path=spool_path, **alias)

    def receiver(**_: Any) -> None:
        raise LookupError("the receiver's own")

    logger = logging.getLogger("django.dispatch")
    logger.addHandler(caplog.handler)
    message_queued.connect(receiver)
    try:
        assert backend.send_messages([letter("1"), letter("2")]) == 2
    finally:
        message_queued.disconnect(receiver)
        logger.removeHandler(caplog.handler)
    assert subjects(spool_path) == ["1", "2"]
    assert len(told) == 2
    assert "the receiver's own" in caplog.text


# ---- on_commit ----


class Undo(Exception):
    """Ends an atomic block."""


@pytest.mark.usefixtures("_site")
class TestOnCommit(TransactionTestCase):
    """In transactions that are real."""

    databases = {"default", "other"}
    spool: Path
    told: Told

    def queued(self) -> List[str]:
        return subjects(self.spool)

    def test_off_by_default(self) -> None:
        with pytest.raises(Undo), transaction.atomic():
            maildrain.send(letter("sent at once"))
            raise Undo
        assert self.queued() == ["sent at once"]

    def test_after_the_commit_and_not_before(self) -> None:
        with transaction.atomic():
            given = maildrain.send(letter(), on_commit=True)
            assert self.queued() == []
            assert self.told == []
        assert dropped.read_one(self.spool).unique == given
        assert [id for _, _, id in self.told] == [given]

    def test_at_once_where_there_is_no_transaction(self) -> None:
        assert maildrain.send(letter(), on_commit=True) == dropped.read_one(self.spool).unique

    def test_never_after_a_rollback(self) -> None:
        with pytest.raises(Undo), transaction.atomic():
            maildrain.send(letter(), on_commit=True)
            raise Undo
        with transaction.atomic():
            maildrain.send(letter("next"), on_commit=True)
        assert self.queued() == ["next"]
        assert len(self.told) == 1

    def test_nested_blocks(self) -> None:
        with transaction.atomic():
            maildrain.send(letter("outer"), on_commit=True)
            with transaction.atomic():
                maildrain.send(letter("inner"), on_commit=True)
            with pytest.raises(Undo), transaction.atomic():
                with transaction.atomic():
                    maildrain.send(letter("innermost, undone from above"), on_commit=True)
                maildrain.send(letter("undone"), on_commit=True)
                raise Undo
            maildrain.send(letter("last"), on_commit=True)
            assert self.queued() == []
        assert self.queued() == ["outer", "inner", "last"]

    def test_of_another_database(self) -> None:
        with transaction.atomic(using="other"):
            with transaction.atomic():
                maildrain.send(letter("other"), on_commit="other")
                maildrain.send(letter("default"), on_commit=True)
            assert self.queued() == ["default"]
        assert self.queued() == ["other", "default"]  # by the time of sending

    def test_the_message_is_what_it_was_when_it_was_sent(self) -> None:
        message = letter("first", to="a@example.net")
        with transaction.atomic():
            maildrain.send(message, on_commit=True)
            message.subject, message.to = "second", ["b@example.net"]
            maildrain.send(message, on_commit=True)
        found = dropped.read_all(self.spool)
        assert [(each.message["Subject"], each.recipients) for each in found] == [
            ("first", ["a@example.net"]),
            ("second", ["b@example.net"]),
        ]

    def test_what_is_wrong_is_raised_at_once(self) -> None:
        with transaction.atomic():
            for wrong in ({"to": "no address"}, {"subject": "a\nb"}):
                with pytest.raises(ValueError):
                    maildrain.send(letter(**wrong), on_commit=True)
            with pytest.raises(ValueError, match="'soon'"):
                maildrain.send(letter(), expires="soon", on_commit=True)
        assert self.queued() == []

    def test_as_an_option_of_the_site(self) -> None:
        with override_settings(MAILDRAIN={"ON_COMMIT": True}):
            with pytest.raises(Undo), transaction.atomic():
                assert letter("undone").send() == 1
                maildrain.send(letter("explicitly at once"), on_commit=False)
                raise Undo
            with transaction.atomic():
                mail.send_mail("Hi", "Text", None, ["a@example.net"])
                assert self.queued() == ["explicitly at once"]
        assert self.queued() == ["explicitly at once", "Hi"]

    def test_as_an_option_of_each_backend(self) -> None:
        for kind in (filebased, bulk):
            alias = {"alias": "default"} if HAS_MAILERS else {}
            backend = kind.EmailBackend(file_path=self.spool, on_commit=True, **alias)
            before = self.queued()
            with pytest.raises(Undo), transaction.atomic():
                assert backend.send_messages([letter("undone")]) == 1
                raise Undo
            with transaction.atomic():
                mails = [letter("1"), letter(to=""), letter("2")]
                assert backend.send_messages(iter(mails)) == 2
                assert self.queued() == before
            assert self.queued() == [*before, "1", "2"]

    def test_an_error_at_the_commit_is_raised(self) -> None:
        broken = mock.patch("os.rename", side_effect=OSError(errno.ENOSPC, "full"))
        with broken, pytest.raises(OSError, match="full"), transaction.atomic():
            maildrain.send(letter(), on_commit=True)
        assert self.queued() == []

    def test_an_error_at_the_commit_is_silent_where_that_is_wanted(self) -> None:
        alias = {"alias": "default"} if HAS_MAILERS else {}
        for kind in (filebased, bulk):
            backend = kind.EmailBackend(
                file_path=self.spool, on_commit=True, fail_silently=True, **alias
            )
            ran: List[str] = []
            with mock.patch("os.rename", side_effect=OSError(errno.ENOSPC, "full")):
                with transaction.atomic():
                    assert backend.send_messages([letter("no address", to="x y"), letter()]) == 1
                    transaction.on_commit(lambda: ran.append("the hook behind"))
            assert ran == ["the hook behind"]
            assert self.queued() == []

    def test_outside_of_django_transactions_there_is_no_commit_to_wait_for(self) -> None:
        connection = connections["default"]
        connection.ensure_connection()
        transaction.set_autocommit(False)
        try:
            with pytest.raises(transaction.TransactionManagementError):
                maildrain.send(letter(), on_commit=True)
        finally:
            transaction.set_autocommit(True)
        assert self.queued() == []


@pytest.mark.usefixtures("_site")
class TestInTestCase(TestCase):
    """TestCase never commits; captureOnCommitCallbacks() stands in for the commit."""

    spool: Path

    def test_nothing_is_sent_until_the_callbacks_run(self) -> None:
        with self.captureOnCommitCallbacks() as callbacks:
            given = maildrain.send(letter(), on_commit=True)
        assert subjects(self.spool) == []
        [callback] = callbacks
        callback()
        assert dropped.read_one(self.spool).unique == given

    def test_execute(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            maildrain.send(letter("1"), on_commit=True)
            with pytest.raises(Undo), transaction.atomic():
                maildrain.send(letter("undone"), on_commit=True)
                raise Undo
            assert subjects(self.spool) == []
        assert subjects(self.spool) == ["1"]


@pytest.fixture
def _site(request: pytest.FixtureRequest, spool_path: Path, told: Told) -> Iterator[None]:
    request.instance.spool, request.instance.told = spool_path, told
    with the_site_uses(spool_path):
        yield
