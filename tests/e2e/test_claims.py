"""Claims: what a run that has died, or one on another host, leaves behind."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Callable, List

import pytest

from lab import logfmt
from lab.faultactions import Close
from lab.faultserver import FaultServer
from lab.spool import Spool, fields_of, unique_name, unique_of

MESSAGE = b"Subject: hello\n\ntext\n"
TO_B = ("a@example.com", ["b@example.net"])
HOST = re.sub(r"[/:,=\x00-\x20]", "_", socket.gethostname())
HOUR = 3600


def point_at(spool: Spool, server: FaultServer, **options: object) -> None:
    spool.write_config(options, url=server.url, tls="none", connections=1)  # type: ignore[arg-type]


def drop_claimed(spool: Spool, claim: str, until: float, attempts: int = 1, more: str = "") -> str:
    name = f"{unique_name()},A={attempts},C={claim}{more},T={int(until)}"
    return spool.drop(MESSAGE, name, TO_B)


def test_a_dead_claim_of_this_host_is_released_and_charged(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server)
    name = drop_claimed(spool, f"{HOST}-4242", time.time() + HOUR, attempts=3)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "4"})
    server.check()


def test_it_keeps_its_status_until_the_next_attempt(spool: Spool) -> None:
    """No relay answers: the claim is released all the same."""
    name = drop_claimed(spool, f"{HOST}-4242", time.time() + HOUR, 3, ",E=4.2.1,P=1")
    assert spool.run().returncode == 75
    assert spool.ls()["new"] == [f"{unique_of(name)},A=3,E=4.2.1,P=1"]


def test_a_dead_claim_at_the_last_attempt_fails(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server, retry=["1m", "5m"])
    name = drop_claimed(spool, f"{HOST}-4242", time.time() + HOUR, attempts=3)
    done = spool.run()
    assert done.returncode == 0
    assert spool.ls()["failed"] == [f"{unique_of(name)},A=3,E=5.4.7"]
    assert not server.sessions
    (failed,) = [line for line in logfmt.parse(done.stderr) if line["event"] == "failed"]
    assert failed["status"] == "5.4.7" and "may have been sent" in failed["text"]


@pytest.mark.parametrize("host", ["elsewhere", f"{HOST}x", f"x{HOST}", f"{HOST}-1"])
def test_a_claim_of_another_host_holds_until_its_time(
    spool: Spool, fault_server: Callable[..., FaultServer], host: str
) -> None:
    server = fault_server()
    point_at(spool, server)
    held = drop_claimed(spool, f"{host}-4242", time.time() + HOUR)
    over = drop_claimed(spool, f"{host}-4242", time.time() - 1)
    assert spool.run().returncode == 0
    assert spool.ls()["new"] == [held]
    assert spool.state(over) == ("cur", {"A": "2"})
    assert len(server.messages) == 1


def test_a_claim_of_another_host_over_at_its_last_attempt_fails(spool: Spool) -> None:
    name = drop_claimed(spool, "elsewhere-1", time.time() - 1, attempts=9)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("failed", {"A": "9", "E": "5.4.7"})


def test_what_is_no_claim_means_nothing_and_is_kept(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(MESSAGE, f"{unique_name()},A=1,C=nobody,T=5", TO_B)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "2", "C": "nobody"})


def test_the_name_that_a_release_gives_may_be_taken(spool: Spool) -> None:
    """Two letters of one UNIQUE, one of them claimed: neither goes."""
    spool.drop(b"Subject: waits\n\nx\n", "7.M1P1Q1.h,A=1", TO_B)
    spool.drop(b"Subject: claimed\n\nx\n", f"7.M1P1Q1.h,A=1,C={HOST}-1,T=4102444800", TO_B)
    assert spool.run().returncode == 75
    assert spool.ls()["new"] == ["7.M1P1Q1.h,A=1", "7.M1P1Q1.h-2,A=1"]
    assert b"waits" in (spool.path / "new" / "7.M1P1Q1.h,A=1").read_bytes()


@pytest.mark.parametrize("kind", ["hard link", "directory", "symbolic link", "empty"])
def test_a_claimed_name_that_is_no_message_is_left_alone(spool: Spool, kind: str) -> None:
    name = f"{unique_name()},A=9,C={HOST}-1,T=1"
    path = spool.path / "new" / name
    if kind == "directory":
        path.mkdir()
    elif kind == "symbolic link":
        path.symlink_to("/etc/passwd")
    else:
        path.write_bytes(b"" if kind == "empty" else MESSAGE)
    if kind == "hard link":
        os.link(path, spool.config.parent / "second")
    done = spool.run()
    assert done.returncode == 0
    assert [line["file"] for line in logfmt.parse(done.stderr)] == [name]
    assert os.path.lexists(path)


def test_an_untried_message_is_not_charged(spool: Spool) -> None:
    name = spool.drop(MESSAGE, envelope=TO_B)
    deferred = spool.drop(MESSAGE, f"{unique_name()},A=2,E=4.2.1,P=1,T=5", TO_B)
    assert spool.run().returncode == 75
    assert spool.ls()["new"] == sorted([name, deferred])


@pytest.mark.parametrize("answer", ["421 4.3.2 Going down", Close()])
def test_a_session_lost_before_data_is_opened_again(
    spool: Spool, fault_server: Callable[..., FaultServer], answer: object
) -> None:
    server = fault_server(answers={"MAIL": [answer, None]})
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "1"})
    assert len(server.messages) == 1 and len(server.sessions) == 2


def test_a_relay_that_never_lets_a_message_in_is_left_for_the_next_run(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"MAIL": "421 4.3.2 Going down"})
    point_at(spool, server)
    names = [spool.drop(MESSAGE, envelope=TO_B) for _ in range(3)]
    done = spool.run()
    assert done.returncode == 75, done.stderr
    assert spool.ls()["new"] == sorted(names), "waiting, and uncharged"
    assert len(server.sessions) < 20


def test_the_breaker_holds_with_many_connections(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """More messages are under way when the tenth refusal comes; they all stay uncharged."""
    server = fault_server(answers={"MAIL": "550 5.7.1 Not you"})
    spool.write_config({}, url=server.url, tls="none", connections=20)
    names: List[str] = [spool.drop(MESSAGE, envelope=TO_B) for _ in range(60)]
    done = spool.run()
    assert done.returncode == 75, done.stderr
    assert spool.ls()["new"] == sorted(names)
    assert spool.counts()["failed"] == 0
    server.check()


def test_no_claim_is_left_by_any_run(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    answers = {"RCPT": ["450 4.1.1 a", None, "550 5.1.1 b", None, Close(), None]}
    server = fault_server(answers=answers)
    point_at(spool, server)
    for _ in range(8):
        spool.drop(MESSAGE, envelope=TO_B)
    spool.run()
    assert not [name for name in spool.ls()["new"] if "C" in fields_of(name)]
    assert sum(spool.counts().values()) == 8
