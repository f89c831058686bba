"""A scripted SMTP server for what no real server does on demand.

Without instructions it is a correct server with PIPELINING. Each step of it, an event, can be told
to answer otherwise (faultactions.py lists what an answer can be):

	CONNECT EHLO HELO LHLO STARTTLS AUTH MAIL RCPT DATA BODY DOT RSET NOOP QUIT, or an unknown verb

BODY happens when the first octets of a body have come, DOT when its final dot has.

With CHUNKING among what it announces (it is not by default) it takes BDAT too: CHUNK happens when a
chunk has come that is not the last; for the last one, BODY and DOT as above. BDAT itself happens at
the command and has no reply of its own: when it is told one, the server stays deaf to what BDAT
means, and reads the octets as commands. After anything but a 2xx to a last chunk it keeps the
transaction open until RSET, as RFC 3030 allows: a MAIL then is nested, and refused.

	with FaultServer(answers={"MAIL": ["451 4.3.0 Not now"],
	                          "RCPT": {"b@example.net": "550 5.1.1 Unknown"},
	                          "DOT": Close()}) as server:

With LMTP it is a server of RFC 2033: LHLO in place of EHLO, and after the final dot, or the last
chunk, a DOT for each recipient that was accepted. A dict for DOT is then looked up by the
recipient, and each of them makes a Message of its own.

A list is used up in order, over all connections; then, and for a None in it, the correct answer
follows. A dict is looked up by the address of MAIL or RCPT, by the sender for DATA, BDAT, CHUNK,
BODY and DOT, by the argument for the rest; "*" stands for any other.

A script takes one connection step by step: [(event, answer), …]. An event of None speaks without
being asked. The session behaves as ever when the script is used up.

	FaultServer(scripts=[[("CONNECT", None), ("EHLO", "421 4.3.2 Going down"), (None, Close())]])

After a reply of 421 the connection is closed, as RFC 5321 has it; Then("421 …", Hang()) keeps it.

Everything is recorded. A client's offences against the protocol are collected in
session.violations, so that a test of anything can end with `server.check()`.
"""

from __future__ import annotations

import collections
import select
import socket
import ssl
import threading
import time
import traceback
from typing import Callable, Deque, Dict, List, Mapping, Optional, Sequence, Union

from . import net
from .faultactions import Answer, Cut, SessionOver
from .faultsession import Chunk, Message, Session, Step

__all__ = ["DEFAULT_EHLO", "Chunk", "FaultServer", "Message", "Session"]

Choice = Union[Answer, Sequence[Answer]]
Choices = Union[Choice, Mapping[str, Choice]]

DEFAULT_EHLO = ("PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")


