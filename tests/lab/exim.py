"""A real Exim, without its package installed: that one conflicts with Postfix's.

Its package and the libraries that it needs are fetched by `apt-get download` and unpacked into a
folder. The program insists on a user Debian-exim, so it runs in a mount namespace of its own where
/etc/passwd and /etc/group have one. It takes all mail, but for the local parts "reject" and
"defer", and delivers none: what it has taken is read from its queue.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import List, Optional

from . import net
from .child import Child
from .namespace import private

PACKAGE = "exim4-daemon-light"
USER = "Debian-exim"
UID = 64901

_CONFIG = """\
primary_hostname = lab.example
spool_directory = {root}/spool
log_file_path = {root}/log/%s
pid_file_path = {root}/log/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
smtp_accept_max = 0
queue_only = true
keep_environment =
acl_smtp_rcpt = rcpt

begin acl

rcpt:
  deny  local_parts = reject
        message = No such user
  defer local_parts = defer
        message = Busy
  accept
"""

_START = """\
mount --bind "$1/passwd" /etc/passwd
mount --bind "$1/group" /etc/group
shift
exec "$@"
"""


def why_not() -> Optional[str]:
    """Why Exim can't be tried here, or None; that it can't be fetched shows later."""
    if os.geteuid() != 0:
        return "Exim's daemon must be started by root"
    for program in ("apt-get", "dpkg-deb", "unshare"):
        if not shutil.which(program):
            return f"{program} is missing"
    return None


def _download(names: List[str], directory: Path) -> List[Path]:
    """The packages NAMES; fails with subprocess.CalledProcessError."""
    subprocess.run(
        ["apt-get", "-q", "download", *names],
        cwd=directory,
        capture_output=True,
        check=True,
        timeout=120,
    )
    return [next(directory.glob(f"{name}_*.deb")) for name in names]


def _missing_libraries(package: Path) -> List[str]:
    """Those that PACKAGE depends on and that are not installed."""
    shown = subprocess.run(
        ["dpkg-deb", "-f", str(package), "Depends"], capture_output=True, text=True, check=True
    ).stdout
    names = re.findall(r"\blib[a-z0-9.+-]+", shown)
    return [name for name in names if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    argv = ["dpkg-query", "-W", "-f", "${db:Status-Status}", name]
    return subprocess.run(argv, capture_output=True, text=True).stdout == "installed"


def fetch(directory: Path) -> Path:
    """Unpacks Exim into DIRECTORY; returns the program. Fails with CalledProcessError."""
    (package,) = _download([PACKAGE], directory)
    libraries = _missing_libraries(package)
    for each in [package, *(_download(libraries, directory) if libraries else [])]:
        subprocess.run(["dpkg-deb", "-x", str(each), str(directory / "unpacked")], check=True)
    return directory / "unpacked" / "usr" / "sbin" / "exim4"


class Exim:
    """The daemon. See the module's text."""

    def __init__(self, program: Path) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="maildrain-exim-"))
        self.root.chmod(0o755)
        self.port = net.free_port()
        self._program = program
        self._child: Optional[Child] = None
        for name in ("spool", "log"):
            (self.root / name).mkdir(mode=0o750)
            os.chown(self.root / name, UID, UID)
        self._write("exim.conf", _CONFIG.format(root=self.root, port=self.port))
        self._write("passwd", self._with_user("/etc/passwd", f"{USER}:x:{UID}:{UID}::/:/bin/false"))
        self._write("group", self._with_user("/etc/group", f"{USER}:x:{UID}:"))

    def _write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)
        (self.root / name).chmod(0o644)

    @staticmethod
    def _with_user(path: str, line: str) -> str:
        others = [other for other in Path(path).read_text().splitlines() if USER not in other]
        return "\n".join([*others, line]) + "\n"

    @property
    def url(self) -> str:
        return f"smtp://{net.HOST}:{self.port}"

    def __enter__(self) -> "Exim":
        libraries = self._program.parents[1] / "lib"
        folders = [str(path) for path in libraries.glob("*-linux-*")] if libraries.exists() else []
        self._child = Child(
            private(_START, self.root, self._program, "-C", self.root / "exim.conf", "-bdf"),
            self.root / "exim.out",
            env={**os.environ, "LD_LIBRARY_PATH": ":".join(folders)},
        )
        if not net.wait_for_port(self.port, self._child.alive):
            text = f"Exim did not start:\n{self._child.tail()}\n{self.log()}"
            self.stop()
            raise RuntimeError(text)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        if self._child:
            self._child.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def log(self) -> str:
        path = self.root / "log" / "main"
        return path.read_text(errors="replace") if path.exists() else ""

    def bodies(self) -> List[bytes]:
        """The bodies of all that it has taken. The first line of each file is Exim's own."""
        files = (self.root / "spool" / "input").rglob("*-D")
        return [path.read_bytes().split(b"\n", 1)[1] for path in files]
