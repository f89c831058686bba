"""Least privilege, with real users: what each may do in the spool, and what a hostile member of its
group can make the sender do. The sender is to be fooled into nothing outside of the spool."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import pytest

from faults.load import Load
from faults.report import Row, line
from faults.world import Clock, run_at
from lab import logfmt, repo
from lab.django_site import MAILDRAIN, STOCK, DjangoSite
from lab.faultserver import FaultServer
from lab.measure import Trace, have_strace, trace
from lab.spool import DIRECTORIES, Spool, config_text, envelope_block

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")
needs_strace = pytest.mark.skipif(not have_strace(), reason="needs strace")

GROUP = 61230
MODES = {"": 0o3770, "tmp": 0o3770, "new": 0o3770, "cur": 0o2750, "failed": 0o2750, "state": 0o2750}
SECRET = b"From: root@example.com\nTo: thief@example.net\n\nThe secret of the machine.\n"
GOOD = envelope_block("a@example.com", ["b@example.net"]) + b"Subject: good\n\nThe good one.\n"
BAIT = envelope_block("m@example.com", ["m@example.net"]) + b"Subject: bait\n\nThe bait.\n"
DUMP = "20251122-101112-1234.log"
RENAME_EXCHANGE = 2
REFUSED = (errno.EPERM, errno.EACCES)

Servers = Callable[..., FaultServer]


class User(NamedTuple):
    uid: int
    groups: Tuple[int, ...]


SENDER = User(61231, (GROUP,))
WEB = User(61232, (GROUP,))
MEMBER = User(61233, (GROUP,))  # the hostile one
STRANGER = User(61234, ())


def become(user: User) -> List[str]:
    """What a command line starts with to be run by USER. The sender's own group is that of the
    spool."""
    gid = GROUP if user is SENDER else user.uid
    groups = ",".join(map(str, user.groups))
    clear = f"--groups={groups}" if groups else "--clear-groups"
    return ["setpriv", f"--reuid={user.uid}", f"--regid={gid}", clear]


def attempt(user: User, action: Callable[[], object]) -> int:
    """Lets USER do it. Returns 0, or the errno that it was refused with."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(user.groups)
            os.setresgid(user.uid, user.uid, user.uid)
            os.setresuid(user.uid, user.uid, user.uid)
            action()
        except OSError as error:
            os._exit(error.errno or 254)
        except BaseException:
            os._exit(254)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def do(user: User, action: Callable[[], object]) -> None:
    """The same where nothing may refuse it."""
    assert attempt(user, action) == 0


def exchange(one: Path, other: Path) -> None:
    """Swaps two names in one step."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_cwd = -100
    names = os.fsencode(one), os.fsencode(other)
    if libc.renameat2(at_cwd, names[0], at_cwd, names[1], RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), f"can't exchange {one} and {other}")


def hand_over(path: Path) -> None:
    """Gives a spool to the sender, as the packages make it."""
    for name, mode in MODES.items():
        os.chown(path / name, SENDER.uid, GROUP)
        (path / name).chmod(mode)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user can enter."""
    path = Path(tempfile.mkdtemp(prefix="maildrain-privilege-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def spool(home: Path) -> Spool:
    made = Spool(home)
    hand_over(made.path)
    return made


@pytest.fixture
def secret(home: Path) -> Path:
    """A file that the sender may read and write, and nobody else."""
    path = home / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    os.chown(path, SENDER.uid, GROUP)
    return path


def put(user: User, path: Path, content: bytes = BAIT, mode: int = 0o640) -> None:
    """USER writes a file at PATH, past tmp/."""

    def write() -> None:
        path.write_bytes(content)
        path.chmod(mode)

    do(user, write)


def send(spool: Spool, timeout: float = 30) -> "subprocess.CompletedProcess[str]":
    """A run by the sender's own user."""
    return subprocess.run(
        [*become(SENDER), *spool.argv("run")], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=timeout, check=False,
    )  # fmt: skip


def look(path: Path) -> Tuple[object, ...]:
    st = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(st.st_mode) else None
    return st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_mtime_ns, content


def wire(server: FaultServer) -> bytes:
    return b"".join(message.data for message in server.received)


def aim(spool: Spool, server: FaultServer) -> None:
    spool.write_config({}, url=server.url, tls="none", connections=1)


# Dropping


def django_drop(home: Path, spool: Spool, backend: str, user: User) -> subprocess.CompletedProcess:
    python = home / "python"
    if not python.exists():
        shutil.copytree(repo.DJANGO_SOURCE, python, ignore=shutil.ignore_patterns("__pycache__"))
    site = DjangoSite(spool.path, backend, python="/usr/bin/python3")
    snippet = "import os\nos.umask(0o027)\nsend_mail('Hi', 'By Django.', None, ['a@example.net'])\n"
    return subprocess.run(
        [*become(user), *site.argv(snippet)], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=60, check=False, cwd="/",
        env={**site.env(), "PYTHONPATH": str(python)},
    )  # fmt: skip


@pytest.mark.parametrize(("backend", "folder"), [(MAILDRAIN, "new"), (STOCK, "")])
def test_the_web_user_drops(
    home: Path, spool: Spool, fault_server: Servers, backend: str, folder: str
) -> None:
    server = fault_server()
    aim(spool, server)
    done = django_drop(home, spool, backend, WEB)
    assert done.returncode == 0, done.stderr
    (dropped,) = [path for path in (spool.path / folder).iterdir() if path.is_file()]
    st = dropped.stat()
    assert (st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)) == (WEB.uid, GROUP, 0o640)
    os.utime(dropped, (time.time() - 60, time.time() - 60))  # for a dump: nobody writes it any more
    run = send(spool)
    assert run.returncode == 0, run.stderr
    assert [message.recipients for message in server.messages] == [("a@example.net",)]
    assert b"By Django." in wire(server)
    server.check()


@pytest.mark.parametrize("backend", [MAILDRAIN, STOCK])
def test_a_stranger_drops_nothing(home: Path, spool: Spool, backend: str) -> None:
    assert django_drop(home, spool, backend, STRANGER).returncode != 0
    assert not any(spool.ls().values())


# What is another's


def overwrite(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY))


