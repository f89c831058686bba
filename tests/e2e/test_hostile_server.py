"""A server that lies, floods, drips or speaks out of turn: no crash, no endless wait, no memory
without bound, and no mail in cur/ that the server has not taken with a 250 of its own."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Sequence, Tuple

import pytest

from relaying import (
    about_relay,
    aim,
    assert_deferred,
    assert_sent,
    assert_waiting,
    letter,
    letters,
    result,
    results,
    run,
)
from lab import measure, net, repo
from lab.certs import Certs, Pair
from lab.faultactions import Action, AfterOctets, Close, Delay, Drip, Hang, Then
from lab.faultserver import DEFAULT_EHLO, FaultServer, Session
from lab.spool import Spool

Servers = Callable[..., FaultServer]

LOCK_STEP = tuple(line for line in DEFAULT_EHLO if line != "PIPELINING")
STARTTLS = (*DEFAULT_EHLO, "STARTTLS")
HUGE = b"From: a@example.com\n\n" + (b"x" * 99 + b"\n") * 80_000
MEMORY_MAX = 40 << 20
QUIT = 3  # seconds that the replies to QUIT may take
SLACK = 10  # for a busy machine
SHORT = {
    f"timeout_{phase}": "1s" for phase in "connect greeting command data block dot".split()
}
OPENING = ("CONNECT", "EHLO")
TRANSACTION = ("MAIL", "RCPT", "DATA", "DOT")


class Flood(Action):
    """The same octets over and over, as fast as they go, until the client leaves."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets * max(1, (1 << 16) // len(octets))

    def perform(self, session: Session, default: bytes) -> None:
        session.flush()
        while not session.server.stopping.is_set():
            session.sock.sendall(self.octets)


class Sip(Action):
    """For "BODY": takes COUNT octets each PAUSE seconds."""

    def __init__(self, count: int, pause: float) -> None:
        self.count = count
        self.pause = pause

    def perform(self, session: Session, default: bytes) -> None:
        while session.sock.recv(self.count):
            session.pause(self.pause)


def frugal(spool: Spool, seconds: float) -> measure.Usage:
    """Runs the program as shipped; fails when it takes more time or memory than it may."""
    usage = measure.measure([str(repo.plain_program()), *spool.argv("run")[1:]], timeout=60)
    assert usage.wall < seconds + SLACK, f"{usage.wall:.1f} s"
    assert usage.max_rss < MEMORY_MAX, f"{usage.max_rss >> 20} MB"
    return usage


def bounded(spool: Spool, status: int, seconds: float) -> str:
    usage = frugal(spool, seconds)
    assert usage.returncode == status, usage.stderr
    return usage.stderr


def assert_untouched_or_in_doubt(spool: Spool, name: str, event: str) -> None:
    """Only with the 354 there does a fault cost an attempt."""
    if event == "DOT":
        assert_deferred(spool, name, "4.4.2")
    else:
        assert_waiting(spool, name)


# Words without end


def endless(event: str) -> Dict[str, bytes]:
    code = b"220" if event == "CONNECT" else b"250"
    return {
        "line": b"x",
        "lines": code + b"-Go on\r\n",
        "rubbish": b"hello\r\n",
        "nothing": b"\r\n",
        "replies": code + b" Ok\r\n",
        "octets": b"\0\xff",
    }


@pytest.mark.parametrize("kind", list(endless("")))
@pytest.mark.parametrize("event", [*OPENING, "MAIL", "DOT"])
def test_a_flood(spool: Spool, fault_server: Servers, event: str, kind: str) -> None:
    server = fault_server(answers={event: Flood(endless(event)[kind])}, keep_chunks=False)
    aim(spool, server, **SHORT)
    name = letter(spool)
    if event == "DOT" and kind == "replies":
        # The first of them is the answer.
        bounded(spool, 0, 2)
        assert_sent(spool, name)
        return
    # At once in a transaction; libcurl may go on to read for as long as one reply may take.
    bounded(spool, 0 if event == "DOT" else 75, 2)
    assert_untouched_or_in_doubt(spool, name, event)


