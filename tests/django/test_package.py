"""The Python package: what pip makes of src/django."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import maildrain
import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "django"


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("pip", "setuptools", "wheel")),
    reason="needs the packages python3-pip, python3-setuptools and python3-wheel",
)
def test_wheel(tmp_path: Path) -> None:
    source = shutil.copytree(
        SOURCE, tmp_path / "source", ignore=shutil.ignore_patterns("__pycache__", "build")
    )
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
        + ["--wheel-dir", str(tmp_path), str(source)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    [wheel] = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"maildrain-{maildrain.__version__}-py3-")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("maildrain/")}
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
    ours = [path for path in (source / "maildrain").rglob("*") if path.is_file()]
    assert names == {str(path.relative_to(source)) for path in ours}
    assert re.search(r"^Requires-Dist: Django ?\(?>=3\.2", text, re.MULTILINE)
