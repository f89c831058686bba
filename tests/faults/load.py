"""A spool with a message of every kind, the relay that answers each in its way, and the account of
what became of them.

	with Load(directory) as load:
		load.drop()
		…the run that meets with the fault…
		load.recover()
		load.account(row, may_repeat=1)
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Collection, Dict, Iterable, List, Mapping, Optional, Tuple

from lab.faultserver import DEFAULT_EHLO, FaultServer, Message
from lab.spool import Spool, fields_of, unique_name

from .report import Row

SENDER = "site@example.com"
SIZE_MAX = 20_000  # octets that the relay takes
RECOVERY_RUNS = 12
HOST = re.sub(r"[/:,=\x00-\x20]", "_", socket.gethostname())
DEAD_PID = 4_194_303  # the highest that Linux can have, never in use here
NOBODY = "no@example.net"
BUSY = "busy@example.net"
LATER = "later@example.net"
EHLO = tuple(
    f"SIZE {SIZE_MAX}" if line.startswith("SIZE") else line for line in DEFAULT_EHLO
)
ANSWERS: Dict[str, Any] = {
    "RCPT": {
        NOBODY: "550 5.1.1 Nobody of this name",
        LATER: ["451 4.2.2 Mailbox busy"],
        BUSY: ["451 4.2.1 Try again"],
    }
}
DASHES = b"-" * 79 + b"\n"

Key = Tuple[str, str]  # the case that a message is, and one of its recipients


@dataclass(frozen=True)
class Letter:
    """One message: who is to get it, and in which folder its file ends."""

    case: str
    to: Tuple[str, ...]
    served: Tuple[str, ...]
    ends: str


LETTERS = (
    *(Letter(f"plain{n}", (f"p{n}@example.net",), (f"p{n}@example.net",), "cur") for n in range(3)),
    Letter("partial", ("x@example.net", NOBODY, LATER), ("x@example.net", LATER), "failed"),
    Letter("deferred", (BUSY,), (BUSY,), "cur"),
    Letter("refused", (NOBODY,), (), "failed"),
    Letter("expired", ("e@example.net",), (), "failed"),
    Letter("large", ("l@example.net",), (), "failed"),
    Letter("dead-claim", ("d@example.net",), ("d@example.net",), "cur"),
)
# A dump of stock Django: what stands before its O= has been imported by an earlier run.
DUMPED = ("dump1", "dump2")


def text(case: str, more: bytes = b"") -> bytes:
    """The message of CASE."""
    return f"From: {SENDER}\nX-Case: {case}\nSubject: x\n\nA line.\n".encode() + more


def _more(case: str) -> bytes:
    """What makes the large message too large."""
    return (b"x" * 70 + b"\n") * (SIZE_MAX // 71 + 2) if case == "large" else b""


def dump_record(case: str) -> bytes:
    """The same as stock Django dumps it, in an encoding that leaves no doubt where it ends."""
    header = f"""\
Content-Type: text/plain; charset="utf-8"
MIME-Version: 1.0
Content-Transfer-Encoding: base64
Subject: x
From: {SENDER}
To: {case}@example.net
X-Case: {case}

QSBsaW5lLgo=

