"""Who a message is from and for, what leaves, and in which form: through the program, to a
server."""

from __future__ import annotations

from typing import Callable, List, Optional, Tuple

import pytest

from lab import logfmt
from lab.faultserver import FaultServer, Message
from lab.spool import Spool

BLOCK = b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <b@example.net>\n"


@pytest.fixture
def server(spool: Spool, fault_server: Callable[..., FaultServer]) -> FaultServer:
    made = fault_server()
    spool.write_config({}, url=made.url, tls="none", connections=1)
    return made


def send(spool: Spool, server: FaultServer, content: bytes) -> Message:
    """Sends CONTENT; returns how it arrived."""
    spool.drop(content)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert spool.counts()["cur"] == 1, done.stderr
    (message,) = server.messages
    server.check()
    return message


def refusal(spool: Spool, server: FaultServer, content: bytes) -> Tuple[str, str]:
    """Runs with CONTENT, which is not to be sent; returns status and words."""
    name = spool.drop(content)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    folder, fields = spool.state(name)
    assert folder == "failed" and not server.received
    assert spool.find(name).read_bytes().endswith(content)
    (failed,) = [line for line in logfmt.parse(done.stderr) if line["event"] == "failed"]
    return fields["E"], failed.get("text") or failed["reply"]


# The envelope of a header


@pytest.mark.parametrize(
    ("header", "sender", "recipients"),
    [
        (b"From: a@x.example\nTo: b@y.example\n", "a@x.example", ["b@y.example"]),
        (
            b"from: A Name <a@x.example>\nTO: b@y.example, c@y.example\ncC: d@y.example\n"
            b"BCC: e@y.example\n",
            "a@x.example",
            ["b@y.example", "c@y.example", "d@y.example", "e@y.example"],
        ),
        (
            b"From: a@x.example\nSender: s@x.example\nTo: b@y.example\n",
            "s@x.example",
            ["b@y.example"],
        ),
        (
            b"Sender: s@x.example\nFrom: a@x.example\nTo: b@y.example\n",
            "s@x.example",
            ["b@y.example"],
        ),
        (b"Sender:\nFrom: a@x.example\nTo: b@y.example\n", "a@x.example", ["b@y.example"]),
        (
            b"From: a@x.example, second@x.example\nTo: b@y.example\n",
            "a@x.example",
            ["b@y.example"],
        ),
        (
            b"From: a@x.example\nTo: Friends: b@y.example, C <c@y.example>;, d@y.example\n"
            b"Cc: undisclosed-recipients:;\n",
            "a@x.example",
            ["b@y.example", "c@y.example", "d@y.example"],
        ),
        (
            b'From: a@x.example\nTo: "Last, First" <b@y.example>,\n =?utf-8?q?J=C3=B6rg=2C?=\n'
            b"\t<c@y.example> (a (nested) comment, with@comma.example)\n",
            "a@x.example",
            ["b@y.example", "c@y.example"],
        ),
        (
            b"From: a@x.example\r\nTo: b@y.example,\r\n c@y.example\r\nCc:\r\n d@y.example\r\n",
            "a@x.example",
            ["b@y.example", "c@y.example", "d@y.example"],
        ),
        (
            b"From: a@x.example\nTo: b@y.example, b@y.example\nCc: b@y.example\n",
            "a@x.example",
            ["b@y.example"],
        ),
        (
            b"From: a@x.example\nTo: b@y.example\nTo: c@y.example\n",
            "a@x.example",
            ["b@y.example", "c@y.example"],
        ),
        (
            b'From: a@x.example\nTo: "odd.name"@y.example, "a,b"@y.example, u@[192.0.2.1]\n',
            "a@x.example",
            ["odd.name@y.example", '"a,b"@y.example', "u@[192.0.2.1]"],
        ),
        (
            b"From : a@x.example\nTo\t: b@y.example\nResent-To: r@y.example\n"
            b"X-To: n@y.example\nReply-To: n@y.example\n",
            "a@x.example",
            ["b@y.example"],
        ),
    ],
)
def test_header(
    spool: Spool, server: FaultServer, header: bytes, sender: str, recipients: List[str]
) -> None:
    message = send(spool, server, header + b"Subject: s\n\ntext\n")
    assert message.sender == sender
    assert list(message.recipients) == recipients


