"""The root of a Debian to install packages in: an overlay in memory, so that its lower layer stays.

$MAILDRAIN_ROOT is the lower layer, a chroot made by tests/package.sh; without it, this machine's
own root. No systemd runs in it, and the network is that of this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import List

from .child import Child
from .machine import wait_until

LOWER = os.environ.get("MAILDRAIN_ROOT", "/")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# $1 is an empty folder, $2 the lower layer.
MOUNT = """
mount --make-rprivate /
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom; do
	: >"dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
echo ready
exec sleep infinity
"""


def why_not() -> str:
    """Why this can't be had here; empty when it can be tried."""
    if os.geteuid() != 0:
        return "mounts need root"
    if not shutil.which("dpkg"):
        return "this is no Debian"
    return ""


class Root:
    """The root, until stop()."""

    def __init__(self, directory: Path) -> None:
        self._place = directory / "mounts"
        self._place.mkdir()
        unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child")
        self._child = Child(
            [*unshare, "bash", "-euc", MOUNT, "root", str(self._place), LOWER],
            directory / "root.log",
            env={"PATH": PATH},
        )
        ready = lambda: "ready" in self._child.tail() or not self._child.alive()  # noqa: E731
        if not wait_until(ready) or not self._child.alive():
            raise RuntimeError(f"the mounts have failed: {self._child.tail()}")

    def stop(self) -> None:
        self._child.process.kill()  # unshare --kill-child: the namespace dies with it
        self._child.process.wait()

    def _pid(self) -> str:
        """Of the first process in the namespace."""
        children = Path(f"/proc/{self._child.pid}/task/{self._child.pid}/children")
        return children.read_text().split()[0]

    def path(self, path: str) -> Path:
        """PATH of the root, for this side to look at."""
        return Path(f"/proc/{self._pid()}/root{self._place}/root{path}")

    def call(
        self, *argv: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        variables = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", **environment}
        words = [f"{name}={value}" for name, value in variables.items()]
        return subprocess.run(
            ["nsenter", f"--target={self._pid()}", "--mount", "--pid",
             "chroot", str(self._place / "root"), "env", "-i", *words, *argv],
            input=stdin.decode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=300, check=False,
        )  # fmt: skip

    def check(self, *argv: str, stdin: bytes = b"", **environment: str) -> str:
        """What it prints."""
        result = self.call(*argv, stdin=stdin, **environment)
        assert result.returncode == 0, result.stdout
        return result.stdout

    def changes(self) -> List[str]:
        """All that differs from the lower layer: files made or changed, and what is gone."""
        upper = Path(f"/proc/{self._pid()}/root{self._place}/upper")
        return sorted(
            f"/{path.relative_to(upper)}" for path in upper.rglob("*") if not path.is_dir()
        )