@pytest.mark.parametrize(
    "event, kind",
    [
        *[("CONNECT", "lines"), ("EHLO", "line"), ("EHLO", "lines"), ("MAIL", "line")],
        *[("DATA", "lines"), ("DOT", "line"), ("DOT", "lines")],
    ],
)
def test_a_drip(spool: Spool, fault_server: Servers, event: str, kind: str) -> None:
    """Octets that come count for nothing as long as they make no reply."""
    octets = endless(event)[kind]
    drip = Drip(octets, 0.1, len(octets) if kind == "lines" else 1)
    server = fault_server(answers={event: drip})
    aim(spool, server, **SHORT)
    name = letter(spool)
    # A relay is given up after three sessions that were lost.
    sessions = 3 if event in ("MAIL", "RCPT", "DATA") else 1
    bounded(spool, 0 if event == "DOT" else 75, 1.5 * sessions)
    assert_untouched_or_in_doubt(spool, name, event)


def test_a_reply_has_its_time_from_the_command(spool: Spool, fault_server: Servers) -> None:
    """Each whole reply starts the time anew, so that many recipients may take long."""
    server = fault_server(answers={"RCPT": Delay(0.8)}, ehlo=LOCK_STEP)
    aim(spool, server, timeout_command="2s")
    name = letter(spool, *(f"r{n}@example.net" for n in range(4)))
    bounded(spool, 0, 4)
    assert_sent(spool, name)
    server.check()


