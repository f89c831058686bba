"""The laboratory itself: each server and tool does what its text says, driven without maildrain."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List

import pytest

from lab import canonical, logfmt, measure, net, sink
from lab.aiosmtp import AioServer
from lab.certs import Certs
from lab.django_site import STOCK, DjangoSite
from lab.faultactions import AfterOctets, Close, Delay, Dribble, Hang, Reset, Then
from lab.faultserver import FaultServer
from lab.postfix import DEFER, REJECT, USERS, Postfix
from lab.sink import Sink
from lab.spool import Spool, config_text, fields_of, unique_of

MESSAGE = b"From: a@example.com\r\nSubject: dots\r\n\r\n.one\r\n..two\r\nthree\r\n"
BODY = b"Subject: x\r\n\r\ntext\r\n"


class Wire:
    """A client that writes octets and reads lines."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection((net.HOST, port), timeout=10)
        self.file = self.sock.makefile("rb")

    def line(self) -> bytes:
        return self.file.readline()

    def reply(self) -> bytes:
        """One reply, all its lines."""
        lines = [self.line()]
        while lines[-1][3:4] == b"-":
            lines.append(self.line())
        return b"".join(lines)

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def ask(self, line: bytes) -> bytes:
        self.send(line + b"\r\n")
        return self.reply()

    def greet(self) -> bytes:
        self.reply()
        return self.ask(b"EHLO client.example")

    def close(self) -> None:
        self.file.close()
        self.sock.close()


@pytest.fixture
def wire() -> Iterator[Callable[[int], Wire]]:
    made: List[Wire] = []

    def make(port: int) -> Wire:
        made.append(Wire(port))
        return made[-1]

    yield make
    for client in made:
        client.close()


def send(port: int, message: bytes = MESSAGE, to: Any = "b@example.net", **options: Any) -> Any:
    with smtplib.SMTP(net.HOST, port, timeout=10) as client:
        return client.sendmail("a@example.com", to, message, **options)


# The fault server, healthy


