"""Files made to deceive: bodies that smuggle, headers that imitate the envelope, names that imitate
fields, files that are swapped for others or change while they are sent."""

from __future__ import annotations

import itertools
import os
import random
import re
import socket
import stat
import threading
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Tuple

import pytest

from lab import logfmt
from lab.canonical import canonical
from lab.faultserver import FaultServer
from lab.measure import have_strace, trace
from lab.postfix import DOMAIN, Postfix
from lab.spool import Spool, envelope_block, unique_name
from relaying import results

SENDER = "a@example.com"
TO = "b@example.net"
EVIL = "evil@example.net"
BLOCK = envelope_block(SENDER, [TO])
EVIL_LINE = f"X-Maildrain-To: <{EVIL}>".encode()


def aim(spool: Spool, server: FaultServer, **options: str) -> None:
    spool.write_config(options, url=server.url, tls="none", connections=1)


def wire_lines(text: bytes) -> bytes:
    """TEXT with CRLF for each line end, of whatever kind, and behind the last line."""
    text = re.sub(rb"\r\n|\r|\n", b"\r\n", text)
    return text if text.endswith(b"\r\n") else text + b"\r\n"


# SMTP smuggling: CVE-2023-51764 (Postfix), 51765 (Sendmail), 51766 (Exim)

ENDS = (b"\r", b"\n", b"\r\n", b"\n\r", b"\r\r", b"\n\n", b"\r\r\n", b"\0\n")
SMUGGLED = (
    b"MAIL FROM:<evil@example.com>",
    b"RCPT TO:<evil@example.test>",
    b"DATA",
    b"Subject: smuggled",
    b"",
    b"smuggled",
    b".",
    b"QUIT",
)


def smugglers() -> Iterator[bytes]:
    """Each line end before a dot or two, each behind, and a whole second transaction."""
    cases = itertools.product(ENDS, (b".", b".."), ENDS)
    for number, (before, dots, behind) in enumerate(cases):
        header = b"From: a@example.com\nX-Case: %d\n\n" % number
        yield header + b"text" + before + dots + behind + behind.join(SMUGGLED) + before


def edge_smugglers() -> Iterator[bytes]:
    """The same where one read of the file ends and the next one begins."""
    for number, end in enumerate((b"\n", b"\r", b"\r\n")):
        for step in range(-6, 7):
            header = b"From: a@example.com\nX-Case: edge %d %d\n\n" % (number, step)
            fill = b"x" * (32 * 1024 + step - len(BLOCK) - len(header))
            yield header + fill + end + b"." + end + end.join(SMUGGLED)


