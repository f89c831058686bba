"""A real systemd: it boots as PID 1 of a namespace, over this machine's own root.

The root is an overlay whose upper layer is in memory, so nothing that happens in there stays. The
network is a loopback of its own, and no unit of the machine is enabled.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar

from .child import Child
from .faultserver import FaultServer
from .spool import Value, config_text, envelope_block, unique_name

Made = TypeVar("Made")

INIT = Path("/lib/systemd/systemd")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
CGROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
PORT = 2525
WEB_USER = 4242
MESSAGE = b"From: site@example.com\nTo: a@example.net\nSubject: hello\n\nHello.\n"

# $1 is an empty folder, $2 a script for the new root that installs what is under test. /proc/sys
# belongs to the whole machine: systemd may read it, not set it.
BOOT = """
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
for place in etc/systemd/system var/log/journal var/lib/systemd; do
	mkdir -p "$place"
	mount -t tmpfs -o mode=755 tmpfs "$place"
done
sh -euc "$2"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/shm dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
while read -r name major minor; do
	mknod -m 666 "dev/$name" c "$major" "$minor"
done <<END
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
END
mkdir -p old
pivot_root . old
umount -l /old
mount --make-rshared /
exec env -i container=unshare PATH="$PATH" "$3" --unit=basic.target
"""


def why_not() -> str:
    """Why no systemd can be booted here; empty when it can be tried."""
    if os.geteuid() != 0:
        return "booting systemd needs root"
    if not INIT.exists() or not shutil.which("systemd-sysusers"):
        return "systemd is missing: install it"
    if not shutil.which("smtp-sink", path=PATH):
        return "smtp-sink is missing: install the package postfix"
    if not cgroup_root():
        return "no writable cgroup2 hierarchy"
    return ""


def cgroup_root() -> Optional[Path]:
    for place in CGROUPS:
        if (place / "cgroup.controllers").exists() and os.access(place, os.W_OK):
            return place
    return None


def wait_until(what: Callable[[], object], timeout: float = 15) -> bool:
    end = time.monotonic() + timeout
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


class Machine:
    """A booted systemd and commands within it."""

    def __init__(self, directory: Path, prepare: str = "") -> None:
        """PREPARE is a script that is run in the new root, its working directory, before the boot;
        files go to DIRECTORY, which must be reachable there by the same path."""
        self._sink: Optional[Child] = None
        self._logs = directory
        place = directory / "machine"
        place.mkdir()
        root = cgroup_root()
        assert root
        self._cgroup = root / f"maildrain-test-{os.getpid()}"
        self._cgroup.mkdir()
        unshare = (
            f"echo $$ >{self._cgroup}/cgroup.procs; exec unshare --mount --pid --uts --ipc --net "
            '--cgroup --fork --kill-child bash -euc "$0" boot "$@"'
        )
        self._child = Child(
            ["bash", "-euc", unshare, BOOT, str(place), prepare, str(INIT)],
            directory / "console.log",
            env={"PATH": PATH},
        )

    def start(self) -> str:
        """Waits for the end of the boot. Returns what went wrong, or nothing."""
        if not wait_until(self._booted):
            return self._child.tail() or "systemd is silent"
        return ""

    def _booted(self) -> bool:
        if self._init() is None:
            return False
        return self.out("systemctl", "is-system-running") in ("running", "degraded")

    def stop(self) -> None:
        self.relay_down()
        if self._child.alive():
            self._child.process.kill()  # unshare --kill-child: the namespace dies with it
            self._child.process.wait()
        wait_until(self._remove_cgroup)

    def _remove_cgroup(self) -> bool:
        for place, _, _ in os.walk(self._cgroup, topdown=False):
            try:
                os.rmdir(place)
            except OSError:
                return False
        return True

    def _init(self) -> Optional[int]:
        children = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children")
        try:
            pid = int(children.read_text().split()[0])
            return pid if Path(f"/proc/{pid}/comm").read_text() == "systemd\n" else None
        except (OSError, IndexError):
            return None

    def call(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--target={self._init()}", "--all", *argv],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    def out(self, *argv: str) -> str:
        return self.call(*argv).stdout.strip()

    def check(self, *argv: str) -> None:
        result = self.call(*argv)
        assert result.returncode == 0, result.stdout

    def run_service(self, name: str = "maildrain.service") -> int:
        """Starts it, which waits for its end; the exit status of the program."""
        self.call("systemctl", "start", name)
        return self.exit_status(name)

    def exit_status(self, name: str = "maildrain.service") -> int:
        return int(self.show(name, "ExecMainStatus"))

    def show(self, unit: str, name: str) -> str:
        return self.out("systemctl", "show", "--value", f"--property={name}", unit)

    def failed(self) -> List[str]:
        """The units of maildrain that systemd calls failed."""
        argv = ("systemctl", "list-units", "--failed", "--plain", "--no-legend", "maildrain*")
        return [line.split()[0] for line in self.out(*argv).splitlines()]

    def runs(self) -> int:
        """How many runs the journal knows of."""
        self.check("journalctl", "--sync")
        log = self.out("journalctl", "--output=cat", "--unit=maildrain.service")
        return len(re.findall(r"^Starting maildrain\.service", log, re.MULTILINE))

    def log(self, unit: str = "maildrain.service") -> str:
        """Of the last run. After a good one systemd forgets the unit with its invocation."""
        self.check("journalctl", "--sync")
        log = self.out("journalctl", "--output=cat", f"--unit={unit}")
        return re.split(rf"^Starting {re.escape(unit)}", log, flags=re.MULTILINE)[-1]

    def pager(self, script: str, name: str = "maildrain") -> None:
        """What the config NAME has for alert_command, and says in the journal."""
        page = self.path(f"/usr/local/bin/page-{name.replace('/', '-')}")
        page.write_text(f"#!/bin/sh\n{script}\n")
        page.chmod(0o755)
        config = self.path(f"/etc/{name}.conf")
        command = f'alert_command = {{"/usr/local/bin/{page.name}", "on call"}}\n'
        config.write_text(command + config.read_text())

    def entries(self) -> List[Dict[str, str]]:
        """All that maildrain has said, from the journal."""
        self.check("journalctl", "--sync")
        lines = self.out("journalctl", "--output=json", "-t", "maildrain").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def said(self, start: int = 0, priority: int = 7) -> List[str]:
        """What it has said since there were START entries, of this priority or a more urgent one."""
        return [
            entry["MESSAGE"] for entry in self.entries()[start:] if int(entry["PRIORITY"]) <= priority
        ]

    def path(self, path: str) -> Path:
        """PATH of the machine, for this side to look at."""
        return Path(f"/proc/{self._init()}/root{path}")

    def configure(self, name: str = "maildrain", **relay: Value) -> None:
        path = "/etc/maildrain.conf" if name == "maildrain" else f"/etc/{name}.conf"
        settings = {"url": f"smtp://localhost:{PORT}", "tls": "none", **relay}
        spool = "/var/spool/" + name.replace("/", "-")
        self.path(path).write_text(config_text({"spool": spool}, {"main": settings}))

    def override(self, unit: str, text: str) -> None:
        """As `systemctl edit`; gone at the next reset."""
        drop_in = self.path(f"/run/systemd/system/{unit}.d/test.conf")
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(text)
        self.check("systemctl", "daemon-reload")

    def relay_up(self) -> None:
        if self._sink is None:
            argv = ["smtp-sink", "-u", "root", f"inet:127.0.0.1:{PORT}", "64"]
            self._sink = Child(
                ["nsenter", f"--target={self._init()}", "--net", *argv],
                self._logs / "sink.log",
                env={"PATH": PATH},
            )
            assert wait_until(self._relay_listens), self._sink.tail()

    def _relay_listens(self) -> bool:
        return f":{PORT:04X} " in Path(f"/proc/{self._init()}/net/tcp").read_text()

    def relay_down(self) -> None:
        if self._sink is not None:
            self._sink.stop()
            self._sink = None

    def drop(self, spool: str = "maildrain", fields: str = "") -> str:
        """Puts a message into new/ as a web user in the group does; returns its UNIQUE."""
        name = unique_name()
        group = self.path("/var/spool/maildrain").stat().st_gid
        script = 'umask 027; cd "/var/spool/$1"; cat >"tmp/$2"; mv -n "tmp/$2" "new/$2$3"'
        subprocess.run(
            ["nsenter", f"--target={self._init()}", "--all",
             "setpriv", f"--reuid={WEB_USER}", f"--regid={WEB_USER}", f"--groups={group}",
             "sh", "-euc", script, "sh", spool, name, fields],
            input=envelope_block("site@example.com", ["a@example.net"]) + MESSAGE,
            timeout=60, check=True,
        )  # fmt: skip
        return name

    def put(self, name: str, content: bytes, folder: str = "new") -> None:
        """A file in the spool that the group can read, past the web user."""
        path = self.path(f"/var/spool/maildrain/{folder}/{name}")
        path.write_bytes(content)
        path.chmod(0o640)

    def in_network(self, make: Callable[[], Made]) -> Made:
        """What MAKE returns. Its sockets, and those of the processes that it starts, are in the
        network of the machine: a socket stays where it was made."""

        def enter_and_make() -> Made:
            clone_newnet = 0x40000000
            fd = os.open(f"/proc/{self._init()}/ns/net", os.O_RDONLY)
            try:
                if ctypes.CDLL(None, use_errno=True).setns(fd, clone_newnet) == -1:
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            return make()

        with ThreadPoolExecutor(max_workers=1) as thread:
            return thread.submit(enter_and_make).result()

    def server(self, **options: Any) -> FaultServer:
        return self.in_network(lambda: FaultServer(**options))

    def ls(self, spool: str = "maildrain") -> Dict[str, List[str]]:
        return {
            folder: sorted(os.listdir(self.path(f"/var/spool/{spool}/{folder}")))
            for folder in ("tmp", "new", "cur", "failed")
        }

    def sent(self, unique: str, spool: str = "maildrain") -> bool:
        return any(name.startswith(unique) for name in self.ls(spool)["cur"])

    def reset(self) -> None:
        """Each test starts with an empty spool, a reachable relay and nothing running."""
        self.check("systemctl", "stop", "maildrain.timer", "maildrain.path", "maildrain.service")
        self.call("systemctl", "stop", "maildrain-alert@*")
        self.call("systemctl", "reset-failed")
        for override in self.path("/run/systemd/system").glob("maildrain*.d"):
            shutil.rmtree(override)
        self.check("systemctl", "daemon-reload")
        for folder in ("tmp", "new", "cur", "failed"):
            for file in self.path(f"/var/spool/maildrain/{folder}").iterdir():
                file.unlink()
        for dump in self.path("/var/spool/maildrain").glob("*.log*"):
            dump.unlink()
        self.path("/etc/maildrain/smtp-password").unlink(missing_ok=True)
        self.configure()
        self.relay_up()