@pytest.mark.parametrize("event", OPENING)
@pytest.mark.parametrize("lines", [1, 100_000], ids=["line", "lines"])
def test_ten_megabytes_of_greeting(
    spool: Spool, fault_server: Servers, event: str, lines: int
) -> None:
    code = {"CONNECT": b"220", "EHLO": b"250"}[event]
    text = (code + b"-" + b"x" * (10_000_000 // lines) + b"\r\n") * lines
    server = fault_server(answers={event: text + code + b" x\r\n"}, keep_chunks=False)
    aim(spool, server, **SHORT)
    name = letter(spool)
    # Newer libcurl takes many lines, one by one, and then all is well; a line has its limit.
    if frugal(spool, 2).returncode == 0 and lines > 1:
        assert_sent(spool, name)
    else:
        assert_waiting(spool, name)


@pytest.mark.parametrize("count", [100, 5000])
def test_many_keywords(spool: Spool, fault_server: Servers, count: int) -> None:
    """Some releases of libcurl take no more than some hundreds: then the relay counts as down."""
    server = fault_server(ehlo=(*(f"X-{n}" for n in range(count)), *DEFAULT_EHLO))
    aim(spool, server)
    name = letter(spool, "grün@example.net")
    usage = measure.measure(spool.argv("run"))
    assert usage.wall < SLACK
    if count == 100 or usage.returncode == 0:
        assert_sent(spool, name)
        server.check()
    else:
        assert usage.returncode == 75
        assert_waiting(spool, name)


@pytest.mark.parametrize("garbage", list(endless("QUIT").values()), ids=list(endless("QUIT")))
def test_rubbish_in_reply_to_quit(
    spool: Spool, fault_server: Servers, garbage: bytes
) -> None:
    server = fault_server(answers={"QUIT": Flood(garbage)}, keep_chunks=False)
    aim(spool, server, connections=2)
    names = letters(spool, 4)
    assert "relay-down" not in bounded(spool, 0, QUIT)
    for name in names:
        assert_sent(spool, name)


def test_nobody_waits_for_a_server_that_has_left(spool: Spool, fault_server: Servers) -> None:
    """Not even for its goodbye."""
    server = fault_server(ehlo=LOCK_STEP, answers={"DOT": Close(None)})
    aim(spool, server)
    name = letter(spool)
    (summary,) = [event for event in run(spool) if event["event"] == "run"]
    assert_sent(spool, name)
    assert float(summary["seconds"]) < QUIT - 1
    server.check()


# Servers that don't read


def test_a_body_taken_in_sips(spool: Spool, fault_server: Servers) -> None:
    """Less than 64 KiB in timeout_block is too slow: a body of any size comes to an end."""
    server = fault_server(answers={"BODY": [Sip(1000, 0.1)]}, keep_chunks=False)
    aim(spool, server, **{**SHORT, "timeout_block": "2s"})
    name = letter(spool, text=HUGE * 4)
    other = letter(spool)
    bounded(spool, 0, 8)
    assert_deferred(spool, name, "4.4.2")
    assert_sent(spool, other)


@contextmanager
def blind_server(words: Sequence[bytes], pause: float) -> Iterator[int]:
    """Says WORDS to all who come, each after PAUSE seconds, whatever they say. Yields its port."""
    stop = threading.Event()
    sessions: List[threading.Thread] = []

    def talk(sock: socket.socket) -> None:
        with sock:
            for word in words:
                sock.sendall(word)
                stop.wait(pause)
            stop.wait(30)

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sessions.append(threading.Thread(target=talk, args=(sock,), daemon=True))
            sessions[-1].start()

    with net.listener() as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            listener.shutdown(socket.SHUT_RDWR)
            for each in [thread, *sessions]:
                each.join(10)


GREETING, EHLO = b"220 lab.example\r\n", b"250-lab.example\r\n250 PIPELINING\r\n"


def test_a_server_that_never_reads(spool: Spool) -> None:
    words = [GREETING, EHLO, b"250 Ok\r\n", b"250 Ok\r\n", b"354 Go on\r\n"]
    with blind_server(words, 0.2) as port:
        spool.write_config(url=f"smtp://{net.HOST}:{port}", tls="none", connections=1, **SHORT)
        name = letter(spool, text=HUGE * 2)
        bounded(spool, 0, 2.5)
        assert_deferred(spool, name, "4.4.2")


def test_all_replies_at_once(spool: Spool) -> None:
    """A 250 that comes with the 354, or before, is nobody's: the dot was not sent."""
    words = [GREETING, EHLO, b"250 Ok\r\n250 Ok\r\n354 Go on\r\n250 Queued\r\n"]
    with blind_server(words, 0.5) as port:
        spool.write_config(url=f"smtp://{net.HOST}:{port}", tls="none", connections=1, **SHORT)
        names = [letter(spool) for _ in range(3)]
        run(spool)
        for name in names:
            assert_deferred(spool, name, "4.4.2")


def test_a_whole_session_in_the_greeting(spool: Spool) -> None:
    words = [GREETING + EHLO + b"250 Ok\r\n250 Ok\r\n354 Go on\r\n250 Queued\r\n"]
    with blind_server(words, 0) as port:
        spool.write_config(url=f"smtp://{net.HOST}:{port}", tls="none", connections=1, **SHORT)
        name = letter(spool)
        run(spool, 75)
        assert_waiting(spool, name)


# Replies out of turn


def assert_all_in_cur_was_taken(
    spool: Spool, server: FaultServer, names: Sequence[str]
) -> None:
    """By the server, with a 250 of its own."""
    taken = {message.sender for message in server.messages}
    for n, name in enumerate(names):
        if spool.find(name).parent.name == "cur":
            assert f"s{n}@example.com" in taken


@pytest.mark.parametrize("ehlo", [DEFAULT_EHLO, LOCK_STEP], ids=["pipelined", "lock-step"])
@pytest.mark.parametrize("event", [*TRANSACTION, "RSET"])
def test_two_replies_to_one_command(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], event: str
) -> None:
    """The second is not taken for the answer to the next command, nor for the next message's 250:
    the relay takes the first and refuses the second."""

    def twice(session: Session) -> Any:
        code = "354 Go on" if event == "DATA" else "250 2.0.0 Ok"
        return None if session.number else Then(code, code)

    answers: Dict[str, Any] = {
        "DOT": {"s1@example.com": "554 5.7.1 No", "s2@example.com": ["451 4.3.0 Later"]}
    }
    if event == "RSET":
        answers["DATA"] = {"s0@example.com": ["451 4.3.0 Later"]}
    if event == "DOT":
        answers["DOT"]["s0@example.com"] = twice
    else:
        answers[event] = twice
    server = fault_server(ehlo=ehlo, answers=answers)
    aim(spool, server)
    names = letters(spool, 4)
    run(spool)
    assert_all_in_cur_was_taken(spool, server, names)
    assert spool.state(names[1])[0] == "failed" and spool.state(names[3])[0] == "cur"
    assert spool.state(names[2])[1]["E"] == "4.3.0"
    assert len(server.sessions) == 2
    server.check()


@pytest.mark.parametrize("ehlo", [DEFAULT_EHLO, LOCK_STEP], ids=["pipelined", "lock-step"])
@pytest.mark.parametrize("early", [b"250 2.0.0 Queued\r\n", b"554 5.7.1 No\r\n", b"354 Go\r\n"])
def test_a_reply_before_the_dot(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], early: bytes
) -> None:
    server = fault_server(ehlo=ehlo, answers={"BODY": [AfterOctets(1000, early)]})
    aim(spool, server)
    name = letter(spool, text=HUGE)
    other = letter(spool)
    events = results(run(spool))
    assert_deferred(spool, name, "4.4.2")
    assert_sent(spool, other)
    assert [event.get("duplicate") for event in events] == [None, None]