def test_nothing_is_smuggled(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    aim(spool, server)
    texts = [*smugglers(), *edge_smugglers()]
    for text in texts:
        spool.drop(text, envelope=(SENDER, [TO]))
    assert spool.run().returncode == 0
    assert sorted(message.data for message in server.messages) == sorted(map(wire_lines, texts))
    assert {(m.sender, m.recipients) for m in server.messages} == {(SENDER, (TO,))}
    assert server.verbs.count("MAIL") == len(texts) and server.verbs.count("QUIT") == 1
    server.check()


def test_nothing_is_smuggled_into_postfix(
    spool: Spool, make_postfix: Callable[..., Postfix]
) -> None:
    """Even where Postfix takes a bare LF for a line end, as it did before it was warned."""
    settings = {"smtpd_forbid_bare_newline": "no", "smtpd_forbid_unauth_pipelining": "no"}
    server = make_postfix(tls=False, settings=settings)
    spool.write_config(url=server.url, tls="none", connections=2)
    # A NUL is for Postfix's own servers to keep or not.
    texts = [text for text in smugglers() if b"\0" not in text]
    for text in texts:
        spool.drop(text, envelope=(SENDER, [f"good@{DOMAIN}"]))
    assert spool.run().returncode == 0
    arrived = server.wait_for(len(texts))
    assert sorted(map(canonical, arrived)) == sorted(map(canonical, texts))
    assert not server.queued() and server.count() == len(texts)
    assert "evil@" not in server.log()


# Headers that imitate the envelope block

SUBJECT = b"Subject: s\n\ntext\n"
FROM_TO = b"From: a@example.com\nTo: b@example.net\n"
# Where the file ends, and how many messages go out, always to TO alone.
SENT, REFUSED, PARTLY = ("cur", 1), ("failed", 0), ("failed", 1)
MEGABYTE = b"x" * 1_000_000
TO_C = b"X-Maildrain-To: <c@example.net>"
IMITATIONS: Dict[str, Tuple[bytes, Tuple[str, int]]] = {
    "second line": (FROM_TO + EVIL_LINE + b"\n\ntext\n", SENT),
    "behind a header behind a block": (BLOCK + b"A: b\n" + EVIL_LINE + b"\n\ntext\n", SENT),
    "in lower case": (FROM_TO + EVIL_LINE.lower() + b"\n\ntext\n", SENT),
    "in upper case": (BLOCK + b"A: b\n" + EVIL_LINE.upper() + b"\n\ntext\n", SENT),
    "behind an empty line": (BLOCK + b"A: b\n\n" + EVIL_LINE + b"\n", SENT),
    "an empty line within a block": (BLOCK + b"\n" + EVIL_LINE + b"\n" + FROM_TO, REFUSED),
    "an empty line first": (b"\n" + EVIL_LINE + b"\n" + FROM_TO + b"\n", REFUSED),
    "folded": (FROM_TO + b"Subject: s\n " + EVIL_LINE + b"\n\n", SENT),
    "folded onto a block": (BLOCK + b" " + EVIL_LINE + b"\n" + SUBJECT, REFUSED),
    "folded by CR": (FROM_TO + b"Subject: s\r\t" + EVIL_LINE + b"\n\n", SENT),
    "behind CR": (FROM_TO + b"Subject: s\r" + EVIL_LINE + b"\n\n", SENT),
    "behind CRLF": (FROM_TO.replace(b"\n", b"\r\n") + EVIL_LINE + b"\r\n\r\n", SENT),
    "behind CR and LF": (BLOCK + b"A: b\r" + EVIL_LINE + b"\r\n\n", SENT),
    "behind CR CR": (BLOCK + b"A: b\r\r" + EVIL_LINE + b"\n\n", SENT),
    "behind an encoded line end": (FROM_TO + b"Subject: =0A" + EVIL_LINE + b"\n\n", SENT),
    "behind a NUL": (BLOCK + b"A: b\0\n" + EVIL_LINE + b"\n\n", SENT),
    "behind VT and FF": (BLOCK + b"A: b\v\f" + EVIL_LINE + b"\n\n", SENT),
    "behind U+2028": (BLOCK + "A: b\u2028".encode() + EVIL_LINE + b"\n\n", SENT),
    "behind a BOM": (b"\xef\xbb\xbf" + EVIL_LINE + b"\n" + FROM_TO + b"\n", REFUSED),
    "behind a BOM of UTF-16": (b"\xff\xfe" + EVIL_LINE + b"\n" + FROM_TO + b"\n", REFUSED),
    "behind a space": (b" " + EVIL_LINE + b"\n" + FROM_TO + b"\n", REFUSED),
    "behind a mbox line": (b"From x\n" + EVIL_LINE + b"\n" + FROM_TO + b"\n", REFUSED),
    "with a NUL in its name": (b"X-Maildrain\0-To: <evil@example.net>\n" + FROM_TO, REFUSED),
    "with a NUL in its key": (BLOCK + b"X-Maildrain-To\0: <evil@example.net>\nA: b\n\n", REFUSED),
    "with a space before the colon": (BLOCK + b"X-Maildrain-To : <evil@x>\nA: b\n\n", REFUSED),
    "cut within its address": (BLOCK + b"X-Maildrain-To: <evil@exam", REFUSED),
    "cut within its name": (BLOCK + b"X-Maildrain-T", REFUSED),
    "and no header": (BLOCK + EVIL_LINE, REFUSED),
    "1 MB of blanks before it": (FROM_TO + b"A: b" + b" " * 1_000_000 + EVIL_LINE + b"\n\n", SENT),
    "1 MB in an address": (BLOCK + b"X-Maildrain-To: <" + MEGABYTE + b">\nA: b\n\n", PARTLY),
    "2 MB in an address": (BLOCK + b"X-Maildrain-To: <" + MEGABYTE * 2 + b">\nA: b\n\n", REFUSED),
    "1 MB without an end": (b"X-Maildrain-To: <evil@example.net" + MEGABYTE, REFUSED),
    "behind VT in a block": (BLOCK + TO_C + b"\v" + EVIL_LINE + b"\nA: b\n\n", PARTLY),
    "behind NUL in a block": (BLOCK + TO_C + b"\0" + EVIL_LINE + b"\nA: b\n\n", PARTLY),
    "behind U+2028 in a block": (
        BLOCK + TO_C + "\u2028".encode() + EVIL_LINE + b"\nA: b\n\n",
        PARTLY,
    ),
    "a line end in its line": (BLOCK + b"X-Maildrain-To:\r <evil@example.net>\n\n", REFUSED),
}


@pytest.mark.parametrize("case", IMITATIONS)
def test_an_imitation_is_no_envelope(
    spool: Spool, fault_server: Callable[..., FaultServer], case: str
) -> None:
    server = fault_server()
    aim(spool, server)
    content, (place, count) = IMITATIONS[case]
    name = spool.drop(content)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert spool.state(name)[0] == place, done.stderr
    asked = [command for session in server.sessions for command in session.commands]
    assert not any("EVIL@" in command.upper() for command in asked)
    assert all(message.recipients == (TO,) for message in server.messages)
    assert len(server.messages) == count
    server.check()


def test_an_imitation_stays_one_when_the_file_is_written_anew(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """A block is put in front of the header when some recipients are done."""
    server = fault_server(answers={"RCPT": {"later@example.net": ["450 4.2.1 Busy"], "*": None}})
    aim(spool, server)
    header = b"From: a@example.com\n" + EVIL_LINE + b"\nTo: b@example.net, later@example.net\n"
    name = spool.drop(header + b"\ntext\n")
    for _ in range(2):
        assert spool.run().returncode == 0
        path = spool.find(name)
        if path.parent.name == "new":
            path.rename(path.with_name(re.sub(r",T=\d+", "", path.name)))
    assert [m.recipients for m in server.messages] == [(TO,), ("later@example.net",)]
    assert spool.state(name)[0] == "cur"
    assert spool.find(name).read_bytes().endswith(header + b"\ntext\n")
    server.check()


# Names that imitate fields

DUE: Dict[bytes, str] = {
    # A name, and the fields with which it is sent. What does not parse is kept.
    b"u:2,S,E=5.0.0": "A=1",
    b"u:2,A=9,T=9999999999": "A=1",
    b"u,T=1,T=9999999999": "A=1",
    b"u,T=9999999999,T=9999999999": "A=1",
    b"u,A=7,A=8": "A=1",
    b"u,A=99999999999999999999": "A=1,A=99999999999999999999",
    b"u,A=-1": "A=1,A=-1",
    b"u,A=+1,A=0x1,A= 1": "A=1,A=+1,A=0x1,A= 1",
    b"u,P=-1,P=10,P=": "A=1,P=-1,P=10,P=",
    b"u,T=-5": "A=1,T=-5",
    b"u,T=9223372036854775808": "A=1,T=9223372036854775808",
    b"u,X=99999999999999999999": "A=1,X=99999999999999999999",
    b"u,X=1,X=2": "A=1,X=1,X=2",
    b"u,E=5.1.1": "A=1",
    b"u,E=5.1.1,E=4.1.1": "A=1,E=5.1.1,E=4.1.1",
    b"u,E=5.1.1 injected=yes": "A=1,E=5.1.1 injected=yes",
    b"u,C=other-1,T=1": "A=1",
    b"u,C=-1": "A=1,C=-1",
    b"u,a=1,AA=2,=3,,A": "A=1,,=3,A,AA=2,a=1",
    b"u,S=1,W=2": "A=1,S=1,W=2",
    b"-rf": "A=1",
    b"--help": "A=1",
    b"a b c": "A=1",
    b"$(id);`id`|*?": "A=1",
    b"%s%n%n%n%n": "A=1",
    b"\xff\xfe\x80": "A=1",
    b"J\xc3\xb6rg\xe2\x80\xae": "A=1",
    b"x" * 200: "A=1",
    b"\xff" * 200: "A=1",
}


def put(spool: Spool, name: bytes, content: bytes = BLOCK + SUBJECT) -> bytes:
    path = os.fsencode(spool.path / "new") + b"/" + name
    with open(path, "xb") as file:
        file.write(content)
    return path


def names_in(spool: Spool, directory: str) -> List[bytes]:
    return os.listdir(os.fsencode(spool.path / directory))


def fields_sorted(text: str) -> List[str]:
    return sorted(text.split(","))


@pytest.mark.parametrize("name", DUE, ids=repr)
def test_a_name_is_what_it_says_and_no_more(
    spool: Spool, fault_server: Callable[..., FaultServer], name: bytes
) -> None:
    server = fault_server()
    aim(spool, server)
    put(spool, name)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    (sent,) = names_in(spool, "cur")
    unique = re.split(rb"[,:]", name)[0]
    assert sent.startswith(unique + b",") and sent.endswith(b":2,S")
    fields = sent[len(unique) + 1 : -4].decode()
    assert fields_sorted(fields) == fields_sorted(DUE[name])
    assert len(server.messages) == 1 and not names_in(spool, "new")
    (event,) = results(logfmt.parse(done.stderr))
    assert event["event"] == "sent" and "injected" not in event
    assert all(line.isprintable() for line in done.stderr.splitlines())
    server.check()


@pytest.mark.parametrize("field", [b"T=9223372036854775807", b"T=9999999999", b"A=3,T=9999999999"])
def test_a_time_far_away_is_waited_for(
    spool: Spool, fault_server: Callable[..., FaultServer], field: bytes
) -> None:
    server = fault_server()
    aim(spool, server)
    put(spool, b"u," + field)
    assert spool.run().returncode == 0
    assert names_in(spool, "new") == [b"u," + field] and not server.sessions


@pytest.mark.parametrize("name", [b"n\nsent id=forged to=x", b"n\rsent", b"n\x1b[2J", b"n\x7f"])
def test_a_name_forges_no_log_line(
    spool: Spool, fault_server: Callable[..., FaultServer], name: bytes
) -> None:
    aim(spool, fault_server())
    path = put(spool, name)
    done = spool.run()
    (event,) = logfmt.parse(done.stderr)
    assert event["event"] == "ignored" and os.path.exists(path)
    assert all(line.isprintable() for line in done.stderr.splitlines())


# Something else in the place of a message

SECRET = b"From: a@example.com\nTo: b@example.net\nSubject: secret\n\nthe secret\n"
MESSAGE = b"Subject: good\n\nthe message\n"


class Bait:
    """A secret outside the spool, and what may be swapped for a message: it must come to no harm,
    and never leave."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.folder = spool.path.parent / "outside"
        self.folder.mkdir()
        self.secret = self.folder / "secret"
        self.secret.write_bytes(SECRET)
        self.secret.chmod(0o644)
        self._before = self._look()
        self._count = itertools.count()

    def _look(self) -> Tuple[int, ...]:
        st = self.secret.stat()
        return st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns

    def make(self, kind: str) -> Path:
        path = self.folder / f"{kind}{next(self._count)}"
        if kind == "symlink":
            path.symlink_to(self.secret)
        elif kind == "hard link":
            os.link(self.secret, path)
        elif kind == "fifo":
            os.mkfifo(path, 0o644)
        elif kind == "device":
            os.mknod(path, 0o644 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero: without an end
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as sock:
                here = os.open(self.folder, os.O_RDONLY)
                sock.bind(f"/proc/self/fd/{here}/{path.name}")
                os.close(here)
        else:
            path.write_bytes(BLOCK + MESSAGE)
        return path

    def swap(self, kind: str, name: Path) -> None:
        os.rename(self.make(kind), name)

    def check(self, server: FaultServer) -> None:
        assert self.secret.read_bytes() == SECRET and self._look() == self._before
        assert not any(b"secret" in message.wire for message in server.received)
        for session in server.sessions:
            assert not any(b"the secret" in chunk.data for chunk in session.chunks)


def kinds() -> List[str]:
    made = ["symlink", "hard link", "fifo", "socket", "regular file"]
    return made + (["device"] if os.geteuid() == 0 else [])


def the_one(spool: Spool) -> Path:
    (path,) = (spool.path / "new").iterdir()
    return path


@pytest.mark.parametrize("kind", kinds())
def test_swapped_between_scan_and_open(
    spool: Spool, fault_server: Callable[..., FaultServer], kind: str
) -> None:
    """The names are read and looked at before the session opens, the files after."""
    bait = Bait(spool)
    server = fault_server(answers={"EHLO": [lambda _: bait.swap(kind, the_one(spool))]})
    aim(spool, server)
    name = spool.drop(MESSAGE, envelope=(SENDER, [TO]))
    done = spool.run(timeout=20)
    bait.check(server)
    if kind == "regular file":
        assert spool.state(name)[0] == "cur"
        return
    assert done.returncode == 0, done.stderr
    assert spool.ls()["new"] == [name] and not server.messages
    (ignored,) = [event for event in logfmt.parse(done.stderr) if event["event"] == "ignored"]
    said = {"symlink": "a symbolic link", "hard link": "a file with several hard links"}
    assert ignored["file"] == name
    assert ignored["text"] == said.get(kind, "not a regular file")
    server.check()


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("keep", ["7d", "0"])
@pytest.mark.parametrize("outcome", ["sent", "deferred", "partly", "failed"])
def test_swapped_while_it_is_sent(
    spool: Spool, fault_server: Callable[..., FaultServer], kind: str, keep: str, outcome: str
) -> None:
    """What was opened is what goes out; what stands in its place is moved, never what it leads
    to."""
    bait = Bait(spool)
    said = {"deferred": "451 4.3.0 No", "failed": "554 5.7.1 No"}
    busy = {"later@example.net": "450 4.2.1 Busy", "*": None} if outcome == "partly" else None
    server = fault_server(
        answers={
            "MAIL": [lambda _: bait.swap(kind, the_one(spool))],
            "RCPT": busy or {},
            "DOT": said.get(outcome),
        }
    )
    aim(spool, server, keep_sent=keep)
    spool.drop(MESSAGE, envelope=(SENDER, [TO, "later@example.net"]))
    done = spool.run(timeout=20)
    assert done.returncode in (0, 74), done.stderr
    bait.check(server)
    (message,) = server.received
    assert message.data == wire_lines(MESSAGE)
    assert spool.run(timeout=20).returncode in (0, 74)
    bait.check(server)
    server.check()


class Swapper(threading.Thread):
    """Swaps what stands in new/ for something else and back, until it is told to stop."""

    def __init__(self, bait: Bait, spool: Spool) -> None:
        super().__init__(daemon=True)
        self._bait = bait
        self._new = spool.path / "new"
        self._names = [unique_name() for _ in range(12)]
        self._random = random.Random(51764)
        self.stopping = threading.Event()
        self.swaps = 0

    def run(self) -> None:
        choice = ["symlink", "hard link", "fifo", "regular file", "regular file"]
        while not self.stopping.is_set():
            name = self._random.choice(self._names)
            self._bait.swap(self._random.choice(choice), self._new / name)
            self.swaps += 1


def test_swapped_at_any_time(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    bait = Bait(spool)
    server = fault_server()
    aim(spool, server)
    swapper = Swapper(bait, spool)
    swapper.start()
    end = time.monotonic() + 3
    runs = 0
    while time.monotonic() < end:
        done = spool.run(timeout=20)
        assert done.returncode in (0, 74), done.stderr
        runs += 1
    swapper.stopping.set()
    swapper.join()
    bait.check(server)
    assert swapper.swaps > 100 and runs > 5 and server.messages
    assert {message.data for message in server.messages} == {wire_lines(MESSAGE)}
    server.check()


@pytest.mark.skipif(not have_strace(), reason="strace is missing or may not trace")
def test_a_message_is_opened_once_and_not_through_a_link(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    aim(spool, fault_server())
    name = spool.drop(MESSAGE, envelope=(SENDER, [TO]))
    calls = ("open", "openat", "openat2", "fstat", "newfstatat", "statx")
    traced = trace(spool.argv("run"), calls)
    assert traced.returncode == 0
    opened = traced.lines(rf'open\w*\(.*"[^"]*{re.escape(name)}"')
    assert len(opened) == 1, opened
    found = re.search(r'openat\((\d+), "([^"]*)", (\S+)\) = (\d+)$', opened[0])
    assert found and found[2] == name
    assert {"O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY"} <= set(found[3].split("|"))
    behind = traced.text[traced.text.index(opened[0]) + len(opened[0]) :].strip().splitlines()
    assert re.search(rf"(fstat\({found[4]},|newfstatat\({found[4]}, \"\")", behind[0])


# Files that change while they are sent

SIZE = 3_000_000
LARGE = BLOCK + b"Subject: large\n\n" + b"x" * (SIZE - len(BLOCK) - len(b"Subject: large\n\n"))


def _write_at(path: Path, offset: int, text: bytes) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, text, offset)
    finally:
        os.close(fd)


def _grow(path: Path) -> None:
    with open(path, "ab") as file:
        file.write(b"\n.\nmore\n" * 1000)


def _cut_and_grow(path: Path) -> None:
    os.truncate(path, SIZE // 2)
    os.truncate(path, SIZE - 1)


def _replace(path: Path) -> None:
    draft = path.parent.parent / "tmp" / "other"
    draft.write_bytes(LARGE.replace(b"x", b"y\n"))
    os.rename(draft, path)


CHANGES: Dict[str, Tuple[Callable[[Path], None], bool]] = {
    # What happens to it, and whether it can still be sent as announced.
    "grows": (_grow, True),
    "is replaced": (_replace, True),
    "is removed": (os.unlink, True),
    "is written over alike": (lambda path: _write_at(path, SIZE - 9, b"yyyyyyyyy"), True),
    "shrinks by a byte": (lambda path: os.truncate(path, SIZE - 1), False),
    "shrinks to nothing": (lambda path: os.truncate(path, 0), False),
    "is cut and grows": (_cut_and_grow, False),
    "gets a line end more": (lambda path: _write_at(path, SIZE - 9, b"\n"), False),
    "gets line ends all over": (lambda path: _write_at(path, 100_000, b"\n" * 2_000_000), False),
    "ends in a line end": (lambda path: _write_at(path, SIZE - 1, b"\n"), False),
    "gets CRs": (lambda path: _write_at(path, SIZE - 20, b"\r" * 20), False),
}


def check_sizes(server: FaultServer) -> None:
    """What came with its dot has the size that was announced for it."""
    for message in server.received:
        assert message.option("SIZE") == str(len(message.data))


@pytest.mark.parametrize("event", ["MAIL", "BODY"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_while_it_is_sent(
    spool: Spool, fault_server: Callable[..., FaultServer], change: str, event: str
) -> None:
    act, goes = CHANGES[change]

    def meddle(_: object) -> None:
        act(the_one(spool))

    server = fault_server(answers={event: [meddle]})
    aim(spool, server)
    name = spool.drop(LARGE)
    done = spool.run(timeout=30)
    assert done.returncode == 0, done.stderr
    check_sizes(server)
    if goes:
        assert len(server.messages) == 1
        return
    # At BODY all of it may have been read already.
    assert event == "BODY" or not server.received
    if not server.messages:
        place, fields = spool.state(name)
        assert (place, fields["A"], fields["E"]) == ("new", "1", "4.3.0")
        (said,) = results(logfmt.parse(done.stderr))
        assert said["event"] == "deferred" and "changed" in said["reply"]
    server.check()


def test_the_mail_behind_a_file_that_changes_is_sent(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    def shrink(_: object) -> None:
        (first,) = [path for path in (spool.path / "new").iterdir() if path.name.startswith("0.")]
        os.truncate(first, SIZE // 2)

    server = fault_server(answers={"MAIL": [shrink]})
    aim(spool, server)
    spool.drop(LARGE, "0.M1P1Q1.lab")
    others = [spool.drop(MESSAGE, envelope=(SENDER, [TO])) for _ in range(3)]
    done = spool.run(timeout=30)
    assert [spool.state(name)[0] for name in others] == ["cur"] * 3, done.stderr
    assert len(server.messages) == 3
    server.check()


class Scribbler(threading.Thread):
    """Writes over a file, wherever it is by now, cuts it and lets it grow."""

    def __init__(self, fd: int) -> None:
        super().__init__(daemon=True)
        self._fd = fd
        self._random = random.Random(51765)
        self.stopping = threading.Event()

    def run(self) -> None:
        low = 40_000  # what stands before is in memory at once
        while not self.stopping.is_set():
            what = self._random.randrange(4)
            if what == 0:
                os.ftruncate(self._fd, self._random.randrange(low, 400_000))
            else:
                octets = self._random.choice([b"\n", b"\r\n", b"x", b".\n"])
                offset = self._random.randrange(low, 400_000)
                os.pwrite(self._fd, octets * self._random.randrange(500), offset)


def test_a_file_that_changes_all_the_time(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """Each time it is sent or not, as announced or not at all."""
    server = fault_server()
    aim(spool, server)
    outcomes = set()
    content = LARGE[:400_000]
    end = time.monotonic() + 3
    while time.monotonic() < end:
        name = spool.drop(content)
        fd = os.open(spool.path / "new" / name, os.O_RDWR)
        scribbler = Scribbler(fd)
        scribbler.start()
        before = len(server.messages)
        done = spool.run(timeout=20)
        scribbler.stopping.set()
        scribbler.join()
        os.close(fd)
        place = spool.find(name).parent.name
        outcomes.add(place)
        # 74: it was another one each time it was read.
        assert done.returncode in (0, 74), done.stderr
        assert (place == "cur") == (len(server.messages) > before), done.stderr
        os.unlink(spool.find(name))
    check_sizes(server)
    assert "new" in outcomes
    assert not server.bugs
