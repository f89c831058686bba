"""`shared_spool = true`: many runs at one spool, told apart by the claims in the names."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List

import pytest

from faults.load import DEAD_PID, HOST
from lab import measure, repo
from lab.faultserver import FaultServer, Session
from lab.spool import Spool, fields_of, unique_name, unique_of

from relaying import LETTER, SENDER, aim, assert_sent, letter, letters, results, run

DAY = 24 * 3600
SHARED = {"shared_spool": True}
SHORT = {"shared_spool": True, "claim": "10s"}
WAIT = 30.0  # seconds after which something that a test waits for has failed
HERE = f"{HOST}-"
RECORD = b"""\
Content-Type: text/plain; charset="utf-8"
MIME-Version: 1.0
Content-Transfer-Encoding: base64
Subject: %d
From: a@example.com
To: b@example.net

QSBsaW5lLgo=

""" + (b"-" * 79 + b"\n")


@pytest.fixture
def server(fault_server: Callable[..., FaultServer]) -> FaultServer:
    return fault_server()


def claimed(spool: Spool, who: str, until: float) -> str:
    """A letter in the hands of WHO; returns its name."""
    name = f"{unique_name()},A=1,C={who},T={int(time.time() + until)}"
    return spool.drop(LETTER, name, (SENDER, ["b@example.net"]))


@contextmanager
def living() -> Iterator[int]:
    """The pid of a process that lives and is not maildrain."""
    process = subprocess.Popen(["sleep", "300"])
    yield process.pid
    process.kill()
    process.wait()


def names(spool: Spool) -> Dict[str, str]:
    """The fields of the only name in new/."""
    (name,) = os.listdir(spool.path / "new")
    return fields_of(name)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """As another run would do it that does not share."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        os.close(fd)


# The lock


def test_a_shared_spool_is_not_locked(spool: Spool, server: FaultServer) -> None:
    aim(spool, server, SHARED)
    name = letter(spool)
    with locked(spool.path):
        assert len(results(run(spool))) == 1
    assert_sent(spool, name)


@pytest.mark.parametrize("options", [{}, {"shared_spool": False}, {"claim": "10s"}])
def test_any_other_is(spool: Spool, server: FaultServer, options: Dict[str, object]) -> None:
    aim(spool, server, options)
    letter(spool)
    with locked(spool.path):
        assert [event["event"] for event in run(spool)] == ["busy"]
    assert not server.sessions


