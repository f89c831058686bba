"""CHUNKING: many messages in flight by BDAT, what becomes of them when something goes wrong, and
servers that announce it and choke on it."""

from __future__ import annotations

import re
import resource
import subprocess
import time
from typing import Any, Callable, Dict, List, Sequence

import pytest

from relaying import (
    LETTER,
    about_relay,
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
from lab import canonical
from lab.certs import Certs
from lab.exim import Exim
from lab.faultactions import Close, Cut, Delay, Dribble, Hang, Reset, Then
from lab.faultserver import DEFAULT_EHLO, FaultServer, Session
from lab.postfix import DEFER, DOMAIN, REJECT, Postfix
from lab.spool import Spool, fields_of

Servers = Callable[..., FaultServer]

CHUNKING = (*DEFAULT_EHLO, "CHUNKING")
PLAIN = ("PIPELINING", "CHUNKING")
NO_SUCH = "550 5.1.1 No such user"


@pytest.fixture
def chunking(fault_server: Servers) -> Servers:
    """chunking(answers={…}) is a fault server that takes BDAT."""
    return lambda **options: fault_server(**{"ehlo": CHUNKING, **options})


def commands(chunk: bytes) -> List[str]:
    """The verbs at the start of lines in what was read at once."""
    return re.findall(r"^(RSET|MAIL|RCPT|BDAT|DATA|QUIT)\b", chunk.decode(), re.M)


def largest_flight(session: Session) -> int:
    """The most messages that went out between two words of the server's."""
    most = count = 0
    for chunk in session.chunks:
        count = count + commands(chunk.data).count("MAIL") if chunk.who == "C" else 0
        most = max(most, count)
    return most


def by_sender(server: FaultServer) -> Dict[str, int]:
    """How often each sender's message was taken."""
    senders = [message.sender for message in server.messages]
    return {sender: senders.count(sender) for sender in senders}


# The dialogue


def test_one_octet_ahead_then_all_without_waiting(spool: Spool, chunking: Servers) -> None:
    server = chunking(ehlo=PLAIN)
    aim(spool, server)
    texts = [b"From: a@example.com\n\n.\n..%d\n" % n for n in range(6)]
    for n, text in enumerate(texts):
        letter(spool, f"r{n}@example.net", sender=f"s{n}@example.com", text=text)
    run(spool)
    size = len(texts[0]) + 4

    def whole(n: int) -> bytes:
        mail = b"MAIL FROM:<s%d@example.com>\r\nRCPT TO:<r%d@example.net>\r\n" % (n, n)
        return mail + b"BDAT %d LAST\r\n" % size + texts[n].replace(b"\n", b"\r\n")

    first, octets = whole(0).split(b"BDAT %d LAST\r\n" % size)
    assert server.sessions[0].received[1:] == [
        first + b"BDAT 1\r\n" + octets[:1],
        b"BDAT %d LAST\r\n" % (size - 1) + octets[1:],
        whole(1) + b"RSET\r\n" + whole(2),
        whole(3) + b"RSET\r\n" + whole(4) + b"RSET\r\n" + whole(5),
        b"QUIT\r\n",
    ]
    assert [message.data for message in server.messages] == [
        text.replace(b"\n", b"\r\n") for text in texts
    ]
    server.check()


@pytest.mark.parametrize("pipeline", [1, 3, 50])
def test_no_more_in_flight_than_configured(
    spool: Spool, chunking: Servers, pipeline: int
) -> None:
    server = chunking(latency=0.005)
    aim(spool, server, pipeline=pipeline)
    letters(spool, 130)
    run(spool)
    assert len(server.messages) == 130
    assert largest_flight(server.sessions[0]) == pipeline
    server.check()


def test_never(spool: Spool, chunking: Servers) -> None:
    server = chunking()
    aim(spool, server, chunking="never")
    letters(spool, 3)
    run(spool)
    assert "BDAT" not in server.verbs and server.verbs.count("DATA") == 3
    server.check()


def test_no_chunks_where_none_are_offered(spool: Spool, fault_server: Servers) -> None:
    for ehlo in (DEFAULT_EHLO, ("CHUNKING",)):
        server = fault_server(ehlo=ehlo)
        aim(spool, server)
        letters(spool, 3)
        run(spool)
        assert "BDAT" not in server.verbs and len(server.messages) == 3
        server.check()


def test_ten_times_the_messages_in_a_round_trip(spool: Spool, chunking: Servers) -> None:
    """Over one connection, against the path by DATA, which needs a round trip for each."""
    trip = 0.05

    def rate(count: int, **options: str) -> float:
        server = chunking(latency=trip, keep_chunks=False)
        aim(spool, server, **options)
        letters(spool, count)
        start = time.monotonic()
        run(spool)
        assert len(server.messages) == count
        return count / (time.monotonic() - start)

    data = rate(40, chunking="never")
    assert data < 1.1 / trip
    assert rate(600) > 10 * data


@pytest.mark.parametrize("size", [100, 20_000, 300_000])
def test_bodies_of_any_size_keep_their_octets(
    spool: Spool, chunking: Servers, size: int
) -> None:
    server = chunking()
    aim(spool, server, connections=2)
    texts = []
    for n in range(20):
        text = b"From: a@example.com\nX: %d\n\n" % n + b".\r..\n\r\n\rx" * (size // 9) + b"end"
        letter(spool, text=text)
        texts.append(re.sub(rb"\r\n|\r|\n", b"\r\n", text) + b"\r\n")
    run(spool)
    assert sorted(message.data for message in server.messages) == sorted(texts)
    assert all(message.chunked for message in server.messages)
    server.check()


def test_8bitmime_is_declared_as_ever(spool: Spool, chunking: Servers) -> None:
    server = chunking()
    aim(spool, server)
    letter(spool, text=LETTER + "é\n".encode())
    run(spool)
    assert server.messages[0].option("BODY") == "8BITMIME"
    server.check()


def test_8bit_without_8bitmime_is_not_sent(spool: Spool, chunking: Servers) -> None:
    server = chunking(ehlo=PLAIN)
    aim(spool, server)
    name = letter(spool, text=LETTER + "é\n".encode())
    run(spool)
    assert_failed(spool, name, "5.6.3")
    assert server.received == []


def test_over_tls(spool: Spool, chunking: Servers, certs: Certs) -> None:
    server = chunking(ehlo=(*CHUNKING, "STARTTLS"), tls=certs.server_context())
    aim(spool, server, tls="required", ca_file=certs.ca, connections=2)
    names = [letter(spool, text=LETTER + b"x" * (n * 997) + b"\n") for n in range(60)]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert all(message.chunked and message.tls for message in server.messages)
    server.check()


def test_replies_octet_by_octet(spool: Spool, chunking: Servers) -> None:
    steps = ("EHLO", "MAIL", "RCPT", "CHUNK", "DOT", "RSET", "QUIT")
    server = chunking(answers={step: Dribble() for step in steps})
    aim(spool, server)
    names = letters(spool, 30)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    server.check()


def test_a_large_message_holds_up_no_small_ones(spool: Spool, chunking: Servers) -> None:
    server = chunking(answers={"BODY": {"s0@example.com": Delay(1.5)}}, keep_chunks=False)
    aim(spool, server, connections=2)
    large = letter(
        spool, "r0@example.net", sender="s0@example.com", text=LETTER + b"x" * 25_000_000
    )
    names = [large]
    names += [letter(spool, sender=f"s{n}@example.com") for n in range(1, 200)]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    order = [message.sender for message in server.messages]
    assert order.index("s0@example.com") > 190
    server.check()


def test_few_descriptors_mean_less_in_flight(spool: Spool, chunking: Servers) -> None:
    """Messages for two recipients, of which each has a file set aside."""
    server = chunking(latency=0.01)
    aim(spool, server, pipeline=1000, connections=4)
    names = [letter(spool, "b@example.net", "c@example.net") for _ in range(300)]
    done = subprocess.run(
        spool.argv("run"),
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128)),
        timeout=60,
        check=True,
    )
    assert b"error" not in done.stderr
    for name in names:
        assert_sent(spool, name)
    assert max(largest_flight(session) for session in server.sessions) <= 6
    server.check()


