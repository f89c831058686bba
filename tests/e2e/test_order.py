"""The order of writes, renames and fsyncs, as the system calls of real runs and drops show it.

What must be on the disk before what is told in maildrain-spool(5) and at the top of src/spool.h.
Order is a small state machine that reads a trace and collects the offences in it. The second half
of this file feeds it traces in which one step is missing or too early: it has to notice.
"""

from __future__ import annotations

import codecs
import re
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Set, Tuple

import pytest

from lab.django_site import DjangoSite
from lab.faultactions import Dribble
from lab.faultserver import FaultServer
from lab.faultsession import Session
from lab.measure import have_strace, trace
from lab.spool import Spool, fields_of, unique_name, unique_of

pytestmark = pytest.mark.skipif(not have_strace(), reason="needs strace, and leave to trace")

RESULTS_MAX = 100  # between two fsyncs
SECONDS_MAX = 1.0
SLACK = 0.3  # for a busy machine under strace
IN_BULK = 260  # more than are open at the same time
QUEUED = b"queued\n"  # what the Django snippet says once a message has been sent
CALLS = (
    *("openat", "write", "pwrite64", "writev", "copy_file_range", "sendfile", "fsync", "fdatasync"),
    *("rename", "renameat", "renameat2", "unlink", "unlinkat", "sendto", "recvfrom", "exit_group"),
)


# ---- a trace as calls ----


@dataclass(frozen=True)
class Call:
    """One system call that succeeded."""

    at: float  # seconds, when it began
    name: str
    paths: Tuple[str, ...]  # of its descriptors and names, whole
    data: bytes = b""  # the first string
    flags: str = ""  # its arguments without the strings
    result: int = 0


_LINE = re.compile(r"^(?:\d+ +)?(\d+\.\d+) (\w+)\((.*)\) += (-?\d+|\?)", re.S)
_STRING = r'"((?:[^"\\]|\\.)*)"(?:\.\.\.)?'
_AT = re.compile(rf"(?:AT_FDCWD|\d+)<([^>]*)>, {_STRING}")
_DESCRIPTOR = re.compile(r"^(\d+)<([^>]*)>")


def _unescape(text: str) -> bytes:
    return codecs.escape_decode(text.encode())[0]  # type: ignore[return-value]


def _joined(text: str) -> List[str]:
    """The lines, with each call that another thread's interrupted made whole where it ended."""
    begun: Dict[str, str] = {}
    lines = []
    for line in text.splitlines():
        pid = line.partition(" ")[0]
        if line.endswith("<unfinished ...>"):
            begun[pid] = line[: -len("<unfinished ...>")].rstrip()
            continue
        if match := re.search(r"<\.\.\. \w+ resumed>", line):
            line = begun.pop(pid, "") + line[match.end() :]
        lines.append(line)
    return lines


def _paths(name: str, arguments: str) -> Tuple[str, ...]:
    if name in ("rename", "unlink"):
        return tuple(_unescape(path).decode() for path in re.findall(_STRING, arguments))
    if name in ("openat", "unlinkat", "renameat", "renameat2"):
        found = _AT.findall(arguments)
        return tuple(str(Path(directory, _unescape(path).decode())) for directory, path in found)
    match = _DESCRIPTOR.match(arguments)
    return (match[2].removesuffix("(deleted)"),) if match else ()


def parse(text: str) -> List[Call]:
    """The calls in strace's TEXT that succeeded."""
    calls = []
    for match in filter(None, map(_LINE.match, _joined(text))):
        at, name, arguments, result = match.groups()
        if result.startswith("-"):
            continue
        string = re.search(_STRING, arguments)
        calls.append(
            Call(
                float(at),
                name,
                _paths(name, arguments),
                _unescape(string[1]) if string else b"",
                re.sub(_STRING, "", arguments),
                0 if result == "?" else int(result),
            )
        )
    return calls


# ---- the state machine ----


