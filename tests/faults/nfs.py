"""A spool on a real NFS server, two hosts at it.

Few machines have nfsd in their kernel, so this boots one that has: Debian's cloud kernel in QEMU
(software emulation will do), with an initramfs made of what is here: busybox, Python, maildrain,
these tests. There the machine exports a directory to itself and mounts it twice, with nothing
shared between the two mounts, as hosts A and B.

Needs the packages qemu-system-x86, linux-image-cloud-amd64 and busybox-static. Nothing of NFS is
installed: the few lines that the server asks its daemons for are written to it beforehand.
"""

from __future__ import annotations

import copy
import ctypes
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Set

from lab import repo

from . import shared
from .report import Row

FAULT = "two hosts at a spool on NFS 4.2, once restarted"
MODULES = ("nfsd", "nfsv4", "nfs")
ROOT = os.environ.get("NFS_TEST_ROOT", "/")  # where kernel, busybox and QEMU are
RESULT = "RESULT "
BOOT_SECONDS = 420
LEFT_OUT = {"test", "idlelib", "tkinter", "lib2to3", "ensurepip", "__pycache__", "turtledemo"}

_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
ip link set lo up
hostname guest
export MAILDRAIN=/maildrain/sbin/maildrain MAILDRAIN_PLAIN=/maildrain/sbin/maildrain
cd /tests && python3 -m faults.nfs
sync
reboot -f
"""


# ---- outside ----


def _kernel() -> Optional[Path]:
    return max(Path(ROOT, "boot").glob("vmlinuz-*-cloud-amd64"), default=None)


def _module_files(release: str) -> Dict[str, Path]:
    found = Path(ROOT, "lib/modules", release).rglob("*.ko")
    return {path.stem.replace("-", "_"): path for path in found}


def _with_dependencies(name: str, files: Dict[str, Path], order: List[Path]) -> None:
    """Appends to ORDER what must be loaded, first things first. What is no file is built in."""
    path = files.get(name.replace("-", "_"))
    if path is None or path in order:
        return
    depends = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
    for other in (depends[1].decode() if depends else "").split(","):
        _with_dependencies(other, files, order)
    order.append(path)


def _libraries(program: Path) -> Set[Path]:
    said = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False)
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", said.stdout)}


def _python_files() -> Iterator[Path]:
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = [name for name in folders if name not in LEFT_OUT and "-packages" not in name]
        yield from (Path(folder, name) for name in files)


def _image(kernel: Path) -> Dict[str, Path]:
    """Where in the guest each file of this machine goes."""
    program = repo.plain_program().resolve()
    smtp = program.parents[1] / "lib/maildrain/smtp.so"
    image = {"maildrain/sbin/maildrain": program, "maildrain/lib/maildrain/smtp.so": smtp}
    image["bin/busybox"] = Path(ROOT, "bin/busybox")
    image["usr/bin/python3"] = Path(sys.executable).resolve()
    image.update((str(path).lstrip("/"), path) for path in _python_files())
    for path in list(image.values()):
        if path.suffix == ".so" or os.access(path, os.X_OK):
            image.update((str(library).lstrip("/"), library) for library in _libraries(path))
    order: List[Path] = []
    for name in MODULES:
        _with_dependencies(name, _module_files(kernel.name[len("vmlinuz-") :]), order)
    image.update((f"modules/{n:02}-{path.name}", path) for n, path in enumerate(order))
    for package in ("faults", "lab"):
        for path in (repo.ROOT / "tests" / package).glob("*.py"):
            image[f"tests/{package}/{path.name}"] = path
    return image


def _cpio_entry(name: str, mode: int, content: bytes = b"") -> bytes:
    """One file in the format "newc" of cpio(5)."""
    encoded = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
    head = b"070701" + "".join(f"{number:08x}" for number in numbers).encode() + encoded
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def _write_initramfs(image: Dict[str, Path], path: Path) -> None:
    folders = {str(parent) for name in image for parent in Path(name).parents} - {"."}
    with open(path, "wb") as file:
        for folder in sorted(folders | {"proc", "sys", "dev", "tmp", "bin"}):
            file.write(_cpio_entry(folder, stat.S_IFDIR | 0o755))
        file.write(_cpio_entry("init", stat.S_IFREG | 0o755, _INIT.encode()))
        for name, source in image.items():
            file.write(_cpio_entry(name, stat.S_IFREG | 0o755, source.read_bytes()))
        file.write(_cpio_entry("TRAILER!!!", 0))


def _qemu() -> Optional[str]:
    return shutil.which("qemu-system-x86_64", path=f"{ROOT}/usr/bin:{os.environ['PATH']}")


def _why_not() -> Optional[str]:
    if _kernel() is None:
        return "no kernel: install the package linux-image-cloud-amd64"
    if not Path(ROOT, "bin/busybox").exists():
        return "no busybox: install the package busybox-static"
    if _qemu() is None:
        return "no QEMU: install the package qemu-system-x86"
    return None


def _boot(kernel: Path, initramfs: Path, console: Path) -> None:
    argv = [_qemu() or "", "-accel", "tcg", "-m", "1024", "-smp", "2", "-nographic", "-no-reboot"]
    argv += ["-nodefaults", "-serial", f"file:{console}", "-kernel", str(kernel)]
    argv += ["-initrd", str(initramfs), "-append", "console=ttyS0 quiet panic=-1"]
    argv += os.environ.get("NFS_TEST_QEMU", "").split()
    with open(console.with_suffix(".qemu"), "wb") as said:
        subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said, timeout=BOOT_SECONDS
        )


def row(scratch: Path) -> Optional[Row]:
    """What the guest counts; None where it can't be tried."""
    why_not = _why_not()
    kernel = _kernel()
    if why_not or kernel is None:
        print(f"nfs: left out: {FAULT}: {why_not}", file=sys.stderr, flush=True)
        return None
    console = scratch / "console"
    _write_initramfs(_image(kernel), scratch / "initramfs")
    try:
        _boot(kernel, scratch / "initramfs", console)
        said = console.read_text(errors="replace")
    except (subprocess.TimeoutExpired, OSError) as error:
        return Row(FAULT, cases=1, problems=[str(error)])
    found = re.search(rf"^{RESULT}(.*?)\r?$", said, re.MULTILINE)
    if not found:
        return Row(FAULT, cases=1, problems=["the guest has not answered", *said.splitlines()[-8:]])
    return Row(**json.loads(found[1]))


