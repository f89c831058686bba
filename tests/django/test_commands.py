"""manage.py maildrain_status and sendtestmail, against the program and real servers."""

from __future__ import annotations

import io
import json
import re
import threading
import time
from pathlib import Path
from typing import Any, Callable, List, Optional

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test.utils import override_settings
from lab.aiosmtp import AioServer
from lab.spool import Spool
from maildrain import ages
from maildrain.testing import outbox, temporary_spool
from test_api import HAS_MAILERS, needs_mailers
from test_checks import site

def call(*args: str, out: Optional[io.StringIO] = None) -> str:
    """Calls a command; returns what it writes to standard output."""
    out = out or io.StringIO()
    call_command(*args, stdout=out, stderr=out)
    return out.getvalue()


@pytest.fixture
def server(spool: Spool, aio_server: Callable[..., AioServer]) -> AioServer:
    """What runs of the spool send to."""
    server = aio_server()
    spool.write_config(url=server.url, tls="none")
    return server


def fill(spool: Spool) -> None:
    """One message at least of each state."""
    born = int(time.time()) - 7_500
    message = b"From: a@example.com\nTo: b@example.net\n\nText\n"
    for number, fields in enumerate(
        ["", ",P=1", ",A=1,E=4.2.2,T=5", f",T={born + 90_030}", f",A=1,C=web1-42,T={born + 9_999}"]
    ):
        spool.drop(message, f"{born + number}.M000001P1Q{number}.web1{fields}")
    for folder, name in [("cur", "A=1:2,S"), ("failed", "A=1,E=5.1.1")]:
        (spool.path / folder / f"{born - 400_000}.M000001P1Q1.web1,{name}").write_bytes(message)


def test_status_in_words(spool: Spool) -> None:
    fill(spool)
    with site(spool.path):
        ours = call("maildrain_status").splitlines()
    theirs = spool.command("status").stdout.splitlines()
    assert ours[0] == theirs[0] == f"spool {spool.path}"
    table = [line for line in theirs if re.match(r"(wait|in f|defer|fail|sent|due|next)", line)]
    assert [line for line in ours[3:] if line and not line.startswith("held")] == table
    assert len(table) == 7


def test_status_as_json(spool: Spool) -> None:
    fill(spool)
    with site(spool.path):
        [ours] = json.loads(call("maildrain_status", "--json"))
    theirs = json.loads(spool.command("status", "--json").stdout)
    assert ours["states"].pop("held") == {"count": 0, "oldest": None}
    assert abs(ours.pop("time") - theirs["time"]) <= 2
    assert ours == {key: theirs[key] for key in ours}
    assert set(ours) == {"spool", "states", "due", "due_since", "next"}


def test_status_of_another_spool(spool: Spool) -> None:
    fill(spool)
    said = call("maildrain_status", "--spool", str(spool.path))
    assert re.search(r"^waiting +3 ", said, re.MULTILINE)


@needs_mailers
def test_status_of_all_spools(spool: Spool, make_spool: Callable[..., Spool]) -> None:
    paths = [str(spool.path), str(make_spool().path)]
    backend = "maildrain.filebased.EmailBackend"
    mailers = {
        f"m{number}": {"BACKEND": backend, "OPTIONS": {"file_path": path}}
        for number, path in enumerate([*paths, paths[0]])
    }
    with override_settings(MAILERS=mailers):
        said = call("maildrain_status")
    assert re.findall(r"^spool (.*)", said, re.MULTILINE) == paths


def test_status_without_a_spool(tmp_path: Path) -> None:
    with site(tmp_path / "nowhere"):
        with pytest.raises(CommandError, match=f"sudo maildrain init {tmp_path}/nowhere"):
            call("maildrain_status")
    with site(None, "django.core.mail.backends.locmem.EmailBackend"):
        with pytest.raises(CommandError, match="--spool"):
            call("maildrain_status")


@pytest.mark.parametrize(
    "seconds, words",
    [(-1, "0s"), (59.9, "59s"), (60, "1m"), (3599, "59m"), (3600, "1h 0m"), (7_500, "2h 5m")]
    + [(86_399, "23h 59m"), (86_400, "1d 0h"), (4 * 86_400 + 3 * 3_600 + 59, "4d 3h")],
)
def test_ages(seconds: float, words: str) -> None:
    assert ages.age(seconds) == words


# ---- sendtestmail ----


@temporary_spool()
def test_it_tells_the_id() -> None:
    options = ["--priority=high", "--relay=bulk"]
    said = call("sendtestmail", "a@example.net", "b@example.net", *options)
    [message] = outbox()
    assert said == f"Queued as {message.id} in {message.path.rpartition('/new/')[0]}\n"
    assert message.to == ["a@example.net", "b@example.net"]
    assert (message.priority, message.relay) == (1, "bulk")


