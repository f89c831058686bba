"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Dict


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.split(":", 1)[1].split())
    return platform.machine()


def _memory() -> str:
    kilobytes = int(Path("/proc/meminfo").read_text().split()[1])
    return f"{kilobytes / 1024 / 1024:.0f} GB"


def _system() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.split("=", 1)[1].strip('"')
    return platform.system()


def file_system(directory: Path) -> str:
    shown = subprocess.run(
        ["df", "--output=fstype", str(directory)], capture_output=True, text=True
    ).stdout.split()
    return shown[-1] if shown else "unknown"


def _libcurl() -> str:
    said = subprocess.run(["curl-config", "--version"], capture_output=True, text=True)
    return said.stdout.split()[-1] if said.returncode == 0 else "unknown"


def described(directory: Path) -> Dict[str, str]:
    """DIRECTORY is where the queues are."""
    return {
        "CPU": f"{_processor()}, {os.cpu_count()} cores",
        "memory": _memory(),
        "kernel": platform.release(),
        "system": _system(),
        "file system": file_system(directory),
        "libcurl": _libcurl(),
    }
