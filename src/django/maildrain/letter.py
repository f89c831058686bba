"""What is in a spool file: its envelope lines, and the message, as a person wants to read it.

Strangers decide what is in a site's mail: nothing here trusts it. What is odd is shown as it is or
left out, and never raises.
"""

from __future__ import annotations

import base64
import email
import email.errors
import re
from dataclasses import dataclass, field
from email.header import decode_header, make_header
from email.message import Message
from email.utils import collapse_rfc2231_value, getaddresses
from typing import Dict, Iterator, List, Optional, Tuple

from .entry import FAILED, SENT

HEAD_MAX = 64 * 1024  # bytes that are read for sender, recipients and subject
LETTER_MAX = 10 * 1024 * 1024  # bytes that are read of a message that is shown
TEXT_MAX = 200_000  # characters of it that are shown
HTML_MAX = 300_000  # of longer HTML there is no preview
IMAGES_MAX = 2_000_000  # characters of images that the message brings along for it
PARTS_MAX = 200
IMAGES = ("image/gif", "image/jpeg", "image/png", "image/webp")

_BLOCK_LINE = re.compile(rb"X-Maildrain-([^:\r\n]*):[ \t]*([^\r\n]*?)\r?(?:\n|\Z)", re.IGNORECASE)
_PATH = re.compile(r"<([^>]*)> *(.*)")
_FOLD = re.compile(r"\r?\n[ \t]*")
_STATE_OF_KEY = {"to": None, "done": SENT, "failed": FAILED}


@dataclass
class Recipient:
    address: str
    state: Optional[str] = None  # SENT or FAILED; None: that of the message
    words: str = ""  # the relay's


@dataclass
class Envelope:
    """Who a message is from and for: as its envelope lines say, or else its header."""

    sender: Optional[str] = None  # "" is the null sender
    recipients: List[Recipient] = field(default_factory=list)
    relay: str = ""
    fault: str = ""


@dataclass
class Attachment:
    name: str
    type: str
    size: int  # bytes


@dataclass
class Letter:
    envelope: Envelope
    headers: List[Tuple[str, str]]
    text: str = ""
    html: str = ""
    images: Dict[str, str] = field(default_factory=dict)  # as data: URLs, by Content-ID
    attachments: List[Attachment] = field(default_factory=list)

    def header(self, name: str) -> str:
        """The first of that name; "" without one."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def subject(self) -> str:
        return self.header("Subject")

    def mentions(self, text: str) -> bool:
        """Whether TEXT is in the subject or in an address, in upper or lower case."""
        places = [self.subject, self.envelope.sender or ""]
        places += [recipient.address for recipient in self.envelope.recipients]
        return any(text.casefold() in place.casefold() for place in places)


def read_head(data: bytes) -> Letter:
    """Envelope and header of what starts with DATA."""
    envelope, start = _block(data)
    parsed = email.message_from_bytes(re.split(rb"\n\r?\n", data[start:], maxsplit=1)[0] + b"\n\n")
    return _with_header(envelope, parsed)


def read(data: bytes) -> Letter:
    """All of it."""
    envelope, start = _block(data)
    try:
        parsed = email.message_from_bytes(data[start:])
        letter = _with_header(envelope, parsed)
        _read_parts(letter, parsed)
    except Exception:  # Python's parser trips over some of what can be sent, such as deep nesting
        letter = read_head(data)
        letter.envelope.fault = letter.envelope.fault or "The message can't be parsed."
        letter.text = _printable(data[start:].decode("utf-8", "replace"))[:TEXT_MAX]
    return letter


def _block(data: bytes) -> Tuple[Envelope, int]:
    """The envelope lines, and where they end."""
    envelope, at = Envelope(), 0
    while True:
        line = _BLOCK_LINE.match(data, at)
        if not line or line.end() == at:
            return envelope, at
        at = line.end()
        key, value = (part.decode("utf-8", "replace") for part in line.groups())
        _read_line(envelope, key.lower(), _printable(value))


def _read_line(envelope: Envelope, key: str, value: str) -> None:
    path = _PATH.fullmatch(value)
    if key == "relay":
        envelope.relay = value
    elif path and key == "from":
        envelope.sender = path[1]
    elif path and key in _STATE_OF_KEY:
        envelope.recipients.append(Recipient(path[1], _STATE_OF_KEY[key], path[2]))
    else:
        envelope.fault = f"An envelope line can't be read: X-Maildrain-{_printable(key)}"


def _with_header(envelope: Envelope, message: Message) -> Letter:
    headers = [(_printable(name), _decoded(str(value))) for name, value in message.raw_items()]
    letter = Letter(envelope, headers)
    if envelope.sender is None and not envelope.recipients:
        _from_header(letter)
    return letter


def _from_header(letter: Letter) -> None:
    """As `sendmail -t`."""
    senders = getaddresses([letter.header("Sender") or letter.header("From")])
    letter.envelope.sender = next((address for _, address in senders if address), None)
    lists = [value for name, value in letter.headers if name.lower() in ("to", "cc", "bcc")]
    addresses = dict.fromkeys(address for _, address in getaddresses(lists) if address)
    letter.envelope.recipients = [Recipient(address) for address in addresses]


def _read_parts(letter: Letter, message: Message) -> None:
    for part in _leaves(message):
        kind = part.get_content_type()
        name = _file_name(part)
        content = part.get_payload(decode=True)
        content = content if isinstance(content, bytes) else b""
        is_body = not name and part.get_content_disposition() != "attachment"
        if is_body and kind == "text/plain" and not letter.text:
            letter.text = _text(part, content)[:TEXT_MAX]
        elif is_body and kind == "text/html" and not letter.html:
            letter.html = _text(part, content)[: HTML_MAX + 1]
        else:
            letter.attachments.append(Attachment(name or kind, kind, len(content)))
            if kind in IMAGES and part["Content-ID"]:
                data = f"data:{kind};base64,{base64.b64encode(content).decode()}"
                letter.images[str(part["Content-ID"]).strip().strip("<>")] = data


def _leaves(message: Message) -> Iterator[Message]:
    """The parts that are not made of others; a message that is forwarded is one."""
    stack: List[Message] = [message]
    for _ in range(PARTS_MAX):
        if not stack:
            return
        part = stack.pop()
        content = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(content, list):
            stack += [item for item in reversed(content) if isinstance(item, Message)]
        else:
            yield part


def _file_name(part: Message) -> str:
    for parameter, header in (("filename", "Content-Disposition"), ("name", "Content-Type")):
        value = part.get_param(parameter, header=header)
        if value:
            text = collapse_rfc2231_value(value) if isinstance(value, tuple) else str(value)
            return _decoded(text)
    return ""


def _text(part: Message, content: bytes) -> str:
    try:
        text = content.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        text = content.decode("utf-8", "replace")
    return text.replace("\0", "\ufffd").replace("\r\n", "\n")


def _decoded(raw: str) -> str:
    """A header's value on one line, its encoded words and its UTF-8 decoded."""
    text = _FOLD.sub(" ", raw).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if text.isascii():
        try:
            text = str(make_header(decode_header(text)))
        except (LookupError, ValueError, email.errors.MessageError):
            pass
    return _printable(text)


def _printable(text: str) -> str:
    """Without characters that move others about, or hide them."""
    return "".join(char if char.isprintable() or char in "\t\n" else "\ufffd" for char in text)