def test_fault_server_takes_mail(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    with smtplib.SMTP(net.HOST, server.port, timeout=10) as client:
        for _ in range(2):
            client.sendmail("a@example.com", ["b@example.net", "c@example.net"], MESSAGE)
        assert len(server.messages) == 2, "messages are seen while the client is connected"
    message = server.messages[0]
    assert message.data == MESSAGE
    assert message.wire.count(b"\r\n..one\r\n...two\r\n") == 1
    assert (message.sender, message.recipients) == (
        "a@example.com",
        ("b@example.net", "c@example.net"),
    )
    assert message.option("SIZE") == str(len(MESSAGE))
    assert message.reply == b"250 2.0.0 Ok: queued as L000001\r\n"
    assert server.verbs == ["EHLO", *(["MAIL", "RCPT", "RCPT", "DATA"] * 2), "QUIT"]
    assert server.sessions[0].ended == "QUIT"
    server.check()


def test_fault_server_answers_a_pipelined_group_in_one_write(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server()
    client = wire(server.port)
    client.greet()
    group = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    client.send(group)
    assert [client.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
    client.send(BODY + b".\r\n" + group)
    assert [client.reply()[:3] for _ in range(4)] == [b"250", b"250", b"250", b"354"]
    client.send(b".\r\n")
    assert client.reply()[:3] == b"250"
    assert server.sessions[0].received[1:] == [group, BODY + b".\r\n" + group, b".\r\n"]
    assert [message.data for message in server.messages] == [BODY, b""]
    replies = [chunk.data for chunk in server.sessions[0].chunks if chunk.who == "S"]
    assert replies[3].count(b"\r\n") == 4
    server.check()


def test_fault_server_finds_the_dot_at_any_split(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server()
    client = wire(server.port)
    client.greet()
    octets = b"x\r\n.\r.\r\n..\r\n\r\n.\r\n"
    for split in range(1, len(octets)):
        client.ask(b"MAIL FROM:<a@x>")
        client.ask(b"RCPT TO:<b@y>")
        client.ask(b"DATA")
        client.send(octets[:split])
        time.sleep(0.003)
        client.send(octets[split:])
        assert client.reply()[:3] == b"250"
    assert {message.wire for message in server.messages} == {octets[:-3]}


@pytest.mark.parametrize(
    "commands, said",
    [
        ([b"MAIL FROM:<a@x> SIZE=10"], "not announced"),
        ([b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>"], "octets behind MAIL"),
        ([b"MAIL FROM:<a@x>\n"], "bare CR or LF in a command"),
        (["MAIL FROM:<é@x>".encode()], "8-bit octets"),
        ([b"MAIL a@x"], "malformed"),
        ([b"AUTH PLAIN AGEAYg=="], "AUTH, which was not announced"),
        ([b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA", b"\xe9\r\n."], "without BODY=8BITMIME"),
        ([b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA", b"a\nb\r\n."], "bare CR or LF in a body"),
    ],
)
def test_fault_server_notices_violations(
    fault_server: Callable[..., FaultServer],
    wire: Callable[[int], Wire],
    commands: List[bytes],
    said: str,
) -> None:
    server = fault_server(ehlo=[])
    client = wire(server.port)
    client.greet()
    for command in commands:
        client.ask(command)
    assert any(said in text for text in server.violations), server.violations
    with pytest.raises(AssertionError, match="session 0"):
        server.check()


def test_fault_server_refuses_what_is_too_big(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(ehlo=["SIZE 20"])
    with pytest.raises(smtplib.SMTPSenderRefused) as refused:
        send(server.port)
    assert refused.value.smtp_code == 552
    assert not server.messages


def test_fault_server_is_fast(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(keep_chunks=False)
    group = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    body = b"x" * 60 + b"\r\n"
    count = 2000
    client = Wire(server.port)
    client.greet()
    start = time.monotonic()
    client.send(group)
    for _ in range(count):
        for _ in range(3):
            client.reply()
        client.send(body * 32 + b".\r\n" + group)
        client.reply()
    elapsed = time.monotonic() - start
    client.close()
    assert len(server.messages) == count
    assert elapsed < 4, f"{count / elapsed:.0f} messages a second"


# The fault server, told to misbehave


def test_answers_by_address_and_in_order(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(
        answers={
            "MAIL": ["451 4.3.0 Not now", None, b"452 4.2.2-x\r\n"],
            "RCPT": {"bad@example.net": "550 5.1.1 Unknown", "*": [None, "450 4.2.1 Busy"]},
        }
    )
    with smtplib.SMTP(net.HOST, server.port, timeout=10) as client:
        codes = []
        client.ehlo()
        for sender in ("a@x", "b@x"):
            codes.append(client.mail(sender)[0])
        for recipient in ("bad@example.net", "good@example.net", "other@example.net", "last@x"):
            codes.append(client.rcpt(recipient)[0])
        assert codes == [451, 250, 550, 250, 450, 250]
        assert client.data(MESSAGE)[0] == 250
        assert client.mail("c@x")[0] == 452
    assert server.messages[0].recipients == ("good@example.net", "last@x")
    assert server.messages[0].sender == "b@x"


def test_answer_by_callable_and_sender(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(
        answers={
            "DOT": {"bad@x": lambda session: f"554 5.7.1 No, {session.sender}"},
            "DATA": {"worse@x": "451 4.3.0 Later"},
        }
    )
    with smtplib.SMTP(net.HOST, server.port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPDataError, match="No, bad@x"):
            client.sendmail("bad@x", "b@y", MESSAGE)
        with pytest.raises(smtplib.SMTPDataError, match="Later"):
            client.sendmail("worse@x", "b@y", MESSAGE)
        client.rset()  # smtplib leaves that transaction open
        client.sendmail("good@x", "b@y", MESSAGE)
    assert [message.sender for message in server.received] == ["bad@x", "good@x"]
    assert [message.sender for message in server.messages] == ["good@x"]


def test_354_though_no_recipient_was_taken(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server(answers={"RCPT": "550 5.1.1 No", "DATA": "354 Go on"})
    client = wire(server.port)
    client.greet()
    for command, code in ((b"MAIL FROM:<a@x>", 250), (b"RCPT TO:<b@y>", 550), (b"DATA", 354)):
        assert int(client.ask(command)[:3]) == code
    assert client.ask(b".")[:3] == b"554"
    assert client.ask(b"MAIL FROM:<a@x>")[:3] == b"250", "the transaction is over"


def test_a_transaction_stays_open_after_data_was_refused(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    client = wire(fault_server(answers={"DATA": ["451 4.3.0 Later"]}).port)
    client.greet()
    asked = [b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA", b"MAIL FROM:<a@x>", b"RSET"]
    codes = [client.ask(command)[:3] for command in [*asked, b"MAIL FROM:<a@x>"]]
    assert codes == [b"250", b"250", b"451", b"503", b"250", b"250"]


@pytest.mark.parametrize("action, error", [(Close(), b""), (Reset(), None)])
def test_connection_lost_after_the_dot(
    fault_server: Callable[..., FaultServer],
    wire: Callable[[int], Wire],
    action: Any,
    error: Any,
) -> None:
    server = fault_server(answers={"DOT": action})
    client = wire(server.port)
    client.greet()
    for command in (b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA"):
        client.ask(command)
    client.send(BODY + b".\r\n")
    if error is None:
        with pytest.raises(ConnectionResetError):
            client.line()
    else:
        assert client.line() == error
    assert [message.data for message in server.received] == [BODY]
    assert not server.messages, "nothing was acknowledged"


def test_connection_lost_within_a_body(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server(answers={"BODY": AfterOctets(3000, Reset())})
    client = wire(server.port)
    client.greet()
    for command in (b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA"):
        client.ask(command)
    with pytest.raises(OSError):
        for _ in range(10_000):
            client.send(b"x" * 998 + b"\r\n")
    assert not server.received
    assert server.sessions[0].ended == "reset by the server"


def test_reply_in_pieces_and_late(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server(
        answers={"MAIL": Dribble(pause=0.005), "RSET": Delay(0.2), "NOOP": Delay(0.1, "250 Late")}
    )
    client = wire(server.port)
    client.greet()
    assert client.ask(b"MAIL FROM:<a@x>") == b"250 2.1.0 Ok\r\n"
    chunks = [chunk for chunk in server.sessions[0].chunks if chunk.who == "S"]
    assert len(chunks) == 2 + len(b"250 2.1.0 Ok\r\n")
    start = time.monotonic()
    assert client.ask(b"RSET") == b"250 2.0.0 Ok\r\n"
    assert client.ask(b"NOOP") == b"250 Late\r\n"
    assert 0.3 <= time.monotonic() - start < 2


def test_hang_ends_when_the_client_goes(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server(answers={"MAIL": Hang()})
    client = wire(server.port)
    client.greet()
    client.send(b"MAIL FROM:<a@x>\r\n")
    client.sock.settimeout(0.2)
    with pytest.raises(socket.timeout):
        client.sock.recv(1)
    client.close()
    end = time.monotonic() + 5
    while not server.sessions[0].ended and time.monotonic() < end:
        time.sleep(0.01)
    assert server.sessions[0].ended == "hung until the client went"


def test_script_takes_one_connection_step_by_step(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    script = [
        ("CONNECT", b"220-two\r\n220 lines\r\n"),
        ("EHLO", None),
        (None, "250 2.0.0 Nobody asked"),
        ("MAIL", Then("421 4.3.2 Going down", Close())),
    ]
    server = fault_server(scripts=[None, script])
    healthy, scripted = wire(server.port), wire(server.port)
    assert b"250" in healthy.greet()
    assert scripted.reply() == b"220-two\r\n220 lines\r\n"
    assert b"PIPELINING" in scripted.ask(b"EHLO x")
    assert scripted.reply() == b"250 2.0.0 Nobody asked\r\n"
    assert scripted.ask(b"MAIL FROM:<a@x>")[:3] == b"421"
    assert scripted.line() == b""
    server.check()


def test_script_that_is_not_followed_fails_the_check(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server(scripts=[[("CONNECT", None), ("EHLO", None), ("RSET", None)]])
    client = wire(server.port)
    client.greet()
    client.send(b"MAIL FROM:<a@x>\r\n")
    assert client.line() == b""
    with pytest.raises(AssertionError, match="expected RSET, the client sent MAIL"):
        server.check()


def test_a_bug_in_a_callable_fails_the_check(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(answers={"MAIL": lambda session: session.no_such_name})
    with pytest.raises(smtplib.SMTPServerDisconnected):
        send(server.port)
    with pytest.raises(AssertionError, match="no_such_name"):
        server.check()


def test_421_closes_and_a_close_can_follow_the_right_reply(
    fault_server: Callable[..., FaultServer], wire: Callable[[int], Wire]
) -> None:
    server = fault_server(
        answers={
            "MAIL": ["421 4.3.2 Going down"],
            "DOT": Close(None),
            "NOOP": Then("421 x", Hang()),
        }
    )
    first, second, third = wire(server.port), wire(server.port), wire(server.port)
    first.greet()
    assert first.ask(b"MAIL FROM:<a@x>") + first.line() == b"421 4.3.2 Going down\r\n"
    second.greet()
    for command in (b"MAIL FROM:<a@x>", b"RCPT TO:<b@y>", b"DATA"):
        second.ask(command)
    assert second.ask(b"text\r\n.")[:3] == b"250"
    assert second.line() == b""
    assert [message.data for message in server.messages] == [b"text\r\n"]
    third.greet()
    assert third.ask(b"NOOP")[:3] == b"421"
    third.sock.settimeout(0.1)
    with pytest.raises(socket.timeout):
        third.line()


@pytest.mark.parametrize(
    "answer, lines",
    [
        (Close("421 4.3.2 No service"), [b"421 4.3.2 No service\r\n", b""]),
        (b"\x00\xff rubbish\n", [b"\x00\xff rubbish\n"]),
    ],
)
def test_greeting(
    fault_server: Callable[..., FaultServer],
    wire: Callable[[int], Wire],
    answer: Any,
    lines: List[bytes],
) -> None:
    client = wire(fault_server(answers={"CONNECT": answer}).port)
    assert [client.line() for _ in lines] == lines


def test_latency_holds_back_each_write(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(latency=0.05)
    start = time.monotonic()
    send(server.port)
    assert time.monotonic() - start > 0.05 * 6, "greeting, EHLO, MAIL, RCPT, DATA, dot"


# The fault server: TLS and AUTH


def test_fault_server_starttls_and_login(
    fault_server: Callable[..., FaultServer], certs: Certs
) -> None:
    server = fault_server(
        ehlo=["STARTTLS", "PIPELINING"],
        ehlo_tls=["AUTH PLAIN LOGIN"],
        tls=certs.server_context(),
        users={"site": "secret"},
        require_auth=True,
    )
    with smtplib.SMTP("localhost", server.port, timeout=10) as client:
        client.starttls(context=certs.client_context())
        client.ehlo()
        assert not client.has_extn("PIPELINING")
        assert client.mail("a@x")[0] == 530
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("site", "wrong")
        client.user, client.password = "site", "secret"
        assert client.auth("login", client.auth_login)[0] == 235
        client.sendmail("a@example.com", "b@example.net", MESSAGE)
    assert ("LOGIN", "site", "secret") in server.sessions[0].credentials
    assert ("PLAIN", "site", "wrong") in server.sessions[0].credentials
    assert (server.messages[0].tls, server.messages[0].user) == (True, "site")
    server.check()


def test_fault_server_tls_from_the_first_byte(
    fault_server: Callable[..., FaultServer], certs: Certs
) -> None:
    server = fault_server(tls=certs.server_context(), implicit_tls=True)
    big = BODY + b"x" * 70 + b"\r\n" * 100_000
    with smtplib.SMTP_SSL(
        "localhost", server.port, timeout=10, context=certs.client_context()
    ) as client:
        client.sendmail("a@example.com", "b@example.net", big)
    assert server.url.startswith("smtps://")
    assert server.messages[0].data == big


def test_fault_server_starttls_refused(fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(ehlo=["STARTTLS"], answers={"STARTTLS": "454 4.7.0 Not available"})
    with smtplib.SMTP(net.HOST, server.port, timeout=10) as client:
        with pytest.raises(smtplib.SMTPResponseException) as refused:
            client.starttls()
        assert refused.value.smtp_code == 454


@pytest.mark.parametrize(
    "which, reason", [("expired", "expired"), ("wrong_name", "mismatch"), ("server", None)]
)
def test_certificates(
    fault_server: Callable[..., FaultServer], certs: Certs, which: str, reason: Any
) -> None:
    server = fault_server(tls=certs.server_context(getattr(certs, which)), implicit_tls=True)
    context = certs.client_context()
    if reason is None:
        smtplib.SMTP_SSL(net.HOST, server.port, timeout=10, context=context).close()
        return
    with pytest.raises(ssl.SSLCertVerificationError, match=reason):
        smtplib.SMTP_SSL(net.HOST, server.port, timeout=10, context=context)


def test_client_certificate(fault_server: Callable[..., FaultServer], certs: Certs) -> None:
    context = certs.server_context(require_client=True)
    server = fault_server(tls=context, implicit_tls=True)
    with smtplib.SMTP_SSL(
        "localhost", server.port, timeout=10, context=certs.client_context(certs.client)
    ) as client:
        assert client.noop()[0] == 250
    with pytest.raises(OSError):
        # TLS 1.3 tells a client without a certificate after its own handshake.
        smtplib.SMTP_SSL("localhost", server.port, timeout=10, context=certs.client_context())


# aiosmtpd


def test_aiosmtpd_keeps_what_came(aio_server: Callable[..., AioServer]) -> None:
    server = aio_server()
    sent = send(
        server.port,
        "Subject: é\r\n\r\n.ü\r\n".encode(),
        ["b@example.net", "refuse@example.net", "defer@example.net"],
        mail_options=["BODY=8BITMIME", "SMTPUTF8"],
    )
    assert {address: reply[0] for address, reply in sent.items()} == {
        "refuse@example.net": 550,
        "defer@example.net": 451,
    }
    message = server.messages[0]
    assert message.data == "Subject: é\r\n\r\n.ü\r\n".encode()
    assert (message.sender, message.recipients) == ("a@example.com", ("b@example.net",))
    assert {"BODY=8BITMIME", "SMTPUTF8"} < set(message.options)
    send(server.port)
    assert [message.session for message in server.messages] == [0, 1]
    assert len({message.peer for message in server.messages}) == 2


def test_aiosmtpd_announces_what_it_is_told(aio_server: Callable[..., AioServer]) -> None:
    plain = aio_server(eightbit=False, smtputf8=False, size_limit=5000)
    with smtplib.SMTP(net.HOST, plain.port, timeout=10) as client:
        client.ehlo()
        assert client.esmtp_features.keys() & {"8bitmime", "smtputf8", "auth", "starttls"} == set()
        assert client.esmtp_features["size"] == "5000"
        assert not client.has_extn("pipelining")
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail("a@x", "b@y", b"x" * 6000)


def test_aiosmtpd_takes_body_dot_and_next_envelope_in_one_write(
    aio_server: Callable[..., AioServer], wire: Callable[[int], Wire]
) -> None:
    server = aio_server(pipelining=True)
    client = wire(server.port)
    assert b"PIPELINING" in client.greet()
    group = b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
    client.send(group)
    for _ in range(50):
        assert [client.reply()[:3] for _ in range(3)] == [b"250", b"250", b"354"]
        client.send(BODY + b".\r\n" + group)
        assert client.reply()[:3] == b"250"
    assert [message.data for message in server.messages] == [BODY] * 50


def test_aiosmtpd_takes_the_null_sender(aio_server: Callable[..., AioServer]) -> None:
    server = aio_server()
    with smtplib.SMTP(net.HOST, server.port, timeout=10) as client:
        client.sendmail("", "b@example.net", MESSAGE)
    assert server.messages[0].sender == ""


def test_aiosmtpd_starttls_and_login(aio_server: Callable[..., AioServer], certs: Certs) -> None:
    server = aio_server(
        starttls=certs.server_context(),
        require_starttls=True,
        users={"site": "secret"},
        auth_required=True,
    )
    with smtplib.SMTP("localhost", server.port, timeout=10) as client:
        client.ehlo()
        assert client.mail("a@x")[0] == 530
        client.starttls(context=certs.client_context())
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("site", "wrong")
        client.login("site", "secret")
        client.sendmail("a@example.com", "b@example.net", MESSAGE)
    assert server.logins[0][1:] == ("site", "wrong", False)
    assert server.logins[-1][1:] == ("site", "secret", True)
    assert (server.messages[0].tls, server.messages[0].user) == (True, "site")


def test_aiosmtpd_smtps(aio_server: Callable[..., AioServer], certs: Certs) -> None:
    server = aio_server(smtps=certs.server_context(), users={"site": "secret"}, auth_required=True)
    with smtplib.SMTP_SSL(
        "localhost", server.port, timeout=10, context=certs.client_context()
    ) as client:
        client.login("site", "secret")
        client.sendmail("a@example.com", "b@example.net", MESSAGE)
    assert (server.messages[0].tls, server.messages[0].user) == (True, "site")
    assert server.messages[0].data == MESSAGE


# Postfix


def test_postfix_delivers_byte_for_byte(postfix: Postfix, certs: Certs) -> None:
    lines = b"From: a@example.com\r\nBcc: seen@example.net\r\n\r\n.dot\r\n" + b"y" * 3000 + b"\r\n"
    message = lines + bytes(range(128, 256)) + b"\r\nFrom here\r\n\r\n"
    with smtplib.SMTP("localhost", postfix.port, timeout=10) as client:
        assert client.mail("a@example.com")[0] == 530, "TLS first"
        client.starttls(context=certs.client_context())
        client.login("site", USERS["site"])
        refused = client.sendmail(
            "a@example.com", ["b@example.test", REJECT, DEFER], message, ["BODY=8BITMIME"]
        )
    assert {address: reply[0] for address, reply in refused.items()} == {REJECT: 550, DEFER: 451}
    (arrived,) = postfix.wait_for(1)
    assert arrived.startswith(b"Return-Path: <a@example.com>\n")
    assert canonical.canonical(arrived) == canonical.canonical(message)


def test_postfix_wants_the_right_password(postfix: Postfix, certs: Certs) -> None:
    with smtplib.SMTP_SSL(
        "localhost", postfix.smtps_port, timeout=10, context=certs.client_context()
    ) as client:
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login("site", "wrong")
        assert refused.value.smtp_code == 535
        client.mail("a@example.com")
        assert client.rcpt("b@example.test")[0] == 554
        client.rset()
        client.login("site", USERS["site"])
        client.mail("a@example.com")
        assert client.rcpt("b@example.test")[0] == 250


def test_postfix_announces_what_it_is_told(make_postfix: Callable[..., Postfix]) -> None:
    server = make_postfix(tls=False, size_limit=100_000, discard=("pipelining", "8bitmime"))
    with smtplib.SMTP(net.HOST, server.port, timeout=10) as client:
        client.ehlo()
        features = client.esmtp_features
        assert features.keys() & {"pipelining", "8bitmime", "starttls", "auth"} == set()
        assert features["size"] == "100000"
        client.sendmail("", "b@example.test", MESSAGE)
    assert len(server.wait_for(1)) == 1
    root, pid = server.root, int((server.root / "queue/pid/master.pid").read_text())
    server.stop()
    assert not root.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


# smtp-sink


def test_smtp_source_to_smtp_sink(smtp_sink: Callable[..., Sink]) -> None:
    server = smtp_sink()
    seconds = sink.run_smtp_source(server.port, count=500)
    assert 0 < seconds < 30
    assert server.wait_for(500)
    assert server.counters().messages == 500


def test_smtp_sink_dumps_and_refuses(smtp_sink: Callable[..., Sink]) -> None:
    server = smtp_sink(("-f", "DATA"))
    with pytest.raises(smtplib.SMTPDataError):
        send(server.port)
    dumping = smtp_sink(dump=True)
    send(dumping.port)
    assert dumping.wait_for(1)
    (dump,) = dumping.dumps()
    assert b"X-Rcpt-Args: <b@example.net>" in dump
    assert b"\n.one\n..two\nthree\n" in dump


# The tools


@pytest.fixture
def bare_spool(tmp_path: Path) -> Spool:
    """A spool made by hand, so that these tests need no maildrain."""
    for name in ("tmp", "new", "cur", "failed"):
        (tmp_path / "spool" / name).mkdir(parents=True)
    return Spool(tmp_path, init=False)


def test_spool_drop_and_find(bare_spool: Spool) -> None:
    message = b"Subject: x\n\ntext\n"
    name = bare_spool.drop(
        message,
        envelope=("", ["b@example.net", "c@example.net"]),
        priority=1,
        not_before=2,
        expires=3,
    )
    plain = bare_spool.drop(message, "letter.eml")
    assert bare_spool.ls() == {
        "tmp": [],
        "new": sorted([name, plain]),
        "cur": [],
        "failed": [],
        ".": [],
    }
    assert fields_of(name) == {"P": "1", "T": "2", "X": "3"}
    content = bare_spool.find(name).read_bytes()
    assert content.startswith(b"X-Maildrain-From: <>\nX-Maildrain-To: <b@example.net>\n")
    assert canonical.without_block(content) == message
    os.rename(bare_spool.find(name), bare_spool.path / "failed" / f"{unique_of(name)},A=1,E=5.1.1")
    assert bare_spool.state(name) == ("failed", {"A": "1", "E": "5.1.1"})
    assert bare_spool.counts() == {"tmp": 0, "new": 1, "cur": 0, "failed": 1}
    os.unlink(bare_spool.path / "new" / plain)
    with pytest.raises(AssertionError):
        bare_spool.find(plain)


def test_spool_runs_the_program(bare_spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    program = bare_spool.path / "program"
    program.write_text('#!/bin/sh\necho "$*" >&2\necho "$EXTRA"\nexit 75\n')
    program.chmod(0o755)
    monkeypatch.setenv("MAILDRAIN", str(program))
    done = bare_spool.run("--dry-run", env={"EXTRA": "more"})
    assert (done.returncode, done.stdout) == (75, "more\n")
    assert done.stderr == f"-c {bare_spool.config} run --dry-run\n"


def test_config_text() -> None:
    text = config_text(
        {"spool": Path("/s"), "retry": ["1m", "5m"]},
        {"main": {"url": 'a"b\\c', "connections": 4, "flag": True, "password_file": "${D}/p"}},
    )
    assert text == (
        'spool = "/s"\nretry = {"1m", "5m"}\nrelay "main" {\n\turl = "a\\"b\\\\c"\n'
        '\tconnections = 4\n\tflag = true\n\tpassword_file = "${D}/p"\n}\n'
    )


def test_logfmt() -> None:
    text = (
        'sent id=1.M2P3Q4.web1 to=a@x relay=main delay=3.2 reply="250 2.0.0 Ok: \\"q\\""\n'
        "maildrain: something for people a=b\n"
        "<4>deferred id=2 reply=\n"
    )
    assert logfmt.parse(text) == [
        {
            "event": "sent",
            "id": "1.M2P3Q4.web1",
            "to": "a@x",
            "relay": "main",
            "delay": "3.2",
            "reply": '250 2.0.0 Ok: "q"',
        },
        {"event": "deferred", "id": "2", "reply": ""},
    ]


def test_canonical_form() -> None:
    trace = b"Return-Path: <a@x>\nReceived: from a\n\tby b\n  for c\nX-Original-To: d\n"
    message = b"Subject: x\nReceived: from elsewhere\n\nReceived: text\n"
    assert canonical.canonical(trace + message) == message
    assert canonical.canonical(message.replace(b"\n", b"\r\n")[:-2]) == message
    assert canonical.canonical(trace) == b""
    assert canonical.canonical(b"a\rb\r\n") == b"a\nb\n"


def test_measure_memory_time_and_exit() -> None:
    held = b"x" * 200_000_000  # not to be counted
    snippet = "x = b'x' * 50_000_000; import sys; print('out'); sys.exit(3)"
    big = measure.measure([sys.executable, "-c", snippet])
    small = measure.measure(["sleep", "0.2"])
    assert (big.returncode, big.stdout) == (3, "out\n")
    assert 50_000_000 < big.max_rss < 100_000_000
    assert small.max_rss < 15_000_000 < len(held)
    assert small.wall >= 0.2 and small.cpu < 0.1 < big.cpu + 0.1


def test_trace_counts_calls() -> None:
    if not measure.have_strace():
        pytest.skip("strace is missing or may not trace here")
    snippet = "import socket; [socket.socket().close() for _ in range(3)]"
    seen = measure.trace([sys.executable, "-c", snippet], ["socket", "connect"])
    assert (seen.returncode, seen.counts["socket"], seen.counts["connect"]) == (0, 3, 0)
    assert len(seen.lines("AF_INET")) == 3
    failed = measure.trace(
        [sys.executable, "-c", "import os; os.fsync(1)"],
        ["fsync"],
        options=("-e", "inject=fsync:error=EIO:when=1"),
    )
    assert failed.returncode == 1 and "Input/output error" in failed.stderr


def test_stock_django_writes_a_dump(
    bare_spool: Spool, django_site: Callable[..., DjangoSite]
) -> None:
    site = django_site(bare_spool.path, STOCK)
    assert site.run('print(send_mail("Hi", "Text", None, ["b@example.net"]))') == "1\n"
    (name,) = bare_spool.ls()["."]
    dump = (bare_spool.path / name).read_bytes()
    assert b"From: site@example.com" in dump and dump.endswith(b"-" * 79 + b"\n")
    with pytest.raises(AssertionError, match="NameError"):
        site.run("no_such_name")


def test_django_keeps_a_file_open(
    bare_spool: Spool, django_site: Callable[..., DjangoSite]
) -> None:
    site = django_site(bare_spool.path, STOCK)
    process = site.start(
        'c = get_connection(); c.open()\nc.send_messages([EmailMessage("1", "x", None, ["b@y"])])\n'
        'print("sent", flush=True); input()\n'
        'c.send_messages([EmailMessage("2", "x", None, ["b@y"])]); c.close()\n'
    )
    assert process.stdout and process.stdout.readline() == "sent\n"
    (name,) = bare_spool.ls()["."]
    assert (bare_spool.path / name).read_bytes().count(b"Subject:") == 1
    process.communicate("\n", timeout=30)
    assert (bare_spool.path / name).read_bytes().count(b"Subject:") == 2
