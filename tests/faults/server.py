"""A hostile or broken server: it leaves at every octet, hangs at every step, says 421 in place of
every reply, and takes fewer connections than it is offered.

Most cases are one dialogue with a server that takes one connection and then no more, so that what
the run makes of the end shows in the spool. What it is to make of it is worked out here, from the
octets that the client got (the oracle), by the contract's table:

	opening not through, or no 354 yet   waiting as it was dropped, nothing charged
	354 got, no whole reply to the dot   deferred, 4.4.2, one attempt charged
	whole reply to the dot               what it says

Messages that are left then go to a healthy relay, and the account is made.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import ssl
import struct
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Sequence, Tuple

from lab import logfmt, net
from lab.certs import Certs
from lab.faultactions import Close, Cut, Dribble, Drip, Hang, Reset
from lab.faultserver import DEFAULT_EHLO, FaultServer, Session
from lab.spool import Spool, unique_name, unique_of

from .report import Row

NOBODY = "no@example.net"
REFUSED = {NOBODY: "550 5.1.1 Nobody of this name"}
LOCK_STEP = tuple(line for line in DEFAULT_EHLO if line != "PIPELINING")
TEXT = b"From: site@example.com\nSubject: x\n\nA line.\n"
BIG = TEXT + (b"x" * 70 + b"\n") * 2800
EDGE = 1000  # octets at either end of a long dialogue that are all tried
SPREAD = 60  # places between
SAMPLE = 6  # places in a dialogue that the short form tries
TIMEOUT = 1  # second, for each wait of a case that is there to time out
BESIDE = 3  # seconds, where others are to get on meanwhile
PATIENCE = 60  # seconds, where nothing is to time out
SLACK = 10  # seconds that a busy machine may take on top
WORKERS = 24  # cases side by side, where all they do is wait
READ_SIZE = 1 << 16
APPLICATION_DATA = 23  # the type of a TLS record
PHASES = "connect greeting command data block dot".split()

Place = Tuple[str, str]  # folder, and what the name tells: "", "A=1,E=4.4.2", "A=1:2,S"
WAITING: Place = ("new", "")
LOST: Place = ("new", "A=1,E=4.4.2")
SENT: Place = ("cur", "A=1:2,S")


@dataclass(frozen=True)
class Dialogue:
    """A session of one kind: what is sent, how, and how many replies come before MAIL."""

    name: str
    letters: Tuple[Tuple[str, ...], ...] = (("b@example.net",),)
    text: bytes = TEXT
    opening: int = 2
    starttls: int = 0  # replies in clear before TLS; 0: no STARTTLS
    server: Mapping[str, Any] = field(default_factory=dict)
    relay: Mapping[str, Any] = field(default_factory=dict)

    @property
    def replies(self) -> List[Tuple[str, int]]:
        """The events of a whole session that are replied to, each with its letter or -1."""
        events = [(event, -1) for event in OPENINGS[self.opening]]
        for number, to in enumerate(self.letters):
            steps = ["MAIL", *(f"RCPT {address}" for address in to), "DATA", "DOT"]
            events += [(step, number) for step in steps]
        return [*events, ("QUIT", -1)]


OPENINGS = {
    2: ("CONNECT", "EHLO"),
    3: ("CONNECT", "EHLO", "AUTH"),
    4: ("CONNECT", "EHLO", "STARTTLS", "EHLO"),
}
ONE = ("b@example.net",)
SOME = ("x@example.net", NOBODY, "y@example.net")


def dialogues(scratch: Path) -> List[Dialogue]:
    """All kinds of them."""
    certs = Certs(_made(scratch / "certs"))
    password = scratch / "password"
    password.write_text("secret")
    password.chmod(0o600)
    context = certs.server_context()
    login = {"user": "site", "password_file": password}
    trust = {"tls": "required", "ca_file": certs.ca}
    keywords = (*DEFAULT_EHLO, "STARTTLS")
    return [
        Dialogue("plain"),
        Dialogue("two pipelined", (ONE, ("c@example.net", "d@example.net"))),
        Dialogue("one of three refused", (SOME,)),
        Dialogue("lock step", (SOME, ONE), server={"ehlo": LOCK_STEP}),
        Dialogue(
            "AUTH", opening=3, server={"ehlo": (*DEFAULT_EHLO, "AUTH PLAIN")}, relay=login
        ),
        Dialogue(
            *("STARTTLS", (ONE, ONE)),
            opening=4,
            starttls=3,
            server={"ehlo": keywords, "tls": context},
            relay=trust,
        ),
        Dialogue(
            "smtps", (ONE, ONE), server={"tls": context, "implicit_tls": True}, relay=trust
        ),
        Dialogue("200 kB", (ONE, ONE), BIG),
    ]


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


# The oracle


def complete_replies(octets: bytes) -> List[int]:
    """The codes of the replies of which OCTETS has every line to its end."""
    lines = octets.split(b"\r\n")[:-1]
    return [int(line[:3]) for line in lines if line[3:4] != b"-"]


def expected(dialogue: Dialogue, got: bytes) -> List[Place]:
    """Where the messages are to be when the client has got these octets and then no more."""
    places = [WAITING] * len(dialogue.letters)
    for (event, number), code in zip(dialogue.replies, complete_replies(got)):
        if event == "DATA" and code == 354:
            places[number] = LOST
        elif event == "DOT":
            places[number] = _by_reply(dialogue.letters[number], code)
        if code == 421:
            break
    return places


def _by_reply(to: Sequence[str], code: int) -> Place:
    if code == 421:
        return ("new", "A=1,E=4.3.2")
    return ("failed", "A=1,E=5.1.1") if NOBODY in to else SENT


def prefixes(session: Session) -> List[bytes]:
    """What the client may have read when the rest of it was destroyed by RST."""
    said, found = b"", [b""]
    for chunk in session.chunks:
        if chunk.who == "S":
            said += chunk.data
            found.append(said)
    return found


def said_by(session: Session) -> bytes:
    return prefixes(session)[-1]


# One case


@dataclass
class Case:
    """A run against a server that fails, and what is known of it."""

    where: str
    names: List[str]
    places: List[Place]
    delivered: List[List[str]]  # of each letter, to whom the failing server took it
    unavoidable: int = 0  # of them, those whose 250 the client never had
    problems: List[str] = field(default_factory=list)


class Bench:
    """A spool for the runs, and one where what they left waits for the healthy relay."""

    def __init__(self, directory: Path, dialogue: Dialogue, timeout: int = PATIENCE) -> None:
        self.dialogue = dialogue
        self.timeout = timeout
        self.spool = Spool(_made(directory))
        self.bank = Spool(_made(directory / "bank"))
        self.cases: List[Case] = []

    def aim(self, spool: Spool, url: str, connections: int = 1) -> None:
        timeouts = {f"timeout_{phase}": f"{self.timeout}s" for phase in PHASES}
        relay = {"tls": "none", **timeouts, **self.dialogue.relay}
        spool.write_config(url=url, connections=connections, **relay)

    def server(self, **options: Any) -> FaultServer:
        answers = {"RCPT": REFUSED, **options.pop("answers", {})}
        return FaultServer(**{**self.dialogue.server, **options, "answers": answers})

    def drop(self) -> List[str]:
        return [
            self.spool.drop(self.dialogue.text, name, (sender_of(name), to))
            for name, to in ((unique_name(), to) for to in self.dialogue.letters)
        ]

    def run(
        self, where: str, server: FaultServer, url: str = "", connections: int = 1
    ) -> Tuple[Case, str]:
        """Drops, runs against SERVER, notes what came of it and puts away what is left."""
        self.aim(self.spool, url or server.url, connections)
        names = self.drop()
        done = self.spool.run()
        server.settle()
        case = Case(where, names, [], [])
        for name in names:
            path = self.spool.find(name)
            case.places.append(place_of(path))
            case.delivered.append(self._taken(server, name))
            self._put_away(path)
        waiting = any(place == WAITING for place in case.places)
        if done.returncode != (75 if waiting else 0):
            case.problems.append(f"exit status {done.returncode}: {done.stderr[-300:]}")
        case.problems += [*server.violations, *server.bugs]
        self.cases.append(case)
        return case, done.stderr

    @staticmethod
    def _taken(server: FaultServer, name: str) -> List[str]:
        return [
            to
            for message in server.messages
            if message.sender == sender_of(name)
            for to in message.recipients
        ]

    def _put_away(self, path: Path) -> None:
        """Into the bank without its T; a message that is through would only be in the way."""
        if path.parent.name == "new":
            os.rename(path, self.bank.path / "new" / re.sub(r",T=\d+", "", path.name))
        elif path.parent.name == "cur":
            path.unlink()

    def settle(self, row: Row) -> None:
        """Sends what the bank holds, and makes the account of all cases."""
        self.timeout = PATIENCE
        with self.server() as healthy:
            self.aim(self.bank, healthy.url)
            done = self.bank.run(timeout=600)
            taken: Dict[str, List[str]] = {}
            for message in healthy.messages:
                taken.setdefault(message.sender, []).extend(message.recipients)
            row.problems += [*healthy.violations, *healthy.bugs]
        if done.returncode:
            row.problems.append(f"the healthy relay: {done.stderr[-300:]}")
        left = {unique_of(name) for name in os.listdir(self.bank.path / "new")}
        for case in self.cases:
            self._account(row, case, taken, left)

    def _account(
        self, row: Row, case: Case, taken: Mapping[str, List[str]], left: "set[str]"
    ) -> None:
        lost = twice = stuck = 0
        for name, to, before in zip(case.names, self.dialogue.letters, case.delivered):
            got = [*before, *taken.get(sender_of(name), [])]
            wanted = [address for address in to if address != NOBODY]
            lost += sum(address not in got for address in wanted)
            twice += len(got) - len(set(got))
            stuck += unique_of(name) in left
        row.add(lost, twice, stuck, case.unavoidable)
        row.problems += [f"{case.where}: {problem}" for problem in case.problems]


def sender_of(name: str) -> str:
    """Each message has a sender of its own, to be known by."""
    return f"{name.split('.')[0]}.{name.split('.')[1]}@example.com"


def place_of(path: Path) -> Place:
    """The folder and what stands behind UNIQUE, without the time of the next attempt."""
    rest = path.name[len(unique_of(path.name)) :].lstrip(",")
    return path.parent.name, re.sub(r",T=\d+", "", rest)


def judge(case: Case, allowed: Sequence[Sequence[Place]], log: str) -> None:
    """Checks CASE against what the oracle allows, and counts the repeats that must be."""
    if case.places not in [list(places) for places in allowed]:
        case.problems.append(f"{case.places}, not one of {list(allowed)}; {log[-400:]}")
    doubtful = {
        event["id"] for event in logfmt.parse(log) if event.get("duplicate") == "possible"
    }
    for name, place, taken in zip(case.names, case.places, case.delivered):
        if place != LOST and unique_of(name) in doubtful:
            case.problems.append("in doubt, though its fate is known")
        if place[0] == "new" and taken:
            case.unavoidable += len(taken)
            if place == LOST and unique_of(name) not in doubtful:
                case.problems.append("taken by the server, but not logged as possibly so")


# Drops at every octet


def _octets(bench: Bench, who: str) -> bytes:
    """One side of the whole dialogue, when nothing is wrong."""
    with bench.server() as server:
        case, log = bench.run("undisturbed", server)
        session = server.sessions[0]
        judge(case, [expected(bench.dialogue, said_by(session))], log)
        if WAITING in case.places or LOST in case.places:
            raise RuntimeError(f"{bench.dialogue.name}: {log}")
        return b"".join(chunk.data for chunk in session.chunks if chunk.who == who)


def places_to_cut(octets: bytes, short: bool, reset: bool) -> List[int]:
    """All, of a long dialogue the edges and a spread; SHORT: around the ends of lines."""
    total = len(octets)
    if short:
        ends = [match.end() for match in re.finditer(rb"\r\n", octets)]
        # The last ones; of each the last octet is missing in one manner or the other.
        return [end - (n + reset) % 2 for n, end in enumerate(ends[-SAMPLE:])]
    if total <= 2 * EDGE + SPREAD:
        return list(range(total + 1))
    middle = range(EDGE, total - EDGE, (total - 2 * EDGE) // SPREAD)
    return [*range(EDGE), *middle, *range(total - EDGE, total + 1)]


def _cut_one(bench: Bench, cut: Cut) -> None:
    with bench.server(cut=cut, accept_max=1) as server:
        case, log = bench.run(f"{bench.dialogue.name}, {cut}", server)
        session = server.sessions[0]
        got = prefixes(session) if cut.reset else [said_by(session)]
        judge(case, [expected(bench.dialogue, octets) for octets in got], log)


def drops(scratch: Path, dialogue: Dialogue, short: bool) -> Iterator[Row]:
    """One row for each side and each manner of leaving."""
    for who, what in (("S", "said"), ("C", "read")):
        for reset in (False, True):
            manner = "reset" if reset else "closed"
            row = Row(f"{dialogue.name}: {manner} after each octet {what}")
            bench = Bench(scratch / f"{dialogue.name}-{who}-{manner}", dialogue)
            for count in places_to_cut(_octets(bench, who), short, reset):
                _cut_one(bench, Cut(who, count, reset, notify=count % 2 == 1))
            bench.settle(row)
            yield row


# Drops at every octet of what TLS makes of a dialogue


class CutProxy:
    """Passes octets between one client and PORT until COUNT have gone the way of WHO. Said by the
    server, the client gets no more than them. Said by the client, the server gets no more, and the
    client still all that the server says to that. RESET: the client is left with RST."""

    def __init__(self, port: int, who: str, count: int, reset: bool) -> None:
        self.forwarded = {"S": b"", "C": b""}
        self._limit = {"S": sys.maxsize, "C": sys.maxsize, who: count}
        self._reset = reset
        self._server_port = port
        self._listener = net.listener()
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "CutProxy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    def _work(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return  # nobody came
        self._listener.shutdown(socket.SHUT_RDWR)
        with client, socket.create_connection((net.HOST, self._server_port)) as server:
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with contextlib.suppress(OSError):
                self._pass_on({client: ("C", server), server: ("S", client)})
            self._leave(client)

    def _pass_on(self, ways: Dict[socket.socket, Tuple[str, socket.socket]]) -> None:
        """Until the server's side is at its end or limit."""
        poll = select.poll()
        by_number = {sock.fileno(): sock for sock in ways}
        for number in by_number:
            poll.register(number, select.POLLIN)
        while True:
            for number, _ in poll.poll(10_000):
                who, to = ways[by_number[number]]
                octets = by_number[number].recv(READ_SIZE)
                room = self._limit[who] - len(self.forwarded[who])
                self.forwarded[who] += octets[:room]
                if room > 0:
                    to.sendall(octets[:room])
                if not octets or len(octets) >= room:
                    if who == "S":
                        return
                    with contextlib.suppress(OSError):
                        to.shutdown(socket.SHUT_WR)
                if not octets:
                    poll.unregister(number)

    def _leave(self, client: socket.socket) -> None:
        if self._reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)
            client.settimeout(5)
            while client.recv(READ_SIZE):
                pass


