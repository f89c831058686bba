"""Fixtures over tests/lab, for all tests below."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

# Behind the installed packages: tests/django must not stand in for Django.
if str(Path(__file__).parent) not in sys.path:
    sys.path.append(str(Path(__file__).parent))

from lab import exim as lab_exim  # noqa: E402
from lab import postfix as lab_postfix  # noqa: E402
from lab import promtool as lab_promtool  # noqa: E402
from lab import repo, sink  # noqa: E402
from lab.aiosmtp import AioServer  # noqa: E402
from lab.certs import Certs  # noqa: E402
from lab.django_site import DjangoSite  # noqa: E402
from lab.exim import Exim  # noqa: E402
from lab.faultserver import FaultServer  # noqa: E402
from lab.postfix import Postfix  # noqa: E402
from lab.httpstub import HttpStub  # noqa: E402
from lab.promtool import Promtool  # noqa: E402
from lab.sink import Sink  # noqa: E402
from lab.spool import Spool  # noqa: E402


@pytest.fixture(scope="session")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    """The authority and its certificates, made once."""
    return Certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture
def servers() -> Iterator[ExitStack]:
    """Stops at the end of the test what was entered into it."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def make_spool(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Spool]:
    """make_spool() is a fresh spool; make_spool(init=False) only a place for one."""
    if not repo.program().exists():
        pytest.fail(f"{repo.program()} is missing: run make, or set MAILDRAIN")
    return lambda **options: Spool(tmp_path_factory.mktemp("site"), **options)


@pytest.fixture
def spool(make_spool: Callable[..., Spool]) -> Spool:
    return make_spool()


@pytest.fixture
def fault_server(servers: ExitStack) -> Callable[..., FaultServer]:
    """fault_server(answers={…}, …) is a running FaultServer."""
    return lambda **options: servers.enter_context(FaultServer(**options))


@pytest.fixture
def aio_server(servers: ExitStack) -> Callable[..., AioServer]:
    """aio_server(starttls=context, …) is a running AioServer."""
    return lambda **options: servers.enter_context(AioServer(**options))


@pytest.fixture
def http_stub(servers: ExitStack) -> Callable[..., HttpStub]:
    """http_stub(api, faults=[…], …) is a running HttpStub."""
    return lambda api, **options: servers.enter_context(HttpStub(api, **options))


@pytest.fixture
def smtp_sink(servers: ExitStack, tmp_path: Path) -> Callable[..., Sink]:
    """smtp_sink(options, dump=True, …) is a running smtp-sink."""
    if not sink.available():
        pytest.skip("smtp-sink and smtp-source are missing: install the package postfix")
    return lambda *args, **options: servers.enter_context(Sink(tmp_path, *args, **options))


@pytest.fixture
def make_postfix(servers: ExitStack, certs: Certs) -> Callable[..., Postfix]:
    """make_postfix(tls=False, discard=(…), …) is a Postfix of the test's own: 3 seconds."""
    _need_postfix()

    def make(*, tls: bool = True, **options: Any) -> Postfix:
        return servers.enter_context(Postfix(certs if tls else None, **options))

    return make


@pytest.fixture(scope="session")
def _shared_postfix(certs: Certs) -> Iterator[Postfix]:
    _need_postfix()
    with Postfix(certs, require_tls=True, users=lab_postfix.USERS, require_auth=True) as server:
        yield server


@pytest.fixture
def postfix(_shared_postfix: Postfix) -> Postfix:
    """The session's one Postfix, a submission service: TLS and AUTH as lab.postfix.USERS are
    required. Its Maildir is empty at the start of each test."""
    _shared_postfix.clear()
    return _shared_postfix


def _need_postfix() -> None:
    reason = lab_postfix.why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def _exim_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reason = lab_exim.why_not()
    if reason:
        pytest.skip(reason)
    try:
        return lab_exim.fetch(tmp_path_factory.mktemp("exim"))
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"Exim can't be fetched: {error}")


@pytest.fixture
def exim(_exim_program: Path) -> Iterator[Exim]:
    """A running Exim, or a skipped test where it can't be had."""
    with Exim(_exim_program) as server:
        yield server


@pytest.fixture(scope="session")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> Promtool:
    """Prometheus' promtool, or a skipped test where it can't be had."""
    reason = lab_promtool.why_not()
    if reason:
        pytest.skip(reason)
    try:
        return Promtool(lab_promtool.fetch(tmp_path_factory.mktemp("prometheus")))
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"promtool can't be fetched: {error}")


@pytest.fixture
def django_site() -> Callable[..., DjangoSite]:
    """django_site(spool.path, STOCK, …) is a DjangoSite."""
    return DjangoSite
