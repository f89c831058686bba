"""What Django's documentation promises of a backend: settings, MAILERS, counts, fail_silently."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import django
import dropped
import maildrain
import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import EmailMessage
from django.core.mail.backends.filebased import EmailBackend as DjangosBackend
from django.test.utils import override_settings
from maildrain.filebased import EmailBackend

MakeBackend = Callable[..., EmailBackend]

ROOT = Path(__file__).resolve().parents[2]
BACKEND = "maildrain.filebased.EmailBackend"
HAS_MAILERS = django.VERSION >= (6, 1)
needs_mailers = pytest.mark.skipif(not HAS_MAILERS, reason="MAILERS came with Django 6.1")


def letter(subject: str = "Hi", to: str = "a@example.net") -> EmailMessage:
    return EmailMessage(subject, "Text\n", None, [to] if to else [])


def subjects(spool: Path) -> List[str]:
    return [each.message["Subject"] for each in dropped.read_all(spool)]


@contextmanager
def by_settings(path: Any) -> Iterator[None]:
    """The two settings that select the backend for every Django up to 6.1, without its warnings
    about them; test_reading_the_setting_gives_no_warning has them on."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The EMAIL_|get_connection\(\) is deprecated")
        with override_settings(EMAIL_BACKEND=BACKEND, EMAIL_FILE_PATH=path):
            yield


def mailers(**options: Any) -> Any:
    return override_settings(MAILERS={"default": {"BACKEND": BACKEND, "OPTIONS": options}})


