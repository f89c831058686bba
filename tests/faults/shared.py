"""Many senders at one spool (`shared_spool = true`): killed, stopped, with clocks that differ, on
file systems that lose answers. Each message is delivered once, save those whose final dot was out
when their sender died or stood still.

Every sender has a name of its own in EHLO, so the relay knows who delivered what; and what a sender
carried is read from the claims in the names at the moment of its death. The bound of unavoidable
repeats is the overlap of the two, for each message and recipient.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Set, Tuple

from lab import logfmt, net, repo
from lab.spool import Spool, config_text, envelope_block, fields_of

from .load import DEAD_PID, HOST, NOBODY, SENDER, dump_record
from .report import Row

SHIM = Path(__file__).with_name("lostanswer.c")
CLAIM = 10  # seconds; the shortest that the config takes
HOST_NAMES = ("mail-a", "mail-b")
FOREVER = 120.0  # seconds after which a wait of these tests is a failure

Key = Tuple[str, str]  # the case that a message is, and one of its recipients
Wrap = Callable[[List[str]], List[str]]  # makes a command line run somewhere else


# ---- the relay ----


class Hold:
    """Where the relay stands still for a recipient, once: "body", before it reads the body; or
    "dot", before its answer to the dot. Until `open` is set, or for SECONDS."""

    def __init__(self, where: str, seconds: Optional[float] = None) -> None:
        self.where = where
        self.seconds = seconds
        self.reached = threading.Event()
        self.open = threading.Event()

    def wait(self, where: str) -> None:
        if where == self.where and not self.reached.is_set():
            self.reached.set()
            self.open.wait(self.seconds or FOREVER)


class _Talk:
    """One connection: lines in, replies out, these held back while more commands have come."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._in = bytearray()
        self._out = bytearray()

    def say(self, *lines: str) -> None:
        self._out += "".join(f"{line}\r\n" for line in lines).encode()

    def flush(self) -> None:
        self.sock.sendall(self._out)
        self._out.clear()

    def _read(self) -> None:
        self.flush()
        octets = self.sock.recv(65536)
        if not octets:
            raise EOFError
        self._in += octets

    def until(self, end: bytes) -> bytes:
        searched = 0
        while (found := self._in.find(end, searched)) < 0:
            searched = max(0, len(self._in) - len(end))
            self._read()
        taken = bytes(self._in[: found + len(end)])
        del self._in[: found + len(end)]
        return taken


