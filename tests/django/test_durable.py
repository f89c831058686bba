"""The order of the system calls, and what faults, threads and forks leave in the spool."""

from __future__ import annotations

import errno
import os
import threading
import traceback
from pathlib import Path
from typing import Any, Callable, List, Tuple

import dropped
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from maildrain.filebased import EmailBackend

MakeBackend = Callable[..., EmailBackend]

NOBODY = 65534


def letter(subject: str = "Hi", body: str = "Text\n") -> EmailMessage:
    return EmailMessage(subject, body, "site@example.com", ["a@example.net"])


def fail(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException, when: int = 1) -> None:
    """Makes the call number `when` of os.<name> fail."""
    real = getattr(os, name)
    count = 0

    def call(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count == when:
            if name == "close":
                real(*args)  # a close that fails has closed all the same
            raise error
        return real(*args)

    monkeypatch.setattr(os, name, call)


def test_order_of_writing(backend: EmailBackend, calls: List[Tuple[str, str]]) -> None:
    assert backend.send_messages([letter()]) == 1
    assert calls == [
        ("write", "file"),
        ("fsync", "file"),
        ("close", "file"),
        ("rename", "tmp>new"),
        ("fsync", "new"),
        ("close", "new"),
    ]


def test_the_file_is_whole_when_it_gets_its_name(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: List[bytes] = []
    real = os.rename

    def rename(source: str, target: str) -> None:
        assert not os.path.exists(target)
        seen.append(Path(source).read_bytes())
        real(source, target)

    monkeypatch.setattr(os, "rename", rename)
    assert backend.send_messages([letter(body="x" * 100_000)]) == 1
    assert seen == [dropped.read_one(spool_path).path.read_bytes()]


def test_short_writes_are_continued(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data[:7])))
    assert backend.send_messages([letter(body="line\n" * 1000)]) == 1
    assert dropped.read_one(spool_path).message.get_content() == "line\n" * 1000


FAULTS = [
    ("open", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1),
    ("fchmod", OSError(errno.EPERM, os.strerror(errno.EPERM)), 1),
    ("write", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), 1),
    ("fsync", OSError(errno.EIO, os.strerror(errno.EIO)), 1),
    ("close", OSError(errno.EIO, os.strerror(errno.EIO)), 1),
    ("rename", OSError(errno.EIO, os.strerror(errno.EIO)), 1),
    ("open", OSError(errno.EMFILE, os.strerror(errno.EMFILE)), 2),
    ("fsync", OSError(errno.EIO, os.strerror(errno.EIO)), 2),
    ("write", KeyboardInterrupt(), 1),
    ("fsync", SystemExit(1), 2),
]