@pytest.mark.parametrize(
    ("header", "status", "words"),
    [
        (b"To: b@y.example\n", "5.1.7", "no sender"),
        (b"From: <>\nTo: b@y.example\n", "5.1.7", "no sender"),
        (b"From: a@x.example\n", "5.1.3", "no recipient"),
        (b"From: a@x.example\nTo: nobody:;\n", "5.1.3", "no recipient"),
        (b"From: a@x.example\nTo: <@r.example,@s.example:b@y.example>\n", "5.1.3", "route address"),
        (b"From: <@r.example:a@x.example>\nTo: b@y.example\n", "5.1.7", "route address"),
        (b"From: a@x.example\nTo: <b@y.example\n", "5.1.3", "address and"),
        (b'From: a@x.example\nTo: "b@y.example\n', "5.1.3", "not closed"),
        (b"From: a b@x.example\nTo: b@y.example\n", "5.1.7", "several words"),
        (b"From: localonly\nTo: b@y.example\n", "5.1.7", 'without "@"'),
    ],
)
def test_no_envelope(
    spool: Spool, server: FaultServer, header: bytes, status: str, words: str
) -> None:
    code, said = refusal(spool, server, header + b"Subject: s\n\ntext\n")
    assert code == status and words in said


# The block


def test_block(spool: Spool, server: FaultServer) -> None:
    message = send(
        spool,
        server,
        b"x-maildrain-from:<>\r\nX-MAILDRAIN-TO:  <b@example.net>\r\nX-Maildrain-Relay: main\r\n"
        b"X-Maildrain-Done: <c@example.net> 250 Ok\r\n"
        b"X-Maildrain-To: <d@example.net>\r\nFrom: a@example.com\r\nTo: z@example.net\r\n\r\nx\r\n",
    )
    assert message.sender == ""
    assert message.recipients == ("b@example.net", "d@example.net")
    assert message.data == b"From: a@example.com\r\nTo: z@example.net\r\n\r\nx\r\n"


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: s\nX-Maildrain-To: <evil@example.net>\n",
        b"X-Maildrain: x\nX-Maildrain-To: <evil@example.net>\n",
        b"Subject: s\n\tX-Maildrain-To: <evil@example.net>\n",
        b"Subject: s\rX-Maildrain-To: <evil@example.net>\n",
        b"Bcc: x@example.net\nX-Maildrain-To: <evil@example.net>\n",
    ],
)
def test_only_the_unbroken_block_counts(
    spool: Spool, server: FaultServer, header: bytes
) -> None:
    message = send(spool, server, BLOCK + header + b"\ntext\n")
    assert message.recipients == ("b@example.net",)


def test_no_block_no_smuggled_one(spool: Spool, server: FaultServer) -> None:
    message = send(
        spool,
        server,
        b"From: a@example.com\nX-Maildrain-To: <evil@example.net>\n"
        b"X-Maildrain-From: <evil@example.com>\nTo: b@example.net\n\ntext\n",
    )
    assert message.sender == "a@example.com" and message.recipients == ("b@example.net",)