def append(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def replace(path: Path) -> None:
    own = path.parent.parent / "tmp" / "own"
    own.touch()
    own.rename(path)


def swap(path: Path) -> None:
    own = path.parent.parent / "tmp" / "own"
    own.touch()
    exchange(own, path)


ACTIONS: Dict[str, Callable[[Path], object]] = {
    "overwrite": overwrite,
    "append": append,
    "truncate": lambda path: os.truncate(path, 0),
    "rename": lambda path: path.rename(path.with_name("mine")),
    "re-queue": lambda path: path.rename(path.parent.parent / "new" / "again"),
    "cancel": lambda path: path.rename(path.parent.parent / "tmp" / "cancelled"),
    "delete": Path.unlink,
    "replace": replace,
    "exchange": swap,
    "chmod": lambda path: path.chmod(0o666),
    "chown": lambda path: os.chown(path, MEMBER.uid, -1),
    "touch": os.utime,
}


def others_files(spool: Spool) -> List[Path]:
    """A file of somebody else in each place."""
    made = []
    for owner, place in (
        (WEB, "tmp/1.M1P1Q1.h"), (WEB, "new/1.M2P1Q1.h"), (SENDER, "new/1.M3P1Q1.h,A=1,E=4.0.0"),
        (SENDER, "cur/1.M4P1Q1.h,A=1:2,S"), (WEB, "cur/1.M5P1Q1.h,A=1:2,S"),
        (SENDER, "failed/1.M6P1Q1.h,E=5.0.0"), (WEB, "failed/1.M7P1Q1.h,E=5.0.0"),
    ):  # fmt: skip
        path = spool.path / place
        path.write_bytes(GOOD)
        os.chown(path, owner.uid, GROUP)
        path.chmod(0o640)
        made.append(path)
    return made


@pytest.mark.parametrize("action", ACTIONS)
def test_a_member_changes_nothing_of_others(spool: Spool, action: str) -> None:
    for path in others_files(spool):
        before = look(path)
        assert attempt(MEMBER, lambda: ACTIONS[action](path)) in REFUSED, path
        assert look(path) == before
        (spool.path / "tmp" / "own").unlink(missing_ok=True)


@pytest.mark.parametrize("action", ["rename", "delete", "overwrite", "replace", "exchange"])
def test_a_member_changes_no_dump_of_others(spool: Spool, action: str) -> None:
    dump = spool.path / DUMP
    put(WEB, dump, b"Subject: x\n\nx\n\n" + b"-" * 79 + b"\n")
    before = look(dump)

    def act() -> None:
        own = spool.path / "own"
        own.touch()
        moves = {"replace": lambda: own.rename(dump), "exchange": lambda: exchange(own, dump)}
        moves.get(action, lambda: ACTIONS[action](dump))()

    assert attempt(MEMBER, act) in REFUSED
    assert look(dump) == before


@pytest.mark.parametrize("place", ["cur", "failed"])
def test_a_member_adds_nothing_to_what_is_done(spool: Spool, place: str) -> None:
    target = spool.path / place / "1.M1P1Q1.h"
    assert attempt(MEMBER, target.touch) in REFUSED
    assert attempt(MEMBER, target.mkdir) in REFUSED
    assert attempt(MEMBER, lambda: target.symlink_to("/etc")) in REFUSED
    put(MEMBER, spool.path / "tmp" / "own")
    assert attempt(MEMBER, lambda: (spool.path / "tmp" / "own").rename(target)) in REFUSED
    assert attempt(MEMBER, lambda: os.link(spool.path / "tmp" / "own", target)) in REFUSED


@pytest.mark.parametrize("place", DIRECTORIES)
def test_a_member_can_not_move_the_folders(spool: Spool, place: str) -> None:
    folder, evil = spool.path / place, spool.path / "evil"
    do(MEMBER, evil.mkdir)
    assert attempt(MEMBER, lambda: folder.rename(spool.path / "old")) in REFUSED
    assert attempt(MEMBER, lambda: exchange(evil, folder)) in REFUSED
    assert attempt(MEMBER, lambda: evil.rename(folder)) in (*REFUSED, errno.ENOTEMPTY)
    assert attempt(MEMBER, folder.rmdir) in REFUSED
    assert attempt(MEMBER, lambda: folder.chmod(0o777)) in REFUSED


def test_a_stranger_sees_nothing(spool: Spool) -> None:
    paths = others_files(spool)
    put(WEB, spool.path / DUMP, BAIT, 0o644)
    for path in (*paths, spool.path / DUMP):
        assert attempt(STRANGER, path.read_bytes) == errno.EACCES
        assert attempt(STRANGER, path.lstat) == errno.EACCES
        assert attempt(STRANGER, path.unlink) == errno.EACCES
    for name in MODES:
        assert attempt(STRANGER, lambda: os.listdir(spool.path / name)) == errno.EACCES
        assert attempt(STRANGER, (spool.path / name / "x").touch) == errno.EACCES


def test_the_sender_needs_no_right_on_files_to_move_them(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"RCPT": {"m@example.net": "550 5.1.1 Unknown", "*": None}})
    aim(spool, server)
    put(WEB, spool.path / "new" / "1.M1P1Q1.h", GOOD)
    put(MEMBER, spool.path / "new" / "1.M2P1Q1.h", BAIT)
    assert send(spool).returncode == 0
    assert spool.state("1.M1P1Q1.h")[0] == "cur"
    assert spool.state("1.M2P1Q1.h")[0] == "failed"
    assert spool.find("1.M1P1Q1.h").stat().st_uid == WEB.uid
    server.check()


