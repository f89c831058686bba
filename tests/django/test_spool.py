"""The spool as Python sees it, held against what the program says of the same files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from lab import repo
from lab.spool import Spool as LabSpool
from maildrain import entry
from maildrain.entry import DEFERRED, FAILED, HELD, IN_FLIGHT, SENT, WAITING
from maildrain.spool import UNSENT, Denied, Gone, Record, Spool, SpoolError

LETTER = b"From: site@example.com\nTo: a@example.net\nSubject: hello\n\nHello.\n"
LATER = int(time.time()) + 3000
MADE = "1795333316.M724429P16122Q1.web1"

# Each in new/; what the program makes of them is what counts.
NAMES = [
    "plain",
    MADE,
    f"{MADE}-2,A=1",
    "1795333316.M7P16122Q1,A=1",
    "1795333316.M7P16122Q2.,A=1",
    "99999999999999999999.M1P2Q3.web1",
    "eml é.eml,A=1",
    f"far,T={LATER}",
    "past,T=5",
    f"zero,T=0,X={LATER},P=0",
    f"claimed,A=1,C=web-1-4242,T={LATER}",
    "claim-over,A=1,C=web1-4242,T=5",
    f"no-pid,A=1,C=web1,T={LATER}",
    f"pid-0,A=1,C=web1-0,T={LATER}",
    f"big-pid,A=1,C=web1-2147483648,T={LATER}",
    f"deferred,A=2,D=7,E=4.2.2,N=8,P=3,S=9,T={LATER}",
    f"disordered,T={LATER},A=2,E=4.2.2",
    f"kept-back,E=4.7.0,T={LATER}",
    "unmoved,A=1,E=2.0.0",
    "afresh,A=1,E=5.1.1",
    "long-status,A=1,E=4.1234.1",
    "twice,A=1,A=2,P=1,P=2,T=5,T=6",
    f"thrice,A=1,A=1,A=1,T={LATER},T={LATER},T={LATER}",
    "nearly-twice,A=foo,A=2,T=,T=7",
    "zeros,A=007,P=05,T=010",
    "signs,A=+1,P=-1,T= 5",
    "digits,A=١,P=٣",
    "large,A=1000000,T=9223372036854775808,X=9223372036854775807",
    "largest,A=999999",
    "keys,AA=1,a=1,=1,,A,B=A=1",
    "equals,A=1=2,T=5=6",
    "flags,A=3:2,S",
    "foreign-info:1,A=3",
    "empty-info:",
]


def program_says(lab: LabSpool) -> Dict[str, Dict[str, Any]]:
    done = lab.command("list", "--all", "--json")
    assert done.returncode == 0, done.stderr
    return {os.path.relpath(said["file"], lab.path): said for said in json.loads(done.stdout)}


def as_program(record: Record, now: float) -> Dict[str, Any]:
    known = record.entry
    claim = {"host": known.process[0], "pid": known.process[1], "until": known.not_before}
    is_open = record.state in (WAITING, DEFERRED)
    return {
        "id": record.id,
        "state": record.state,
        "made": known.birth,
        "attempts": known.attempts,
        "status": known.status or None,
        "priority": known.priority,
        "due": record.is_due(now),
        "next": known.not_before if is_open else None,
        "expires": known.expires,
        "claim": claim if known.claim else None,
        "warned": known.delayed,
        "untold": known.notify,
    }


def test_names_mean_what_the_program_says(make_spool: Callable[..., LabSpool]) -> None:
    lab = make_spool()
    for name in NAMES:
        lab.drop(LETTER, name)
    (lab.path / "cur" / "gone,A=1:2,S").write_bytes(LETTER)
    (lab.path / "failed" / "given-up,A=9,E=5.4.7").write_bytes(LETTER)
    now = time.time()
    said = program_says(lab)
    seen = {
        f"{record.folder}/{record.entry.name}": as_program(record, now)
        for folder in ("new", "failed", "cur")
        for record in Spool(lab.path).records(folder, now)
    }
    assert seen.keys() == said.keys() and len(seen) == len(NAMES) + 2
    for path, ours in seen.items():
        theirs = said[path]
        assert ours == {key: theirs[key] for key in ours}, path


@pytest.mark.parametrize(
    "name", ["", ".", ".X", ",A=1", ":2,S", "X\n", "X,A=\x7f", "X:2,\t", "a/b"]
)
def test_what_is_no_name(name: str) -> None:
    assert entry.parse(name) is None


def test_too_long_is_no_name() -> None:
    assert entry.parse("é" * 127) is not None
    assert entry.parse("é" * 128) is None


def test_order_and_counts_are_the_programs(make_spool: Callable[..., LabSpool]) -> None:
    lab = make_spool()
    for name in [*NAMES, "b,P=0", "a,A=1,P=0", "a,P=9", "a-first,P=0"]:
        lab.drop(LETTER, name)
    survey, listed = Spool(lab.path).look(UNSENT, 1000)
    shown = json.loads(lab.command("list", "--json").stdout)
    assert [record.id for record in listed] == [said["id"] for said in shown]
    status = json.loads(lab.command("status", "--json").stdout)
    for state, tally in status["states"].items():
        ours = survey.states[state]
        assert (ours.count, ours.oldest) == (tally["count"], tally["oldest"])
    assert (survey.due.count, survey.due.oldest) == tuple(
        status["due"][key] for key in ("count", "oldest")
    )
    assert (survey.due_since, survey.next) == (status["due_since"], status["next"])
    assert survey.scheduled == 1  # "far"


@pytest.mark.parametrize(
    "name, then",
    [
        (f"X,A=2,E=4.2.2,T={LATER}", "X,A=2,E=4.2.2"),
        (f"X,T={LATER},S=1,A=2", "X,A=2,S=1"),
        (f"X,T={LATER}:2,F", "X:2,F"),
        (f"X,PP=1,P=1,PA=1,T={LATER}", "X,P=1,PA=1,PP=1"),
        (f"X,T=foo,T={LATER}", "X,T=foo"),
        ("X,T=5,T=5", "X,T=5,T=5"),
    ],
)
def test_due_at_once(name: str, then: str) -> None:
    parsed = entry.parse(name)
    assert parsed and parsed.due_at_once() == then


def put(path: Path, name: str, content: bytes = LETTER) -> Path:
    (path / name).write_bytes(content)
    return path / name


@pytest.fixture
def site(spool_path: Path) -> Spool:
    return Spool(spool_path)


def one(spool: Spool, id: str = "X") -> Record:
    [record] = spool.find([id])
    return record


def test_links_and_folders_are_not_seen(site: Spool, spool_path: Path) -> None:
    outside = put(spool_path, "secret")
    (spool_path / "new" / "link").symlink_to(outside)
    (spool_path / "new" / "folder").mkdir()
    os.mkfifo(spool_path / "new" / "pipe")
    assert site.survey().states[WAITING].count == 0
    assert site.find(["link", "folder", "pipe"]) == []


def test_a_file_that_became_a_link_is_not_followed(site: Spool, spool_path: Path) -> None:
    file = put(spool_path, "new/X")
    record = one(site)
    file.unlink()
    file.symlink_to(put(spool_path, "secret"))
    with pytest.raises(SpoolError, match="can't be opened"):
        site.read(record, 10)


def test_a_file_with_two_links_is_not_read(site: Spool, spool_path: Path) -> None:
    os.link(put(spool_path, "secret"), spool_path / "new" / "X")
    with pytest.raises(SpoolError, match="several hard links"):
        site.read(one(site), 10)


def test_a_pipe_does_not_block(site: Spool, spool_path: Path) -> None:
    file = put(spool_path, "new/X")
    record = one(site)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(SpoolError, match="no regular file"):
        site.read(record, 10)


def test_a_folder_that_is_a_link_is_not_followed(site: Spool, spool_path: Path) -> None:
    put(spool_path, "new/X")
    (spool_path / "hold").symlink_to(spool_path / "new")
    with pytest.raises(SpoolError, match="can't be opened"):
        site.survey()


def test_reading_is_bounded(site: Spool, spool_path: Path) -> None:
    put(spool_path, "new/X", b"a" * 1000)
    data, status = site.read(one(site), 10)
    assert (data, status.st_size) == (b"a" * 10, 1000)


def test_listing_is_bounded_and_in_order(site: Spool, spool_path: Path) -> None:
    for number in range(30):
        put(spool_path, f"failed/{number:03},A=1,E=5.0.0")
        put(spool_path, f"cur/{number:03},A=1:2,S")
        put(spool_path, f"new/new{number:03}")
    _, listed = site.look((WAITING, FAILED), 40)
    assert [record.id for record in listed] == [
        *(f"new{number:03}" for number in range(30)),
        *(f"{number:03}" for number in range(29, 19, -1)),
    ]
    survey, listed = site.look((SENT,), 2)
    assert [record.id for record in listed] == ["029", "028"]
    assert [survey.states[state].count for state in (WAITING, FAILED, SENT)] == [30, 30, 30]


def test_look_opens_no_file(site: Spool, spool_path: Path) -> None:
    put(spool_path, "new/X").chmod(0)
    put(spool_path, "cur/Y,A=1:2,S").chmod(0)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from maildrain.spool import Spool\n"
        "sys.addaudithook(lambda event, args: event == 'open' and print(args[0]))\n"
        "Spool(sys.argv[2]).look(('waiting', 'sent'), 50)\n"
    )
    argv = [sys.executable, "-c", script, str(repo.DJANGO_SOURCE), str(spool_path)]
    opened = subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
    assert opened == [str(spool_path / name) for name in ("new", "hold", "failed", "cur")]


# ---- changes ----


def names(path: Path) -> List[str]:
    return sorted(
        f"{folder.name}/{file.name}"
        for folder in path.iterdir()
        if folder.is_dir()
        for file in folder.iterdir()
    )


def test_retry_makes_due(site: Spool, spool_path: Path) -> None:
    put(spool_path, f"new/X,A=2,E=4.2.2,T={LATER}")
    site.retry(one(site))
    assert names(spool_path) == ["new/X,A=2,E=4.2.2"]


def test_retry_queues_failed_mail_as_the_program_reads_it(
    make_spool: Callable[..., LabSpool], aio_server: Callable[..., Any]
) -> None:
    """The next run starts it afresh: the name keeps its E, as mv would."""
    lab, server = make_spool(), aio_server()
    lab.write_config({}, url=server.url, tls="none")
    put(lab.path, "failed/X,A=3,E=5.1.1")
    site = Spool(lab.path)
    site.retry(one(site))
    assert lab.run().returncode == 0
    assert len(server.messages) == 1
    assert one(site).entry.name == "X,A=1:2,S"


def test_hold_and_release(site: Spool, spool_path: Path) -> None:
    name = f"X,A=2,E=4.2.2,T={LATER}"
    put(spool_path, f"new/{name}")
    site.hold(one(site))
    assert names(spool_path) == [f"hold/{name}"]
    assert one(site).state == HELD
    assert (spool_path / "hold").stat().st_mode & 0o7777 == 0o3770
    site.release(one(site))
    assert names(spool_path) == [f"new/{name}"]
    assert one(site).state == DEFERRED


def test_what_is_on_hold_is_not_sent(make_spool: Callable[..., LabSpool]) -> None:
    lab = make_spool()
    lab.drop(LETTER, "X")
    lab.drop(LETTER, f"Y,A=1,E=4.2.2,T={LATER}")
    site = Spool(lab.path)
    for id in "XY":
        site.hold(one(site, id))
    done = lab.run("--dry-run")
    assert (done.returncode, done.stdout + done.stderr) == (0, ""), done
    assert lab.command("verify").stdout.count("PROBLEM") == 1, "the relay's, which is not there"


def test_cancel(site: Spool, spool_path: Path) -> None:
    put(spool_path, "new/X")
    put(spool_path, "new/XX")
    site.cancel(one(site))
    assert names(spool_path) == ["new/XX"]


@pytest.mark.parametrize("action", ["retry", "hold", "cancel"])
def test_what_the_sender_has_just_claimed_stays(
    site: Spool, spool_path: Path, action: str
) -> None:
    file = put(spool_path, f"new/X,T={LATER}")
    record = one(site)
    file.rename(spool_path / "new" / f"X,A=1,C=web1-7,T={LATER}")
    with pytest.raises(Gone, match="a run of the sender has just taken it up"):
        getattr(site, action)(record)
    assert names(spool_path) == [f"new/X,A=1,C=web1-7,T={LATER}"]


@pytest.mark.parametrize(
    "file, state",
    [
        (f"new/X,A=1,C=web1-7,T={LATER}", IN_FLIGHT),
        ("new/X,A=1,C=web1-7,T=5", DEFERRED),
        ("new/X,A=1,E=2.0.0", SENT),
        ("cur/X,A=1:2,S", SENT),
        ("failed/20261122-073928-140544865626256.log,A=0,E=5.6.0", FAILED),
    ],
)
@pytest.mark.parametrize("action", ["retry", "hold", "release", "cancel"])
def test_what_is_claimed_sent_or_no_message_is_left_alone(
    site: Spool, spool_path: Path, file: str, state: str, action: str
) -> None:
    path = put(spool_path, file)
    record = one(site, path.name.split(",")[0])
    assert record.state == state
    assert not site.may(action, record)
    with pytest.raises(SpoolError):
        getattr(site, action)(record)
    assert names(spool_path) == [file]


def test_no_file_is_overwritten(site: Spool, spool_path: Path) -> None:
    put(spool_path, f"new/X,T={LATER}", b"one")
    record = one(site)
    put(spool_path, "new/X", b"other")
    with pytest.raises(SpoolError, match="there already"):
        site.retry(record)
    assert names(spool_path) == ["new/X", f"new/X,T={LATER}"]


def test_no_spool(tmp_path: Path) -> None:
    with pytest.raises(SpoolError) as caught:
        Spool(tmp_path / "none").survey()
    assert caught.value.command == f"sudo maildrain init {tmp_path / 'none'}"


@pytest.mark.parametrize("action", ["retry", "hold", "release", "cancel"])
def test_the_command_for_an_action_does_it(
    site: Spool, spool_path: Path, action: str
) -> None:
    """Taken as it is shown, but for sudo."""
    folder = "hold" if action == "release" else "new"
    (spool_path / folder).mkdir(exist_ok=True)
    put(spool_path, f"{folder}/it's X,T={LATER}")
    command = site.command(action, one(site, "it's X"))
    assert command.startswith("sudo -u ")
    subprocess.run(["sh", "-ec", f'sudo() {{ shift 2; "$@"; }}; {command}'], check=True)
    left = {
        "retry": ["new/it's X"],
        "hold": [f"hold/it's X,T={LATER}"],
        "release": [f"new/it's X,T={LATER}"],
        "cancel": [],
    }
    assert names(spool_path) == left[action]


def test_the_command_for_the_spool_of_the_package() -> None:
    parsed = entry.parse("X,A=1,E=5.1.1")
    assert parsed
    record = Record("failed", parsed, FAILED)
    assert Spool("/var/spool/maildrain").command("retry", record) == "sudo maildrain retry X"


def test_missing_rights_name_the_command(home: Path) -> None:
    """As a user outside the group; then inside of it, with a file of the sender's."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    spool_path = home / "spool"
    for name in ("", "tmp", "new", "cur", "failed"):
        (spool_path / name).mkdir()
        (spool_path / name).chmod(0o3770 if name in ("", "tmp", "new") else 0o2750)
        os.chown(spool_path / name, 0, 8)
    mine = put(spool_path, f"new/mine,T={LATER}")
    os.chown(mine, 33, 8)
    for file in (f"new/theirs,T={LATER}", "failed/given-up,A=1,E=5.1.1"):
        put(spool_path, file).chmod(0o640)

    def outside() -> None:
        with pytest.raises(Denied) as caught:
            Spool(spool_path).survey()
        assert caught.value.command == "sudo usermod -aG mail www-data"

    def inside() -> None:
        site = Spool(spool_path)
        assert site.survey().states[WAITING].count == 2
        site.hold(one(site, "mine"))
        site.release(one(site, "mine"))
        site.retry(one(site, "mine"))
        for action, id in (("hold", "theirs"), ("retry", "given-up"), ("cancel", "given-up")):
            record = one(site, id)
            with pytest.raises(Denied) as caught:
                getattr(site, action)(record)
            assert caught.value.command == site.command(action, record)
            assert caught.value.command.startswith("sudo -u root ")

    as_user(33, 33, [33], outside)
    as_user(33, 33, [8], inside)
    assert names(spool_path) == [
        "failed/given-up,A=1,E=5.1.1", "new/mine", f"new/theirs,T={LATER}",
    ]  # fmt: skip


def as_user(uid: int, gid: int, groups: List[int], call: Callable[[], None]) -> None:
    """Calls it in a child that has become this user; fails when it does."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups(groups)
            os.setgid(gid)
            os.setuid(uid)
            call()
            status = 0
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