class Order:
    """Reads calls one by one; offences has what was out of order.

    SENDERS maps the sender of each letter that is in new/ from the start to its name; those of what
    is imported are learned on the way. WORDS are the relay's words that have to be read before a
    message goes anywhere but to cur/. MIXED are messages that have several kinds of results.
    TOGETHER: new messages wait for each other, and one sync of new/ is for all of them."""

    def __init__(
        self,
        spool: Path,
        senders: Optional[Mapping[str, str]] = None,
        words: Optional[Mapping[str, Sequence[str]]] = None,
        mixed: Sequence[str] = (),
        together: bool = False,
    ) -> None:
        self.spool = spool
        self.together = together
        self.offences: List[str] = []
        self.seen: "Counter[str]" = Counter()  # how often each kind of step was judged
        self._unique = {sender: unique_of(name) for sender, name in (senders or {}).items()}
        self._words = {unique_of(name): list(texts) for name, texts in (words or {}).items()}
        self._mixed = {unique_of(name) for name in mixed}
        self._drafts: Dict[str, bytes] = {}  # what was written to each file in tmp/
        self._unsynced_drafts: Set[str] = set()
        self._published: Dict[str, str] = {}  # folder: a new name in it that is not synced
        self._claimed: Set[str] = set()
        self._rewritten: Set[str] = set()
        self._changed: Set[str] = set()  # folders whose names changed since their fsync
        self._results: List[Tuple[float, str]] = []  # not synced: when, and in which folder
        self._late = False
        self._told = b""
        self._asked = b""
        self._mails = 0

    def read(self, calls: Sequence[Call]) -> "Order":
        for call in calls:
            self._check_age(call.at)
            self._step(call)
        return self

    def _offend(self, text: str) -> None:
        self.offences.append(text)

    def _step(self, call: Call) -> None:
        steps: Dict[str, Callable[[Call], None]] = {
            "openat": self._open,
            "sendto": self._send,
            "recvfrom": self._receive,
            "exit_group": self._exit,
        }
        if call.name in ("fsync", "fdatasync"):
            self._sync(call)
        elif call.name.startswith("rename"):
            self._rename(call)
        elif call.name.startswith("unlink"):
            self._unlink(call)
        elif call.name in steps:
            steps[call.name](call)
        else:
            self._write(call)

    def _place(self, path: str) -> Tuple[str, str]:
        """The folder and the name of PATH in the spool; ("", "") outside of it. The root is "."."""
        relative = Path(path).relative_to(self.spool) if self._inside(path) else None
        if relative is None:
            return "", ""
        parent = str(relative.parent)
        return parent, relative.name

    def _inside(self, path: str) -> bool:
        return Path(path).is_absolute() and self.spool in Path(path).parents

    # Files

    def _open(self, call: Call) -> None:
        if "O_CREAT" in call.flags and self._place(call.paths[0])[0] == "tmp":
            self._drafts[call.paths[0]] = b""
            self._unsynced_drafts.add(call.paths[0])

    def _write(self, call: Call) -> None:
        path = call.paths[0] if call.paths else ""
        if path in self._drafts:
            self._drafts[path] += call.data
            self._unsynced_drafts.add(path)
        elif QUEUED in call.data and not self._inside(path):
            self._queued()

    def _queued(self) -> None:
        self.seen["queued"] += 1
        for folder, name in self._published.items():
            self._offend(f"Django was told of {name} before {folder}/ was synced")

    def _sync(self, call: Call) -> None:
        path = call.paths[0]
        self.seen["sync " + (str(Path(path).name) if path not in self._drafts else "draft")] += 1
        self._unsynced_drafts.discard(path)
        folder = "." if Path(path) == self.spool else self._place(path)[1]
        if self._place(path)[0] in (".", "") and folder:
            self._published.pop(folder, None)
            self._changed.discard(folder)
            self._results = [result for result in self._results if result[1] != folder]
            self._late = False

    # Names

    def _rename(self, call: Call) -> None:
        (old_folder, old), (folder, name) = map(self._place, call.paths[:2])
        self._changed |= {old_folder, folder} & {"new", "cur", "failed", "."}
        if old_folder == "tmp":
            self._leave_tmp(call, folder, name)
        elif old_folder == "." and folder == ".":
            self._advance(old, name)
        elif old_folder == "new":
            self._change(call.at, old, folder, name)

    def _leave_tmp(self, call: Call, folder: str, name: str) -> None:
        path = call.paths[0]
        if path in self._unsynced_drafts:
            self._offend(f"{path} got the name {folder}/{name} before its data was synced")
        if "EXCHANGE" in call.flags or unique_of(name) in self._claimed:
            self.seen["rewrite"] += 1
            self._rewritten.add(unique_of(name))
            return
        self.seen["publish"] += 1
        if self.together:
            for other in self._unsynced_drafts - {path}:
                self._offend(f"{name} came before the data of {other} was synced")
        elif folder in self._published:
            self._offend(f"{name} came before {folder}/ was synced for {self._published[folder]}")
        self._published[folder] = name
        sender = re.search(rb"^From: (\S+)", self._drafts.get(path, b""), re.MULTILINE)
        if sender:
            self._unique[sender[1].decode()] = unique_of(name)

    def _advance(self, old: str, name: str) -> None:
        if fields_of(name).get("O", "0") in ("0", fields_of(old).get("O", "0")):
            return  # a claim of the dump, or its first name
        self.seen["advance"] += 1
        for folder, message in self._published.items():
            self._offend(f"the dump {name} went on before {folder}/ was synced for {message}")

    def _change(self, at: float, old: str, folder: str, name: str) -> None:
        unique, fields = unique_of(name), fields_of(name)
        if folder == "new" and "C" in fields:
            self.seen["claim"] += 1
            self._claimed.add(unique)
            self._rewritten.discard(unique)
            return
        if folder == "new" and fields.get("E") == fields_of(old).get("E"):
            self._claimed.discard(unique)  # released: no result
            return
        self._record(at, unique, folder, answered="C" in fields_of(old))

    def _unlink(self, call: Call) -> None:
        folder, name = self._place(call.paths[0])
        if folder == "new":
            self._changed.add("new")
            self._record(call.at, unique_of(name), "new", answered=True)

    def _record(self, at: float, unique: str, folder: str, answered: bool) -> None:
        """The result of a message stands in its name now. ANSWERED: the relay's, not our own."""
        self.seen[f"result in {folder}"] += 1
        self._results.append((at, folder))
        if len(self._results) > RESULTS_MAX:
            self._offend(f"{len(self._results)} results since the last fsync")
        if answered:
            self._check_answered(unique)
        if unique in self._mixed and unique not in self._rewritten:
            self._offend(f"{unique} changed its state before its file told who is served")
        self._claimed.discard(unique)

    def _check_answered(self, unique: str) -> None:
        sender = next((s for s, known in self._unique.items() if known == unique), "?")
        for word in self._words.get(unique, [f"Ok <{sender}>"]):
            if word.encode() not in self._told:
                self._offend(f"{unique} changed its state before the relay said {word!r}")

    def _check_age(self, now: float) -> None:
        if self._results and not self._late and now - self._results[0][0] > SECONDS_MAX + SLACK:
            age = now - self._results[0][0]
            self._offend(f"a result has not been synced for {age:.1f} s")
            self._late = True

    # The relay

    def _send(self, call: Call) -> None:
        self._asked += call.data
        mails = re.findall(rb"MAIL FROM:<([^>]*)>", self._asked)
        for sender in mails[self._mails :]:
            self.seen["mail"] += 1
            if self._unique.get(sender.decode()) not in self._claimed:
                self._offend(f"MAIL FROM:<{sender.decode()}> before its claim")
            if "." in self._changed:
                self._offend("mail is sent before the offset of a dump was synced")
        self._mails = len(mails)

    def _receive(self, call: Call) -> None:
        self._told += call.data

    def _exit(self, _: Call) -> None:
        self.seen["exit"] += 1
        for folder in sorted(self._changed):
            self._offend(f"the end, and {folder}/ was not synced")


