"""Passwords that a program prints; and where else a secret could be seen: nowhere."""

from __future__ import annotations

import base64
import errno
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from lab import logfmt, repo
from lab.faultactions import Delay
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.spool import Spool

MESSAGE = b"From: a@example.com\nTo: b@example.test\nSubject: secrets\n\nText\n"
USER = "site"
PASSWORD = "c0rrect h0rse"
TOKEN = "ya29.s3cr3t-token"
ALL = (*DEFAULT_EHLO, "AUTH PLAIN XOAUTH2")
NOBODY = 65534

Make = Callable[..., FaultServer]


def program(directory: Path, script: str, name: str = "give") -> List[str]:
    """A program for the shell, SCRIPT."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return [str(path)]


def spellings() -> List[bytes]:
    plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
    token = base64.b64encode(f"user={USER}\1auth=Bearer {TOKEN}\1\1".encode())
    return [PASSWORD.encode(), TOKEN.encode(), plain, token]


def assert_none(*places: bytes) -> None:
    for spelling in spellings():
        assert not [place for place in places if spelling in place]


# A password that a program prints


def test_password_from_a_program(spool: Spool, fault_server: Make, tmp_path: Path) -> None:
    """As pass(1) has it: the first line is the password, what follows is about it."""
    server = fault_server(ehlo=ALL, users={USER: PASSWORD}, require_auth=True)
    command = program(tmp_path, f"echo >>{tmp_path}/asked; echo '{PASSWORD}'; echo user: {USER}")
    spool.write_config(
        url=server.url, tls="none", user=USER, password_command=[*command, "show", "smtp"]
    )
    assert spool.run().returncode == 0
    assert not (tmp_path / "asked").exists(), "nobody is asked without mail"
    for _ in range(5):
        spool.drop(MESSAGE)
    done = spool.run()
    assert (done.returncode, len(server.messages)) == (0, 5), done.stderr
    assert (tmp_path / "asked").read_text() == "\n"
    assert spool.command("verify").returncode == 0
    server.settle()
    logins = [login for session in server.sessions for login in session.credentials]
    assert set(logins) == {("PLAIN", USER, PASSWORD)}
    server.check()


@pytest.mark.parametrize(
    "script, why",
    [
        ("echo 'no such entry' >&2; exit 1", "failed with exit status 1: no such entry"),
        ("echo; echo x", "printed no password on the first line of its output"),
        ("printf 'c0rrect\\th0rse\\n'", "printed a control character on the first line"),
    ],
)
def test_program_without_a_password(
    spool: Spool, fault_server: Make, tmp_path: Path, script: str, why: str
) -> None:
    """The mail waits, uncharged, and the relay is not even called."""
    server = fault_server(ehlo=ALL)
    command = program(tmp_path, script)
    spool.write_config(url=server.url, tls="none", user=USER, password_command=command)
    name = spool.drop(MESSAGE)
    done = spool.run()
    assert done.returncode == os.EX_TEMPFAIL
    (event,) = logfmt.parse(done.stderr)
    assert event["event"] == "relay-down"
    assert event["reply"].startswith(f"password_command: {command[0]} {why}")
    assert spool.ls()["new"] == [name] and not server.sessions
    verified = spool.command("verify")
    assert verified.returncode == os.EX_TEMPFAIL and why in verified.stdout
    assert "run password_command by hand" in verified.stdout
    assert "c0rrect" not in done.stderr + verified.stdout


def test_program_that_is_missing(spool: Spool, fault_server: Make) -> None:
    server = fault_server(ehlo=ALL)
    spool.write_config(
        url=server.url, tls="none", user=USER, password_command=["/nowhere/pass", "show"]
    )
    spool.drop(MESSAGE)
    done = spool.run()
    assert done.returncode == os.EX_TEMPFAIL
    (event,) = logfmt.parse(done.stderr)
    assert event["reply"].startswith("password_command: can't start /nowhere/pass: No such file")


# Looking at the processes


def shown(pid: int) -> List[bytes]:
    """What the system shows of a process; of another's environment, only to root."""
    found = []
    for name in ("cmdline", "environ", "comm"):
        try:
            found.append(Path(f"/proc/{pid}/{name}").read_bytes())
        except PermissionError:
            assert name == "environ"
    return found


def test_program_is_shown_no_secret(spool: Spool, fault_server: Make, tmp_path: Path) -> None:
    """Neither in its words nor in its environment, and it finds none at its parent's."""
    server, spare = fault_server(ehlo=ALL), fault_server(ehlo=ALL)
    look = "for p in $$ $PPID; do cat /proc/$p/cmdline /proc/$p/environ; done"
    command = program(tmp_path, f"({look}) >{tmp_path}/seen 2>/dev/null\necho {TOKEN}")
    relays = {
        "main": {"url": server.url, "tls": "none", "user": USER, "auth": "xoauth2",
                 "token_command": command},
        "spare": {"url": spare.url, "tls": "none", "user": USER,
                  "password_file": spool.secret(PASSWORD)},
    }  # fmt: skip
    spool.write_config(relays=relays)  # type: ignore[arg-type]
    spool.drop(MESSAGE)
    done = spool.run("--verbose")
    assert done.returncode == 0, done.stderr
    seen = (tmp_path / "seen").read_bytes()
    assert command[0].encode() in seen and b"PATH=" in seen and b"maildrain\0-c\0" in seen
    assert_none(seen, done.stdout.encode(), done.stderr.encode())