@pytest.mark.parametrize(
    "sender", [b"<a b@example.com>", b"<a>@example.com>", b"<a\x01@example.com>", b"<nobody>"]
)
def test_a_sender_that_can_not_be(spool: Spool, server: FaultServer, sender: bytes) -> None:
    code, _ = refusal(
        spool,
        server,
        b"X-Maildrain-From: " + sender + b"\nX-Maildrain-To: <b@example.net>\nSubject: s\n\nx\n",
    )
    assert code == "5.1.7"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (b"b c@example.net", "space"),
        (b"b\tc@example.net", "control character"),
        (b"b\0c@example.net", "control character"),
        (b"b\x7fc@example.net", "control character"),
        (b"b<c@example.net", "angle bracket"),
        (b"b>c@example.net", "angle bracket"),
        (b"b@example.net> SIZE=1", "angle bracket"),
        (b"x" * 243 + b"@example.net", "254"),
        (b"", "empty"),
        (b"b", 'without "@"'),
        (b"@example.net", "one side"),
        (b"\xff@example.net", "UTF-8"),
    ],
    ids=repr,
)
def test_a_faulty_recipient_fails_alone(
    spool: Spool, server: FaultServer, address: bytes, words: str
) -> None:
    block = BLOCK + b"X-Maildrain-To: <" + address + b">\n"
    name = spool.drop(block + b"Subject: s\n\nx\n")
    done = spool.run()
    assert done.returncode == 0, done.stderr
    folder, fields = spool.state(name)
    assert (folder, fields["E"]) == ("failed", "5.1.3")
    (message,) = server.messages
    assert message.recipients == ("b@example.net",)
    (failed,) = [line for line in logfmt.parse(done.stderr) if line["event"] == "failed"]
    assert failed["status"] == "5.1.3" and words in failed["reply"]
    lines = spool.find(name).read_bytes().split(b"\n")
    assert lines[1].startswith(b"X-Maildrain-Done: <b@example.net> 250")
    assert lines[2].startswith(b"X-Maildrain-Failed: <") and words.encode() in lines[2]
    assert lines[3] == b"Subject: s"
    server.check()


def test_an_address_can_not_forge_a_line_of_the_block(spool: Spool, server: FaultServer) -> None:
    """A quoted line end in a header's address, written back as a failed recipient."""
    header = (
        b'From: a@example.com\nTo: "x\\\n X-Maildrain-To: <evil@example.net>"@example.net,'
        b" b@example.net\n"
    )
    name = spool.drop(header + b"\ntext\n")
    assert spool.run().returncode == 0
    text = spool.find(name).read_bytes()
    block = text[: text.index(b"From: a@example.com\n")]
    kinds = [line.split(b":")[0] for line in block.splitlines()]
    assert kinds == [
        b"X-Maildrain-From",
        b"X-Maildrain-Failed",
        b"X-Maildrain-Done",
    ], block
    assert text.endswith(header + b"\ntext\n")
    assert [message.recipients for message in server.messages] == [("b@example.net",)]


def test_a_full_address_is_taken(spool: Spool, server: FaultServer) -> None:
    address = "x" * 242 + "@example.net"
    assert len(address) == 254
    block = f"X-Maildrain-From: <{address}>\nX-Maildrain-To: <{address}>\n".encode()
    message = send(spool, server, block + b"Subject: s\n\nx\n")
    assert message.sender == address and message.recipients == (address,)


@pytest.mark.parametrize("smtputf8", [True, False])
def test_an_address_that_is_not_ascii(
    spool: Spool, fault_server: Callable[..., FaultServer], smtputf8: bool
) -> None:
    server = fault_server(ehlo=["PIPELINING", "8BITMIME", *(["SMTPUTF8"] if smtputf8 else [])])
    spool.write_config({}, url=server.url, tls="none")
    name = spool.drop(BLOCK + "X-Maildrain-To: <jörg@example.net>\nSubject: s\n\nx\n".encode())
    assert spool.run().returncode == 0
    (message,) = server.messages
    if smtputf8:
        assert len(message.recipients) == 2 and "SMTPUTF8" in message.options
        assert spool.state(name)[0] == "cur"
    else:
        assert message.recipients == ("b@example.net",) and "SMTPUTF8" not in message.options
        assert spool.state(name) == ("failed", {"A": "1", "E": "5.6.7"})
        assert "<jörg@example.net> the address".encode() in spool.find(name).read_bytes()


