"""The form in which a message is compared with what arrived: byte for byte but for the trace."""

from __future__ import annotations

from typing import Iterable, Tuple

TRACE = (b"return-path", b"delivered-to", b"x-original-to", b"received")


def _field_name(message: bytes, position: int) -> bytes:
    return message[position : position + 80].partition(b":")[0].lower()


def strip_headers(message: bytes, names: Iterable[bytes] = TRACE) -> bytes:
    """MESSAGE (LF lines) without the unbroken run of NAMES at its top, folded lines included."""
    wanted = tuple(names)
    position = 0
    while _field_name(message, position) in wanted:
        end = message.find(b"\n", position) + 1
        while end and message[end : end + 1] in (b" ", b"\t"):
            end = message.find(b"\n", end) + 1
        if not end:
            return b""
        position = end
    return message[position:]


def canonical(message: bytes) -> bytes:
    """What the sender meant: LF line ends (a bare CR counts as one, as on maildrain's wire), no
    trace fields that a server put on top, one end of line at the end."""
    text = message.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    text = strip_headers(text)
    return text if text.endswith(b"\n") or not text else text + b"\n"


def without_block(spooled: bytes) -> bytes:
    """A file of the spool without the X-Maildrain lines at its top."""
    text = spooled.replace(b"\r\n", b"\n")
    names: Tuple[bytes, ...] = tuple(
        b"x-maildrain-" + name for name in (b"from", b"to", b"done", b"failed", b"relay")
    )
    return strip_headers(text, names)