# ---- real traces ----

DEFERRED = "busy@example.net"
REFUSED = "no@example.net"
DASHES = b"-" * 79 + b"\n"


@dataclass(frozen=True)
class Recorded:
    """The calls of one command, and what the checker must know of its spool."""

    spool: Path
    calls: Tuple[Call, ...]
    senders: Mapping[str, str]
    words: Mapping[str, Sequence[str]]
    mixed: Sequence[str]
    together: bool = False

    def judge(self, calls: Optional[Sequence[Call]] = None) -> Order:
        order = Order(self.spool, self.senders, self.words, self.mixed, self.together)
        return order.read(self.calls if calls is None else calls)


def _accept(session: Session) -> str:
    return f"250 2.0.0 Ok <{session.sender}>"


ANSWERS: Dict[str, Any] = {
    "RCPT": {DEFERRED: "451 4.2.1 Try <busy> again", REFUSED: "550 5.1.1 There is no <no>"},
    "DOT": _accept,
}


def _strace(argv: Sequence[str], env: Optional[Mapping[str, str]] = None) -> Tuple[Call, ...]:
    options = ("-y", "-ttt", "-s", "8192")
    done = trace(argv, CALLS, options=options, env=env)
    assert done.returncode == 0, done.stderr
    return tuple(parse(done.text))


