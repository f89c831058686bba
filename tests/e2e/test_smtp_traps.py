"""What servers, libraries and messages do that a plain reading of the protocol would not expect."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable, List, Optional, Tuple

import pytest

from relaying import (
    LETTER,
    SENDER,
    about_relay,
    aim,
    assert_failed,
    assert_sent,
    assert_waiting,
    block,
    letter,
    letters,
    result,
    results,
    run,
)
from lab import canonical
from lab.certs import Certs
from lab.faultactions import Close, Dribble, Reset
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.spool import Spool

Servers = Callable[..., FaultServer]

STARTTLS = (*DEFAULT_EHLO, "STARTTLS")
EIGHT_BIT = "From: a@example.com\nSubject: x\n\ngrün\n".encode()
UTF8_HEADER = "From: a@example.com\nSubject: grün\n\ntext\n".encode()


def without(*keywords: str) -> Tuple[str, ...]:
    return tuple(line for line in DEFAULT_EHLO if line.partition(" ")[0] not in keywords)


def aim_tls(spool: Spool, server: FaultServer, certs: Certs, **relay: Any) -> None:
    aim(spool, server, **{"tls": "required", "ca_file": certs.ca, **relay})


# TLS


@pytest.fixture(params=["starttls", "smtps"])
def tls_server(
    request: pytest.FixtureRequest, fault_server: Servers, certs: Certs
) -> Callable[..., FaultServer]:
    """A server behind TLS, reached either way."""
    implicit = request.param == "smtps"

    def make(pair: Any = None, require_client: bool = False, **options: Any) -> FaultServer:
        context = certs.server_context(pair, require_client=require_client)
        ehlo = options.pop("ehlo", DEFAULT_EHLO if implicit else STARTTLS)
        return fault_server(ehlo=ehlo, tls=context, implicit_tls=implicit, **options)

    return make


def test_tls(spool: Spool, tls_server: Servers, certs: Certs) -> None:
    server = tls_server()
    aim_tls(spool, server, certs, connections=3)
    names = letters(spool, 20)
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert all(message.tls for message in server.messages)
    server.settle()
    used = [session for session in server.sessions if "MAIL" in session.verbs]
    assert {session.ended for session in used} == {"QUIT"}
    server.check()


@pytest.mark.parametrize("pair", ["expired", "wrong_name"])
def test_a_bad_certificate_gets_nothing(
    spool: Spool, tls_server: Servers, certs: Certs, pair: str
) -> None:
    server = tls_server(getattr(certs, pair))
    aim_tls(spool, server, certs)
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert "SSL" in event["reply"] or "certificate" in event["reply"]
    assert_waiting(spool, name)
    assert "MAIL" not in server.verbs


def test_an_unknown_authority_gets_nothing(spool: Spool, tls_server: Servers) -> None:
    server = tls_server()
    aim(spool, server, tls="required")
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert_waiting(spool, name)
    assert "MAIL" not in server.verbs


def test_opportunistic_verifies_all_the_same(
    spool: Spool, fault_server: Servers, certs: Certs
) -> None:
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context())
    aim(spool, server, tls="opportunistic")
    name = letter(spool)
    run(spool, 75)
    assert_waiting(spool, name)
    assert "MAIL" not in server.verbs


def test_client_certificate(spool: Spool, tls_server: Servers, certs: Certs) -> None:
    server = tls_server(require_client=True)
    keys = {"cert_file": certs.client.cert, "key_file": certs.client.key}
    aim_tls(spool, server, certs, **keys)
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    server.check()


def test_no_starttls_although_required(
    spool: Spool, fault_server: Servers, certs: Certs
) -> None:
    server = fault_server()
    aim_tls(spool, server, certs)
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert_waiting(spool, name)
    assert "MAIL" not in server.verbs
    server.check()


@pytest.mark.parametrize("answer", ["454 4.7.0 TLS not available", "502 5.5.1 No", Close()])
def test_starttls_refused(
    spool: Spool, fault_server: Servers, certs: Certs, answer: Any
) -> None:
    server = fault_server(
        ehlo=STARTTLS, tls=certs.server_context(), answers={"STARTTLS": answer}
    )
    aim_tls(spool, server, certs)
    name = letter(spool)
    run(spool, 75)
    assert_waiting(spool, name)
    assert "MAIL" not in server.verbs
    server.check()


def test_opportunistic_goes_on_without(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server, tls="opportunistic")
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    server.check()


def test_words_put_in_before_tls_are_no_replies(
    spool: Spool, fault_server: Servers, certs: Certs
) -> None:
    injected = b"220 2.0.0 Go ahead\r\n250-lab.example\r\n250 SIZE 10\r\n"
    server = fault_server(
        ehlo=STARTTLS, tls=certs.server_context(), answers={"STARTTLS": injected}
    )
    aim_tls(spool, server, certs)
    name = letter(spool)
    run(spool, 75)
    assert_waiting(spool, name)
    assert server.received == []


# What EHLO said before STARTTLS counts for nothing


def test_offers_before_tls_are_forgotten(
    spool: Spool, fault_server: Servers, certs: Certs
) -> None:
    before = ("STARTTLS", "SIZE 10", "SMTPUTF8", "8BITMIME", "PIPELINING")
    server = fault_server(ehlo=before, ehlo_tls=("HELP",), tls=certs.server_context())
    aim_tls(spool, server, certs)
    names = [
        letter(spool, "b@example.net", "grün@example.net"),
        letter(spool, text=EIGHT_BIT),
        letter(spool, text=UTF8_HEADER),
    ]
    run(spool)
    assert_failed(spool, names[0], "5.6.7")
    assert_failed(spool, names[1], "5.6.3")
    assert spool.state(names[2])[0] == "failed"
    (message,) = server.messages
    assert (message.recipients, message.options) == (("b@example.net",), ())
    server.check()


def test_offers_behind_tls_count(spool: Spool, fault_server: Servers, certs: Certs) -> None:
    server = fault_server(
        ehlo=("STARTTLS",), ehlo_tls=DEFAULT_EHLO, tls=certs.server_context()
    )
    aim_tls(spool, server, certs)
    names = [letter(spool, "grün@example.net"), letter(spool, text=EIGHT_BIT)]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert server.messages[0].option("SMTPUTF8") == ""
    assert server.messages[1].option("BODY") == "8BITMIME"
    assert server.messages[1].option("SIZE") == str(len(server.messages[1].data))
    server.check()


# TLS records: what is decrypted already does not show in poll()


def big(size: int) -> bytes:
    line = b".dots and text, %07d\n"
    lines = [line % n for n in range(size // (len(line) + 3))]
    return b"From: a@example.com\nSubject: big\n\n" + b"".join(lines)


def test_megabytes_through_tls(spool: Spool, tls_server: Servers, certs: Certs) -> None:
    server = tls_server(keep_chunks=False)
    aim_tls(spool, server, certs)
    text = big(6_000_000)
    names = [letter(spool, text=text), letter(spool), letter(spool, text=text)]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    assert [canonical.canonical(message.data) for message in server.messages] == [
        text,
        LETTER,
        text,
    ]
    server.check()


def test_replies_in_tiny_records(spool: Spool, tls_server: Servers, certs: Certs) -> None:
    many = b"".join(b"250-2.0.0 line %d of many words\r\n" % n for n in range(100))
    server = tls_server(
        answers={
            "MAIL": Dribble(size=1),
            "DOT": Dribble(many + b"250 2.0.0 Ok\r\n", size=7),
        }
    )
    aim_tls(spool, server, certs)
    name = letter(spool, *(f"r{n}@example.net" for n in range(400)))
    other = letter(spool)
    run(spool)
    assert_sent(spool, name)
    assert_sent(spool, other)
    assert len(server.messages[0].recipients) == 400
    server.check()


@pytest.mark.parametrize("answer", [Close(), Reset()], ids=["close", "reset"])
def test_lost_behind_tls(
    spool: Spool, tls_server: Servers, certs: Certs, answer: Any
) -> None:
    server = tls_server(answers={"DOT": {"s1@example.com": answer}})
    aim_tls(spool, server, certs)
    names = letters(spool, 4)
    events = results(run(spool))
    doubtful = [event["duplicate"] for event in events if event["event"] == "deferred"]
    assert doubtful == ["possible"]
    assert spool.state(names[1])[1]["E"] == "4.4.2"
    for name in names[:1] + names[2:]:
        assert_sent(spool, name)
    server.check()


# AUTH


def test_sasl_initial_response(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=(*DEFAULT_EHLO, "AUTH PLAIN"), users={"site": "secret"})
    aim(spool, server, user="site", password_file=spool.secret("secret"))
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    assert server.sessions[0].commands[1] == "AUTH PLAIN AHNpdGUAc2VjcmV0"
    server.check()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_mechanisms(spool: Spool, fault_server: Servers, mechanism: str) -> None:
    ehlo = (*DEFAULT_EHLO, f"AUTH {mechanism}")
    server = fault_server(ehlo=ehlo, users={"site": "secret"}, require_auth=True)
    aim(spool, server, user="site", password_file=spool.secret("secret"))
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    assert server.sessions[0].credentials == [(mechanism, "site", "secret")]
    server.check()


def test_auth_only_before_tls_is_no_auth(
    spool: Spool, fault_server: Servers, certs: Certs
) -> None:
    server = fault_server(
        ehlo=(*STARTTLS, "AUTH PLAIN"), ehlo_tls=DEFAULT_EHLO, tls=certs.server_context()
    )
    aim_tls(spool, server, certs, user="site", password_file=spool.secret("secret"))
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert_waiting(spool, name)
    assert all(session.credentials == [] for session in server.sessions)
    server.check()


# Addresses that could carry a command

BAD_ADDRESSES = {
    "space": b"b c@example.net",
    "tab": b"b\tc@example.net",
    "open": b"b<c@example.net",
    "close": b"b>c@example.net",
    "pair": b"<b@example.net>",
    "parameter": b"b@example.net> NOTIFY=NEVER X=<y",
    "nul": b"b\0c@example.net",
    "escape": b"b\x1b[2J@example.net",
    "delete": b"b\x7fc@example.net",
    "long": b"b" * 250 + b"@example.net",
    "no-at": b"postmaster",
    "no-domain": b"b@",
    "bad-utf8": b"b\xff@example.net",
}


@pytest.mark.parametrize("address", BAD_ADDRESSES.values(), ids=list(BAD_ADDRESSES))
def test_a_bad_address_fails_alone(
    spool: Spool, fault_server: Servers, address: bytes
) -> None:
    server = fault_server()
    aim(spool, server)
    head = b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <%s>\n" % address
    name = spool.drop(head + b"X-Maildrain-To: <d@example.net>\n" + LETTER)
    events = {event["to"]: event for event in results(run(spool))}
    assert_failed(spool, name, "5.1.3")
    assert sorted(event["event"] for event in events.values()) == ["failed", "sent"]
    assert events["d@example.net"]["event"] == "sent"
    lines = block(spool, name)
    assert lines[1].startswith("X-Maildrain-Failed: <")
    assert lines[2].startswith("X-Maildrain-Done: <d@example.net> 250 ")
    assert len(lines) == 3
    commands = [line for line in server.sessions[0].commands if line[:4] == "RCPT"]
    assert commands == ["RCPT TO:<d@example.net>"]
    server.check()


def test_a_bad_address_alone_needs_no_network(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    name = letter(spool, "b c@example.net")
    assert result(run(spool))["status"] == "5.1.3"
    assert_failed(spool, name, "5.1.3")
    assert "MAIL" not in server.verbs


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"], ids=["cr", "lf", "crlf"])
def test_a_line_end_in_an_address(spool: Spool, fault_server: Servers, end: bytes) -> None:
    server = fault_server()
    aim(spool, server)
    evil = b"X-Maildrain-To: <b@example.net" + end + b"RCPT TO:<evil@example.net>\n"
    spool.drop(b"X-Maildrain-From: <a@example.com>\n" + evil + LETTER)
    run(spool)
    assert all("evil" not in line for line in server.sessions[0].commands)
    server.check()


@pytest.mark.parametrize("sender", ["a b@example.com", "a>b@example.com", "x" * 260 + "@b.example"])
def test_a_bad_sender_fails_the_message(
    spool: Spool, fault_server: Servers, sender: str
) -> None:
    server = fault_server()
    aim(spool, server)
    name = letter(spool, sender=sender)
    other = letter(spool)
    run(spool)
    assert spool.state(name)[0] == "failed"
    assert spool.state(name)[1]["E"][0] == "5"
    assert_sent(spool, other)
    assert server.verbs.count("MAIL") == 1
    server.check()


# What a message needs and the relay lacks


def test_8bitmime_is_declared_when_needed(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    letter(spool)
    letter(spool, text=EIGHT_BIT)
    run(spool)
    assert [message.option("BODY") for message in server.messages] == [None, "8BITMIME"]
    assert server.messages[1].data == EIGHT_BIT.replace(b"\n", b"\r\n")
    server.check()


def test_8bit_without_8bitmime(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=without("8BITMIME"))
    aim(spool, server)
    name = letter(spool, text=EIGHT_BIT)
    other = letter(spool)
    run(spool)
    assert_failed(spool, name, "5.6.3")
    assert "8BITMIME" in block(spool, name)[1]
    assert_sent(spool, other)
    assert server.verbs.count("MAIL") == 1
    server.check()


@pytest.mark.parametrize(
    "sender, to, text",
    [
        ("grün@example.com", "b@example.net", LETTER),
        (SENDER, "grün@example.net", LETTER),
        (SENDER, "b@grün.example", LETTER),
        (SENDER, "b@example.net", UTF8_HEADER),
    ],
    ids=["sender", "local-part", "domain", "header"],
)
def test_smtputf8_is_declared_when_needed(
    spool: Spool, fault_server: Servers, sender: str, to: str, text: bytes
) -> None:
    server = fault_server()
    aim(spool, server)
    letter(spool)
    letter(spool, to, text=text, sender=sender)
    run(spool)
    assert [message.option("SMTPUTF8") for message in server.messages] == [None, ""]
    assert (server.messages[1].sender, server.messages[1].recipients) == (sender, (to,))
    server.check()


def test_non_ascii_recipient_without_smtputf8_fails_alone(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(ehlo=without("SMTPUTF8"))
    aim(spool, server)
    name = letter(spool, "b@example.net", "grün@example.net")
    events = results(run(spool))
    assert_failed(spool, name, "5.6.7")
    assert {event["to"]: event["event"] for event in events} == {
        "b@example.net": "sent",
        "grün@example.net": "failed",
    }
    assert "SMTPUTF8" in block(spool, name)[2]
    server.check()


@pytest.mark.parametrize("sender, text", [("grün@example.com", LETTER), (SENDER, UTF8_HEADER)])
def test_non_ascii_message_without_smtputf8(
    spool: Spool, fault_server: Servers, sender: str, text: bytes
) -> None:
    server = fault_server(ehlo=without("SMTPUTF8"))
    aim(spool, server)
    name = letter(spool, sender=sender, text=text)
    run(spool)
    place, fields = spool.state(name)
    assert (place, fields["E"][:4]) == ("failed", "5.6.")
    assert "MAIL" not in server.verbs
    server.check()


def test_too_large_for_the_relay(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=("PIPELINING", "SIZE 1000"))
    aim(spool, server)
    name = letter(spool, text=LETTER + b"x" * 1000 + b"\n")
    event = result(run(spool))
    assert_failed(spool, name, "5.3.4")
    assert "1000" in event["reply"]
    assert "MAIL" not in server.verbs
    server.check()


@pytest.mark.parametrize("spare, place", [(0, "cur"), (-1, "failed")])
def test_the_limit_itself_is_allowed(
    spool: Spool, fault_server: Servers, spare: int, place: str
) -> None:
    size = len(LETTER.replace(b"\n", b"\r\n"))
    server = fault_server(ehlo=("PIPELINING", f"SIZE {size + spare}"))
    aim(spool, server)
    name = letter(spool)
    run(spool)
    assert spool.state(name)[0] == place
    server.check()


@pytest.mark.parametrize("limit", ["SIZE", "SIZE 0"])
def test_size_without_a_limit(spool: Spool, fault_server: Servers, limit: str) -> None:
    server = fault_server(ehlo=("PIPELINING", limit))
    aim(spool, server)
    name = letter(spool)
    run(spool)
    assert_sent(spool, name)
    assert server.messages[0].option("SIZE") == str(len(server.messages[0].data))
    server.check()


# The body: what would end it early, and how large it is

BODIES = {
    "lf-dot-crlf": b"\n.\r\n",
    "lf-dot-lf": b"\n.\n",
    "cr-dot-cr": b"\r.\r",
    "cr-dot-crlf": b"\r.\r\n",
    "crlf-dot-lf": b"\r\n.\n",
    "crlf-dot-cr": b"\r\n.\r",
    "crlf-dot-crlf": b"\r\n.\r\n",
    "lf-dot-cr": b"\n.\r",
    "crcrlf-dot-crcrlf": b"\r\r\n.\r\r\n",
    "dots": b".\n..\n...\n.x\n",
    "nul": b"a\0b\n",
    "no-end": b"a line without its end",
    "ends-in-cr": b"text\r",
    "ends-in-dot": b"text\n.",
    "long-line": b"x" * 70000 + b"\n." + b"y" * 70000,
    "empty": b"",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_no_body_ends_early(
    spool: Spool, fault_server: Servers, body: bytes, newline: bytes
) -> None:
    server = fault_server()
    aim(spool, server)
    smuggled = b"MAIL FROM:<evil@example.com>\nRCPT TO:<b@example.net>\nDATA\nevil\n"
    text = b"From: a@example.com" + newline * 2 + b"one" + body
    text += smuggled if body[-1:] in (b"\r", b"\n") else b""
    names = [letter(spool, text=text), letter(spool)]
    run(spool)
    for name in names:
        assert_sent(spool, name)
    messages = server.messages
    assert [message.sender for message in messages] == [SENDER, SENDER]
    assert canonical.canonical(messages[0].data) == canonical.canonical(text)
    assert [message.option("SIZE") for message in messages] == [
        str(len(message.data)) for message in messages
    ]
    server.check()


def test_bodies_at_the_edges_of_buffers(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    texts: List[bytes] = []
    for edge in (16384, 32768, 65536):
        for off in range(-4, 4):
            filler = b"x" * (edge + off - 40)
            texts.append(b"From: a@example.com\n\n" + filler + b"\r\n.\r\nend\r.\r" + filler)
    for text in texts:
        letter(spool, text=text)
    run(spool)
    assert [canonical.canonical(message.data) for message in server.messages] == [
        canonical.canonical(text) for text in texts
    ]
    assert all(
        message.option("SIZE") == str(len(message.data)) for message in server.messages
    )
    server.check()


def test_block_and_bcc_never_go_out(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    aim(spool, server)
    text = b"From: a@example.com\nBcc: x@example.net,\n y@example.net\nSubject: s\n\nBcc: text\n"
    letter(spool, "x@example.net", text=text)
    run(spool)
    assert server.messages[0].data == (
        b"From: a@example.com\r\nSubject: s\r\n\r\nBcc: text\r\n"
    )
    assert server.messages[0].option("SIZE") == str(len(server.messages[0].data))
    server.check()


# A file that changes while it is sent


def test_a_file_cut_short_while_it_is_sent(spool: Spool, fault_server: Servers) -> None:
    """What was announced can't be sent: the session ends before the dot, and nothing arrives."""
    cut: List[Path] = []

    def cut_it(_: Any) -> Optional[str]:
        path = next((spool.path / "new").glob("*C=*"))
        with open(path, "r+b") as file:
            file.truncate(1_000_000)
        cut.append(path)
        return None

    server = fault_server(answers={"DATA": [cut_it]}, keep_chunks=False)
    aim(spool, server)
    name = letter(spool, text=big(8_000_000))
    other = letter(spool)
    event = results(run(spool))[0]
    assert cut
    assert (event["event"], event["status"]) == ("deferred", "4.3.0")
    assert spool.state(name)[1]["E"] == "4.3.0"
    assert_sent(spool, other)
    assert len(server.messages) == 1