# Refused in the midst of others


@pytest.mark.parametrize(
    "event, reply, status",
    [
        ("MAIL", "451 4.3.0 Later", "4.3.0"),
        ("MAIL", "550 5.7.1 Not you", "5.7.1"),
        ("RCPT", "450 4.2.0 Later", "4.2.0"),
        ("RCPT", NO_SUCH, "5.1.1"),
        ("DOT", "452 4.3.1 Full", "4.3.1"),
        ("DOT", "554 5.6.0 Spam", "5.6.0"),
        ("DOT", "503 5.5.1 What?", "5.5.1"),
    ],
)
def test_one_of_many_is_refused(
    spool: Spool, chunking: Servers, event: str, reply: str, status: str
) -> None:
    """Those behind it are out already, and are not touched by it."""
    key = "r25@example.net" if event == "RCPT" else "s25@example.com"
    server = chunking(answers={event: {key: reply}}, latency=0.01)
    aim(spool, server)
    names = letters(spool, 60)
    run(spool)
    refused = names.pop(25)
    if status[0] == "4":
        assert_deferred(spool, refused, status)
    else:
        assert_failed(spool, refused, status)
    for name in names:
        assert_sent(spool, name)
    assert len(server.sessions) == 1
    assert {message.recipients for message in server.messages} == {
        (f"r{n}@example.net",) for n in range(60) if n != 25
    }
    assert all(m.sender[1:3] == m.recipients[0][1:3] for m in server.messages)
    server.check()


