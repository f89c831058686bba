"""Sites as they run: forked gunicorn workers, Celery workers, async views, several at once."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Set

import dropped
import maildrain
import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.exceptions import SynchronousOnlyOperation
from django.core.handlers.asgi import ASGIHandler
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.test.utils import override_settings
from django.urls import path
from lab import net
from lab.child import Child
from lab.spool import Spool
from maildrain.testing import outbox, temporary_spool
from test_api import letter, subjects
from test_helpdesk import Desk

TICKETS = 40
TASKS = 30


def need(module: str, package: str) -> "pytest.MarkDecorator":
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"needs the package {package}")


@contextmanager
def running(tmp_path: Path, env: Dict[str, str], *argv: str) -> Iterator[Child]:
    child = Child([sys.executable, *argv], tmp_path / "log", env=env)
    try:
        yield child
    finally:
        child.stop()


def processes(spool: Spool) -> Set[str]:
    """The numbers of the processes that wrote the messages, by their names."""
    names = [message.path.name for message in dropped.read_all(spool.path)]
    return {re.findall(r"P([0-9]+)Q[0-9]+\.", name)[0] for name in names}


@need("gunicorn", "gunicorn")
def test_forked_gunicorn_workers(spool: Spool, tmp_path: Path) -> None:
    desk = Desk(spool, tmp_path / "db", ON_COMMIT=True)
    desk.browse()
    port = net.free_port()
    address = f"127.0.0.1:{port}"
    options = ["--preload", "--workers=3", "--threads=2", f"--bind={address}"]

    def submit(number: int) -> int:
        fields = {"title": f"T{number}", "submitter": "a@example.net", "text": "Help!"}
        data = urllib.parse.urlencode(fields).encode()
        with urllib.request.urlopen(f"http://{address}/submit/", data, timeout=60) as page:
            return int(page.status)

    argv = ["-m", "gunicorn", *options, "helpdesk_like.wsgi:application"]
    with running(tmp_path, desk.env, *argv) as server:
        assert net.wait_for_port(port, server.alive, greeting=False), server.tail()
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(submit, range(TICKETS))) == [200] * TICKETS, server.tail()
    assert desk.rows("ticket") == TICKETS
    titles = [re.sub(r".*: ", "", subject) for subject in subjects(spool.path)]
    assert sorted(titles) == sorted(["before the fork", *(f"T{n}" for n in range(TICKETS))])
    assert len(processes(spool)) >= 3  # the one that forked the others, and two of them


@need("celery", "python3-celery")
def test_celery_workers(spool: Spool, tmp_path: Path) -> None:
    env = {**Desk(spool, tmp_path / "db").env, "DESK_QUEUE": str(tmp_path / "queue")}
    call = f"from helpdesk_like.worker import *; [remind.delay(n) for n in range({TASKS})]"
    subprocess.run([sys.executable, "-c", call], env=env, check=True, timeout=60)
    options = ["--concurrency=3", "--pool=prefork", "--without-gossip", "--without-mingle"]
    argv = ["-m", "celery", "-A", "helpdesk_like.worker", "worker", "--without-heartbeat", *options]
    with running(tmp_path, env, *argv) as worker:
        end = time.monotonic() + 60
        while time.monotonic() < end and worker.alive() and spool.counts()["new"] < TASKS:
            time.sleep(0.1)
        assert spool.counts()["new"] == TASKS, worker.tail()
    assert sorted(subjects(spool.path)) == sorted(f"Reminder {n}" for n in range(TASKS))
    assert len(processes(spool)) >= 2


def test_two_sites_share_a_spool(spool: Spool, tmp_path: Path) -> None:
    desks = [Desk(spool, tmp_path / name) for name in ("one", "two")]
    request = ["/submit/", {"title": "Hi", "submitter": "a@example.net", "text": "Help!"}]
    with ThreadPoolExecutor(2) as pool:
        pages = list(pool.map(lambda desk: desk.browse(*[request] * 5), desks))
    assert [[status for status, _ in page] for page in pages] == [[200] * 5] * 2
    assert len(subjects(spool.path)) == 10
    assert len(processes(spool)) == 2


# ---- async ----

# Django 3.2 leaves it to the collector to close the file that a request's body is in.
leaves_a_file_open = pytest.mark.filterwarnings("ignore:.*SpooledTemporaryFile")


async def in_a_thread(request: HttpRequest) -> HttpResponse:
    message = letter(request.GET["subject"])
    return HttpResponse(await sync_to_async(maildrain.send)(message))


async def in_a_transaction(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await sync_to_async(_in_a_transaction)(request.GET["subject"]))


def _in_a_transaction(subject: str) -> str:
    try:
        with transaction.atomic():
            id = maildrain.send(letter(subject), on_commit=True)
            assert id not in [message.id for message in outbox()]
        return id
    finally:
        connections.close_all()


async def in_the_loop(request: HttpRequest) -> HttpResponse:
    return HttpResponse(maildrain.send(letter(request.GET["subject"])))


async def in_the_loop_on_commit(request: HttpRequest) -> HttpResponse:
    try:
        return HttpResponse(maildrain.send(letter(), on_commit=True))
    except SynchronousOnlyOperation:
        return HttpResponse("refused")


urlpatterns = [
    path(f"{view.__name__}/", view)
    for view in (in_a_thread, in_a_transaction, in_the_loop, in_the_loop_on_commit)
]


async def ask(name: str, subject: str) -> str:
    """What a view of this module answers, by Django's own ASGI application."""
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": f"/{name}/",
        "query_string": f"subject={subject}".encode(),
        "headers": [(b"host", b"testserver")],
    }
    communicator = ApplicationCommunicator(ASGIHandler(), scope)
    await communicator.send_input({"type": "http.request", "body": b"", "more_body": False})
    start = await communicator.receive_output(30)
    assert start["status"] == 200
    body = await communicator.receive_output(30)
    await communicator.wait()
    return str(body["body"].decode())


def asked(name: str, count: int) -> List[str]:
    """The same of COUNT requests that are under way at the same time."""

    async def all_of_them() -> List[str]:
        return await asyncio.gather(*(ask(name, f"S{number}") for number in range(count)))

    with override_settings(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["testserver"]):
        return asyncio.run(all_of_them())


@leaves_a_file_open
@temporary_spool()
@pytest.mark.parametrize("name", ["in_a_thread", "in_a_transaction", "in_the_loop"])
def test_async_views(name: str) -> None:
    ids = asked(name, 20)
    found = outbox()
    assert sorted(ids) == [message.id for message in found]
    assert sorted(message.subject for message in found) == sorted(f"S{n}" for n in range(20))


@leaves_a_file_open
@temporary_spool()
def test_the_event_loop_does_not_wait_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    real, threads = os.fsync, []

    def fsync(fd: int) -> None:
        threads.append(threading.current_thread() is threading.main_thread())
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    asked("in_a_thread", 2)
    assert threads == [False] * 4


@leaves_a_file_open
@temporary_spool()
def test_transactions_are_not_for_the_event_loop() -> None:
    assert asked("in_the_loop_on_commit", 1) == ["refused"]
    assert outbox() == []
