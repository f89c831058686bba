"""A relay that is a program like sendmail(8): how it is called, and what its end means."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess

from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from lab import logfmt, net, repo
from lab.aiosmtp import AioServer
from lab.canonical import canonical
from lab.machine import wait_until
from lab.mailer import Mailer
from lab.measure import have_strace
from lab.postfix import DOMAIN, Postfix
from lab.spool import Spool

from e2e.relaying import (
    LETTER,
    about_relay,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    letter,
    result,
    results,
    run,
)

MSMTP = "/usr/bin/msmtp"
SENDMAIL = "/usr/sbin/sendmail"


@pytest.fixture
def mailer(tmp_path: Path) -> Mailer:
    return Mailer(tmp_path)


def aim(spool: Spool, mailer: Mailer, **relay: Any) -> None:
    spool.write_config({}, url=mailer.url, **relay)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# How it is called


def test_its_words_and_its_input(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer)
    text = (
        b"From: a@example.com\r\nTo: b@example.net\r\nBcc: c@example.net\r\nSubject: x\r\n\r\n"
        b".\n..\r\nbare\rdot .\n\n.end"
    )
    name = letter(spool, "b@example.net", "-oQ/tmp@example.net", text=text)
    assert result_events(run(spool)) == ["sent", "sent"]
    assert_sent(spool, name)
    (call,) = mailer.calls()
    assert call["words"] == [
        *("-i", "-f", "a@example.com", "--", "b@example.net", "-oQ/tmp@example.net")
    ]
    assert call["input"] == (
        "From: a@example.com\nTo: b@example.net\nSubject: x\n\n.\n..\nbare\ndot .\n\n.end\n"
    )


def result_events(events: List[Dict[str, str]]) -> List[str]:
    return [event["event"] for event in results(events)]


def test_the_null_sender_and_words_of_the_config(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer, arguments=["-oi", "-C", "a b; c"])
    letter(spool, sender="")
    run(spool)
    (call,) = mailer.calls()
    assert call["words"] == ["-oi", "-C", "a b; c", "-f", "<>", "--", "b@example.net"]


def test_what_surrounds_it_is_little(spool: Spool, mailer: Mailer) -> None:
    """No secret of the run's own environment, no descriptor, and a process group of its own."""
    aim(spool, mailer)
    letter(spool)
    done = spool.run(env={"SMTP_PASSWORD": "correct horse", "LANG": "C.UTF-8", "USER": "me"})
    assert done.returncode == 0, done.stderr
    (call,) = mailer.calls()
    assert set(call["environment"]) <= {"PATH", "LANG", "HOME", "USER", "LC_CTYPE"}
    assert call["environment"]["USER"] == "me" and call["environment"]["LANG"] == "C.UTF-8"
    assert call["open"] == [0, 1, 2]
    assert call["group"]


def test_a_large_message_is_whole(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer)
    body = b"".join(b"%07d line\n" % n for n in range(400_000))
    letter(spool, text=LETTER + body)
    run(spool)
    (call,) = mailer.calls()
    assert call["input"].encode() == LETTER + body


def test_several_at_a_time(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer, connections=3)
    names = [letter(spool, "slow-5@example.net") for _ in range(6)]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    calls = mailer.calls()
    together = [
        sum(other["began"] <= call["began"] < other["ended"] for other in calls) for call in calls
    ]
    assert max(together) == 3


# What its end means

FAILING = {
    **{status: "5.0.0" for status in (64, 65, 66, 69, 70)},
    67: "5.1.1",
    68: "5.1.2",
}
DEFERRING = [1, 71, 72, 73, 74, 75, 76, 79, 128, 137, 255]


def test_its_exit_status(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer)
    sent = letter(spool)
    failing = {status: letter(spool, f"exit-{status}@example.net") for status in FAILING}
    deferring = [letter(spool, f"exit-{status}@example.net") for status in DEFERRING]
    events = {event["to"]: event for event in results(run(spool))}
    assert_sent(spool, sent)
    assert events["b@example.net"]["reply"] == "250 2.0.0 exit 0: Ok"
    for status, name in failing.items():
        assert_failed(spool, name, FAILING[status])
        reply = events[f"exit-{status}@example.net"]["reply"]
        assert reply.startswith(f"550 {FAILING[status]} exit {status}: ")
    for name in deferring:
        assert_deferred(spool, name, "4.0.0")
    assert events["exit-75@example.net"]["reply"] == "450 4.0.0 exit 75: to be tried again"