@pytest.mark.usefixtures("empty_after")
@pytest.mark.parametrize("name, error, when", FAULTS)
def test_a_fault_is_raised_and_leaves_nothing(
    backend: EmailBackend,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: BaseException,
    when: int,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(type(error)) as caught:
        fail(patch, name, error, when)
        backend.send_messages([letter()])
    assert caught.value is error


def test_a_write_that_fails_half_way_leaves_nothing(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def write(fd: int, data: bytes) -> int:
        if os.fstat(fd).st_size > 1000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, bytes(data[:600]))

    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(os, "write", write)
        backend.send_messages([letter(body="x\n" * 5000)])
    assert caught.value.errno == errno.ENOSPC
    assert str(spool_path / "tmp") in str(caught.value)
    assert dropped.read_all(spool_path) == []


def test_a_descriptor_is_never_left_open(
    backend: EmailBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.listdir("/proc/self/fd")
    for name, error, when in FAULTS:
        with monkeypatch.context() as patch, pytest.raises(type(error)):
            fail(patch, name, error, when)
            backend.send_messages([letter()])
    assert os.listdir("/proc/self/fd") == before


def test_a_file_of_the_same_name_is_not_touched(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maildrain.filebased.unique_name", lambda: "1.M1P1Q1.web1")
    mine = spool_path / "tmp" / "1.M1P1Q1.web1"
    mine.write_text("somebody else's")
    with pytest.raises(FileExistsError):
        backend.send_messages([letter()])
    assert mine.read_text() == "somebody else's"


def test_messages_before_a_fault_stay(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(OSError):
        fail(patch, "rename", OSError(errno.EIO, "broken"), when=3)
        backend.send_messages([letter(str(i)) for i in range(5)])
    assert [each.message["Subject"] for each in dropped.read_all(spool_path)] == ["0", "1"]


def as_nobody(action: Callable[[], None]) -> None:
    """Runs action in a child without root's powers; its failure is the test's."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            action()
            status = 0
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    assert os.waitpid(pid, 0)[1] == 0, said


@pytest.fixture
def reachable(spool_path: Path) -> Path:
    """The spool, with every directory above it open to others."""
    for directory in (spool_path, *spool_path.parents):
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o755)
    return spool_path


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("closed", ["tmp", "new"])
@pytest.mark.parametrize("mode", [0o755, 0o700])
def test_a_spool_of_somebody_else_is_refused(
    make_backend: MakeBackend, reachable: Path, closed: str, mode: int
) -> None:
    for name in ("tmp", "new"):
        (reachable / name).chmod(0o1777)
    (reachable / closed).chmod(mode)

    def action() -> None:
        reason = f"{closed}: (Not writable|Permission denied)"
        with pytest.raises(ImproperlyConfigured, match=reason) as caught:
            make_backend()
        assert "group" in str(caught.value)

    as_nobody(action)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_only_tmp_and_new_need_be_writable(make_backend: MakeBackend, reachable: Path) -> None:
    for name in ("tmp", "new"):
        (reachable / name).chmod(0o1777)
    reachable.chmod(0o755)
    for name in ("cur", "failed"):
        (reachable / name).chmod(0o700)
    as_nobody(lambda: check_sent(make_backend()))
    assert dropped.read_one(reachable).path.stat().st_uid == NOBODY


def check_sent(backend: EmailBackend) -> None:
    assert backend.send_messages([letter()]) == 1


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
def test_permission_lost_after_the_start_is_an_error(
    make_backend: MakeBackend, reachable: Path
) -> None:
    for name in ("tmp", "new"):
        (reachable / name).chmod(0o1777)
    backend = make_backend()
    (reachable / "new").chmod(0o755)

    def action() -> None:
        with pytest.raises(PermissionError):
            backend.send_messages([letter()])

    as_nobody(action)
    assert dropped.read_all(reachable) == []


def send_from_threads(backend: EmailBackend, threads: int, each: int) -> None:
    failures: List[str] = []
    start = threading.Barrier(threads)

    def work(number: int) -> None:
        try:
            start.wait()
            for i in range(each):
                assert backend.send_messages([letter(f"{os.getpid()} {number} {i}")]) == 1
        except BaseException:
            failures.append(traceback.format_exc())

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


def test_threads_share_one_backend(backend: EmailBackend, spool_path: Path) -> None:
    send_from_threads(backend, threads=8, each=50)
    found = dropped.read_all(spool_path)
    assert len(found) == 400
    assert len({each.message["Subject"] for each in found}) == 400


def test_names_differ_where_the_clock_stands_still(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_763_790_000_000_012_345)
    send_from_threads(backend, threads=4, each=50)
    found = dropped.read_all(spool_path)
    assert len(found) == 200
    assert all(each.path.name.startswith("1763790000.M000012P") for each in found)


def test_forked_children_share_one_backend(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_763_790_000_000_012_345)
    assert backend.send_messages([letter("parent")]) == 1
    children = []
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                backend.send_messages([letter(str(os.getpid())) for _ in range(50)])
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 5
    subjects = [each.message["Subject"] for each in dropped.read_all(spool_path)]
    expected = ["parent"] + [str(pid) for pid in children for _ in range(50)]
    assert sorted(subjects) == sorted(expected)


def test_a_killed_writer_leaves_nothing_in_new(
    backend: EmailBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = os.fork()
    if pid == 0:
        os.fsync = lambda fd: os._exit(42)  # type: ignore[assignment] # as kill -9 would
        backend.send_messages([letter()])
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
    assert list((spool_path / "new").iterdir()) == []
    assert len(list((spool_path / "tmp").iterdir())) == 1  # swept by maildrain after 36 hours