# What the sender touches

PATH_CALLS = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+|\?)")
WRITES = re.compile(r"O_(WRONLY|RDWR|CREAT|TRUNC|APPEND)")
CHANGES = re.compile(
    "rename|link|unlink|mkdir|rmdir|symlink|mknod|f?truncate|f?chmod|[fl]?chown|f?utime|creat|"
    "[fl]?setxattr|u?mount|chroot|f?chdir"
)


class Call(NamedTuple):
    """A traced system call with a path: its name, its directories and paths in order."""

    name: str
    text: str

    @property
    def paths(self) -> List[Tuple[str, str]]:
        """Directory and path: ("/…/spool/new", "1.M1P1Q1.h"); AT_FDCWD or "" for none."""
        directory, path = r"(AT_FDCWD|\d+<[^>]*>|\d+)(?:<[^>]*>)?, ", r'"((?:[^"\\]|\\.)*)"'
        pairs = re.findall(f"(?:{directory})?{path}", self.text)
        return [(re.sub(r"^\d+<|>$", "", at), path) for at, path in pairs]

    @property
    def writes(self) -> bool:
        if self.name in ("open", "openat", "openat2"):
            return bool(WRITES.search(self.text))
        return bool(CHANGES.match(self.name))


def calls_of(traced: Trace) -> List[Call]:
    """The calls with paths after the program itself was started."""
    start = traced.text.rindex("execve(")
    found = map(PATH_CALLS.match, traced.text[start:].splitlines()[1:])
    return [Call(match[1], match[2]) for match in found if match]


