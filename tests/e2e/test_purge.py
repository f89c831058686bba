"""What is sent goes after a while: by `maildrain purge`, and by a run that does not read cur/ each
time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

import pytest

from faults.world import Clock, plain_argv, run_at
from lab.faultserver import FaultServer
from lab.measure import Trace, have_strace, trace
from lab.spool import Spool
from relaying import aim, letter

Done = "subprocess.CompletedProcess[str]"

needs_clock = pytest.mark.skipif(bool(Clock.why_not()), reason=Clock.why_not())
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")
needs_strace = pytest.mark.skipif(not have_strace(), reason="needs strace")

DAY = 86400
OWNER, GROUP, MEMBER = 61431, 61430, 61433
LAST = re.compile(r"(\d+) messages?, (\d+) bytes, removed from (\S+)$")
DUMP = "20251122-101112-1234.log,E=5.6.0,O=335"


def fill(spool: Spool) -> Dict[str, List[str]]:
    """Messages in each place; by their names all but one are old."""
    names = {
        "tmp": ["1.M1P1Q1.h"],
        "new": ["1.M2P1Q1.h", "1.M3P1Q1.h,A=1,E=4.2.1,T=5", "1.M4P1Q1.h,A=1,E=2.0.0"],
        "cur": ["1.M5P1Q1.h,A=1:2,S", "letter.eml,A=2:2,RS", f"{int(time.time())}.M6P1Q1.h:2,S"],
        "failed": ["1.M7P1Q1.h,A=1,E=5.1.1", DUMP],
    }
    for place, made in names.items():
        for name in made:
            (spool.path / place / name).write_bytes(b"x" * 100)
    for place in ("cur", "failed"):
        (spool.path / place / "folder").mkdir()
        (spool.path / place / ".hidden").write_bytes(b"")
        (spool.path / place / "1.M8P1Q1.h:2,S").symlink_to("/etc/passwd")
    return names


def look(spool: Spool) -> Dict[str, Tuple[int, ...]]:
    stats = ((path, path.lstat()) for path in [spool.path, *sorted(spool.path.rglob("*"))])
    return {
        str(path): (st.st_ino, st.st_mode, st.st_size, st.st_nlink, st.st_mtime_ns, st.st_ctime_ns)
        for path, st in stats
    }


def purge(spool: Spool, *args: str, clock: Optional[Clock] = None, status: int = 0) -> Done:
    """By the true clock, or by another."""
    if clock is None:
        done = spool.command("purge", *args)
    else:
        done = subprocess.run(
            plain_argv(spool, "purge", *args), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, env={**os.environ, **clock.env()}, timeout=60,
        )  # fmt: skip
    assert done.returncode == status, done
    return done


def went(done: Done) -> Tuple[int, int, str]:
    """How many messages and bytes went, and from where: the last line."""
    match = LAST.search(done.stdout.splitlines()[-1])
    assert match, done
    return int(match[1]), int(match[2]), os.path.basename(match[3])


def regular(spool: Spool, place: str) -> List[str]:
    """The messages in PLACE."""
    return sorted(
        entry.name
        for entry in os.scandir(spool.path / place)
        if entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
    )


# The command


def test_young_mail_stays(spool: Spool) -> None:
    fill(spool)
    before = look(spool)
    assert went(purge(spool)) == (0, 0, "cur")
    assert went(purge(spool, "--older-than", "1h")) == (0, 0, "cur")
    assert went(purge(spool, "--failed", "--older-than", "1h")) == (0, 0, "failed")
    assert look(spool) == before


def test_all_that_is_sent(spool: Spool) -> None:
    """What is no message of ours stays, and so does all that is not sent."""
    names = fill(spool)
    done = purge(spool, "--older-than", "0")
    assert went(done) == (3, 300, "cur") and len(done.stdout.splitlines()) == 1
    assert regular(spool, "cur") == []
    assert sorted(os.listdir(spool.path / "cur")) == [".hidden", "1.M8P1Q1.h:2,S", "folder"]
    assert {place: regular(spool, place) for place in ("tmp", "new", "failed")} == {
        place: sorted(names[place]) for place in ("tmp", "new", "failed")
    }


def test_all_that_has_failed(spool: Spool) -> None:
    names = fill(spool)
    assert went(purge(spool, "--failed", "--older-than", "0s")) == (2, 200, "failed")
    assert regular(spool, "failed") == []
    assert {place: regular(spool, place) for place in ("tmp", "new", "cur")} == {
        place: sorted(names[place]) for place in ("tmp", "new", "cur")
    }


@needs_clock
def test_by_the_configuration(spool: Spool, tmp_path: Path) -> None:
    spool.write_config({"keep_sent": "3d"}, url="smtp://127.0.0.1:1", tls="none")
    fill(spool)
    assert went(purge(spool, clock=Clock(tmp_path, 3 * DAY - 60))) == (0, 0, "cur")
    assert went(purge(spool, clock=Clock(tmp_path, 3 * DAY + 60))) == (3, 300, "cur")


@needs_clock
@pytest.mark.parametrize("options", [[], ["--failed"]], ids=["sent", "failed"])
def test_by_age(spool: Spool, tmp_path: Path, options: List[str]) -> None:
    """Of the time in cur/ or failed/, not that in the name; the configuration does not matter."""
    fill(spool)
    count = 2 if options else 3
    for ahead, age, gone in ((600, "20m", 0), (600, "5m", count)):
        done = purge(spool, *options, "--older-than", age, clock=Clock(tmp_path, ahead))
        assert went(done)[:2] == (gone, gone * 100)
    assert regular(spool, options[0][2:] if options else "cur") == []


@needs_clock
def test_the_name_of_one_that_is_young_is_enough(spool: Spool, tmp_path: Path) -> None:
    """However its file may look."""
    (spool.path / "cur" / f"{int(time.time()) + 2 * DAY}.M1P1Q1.h:2,S").write_bytes(b"x")
    assert went(purge(spool, "--older-than", "1h", clock=Clock(tmp_path, DAY))) == (0, 0, "cur")
    assert went(purge(spool, "--older-than", "1h", clock=Clock(tmp_path, 3 * DAY))) == (1, 1, "cur")


@pytest.mark.parametrize("options", [[], ["--failed"]], ids=["sent", "failed"])
def test_a_dry_run_changes_nothing(spool: Spool, options: List[str]) -> None:
    """It has a line for each message, and counts as the real one does."""
    names = fill(spool)
    before = look(spool)
    dry = purge(spool, *options, "--older-than", "0", "--dry-run")
    assert look(spool) == before
    lines = dry.stdout.splitlines()[:-1]
    place = "failed" if options else "cur"
    assert sorted(line.split()[0] for line in lines) == sorted(names[place])
    assert all(re.search(r" \d+s ago, 100 bytes$", line) for line in lines)
    assert "nothing is changed" in dry.stdout
    assert went(dry) == went(purge(spool, *options, "--older-than", "0"))


@pytest.mark.parametrize(
    "args",
    [["10"], ["--failed"], ["--older-than"], ["--older-than", "x"], ["--older-than", "5"], ["-a"]],
    ids=" ".join,
)
def test_usage(spool: Spool, args: List[str]) -> None:
    fill(spool)
    before = look(spool)
    done = spool.command("purge", *args)
    assert done.returncode == 64 and done.stdout == "" and "--help" in done.stderr
    assert look(spool) == before


@needs_strace
@pytest.mark.parametrize(("error", "status"), [("EIO", 74), ("EACCES", 77), ("EPERM", 77)])
def test_what_can_not_be_removed_is_told(spool: Spool, error: str, status: int) -> None:
    """And holds up nothing else."""
    fill(spool)
    options = ("-e", f"inject=unlinkat:error={error}:when=1..2")
    argv = spool.argv("purge", "--older-than", "0")
    done = trace(argv, ("unlinkat",), options=options)
    assert done.returncode == status
    assert re.search(r"can't remove \S+/cur/\S+: .*, and 1 more there\n$", done.stderr)
    assert LAST.search(done.stdout.strip()).groups()[:2] == ("1", "100")  # type: ignore[union-attr]
    assert len(regular(spool, "cur")) == 2


@needs_strace
def test_somebody_else_was_first(spool: Spool) -> None:
    fill(spool)
    options = ("-e", "inject=unlinkat:error=ENOENT:when=1")
    done = trace(spool.argv("purge", "--older-than", "0"), ("unlinkat",), options=options)
    assert done.returncode == 0 and done.stderr == ""
    assert LAST.search(done.stdout.strip()).groups()[:2] == ("2", "200")  # type: ignore[union-attr]


# Who may


@pytest.fixture
def owned() -> Iterator[Spool]:
    """A spool of OWNER's where every user can get to."""
    home = Path(tempfile.mkdtemp(prefix="maildrain-purge-"))
    home.chmod(0o755)
    made = Spool(home)
    fill(made)
    for path in (made.path, *made.path.rglob("*")):
        mode = path.lstat().st_mode & 0o7777
        os.chown(path, OWNER, GROUP, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(mode)
    yield made
    shutil.rmtree(home)


def as_user(uid: int, argv: List[str]) -> Done:
    become = ["setpriv", f"--reuid={uid}", f"--regid={GROUP}", "--clear-groups"]
    return subprocess.run(
        [*become, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


@needs_root
def test_a_member_is_told_as_whom_to_call(owned: Spool) -> None:
    before = look(owned)
    done = as_user(MEMBER, owned.argv("purge", "--older-than", "0"))
    assert done.returncode == 77 and f"sudo -u '#{OWNER}' maildrain purge" in done.stderr
    done = as_user(MEMBER, owned.argv("purge", "--older-than", "0", "--dry-run"))
    assert done.returncode == 0 and went(done) == (3, 300, "cur")
    assert look(owned) == before


@needs_root
def test_the_owner_may(owned: Spool) -> None:
    assert went(as_user(OWNER, owned.argv("purge", "--older-than", "0"))) == (3, 300, "cur")


@needs_root
@needs_strace
def test_root_becomes_the_owner(owned: Spool) -> None:
    done = trace(owned.argv("purge", "--older-than", "0"))
    assert done.returncode == 0 and regular(owned, "cur") == []
    (opened,) = re.finditer(rf'openat\(AT_FDCWD[^"]*"{owned.path}"', done.text)
    for call in ("setgroups(", f"setgid({GROUP})", f"setuid({OWNER})"):
        assert done.text.index(call) < opened.start()


# A run


def reads_cur(done: Trace) -> bool:
    """Whether a run has looked through cur/."""
    assert done.returncode == 0, done.stderr
    return bool(done.lines(r'openat\(\d+<[^>]*/cur>, "\."'))


def traced_run(spool: Spool) -> Trace:
    return trace(spool.argv("run"), ("openat",), options=("-y",))


def note_purge(spool: Spool, then: int) -> None:
    """Lets the last purge of a run with results have been THEN."""
    for path in (spool.path / "state").glob("purge*"):
        path.unlink()
    (spool.path / "state" / f"purge,T={then}").touch()


@needs_strace
def test_a_run_reads_cur_once_in_ten_minutes(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    aim(spool, fault_server())
    seen = []
    for past in (None, None, 500, 610, -100, None):
        if past is not None:
            note_purge(spool, int(time.time()) - past)
        letter(spool)
        seen.append(reads_cur(traced_run(spool)))
    assert seen == [True, False, False, True, True, False]
    (record,) = (path.name for path in (spool.path / "state").glob("purge*"))
    assert 0 <= int(time.time()) - int(record.partition(",T=")[2]) < 30


@needs_strace
@pytest.mark.parametrize(
    ("keep", "past", "due"), [("5m", 200, False), ("5m", 400, True), ("0", 0, True)]
)
def test_what_is_kept_for_less_goes_sooner(
    spool: Spool, fault_server: Callable[..., FaultServer], keep: str, past: int, due: bool
) -> None:
    aim(spool, fault_server(), {"keep_sent": keep})
    note_purge(spool, int(time.time()) - past)
    letter(spool)
    assert reads_cur(traced_run(spool)) == due


@needs_clock
def test_a_run_removes_what_is_old(
    spool: Spool, fault_server: Callable[..., FaultServer], tmp_path: Path
) -> None:
    aim(spool, fault_server(), {"keep_sent": "1d"})
    fill(spool)
    for name in regular(spool, "new"):
        (spool.path / "new" / name).unlink()
    first = letter(spool)
    assert run_at(spool, Clock(tmp_path, 2 * DAY)).returncode == 0
    # All but what is young by its name, and that whose file has just been moved by the true clock.
    assert regular(spool, "cur") == []
    assert spool.counts()["failed"] > 0 and not (spool.path / "cur" / first).exists()


@needs_clock
@pytest.mark.parametrize(("second", "removed"), [(5, True), (55, True), (65, False), (595, False)])
def test_a_run_without_results_goes_by_the_clock_and_writes_nothing(
    spool: Spool, tmp_path: Path, second: int, removed: bool
) -> None:
    (spool.path / "cur" / "1.M1P1Q1.h,A=1:2,S").write_bytes(b"x")
    now = int(time.time())
    start = now - now % 600 + 30 * DAY
    assert run_at(spool, Clock(tmp_path, start + second - now)).returncode == 0
    assert (regular(spool, "cur") == []) == removed
    assert os.listdir(spool.path / "state") == []


@needs_strace
def test_a_purge_that_fails_is_not_noted(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    aim(spool, fault_server(), {"keep_sent": "1s"})
    (spool.path / "cur" / "1.M1P1Q1.h,A=1:2,S").write_bytes(b"x")
    time.sleep(2.1)
    letter(spool)
    options = ("-e", "inject=unlinkat:error=EIO")
    done = trace(spool.argv("run"), ("unlinkat",), options=options)
    assert done.returncode == 74 and "can't remove" in done.stderr
    assert not list((spool.path / "state").glob("purge*"))
    letter(spool)
    assert spool.run().returncode == 0
    assert "1.M1P1Q1.h,A=1:2,S" not in regular(spool, "cur")


def test_a_spool_without_state_gets_it(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """It was made by an older release."""
    (spool.path / "state").rmdir()
    aim(spool, fault_server())
    letter(spool)
    assert spool.run().returncode == 0
    assert len(list((spool.path / "state").glob("purge,T=*"))) == 1
