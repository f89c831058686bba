"""Whoever has sent a message is told when it fails for good, or is late: what the report says, who
gets it, how often, and that neither a crash nor a full disk loses it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from email.utils import parseaddr, parsedate_to_datetime
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

from faults.load import HOST
from faults.world import HOUR, Clock, run_at
from lab import logfmt, measure
from lab.aiosmtp import AioServer
from lab.faultactions import Close
from lab.faultserver import FaultServer
from lab.postfix import DOMAIN, REJECT, REJECT_REPLY, Postfix
from lab.spool import Spool, envelope_block, fields_of, unique_of
from notices import Notice, notice, notices, parse, paths, read
from relaying import LETTER, SENDER, aim, letter, make_due, run, senders

Servers = Callable[..., FaultServer]

ADMIN = "admin@example.org"
BOTH = ["sender", ADMIN]
UNKNOWN = "550 5.1.1 No such user here"

needs_clock = pytest.mark.skipif(bool(Clock.why_not()), reason=Clock.why_not())
needs_strace = pytest.mark.skipif(
    not measure.have_strace(), reason="strace is missing or may not trace"
)


def tells(
    spool: Spool, server: Any, options: Any = None, /, notify: Any = ("sender",), **relay: Any
) -> None:
    aim(spool, server, {"notify": list(notify), **(options or {})}, **relay)


def events(log: List[Dict[str, str]], kind: str) -> List[Dict[str, str]]:
    return [event for event in log if event["event"] == kind]


def refusing(fault_server: Servers, reply: Any = UNKNOWN) -> FaultServer:
    return fault_server(answers={"RCPT": {ADMIN: None, SENDER: None, "*": reply}})


# ---- what is in it ----


@pytest.mark.parametrize(
    "options, relay, author",
    [
        ({}, {"helo": "www.example.com"}, "MAILER-DAEMON@www.example.com"),
        ({"domain": "example.com"}, {"helo": "www.example.com"}, "MAILER-DAEMON@example.com"),
        ({"domain": "example.com", "notify_from": "x@example.org"}, {}, "x@example.org"),
    ],
)
def test_who_reports(
    spool: Spool,
    fault_server: Servers,
    options: Dict[str, str],
    relay: Dict[str, str],
    author: str,
) -> None:
    tells(spool, refusing(fault_server), options, **relay)
    letter(spool)
    run(spool)
    assert parseaddr(notice(spool).mail["From"])[1] == author


def test_a_report(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server)
    tells(spool, server, helo="www.example.com")
    text = (
        b"From: a@example.com\nTo: b@example.net\nMessage-ID: <17@example.com>\n"
        b"Bcc: secret@example.net\nSubject: The order\n\nsecret body\n"
    )
    name = letter(spool, text=text)
    log = run(spool)
    told = notice(spool)
    assert told.recipients == (SENDER,)
    assert told.mail["To"] == SENDER or told.mail["To"] == f"<{SENDER}>"
    assert "MAILER-DAEMON@www.example.com" in told.mail["From"]
    assert told.mail["In-Reply-To"] == told.mail["References"] == "<17@example.com>"
    assert told.mail["Message-ID"].endswith("@www.example.com>")
    assert told.outcomes() == {
        "rfc822; b@example.net": ("failed", "5.1.1", f"smtp; {UNKNOWN}"),
    }
    about, (recipient,) = told.report()
    assert about["Reporting-MTA"] == "dns; www.example.com"
    now = time.time()
    for date in (about["Arrival-Date"], recipient["Last-Attempt-Date"], told.mail["Date"]):
        assert abs(parsedate_to_datetime(str(date)).timestamp() - now) < 3600
    said = told.text()
    for words in ("<b@example.net>", UNKNOWN, "<a@example.com>", "once", unique_of(name)):
        assert words in said
    header = told.header()
    assert header.strip().split("\n") == [
        "From: a@example.com", "To: b@example.net", "Message-ID: <17@example.com>",
        "Subject: The order",
    ]  # fmt: skip
    assert b"secret" not in told.raw and b"X-Maildrain" not in told.raw
    (event,) = events(log, "notified")
    assert event["to"] == SENDER and event["of"] == unique_of(name)
    assert spool.path / "new" / event["id"] == paths(spool)[0]
    assert spool.state(name) == ("failed", {"A": "1", "E": "5.1.1"}), "N is gone"


def test_it_travels_with_the_next_run(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server)
    tells(spool, server)
    letter(spool)
    run(spool)
    assert server.messages == []
    run(spool)
    (message,) = server.messages
    assert (message.sender, message.recipients) == ("", (SENDER,))
    parse(message.data, message.recipients)
    assert paths(spool) == [] and len(paths(spool, "cur")) == 1
    server.check()


def test_several_recipients_over_several_runs(spool: Spool, fault_server: Servers) -> None:
    """One report when all is settled, with each one who failed and none who did not."""
    answers = {
        "b@example.net": UNKNOWN, "c@example.net": ["450 4.2.1 Busy", "554 Go away"],
        "e@example.net": "452 4.2.2 Full",
    }  # fmt: skip
    server = fault_server(answers={"RCPT": answers})
    tells(spool, server, {"retry": ["1m", "1m"]})
    name = letter(spool, *(f"{who}@example.net" for who in "bcde"))
    for _ in range(2):
        run(spool)
        assert notices(spool) == []
        make_due(spool, name)
    run(spool)
    told = notice(spool)
    assert told.outcomes() == {
        "rfc822; b@example.net": ("failed", "5.1.1", f"smtp; {UNKNOWN}"),
        "rfc822; c@example.net": ("failed", "5.0.0", "smtp; 554 Go away"),
        "rfc822; e@example.net": ("failed", "5.4.7", "smtp; 452 4.2.2 Full"),
    }
    assert "3 times" in told.text() and "1 other recipient." in told.text()
    assert "d@example.net" not in told.raw.decode()


def test_expired(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    tells(spool, server)
    spool.drop(LETTER, envelope=(SENDER, ["b@example.net"]), expires=int(time.time()) - 5)
    run(spool)
    told = notice(spool)
    (outcome,) = told.outcomes().values()
    assert outcome[:2] == ("failed", "5.4.7") and outcome[2].startswith("X-maildrain; ")
    assert "expired" in told.text() and "never tried" in told.text()
    assert "Last-Attempt-Date" not in told.report()[1][0]


def test_only_a_known_date_is_that_of_the_last_attempt(
    spool: Spool, fault_server: Servers
) -> None:
    """RFC 3464 section 2.3.7. Expired an hour after it, or not all tried in it: not known."""
    answers = {"c@example.net": UNKNOWN, "d@example.net": ["450 4.2.1 Busy", UNKNOWN]}
    server = fault_server(answers={"RCPT": answers})
    tells(spool, server)
    block = envelope_block(SENDER, ["b@example.net"])
    spool.drop(block + LETTER, f"1763790000.M1P1Q1.h,A=2,E=4.2.1,X={int(time.time()) - 5}")
    several = letter(spool, "c@example.net", "d@example.net")
    letter(spool, "c@example.net", "a@example.net")
    run(spool)
    make_due(spool, several)
    run(spool)
    dates = {
        tuple(told.outcomes()): ["Last-Attempt-Date" in block for block in told.report()[1]]
        for told in notices(spool) + [parse(m.data, ()) for m in server.messages if not m.sender]
    }
    assert dates == {
        ("rfc822; b@example.net",): [False],
        ("rfc822; c@example.net", "rfc822; d@example.net"): [False, False],
        ("rfc822; c@example.net",): [True],
    }


def test_the_last_attempt_was_cut_short(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    tells(spool, server, {"retry": ["1m"]})
    block = envelope_block(SENDER, ["b@example.net"])
    spool.drop(block + LETTER, "1763790000.M1P1Q1.h,A=2,C=elsewhere-1,T=5")
    run(spool)
    (outcome,) = notice(spool).outcomes().values()
    assert outcome[1] == "5.4.7" and "cut short" in outcome[2]
    assert "2 times" in notice(spool).text()
    assert "Last-Attempt-Date" not in notice(spool).report()[1][0]


@pytest.mark.parametrize("address", ["no-at", "a b@example.net", "a\x01b@example.net", "é@ é"])
def test_an_address_that_can_not_be_used(
    spool: Spool, fault_server: Servers, address: str
) -> None:
    server = fault_server()
    tells(spool, server)
    letter(spool, address, "c@example.net")
    run(spool)
    ((_, (action, status, why)),) = notice(spool).outcomes().items()
    assert (action, status) == ("failed", "5.1.3") and why.startswith("X-maildrain; ")


@pytest.mark.parametrize(
    ("address", "final"),
    [
        ("ä@exämple.net", r"utf-8; \x{E4}@ex\x{E4}mple.net"),
        ("a+b=c\\d@exämple.net", r"utf-8; a\x{2B}b\x{3D}c\x{5C}d@ex\x{E4}mple.net"),
        ("用户@例え.jp", r"utf-8; \x{7528}\x{6237}@\x{4F8B}\x{3048}.jp"),
        ("😀@example.net", r"utf-8; \x{1F600}@example.net"),
        ("a+b@example.net", "rfc822; a+b@example.net"),
        ('"a;b"@example.net', 'rfc822; "a;b"@example.net'),
    ],
)
def test_addresses_beyond_ascii(
    spool: Spool, fault_server: Servers, address: str, final: str
) -> None:
    """RFC 6533 section 3, in its form for 7bit."""
    server = refusing(fault_server)
    tells(spool, server)
    letter(spool, address)
    run(spool)
    told = notice(spool)
    assert list(told.outcomes()) == [final]
    assert f"<{address}>" in told.text()


def test_a_sender_beyond_ascii(spool: Spool, fault_server: Servers) -> None:
    """In the envelope it can stand, in a 7bit header it can't."""
    server = refusing(fault_server)
    server.answer("RCPT", {"b@example.net": UNKNOWN})
    tells(spool, server)
    letter(spool, sender="ä@exämple.com")
    run(spool)
    told = notice(spool)
    assert told.recipients == ("ä@exämple.com",) and told.mail["To"] == "undisclosed-recipients:;"
    run(spool)
    assert [message.recipients for message in server.messages] == [("ä@exämple.com",)]
    assert "<ä@exämple.com>" in told.text()