def test_after_an_error_one_at_a_time_then_more(spool: Spool, chunking: Servers) -> None:
    server = chunking(answers={"DOT": {"s40@example.com": "451 4.3.0 Later"}}, latency=0.01)
    aim(spool, server)
    letters(spool, 120)
    run(spool)
    assert len(server.messages) == 119
    flights = [
        commands(chunk.data).count("MAIL")
        for chunk in server.sessions[0].chunks
        if chunk.who == "C" and b"MAIL" in chunk.data
    ]
    assert max(flights) >= 16
    assert 1 in flights[4:] and max(flights[flights.index(1, 4) :]) >= 8
    server.check()


def test_some_recipients_of_many_messages(spool: Spool, chunking: Servers) -> None:
    refusals = {f"no{n}@example.net": NO_SUCH for n in range(0, 40, 3)}
    refusals.update({f"no{n}@example.net": "450 4.2.0 Later" for n in range(1, 40, 3)})
    server = chunking(answers={"RCPT": refusals})
    aim(spool, server)
    names = [letter(spool, f"no{n}@example.net", f"yes{n}@example.net") for n in range(40)]
    run(spool)
    for n, name in enumerate(names):
        done = f"X-Maildrain-Done: <yes{n}@example.net> 250"
        if n % 3 == 0:
            assert_failed(spool, name, "5.1.1")
            assert block(spool, name)[1] == f"X-Maildrain-Failed: <no{n}@example.net> {NO_SUCH}"
        elif n % 3 == 1:
            assert_deferred(spool, name, "4.2.0")
            assert block(spool, name)[1] == f"X-Maildrain-To: <no{n}@example.net>"
        else:
            assert_sent(spool, name)
        if n % 3 < 2:
            assert block(spool, name)[2].startswith(done)
            assert spool.find(name).read_bytes().endswith(LETTER)
    assert all(count == 40 for count in by_sender(server).values())
    server.check()


def test_all_refused_at_mail_is_the_relays_fault(spool: Spool, chunking: Servers) -> None:
    server = chunking(answers={"MAIL": "550 5.7.1 You are not welcome"})
    aim(spool, server)
    names = letters(spool, 30)
    events = run(spool, 75)
    assert_waiting(spool, *names)
    assert about_relay(events)[0]["event"] == "relay-misconfigured"
    assert server.verbs.count("MAIL") <= 12
    server.check()


def test_530_in_the_midst(spool: Spool, chunking: Servers) -> None:
    """What is out already gets its own result; the rest stays."""
    server = chunking(answers={"MAIL": {"s35@example.com": "530 5.7.0 Log in"}}, latency=0.01)
    aim(spool, server)
    names = letters(spool, 100)
    run(spool, 75)
    assert_waiting(spool, names[35])
    taken = by_sender(server)
    for n, name in enumerate(names):
        if f"s{n}@example.com" in taken:
            assert_sent(spool, name)
        else:
            assert_waiting(spool, name)
    assert 40 < len(taken) < 80
    server.check()


