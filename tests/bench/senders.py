"""The senders that run in one process: maildrain, smtp-source and Django's own SMTP backend."""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Optional

from lab import sink
from lab.spool import Spool

from . import load
from .cell import CHUNKING, PLAIN, TLS, Cell, Target
from .debs import installed_version
from .tools import HERE, Cost, launch, url

PYTHON = "/usr/bin/python3"


class Sender(ABC):
    """Someone who sends. RATE (messages of 2 kB per second without delay) and ROUND_TRIPS (for
    each message) are rough, and serve only to send so many that it takes about as long as wanted.
    """

    name: str
    note = ""
    rate: float
    round_trips: float
    tls_rate = 0.0  # with TLS; 0: about the same
    parallel = False  # whether it knows a number of connections
    all_at_once = False  # whether it opens a connection for each message at the same time
    most = 10_000  # messages that make sense at once
    ways = (PLAIN, TLS, CHUNKING)

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def version(self) -> str: ...

    def why_not(self) -> Optional[str]:
        """Why it can't be tried here, or None."""
        return None

    @abstractmethod
    def fill(self, cell: Cell, count: int) -> None:
        """Makes COUNT messages wait; not timed."""

    @abstractmethod
    def drain(self, cell: Cell, count: int, target: Target) -> Cost:
        """Sends them; fails unless all went."""

    def close(self) -> None:
        """Ends what it has running."""


class Maildrain(Sender):
    name = "maildrain"
    note = "the whole command, from its start to its exit, all renames and fsyncs done"
    rate, round_trips, parallel = 20_000, 1, True

    def version(self) -> str:
        return "of this tree"

    def _spool(self, cell: Cell) -> Spool:
        place = self.directory / str(cell.length)
        place.mkdir(exist_ok=True)
        return Spool(place, init=not (place / "spool").exists())

    def fill(self, cell: Cell, count: int) -> None:
        """What was sent the last time is sent again when the number fits."""
        spool = self._spool(cell)
        load.refill(spool)
        if spool.counts()["new"] != count:
            shutil.rmtree(spool.path.parent)
            load.fill(self._spool(cell), count, cell.length)

    def drain(self, cell: Cell, count: int, target: Target) -> Cost:
        spool = self._spool(cell)
        if cell.way == TLS:
            options = {"url": url(target.port, "smtps"), "ca_file": target.ca}
        else:
            options = {"url": url(target.port), "tls": "none"}
        spool.write_config(connections=cell.connections, **options)
        cost = launch(spool.argv("run"), self.directory / "run.log")
        load.check_sent(spool, count)
        return cost


class SmtpSource(Sender):
    name = "smtp-source -d"
    note = "reads no queue and keeps no record: the practical limit"
    rate, round_trips, parallel = 20_000, 4, True
    ways = (PLAIN,)

    def version(self) -> str:
        return installed_version("postfix")

    def why_not(self) -> Optional[str]:
        return None if sink.available() else "install the package postfix"

    def fill(self, cell: Cell, count: int) -> None:
        """It makes up its messages as it goes."""

    def drain(self, cell: Cell, count: int, target: Target) -> Cost:
        argv = sink.smtp_source_argv(
            target.port, sessions=min(cell.connections, count), count=count, length=cell.length
        )
        return launch(argv, self.directory / "source.log")


class DjangoSmtp(Sender):
    name = "Django SMTP"
    note = "one process and connection, send_messages() of ready EmailMessages; start not counted"
    rate, round_trips, tls_rate = 700, 4, 150.0
    ways = (PLAIN, TLS)

    def version(self) -> str:
        return installed_version("python3-django")

    def why_not(self) -> Optional[str]:
        return None if self.version() else "install the package python3-django"

    def fill(self, cell: Cell, count: int) -> None:
        """It has no queue: the messages wait in its memory."""

    def drain(self, cell: Cell, count: int, target: Target) -> Cost:
        report = self.directory / "django.json"
        report.unlink(missing_ok=True)
        numbers = (str(count), str(cell.length), str(target.port), str(int(cell.way == TLS)))
        script = str(HERE / "django_send.py")
        launch([PYTHON, "-I", script, str(report), *numbers], self.directory / "django.log")
        return Cost(**json.loads(report.read_text()))