class Letters:
    """What is dropped into a spool, as the checker has to know it."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.senders: Dict[str, str] = {}
        self.words: Dict[str, Sequence[str]] = {}
        self.mixed: List[str] = []

    def drop(self, sender: str, *to: str, words: Sequence[str] = (), more: str = "") -> None:
        name = self.spool.drop(
            f"From: {sender}\n\nA line.\n".encode(), unique_name() + more, (sender, to)
        )
        self.senders[sender] = name
        if words:
            self.words[name] = words

    def plain(self, count: int) -> None:
        for number in range(count):
            self.drop(f"s{number}@example.com", "b@example.net")

    def of_every_kind(self) -> None:
        busy, no = "Try <busy> again", "There is no <no>"
        for number in range(2):
            mine = f"mixed{number}@example.com"
            self.drop(mine, "b@example.net", REFUSED, DEFERRED, words=(busy, no, f"Ok <{mine}>"))
            self.mixed.append(self.senders[mine])
        self.drop("half@example.com", "b@example.net", REFUSED, words=(no, "Ok <half@example.com>"))
        self.mixed.append(self.senders["half@example.com"])
        self.drop("busy@example.com", DEFERRED, words=(busy,))
        self.drop("refused@example.com", REFUSED, words=(no,))
        self.drop("late@example.com", "b@example.net", more=f",X={int(time.time()) - 9}")

    def dump(self, count: int) -> None:
        header = 'Content-Type: text/plain; charset="utf-8"\nMIME-Version: 1.0\n'
        header += "Content-Transfer-Encoding: base64\nSubject: x\nTo: b@example.net\n"
        records = [f"{header}From: dump{n}@example.com\n\nQSBsaW5lLgo=\n\n" for n in range(count)]
        path = self.spool.path / "20261122-101112-1234.log"
        path.write_bytes(b"".join(record.encode() + DASHES for record in records))

    def record(self) -> Recorded:
        calls = _strace(self.spool.argv("run"))
        return Recorded(self.spool.path, calls, self.senders, self.words, self.mixed)


def _aim(spool: Spool, server: FaultServer, connections: int = 1, **options: str) -> None:
    spool.write_config(options, url=server.url, tls="none", connections=connections)


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A run over letters of every kind and a dump."""
    spool = Spool(tmp_path_factory.mktemp("site"))
    with FaultServer(answers=ANSWERS) as server:
        _aim(spool, server)
        letters = Letters(spool)
        letters.plain(5)
        letters.of_every_kind()
        letters.dump(3)
        return letters.record()


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A run over more letters than may wait for one fsync."""
    spool = Spool(tmp_path_factory.mktemp("site"))
    with FaultServer(answers=ANSWERS) as server:
        _aim(spool, server)
        letters = Letters(spool)
        letters.plain(RESULTS_MAX * 2 + 30)
        return letters.record()


DJANGO = """
import os
def letter(n):
    return EmailMessage("x", "text" * 3000, f"s{n}@example.com", ["b@example.net"])
connection = get_connection("maildrain.%s.EmailBackend")
connection.send_messages([letter(0)])
os.write(1, b"queued\\n")
connection.send_messages([letter(n) for n in range(1, %d)])
os.write(1, b"queued\\n")
"""


def _record_django(directory: Path, module: str, count: int) -> Recorded:
    """A Django that sends COUNT messages, in two calls."""
    spool = Spool(directory)
    site = DjangoSite(spool.path)
    calls = _strace(site.argv(DJANGO % (module, count)), site.env())
    return Recorded(spool.path, calls, {}, {}, (), together=module == "bulk")


@pytest.fixture(scope="module")
def dropped(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return _record_django(tmp_path_factory.mktemp("site"), "filebased", 3)


@pytest.fixture(scope="module")
def dropped_in_bulk(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return _record_django(tmp_path_factory.mktemp("site"), "bulk", IN_BULK)


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A message from standard input, in many pieces."""
    spool = Spool(tmp_path_factory.mktemp("site"))
    shell = ["sh", "-c", 'exec "$@" < /bin/sh', "sh"]
    calls = _strace([*shell, *spool.argv("submit", "-i", "b@example.net")])
    return Recorded(spool.path, calls, {}, {}, ())