def test_a_reply_with_the_354(spool: Spool, fault_server: Servers) -> None:
    answer = Then("354 Go on", "250 2.0.0 Queued")
    server = fault_server(answers={"DATA": [answer]})
    aim(spool, server)
    name, other = letter(spool), letter(spool)
    run(spool)
    assert_deferred(spool, name, "4.4.2")
    assert_sent(spool, other)


@pytest.mark.parametrize("ehlo", [DEFAULT_EHLO, LOCK_STEP], ids=["pipelined", "lock-step"])
@pytest.mark.parametrize("event", OPENING)
def test_replies_before_any_command(
    spool: Spool, fault_server: Servers, ehlo: Tuple[str, ...], event: str
) -> None:
    """They came with the words that opened the session."""
    surplus = b"250 Ok\r\n250 Ok\r\n354 Go on\r\n250 Queued\r\n"
    server = fault_server(ehlo=ehlo, answers={event: [Then(None, surplus)], "DOT": Close()})
    aim(spool, server, **SHORT)
    name = letter(spool)
    spool.run()
    assert spool.state(name)[0] == "new"
    assert server.messages == []


def test_words_to_an_idle_session(spool: Spool, fault_server: Servers) -> None:
    """A 250 that nothing asked for is not the answer to the MAIL that comes later."""
    script = [("CONNECT", None), ("EHLO", None), (None, Delay(0.3, "250 2.1.0 Ok"))]
    slow = {"CONNECT": [None, Delay(1)], "DOT": {"s0@example.com": Delay(0.6)}}
    server = fault_server(scripts=[None, script], answers=slow, ehlo=LOCK_STEP)
    aim(spool, server, connections=2)
    names = letters(spool, 2)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert sorted(message.sender for message in server.messages) == [
        "s0@example.com",
        "s1@example.com",
    ]


# Replies in forms that no server should give


BROKEN = {
    "another code": b"250-2.0.0 a\r\n550 5.0.0 b\r\n",
    "another code first": b"550-5.0.0 a\r\n250 2.0.0 b\r\n",
    "no code in between": b"250-2.0.0 a\r\nhello\r\n250 2.0.0 b\r\n",
    "empty line": b"\r\n250 2.0.0 Ok\r\n",
    "bare LF alone": b"\n250 2.0.0 Ok\r\n",
    "two digits": b"25 Ok\r\n",
    "four digits": b"2500 Ok\r\n",
    "0xx": b"025 Ok\r\n",
    "1xx": b"150 Ok\r\n",
    "6xx": b"650 Ok\r\n",
    "9xx": b"950 Ok\r\n",
    "signed": b"+250 Ok\r\n",
    "space first": b" 250 Ok\r\n",
    "NUL first": b"\x00250 Ok\r\n",
    "NUL behind": b"250\x00Ok\r\n",
    "tab behind": b"250\tOk\r\n",
    "8 bit": b"\xb2\xb5\xb0 Ok\r\n",
    "UTF-16": "250 Ok\r\n".encode("utf-16-le"),
    "a code cut by a bare CR": b"25\r0 Ok\r\n",
    "a long line": b"250 " + b"x" * 4000 + b"\r\n",
    "many lines": b"250-x\r\n" * 400 + b"250 x\r\n",
}


