"""Wrong clocks: what they have written into names is found out, and a step of the clock before,
during or after a run loses nothing, sends nothing twice and leaves nothing behind."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from faults.load import HOST
from faults.report import Row, line
from faults.world import (
    CLOCK_STEPS, DAY, HOUR, YEAR, Clock, Steps, put, row_clock_certificate, run_at, try_steps,
    unique,
)  # fmt: skip
from lab.faultserver import FaultServer
from lab.spool import Spool, fields_of
from relaying import aim, assert_sent, letter, results, run

Servers = Callable[..., FaultServer]

needs_clock = pytest.mark.skipif(bool(Clock.why_not()), reason=Clock.why_not())
LONGEST = 24 * HOUR * 11 // 10  # the last delay of the schedule, spread
SLACK = 2 * HOUR  # clocks of two hosts may differ by less


def run_with(
    spool: Spool, servers: Servers, ahead: int, fields: str, options: Dict[str, Any]
) -> bool:
    """Whether a message with FIELDS, whose T lies AHEAD seconds ahead, is sent now."""
    server = servers()
    aim(spool, server, options)
    name = put(spool, 1, fields.format(T=int(time.time()) + ahead))
    listed = spool.command("run", "--dry-run").stdout
    run(spool)
    server.check()
    if server.messages:
        assert spool.state(name)[0] == "cur"
    else:
        assert spool.ls()["new"] == [name], "what waits is left as it is"
    assert (name in listed) == bool(server.messages), "--dry-run says what a run does"
    return bool(server.messages)


@pytest.mark.parametrize("fields", [",A=1,E=4.2.1,T={T}", ",A=8,E=4.4.2,P=1,T={T}"])
@pytest.mark.parametrize(
    ("ahead", "due"),
    [
        (60, False), (HOUR, False), (LONGEST - 60, False), (LONGEST + SLACK, True), (YEAR, True),
        (100 * YEAR, True),
    ],
)  # fmt: skip
def test_deferred_further_than_any_delay(
    spool: Spool, fault_server: Servers, fields: str, ahead: int, due: bool
) -> None:
    assert run_with(spool, fault_server, ahead, fields, {}) == due


@pytest.mark.parametrize(("ahead", "due"), [(60, False), (SLACK + 120, True)])
def test_the_schedule_is_that_of_the_config(
    spool: Spool, fault_server: Servers, ahead: int, due: bool
) -> None:
    options = {"retry": ["30s", "1m"]}
    assert run_with(spool, fault_server, ahead, ",A=1,E=4.2.1,T={T}", options) == due


@pytest.mark.parametrize("fields", [",T={T}", ",P=1,T={T}", ",E=4.2.1,T={T}", ",A=1,T={T}"])
@pytest.mark.parametrize("ahead", [HOUR, 2 * DAY, YEAR, 100 * YEAR])
def test_a_wish_is_left_alone(
    spool: Spool, fault_server: Servers, fields: str, ahead: int
) -> None:
    """Only what a run has deferred has both A and E."""
    assert not run_with(spool, fault_server, ahead, fields, {})


@pytest.mark.parametrize(
    ("ahead", "over"), [(-1, True), (HOUR, False), (DAY + SLACK, True), (YEAR, True)]
)
def test_claim_of_another_host(
    spool: Spool, fault_server: Servers, ahead: int, over: bool
) -> None:
    server = fault_server()
    aim(spool, server)
    name = put(spool, 1, f",A=1,C=elsewhere-1,T={int(time.time()) + ahead}")
    run(spool)
    if over:
        assert_sent(spool, name, attempts=2)
    else:
        assert spool.ls()["new"] == [name]
    server.check()


@pytest.mark.parametrize("ahead", [-YEAR, HOUR, YEAR])
def test_claim_of_a_dead_run_of_this_host(
    spool: Spool, fault_server: Servers, ahead: int
) -> None:
    server = fault_server()
    aim(spool, server)
    name = put(spool, 1, f",A=1,C={HOST}-4194303,T={int(time.time()) + ahead}")
    run(spool)
    assert_sent(spool, name, attempts=2)
    server.check()


def test_a_birth_in_the_future_is_no_delay(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    block = b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <b@example.net>\n"
    spool.drop(block + b"Subject: x\n\nx\n", unique(1, int(time.time()) + YEAR))
    (event,) = results(run(spool))
    assert event["event"] == "sent" and event["delay"] == "0.0"
    server.check()


def plain_dump(spool: Spool, ahead: int) -> Path:
    """A dump of one text, of which the end is plain only when nobody has written for a while."""
    path = spool.path / "20251122-101112-1234.log"
    path.write_bytes(
        b'Content-Type: text/plain; charset="utf-8"\nMIME-Version: 1.0\n'
        b"Content-Transfer-Encoding: 7bit\nSubject: x\nFrom: a@example.com\nTo: b@example.net\n"
        b"Date: Wed, 01 Jan 2025 00:00:00 -0000\nMessage-ID: <1@example.com>\n\ntext\n"
        + b"-" * 79 + b"\n"
    )  # fmt: skip
    os.utime(path, (time.time() + ahead,) * 2)
    return path


@pytest.mark.parametrize("ahead", [-60, 10 * DAY, YEAR])
def test_a_dump_with_a_date_in_the_future(
    spool: Spool, fault_server: Servers, ahead: int
) -> None:
    """Written when the clock was ahead. It can't wait until that date comes again."""
    server = fault_server()
    aim(spool, server)
    plain_dump(spool, ahead)
    run(spool)
    assert [message.recipients for message in server.messages] == [("b@example.net",)]
    server.check()


