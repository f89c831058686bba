"""Foreign things in new/: reported once per run, left alone byte for byte and name for name, and
never in the way of the rest."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from lab import logfmt
from lab.faultserver import FaultServer
from lab.spool import Spool, fields_of, unique_name

MESSAGE = b"Subject: hello\n\ntext\n"
FILE = b"From: a@example.com\nTo: foreign@example.net\n\nnot to be sent\n"
TO_B = ("a@example.com", ["b@example.net"])
NOBODY = 65534


def point_at(spool: Spool, server: FaultServer) -> None:
    spool.write_config({}, url=server.url, tls="none", connections=1)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as sock:
        os.chdir(path.parent)  # such an address is short
        try:
            sock.bind(path.name)
        finally:
            os.chdir(here)


def link_to_a_file(path: Path) -> None:
    target = path.parent.parent.parent / "outside.eml"
    target.write_bytes(FILE)
    path.symlink_to(target)


def link_to_a_message(path: Path) -> None:
    path.symlink_to("../failed/some")
    (path.parent.parent / "failed" / "some").write_bytes(FILE)


def hard_link(path: Path) -> None:
    target = path.parent.parent.parent / "outside.eml"
    target.write_bytes(FILE)
    os.link(target, path)


def hard_linked_within(path: Path) -> None:
    path.write_bytes(FILE)
    os.link(path, path.parent.parent / "tmp" / "other")


KINDS: Dict[str, Callable[[Path], None]] = {
    "directory": Path.mkdir,
    "link to a file": link_to_a_file,
    "link to a message": link_to_a_message,
    "dangling link": lambda path: path.symlink_to("/nowhere/at/all"),
    "socket": unix_socket,
    "fifo": fifo,
    "hard link": hard_link,
    "hard link within": hard_linked_within,
    "empty": Path.touch,
}
NAMES = {
    "dot file": ".letter.eml",
    "dot and fields": ".5.M1P1Q1.h,E=5.1.1",
    "control character": "let\x01ter",
    "newline": "let\nter id=forged",
    "delete": "let\x7fter",
    "no UNIQUE": ",A=1",
    "only info": ":2,S",
    "255 bytes": "x" * 255,
    "255 bytes of fields": "1.M1P1Q1.h" + ",Z=12345678901234" * 14 + ",Y=1234",
}


def look(path: Path) -> object:
    st = path.lstat()
    content: object = None
    if stat.S_ISREG(st.st_mode):
        content = path.read_bytes()
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(path)
    return st.st_ino, st.st_mode, st.st_nlink, st.st_mtime_ns, content


def run_beside(spool: Spool, server: FaultServer, path: Path) -> Dict[str, str]:
    """Runs with something at PATH beside a good message; returns what is said about it."""
    point_at(spool, server)
    before = look(path)
    others = [spool.drop(MESSAGE, name, TO_B) for name in ("0.M1P1Q1.h", "zz")]
    done = spool.run(timeout=20)
    assert done.returncode == 0, done.stderr
    assert look(path) == before
    assert [spool.state(name)[0] for name in others] == ["cur", "cur"]
    assert {message.recipients for message in server.messages} == {("b@example.net",)}
    (ignored,) = [line for line in logfmt.parse(done.stderr) if line["event"] == "ignored"]
    assert ignored["text"]
    assert all(line.isprintable() for line in done.stderr.splitlines())
    server.check()
    return ignored


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fields", ["", ",E=5.1.1", ",X=1", ",A=99"])
def test_kinds(
    spool: Spool, fault_server: Callable[..., FaultServer], kind: str, fields: str
) -> None:
    path = spool.path / "new" / f"{unique_name()}{fields}"
    KINDS[kind](path)
    assert run_beside(spool, fault_server(), path)["file"] == path.name


@pytest.mark.parametrize("case", NAMES)
def test_names(spool: Spool, fault_server: Callable[..., FaultServer], case: str) -> None:
    path = spool.path / "new" / NAMES[case]
    path.write_bytes(FILE)
    said = run_beside(spool, fault_server(), path)["file"]
    assert said == "".join("?" if c < " " or c == "\x7f" else c for c in path.name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x" * 255, b"\0" * 5000),
        ("x" * 255, b"no header\n"),
        ("x" * 251 + ",X=1", FILE),
        ("x" * 245 + ",P=1,S=123", b"no header\n"),
    ],
    ids=["NULs", "no header", "expired", "kept field"],
)
def test_a_full_name_that_would_have_to_fail(
    spool: Spool, fault_server: Callable[..., FaultServer], name: str, content: bytes
) -> None:
    path = spool.path / "new" / name
    path.write_bytes(content)
    assert "too long" in run_beside(spool, fault_server(), path)["text"]


def test_a_full_name_that_has_room_for_its_failure(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    point_at(spool, fault_server())
    spool.drop(b"no header\n", "x" * 247 + ",E=5.1.1")
    assert spool.run().returncode == 0
    assert spool.ls()["failed"] == ["x" * 247 + ",E=5.6.0"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_unreadable(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    point_at(spool, server)
    names = [spool.drop(MESSAGE, envelope=TO_B) for _ in range(2)]
    (spool.path / "new" / names[0]).chmod(0)
    for path in (spool.path, *spool.path.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    os.chown(spool.path / "new" / names[1], NOBODY, NOBODY)
    done = as_nobody(spool, "run")
    assert done.returncode == 0, done.stderr
    (ignored,) = [line for line in logfmt.parse(done.stderr) if line["event"] == "ignored"]
    assert ignored["file"] == names[0] and "readable" in ignored["text"]
    assert spool.ls()["new"] == [names[0]]
    assert spool.state(names[1])[0] == "cur"


def as_nobody(spool: Spool, *args: str) -> "subprocess.CompletedProcess[str]":
    """Runs it as nobody, who can reach the spool."""
    for parent in spool.path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    spool.config.chmod(0o644)
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run(
        [*become, *spool.argv(*args)], capture_output=True, text=True, timeout=60
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_becomes_the_owner_of_the_spool(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """Partial success writes a new file: it must be the owner's, and readable by the group."""
    server = fault_server(answers={"RCPT": {"c@example.net": "450 4.2.1 Busy", "*": None}})
    point_at(spool, server)
    for path in (spool.path, *spool.path.iterdir()):
        os.chown(path, NOBODY, NOBODY)
        path.chmod(0o3770 if path.name in ("spool", "tmp", "new") else 0o2750)
    for parent in spool.path.parents:
        if parent.stat().st_mode & 0o005 != 0o005:
            parent.chmod(0o755)
    name = spool.drop(MESSAGE, envelope=("a@example.com", ["b@example.net", "c@example.net"]))
    os.chown(spool.path / "new" / name, 12345, NOBODY)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    st = spool.find(name).stat()
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (NOBODY, NOBODY, 0o640)