def traced_run(spool: Spool, user: User | None) -> Trace:
    """A run under strace: by USER, or by root for None."""
    argv = [str(repo.plain_program()), *spool.argv("run")[1:]]
    return trace(
        [*(become(user) if user else []), *argv], ("%file", "fchmod", "fchown", "ftruncate",
        "setuid", "setgid", "setgroups"), options=("-y",),
    )  # fmt: skip


@pytest.fixture
def loaded(home: Path) -> Iterator[Load]:
    """A spool of the sender with mail that takes every path through a run."""
    with Load(home / "load") as load:
        (home / "load").chmod(0o755)
        hand_over(load.spool.path)
        load.drop()
        yield load


def outside(spool: Spool, call: Call) -> bool:
    """Whether a call that writes names anything but a plain name in a folder of the spool."""
    inside = {str(spool.path), *(str(spool.path / name) for name in (*DIRECTORIES, "state"))}
    if call.name.startswith("f") and not call.paths:
        return not re.match(rf"\d+<{re.escape(str(spool.path))}/", call.text)
    return not call.paths or any(
        at not in inside or "/" in path or path in ("", ".", "..") for at, path in call.paths
    )


@needs_strace
@pytest.mark.parametrize("user", [SENDER, None], ids=["sender", "root"])
def test_the_sender_writes_in_the_spool_alone(loaded: Load, user: User | None) -> None:
    traced = traced_run(loaded.spool, user)
    assert traced.returncode == 0, traced.stderr
    writing = [call for call in calls_of(traced) if call.writes]
    kinds = {call.name for call in writing}
    assert {"openat", "renameat2", "unlinkat", "fchmod"} <= kinds, "the load takes every path"
    assert [call for call in writing if outside(loaded.spool, call)] == []
    loaded.recover()
    row = Row("traced")
    loaded.account(row)
    assert row.good, line(row)


@needs_strace
@pytest.mark.parametrize("user", [SENDER, None], ids=["sender", "root"])
def test_the_spool_is_opened_once_by_its_path(loaded: Load, user: User | None) -> None:
    """Then all goes through its descriptors, so a path that changes leads nowhere else."""
    spool = loaded.spool
    below = [
        call
        for call in calls_of(traced_run(spool, user))
        if any(f"{at}/{path}".startswith(("AT_FDCWD/" + str(spool.path), "/" + str(spool.path)))
               for at, path in call.paths)
    ]  # fmt: skip
    opened = [call for call in below if call.name == "openat"]
    looked = [call for call in below if call.name != "openat"]
    assert len(opened) == 1 and [path for _, path in opened[0].paths] == [str(spool.path)]
    # Root looks whose the spool is, to become that user.
    assert len(looked) == (0 if user else 1), looked
    assert all("stat" in call.name for call in looked)


@needs_strace
def test_no_link_is_followed_in_the_spool(loaded: Load) -> None:
    spool = loaded.spool
    relative = [
        (call, at, path)
        for call in calls_of(traced_run(spool, SENDER))
        for at, path in call.paths
        if at.startswith(str(spool.path))
    ]
    assert len(relative) > 30
    for call, _, path in relative:
        assert "/" not in path, call
        if call.name == "openat" and path != ".":
            assert "O_NOFOLLOW" in call.text, call
        if call.name in ("newfstatat", "statx") and path:
            assert "AT_SYMLINK_NOFOLLOW" in call.text, call


# Foreign things, made by a hostile member


def device(path: Path) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # such an address is short
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path.name)
    with contextlib.suppress(OSError):  # a child that has become somebody else stays
        os.chdir(here)


Trap = Tuple[User, Callable[[Path, Path], object]]  # who makes it, and how: path, secret

ROOT = User(0, (0,))
TRAPS: Dict[str, Trap] = {
    "link to a secret": (MEMBER, lambda path, secret: path.symlink_to(secret)),
    "link to a folder": (MEMBER, lambda path, secret: path.symlink_to(secret.parent)),
    "link to a device": (MEMBER, lambda path, secret: path.symlink_to("/dev/zero")),
    "link to its own input": (MEMBER, lambda path, secret: path.symlink_to("/proc/self/fd/0")),
    "hard link to a secret": (ROOT, lambda path, secret: os.link(secret, path)),
    "fifo": (MEMBER, lambda path, secret: os.mkfifo(path, 0o666)),
    "socket": (MEMBER, lambda path, secret: unix_socket(path)),
    "device": (ROOT, lambda path, secret: device(path)),
    "folder": (MEMBER, lambda path, secret: path.mkdir(0o777)),
    "unreadable": (MEMBER, lambda path, secret: (path.write_bytes(BAIT), path.chmod(0))),
}