LOGINS: Dict[str, Callable[[Spool, Path], Dict[str, object]]] = {
    "file": lambda spool, _: {"password_file": spool.secret(PASSWORD)},
    "password": lambda _, place: {"password_command": program(place, f"echo '{PASSWORD}'")},
    "token": lambda _, place: {
        "auth": "xoauth2", "token_command": program(place, f"echo {TOKEN}"),
    },
}  # fmt: skip


def start(
    spool: Spool, server: FaultServer, place: Path, login: str, *prefix: str, plain: bool = False
) -> "subprocess.Popen[bytes]":
    """A run that waits for the answer to its login."""
    options = LOGINS[login](spool, place)
    spool.write_config(url=server.url, tls="none", user=USER, **options)  # type: ignore[arg-type]
    spool.drop(MESSAGE)
    argv = spool.argv("run", "--verbose")
    if plain:
        argv[0] = str(repo.plain_program())
    process = subprocess.Popen(
        [*prefix, *argv], cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    end = time.monotonic() + 20
    while not any("AUTH" in session.verbs for session in list(server.sessions)):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    return process


@pytest.fixture
def slow(fault_server: Make) -> FaultServer:
    """Takes any login, in a while."""
    return fault_server(ehlo=ALL, answers={"AUTH": Delay(0.7)})


@pytest.mark.parametrize("login", LOGINS)
def test_run_that_logs_in_shows_no_secret(
    spool: Spool, slow: FaultServer, tmp_path: Path, login: str
) -> None:
    with start(spool, slow, tmp_path, login) as process:
        seen = shown(process.pid)
        stdout, stderr = process.communicate(timeout=30)
    assert process.returncode == 0 and len(slow.messages) == 1
    assert b"run\0--verbose\0" in seen[0]
    assert_none(*seen, stdout, stderr)
    assert slow.sessions[0].credentials[0][2] in (PASSWORD, TOKEN)


def aborts_with_core(process: "subprocess.Popen[bytes]") -> bool:
    """Whether SIGABRT has it leave a core, in a file or for a program that gets it."""
    os.kill(process.pid, signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = -signal.SIGABRT
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.fixture
def cores() -> Iterator[None]:
    """Processes started in here may leave cores."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        pytest.skip("this user may not raise the limit of cores")
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.usefixtures("cores")
def test_no_core_is_left(spool: Spool, slow: FaultServer, tmp_path: Path, login: str) -> None:
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as other:
        if not aborts_with_core(other):
            pytest.skip("no process leaves a core here")
    for path in tmp_path.glob("core*"):
        path.unlink()
    with start(spool, slow, tmp_path, login, plain=True) as process:
        assert not aborts_with_core(process)
        process.communicate()
    assert not list(tmp_path.glob("core*"))


# Other processes of the same user


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user can enter."""
    path = Path(tempfile.mkdtemp(prefix="maildrain-secrets-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def as_user() -> List[str]:
    """What a command line starts with so that it is run by an ordinary user."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def refused(pid: int, name: str) -> bool:
    """Whether that user may not read it at process PID."""
    code = f"import os; os.open('/proc/{pid}/{name}', os.O_RDONLY)"
    done = subprocess.run(
        [*as_user(), "/usr/bin/python3", "-I", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0 or f"[Errno {errno.EACCES}]" in done.stderr, done.stderr
    return done.returncode != 0


@pytest.mark.parametrize("login", LOGINS)
def test_memory_is_closed_to_the_same_user(
    fault_server: Make, place: Path, login: str
) -> None:
    """To a debugger, too: gcore(1) asks for the same right."""
    server = fault_server(ehlo=ALL, answers={"AUTH": Delay(3)})
    spool = Spool(place)
    with subprocess.Popen([*as_user(), "sleep", "60"]) as other:
        time.sleep(0.1)
        open_to_all = [name for name in ("mem", "environ") if not refused(other.pid, name)]
        other.kill()
    if not open_to_all:
        pytest.skip("no process can be looked at by its own user here")
    options = LOGINS[login](spool, place)
    spool.write_config(url=server.url, tls="none", user=USER, **options)  # type: ignore[arg-type]
    if os.geteuid() == 0:
        for path in [place, *place.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    with start(spool, server, place, login, *as_user(), plain=True) as process:
        for name in open_to_all:
            assert refused(process.pid, name)
        process.kill()
        process.communicate()
