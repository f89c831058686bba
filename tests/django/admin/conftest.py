"""A running site with an empty spool, and whoever visits it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

from adminsite import AdminSite, Visitor  # noqa: E402
from lab.spool import Spool as LabSpool  # noqa: E402


@pytest.fixture(scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdminSite]:
    directory = tmp_path_factory.mktemp("site")
    lab = LabSpool(tmp_path_factory.mktemp("lab"))
    with AdminSite(directory / "django", lab.path) as site:
        yield site


@pytest.fixture
def site(_running: AdminSite) -> AdminSite:
    """The module's one, which runs as whoever the tests run as."""
    for folder in ("tmp", "new", "cur", "failed"):
        for path in (_running.spool / folder).iterdir():
            path.unlink()
    shutil.rmtree(_running.spool / "hold", ignore_errors=True)
    return _running


@pytest.fixture
def visitor(site: AdminSite) -> Visitor:
    return site.visitor()


@pytest.fixture
def make_site(servers: Any, home: Path) -> Callable[..., AdminSite]:
    """make_site(spool, user=(uid, gid, groups), …) is a running site of the test's own."""
    return lambda *args, **options: servers.enter_context(
        AdminSite(home / "django", *args, **options)
    )