@pytest.mark.parametrize("name", ["1.M1P1Q1.h", "1.M1P1Q1.h,A=1,E=5.1.1", "1.M1P1Q1.h,X=1",
                                  "1.M1P1Q1.h,A=1,C=elsewhere-1,T=1"])  # fmt: skip
@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_in_new(
    spool: Spool, secret: Path, fault_server: Servers, trap: str, name: str
) -> None:
    server = fault_server()
    aim(spool, server)
    user, make = TRAPS[trap]
    path = spool.path / "new" / name
    do(user, lambda: make(path, secret))
    before = look(path), look(secret)
    put(WEB, spool.path / "new" / "2.M1P1Q1.h", GOOD)
    done = send(spool)
    assert done.returncode == 0, done.stderr
    (said,) = [event for event in logfmt.parse(done.stderr) if event["event"] == "ignored"]
    assert said["file"] == name
    assert (look(path), look(secret)) == before
    assert spool.state("2.M1P1Q1.h")[0] == "cur"
    assert [message.recipients for message in server.messages] == [("b@example.net",)]
    server.check()


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_among_the_dumps(
    spool: Spool, secret: Path, fault_server: Servers, trap: str
) -> None:
    record = SECRET + b"\n" + b"-" * 79 + b"\n"
    secret.write_bytes(record)
    server = fault_server()
    aim(spool, server)
    user, make = TRAPS[trap]
    path = spool.path / DUMP
    do(user, lambda: make(path, secret))
    before = look(path), look(secret)
    put(WEB, spool.path / "new" / "2.M1P1Q1.h", GOOD)
    done = send(spool)
    assert done.returncode == 0, done.stderr
    (said,) = [event for event in logfmt.parse(done.stderr) if event["event"] == "dump"]
    assert said["file"] == DUMP
    assert (look(path), look(secret)) == before
    assert spool.counts()["cur"] == 1 and spool.counts()["failed"] == 0
    assert b"secret" not in wire(server)
    server.check()


@pytest.mark.skipif(bool(Clock.why_not()), reason=Clock.why_not())
def test_traps_where_a_run_cleans(
    home: Path, spool: Spool, secret: Path, fault_server: Servers
) -> None:
    """What is old goes, but for what is no plain file. (In cur/ the sender himself would have had
    to put it.)"""
    spool.write_config({"keep_sent": "1s"}, url=fault_server().url, tls="none")
    put(WEB, spool.path / "new" / "2.M1P1Q1.h", GOOD)  # cur/ is read at least when mail was sent
    traps, plain = [], []
    for place in ("tmp", "cur", "failed"):
        for number, trap in enumerate(TRAPS):
            if TRAPS[trap][0] is MEMBER and trap != "unreadable":
                traps.append(spool.path / place / f"1.M{number}P1Q1.h,A=1:2,S")
                TRAPS[trap][1](traps[-1], secret)
        plain.append(spool.path / place / "1.M99P1Q1.h,A=1:2,S")
        plain[-1].write_bytes(GOOD)
    before = [look(path) for path in (*traps, secret)]
    done = run_at(spool, Clock(home, 40 * 3600))
    assert done.returncode == 0, done.stderr
    assert [path.exists() for path in plain] == [False, False, True]
    assert [look(path) for path in (*traps, secret)] == before


def test_the_kernel_keeps_a_member_from_hard_links(spool: Spool, secret: Path) -> None:
    protected = Path("/proc/sys/fs/protected_hardlinks")
    if not protected.exists() or protected.read_text().strip() == "0":
        pytest.skip("fs.protected_hardlinks is off")
    link = spool.path / "new" / "1.M1P1Q1.h"
    assert attempt(MEMBER, lambda: os.link(secret, link)) == errno.EPERM


def test_a_set_uid_file_makes_none_of_the_senders(
    home: Path, spool: Spool, fault_server: Servers
) -> None:
    """Partial success copies the file, and the copy is the sender's: it must not be a program that
    runs as the sender."""
    server = fault_server(answers={"RCPT": {"later@example.net": "451 4.2.1 Busy", "*": None}})
    aim(spool, server)
    block = envelope_block("m@example.com", ["now@example.net", "later@example.net"])
    put(MEMBER, spool.path / "new" / "1.M1P1Q1.h", block + b"Subject: x\n\nx\n", 0o6755)
    put(MEMBER, spool.path / "new" / "1.M2P1Q1.h", BAIT, 0o6755)
    assert send(spool).returncode == 0
    copy, moved = spool.find("1.M1P1Q1.h").stat(), spool.find("1.M2P1Q1.h").stat()
    assert copy.st_uid == SENDER.uid and not copy.st_mode & (stat.S_ISUID | stat.S_ISGID)
    assert moved.st_uid == MEMBER.uid
    server.check()