def test_a_run_over_letters_of_every_kind(every_kind: Recorded) -> None:
    order = every_kind.judge()
    assert order.offences == []
    assert order.seen["claim"] == order.seen["mail"] == 13
    assert order.seen["result in cur"] == 8
    assert order.seen["result in new"] == 3
    assert order.seen["result in failed"] == 3
    assert order.seen["rewrite"] >= 3
    assert order.seen["publish"] == order.seen["advance"] == 3
    assert order.seen["exit"] == 1


def test_a_run_over_many(many: Recorded) -> None:
    order = many.judge()
    assert order.offences == []
    assert order.seen["mail"] == order.seen["result in cur"] == RESULTS_MAX * 2 + 30
    assert order.seen["sync cur"] >= 3


def test_a_run_with_several_connections(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    _aim(spool, fault_server(answers=ANSWERS), connections=8)
    letters = Letters(spool)
    letters.plain(RESULTS_MAX * 2)
    letters.of_every_kind()
    assert letters.record().judge().offences == []


def test_a_run_that_keeps_nothing(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    _aim(spool, fault_server(answers=ANSWERS), keep_sent="0")
    letters = Letters(spool)
    letters.plain(RESULTS_MAX + 20)
    order = letters.record().judge()
    assert order.offences == []
    assert order.seen["result in new"] == RESULTS_MAX + 20


@pytest.mark.parametrize("pause", [0.35, 0.7])
def test_a_result_waits_a_second_for_its_fsync_whatever_comes(
    spool: Spool, fault_server: Callable[..., FaultServer], pause: float
) -> None:
    """One letter is through; the reply to the next comes so slowly that no result follows."""
    slow = Dribble("250 2.0.0 Ok <s1@example.com>", pause=pause, size=int(30 * pause / 3) + 1)
    _aim(spool, fault_server(answers={"DOT": [_accept, slow]}))
    letters = Letters(spool)
    letters.plain(2)
    order = letters.record().judge()
    assert order.offences == []
    assert order.seen["sync cur"] == 2


def test_a_message_from_standard_input(submitted: Recorded) -> None:
    order = submitted.judge()
    assert order.offences == []
    assert order.seen["publish"] == order.seen["sync draft"] == order.seen["sync new"] == 1


def test_a_drop_of_django(dropped: Recorded) -> None:
    order = dropped.judge()
    # Python syncs no directory at its end: all is done when the call returns.
    assert [text for text in order.offences if not text.startswith("the end")] == []
    assert order.seen["publish"] == 3
    assert order.seen["queued"] == 2


def test_a_drop_in_bulk(dropped_in_bulk: Recorded) -> None:
    order = dropped_in_bulk.judge()
    assert [text for text in order.offences if not text.startswith("the end")] == []
    assert order.seen["publish"] == order.seen["sync draft"] == IN_BULK
    assert order.seen["sync new"] == order.seen["queued"] == 2


# ---- doctored traces ----

Calls = List[Call]


def _find(calls: Sequence[Call], name: str, *parts: str, after: int = 0) -> int:
    """The index of the first call NAME from AFTER on in which all PARTS occur."""
    for index in range(after, len(calls)):
        call = calls[index]
        if call.name == name and all(part in str(call) for part in parts):
            return index
    raise AssertionError(f"no {name} with {parts} in the trace")


def _last(calls: Sequence[Call], name: str, part: str) -> int:
    return max(i for i, call in enumerate(calls) if call.name == name and part in str(call))


def _without(calls: Sequence[Call], *gone: int) -> Calls:
    return [call for index, call in enumerate(calls) if index not in gone]


def _moved(calls: Sequence[Call], index: int, to: int) -> Calls:
    """With the call at INDEX standing before the one at TO; its time stays plausible."""
    rest = _without(calls, index)
    place = to if to < index else to - 1
    return [*rest[:place], replace(calls[index], at=calls[to].at), *rest[place:]]


def _syncs(calls: Sequence[Call], folder: str) -> List[int]:
    return [
        i
        for i, call in enumerate(calls)
        if call.name == "fsync" and Path(call.paths[0]).name == folder
    ]


def _no_sync_of(folder: str) -> Callable[[Sequence[Call]], Calls]:
    return lambda calls: _without(calls, *_syncs(calls, folder))


def _no_sync_of_draft(calls: Sequence[Call]) -> Calls:
    return _without(calls, _find(calls, "fsync", "/spool/tmp/"))


def _no_sync_of_rewrite(calls: Sequence[Call]) -> Calls:
    draft = calls[_find(calls, "renameat2", "EXCHANGE")].paths[0]
    return _without(calls, _find(calls, "fsync", draft))


def _sync_of_rewrite_too_late(calls: Sequence[Call]) -> Calls:
    exchange = _find(calls, "renameat2", "EXCHANGE")
    return _moved(calls, _find(calls, "fsync", calls[exchange].paths[0]), exchange + 1)


def _write_after_sync(calls: Sequence[Call]) -> Calls:
    exchange = _find(calls, "renameat2", "EXCHANGE")
    return _moved(calls, _find(calls, "write", calls[exchange].paths[0]), exchange)


def _no_rewrite(calls: Sequence[Call]) -> Calls:
    return _without(calls, _find(calls, "renameat2", "EXCHANGE"))


def _rewrite_after_state(calls: Sequence[Call]) -> Calls:
    exchange = _find(calls, "renameat2", "EXCHANGE")
    unique = unique_of(Path(calls[exchange].paths[1]).name)
    state = _find(calls, "renameat2", unique, after=exchange + 1)
    return _moved(calls, exchange, state + 1)


def _no_claim(calls: Sequence[Call]) -> Calls:
    return _without(calls, _find(calls, "renameat2", "A=1,C="))


def _claim_after_mail(calls: Sequence[Call]) -> Calls:
    return _moved(calls, _find(calls, "renameat2", "A=1,C="), _find(calls, "sendto", "MAIL") + 1)


def _second_claim_after_mail(calls: Sequence[Call]) -> Calls:
    """That of a message which is pipelined behind another."""
    claim = _find(calls, "renameat2", "A=1,C=", after=_find(calls, "renameat2", "A=1,C=") + 1)
    return _moved(calls, claim, _find(calls, "sendto", "MAIL", after=claim) + 1)


def _sent_before_reply(calls: Sequence[Call]) -> Calls:
    reply = _find(calls, "recvfrom", "250 2.0.0 Ok <")
    return _moved(calls, _find(calls, "renameat2", "/cur/"), reply)


def _sent_before_reply_of_others(calls: Sequence[Call]) -> Calls:
    """The relay has accepted another message, not this one."""
    index = _last(calls, "renameat2", "/cur/")
    return _moved(calls, index, _last(calls[:index], "recvfrom", "250 2.0.0 Ok <"))


def _deferred_before_reply(calls: Sequence[Call]) -> Calls:
    return _moved(calls, _find(calls, "renameat2", "E=4.2.1"), _find(calls, "recvfrom", "<busy>"))


def _failed_before_reply(calls: Sequence[Call]) -> Calls:
    index = _find(calls, "renameat2", "A=1,E=5.1.1")
    return _moved(calls, index, _find(calls, "recvfrom", "<no>"))


def _imported_not_synced(calls: Sequence[Call]) -> Calls:
    return _without(calls, _syncs(calls, "new")[0])


def _offset_before_sync(calls: Sequence[Call]) -> Calls:
    return _moved(calls, _syncs(calls, "new")[0], _find(calls, "sendto", "EHLO"))


def _offset_not_synced(calls: Sequence[Call]) -> Calls:
    return _without(calls, *_syncs(calls, "spool"))


def _last_sync_too_early(calls: Sequence[Call]) -> Calls:
    last = _syncs(calls, "cur")[-1]
    return _moved(calls, last, _last(calls, "renameat2", "/cur/"))


def _slow(calls: Sequence[Call]) -> Calls:
    """The same in no time at all, but for a pause behind the first result."""
    result = _find(calls, "renameat2", "/cur/")
    return [replace(c, at=1.5 * (i > result)) for i, c in enumerate(calls)]


DOCTORED: List[Tuple[Callable[[Sequence[Call]], Calls], str]] = [
    (_no_sync_of_draft, "before its data was synced"),
    (_no_sync_of_rewrite, "before its data was synced"),
    (_sync_of_rewrite_too_late, "before its data was synced"),
    (_write_after_sync, "before its data was synced"),
    (_no_rewrite, "before its file told who is served"),
    (_rewrite_after_state, "before its file told who is served"),
    (_no_claim, "before its claim"),
    (_claim_after_mail, "before its claim"),
    (_second_claim_after_mail, "before its claim"),
    (_sent_before_reply, "before the relay said"),
    (_sent_before_reply_of_others, "before the relay said"),
    (_deferred_before_reply, "before the relay said"),
    (_failed_before_reply, "before the relay said"),
    (_imported_not_synced, "before new/ was synced"),
    (_offset_before_sync, "before new/ was synced"),
    (_offset_not_synced, "before the offset of a dump was synced"),
    (_no_sync_of("cur"), "the end, and cur/ was not synced"),
    (_no_sync_of("failed"), "the end, and failed/ was not synced"),
    (_no_sync_of("new"), "the end, and new/ was not synced"),
    (_last_sync_too_early, "the end, and cur/ was not synced"),
    (_slow, "has not been synced for 1.5 s"),
]


@pytest.mark.parametrize("doctor, offence", DOCTORED)
def test_a_doctored_run_is_noticed(
    every_kind: Recorded, doctor: Callable[[Sequence[Call]], Calls], offence: str
) -> None:
    assert any(offence in text for text in every_kind.judge(doctor(every_kind.calls)).offences)


def test_a_missing_sync_between_many_results_is_noticed(many: Recorded) -> None:
    doctored = _without(many.calls, *_syncs(many.calls, "cur")[:-1])
    offences = many.judge(doctored).offences
    assert "101 results since the last fsync" in offences


def _sync_of_drop_too_late(calls: Sequence[Call]) -> Calls:
    draft = _find(calls, "fsync", "/spool/tmp/")
    return _moved(calls, draft, _find(calls, "rename", "/new/") + 1)


DOCTORED_DROPS: List[Tuple[Callable[[Sequence[Call]], Calls], str]] = [
    (_no_sync_of_draft, "before its data was synced"),
    (lambda calls: _without(calls, _syncs(calls, "new")[0]), "Django was told"),
    (lambda calls: _without(calls, _syncs(calls, "new")[1]), "before new/ was synced"),
    (lambda calls: _moved(calls, _syncs(calls, "new")[0], _find(calls, "rename", "/new/")), "told"),
    (lambda calls: _moved(calls, _syncs(calls, "new")[0], _syncs(calls, "new")[0] + 2), "told"),
    (_sync_of_drop_too_late, "before its data was synced"),
]


@pytest.mark.parametrize("doctor, offence", DOCTORED_DROPS)
def test_a_doctored_drop_is_noticed(
    dropped: Recorded, doctor: Callable[[Sequence[Call]], Calls], offence: str
) -> None:
    assert any(offence in text for text in dropped.judge(doctor(dropped.calls)).offences)


@pytest.mark.parametrize(
    "folder, offence", [("tmp", "before its data was synced"), ("new", "new/ was not synced")]
)
def test_a_missing_sync_of_a_submission_is_noticed(
    submitted: Recorded, folder: str, offence: str
) -> None:
    syncs = [
        n
        for n, call in enumerate(submitted.calls)
        if call.name == "fsync" and call.paths[0].startswith(f"{submitted.spool / folder}")
    ]
    (text,) = submitted.judge(_without(submitted.calls, *syncs)).offences
    assert len(syncs) == 1 and offence in text


def _last_draft_too_late(calls: Sequence[Call]) -> Calls:
    """Its own name comes after it still."""
    return _moved(calls, _last(calls, "fsync", "/spool/tmp/"), _last(calls, "rename", "/new/"))


DOCTORED_BULK: List[Tuple[Callable[[Sequence[Call]], Calls], str]] = [
    (_no_sync_of_draft, "before its data was synced"),
    (_last_draft_too_late, "came before the data of"),
    (lambda calls: _without(calls, _syncs(calls, "new")[1]), "Django was told"),
    (
        lambda calls: _moved(calls, _syncs(calls, "new")[1], _last(calls, "rename", "/new/")),
        "Django was told",
    ),
]


@pytest.mark.parametrize("doctor, offence", DOCTORED_BULK)
def test_a_doctored_drop_in_bulk_is_noticed(
    dropped_in_bulk: Recorded, doctor: Callable[[Sequence[Call]], Calls], offence: str
) -> None:
    offences = dropped_in_bulk.judge(doctor(dropped_in_bulk.calls)).offences
    assert any(offence in text for text in offences)
