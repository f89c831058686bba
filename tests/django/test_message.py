"""What stands in a dropped file: the envelope block, then the message as Django made it."""

from __future__ import annotations

import base64
import os
import re
import stat
from email import message_from_bytes
from email.header import decode_header, make_header
from pathlib import Path
from typing import Any, Callable, Dict, List

import django
import dropped
import pytest
from django.core.mail import EmailMessage, EmailMultiAlternatives
from maildrain.filebased import EmailBackend

MakeBackend = Callable[..., EmailBackend]

UNIQUE = re.compile(r"[0-9]+\.M[0-9]{1,6}P([0-9]+)Q([0-9]+)\.([^/:,=\x00-\x1f]+)")


def send(backend: EmailBackend, **options: Any) -> None:
    options = {"subject": "Hi", "body": "Text\n", "to": ["a@example.net"], **options}
    assert backend.send_messages([EmailMessage(**options)]) == 1


def test_block_then_the_message_djangos_own_bytes(backend: EmailBackend, spool_path: Path) -> None:
    mail = EmailMessage(
        "Hi",
        "Line one\n.dot\nFrom here\n",
        "Site <bounces@example.com>",
        ["a@example.net"],
        headers={"Message-ID": "<1@example.com>", "Date": "Mon, 01 Jan 2024 00:00:00 -0000"},
    )
    assert backend.send_messages([mail]) == 1
    [path] = (spool_path / "new").iterdir()
    assert path.read_bytes() == (
        b"X-Maildrain-From: <bounces@example.com>\n"
        b"X-Maildrain-To: <a@example.net>\n" + mail.message().as_bytes()
    )


