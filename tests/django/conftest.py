"""Django's settings, and fixtures for the backend: a spool as `maildrain init` lays it out, and
backends made the way the installed Django makes them."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src" / "django"))

import django  # noqa: E402
from django.conf import settings  # noqa: E402

databases = tempfile.TemporaryDirectory(prefix="maildrain-db-")

if not settings.configured:
    settings.configure(
        SECRET_KEY="test",
        USE_TZ=True,
        DEFAULT_FROM_EMAIL="site@example.com",
        DEFAULT_CHARSET="utf-8",
        INSTALLED_APPS=["maildrain"],
        DATABASES={
            alias: {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{databases.name}/{alias}"}
            for alias in ("default", "other")
        },
    )
    django.setup()

from maildrain.filebased import EmailBackend  # noqa: E402

HAS_MAILERS = django.VERSION >= (6, 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Any warning is an error here, whoever made it: the backend must cause none."""
    for item in items:
        if Path(__file__).parent in Path(str(item.path)).parents:
            item.add_marker(pytest.mark.filterwarnings("error"), append=False)


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    """An empty spool that this process may write to."""
    path = tmp_path / "spool"
    for name in ("tmp", "new", "cur", "failed"):
        (path / name).mkdir(parents=True)
    return path


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that every user gets to: pytest's own are closed again by whoever starts another."""
    path = Path(tempfile.mkdtemp(prefix="maildrain-django-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make_backend(spool_path: Path) -> Callable[..., EmailBackend]:
    """make_backend(fail_silently=True, …) is a backend, with an alias where Django has them."""

    def make(**options: Any) -> EmailBackend:
        if HAS_MAILERS:
            options.setdefault("alias", "default")
        options.setdefault("file_path", spool_path)
        return EmailBackend(**options)

    return make


@pytest.fixture
def backend(make_backend: Callable[..., EmailBackend]) -> EmailBackend:
    return make_backend()


@pytest.fixture
def empty_after(spool_path: Path) -> Iterator[None]:
    """The test leaves nothing in tmp/ and nothing in new/."""
    yield
    assert list((spool_path / "tmp").iterdir()) == []
    assert list((spool_path / "new").iterdir()) == []


def parent_name(path: Any) -> str:
    return Path(path).parent.name


def kind(fd: int) -> str:
    """ "file", or the name of the directory that fd is."""
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        return Path(os.readlink(f"/proc/self/fd/{fd}")).name
    return "file"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> List[Tuple[str, str]]:
    """What is called from now on, in order: [("write", "file"), ("rename", "tmp>new"), …]."""
    record: List[Tuple[str, str]] = []
    real_rename = os.rename

    def watch(name: str) -> None:
        real = getattr(os, name)

        def call(fd: int, *args: Any) -> Any:
            record.append((name, kind(fd)))
            return real(fd, *args)

        monkeypatch.setattr(os, name, call)

    def rename(source: Any, target: Any) -> None:
        record.append(("rename", f"{parent_name(source)}>{parent_name(target)}"))
        real_rename(source, target)

    for name in ("write", "fsync", "close"):
        watch(name)
    monkeypatch.setattr(os, "rename", rename)
    return record