@pytest.mark.parametrize("reply", list(BROKEN.values()), ids=list(BROKEN))
def test_a_broken_reply_to_the_dot(spool: Spool, fault_server: Servers, reply: bytes) -> None:
    server = fault_server(answers={"DOT": [reply]})
    aim(spool, server)
    name, other = letter(spool), letter(spool)
    (first, second) = results(run(spool))
    assert (first["event"], first["status"], first["duplicate"]) == (
        *("deferred", "4.4.2", "possible"),
    )
    assert_deferred(spool, name, "4.4.2")
    assert_sent(spool, other)
    assert second["event"] == "sent"


@pytest.mark.parametrize("reply", list(BROKEN.values()), ids=list(BROKEN))
@pytest.mark.parametrize("event", ["MAIL", "DATA"])
def test_a_broken_reply_before_the_body(
    spool: Spool, fault_server: Servers, event: str, reply: bytes
) -> None:
    server = fault_server(answers={event: reply})
    aim(spool, server)
    names = letters(spool, 2)
    (down,) = about_relay(run(spool, 75))
    assert down["event"] == "relay-down"
    assert_waiting(spool, *names)
    assert server.received == []


ODD = {
    "no text": (b"250\r\n", "250"),
    "bare LF": (b"250 2.0.0 Ok\n", "250 2.0.0 Ok"),
    "bare LF between": (b"250-2.0.0 a\n250 2.0.0 b\r\n", "250 2.0.0 a b"),
    "bare CR": (b"250 2.0.0 a\r550 b\r\n", "250 2.0.0 a?550 b"),
    "two CRs": (b"250 2.0.0 a\r\r\n", "250 2.0.0 a?"),
    "NUL": (b"250 2.0.0 a\0b\r\n", "250 2.0.0 a?b"),
    "8 bit": (b"250 2.0.0 \xff\xe4\r\n", "250 2.0.0 ??"),
    "escape": (b"250 2.0.0 \x1b[2J\r\n", "250 2.0.0 ?[2J"),
}


@pytest.mark.parametrize("reply, shown", list(ODD.values()), ids=list(ODD))
def test_an_odd_reply_is_one(
    spool: Spool, fault_server: Servers, reply: bytes, shown: str
) -> None:
    server = fault_server(answers={"DOT": [reply]})
    aim(spool, server)
    name, other = letter(spool), letter(spool)
    assert results(run(spool))[0]["reply"] == shown
    assert_sent(spool, name)
    assert_sent(spool, other)
    assert len(server.sessions) == 1
    server.check()


def test_a_reply_that_lacks_its_lf(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"DOT": Hang(b"250 2.0.0 Ok\r")})
    aim(spool, server, **SHORT)
    name = letter(spool)
    assert result(run(spool))["duplicate"] == "possible"
    assert_deferred(spool, name, "4.4.2")


# Certificates that change during a run


def changing(server: FaultServer, certs: Certs, pair: Pair) -> Callable[[Session], Any]:
    """An answer that is the right one, and from then on the server shows PAIR."""

    def change(_: Session) -> Any:
        server.tls = certs.server_context(pair)
        return None

    return change