WORDS: Dict[str, Tuple[bytes, str]] = {
    "several lines": (b"550-5.1.1 One\r\n550-5.1.1 Two\r\n550 5.1.1 Three\r\n", "Two"),
    "nothing but the code": (b"550\r\n", "550"),
    "long": (b"550 5.1.1 " + b"x" * 480 + b"\r\n", "x" * 400),
    "long, of words": (b"550 5.1.1 " + b"wort " * 95 + b"\r\n", "wort"),
    "eight bits": ("550 5.1.1 Unbekannt: Jürgen\r\n".encode(), "J?rgen"),
    "no UTF-8": (b"550 5.1.1 J\xfcrgen\r\n", "J?rgen"),
    "a bare CR": (b"550 5.1.1 x\rSubject: y\r\n", "x?Subject: y"),
    "a field": (b"550 5.1.1 \nAction: delivered\r\n", "550"),
    "escapes": (b"550 5.1.1 \x1b[2J\x00\x08 cleared\r\n", "cleared"),
    "a boundary": (b"550 5.1.1 --=_x\r\n", "--=_x"),
    "no enhanced status": (b"550 Unknown\r\n", "550 Unknown"),
    "what only looks like a status": (b"550 5.1.1. Unknown\r\n", "550 5.1.1. Unknown"),
    "the status of another class": (b"550 4.1.1 Unknown\r\n", "550 4.1.1 Unknown"),
}


