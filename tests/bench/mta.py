"""The peers with a queue and daemons of their own: Postfix, nullmailer and dma."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Dict, Optional, Sequence

from lab import net
from lab import postfix as lab_postfix
from lab.postfix import Postfix as LabPostfix
from lab.sink import run_smtp_source

from . import debs, proc
from .cell import PLAIN, TLS, Cell, Target
from .load import ADDRESS, message
from .senders import Sender
from .tools import Cost, Launched, launch

_LONGEST = 120  # seconds for one drain
# A client of TLS keeps its sessions by tlsproxy; without pickup postqueue takes Postfix for down.
_MORE_SERVICES = """\
tlsproxy unix - - n - 0 tlsproxy
pickup unix n - n 3600 1 pickup
"""


def _empty(*directories: Path) -> bool:
    for directory in directories:
        with os.scandir(directory) as entries:
            if next(entries, None):
                return False
    return True


def _wait_until_empty(directories: Sequence[Path], pause: float = 0.005) -> None:
    end = time.monotonic() + _LONGEST
    while not _empty(*directories):
        if time.monotonic() > end:
            raise RuntimeError(f"not empty after {_LONGEST} s: {directories}")
        time.sleep(pause)


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        path.unlink()


class _Server(LabPostfix):
    """Postfix with what a client of TLS needs, and settings that can change."""

    def _services(self) -> str:
        return super()._services() + _MORE_SERVICES

    def change(self, settings: Dict[str, str]) -> None:
        """Puts SETTINGS in force."""
        config = self.root / "config"
        text = "".join(f"{k} = {v}\n" for k, v in {**self._settings, **settings}.items())
        (config / "main.cf").write_text(text)
        argv = ["/usr/sbin/postfix", "-c", str(config), "reload"]
        subprocess.run(argv, check=True, capture_output=True)

    def flush(self) -> None:
        subprocess.run(["/usr/sbin/postqueue", "-c", str(self.root / "config"), "-f"], check=True)

    @property
    def queue(self) -> Path:
        return self.root / "queue"

    @property
    def pid(self) -> int:
        assert self._child
        return self._child.pid


class Postfix(Sender):
    """Its queue is filled with copies of a queue file that its own cleanup has written."""

    name = "Postfix"
    note = "from postqueue -f until its queue is empty; connections are cached"
    rate, round_trips, parallel, most = 900, 3, True, 4000

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._server: Optional[_Server] = None
        self._templates: Dict[int, bytes] = {}
        self._state: Optional[Dict[str, str]] = None

    def version(self) -> str:
        return debs.installed_version("postfix")

    def why_not(self) -> Optional[str]:
        return lab_postfix.why_not()

    def _running(self) -> _Server:
        if not self._server:
            settings = {
                "smtpd_relay_restrictions": "permit_mynetworks, reject",
                "smtpd_data_restrictions": "check_client_access static:HOLD",
                "virtual_mailbox_domains": "",
                "hash_queue_names": "defer",
                "qmgr_message_active_limit": "100000",
                "queue_run_delay": "1h",
            }
            self._server = _Server(settings=settings)
            self._server.start()
        return self._server

    def _template(self, length: int) -> bytes:
        """A queue file with a message of LENGTH octets, put on hold as it came in."""
        if length not in self._templates:
            server = self._running()
            hold = server.queue / "hold"
            run_smtp_source(
                server.port, sessions=1, count=1, length=length, options=("-t", ADDRESS)
            )
            end = time.monotonic() + 10
            while _empty(hold) and time.monotonic() < end:
                time.sleep(0.02)
            (path,) = hold.iterdir()
            self._templates[length] = path.read_bytes()
            path.unlink()
        return self._templates[length]

    def fill(self, cell: Cell, count: int) -> None:
        content = self._template(cell.length)
        deferred = self._running().queue / "deferred"
        _clear(deferred)
        later = time.time() + 3600  # no sooner, unless told to flush
        for number in range(count):
            path = deferred / f"{0xA000000000 + number:X}"
            path.write_bytes(content)
            shutil.chown(path, "postfix")
            path.chmod(0o700)
            os.utime(path, (later, later))
        os.sync()

    @staticmethod
    def _settings(cell: Cell, target: Target) -> Dict[str, str]:
        number = str(cell.connections)
        settings = {
            "relayhost": f"[{net.HOST}]:{target.port}",
            "smtp_destination_concurrency_limit": number,
            "smtp_initial_destination_concurrency": number,
            "smtp_connection_cache_destinations": net.HOST,
            "default_process_limit": str(cell.connections + 30),
            "smtp_destination_recipient_limit": "50",
        }
        if cell.way == TLS:
            settings.update(
                smtp_tls_wrappermode="yes",
                smtp_tls_security_level="encrypt",
                smtp_tls_CAfile=str(target.ca),
                smtp_tls_connection_reuse="yes",
            )
        return settings

    def drain(self, cell: Cell, count: int, target: Target) -> Cost:
        server = self._running()
        settings = self._settings(cell, target)
        if settings != self._state:
            server.change(settings)
            self._state = settings
            time.sleep(0.5)
        queues = [server.queue / name for name in ("deferred", "incoming", "active")]
        cpu, start = proc.tree_cpu(server.pid), time.monotonic()
        server.flush()
        try:
            _wait_until_empty(queues)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{server.log()[-1000:]}") from error
        wall = time.monotonic() - start
        return Cost(wall, proc.tree_cpu(server.pid) - cpu, proc.tree_memory(server.pid))

    def close(self) -> None:
        if self._server:
            self._server.stop()


class _Foreign(Sender):
    """A peer that is unpacked, not installed."""

    package: str
    programs: Sequence[str]
    ways = (PLAIN, TLS)

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._unpacked: Optional[debs.Unpacked] = None

    def why_not(self) -> Optional[str]:
        reason = debs.why_not()
        if not reason:
            try:
                self._unpacked = debs.Unpacked(self.package, self.programs)
            except RuntimeError as error:
                reason = str(error)
        return reason

    @property
    def home(self) -> debs.Unpacked:
        assert self._unpacked  # why_not comes first
        return self._unpacked

    def version(self) -> str:
        return self.home.version


class Nullmailer(_Foreign):
    name = "nullmailer"
    note = "one process and connection for each message, one after the other"
    package, programs = "nullmailer", ("usr/sbin/nullmailer-send", "usr/lib/nullmailer/smtp")
    rate, round_trips, tls_rate = 50, 8, 20.0

    def _queue(self, name: str = "queue") -> Path:
        return self.home.root / "var/spool/nullmailer" / name

    def fill(self, cell: Cell, count: int) -> None:
        for name in ("queue", "tmp", "failed"):
            self._queue(name).mkdir(parents=True, exist_ok=True)
        if not self._queue("trigger").exists():
            os.mkfifo(self._queue("trigger"))
        for name in ("queue", "failed"):
            _clear(self._queue(name))
        head = f"{ADDRESS}\n{ADDRESS}\n\n".encode()
        for number in range(count):
            content = head + message(number, cell.length)
            (self._queue() / f"{1_700_000_000 + number}.1").write_bytes(content)
        os.sync()

    def drain(self, cell: Cell, count: int, target: Target) -> Cost:
        etc = self.home.root / "etc"
        (etc / "nullmailer").mkdir(exist_ok=True)
        (etc / "mailname").write_text("bench.test\n")
        options = " --ssl --insecure" if cell.way == TLS else ""
        (etc / "nullmailer" / "remotes").write_text(
            f"{net.HOST} smtp --port={target.port}{options}\n"
        )
        argv = self.home.argv("/usr/sbin/nullmailer-send")
        start = time.monotonic()
        running = Launched(argv, self.directory / "send.log")
        try:
            _wait_until_empty([self._queue()])
            wall = time.monotonic() - start
        finally:
            running.stop()  # it would go on waiting for mail
        cost = running.cost(accept=(0, 143))
        if not _empty(self._queue("failed")):
            raise RuntimeError("nullmailer has given mail up")
        return Cost(wall, cost.cpu, cost.memory)


class Dma(_Foreign):
    name = "dma"
    note = "one process and connection for each message, all at the same time"
    package, programs = "dma", ("usr/sbin/dma",)
    rate, round_trips, tls_rate = 700, 8, 200.0
    all_at_once, most = True, 1000

    @property
    def _queue(self) -> Path:
        return self.home.root / "var/spool/dma"

    def _put(self, name: str, content: bytes) -> None:
        path = self._queue / name
        path.write_bytes(content)
        shutil.chown(path, "root", "mail")
        path.chmod(0o660)

    def fill(self, cell: Cell, count: int) -> None:
        self._queue.mkdir(exist_ok=True)
        shutil.chown(self._queue, "root", "mail")
        self._queue.chmod(0o2775)
        _clear(self._queue)
        for number in range(count):
            unique = f"{number:x}.1"
            entry = f"ID: {unique}\nSender: {ADDRESS}\nRecipient: {ADDRESS}\n"
            self._put(f"M{unique}", message(number, cell.length))
            self._put(f"Q{unique}", entry.encode())
        os.sync()

    def drain(self, cell: Cell, count: int, target: Target) -> Cost:
        lines = [f"SMARTHOST {net.HOST}", f"PORT {target.port}", "SPOOLDIR /var/spool/dma"]
        lines += ["MAILNAME bench.test", *(["SECURETRANSFER"] if cell.way == TLS else [])]
        config = self.home.root / "etc/dma/dma.conf"
        config.write_text("".join(f"{line}\n" for line in lines))
        cost = launch(self.home.argv("/usr/sbin/dma", "-q1"), self.directory / "dma.log")
        left = [name for name in os.listdir(self._queue) if name != "flush"]
        if left:
            raise RuntimeError(f"dma has not sent {len(left) // 2} of {count}")
        return cost