def test_name_and_mode(backend: EmailBackend, spool_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        send(backend)
    finally:
        os.umask(umask)
    path = dropped.read_one(spool_path).path
    match = UNIQUE.fullmatch(path.name)
    assert match and int(match[1]) == os.getpid()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.stat().st_nlink == 1


def test_names_sort_in_the_order_of_sending(backend: EmailBackend, spool_path: Path) -> None:
    mails = [EmailMessage(str(i), "x", None, ["a@example.net"]) for i in range(300)]
    assert backend.send_messages(mails) == 300
    subjects = [each.message["Subject"] for each in dropped.read_all(spool_path)]
    assert subjects == [str(i) for i in range(300)]


@pytest.mark.parametrize(
    "hostname, host",
    [
        ("web1", "web1"),
        ("we/b:1,x=y\n\x7f", "web1xy"),
        ("h" * 100, "h" * 63),
        ("", "localhost"),
    ],
)
def test_host_in_the_name(
    backend: EmailBackend,
    spool_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hostname: str,
    host: str,
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: hostname)
    send(backend)
    match = UNIQUE.fullmatch(dropped.read_one(spool_path).path.name)
    assert match and match[3] == host


def test_recipients_are_to_cc_and_bcc_each_once(backend: EmailBackend, spool_path: Path) -> None:
    send(
        backend,
        to=["A <a@example.net>", "b@example.net"],
        cc=["c@example.net", "a@example.net"],
        bcc=["secret@example.net"],
    )
    found = dropped.read_one(spool_path)
    assert found.recipients == [
        "a@example.net",
        "b@example.net",
        "c@example.net",
        "secret@example.net",
    ]
    assert b"secret" not in found.content
    assert found.message["To"] == "A <a@example.net>, b@example.net"
    assert found.message["Cc"] == "c@example.net, a@example.net"


@pytest.mark.skipif(django.VERSION >= (6, 0), reason="this Django refuses such a header itself")
def test_bcc_given_as_a_header_is_dropped(backend: EmailBackend, spool_path: Path) -> None:
    send(backend, headers={"bCC": "secret@example.net"})
    found = dropped.read_one(spool_path)
    assert found.recipients == ["a@example.net"]
    assert b"secret" not in found.content


@pytest.mark.parametrize(
    "address, expected",
    [
        ("a@example.net", "a@example.net"),
        ("Ann <a@example.net>", "a@example.net"),
        ('"Doe, John" <a@example.net>', "a@example.net"),
        (r'"John \"Joe\" Doe" <a@example.net>', "a@example.net"),
        ("John Q. Public <a@example.net>", "a@example.net"),
        ("Jörg Öl <a@example.net>", "a@example.net"),
        ("=?utf-8?q?J=C3=B6rg?= <a@example.net>", "a@example.net"),
        ("a@example.net (Ann)", "a@example.net"),
        ("a+tag@EXAMPLE.net", "a+tag@EXAMPLE.net"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ("Ann <a@例え.jp>", "a@xn--r8jz45g.jp"),
        ("jörg@example.net", "jörg@example.net"),
        ("Jörg <jörg.öl@bücher.example>", "jörg.öl@xn--bcher-kva.example"),
        ("a@[192.0.2.1]", "a@[192.0.2.1]"),
        ("root", "root"),
    ],
)
def test_addresses(
    backend: EmailBackend, spool_path: Path, address: str, expected: str
) -> None:
    send(backend, from_email=address, to=["to@example.net", address], bcc=[address])
    found = dropped.read_one(spool_path)
    assert found.sender == expected
    assert found.recipients == ["to@example.net", expected]


@pytest.mark.usefixtures("empty_after")
@pytest.mark.parametrize(
    "address",
    [
        " ",
        "Ann Lee",
        "Ann <>",
        "a@example.net, b@example.net",
        "Doe, John <a@example.net>",
        "a@example.net>",
        "<a@example.net",
        "a b@example.net",
        "a@b@example.net",
        "a..b@example.net",
        "<@relay.example,@b.example:a@example.net>",
        "a@example.net\nX-Maildrain-To: <evil@example.org>",
        "a@example.net\r\n",
        "a@exam\nple.net",
        "a@exam\u2028ple.net",
        "Ann\n <a@example.net>",
        '"a>b"@example.net',
        '"a\x00b"@example.net',
        "=?utf-8?q?a=0AX-Maildrain-To=3A_=3Cevil=40example=2Eorg=3E?=@example.net",
        "a@" + "b" * 64 + "ü.example",
        "a\udc80@example.net",
        "(" * 20_000,
        ":;(",  # these two make the parser of Python 3.11 trip over itself
        " .<",
    ],
)
def test_invalid_addresses_are_refused(backend: EmailBackend, address: str) -> None:
    mail = EmailMessage("Hi", "Text", None, ["to@example.net"], bcc=[address])
    with pytest.raises(ValueError):
        backend.send_messages([mail])


@pytest.mark.parametrize("name", ["root", "jörg"])
def test_a_name_without_a_domain_is_left_to_the_sender(
    backend: EmailBackend, spool_path: Path, name: str
) -> None:
    send(backend, bcc=[name])
    assert dropped.read_one(spool_path).recipients == ["a@example.net", name]


@pytest.mark.parametrize("null", ["<>", " <> "])
def test_null_sender(backend: EmailBackend, spool_path: Path, null: str) -> None:
    send(backend, from_email=null, headers={"From": "Site <site@example.com>"})
    found = dropped.read_one(spool_path)
    assert found.sender == ""
    assert found.message["From"] == "Site <site@example.com>"


def test_envelope_sender_is_from_email_not_the_from_header(
    backend: EmailBackend, spool_path: Path
) -> None:
    send(backend, from_email="bounces@example.com", headers={"From": "Ann <ann@example.com>"})
    found = dropped.read_one(spool_path)
    assert found.sender == "bounces@example.com"
    assert found.message["From"] == "Ann <ann@example.com>"


@pytest.mark.skipif(django.VERSION < (6, 0), reason="older Django has no header policy")
def test_header_of_an_smtputf8_message_is_utf8(backend: EmailBackend, spool_path: Path) -> None:
    send(backend, to=["Jörg <jörg@example.net>"], subject="Grüße")
    found = dropped.read_one(spool_path)
    assert "To: Jörg <jörg@example.net>\n".encode() in found.content
    assert found.message["Subject"] == "Grüße"


def test_header_is_ascii_when_the_addresses_are(backend: EmailBackend, spool_path: Path) -> None:
    send(backend, to=["Jörg <j@bücher.example>"], subject="Grüße")
    head = dropped.read_one(spool_path).content.partition(b"\n\n")[0]
    assert head.isascii()
    assert b"j@xn--bcher-kva.example" in head
    subject = message_from_bytes(head)["Subject"]
    assert str(make_header(decode_header(subject))) == "Grüße"


FORGED = "evil@example.org"


@pytest.mark.usefixtures("empty_after")
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Maildrain-To": f"<{FORGED}>"},
        {"x-mAILDRAIN-to": f"<{FORGED}>"},
        {"X-Maildrain-From": "<>"},
        {"X-Maildrain-Done": f"<{FORGED}> 250 Ok"},
        {"X-Maildrain-Relays": "other"},
        {"X-Maildrain-Relay ": "other"},
        {"X-Maildrain-Anything": "at all"},
        {"X-Own": f"value\nX-Maildrain-To: <{FORGED}>"},
        {"X-Own": f"value\r\nX-Maildrain-To: <{FORGED}>"},
        {"X-Own: value\nX-Maildrain-To": f"<{FORGED}>"},
        {"X-Own: value\rX-Maildrain-To": f"<{FORGED}>"},
        {"Subject": f"Hi\nX-Maildrain-To: <{FORGED}>"},
        {"From": f"a@example.com\nX-Maildrain-To: <{FORGED}>"},
    ],
)
def test_headers_that_would_forge_the_block_are_refused(
    backend: EmailBackend, headers: Dict[str, str]
) -> None:
    mail = EmailMessage("Hi", "Text", None, ["a@example.net"], headers=headers)
    with pytest.raises(Exception, match="(?i)header") as caught:
        backend.send_messages([mail])
    assert not isinstance(caught.value, OSError)


