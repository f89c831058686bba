"""What goes out in one write, what waits for a reply, and how many round trips that takes."""

from __future__ import annotations

import time
from typing import Any, Callable, List, Tuple

import pytest

from relaying import (
    aim,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    letter,
    letters,
    results,
    run,
    senders,
)
from lab import canonical
from lab.certs import Certs
from lab.faultactions import Close, Dribble, Then
from lab.faultserver import DEFAULT_EHLO, FaultServer, Session
from lab.postfix import USERS, Postfix
from lab.spool import Spool

Servers = Callable[..., FaultServer]

LOCK_STEP = tuple(line for line in DEFAULT_EHLO if line != "PIPELINING")
NULL_EHLO = ("PIPELINING",)


def writes(session: Session) -> List[bytes]:
    """What the client wrote between two words of the server's, from EHLO on."""
    grouped: List[bytes] = []
    last = "S"
    for chunk in session.chunks:
        if chunk.who == "C" and last == "C":
            grouped[-1] += chunk.data
        elif chunk.who == "C":
            grouped.append(chunk.data)
        last = chunk.who
    return grouped


def text(n: int) -> bytes:
    return b"From: a@example.com\nSubject: %d\n\ntext %d\n" % (n, n)


# With PIPELINING


def test_body_dot_and_next_envelope_in_one_write(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=NULL_EHLO)
    aim(spool, server)
    for n in range(3):
        letter(spool, f"b{n}@example.net", f"c{n}@example.net", text=text(n))
    run(spool)

    def envelope(n: int) -> bytes:
        return (
            b"MAIL FROM:<a@example.com>\r\n"
            b"RCPT TO:<b%d@example.net>\r\nRCPT TO:<c%d@example.net>\r\nDATA\r\n" % (n, n)
        )

    def body(n: int) -> bytes:
        return text(n).replace(b"\n", b"\r\n") + b".\r\n"

    assert server.sessions[0].received[1:] == [
        envelope(0),
        body(0) + envelope(1),
        body(1) + envelope(2),
        body(2),
        b"QUIT\r\n",
    ]
    server.check()


def test_one_round_trip_for_each_message(spool: Spool, fault_server: Servers) -> None:
    trip, count = 0.05, 30
    server = fault_server(latency=trip)
    aim(spool, server)
    letters(spool, count)
    start = time.monotonic()
    run(spool)
    took = time.monotonic() - start
    assert len(server.messages) == count
    assert len(server.sessions) == 1
    assert len(writes(server.sessions[0])) <= count + 4  # EHLO, first envelope, last body, QUIT
    assert took < 2 * count * trip
    server.check()


