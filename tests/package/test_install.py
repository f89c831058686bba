"""The Debian packages installed, used, upgraded, removed and purged, where no systemd runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Iterator, List

import pytest
from lab import debs
from lab.faultserver import FaultServer
from lab.root import Root, why_not
from lab.spool import config_text

SPOOL = "/var/spool/maildrain"
CONFIG = "/etc/maildrain.conf"
MODES = {"": 0o3770, "tmp": 0o3770, "new": 0o3770, "cur": 0o2750, "failed": 0o2750, "state": 0o2750}
LETTER = b"From: site@example.com\nTo: a@example.net\nSubject: hello\n\nHello.\n"
# What dpkg, the user and the caches of other packages' triggers leave, which no package takes back.
RESIDUE = re.compile(
    r"/var/(lib/dpkg|log|cache|lib/systemd/deb-systemd-helper-enabled|lib/systemd/catalog)(/.*)?"
    r"|/etc/(passwd|group|shadow|gshadow|subuid|subgid|ld\.so\.cache)-?|/etc/\.pwd\.lock"
    r"|/(dev|proc|run|tmp)(/.*)?|.*/__pycache__/.*|/var/lib/(man-db|python)(/.*)?"
)


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    if debs.missing():
        pytest.fail("there are no packages: run make deb, or set MAILDRAIN_DEBS")


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Root]:
    """A root without the packages, and a folder /tmp/debs with them."""
    root = Root(tmp_path)
    try:
        root.path("/tmp/debs").mkdir()
        for name in debs.NAMES:
            shutil.copy(debs.find(name), root.path(f"/tmp/debs/{name}.deb"))
        yield root
    finally:
        root.stop()


@pytest.fixture
def root(bare: Root) -> Root:
    install(bare, "maildrain")
    return bare


def dpkg(root: Root, *argv: str, stdin: bytes = b"") -> str:
    return root.check("dpkg", *argv, stdin=stdin, DEBIAN_FRONTEND="noninteractive")


def install(root: Root, *names: str, stdin: bytes = b"") -> str:
    return dpkg(root, "--install", *(f"/tmp/debs/{name}.deb" for name in names), stdin=stdin)


def put(root: Root, made: Path) -> str:
    """A package that was made for the test, under the name for install()."""
    shutil.copy(made, root.path("/tmp/debs"))
    return made.stem


def edit(root: Root, **relay: str) -> str:
    """Puts the relay into the config; the new text."""
    settings = {"tls": "none", **relay}
    text = config_text({"spool": SPOOL}, {"main": settings})
    root.path(CONFIG).write_text(text)
    return text


def drop(root: Root, name: str = "letter", folder: str = "new") -> None:
    path = f"{SPOOL}/{folder}/{name}"
    root.check("sh", "-euc", f"cat >{path}; chown maildrain:maildrain {path}", stdin=LETTER)


def left(root: Root) -> List[str]:
    return [path for path in root.changes() if not RESIDUE.fullmatch(path)]


def test_user_and_spool(root: Root) -> None:
    user, _, uid, gid, _, home, shell = root.check("getent", "passwd", "maildrain").split(":")
    assert (home, shell.strip()) == ("/nonexistent", "/usr/sbin/nologin")
    assert 0 < int(uid) < 1000
    assert root.check("getent", "group", "maildrain").strip() == f"maildrain:x:{gid}:"
    found = {}
    for name in MODES:
        status = root.path(f"{SPOOL}/{name}").stat()
        found[name] = status.st_mode & 0o7777
        assert (status.st_uid, status.st_gid) == (int(uid), int(gid))
    assert found == MODES


def test_fresh_install_says_what_to_do(root: Root) -> None:
    result = root.call("maildrain", "verify")
    assert result.returncode == 78
    assert "not configured yet" in result.stdout and "<--" in result.stdout


def test_a_message_is_sent_as_the_user(root: Root) -> None:
    """By a root who has only edited the config: the run becomes the owner of the spool."""
    drop(root)
    with FaultServer() as server:
        edit(root, url=f"smtp://127.0.0.1:{server.port}")
        assert "PROBLEM" not in root.check("maildrain", "verify")
        root.check("maildrain", "run")
        assert [message.recipients for message in server.messages] == [("a@example.net",)]
    (sent,) = root.path(f"{SPOOL}/cur").iterdir()
    assert sent.name == "letter,A=1:2,S"


def test_cron_is_inert_until_configured(root: Root) -> None:
    """The line of the crontab, run by the shell as cron does, with no systemd there."""
    install(root, "maildrain-cron")
    (line,) = [line for line in root.path("/etc/cron.d/maildrain").read_text().splitlines()
               if line.startswith("* * * * * maildrain ")]  # fmt: skip
    command = line.split(None, 6)[6]
    logger = root.path("/usr/bin/logger")
    logger.unlink()
    logger.write_text("#!/bin/sh\ncat >>/tmp/log\n")
    logger.chmod(0o755)
    drop(root)
    assert root.check("sh", "-c", command) == ""
    assert not root.path("/tmp/log").exists(), "nothing was said"
    with FaultServer() as server:
        edit(root, url=f"smtp://127.0.0.1:{server.port}")
        assert root.check("sh", "-c", command) == ""
        assert len(server.messages) == 1
    assert "sent id=letter" in root.path("/tmp/log").read_text()


def test_django_finds_the_backend(root: Root) -> None:
    install(root, "python3-maildrain")
    said = root.check("python3", "-c", "import maildrain.filebased as m; print(m.__file__)",
                      PYTHONPATH="")  # fmt: skip
    assert said.strip() == "/usr/lib/python3/dist-packages/maildrain/filebased.py"


def add_line(tree: Path) -> None:
    config = tree / CONFIG[1:]
    config.write_text(config.read_text() + "# A later version.\n")


def test_upgrade_keeps_an_edited_config_without_a_word(root: Root, tmp_path: Path) -> None:
    """The config of the package has not changed: there is nothing to ask."""
    text = edit(root, url="smtp://127.0.0.1:1")
    drop(root)
    said = install(root, put(root, debs.repack(tmp_path, "9.0")))
    assert "onfiguration file" not in said
    assert root.path(CONFIG).read_text() == text
    assert root.path(f"{SPOOL}/new/letter").exists()
    assert not list(root.path("/etc").glob("maildrain.conf.*"))


def test_upgrade_replaces_a_config_that_nobody_has_edited(root: Root, tmp_path: Path) -> None:
    said = install(root, put(root, debs.repack(tmp_path, "9.0", add_line)))
    assert "onfiguration file" not in said
    assert root.path(CONFIG).read_text().endswith("# A later version.\n")


@pytest.mark.parametrize("answer", ["N", "Y"])
def test_upgrade_asks_when_both_have_changed_the_config(
    root: Root, tmp_path: Path, answer: str
) -> None:
    text = edit(root, url="smtp://127.0.0.1:1")
    said = install(root, put(root, debs.repack(tmp_path, "9.0", add_line)),
                   stdin=f"{answer}\n".encode())  # fmt: skip
    assert f"Configuration file '{CONFIG}'" in said
    beside = root.path(CONFIG + (".dpkg-dist" if answer == "N" else ".dpkg-old"))
    kept = root.path(CONFIG) if answer == "N" else beside
    assert kept.read_text() == text and beside.exists()


def test_modes_of_the_spool_are_mended_by_an_upgrade(root: Root, tmp_path: Path) -> None:
    root.path(f"{SPOOL}/new").chmod(0o777)
    install(root, put(root, debs.repack(tmp_path, "9.0")))
    assert root.path(f"{SPOOL}/new").stat().st_mode & 0o7777 == 0o3770


def test_spool_that_is_a_link_is_left_alone(bare: Root) -> None:
    bare.check("sh", "-euc", f"mkdir -m 700 /srv/mail; ln -s /srv/mail {SPOOL}")
    install(bare, "maildrain")
    assert bare.path("/srv/mail").stat().st_mode & 0o7777 == 0o700
    dpkg(bare, "--purge", "maildrain")
    assert bare.path(SPOOL).is_symlink() and bare.path("/srv/mail").is_dir()


def test_remove_keeps_config_and_mail(root: Root) -> None:
    drop(root)
    edit(root, url="smtp://127.0.0.1:1")
    dpkg(root, "--remove", "maildrain")
    assert not root.path("/usr/sbin/maildrain").exists()
    assert root.path(CONFIG).exists() and root.path(f"{SPOOL}/new/letter").exists()


def test_purge_leaves_nothing(root: Root) -> None:
    install(root, "python3-maildrain", "maildrain-cron")
    root.path("/etc/maildrain/smtp-password").write_text("secret\n")
    for folder in ("cur", "tmp", "state"):
        drop(root, f"of-{folder}", folder)
    assert left(root) != []
    said = dpkg(root, "--purge", "maildrain-cron", "python3-maildrain", "maildrain")
    assert "warning" not in said
    assert left(root) == []
    assert not root.path(SPOOL).exists() and not root.path("/etc/maildrain").exists()


def test_purge_of_a_package_that_was_removed_leaves_nothing(root: Root) -> None:
    dpkg(root, "--remove", "maildrain")
    dpkg(root, "--purge", "maildrain")
    assert left(root) == [] and not root.path(SPOOL).exists()


@pytest.mark.parametrize("place", ["new/letter", "failed/letter,A=1,E=5.1.1", "dump.log", "hold/a"])
def test_purge_keeps_what_is_not_sent(root: Root, place: str) -> None:
    folder, _, name = place.rpartition("/")
    root.path(f"{SPOOL}/{folder}").mkdir(exist_ok=True)
    drop(root, name, folder or ".")
    drop(root, "done,A=1:2,S", "cur")
    said = dpkg(root, "--purge", "maildrain")
    assert f"{SPOOL} holds mail that is not sent" in said
    assert root.path(f"{SPOOL}/{place}").read_bytes() == LETTER
    assert not root.path(CONFIG).exists()


def test_mta_takes_the_place_of_another(bare: Root, tmp_path: Path) -> None:
    """Both at once can't be had, as dpkg sees it."""
    other = "Package: other-mta\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.com>\n" \
            "Provides: mail-transport-agent\nConflicts: mail-transport-agent\n" \
            "Description: another\n"  # fmt: skip
    bare.check("mkdir", "-p", "/tmp/other/DEBIAN")
    bare.path("/tmp/other/DEBIAN/control").write_text(other)
    bare.check("dpkg-deb", "--build", "/tmp/other", "/tmp/debs/other-mta.deb")
    bare.call("sh", "-c", "dpkg --force-depends --purge $(dpkg-query -W -f "
              "'${Package} ${Provides}\\n' | awk '/mail-transport-agent/ { print $1 }')")  # fmt: skip
    install(bare, "other-mta")
    install(bare, "maildrain")
    refused = bare.call("dpkg", "--install", "/tmp/debs/maildrain-mta.deb")
    assert refused.returncode != 0 and "other-mta" in refused.stdout
    dpkg(bare, "--purge", "other-mta")
    install(bare, "maildrain-mta")
    bare.check("sendmail", "-f", "s@example.com", "a@example.net", stdin=b"Subject: x\n\ntext\n")
    assert "<a@example.net>" in bare.check("mailq")
    assert "no aliases" in bare.check("newaliases")
    assert bare.path("/usr/lib/sendmail").is_symlink()