def decrypted(session: Session, clear: int, forwarded: bytes) -> List[bytes]:
    """What the client may have made of FORWARDED, longest last: the server's words are one TLS
    record each, and a record counts when it is whole. CLEAR replies stand before TLS."""
    chunks = [chunk.data for chunk in session.chunks if chunk.who == "S"]
    plain = b"".join(chunks[:clear])
    got = [forwarded[: len(plain)]]
    rest, records = forwarded[len(plain) :], chunks[clear:]
    while len(rest) >= 5 and len(rest) >= 5 + int.from_bytes(rest[3:5], "big"):
        if rest[0] == APPLICATION_DATA and records:
            got.append(got[-1] + records.pop(0))
        rest = rest[5 + int.from_bytes(rest[3:5], "big") :]
    return got


def _cut_ciphertext(bench: Bench, who: str, count: int, reset: bool) -> "CutProxy":
    dialogue = bench.dialogue
    with bench.server() as server, CutProxy(server.port, who, count, reset) as proxy:
        url = server.url.replace(str(server.port), str(proxy.port))
        case, log = bench.run(f"{dialogue.name}, {who} {count} of ciphertext", server, url)
    got = [b""]
    if server.sessions:
        got = decrypted(server.sessions[0], dialogue.starttls, proxy.forwarded["S"])
    got = got if reset else got[-1:]
    judge(case, [expected(dialogue, octets) for octets in got], log)
    return proxy