class Prefixed(EmailMessage):
    """A message whose own bytes start with what a test wants: the worst a subclass can do."""

    prefix = b""

    def message(self, **options: Any) -> Any:
        made = super().message(**options)
        content = self.prefix + made.as_bytes()
        made.as_bytes = lambda *args, **kwargs: content
        return made


@pytest.mark.usefixtures("empty_after")
@pytest.mark.parametrize(
    "prefix",
    [
        b"X-Maildrain-To: <evil@example.org>\n",
        b"x-maildrain-to: <evil@example.org>\r\n",
        b" <evil@example.org>\n",
        b"\t,\n",
        b"X-Own: 1\rX-Maildrain-To: <evil@example.org>\n",
    ],
)
def test_message_that_would_continue_the_block_is_refused(
    backend: EmailBackend, prefix: bytes
) -> None:
    mail = Prefixed("Hi", "Text", None, ["a@example.net"])
    mail.prefix = prefix
    with pytest.raises(ValueError, match="X-Maildrain-"):
        backend.send_messages([mail])


def test_the_body_may_say_what_it_likes(backend: EmailBackend, spool_path: Path) -> None:
    body = "X-Maildrain-To: <evil@example.org>\n\nX-Maildrain-From: <>\n"
    send(backend, body=body, subject="X-Maildrain-To: <evil@example.org>")
    found = dropped.read_one(spool_path)
    assert found.recipients == ["a@example.net"]
    assert found.message.get_content() == body


def test_alternatives_and_attachments_come_back(backend: EmailBackend, spool_path: Path) -> None:
    blob = bytes(range(256)) * 300
    mail = EmailMultiAlternatives(
        "Rechnung für März", "Grüße\n", "site@example.com", ["a@example.net"]
    )
    mail.attach_alternative("<p>Grüße</p>\n", "text/html")
    mail.attach("übersicht.bin", blob, "application/octet-stream")
    assert backend.send_messages([mail]) == 1
    message = dropped.read_one(spool_path).message
    assert message["Subject"] == "Rechnung für März"
    texts = {
        part.get_content_type(): part.get_content().strip()
        for part in message.walk()
        if part.get_content_maintype() == "text"
    }
    assert texts == {"text/plain": "Grüße", "text/html": "<p>Grüße</p>"}
    [attachment] = message.iter_attachments()
    assert attachment.get_filename() == "übersicht.bin"
    assert attachment.get_content() == blob


def test_a_message_of_25_megabytes(backend: EmailBackend, spool_path: Path) -> None:
    blob = os.urandom(1 << 20) * 18
    mail = EmailMessage("Big", "Text", None, ["a@example.net"])
    mail.attach("big.bin", blob, "application/octet-stream")
    assert backend.send_messages([mail]) == 1
    content = dropped.read_one(spool_path).content
    assert len(content) > 25_000_000
    encoded = content.rpartition(b"\n\n--")[0].rpartition(b"\n\n")[2]
    assert base64.b64decode(encoded) == blob


def test_body_is_what_djangos_own_file_backend_writes(
    backend: EmailBackend, spool_path: Path
) -> None:
    bodies: List[str] = ["", "no end", "\n", ".\n..\n", "a\r\nb\r\n", "ü" * 2000, "From x\n"]
    for body in bodies:
        headers = {"Message-ID": "<1@example.com>", "Date": "Mon, 01 Jan 2024 00:00:00 -0000"}
        mail = EmailMessage("Hi", body, None, ["a@example.net"], headers=headers)
        assert backend.send_messages([mail]) == 1
        found = dropped.read_one(spool_path)
        assert found.content == mail.message().as_bytes()
        found.path.unlink()