class Relay:
    """A fast SMTP server that counts. It refuses NOBODY, and anyone whose address starts with
    "busy-" or "later-" at the first time. HOLDS are by recipient."""

    def __init__(self, address: str = net.HOST, holds: Optional[Mapping[str, Hold]] = None) -> None:
        self.holds = dict(holds or {})
        self.delivered: "Counter[Tuple[str, str, str]]" = Counter()  # case, recipient, helo
        self.when: Dict[Tuple[str, str, str], float] = {}  # the same, of the last time
        self.cut = 0  # connections that were lost within a body
        self._seen: Set[str] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, 0), backlog=128)
        # Small, so that a body that is not read soon fills the sender's side too.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"smtp://{address}:{self._listener.getsockname()[1]}"
        self._open: Set[socket.socket] = set()
        self._threads: List[threading.Thread] = []

    def copies(self) -> "Counter[Key]":
        counted: "Counter[Key]" = Counter()
        for (case, to, _), number in self.delivered.items():
            counted[case, to] += number
        return counted

    def __enter__(self) -> "Relay":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for hold in self.holds.values():
            hold.open.set()
        with self._lock:
            for sock in (self._listener, *self._open):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(FOREVER)
        self._listener.close()

    def settle(self) -> None:
        """Waits until every connection has been read to its end: their clients are gone."""
        end = time.monotonic() + FOREVER
        while self._open and time.monotonic() < end:
            time.sleep(0.01)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(sock)
            self._start(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), sock:
            self._converse(_Talk(sock))
        with self._lock:
            self._open.discard(sock)

    def _converse(self, talk: _Talk) -> None:
        talk.say("220 lab.example ESMTP")
        helo, to = "", []
        while True:
            line = talk.until(b"\r\n").decode().rstrip()
            verb = line[:4].upper()
            if verb == "EHLO":
                helo = line[5:]
                talk.say("250-lab.example", "250-PIPELINING", "250 8BITMIME")
            elif verb == "RCPT":
                self._recipient(talk, line[line.index("<") + 1 : line.rindex(">")], to)
            elif verb == "DATA":
                self._body(talk, helo, to)
            elif verb == "QUIT":
                talk.say("221 2.0.0 Bye")
                talk.flush()
                return
            else:
                talk.say("250 2.0.0 Ok")
            if verb in ("MAIL", "RSET", "EHLO"):
                to = []

    def _recipient(self, talk: _Talk, address: str, to: List[str]) -> None:
        with self._lock:
            first = address not in self._seen
            self._seen.add(address)
        if address == NOBODY:
            talk.say("550 5.1.1 Nobody of this name")
        elif first and address.startswith(("busy-", "later-")):
            talk.say("451 4.2.1 Try again")
        else:
            to.append(address)
            talk.say("250 2.1.5 Ok")

    def _body(self, talk: _Talk, helo: str, to: List[str]) -> None:
        if not to:
            talk.say("554 5.5.1 No valid recipients")
            return
        talk.say("354 Go on")
        talk.flush()
        hold = next((self.holds[address] for address in to if address in self.holds), None)
        if hold:
            hold.wait("body")
        try:
            case = case_of(talk.until(b"\r\n.\r\n"))
        except (OSError, EOFError):
            self.cut += 1
            raise
        with self._lock:
            for address in to:
                self.delivered[case, address, helo] += 1
                self.when[case, address, helo] = time.time()
        if hold:
            hold.wait("dot")
        talk.say("250 2.0.0 Ok: queued")


# ---- the spool ----


@dataclass(frozen=True)
class Letter:
    """One message: who is to get it, who does, and the folder in which its file ends."""

    case: str
    to: Tuple[str, ...]
    served: Tuple[str, ...]
    ends: str = "cur"
    fields: str = ""  # of its name
    size: int = 0  # octets of its body


def plain(case: str, size: int = 0) -> Letter:
    to = f"{case}@example.net"
    return Letter(case, (to,), (to,), size=size)


def mixed(count: int) -> List[Letter]:
    """COUNT letters: most plain, some of every other kind."""
    return [_one_of_a_mix(number) for number in range(count)]


def _one_of_a_mix(number: int) -> Letter:
    case, kind = f"m{number}", number % 20
    to, later, busy = (f"{who}{case}@example.net" for who in ("", "later-", "busy-"))
    if kind == 3:
        return Letter(case, (to, NOBODY, later), (to, later), "failed")
    if kind == 7:
        return Letter(case, (busy,), (busy,))
    if kind == 11:
        return Letter(case, (NOBODY,), (), "failed")
    if kind == 13:
        fields = f",A=1,C={HOST}-{DEAD_PID},T={int(time.time()) + 3000}"
        return Letter(case, (to,), (to,), fields=fields)
    if kind == 17:
        return Letter(case, (to,), (to,), fields=f",A=1,C=elsewhere-1,T={int(time.time()) - 1}")
    return Letter(case, (to,), (to,))


_CASE = re.compile(rb"^X-Case: (\S+?)\r?$", re.MULTILINE)


def case_of(data: bytes) -> str:
    found = _CASE.search(data[:4096])
    return found[1].decode() if found else "?"


