"""Small file systems that can be filled, set read-only and cut from power, and are surely undone.

They are mounted in a mount namespace of this process and its children: with the last of them goes
every mount, and with each mount its loop device, however the process ends.

	with private_mounts(scratch):
		with Volume(scratch / "site", EXT4) as volume:
			…volume.path…
			volume.cut()
			volume.mount_again()
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CLONE_NEWNS = 0x00020000
# EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN: one number. The flag: not even the log is written first.
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = struct.pack("I", 2)
_LOOP_WAIT = 20.0  # seconds; others may use the few loop devices
_CLUTTER = "f" * 200


@dataclass(frozen=True)
class Kind:
    """A file system: how it is made, mounted and checked. CHECK says nothing wrong with 0."""

    name: str
    size: int
    mkfs: Tuple[str, ...] = ()
    options: str = ""
    check: Tuple[str, ...] = ()

    def with_mkfs(self, *more: str) -> "Kind":
        return replace(self, mkfs=(*self.mkfs, *more))


# Blocks of 1 KiB: a directory needs a further one soon. Nothing is kept back for root. Commits come
# late, so that what was not synced is gone after a cut.
EXT4 = Kind(
    "ext4",
    8 << 20,
    ("mkfs.ext4", "-q", "-F", "-b", "1024", "-m", "0", "-N", "2048"),
    "commit=300,errors=remount-ro",
    ("fsck.ext4", "-f", "-n"),
)
XFS = Kind("xfs", 300 << 20, ("mkfs.xfs", "-q", "-f"), "", ("xfs_repair", "-n"))
BTRFS = Kind(
    "btrfs",
    128 << 20,
    ("mkfs.btrfs", "-q", "-f"),
    "commit=300",
    ("btrfs", "check", "--readonly"),
)
TMPFS = Kind("tmpfs", 2 << 20)


def why_not(kind: Optional[Kind] = None) -> str:
    """Why nothing (or no KIND) can be mounted here; "" when it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    if not _can_unshare():
        return "no mount namespace of our own can be had"
    for program in (kind.mkfs[:1] + kind.check[:1]) if kind else ():
        if not shutil.which(program, path=_PATH):
            return f"{program} is missing"
    if kind and kind.name not in _known_to_kernel():
        return f"the kernel has no {kind.name}"
    if kind and kind.mkfs and not os.path.exists("/dev/loop-control"):
        return "there are no loop devices"
    return ""


def _can_unshare() -> bool:
    done = subprocess.run(["unshare", "--mount", "true"], capture_output=True)
    return done.returncode == 0


def _known_to_kernel() -> List[str]:
    lines = Path("/proc/filesystems").read_text().splitlines()
    return [line.split("\t")[-1] for line in lines]


def _tool(*argv: str) -> str:
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PATH": _PATH},
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout.strip()}")
    return done.stdout


@contextlib.contextmanager
def private_mounts(scratch: Path) -> Iterator[None]:
    """What this thread, and threads and processes that it starts, mount meanwhile is theirs alone;
    so is what they put into SCRATCH, an empty directory, which is kept in memory: to a disk below
    another disk nothing need be synced. No other thread may run at the end."""
    libc = ctypes.CDLL(None, use_errno=True)
    terminate = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if libc.unshare(_CLONE_NEWNS) == -1:
        raise OSError(ctypes.get_errno(), "unshare")
    try:
        _tool("mount", "--make-rprivate", "/")
        _tool("mount", "-t", "tmpfs", "-o", "mode=755", "none", str(scratch))
        yield
    finally:
        if libc.setns(before, _CLONE_NEWNS) == -1:
            raise OSError(ctypes.get_errno(), "setns")
        signal.signal(signal.SIGTERM, terminate)
        os.fchdir(directory)  # setns has moved us to the root
        os.close(directory)
        os.close(before)


def _mount_image(image: Path, kind: str, options: str, path: Path) -> str:
    """Mounts IMAGE at PATH; returns the loop device, which goes with the mount."""
    end = time.monotonic() + _LOOP_WAIT
    while True:
        try:
            _tool("mount", "-t", kind, "-o", f"loop,{options}".rstrip(","), str(image), str(path))
            break
        except RuntimeError as error:
            if "loop device" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.2)
    mounts = (line.split() for line in Path("/proc/thread-self/mounts").read_text().splitlines())
    return next(device for device, where, *_ in mounts if where == str(path))


def _stop(pid: int, patience: float = 10.0) -> None:
    """Stops the process PID of one thread, once the system call that it is in has ended."""
    try:
        os.kill(pid, signal.SIGSTOP)
        end = time.monotonic() + patience
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TtZX":
            if time.monotonic() > end:
                raise RuntimeError(f"process {pid} can't be stopped")
            time.sleep(0.0005)
    except (ProcessLookupError, FileNotFoundError):
        pass  # it has ended


