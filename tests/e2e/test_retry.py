"""`maildrain retry`: which messages it means, what becomes of them, and what it leaves alone."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import pytest

from relaying import LETTER, aim, letters
from lab import logfmt, repo
from lab.faultactions import Delay
from lab.faultserver import FaultServer
from lab.measure import have_strace, measure, trace
from lab.spool import DIRECTORIES, Spool, envelope_block, fields_of, unique_of

Servers = Callable[..., FaultServer]
Done = "subprocess.CompletedProcess[str]"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become other users")
needs_strace = pytest.mark.skipif(not have_strace(), reason="needs strace")

HOUR, DAY = 3600, 86400
OWNER, GROUP, MEMBER, STRANGER = 61331, 61330, 61333, 61334
DUMP = "20251122-101112-1234.log,E=5.6.0,O=335"
COUNTS = re.compile(r"(\d+) queued again, (\d+) made due, (\d+) left alone$")


def put(
    spool: Spool,
    place: str,
    name: str,
    sender: str = "a@example.com",
    to: Sequence[str] = ("b@example.net",),
    lines: bytes = b"",
    text: bytes = LETTER,
) -> str:
    """A message in PLACE, with LINES behind the envelope lines."""
    path = spool.path / place / name
    path.write_bytes(envelope_block(sender, to) + lines + text)
    path.chmod(0o640)
    return name


def failed_line(address: str, words: str = "550 5.1.1 Unknown") -> bytes:
    return f"X-Maildrain-Failed: <{address}> {words}\n".encode()


def later(seconds: int = HOUR) -> int:
    return int(time.time()) + seconds


def birth(age: int, number: int = 1) -> str:
    """UNIQUE of a message that was made AGE seconds ago."""
    return f"{int(time.time()) - age}.M{number:06}P1Q1.h"


def retry(spool: Spool, *args: str, status: int = 0) -> Done:
    done = spool.command("retry", *args)
    assert done.returncode == status, done
    # What measures coverage can't write its files as another user, and says so.
    said = [line for line in done.stderr.splitlines() if not line.startswith("profiling:")]
    assert (said == []) == (status == 0), done
    return done


def counts(done: Done) -> Tuple[int, ...]:
    """Queued again, made due, left alone: the last line."""
    match = COUNTS.search(done.stdout.splitlines()[-1])
    assert match, done
    return tuple(map(int, match.groups()))


def where(spool: Spool) -> Dict[str, str]:
    """PLACE/NAME of each message by its id; fails when one is in two places."""
    found: Dict[str, str] = {}
    for place in DIRECTORIES:
        for name in os.listdir(spool.path / place):
            assert unique_of(name) not in found, (name, found)
            found[unique_of(name)] = f"{place}/{name}"
    return found


def look(spool: Spool) -> Dict[str, Tuple[int, ...]]:
    """All that a change would show in, of each file and directory."""
    paths = [spool.path, *sorted(spool.path.rglob("*"))]
    stats = ((path, path.lstat()) for path in paths)
    return {
        str(path): (st.st_ino, st.st_mode, st.st_size, st.st_nlink, st.st_mtime_ns, st.st_ctime_ns)
        for path, st in stats
    }


# By id


def test_a_failed_message_by_its_id(spool: Spool, fault_server: Servers) -> None:
    """The whole way: what was failed for some of its recipients is sent to just those."""
    name = put(
        spool, "failed", "1000.M1P1Q1.h,A=3,E=5.1.1", to=(),
        lines=b"X-Maildrain-Done: <c@example.net> 250 Ok\n" + failed_line("b@example.net"),
    )  # fmt: skip
    done = retry(spool, "1000.M1P1Q1.h")
    assert done.stdout.splitlines() == [
        "1000.M1P1Q1.h failed 5.1.1 -> <b@example.net>",
        "1 queued again, 0 made due, 0 left alone",
    ]
    assert spool.ls()["new"] == [name] and not spool.ls()["failed"]
    server = fault_server()
    aim(spool, server)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "1"})
    assert [message.recipients for message in server.messages] == [("b@example.net",)]
    server.check()


def test_a_deferred_message_by_its_id(spool: Spool, fault_server: Servers) -> None:
    name = put(spool, "new", f"1000.M1P1Q1.h,A=2,E=4.2.1,P=1,T={later()}")
    done = retry(spool, "1000.M1P1Q1.h")
    assert done.stdout.splitlines()[0] == "1000.M1P1Q1.h deferred 4.2.1 -> <b@example.net>"
    assert counts(done) == (0, 1, 0)
    assert spool.ls()["new"] == ["1000.M1P1Q1.h,A=2,E=4.2.1,P=1"]
    aim(spool, fault_server())
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "3"})


def test_ids_may_be_short_and_several(spool: Spool) -> None:
    for number in range(4):
        put(spool, "failed", f"1{number}.M1P1Q1.h,A=1,E=5.1.1")
    put(spool, "new", f"20.M1P1Q1.h,A=1,E=4.2.1,T={later()}")
    assert counts(retry(spool, "10", "13.M1P1Q1.h,A=1,E=5.1.1", "20.")) == (2, 1, 0)
    assert spool.ls()["failed"] == [f"1{number}.M1P1Q1.h,A=1,E=5.1.1" for number in (1, 2)]


@pytest.mark.parametrize(("id", "said"), [("99", "no message 99"), ("1", "2 messages")])
def test_an_id_of_none_or_several(spool: Spool, id: str, said: str) -> None:
    """The others are seen to all the same."""
    for number in (10, 11, 20):
        put(spool, "failed", f"{number}.M1P1Q1.h,A=1,E=5.1.1")
    done = retry(spool, id, "20", status=65)
    assert said in done.stderr and counts(done) == (1, 0, 0)
    assert spool.ls()["new"] == ["20.M1P1Q1.h,A=1,E=5.1.1"]


def test_one_that_waits_for_its_own_time_by_its_id(spool: Spool) -> None:
    put(spool, "new", f"10.M1P1Q1.h,P=3,T={later()}")
    assert counts(retry(spool, "--all")) == (0, 0, 0)
    done = retry(spool, "10")
    assert done.stdout.startswith("10.M1P1Q1.h waiting -> ") and counts(done) == (0, 1, 0)
    assert spool.ls()["new"] == ["10.M1P1Q1.h,P=3"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("10.M1P1Q1.h,A=2,C=other-7,E=4.2.1,T=4102444800", "in flight 4.2.1, left alone: a run"),
        ("10.M1P1Q1.h,A=1,C=other-7,T=5", "in flight, left alone: a run"),
        ("10.M1P1Q1.h,A=2,E=4.2.1", "deferred 4.2.1, left alone: it is due"),
        ("10.M1P1Q1.h,A=2,E=4.2.1,T=5", "deferred 4.2.1, left alone: it is due"),
        ("10.M1P1Q1.h", "waiting, left alone: it is due"),
    ],
)
def test_left_alone_by_its_id(spool: Spool, name: str, said: str) -> None:
    put(spool, "new", name)
    before = look(spool)
    done = retry(spool, "10")
    assert said in done.stdout and counts(done) == (0, 0, 1)
    assert look(spool) == before


@pytest.mark.parametrize(
    ("place", "name", "said"),
    [
        ("cur", "10.M1P1Q1.h,A=1:2,S", "is sent"),
        ("new", "10.M1P1Q1.h,A=1,E=2.0.0", "is sent"),
        ("failed", DUMP, "without E="),
    ],
)
def test_refused_by_its_id(spool: Spool, place: str, name: str, said: str) -> None:
    put(spool, place, name)
    before = look(spool)
    done = retry(spool, unique_of(name), status=65)
    assert said in done.stderr and name in done.stderr and counts(done) == (0, 0, 0)
    assert look(spool) == before


def test_what_is_no_file_of_ours_is_refused_by_its_id(spool: Spool, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(LETTER)
    (spool.path / "failed" / "10.M1P1Q1.h,A=1,E=5.1.1").symlink_to(secret)
    os.link(secret, spool.path / "failed" / "11.M1P1Q1.h,A=1,E=5.1.1")
    before = look(spool)
    done = retry(spool, "10", "11", status=65)
    assert "symbolic link" in done.stderr and "hard links" in done.stderr
    done = retry(spool, "--all")
    assert done.stdout.count("left alone: ") == 2 and counts(done) == (0, 0, 2)
    assert look(spool) == before


# What --all means


def test_who_is_served_without_a_record_gets_it_once(
    spool: Spool, fault_server: Servers
) -> None:
    """The disk took neither who has it nor who has not: a person must look first."""
    both = put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.3.0", to=("b@example.net", "c@example.net"))
    refused = put(spool, "failed", "11.M1P1Q1.h,A=1,E=5.3.0", to=(),
                  lines=failed_line("d@example.net", "554 5.3.0 No"))  # fmt: skip
    for args in (("--all",), ("--failed", "--status", "5.3")):
        done = retry(spool, "--dry-run", *args)
        assert counts(done) == (1, 0, 1) and "10.M1P1Q1.h failed 5.3.0, left alone" in done.stdout
    assert counts(retry(spool, "--all")) == (1, 0, 1)
    server = fault_server()
    aim(spool, server)
    assert spool.run().returncode == 0
    assert [message.recipients for message in server.messages] == [("d@example.net",)]
    assert spool.ls()["failed"] == [both] and spool.state(refused)[0] == "cur"
    assert counts(retry(spool, "10")) == (1, 0, 0)


def test_all(spool: Spool) -> None:
    """Failed and deferred mail, and nothing else."""
    keep = {
        "waiting": put(spool, "new", "10.M1P1Q1.h"),
        "later": put(spool, "new", f"11.M1P1Q1.h,T={later()}"),
        "due": put(spool, "new", "12.M1P1Q1.h,A=1,E=4.2.1"),
        "sending": put(spool, "new", f"13.M1P1Q1.h,A=1,C=other-7,T={later()}"),
        "unmoved": put(spool, "new", f"14.M1P1Q1.h,A=2,E=2.0.0,T={later()}"),
        "sent": put(spool, "cur", "15.M1P1Q1.h,A=1:2,S"),
        "written": put(spool, "tmp", "16.M1P1Q1.h"),
        "hidden": put(spool, "failed", ".17.M1P1Q1.h,A=1,E=5.1.1"),
    }
    (spool.path / "failed" / "folder").mkdir()
    claimed = put(spool, "new", f"20.M1P1Q1.h,A=2,C=other-7,E=4.2.1,T={later()}")
    dump = put(spool, "failed", DUMP)
    put(spool, "new", f"30.M1P1Q1.h,A=1,E=4.2.1,T={later()}")
    put(spool, "failed", "31.M1P1Q1.h,A=1,E=5.1.1")
    put(spool, "failed", "letter.eml,A=9,E=5.4.7")
    put(spool, "failed", "32.M1P1Q1.h,E=5.4.7")
    done = retry(spool, "--all")
    lines = done.stdout.splitlines()[:-1]
    assert sorted(line.split()[0] for line in lines) == sorted(
        ["30.M1P1Q1.h", "31.M1P1Q1.h", "32.M1P1Q1.h", "letter.eml", "20.M1P1Q1.h", unique_of(DUMP)]
    )
    assert counts(done) == (3, 1, 2)
    assert [line for line in lines if "left alone" in line and "maildrain-spool(5)" in line]
    assert set(spool.ls()["new"]) == {
        *(keep[key] for key in ("waiting", "later", "due", "sending", "unmoved")),
        claimed, "30.M1P1Q1.h,A=1,E=4.2.1", "31.M1P1Q1.h,A=1,E=5.1.1",
        "letter.eml,A=9,E=5.4.7", "32.M1P1Q1.h,E=5.4.7",
    }  # fmt: skip
    assert set(spool.ls()["failed"]) == {keep["hidden"], "folder", dump}
    assert spool.ls()["cur"] == [keep["sent"]] and spool.ls()["tmp"] == [keep["written"]]


BROKEN = {
    "no header": b"\nbody\n",
    "damaged block": b"X-Maildrain-From: <a@example.com>\nX-Maildrain-Nonsense: x\nSubject: x\n\n",
    "nobody": b"From: a@example.com\nSubject: x\n\nx\n",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_message_is_named_and_left(spool: Spool, kind: str) -> None:
    """By its id it goes, as with mv."""
    path = spool.path / "failed" / "10.M1P1Q1.h,A=1,E=5.6.0"
    path.write_bytes(BROKEN[kind])
    before = look(spool)
    done = retry(spool, "--failed")
    assert re.search(r"^10\.M1P1Q1\.h failed 5\.6\.0, left alone: \w", done.stdout, re.MULTILINE)
    assert counts(done) == (0, 0, 1) and look(spool) == before
    assert counts(retry(spool, "10")) == (1, 0, 0)
    assert spool.ls()["new"] == [path.name]


def test_a_record_of_a_dump_that_was_held_back(spool: Spool, fault_server: Servers) -> None:
    """It may hold two messages: a person who has looked at it names it."""
    name = put(spool, "failed", "10.M1P1Q1.dump,E=5.6.0")
    for options in (["--all"], ["--sender", "a@*"]):
        done = retry(spool, *options)
        assert "look at it" in done.stdout and counts(done) == (0, 0, 1)
    # A relay's own 5.6.0 is no such case.
    other = put(spool, "failed", "11.M1P1Q1.h,A=1,E=5.6.0")
    assert counts(retry(spool, "--all")) == (1, 0, 1)
    assert spool.ls()["failed"] == [name] and spool.ls()["new"] == [other]
    assert counts(retry(spool, "10")) == (1, 0, 0)
    server = fault_server()
    aim(spool, server)
    assert spool.run().returncode == 0 and len(server.messages) == 2


def test_a_failed_file_that_has_lost_its_status(spool: Spool, fault_server: Servers) -> None:
    """Whatever its name says, it is sent afresh, to those who had failed too."""
    server = fault_server()
    aim(spool, server)
    for name in ("10.M1P1Q1.h", "11.M1P1Q1.h,A=2,E=2.0.0", f"12.M1P1Q1.h,A=3,E=4.2.1,T={later()}"):
        put(spool, "failed", name, to=(), lines=failed_line("b@example.net"))
    put(spool, "failed", f"13.M1P1Q1.h,A=8,C=other-7,E=5.0.0,T={later()}")
    assert counts(retry(spool, "--all")) == (4, 0, 0)
    assert spool.run().returncode == 0
    assert len(server.messages) == 4
    assert {fields_of(name)["A"] for name in spool.ls()["cur"]} == {"1"}


def test_nothing_is_overwritten(spool: Spool) -> None:
    put(spool, "new", "10.M1P1Q1.h,A=1,E=5.1.1", sender="first@example.com")
    put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1", sender="second@example.com")
    assert counts(retry(spool, "--all")) == (1, 0, 0)
    texts = {name: (spool.path / "new" / name).read_bytes() for name in spool.ls()["new"]}
    assert b"first@" in texts["10.M1P1Q1.h,A=1,E=5.1.1"]
    assert b"second@" in texts["10.M1P1Q1.h-2,A=1,E=5.1.1"]


def test_a_name_without_room_is_left(spool: Spool) -> None:
    name = "x" * 250
    put(spool, "failed", name)
    done = retry(spool, "--all")
    assert "no room" in done.stdout and counts(done) == (0, 0, 1)
    assert spool.ls()["failed"] == [name]


def test_many_recipients_are_not_all_shown(spool: Spool) -> None:
    put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1", to=[f"r{n}@example.net" for n in range(100)])
    (line, _) = retry(spool, "--all").stdout.splitlines()
    assert line.endswith("-> <r0@example.net> <r1@example.net> <r2@example.net> and 97 more")


def test_what_a_terminal_would_obey_is_not_shown(spool: Spool) -> None:
    put(spool, "failed", "10\x9b.h,A=1,E=5.1.1", to=["b\x1b[2J@example.net"])
    assert "\x1b" not in retry(spool, "--all").stdout


# Filters


class Letter(NamedTuple):
    place: str
    fields: str
    age: int
    sender: str
    to: Tuple[str, ...]
    lines: bytes = b""


FAILED_LINE = failed_line("gone@example.net")
LETTERS = {
    "user": Letter("failed", ",A=1,E=5.1.1", 3 * HOUR, "shop@example.com", ("joe@example.net",)),
    "ten": Letter("failed", ",A=1,E=5.10.0", 2 * DAY, "shop@example.com", ("ann@example.org",)),
    "gave up": Letter("failed", ",A=9,E=5.4.7", 5 * DAY, "News@Example.com", ("joe@example.net",)),
    "bulk": Letter(
        "failed", ",A=1,E=5.7.1", HOUR, "", (), FAILED_LINE + b"X-Maildrain-Relay: bulk\n"
    ),
    "partly": Letter(
        "new", ",A=1,E=4.2.1,T=4102444800", 600, "shop@example.com", ("ann@example.org",),
        b"X-Maildrain-Done: <joe@example.net> 250 Ok\n" + FAILED_LINE,
    ),
    "busy": Letter("new", ",A=4,E=4.4.2,T=4102444800", 3 * DAY, "x@example.net", ("y@sub.org",)),
}  # fmt: skip
EVERYTHING = set(LETTERS)


def world(spool: Spool) -> Dict[str, str]:
    """LETTERS in the spool; their ids."""
    ids = {}
    for number, (key, made) in enumerate(LETTERS.items()):
        ids[key] = birth(made.age, number)
        put(spool, made.place, ids[key] + made.fields, made.sender, made.to, made.lines)
    return ids


FILTERS = [
    (["--all"], EVERYTHING),
    (["--failed"], {"user", "ten", "gave up", "bulk"}),
    (["--deferred"], {"partly", "busy"}),
    (["--failed", "--deferred"], EVERYTHING),
    (["--all", "--failed"], {"user", "ten", "gave up", "bulk"}),
    (["--status", "5"], {"user", "ten", "gave up", "bulk"}),
    (["--status", "5.1"], {"user"}),
    (["--status", "5.1.1"], {"user"}),
    (["--status", "5.10"], {"ten"}),
    (["--status=5.4.7"], {"gave up"}),
    (["--status", "4"], {"partly", "busy"}),
    (["--status", "4.4"], {"busy"}),
    (["--status", "5.9"], set()),
    (["--sender", "shop@example.com"], {"user", "ten", "partly"}),
    (["--sender", "*@EXAMPLE.COM"], {"user", "ten", "gave up", "partly"}),
    (["--sender", "news@*"], {"gave up"}),
    (["--sender", "<>"], {"bulk"}),
    (["--sender", "example.com"], set()),
    (["--recipient", "joe@example.net"], {"user", "gave up"}),
    (["--recipient", "*@example.net"], {"user", "gave up", "bulk", "partly"}),
    (["--recipient", "GONE@*"], {"bulk", "partly"}),
    (["--recipient", "*.org"], {"ten", "partly", "busy"}),
    (["--recipient", "[xyz]@*"], {"busy"}),
    (["--recipient", "nobody@*"], set()),
    (["--relay", "bulk"], {"bulk"}),
    (["--relay", "main"], set()),
    (["--older-than", "2d"], {"ten", "gave up", "busy"}),
    (["--older-than", "30m"], EVERYTHING - {"partly"}),
    (["--older-than", "30d"], set()),
    (["--newer-than", "2h"], {"bulk", "partly"}),
    (["--newer-than", "30d"], EVERYTHING),
    (["--newer-than", "5m"], set()),
    (["--newer-than", "4d", "--older-than", "2h"], {"user", "ten", "busy"}),
    (["--failed", "--sender", "shop@*"], {"user", "ten"}),
    (["--deferred", "--sender", "shop@*"], {"partly"}),
    (["--deferred", "--status", "5"], set()),
    (["--sender", "shop@*", "--recipient", "joe@*"], {"user"}),
    (["--status", "5", "--recipient", "*@example.net", "--newer-than", "4h"], {"user", "bulk"}),
]


@pytest.mark.parametrize(("options", "meant"), FILTERS, ids=lambda value: "".join(value) or "none")
def test_filters(spool: Spool, options: List[str], meant: Set[str]) -> None:
    ids = world(spool)
    start = where(spool)
    done = retry(spool, *options)
    assert {line.split()[0] for line in done.stdout.splitlines()[:-1]} == {
        ids[key] for key in meant
    }
    expected = {
        ids[key]: f"new/{ids[key]}{LETTERS[key].fields.replace(',T=4102444800', '')}"
        if key in meant
        else start[ids[key]]
        for key in LETTERS
    }
    assert where(spool) == expected
    queued = sum(LETTERS[key].place == "failed" for key in meant)
    assert counts(done) == (queued, len(meant) - queued, 0)


def test_the_age_of_a_name_that_tells_none(spool: Spool) -> None:
    """Then the file's time counts."""
    for name, age in (("old.eml", 3 * DAY), ("young.eml", HOUR)):
        put(spool, "failed", f"{name},A=1,E=5.1.1")
        when = time.time() - age
        os.utime(spool.path / "failed" / f"{name},A=1,E=5.1.1", (when, when))
    assert counts(retry(spool, "--older-than", "2d", "--newer-than", "4d")) == (1, 0, 0)
    assert spool.ls()["new"] == ["old.eml,A=1,E=5.1.1"]
    assert counts(retry(spool, "--newer-than", "2h")) == (1, 0, 0)


