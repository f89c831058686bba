"""One connection of the fault server: the protocol, and the record of what was said.

faultserver.py says how it is told to answer otherwise.
"""

from __future__ import annotations

import base64
import binascii
import collections
import select
import socket
import ssl
import struct
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable, Deque, Dict, List, NamedTuple, Optional, Tuple

from .faultactions import Answer, Close, SessionOver

if TYPE_CHECKING:
    from .faultserver import FaultServer

Step = Tuple[Optional[str], Answer]

LAST_IN_GROUP = ("EHLO", "HELO", "LHLO", "DATA", "QUIT", "NOOP", "STARTTLS", "AUTH")
READ_SIZE = 1 << 18
LEAVE_SECONDS = 5  # for a client to see that the connection is over
RESPONSE_MAX = 12288  # within a login, RFC 4954 section 4
COMMAND_MAX = 512 + 10 + 500  # RFC 5321, with room for SIZE, BODY, SMTPUTF8 and a SASL response


class Chunk(NamedTuple):
    """What one recv() returned ("C") or one send() took ("S"), after TLS."""

    who: str
    data: bytes
    at: float  # time.monotonic()


@dataclass(frozen=True)
class Message:
    """A body with its dot, whether it was accepted or not."""

    sender: str
    recipients: Tuple[str, ...]  # those that were accepted
    options: Tuple[str, ...]  # of MAIL, as sent
    wire: bytes  # from after DATA's line to before the final dot, dots still doubled; or the chunks
    reply: bytes  # what the server said; b"" when it went away instead
    session: int
    tls: bool
    user: Optional[str]
    chunked: bool = False  # it came by BDAT

    @property
    def accepted(self) -> bool:
        return self.reply[:1] == b"2"

    @property
    def data(self) -> bytes:
        """The message, dots undone."""
        if self.chunked:
            return self.wire
        return (b"\r\n" + self.wire).replace(b"\r\n.", b"\r\n")[2:]

    def option(self, name: str) -> Optional[str]:
        """The value of a parameter of MAIL, option("SIZE"): "" when it has no value, None when it
        is absent."""
        for option in self.options:
            key, _, value = option.partition("=")
            if key.upper() == name:
                return value
        return None


