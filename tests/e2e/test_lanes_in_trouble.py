"""Several relays in one run, and several batches of one message, when not all goes well."""

from __future__ import annotations

import resource
import shutil
import subprocess
import time
from typing import Callable

import pytest

from e2e.relaying import (
    LETTER, assert_deferred, assert_failed, assert_sent, assert_waiting, letter, letters, results,
    run,
)  # fmt: skip
from e2e.test_lanes import down, drop_wish, got, plain
from lab.faultactions import Delay
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.sink import Sink
from lab.spool import Spool, envelope_block

Servers = Callable[..., FaultServer]

REFUSAL = "550 5.7.1 Sender rejected"


def test_refused_at_mail_with_more_batches(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": REFUSAL})
    spool.write_config(relays={"one": plain(server, recipients_per_message=1)})
    name = letter(spool, "a@example.net", "b@example.net", "c@example.net")
    events = run(spool, timeout=10)
    assert_failed(spool, name, "5.7.1")
    assert len(results(events)) == 3


def test_held_with_more_of_another_route(spool: Spool, fault_server: Servers) -> None:
    one, two = fault_server(answers={"MAIL": REFUSAL}), fault_server()
    spool.write_config(
        relays={"one": plain(one), "two": plain(two)},
        routes={"o": {"recipient": ["one.example"], "relays": ["one"]}, "t": {"relays": ["two"]}},
    )
    name = letter(spool, "a@one.example", "b@two.example")
    run(spool, timeout=10)
    assert_failed(spool, name, "5.7.1")
    assert got(two) == [["b@two.example"]]


def test_held_with_more_of_an_earlier_relay(spool: Spool, fault_server: Servers) -> None:
    one, two = fault_server(answers={"MAIL": REFUSAL}), fault_server()
    spool.write_config(
        relays={"two": plain(two), "one": plain(one)},
        routes={"o": {"recipient": ["one.example"], "relays": ["one"]}, "t": {"relays": ["two"]}},
    )
    name = letter(spool, "a@one.example", "b@two.example")
    run(spool, timeout=10)
    assert_failed(spool, name, "5.7.1")
    assert got(two) == [["b@two.example"]]


def test_nothing_of_deferred_batches_stays_in_tmp(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": "451 4.3.0 Not now"})
    spool.write_config(relays={"one": plain(server, recipients_per_message=1)})
    name = letter(spool, *(f"r{n}@example.net" for n in range(5)))
    run(spool)
    assert_deferred(spool, name, "4.3.0")
    assert spool.counts()["tmp"] == 0


def test_a_held_message_that_was_put_back_begins_anew_when_it_may(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"RCPT": ["550 5.1.1 Unknown"]})
    spool.write_config(relays={"one": plain(server)})
    name = letter(spool, "a@example.net")
    run(spool)
    assert_failed(spool, name, "5.1.1")
    failed = spool.find(name)
    failed.rename(spool.path / "new" / failed.name)
    spool.write_config({"allow_recipients": ["example.org"]}, relays={"one": plain(server)})
    run(spool)
    assert spool.state(name)[0] == "new"
    spool.write_config(relays={"one": plain(server)})
    held = spool.find(name)
    held.rename(held.with_name(",".join(f for f in held.name.split(",") if f[:2] != "T=")))
    run(spool)
    assert_sent(spool, name)


def test_a_wish_for_another_than_the_one_over_its_quota(
    spool: Spool, fault_server: Servers
) -> None:
    main, bulk = fault_server(), fault_server()
    spool.write_config(relays={"main": plain(main, quota="2/d"), "bulk": plain(bulk)})
    letters(spool, 9)
    name = drop_wish(spool, "bulk", "z@example.net")
    run(spool)
    assert_sent(spool, name)
    assert len(got(main)) == 2 and spool.counts()["new"] == 7
    name = drop_wish(spool, "bulk", "z@example.net")
    run(spool)
    assert_sent(spool, name)


def test_an_equal_serves_what_is_over_the_quota_of_the_other(
    spool: Spool, fault_server: Servers
) -> None:
    one, two = fault_server(), fault_server()
    spool.write_config(
        relays={"one": plain(one, quota="2/d"), "two": plain(two)},
        routes={"all": {"relays": ["one two"]}},
    )
    for _ in range(2):
        names = letters(spool, 9)
        run(spool)
        for name in names:
            assert_sent(spool, name)


def serve_newcomers(spool: Spool, slow: str) -> None:
    """Letters are dropped while a run waits for the result of SLOW, and are sent before that."""
    process = subprocess.Popen(spool.argv("run"), stderr=subprocess.DEVNULL)
    wait_until(lambda: "C" in spool.state(slow)[1])
    late = [letter(spool, "late@example.net") for _ in range(2)]
    wait_until(lambda: all(spool.state(name)[0] == "cur" for name in late))
    assert "C" in spool.state(slow)[1]
    assert process.wait(20) == 0


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_newcomers_are_served_while_a_relay_says_nothing(
    spool: Spool, fault_server: Servers
) -> None:
    mute, good = fault_server(answers={"DOT": [Delay(4)]}), fault_server()
    spool.write_config(
        relays={"mute": plain(mute), "good": plain(good)},
        routes={
            "m": {"recipient": ["mute.example"], "relays": ["mute"]},
            "g": {"relays": ["good"]},
        },
    )
    serve_newcomers(spool, letter(spool, "a@mute.example"))
    assert got(good) == [["late@example.net"]] * 2


def test_newcomers_are_served_while_a_connection_says_nothing(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(ehlo=(), answers={"DOT": {"s0@example.com": Delay(4)}})
    spool.write_config(relays={"only": plain(server, connections=2)})
    serve_newcomers(spool, letters(spool, 1)[0])


def test_what_waits_for_a_relay_that_is_down_shows_in_the_exit_status(
    spool: Spool, fault_server: Servers
) -> None:
    """Also where no other relay has use for more mail, so that names are not looked at."""
    good = fault_server()
    spool.write_config(
        relays={"bad": down(), "good": plain(good, quota="1/d")},
        routes={
            "b": {"recipient": ["bad.example"], "relays": ["bad"]},
            "g": {"relays": ["good"]},
        },
    )
    letters(spool, 3)
    stuck = letter(spool, "a@bad.example")
    run(spool, 75)
    assert_waiting(spool, stuck)


def test_what_is_held_when_a_relay_can_not_be_counted_for(
    spool: Spool, fault_server: Servers
) -> None:
    """Nothing may be sent that can't be counted; what was refused so far proves nothing."""

    def refuse(_: object) -> str:
        shutil.rmtree(spool.path / "state", ignore_errors=True)
        return REFUSAL

    server = fault_server(answers={"MAIL": [refuse]})
    spool.write_config(relays={"one": plain(server, rate="1/s", pipeline=1)})
    names = letters(spool, 3)
    run(spool, 74)
    assert_waiting(spool, *names)


def fill_queue(spool: Spool, to: str) -> None:
    """More letters for TO than a run keeps the names of, as these are long."""
    for n in range(25000):
        name = f"{n:06}{'x' * 180}"
        (spool.path / "new" / name).write_bytes(envelope_block("a@example.com", [to]) + LETTER)


@pytest.mark.parametrize("state", ("down", "over"))
def test_a_long_queue_for_one_relay_does_not_hold_up_the_others(
    spool: Spool, fault_server: Servers, state: str
) -> None:
    bulk, good = fault_server(), fault_server()
    spool.write_config(
        relays={
            "bulk": down() if state == "down" else plain(bulk, quota="5/d"),
            "good": plain(good),
        },
        routes={
            "b": {"recipient": ["bulk.example"], "relays": ["bulk"]},
            "g": {"relays": ["good"]},
        },
    )
    fill_queue(spool, "a@bulk.example")
    last = spool.drop(LETTER, "z", envelope=("a@example.com", ["b@example.net"]))
    run(spool, 75 if state == "down" else 0)
    assert_sent(spool, last)
    assert len(got(bulk)) == (0 if state == "down" else 5)


def test_a_long_queue_is_served_to_its_end(spool: Spool, smtp_sink: Callable[..., Sink]) -> None:
    """Beside another that never has anything to do."""
    spool.write_config(
        relays={"bulk": {"url": smtp_sink().url, "tls": "none"}, "idle": down()},
        routes={
            "b": {"recipient": ["bulk.example"], "relays": ["bulk"]},
            "i": {"recipient": ["idle.example"], "relays": ["idle"]},
        },
    )
    fill_queue(spool, "a@bulk.example")
    run(spool, timeout=120)
    assert spool.counts()["cur"] == 25000


def test_a_stop_with_each_relay_in_another_trouble(spool: Spool, fault_server: Servers) -> None:
    """One is down, one asks a program that hangs, one has a message between two batches, one has
    refused what it was given, and one is at work."""
    paced, refusing = fault_server(), fault_server(answers={"MAIL": REFUSAL})
    slow = fault_server(answers={"DOT": [Delay(2)]})
    program = spool.path.parent / "password"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    relays = {
        "down": down(),
        "asking": plain(paced, user="site", password_command=[program]),
        "paced": plain(paced, rate="2/m", recipients_per_message=1),
        "refusing": plain(refusing),
        "slow": plain(slow),
    }
    spool.write_config(
        relays=relays,
        routes={name: {"recipient": [f"{name}.example"], "relays": [name]} for name in relays},
    )
    names = {name: letter(spool, f"a@{name}.example", f"b@{name}.example") for name in relays}
    every = letter(spool, *(f"c@{name}.example" for name in relays))
    process = subprocess.Popen(spool.argv("run"), stderr=subprocess.PIPE, text=True)
    wait_until(lambda: "Done" in spool.find(names["paced"]).read_text())
    wait_until(lambda: len(refusing.sessions) > 0 and "C" in spool.state(names["slow"])[1])
    began = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0, said
    assert time.monotonic() - began < 8
    for name in ("down", "asking", "refusing"):
        assert_waiting(spool, names[name])
    assert spool.state(names["paced"]) == ("new", {})
    assert_sent(spool, names["slow"])
    assert "C" not in spool.state(every)[1]
    assert spool.counts()["tmp"] == 0


def test_relays_share_few_descriptors(spool: Spool, fault_server: Servers) -> None:
    ehlo = (*DEFAULT_EHLO, "CHUNKING")
    servers = {f"r{n}": fault_server(ehlo=ehlo, answers={"DOT": [Delay(0.5)]}) for n in range(4)}
    spool.write_config(
        relays={name: plain(server, connections=4) for name, server in servers.items()},
        routes={name: {"recipient": [f"{name}.example"], "relays": [name]} for name in servers},
    )
    names = [letter(spool, *(f"{to}@r{n % 4}.example" for to in "ab")) for n in range(400)]
    done = subprocess.run(
        spool.argv("run"),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (160, 160)),
        timeout=60,
    )
    assert done.returncode == 0 and b"Too many open files" not in done.stderr
    for name in names:
        assert_sent(spool, name)
