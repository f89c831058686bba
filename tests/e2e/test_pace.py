"""How much a relay is given, and how fast: rate, quota, slowing down, and the limits of a message
and a connection."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from typing import Callable, List, Sequence

import pytest

from lab import faked, logfmt, measure, net, repo
from lab.aiosmtp import AioServer
from lab.faultactions import Hang
from lab.faultserver import FaultServer
from lab.spool import Spool

from relaying import (
    Event,
    aim,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    block,
    letter,
    letters,
    results,
    run,
)

Servers = Callable[..., FaultServer]

JITTER = 0.4  # seconds by which a busy machine may delay one arrival
WAIT = 30.0  # seconds after which what a test waits for has failed
SHARED = {"shared_spool": True}

needs_strace = pytest.mark.skipif(
    not measure.have_strace(), reason="strace is missing or may not trace"
)


def events(log: List[Event], kind: str) -> List[Event]:
    return [event for event in log if event["event"] == kind]


def assert_paced(arrivals: Sequence[float], rate: float) -> None:
    """No stretch of ARRIVALS has more than RATE gives, each of which may be late by JITTER."""
    times = sorted(arrivals)
    for first in range(len(times)):
        for last in range(first + 1, len(times)):
            assert times[last] - times[first] >= (last - first) / rate - JITTER, (first, last)


def arrivals(server: AioServer) -> List[float]:
    return [message.at for message in server.messages]


def run_twice_at_once(spool: Spool) -> List[Event]:
    """The log of both."""
    runs = [
        subprocess.Popen(spool.argv("run"), stderr=subprocess.PIPE, encoding="utf-8")
        for _ in range(2)
    ]
    log: List[Event] = []
    for process in runs:
        _, said = process.communicate(timeout=WAIT)
        assert process.returncode == 0, said
        log += logfmt.parse(said)
    return log


def waiting(spool: Spool) -> int:
    return spool.counts()["new"]


# Rate


def test_a_rate_holds_from_one_run_to_the_next(
    spool: Spool, aio_server: Callable[..., AioServer]
) -> None:
    server = aio_server()
    aim(spool, server, rate="5/s", connections=4)
    for _ in range(2):
        letters(spool, 10)
        run(spool)
    assert len(server.messages) == 20
    assert_paced(arrivals(server), 5)


def test_a_rate_holds_for_two_runs_at_once(
    spool: Spool, aio_server: Callable[..., AioServer]
) -> None:
    """Both look at each message, and one finds it claimed: that costs no place in the rate."""
    server = aio_server()
    aim(spool, server, SHARED, rate="10/s")
    letters(spool, 20)
    run_twice_at_once(spool)
    assert len(server.messages) == 20
    assert_paced(arrivals(server), 10)
    assert max(arrivals(server)) - min(arrivals(server)) < 6


def test_a_rate_counts_recipients(spool: Spool, aio_server: Callable[..., AioServer]) -> None:
    server = aio_server()
    aim(spool, server, rate="10/s")
    letter(spool, *(f"r{n}@example.net" for n in range(15)))
    letter(spool)
    run(spool)
    first, second = arrivals(server)
    assert second - first >= 1.5 - JITTER


def test_what_is_too_far_off_waits_for_another_run(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, rate="10/h")
    first, *others = letters(spool, 3)
    began = time.monotonic()
    (paced,) = events(run(spool), "paced")
    assert paced["relay"] == "main" and 300 <= int(paced["seconds"]) <= 360
    assert "quota" not in paced["text"]
    assert_sent(spool, first)
    assert_waiting(spool, *others)
    sessions = len(server.sessions)
    run(spool)
    assert time.monotonic() - began < 20
    assert_waiting(spool, *others)
    assert len(server.sessions) == sessions, "it is not even called"


@pytest.mark.skipif(bool(faked.why_not()), reason=str(faked.why_not()))
def test_a_clock_of_next_year_stops_nothing(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, rate="600/m", quota="5/d")
    letter(spool)
    argv = [*faked.clock("+365d"), str(repo.plain_program()), *spool.argv("run")[1:]]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=WAIT)
    assert len(server.messages) == 1
    letters(spool, 3)
    assert events(run(spool), "paced") == []
    assert len(server.messages) == 4


def test_a_record_that_can_not_be_written_stops_what_would_be_too_much(
    spool: Spool, fault_server: Servers
) -> None:
    """Nothing is sent uncounted, and nothing is lost."""
    server = fault_server()
    aim(spool, server, rate="5/s")
    names = letters(spool, 3)
    for record in (spool.path / "state").glob("*"):
        record.unlink()
    (spool.path / "state").rmdir()
    (spool.path / "state").touch()
    done = spool.run()
    assert done.returncode == 74 and "state" in done.stderr
    assert_waiting(spool, *names)
    assert server.messages == []


# Quota


def test_the_quota_keeps_the_rest(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, quota="5/d", connections=4)
    names = letters(spool, 8)
    log = run(spool)
    assert len(server.messages) == 5 and waiting(spool) == 3
    (paced,) = events(log, "paced")
    assert "quota" in paced["text"] and 86400 <= int(paced["seconds"]) <= 86400 + 5400
    assert_waiting(spool, *names[5:])
    assert "\n  5 of 5 recipients in 24h\n" in spool.command("status").stdout
    sessions = len(server.sessions)
    assert events(run(spool), "paced") != []
    assert len(server.sessions) == sessions and waiting(spool) == 3


@pytest.mark.skipif(bool(faked.why_not()), reason=str(faked.why_not()))
def test_the_quota_is_there_again_on_the_next_day(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, quota="2/d")
    letters(spool, 5)
    run(spool)
    for hours, sent in ((23, 2), (26, 4)):
        argv = [*faked.clock(f"+{hours}h"), str(repo.plain_program()), *spool.argv("run")[1:]]
        subprocess.run(
            argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True, timeout=WAIT
        )
        assert len(server.messages) == sent, hours


def test_two_runs_at_once_have_one_quota(spool: Spool, fault_server: Servers) -> None:
    """And use all of it, though each finds messages that the other has claimed."""
    server = fault_server()
    aim(spool, server, SHARED, quota="100/d")
    letters(spool, 200)
    run_twice_at_once(spool)
    assert len(server.messages) == 100 and waiting(spool) == 100


def test_what_a_run_has_not_used_is_given_back(spool: Spool, fault_server: Servers) -> None:
    """It takes a thousandth of the quota at a time."""
    aim(spool, fault_server(), quota="50000/d")
    letters(spool, 3)
    run(spool)
    (relay,) = json.loads(spool.command("status", "--json").stdout)["relays"]
    assert relay["used"] == 3


def test_a_killed_run_loses_little_of_the_quota(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"DOT": [None, Hang()]})
    aim(spool, server, quota="5000/d")
    letters(spool, 2)
    with subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: len(server.messages) == 1 and server.verbs.count("DATA") == 2)
        process.kill()
    (relay,) = json.loads(spool.command("status", "--json").stdout)["relays"]
    assert 2 <= relay["used"] <= 2 + 5000 / 1000


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_was_not_sent_is_not_counted(spool: Spool) -> None:
    """The relay is down: the quota is as it was."""
    url = f"smtp://127.0.0.1:{net.free_port()}"
    spool.write_config({}, url=url, tls="none", quota="5/d")
    letters(spool, 3)
    run(spool, 75)
    (relay,) = json.loads(spool.command("status", "--json").stdout)["relays"]
    assert (relay["quota"], relay["used"]) == (5, 0)


def test_without_rate_and_quota_no_record_is_kept(spool: Spool, fault_server: Servers) -> None:
    aim(spool, fault_server())
    letters(spool, 3)
    run(spool)
    assert list((spool.path / "state").glob("pace*")) == []


# Slowing down


@pytest.mark.parametrize("reply", ["421 4.7.0 Slow", "450 4.7.1 Slow", "452 4.3.2 Slow"])
def test_a_relay_that_asks_for_it_gets_half(
    spool: Spool, fault_server: Servers, reply: str
) -> None:
    server = fault_server(answers={"MAIL": [None, reply]})
    aim(spool, server, rate="20/s")
    letters(spool, 22)
    log = run(spool)
    (slowed,) = events(log, "slowed")
    assert slowed["relay"] == "main"
    times = mail_times(server)
    assert len(times) >= 22
    assert times[-1] - times[2] >= (len(times) - 3) / 11 - JITTER
    assert times[-1] - times[2] < 10


def mail_times(server: FaultServer) -> List[float]:
    """When each MAIL came."""
    return sorted(
        chunk.at
        for session in server.sessions
        for chunk in session.chunks
        if chunk.who == "C" and b"MAIL FROM" in chunk.data
    )


# Recipients of a message


def many(count: int) -> List[str]:
    return [f"r{n:02}@example.net" for n in range(count)]


def test_a_message_is_split(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, recipients_per_message=10)
    name = letter(spool, *many(25))
    log = run(spool)
    assert [len(message.recipients) for message in server.messages] == [10, 10, 5]
    assert [r for message in server.messages for r in message.recipients] == many(25)
    assert len(results(log)) == 25 and {event["event"] for event in results(log)} == {"sent"}
    assert_sent(spool, name)
    server.check()


def test_the_quota_splits_too(spool: Spool, fault_server: Servers) -> None:
    """A message with more recipients than a day has room for would never go."""
    server = fault_server()
    aim(spool, server, quota="10/d")
    name = letter(spool, *many(25))
    run(spool)
    assert [len(message.recipients) for message in server.messages] == [10]
    place, fields = spool.state(name)
    assert place == "new"
    lines = block(spool, name)
    assert sum(line.startswith("X-Maildrain-Done: ") for line in lines) == 10
    assert sum(line.startswith("X-Maildrain-To: ") for line in lines) == 15


def test_a_failure_in_one_part_is_recorded(spool: Spool, fault_server: Servers) -> None:
    refused, busy = many(25)[12], many(25)[20]
    server = fault_server(
        answers={"RCPT": {refused: "550 5.1.1 No", busy: "450 4.2.1 Busy", "*": None}}
    )
    aim(spool, server, recipients_per_message=10)
    name = letter(spool, *many(25))
    outcomes = {event["to"]: event["event"] for event in results(run(spool))}
    assert [len(message.recipients) for message in server.messages] == [10, 9, 4]
    assert outcomes.pop(refused) == "failed" and outcomes.pop(busy) == "deferred"
    assert len(outcomes) == 23 and set(outcomes.values()) == {"sent"}
    assert_deferred(spool, name, "4.2.1")
    lines = block(spool, name)
    assert [line for line in lines if line.startswith("X-Maildrain-To: ")] == [
        f"X-Maildrain-To: <{busy}>"
    ]
    assert sum(line.startswith("X-Maildrain-Failed: ") for line in lines) == 1


def test_a_kill_between_two_parts_repeats_nobody(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": [None, Hang()]})
    aim(spool, server, recipients_per_message=10)
    name = letter(spool, *many(25))
    with subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: server.verbs.count("MAIL") == 2)
        process.kill()
    run(spool)
    served = Counter(r for message in server.messages for r in message.recipients)
    assert served == Counter(many(25))
    assert_sent(spool, name, attempts=2)


@needs_strace
def test_a_kill_at_any_rename_loses_nobody(
    make_spool: Callable[..., Spool], fault_server: Servers
) -> None:
    """At most one part is sent twice: the one whose result was not recorded yet."""
    when = 1
    while True:
        spool = make_spool()
        server = fault_server()
        aim(spool, server, recipients_per_message=10)
        letter(spool, *many(25))
        done = measure.trace(
            spool.argv("run"),
            ("renameat2",),
            options=("-e", f"inject=renameat2:signal=KILL:when={when}"),
        )
        if done.returncode == 0:
            break
        assert done.returncode == -9
        run(spool)
        served = Counter(r for message in server.messages for r in message.recipients)
        assert set(served) == set(many(25)), when
        assert max(served.values()) <= 2 and sum(served.values()) <= 35, when
        assert spool.counts() == {"tmp": spool.counts()["tmp"], "new": 0, "cur": 1, "failed": 0}
        when += 1
    assert when > 4, "a claim, two records between parts, and the result"


# Size of a message, and messages on a connection


def test_too_large_a_message_fails_before_anything_is_sent(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server()
    aim(spool, server, message_size="10K")
    large = letter(spool, text=b"Subject: x\n\n" + b"0123456789\n" * 2000)
    log = run(spool)
    assert_failed(spool, large, "5.3.4")
    assert [event["event"] for event in results(log)] == ["failed"]
    assert "MAIL" not in server.verbs
    small = letter(spool)
    run(spool)
    assert_sent(spool, small)


def test_a_connection_has_so_many_messages(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, messages_per_connection=3)
    letters(spool, 10)
    run(spool)
    assert [len(session.messages) for session in server.sessions] == [3, 3, 3, 1]
    assert all(session.verbs[-1] == "QUIT" for session in server.sessions)
    server.check()