class Volume:
    """A file system of KIND, mounted at DIRECTORY/spool. IMAGE is a file to use instead of a
    fresh one; OPTIONS are further ones of mount."""

    def __init__(
        self, directory: Path, kind: Kind, *, image: Optional[Path] = None, options: str = ""
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.kind = kind
        self.path = directory / "spool"
        self.image = directory / "image"
        self._template = image
        self._options = ",".join(filter(None, [kind.options, options]))
        self._mounted = False
        self._device = ""
        self._copy: Optional[Path] = None

    def __enter__(self) -> "Volume":
        self.path.mkdir(exist_ok=True)
        if self.kind.mkfs:
            self._make_image()
        self.mount()
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()
        for image in (self.image, self._copy):
            if image:
                image.unlink(missing_ok=True)

    def _make_image(self) -> None:
        if self._template:
            self.image.unlink(missing_ok=True)
            _tool("cp", "--sparse=always", str(self._template), str(self.image))
            return
        with open(self.image, "wb") as file:
            file.truncate(self.kind.size)
        _tool(*self.kind.mkfs, str(self.image))

    def mount(self) -> None:
        if not self.kind.mkfs:
            options = ",".join(filter(None, [f"size={self.kind.size}", self._options]))
            _tool("mount", "-t", self.kind.name, "-o", options, "none", str(self.path))
        else:
            arguments = (self.image, self.kind.name, self._options, self.path)
            self._device = _mount_image(*arguments)
        self._mounted = True

    def unmount(self, patience: float = 10.0) -> None:
        """Waits for children that are just ending."""
        end = time.monotonic() + patience
        while self._mounted:
            try:
                _tool("umount", str(self.path))
                self._mounted = False
            except RuntimeError:
                if time.monotonic() > end:
                    _tool("umount", "--lazy", str(self.path))
                    self._mounted = False
                    raise
                time.sleep(0.02)

    def remount(self, option: str) -> None:
        _tool("mount", "-o", f"remount,{option}", str(self.path))

    def set_read_only(self) -> None:
        """For ext4 as its errors=remount-ro does it, in the middle of whatever goes on: what is not
        on the disk by then is gone when it is mounted again."""
        trigger = Path("/sys/fs/ext4", Path(self._device).name, "trigger_fs_error")
        if self.kind.name == "ext4" and trigger.exists():
            trigger.write_text("a test")
        else:
            self.remount("ro")

    def set_writable(self) -> None:
        """After set_read_only()."""
        if self.kind.mkfs:
            self.mount_again()
        else:
            self.remount("rw")

    # Filling

    def fill(self, keep: int = 0) -> None:
        """Takes all free blocks but KEEP."""
        fd = os.open(self.path / ".filler", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.fstat(fd).st_size
            step = 1 << 24
            while step >= 512:
                size, step = self._grow(fd, size, step)
            if keep:
                os.truncate(fd, max(0, size - keep * os.fstatvfs(fd).f_frsize))
        finally:
            os.close(fd)

    @staticmethod
    def _grow(fd: int, size: int, step: int) -> Tuple[int, int]:
        """Allocates STEP bytes more; the next size and step."""
        try:
            os.posix_fallocate(fd, size, step)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return size, step // 2
        return size + step, step

    def free(self) -> None:
        """Gives back what fill() has taken. Some count it as free only when that is on the disk."""
        (self.path / ".filler").unlink(missing_ok=True)
        self.sync()

    def sync(self) -> None:
        _tool("sync", "--file-system", str(self.path))

    def fill_names(self, directory: Path) -> None:
        """Takes what room DIRECTORY has for names, on a full disk, with empty files: none of more
        than a few letters fits then."""
        for name in (_CLUTTER, "f" * 30, "f" * 8, ""):
            self._fill_names(directory, name)

    @staticmethod
    def _fill_names(directory: Path, name: str) -> None:
        for count in range(10_000):
            try:
                os.close(os.open(directory / f".{name}{count}", os.O_CREAT | os.O_EXCL, 0o600))
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return

    @staticmethod
    def free_names(directory: Path) -> None:
        for entry in os.scandir(directory):
            if entry.name.startswith(".") and entry.is_file() and not entry.stat().st_size:
                os.unlink(entry.path)

    # Power

    def cut(self, writers: Sequence[int] = ()) -> None:
        """Power goes: what has not reached the disk never will. WRITERS, processes of the caller's,
        are stopped in their tracks before, and killed with it.

        Where the file system can't be shut down (btrfs), the disk is copied as it is at this
        moment, and the copy used from then on: all that a cache still holds is not in it."""
        try:
            for pid in writers:
                _stop(pid)
            if not self._shut_down():
                self._copy = self.image.with_name("image-at-cut")
                _tool("cp", "--sparse=always", str(self.image), str(self._copy))
        finally:
            for pid in writers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _shut_down(self) -> bool:
        """Whether the file system knows how to be shut down; if so, it is."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, _NO_LOG_FLUSH)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EOPNOTSUPP):
                raise
            return False
        finally:
            os.close(fd)
        return True

    def mount_again(self) -> None:
        """Once WRITERS have been waited for."""
        self.unmount()
        if self._copy:
            os.replace(self._copy, self.image)
            self._copy = None
        self.mount()

    def check(self) -> str:
        """What its fsck finds wrong; "" when nothing. Leaves it unmounted."""
        self.unmount()
        if not self.kind.check:
            return ""
        try:
            _tool(*self.kind.check, str(self.image))
        except RuntimeError as error:
            return str(error)
        return ""