"""
    return header.encode() + DASHES


def _case(data: bytes) -> str:
    found = re.search(rb"^X-Case: (\S+)", data, re.MULTILINE)
    return found[1].decode() if found else "?"


def _recipients(data: bytes) -> List[str]:
    """Those whom the file asks to be served: of its block, or else of its header."""
    header = data.partition(b"\n\n")[0]
    found = re.findall(rb"^X-Maildrain-To: <(.*)>", header, re.MULTILINE)
    if not header.startswith(b"X-Maildrain-"):
        found = re.findall(rb"^To: (\S+)", header, re.MULTILINE)
    return [to.decode() for to in found]


def _is_whole(data: bytes, letter: Optional[Letter]) -> bool:
    """Whether a file of the spool holds LETTER, or a record of the dump when that is None."""
    if letter is None:
        return data == dump_record(_case(data))[: -len(DASHES) - 1]
    lines = re.match(rb"(?:X-Maildrain-\w+: .*\n)*", data)
    block = lines[0] if lines else b""
    named = re.findall(rb"^X-Maildrain-(?:To|Done|Failed): <(.*?)>", block, re.MULTILINE)
    return data[len(block) :] == text(letter.case, _more(letter.case)) and sorted(
        to.decode() for to in named
    ) == sorted(letter.to)


class Load:
    """The spool, its relay and what is known of them. With PARTS that one is two relays, and
    takes a recipient at a time."""

    def __init__(
        self, directory: Path, *, connections: int = 1, parts: bool = False, **server: Any
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.spool = Spool(directory)
        self.server = FaultServer(**{"ehlo": EHLO, "answers": ANSWERS, **server})
        self.connections = connections
        self.parts = parts
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Load":
        self._stack.enter_context(self.server)
        self.aim()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def aim(self, **options: Any) -> None:
        """Writes the config: this relay, and OPTIONS of the top level."""
        relay = {"url": self.server.url, "tls": "none", "connections": self.connections}
        if not self.parts:
            self.spool.write_config(options, **relay)
            return
        relay["recipients_per_message"] = 1
        second = {"recipient": [LATER, "p1@example.net"], "relays": ["second"]}
        self.spool.write_config(
            options, relays={"main": relay, "second": relay}, routes={"second": second}
        )

    # Filling

    def drop(self) -> None:
        """Puts a letter of each kind into new/, and a dump that is half imported beside it."""
        for letter in LETTERS:
            name = unique_name()
            if letter.case == "expired":
                name += f",X={int(time.time()) - 60}"
            if letter.case == "dead-claim":
                name += f",A=1,C={HOST}-{DEAD_PID},T={int(time.time()) + 3000}"
            self.spool.drop(text(letter.case, _more(letter.case)), name, (SENDER, letter.to))
        self._dump()

    def _dump(self) -> None:
        before = dump_record("dump0")
        path = self.spool.path / f"20261122-101112-1234.log,O={len(before)}"
        path.write_bytes(before + b"".join(map(dump_record, DUMPED)))
        # Its last record is taken as whole when the file has rested for a while.
        os.utime(path, (time.time() - 60, time.time() - 60))

    # Recovering

    def make_due(self) -> None:
        """Takes T from what is deferred, as an operator would for "now"."""
        new = self.spool.path / "new"
        for name in os.listdir(new):
            fields = fields_of(name)
            if "T" in fields and "C" not in fields:
                os.rename(new / name, new / name.replace(f",T={fields['T']}", ""))

    def repair(self) -> None:
        """What a person does with a message whose partial result could not be written: notes who
        is served, as the log tells, and puts it back."""
        for path in (self.spool.path / "failed").glob("*,E=5.3.0*"):
            data = path.read_bytes()
            case = _case(data)
            for served in (to for got, to in self.delivered() if got == case):
                due, done = f"X-Maildrain-To: <{served}>\n", f"X-Maildrain-Done: <{served}> 250 Ok\n"
                data = data.replace(due.encode(), done.encode())
            path.write_bytes(data)
            os.rename(path, self.spool.path / "new" / path.name)

    def recover(self) -> List[str]:
        """Runs until new/ is empty or RECOVERY_RUNS have brought nothing about; what they said."""
        said: List[str] = []
        for _ in range(RECOVERY_RUNS):
            self.make_due()
            done = self.spool.run()
            said.append(done.stderr)
            if not os.listdir(self.spool.path / "new"):
                break
        return said

    # The account

    @staticmethod
    def expected() -> Mapping[Key, int]:
        """How often each recipient is to get each message."""
        served = {(letter.case, to): 1 for letter in LETTERS for to in letter.served}
        return {**served, **{(case, f"{case}@example.net"): 1 for case in DUMPED}}

    def delivered(self, messages: Optional[Iterable[Message]] = None) -> "Counter[Key]":
        """How often each recipient got each message; or counts only MESSAGES of the server."""
        return Counter(
            (_case(message.data), to)
            for message in (self.server.messages if messages is None else messages)
            for to in message.recipients
        )

    def ends(self) -> Dict[str, List[str]]:
        """The folders in which the files of each case stand now."""
        found: Dict[str, List[str]] = {}
        for folder in ("new", "cur", "failed"):
            for path in (self.spool.path / folder).iterdir():
                found.setdefault(_case(path.read_bytes()), []).append(folder)
        return found

    def to_serve(self, names: Optional[Collection[str]] = None) -> "Counter[Key]":
        """Who is still to get which message, by what stands in new/ (or by NAMES there): whatever
        a run has recorded is not in it."""
        return Counter(
            (_case(data), to)
            for name, data in self._files("new")
            if not fields_of(name).get("E", "").startswith("2")
            and (names is None or name in names)
            for to in _recipients(data)
        )

    def repeated(self) -> "Counter[Key]":
        """The deliveries to one that had the message already."""
        return self.delivered() - Counter(dict.fromkeys(self.delivered(), 1))

    def damaged(self) -> List[str]:
        """What is not as it was dropped, in new/, cur/ and failed/: cut short, or with recipients
        that the block has lost."""
        whole = {letter.case: letter for letter in LETTERS}
        return [
            f"{folder}/{name} is damaged"
            for folder in ("new", "cur", "failed")
            for name, data in self._files(folder)
            if not _is_whole(data, whole.get(_case(data)))
        ]

    def _files(self, folder: str) -> List[Tuple[str, bytes]]:
        directory = self.spool.path / folder
        return [(name, (directory / name).read_bytes()) for name in sorted(os.listdir(directory))]

    def account(
        self, row: Row, may_repeat: int = 0, where: str = "", gone: Collection[str] = ()
    ) -> None:
        """Adds this case to ROW, with MAY_REPEAT deliveries that could not be avoided. The cases
        GONE are sent and may have no file left."""
        expected, got, ends = self.expected(), self.delivered(), self.ends()
        lost = [key for key in expected if not got[key]]
        twice = sum(got[key] - 1 for key in expected if got[key] > 1)
        stuck = len(os.listdir(self.spool.path / "new"))
        row.add(len(lost), twice, stuck, may_repeat)
        problems = [f"lost {case} for {to}" for case, to in lost]
        problems += [f"sent although it must not be: {key}" for key in got if key not in expected]
        wanted = {letter.case: letter.ends for letter in LETTERS}
        wanted.update({case: "cur" for case in DUMPED})
        for case, folder in wanted.items():
            if ends.get(case) != [folder] and not (case in gone and case not in ends):
                problems.append(f"{case} ended in {ends.get(case)}, not {folder}")
        problems += self.server.violations + self.server.bugs
        row.problems += [f"{where}: {problem}" for problem in problems]