def test_unreadable_after_the_drop(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    path = spool.path / "new" / "1.M1P1Q1.h"
    put(WEB, path, GOOD)
    do(WEB, lambda: path.chmod(0))
    for _ in range(2):
        done = send(spool)
        assert done.returncode == 0 and "not readable" in done.stderr
        assert spool.ls()["new"] == [path.name]
    do(WEB, lambda: path.chmod(0o640))
    assert send(spool).returncode == 0
    assert spool.state(path.name)[0] == "cur"


# Between one look and the next


def lure(path: Path, secret: Path, kind: str) -> None:
    """Puts something else in the place of a member's own file."""
    bait = path.parent.parent / "tmp" / f"lure-{os.getpid()}"
    if kind == "folder":
        path.unlink()
        path.mkdir(0o777)
        return
    if kind == "link":
        bait.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(bait, 0o666)
    else:
        bait.write_bytes(BAIT.replace(b"The bait.", b"Another bait."))
    bait.rename(path)


@pytest.mark.parametrize("partial", [False, True], ids=["sent", "partly sent"])
@pytest.mark.parametrize("kind", ["link", "fifo", "file", "folder"])
@pytest.mark.parametrize("event", ["MAIL", "BODY", "DOT"])
def test_replaced_between_claim_and_record(
    spool: Spool, secret: Path, fault_server: Servers, event: str, kind: str, partial: bool
) -> None:
    """The open file is what is sent. What stands in its place is moved, as its name is; nothing
    behind it is."""
    errors: List[int] = []

    def swap_it(_: Any) -> None:
        for path in (spool.path / "new").glob("1.M1P1Q1.h,*C=*"):
            errors.append(attempt(MEMBER, lambda: lure(path, secret, kind)))

    later = {"later@example.net": ["451 4.2.1 Busy"]} if partial else {}
    server = fault_server(answers={event: swap_it, "RCPT": {**later, "*": None}})
    aim(spool, server)
    text = BAIT.replace(b"X-Maildrain-To", b"X-Maildrain-To: <later@example.net>\nX-Maildrain-To")
    put(MEMBER, spool.path / "new" / "1.M1P1Q1.h", text if partial else BAIT)
    before = look(secret)
    done = send(spool)
    assert 0 in errors, f"nothing was swapped: {errors}"
    assert look(secret) == before
    assert SECRET not in wire(server) and b"Another" not in wire(server)
    assert done.returncode in (0, os.EX_IOERR), done.stderr
    put(WEB, spool.path / "new" / "2.M1P1Q1.h", GOOD)
    server.answer(event, None)
    done = send(spool)
    assert spool.state("2.M1P1Q1.h")[0] == "cur", done.stderr
    server.check()


SWAPPER = """
import os, sys, time
new, tmp, secret, bait = sys.argv[1:]
end = time.monotonic() + 60
number = 0
while time.monotonic() < end:
    number += 1
    for name in os.listdir(new):
        if not name.startswith("9."):
            continue
        try:
            if number % 2:
                os.symlink(secret, f"{tmp}/lure")
            else:
                with open(f"{tmp}/lure", "wb") as file:
                    file.write(bytes.fromhex(bait))
            os.rename(f"{tmp}/lure", f"{new}/{name}")
        except OSError:
            try:
                os.unlink(f"{tmp}/lure")
            except OSError:
                pass
    name = f"{new}/9.M{number % 50}P1Q1.h"
    if not os.path.lexists(name):
        with open(name, "wb") as file:
            file.write(bytes.fromhex(bait))
"""


def test_a_race_of_links_and_messages(spool: Spool, secret: Path, fault_server: Servers) -> None:
    """A member swaps what is his for links to a secret and back, as fast as he can."""
    server = fault_server()
    aim(spool, server)
    before = look(secret)
    places = [str(spool.path / "new"), str(spool.path / "tmp"), str(secret), BAIT.hex()]
    hostile = subprocess.Popen(
        [*become(MEMBER), "/usr/bin/python3", "-c", SWAPPER, *places], stdin=subprocess.DEVNULL
    )
    good = []
    try:
        for number in range(25):
            good.append(f"8.M{number}P1Q1.h")
            put(WEB, spool.path / "new" / good[-1], GOOD)
            done = send(spool)
            assert done.returncode in (0, os.EX_IOERR, os.EX_NOPERM), done.stderr
    finally:
        hostile.kill()
        hostile.wait()
    send(spool)
    assert [spool.state(name)[0] for name in good] == ["cur"] * len(good)
    assert look(secret) == before
    assert b"secret" not in wire(server) and b"The bait." in wire(server)
    assert {message.recipients for message in server.messages} <= {
        ("b@example.net",), ("m@example.net",),
    }  # fmt: skip


# The spool's own path


def second_spool(home: Path) -> Path:
    """site/spool and decoy/spool, each with its mail; the config names the first."""
    for place in ("site", "decoy"):
        (home / place).mkdir()
        config = home / f"{place}.conf"
        config.write_text(config_text({"spool": home / place / "spool"}, {}))
        subprocess.run(
            [str(repo.program()), "-c", str(config), "init"], check=True, capture_output=True
        )
        hand_over(home / place / "spool")
    return home / "decoy"


def fill(folder: Path, count: int, word: str) -> None:
    for number in range(count):
        block = envelope_block("a@example.com", [f"{word}{number}@example.net"])
        put(WEB, folder / "new" / f"1.M{number}P1Q1.{word}", block + b"Subject: x\n\nx\n")


def swapped_site(home: Path, server: FaultServer) -> Spool:
    second_spool(home)
    spool = Spool(home, init=False)
    spool.path = home / "site" / "spool"
    aim(spool, server)
    fill(spool.path, 30, "site")
    fill(home / "decoy" / "spool", 30, "decoy")
    return spool


def test_a_run_goes_on_in_the_folders_that_it_opened(home: Path, fault_server: Servers) -> None:
    swaps: List[int] = []

    def swap_once(_: Any) -> None:
        if not swaps:
            swaps.append(1)
            exchange(home / "site", home / "decoy")

    server = fault_server(answers={"BODY": swap_once})
    spool = swapped_site(home, server)
    done = send(spool)
    assert done.returncode == 0, done.stderr
    assert swaps and len(server.messages) == 30
    assert all("site" in message.recipients[0] for message in server.messages)
    now = home / "decoy" / "spool"
    assert len(os.listdir(now / "cur")) == 30 and not os.listdir(now / "new")
    assert len(os.listdir(home / "site" / "spool" / "new")) == 30
    assert not os.listdir(home / "site" / "spool" / "cur")
    server.check()


def test_the_parent_is_swapped_all_the_time(home: Path, fault_server: Servers) -> None:
    """Each run drains the one spool or the other, never half of each."""
    server = fault_server()
    spool = swapped_site(home, server)
    stop = threading.Event()
    swaps = 0

    def swap_on() -> None:
        nonlocal swaps
        while not stop.is_set():
            exchange(home / "site", home / "decoy")
            swaps += 1

    thread = threading.Thread(target=swap_on)
    thread.start()
    try:
        for number in range(20):
            done = send(spool)
            assert done.returncode == 0, done.stderr
            words = [message.recipients[0][:4] for message in server.messages]
            assert len(words) in (0, 30, 60), f"run {number}"
            if len(words) == 60:
                break
    finally:
        stop.set()
        thread.join()
    assert swaps > 20
    sent = sorted(message.recipients[0] for message in server.messages)
    assert len(sent) == len(set(sent)) and len(sent) in (30, 60)
    for place in ("site", "decoy"):
        assert len(os.listdir(home / place / "spool" / "cur")) in (0, 30)
    server.check()


# The owner's mistakes


@pytest.mark.parametrize(
    ("place", "mode"),
    [
        ("", 0o2770), ("", 0o770), ("", 0o3777), ("", 0o777), ("tmp", 0o2770), ("tmp", 0o3777),
        ("new", 0o2770), ("new", 0o3777), ("new", 0o770), ("cur", 0o2770), ("cur", 0o2755),
        ("failed", 0o2770), ("failed", 0o2777),
    ],
)  # fmt: skip
def test_verify_names_a_mode_that_lets_others_in(
    spool: Spool, fault_server: Servers, place: str, mode: int
) -> None:
    aim(spool, fault_server())
    (spool.path / place).chmod(mode)
    done = spool.command("verify")
    assert done.returncode == os.EX_CONFIG
    (problem,) = [text for text in done.stdout.splitlines() if "PROBLEM" in text]
    assert f"{spool.path}/{place}" in problem and f"{mode:04o}" in problem
    assert 'to do: mend it with "maildrain init"' in done.stdout
    assert spool.command("init").returncode == 0
    hand_over(spool.path)  # the test's users are not the machine's
    assert spool.command("verify").returncode == 0


@pytest.mark.parametrize("place", DIRECTORIES)
def test_a_folder_swapped_for_a_link(
    home: Path, spool: Spool, fault_server: Servers, place: str
) -> None:
    """Without the sticky bit a member can do it. A run then says so and touches nothing."""
    aim(spool, fault_server())
    spool.path.chmod(0o2770)
    outside = home / "outside"
    outside.mkdir(0o777)
    outside.chmod(0o777)
    (outside / "1.M1P1Q1.h").write_bytes(SECRET)
    before = look(outside / "1.M1P1Q1.h")

    def trap() -> None:
        (spool.path / place).rename(spool.path / "old")
        (spool.path / place).symlink_to(outside)

    do(MEMBER, trap)
    for argv in ([*become(SENDER), *spool.argv("run")], spool.argv("run"), spool.argv("init")):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode not in (0, os.EX_TEMPFAIL)
        assert f"{spool.path}/{place}" in done.stderr or f"directory {place}" in done.stderr
    assert look(outside / "1.M1P1Q1.h") == before
    assert os.listdir(outside) == ["1.M1P1Q1.h"]
    assert stat.S_IMODE(outside.stat().st_mode) == 0o777 and outside.stat().st_uid == 0


def test_a_folder_of_somebody_else_is_found_out(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server())
    spool.path.chmod(0o2770)

    def trap() -> None:
        (spool.path / "new").rename(spool.path / "old")
        (spool.path / "new").mkdir()
        (spool.path / "new").chmod(0o770)

    do(MEMBER, trap)
    spool.path.chmod(0o3770)
    (spool.path / "new").chmod(0o3770)
    done = spool.command("verify")
    assert done.returncode == os.EX_CONFIG and "another user" in done.stdout


# Root by mistake


@needs_strace
def test_root_becomes_the_owner_before_the_spool_is_opened(loaded: Load) -> None:
    traced = traced_run(loaded.spool, None)
    assert traced.returncode == 0, traced.stderr
    text = traced.text
    dropped = [text.index(f"{call}(") for call in ("setgroups", "setgid", "setuid")]
    assert dropped == sorted(dropped)
    assert f"setgid({GROUP})" in text and f"setuid({SENDER.uid})" in text
    opened = text.index(f'openat(AT_FDCWD{"</" if "AT_FDCWD</" in text else ", "}')
    assert opened < dropped[0], "the libraries and the config are read first"
    (spool_opened,) = re.finditer(rf'openat\(AT_FDCWD[^"]*"{loaded.spool.path}"', text)
    assert dropped[-1] < spool_opened.start()


def test_root_leaves_nothing_of_its_own(loaded: Load) -> None:
    done = loaded.spool.run()
    assert done.returncode == 0, done.stderr
    made = [path for folder in DIRECTORIES for path in (loaded.spool.path / folder).iterdir()]
    # What root dropped is root's still; what the run has written is the sender's.
    owners = {path.stat().st_uid for path in made}
    assert owners == {0, SENDER.uid}
    assert {path.stat().st_gid for path in made} == {GROUP}


def test_root_is_refused_what_the_owner_is(spool: Spool, fault_server: Servers) -> None:
    """So it has given up its rights for good."""
    server = fault_server()
    aim(spool, server)
    path = spool.path / "new" / "1.M1P1Q1.h"
    put(WEB, path, GOOD, 0)
    done = spool.run()
    assert done.returncode == 0 and "not readable" in done.stderr
    assert not server.received and spool.ls()["new"] == [path.name]


@pytest.mark.parametrize("command", ("run", "verify"))
def test_programs_of_a_relay_run_as_the_owner_of_the_spool(
    home: Path, fault_server: Servers, command: str
) -> None:
    """Root starts it, as cron does: they are the owner's, and find the owner's settings."""
    site = Spool(home)
    server = fault_server()
    program = home / "who"
    program.write_text('#!/bin/sh\necho "$(id -un) $USER $LOGNAME $HOME" >&2\nexit 1\n')
    program.chmod(0o755)
    site.write_config(
        url=server.url, tls="none", connections=1, user="u", password_command=[str(program)]
    )
    site.drop(GOOD)
    for path in (site.path, *site.path.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")
    done = site.command(command)
    assert done.returncode == 75, done.stderr
    assert "nobody nobody nobody /nonexistent" in done.stdout + done.stderr
