"""What the backend left in a spool, read back with Python's own email package."""

from __future__ import annotations

import email
import email.message
import email.policy
from dataclasses import dataclass
from pathlib import Path
from typing import List


@dataclass
class Dropped:
    path: Path
    sender: str
    recipients: List[str]
    content: bytes  # the message behind the block, as it stands in the file
    relay: str = ""

    @property
    def unique(self) -> str:
        return self.path.name.split(",")[0]

    @property
    def fields(self) -> str:
        """What follows UNIQUE: ",P=1,T=1763790600"."""
        return self.path.name[len(self.unique) :]

    @property
    def message(self) -> email.message.EmailMessage:
        parsed = email.message_from_bytes(self.content, policy=email.policy.default)
        assert isinstance(parsed, email.message.EmailMessage)
        return parsed


def read(path: Path) -> Dropped:
    """Parses a file as maildrain-spool(5) says: the unbroken run of X-Maildrain- lines at its
    start is the envelope."""
    rest = path.read_bytes()
    dropped = Dropped(path, "", [], b"")
    assert rest[:12] == b"X-Maildrain-", path
    senders = 0
    while rest[:12].lower() == b"x-maildrain-":
        line, _, rest = rest.partition(b"\n")
        key, _, value = line.decode("utf-8").partition(": ")
        if key == "X-Maildrain-Relay":
            assert not dropped.relay and value
            dropped.relay = value
            continue
        assert value.startswith("<") and value.endswith(">"), line
        if key == "X-Maildrain-From":
            dropped.sender = value[1:-1]
            senders += 1
        else:
            assert key == "X-Maildrain-To", line
            dropped.recipients.append(value[1:-1])
    assert senders == 1, f"{path}: {senders} senders"
    dropped.content = rest
    return dropped


def read_all(spool: Path) -> List[Dropped]:
    """All messages in new/, oldest name first; tmp/ must be empty, and the root without files."""
    assert list((spool / "tmp").iterdir()) == []
    assert [path for path in spool.iterdir() if not path.is_dir()] == []
    return [read(path) for path in sorted((spool / "new").iterdir())]


def read_one(spool: Path) -> Dropped:
    found = read_all(spool)
    assert len(found) == 1
    return found[0]