def test_a_wild_birth_is_new(spool: Spool) -> None:
    put(spool, "failed", "9223372036854775807.M1P1Q1.h,A=1,E=5.1.1")
    assert counts(retry(spool, "--older-than", "1s")) == (0, 0, 0)
    assert counts(retry(spool, "--newer-than", "1s")) == (1, 0, 0)


def test_a_filter_of_the_envelope_says_nothing_of_others(spool: Spool) -> None:
    """Neither of what is in flight, nor of what is no message."""
    put(spool, "new", f"10.M1P1Q1.h,A=2,C=other-7,E=4.2.1,T={later()}", sender="x@example.org")
    put(spool, "failed", DUMP)
    (spool.path / "failed" / "11.M1P1Q1.h,A=1,E=5.6.0").write_bytes(b"\nx\n")
    assert counts(retry(spool, "--sender", "*@example.com")) == (0, 0, 0)
    assert counts(retry(spool, "--sender", "*@example.org")) == (0, 0, 1)


@needs_strace
def test_what_a_name_rules_out_is_not_opened(spool: Spool) -> None:
    world(spool)
    put(spool, "failed", "letter.eml,A=1,E=5.1.1")
    for options, opened in (
        (["--status", "5.9"], 0),
        (["--older-than", "30d"], 0),
        (["--newer-than", "5m", "--sender", "*"], 1),  # the name without a time: by its file's
        (["--deferred", "--sender", "shop@*"], 2),
    ):
        found = trace(spool.argv("retry", "--dry-run", *options), ("openat",))
        assert found.returncode == 0
        assert len(found.lines(r'"\d+\.M\d+P1Q1\.h,|"letter\.eml')) == opened, (options, found.text)