class _Queue:
    """A list of answers, used up in order."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self._answers: Deque[Answer] = collections.deque(answers)

    def next(self) -> Answer:
        try:
            return self._answers.popleft()
        except IndexError:
            return None


def _prepare(choices: Choices) -> object:
    """Gives each list in CHOICES its own memory of what has been used up."""
    if isinstance(choices, Mapping):
        return {key: _prepare(choice) for key, choice in choices.items()}
    if isinstance(choices, Sequence) and not isinstance(choices, (str, bytes)):
        return _Queue(choices)
    return choices


def _choose(choices: object, key: str) -> Answer:
    if isinstance(choices, dict):
        choices = choices.get(key, choices.get("*"))
    return choices.next() if isinstance(choices, _Queue) else choices  # type: ignore[return-value]


class FaultServer:
    """The server: a thread that accepts, and one for each connection. See the module's text.

    EHLO are the keywords announced; EHLO_TLS those announced on TLS, by default the same without
    STARTTLS. TLS makes STARTTLS possible (announce it), or with IMPLICIT_TLS starts at once. USERS
    maps user to password or token for AUTH; None takes any. REFUSAL is what is said in base64 of a
    token that is not taken, before the reply. LATENCY holds back every write for that many
    seconds, so the number of round trips shows in a run's time. CUT ends each connection where it
    says. Of connections no more than ACCEPT_MAX are taken: the system refuses the others.
    """

    def __init__(
        self,
        *,
        ehlo: Sequence[str] = DEFAULT_EHLO,
        ehlo_tls: Optional[Sequence[str]] = None,
        answers: Optional[Mapping[str, Choices]] = None,
        scripts: Sequence[Optional[Sequence[Step]]] = (),
        tls: Optional[ssl.SSLContext] = None,
        implicit_tls: bool = False,
        users: Optional[Mapping[str, str]] = None,
        require_auth: bool = False,
        refusal: bytes = b"",
        latency: float = 0.0,
        keep_chunks: bool = True,
        cut: Optional[Cut] = None,
        accept_max: Optional[int] = None,
        lmtp: bool = False,
    ) -> None:
        self.ehlo = list(ehlo)
        if ehlo_tls is None:
            ehlo_tls = [line for line in ehlo if line != "STARTTLS"]
        self.ehlo_tls = list(ehlo_tls)
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.users = users
        self.require_auth = require_auth
        self.refusal = refusal
        self.latency = latency
        self.keep_chunks = keep_chunks
        self.cut = cut
        self._accept_max = accept_max
        self.lmtp = lmtp
        self.sessions: List[Session] = []
        self.stopping = threading.Event()
        self.bugs: List[str] = []  # exceptions of this server or of a test's callables
        self._lock = threading.Lock()
        self._messages: List[Message] = []
        self._queued = 0
        self._scripts = list(scripts)
        self._choices: Dict[str, object] = {}
        for event, choices in (answers or {}).items():
            self.answer(event, choices)
        self._accepting = False
        self._refusing = False
        self._threads: List[threading.Thread] = []
        self._listener = net.listener()
        self.port = int(self._listener.getsockname()[1])

    # For tests

    @property
    def url(self) -> str:
        scheme = "lmtp" if self.lmtp else "smtps" if self.implicit_tls else "smtp"
        return f"{scheme}://{net.HOST}:{self.port}"

    def answer(self, event: str, choices: Choices) -> None:
        """Sets what EVENT is answered from now on."""
        with self._lock:
            self._choices[event] = _prepare(choices)

    def settle(self, timeout: float = 5.0) -> None:
        """Waits until all that clients have sent so far is dealt with."""
        end = time.monotonic() + timeout
        while not self._is_quiet() and time.monotonic() < end:
            time.sleep(0.001)

    @property
    def received(self) -> List[Message]:
        """Every body that came with its dot, in the order of the dots."""
        self.settle()
        return list(self._messages)

    @property
    def messages(self) -> List[Message]:
        """Those of them that were accepted."""
        return [message for message in self.received if message.accepted]

    @property
    def verbs(self) -> List[str]:
        """The commands of all connections, one connection after the other."""
        self.settle()
        return [verb for session in self.sessions for verb in session.verbs]

    @property
    def violations(self) -> List[str]:
        self.settle()
        return [text for session in self.sessions for text in session.violations]

    def check(self) -> None:
        """Fails when a client broke the protocol or this server has a bug."""
        if self.violations or self.bugs:
            talk = "\n\n".join(session.dialogue() for session in self.sessions)
            raise AssertionError("\n".join([*self.violations, *self.bugs, talk]))

    # For sessions

    def announce(self, tls: bool) -> List[str]:
        return list(self.ehlo_tls if tls else self.ehlo)

    def script(self, number: int) -> Sequence[Step]:
        return (self._scripts[number] if number < len(self._scripts) else None) or ()

    def instruction(self, event: str, key: str) -> Answer:
        with self._lock:
            return _choose(self._choices.get(event), key)

    def queue_id(self) -> str:
        with self._lock:
            self._queued += 1
            return f"L{self._queued:06}"

    def keep(self, message: Message) -> None:
        with self._lock:
            self._messages.append(message)

    # Its life

    def __enter__(self) -> "FaultServer":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopping.set()
        for sock in [self._listener, *(session.sock for session in self.sessions)]:
            self._shut(sock)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        try:
            # The plain method: that of SSLSocket takes the TLS state from under its thread.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            pass  # closed already

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while not self.stopping.is_set():
            if len(self.sessions) == self._accept_max:
                self._refusing = True
                self._shut(self._listener)
                return
            poll.poll()
            self._accepting = True
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # stopped
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = Session(self, sock, len(self.sessions))
            self.sessions.append(session)
            self._start(self._serve, session)
            self._accepting = False

    def _is_quiet(self) -> bool:
        """Looks in the order in which a connection passes from the kernel to its session."""
        if self.stopping.is_set():
            return not any(thread.is_alive() for thread in self._threads)
        waiting = select.poll()
        waiting.register(self._listener, select.POLLIN)
        if self._accepting or (waiting.poll(0) and not self._refusing):
            return False
        return all(session.is_quiet() for session in list(self.sessions))

    def _serve(self, session: Session) -> None:
        ended = "a bug of the test"
        try:
            session.run()
        except SessionOver as over:
            ended = str(over)
        except ssl.SSLError as error:
            ended = f"TLS: {error.reason or error}"
        except OSError as error:
            ended = f"lost: {error.strerror or error}"
        except Exception:
            self.bugs.append(traceback.format_exc())
        finally:
            session.sock.close()
            session.ended = ended