def test_it_may_be_for_all_its_recipients(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer)
    name = letter(spool, "b@example.net", "exit-67@example.net")
    assert [event["status"] for event in results(run(spool))] == ["5.1.1", "5.1.1"]
    assert_failed(spool, name, "5.1.1")


def test_its_words_are_the_reply(spool: Spool, mailer: Mailer) -> None:
    """The first line of its error output, with what a terminal would obey taken out."""
    aim(spool, mailer)
    letter(spool, "words-67@example.net")
    assert result(run(spool))["reply"] == "550 5.1.1 exit 67: ?[31mno such?user: ?"


@pytest.mark.parametrize("status", [77, 78, 126, 127])
def test_its_own_fault_is_not_charged(spool: Spool, mailer: Mailer, status: int) -> None:
    aim(spool, mailer)
    name = letter(spool, f"exit-{status}@example.net")
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert f"exit {status}: " in event["reply"]
    assert_waiting(spool, name)


@pytest.mark.parametrize("status", [64, 66, 68, 69, 70])
def test_a_program_that_refuses_all_mail_is_at_fault(
    spool: Spool, mailer: Mailer, status: int
) -> None:
    aim(spool, mailer)
    names = [letter(spool, f"exit-{status}@{n}.example.net") for n in range(12)]
    assert about_relay(run(spool, 75))[0]["event"] == "relay-misconfigured"
    assert_waiting(spool, *names)


def test_what_is_under_way_when_that_shows_comes_to_its_end(
    spool: Spool, mailer: Mailer
) -> None:
    aim(spool, mailer, connections=2)
    slow = letter(spool, "slow-15@example.net")
    names = [letter(spool, f"exit-69@{n}.example.net") for n in range(12)]
    run(spool, 75)
    assert_sent(spool, slow)
    assert_waiting(spool, *names)


def test_unknown_recipients_are_not_its_fault(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer)
    names = [letter(spool, f"exit-67@{n}.example.net") for n in range(12)]
    run(spool)
    for name in names:
        assert_failed(spool, name, "5.1.1")


@pytest.mark.parametrize("what", ["missing", "no program", "no interpreter"])
def test_a_program_that_cannot_be_started(spool: Spool, mailer: Mailer, what: str) -> None:
    aim(spool, mailer)
    name = letter(spool)
    if what == "missing":
        mailer.path.unlink()
    elif what == "no program":
        mailer.path.chmod(0o644)
    else:
        mailer.path.write_text("#!/nowhere/python\n")
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert f"can't start {mailer.path}: " in event["reply"]
    assert_waiting(spool, name)


def test_one_that_reads_nothing_and_ends_well_has_taken_it(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer)
    name = letter(spool, "blind@example.net", text=LETTER + b"x" * 200_000)
    run(spool)
    assert_sent(spool, name)


# One that does not end


def test_one_that_takes_too_long(spool: Spool, mailer: Mailer) -> None:
    """It has read all, so the mail may be on its way."""
    aim(spool, mailer, timeout_dot="1s")
    name = letter(spool, "hang@example.net")
    event = result(run(spool))
    assert_deferred(spool, name, "4.4.2")
    assert event["duplicate"] == "possible"
    assert event["reply"] == f"{mailer.path} had not ended after 1 seconds"
    assert not any(is_running(pid) for pid in mailer.started())


def test_one_that_was_killed(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer)
    name = letter(spool, "kill@example.net")
    event = result(run(spool))
    assert_deferred(spool, name, "4.4.2")
    assert event["duplicate"] == "possible"
    assert "ended by signal 9" in event["reply"]


def test_one_that_has_not_read_all_is_in_no_doubt(spool: Spool, mailer: Mailer) -> None:
    """It does not care about SIGTERM either."""
    aim(spool, mailer, timeout_dot="1s")
    name = letter(spool, "deaf@example.net")
    event = result(run(spool))
    assert_deferred(spool, name, "4.4.2")
    assert "duplicate" not in event
    assert not any(is_running(pid) for pid in mailer.started())


