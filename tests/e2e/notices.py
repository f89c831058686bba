"""What maildrain tells of failures, read as others read it: Python's email package takes it apart,
and the fields are held against RFC 3464, RFC 6522 and RFC 5322."""

from __future__ import annotations

import email
import email.policy
import re
from dataclasses import dataclass
from email.message import EmailMessage, Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Dict, List, Tuple

from lab.spool import Spool, unique_of

KINDS = (".failure", ".delay", ".digest")
ONCE = (
    "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Auto-Submitted",
    "Content-Type",
)  # fmt: skip
STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}")
MESSAGE_ID = re.compile(r"<[A-Za-z0-9.]+@[A-Za-z0-9.-]+>")


@dataclass
class Notice:
    """A notification as it stands in the spool, or as a relay got it."""

    recipients: Tuple[str, ...]  # of the envelope
    mail: EmailMessage
    raw: bytes

    def text(self) -> str:
        """What a person reads."""
        part = self.mail.get_body(("plain",))
        assert part is not None
        return str(part.get_content())

    def report(self) -> Tuple[Message, List[Message]]:
        """The fields about the message, and those about each recipient."""
        part = list(self.mail.iter_parts())[1]
        blocks = part.get_payload()
        assert isinstance(blocks, list) and len(blocks) >= 2
        return blocks[0], blocks[1:]  # type: ignore[return-value]

    def header(self) -> str:
        """The header of the message it is about."""
        part = list(self.mail.iter_parts())[2]
        payload = part.get_payload(decode=True)
        if payload is None:  # parsed as a message of headers
            payload = str(part.get_payload()).encode()
        return bytes(payload).decode("utf-8", "surrogateescape")

    def outcomes(self) -> Dict[str, Tuple[str, str, str]]:
        """Of each recipient: action, status and diagnostic."""
        return {
            _unfold(block["Final-Recipient"]): (
                str(block["Action"]),
                str(block["Status"]),
                _unfold(block["Diagnostic-Code"]),
            )
            for block in self.report()[1]
        }


def _unfold(value: Any) -> str:
    return re.sub(r"\r?\n[ \t]", " ", str(value))


def parse(raw: bytes, recipients: Tuple[str, ...]) -> Notice:
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    notice = Notice(recipients, mail, raw)
    check_header(notice)
    if mail.get_content_type() == "multipart/report":
        check_report(notice)
    return notice


def read(path: Path) -> Notice:
    """A notification in the spool: its envelope is the null sender's."""
    lines = path.read_bytes().split(b"\n")
    assert lines[0] == b"X-Maildrain-From: <>"
    to = []
    for line in lines[1:]:
        found = re.fullmatch(rb"X-Maildrain-(?:To|Done|Failed): <(.*?)>.*", line)
        if not found:
            break
        to.append(found[1].decode())
    return parse(b"\n".join(lines[1 + len(to) :]), tuple(to))


def paths(spool: Spool, folder: str = "new") -> List[Path]:
    return sorted(
        path for path in (spool.path / folder).iterdir() if unique_of(path.name).endswith(KINDS)
    )


def notices(spool: Spool) -> List[Notice]:
    """Those that wait in new/."""
    return [read(path) for path in paths(spool)]


def notice(spool: Spool) -> Notice:
    """The only one."""
    (found,) = notices(spool)
    return found


def check_header(notice: Notice) -> None:
    mail = notice.mail
    for name in ONCE:
        assert len(mail.get_all(name, [])) == 1, (name, mail.get_all(name))
    for field in ("In-Reply-To", "References"):
        assert len(mail.get_all(field, [])) <= 1
    assert all(not part.defects for part in mail.walk()), [part.defects for part in mail.walk()]
    assert notice.raw.isascii() and b"\0" not in notice.raw
    lines = notice.raw.replace(b"\r\n", b"\n").split(b"\n")
    assert b"\r" not in notice.raw.replace(b"\r\n", b"")
    assert max(map(len, lines)) < 998
    assert parsedate_to_datetime(mail["Date"]).tzinfo is not None
    assert MESSAGE_ID.fullmatch(mail["Message-ID"]), mail["Message-ID"]
    assert mail["From"].startswith('"Mail Delivery System" <') or mail["From"].startswith(
        "Mail Delivery System <"
    )
    assert mail["Auto-Submitted"] in ("auto-replied", "auto-generated")
    assert mail["MIME-Version"] == "1.0"
    assert not [name for name in mail.keys() if name.lower().startswith("x-maildrain")]


def check_report(notice: Notice) -> None:
    """RFC 6522 section 3 and RFC 3464 section 2."""
    mail = notice.mail
    assert mail["Auto-Submitted"] == "auto-replied"
    assert mail["Content-Type"].params["report-type"] == "delivery-status"
    boundary = mail["Content-Type"].params["boundary"]
    assert 0 < len(boundary) <= 70
    assert notice.raw.count(b"--" + boundary.encode()) == 4, "three parts and the end"
    kinds = [part.get_content_type() for part in mail.iter_parts()]
    assert kinds == ["text/plain", "message/delivery-status", "text/rfc822-headers"]
    about, recipients = notice.report()
    assert re.fullmatch(r"dns; [A-Za-z0-9.-]+", about["Reporting-MTA"])
    assert set(about.keys()) <= {"Reporting-MTA", "Arrival-Date"}
    _check_dates(about, "Arrival-Date")
    for block in recipients:
        check_recipient(block)


def _check_dates(block: Message, *names: str) -> None:
    for name in names:
        if name in block:
            parsedate_to_datetime(str(block[name]))


def check_recipient(block: Message) -> None:
    for name in ("Final-Recipient", "Action", "Status"):
        assert len(block.get_all(name, [])) == 1, block.items()
    assert re.match(r"(rfc822|utf-8); \S", _unfold(block["Final-Recipient"]))
    assert block["Action"] in ("failed", "delayed")
    assert STATUS.fullmatch(str(block["Status"])), block["Status"]
    assert str(block["Status"])[0] == ("5" if block["Action"] == "failed" else "4")
    assert re.match(r"(smtp; [2-5]\d\d( |$)|X-maildrain; \S)", _unfold(block["Diagnostic-Code"]))
    assert ("Will-Retry-Until" in block) == (block["Action"] == "delayed")
    _check_dates(block, "Last-Attempt-Date", "Will-Retry-Until")
    allowed = {
        "Final-Recipient", "Action", "Status", "Diagnostic-Code", "Last-Attempt-Date",
        "Will-Retry-Until",
    }  # fmt: skip
    assert set(block.keys()) <= allowed, block.keys()