@pytest.mark.parametrize("pair", ["expired", "wrong_name"])
@pytest.mark.parametrize("implicit", [True, False], ids=["smtps", "starttls"])
def test_a_bad_certificate_on_the_second_session(
    spool: Spool, fault_server: Servers, certs: Certs, pair: str, implicit: bool
) -> None:
    """The first is open and goes on; the second gets nothing."""
    server = fault_server(
        ehlo=DEFAULT_EHLO if implicit else STARTTLS,
        tls=certs.server_context(),
        implicit_tls=implicit,
        latency=0.02,
    )
    change = changing(server, certs, getattr(certs, pair))
    # The first session opens alone, so the others come after this.
    server.answer("EHLO", lambda session: change(session) if session.tls else None)
    aim(spool, server, tls="required", ca_file=certs.ca, connections=3)
    names = letters(spool, 6)

    def hold(session: Session) -> Any:
        return Delay(0.5) if session.number == 0 else None

    server.answer("RCPT", [hold])
    events = run(spool)
    for name in names:
        assert_sent(spool, name)
    assert {message.session for message in server.messages} == {0}
    assert len(server.sessions) > 1
    assert about_relay(events) == []
    server.check()


@pytest.mark.parametrize("pair", ["expired", "wrong_name", "self_signed"])
def test_a_bad_certificate_when_it_comes_again(
    spool: Spool, fault_server: Servers, certs: Certs, pair: str
) -> None:
    server = fault_server(tls=certs.server_context(), implicit_tls=True)
    change = changing(server, certs, getattr(certs, pair))

    def enough(session: Session) -> Any:
        change(session)
        return "421 4.7.0 Two are enough" if len(session.messages) == 2 else None

    server.answer("MAIL", enough)
    aim(spool, server, tls="required", ca_file=certs.ca)
    names = letters(spool, 5)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down" and "certificate" in event["reply"].lower()
    for name in names[:2]:
        assert_sent(spool, name)
    assert_waiting(spool, *names[2:])
    assert [session.verbs for session in server.sessions[1:]] == [[]]
    server.check()


# Words in clear behind the 220 to STARTTLS


INJECTED = {
    "EHLO": b"250-lab.example\r\n250 AUTH PLAIN\r\n",
    "EHLO and AUTH": b"250-lab.example\r\n250 AUTH PLAIN\r\n235 2.7.0 Welcome\r\n",
    "challenge": b"334 \r\n",
    "MAIL": b"250 2.1.0 Ok\r\n",
    "DATA": b"354 Go on\r\n",
    "RSET": b"250 2.0.0 Ok\r\n",
    "QUIT": b"221 2.0.0 Bye\r\n",
    "421": b"421 4.3.2 Going down\r\n",
    "535": b"535 5.7.8 Wrong password\r\n",
    "half a line": b"250-lab.ex",
    "all": EHLO + b"235 2.7.0 Ok\r\n250 Ok\r\n250 Ok\r\n354 Go\r\n250 Ok\r\n221 Bye\r\n",
}


@pytest.mark.parametrize("injected", list(INJECTED.values()), ids=list(INJECTED))
def test_words_behind_starttls(
    spool: Spool, fault_server: Servers, certs: Certs, injected: bytes
) -> None:
    """With a password to steal: it does not go out, no mail does, and nothing is taken for its
    answer. Whoever puts them there can't make the relay look misconfigured either."""
    server = fault_server(
        ehlo=STARTTLS,
        ehlo_tls=(*DEFAULT_EHLO, "AUTH PLAIN"),
        tls=certs.server_context(),
        answers={"STARTTLS": b"220 2.0.0 Go ahead\r\n" + injected},
    )
    login = {"user": "site", "password_file": spool.secret("hunter2")}
    aim(spool, server, tls="required", ca_file=certs.ca, **login)
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert_waiting(spool, name)
    server.settle()
    said = b"".join(b"".join(session.received) for session in server.sessions)
    assert b"MAIL" not in said and b"AUTH" not in said
    assert server.bugs == []


# How long a flood may take was said above; a run with other sessions goes on meanwhile


def test_a_flood_holds_nobody_up(spool: Spool, fault_server: Servers) -> None:
    at: List[float] = []

    def greet(session: Session) -> Any:
        return Flood(b"hello\r\n") if session.number == 1 else None

    def note(_: Session) -> Any:
        at.append(time.monotonic())
        return None

    server = fault_server(
        answers={"CONNECT": greet, "DOT": note}, latency=0.01, keep_chunks=False
    )
    aim(spool, server, connections=3)
    names = letters(spool, 20)
    start = time.monotonic()
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert max(at) - start < SLACK
