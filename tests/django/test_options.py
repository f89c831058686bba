"""Priority, times, relay and envelope sender of one message, however they are given."""

from __future__ import annotations

import enum
import time
from datetime import date, datetime, timedelta, timezone
from email import message_from_bytes
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import dropped
import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage, EmailMultiAlternatives
from django.test.utils import override_settings
from django.utils.timezone import override as override_timezone
from lab.aiosmtp import AioServer
from lab.spool import Spool
from maildrain import bulk, filebased
from test_api import HAS_MAILERS, letter, needs_mailers

MakeBackend = Callable[..., filebased.EmailBackend]

NOW = 1_763_790_000.25  # 2025-11-22 05:40:00.25 UTC
UTC = timezone.utc
PARIS = timezone(timedelta(hours=1))


@pytest.fixture(params=["filebased", "bulk"])
def make_backend(request: pytest.FixtureRequest, spool_path: Path) -> MakeBackend:
    """What a test says of one of the backends holds for the other."""
    module = {"filebased": filebased, "bulk": bulk}[request.param]

    def make(**options: Any) -> filebased.EmailBackend:
        if HAS_MAILERS:
            options.setdefault("alias", "default")
        options.setdefault("file_path", spool_path)
        return module.EmailBackend(**options)

    return make


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def with_headers(**options: Any) -> EmailMessage:
    """with_headers(not_before=5) has the header X-Maildrain-Not-Before."""
    headers = {
        "X-Maildrain-" + name.replace("_", "-").title(): value for name, value in options.items()
    }
    return EmailMessage("Hi", "Text\n", None, ["a@example.net"], headers=headers)


class Level(enum.IntEnum):
    URGENT = 2


FIELDS: Dict[str, Dict[str, Any]] = {
    "": {},
    ",P=1": {"priority": "high"},
    ",P=0": {"priority": 0},
    ",P=9,": {"priority": "low", "expires": "never", "not_before": "now"},
    ",P=2": {"priority": Level.URGENT},
    ",P=3": {"priority": "3"},
    ",P=4": {"priority": " 4"},
    ",T=1763790060": {"not_before": 59},
    ",T=1763790061": {"not_before": 60.5},
    ",T=1763790601": {"not_before": "600"},
    ",T=1763793601": {"not_before": timedelta(hours=1)},
    ",T=1763856000": {"not_before": datetime(2025, 11, 23, tzinfo=UTC)},
    ",T=1763852400": {"not_before": datetime(2025, 11, 23, tzinfo=PARIS)},
    ",T=1763856001": {"not_before": "2025-11-23T00:00:01Z"},
    ",T=1763852401": {"not_before": "2025-11-23 00:00:01+01:00"},
    ",T=1763852402": {"not_before": "2025-11-23 00:00:01.5+0100"},
    ",T=1763852403": {"not_before": "2025-11-23T00:00:03+01"},
    ",T=1763852400,": {"not_before": "2025-11-23T00:00+01:00"},
    ",X=1763790030": {"expires": 30},
    ",X=1763790030,": {"expires": 30.7},
    ",X=1763789999": {"expires": timedelta(seconds=-1)},
    ",P=1,T=1763790011,X=1763790060": {"expires": 60, "not_before": 10, "priority": 1},
    ",T=1": {"not_before": "1960-01-01T00:00:00Z"},
}


@pytest.mark.usefixtures("now")
@pytest.mark.parametrize("fields, options", FIELDS.items())
def test_name(
    make_backend: MakeBackend, spool_path: Path, fields: str, options: Dict[str, Any]
) -> None:
    """By headers, by options of the backend, and by settings.MAILDRAIN."""
    assert make_backend().send_messages([with_headers(**options)]) == 1
    assert make_backend(**options).send_messages([letter()]) == 1
    with override_settings(MAILDRAIN={name.upper(): value for name, value in options.items()}):
        assert make_backend().send_messages([letter()]) == 1
    found = dropped.read_all(spool_path)
    expected = fields.rstrip(",")
    assert [each.fields for each in found] == [expected] * 3
    assert [b"aildrain" in each.content for each in found] == [False] * 3


NAIVE = datetime(2026, 7, 1, 12, 0)
NAIVES = [NAIVE, "2026-07-01T12:00", "2026-07-01 12:00:00"]


@pytest.mark.parametrize("value", NAIVES)
@pytest.mark.parametrize(
    "use_tz, hour", [(True, 17), (False, 10)], ids=["current zone", "zone of the site"]
)
def test_naive_times(
    make_backend: MakeBackend, spool_path: Path, value: Any, use_tz: bool, hour: int
) -> None:
    """In the current time zone, or without USE_TZ in that of the site."""
    with override_settings(USE_TZ=use_tz, TIME_ZONE="Europe/Paris"):
        with override_timezone(timezone(timedelta(hours=-5))):
            assert make_backend().send_messages([with_headers(not_before=value)]) == 1
    expected = datetime(2026, 7, 1, hour, tzinfo=UTC).timestamp()
    assert dropped.read_one(spool_path).fields == f",T={expected:.0f}"