def _places_in_cipher(total: int, short: bool, reset: bool) -> List[int]:
    """All of the mail transactions, some of the handshake, which is long; of RST each third."""
    edge = max(0, total - EDGE // 2)
    counts = [*range(0, edge, 9), *range(edge, total + 1)]
    if short:
        return counts[:: len(counts) // 5]
    return counts[::3] if reset else counts


def ciphertext_drops(scratch: Path, dialogue: Dialogue, short: bool) -> Iterator[Row]:
    """A session of TLS 1.2, whose records tell from outside what they are."""
    context = dialogue.server["tls"]
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for who, what in (("S", "said"), ("C", "read")):
        for reset in (False, True):
            manner = "reset" if reset else "closed"
            row = Row(f"{dialogue.name}: {manner} after each octet {what} in cipher")
            bench = Bench(scratch / f"{dialogue.name}-cipher-{who}-{manner}", dialogue)
            total = len(_cut_ciphertext(bench, who, sys.maxsize, False).forwarded[who])
            for count in _places_in_cipher(total, short, reset):
                _cut_ciphertext(bench, who, count, reset)
            bench.settle(row)
            yield row
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED


# In place of one reply: silence, half of it, a drip without end, 421


Fault = Callable[[str], Any]


def _half(event: str) -> Any:
    return Hang(b"354 E" if event == "DATA" else b"250 2.")


FAULTS: Dict[str, Fault] = {
    "silence": lambda event: Hang(),
    "half a reply": _half,
    "a line dripping without end": lambda event: Drip(b"250-" + b"x" * 1900),
    "lines without end": lambda event: Drip(b"250-Go on\r\n", 0.05, 11),
    "closed": lambda event: Close(),
    "reset": lambda event: Reset(),
    "421": lambda event: "421 4.3.2 Going down",
    "421 and silence": lambda event: Hang("421 4.3.2 Going down"),
}
QUICK = ("closed", "reset", "421")


def script_until(dialogue: Dialogue, stop: int, answer: Any) -> List[Tuple[str, Any]]:
    """All as it should be up to the reply number STOP, which is ANSWER."""
    script: List[Tuple[str, Any]] = []
    for event, _ in dialogue.replies[:stop]:
        verb, _, address = event.partition(" ")
        script.append((verb, REFUSED.get(address)))
        if verb == "DATA":
            script.append(("BODY", b""))
    return [*script, (dialogue.replies[stop][0].partition(" ")[0], answer)]


def _fail_at(scratch: Path, dialogue: Dialogue, stop: int, fault: str) -> Bench:
    event = dialogue.replies[stop][0]
    bench = Bench(scratch / f"{dialogue.name} {stop} {fault}", dialogue, TIMEOUT)
    script = script_until(dialogue, stop, FAULTS[fault](event))
    start = time.monotonic()
    with bench.server(scripts=[script], accept_max=1) as server:
        case, log = bench.run(f"{dialogue.name}: {fault} at {event}", server)
        session = server.sessions[0]
        got = prefixes(session) if fault == "reset" else [said_by(session)]
    took = time.monotonic() - start
    judge(case, [expected(dialogue, octets) for octets in got], log)
    # The replies to QUIT have three seconds, whatever is configured.
    if took > (3 if event == "QUIT" else TIMEOUT + 0.5) + SLACK:
        case.problems.append(f"it took {took:.1f} s")
    return bench


def failing_replies(scratch: Path, dialogue: Dialogue, short: bool) -> Iterator[Row]:
    """Each fault in place of each reply."""
    with ThreadPoolExecutor(WORKERS) as pool:
        tries = {
            (fault, stop): pool.submit(_fail_at, scratch, dialogue, stop, fault)
            for n, fault in enumerate(FAULTS)
            for stop in range(len(dialogue.replies))
            if fault in QUICK or not short or stop % 3 == n % 3
        }
        for fault in FAULTS:
            row = Row(f"{dialogue.name}: {fault} for each reply")
            for bench in (tries[key].result() for key in tries if key[0] == fault):
                bench.settle(row)
            yield row


# The others go on


TWELVE = Dialogue("twelve messages", tuple((f"r{n}@example.net",) for n in range(12)))


def _hang_beside(scratch: Path, event: str) -> Bench:
    """Once, and not in the first session, EVENT is met with silence."""
    bench = Bench(scratch / f"beside {event}", TWELVE, BESIDE)
    hung: List[int] = []
    at: List[float] = []

    def hang_once(session: Session) -> Any:
        if hung or session.number == 0:
            return None
        hung.append(session.number)
        return Hang()

    def note(session: Session) -> Any:
        at.append(time.monotonic())
        return hang_once(session) if event == "DOT" else None

    answers: Dict[str, Any] = {event: hang_once, "DOT": note}
    start = time.monotonic()
    with bench.server(answers=answers, latency=0.01) as server:
        case, log = bench.run(f"silence at {event}", server, connections=3)
    lost = [LOST] if event in ("BODY", "DOT") else []
    if sorted(case.places) != sorted([SENT] * (12 - len(lost)) + lost):
        case.problems.append(f"{case.places}; {log[-300:]}")
    judge(case, [case.places], log)
    early = sum(moment < start + BESIDE - 0.1 for moment in at)
    if not hung or early < 10:
        case.problems.append(f"only {early} went on")
    return bench


def others_go_on(scratch: Path) -> Row:
    """A session that hangs at each phase, and two beside it that don't."""
    row = Row("one session hangs at each phase, the others go on")
    events = ("CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "BODY", "DOT", "QUIT")
    with ThreadPoolExecutor(4) as pool:
        for bench in pool.map(lambda event: _hang_beside(scratch, event), events):
            bench.settle(row)
    return row


# Connection caps


CAPS: Dict[str, Any] = {
    "refused": None,
    "closed": Close(),
    "reset": Reset(),
    "421": "421 4.7.0 Too many connections",
    "554": "554 5.7.1 Too many connections",
    "silence": Hang(),
}


def _capped(scratch: Path, manner: str, cap: int) -> Bench:
    bench = Bench(scratch / f"cap {manner} {cap}", TWELVE, BESIDE)

    def greet(session: Session) -> Any:
        return None if session.number < cap else CAPS[manner]

    options: Dict[str, Any] = {"answers": {"CONNECT": greet}}
    if manner == "refused":
        options = {"accept_max": cap}
    with bench.server(**options, latency=0.01) as server:
        where = f"{cap} connections, more are {manner}"
        case, log = bench.run(where, server, connections=4)
    judge(case, [[SENT if cap else WAITING] * 12], log)
    return bench


def caps(scratch: Path) -> Row:
    """Four connections are asked for, none to three are had."""
    row = Row("the server takes only some of the connections")
    cases = [(manner, cap) for manner in CAPS for cap in range(4)]
    with ThreadPoolExecutor(WORKERS) as pool:
        for bench in pool.map(lambda case: _capped(scratch, *case), cases):
            bench.settle(row)
    return row


# One octet at a time


def one_at_a_time(scratch: Path, kinds: Sequence[Dialogue]) -> Row:
    """Every reply of every dialogue, in pieces of one, two and five octets."""
    row = Row("replies in pieces of 1, 2 and 5 octets")
    for dialogue in kinds:
        bench = Bench(scratch / f"{dialogue.name} in pieces", dialogue)
        for size in (1, 2, 5):
            pieces = Dribble(size=size)
            events = {event.partition(" ")[0] for event, _ in dialogue.replies}
            answers = {event: pieces for event in events - {"RCPT"}}
            refused = {to: Dribble(reply, size=size) for to, reply in REFUSED.items()}
            answers["RCPT"] = {"*": pieces, **refused}
            with bench.server(answers=answers) as server:
                case, log = bench.run(f"{dialogue.name}, pieces of {size}", server)
            through = [_by_reply(to, 250) for to in dialogue.letters]
            judge(case, [through], log)
        bench.settle(row)
    return row


def rows(short: bool, scratch: Path) -> Iterator[Row]:
    """The family."""
    kinds = dialogues(scratch)
    for dialogue in kinds:
        yield from drops(scratch, dialogue, short)
    for dialogue in kinds:
        if "tls" in dialogue.server:
            yield from ciphertext_drops(scratch, dialogue, short)
    for dialogue in kinds[3:4] if short else kinds:
        yield from failing_replies(scratch, dialogue, short)
    yield others_go_on(scratch)
    yield caps(scratch)
    yield one_at_a_time(scratch, kinds)
