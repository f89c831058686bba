"""LMTP: a real Dovecot over TCP and over a socket, and what it would not do on demand."""

from __future__ import annotations

import socket
import time
from collections import Counter
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

import pytest

from relaying import (
    LETTER,
    Event,
    about_relay,
    aim,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    block,
    letter,
    letters,
    make_due,
    results,
    run,
)
from lab import dovecot as lab_dovecot
from lab import net
from lab.canonical import canonical
from lab.dovecot import DOMAIN, FULL, FULL_REPLY, LARGE, UNKNOWN, Dovecot
from lab.faultactions import Close, Drip, Hang, Reset, Then
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.spool import Spool

Servers = Callable[..., FaultServer]

ANN, BOB = f"ann@{DOMAIN}", f"bob@{DOMAIN}"
TRIO = ("b@example.net", "c@example.net", "d@example.net")
NO_SUCH = "550 5.1.1 No such user"
FULL_BOX = "452 4.2.2 Mailbox full"
BIG = b"From: a@example.com\n\n" + (b"x" * 78 + b"\n") * (LARGE // 79)
ODD = b"From: a@example.com\n\n.\n..\n.x\nbare \r and\r\nno end"
EHLO = {"data": DEFAULT_EHLO, "chunks": (*DEFAULT_EHLO, "CHUNKING"), "lock-step": ("8BITMIME",)}


@pytest.fixture(scope="module")
def _shared_dovecot() -> Iterator[Dovecot]:
    reason = lab_dovecot.why_not()
    if reason:
        pytest.skip(reason)
    with Dovecot() as server:
        yield server


@pytest.fixture
def dovecot(_shared_dovecot: Dovecot) -> Dovecot:
    """The module's one Dovecot, its mailboxes empty but for that of FULL."""
    _shared_dovecot.clear()
    return _shared_dovecot


@pytest.fixture
def lmtp(fault_server: Servers) -> Servers:
    """lmtp(answers={…}) is a fault server that speaks LMTP."""
    return lambda **options: fault_server(lmtp=True, **options)


@pytest.fixture(params=list(EHLO))
def ehlo(request: pytest.FixtureRequest) -> Dict[str, object]:
    """What a server announces for each way in which octets go out."""
    return {"ehlo": EHLO[request.param]}


def by_recipient(events: List[Event], name: Optional[str] = None) -> Dict[str, Event]:
    """The results of each recipient, of the message NAME if there are others."""
    found = results(events)
    return {event["to"]: event for event in found if name in (None, event["id"])}


# A real Dovecot


@pytest.mark.parametrize("chunking", ["auto", "never"])
@pytest.mark.parametrize("way", ["url", "socket_url"])
def test_each_recipient_has_a_result_of_its_own(
    spool: Spool, dovecot: Dovecot, way: str, chunking: str
) -> None:
    """Delivered, over quota and unknown, in one transaction; who has it never gets it again."""
    spool.write_config(url=getattr(dovecot, way), chunking=chunking)
    name = letter(spool, UNKNOWN, ANN, FULL, BOB, text=BIG)
    told = by_recipient(run(spool))
    assert {to: event["event"] for to, event in told.items()} == {
        **{UNKNOWN: "failed", ANN: "sent"},
        **{FULL: "deferred", BOB: "sent"},
    }
    assert told[FULL]["reply"].startswith(f"{FULL_REPLY} <{FULL}> Quota exceeded")
    assert told[ANN]["reply"].startswith(f"250 2.0.0 <{ANN}>")
    assert_deferred(spool, name, "4.2.2")
    for user in ("ann", "bob"):
        (arrived,) = dovecot.arrived(user)
        assert canonical(arrived) == BIG
    make_due(spool, name)
    assert list(by_recipient(run(spool))) == [FULL]
    assert spool.state(name)[1]["A"] == "2"
    assert len(dovecot.arrived("ann")) == 1


def test_octets_arrive_as_they_are(spool: Spool, dovecot: Dovecot) -> None:
    for chunking in ("auto", "never"):
        spool.write_config(url=dovecot.socket_url, chunking=chunking)
        name = letter(spool, ANN, text=ODD)
        run(spool)
        assert_sent(spool, name)
        (arrived,) = dovecot.arrived("ann")
        assert canonical(arrived) == canonical(ODD)
        dovecot.clear()


def test_many_messages_over_several_sessions(spool: Spool, dovecot: Dovecot) -> None:
    """Each ends with QUIT, when it has had as many messages as it may."""
    before = dovecot.wait_for_goodbyes(0)
    spool.write_config(url=dovecot.socket_url, connections=2, messages_per_connection=7)
    texts = [b"Subject: %d\n\ntext\n" % n for n in range(40)]
    names = [letter(spool, ANN, BOB, text=text) for text in texts]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    for user in ("ann", "bob"):
        arrived = [canonical(message) for message in dovecot.arrived(user)]
        assert Counter(arrived) == Counter(texts)
    assert dovecot.wait_for_goodbyes(before + 6) >= before + 6


def test_verify_tells_what_it_offers(spool: Spool, dovecot: Dovecot) -> None:
    for url, how in (
        (dovecot.url, "the connection is not encrypted"),
        (dovecot.socket_url, "by a socket of this host"),
    ):
        spool.write_config(url=url)
        done = spool.command("verify")
        assert done.returncode == 0, done.stderr
        said = done.stdout + done.stderr
        assert f"  LMTP: {how}\n" in said
        assert "  offers: PIPELINING CHUNKING 8BITMIME\n" in said
        assert "    250 PIPELINING\n" in said and "AUTH" not in said


# What goes over the wire


def test_nothing_of_http_and_by_no_proxy(spool: Spool, lmtp: Servers) -> None:
    """libcurl connects as if for the web, and does no more than that."""
    server = lmtp(ehlo=("PIPELINING",))
    aim(spool, server, helo="web1.example")
    letters(spool, 2)
    proxy = f"http://{net.HOST}:{net.free_port()}"
    done = spool.run(env={name: proxy for name in ("http_proxy", "ALL_PROXY", "all_proxy")})
    assert done.returncode == 0, done.stderr

    def envelope(n: int) -> bytes:
        addresses = b"MAIL FROM:<s%d@example.com>\r\nRCPT TO:<r%d@example.net>\r\n" % (n, n)
        return addresses + b"DATA\r\n"

    body = LETTER.replace(b"\n", b"\r\n") + b".\r\n"
    assert b"".join(server.sessions[0].received) == (
        b"LHLO web1.example\r\n" + envelope(0) + body + envelope(1) + body + b"QUIT\r\n"
    )
    server.check()


def test_the_next_envelope_leaves_with_the_dot(spool: Spool, lmtp: Servers) -> None:
    server = lmtp(ehlo=("PIPELINING",), latency=0.01)
    aim(spool, server)
    for _ in range(3):
        letter(spool, *TRIO)
    run(spool)
    bodies = [chunk for chunk in server.sessions[0].received if b"\r\n.\r\n" in chunk]
    assert [b"MAIL FROM" in chunk for chunk in bodies] == [True, True, False]
    assert len(server.messages) == 9
    server.check()


def test_the_name_of_this_host(spool: Spool, lmtp: Servers) -> None:
    server = lmtp()
    aim(spool, server)
    letter(spool)
    run(spool)
    assert server.sessions[0].helo in (socket.gethostname(), "localhost")


# Replies behind the dot


def test_every_mixture_of_replies(
    spool: Spool, lmtp: Servers, ehlo: Dict[str, object]
) -> None:
    """Before and behind the dot, and the next message's replies are its own."""
    server = lmtp(
        answers={
            "RCPT": {"c@example.net": [None, NO_SUCH, None, "450 4.2.1 Busy"]},
            "DOT": {
                "b@example.net": [None, FULL_BOX, NO_SUCH],
                "c@example.net": [FULL_BOX],
                "d@example.net": [None, None, FULL_BOX],
            },
        },
        **ehlo,
    )
    aim(spool, server)
    names = [letter(spool, *TRIO) for _ in range(5)]
    events = run(spool)
    told = [by_recipient(events, name) for name in names]
    outcome = ["".join(each[to]["event"][0] for to in TRIO) for each in told]
    assert outcome == ["sds", "dfs", "fsd", "sds", "sss"]
    assert_deferred(spool, names[0], "4.2.2")
    assert [line.partition(" 250 ")[0] for line in block(spool, names[1])[1:]] == [
        "X-Maildrain-To: <b@example.net>",
        f"X-Maildrain-Failed: <c@example.net> {NO_SUCH}",
        "X-Maildrain-Done: <d@example.net>",
    ]
    assert_deferred(spool, names[3], "4.2.1")
    assert_sent(spool, names[4])
    taken = [(message.recipients, message.accepted) for message in server.received]
    assert sum(accepted for _, accepted in taken) == 9
    server.check()


@pytest.mark.parametrize("end", [Close, Reset], ids=["closed", "reset"])
@pytest.mark.parametrize("answered", [0, 1, 2])
def test_lost_between_the_replies(
    spool: Spool, lmtp: Servers, ehlo: Dict[str, object], answered: int, end: Callable[[], Close]
) -> None:
    """Whose reply has come keeps that; the others are in doubt; what was only behind waits."""
    server = lmtp(answers={"DOT": {TRIO[1]: [NO_SUCH], TRIO[answered]: [end()]}}, **ehlo)
    aim(spool, server)
    first, second = letter(spool, *TRIO), letter(spool)
    told = by_recipient(run(spool), first)
    assert [told[to]["event"] for to in TRIO[:answered]] == ["sent", "failed"][:answered]
    for to in TRIO[answered:]:
        assert told[to]["event"] == "deferred" and told[to]["status"] == "4.4.2"
        assert "duplicate" in str(told[to])
    assert_deferred(spool, first, "4.4.2")
    assert_sent(spool, second)
    assert [line.split(":")[0] for line in block(spool, first)[1:]] == [
        *["X-Maildrain-Done", "X-Maildrain-Failed"][:answered],
        *["X-Maildrain-To"] * (3 - answered),
    ]
    server.check()


def test_goodbye_between_the_replies(
    spool: Spool, lmtp: Servers, ehlo: Dict[str, object]
) -> None:
    """Servers answer in order: behind a 421 there is no doubt, and no charge for who waits."""
    server = lmtp(answers={"DOT": {"c@example.net": ["421 4.3.2 Going down"]}}, **ehlo)
    aim(spool, server)
    first, second = letter(spool, *TRIO), letter(spool)
    told = by_recipient(run(spool), first)
    assert [told[to]["event"] for to in TRIO] == ["sent", "deferred", "deferred"]
    assert [told[to]["status"] for to in TRIO[1:]] == ["4.3.2", "4.4.2"]
    assert "duplicate" not in str(told)
    assert_sent(spool, second)
    server.check()


def test_relay_fault_behind_the_dot(spool: Spool, lmtp: Servers) -> None:
    """530 stops the relay, but who has got the message must not get it again."""
    server = lmtp(answers={"DOT": {"c@example.net": "530 5.7.0 Log in"}})
    aim(spool, server)
    first, *others = letter(spool, *TRIO), *letters(spool, 3)
    events = run(spool, status=75)
    told = by_recipient(events, first)
    assert [told[to]["event"] for to in TRIO] == ["sent", "deferred", "sent"]
    assert_deferred(spool, first, "4.7.0")
    (event,) = about_relay(events)
    assert event["event"] == "relay-misconfigured" and "530 5.7.0 Log in" in event["reply"]
    assert_waiting(spool, *others[1:])


@pytest.mark.parametrize("reply", ["354 Go on", None], ids=["354", "503"])
def test_nobody_is_accepted(
    spool: Spool, lmtp: Servers, ehlo: Dict[str, object], reply: str
) -> None:
    """A server that says 354 all the same is left: nobody knows what it says to a dot."""
    server = lmtp(answers={"RCPT": [NO_SUCH, NO_SUCH], "DATA": [reply], "CHUNK": [None]}, **ehlo)
    aim(spool, server)
    first, second = letter(spool, *TRIO[:2]), letter(spool)
    run(spool)
    assert_failed(spool, first, "5.1.1")
    assert_sent(spool, second)
    assert [message.recipients for message in server.received] == [("b@example.net",)]


def test_a_reply_too_few(spool: Spool, lmtp: Servers) -> None:
    server = lmtp(answers={"DOT": {"d@example.net": b""}})
    aim(spool, server, timeout_dot="1s")
    name = letter(spool, *TRIO)
    told = by_recipient(run(spool))
    assert [told[to]["event"] for to in TRIO] == ["sent", "sent", "deferred"]
    assert told[TRIO[2]]["status"] == "4.4.2" and "in time" in told[TRIO[2]]["reply"]
    assert_deferred(spool, name, "4.4.2")


def test_a_reply_too_many(spool: Spool, lmtp: Servers) -> None:
    """It must not pass for the answer to the next MAIL."""
    surplus = Then(None, "250 2.0.0 Once more")
    server = lmtp(answers={"DOT": {"d@example.net": [surplus]}, "MAIL": [None, NO_SUCH]})
    aim(spool, server)
    first, second = letter(spool, *TRIO), letter(spool)
    run(spool)
    assert_sent(spool, first)
    assert len([m for m in server.messages if m.recipients == ("d@example.net",)]) == 1
    assert spool.find(second).parent.name in ("cur", "failed")
    assert len(server.messages) <= 4


# What can't be opened


def refused(spool: Spool, *names: str) -> str:
    """What the run says of a relay that is down. Nothing is charged."""
    (event,) = about_relay(run(spool, status=75))
    assert event["event"] == "relay-down"
    assert_waiting(spool, *names)
    return event["reply"]


@pytest.mark.parametrize(
    "event, answer, words",
    [
        ("CONNECT", "421 4.3.2 Going down", "refuses the session; the relay's last line was: 421"),
        ("CONNECT", "554 5.7.1 No access", "the relay's last line was: 554 5.7.1 No access"),
        ("CONNECT", Close(), "the relay has closed the connection"),
        ("CONNECT", "* OK IMAP4rev1", "does not speak LMTP; the relay's last line was: * OK IMAP"),
        ("CONNECT", Then("220 Hello", "250 SIZE"), "said more than it was asked"),
        ("LHLO", "500 5.5.2 What?", "refuses LHLO; the relay's last line was: 500 5.5.2 What?"),
        ("LHLO", "451 4.3.0 Later", "refuses LHLO; the relay's last line was: 451 4.3.0 Later"),
        ("LHLO", Close(), "the relay has closed the connection"),
        ("CONNECT", Hang(), "the relay did not answer in time"),
        ("LHLO", Drip(b"250-SIZE\r\n"), "the relay did not answer in time"),
    ],
)
def test_sessions_that_do_not_begin(
    spool: Spool, lmtp: Servers, event: str, answer: object, words: str
) -> None:
    server = lmtp(answers={event: answer})
    aim(spool, server, timeout_greeting="1s")
    name = letter(spool)
    start = time.monotonic()
    assert words in refused(spool, name)
    assert time.monotonic() - start < 4
    assert "MAIL" not in server.verbs


def test_an_smtp_server(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    spool.write_config(url=server.url.replace("smtp", "lmtp"))
    name = letter(spool)
    assert "refuses LHLO" in refused(spool, name)
    done = spool.command("verify")
    assert done.returncode == 75
    assert "for one that speaks SMTP write smtp:// into url" in done.stdout + done.stderr


def test_no_socket(spool: Spool, tmp_path: Path) -> None:
    """Neither where nothing is nor where nobody listens."""
    spool.write_config(url=f"lmtp+unix:{tmp_path}/none")
    name = letter(spool)
    refused(spool, name)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(f"{tmp_path}/deaf")
        spool.write_config(url=f"lmtp+unix:{tmp_path}/deaf")
        refused(spool, name)
    done = spool.command("verify")
    assert done.returncode == 75
    assert "see whether the path in url is right" in done.stdout + done.stderr


def test_a_port_where_nobody_listens(spool: Spool) -> None:
    spool.write_config(url=f"lmtp://{net.HOST}:{net.free_port()}")
    refused(spool, letter(spool))
