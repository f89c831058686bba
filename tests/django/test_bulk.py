"""The backend for mass mail: one sync of new/ for all, and all or nothing."""

from __future__ import annotations

import errno
import os
import random
import threading
import weakref
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import dropped
import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.test.utils import override_settings
from maildrain import bulk
from maildrain.content import BARE, Draft, addr_spec
from maildrain.filebased import EmailBackend
from test_api import BACKEND, HAS_MAILERS, by_settings, letter, subjects
from test_durable import FAULTS, fail
from test_message import UNIQUE

MakeBackend = Callable[..., bulk.EmailBackend]

DATA = [(str(number), "Text", None, ["a@example.net"]) for number in range(3)]
BROKEN = OSError(errno.EIO, os.strerror(errno.EIO))


def letters(count: int, first: int = 0) -> List[EmailMessage]:
    return [letter(str(number)) for number in range(first, first + count)]


@pytest.fixture
def make_bulk(spool_path: Path) -> MakeBackend:
    """As make_backend."""

    def make(**options: Any) -> bulk.EmailBackend:
        if HAS_MAILERS:
            options.setdefault("alias", "default")
        return bulk.EmailBackend(file_path=spool_path, **options)

    return make


@pytest.fixture
def backend(make_bulk: MakeBackend) -> bulk.EmailBackend:
    return make_bulk()


def test_it_is_one_of_ours(backend: bulk.EmailBackend) -> None:
    assert isinstance(backend, EmailBackend)


def test_each_message_is_a_file_as_ever(
    backend: bulk.EmailBackend, spool_path: Path, make_backend: Callable[..., EmailBackend]
) -> None:
    fixed = {"Message-ID": "<1@example.com>", "Date": "Mon, 01 Jan 2024 00:00:00 -0000"}
    mails = [EmailMessage("Hi", "x" * 9, None, ["a@example.net"], headers=fixed)] * 3
    assert backend.send_messages(mails[:2]) == 2
    assert make_backend().send_messages(mails[2:]) == 1
    found = dropped.read_all(spool_path)
    assert len({each.path.read_bytes() for each in found}) == 1
    assert [oct(each.path.stat().st_mode) for each in found] == ["0o100640"] * 3
    assert all(UNIQUE.fullmatch(each.path.name) for each in found)


def test_names_sort_in_the_order_of_sending(backend: bulk.EmailBackend, spool_path: Path) -> None:
    assert backend.send_messages(letters(1100)) == 1100
    assert backend.send_messages(letters(2, 1100)) == 2
    assert subjects(spool_path) == [str(number) for number in range(1102)]


@pytest.mark.parametrize("nothing", [None, [], [letter(to="")]])
def test_no_messages(
    backend: bulk.EmailBackend, calls: List[Tuple[str, str]], nothing: Any
) -> None:
    assert backend.send_messages(nothing) == 0
    assert calls == []


def test_it_stands_beside_the_other_backend(spool_path: Path) -> None:
    """The site's other mail keeps its own backend."""
    mass = "maildrain.bulk.EmailBackend"
    if HAS_MAILERS:
        other = {"BACKEND": BACKEND, "OPTIONS": {"file_path": str(spool_path)}}
        with override_settings(MAILERS={"default": other, "mass": {**other, "BACKEND": mass}}):
            assert type(mail.mailers["mass"]) is bulk.EmailBackend
            assert mail.mailers["mass"].send_messages(letters(3)) == 3
    else:
        with by_settings(str(spool_path)), mail.get_connection(mass) as connection:
            assert type(connection) is bulk.EmailBackend
            assert mail.send_mass_mail(DATA, connection=connection) == 3
    assert subjects(spool_path) == ["0", "1", "2"]


# ---- what is synced, and when ----


def test_order_of_writing(backend: bulk.EmailBackend, calls: List[Tuple[str, str]]) -> None:
    """All data, then all names, then new/."""
    count = bulk.HELD * 2 + 10
    assert backend.send_messages(letters(count)) == count
    first = calls.index(("rename", "tmp>new"))
    assert sorted(calls[:first]) == sorted(
        [(name, "file") for name in ("write", "fsync", "close") for _ in range(count)]
    )
    assert calls[first:] == [("rename", "tmp>new")] * count + [("fsync", "new"), ("close", "new")]