def test_many_recipients(spool: Spool, server: FaultServer) -> None:
    to = [f"r{number}@example.net" for number in range(3000)]
    message = send(spool, server, f"From: a@x.example\nTo: {', '.join(to)}\n\nx\n".encode())
    assert list(message.recipients) == to


def test_too_many_recipients(spool: Spool, server: FaultServer) -> None:
    block = b"X-Maildrain-From: <a@example.com>\n" + b"".join(
        b"X-Maildrain-To: <r%d@example.net>\n" % number for number in range(10_001)
    )
    code, said = refusal(spool, server, block + b"Subject: s\n\nx\n")
    assert code == "5.5.3" and "too many recipients" in said


# Bcc


@pytest.mark.parametrize("name", [b"Bcc", b"bCC", b"RESENT-BCC"])
@pytest.mark.parametrize(
    ("block", "before"), [(b"", b"\n"), (b"", b"\r"), (BLOCK, b"\r\n"), (BLOCK, b"\r")]
)
@pytest.mark.parametrize(
    "value",
    [
        b": secret@example.net",
        b" : secret@example.net",
        b"\t \t: secret@example.net",
        b":\n secret@example.net,\n\tsecret2@example.net",
        b":\r secret@example.net,\r\n\tsecret2@example.net",
        b":\n \n secret@example.net",
        b"\n : secret@example.net",
        b":secret@example.net",
    ],
    ids=repr,
)
def test_bcc_never_leaves(
    spool: Spool, server: FaultServer, name: bytes, block: bytes, before: bytes, value: bytes
) -> None:
    header = b"From: a@example.com\nTo: b@example.net" + before + name + value
    message = send(spool, server, block + header + b"\nSubject: Bcc:\n\nBcc: in the body\n")
    assert b"secret" not in message.data
    assert message.data == (
        b"From: a@example.com\r\nTo: b@example.net\r\nSubject: Bcc:\r\n\r\nBcc: in the body\r\n"
    )


def test_bcc_everywhere(spool: Spool, server: FaultServer) -> None:
    header = b"Bcc: s1@example.net\nX: 1\nbcc: s2@example.net\nBcc:\nResent-Bcc: s3@example.net\n"
    message = send(spool, server, BLOCK + header + b"To: b@example.net\nBcc: s4@example.net\n\nx\n")
    assert message.data == b"X: 1\r\nTo: b@example.net\r\n\r\nx\r\n"


def test_bcc_in_a_header_without_a_body(spool: Spool, server: FaultServer) -> None:
    message = send(spool, server, BLOCK + b"To: b@example.net\nBcc: secret@example.net")
    assert message.data == b"To: b@example.net\r\n"


def test_bcc_late_in_a_long_header(spool: Spool, server: FaultServer) -> None:
    filler = b"".join(b"X-%d: %s\n" % (number, b"x" * 70) for number in range(6000))
    message = send(spool, server, BLOCK + filler + b"BCC : secret@example.net\n\nx\n")
    assert message.data == (filler + b"\nx\n").replace(b"\n", b"\r\n")


def test_what_looks_like_bcc_stays(spool: Spool, server: FaultServer) -> None:
    header = b"X-Bcc: 1\r\nBccx: 2\r\nSubject: s\r\n Bcc: folded\r\nBc: 3\r\n"
    message = send(spool, server, BLOCK + header + b"\r\nBcc: 4\r\n")
    assert message.data == header + b"\r\nBcc: 4\r\n"


# The wire form


