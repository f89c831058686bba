"""A tiny SMTP server that notes when each message came. It answers what one read brought in one
write, so that a run against it over one connection takes the same steps each time."""

from __future__ import annotations

import re
import socket
import threading
import time
from dataclasses import dataclass
from typing import List, Tuple

from lab import net

_READ = 1 << 18
_IDENT = re.compile(rb"^Message-Id: <(\d+)@", re.MULTILINE)
_ANSWERS = {
    b"EHLO": b"250-tiny\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"DATA": b"354 go on\r\n",
    b"QUIT": b"221 bye\r\n",
}


@dataclass(frozen=True)
class Arrival:
    time: float  # monotonic
    number: int  # of its Message-Id


class _Dialogue:
    """One session as bytes in and bytes out."""

    def __init__(self) -> None:
        self._buffer = b""
        self._in_body = False
        self._number = -1
        self.arrived: List[int] = []

    def feed(self, octets: bytes) -> Tuple[bytes, bool]:
        """The answer, and whether that was all."""
        self._buffer += octets
        answer, over = b"", False
        while not over:
            more = self._body() if self._in_body else self._command()
            if more is None:
                break
            answer += more
            over = more == _ANSWERS[b"QUIT"]
        return answer, over

    def _command(self) -> "bytes | None":
        line, end, rest = self._buffer.partition(b"\r\n")
        if not end:
            return None
        self._buffer = rest
        verb = line[:4].upper()
        if verb == b"DATA":
            self._in_body, self._number = True, -1
        return _ANSWERS.get(verb, b"250 ok\r\n")

    def _body(self) -> "bytes | None":
        if self._number < 0:
            found = _IDENT.search(self._buffer)
            self._number = int(found[1]) if found else -1
        end = self._buffer.find(b"\r\n.\r\n")
        if end < 0:
            self._buffer = self._buffer[-4:] if self._number >= 0 else self._buffer
            return None
        self._buffer = self._buffer[end + 5 :]
        self._in_body = False
        self.arrived.append(self._number)
        return b"250 ok\r\n"


class TinyServer:
    """Listens at self.port. PACE (octets per second, 0: any) is how fast it reads each session."""

    def __init__(self, pace: float = 0) -> None:
        self._pace = pace
        self._listener = net.listener()
        self.port = int(self._listener.getsockname()[1])
        self.arrivals: List[Arrival] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "TinyServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            peer.sendall(b"220 tiny\r\n")
            dialogue, over = _Dialogue(), False
            while not over:
                octets = peer.recv(_READ)
                if not octets:
                    return
                if self._pace:
                    time.sleep(len(octets) / self._pace)
                answer, over = dialogue.feed(octets)
                now = time.monotonic()
                self.arrivals += [Arrival(now, number) for number in dialogue.arrived]
                dialogue.arrived.clear()
                peer.sendall(answer)