def test_several_files_are_synced_at_once(
    backend: bulk.EmailBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    meeting = threading.Barrier(bulk.SYNCS, timeout=30)
    real = bulk._sync

    def sync(fd: int) -> None:
        meeting.wait()
        real(fd)

    with monkeypatch.context() as patch:
        patch.setattr(bulk, "_sync", sync)
        with bulk._Batch(backend._tmp, backend._new, Loud()) as batch:
            for _ in range(bulk.SYNCS * 2):
                batch.add(Draft(letter(), b"x", ""))
            batch.sync()
    assert threading.active_count() == 1


class Loud:
    """Takes no error."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def test_without_threads_it_only_takes_longer(
    backend: bulk.EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    before = os.listdir("/proc/self/fd")
    assert backend.send_messages(letters(50)) == 50
    assert len(subjects(spool_path)) == 50
    assert os.listdir("/proc/self/fd") == before


def test_what_a_generator_yields_does_not_pile_up(
    backend: bulk.EmailBackend, spool_path: Path
) -> None:
    alive: List["weakref.ref[EmailMessage]"] = []
    most_alive = most_open = 0

    def newsletter() -> Iterator[EmailMessage]:
        nonlocal most_alive, most_open
        for number in range(bulk.HELD * 3):
            message = letter(str(number))
            alive.append(weakref.ref(message))
            yield message
            del message
            most_alive = max(most_alive, sum(ref() is not None for ref in alive[-9:]))
            most_open = max(most_open, len(os.listdir("/proc/self/fd")))

    before = len(os.listdir("/proc/self/fd"))
    assert backend.send_messages(newsletter()) == bulk.HELD * 3
    assert most_alive <= 2
    assert most_open <= before + bulk.HELD + 1


# ---- all or nothing ----


@pytest.mark.usefixtures("empty_after")
def test_a_bad_address_keeps_all_of_its_call_out(backend: bulk.EmailBackend) -> None:
    mails = [*letters(bulk.HELD + 5), letter(to="no address"), *letters(5)]
    with pytest.raises(ValueError, match="no address"):
        backend.send_messages(mails)


@pytest.mark.usefixtures("empty_after")
def test_an_error_of_the_generator_keeps_all_of_its_call_out(make_bulk: MakeBackend) -> None:
    def newsletter() -> Iterator[EmailMessage]:
        yield from letters(bulk.HELD + 5)
        raise LookupError("the database has gone")

    with pytest.raises(LookupError):
        make_bulk(fail_silently=True).send_messages(newsletter())


# Places in a call of ten messages; its last fsync and close are those of new/.
FAULTS_OF_TEN = FAULTS + [
    ("open", BROKEN, 10),
    ("open", BROKEN, 11),
    ("fsync", BROKEN, 10),
    ("fsync", BROKEN, 11),
    ("fsync", KeyboardInterrupt(), 7),
    ("close", BROKEN, 11),
    ("rename", BROKEN, 10),
    ("rename", KeyboardInterrupt(), 5),
    ("write", BROKEN, 10),
]


@pytest.mark.parametrize("name, error, when", FAULTS_OF_TEN)
def test_a_fault_is_raised_and_the_call_can_be_made_again(
    backend: bulk.EmailBackend,
    spool_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: BaseException,
    when: int,
) -> None:
    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patch, pytest.raises(type(error)) as caught:
        fail(patch, name, error, when)
        backend.send_messages(letters(10))
    assert caught.value is error
    assert os.listdir("/proc/self/fd") == before
    assert subjects(spool_path) == []
    assert backend.send_messages(letters(10)) == 10
    assert subjects(spool_path) == [str(number) for number in range(10)]


def test_the_error_tells_the_file(
    backend: bulk.EmailBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OSError, match="/spool/tmp/"):
        fail(monkeypatch, "fsync", OSError(errno.EIO, "broken"), 2)
        backend.send_messages(letters(3))


@pytest.mark.parametrize(
    "name, when, left", [("open", 3, 9), ("write", 3, 9), ("rename", 3, 9), ("fsync", 11, 0)]
)
def test_fail_silently_leaves_out_only_what_failed(
    make_bulk: MakeBackend,
    spool_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    when: int,
    left: int,
) -> None:
    with monkeypatch.context() as patch:
        backend = make_bulk(fail_silently=True)
        fail(patch, name, BROKEN, when)
        mails = letters(10)
        assert backend.send_messages([*mails[:5], letter(to="no address"), *mails[5:]]) == left
    expected = [str(number) for number in range(10) if number != when - 1]
    assert subjects(spool_path) == (expected if left else [])


def test_fail_silently_leaves_out_what_did_not_reach_the_disk(
    make_bulk: MakeBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail(patch, "fsync", BROKEN, 4)
        assert make_bulk(fail_silently=True).send_messages(letters(10)) == 9
    assert len(set(subjects(spool_path))) == 9


def test_a_half_file_gets_no_name_even_if_it_can_not_be_removed(
    make_bulk: MakeBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(*_: Any, **__: Any) -> None:
        raise BROKEN

    with monkeypatch.context() as patch:
        fail(patch, "write", BROKEN, 2)
        patch.setattr(os, "unlink", unlink)
        assert make_bulk(fail_silently=True).send_messages(letters(3)) == 2
    [half] = (spool_path / "tmp").iterdir()
    half.unlink()
    assert subjects(spool_path) == ["0", "2"]


def test_fail_silently_does_not_swallow_an_interrupt(
    make_bulk: MakeBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fail(patch, "fsync", KeyboardInterrupt(), 3)
        make_bulk(fail_silently=True).send_messages(letters(9))
    assert subjects(spool_path) == []


# ---- shared ----


def test_threads_and_forked_children_share_one_backend(
    backend: bulk.EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_763_790_000_000_012_345)

    def work(first: int) -> None:
        for number in range(3):
            assert backend.send_messages(letters(10, first + number * 10)) == 10

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 100, 200)]
    children = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for first in (300, 400):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(first)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0]
    expected = [str(first + number) for first in range(0, 500, 100) for number in range(30)]
    assert sorted(subjects(spool_path)) == sorted(expected)


# ---- addresses that are not parsed ----

PIECES = ["a", "B.c", "ok", "x.y", "1", ".", "..", "@", "-", "_", "=", "?", "=?", "=?utf-8?q?a?="]
PIECES += ["é", " ", "\n", "\t", "\x7f", "\\", "<", ">", "(b)", "[1.2.3.4]", *"\",:;%'"]


def test_an_address_that_is_not_parsed_means_what_the_parser_makes_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    choose = random.Random(20)
    sides = ["".join(choose.choices(PIECES, k=choose.randint(1, 3))) for _ in range(30_000)]
    texts = {f"{local}@{domain}" for local, domain in zip(sides, reversed(sides))}
    bare = [text for text in texts if BARE.fullmatch(text)]
    assert len(bare) > 200
    with monkeypatch.context() as patch:
        patch.setattr("maildrain.content.BARE", _Never())
        assert [text for text in bare if addr_spec(text) != text] == []


class _Never:
    def fullmatch(self, _: str) -> None:
        return None