def test_connections_work_side_by_side(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(latency=0.05)
    aim(spool, server, connections=4)
    letters(spool, 60)
    run(spool)
    counts = [len(session.messages) for session in server.sessions]
    assert len(counts) == 4 and sum(counts) == 60
    assert min(counts) >= 5
    server.check()


def test_no_more_connections_than_messages(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(latency=0.05)
    aim(spool, server, connections=4)
    letters(spool, 2)
    run(spool)
    assert len(server.sessions) <= 2
    server.check()


def test_five_hundred_recipients(spool: Spool, fault_server: Servers) -> None:
    to = [f"{'recipient' * 5}{n}@{'long.' * 20}example.net" for n in range(500)]
    bad = {to[n]: "550 5.1.1 No" for n in range(0, 500, 7)}
    server = fault_server(answers={"RCPT": bad})
    aim(spool, server)
    name = letter(spool, *to)
    letter(spool)
    events = run(spool)
    assert_failed(spool, name, "5.1.1")
    assert server.messages[0].recipients == tuple(one for one in to if one not in bad)
    failed = [event["to"] for event in results(events) if event["event"] == "failed"]
    assert failed == list(bad)
    assert len(server.messages) == 2
    assert len(writes(server.sessions[0])) <= 8
    server.check()


def test_five_hundred_recipients_all_refused(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": "550 5.1.1 No"})
    aim(spool, server)
    name = letter(spool, *(f"{'x' * 60}{n}@{'y' * 60}.example.net" for n in range(500)))
    other = letter(spool)
    server.answer("RCPT", {"b@example.net": None, "*": "550 5.1.1 No"})
    run(spool)
    assert_failed(spool, name, "5.1.1")
    assert_sent(spool, other)
    server.check()


def test_354_although_every_recipient_failed(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(
        answers={"RCPT": {"b@example.net": "550 5.1.1 No"}, "DATA": ["354 Go on all the same"]}
    )
    aim(spool, server)
    name = letter(spool, "b@example.net")
    others = letters(spool, 2)
    run(spool)
    assert_failed(spool, name, "5.1.1")
    assert [message.wire for message in server.received if not message.accepted] == [b""]
    for other in others:
        assert_sent(spool, other)
    assert len(server.sessions) == 1
    server.check()


def test_lone_dot_although_accepted_is_no_delivery(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(
        answers={"RCPT": "450 4.2.0 Later", "DATA": "354 Go on", "DOT": "250 2.0.0 Thank you"}
    )
    aim(spool, server)
    name = letter(spool)
    run(spool)
    assert_deferred(spool, name, "4.2.0")
    assert [message.wire for message in server.received] == [b""]


@pytest.mark.parametrize("reply, place", [("452 4.3.1 Full", "new"), ("554 5.3.0 No", "failed")])
def test_data_refused_although_a_recipient_passed(
    spool: Spool, fault_server: Servers, reply: str, place: str
) -> None:
    server = fault_server(answers={"DATA": [reply]})
    aim(spool, server)
    name = letter(spool)
    other = letter(spool)
    run(spool)
    assert spool.state(name)[0] == place
    assert_sent(spool, other)
    assert server.verbs == "EHLO MAIL RCPT DATA RSET MAIL RCPT DATA QUIT".split()
    assert len(server.sessions) == 1
    server.check()


def test_mail_refused_while_recipients_are_pipelined(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"MAIL": {"s1@example.com": "550 5.7.1 Not you"}})
    aim(spool, server)
    names = letters(spool, 3)
    events = results(run(spool))
    assert_failed(spool, names[1], "5.7.1")
    assert_sent(spool, names[0])
    assert_sent(spool, names[2])
    assert [event["reply"] for event in events if event["event"] == "failed"] == [
        "550 5.7.1 Not you"
    ]
    assert len(server.sessions) == 1
    server.check()


def test_mail_refused_but_the_rest_taken(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(
        answers={"MAIL": ["550 5.7.1 Not you"], "RCPT": ["250 Ok"], "DATA": ["354 Go on"]}
    )
    aim(spool, server)
    name = letter(spool)
    other = letter(spool)
    run(spool)
    assert_failed(spool, name, "5.7.1")
    assert_sent(spool, other)
    assert server.received[0].wire == b""


def test_the_message_behind_a_lost_one_is_sent_later(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(answers={"DOT": {"s1@example.com": Close()}})
    aim(spool, server)
    names = letters(spool, 5)
    run(spool)
    assert_deferred(spool, names[1], "4.4.2")
    for name in names[:1] + names[2:]:
        assert_sent(spool, name)
    assert server.verbs.count("DATA") >= 5
    assert len(server.messages) == 4
    server.check()


# Without


def test_lock_step(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=())
    aim(spool, server)
    letter(spool, "b@example.net", "c@example.net", text=text(0))
    letter(spool, text=text(1))
    run(spool)
    assert server.sessions[0].received[1:] == [
        b"MAIL FROM:<a@example.com>\r\n",
        b"RCPT TO:<b@example.net>\r\n",
        b"RCPT TO:<c@example.net>\r\n",
        b"DATA\r\n",
        text(0).replace(b"\n", b"\r\n") + b".\r\n",
        b"MAIL FROM:<a@example.com>\r\n",
        b"RCPT TO:<b@example.net>\r\n",
        b"DATA\r\n",
        text(1).replace(b"\n", b"\r\n") + b".\r\n",
        b"QUIT\r\n",
    ]
    server.check()


def test_lock_step_asks_for_nothing_in_vain(spool: Spool, fault_server: Servers) -> None:
    refusals = {
        "MAIL": {"s0@example.com": "550 5.7.1 No"},
        "RCPT": {"r1@example.net": "550 5.1.1 No"},
    }
    server = fault_server(ehlo=LOCK_STEP, answers=refusals)
    aim(spool, server)
    names = letters(spool, 3)
    run(spool)
    assert_failed(spool, names[0], "5.7.1")
    assert_failed(spool, names[1], "5.1.1")
    assert_sent(spool, names[2])
    assert server.verbs == "EHLO MAIL MAIL RCPT RSET MAIL RCPT DATA QUIT".split()
    server.check()


# Replies in odd shapes


@pytest.mark.parametrize("ehlo", [DEFAULT_EHLO, LOCK_STEP], ids=["pipelined", "lock-step"])
def test_replies_octet_by_octet(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...]
) -> None:
    steps = ("EHLO", "MAIL", "RCPT", "DATA", "DOT", "QUIT")
    server = fault_server(ehlo=ehlo, answers={step: Dribble() for step in steps})
    aim(spool, server)
    names = letters(spool, 3)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    server.check()


def test_replies_of_many_lines(spool: Spool, fault_server: Servers) -> None:
    def lines(code: int, words: bytes) -> bytes:
        head = b"".join(b"%d-%s %d\r\n" % (code, words, n) for n in range(20))
        return head + b"%d %s\r\n" % (code, words)

    answers = {
        "CONNECT": lines(220, b"lab.example"),
        "MAIL": lines(250, b"2.1.0 Ok"),
        "RCPT": lines(250, b"2.1.5 Ok"),
        "DATA": lines(354, b"Go on"),
        "DOT": lines(250, b"2.0.0 Queued"),
        "QUIT": lines(221, b"2.0.0 Bye"),
    }
    server = fault_server(answers=answers)
    aim(spool, server)
    names = letters(spool, 3)
    events = results(run(spool))
    for name in names:
        assert_sent(spool, name)
    assert all(event["reply"].startswith("250 2.0.0 Queued 0 Queued 1 ") for event in events)
    server.check()


@pytest.mark.parametrize(
    "noise",
    [b"\0\0\0\r\n", b"hello\r\n", b"25\r\n", b"250-a\r\n251 b\r\n", b"199 x\r\n", b"x" * 9000],
    ids=["nul", "words", "short", "mixed", "1xx", "long"],
)
def test_nonsense_ends_the_session(spool: Spool, fault_server: Servers, noise: bytes) -> None:
    server = fault_server(answers={"MAIL": [noise]})
    aim(spool, server)
    names = letters(spool, 3)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert len(server.sessions) == 2
    server.check()


def test_a_reply_that_nothing_asked_for(spool: Spool, fault_server: Servers) -> None:
    twice = Then("250 2.0.0 Ok", "250 2.0.0 And again", "250 2.0.0 And again")
    server = fault_server(ehlo=LOCK_STEP, answers={"DOT": [twice]})
    aim(spool, server)
    names = letters(spool, 3)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert len(server.messages) == 3


def test_a_relay_that_speaks_no_smtp(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": b"HTTP/1.1 400 Bad Request\r\n"})
    aim(spool, server)
    names = letters(spool, 2)
    events = run(spool, 75)
    assert_waiting(spool, *names)
    assert events[-1]["event"] == "relay-down"
    assert "SMTP" in events[-1]["reply"]


# Real servers


def test_content_at_postfix(
    spool: Spool, postfix: Postfix, certs: Certs
) -> None:
    user, password = next(iter(USERS.items()))
    spool.write_config(
        url=postfix.url,
        ca_file=certs.ca,
        user=user,
        password_file=spool.secret(password),
        connections=2,
    )
    head = b"From: a@example.com\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n"
    bodies = [head + b"Message-Id: <%d@x>\n\n.\n..%d\n" % (n, n) for n in range(40)]
    for body in bodies:
        letter(spool, "b@example.test", text=body)
    run(spool)
    arrived = [canonical.canonical(message) for message in postfix.wait_for(40)]
    assert sorted(arrived) == sorted(bodies)
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 40, "failed": 0}


def test_aiosmtpd_takes_pipelined_messages(spool: Spool, aio_server: Callable[..., Any]) -> None:
    server = aio_server(pipelining=True)
    aim(spool, server, connections=2)
    letters(spool, 20)
    refused = letter(spool, "refuse@example.net", "b@example.net")
    deferred = letter(spool, "defer@example.net")
    run(spool)
    assert len(server.messages) == 21
    assert_failed(spool, refused, "5.1.1")
    assert_deferred(spool, deferred, "4.3.0")


def test_senders_keep_their_order(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    letters(spool, 25)
    run(spool)
    assert senders(server) == [f"s{n}@example.com" for n in range(25)]
    server.check()