@pytest.mark.parametrize(
    ("body", "wire"),
    [
        (b"", b""),
        (b"x", b"x\r\n"),
        (b"x\n", b"x\r\n"),
        (b"x\r", b"x\r\n"),
        (b"x\r\n", b"x\r\n"),
        (b"a\rb\nc\r\nd\n\re\r\rf\n\ng", b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\nf\r\n\r\ng\r\n"),
        (b".", b"..\r\n"),
        (b".\n", b"..\r\n"),
        (b"..\n.a\n a.\n", b"...\r\n..a\r\n a.\r\n"),
        (b"a\n.\r\nb\r.\r\rc\r\n.\nd", b"a\r\n..\r\nb\r\n..\r\n\r\nc\r\n..\r\nd\r\n"),
        (b"a\r\n.\rMAIL FROM:<x>\r\n", b"a\r\n..\r\nMAIL FROM:<x>\r\n"),
        (b"\0\x01\x80\xff\n", b"\0\x01\x80\xff\r\n"),
        (b"\n\n\n", b"\r\n\r\n\r\n"),
    ],
    ids=repr,
)
def test_wire_form(spool: Spool, server: FaultServer, body: bytes, wire: bytes) -> None:
    message = send(spool, server, BLOCK + b"Subject: s\n\n" + body)
    assert message.wire == b"Subject: s\r\n\r\n" + wire
    stuffing = message.wire.count(b"\r\n.")
    assert message.option("SIZE") == str(len(message.wire) - stuffing)
    assert (message.option("BODY") is not None) == any(byte > 127 for byte in body)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", None])
def test_a_line_of_3_MB(spool: Spool, server: FaultServer, ends: Optional[bytes]) -> None:
    line = b"x" * 3_000_000
    message = send(spool, server, BLOCK + b"Subject: s\n\n." + line + (ends or b""))
    assert message.data == b"Subject: s\r\n\r\n." + line + b"\r\n"


@pytest.mark.parametrize("size", [32 * 1024, 33_000, 70_000, 900_000, (1 << 20) - 100])
def test_a_long_header(spool: Spool, server: FaultServer, size: int) -> None:
    header = b"X-Long: " + b"y" * (size // 2) + b"\n " + b"z" * (size - size // 2 - 200) + b"\n"
    message = send(spool, server, BLOCK + header + b"\nbody\n" * 2)
    assert message.data == (header + b"\nbody\n" * 2).replace(b"\n", b"\r\n")


def test_a_header_over_1_MiB_fails(spool: Spool, server: FaultServer) -> None:
    header = b"".join(b"X-%d: %s\n" % (number, b"x" * 1000) for number in range(1100))
    code, said = refusal(spool, server, BLOCK + header + b"\nx\n")
    assert code == "5.6.0" and "1 MiB" in said


@pytest.mark.parametrize("step", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\r"])
def test_the_end_of_the_header_at_the_edge_of_a_read(
    spool: Spool, server: FaultServer, step: int, end: bytes
) -> None:
    start = BLOCK + b"X-Fill: "
    header = start + b"x" * (32 * 1024 + step - len(start) - len(end)) + end
    message = send(spool, server, header + b"Bcc: in the body")
    assert message.data.endswith(b"x\r\n\r\nBcc: in the body\r\n")
    assert message.data.startswith(b"X-Fill: x")


def test_a_file_that_shrinks_is_not_sent_short(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """It was announced with a size that it no longer has: no dot may follow."""

    def shrink(_: object) -> None:
        (name,) = spool.ls()["new"]
        with open(spool.path / "new" / name, "r+b") as file:
            file.truncate(200_000)

    server = fault_server(answers={"MAIL": [shrink]})
    spool.write_config({}, url=server.url, tls="none", connections=1)
    name = spool.drop(BLOCK + b"Subject: s\n\n" + b"x" * 69 + b"\n" + b"y" * 5_000_000)
    done = spool.run()
    assert not server.messages
    folder, fields = spool.state(name)
    assert folder == "new" and fields["E"].startswith("4."), done.stderr


def test_a_file_that_grows_is_sent_as_it_was(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    def grow(_: object) -> None:
        (name,) = spool.ls()["new"]
        with open(spool.path / "new" / name, "ab") as file:
            file.write(b"more\n" * 100)

    server = fault_server(answers={"MAIL": grow})
    spool.write_config({}, url=server.url, tls="none", connections=1)
    message = send(spool, server, BLOCK + b"Subject: s\n\n" + b"x\n" * 100_000)
    assert message.data == b"Subject: s\r\n\r\n" + b"x\r\n" * 100_000