def run_site(script: str, spool: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a script in a fresh interpreter, where no warning has been given yet."""
    return subprocess.run(
        [sys.executable, "-c", script, str(spool)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )


def test_it_is_a_file_backend(backend: EmailBackend, spool_path: Path) -> None:
    assert isinstance(backend, DjangosBackend)
    assert backend.file_path == str(spool_path)


@pytest.mark.parametrize("kind", [str, Path])
def test_settings_of_all_versions(spool_path: Path, kind: Callable[[Path], Any]) -> None:
    with by_settings(kind(spool_path)):
        mail.send_mail("Hi", "Text", "Site <site@example.com>", ["a@example.net"])
        letter("second").send()
        with mail.get_connection() as connection:
            connection.send_messages([letter("third"), letter("fourth")])
    assert subjects(spool_path) == ["Hi", "second", "third", "fourth"]


SETTINGS_SITE = """
import sys, warnings
from django.conf import settings
settings.configure(
    DEFAULT_FROM_EMAIL="site@example.com",
    EMAIL_BACKEND="maildrain.filebased.EmailBackend",
    EMAIL_FILE_PATH=sys.argv[1],
)
import maildrain.filebased as ours
from django.core.mail import EmailMessage
warnings.filterwarnings("error", module="maildrain")
backend = ours.EmailBackend()  # made before anything else has read the setting
assert backend.send_messages([EmailMessage("Hi", "Text", None, ["a@example.net"])]) == 1
"""


def test_reading_the_setting_gives_no_warning(spool_path: Path) -> None:
    done = run_site(SETTINGS_SITE, spool_path)
    assert done.returncode == 0, done.stdout
    assert subjects(spool_path) == ["Hi"]


def test_loading_the_module_gives_no_warning(spool_path: Path) -> None:
    script = "import warnings; warnings.filterwarnings('error', module='maildrain')"
    done = run_site(script + "; import maildrain.filebased", spool_path)
    assert done.returncode == 0, done.stdout


def test_file_path_wins_over_the_setting(spool_path: Path) -> None:
    with by_settings("/nonexistent"):
        connection = mail.get_connection(file_path=str(spool_path))
        assert connection.send_messages([letter()]) == 1
    assert subjects(spool_path) == ["Hi"]


def test_relative_path(
    make_backend: MakeBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(spool_path.parent)
    backend = make_backend(file_path="spool")
    monkeypatch.chdir("/")
    assert backend.send_messages([letter()]) == 1
    assert subjects(spool_path) == ["Hi"]


def test_no_path_is_a_mistake_of_the_configuration() -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_FILE_PATH"):
        EmailBackend()


def break_missing(spool: Path) -> str:
    (spool / "new").rmdir()
    return "No such file or directory"


def break_file(spool: Path) -> str:
    (spool / "tmp").rmdir()
    (spool / "tmp").write_text("")
    return "Not a directory"


@pytest.mark.parametrize("break_it", [break_missing, break_file])
def test_a_directory_that_is_no_spool_is_refused(
    make_backend: MakeBackend, spool_path: Path, break_it: Callable[[Path], str]
) -> None:
    reason = break_it(spool_path)
    before = sorted(spool_path.iterdir())
    with pytest.raises(ImproperlyConfigured, match=reason) as caught:
        make_backend()
    assert "maildrain init" in str(caught.value)
    assert sorted(spool_path.iterdir()) == before


def test_a_missing_spool_is_refused_and_not_made(make_backend: MakeBackend, tmp_path: Path) -> None:
    with pytest.raises(ImproperlyConfigured, match="maildrain init"):
        make_backend(file_path=tmp_path / "nowhere", fail_silently=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_spool_that_goes_away_is_an_error(backend: EmailBackend, spool_path: Path) -> None:
    (spool_path / "tmp").rmdir()
    with pytest.raises(FileNotFoundError, match="tmp"):
        backend.send_messages([letter()])


@pytest.mark.parametrize("nothing", [None, [], ()])
def test_no_messages(backend: EmailBackend, spool_path: Path, nothing: Any) -> None:
    assert backend.send_messages(nothing) == 0
    assert subjects(spool_path) == []


def test_messages_for_nobody_are_neither_written_nor_counted(
    backend: EmailBackend, spool_path: Path
) -> None:
    assert backend.send_messages([letter("1"), letter("2", to=""), letter("3")]) == 2
    assert subjects(spool_path) == ["1", "3"]


def test_several_hundred_messages_on_one_connection(
    backend: EmailBackend, spool_path: Path
) -> None:
    with backend as connection:
        for i in range(300):
            assert connection.send_messages([letter(str(i))]) == 1
    assert subjects(spool_path) == [str(i) for i in range(300)]
    assert not list(spool_path.glob("*.log"))


def test_a_backend_can_be_used_again_after_close(backend: EmailBackend, spool_path: Path) -> None:
    backend.open()
    assert backend.send_messages([letter("1")]) == 1
    backend.close()
    backend.close()
    assert backend.send_messages([letter("2")]) == 1
    assert subjects(spool_path) == ["1", "2"]


def fail_second_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    real, count = os.rename, 0

    def rename(*args: Any) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(*args)

    monkeypatch.setattr(os, "rename", rename)


def test_fail_silently_drops_only_what_failed(
    make_backend: MakeBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = make_backend(fail_silently=True)
    fail_second_rename(monkeypatch)
    mails = [letter("1"), letter("2"), letter("3", to="no address"), letter("4")]
    assert backend.send_messages(mails) == 2
    assert subjects(spool_path) == ["1", "4"]


def test_fail_silently_does_not_swallow_an_interrupt(
    make_backend: MakeBackend, spool_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(*args: Any) -> None:
        raise KeyboardInterrupt

    backend = make_backend(fail_silently=True)
    monkeypatch.setattr(os, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        backend.send_messages([letter()])
    assert subjects(spool_path) == []


@pytest.mark.skipif(HAS_MAILERS, reason="fail_silently= is deprecated for callers")
def test_fail_silently_of_send_mail(spool_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with by_settings(str(spool_path)):
        assert mail.send_mail("Hi", "x", None, ["no address"], fail_silently=True) == 0
        with pytest.raises(ValueError, match="no address"):
            mail.send_mail("Hi", "x", None, ["no address"])


@needs_mailers
def test_mailers(spool_path: Path) -> None:
    with mailers(file_path=str(spool_path)):
        assert mail.send_mail("Hi", "Text", None, ["a@example.net"]) == 1
        assert letter("second").send(using="default") == 1
        assert mail.mailers["default"].send_messages([letter("third")]) == 1
    assert subjects(spool_path) == ["Hi", "second", "third"]


@needs_mailers
def test_fail_silently_is_an_option_of_mailers(spool_path: Path) -> None:
    with mailers(file_path=str(spool_path), fail_silently=True):
        backend = mail.mailers["default"]
        assert backend.send_messages([letter(to="no address"), letter("good")]) == 1
    assert subjects(spool_path) == ["good"]


@needs_mailers
@pytest.mark.parametrize(
    "options, reason",
    [
        ({"file_path": "SPOOL", "colour": "red"}, "colour"),
        ({"file_path": "SPOOL", "host": "localhost"}, "host"),
        ({}, "file_path"),
        ({"file_path": "SPOOL/nowhere"}, "maildrain init"),
    ],
)
def test_wrong_options_raise_invalid_mailer(
    spool_path: Path, options: Dict[str, str], reason: str
) -> None:
    options = {key: value.replace("SPOOL", str(spool_path)) for key, value in options.items()}
    with mailers(**options), pytest.raises(mail.InvalidMailer, match=reason) as caught:
        mail.mailers["default"]
    assert "default" in str(caught.value)


@needs_mailers
def test_unknown_options_are_named_as_djangos_own_backend_names_them(spool_path: Path) -> None:
    options = {"file_path": str(spool_path), "colour": "red", "shape": "round"}
    said = []
    for kind in (EmailBackend, DjangosBackend):
        with pytest.raises(mail.InvalidMailer) as caught:
            kind(alias="default", **options)
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_admins_get_their_mail(spool_path: Path) -> None:
    admin = "ops@example.net" if django.VERSION >= (6, 0) else ("Ops", "ops@example.net")
    where = mailers(file_path=str(spool_path)) if HAS_MAILERS else by_settings(str(spool_path))
    with where, override_settings(ADMINS=[admin]):
        mail.mail_admins("Down", "Text")
    found = dropped.read_one(spool_path)
    assert (found.sender, found.recipients) == ("root@localhost", ["ops@example.net"])


def test_version_is_the_makefiles() -> None:
    makefile = (ROOT / "Makefile").read_text()
    match = re.search(r"^VERSION\s*:?=\s*(\S+)$", makefile, re.MULTILINE)
    assert match and match[1] == maildrain.__version__


@pytest.mark.skipif("MAILDRAIN" not in os.environ, reason="MAILDRAIN does not name the program")
def test_version_is_the_programs() -> None:
    said = subprocess.run(
        [os.environ["MAILDRAIN"], "--version"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    assert re.search(rf"\b{re.escape(maildrain.__version__)}\b", said.splitlines()[0])