class Site:
    """A spool, its relay, and what is to come of the letters in it."""

    def __init__(self, directory: Path, relay: Relay, claim: str = "1h", keep: str = "7d") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.relay = relay
        self.spool = Spool(directory)
        self.path = self.spool.path
        self.options: Dict[str, str] = {"claim": claim, "keep_sent": keep}
        self.letters: Dict[str, Letter] = {}
        self.may_repeat: "Counter[Key]" = Counter()
        self._names = itertools.count()

    # Filling

    def drop(self, letters: Sequence[Letter]) -> None:
        """As writers do, but without waiting for the disk: no power is cut here."""
        for letter in letters:
            self.letters[letter.case] = letter
            name = f"{int(time.time())}.M{next(self._names):06}P{os.getpid()}Q0.lab{letter.fields}"
            draft = self.path / "tmp" / name
            head = envelope_block(SENDER, letter.to)
            body = b"x" * 75 + b"\n"
            draft.write_bytes(head + _text(letter.case) + body * (letter.size // 76))
            os.rename(draft, self.path / "new" / name)

    def dump(self, number: int, records: int) -> None:
        """A dump of stock Django that nobody writes to any more."""
        cases = [f"d{number}-{n}" for n in range(records)]
        for case in cases:
            self.letters[case] = plain(case)
        path = self.path / f"20261122-1011{number:02}-1234.log"
        path.write_bytes(b"".join(map(dump_record, cases)))
        os.utime(path, (time.time() - 60, time.time() - 60))

    def make_due(self) -> None:
        """Takes T from what is deferred, as an operator would for "now"."""
        new = self.path / "new"
        for name in os.listdir(new):
            fields = fields_of(name)
            if "T" in fields and "C" not in fields:
                with contextlib.suppress(FileNotFoundError):
                    os.rename(new / name, new / name.replace(f",T={fields['T']}", ""))

    # Sending

    def config(self, helo: str, url: Optional[str]) -> Path:
        path = self.directory / f"{helo}.conf"
        top = {"spool": self.path, "notify": [], "shared_spool": True, **self.options}
        relay = {"url": url or self.relay.url, "tls": "none", "connections": 2, "helo": helo}
        path.write_text(config_text(top, {"main": relay}))
        return path

    def start(
        self, helo: str, wrap: Optional[Wrap] = None, url: Optional[str] = None, **env: str
    ) -> "subprocess.Popen[bytes]":
        """A run of the sender HELO, which may reach the relay at another URL."""
        # What is preloaded and the sanitizers don't go together.
        program = repo.plain_program() if "LD_PRELOAD" in env else repo.program()
        argv = [str(program), "-c", str(self.config(helo, url)), "run"]
        with open(self.directory / f"{helo}.log", "ab") as said:
            return subprocess.Popen(
                wrap(argv) if wrap else argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env={**os.environ, **env},
            )

    def run(
        self, helo: str, wrap: Optional[Wrap] = None, url: Optional[str] = None, **env: str
    ) -> int:
        return self.start(helo, wrap, url, **env).wait(FOREVER)

    def recover(self) -> None:
        """Runs alone until new/ is empty or many runs have brought nothing about."""
        for number in range(12):
            self.make_due()
            if not self.spool.counts()["new"] and number:
                return
            self.run(f"last{number}")

    def claimed_by(self, process: int) -> Set[str]:
        """The cases that PROCESS of this host has claimed."""
        claim = f"{HOST}-{process}"
        new = self.path / "new"
        names = [name for name in os.listdir(new) if fields_of(name).get("C") == claim]
        return {case_of((new / name).read_bytes()) for name in names}

    # The account

    def said(self, event: str) -> List[str]:
        """Who logged EVENT, and in which words."""
        return [
            f"{log.stem}: {line}"
            for log in sorted(self.directory.glob("*.log"))
            for line in log.read_text(errors="replace").splitlines()
            if (logfmt.parse_line(line) or {}).get("event") == event
        ]

    def account(self, row: Row, where: str = "", vanished: Optional[int] = 0) -> None:
        """Adds this case to ROW: so many messages were to be taken from under their senders; None
        says that nobody can tell."""
        self.relay.settle()
        got = self.relay.copies()
        expected = {(case, to) for case, letter in self.letters.items() for to in letter.served}
        lost = [key for key in expected if not got[key]]
        twice = {key: got[key] - 1 for key in got if got[key] > 1}
        row.add(len(lost), sum(twice.values()), self.spool.counts()["new"], 0)
        row.may_repeat += sum(self.may_repeat.values())
        problems = [f"lost {key}" for key in lost]
        problems += [f"sent although it must not be: {key}" for key in got if key not in expected]
        problems += [
            f"{key}: sent {number + 1} times"
            for key, number in twice.items()
            if number > self.may_repeat[key]
        ]
        problems += self._ends() + self.said("error")
        if vanished is not None and len(self.said("vanished")) != vanished:
            problems += [f"{vanished} were to vanish", *self.said("vanished")]
        row.problems += [f"{where}: {problem}" for problem in problems]

    def _ends(self) -> List[str]:
        found: Dict[str, List[str]] = {}
        for folder in ("tmp", "new", "cur", "failed"):
            for path in (self.path / folder).iterdir():
                found.setdefault(case_of(path.read_bytes()), []).append(folder)
        problems = []
        for case, letter in self.letters.items():
            removed = letter.ends == "cur" and self.options["keep_sent"] == "0"
            wanted = [] if removed else [letter.ends]
            places = [place for place in found.get(case, []) if place != "tmp"]
            if places != wanted:
                problems.append(f"{case} ended in {places}, not {letter.ends}")
        return problems


def _text(case: str) -> bytes:
    return f"From: {SENDER}\nX-Case: {case}\nSubject: x\n\nA line.\n".encode()


# ---- many at once ----


class Fleet:
    """SIZE senders at work on SITE, each started anew when it ends. Kills one now and then."""

    def __init__(self, site: Site, size: int, seed: int, **env: str) -> None:
        self.site = site
        self.random = random.Random(seed)
        self.env = env
        self.kills = 0
        self.bad_ends: List[str] = []
        self._count = itertools.count()
        self._helo: Dict[int, str] = {}
        dumps = [path.stat().st_size for path in site.path.glob("*.log")]
        self._sizes = "|".join(map(str, dumps))
        self._ended: List[Tuple[Set[str], str]] = []  # what was claimed, by whom
        self._fleet = [self._start() for _ in range(size)]

    def _start(self) -> "subprocess.Popen[bytes]":
        helo = f"sender{next(self._count)}"
        process = self.site.start(helo, **self.env)
        self._helo[process.pid] = helo
        return process

    def drain(self, messages: int, kills: int, timeout: float) -> None:
        """Until new/ and the dumps are done. The KILLS come at random among the deliveries of so
        many MESSAGES."""
        end = time.monotonic() + timeout
        moments = sorted(self.random.sample(range(messages), kills))
        while time.monotonic() < end and not self._idle():
            self._revive()
            if moments and len(self.site.relay.delivered) >= moments[0]:
                moments.pop(0)
                self._kill(self.random.randrange(len(self._fleet)))
            self.site.make_due()
            time.sleep(0.01)
        for process in self._fleet:
            process.terminate()
            process.wait(FOREVER)

    def _idle(self) -> bool:
        return not self._dumps() and not os.listdir(self.site.path / "new")

    def _dumps(self) -> bool:
        """Whether one is not read to its end, as far as the names say."""
        return any(
            ".log" in name and not re.search(rf"\.log,O=({self._sizes})\Z", name)
            for name in os.listdir(self.site.path)
        )

    def _revive(self) -> None:
        for slot, process in enumerate(self._fleet):
            if process.poll() is not None:
                if process.returncode not in (0, -signal.SIGKILL):
                    self.bad_ends.append(f"exit status {process.returncode}")
                self._fleet[slot] = self._start()

    def _kill(self, slot: int) -> None:
        """While the dead process is not waited for it seems alive to the others, and its claims
        stay as they are to be read."""
        process = self._fleet[slot]
        os.kill(process.pid, signal.SIGKILL)  # Popen.kill would wait for one that has just ended
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self._ended.append((self.site.claimed_by(process.pid), self._helo[process.pid]))
        self.kills += process.wait() == -signal.SIGKILL

    def reckon(self) -> None:
        """Once all is over: what the kills may have repeated."""
        self.site.relay.settle()
        for claimed, helo in self._ended:
            for case, to, by in self.site.relay.delivered:
                if case in claimed and by == helo:
                    self.site.may_repeat[case, to] += 1


def _killed_row(short: bool, scratch: Path) -> Row:
    """Senders drain one spool while some of them are killed and more is dropped."""
    size, count, kills = (3, 600, 12) if short else (8, 20_000, 150)
    row = Row(f"{size} senders, one spool, kill -9 now and then")
    with Relay() as relay:
        site = Site(scratch / "killed", relay)
        letters = mixed(count)
        half = count // 2
        site.drop(letters[:half])
        for number in range(1 if short else 4):
            site.dump(number, 60 if short else 400)
        fleet = Fleet(site, size, seed=20261122)
        writer = threading.Thread(target=_drop_slowly, args=(site, letters[half:]))
        writer.start()
        fleet.drain(count, kills, 60 if short else 900)
        writer.join()
        site.recover()
        fleet.reckon()
        site.account(row)
    row.cases = fleet.kills
    row.problems += fleet.bad_ends
    return row


def _drop_slowly(site: Site, letters: Sequence[Letter]) -> None:
    for start in range(0, len(letters), 50):
        site.drop(letters[start : start + 50])
        time.sleep(0.02)


# ---- claims that end ----


def _at_once(tasks: Sequence[Callable[[], None]]) -> None:
    """They mostly wait."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def _slow_row(short: bool, scratch: Path) -> Row:
    """A send that takes longer than its claim holds, and others at the door all the time."""
    row = Row("a send outlasts its claim: renewed")
    seconds = CLAIM + 2.0 if short else CLAIM * 2.5

    def outlast(where: str) -> None:
        letters = [plain("slow", 8_000_000 if where == "body" else 0), plain("b"), plain("c")]
        hold = Hold(where, seconds)
        with Relay(holds={letters[0].to[0]: hold}) as relay:
            site = Site(scratch / f"slow-{where}", relay, claim=f"{CLAIM}s")
            site.drop(letters)
            first = site.start("first")
            started = hold.reached.wait(FOREVER)
            while first.poll() is None:
                site.run("other")
                time.sleep(0.2)
            site.account(row, where)
        names = os.listdir(site.path / "cur")
        row.problems += [f"{where}: charged again: {name}" for name in names if ",A=1:" not in name]
        if not started or relay.cut:
            row.problems.append(f"{where}: the slow send did not come about")

    _at_once([lambda: outlast("body"), lambda: outlast("dot")])
    return row


def until(done: Callable[[], bool], step: Callable[[], object], seconds: float = FOREVER) -> bool:
    """STEP again and again until DONE; False when that takes longer than SECONDS."""
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        step()
        time.sleep(0.2)
    return done()


def _stopped(site: Site, row: Row, hold: Hold, letter: Letter, where: str) -> None:
    """The first sender is stopped at HOLD until another has sent its message, then continued."""
    relay, to = site.relay, letter.to[0]
    site.drop([letter])
    first = site.start("first")
    hold.reached.wait(FOREVER)
    time.sleep(0.3)  # let it write all that the connection takes
    first.send_signal(signal.SIGSTOP)
    if hold.where == "body":
        hold.open.set()
    if not until(lambda: (letter.case, to, "other") in relay.when, lambda: site.run("other")):
        row.problems.append(f"{where}: no other sender took the message over")
    # By now the relay has read all that was there.
    out = relay.delivered[letter.case, to, "first"]
    first.send_signal(signal.SIGCONT)
    hold.open.set()
    first.wait(FOREVER)
    site.may_repeat[letter.case, to] = out
    site.account(row, where, vanished=1)
    if not out and relay.delivered[letter.case, to, "first"]:
        row.problems.append(f"{where}: the dot went out although the claim was gone")


def _stopped_rows(short: bool, scratch: Path) -> List[Row]:
    """With bodies of many sizes: what is left to be written when the sender is continued is once
    too much for the connection, once it goes out in one write."""
    before = Row("a sender stands still past its claim, in a body")
    after = Row("a sender stands still past its claim, the dot out")
    mega = 1_000_000
    sizes = [4, 8] if short else [1, 1.5, 2, 2.5, 2.75, 3, 3.25, 3.5, 4, 5, 6, 8]

    def stop(row: Row, where: str, size: float) -> None:
        letter = plain("stopped", int(size * mega))
        hold = Hold(where)
        with Relay(holds={letter.to[0]: hold}) as relay:
            site = Site(scratch / f"stopped-{where}-{size}", relay, claim=f"{CLAIM}s")
            _stopped(site, row, hold, letter, f"{where} of {size} MB")

    tasks = [functools.partial(stop, before, "body", size) for size in sizes]
    _at_once([*tasks, lambda: stop(after, "dot", 0)])
    return [before, after]


# ---- several hosts ----


def on_host(name: str) -> Wrap:
    """Runs a command under another host name."""
    unshare = ["unshare", "--uts"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    return lambda argv: [*unshare, "sh", "-c", 'hostname "$0" && exec "$@"', name, *argv]


def _can(argv: Sequence[str], what: str) -> bool:
    """Whether ARGV works; says what is left out if not."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        why = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why = str(error)
    if why:
        print(f"shared: left out: {what}: {why}", file=sys.stderr, flush=True)
    return not why


_SHOW_CLOCKS = "import time; print(time.time() - {now} > 1000, time.monotonic() - {mono} < 1000)"


def _fake_clock(offset: int) -> Optional[Dict[str, str]]:
    """The environment in which the wall clock, and it alone, is OFFSET seconds ahead."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        return None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{offset:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def _can_fake_clock() -> bool:
    env = _fake_clock(5000)
    said = "libfaketime is missing: install the package faketime"
    if env:
        code = _SHOW_CLOCKS.format(now=time.time(), mono=time.monotonic())
        argv = [sys.executable, "-I", "-c", code]
        done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, **env})
        said = done.stdout.strip()
    if said != "True True":
        print(f"shared: left out: clocks that differ: {said}", file=sys.stderr, flush=True)
    return said == "True True"


def _skewed_row(short: bool, scratch: Path) -> Row:
    row = Row("two hosts, clocks apart by less than half a claim")
    cases: List[Tuple[int, int, int, float]] = [(CLAIM, 4, 1, CLAIM + 1.0)]
    if not short:
        cases = [(CLAIM, 4, 8, CLAIM * 1.5), (CLAIM, -4, 8, CLAIM * 1.5), (600, 280, 0, 0)]

    def differ(claim: int, skew: int, slow: int, seconds: float) -> None:
        letters = [plain(f"s{n}", 4_000_000 * (n % 2)) for n in range(slow)]
        holds = {
            letter.to[0]: Hold("body" if letter.size else "dot", seconds) for letter in letters
        }
        with Relay(holds=holds) as relay:
            site = Site(scratch / f"skewed{claim}{skew}", relay, claim=f"{claim}s")
            # Not those with claims of a third host: they end at other times.
            site.drop(letters + [one for one in mixed(40 if short else 400) if not one.fields])
            _drain_on_hosts(site, skew)
            site.account(row, f"claim {claim} s, {skew} s apart")

    _at_once([functools.partial(differ, *case) for case in cases])
    return row


def _drain_on_hosts(site: Site, skew: int) -> None:
    """The second host's clock is SKEW seconds ahead. Whose clock is behind begins, and is at a slow
    message when the other comes: its claims are those that look old."""
    over = threading.Event()
    hosts: List[Tuple[str, Dict[str, str]]] = [(HOST_NAMES[0], {})]
    hosts.insert(skew > 0, (HOST_NAMES[1], _fake_clock(skew) or {}))

    def drain(host: str, env: Mapping[str, str]) -> None:
        while not over.is_set():
            site.run(host, on_host(host), **env)
            time.sleep(0.1)

    with ThreadPoolExecutor(2) as pool:
        for host in hosts:
            pool.submit(drain, *host)
            for hold in list(site.relay.holds.values())[:1]:
                hold.reached.wait(FOREVER)
        until(lambda: not site.spool.counts()["new"], site.make_due)
        over.set()


class _Namespace:
    """A host: a network namespace with a name of its own, joined to this one by a pair of virtual
    interfaces. It is there as long as the process that holds it."""

    def __init__(self, name: str, number: int) -> None:
        tag = f"md{os.getpid() % 100000}{number}"
        self.name, self.link = name, f"{tag}o"
        self.outside = f"10.213.{number}.1"
        inner = f"{tag}i"
        hold = 'hostname "$0" && echo ready && exec sleep 3600'
        self._holder = subprocess.Popen(
            ["unshare", "--uts", "--net", "sh", "-c", hold, name], stdout=subprocess.PIPE
        )
        assert self._holder.stdout and self._holder.stdout.readline() == b"ready\n"
        self._ip(f"link add {self.link} type veth peer name {inner}")
        self._ip(f"link set {inner} netns {self._holder.pid}")
        self._ip(f"addr add {self.outside}/24 dev {self.link}")
        self._ip(f"link set {self.link} up")
        self._ip(f"addr add 10.213.{number}.2/24 dev {inner}", inside=True)
        self._ip(f"link set {inner} up", inside=True)

    def wrap(self, argv: List[str]) -> List[str]:
        return ["nsenter", "-t", str(self._holder.pid), "--uts", "--net", *argv]

    def _ip(self, command: str, inside: bool = False) -> None:
        argv = ["ip", *command.split()]
        subprocess.run(self.wrap(argv) if inside else argv, check=True)

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        # With the namespace goes its end of the pair, and with that the other.
        subprocess.run(["ip", "link", "del", self.link], capture_output=True, check=False)


def _hosts_row(scratch: Path) -> Row:
    """One host dies with messages in flight; the other takes them when their claims end."""
    row = Row("two hosts, kill -9 on one: taken over by the other")
    count, stop_at = 60, 20
    letters = [plain(f"h{n}") for n in range(count)]
    hold = Hold("dot")
    with contextlib.ExitStack() as stack:
        hosts = []
        for number, name in enumerate(HOST_NAMES):
            hosts.append(_Namespace(name, number))
            stack.callback(hosts[-1].close)
        relay = stack.enter_context(Relay("0.0.0.0", {letters[stop_at].to[0]: hold}))
        site = Site(scratch / "hosts", relay, claim=f"{CLAIM}s")
        site.drop(letters)
        held = _kill_a_host(site, row, hosts, hold)
        holders = {fields_of(name).get("C", "") for name in os.listdir(site.path / "new")}
        if not held or len(holders) != 1 or not holders.pop().startswith(HOST_NAMES[0]):
            row.problems.append(f"not all that is left is held by the dead host: {holders}")
        until(lambda: not site.spool.counts()["new"], lambda: _run_on(site, hosts[1]))
        for case, (end, to) in held.items():
            site.may_repeat[case, to] = relay.delivered[case, to, HOST_NAMES[0]]
            if relay.when[case, to, HOST_NAMES[1]] < end:
                row.problems.append(f"{case} was taken over before its claim was over")
        site.account(row)
    return row


def _run_on(site: Site, host: _Namespace) -> int:
    port = site.relay.url.rpartition(":")[2]
    return site.run(host.name, host.wrap, url=f"smtp://{host.outside}:{port}")


def _kill_a_host(
    site: Site, row: Row, hosts: Sequence[_Namespace], hold: Hold
) -> Dict[str, Tuple[int, str]]:
    """What the first host holds in the end: until when, and for whom, by case."""
    port = site.relay.url.rpartition(":")[2]
    first = site.start(
        hosts[0].name, hosts[0].wrap, url=f"smtp://{hosts[0].outside}:{port}"
    )
    if not hold.reached.wait(FOREVER):
        row.problems.append("the first host never came to the message that holds it up")
    _run_on(site, hosts[1])  # the rest
    first.kill()
    first.wait()
    hold.open.set()
    held = {}
    for name in os.listdir(site.path / "new"):
        case = case_of((site.path / "new" / name).read_bytes())
        held[case] = (int(fields_of(name)["T"]), f"{case}@example.net")
    _run_on(site, hosts[1])
    return held


# ---- file systems ----


def _lost_answer_row(short: bool, scratch: Path) -> Optional[Row]:
    """Renames that were done and are said to have failed, every Nth of them."""
    row = Row("answers to rename and unlink lost, as on NFS")
    library = scratch / "lostanswer.so"
    build = ["cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", str(library)]
    if not _can([*build, str(SHIM), "-ldl"], row.fault):
        return None
    every = (1, 2, 5) if short else (1, 2, 3, 4, 5, 7, 11, 20)
    for number, plain_rename, keep in itertools.product(every, ("0", "1"), ("7d", "0")):
        if short and (plain_rename, keep) not in (("1", "7d"), ("0", "0")):
            continue
        where = f"every {number}, flags {plain_rename == '0'}, keep_sent {keep}"
        env = {"LOSTANSWER_EVERY": str(number), "LOSTANSWER_PLAIN": plain_rename}
        with Relay() as relay:
            site = Site(scratch / f"lost-{number}-{plain_rename}-{keep}", relay, keep=keep)
            site.drop(mixed(40))
            site.dump(0, 10)
            fleet = Fleet(site, 2, seed=number, LD_PRELOAD=str(library), **env)
            fleet.drain(40, 0, 20)
            # That a file is gone does not prove who has removed it, so a run says so.
            site.account(row, where, None if keep == "0" else 0)
            row.problems += [f"{where}: {text}" for text in fleet.bad_ends]
    return row


def _bindfs_row(short: bool, scratch: Path) -> Optional[Row]:
    """A file system in user space, which knows no flags of rename."""
    row = Row("3 senders on bindfs")
    below, mounted = scratch / "below", scratch / "bindfs"
    below.mkdir()
    mounted.mkdir()
    if not _can(["bindfs", "-o", "allow_other", str(below), str(mounted)], row.fault):
        return None
    try:
        with Relay() as relay:
            site = Site(mounted / "site", relay)
            count, kills = (60, 3) if short else (600, 20)
            site.drop(mixed(count))
            site.dump(0, 20)
            fleet = Fleet(site, 3, seed=3)
            fleet.drain(count, kills, 120)
            site.recover()
            fleet.reckon()
            site.account(row)
            row.problems += fleet.bad_ends
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    return row


# ---- all of it ----


def rows(short: bool, scratch: Path) -> Iterator[Row]:
    yield _killed_row(short, scratch)
    # The rest mostly waits for claims to end.
    with ThreadPoolExecutor(8) as pool:
        waits = [pool.submit(_slow_row, short, scratch)]
        waits.append(pool.submit(_stopped_rows, short, scratch))
        if _can(on_host("x")(["true"]), "hosts of other names") and _can_fake_clock():
            waits.append(pool.submit(_skewed_row, short, scratch))
        probe = ["unshare", "--uts", "--net", "ip", "link"]
        if _can(probe, "hosts as network namespaces"):
            waits.append(pool.submit(_hosts_row, scratch))
        for make in (_lost_answer_row, _bindfs_row):
            row = make(short, scratch)
            if row:
                yield row
        for wait in waits:
            done = wait.result()
            yield from done if isinstance(done, list) else [done]
    if not short:
        from . import nfs  # which imports this module

        row = nfs.row(scratch)
        if row:
            yield row
