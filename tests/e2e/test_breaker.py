"""A misconfigured relay never turns a queue into failures."""

from __future__ import annotations

from typing import Any, Callable, List

import pytest

from relaying import (
    about_relay,
    aim,
    assert_failed,
    assert_sent,
    assert_waiting,
    letter,
    letters,
    results,
    run,
)
from lab import net
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.spool import Spool

Servers = Callable[..., FaultServer]

AUTH_EHLO = (*DEFAULT_EHLO, "AUTH PLAIN LOGIN")
LOCK_STEP = tuple(line for line in DEFAULT_EHLO if line != "PIPELINING")
REFUSAL = "550 5.7.1 Sender rejected"


def log_in(spool: Spool, server: FaultServer, **relay: Any) -> None:
    """Over plain SMTP, which loopback allows."""
    aim(spool, server, user="site", password_file=spool.secret("wrong"), **relay)


# The login


@pytest.mark.parametrize("count", [1, 25])
@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize(
    "reply",
    [
        "530 5.7.0 Must issue STARTTLS",
        "534 5.7.9 Mechanism too weak",
        "535 5.7.8 Wrong user or password",
        "538 5.7.11 Encryption required",
    ],
)
@pytest.mark.parametrize("step", ["AUTH", "MAIL"])
def test_53x(
    spool: Spool, fault_server: Servers, step: str, reply: str, connections: int, count: int
) -> None:
    server = fault_server(ehlo=AUTH_EHLO, answers={step: reply})
    log_in(spool, server, connections=connections)
    names = letters(spool, count)
    events = run(spool, 75)
    (event,) = about_relay(events)
    assert event["event"] == "relay-misconfigured"
    assert reply in event["reply"]
    assert results(events) == []
    assert_waiting(spool, *names)
    assert len(server.sessions) <= (1 if step == "AUTH" else connections)
    server.check()


def test_a_wrong_password_is_tried_once(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=AUTH_EHLO, users={"site": "right"})
    log_in(spool, server, connections=8)
    names = letters(spool, 30)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert "535 5.7.8 Wrong user or password" in event["reply"]
    assert "wrong" not in str(event["text"])
    attempts = [login for session in server.sessions for login in session.credentials]
    assert {(user, password) for _, user, password in attempts} == {("site", "wrong")}
    assert len(server.sessions) == 1
    assert_waiting(spool, *names)
    server.check()


def test_the_password_is_in_no_log(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=AUTH_EHLO, users={"site": "right"})
    aim(spool, server, user="site", password_file=spool.secret("hunter2"))
    letter(spool)
    done = spool.run()
    assert done.returncode == 75
    assert "hunter2" not in done.stdout + done.stderr
    assert "aHVudGVyMg" not in done.stdout + done.stderr


def test_a_relay_without_auth_does_not_get_the_mail(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    log_in(spool, server)
    names = letters(spool, 3)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert "AUTH" in event["reply"]
    assert_waiting(spool, *names)
    assert "MAIL" not in server.verbs
    server.check()


def test_login_works(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=AUTH_EHLO, users={"site": "wrong"}, require_auth=True)
    log_in(spool, server)
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    assert server.messages[0].user == "site"
    server.check()


def test_530_in_the_middle_of_the_queue(spool: Spool, fault_server: Servers) -> None:
    expired = {"s4@example.com": "530 5.7.0 Your login has expired", "*": None}
    server = fault_server(answers={"MAIL": expired})
    aim(spool, server)
    names = letters(spool, 10)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    for name in names[:4]:
        assert_sent(spool, name)
    assert_waiting(spool, *names[4:])
    server.check()


def test_next_relay_after_a_misconfigured_one(spool: Spool, fault_server: Servers) -> None:
    bad = fault_server(answers={"MAIL": "530 5.7.0 Login first"})
    good = fault_server()
    spool.write_config(
        relays={
            "bad": {"url": bad.url, "tls": "none"},
            "good": {"url": good.url, "tls": "none"},
        }
    )
    names = letters(spool, 12)
    events = run(spool)
    for name in names:
        assert_sent(spool, name)
    assert [event["relay"] for event in about_relay(events)] == ["bad"]
    assert {event["relay"] for event in results(events)} == {"good"}
    bad.check()
    good.check()


# The same refusal again and again


@pytest.mark.parametrize("ehlo", [DEFAULT_EHLO, LOCK_STEP], ids=["pipelined", "lock-step"])
@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("count", [10, 11, 60])
def test_ten_refused_alike(
    spool: Spool, fault_server: Servers, count: int, connections: int, ehlo: Any
) -> None:
    server = fault_server(ehlo=ehlo, answers={"MAIL": REFUSAL})
    aim(spool, server, connections=connections)
    names = letters(spool, count)
    events = run(spool, 75)
    (event,) = about_relay(events)
    assert event["event"] == "relay-misconfigured"
    assert "MAIL FROM" in event["reply"]
    assert results(events) == []
    assert_waiting(spool, *names)
    assert 10 <= server.verbs.count("MAIL") <= 10 + 2 * connections
    server.check()


def test_the_words_may_differ(spool: Spool, fault_server: Servers) -> None:
    answers = [f"550 5.7.1 Refused, number {n}" for n in range(30)]
    server = fault_server(answers={"MAIL": answers})
    aim(spool, server)
    names = letters(spool, 20)
    run(spool, 75)
    assert_waiting(spool, *names)
    server.check()


def test_a_sender_refused_three_times_is_a_failure(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"MAIL": REFUSAL})
    aim(spool, server)
    names = letters(spool, 3)
    events = run(spool)
    for name in names:
        assert_failed(spool, name, "5.7.1")
    assert [event["reply"] for event in results(events)] == [REFUSAL] * 3
    server.check()


