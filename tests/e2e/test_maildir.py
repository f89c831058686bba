"""A relay that is a Maildir of this host: what is delivered there, and that nothing is twice."""

from __future__ import annotations

import mailbox
import os
import re
import resource
import subprocess
from pathlib import Path
from typing import Any, List

import pytest
from lab import measure, repo
from lab.spool import Spool, unique_of

from e2e.relaying import (
    LETTER,
    about_relay,
    assert_deferred,
    assert_sent,
    assert_waiting,
    letter,
    make_due,
    results,
    run,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Maildir"


def aim(spool: Spool, folder: Path, **relay: Any) -> None:
    spool.write_config({}, url=f"maildir:{folder}", **relay)


def delivered(folder: Path) -> List[bytes]:
    return [path.read_bytes() for path in sorted((folder / "new").iterdir())]


def put_back(spool: Spool, name: str, fields: str = ",A=1") -> str:
    """As if a run had ended before it could record what has become of NAME."""
    path = spool.find(name)
    os.rename(path, spool.path / "new" / (unique_of(name) + fields))
    return name


# What is delivered


def test_a_message_as_a_reader_finds_it(spool: Spool, folder: Path) -> None:
    aim(spool, folder)
    text = (
        b"From: a@example.com\r\nTo: b@example.net\r\nBcc: c@example.net\r\nSubject: x\r\n\r\n"
        b".\n..\r\nbare\rFrom here\n\nl\xc3\xa4st"
    )
    name = letter(spool, "b@example.net", "c@example.net", text=text)
    events = results(run(spool))
    assert [event["reply"] for event in events] == ["250 2.0.0 Ok: delivered"] * 2
    assert_sent(spool, name)
    assert delivered(folder) == [
        b"Return-Path: <a@example.com>\n"
        b"Delivered-To: b@example.net\nDelivered-To: c@example.net\n"
        b"From: a@example.com\nTo: b@example.net\nSubject: x\n\n"
        b".\n..\nbare\nFrom here\n\nl\xc3\xa4st\n"
    ]
    (message,) = mailbox.Maildir(folder, create=False)
    assert message.get_subdir() == "new"
    assert message["Subject"] == "x" and message["Bcc"] is None
    assert message.get_all("Delivered-To") == ["b@example.net", "c@example.net"]


def test_the_null_sender(spool: Spool, folder: Path) -> None:
    aim(spool, folder)
    letter(spool, sender="")
    run(spool)
    assert delivered(folder)[0].startswith(b"Return-Path: <>\n")


def test_only_its_owner_reads_it(spool: Spool, folder: Path) -> None:
    """Whatever the umask of the run is, and mail is not executable."""
    aim(spool, folder)
    letter(spool)
    mask = os.umask(0)
    try:
        run(spool)
    finally:
        os.umask(mask)
    assert {path.name: path.stat().st_mode & 0o7777 for path in folder.iterdir()} == {
        "tmp": 0o700,
        "new": 0o700,
        "cur": 0o700,
    }
    assert [path.stat().st_mode & 0o7777 for path in (folder / "new").iterdir()] == [0o600]
    assert folder.stat().st_mode & 0o7777 == 0o700


def test_one_that_is_there_is_left_as_it_is(spool: Spool, folder: Path) -> None:
    other = mailbox.Maildir(folder)
    other.add(b"From: x@example.org\n\nmine\n")
    (folder / "cur").rmdir()
    folder.chmod(0o755)
    aim(spool, folder)
    letter(spool)
    run(spool)
    assert len(delivered(folder)) == 2 and (folder / "cur").is_dir()
    assert folder.stat().st_mode & 0o7777 == 0o755


def test_a_thousand_messages(spool: Spool, folder: Path) -> None:
    """With nothing but a folder at the other end."""
    aim(spool, folder)
    for n in range(1000):
        letter(spool, f"r{n}@example.net", text=LETTER.replace(b"text", b"text %d" % n))
    events = results(run(spool))
    assert len(events) == 1000 and {event["event"] for event in events} == {"sent"}
    texts = {message.get_payload() for message in mailbox.Maildir(folder, create=False)}
    assert texts == {f"text {n}\n" for n in range(1000)}
    assert list((folder / "tmp").iterdir()) == []
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 1000, "failed": 0}