class Session:
    """One connection: its protocol state and its record."""

    def __init__(self, server: "FaultServer", sock: socket.socket, number: int) -> None:
        self.server = server
        self.number = number
        self.sock = sock
        self.tls = False
        self.ehlo: List[str] = []  # what was announced
        self.helo: Optional[str] = None  # what the client calls itself
        self.user: Optional[str] = None
        self.credentials: List[Tuple[str, str, str]] = []  # mechanism, user, password
        self.sender: Optional[str] = None
        self.options: List[str] = []
        self.recipients: List[str] = []
        self.open_chunks = bytearray()  # those of BDAT that were not the last
        self.commands: List[str] = []
        self.replies: List[Tuple[str, bytes]] = []  # event, what was said to it
        self.chunks: List[Chunk] = []
        self.messages: List[Message] = []
        self.violations: List[str] = []
        self.ended = ""  # how, once it is over
        self._buffer = bytearray()
        self._unsent = bytearray()
        self._said = bytearray()
        self._script: Deque[Step] = collections.deque()
        self._passed = {"S": 0, "C": 0}
        self._idle = False
        self._hanging = False
        self._descriptor = sock.fileno()
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLIN)
        self._handlers: Dict[str, Callable[[str], None]] = {
            **dict.fromkeys(("LHLO",) if server.lmtp else ("EHLO", "HELO"), self._ehlo),
            "STARTTLS": self._starttls,
            "AUTH": self._auth,
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._data,
            "BDAT": self._bdat,
            "RSET": self._rset,
            "NOOP": self._noop,
            "QUIT": self._quit,
        }

    # The record

    @property
    def verbs(self) -> List[str]:
        """The commands without their arguments."""
        return [command.partition(" ")[0].upper() for command in self.commands]

    @property
    def received(self) -> List[bytes]:
        """What each recv() returned: the client's writes, as long as it waited between them and
        they are short. With TLS no chunk is longer than a record of 16 KiB."""
        return [chunk.data for chunk in self.chunks if chunk.who == "C"]

    def dialogue(self, width: int = 160) -> str:
        """The transcript for people, long chunks shortened."""
        return "\n".join(
            f"{chunk.who}: {chunk.data[:width]!r}{'…' * (len(chunk.data) > width)}"
            for chunk in self.chunks
        )

    def violation(self, text: str) -> None:
        self.violations.append(f"session {self.number}: {text}")

    # Octets in and out

    def say(self, octets: bytes) -> None:
        """Queues OCTETS; they leave when the session has nothing more to read."""
        self._said += octets
        self._unsent += octets

    def take_unsent(self) -> bytes:
        octets = bytes(self._unsent)
        self._unsent.clear()
        return octets

    def write_now(self, octets: bytes) -> None:
        octets = octets[: self._room("S")]
        # First the record: who has read the octets may look for them there.
        self._record("S", octets)
        if octets:
            self.sock.sendall(octets)
        if self._room("S") == 0:
            self._cut_off()

    def _room(self, who: str) -> int:
        """How many octets of WHO may still pass."""
        cut = self.server.cut
        return cut.count - self._passed[who] if cut and cut.who == who else sys.maxsize

    def _cut_off(self) -> None:
        cut = self.server.cut
        if cut and cut.reset:
            self.reset()
        else:
            self._leave_to_read(bool(cut and cut.notify))
        raise SessionOver("cut")

    def _leave_to_read(self, notify: bool) -> None:
        """Ends what is said, and takes no notice of what is still sent: no RST destroys words that
        the client has not read yet."""
        if notify and isinstance(self.sock, ssl.SSLSocket):
            self.sock.settimeout(0)
            try:
                self.sock.unwrap()
            except (OSError, ValueError):
                pass  # the peer's own need not be there
        end = time.monotonic() + LEAVE_SECONDS
        try:
            # The plain methods: what comes now is not even decrypted.
            socket.socket.shutdown(self.sock, socket.SHUT_WR)
            while time.monotonic() < end:
                if self._poll.poll(100) and not socket.socket.recv(self.sock, READ_SIZE):
                    break
        except OSError:
            pass  # gone
        self.sock.close()

    def flush(self) -> None:
        if self._unsent:
            if self.server.latency:
                self.pause(self.server.latency)
            self.write_now(self.take_unsent())

    def pause(self, seconds: float) -> None:
        if seconds and self.server.stopping.wait(seconds):
            raise SessionOver("server stopped")

    def _record(self, who: str, octets: bytes) -> None:
        self._passed[who] += len(octets)
        if self.server.keep_chunks:
            self.chunks.append(Chunk(who, octets, time.monotonic()))

    def _wait_readable(self) -> None:
        """Marks the session idle while it waits: is_quiet() relies on the octets staying unread
        until the mark is gone."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return
        self._idle = True
        self._poll.poll()
        self._idle = False

    def is_quiet(self) -> bool:
        """Whether the session is over, or has dealt with all that the client sent so far."""
        if self.ended or self._hanging:
            return True
        unread = select.poll()
        unread.register(self._descriptor, select.POLLIN)
        return not unread.poll(0) and self._idle

    def _fill(self) -> None:
        self.flush()
        if self._room("C") == 0:
            self._cut_off()
        self._wait_readable()
        octets = self.sock.recv(min(READ_SIZE, self._room("C")))
        if not octets:
            raise SessionOver("closed by the client")
        self._record("C", octets)
        self._buffer += octets

    def read_at_least(self, count: int) -> None:
        while len(self._buffer) < count:
            self._fill()

    def _read_line(self, most: int = COMMAND_MAX) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > READ_SIZE:
                raise SessionOver("a command without an end")
            self._fill()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._judge_line(line, most)
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")

    def _judge_line(self, line: bytes, most: int) -> None:
        if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
            self.violation(f"bare CR or LF in a command: {line!r}")
        if len(line) > most:
            self.violation(f"a command of {len(line)} octets")
        if not line.isascii() and "SMTPUTF8" not in self.ehlo:
            self.violation(f"a command with 8-bit octets, without SMTPUTF8: {line!r}")

    def _has_more(self) -> bool:
        """Whether the client has sent more than what was read."""
        if self._buffer:
            return True
        if isinstance(self.sock, ssl.SSLSocket):
            return self.sock.pending() > 0
        try:
            return bool(self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def close(self) -> None:
        if isinstance(self.sock, ssl.SSLSocket):
            self._close_notify(self.sock)
        self.sock.close()

    @staticmethod
    def _close_notify(sock: ssl.SSLSocket) -> None:
        sock.settimeout(0.1)
        try:
            sock.unwrap()
        except (OSError, ValueError):
            pass  # the peer need not answer

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_client_to_go(self) -> None:
        """Takes no more octets than the kernel does, so that a long body blocks its writer."""
        self._hanging = True
        gone = select.poll()
        gone.register(self._descriptor, select.POLLRDHUP)
        while not self.server.stopping.is_set() and not gone.poll(50):
            pass

    # Answers

    def perform(self, answer: Answer, default: bytes) -> None:
        if answer is None:
            self.say(default)
        elif isinstance(answer, bytes):
            self.say(answer)
        elif isinstance(answer, str):
            self.say(answer.encode() + b"\r\n")
        elif callable(answer):
            self.perform(answer(self), default)
        else:
            answer.perform(self, default)

    def _instruction(self, event: str, key: str) -> Answer:
        if not self._script:
            return self.server.instruction(event, key)
        expected, answer = self._script.popleft()
        if expected != event:
            self.violation(f"the script expected {expected}, the client sent {event}")
            raise SessionOver("left the script")
        return answer

    def _event(self, event: str, key: str, default: bytes) -> int:
        """Answers EVENT; returns the code of the first reply, 0 when there was none."""
        self._said.clear()
        answer = self._instruction(event, key)
        try:
            self.perform(answer, default)
        finally:
            self.replies.append((event, bytes(self._said)))
        code = int(self._said[:3]) if self._said[:3].isdigit() else 0
        if code == 421:
            Close().perform(self, b"")
        return code

    def _speak_unasked(self) -> None:
        while self._script and self._script[0][0] is None:
            self.perform(self._script.popleft()[1], b"")

    def _text(self, code: int, status: str, words: str) -> bytes:
        enhanced = f"{status} " if "ENHANCEDSTATUSCODES" in self.ehlo else ""
        return f"{code} {enhanced}{words}\r\n".encode()

    # The protocol

    def run(self) -> None:
        self._script.extend(self.server.script(self.number))
        if self.server.implicit_tls:
            self._start_tls()
        self._event("CONNECT", "", b"220 lab.example ESMTP\r\n")
        # Unless it is out already, and an EHLO may be the answer to it.
        if self._unsent and self._has_more():
            self.violation("spoke before the greeting")
        while True:
            self._speak_unasked()
            self._command(self._read_line())

    def _command(self, line: str) -> None:
        self.commands.append(line)
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        lock_step = verb in LAST_IN_GROUP or "PIPELINING" not in self.ehlo
        if lock_step and self._has_more():
            self.violation(f"octets behind {verb} before its reply")
        handler = self._handlers.get(verb)
        if handler:
            handler(argument)
        else:
            self._event(verb, argument, self._text(500, "5.5.2", "Unknown command"))

    def _ehlo(self, argument: str) -> None:
        verb = self.verbs[-1]
        announced = self.server.announce(self.tls) if verb != "HELO" else []
        lines = ["lab.example", *announced]
        reply = "".join(f"250-{line}\r\n" for line in lines[:-1]) + f"250 {lines[-1]}\r\n"
        if self._event(verb, argument, reply.encode()) == 250:
            self.ehlo = self._announced()
            self.helo = argument
            self._forget()

    def _announced(self) -> List[str]:
        """What the EHLO reply that was really sent says."""
        lines = self._said.decode("utf-8", "replace").splitlines()[1:]
        return [line[4:].strip() for line in lines if line.startswith("250")]

    def _forget(self) -> None:
        self.sender = None
        self.options = []
        self.recipients = []
        self.open_chunks.clear()

    def _starttls(self, argument: str) -> None:
        offered = "STARTTLS" in self.ehlo and self.server.tls and not self.tls
        ready, refused = (220, "2.0.0", "Go ahead"), (502, "5.5.1", "Not offered")
        if self._event("STARTTLS", argument, self._text(*(ready if offered else refused))) == 220:
            self.flush()
            self._start_tls()

    def _start_tls(self) -> None:
        if self.server.tls is None:
            raise SessionOver("said 220 to STARTTLS without a certificate")
        self._buffer.clear()
        self.sock = self.server.tls.wrap_socket(
            self.sock, server_side=True, do_handshake_on_connect=False
        )
        self.sock.do_handshake()
        self.tls = True
        self.ehlo = []
        self._forget()

    def _challenge(self, text: bytes) -> bytes:
        self.say(b"334 " + base64.b64encode(text) + b"\r\n")
        return self._decode(self._read_line(RESPONSE_MAX))

    def _decode(self, text: str) -> bytes:
        if text == "=":
            return b""
        try:
            return base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            self.violation(f"AUTH with a response that is no base64: {text!r}")
            return b""

    def _auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        mechanism = mechanism.upper()
        response = self._decode(initial) if initial else None
        if mechanism == "PLAIN":
            if response is None:
                response = self._challenge(b"")
            _, user, password = (response.split(b"\0") + [b"", b"", b""])[:3]
        elif mechanism == "LOGIN":
            user = self._challenge(b"Username:") if response is None else response
            password = self._challenge(b"Password:")
        elif mechanism in ("XOAUTH2", "OAUTHBEARER"):
            user, password = self._token(self._challenge(b"") if response is None else response)
        else:
            self._event("AUTH", argument, self._text(504, "5.5.4", "Unknown mechanism"))
            return
        self._judge_login(mechanism, user.decode(), password.decode())

    def _token(self, response: bytes) -> Tuple[bytes, bytes]:
        """User and token: "user=USER^Aauth=Bearer TOKEN^A^A", or as in RFC 7628 section 3.1."""
        head, *fields = response.split(b"\1")
        user = head.partition(b",a=")[2].rstrip(b",") if b",a=" in head else head[5:]
        tokens = [field[12:] for field in fields if field.startswith(b"auth=Bearer ")]
        if len(tokens) != 1 or not response.endswith(b"\1\1"):
            self.violation(f"a response without a token: {response!r}")
        return user, tokens[0] if tokens else b""

    def _judge_login(self, mechanism: str, user: str, password: str) -> None:
        self.credentials.append((mechanism, user, password))
        users = self.server.users
        good = users is None or (user in users and users[user] == password)
        if not good and self.server.refusal and mechanism not in ("PLAIN", "LOGIN"):
            self._challenge(self.server.refusal)
        if not any(line.startswith("AUTH ") for line in self.ehlo):
            self.violation("AUTH, which was not announced")
        yes, no = (235, "2.7.0", "Welcome"), (535, "5.7.8", "Wrong user or password")
        if self._event("AUTH", user, self._text(*(yes if good else no))) == 235:
            self.user = user

    def _address(self, argument: str, keyword: str) -> Tuple[str, List[str]]:
        """The address and the parameters of `FROM:<address> PARAMETER…`."""
        if argument[: len(keyword) + 1].upper() != keyword + "<":
            self.violation(f"malformed argument {argument!r}")
        address, _, parameters = argument[len(keyword) + 1 :].rpartition(">")
        return address, parameters.split()

    def _mail(self, argument: str) -> None:
        address, options = self._address(argument, "FROM:")
        if self._event("MAIL", address, self._judge_mail(options)) == 250:
            self.sender = address
            self.options = options
            self.recipients = []

    def _judge_mail(self, options: List[str]) -> bytes:
        keywords = {line.partition(" ")[0] for line in self.ehlo}
        needs = {"BODY": "8BITMIME", "SIZE": "SIZE", "SMTPUTF8": "SMTPUTF8", "AUTH": "AUTH"}
        for option in options:
            name = option.partition("=")[0].upper()
            if needs.get(name) not in keywords:
                self.violation(f"MAIL with {option}, which was not announced")
                return self._text(555, "5.5.4", f"Unsupported: {option}")
            if name == "SIZE" and self._too_big(int(option.partition("=")[2])):
                return self._text(552, "5.3.4", "Message too big")
        if self.server.require_auth and self.user is None:
            return self._text(530, "5.7.0", "Authentication required")
        if self.sender is not None:
            return self._text(503, "5.5.1", "Nested MAIL")
        return self._text(250, "2.1.0", "Ok")

    def _too_big(self, size: int) -> bool:
        limits = [line[5:] for line in self.ehlo if line.startswith("SIZE ")]
        return bool(limits) and 0 < int(limits[0]) < size

    def _rcpt(self, argument: str) -> None:
        address, _ = self._address(argument, "TO:")
        if self.sender is None:
            default = self._text(503, "5.5.1", "MAIL first")
        else:
            default = self._text(250, "2.1.5", "Ok")
        if self._event("RCPT", address, default) in (250, 251):
            self.recipients.append(address)

    def _data(self, argument: str) -> None:
        if self.sender is None:
            default = self._text(503, "5.5.1", "MAIL first")
        elif not self.recipients:
            code = 503 if self.server.lmtp else 554
            default = self._text(code, "5.5.1", "No valid recipients")
        else:
            default = b"354 End with a dot\r\n"
        if self._event("DATA", self.sender or "", default) == 354:
            self._body()

    def _body(self) -> None:
        self._body_event()
        end = self._find_dot()
        wire = bytes(self._buffer[:end])
        del self._buffer[: end + 3]
        self._judge_body(wire)
        try:
            self._dots(wire)
        finally:
            self._forget()

    def _dots(self, wire: bytes, chunked: bool = False) -> bool:
        """The replies to all of a message; whether each was a 2xx."""
        if not self.server.lmtp:
            return self._dot(self.sender or "", wire, self.recipients, chunked)
        taken = [self._dot(to, wire, [to], chunked) for to in list(self.recipients)]
        return all(taken)

    def _dot(self, key: str, wire: bytes, recipients: List[str], chunked: bool) -> bool:
        first = len(self.replies)
        default = self._judge_message(wire) if self.recipients else self._no_transaction()
        try:
            return self._event("DOT", key, default) // 100 == 2
        finally:
            reply = self.replies[first][1] if len(self.replies) > first else b""
            self._keep(wire, reply, recipients, chunked)

    def _body_event(self) -> None:
        self.read_at_least(1)
        self._silent_event("BODY")

    def _silent_event(self, event: str) -> bool:
        """EVENT has no reply of its own: it takes part only when there is an instruction. Whether
        there was one."""
        if self._script and self._script[0][0] != event:
            return False
        self._said.clear()
        answer = self._instruction(event, self.sender or "")
        if answer is not None:
            self.perform(answer, b"")
        return answer is not None

    def _bdat(self, argument: str) -> None:
        size, _, last = argument.partition(" ")
        if "CHUNKING" not in self.ehlo:
            self.violation("BDAT, which was not announced")
            self._event("BDAT", self.sender or "", self._text(500, "5.5.2", "Unknown command"))
        elif not size.isdigit() or last.upper() not in ("", "LAST"):
            self.violation(f"malformed BDAT: {argument!r}")
            self._event("BDAT", self.sender or "", self._text(501, "5.5.4", "Malformed"))
        elif not self._silent_event("BDAT"):
            self._chunk(int(size), bool(last))

    def _chunk(self, size: int, last: bool) -> None:
        if last and size:
            self._body_event()
        self.read_at_least(size)
        wire = bytes(self.open_chunks) + bytes(self._buffer[:size])
        del self._buffer[:size]
        if last:
            self._last_chunk(wire)
            return
        default = self._text(250, "2.0.0", f"{size} octets") if self.recipients else None
        self._event("CHUNK", self.sender or "", default or self._no_transaction())
        self.open_chunks[:] = wire

    def _last_chunk(self, wire: bytes) -> None:
        self._judge_body(wire)
        if self.sender is not None and self._size_is_wrong(len(wire)):
            self.violation(f"{len(wire)} octets by BDAT with {self.options}")
        taken = False
        try:
            taken = self._dots(wire, True)
        finally:
            self.open_chunks.clear()
            if taken:
                self._forget()

    def _no_transaction(self) -> bytes:
        if self.sender is None:
            return self._text(503, "5.5.1", "MAIL first")
        return self._text(554, "5.5.1", "No valid recipients")

    def _size_is_wrong(self, size: int) -> bool:
        announced = [option[5:] for option in self.options if option.startswith("SIZE=")]
        return bool(announced) and announced != [str(size)]

    def _find_dot(self) -> int:
        """Reads up to the final dot; returns where it stands in the buffer."""
        self.read_at_least(3)
        if self._buffer.startswith(b".\r\n"):
            return 0
        start = 0
        while (end := self._buffer.find(b"\r\n.\r\n", start)) < 0:
            start = max(0, len(self._buffer) - 4)
            self._fill()
        return end + 2

    def _judge_body(self, wire: bytes) -> None:
        ends = wire.count(b"\r\n")
        if wire.count(b"\n") != ends or wire.count(b"\r") != ends:
            self.violation("bare CR or LF in a body")
        declared = any(option.upper() == "BODY=8BITMIME" for option in self.options)
        if not wire.isascii() and not declared:
            self.violation("8-bit octets in a body without BODY=8BITMIME")

    def _judge_message(self, wire: bytes) -> bytes:
        if not self.recipients:
            return self._text(554, "5.5.1", "No valid recipients")
        if self._too_big(len(wire)):
            return self._text(552, "5.3.4", "Message too big")
        return self._text(250, "2.0.0", f"Ok: queued as {self.server.queue_id()}")

    def _keep(self, wire: bytes, reply: bytes, recipients: List[str], chunked: bool) -> None:
        message = Message(
            *(self.sender or "", tuple(recipients), tuple(self.options), wire, reply),
            *(self.number, self.tls, self.user, chunked),
        )
        self.messages.append(message)
        self.server.keep(message)

    def _rset(self, argument: str) -> None:
        if self._event("RSET", argument, self._text(250, "2.0.0", "Ok")) == 250:
            self._forget()

    def _noop(self, argument: str) -> None:
        self._event("NOOP", argument, self._text(250, "2.0.0", "Ok"))

    def _quit(self, argument: str) -> None:
        self._event("QUIT", argument, self._text(221, "2.0.0", "Bye"))
        self.flush()
        self.close()
        raise SessionOver("QUIT")
