"""aiosmtpd as a second, independent server: STARTTLS, smtps, AUTH, answers by recipient.

What to know of aiosmtpd (1.4.3 in Debian 12):

- It does not announce PIPELINING. It does cope with it: it reads command by command from a
  buffer, so body, dot, MAIL, RCPT and DATA may come in one write; each reply is a write of its
  own. With pipelining=True this server announces it.
- Octets behind STARTTLS are thrown away, not executed.
- It has no enhanced status codes of its own, no CHUNKING, and takes no parameter of RCPT.
- Lines over 1,001 octets get 500 at the dot, command lines over 512 too, and it upper-cases the
  parameters of MAIL.
- With AUTH over implicit TLS it must be told not to ask for STARTTLS first.
- It names the null sender "<>"; here it is "".
- It handles each line of a body in Python. Use Postfix or smtp-sink for volume.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
import warnings
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Tuple

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from . import net

BY_LOCAL_PART = {
    "refuse": "550 5.1.1 No such user here",
    "defer": "451 4.3.0 Try again later",
}


@dataclass(frozen=True)
class Received:
    """A message that was accepted."""

    sender: str
    recipients: Tuple[str, ...]
    options: Tuple[str, ...]  # of MAIL, in upper case
    data: bytes  # CRLF lines, dots undone
    peer: Tuple[Any, ...]
    session: int  # counts connections from 0
    tls: bool
    user: Optional[str]
    at: float  # time.monotonic() of its dot


class _Numbered(SMTP):
    """One connection of aiosmtpd."""

    number: int


class _Handler:
    """The hooks that aiosmtpd calls."""

    def __init__(self, server: "AioServer") -> None:
        self.server = server

    async def handle_EHLO(
        self,
        smtp: SMTP,
        session: Any,
        envelope: Any,
        hostname: str,
        replies: List[str],
    ) -> List[str]:
        session.host_name = hostname
        hidden = set() if self.server.eightbit else {"8BITMIME"}
        hidden |= set() if self.server.users else {"AUTH"}
        replies = [line for line in replies if line[4:].partition(" ")[0] not in hidden]
        if self.server.pipelining:
            replies.insert(1, "250-PIPELINING")
        return replies

    async def handle_MAIL(
        self, smtp: SMTP, session: Any, envelope: Any, address: str, options: List[str]
    ) -> str:
        reply = self.server.reply_to(address)
        if reply.startswith("2"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply

    async def handle_RCPT(
        self, smtp: SMTP, session: Any, envelope: Any, address: str, options: List[str]
    ) -> str:
        reply = self.server.reply_to(address)
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(self, smtp: "_Numbered", session: Any, envelope: Any) -> str:
        return self.server.keep(smtp, session, envelope)


class AioServer:
    """An aiosmtpd in a thread of its own.

    STARTTLS or SMTPS is the server's TLS context. USERS maps user to password and makes AUTH
    available; AUTH_REQUIRED refuses MAIL without it. ANSWERS maps addresses, of MAIL and of RCPT,
    to replies; without one, refuse@ gets 550, defer@ 451, anyone else 250.
    """

    def __init__(
        self,
        *,
        starttls: Optional[ssl.SSLContext] = None,
        require_starttls: bool = False,
        smtps: Optional[ssl.SSLContext] = None,
        users: Optional[Mapping[str, str]] = None,
        auth_required: bool = False,
        smtputf8: bool = True,
        eightbit: bool = True,
        pipelining: bool = False,
        size_limit: int = 50 * 1024 * 1024,
        answers: Optional[Mapping[str, str]] = None,
    ) -> None:
        self.smtps = smtps
        self.users = dict(users or {})
        self.eightbit = eightbit
        self.pipelining = pipelining
        self.answers = dict(answers or {})
        self.messages: List[Received] = []
        self.logins: List[Tuple[str, str, str, bool]] = []  # mechanism, user, password, accepted
        self.sessions = 0
        self._options: Dict[str, Any] = {
            "hostname": "lab.example",
            "enable_SMTPUTF8": smtputf8,
            "data_size_limit": size_limit,
            "tls_context": starttls,
            "require_starttls": require_starttls,
            "auth_required": auth_required,
            "auth_require_tls": starttls is not None,
            "authenticator": self._authenticate,
            "auth_exclude_mechanism": () if users else ("PLAIN", "LOGIN"),
        }
        self._listener = net.listener()
        self.port = int(self._listener.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"{'smtps' if self.smtps else 'smtp'}://{net.HOST}:{self.port}"

    # For the hooks

    def reply_to(self, address: str) -> str:
        local_part = address.rpartition("@")[0]
        if address in self.answers:
            return self.answers[address]
        return BY_LOCAL_PART.get(local_part, "250 2.1.0 Ok")

    def keep(self, smtp: "_Numbered", session: Any, envelope: Any) -> str:
        login = session.auth_data
        self.messages.append(
            Received(
                sender=envelope.mail_from.replace("<>", ""),
                recipients=tuple(envelope.rcpt_tos),
                options=tuple(envelope.mail_options),
                data=bytes(envelope.original_content or b""),
                peer=session.peer,
                session=smtp.number,
                tls=session.ssl is not None or self.smtps is not None,
                user=login.login.decode() if isinstance(login, LoginPassword) else None,
                at=time.monotonic(),
            )
        )
        return f"250 2.0.0 Ok: queued as A{len(self.messages):06}"

    def _authenticate(
        self, smtp: SMTP, session: Any, envelope: Any, mechanism: str, data: Any
    ) -> AuthResult:
        user, password = data.login.decode(), data.password.decode()
        good = self.users.get(user) == password
        self.logins.append((mechanism, user, password, good))
        return AuthResult(success=good, handled=False, auth_data=data if good else None)

    # Its life

    def _protocol(self) -> _Numbered:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # AUTH without TLS is what some tests want
            smtp = _Numbered(_Handler(self), loop=self._loop, **self._options)
        smtp.number = self.sessions
        self.sessions += 1
        return smtp

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        start = self._loop.create_server(self._protocol, sock=self._listener, ssl=self.smtps)
        server = self._loop.run_until_complete(start)
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._end_tasks())
            self._loop.close()

    @staticmethod
    async def _end_tasks() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def __enter__(self) -> "AioServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