@pytest.mark.parametrize("value", [date(2026, 7, 1), "2026-07-01"])
def test_a_date_is_its_first_moment(
    make_backend: MakeBackend, spool_path: Path, value: Any
) -> None:
    with override_settings(USE_TZ=True, TIME_ZONE="Europe/Paris"):
        assert make_backend().send_messages([with_headers(expires=value)]) == 1
    expected = datetime(2026, 6, 30, 22, tzinfo=UTC).timestamp()
    assert dropped.read_one(spool_path).fields == f",X={expected:.0f}"


@pytest.mark.parametrize("hour", [datetime(2026, 3, 29, 2, 30), datetime(2026, 10, 25, 2, 30)])
def test_an_hour_that_the_clock_skips_or_repeats_is_a_time_too(
    make_backend: MakeBackend, spool_path: Path, hour: datetime
) -> None:
    with override_settings(USE_TZ=True, TIME_ZONE="Europe/Paris"):
        assert make_backend().send_messages([with_headers(not_before=hour)]) == 1
    seconds = int(dropped.read_one(spool_path).fields[len(",T=") :])
    assert abs(seconds - hour.replace(tzinfo=PARIS).timestamp()) <= 3600


WRONG = [
    ("priority", "urgent"),
    ("priority", 10),
    ("priority", -1),
    ("priority", "10"),
    ("priority", ""),
    ("priority", 1.0),
    ("priority", True),
    ("priority", "٣"),
    ("not_before", "tomorrow"),
    ("not_before", ""),
    ("not_before", "never"),
    ("not_before", "2025-11-31"),
    ("not_before", "2025-11-23T25:00"),
    ("not_before", "2025-W47-1"),
    ("not_before", "1e9"),
    ("not_before", True),
    ("not_before", float("nan")),
    ("not_before", float("inf")),
    ("not_before", float("-inf")),
    ("not_before", 1e12),
    ("not_before", 10**400),
    ("not_before", timedelta.max),
    ("not_before", ["now"]),
    ("expires", "now"),
    ("expires", "soon"),
    ("expires", object),
    ("relay", "two words"),
    ("relay", "x" * 33),
    ("relay", 5),
    ("relay", "bülk"),
    ("envelope_from", "no address"),
    ("envelope_from", ""),
    ("envelope_from", "a@example.com, b@example.com"),
]


@pytest.mark.usefixtures("empty_after")
@pytest.mark.parametrize("name, value", WRONG)
def test_a_wrong_value_is_raised_and_shown(
    make_backend: MakeBackend, name: str, value: Any
) -> None:
    with pytest.raises(ValueError) as by_header:
        make_backend().send_messages([with_headers(**{name: value})])
    with pytest.raises(ValueError) as by_option:
        make_backend(**{name: value}).send_messages([letter()])
    for caught in (by_header, by_option):
        assert repr(value) in str(caught.value)
        assert name in str(caught.value) or name == "envelope_from"
    silent = make_backend(fail_silently=True)
    assert silent.send_messages([with_headers(**{name: value})]) == 0


@pytest.mark.usefixtures("empty_after")
def test_a_message_that_expires_before_it_may_be_sent_is_refused(
    make_backend: MakeBackend,
) -> None:
    with pytest.raises(ValueError, match="expires 60.*not_before '61'"):
        make_backend(expires=60).send_messages([with_headers(not_before="61")])


def test_relay_and_envelope_sender(make_backend: MakeBackend, spool_path: Path) -> None:
    mails = [
        with_headers(relay="bulk-2", envelope_from="Bounces <b+1@bücher.example>"),
        with_headers(envelope_from="<>"),
        with_headers(relay=""),
    ]
    assert make_backend(relay="main").send_messages(mails) == 3
    found = dropped.read_all(spool_path)
    assert [each.relay for each in found] == ["bulk-2", "main", ""]
    assert [each.sender for each in found] == [
        "b+1@xn--bcher-kva.example",
        "",
        "site@example.com",
    ]
    assert {str(each.message["From"]) for each in found} == {"site@example.com"}


def test_stronger_and_weaker(make_backend: MakeBackend, spool_path: Path) -> None:
    """settings.MAILDRAIN, then the backend's options, then headers; None is not given."""
    with override_settings(MAILDRAIN={"PRIORITY": 7, "RELAY": "a", "EXPIRES": None}):
        backend = make_backend(relay="b", priority=None)
        assert backend.send_messages([letter(), with_headers(relay="c", priority="normal")]) == 2
        assert backend.send_messages([with_headers(relay=None)]) == 1
    found = dropped.read_all(spool_path)
    assert [(each.fields, each.relay) for each in found] == [
        (",P=7", "b"),
        ("", "c"),
        (",P=7", "b"),
    ]


