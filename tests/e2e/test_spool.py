"""The spool: its modes, the states of a message, the order of service, retries, and what a run
leaves alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from lab import logfmt, measure
from lab.faultactions import Delay
from lab.faultserver import FaultServer
from lab.repo import plain_program
from lab.spool import DIRECTORIES, Spool, fields_of, unique_name, unique_of

MODES = {
    **dict.fromkeys((".", "tmp", "new"), 0o3770),
    **dict.fromkeys(("cur", "failed", "state"), 0o2750),
}
MESSAGE = b"Subject: hello\n\ntext\n"
TO_B = ("a@example.com", ["b@example.net"])


def point_at(spool: Spool, server: FaultServer, connections: int = 1, **options: object) -> None:
    relay = {"url": server.url, "tls": "none", "connections": connections}
    spool.write_config(options, relays={"main": relay})  # type: ignore[arg-type]


def modes(path: Path) -> Dict[str, int]:
    return {name: stat.S_IMODE((path / name).stat().st_mode) for name in MODES}


def events(done: "subprocess.CompletedProcess[str]", kind: str) -> List[Dict[str, str]]:
    return [line for line in logfmt.parse(done.stderr) if line["event"] == kind]


def snapshot(spool: Spool) -> Dict[str, object]:
    """Every name with its inode, times and bytes."""
    found: Dict[str, object] = {}
    for folder in (".", *DIRECTORIES):
        for entry in os.scandir(spool.path / folder):
            st = entry.stat(follow_symlinks=False)
            content = Path(entry.path).read_bytes() if entry.is_file() else b""
            found[f"{folder}/{entry.name}"] = (st.st_ino, st.st_mtime_ns, st.st_ctime_ns, content)
    return found


# Making one


def test_init_makes_the_modes_of_the_contract(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(init=False)
    old = os.umask(0o077)
    try:
        done = spool_init(spool)
    finally:
        os.umask(old)
    assert done.returncode == 0 and str(spool.path) in done.stdout
    assert modes(spool.path) == MODES


def spool_init(spool: Spool) -> "subprocess.CompletedProcess[str]":
    spool.write_config()
    return spool.command("init")


def test_init_mends_modes_and_leaves_messages_alone(spool: Spool) -> None:
    name = spool.drop(MESSAGE, envelope=TO_B)
    for folder in MODES:
        (spool.path / folder).chmod(0o700)
    before = (spool.path / "new" / name).read_bytes()
    assert spool.command("init").returncode == 0
    assert modes(spool.path) == MODES
    assert (spool.path / "new" / name).read_bytes() == before
    assert spool.command("init").returncode == 0


def test_init_takes_a_folder_and_needs_no_config(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(init=False)
    assert spool.command("init", str(spool.path)).returncode == 0
    assert modes(spool.path) == MODES


def test_init_does_not_go_through_a_link(spool: Spool, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir(mode=0o755)
    (spool.path / "new").rmdir()
    (spool.path / "new").symlink_to(target)
    done = spool.command("init")
    assert done.returncode == 74 and "/new" in done.stderr
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


def test_init_says_which_folder_it_can_not_make(make_spool: Callable[..., Spool]) -> None:
    spool = make_spool(init=False)
    done = spool.command("init", str(spool.path / "deeper"))
    assert done.returncode == 74
    assert str(spool.path / "deeper") in done.stderr and "No such file" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a spool away")
def test_init_by_root_gives_it_to_the_user_maildrain(make_spool: Callable[..., Spool]) -> None:
    try:
        user = pwd.getpwnam("maildrain")
    except KeyError:
        pytest.skip("there is no user maildrain here")
    spool = make_spool(init=False)
    assert spool_init(spool).returncode == 0
    for folder in MODES:
        st = (spool.path / folder).stat()
        assert (st.st_uid, st.st_gid) == (user.pw_uid, user.pw_gid)


# States


def test_sent_goes_to_cur(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B, priority=1, not_before=7, expires=4102444800)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert spool.ls()["cur"] == [f"{unique_of(name)},A=1:2,S"]
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 1, "failed": 0}
    (sent,) = events(done, "sent")
    assert sent["id"] == unique_of(name) and sent["to"] == "b@example.net"
    assert sent["attempt"] == "1" and sent["reply"].startswith("250")
    server.check()


@pytest.mark.parametrize(
    ("reply", "folder", "expected"),
    [
        (None, "cur", "Z=9"),
        ("450 4.2.1 Busy", "new", "S=12"),
        ("550 5.1.1 Gone", "failed", "S=12"),
    ],
)
def test_unknown_fields_are_kept(
    spool: Spool, fault_server: Callable[..., FaultServer], reply: str, folder: str, expected: str
) -> None:
    server = fault_server(answers={"RCPT": reply})
    point_at(spool, server)
    name = f"{unique_name()},A=many,P=1,S=12,S=13,X=4102444800,Z=9,odd,=x"
    spool.drop(MESSAGE, name, TO_B)
    spool.run()
    found = spool.find(name)
    assert found.parent.name == folder
    fields = found.name.split(":")[0].split(",")[1:]
    for kept in ("A=many", "S=12", "S=13", "Z=9", "odd", "=x"):
        assert kept in fields, fields
    assert "A=1" in fields
    through = folder != "new"
    assert ("P=1" in fields) is not through
    assert ("X=4102444800" in fields) is not through
    server.check()


def test_deferred_stays_in_new(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(answers={"RCPT": "450 4.2.1 Busy"})
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B, priority=3)
    before = int(time.time())
    done = spool.run()
    assert done.returncode == 0
    folder, fields = spool.state(name)
    assert folder == "new" and set(fields) == {"A", "E", "P", "T"}
    assert (fields["A"], fields["E"], fields["P"]) == ("1", "4.2.1", "3")
    assert before + 54 <= int(fields["T"]) <= time.time() + 66
    assert spool.find(name).name == f"{unique_of(name)},A=1,E=4.2.1,P=3,T={fields['T']}"
    server.check()


def test_failed_goes_to_failed(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(answers={"RCPT": "550 5.1.1 Nobody here"})
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B, priority=3, expires=4102444800)
    done = spool.run()
    assert done.returncode == 0
    assert spool.ls()["failed"] == [f"{unique_of(name)},A=1,E=5.1.1"]
    text = spool.find(name).read_bytes()
    assert text == (
        b"X-Maildrain-From: <a@example.com>\n"
        b"X-Maildrain-Failed: <b@example.net> 550 5.1.1 Nobody here\n" + MESSAGE
    )
    server.check()


def test_removed_when_sent_with_keep_sent_0(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server, keep_sent="0")
    spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 0, "failed": 0}
    assert len(server.messages) == 1


def test_a_claim_has_all_its_fields_before_the_server_knows(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    seen: List[str] = []
    server = fault_server(answers={"MAIL": lambda _: seen.extend(spool.ls()["new"])})
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B)
    process = subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL)
    assert process.wait(30) == 0
    fields = fields_of(seen[0])
    assert unique_of(seen[0]) == name and set(fields) == {"A", "C", "T"}
    assert fields["A"] == "1" and fields["C"].endswith(f"-{process.pid}")
    assert int(fields["T"]) > time.time()
    server.check()


# The last attempt, and attempts cut short


@pytest.mark.parametrize("reply", ["450 4.2.1 Busy", None])
def test_the_last_attempt(
    spool: Spool, fault_server: Callable[..., FaultServer], reply: str
) -> None:
    server = fault_server(answers={"RCPT": reply})
    point_at(spool, server, retry=["1m", "5m"])
    name = f"{unique_name()},A=2,E=4.4.2,T=1"
    spool.drop(MESSAGE, name, TO_B)
    assert spool.run().returncode == 0
    if reply is None:
        assert spool.state(name) == ("cur", {"A": "3"})
    else:
        assert spool.state(name) == ("failed", {"A": "3", "E": "5.4.7"})
        assert b"X-Maildrain-Failed: <b@example.net> 450 4.2.1 Busy\n" in spool.find(
            name
        ).read_bytes()
    server.check()


@pytest.mark.parametrize(
    ("attempts", "delay"),
    [(1, 60), (2, 300), (3, 900), (4, 3600), (5, 10800), (6, 21600), (7, 43200), (8, 86400)],
)
def test_retry_times(
    spool: Spool, fault_server: Callable[..., FaultServer], attempts: int, delay: int
) -> None:
    server = fault_server(answers={"RCPT": "450 4.2.1 Busy"})
    point_at(spool, server)
    for _ in range(8):
        before = f",A={attempts - 1},E=4.0.0,T=1" if attempts > 1 else ""
        spool.drop(MESSAGE, unique_name() + before, TO_B)
    start = time.time()
    assert spool.run().returncode == 0
    end = time.time()
    times = [int(fields_of(name)["T"]) for name in spool.ls()["new"]]
    assert all(start + delay * 0.9 - 1 <= when <= end + delay * 1.1 + 1 for when in times), times
    assert len(set(times)) > 1, "a backlog must not return as one wave"
    assert {fields_of(name)["A"] for name in spool.ls()["new"]} == {str(attempts)}


def test_the_retry_never_lies_behind_the_expiry(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"RCPT": "450 4.2.1 Busy"})
    point_at(spool, server)
    expires = int(time.time()) + 20
    name = spool.drop(MESSAGE, envelope=TO_B, expires=expires)
    spool.run()
    assert spool.state(name)[1]["T"] == str(expires)


# Order, and what is due


def subjects(server: FaultServer) -> List[str]:
    return [message.data.split(b"\r\n")[0].decode()[9:] for message in server.messages]


def test_order_of_service(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    point_at(spool, server)
    names = [
        "20.M1P1Q1.h,A=1,E=4.0.0,T=5",
        "30.M1P1Q1.h",
        "10.M1P1Q1.h,A=2,E=4.0.0,T=5",
        "40.M1P1Q1.h,A=7,E=4.0.0,P=0,T=5",
        "50.M1P1Q1.h,P=0",
        "25.M1P1Q1.h,P=5",
        "01.M1P1Q1.h,P=9",
        "zz",
    ]
    for name in names:
        spool.drop(b"Subject: " + name.encode() + b"\n\nx\n", name, TO_B)
    assert spool.run().returncode == 0
    assert subjects(server) == [names[i] for i in (4, 3, 5, 1, 7, 2, 0, 6)]
    server.check()


def test_not_before_its_time(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    point_at(spool, server)
    later = spool.drop(MESSAGE, envelope=TO_B, not_before=int(time.time()) + 60)
    now = spool.drop(MESSAGE, envelope=TO_B, not_before=int(time.time()))
    assert spool.run().returncode == 0
    assert spool.ls()["new"] == [later]
    assert spool.state(now)[0] == "cur"


def test_never_after_its_expiry(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B, expires=int(time.time()), priority=2)
    done = spool.run()
    assert done.returncode == 0
    assert spool.ls()["failed"] == [f"{unique_of(name)},E=5.4.7"]
    (failed,) = events(done, "failed")
    assert failed["status"] == "5.4.7" and "expired" in failed["text"]
    assert not server.received


def test_mail_that_comes_during_a_run_is_sent_by_it(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    late: List[str] = []

    def drop_another(_: object) -> None:
        if len(late) < 3:
            late.append(spool.drop(MESSAGE, envelope=TO_B))

    server = fault_server(answers={"DOT": drop_another})
    point_at(spool, server)
    spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    assert spool.counts()["cur"] == 4 and len(server.messages) == 4
    assert len(server.sessions) == 1
    server.check()


def test_a_newcomer_of_high_priority_overtakes(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """While a long queue goes to a slow relay, the spool is looked at again and again."""
    at: Dict[str, int] = {}

    def drop_urgent(_: object) -> str:
        if len(server.sessions[0].verbs) > 20 and not at:
            at["dropped"] = server.taken
            spool.drop(b"Subject: urgent\n\nx\n", envelope=TO_B, priority=0)
        server.taken += 1
        time.sleep(0.05)
        return "250 2.0.0 Ok"

    server = fault_server(answers={"DOT": drop_urgent})
    server.taken = 0  # type: ignore[attr-defined]
    point_at(spool, server)
    for _ in range(80):
        spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    subjects = [message.data.split(b"\r\n")[0] for message in server.messages]
    behind = subjects.index(b"Subject: urgent") - at["dropped"]
    assert behind <= 1.5 / 0.05 + 2, "a second until it is seen, and what was in flight"
    server.check()


# Names that are taken


@pytest.mark.parametrize(("reply", "folder"), [(None, "cur"), ("550 5.1.1 No", "failed")])
def test_nothing_is_overwritten(
    spool: Spool, fault_server: Callable[..., FaultServer], reply: str, folder: str
) -> None:
    server = fault_server(answers={"RCPT": reply})
    point_at(spool, server)
    tail = ",A=1:2,S" if folder == "cur" else ",A=1,E=5.1.1"
    for taken in ("1.M1P1Q1.h", "1.M1P1Q1.h-2"):
        (spool.path / folder / (taken + tail)).write_bytes(b"old " + taken.encode())
    spool.drop(MESSAGE, "1.M1P1Q1.h", TO_B)
    assert spool.run().returncode == 0
    assert spool.ls()[folder] == sorted(f"1.M1P1Q1.h{twin}{tail}" for twin in ("", "-2", "-3"))
    assert (spool.path / folder / f"1.M1P1Q1.h{tail}").read_bytes() == b"old 1.M1P1Q1.h"
    assert (spool.path / folder / f"1.M1P1Q1.h-3{tail}").read_bytes().endswith(MESSAGE)
    server.check()


def test_two_letters_of_one_name_in_new(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"RCPT": "450 4.2.1 Busy"})
    point_at(spool, server)
    spool.drop(b"Subject: one\n\nx\n", "1.M1P1Q1.h", TO_B)
    spool.drop(b"Subject: two\n\nx\n", "1.M1P1Q1.h,P=1", TO_B)
    spool.drop(b"Subject: three\n\nx\n", "1.M1P1Q1.h,P=5", TO_B)
    assert spool.run().returncode == 0
    texts = sorted(path.read_bytes().split(b"\n")[2] for path in (spool.path / "new").iterdir())
    assert texts == [b"Subject: one", b"Subject: three", b"Subject: two"]
    assert len(server.verbs) > 0
    server.check()


def test_a_message_taken_away_in_flight_stays_away(
    spool: Spool, fault_server: Callable[..., FaultServer], tmp_path: Path
) -> None:
    """Its partial result would be written into the file: that must not bring it back."""

    def hold(_: object) -> None:
        (name,) = spool.ls()["new"]
        os.rename(spool.path / "new" / name, tmp_path / "held")

    server = fault_server(
        answers={"RCPT": {"c@example.net": "450 4.2.1 Busy", "*": None}, "DOT": hold}
    )
    point_at(spool, server)
    spool.drop(MESSAGE, envelope=("a@example.com", ["b@example.net", "c@example.net"]))
    done = spool.run()
    assert done.returncode == 0
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 0, "failed": 0}
    assert len(events(done, "vanished")) == 1
    assert (tmp_path / "held").exists()


# Partial success


def test_partial_success_is_written_into_the_file(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    replies = {"c@example.net": "450 4.2.1 Bu\x07sy", "d@example.net": "550 5.1.1 No", "*": None}
    server = fault_server(answers={"RCPT": replies})
    point_at(spool, server)
    header = b"To: x@example.net\nBcc: secret@example.net\nSubject: s\n\n"
    name = spool.drop(
        header + b"text",
        envelope=("a@example.com", [f"{who}@example.net" for who in "bcd"]),
    )
    (spool.path / "new" / name).chmod(0o640)
    assert spool.run().returncode == 0
    path = spool.find(name)
    assert path.parent.name == "new" and fields_of(path.name)["E"] == "4.2.1"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == b"X-Maildrain-From: <a@example.com>"
    assert lines[1].startswith(b"X-Maildrain-Done: <b@example.net> 250 2.0.0 ")
    assert lines[2] == b"X-Maildrain-To: <c@example.net>"
    assert lines[3] == b"X-Maildrain-Failed: <d@example.net> 550 5.1.1 No"
    assert b"\n".join(lines[4:]) == header + b"text"
    assert spool.counts()["tmp"] == 0

    server.answer("RCPT", None)
    os.rename(path, path.parent / name)
    assert spool.run().returncode == 0
    assert server.messages[-1].recipients == ("c@example.net",)
    assert spool.state(name)[0] == "failed", "one recipient never got it"
    assert b"secret" not in b"".join(message.wire for message in server.received)
    server.check()


def test_partial_success_of_a_message_without_a_block(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"RCPT": {"c@example.net": "450 4.2.1 Busy", "*": None}})
    point_at(spool, server)
    message = b"From: a@example.com\r\nTo: b@example.net\r\nBcc: c@example.net\r\n\r\ntext\r\n"
    name = spool.drop(message)
    assert spool.run().returncode == 0
    block, header = spool.find(name).read_bytes().split(b"From: a@", 1)
    assert b"From: a@" + header == message
    assert b"X-Maildrain-To: <c@example.net>\n" in block
    server.check()


# Housekeeping


def test_tmp_is_not_swept_before_its_time(spool: Spool) -> None:
    """ctime can't be set from here: that old files go is a unit test's to show."""
    fresh = spool.path / "tmp" / "fresh"
    fresh.write_bytes(b"being written")
    touched = spool.path / "tmp" / "touched"
    touched.write_bytes(b"copied with its old time")
    os.utime(touched, (1, 1))
    assert spool.run().returncode == 0
    assert spool.ls()["tmp"] == ["fresh", "touched"]


def test_sent_mail_is_purged_by_age(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    point_at(spool, server, keep_sent="1s")
    old = "1000.M1P1Q1.h,A=1:2,S"
    young = f"{unique_name()},A=1:2,S"
    (spool.path / "cur" / old).write_bytes(MESSAGE)
    (spool.path / "cur" / "folder").mkdir()
    time.sleep(2.1)
    (spool.path / "cur" / young).write_bytes(MESSAGE)
    name = spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    assert spool.ls()["cur"] == sorted(["folder", young, f"{name},A=1:2,S"])


# One run at a time, and next to nothing for nothing


def test_a_second_run_says_so_and_leaves(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"DOT": Delay(1.5)})
    point_at(spool, server)
    spool.drop(MESSAGE, envelope=TO_B)
    first = subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL)
    wait_until(lambda: in_data(server))
    spool.drop(MESSAGE, envelope=TO_B)
    second = spool.run()
    assert second.returncode == 0 and events(second, "busy")
    assert first.poll() is None
    assert first.wait(30) == 0
    assert len(server.messages) == 2 and len(server.sessions) == 1


def in_data(server: FaultServer) -> bool:
    """Whether DATA has come; server.verbs would wait for the reply."""
    return any("DATA" in session.verbs for session in list(server.sessions))


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def idle_spool(spool: Spool) -> Iterator[Spool]:
    """Nothing is due, but there is something to look at."""
    spool.drop(MESSAGE, envelope=TO_B, not_before=4102444800)
    (spool.path / "cur" / f"{unique_name()},A=1:2,S").write_bytes(MESSAGE)
    yield spool


@pytest.mark.skipif(not measure.have_strace(), reason="strace is missing or may not trace")
def test_an_idle_run_opens_no_socket_and_writes_nothing(idle_spool: Spool) -> None:
    before = snapshot(idle_spool)
    trace = measure.trace([str(plain_program()), *idle_spool.argv("run")[1:]])
    assert trace.returncode == 0 and trace.stderr == "" and trace.stdout == ""
    writing = ("write", "rename", "renameat2", "fsync", "unlinkat")
    for call in ("socket", "connect", "sendto", *writing):
        assert trace.counts[call] == 0, trace.lines(call)
    assert trace.counts["openat"] > 0
    for library in ("libcurl", "libssl", "libgnutls", "smtp.so"):
        assert not trace.lines(library)
    assert snapshot(idle_spool) == before


def test_an_idle_run_costs_under_5_ms_of_cpu(idle_spool: Spool) -> None:
    argv = [str(plain_program()), *idle_spool.argv("run")[1:]]
    assert min(measure.measure(argv).cpu for _ in range(7)) < 0.005


def test_a_dry_run_changes_nothing(spool: Spool) -> None:
    due = spool.drop(MESSAGE, envelope=TO_B)
    spool.drop(MESSAGE, envelope=TO_B, not_before=4102444800)
    broken = spool.drop(b"no header at all\n")
    (spool.path / "new" / "empty").touch()
    before = snapshot(spool)
    done = spool.run("--dry-run")
    assert done.returncode == 0 and done.stderr == ""
    assert sorted(line.split()[:3] for line in done.stdout.splitlines()) == [
        ["would", "fail", f"{broken}:"],
        ["would", "ignore", "empty:"],
        ["would", "send", due],
    ]
    assert "<b@example.net>" in done.stdout and "<a@example.com>" in done.stdout
    assert snapshot(spool) == before


# Being told to stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_is_in_flight_end(
    spool: Spool, fault_server: Callable[..., FaultServer], number: signal.Signals
) -> None:
    server = fault_server(ehlo=["8BITMIME"], answers={"DOT": Delay(1)})
    point_at(spool, server)
    for _ in range(5):
        spool.drop(MESSAGE, envelope=TO_B)
    process = subprocess.Popen(spool.argv("run"), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: in_data(server))
    process.send_signal(number)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0, log
    assert len(server.messages) == 1
    assert spool.counts() == {"tmp": 0, "new": 4, "cur": 1, "failed": 0}
    assert not [name for name in spool.ls()["new"] if fields_of(name)], "no claim is left"
    assert server.verbs[-1] == "QUIT"
    server.check()


def test_a_kill_loses_nothing_and_charges_the_attempt(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"DOT": [Delay(20), None]})
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B)
    process = subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL)
    wait_until(lambda: in_data(server))
    process.kill()
    process.wait()
    assert fields_of(spool.find(name).name)["A"] == "1"
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "2"})


# Moves that can't be made


def drop_rights() -> List[str]:
    """In front of a command: as the user nobody."""
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


def as_nobody(spool: Spool, *args: str) -> "subprocess.CompletedProcess[str]":
    """Runs it as nobody, who can reach the spool."""
    for parent in spool.path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    spool.config.chmod(0o644)
    return subprocess.run(
        [*drop_rights(), *spool.argv(*args)], capture_output=True, text=True, timeout=60
    )


def give_to_nobody(spool: Spool) -> None:
    for folder in MODES:
        os.chown(spool.path / folder, 65534, 65534)
    subprocess.run([*drop_rights(), "true"], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("folder", ["cur", "failed", "tmp", "new"])
def test_nothing_is_sent_that_could_not_be_recorded(
    spool: Spool, fault_server: Callable[..., FaultServer], folder: str
) -> None:
    server = fault_server()
    point_at(spool, server)
    give_to_nobody(spool)
    os.chown(spool.path / folder, 0, 0)
    (spool.path / folder).chmod(0o555)
    name = spool.drop(MESSAGE, envelope=TO_B)
    os.chown(spool.path / "new" / name, 65534, 65534)
    done = as_nobody(spool, "run")
    assert done.returncode == 77, done.stderr
    assert f"/{folder}" in events(done, "error")[0]["text"]
    assert spool.ls()["new"] == [name] and not server.sessions


def immutable(path: Path, on: bool) -> bool:
    flag = "+i" if on else "-i"
    return subprocess.run(["chattr", flag, str(path)], capture_output=True).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a file immutable")
@pytest.mark.skipif(not shutil.which("chattr"), reason="needs chattr of the package e2fsprogs")
def test_one_file_that_can_not_be_renamed_does_not_stop_the_rest(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server)
    stuck = spool.drop(MESSAGE, envelope=TO_B)
    other = spool.drop(MESSAGE, envelope=TO_B)
    if not immutable(spool.path / "new" / stuck, True):
        pytest.skip("this file system has no immutable files")
    try:
        done = spool.run()
    finally:
        immutable(spool.path / "new" / stuck, False)
    assert done.returncode == 77
    assert [line["file"] for line in events(done, "ignored")] == [stuck]
    assert spool.ls()["new"] == [stuck] and spool.state(other)[0] == "cur"
    assert len(server.messages) == 1


@pytest.mark.skipif(not measure.have_strace(), reason="strace is missing or may not trace")
@pytest.mark.parametrize(
    "failing, then, kept",
    [
        # The first rename claims, the second goes to cur/, the third marks in new/.
        ("renameat2:error=ENOSPC:when=2", ["…,A=1,E=2.0.0"], 1),
        ("renameat2:error=ENOSPC:when=2..3", [], 0),
    ],
)
def test_what_is_sent_but_can_not_be_kept_is_not_sent_again(
    spool: Spool,
    fault_server: Callable[..., FaultServer],
    failing: str,
    then: List[str],
    kept: int,
) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B)
    trace = measure.trace(
        spool.argv("run"),
        ("renameat2",),
        options=("-e", f"inject={failing}"),
    )
    assert trace.returncode == 74
    assert "No space left" in trace.stderr
    assert spool.ls()["new"] == [mark.replace("…", unique_of(name)) for mark in then]
    assert spool.run().returncode == 0
    assert len(server.messages) == 1
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": kept, "failed": 0}


@pytest.mark.skipif(not measure.have_strace(), reason="strace is missing or may not trace")
def test_a_failure_that_failed_has_no_room_for_is_deferred(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"RCPT": "550 5.1.1 Unknown"})
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B)
    # The first rename claims, two try to note the relay's words, the fourth goes to failed/.
    trace = measure.trace(
        spool.argv("run"), ("renameat2",), options=("-e", "inject=renameat2:error=ENOSPC:when=2..4")
    )
    assert trace.returncode == 74 and "No space left" in trace.stderr
    place, fields = spool.state(name)
    assert place == "new" and fields["E"] == "4.3.1" and int(fields["T"]) > time.time() + 3600


@pytest.mark.skipif(not measure.have_strace(), reason="strace is missing or may not trace")
@pytest.mark.parametrize("served", [True, False])
def test_a_partial_result_that_the_disk_refuses_repeats_nothing(
    spool: Spool, fault_server: Callable[..., FaultServer], served: bool
) -> None:
    """Where somebody is served it takes a person, else nothing is lost by another attempt."""
    server = fault_server(
        answers={
            "RCPT": {
                "b@example.net": None if served else "550 5.1.1 Unknown",
                "c@example.net": ["451 4.2.1 Busy"],
            }
        }
    )
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=("a@example.com", ["b@example.net", "c@example.net"]))
    trace = measure.trace(
        spool.argv("run"), ("fsync",), options=("-e", "inject=fsync:error=EIO:when=1..2")
    )
    assert trace.returncode == 74 and "Input/output error" in trace.stderr
    place, fields = spool.state(name)
    assert (place, fields["E"]) == (("failed", "5.3.0") if served else ("new", "4.2.1"))
    assert spool.run().returncode == 0
    assert len(server.messages) == served


def test_a_spool_that_is_none(make_spool: Callable[..., Spool], tmp_path: Path) -> None:
    spool = make_spool(init=False)
    spool.write_config({}, url="smtp://127.0.0.1:1", tls="none")
    for command in ("run", "status", "list"):
        done = spool.command(command)
        assert done.returncode == 78
        assert str(spool.path) in done.stderr and "maildrain init" in done.stderr
    spool.path.mkdir()
    done = spool.run()
    assert done.returncode == 78 and "maildrain init" in done.stderr