# Once


def test_a_repeated_delivery_replaces(spool: Spool, folder: Path) -> None:
    aim(spool, folder)
    name = letter(spool)
    run(spool)
    (first,) = (folder / "new").iterdir()
    put_back(spool, name)
    run(spool)
    assert_sent(spool, name, 2)
    assert list((folder / "new").iterdir()) == [first]


def test_a_repeated_delivery_of_what_was_read_is_none(spool: Spool, folder: Path) -> None:
    """A reader has moved it to cur/, and given it flags."""
    aim(spool, folder)
    name = letter(spool)
    run(spool)
    box = mailbox.Maildir(folder, create=False)
    (key,) = box.keys()
    message = box[key]
    message.set_subdir("cur")
    message.add_flag("S")
    box[key] = message
    put_back(spool, name)
    run(spool)
    assert_sent(spool, name, 2)
    assert [path.name.rpartition(":")[2] for path in (folder / "cur").iterdir()] == ["2,S"]
    assert delivered(folder) == []


def test_one_that_was_read_does_not_hide_another(spool: Spool, folder: Path) -> None:
    aim(spool, folder)
    name = letter(spool)
    run(spool)
    (first,) = (folder / "new").iterdir()
    first.rename(folder / "cur" / f"{first.name}0:2,S")
    put_back(spool, name)
    run(spool)
    assert len(delivered(folder)) == 1


def test_other_recipients_are_another_delivery(spool: Spool, folder: Path) -> None:
    """The rest of a message that was delivered to some, as when it is sent in batches."""
    aim(spool, folder)
    name = letter(spool)
    run(spool)
    path = spool.find(name)
    text = path.read_bytes()
    path.write_bytes(
        text.replace(b"X-Maildrain-To: <b@example.net>", b"X-Maildrain-To: <c@example.net>")
    )
    put_back(spool, name)
    run(spool)
    found = re.findall(rb"Delivered-To: (.)", b"".join(delivered(folder)))
    assert sorted(found) == [b"b", b"c"]


def test_a_file_that_a_crash_has_left(spool: Spool, folder: Path) -> None:
    aim(spool, folder)
    name = letter(spool)
    run(spool)
    (first,) = (folder / "new").iterdir()
    text = first.read_bytes()
    first.rename(folder / "tmp" / first.name)
    (folder / "tmp" / first.name).write_bytes(b"half of it" * 1000)
    put_back(spool, name)
    run(spool)
    assert delivered(folder) == [text]
    assert list((folder / "tmp").iterdir()) == []


