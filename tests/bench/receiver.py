"""What the senders send to: the same for all of them.

plain     smtp-sink, which takes mail as fast as it comes and drops it. It offers PIPELINING.
TLS       stunnel before that smtp-sink: TLS from the first byte, as smtp-sink knows no STARTTLS.
CHUNKING  Postfix's own smtpd, which offers it, with "discard" as its only transport.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Iterator, Optional

from lab import net
from lab import postfix as lab_postfix
from lab.certs import Certs
from lab.child import Child
from lab.postfix import Postfix
from lab.sink import Sink

from .cell import CHUNKING, TLS, Cell, Target
from .tools import Distance

BACKLOG = 4096


def stunnel() -> Optional[str]:
    return shutil.which("stunnel4", path="/usr/bin:/usr/sbin") or shutil.which("stunnel")


def why_not(cell: Cell) -> Optional[str]:
    """Why there can be no such server here, or None."""
    if cell.way == TLS and not stunnel():
        return "stunnel is missing: install the package stunnel4"
    return lab_postfix.why_not() if cell.way == CHUNKING else None


@contextlib.contextmanager
def _behind_tls(port: int, certs: Certs, directory: Path) -> Iterator[int]:
    own = net.free_port()
    config = directory / f"stunnel-{own}.conf"
    config.write_text(f"""\
foreground = yes
pid =
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[smtps]
accept = {net.HOST}:{own}
connect = {net.HOST}:{port}
cert = {certs.server.cert}
key = {certs.server.key}
""")
    child = Child([stunnel() or "stunnel", str(config)], directory / f"stunnel-{own}.log")
    try:
        if not net.wait_for_port(own, child.alive, greeting=False):
            raise RuntimeError(f"stunnel did not start: {child.tail()}")
        yield own
    finally:
        child.stop()


@contextlib.contextmanager
def _discarding_postfix() -> Iterator[int]:
    settings = {
        "virtual_transport": "discard:",
        "smtpd_client_connection_count_limit": "0",
        "default_process_limit": "150",
    }
    with Postfix(settings=settings) as server:
        yield server.port


@contextlib.contextmanager
def near(cell: Cell, certs: Certs, directory: Path) -> Iterator[int]:
    """The port of the server that CELL wants, without the distance."""
    with contextlib.ExitStack() as stack:
        if cell.way == CHUNKING:
            yield stack.enter_context(_discarding_postfix())
            return
        sink = Sink(directory, counters=False, backlog=BACKLOG)
        port = stack.enter_context(sink).port
        yield stack.enter_context(_behind_tls(port, certs, directory)) if cell.way == TLS else port


@contextlib.contextmanager
def receiver(cell: Cell, certs: Certs, directory: Path) -> Iterator[Target]:
    with near(cell, certs, directory) as port, Distance(port, cell.seconds) as distance:
        yield Target(distance.port, certs.ca)


