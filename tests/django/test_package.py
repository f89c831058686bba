"""The Python package: its size, its types, and what is built of src/django."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Iterator, List, Set

import maildrain
import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "django"
MODULES = sorted((SOURCE / "maildrain").rglob("*.py"))


def need(*modules: str) -> "pytest.MarkDecorator":
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def run(*args: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_backend_is_short() -> None:
    assert len((SOURCE / "maildrain" / "filebased.py").read_text().splitlines()) < 200


def imported(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module)


@pytest.mark.skipif(sys.version_info < (3, 10), reason="this Python has no list of its modules")
def test_it_needs_only_django_and_the_standard_library() -> None:
    known = {"django", "maildrain", *sys.stdlib_module_names}
    others = {
        f"{module.name}: {name}"
        for module in MODULES
        for name in imported(module)
        if name.split(".")[0] not in known
    }
    assert others == set()


@need("mypy")
@pytest.mark.parametrize("version", ["3.9", "{}.{}".format(*sys.version_info)])
def test_types(tmp_path: Path, version: str) -> None:
    command = ["-m", "mypy", "--python-version", version, "--cache-dir", str(tmp_path)]
    try:
        said = run(*command, cwd=SOURCE)
    except AssertionError as error:
        if "is not supported" in str(error):
            pytest.skip(f"this mypy does not know Python {version} any more")
        raise
    assert f"no issues found in {len(MODULES)} source files" in said


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist that it is made of."""
    place = tmp_path_factory.mktemp("built")
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".mypy_cache")
    shutil.copytree(SOURCE, place / "source", ignore=ignored)
    run("-m", "build", "--no-isolation", "--outdir", str(place), cwd=place / "source")
    return place


def files_of_the_package() -> Set[str]:
    paths: List[Path] = [path for path in (SOURCE / "maildrain").rglob("*") if path.is_file()]
    return {str(path.relative_to(SOURCE)) for path in paths if path.suffix != ".pyc"}


@need("build", "setuptools", "wheel")
def test_wheel(built: Path) -> None:
    [wheel] = built.glob("*.whl")
    assert wheel.name == f"maildrain-{maildrain.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("maildrain/")}
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        text = archive.read(metadata).decode()
    assert names == files_of_the_package()
    assert {"maildrain/py.typed", "maildrain/filebased.py"} <= names
    assert re.search(r"^Requires-Dist: Django ?\(?>=3\.2", text, re.MULTILINE)


@need("build", "setuptools", "wheel")
def test_sdist(built: Path) -> None:
    [sdist] = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert files_of_the_package() <= names
    assert {"pyproject.toml", "PKG-INFO"} <= names


@need("build", "setuptools", "wheel", "pip")
@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_installs(built: Path, tmp_path: Path, kind: str) -> None:
    [package] = built.glob(kind)
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--no-warn-script-location"]
    run("-m", "pip", "install", *options, "--target", "lib", str(package), cwd=tmp_path)
    script = "import sys; sys.path.insert(0, 'lib'); import maildrain.bulk; print(maildrain.__file__)"
    assert run("-c", script, cwd=tmp_path).strip().endswith("lib/maildrain/__init__.py")
    for name in files_of_the_package():
        assert (tmp_path / "lib" / name).read_bytes() == (SOURCE / name).read_bytes()