def test_too_large_is_settled_without_an_octet(spool: Spool, chunking: Servers) -> None:
    server = chunking(ehlo=("PIPELINING", "CHUNKING", "SIZE 1000"))
    aim(spool, server)
    small = letters(spool, 3)
    large = letter(spool, text=LETTER + b"x" * 1000)
    run(spool)
    assert_failed(spool, large, "5.3.4")
    for name in small:
        assert_sent(spool, name)
    server.check()


# Connections lost in flight


def assert_accounted(
    spool: Spool, server: FaultServer, names: Sequence[str], events: List[Dict[str, str]]
) -> None:
    """All that the server has taken is in cur/ or in doubt, and what is not in doubt and not taken
    is charged for the one message alone that the server was reading."""
    taken = by_sender(server)
    doubtful = {event["to"] for event in results(events) if event.get("duplicate") == "possible"}
    charged = 0
    for n, name in enumerate(names):
        path = spool.find(name)
        if path.parent.name == "cur":
            assert taken[f"s{n}@example.com"] == 1
        elif "E" in fields_of(path.name):
            assert_deferred(spool, name, "4.4.2")
            charged += f"r{n}@example.net" not in doubtful
        else:
            assert_waiting(spool, name)
            assert f"s{n}@example.com" not in taken
    assert charged <= 1


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("who, count", [(who, n) for who in "CS" for n in range(700, 2400, 97)])
def test_lost_at_any_octet(
    spool: Spool, chunking: Servers, who: str, count: int, reset: bool
) -> None:
    server = chunking(cut=Cut(who, count, reset), accept_max=1)
    aim(spool, server)
    names = letters(spool, 40)
    done = spool.run()
    assert done.returncode in (0, 75), done.stderr
    events = [
        dict(re.findall(r'(\w+)=("(?:[^"]*)"|\S+)', line), event=line.split()[0])
        for line in done.stderr.splitlines()
    ]
    server.settle()
    assert_accounted(spool, server, names, events)
    assert len(server.messages) > 3
    assert not server.bugs


@pytest.mark.parametrize("how", [Close, Reset, Hang])
def test_lost_before_the_reply_to_the_last_chunk(
    spool: Spool, chunking: Servers, how: Callable[[], Any]
) -> None:
    """The one that is first is in doubt, and those behind it that were written whole too."""
    server = chunking(answers={"DOT": {"s20@example.com": [how()]}}, latency=0.01)
    aim(spool, server, timeout_dot="1s")
    names = letters(spool, 60)
    events = run(spool)
    assert_deferred(spool, names[20], "4.4.2")
    doubtful = [event for event in results(events) if event["event"] == "deferred"]
    assert 1 <= len(doubtful) <= 50
    assert all(event["duplicate"] == "possible" for event in doubtful)
    in_cur = [name for name in names if spool.find(name).parent.name == "cur"]
    assert len(in_cur) == 60 - len(doubtful)
    assert all(count == 1 for count in by_sender(server).values())


def test_421_puts_nothing_behind_it_in_doubt(spool: Spool, chunking: Servers) -> None:
    answers = {"DOT": {"s20@example.com": ["421 4.3.2 Going down"]}}
    server = chunking(answers=answers, latency=0.01)
    aim(spool, server)
    names = letters(spool, 60)
    run(spool)
    assert_deferred(spool, names.pop(20), "4.3.2")
    for name in names:
        assert_sent(spool, name)
    assert all(count == 1 for count in by_sender(server).values())


# Servers that announce it and choke on it


CHOKING: Dict[str, Dict[str, Any]] = {
    **{f"{code}": {"BDAT": f"{code} 5.5.2 What?"} for code in range(500, 505)},
    "421": {"BDAT": "421 4.7.0 Too much"},
    "354": {"BDAT": "354 Go on"},
    "close": {"BDAT": Close()},
    "reset": {"BDAT": Reset()},
    "hang": {"BDAT": Hang()},
    "nonsense": {"BDAT": b"\0\0\r\n"},
    "503 to the octets": {"CHUNK": "503 5.5.1 No"},
    "two replies": {"CHUNK": Then("250 Ok", "250 Ok")},
    "500 to the last": {"DOT": {"s0@example.com": ["500 5.5.2 What?"]}},
    "421 to the last": {"DOT": {"s0@example.com": ["421 4.3.2 No"]}},
    "354 to the last": {"DOT": {"s0@example.com": ["354 Go on"]}},
}
EVIL = b"From: a@example.com\n\nMAIL FROM:<evil@example.org>\nRCPT TO:<x@example.org>\nDATA\n"