@pytest.mark.parametrize("case", list(WORDS))
def test_the_servers_words(spool: Spool, fault_server: Servers, case: str) -> None:
    reply, shown = WORDS[case]
    server = fault_server(answers={"RCPT": {"b@example.net": reply}})
    tells(spool, server)
    letter(spool)
    run(spool)
    ((_, (action, status, words)),) = notice(spool).outcomes().items()
    assert action == "failed" and status in ("5.1.1", "5.0.0")
    assert words.startswith("smtp; 550") and shown in words
    assert "delivered" not in str(notice(spool).report()[1][0]["Action"])


def test_what_only_looks_like_a_status_is_in_no_name(
    spool: Spool, fault_server: Servers
) -> None:
    """One fails in the first attempt, the other is served in the second: the name has the status
    of the first, from the file."""
    answers = {"b@example.net": "550 5.1.1. Unknown", "c@example.net": ["450 4.2.1 Busy", None]}
    server = fault_server(answers={"RCPT": answers})
    tells(spool, server)
    name = letter(spool, "b@example.net", "c@example.net")
    run(spool)
    make_due(spool, name)
    run(spool)
    assert spool.state(name) == ("failed", {"A": "2", "E": "5.0.0"})
    assert list(notice(spool).outcomes()) == ["rfc822; b@example.net"]


HOSTILE: Dict[str, bytes] = {
    "a boundary": b"--=_1763790600.failure: x\n",
    "encoded words": b"Subject: =?utf-8?q?a=0ATo:_x?=\n",
    "bare CR": b"Subject: a\rX-Maildrain-To: <evil@example.net>\n",
    "eight bits": "Subject: Grüße\n".encode(),
    "no UTF-8": b"Subject: Gr\xfc\xdfe\n",
    "NUL": b"Subject: a\0b\n",
    "controls": b"Subject: \x1b[2J\x07\n",
    "a line of 3,000 octets": b"Subject: " + b"x" * 3000 + b"\n",
    "100 kB": b"".join(b"X-Field-%d: %s\n" % (n, b"y" * 60) for n in range(1500)),
    "one line of 100 kB": b"Subject: " + b"x" * 100_000 + b"\n",
    "a Message-ID that is none": b"Message-ID: <a@b>\n\tSubject: x\n",
    "two Message-IDs in one": b"Message-ID: <a@b> <c@d>\n",
    "a Message-ID with an end": b"Message-ID: <a@b>, x\n",
    "a long Message-ID": b"Message-ID: <" + b"x" * 600 + b"@b>\n",
    "a dot": b"Subject: x\n .\n",
    "From": b"From x\n",
    "a block further down": b"Subject: x\nX-Maildrain-To: <evil@example.net>\n",
}


@pytest.mark.parametrize("case", list(HOSTILE))
def test_headers_of_all_kinds(spool: Spool, fault_server: Servers, case: str) -> None:
    server = refusing(fault_server)
    tells(spool, server)
    letter(spool, text=b"From: a@example.com\nX-First: 1\n" + HOSTILE[case] + b"X-Last: 2\n\nbody\n")
    run(spool)
    told = notice(spool)
    assert told.recipients == (SENDER,)
    header = told.header()
    assert "X-First: 1" in header and "body" not in header
    if len(HOSTILE[case]) < 65536:
        assert "X-Last: 2" in header
        wanted = HOSTILE[case].replace(b"\r", b"\n").decode("utf-8", "surrogateescape")
        assert wanted in header.replace("\r\n", "\n")
    else:
        assert "X-Last" not in header and "X-Maildrain-Note: " in header
        assert len(header) < 66000
    assert told.mail["In-Reply-To"] is None
    server.answer("RCPT", None)
    run(spool)
    (message,) = server.messages
    assert message.recipients == (SENDER,)
    parse(message.data, message.recipients)


def test_a_header_that_knows_the_boundary(spool: Spool, fault_server: Servers) -> None:
    """The boundary follows from the name, so who has seen one could write the next."""
    server = refusing(fault_server)
    tells(spool, server)
    name = letter(spool)
    run(spool)
    (path,) = paths(spool)
    boundary = read(path).mail["Content-Type"].params["boundary"]
    path.unlink()
    failed = spool.find(name)
    text = failed.read_bytes().replace(
        b"Subject: x\n", f"--{boundary}--: x\nSubject: x\n".encode()
    )
    failed.write_bytes(text)
    unit = int(unique_of(path.name).split(".")[0])
    os.rename(failed, failed.with_name(f"{failed.name},N={unit}"))
    letter(spool, "other@example.net")
    run(spool)
    again = {unique_of(found.name): read(found) for found in paths(spool)}[unique_of(path.name)]
    assert again.mail["Content-Type"].params["boundary"] != boundary
    assert f"--{boundary}--: x" in again.header()


def test_many_recipients(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server)
    tells(spool, server)
    letter(spool, *(f"r{n}@example.net" for n in range(2000)))
    run(spool)
    told = notice(spool)
    assert len(told.outcomes()) == 2000
    assert "and 1900 more" in told.text()


def test_over_a_real_postfix(spool: Spool, make_postfix: Callable[..., Postfix]) -> None:
    """What a real relay refuses, and the report through that relay into a mailbox."""
    server = make_postfix(tls=False)
    tells(spool, server, notify=["sender", f"admin@{DOMAIN}"])
    letter(spool, REJECT, f"ok@{DOMAIN}", sender=f"site@{DOMAIN}")
    run(spool)
    run(spool)
    arrived = server.wait_for(3)
    reports = [data for data in arrived if b"multipart/report" in data]
    assert len(reports) == 2, "one mail, two mailboxes"
    for data in reports:
        body = data[data.index(b"From: \"Mail Delivery") :]
        told = parse(body.replace(b"\r\n", b"\n"), ())
        ((final, (action, status, words)),) = told.outcomes().items()
        assert (final, action, status) == (f"rfc822; {REJECT}", "failed", "5.1.1")
        assert REJECT_REPLY.split(" ", 2)[2] in words