# ---- inside ----


def _call(name: str, *args: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*args) != 0:
        raise OSError(ctypes.get_errno(), f"{name} {args}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: Path, kind: str, options: str) -> None:
    target.mkdir(parents=True, exist_ok=True)
    _call("mount", source.encode(), str(target).encode(), kind.encode(), 0, options.encode())


def _tell(path: str, line: str) -> None:
    """In one write: each is a command."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, line.encode() + b"\n")
    finally:
        os.close(fd)


def _serve() -> None:
    """Exports /tmp/export to 127.0.0.1 as the root of NFS version 4."""
    Path("/tmp/export").mkdir()
    _mount("nfsd", Path("/proc/fs/nfsd"), "nfsd", "")
    for variable in ("nfsv4leasetime", "nfsv4gracetime"):
        _tell(f"/proc/fs/nfsd/{variable}", "10")
    _start_server()


def _start_server() -> None:
    # It forgets its exports when it stops.
    rpc, for_ever = "/proc/net/rpc", 4_000_000_000
    insecure, no_subtree_check, has_fsid = 0x2, 0x400, 0x2000
    flags = insecure | no_subtree_check | has_fsid
    _tell(f"{rpc}/auth.unix.ip/channel", f"nfsd 127.0.0.1 {for_ever} all")
    _tell(f"{rpc}/nfsd.export/channel", f"all /tmp/export {for_ever} {flags} 65534 65534 0")
    _tell(f"{rpc}/nfsd.fh/channel", f"all 1 \\x00000000 {for_ever} /tmp/export")
    # Older versions would want a portmapper.
    _tell("/proc/fs/nfsd/versions", "-2 -3 +4 +4.1 +4.2")
    _tell("/proc/fs/nfsd/portlist", "tcp 2049")
    _tell("/proc/fs/nfsd/threads", "8")


def _restart_server() -> None:
    """Like a reboot of the server: it forgets its clients and the answers that it has given."""
    _tell("/proc/fs/nfsd/threads", "0")
    time.sleep(2)
    _start_server()


def _mount_twice() -> List[Path]:
    places = [Path("/tmp/a"), Path("/tmp/b")]
    options = "vers=4.2,addr=127.0.0.1,clientaddr=127.0.0.1,nosharecache"
    for place in places:
        _mount("127.0.0.1:/", place, "nfs4", options)
    if len({os.stat(place).st_dev for place in places}) != 2:
        raise OSError("the two mounts share what they know")
    return places


def _drain(places: Sequence[Path], counted: Row, restart: bool) -> None:
    with shared.Relay() as relay:
        folder = f"site{restart:d}"
        site = shared.Site(places[0] / folder, relay)
        other = copy.copy(site)
        other.directory = places[1] / folder
        other.path = other.directory / "spool"
        site.drop([one for one in shared.mixed(200) if not one.fields])
        site.dump(0, 40)
        over = threading.Event()

        def send(host: str, view: shared.Site) -> None:
            while not over.is_set():
                view.run(host, shared.on_host(host))

        hosts = [
            threading.Thread(target=send, args=pair)
            for pair in zip(shared.HOST_NAMES, (site, other))
        ]
        for host in hosts:
            host.start()
        if restart:
            shared.until(lambda: len(relay.delivered) > 40, lambda: None)
            _restart_server()
        shared.until(lambda: not site.spool.counts()["new"], site.make_due)
        over.set()
        for host in hosts:
            host.join()
        site.account(counted, f"restart {restart}")
        by = {who for _, _, who in relay.delivered}
    if by != set(shared.HOST_NAMES):
        counted.problems.append(f"only {by} delivered")


def _guest() -> None:
    counted = Row(FAULT)
    try:
        for module in sorted(os.listdir("/modules")):
            subprocess.run(["/bin/busybox", "insmod", f"/modules/{module}"], check=True)
        _serve()
        places = _mount_twice()
        for restart in (False, True):
            started = time.monotonic()
            _drain(places, counted, restart)
            print(f"drained in {time.monotonic() - started:.0f} s", flush=True)
    except Exception:
        counted.problems += traceback.format_exc().splitlines()
    print("\n" + RESULT + json.dumps(vars(counted)), flush=True)


if __name__ == "__main__":
    _guest()
