"""Django's settings, and fixtures for the backend: a spool as `maildrain init` lays it out, and
backends made the way the installed Django makes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src" / "django"))

import django  # noqa: E402
from django.conf import settings  # noqa: E402

if not settings.configured:
    settings.configure(
        SECRET_KEY="test",
        USE_TZ=True,
        DEFAULT_FROM_EMAIL="site@example.com",
        DEFAULT_CHARSET="utf-8",
    )
    django.setup()

from maildrain.filebased import EmailBackend  # noqa: E402

HAS_MAILERS = django.VERSION >= (6, 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Any warning is an error here, whoever made it: the backend must cause none."""
    for item in items:
        if Path(__file__).parent in Path(str(item.path)).parents:
            item.add_marker(pytest.mark.filterwarnings("error"))


@pytest.fixture
def spool_path(tmp_path: Path) -> Path:
    """An empty spool that this process may write to."""
    path = tmp_path / "spool"
    for name in ("tmp", "new", "cur", "failed"):
        (path / name).mkdir(parents=True)
    return path


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