def test_headers_in_any_case(make_backend: MakeBackend, spool_path: Path) -> None:
    mail = letter()
    mail.extra_headers = {"x-mAILDRAIN-pRIORITY": "HIGH", "X-MAILDRAIN-RELAY": "bulk"}
    assert make_backend().send_messages([mail]) == 1
    found = dropped.read_one(spool_path)
    assert (found.fields, found.relay) == (",P=1", "bulk")


@pytest.mark.usefixtures("empty_after")
def test_a_header_that_is_given_twice_is_refused(make_backend: MakeBackend) -> None:
    mail = letter()
    mail.extra_headers = {"X-Maildrain-Priority": 1, "x-maildrain-priority": 2}
    with pytest.raises(ValueError, match="x-maildrain-priority: 2"):
        make_backend().send_messages([mail])


class Own(EmailMultiAlternatives):
    """A site's own class, with state of its own."""

    note = ""

    def message(self, **options: Any) -> Any:
        made = super().message(**options)
        made["X-Note"] = self.note
        return made


def test_the_callers_message_stays_as_it_is(make_backend: MakeBackend, spool_path: Path) -> None:
    headers = {"X-Maildrain-Not-Before": datetime(2030, 1, 1, tzinfo=UTC), "X-Other": "1"}
    mail = Own("Hi", "Text\n", None, ["a@example.net"], headers=headers)
    mail.note = "kept"
    mail.attach_alternative("<p>Text</p>", "text/html")
    before = {name: repr(value) for name, value in vars(mail).items()}
    for _ in range(2):
        assert make_backend().send_messages([mail]) == 1
    assert {name: repr(value) for name, value in vars(mail).items()} == before
    assert mail.extra_headers is headers
    for found in dropped.read_all(spool_path):
        assert (found.message["X-Note"], found.message["X-Other"]) == ("kept", "1")
        assert found.fields == ",T=1893456000"


def test_each_of_many_has_its_own(make_backend: MakeBackend, spool_path: Path) -> None:
    def mails() -> Iterator[EmailMessage]:
        for number in range(450):
            mail = letter(str(number))
            mail.extra_headers = {"X-Maildrain-Priority": number // 50}
            yield mail

    assert make_backend().send_messages(mails()) == 450
    for found in dropped.read_all(spool_path):
        level = int(found.message["Subject"]) // 50
        assert found.fields == ("" if level == 5 else f",P={level}")


def test_a_key_that_there_is_not_is_a_mistake_of_the_settings(make_backend: MakeBackend) -> None:
    with override_settings(MAILDRAIN={"PRIORTY": 1}):
        with pytest.raises(ImproperlyConfigured, match="'PRIORTY'.* PRIORITY, "):
            make_backend()


@needs_mailers
def test_options_of_mailers(spool_path: Path) -> None:
    options = {"file_path": str(spool_path), "priority": "low", "relay": "bulk"}
    for backend in ("filebased", "bulk"):
        entry = {"BACKEND": f"maildrain.{backend}.EmailBackend", "OPTIONS": options}
        with override_settings(MAILERS={"mass": entry}):
            assert letter().send(using="mass") == 1
    for found in dropped.read_all(spool_path):
        assert (found.fields, found.relay) == (",P=9", "bulk")


@needs_mailers
def test_a_wrong_option_of_mailers_is_named(spool_path: Path) -> None:
    entry = {"BACKEND": "maildrain.bulk.EmailBackend"}
    entry["OPTIONS"] = {"file_path": str(spool_path), "prioritaet": 1}  # type: ignore[assignment]
    with override_settings(MAILERS={"mass": entry}):
        with pytest.raises(mail.InvalidMailer, match="prioritaet"):
            mail.mailers["mass"]


def test_the_program_knows_what_it_means(
    make_backend: MakeBackend, spool: Spool, aio_server: Callable[..., AioServer]
) -> None:
    """Later, too late, first, from whom, and by which relay: as a run and its servers see it."""
    server, other = aio_server(), aio_server()
    relay = {"tls": "none", "connections": 1}
    relays = {"main": {"url": server.url, **relay}, "bulk": {"url": other.url, **relay}}
    spool.write_config(relays=relays)
    backend = make_backend(file_path=spool.path)
    mails = [
        with_headers(not_before=3600),
        with_headers(expires=-1),
        with_headers(priority="low"),
        with_headers(priority="high", envelope_from="bounces@example.com"),
        with_headers(relay="bulk"),
    ]
    for number, message in enumerate(mails):
        message.subject = str(number)
    assert backend.send_messages(mails) == 5
    spool.run()
    received = [(message_from_bytes(each.data)["Subject"], each.sender) for each in server.messages]
    assert received == [("3", "bounces@example.com"), ("2", "site@example.com")]
    assert [message_from_bytes(each.data)["Subject"] for each in other.messages] == ["4"]
    assert not any(b"aildrain" in each.data for each in server.messages + other.messages)
    assert spool.counts() == {"tmp": 0, "new": 1, "cur": 3, "failed": 1}
    [expired] = spool.ls()["failed"]
    assert "E=5.4.7" in expired