def test_one_that_never_ends_is_given_up(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer, timeout_dot="1s", connections=1)
    names = [letter(spool, f"hang@{n}.example.net") for n in range(5)]
    events = run(spool, 75)
    assert [event["event"] for event in about_relay(events)] == ["relay-down"]
    for name in names[:3]:
        assert_deferred(spool, name, "4.4.2")
    assert_waiting(spool, *names[3:])


def test_a_result_resets_that(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer, timeout_dot="1s", connections=1)
    for to in ("kill", "kill", "ok", "kill", "kill", "last"):
        last = letter(spool, f"{to}@example.net")
    run(spool)
    assert_sent(spool, last)


def test_half_a_message_is_never_the_whole(spool: Spool, mailer: Mailer) -> None:
    """The run dies while the program has not begun to read: what that gets is all of it."""
    aim(spool, mailer)
    body = b"".join(b"%07d line\n" % n for n in range(100_000))
    letter(spool, "slow-10@example.net", text=LETTER + body)
    process = subprocess.Popen(
        spool.argv("run"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert wait_until(lambda: mailer.started())
    process.kill()
    process.wait()
    assert wait_until(lambda: mailer.calls())
    assert mailer.calls()[0]["input"].encode() == LETTER + body


def test_it_is_waited_for_when_the_run_is_to_end(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer, connections=1)
    first = letter(spool, "slow-10@example.net")
    second = letter(spool, "slow-10@example.net")
    process = subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL)
    assert wait_until(lambda: mailer.started())
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    assert_sent(spool, first)
    assert_waiting(spool, second)


# Limits of the system


def _run_limited(spool: Spool, limit: int, value: int) -> List[Dict[str, str]]:
    done = subprocess.run(
        spool.argv("run"),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
    )
    assert done.returncode == 0, done.stderr
    return logfmt.parse(done.stderr)


def test_more_recipients_than_a_call_can_take(spool: Spool, mailer: Mailer) -> None:
    """The stack's limit decides how long a command line may be: 128 kB are the least."""
    aim(spool, mailer)
    recipients = [f"{n:05}.{'x' * 50}@example.net" for n in range(2000)]
    name = letter(spool, *recipients)
    events = results(_run_limited(spool, resource.RLIMIT_STACK, 512 * 1024))
    sent = [event["to"] for event in events if event["event"] == "sent"]
    put_off = {event["status"] for event in events if event["event"] == "deferred"}
    assert 100 < len(sent) < 2000 and put_off == {"4.5.3"}
    assert sent == recipients[: len(sent)]
    assert_deferred(spool, name, "4.5.3")
    assert mailer.calls()[0]["words"][4:] == sent


@pytest.mark.skipif(not have_strace(), reason="strace is missing or may not trace")
def test_without_pidfd(spool: Spool, mailer: Mailer, tmp_path: Path) -> None:
    """A sandbox or an old system may not have pidfd_open(2)."""
    aim(spool, mailer)
    name = letter(spool)
    log = tmp_path / "strace"
    inject = ["-e", "trace=pidfd_open", "-e", "inject=pidfd_open:error=EPERM"]
    argv = [str(repo.plain_program()), *spool.argv("run")[1:]]
    done = subprocess.run(["strace", "-o", str(log), *inject, *argv], timeout=60)
    assert done.returncode == 0
    assert "INJECTED" in log.read_text()
    assert_sent(spool, name)


# verify


def test_verify_tells_what_is_called(spool: Spool, mailer: Mailer) -> None:
    aim(spool, mailer, arguments=["-i", "-x"], timeout_dot="90s", connections=2)
    done = spool.command("verify")
    assert done.returncode == 0, done.stdout
    assert f"  calls: {mailer.path} -i -x -f SENDER -- RECIPIENT...\n" in done.stdout
    assert "  at a time: 2, each for 90 seconds at most\n" in done.stdout
    assert mailer.started() == []


@pytest.mark.parametrize("what", ["missing", "no program", "a folder"])
def test_verify_finds_a_program_that_cannot_be_started(
    spool: Spool, mailer: Mailer, what: str
) -> None:
    aim(spool, mailer)
    if what == "no program":
        mailer.path.chmod(0o644)
    else:
        mailer.path.unlink()
    if what == "a folder":
        mailer.path.mkdir()
    done = spool.command("verify")
    assert done.returncode == 69, done.stdout
    assert f"PROBLEM: {mailer.path} " in done.stdout
    assert "to do: check url" in done.stdout


# Real ones

DOTS = b"Subject: dots\n\n.\n..\n.x\nline\n\n.\nlast\n"


def _needs(program: str, package: str) -> None:
    if not os.access(program, os.X_OK):
        pytest.skip(f"{program} is missing: install the package {package}")


def test_postfix(spool: Spool, make_postfix: Callable[..., Postfix]) -> None:
    server = make_postfix(tls=False)
    config = server.root / "config"
    spool.write_config(url=f"command:{SENDMAIL}", arguments=["-C", f"{config}", "-i"])
    text = b"From: a@example.com\nTo: b@" + DOMAIN.encode() + b"\n" + DOTS
    names = [
        letter(spool, f"good@{DOMAIN}", f"other@{DOMAIN}", text=text),
        letter(spool, f"good@{DOMAIN}", sender="", text=text),
        letter(spool, f"good@{DOMAIN}", text=text.replace(b"last", b"l\xc3\xa4st")),
    ]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    arrived = server.wait_for(4)
    senders = sorted(re.findall(rb"^Return-Path: (.*)$", b"\n".join(arrived), re.M))
    assert senders == [b"<>", b"<a@example.com>", b"<a@example.com>", b"<a@example.com>"]
    bodies = sorted(message.partition(b"\n\n")[2] for message in arrived)
    body = text.partition(b"\n\n")[2]
    assert bodies == sorted([body] * 3 + [body.replace(b"last", b"l\xc3\xa4st")])


def test_postfix_takes_no_address_for_two(
    spool: Spool, make_postfix: Callable[..., Postfix]
) -> None:
    """It reads each word as a list of addresses: what may be one in quotes alone is not given."""
    server = make_postfix(tls=False)
    config = server.root / "config"
    spool.write_config(url=f"command:{SENDMAIL}", arguments=["-C", f"{config}", "-i"])
    name = letter(spool, f"other,good@{DOMAIN}", f"good@{DOMAIN}")
    run(spool)
    assert_failed(spool, name, "5.1.3")
    (message,) = server.wait_for(1)
    assert b"\nX-Original-To: good@" in message or b"\nDelivered-To: good@" in message


def test_a_postfix_that_is_not_configured(spool: Spool, tmp_path: Path) -> None:
    """It says so by its exit status, and what it says is handed on."""
    _needs(SENDMAIL, "postfix")
    if not Path("/usr/sbin/postfix").exists():
        pytest.skip("sendmail is not Postfix's")
    spool.write_config(url=f"command:{SENDMAIL}", arguments=["-C", f"{tmp_path}", "-i"])
    name = letter(spool)
    reply = result(run(spool))["reply"]
    assert "exit 75: sendmail: " in reply and f"{tmp_path}" in reply
    assert_deferred(spool, name, "4.0.0")


def _msmtp(spool: Spool, port: int, directory: Path) -> None:
    _needs(MSMTP, "msmtp")
    config = directory / "msmtprc"
    config.write_text(f"account default\nhost 127.0.0.1\nport {port}\ntls off\n")
    config.chmod(0o600)
    spool.write_config(url=f"command:{MSMTP}", arguments=["-C", f"{config}", "-i"])


def test_msmtp(spool: Spool, tmp_path: Path, aio_server: Callable[..., AioServer]) -> None:
    server = aio_server()
    _msmtp(spool, server.port, tmp_path)
    # It would add what is missing.
    text = b"Date: Sun, 22 Nov 2026 16:00:00 +0000\nMessage-ID: <1@example.com>\n"
    text += b"From: a@example.com\n" + DOTS
    sent = letter(spool, "b@example.net", "c@example.net", text=text)
    refused = letter(spool, "refuse@example.net", text=text)
    events = results(run(spool))
    assert_sent(spool, sent)
    (received,) = server.messages
    assert received.sender == "a@example.com"
    assert received.recipients == ("b@example.net", "c@example.net")
    assert canonical(received.data) == canonical(text)
    assert spool.state(refused)[0] == "failed"
    assert "refuse@example.net" in next(e for e in events if e["event"] == "failed")["reply"]


def test_msmtp_without_its_server(spool: Spool, tmp_path: Path) -> None:
    _msmtp(spool, net.free_port(), tmp_path)
    name = letter(spool)
    assert "cannot connect" in result(run(spool))["reply"]
    assert_deferred(spool, name, "4.0.0")