# A dry run


@pytest.mark.parametrize("options", [["--all"], ["10", "11", "12"]], ids=["all", "ids"])
def test_a_dry_run_changes_nothing(spool: Spool, options: List[str]) -> None:
    """And says what the real one says then."""
    put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1")
    put(spool, "new", f"11.M1P1Q1.h,A=2,E=4.2.1,T={later()}")
    put(spool, "new", f"12.M1P1Q1.h,A=2,C=other-7,E=4.2.1,T={later()}")
    before = look(spool)
    dry = retry(spool, *options, "--dry-run")
    assert look(spool) == before
    real = retry(spool, *options)
    assert counts(dry) == counts(real) == (1, 1, 1)
    assert sorted(dry.stdout.splitlines()[:-1]) == sorted(real.stdout.splitlines()[:-1])
    assert "nothing is changed" in dry.stdout and "nothing" not in real.stdout
    assert look(spool) != before


# Usage


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--dry-run"],
        ["10", "--all"],
        ["10", "--failed"],
        ["--sender"],
        ["--status", "x"],
        ["--status", ""],
        ["--status", "2"],
        ["--status", "5.1."],
        ["--older-than", "2 h"],
        ["--older-than", "5"],
        ["--newer-than", "-1d"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_usage(spool: Spool, args: List[str]) -> None:
    put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1")
    before = look(spool)
    done = spool.command("retry", *args)
    assert done.returncode == 64 and done.stdout == "" and "--help" in done.stderr
    assert look(spool) == before


# Who may


@pytest.fixture
def owned() -> Iterator[Spool]:
    """A spool of OWNER's where every user can get to, with a failed and a deferred message."""
    home = Path(tempfile.mkdtemp(prefix="maildrain-retry-"))
    home.chmod(0o755)
    made = Spool(home)
    put(made, "failed", "10.M1P1Q1.h,A=1,E=5.1.1")
    put(made, "new", "11.M1P1Q1.h,A=2,E=4.2.1,T=4102444800")
    for path in (made.path, *made.path.rglob("*")):
        mode = path.stat().st_mode
        os.chown(path, OWNER, GROUP)
        path.chmod(mode & 0o7777)
    yield made
    shutil.rmtree(home)


def as_user(uid: int, gid: int, argv: Sequence[str]) -> Done:
    become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    return subprocess.run(
        [*become, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


@needs_root
@pytest.mark.parametrize("args", [["--all"], ["10"], ["11"]], ids=" ".join)
def test_others_are_told_as_whom_to_call(owned: Spool, args: List[str]) -> None:
    before = look(owned)
    for uid, gid in ((MEMBER, GROUP), (STRANGER, STRANGER)):
        done = as_user(uid, gid, owned.argv("retry", *args))
        assert done.returncode == 77, done
        assert f"sudo -u '#{OWNER}' maildrain retry" in done.stderr
        assert "Permission denied" in done.stderr
    assert look(owned) == before


@needs_root
def test_the_owner_is_called_by_his_name(owned: Spool) -> None:
    for path in (owned.path, *owned.path.rglob("*")):
        mode = path.stat().st_mode & 0o7777
        os.chown(path, 8, GROUP)  # mail, in base-passwd
        path.chmod(mode)
    done = as_user(STRANGER, STRANGER, owned.argv("retry", "--all"))
    assert done.returncode == 77 and "try: sudo -u mail maildrain retry\n" in done.stderr


@needs_root
def test_the_group_may_look(owned: Spool) -> None:
    before = look(owned)
    done = as_user(MEMBER, GROUP, owned.argv("retry", "--all", "--dry-run"))
    assert done.returncode == 0 and counts(done) == (1, 1, 0)
    assert look(owned) == before


@needs_root
def test_the_owner_may(owned: Spool) -> None:
    done = as_user(OWNER, GROUP, owned.argv("retry", "--all"))
    assert done.returncode == 0 and counts(done) == (1, 1, 0)


@needs_root
@needs_strace
@pytest.mark.parametrize("options", [[], ["--dry-run"]], ids=["real", "dry"])
def test_root_becomes_the_owner(owned: Spool, options: List[str]) -> None:
    done = trace(owned.argv("retry", "--all", *options))
    assert done.returncode == 0, done.stderr
    (opened,) = re.finditer(rf'openat\(AT_FDCWD[^"]*"{owned.path}"', done.text)
    for call in ("setgroups(", f"setgid({GROUP})", f"setuid({OWNER})"):
        assert done.text.index(call) < opened.start()


@needs_root
def test_a_file_that_the_owner_may_not_read(owned: Spool) -> None:
    (owned.path / "failed" / "10.M1P1Q1.h,A=1,E=5.1.1").chmod(0)
    os.chown(owned.path / "failed" / "10.M1P1Q1.h,A=1,E=5.1.1", MEMBER, GROUP)
    done = retry(owned, "--failed")
    assert "not readable" in done.stdout and counts(done) == (0, 0, 1)


# Beside a run


def wait_until(condition: Callable[[], object], timeout: float = 20) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def start_run(spool: Spool) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        spool.argv("run"), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def test_what_a_run_has_in_its_hands_is_left_alone(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"DOT": [Delay(2.0)]})
    aim(spool, server)
    in_hand = put(spool, "new", "10.M1P1Q1.h,A=1,E=4.2.1")
    run = start_run(spool)
    wait_until(lambda: any("C" in fields_of(name) for name in spool.ls()["new"]))
    back = put(spool, "failed", "11.M1P1Q1.h,A=1,E=5.1.1")
    done = retry(spool, "10", "11")
    assert "10.M1P1Q1.h in flight 4.2.1, left alone: a run" in done.stdout
    assert counts(done) == (1, 0, 1)
    done = retry(spool, "--all")
    assert counts(done) == (0, 0, 1)
    assert run.wait(30) == 0
    # The run that is at work takes up what was queued again.
    assert spool.state(in_hand) == ("cur", {"A": "2"})
    assert spool.state(back) == ("cur", {"A": "1"})
    assert len(server.messages) == 2
    server.check()


def test_runs_and_retries_at_the_same_time(spool: Spool, fault_server: Servers) -> None:
    """Whatever they meet in: no message is lost, none is sent twice."""
    count, turn = 120, Counter()

    def sometimes(session: Any) -> Optional[str]:
        turn["rcpt"] += 1
        return {0: "451 4.2.1 Busy", 1: "550 5.1.1 Unknown"}.get(turn["rcpt"] % 4)

    server = fault_server(answers={"RCPT": sometimes})
    aim(spool, server, connections=2)
    names = letters(spool, count)
    stop = threading.Event()
    problems: List[Any] = []

    def keep_retrying() -> None:
        while not stop.is_set():
            done = spool.command("retry", "--all")
            if done.returncode != 0 or done.stderr:
                problems.append(done)

    threads = [threading.Thread(target=keep_retrying) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(60):
            done = spool.run()
            assert done.returncode == 0, done.stderr
            assert "vanished" not in {event["event"] for event in logfmt.parse(done.stderr)}
            if spool.counts()["cur"] == count:
                break
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not problems
    places = where(spool)
    assert set(places) == {unique_of(name) for name in names}
    assert Counter(place.split("/")[0] for place in places.values()) == {"cur": count}
    assert sorted(message.recipients for message in server.messages) == sorted(
        (f"r{n}@example.net",) for n in range(count)
    )
    server.check()


GONE_ONCE = ("-e", "inject=renameat2:error=ENOENT:when=1")


@needs_strace
@pytest.mark.parametrize("options", [["--all"], ["10", "11"]], ids=["all", "ids"])
def test_somebody_else_was_first(spool: Spool, options: List[str]) -> None:
    """ENOENT from the rename is no error: it is looked where the message is now."""
    for number in (10, 11):
        put(spool, "failed", f"{number}.M1P1Q1.h,A=1,E=5.1.1")
    dump = put(spool, "failed", DUMP)
    done = trace(spool.argv("retry", *options), ("renameat2",), options=GONE_ONCE)
    assert done.returncode == 0 and done.stderr == "" and done.counts["renameat2"] == 3
    assert done.stdout.splitlines()[-1].startswith("2 queued again, 0 made due")
    assert done.stdout.count("left alone: ") == (options == ["--all"])
    assert spool.ls()["failed"] == [dump]


@needs_strace
def test_one_that_is_never_where_it_was(spool: Spool) -> None:
    """Others have it, so it is no matter unless it was named."""
    put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1")
    gone = ("-e", "inject=renameat2:error=ENOENT")
    done = trace(spool.argv("retry", "10"), ("renameat2",), options=gone)
    assert done.returncode == 65 and "try again" in done.stderr
    done = trace(spool.argv("retry", "--all"), ("renameat2",), options=gone)
    assert done.returncode == 0 and done.counts["renameat2"] == 5


# Crashes and errors


@needs_strace
@pytest.mark.parametrize("when", range(1, 9))
def test_killed_at_each_rename(spool: Spool, when: int) -> None:
    """Each message is in one place, as it was or as it should be; the next call does the rest."""
    for number in range(4):
        put(spool, "failed", f"1{number}.M1P1Q1.h,A=1,E=5.1.1", sender=f"f{number}@example.com")
        put(spool, "new", f"2{number}.M1P1Q1.h,A=1,E=4.2.1,T=4102444800")
    before = {id: (spool.path / path).read_bytes() for id, path in where(spool).items()}
    kill = ("-e", f"inject=renameat2:signal=KILL:when={when}")
    done = trace(spool.argv("retry", "--all"), ("renameat2",), options=kill)
    assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL)
    after = where(spool)
    assert {id: (spool.path / path).read_bytes() for id, path in after.items()} == before
    moved = [path for path in after.values() if path[:3] == "new" and ",T=" not in path]
    assert len(moved) in (when - 1, when)
    assert sum(counts(retry(spool, "--all"))) == 8 - len(moved)
    assert set(where(spool).values()) == {
        *(f"new/1{number}.M1P1Q1.h,A=1,E=5.1.1" for number in range(4)),
        *(f"new/2{number}.M1P1Q1.h,A=1,E=4.2.1" for number in range(4)),
    }


@needs_strace
def test_both_directories_are_synced_before_it_exits(spool: Spool) -> None:
    put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1")
    done = trace(spool.argv("retry", "--all"), ("fsync", "renameat2"), options=("-y",))
    assert done.returncode == 0
    calls = [re.sub(r"^\d+ +", "", line) for line in done.text.splitlines()]
    calls = [call for call in calls if call.startswith(("fsync", "renameat2"))]
    assert calls[0].startswith("renameat2") and len(calls) == 3
    assert "/spool/new>" in calls[1] and "/spool/failed>" in calls[2]


@needs_strace
def test_a_sync_that_fails_is_told(spool: Spool) -> None:
    put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1")
    options = ("-e", "inject=fsync:error=EIO")
    done = trace(spool.argv("retry", "--all"), ("fsync",), options=options)
    assert done.returncode == 74 and "can't sync" in done.stderr


@needs_strace
@pytest.mark.parametrize(
    ("error", "status", "left"), [("EIO", 74, 3), ("ENOSPC", 74, 3), ("EPERM", 77, 1)]
)
def test_a_rename_that_fails_is_told(spool: Spool, error: str, status: int, left: int) -> None:
    """What one file refuses holds up no other; with a broken disk there is no use in going on."""
    for number in range(3):
        put(spool, "failed", f"1{number}.M1P1Q1.h,A=1,E=5.1.1")
    options = ("-e", f"inject=renameat2:error={error}:when=1")
    done = trace(spool.argv("retry", "--all"), ("renameat2",), options=options)
    assert done.returncode == status and "can't move" in done.stderr
    assert len(spool.ls()["failed"]) == left and len(where(spool)) == 3


@needs_strace
def test_a_file_that_can_not_be_read_is_told(spool: Spool) -> None:
    path = spool.path / "failed" / put(spool, "failed", "10.M1P1Q1.h,A=1,E=5.1.1")
    options = ("-e", "inject=pread64:error=EIO", "-P", str(path))
    done = trace(spool.argv("retry", "--sender", "x"), ("pread64",), options=options)
    assert done.returncode == 74 and "can't read" in done.stderr
    assert spool.counts()["failed"] == 1


def test_who_reads_the_output_may_leave(spool: Spool) -> None:
    for number in range(3000):
        put(spool, "failed", f"{10000 + number}.M1P1Q1.h,A=1,E=5.1.1")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(spool.argv("retry", "--all"), stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert done.returncode == 74 and b"output" in done.stderr
    assert spool.counts()["failed"] == 0


# Many


def test_ten_thousand(spool: Spool) -> None:
    """In the time and memory of a few."""
    many = 10_000
    put(spool, "failed", "1.M1P1Q1.h,A=1,E=5.1.1")
    argv = [str(repo.plain_program()), *spool.argv("retry", "--all")[1:]]
    few = measure(argv)
    for number in range(many):
        put(spool, "failed", f"{10000 + number}.M1P1Q1.h,A=1,E=5.1.1")
        put(spool, "new", f"{30000 + number}.M1P1Q1.h,A=1,E=4.2.1,T=4102444800")
    used = measure(argv)
    assert used.returncode == 0
    assert used.stdout.splitlines()[-1] == f"{many} queued again, {many} made due, 0 left alone"
    assert used.wall < 20 and used.max_rss < few.max_rss + (2 << 20)
    names = spool.ls()["new"]
    assert len(names) == 2 * many + 1 and not any(",T=" in name for name in names)
    assert not spool.ls()["failed"]