@needs_clock
@pytest.mark.parametrize("by", [YEAR, -YEAR], ids=["ahead", "behind"])
@pytest.mark.parametrize("steps", CLOCK_STEPS, ids=lambda steps: steps.title.replace(" ", "-"))
def test_a_step_of_the_clock(tmp_path: Path, steps: Steps, by: int) -> None:
    row = Row(steps.title)
    try_steps(row, tmp_path / "site", steps, by)
    assert row.good, line(row)


@needs_clock
def test_a_wrong_clock_makes_a_certificate_invalid(tmp_path: Path) -> None:
    (row,) = row_clock_certificate(True, tmp_path)
    assert row.good, line(row)


@needs_clock
def test_nothing_expires_by_a_clock_that_is_behind(
    spool: Spool, tmp_path: Path, fault_server: Servers
) -> None:
    server = fault_server(answers={"RCPT": {"m1@example.net": ["451 4.2.1 Busy"], "*": None}})
    aim(spool, server)
    clock = Clock(tmp_path, -YEAR)
    name = put(spool, 1, f",X={int(time.time()) + HOUR}")
    assert run_at(spool, clock).returncode == 0
    clock.move(0)
    assert run_at(spool, clock).returncode == 0
    assert_sent(spool, name, attempts=2)
    server.check()


@needs_clock
def test_an_expiry_is_held_by_any_clock(
    spool: Spool, tmp_path: Path, fault_server: Servers
) -> None:
    """A code for a login is never sent late; a person can put it back."""
    server = fault_server()
    aim(spool, server)
    clock = Clock(tmp_path, YEAR)
    name = put(spool, 1, f",X={int(time.time()) + HOUR}")
    assert run_at(spool, clock).returncode == 0
    assert spool.state(name) == ("failed", {"E": "5.4.7"})
    clock.move(0)
    failed = spool.find(name)
    failed.rename(spool.path / "new" / failed.name)
    assert run_at(spool, clock).returncode == 0
    assert_sent(spool, name)
    server.check()


@needs_clock
def test_results_are_recorded_while_the_clock_runs_backward(
    spool: Spool, tmp_path: Path, fault_server: Servers
) -> None:
    """Waits and syncs go by the other clock, which never steps."""
    clock = Clock(tmp_path)
    back: List[int] = []

    def step_back(_: Any) -> None:
        back.append(1)
        clock.move(-len(back) * DAY)

    server = fault_server(answers={"DOT": step_back})
    aim(spool, server)
    names = [letter(spool) for _ in range(30)]
    start = time.monotonic()
    done = run_at(spool, clock, timeout=30)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 10
    for name in names:
        assert_sent(spool, name)
        assert fields_of(spool.find(name).name) == {"A": "1"}
    assert len(server.messages) == 30
    server.check()