def test_over_aiosmtpd(spool: Spool, aio_server: Callable[..., AioServer]) -> None:
    server = aio_server()
    tells(spool, server)
    letter(spool, "refuse@example.net", "ok@example.net")
    run(spool)
    run(spool)
    assert [message.sender for message in server.messages] == [SENDER, ""] or [
        message.sender for message in server.messages
    ] == [SENDER, None]
    told = parse(server.messages[1].data.replace(b"\r\n", b"\n"), (SENDER,))
    assert list(told.outcomes()) == ["rfc822; refuse@example.net"]


# ---- who is told ----


@pytest.mark.parametrize(
    ("notify", "to"),
    [
        (["sender"], (SENDER,)),
        ([ADMIN], (ADMIN,)),
        (BOTH, (SENDER, ADMIN)),
        ([SENDER, "sender", "A@example.com"], (SENDER,)),
        ([ADMIN, "ops@example.org", ADMIN], (ADMIN, "ops@example.org")),
        ([], ()),
    ],
)
def test_who_is_told(
    spool: Spool, fault_server: Servers, notify: List[str], to: Tuple[str, ...]
) -> None:
    server = refusing(fault_server)
    tells(spool, server, notify=notify)
    name = letter(spool)
    run(spool)
    assert [told.recipients for told in notices(spool)] == ([to] if to else [])
    assert spool.state(name) == ("failed", {"A": "1", "E": "5.1.1"})


def test_by_default_the_sender(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server)
    spool.write_config_text(
        f'spool = "{spool.path}"\nrelay "main" {{ url = "{server.url}" tls = "none" }}\n'
    )
    letter(spool)
    run(spool)
    assert notice(spool).recipients == (SENDER,)


def test_notify_from(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server)
    tells(spool, server, {"notify_from": "postmaster@example.com"})
    letter(spool)
    run(spool)
    assert "<postmaster@example.com>" in notice(spool).mail["From"]


@pytest.mark.parametrize("notify", [["sender"], [ADMIN], BOTH])
def test_the_null_sender_never(spool: Spool, fault_server: Servers, notify: List[str]) -> None:
    """Neither refused nor expired, nor cut short."""
    server = refusing(fault_server)
    tells(spool, server, {"delay_warning": "1s"}, notify=notify)
    letter(spool, sender="")
    spool.drop(LETTER, envelope=("", ["b@example.net"]), expires=int(time.time()) - 5)
    block = envelope_block("", ["b@example.net"])
    spool.drop(block + LETTER, "1763790000.M1P1Q1.h,A=9,C=elsewhere-1,T=5")
    letters_left = spool.drop(block.replace(b"b@", b"later@") + LETTER, "1763790000.M1P1Q2.h")
    server.answer("RCPT", {"later@example.net": "450 4.2.1 Busy", "*": UNKNOWN})
    log = run(spool)
    assert notices(spool) == [] and events(log, "notified") == []
    assert len(spool.ls()["failed"]) == 3
    names = spool.ls()["failed"] + spool.ls()["new"]
    assert not [name for name in names if {"N", "D"} & fields_of(name).keys()]
    assert spool.state(letters_left)[0] == "new"


def test_a_failed_notification_is_told_to_nobody(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": UNKNOWN})
    tells(spool, server, notify=BOTH)
    letter(spool)
    for _ in range(4):
        run(spool)
    assert len(paths(spool, "failed")) == 1 and spool.counts()["failed"] == 2
    assert spool.counts()["new"] == 0 and server.messages == []


def test_a_relay_that_refuses_the_null_sender(spool: Spool, fault_server: Servers) -> None:
    """That is its rule, and no reason to hold up the other mail as when it knows us no more."""
    server = fault_server(answers={"RCPT": UNKNOWN, "MAIL": {"": "550 5.7.1 No null sender"}})
    tells(spool, server, {"notify_per_run": 50, "notify_per_hour": 50})
    for n in range(15):
        letter(spool, sender=f"s{n}@example.com")
    run(spool)
    assert len(notices(spool)) == 15
    server.answer("RCPT", None)
    other = spool.drop(LETTER, "9999999999.M1P1Q1.h", envelope=(SENDER, ["b@example.net"]))
    run(spool)
    assert spool.state(other)[0] == "cur"
    assert len(paths(spool, "failed")) == 15 and spool.counts()["new"] == 0


def test_nothing_but_refusals_of_the_null_sender(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"MAIL": {"": "550 5.7.1 No null sender"}})
    tells(spool, server)
    for n in range(25):
        letter(spool, f"r{n}@example.net", sender="")
    run(spool)
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 0, "failed": 25}


INVALID = {
    "no header": b"no header at all\n",
    "no sender": b"Subject: x\nTo: b@example.net\n\nx\n",
    "a broken block": b"X-Maildrain-From: <a@example.com>\nX-Maildrain-Too: <b@x>\nSubject: x\n\nx\n",
    "no recipient": b"X-Maildrain-From: <a@example.com>\nSubject: x\n\nx\n",
    "a long header": b"Subject: x\n" + b"X: y\n" * 250_000,
}


@pytest.mark.parametrize("case", list(INVALID))
@pytest.mark.parametrize("notify", [["sender"], BOTH])
def test_no_usable_envelope(
    spool: Spool, fault_server: Servers, case: str, notify: List[str]
) -> None:
    """It has no sender to tell, and no recipient to give the status of: plain text."""
    server = fault_server()
    tells(spool, server, notify=notify)
    name = spool.drop(INVALID[case])
    run(spool)
    place, fields = spool.state(name)
    assert place == "failed" and set(fields) == {"E"}
    if notify == ["sender"]:
        assert notices(spool) == []
        return
    told = notice(spool)
    assert told.recipients == (ADMIN,)
    assert told.mail.get_content_type() == "text/plain"
    assert unique_of(name) in told.text() and fields["E"] in told.text()