def test_a_long_name(spool: Spool, folder: Path) -> None:
    """Readers append to names, and two that are cut must not be taken for one."""
    aim(spool, folder)
    names = ["x" * 200 + end for end in "ab"]
    for name in names:
        spool.drop(LETTER, name, envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    found = [path.name for path in (folder / "new").iterdir()]
    assert len(found) == 2 and max(map(len, found)) <= 200


@pytest.mark.skipif(not measure.have_strace(), reason="strace is missing or may not trace")
def test_it_is_on_the_disk_before_it_is_sent(spool: Spool, folder: Path) -> None:
    aim(spool, folder)
    letter(spool)
    argv = [str(repo.plain_program()), *spool.argv("run")[1:]]
    calls = measure.trace(argv, ["fsync", "renameat", "openat", "renameat2"]).text
    steps = [
        rf'openat\((\d+), "\S+", O_WRONLY\|O_CREAT\|O_EXCL\S*, 0600\) = (\d+)',
        r"fsync\((\d+)\) += 0",
        r'renameat\((\d+), "[^"]+", (\d+), "[^"]+"\) = 0',
        r"fsync\((\d+)\) += 0",
        r'renameat2?\(\d+, "[^"]+", \d+, "[^"]+:2,S"',
    ]
    found = re.search(r".*?".join(steps), calls, re.S)
    assert found, calls
    _, file, synced_file, _, new, synced_folder = found.groups()
    assert synced_file == file and synced_folder == new


# What is in the way


def test_a_path_that_is_no_folder(spool: Spool, folder: Path) -> None:
    folder.write_text("")
    aim(spool, folder)
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-down"
    assert event["reply"] == f"{folder}: Not a directory"
    assert_waiting(spool, name)


def test_its_folder_is_made_but_not_those_above(spool: Spool, folder: Path) -> None:
    aim(spool, folder / "a" / "b")
    name = letter(spool)
    assert about_relay(run(spool, 75))[0]["reply"].endswith(": No such file or directory")
    assert_waiting(spool, name)
    assert not folder.exists()


def test_a_message_that_does_not_fit(spool: Spool, folder: Path) -> None:
    """The limit of a file's size stands in for a full disk: another message may still fit."""
    aim(spool, folder)
    large = letter(spool, text=LETTER + b"x" * 100_000)
    small = letter(spool)
    done = subprocess.run(
        spool.argv("run"),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    assert done.returncode == 0, done.stderr
    assert_deferred(spool, large, "4.2.2")
    assert_sent(spool, small)
    assert len(delivered(folder)) == 1 and list((folder / "tmp").iterdir()) == []
    make_due(spool, large)
    run(spool)
    assert_sent(spool, large, 2)
    assert len(delivered(folder)) == 2


@pytest.mark.skipif(not measure.have_strace(), reason="strace is missing or may not trace")
@pytest.mark.parametrize("when", [1, 2, 3])
def test_a_disk_that_fails(spool: Spool, folder: Path, when: int) -> None:
    """Its syncs: of the Maildir, of the file, of new/. Nothing is taken for delivered."""
    aim(spool, folder)
    name = letter(spool)
    argv = [str(repo.plain_program()), *spool.argv("run")[1:]]
    inject = ["-e", f"inject=fsync:error=EIO:when={when}"]
    done = measure.trace(argv, ["fsync"], options=inject)
    assert "Input/output error" in done.stderr
    place = spool.find(name)
    assert place.parent.name == "new"
    assert list((folder / "tmp").iterdir()) == []
    if when == 3:
        assert_deferred(spool, name, "4.2.0")
        make_due(spool, name)
    run(spool)
    assert_sent(spool, name, 2 if when == 3 else 1)
    assert len(delivered(folder)) == 1


def _places_in(spool: Spool) -> List[Path]:
    return [spool.path / "new", spool.path / "new" / "x", spool.path]


@pytest.mark.parametrize("which", range(3))
def test_a_spool_is_no_maildir(spool: Spool, folder: Path, which: int) -> None:
    """Also where a link leads there: what is delivered would be sent, for ever."""
    place = _places_in(spool)[which]
    link = folder.parent / "link"
    link.symlink_to(place.parent if which == 1 else place)
    aim(spool, link / "x" if which == 1 else link)
    name = letter(spool)
    before = sorted(os.listdir(spool.path / "new"))
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert event["reply"].endswith(": a spool can't be a Maildir to deliver to")
    assert sorted(os.listdir(spool.path / "new")) == before
    assert_waiting(spool, name)
    done = spool.command("verify")
    assert done.returncode == 78
    assert "a spool can't be a Maildir to deliver to" in done.stdout


def test_nor_are_its_folders_in_one(spool: Spool, folder: Path) -> None:
    folder.mkdir()
    (folder / "new").symlink_to(spool.path / "new")
    aim(spool, folder)
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert_waiting(spool, name)
    assert "a spool can't be a Maildir to deliver to" in verify(spool, 78)


# verify


def verify(spool: Spool, status: int) -> str:
    done = spool.command("verify")
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


def test_verify_makes_nothing(spool: Spool, folder: Path) -> None:
    aim(spool, folder)
    said = verify(spool, 0)
    assert f"  delivers into: {folder}\n" in said
    assert "the first message makes it" in said
    assert not folder.exists()
    letter(spool)
    run(spool)
    assert "the first message makes it" not in verify(spool, 0)


def test_verify_finds_what_is_in_the_way(spool: Spool, folder: Path) -> None:
    aim(spool, folder / "a")
    assert f"PROBLEM: {folder}/a: No such file or directory\n" in verify(spool, 73)
    folder.mkdir()
    verify(spool, 0)
    (folder / "a").write_text("")
    assert f"PROBLEM: {folder}/a: Not a directory\n" in verify(spool, 73)
    assert "ReadWritePaths=" in verify(spool, 73)