def test_nine_are_not_enough(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": REFUSAL})
    aim(spool, server, connections=4)
    names = letters(spool, 9)
    run(spool)
    for name in names:
        assert_failed(spool, name, "5.7.1")
    server.check()


@pytest.mark.parametrize("refused", [1, 5, 9])
def test_one_success_shows_that_the_relay_works(
    spool: Spool, fault_server: Servers, refused: int
) -> None:
    server = fault_server(answers={"MAIL": [REFUSAL] * refused})
    aim(spool, server)
    names = letters(spool, 30)
    run(spool)
    for name in names[:refused]:
        assert_failed(spool, name, "5.7.1")
    for name in names[refused:]:
        assert_sent(spool, name)
    server.check()


def test_after_a_success_any_number_may_fail(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": [None, *[REFUSAL] * 30]})
    aim(spool, server)
    names = letters(spool, 31)
    run(spool)
    assert_sent(spool, names[0])
    for name in names[1:]:
        assert_failed(spool, name, "5.7.1")
    server.check()


@pytest.mark.parametrize(
    "other", ["554 5.7.1 Refused otherwise", "450 4.7.1 Later", "451 4.3.0 Trouble"]
)
def test_another_code_shows_that_the_relay_judges(
    spool: Spool, fault_server: Servers, other: str
) -> None:
    server = fault_server(answers={"MAIL": [*[REFUSAL] * 5, other, *[REFUSAL] * 30]})
    aim(spool, server)
    names = letters(spool, 20)
    run(spool)
    places = [spool.state(name)[0] for name in names]
    assert places.count("failed") == (20 if other[0] == "5" else 19)
    server.check()


def test_recipients_refused_alike_are_failures(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": "550 5.1.1 No such user"})
    aim(spool, server, connections=2)
    names = letters(spool, 25)
    run(spool)
    for name in names:
        assert_failed(spool, name, "5.1.1")
    server.check()


def test_a_message_too_large_proves_nothing(spool: Spool, fault_server: Servers) -> None:
    """It is refused here: the relay has not said a word about it."""
    server = fault_server(ehlo=("PIPELINING", "SIZE 1000"), answers={"MAIL": REFUSAL})
    aim(spool, server)
    large = letter(spool, text=b"From: a@example.com\n\n" + b"x" * 2000 + b"\n")
    names = letters(spool, 15)
    run(spool, 75)
    assert_failed(spool, large, "5.3.4")
    assert_waiting(spool, *names)
    server.check()


def test_the_next_run_sends_what_was_held_back(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": REFUSAL})
    aim(spool, server, connections=3)
    names = letters(spool, 25)
    run(spool, 75)
    server.answer("MAIL", None)
    events = run(spool)
    for name in names:
        assert_sent(spool, name)
    assert {event["attempt"] for event in results(events)} == {"1"}
    server.check()


def test_held_results_wait_while_the_relay_goes_down(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(
        ehlo=LOCK_STEP, answers={"MAIL": [*[REFUSAL] * 4, *["421 4.3.2 Bye"] * 30]}
    )
    aim(spool, server)
    names = letters(spool, 12)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert_waiting(spool, *names)
    server.check()


def test_each_relay_has_a_breaker_of_its_own(spool: Spool, fault_server: Servers) -> None:
    servers: List[FaultServer] = [fault_server(answers={"MAIL": REFUSAL}) for _ in range(2)]
    spool.write_config(
        relays={
            f"r{n}": {"url": server.url, "tls": "none", "connections": 4}
            for n, server in enumerate(servers)
        }
    )
    names = letters(spool, 40)
    events = run(spool, 75)
    assert [event["relay"] for event in about_relay(events)] == ["r0", "r1"]
    assert_waiting(spool, *names)


def test_down_and_misconfigured_relays_together(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": REFUSAL})
    spool.write_config(
        relays={
            "down": {"url": f"smtp://{net.HOST}:{net.free_port()}", "tls": "none"},
            "bad": {"url": server.url, "tls": "none"},
        }
    )
    names = letters(spool, 20)
    events = about_relay(run(spool, 75))
    assert [event["event"] for event in events] == ["relay-down", "relay-misconfigured"]
    assert_waiting(spool, *names)
    server.check()
