"""A spool of the test's own: made by `maildrain init`, filled as a writer fills it."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from . import repo

Value = Union[str, int, bool, Path, Sequence[str]]
Envelope = Tuple[str, Sequence[str]]
DIRECTORIES = ("tmp", "new", "cur", "failed")

_counter = itertools.count()


def unique_name() -> str:
    """SECONDS.M<micros>P<pid>Q<n>.HOST, as the backend makes it."""
    seconds, micros = divmod(time.time_ns() // 1000, 1_000_000)
    host = socket.gethostname().replace("/", "-").replace(":", "-").replace(",", "-")
    return f"{seconds}.M{micros:06}P{os.getpid()}Q{next(_counter)}.{host}"


def unique_of(name: str) -> str:
    """UNIQUE of the name of a spool file: what every state of one message shares."""
    return name.split(":", 1)[0].split(",", 1)[0]


def fields_of(name: str) -> Dict[str, str]:
    """The fields of the name of a spool file: {"A": "1", "E": "4.0.0"}."""
    parts = name.split(":", 1)[0].split(",")[1:]
    return {key: value for key, _, value in (part.partition("=") for part in parts)}


def envelope_block(sender: str, recipients: Sequence[str], newline: bytes = b"\n") -> bytes:
    """The lines that head a file of the spool; the null sender is ""."""
    lines = [f"X-Maildrain-From: <{sender}>"]
    lines += [f"X-Maildrain-To: <{recipient}>" for recipient in recipients]
    return b"".join(line.encode("utf-8", "surrogateescape") + newline for line in lines)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (str, Path)):
        return _quoted(str(value))
    return "{" + ", ".join(_quoted(str(item)) for item in value) + "}"


def _section(kind: str, name: str, options: Mapping[str, Value]) -> List[str]:
    lines = [f"\t{key} = {_literal(value)}" for key, value in options.items()]
    return [f"{kind} {_quoted(name)} {{", *lines, "}"]


def config_text(
    options: Mapping[str, Value],
    relays: Mapping[str, Mapping[str, Value]],
    routes: Optional[Mapping[str, Mapping[str, Value]]] = None,
) -> str:
    """A maildrain.conf. ${VAR} in a value stays as it is, for libconfuse to expand."""
    lines = [f"{key} = {_literal(value)}" for key, value in options.items()]
    for name, relay in relays.items():
        lines += _section("relay", name, relay)
    for name, route in (routes or {}).items():
        lines += _section("route", name, route)
    return "\n".join(lines) + "\n"


class Spool:
    """A spool with its config file beside it."""

    def __init__(self, directory: Path, *, init: bool = True) -> None:
        self.path = directory / "spool"
        self.config = directory / "maildrain.conf"
        if init:
            self.write_config({}, url="smtp://127.0.0.1:1", tls="none")
            self.command("init").check_returncode()

    def write_config(
        self,
        options: Optional[Mapping[str, Value]] = None,
        /,
        *,
        relays: Optional[Mapping[str, Mapping[str, Value]]] = None,
        routes: Optional[Mapping[str, Mapping[str, Value]]] = None,
        **relay: Value,
    ) -> Path:
        """Writes maildrain.conf: OPTIONS of the top level, RELAY as relay "main", RELAYS, ROUTES.
        Nobody is told of failures unless OPTIONS has another "notify"."""
        sections: Dict[str, Mapping[str, Value]] = {"main": relay} if relay else {}
        sections.update(relays or {})
        return self.write_config_text(
            config_text({"spool": self.path, "notify": [], **(options or {})}, sections, routes)
        )

    def write_config_text(self, text: Union[str, bytes]) -> Path:
        self.config.write_bytes(text if isinstance(text, bytes) else text.encode())
        return self.config

    def secret(self, text: str, name: str = "smtp-password", mode: int = 0o600) -> Path:
        """A password file for the config's password_file."""
        path = self.config.parent / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def drop(
        self,
        message: bytes,
        name: Optional[str] = None,
        envelope: Optional[Envelope] = None,
        *,
        priority: Optional[int] = None,
        not_before: Optional[int] = None,
        expires: Optional[int] = None,
    ) -> str:
        """Puts MESSAGE into new/ as a writer does; NAME is taken whole, else one is made from the
        other fields. Returns the name."""
        fields = {"P": priority, "T": not_before, "X": expires}
        name = name or unique_name() + "".join(
            f",{key}={value}" for key, value in fields.items() if value is not None
        )
        content = (envelope_block(*envelope) if envelope else b"") + message
        draft = self.path / "tmp" / name
        self._write(draft, content)
        os.rename(draft, self.path / "new" / name)
        self._sync("new")
        return name

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(fd)

    def _sync(self, directory: str) -> None:
        fd = os.open(self.path / directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def ls(self) -> Dict[str, List[str]]:
        """The sorted names in tmp, new, cur and failed, and the files in the root as ".", without
        those whose names start with a dot."""
        names = {name: sorted(os.listdir(self.path / name)) for name in DIRECTORIES}
        names["."] = sorted(
            entry.name
            for entry in os.scandir(self.path)
            if not entry.is_dir() and not entry.name.startswith(".")
        )
        return names

    def counts(self) -> Dict[str, int]:
        """How many files stand in tmp, new, cur and failed."""
        return {name: len(os.listdir(self.path / name)) for name in DIRECTORIES}

    def find(self, name: str) -> Path:
        """The one file that has the UNIQUE of NAME, wherever it is by now."""
        unique = unique_of(name)
        found = [
            self.path / directory / entry
            for directory in DIRECTORIES
            for entry in os.listdir(self.path / directory)
            if unique_of(entry) == unique
        ]
        if len(found) != 1:
            raise AssertionError(f"{unique}: expected in one place, found {found}")
        return found[0]

    def state(self, name: str) -> Tuple[str, Dict[str, str]]:
        """Where the message of NAME is by now, and its fields: ("failed", {"E": "5.1.1"})."""
        path = self.find(name)
        return path.parent.name, fields_of(path.name)

    def argv(self, *args: str) -> List[str]:
        """The command line of maildrain with this spool's config."""
        return [str(repo.program()), "-c", str(self.config), *args]

    def command(
        self, *args: str, env: Optional[Mapping[str, str]] = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs `maildrain -c CONF ARGS…`; ENV is added to this process's environment."""
        return subprocess.run(
            self.argv(*args),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="backslashreplace",
            env={**os.environ, **(env or {})},
            timeout=timeout,
        )

    def run(
        self, *args: str, env: Optional[Mapping[str, str]] = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Runs `maildrain -c CONF run ARGS…`."""
        return self.command("run", *args, env=env, timeout=timeout)
