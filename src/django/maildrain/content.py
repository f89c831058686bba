"""What the file of a message holds: the envelope, and the message behind it."""

from __future__ import annotations

import email.policy
import re
from email.errors import InvalidHeaderDefect
from email.headerregistry import AddressHeader
from typing import NamedTuple

import django
from django.core import mail
from django.utils.encoding import punycode

from . import options
from .options import Options

# Python's words for an address like "root", which is one to Django and to sendmail.
NO_DOMAIN = "addr-spec local part with no domain"

# An address that needs no parser. One with "=?" might be an encoded word to it.
BARE = re.compile(r"[\w!#$%&'*+/=^`{|}~-]+(\.[\w!#$%&'*+/=^`{|}~-]+)*@[\w-]+(\.[\w-]+)*", re.A)

# What would continue the envelope at the start of a message, and our names anywhere in its header.
FORGERY = re.compile(rb"\A[ \t]|(?:\A|[\r\n])x-maildrain-", re.IGNORECASE)


class Draft(NamedTuple):
    """A message that is ready to be written."""

    message: mail.EmailMessage  # as it was given, with its options
    data: bytes
    fields: str  # of the file's name, each with its comma


def draft(message: mail.EmailMessage, defaults: Options, given: Options) -> Draft:
    """ValueError where an option, an address or a header is wrong."""
    plain, headers = options.taken_out(message)
    chosen = options.merged(defaults, headers, given)
    return Draft(message, _render(plain, chosen), options.fields(chosen))


def _render(message: mail.EmailMessage, chosen: Options) -> bytes:
    """The whole file. The header has UTF-8 in it if the addresses need SMTPUTF8 anyway."""
    envelope = _envelope(message, chosen)
    policy = {} if envelope.isascii() else {"policy": email.policy.default.clone(utf8=True)}
    parsed = message.message(**policy if django.VERSION >= (6, 0) else {})
    del parsed["Bcc"]
    content = parsed.as_bytes()
    if FORGERY.search(re.split(rb"\n\r?\n", content, maxsplit=1)[0]):
        raise ValueError("Header names that start with X-Maildrain- are kept for the envelope")
    return envelope.encode() + bytes(content)


def _envelope(message: mail.EmailMessage, chosen: Options) -> str:
    """The block of lines that says who the message is from and who it is for."""
    sender = path(str(chosen.get("envelope_from", message.from_email)))
    recipients = dict.fromkeys(addr_spec(str(address)) for address in message.recipients())
    lines = [f"X-Maildrain-From: <{sender}>", *(f"X-Maildrain-To: <{to}>" for to in recipients)]
    relay = options.relay(chosen)
    if relay:
        lines.append(f"X-Maildrain-Relay: {relay}")
    return "\n".join(lines) + "\n"


def path(text: str) -> str:
    """The address that bounces go to; "" for the null sender, which is written "<>"."""
    return "" if text.strip() == "<>" else addr_spec(text)


def addr_spec(text: str) -> str:
    """The bare address in text, its domain in ASCII; ValueError unless it is exactly one."""
    if BARE.fullmatch(text):
        return text
    try:
        parsed = AddressHeader.value_parser(text)
        defects = [d for d in parsed.all_defects if isinstance(d, InvalidHeaderDefect)]
        mailboxes = parsed.all_mailboxes
    except Exception as error:  # Python's parser trips in many ways over what is no address
        raise ValueError(f"Invalid address {text!r}: it can't be parsed") from error
    if any(str(defect) != NO_DOMAIN for defect in defects):
        raise ValueError(f"Invalid address {text!r}: {'; '.join(map(str, defects))}")
    if len(mailboxes) != 1 or mailboxes[0].route or text.splitlines() != [text]:
        raise ValueError(f"Invalid address {text!r}: it must be one address, on one line")
    address = str(mailboxes[0].addr_spec)
    domain = mailboxes[0].domain or ""
    if not domain.isascii():
        address = address[: -len(domain)] + punycode(domain)
    if not address.isprintable() or "<" in address or ">" in address:
        raise ValueError(f"Invalid address {text!r}: control characters, '<' and '>' can't be sent")
    return address