def test_a_dump_in_failed_is_not_told(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    tells(spool, server, notify=BOTH)
    path = spool.path / "20251122-101112-1234.log"
    path.write_bytes(b"half a record\n" + b"-" * 79 + b"\n")
    os.utime(path, (time.time() - 40 * HOUR,) * 2)
    run(spool)
    assert spool.counts()["failed"] == 1 and notices(spool) == []


# ---- delays ----


def dated(spool: Spool, age: int, *to: str, sender: str = SENDER) -> str:
    """A letter as old as AGE seconds."""
    name = f"{int(time.time()) - age}.M1P1Q{len(spool.ls()['new'])}.h"
    return spool.drop(LETTER, name, envelope=(sender, to or ("b@example.net",)))


def test_a_delay_is_told_once_and_its_end_too(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server, "450 4.2.1 Busy")
    tells(spool, server, {"delay_warning": "4h", "retry": ["1m", "1h", "1d"]})
    name = dated(spool, 4 * HOUR + 60, "b@example.net", "c@example.net")
    young = dated(spool, 4 * HOUR - 600)
    run(spool)
    told = notice(spool)
    assert told.outcomes() == {
        f"rfc822; {who}@example.net": ("delayed", "4.2.1", "X-maildrain; not accepted yet")
        for who in "bc"
    }
    _, (recipient, _) = told.report()
    until = parsedate_to_datetime(str(recipient["Will-Retry-Until"])).timestamp()
    assert until == pytest.approx(time.time() + 60 + 25 * HOUR, abs=60)
    assert "has not been delivered yet" in told.text()
    assert "D" in spool.state(name)[1] and "N" not in spool.state(name)[1]
    assert not {"D", "N"} & spool.state(young)[1].keys()

    make_due(spool, name)
    time.sleep(1.1)  # another warning would have another name
    run(spool)  # the first leaves
    assert notices(spool) == [] and "D" in spool.state(name)[1]
    server.answer("RCPT", {"*": "554 5.7.1 No"})
    make_due(spool, name)
    run(spool)
    assert len(notices(spool)) == 1
    assert set(notice(spool).outcomes()) == {f"rfc822; {who}@example.net" for who in "bc"}
    assert spool.state(name) == ("failed", {"A": "3", "E": "5.7.1"})


def test_a_delay_that_ends_well(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server, ["450 4.2.1 Busy"])
    tells(spool, server, {"delay_warning": "4h"})
    name = dated(spool, 5 * HOUR)
    run(spool)
    make_due(spool, name)
    run(spool)
    assert spool.find(name).name.endswith(",A=2:2,S")


def test_a_delay_is_about_those_who_wait(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(
        answers={"RCPT": {"b@example.net": UNKNOWN, "c@example.net": "450 4.2.1 Busy"}}
    )
    tells(spool, server, {"delay_warning": "1h"})
    dated(spool, 2 * HOUR, "b@example.net", "c@example.net", "d@example.net")
    run(spool)
    assert list(notice(spool).outcomes()) == ["rfc822; c@example.net"]


def test_it_is_retried_until_it_expires(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server, "450 4.2.1 Busy")
    tells(spool, server, {"delay_warning": "1h"})
    expires = int(time.time()) + 1000
    name = f"{int(time.time()) - 2 * HOUR}.M1P1Q1.h,X={expires}"
    spool.drop(LETTER, name, envelope=(SENDER, ["b@example.net"]))
    run(spool)
    _, (recipient,) = notice(spool).report()
    assert parsedate_to_datetime(str(recipient["Will-Retry-Until"])).timestamp() == expires


@pytest.mark.parametrize("birth", ["hand-made", "old"])
def test_no_warning(spool: Spool, fault_server: Servers, birth: str) -> None:
    """Where none is configured, and where nobody knows the age."""
    server = refusing(fault_server, "450 4.2.1 Busy")
    tells(spool, server, {"delay_warning": "1h"} if birth == "hand-made" else {})
    name = "letter" if birth == "hand-made" else "1763790000.M1P1Q1.h"
    spool.drop(LETTER, name, envelope=(SENDER, ["b@example.net"]))
    run(spool)
    assert notices(spool) == [] and set(spool.state(name)[1]) == {"A", "E", "T"}


# ---- again ----


def test_put_back_and_failed_again(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server)
    tells(spool, server)
    name = letter(spool)
    run(spool)
    first = notice(spool)
    time.sleep(1.1)
    failed = spool.find(name)
    os.rename(failed, spool.path / "new" / failed.name)
    run(spool)
    told = notices(spool)
    assert len(told) == 1, "the first has left"
    assert told[0].mail["Message-ID"] != first.mail["Message-ID"]
    assert len(server.messages) == 1


def test_put_back_before_it_was_told(spool: Spool, fault_server: Servers) -> None:
    """Who puts it back knows. It starts afresh: N goes."""
    server = fault_server()
    tells(spool, server)
    block = envelope_block(SENDER, ["b@example.net"])
    name = spool.drop(block + LETTER, "1763790000.M1P1Q1.h,A=1,D=5,E=5.1.1,N=1763790000")
    run(spool)
    assert notices(spool) == []
    assert spool.find(name).name == "1763790000.M1P1Q1.h,A=1:2,S"


def test_a_long_name_still_gets_its_result(spool: Spool, fault_server: Servers) -> None:
    """What has no room is not told; that is said, and the result recorded all the same."""
    server = refusing(fault_server)
    tells(spool, server)
    name = spool.drop(b"no header\n", "x" * 247)
    log = run(spool)
    assert spool.state(name) == ("failed", {"E": "5.6.0"})
    (event,) = events(log, "untold")
    assert event["file"] == name


def test_a_long_name_that_is_late(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server, "450 4.999.999 Busy")
    tells(spool, server, {"delay_warning": "1h"})
    # What a claimed name must leave free, and what the fields of one take at most.
    longest = 255 - 16 - len(f",A=1,C={HOST}-4194303,T=1763790000")
    if longest + len(",A=1,D=1763790000,E=4.999.999,N=1763790000,T=1763790000") <= 255:
        pytest.skip("with a host of this name there is room for all fields")
    name = f"{int(time.time()) - 2 * HOUR}.M1P1Q1."
    name += "h" * (longest - len(name))
    spool.drop(LETTER, name, envelope=(SENDER, ["b@example.net"]))
    log = run(spool)
    assert set(spool.state(name)[1]) == {"A", "E", "T"}
    (event,) = events(log, "untold")
    assert event["file"].startswith(name) and notices(spool) == []


# ---- limits ----


def flood(spool: Spool, count: int, senders_: int = 1) -> None:
    """COUNT letters of SENDERS_ senders, without the fsync of each."""
    for n in range(count):
        block = envelope_block(f"s{n % senders_}@example.com", [f"r{n}@example.net"])
        (spool.path / "new" / f"1763790000.M{n:06}P1Q1.h").write_bytes(block + LETTER)


def outstanding(spool: Spool) -> List[str]:
    return [name for name in spool.ls()["failed"] if "N" in fields_of(name)]


def refuse_r(fault_server: Servers) -> FaultServer:
    """Refuses the letters of flood(), each tenth with another status; what is told passes."""

    answers = {f"r{n}@example.net": UNKNOWN for n in range(1000)}
    answers.update({f"r{n}@example.net": "554 5.7.1 Spam" for n in range(0, 1000, 10)})
    return fault_server(answers={"RCPT": answers})


def test_as_many_as_the_limit_are_told_one_by_one(spool: Spool, fault_server: Servers) -> None:
    server = refuse_r(fault_server)
    tells(spool, server, {"notify_per_run": 5, "notify_per_hour": 10})
    flood(spool, 5)
    run(spool)
    assert len(notices(spool)) == 5 and outstanding(spool) == []
    assert all(told.mail.get_content_type() == "multipart/report" for told in notices(spool))


def test_the_hour_counts_for_all_its_runs(spool: Spool, fault_server: Servers) -> None:
    """Less is left than the run itself may write: a digest already."""
    while time.time() % HOUR > HOUR - 20:
        time.sleep(1)
    server = refuse_r(fault_server)
    tells(spool, server, {"notify_per_run": 5, "notify_per_hour": 6}, notify=[ADMIN])
    flood(spool, 4)
    run(spool)
    assert len(notices(spool)) == 4
    for path in paths(spool):
        path.unlink()
    for n in range(3):
        letter(spool, f"r{n}@example.net")
    log = run(spool)
    assert "3 messages" in notice(spool).text()
    assert events(log, "notify-waiting") == [] and outstanding(spool) == []


def test_a_flood_is_one_digest(spool: Spool, fault_server: Servers) -> None:
    server = refuse_r(fault_server)
    tells(spool, server, notify=BOTH)
    flood(spool, 300)
    log = run(spool)
    told = notice(spool)
    assert told.recipients == (ADMIN,) and told.mail["Auto-Submitted"] == "auto-generated"
    assert told.mail.get_content_type() == "text/plain"
    text = told.text()
    assert re.search(r"^5\.1\.1 +270$", text, re.M) and re.search(r"^5\.7\.1 +30$", text, re.M)
    assert "300 messages" in text and "and 200 more: maildrain list" in text
    assert len(re.findall(r"^1763790000\.M\d{6}P1Q1\.h$", text, re.M)) == 100
    assert "from <s0@example.com> to <r7@example.net>\n    550 5.1.1 No such" in text
    assert outstanding(spool) == []
    (event,) = events(log, "notified")
    assert event["messages"] == "300" and event["to"] == ADMIN
    run(spool)
    assert [message.recipients for message in server.messages] == [(ADMIN,)]
    server.check()


def test_a_flood_of_few_senders_is_a_digest_for_each(
    spool: Spool, fault_server: Servers
) -> None:
    server = refuse_r(fault_server)
    tells(spool, server)
    flood(spool, 301, 3)
    alone = envelope_block("alone@example.com", ["r1@example.net"])
    (spool.path / "new" / "1763790000.M999999P1Q1.h").write_bytes(alone + LETTER)
    run(spool)
    told = {found.recipients: found for found in notices(spool)}
    assert set(told) == {(f"s{n}@example.com",) for n in range(3)} | {("alone@example.com",)}
    assert "101 messages" in told[("s0@example.com",)].text()
    assert "s1@" not in told[("s0@example.com",)].text()
    only = told[("alone@example.com",)]
    assert only.mail.get_content_type() == "multipart/report", "for one message a report"
    assert outstanding(spool) == []


@needs_clock
def test_more_senders_than_the_hour_allows(
    spool: Spool, fault_server: Servers, tmp_path: Path
) -> None:
    """10 senders, 10 failures each, 4 mails in a run and 6 in an hour: some are told in each run,
    the rest wait for the next hour, and each failure is told once."""
    clock = Clock(tmp_path)
    clock.move(HOUR - int(time.time()) % HOUR + 120)
    server = refuse_r(fault_server)
    tells(spool, server, {"notify_per_run": 4, "notify_per_hour": 6})
    flood(spool, 100, 10)
    told: List[Notice] = []
    counts: List[int] = []
    waited: List[List[int]] = []
    for minute in (0, 8, 18, 58, 58 + 8, 58 + 60, 58 + 68, 58 + 70):
        at = Clock(tmp_path, clock.offset + minute * 60)
        done = run_at(spool, at)
        assert done.returncode == 0, done.stderr
        counts.append(len(paths(spool)))
        told += notices(spool)
        for path in paths(spool):
            path.rename(spool.path / "cur" / f"{path.name}:2,S")
        waiting = events(logfmt.parse(done.stderr), "notify-waiting")
        waited.append([int(event["messages"]) for event in waiting])
    assert counts == [4, 2, 0, 4, 0, 0, 0, 0], counts
    assert waited == [[60], [40], [40], [], [], [], [], []], waited
    assert sorted(found.recipients[0] for found in told) == sorted(
        f"s{n}@example.com" for n in range(10)
    )
    assert sum(int(found.text().split(" message")[0].split()[-1]) for found in told) == 100
    assert outstanding(spool) == []


def test_more_than_a_run_keeps_the_names_of(spool: Spool, fault_server: Servers) -> None:
    """4 MiB of names; the rest is counted, and told by the next run."""
    tells(spool, fault_server(), notify=[ADMIN])
    block = envelope_block(SENDER, ["b@example.net"]).replace(b"-To", b"-Failed")
    for n in range(20_000):
        name = f"{n:05}{'x' * 210},A=1,E=5.1.1,N={1763790000 + n}"
        (spool.path / "failed" / name).write_bytes(block + LETTER)
    left = 20_001
    for _ in range(2):
        letter(spool, "no-at")
        log = run(spool)
        (event,) = events(log, "notified")
        left -= int(event["messages"])
        waiting = [int(event["messages"]) for event in events(log, "notify-waiting")]
        assert waiting == [left] if left else waiting == []
        left += 1
    assert left == 1 and outstanding(spool) == []


@needs_clock
def test_an_afternoon_of_failures(spool: Spool, fault_server: Servers, tmp_path: Path) -> None:
    """Each run has failures of its own. In no hour are there more mails than allowed, and in the
    end each failure has been told in one of them."""
    clock = Clock(tmp_path)
    clock.move(HOUR - int(time.time()) % HOUR + 30)
    start = clock.offset
    server = fault_server(answers={"RCPT": {ADMIN: None, "*": UNKNOWN}})
    tells(spool, server, {"notify_per_run": 3, "notify_per_hour": 4}, notify=[ADMIN])
    told: Dict[int, List[Notice]] = {}
    for step in range(14):
        clock.move(start + step * 600)
        if step < 9:
            for n in range(7 if step % 2 else 2):
                block = envelope_block(SENDER, ["b@example.net"])
                name = f"1763790000.M{step:06}P{n + 1}Q1.h"
                (spool.path / "new" / name).write_bytes(block + LETTER)
        assert run_at(spool, clock).returncode == 0
        for path in paths(spool):
            told.setdefault(clock.now() // HOUR, []).append(read(path))
            path.rename(spool.path / "cur" / f"{path.name}:2,S")
    assert all(len(mails) <= 4 for mails in told.values()), {h: len(m) for h, m in told.items()}
    text = "\n".join(mail.text() for mails in told.values() for mail in mails)
    ids = re.findall(r"1763790000\.M\d{6}P\d+Q1\.h", text)
    assert len(ids) == len(set(ids)) == spool.counts()["failed"] == 4 * 7 + 5 * 2
    assert outstanding(spool) == []


# ---- faults ----


def again(spool: Spool, name: str) -> None:
    """Makes of a failed message the one that was dropped, and takes back what was told of it."""
    failed = spool.find(name)
    text = re.sub(rb"-Failed: (<.*?>).*", rb"-To: \1", failed.read_bytes())
    failed.unlink()
    (spool.path / "new" / unique_of(name)).write_bytes(text)
    for path in paths(spool):
        path.unlink()
    for record in (spool.path / "state").glob("relay-*"):
        record.unlink()  # so that the next run makes the same calls


def calls_before(spool: Spool, call: str, pattern: str) -> int:
    """How many times a run makes CALL before the first line of its trace with PATTERN."""
    lines = measure.trace(spool.argv("run"), ("renameat2", call)).text.splitlines()
    end = next(n for n, line in enumerate(lines) if re.search(pattern, line))
    return sum(f" {call}(" in line for line in lines[:end])


def told_of(spool: Spool, address: str) -> List[Path]:
    everything = paths(spool) + paths(spool, "cur")
    return [path for path in everything if f"; {address}\n" in path.read_text()]


@needs_strace
@pytest.mark.parametrize("keep_sent", ["7d", "0"])
def test_a_crash_between_the_notification_and_its_note(
    spool: Spool, fault_server: Servers, keep_sent: str
) -> None:
    """The notification is there, and N still says that it is to be told: told exactly once."""
    server = refusing(fault_server)
    tells(spool, server, {"keep_sent": keep_sent})
    name = letter(spool)
    before = calls_before(spool, "renameat2", r'N=\d+", \d+, "[^"]*E=5\.1\.1"')
    again(spool, name)
    done = measure.trace(
        spool.argv("run"),
        ("renameat2",),
        options=("-e", f"inject=renameat2:signal=KILL:when={before + 1}"),
    )
    assert done.returncode == -9
    assert len(paths(spool)) == 1 and "N" in spool.state(name)[1]
    if keep_sent == "7d":
        run(spool)  # it leaves, and nothing is decided
        assert len(server.messages) == 1
    letter(spool, "c@example.net")
    run(spool)
    assert outstanding(spool) == [] and spool.state(name)[0] == "failed"
    for _ in range(2):
        run(spool)
    reports = [m.data for m in server.messages]
    assert sum(b"; b@example.net" in data for data in reports) == (1 if keep_sent == "7d" else 2)
    assert sum(b"; c@example.net" in data for data in reports) == 1


@needs_clock
def test_what_a_crash_left_is_told_by_another_run(
    spool: Spool, fault_server: Servers, tmp_path: Path
) -> None:
    """Also when that one decides nothing: in the first minute of each ten."""
    server = fault_server()
    tells(spool, server)
    block = envelope_block(SENDER, ["b@example.net"])
    name = "1763790000.M1P1Q1.h,A=1,E=5.1.1,N=1763790001"
    (spool.path / "failed" / name).write_bytes(block.replace(b"-To", b"-Failed") + LETTER)
    clock = Clock(tmp_path)
    clock.move(600 - int(time.time()) % 600 + 200)
    assert run_at(spool, clock).returncode == 0
    assert notices(spool) == []
    clock.move(clock.offset + 405)
    assert run_at(spool, clock).returncode == 0
    assert notice(spool).recipients == (SENDER,)
    assert spool.ls()["failed"] == ["1763790000.M1P1Q1.h,A=1,E=5.1.1"]


@needs_strace
@pytest.mark.parametrize("call", ["write", "fsync", "openat"])
def test_a_full_disk(spool: Spool, fault_server: Servers, call: str) -> None:
    """The failure stands recorded, the notification is left to a later run, and the exit status
    tells of it."""
    server = refusing(fault_server)
    tells(spool, server)
    name = letter(spool)
    before = calls_before(spool, call, r"E=5\.1\.1,N=")
    again(spool, name)
    done = measure.trace(
        spool.argv("run"),
        (call,),
        options=("-e", f"inject={call}:error=ENOSPC:when={before + 1}+"),
    )
    # Nothing can be said where not even stderr can be written.
    assert "No space left" in done.stderr or call == "write", done.stderr
    assert done.returncode == 74, done.stderr
    place, fields = spool.state(name)
    assert place == "failed" and "N" in fields, "it is recorded, and still to be told"
    assert paths(spool) == [] and spool.counts()["tmp"] == 0
    letter(spool, "c@example.net")
    run(spool)
    assert len(told_of(spool, "b@example.net")) == len(told_of(spool, "c@example.net")) == 1
    assert outstanding(spool) == []


def test_a_relay_that_is_down(spool: Spool, fault_server: Servers) -> None:
    """What has expired is told all the same; the notification waits with the other mail."""
    server = fault_server(answers={"CONNECT": Close()})
    tells(spool, server)
    spool.drop(LETTER, envelope=(SENDER, ["b@example.net"]), expires=int(time.time()) - 5)
    letter(spool)
    assert run(spool, 75) is not None
    assert notice(spool).recipients == (SENDER,)
    server.answer("CONNECT", None)
    run(spool)
    assert sorted(senders(server)) == ["", SENDER]


def test_what_another_run_has_in_its_hands(spool: Spool, fault_server: Servers) -> None:
    """It is decided anew, and its name must not change."""
    server = refusing(fault_server)
    tells(spool, server, {"shared_spool": True})
    until = int(time.time()) + HOUR
    name = f"1763790000.M1P1Q1.h,A=2,C=elsewhere-1,D=5,E=4.2.1,N=1763790001,T={until}"
    spool.drop(LETTER, name, envelope=(SENDER, ["b@example.net"]))
    letter(spool, "c@example.net")
    run(spool)
    assert (spool.path / "new" / name).exists()
    assert list(notice(spool).outcomes()) == ["rfc822; c@example.net"]


def test_two_senders_of_one_spool(spool: Spool, fault_server: Servers) -> None:
    server = refusing(fault_server)
    tells(spool, server, {"shared_spool": True})
    for n in range(5):
        letter(spool, f"r{n}@example.net")
    run(spool)
    run(spool)
    assert len(server.messages) == 5 and outstanding(spool) == []


def test_runs_side_by_side_tell_once(spool: Spool, fault_server: Servers) -> None:
    """A digest has a name of its own in each run: only one of them may write it."""
    server = refusing(fault_server)
    tells(spool, server, {"shared_spool": True}, notify=[ADMIN])
    block = envelope_block(SENDER, ["b@example.net"]).replace(b"-To", b"-Failed")
    for n in range(3000):
        name = f"1763790000.M{n:06}P1Q1.h,A=1,E=5.1.1,N={1763790000 + n}"
        (spool.path / "failed" / name).write_bytes(block + LETTER)
    for n in range(4):
        letter(spool, f"r{n}@example.net")
    runs = [
        subprocess.Popen(spool.argv("run"), stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    log = [event for each in runs for event in logfmt.parse(each.communicate()[1])]
    assert [each.returncode for each in runs] == [0] * 4
    told = sum(int(event.get("messages", 1)) for event in events(log, "notified"))
    assert told + len(outstanding(spool)) == 3004
    assert len([event for event in events(log, "notified") if "messages" in event]) == 1
    assert not list((spool.path / "state").glob("notify,*U=*")), "the turn is given back"


@pytest.mark.parametrize(
    ("ahead", "told"), [(-1, True), (300, False), (600, False), (9 * HOUR, True)]
)
def test_a_turn_ends(spool: Spool, fault_server: Servers, ahead: int, told: bool) -> None:
    """That of a run that has crashed, or had a wrong clock."""
    server = refusing(fault_server)
    tells(spool, server, {"shared_spool": True})
    (spool.path / "state" / f"notify,U={int(time.time()) + ahead}").touch()
    letter(spool)
    run(spool)
    assert len(notices(spool)) == told and len(outstanding(spool)) == (not told)


@needs_clock
def test_a_crash_under_a_clock_that_was_ahead(
    spool: Spool, fault_server: Servers, tmp_path: Path
) -> None:
    """N is later than now: the notification, sent since, is found all the same."""
    server = refusing(fault_server)
    tells(spool, server)
    clock = Clock(tmp_path, HOUR)
    name = letter(spool)
    assert run_at(spool, clock).returncode == 0
    until = int(unique_of(paths(spool)[0].name).split(".")[0])
    assert run_at(spool, clock).returncode == 0
    failed = spool.find(name)
    failed.rename(failed.with_name(f"{failed.name},N={until}"))
    letter(spool, "c@example.net")
    run(spool)
    assert len(told_of(spool, "b@example.net")) == 1 and outstanding(spool) == []