def test_two_runs_share_the_mail(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """The first is held up over one letter, and the next may be in its hands: the second run sends
    the rest, and leaves those two alone."""
    others_done, held_up = threading.Event(), threading.Event()

    def hold(session: Session) -> None:
        held_up.set()
        assert others_done.wait(WAIT)

    server = fault_server(answers={"DOT": {"s0@example.com": hold}})
    aim(spool, server, SHARED)
    dropped = letters(spool, 8)
    with subprocess.Popen(spool.argv("run"), stderr=subprocess.PIPE, text=True) as first:
        assert held_up.wait(WAIT)
        second = results(run(spool))
        left = os.listdir(spool.path / "new")
        others_done.set()
        _, said = first.communicate(timeout=WAIT)
    assert first.returncode == 0, said
    assert 6 <= len(second) <= 7, "all but what the first run has in its hands"
    assert {fields_of(name)["C"] for name in left} == {f"{HERE}{first.pid}"}
    for name in dropped:
        assert_sent(spool, name)
    assert len(server.messages) == len(dropped)
    server.check()


# Whose claims hold


def test_a_dead_run_of_this_host_is_known_by_its_pid(spool: Spool, server: FaultServer) -> None:
    aim(spool, server, SHARED)
    name = claimed(spool, f"{HERE}{DEAD_PID}", 3000)
    run(spool)
    assert_sent(spool, name, attempts=2)


def test_any_living_process_of_this_host_holds_its_claim(
    spool: Spool, server: FaultServer
) -> None:
    aim(spool, server, SHARED)
    with living() as pid:
        held = [claimed(spool, f"{HERE}{pid}", 3000), claimed(spool, f"{HERE}1", 3000)]
        assert run(spool) == []
        assert spool.ls()["new"] == sorted(held)
    assert not server.sessions


def test_until_its_time(spool: Spool, server: FaultServer) -> None:
    aim(spool, server, SHARED)
    with living() as pid:
        name = claimed(spool, f"{HERE}{pid}", -1)
        run(spool)
    assert_sent(spool, name, attempts=2)


def test_without_the_option_no_other_run_of_this_host_lives(
    spool: Spool, server: FaultServer
) -> None:
    aim(spool, server)
    with living() as pid:
        name = claimed(spool, f"{HERE}{pid}", 3000)
        run(spool)
    assert_sent(spool, name, attempts=2)


@pytest.mark.parametrize("options", [{}, SHARED])
def test_the_pids_of_another_host_say_nothing(
    spool: Spool, server: FaultServer, options: Dict[str, object]
) -> None:
    aim(spool, server, options)
    held = claimed(spool, f"elsewhere-{DEAD_PID}", 3000)
    over = claimed(spool, f"elsewhere-{os.getpid()}", -1)
    run(spool)
    assert spool.ls()["new"] == [held]
    assert_sent(spool, over, attempts=2)


@pytest.mark.parametrize("who", ["elsewhere-1", f"{HERE}1"])
def test_a_time_further_ahead_than_any_claim_is_over(
    spool: Spool, server: FaultServer, who: str
) -> None:
    aim(spool, server, SHARED)
    held = claimed(spool, who, DAY - 60)
    wrong = claimed(spool, who, DAY + 60)
    far = claimed(spool, who, 400 * DAY)
    run(spool)
    assert spool.ls()["new"] == [held]
    assert_sent(spool, wrong, attempts=2)
    assert_sent(spool, far, attempts=2)


# How long they hold


@pytest.mark.parametrize(
    ("options", "seconds"), [({}, 3600), ({"claim": "90s"}, 90), ({"claim": "1d"}, DAY)]
)
def test_a_claim_holds_as_long_as_the_config_says(
    spool: Spool,
    fault_server: Callable[..., FaultServer],
    options: Dict[str, object],
    seconds: int,
) -> None:
    seen: List[float] = []
    pids: List[str] = []

    def look(session: Session) -> None:
        fields = names(spool)
        seen.append(int(fields["T"]) - time.time())
        pids.append(fields["C"])

    server = fault_server(answers={"DOT": look})
    aim(spool, server, {**SHARED, **options})
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    assert len(seen) == 1 and seconds - 5 <= seen[0] <= seconds
    assert pids[0].startswith(HERE)
    server.check()


def test_a_claim_is_renewed(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    """In half of its time, and no attempt is charged for it."""
    seen: List[Dict[str, str]] = []

    def look_twice(session: Session) -> None:
        seen.append(names(spool))
        end = time.monotonic() + WAIT
        while names(spool) == seen[0] and time.monotonic() < end:
            time.sleep(0.1)
        seen.append({**names(spool), "now": str(time.time())})

    server = fault_server(answers={"DOT": look_twice})
    aim(spool, server, SHORT)
    name = letter(spool)
    run(spool)
    before, after = seen
    left = int(before["T"]) - float(after["now"])
    assert 3 <= left <= 5.5, "it was renewed when half of its time was left"
    assert 8.5 <= int(after["T"]) - float(after["now"]) <= 10
    assert (after["A"], after["C"]) == ("1", before["C"])
    assert_sent(spool, name)
    server.check()


def test_who_finds_its_message_taken_over_withdraws(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """Another host has the message: the body that is on its way is not completed."""

    def take_over(session: Session) -> None:
        new = spool.path / "new"
        (name,) = os.listdir(new)
        until = int(time.time()) + 3000
        os.rename(new / name, new / f"{unique_of(name)},A=2,C=elsewhere-1,T={until}")
        session.wait_for_client_to_go()

    server = fault_server(answers={"BODY": take_over})
    aim(spool, server, SHORT)
    letter(spool, text=LETTER + b"x" * 70 + (b"x" * 70 + b"\n") * 150_000)
    events = run(spool)
    assert [event["event"] for event in events if event["event"] != "run"] == ["vanished"]
    assert names(spool)["C"] == "elsewhere-1" and names(spool)["A"] == "2"
    assert sum(spool.counts().values()) == 1
    assert not server.received


# Stock dumps


def dump(spool: Spool, fields: str, records: int = 3) -> Path:
    path = spool.path / f"20261122-070856-4711.log{fields}"
    path.write_bytes(b"".join(RECORD % number for number in range(records)))
    os.utime(path, (time.time() - 60, time.time() - 60))
    return path


@pytest.mark.parametrize("who", ["elsewhere-1", f"{HERE}1"])
def test_a_dump_that_another_run_imports_is_left_alone(
    spool: Spool, server: FaultServer, who: str
) -> None:
    aim(spool, server, SHARED)
    path = dump(spool, f",C={who},O=0,T={int(time.time()) + 3000}")
    assert run(spool) == []
    assert spool.ls()["."] == [path.name]
    assert not server.sessions


@pytest.mark.parametrize(
    "claim", ["C=elsewhere-1,O=0,T=1", f"C={HERE}{DEAD_PID},O=0,T={int(time.time()) + 3000}"]
)
def test_until_that_claim_is_over(spool: Spool, server: FaultServer, claim: str) -> None:
    aim(spool, server, SHARED)
    path = dump(spool, f",{claim}")
    size = path.stat().st_size
    assert len(results(run(spool))) == 3
    assert spool.ls()["."] == [f"20261122-070856-4711.log,O={size}"]
    assert len(server.messages) == 3


def test_it_goes_on_where_the_other_stopped(spool: Spool, server: FaultServer) -> None:
    aim(spool, server, SHARED)
    dump(spool, f",C=elsewhere-1,O={len(RECORD % 0)},T=1")
    assert len(results(run(spool))) == 2
    subjects = sorted(re.findall(rb"Subject: (\d)", b"".join(m.data for m in server.messages)))
    assert subjects == [b"1", b"2"]


@pytest.mark.skipif(not measure.have_strace(), reason="strace is missing or may not trace")
def test_a_dump_is_claimed_before_its_first_message(spool: Spool, tmp_path: Path) -> None:
    spool.write_config({**SHARED, "claim": "90s"}, url="smtp://127.0.0.1:1", tls="none")
    size = dump(spool, "", records=1).stat().st_size
    trace = tmp_path / "trace"
    argv = [str(repo.plain_program()), "-c", str(spool.config), "run"]
    options = ["-f", "-o", str(trace), "-e", "trace=rename,renameat,renameat2"]
    started = time.time()
    subprocess.run(["strace", *options, *argv], stderr=subprocess.DEVNULL, check=False)
    to = re.findall(r'"([^"]+)"(?:, RENAME_\w+)?\) = 0', trace.read_text())
    first = fields_of(to[0])
    assert first["C"].startswith(HERE) and first.get("O", "0") == "0"
    assert -1 <= int(first["T"]) - started - 90 <= 10
    assert to[0].startswith("20261122-070856-4711.log,") and ".log" not in to[1]
    assert spool.ls()["."] == [f"20261122-070856-4711.log,O={size}"]
    assert spool.counts()["new"] == 1


# The config


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("shared_spool = 2", "shared_spool"),
        ("shared_spool = maybe", "shared_spool"),
        ('shared_spool = ""', "empty"),
        ("claim = 9s", "10s to 1d"),
        ("claim = 25h", "10s to 1d"),
        ("claim = 2d", "10s to 1d"),
        ("claim = 60", "10s to 1d"),
        ("claim = 0", "10s to 1d"),
        ('claim = ""', "empty"),
        ("claim = long", "10s to 1d"),
        ("claims = 1h", "claim"),
        ("shared-spool = true", "shared_spool"),
    ],
)
def test_what_they_may_not_be(spool: Spool, line: str, words: str) -> None:
    relay = 'relay "main" { url = "smtp://127.0.0.1:1" }'
    spool.write_config_text(f'spool = "{spool.path}"\n{line}\n{relay}\n')
    done = spool.run()
    assert done.returncode == 78
    assert done.stderr.startswith(f"maildrain: {spool.config}:2: ")
    assert words in done.stderr


@pytest.mark.parametrize("claim", ["10s", "1m", "24h", "1d"])
@pytest.mark.parametrize("shared", [True, False])
def test_what_they_may_be(spool: Spool, claim: str, shared: bool) -> None:
    spool.write_config({"shared_spool": shared, "claim": claim}, url="smtp://127.0.0.1:1")
    assert spool.run().returncode == 0