@pytest.mark.parametrize("kind", list(CHOKING))
def test_a_server_that_chokes_gets_data(spool: Spool, chunking: Servers, kind: str) -> None:
    """In the same run, without a charge, and with no text taken for commands."""
    server = chunking(answers=CHOKING[kind])
    aim(spool, server, timeout_data="1s", timeout_dot="1s")
    names = [
        letter(spool, f"r{n}@example.net", sender=f"s{n}@example.com", text=EVIL)
        for n in range(20)
    ]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert not any("evil" in command for s in server.sessions for command in s.commands)
    assert not any(message.chunked for message in server.messages)
    assert server.verbs.count("BDAT") <= 2 and len(server.sessions) == 2
    assert all(count == 1 for count in by_sender(server).values())


def test_each_connection_of_a_server_that_chokes(spool: Spool, chunking: Servers) -> None:
    server = chunking(answers={"BDAT": "502 5.5.1 Not implemented"})
    aim(spool, server, connections=4)
    names = letters(spool, 40)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert server.verbs.count("BDAT") <= 4


def test_lost_behind_the_first_message_is_in_doubt(spool: Spool, chunking: Servers) -> None:
    """The server has all of it; the others go by DATA."""
    server = chunking(answers={"DOT": {"s0@example.com": [Close()]}})
    aim(spool, server)
    names = letters(spool, 5)
    (doubtful,) = [event for event in results(run(spool)) if event["event"] == "deferred"]
    assert doubtful["duplicate"] == "possible"
    assert_deferred(spool, names[0], "4.4.2")
    for name in names[1:]:
        assert_sent(spool, name)
    assert server.verbs.count("DATA") == 4


# Real servers


def test_postfix(spool: Spool, make_postfix: Callable[..., Postfix]) -> None:
    server = make_postfix(tls=False, settings={"smtpd_error_sleep_time": "0"})
    spool.write_config(url=server.url, tls="none", connections=2)
    head = b"From: a@example.com\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n"
    bodies = [head + b"Message-Id: <%d@x>\n\n.\n..%d\n" % (n, n) for n in range(200)]
    names = [
        letter(spool, *([REJECT] if n % 40 == 7 else []), f"b@{DOMAIN}", text=body)
        for n, body in enumerate(bodies)
    ]
    other = letter(spool, DEFER)
    refused = letter(spool, REJECT)
    run(spool)
    arrived = [canonical.canonical(message) for message in server.wait_for(200)]
    assert sorted(arrived) == sorted(bodies)
    for n, name in enumerate(names):
        assert spool.state(name)[0] == ("failed" if n % 40 == 7 else "cur")
    assert_deferred(spool, other, "4.3.0")
    assert_failed(spool, refused, "5.1.1")
    assert "data=" not in server.log() and "bdat=" in server.log()
    assert "mproper" not in server.log()


def test_exim(spool: Spool, exim: Exim) -> None:
    spool.write_config(url=exim.url, tls="none", connections=2)
    head = b"From: a@example.com\nDate: Thu, 1 Jan 2026 00:00:00 +0000\n"
    bodies = [head + b"Message-Id: <m%d@x>\n\n.\n..%d\n" % (n, n) for n in range(200)]
    names = [
        letter(spool, *(["reject@x.test"] if n % 40 == 7 else []), "b@x.test", text=body)
        for n, body in enumerate(bodies)
    ]
    other = letter(spool, "defer@x.test")
    refused = letter(spool, "reject@x.test")
    run(spool)
    assert sorted(exim.bodies()) == sorted(body.split(b"\n\n", 1)[1] for body in bodies)
    for n, name in enumerate(names):
        assert spool.state(name)[0] == ("failed" if n % 40 == 7 else "cur")
    assert spool.state(other)[1]["E"].startswith("4.")
    assert spool.state(refused)[0] == "failed"
    assert exim.log().count(" K ") == 200  # "chunking used"
