"""What `manage.py check` says of the spool, and that its hints help."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest
from django.core.checks import run_checks
from django.core.mail.backends.base import BaseEmailBackend
from django.core.management import CommandError, call_command
from django.test.utils import override_settings
from lab import repo
from lab.aiosmtp import AioServer
from lab.spool import Spool
from maildrain import checks
from maildrain.places import spools
from test_api import BACKEND, HAS_MAILERS, by_settings, needs_mailers
from test_durable import NOBODY, as_nobody

STOCK = "django.core.mail.backends.filebased.EmailBackend"
OLD = f"{int(time.time()) - 400}.M000001P1Q1.web1"
MESSAGE = b"Subject: Hi\n\nText\n"


class Passing(BaseEmailBackend):
    """As another package's, which keeps mail and hands it to ours later."""


@contextmanager
def site(path: Optional[Path], backend: str = BACKEND) -> Iterator[None]:
    if HAS_MAILERS:
        options = {"file_path": str(path)} if path else {}
        with override_settings(MAILERS={"default": {"BACKEND": backend, "OPTIONS": options}}):
            yield
    else:
        with by_settings(path and str(path)), override_settings(EMAIL_BACKEND=backend):
            yield


def found(path: Optional[Path], backend: str = BACKEND) -> List[Any]:
    with site(path, backend):
        return list(run_checks(tags=["maildrain"]))


def ids(path: Optional[Path], backend: str = BACKEND) -> List[str]:
    return [message.id for message in found(path, backend)]


def follow(hint: str) -> None:
    """Does what a hint says behind its colon, but as this user and with the program under test."""
    command = hint.partition(": ")[2].replace("sudo ", "").replace("maildrain init", "$PROGRAM init")
    env = {**os.environ, "PROGRAM": str(repo.program())}
    subprocess.run(["sh", "-ec", command], check=True, env=env, timeout=60)


def mended(path: Path, number: str, text: str) -> None:
    """The problem is there, in these words, and is not once its hint is followed."""
    [message] = found(path)
    assert message.id == f"maildrain.{number}"
    assert re.search(text, message.msg)
    follow(message.hint)
    assert ids(path) == []


def test_a_good_spool(spool: Spool) -> None:
    assert ids(spool.path) == []


def test_missing(make_spool: Callable[..., Spool]) -> None:
    path = make_spool(init=False).path
    mended(path, "W001", f"{path} is missing")


@pytest.mark.parametrize("folder", ["tmp", "new", "cur", "failed"])
def test_a_part_is_missing(spool: Spool, folder: str) -> None:
    (spool.path / folder).rmdir()
    mended(spool.path, "W001", f"/{folder} is missing")


@pytest.mark.parametrize(
    "folder, mode", [("tmp", 0o700), ("new", 0o770), ("cur", 0o3770), ("failed", 0o755)]
)
def test_mode(spool: Spool, folder: str, mode: int) -> None:
    (spool.path / folder).chmod(mode)
    mended(spool.path, "W002", rf"/{folder} has mode {mode:04o} and should have [23]7[57]0")


@pytest.mark.parametrize("folder", ["tmp", "new", "failed"])
def test_another_file_system(spool: Spool, tmp_path: Path, folder: str) -> None:
    elsewhere = Path("/dev/shm") / tmp_path.name
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    elsewhere.mkdir()
    try:
        elsewhere.chmod(checks.MODES[folder])
        (spool.path / folder).rmdir()
        (spool.path / folder).symlink_to(elsewhere)
        mended(spool.path, "W003", f"/{folder} is on another file system")
    finally:
        shutil.rmtree(elsewhere)


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("group", [0, 8, None])
def test_group(spool: Spool, group: Optional[int]) -> None:
    """nobody is a member of none of these: of root, and of mail; with None of the right one."""
    for path in (spool.path, *spool.path.glob("*")):
        mode = path.stat().st_mode & 0o7777
        os.chown(path, 1, NOBODY if group is None else group)
        path.chmod(mode)
    for path in list(spool.path.parents)[:-1]:
        path.chmod(path.stat().st_mode | 0o111)

    def action() -> None:
        messages = found(spool.path)
        if group is None:
            assert messages == []
            return
        assert [message.id for message in messages] == ["maildrain.W004"]
        hint = messages[0].hint
        assert ("usermod -aG mail nobody" in hint) == (group == 8)
        assert ("maildrain init" in hint) == (group == 0)

    as_nobody(action)


def test_djangos_own_backend(spool: Spool) -> None:
    [message] = found(spool.path, STOCK)
    assert message.id == "maildrain.W005"
    assert BACKEND in message.hint
    assert ids(spool.path, BACKEND) == []


def test_djangos_own_backend_in_development(tmp_path: Path) -> None:
    assert ids(tmp_path / "mails", STOCK) == []


@pytest.mark.parametrize("name", ["locmem", "console", "smtp", "dummy"])
def test_backends_without_a_spool(spool: Spool, name: str) -> None:
    """Such as the one of tests, where the settings name a spool all the same."""
    (spool.path / "new").chmod(0o700)
    backend = f"django.core.mail.backends.{name}.EmailBackend"
    assert ids(spool.path, backend) == []


def test_a_backend_that_is_missing_is_not_our_trouble(spool: Spool) -> None:
    with site(spool.path, "nowhere.EmailBackend"):
        assert spools() == {"default": str(spool.path)}


def test_a_backend_that_hands_mail_to_ours(spool: Spool) -> None:
    backend = f"{__name__}.Passing"
    with site(spool.path, backend):
        assert spools() == {"default": str(spool.path)}
    (spool.path / "new").chmod(0o700)
    assert ids(spool.path, backend) == ["maildrain.W002"]