@temporary_spool(on_commit=True)
def test_it_does_not_wait_for_a_commit() -> None:
    with transaction.atomic():
        call("sendtestmail", "a@example.net")
        assert len(outbox()) == 1


@temporary_spool()
def test_to_admins_and_managers() -> None:
    people: List[Any] = ["one@example.net"] if HAS_MAILERS else [("One", "one@example.net")]
    other: List[Any] = ["two@example.net"] if HAS_MAILERS else [("Two", "two@example.net")]
    with override_settings(ADMINS=people, MANAGERS=other):
        call("sendtestmail", "--admins", "--managers", "three@example.net")
    [message] = outbox()
    assert sorted(message.to) == ["one@example.net", "three@example.net", "two@example.net"]


@temporary_spool()
@pytest.mark.parametrize(
    "args, words",
    [
        ([], "recipients"),
        (["--admins"], "recipients"),
        (["no address"], "no address"),
        (["a@example.net", "--priority", "urgent"], "'urgent'"),
    ],
)
def test_what_is_wrong(args: List[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        call("sendtestmail", *args)
    assert outbox() == []


def test_not_by_a_backend_of_another_kind() -> None:
    with site(None, "django.core.mail.backends.dummy.EmailBackend"):
        with pytest.raises(CommandError, match="django.core.mail.backends.dummy.*sendtestemail"):
            call("sendtestmail", "a@example.net")


@needs_mailers
def test_by_an_alias(spool: Spool) -> None:
    backend = "maildrain.bulk.EmailBackend"
    mailers = {"mass": {"BACKEND": backend, "OPTIONS": {"file_path": str(spool.path)}}}
    with override_settings(MAILERS=mailers):
        call("sendtestmail", "a@example.net", "--using=mass")
    assert spool.counts()["new"] == 1


def sent_and_awaited(
    spool: Spool, *recipients: str, out: Optional[io.StringIO] = None
) -> List[str]:
    """What sendtestmail --wait says, line by line, while a run comes as from a timer."""
    timer = threading.Timer(0.3, spool.run)
    timer.start()
    try:
        with site(spool.path):
            return call("sendtestmail", *recipients, "--wait=30", out=out).splitlines()
    finally:
        timer.join()


def test_sent(spool: Spool, server: AioServer) -> None:
    first, second = sent_and_awaited(spool, "a@example.net")
    assert first.startswith("Queued as ")
    assert re.fullmatch(r"Sent, at attempt 1, after [0-9]+\.[0-9] s", second)
    assert len(server.messages) == 1


def test_sent_and_not_kept(spool: Spool, aio_server: Callable[..., AioServer]) -> None:
    spool.write_config({"keep_sent": "0"}, url=aio_server().url, tls="none")
    said = sent_and_awaited(spool, "a@example.net")
    assert said[1].startswith("Gone from the spool: sent, where keep_sent is 0")


def test_failed(spool: Spool, server: AioServer) -> None:
    with pytest.raises(CommandError) as caught:
        sent_and_awaited(spool, "refuse@example.net", "a@example.net")
    assert str(caught.value) == (
        "Failed with 5.1.1:\n  refuse@example.net: 550 5.1.1 No such user here"
    )
    assert caught.value.returncode == 1


def test_deferred(spool: Spool, server: AioServer) -> None:
    out = io.StringIO()
    with pytest.raises(CommandError) as caught:
        sent_and_awaited(spool, "defer@example.net", out=out)
    id = out.getvalue().split()[2]
    assert re.fullmatch(
        r"Deferred with 4\.3\.0 at attempt 1; the next is in (5.s|1m)\.\n"
        rf"See why: journalctl -t maildrain -g {re.escape(id)}",
        str(caught.value),
    )
    assert caught.value.returncode == 75


def test_held_back(spool: Spool, server: AioServer) -> None:
    with pytest.raises(CommandError, match=r"Held back with 4\.3\.5; .* in (59m|1h 0m)") as caught:
        with override_settings(MAILDRAIN={"RELAY": "nowhere"}):
            sent_and_awaited(spool, "a@example.net")
    assert caught.value.returncode == 75


def test_still_waiting(spool: Spool) -> None:
    with pytest.raises(CommandError, match="Still waiting after 0s.*maildrain.timer") as caught:
        with site(spool.path):
            call("sendtestmail", "a@example.net", "--wait=0.5")
    assert caught.value.returncode == 75
    assert spool.counts()["new"] == 1


def test_how_long_it_waits_when_not_told() -> None:
    from maildrain.management.commands import sendtestmail

    parser = sendtestmail.Command(stdout=io.StringIO()).create_parser("manage.py", "sendtestmail")
    assert parser.parse_args(["a@example.net", "--wait"]).wait == 90
    assert parser.parse_args(["a@example.net"]).wait is None