def test_each_is_reported_once_per_run(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """Mail that comes meanwhile makes the run look again: that is no reason to repeat it."""
    more = iter(range(3))
    server = fault_server(
        answers={
            "DOT": lambda _: spool.drop(MESSAGE, envelope=TO_B) and None
            if next(more, None) is not None
            else None
        }
    )
    point_at(spool, server)
    (spool.path / "new" / "folder").mkdir()
    (spool.path / "new" / "nothing").touch()
    spool.drop(MESSAGE, envelope=TO_B)
    for expected in (4, 1):
        done = spool.run()
        reports = [line["file"] for line in logfmt.parse(done.stderr) if line["event"] == "ignored"]
        assert sorted(reports) == ["folder", "nothing"]
        assert len(server.messages) >= expected


def test_many_are_counted_after_a_hundred(spool: Spool) -> None:
    for number in range(150):
        (spool.path / "new" / f".hidden-{number}").touch()
    done = spool.run()
    assert done.returncode == 0
    lines: List[Dict[str, str]] = logfmt.parse(done.stderr)
    assert sum("file" in line for line in lines) == 100
    assert lines[-1]["event"] == "ignored" and lines[-1]["more"] == "50"


@pytest.mark.parametrize("folder", ["tmp", "cur", "failed"])
def test_in_the_other_folders(
    spool: Spool, fault_server: Callable[..., FaultServer], folder: str
) -> None:
    server = fault_server()
    spool.write_config({"keep_sent": "1s"}, url=server.url, tls="none")
    made = []
    for kind, make in KINDS.items():
        if kind not in ("empty", "link to a message", "hard link within"):
            path = spool.path / folder / f"1.M1P1Q1.{kind.replace(' ', '-')}"
            make(path)
            if kind == "hard link":
                continue
            made.append((path, look(path)))
    time.sleep(2.1)
    spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    assert [look(path) for path, _ in made] == [before for _, before in made]


# What is no message


@pytest.mark.parametrize(
    "content",
    [
        b"\0" * 70_000,
        b"\0",
        b"\n",
        b"\nbody without a header\n",
        b"just text\n\nmore\n",
        b" folded: from nothing\n\n",
        b"From a@example.com Mon Jan  1 00:00:00 2024\nTo: b@example.net\n\nmbox\n",
        b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <b@example.net>\n",
        b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <b@example.net>\n\nno header\n",
        b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <b@example.net>\n <c@example.net>\n\n",
        b"X-Maildrain-From: <a@example.com>\nX-Maildrain-Cc: <b@example.net>\nTo: x\n\n",
        b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: b@example.net\nTo: x\n\n",
        b"X-Maildrain-nothing\nTo: x\n\n",
        b"A: " + b"x" * 2_000_000 + b"\n\n",
        b"\xff\xfe" * 4000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_no_message_goes_to_failed(
    spool: Spool, fault_server: Callable[..., FaultServer], content: bytes
) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(content)
    other = spool.drop(MESSAGE, envelope=TO_B)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert spool.state(name) == ("failed", {"E": "5.6.0"})
    assert spool.find(name).read_bytes() == content
    assert fields_of(spool.find(other).name) == {"A": "1"}
    (failed,) = [line for line in logfmt.parse(done.stderr) if line["event"] == "failed"]
    assert failed["status"] == "5.6.0" and failed["text"]
    assert len(server.messages) == 1
    server.check()