@needs_mailers
def test_all_of_mailers(spool: Spool, make_spool: Callable[..., Spool]) -> None:
    other = make_spool()

    def entry(path: Path, module: str) -> Any:
        backend = f"maildrain.{module}.EmailBackend"
        return {"BACKEND": backend, "OPTIONS": {"file_path": str(path)}}

    mailers = {
        "default": entry(spool.path, "filebased"),
        "mass": entry(spool.path, "bulk"),
        "site": entry(other.path, "filebased"),
        "none": {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"},
    }
    with override_settings(MAILERS=mailers):
        assert spools() == {"default": str(spool.path), "site": str(other.path)}
        for path, label in ((other.path, "site"), (spool.path, "default")):
            (path / "new").chmod(0o700)
            assert [message.obj for message in run_checks(tags=["maildrain"])] == [label]
            follow(f"Mend it: maildrain init {path}")


def test_settings(spool: Spool) -> None:
    wrong = [{"PRIORTY": 1}, {"PRIORITY": 10}, {"EXPIRES": "soon"}, {"RELAY": "a b"}]
    for given in [*wrong, {"ENVELOPE_FROM": "no address"}, {"ON_COMMIT": 1}]:
        with override_settings(MAILDRAIN=given):
            [message] = found(spool.path)
        assert message.id == "maildrain.E001"
        assert repr(next(iter(given.values()))) in message.msg or "PRIORTY" in message.msg
    with override_settings(MAILDRAIN={"PRIORITY": "low", "EXPIRES": 3600, "ON_COMMIT": True}):
        assert ids(spool.path) == []


# ---- mail that waits ----


def test_mail_waits_and_no_run_comes(spool: Spool) -> None:
    spool.drop(MESSAGE, OLD)
    [message] = found(spool.path)
    assert message.id == "maildrain.W006"
    assert "6 minutes" in message.msg
    assert "systemctl enable --now maildrain.timer" in message.hint


@pytest.mark.parametrize(
    "name",
    [
        f"{int(time.time())}.M000001P1Q1.web1",  # has only just come
        f"{OLD},T={int(time.time()) + 3600}",  # is not due yet
        f"{OLD},A=1,E=4.2.2,T={int(time.time()) - 30}",  # is due again since half a minute
        f"{OLD},A=1,E=2.0.0",  # is sent
        "letter",  # nobody knows how old
    ],
)
def test_mail_that_does_not_wait_for_long(spool: Spool, name: str) -> None:
    spool.drop(MESSAGE, name)
    assert ids(spool.path) == []


def test_deferred_mail_waits_too(spool: Spool) -> None:
    spool.drop(MESSAGE, f"{OLD},A=1,E=4.2.2,T={int(time.time()) - 310}")
    assert ids(spool.path) == ["maildrain.W006"]


def test_a_run_is_at_work(spool: Spool) -> None:
    spool.drop(MESSAGE, OLD)
    spool.drop(MESSAGE, f"{OLD}-2,A=1,C=web1-42,T={int(time.time()) + 3600}")
    assert ids(spool.path) == []


def test_a_run_has_ended_just_now(spool: Spool, aio_server: Callable[..., AioServer]) -> None:
    spool.write_config(url=aio_server().url, tls="none")
    spool.drop(b"From: a@example.com\nTo: b@example.net\n" + MESSAGE)
    assert spool.run().returncode == 0
    spool.drop(MESSAGE, OLD)
    assert ids(spool.path) == []
    [record] = (spool.path / "state").glob("run,*")
    record.rename(spool.path / "state" / f"run,D=1,T={int(time.time()) - 301}")
    assert ids(spool.path) == ["maildrain.W006"]


def test_the_relay_is_down(spool: Spool) -> None:
    spool.write_config(url="smtp://127.0.0.1:1", tls="none")
    spool.drop(b"From: a@example.com\nTo: b@example.net\n" + MESSAGE, OLD)
    assert spool.run().returncode == 75
    [message] = found(spool.path)
    assert message.id == "maildrain.W007"
    assert "relay main was down" in message.msg
    assert "maildrain verify" in message.hint
    (spool.path / "state" / "relay-other,B=1,S=1,U=1").touch()
    assert ids(spool.path) == ["maildrain.W006"]


def test_of_very_many_names_not_all_are_read(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "NAMES_MAX", 3)
    for number in range(3):
        spool.drop(MESSAGE, f"{OLD}-{number}")
    assert ids(spool.path) == ["maildrain.W006"]
    spool.drop(MESSAGE, f"{OLD}-3")
    assert ids(spool.path) == []


def test_manage_py_check(spool: Spool) -> None:
    said = io.StringIO()
    (spool.path / "new").chmod(0o700)
    with site(spool.path):
        call_command("check", stdout=said, stderr=said)
        assert "maildrain.W002" in said.getvalue()
        with override_settings(SILENCED_SYSTEM_CHECKS=["maildrain.W002"]):
            call_command("check", fail_level="WARNING", stdout=said, stderr=said)
        with pytest.raises(CommandError, match="W002"):
            call_command("check", fail_level="WARNING", stdout=said, stderr=said)


def test_each_id_is_in_the_manual() -> None:
    source = Path(checks.__file__).read_text()
    manual = (repo.ROOT / "src" / "maildrain-django.7").read_text()
    described = re.findall(r"^\.It Cm maildrain\.([EW][0-9]{3})$", manual, re.MULTILINE)
    assert described == sorted(set(re.findall(r"\b([EW][0-9]{3}):", source)))
