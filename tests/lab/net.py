"""Loopback ports."""

from __future__ import annotations

import socket
import time
from typing import Callable

HOST = "127.0.0.1"


def listener(backlog: int = 128) -> socket.socket:
    """A listening socket on a port that the kernel picks: no other process can take it."""
    sock = socket.create_server((HOST, 0), backlog=backlog)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def free_port() -> int:
    """A port for a server that can't inherit a socket; also one where nobody listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _greets(port: int, greeting: bool) -> bool:
    try:
        with socket.create_connection((HOST, port), timeout=10) as sock:
            return not greeting or sock.recv(3) == b"220"
    except OSError:
        return False


def wait_for_port(
    port: int, alive: Callable[[], bool], *, greeting: bool = True, timeout: float = 20
) -> bool:
    """Waits for a server at PORT to say 220 (or, without GREETING, to accept); False when it died
    or TIMEOUT seconds passed."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and alive():
        if _greets(port, greeting):
            return True
        time.sleep(0.05)
    return False
