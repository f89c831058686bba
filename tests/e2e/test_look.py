"""What a person or a program sees of the spool: list and status, in JSON and on a terminal."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from pathlib import Path
from typing import Dict, List, Optional

import pytest

from lab import measure, repo, terminal
from lab.spool import Spool, unique_of
from looking import (
    FIELDS,
    MESSAGE,
    RECIPIENTS,
    STATES,
    TO_B,
    as_json,
    by_id,
    fill_for_a_terminal,
    name,
    put,
    screen,
)

# status --json


def test_status_json(spool: Spool) -> None:
    now = int(time.time())
    spool.drop(MESSAGE, f"{now - 30}.M1P1Q1.h", TO_B)
    spool.drop(MESSAGE, f"{now - 90}.M1P1Q1.h,T={now + 4000}", TO_B)
    spool.drop(MESSAGE, f"{now - 50}.M1P1Q1.h,A=1,C=other-7,T={now + 3600}", TO_B)
    for age, status in enumerate(("4.2.1", "4.2.2", "4.7.1", "4.0.0", "4.9.1", "4.22.1"), 100):
        spool.drop(MESSAGE, f"{now - age}.M1P1Q1.h,A=2,E={status},T={now + 310}", TO_B)
    spool.drop(MESSAGE, f"{now - 99}.M1P1Q1.h,A=1,T=5", TO_B)
    put(spool, "failed", f"{now - 5000}.M1P1Q1.h,A=1,E=5.1.1")
    put(spool, "failed", "letter,A=1,E=5.1.1")
    put(spool, "cur", "letter-2,A=1:2,S")
    status = as_json(spool, "status", "--json")
    assert now <= status.pop("time") <= now + 60
    assert status == {
        "spool": str(spool.path),
        "states": {
            "waiting": {"count": 2, "oldest": now - 90},
            "in_flight": {"count": 1, "oldest": now - 50},
            "deferred": {"count": 7, "oldest": now - 105},
            "failed": {"count": 2, "oldest": now - 5000},
            "sent": {"count": 1, "oldest": None},
        },
        "deferred_by_status": {
            "4.0": 1, "4.1": 0, "4.2": 2, "4.3": 0, "4.4": 0, "4.5": 0, "4.6": 0, "4.7": 1,
            "other": 3,
        },
        "due": {"count": 2, "oldest": now - 99},
        "due_since": now - 99,
        "next": now + 310,
        "totals": {"sent": 0, "deferred": 0, "failed": 0},
        "last_run": None,
        "relays": [
            {"name": "main", "up": None, "since": None, "accepted": None, "retry": None,
             "rate": None, "quota": None, "used": None},
        ],
    }  # fmt: skip


def test_status_json_of_an_empty_spool(spool: Spool) -> None:
    status = as_json(spool, "status", "--json")
    nothing = {"count": 0, "oldest": None}
    assert status["states"] == {state: nothing for state in STATES}
    assert status["due"] == nothing and status["next"] is None and status["due_since"] is None
    assert set(status["deferred_by_status"].values()) == {0}


# list --json


def test_list_json_of_a_deferred_message(spool: Spool) -> None:
    now = int(time.time())
    block = (
        b"X-Maildrain-From: <a@example.com>\n"
        b"X-Maildrain-Done: <done@example.net> 250 2.0.0 Ok\n"
        b"X-Maildrain-To: <b@example.net>\n"
        b"X-Maildrain-Failed: <c@example.net> 550 5.1.1 Unknown\n"
    )
    file = f"{now - 60}.M1P1Q1.web-1,A=2,E=4.2.1,P=1,T={now + 310},X={now + 9000}"
    spool.drop(block + MESSAGE, file)
    assert as_json(spool, "list", "--json") == [
        {
            "id": unique_of(file),
            "state": "deferred",
            "file": str(spool.path / "new" / file),
            "made": now - 60,
            "attempts": 2,
            "status": "4.2.1",
            "priority": 1,
            "due": False,
            "next": now + 310,
            "expires": now + 9000,
            "claim": None,
            "warned": None,
            "untold": None,
            "size": len(block + MESSAGE),
            "sender": "a@example.com",
            "recipients": [
                {"address": "done@example.net", "state": "sent", "reply": "250 2.0.0 Ok"},
                {"address": "b@example.net", "state": "deferred", "reply": None},
                {
                    "address": "c@example.net",
                    "state": "failed",
                    "reply": "550 5.1.1 Unknown",
                },
            ],
            "fault": None,
        }
    ]


def test_list_json_in_each_state(spool: Spool) -> None:
    now = int(time.time())
    names = {
        "waiting": spool.drop(MESSAGE, name(5), ("", ["b@example.net"])),
        "in_flight": spool.drop(MESSAGE, name(6, f",A=1,C=web-1-7,T={now + 100}"), TO_B),
        "deferred": spool.drop(MESSAGE, name(7, ",A=1,C=web-1-7,D=4,T=5"), TO_B),
        "failed": put(spool, "failed", name(8, f",A=9,E=5.4.7,N={now - 3}")),
        "sent": put(spool, "cur", name(9, ",A=1:2,S")),
    }
    messages = by_id(spool, "--all")
    assert set(messages) == {unique_of(file) for file in names.values()}
    for state, file in names.items():
        message = messages[unique_of(file)]
        assert set(message) == FIELDS and message["state"] == state
        assert {one["state"] for one in message["recipients"]} == {state}
        assert message["priority"] == 5 and message["expires"] is None
    of = {state: messages[unique_of(file)] for state, file in names.items()}
    assert of["waiting"]["due"] and of["waiting"]["next"] is None
    assert of["waiting"]["sender"] == "" and of["waiting"]["status"] is None
    assert of["in_flight"]["claim"] == {"host": "web-1", "pid": 7, "until": now + 100}
    assert not of["in_flight"]["due"] and of["in_flight"]["next"] is None
    assert of["deferred"]["due"] and of["deferred"]["next"] == 5
    assert of["deferred"]["warned"] == 4 and of["deferred"]["untold"] is None
    assert of["failed"]["untold"] == now - 3 and of["failed"]["warned"] is None
    assert of["deferred"]["claim"] == {"host": "web-1", "pid": 7, "until": 5}
    assert of["failed"]["status"] == "5.4.7" and of["failed"]["next"] is None
    served = [one["address"] for one in of["sent"]["recipients"]]
    assert served == ["b@example.net", "c@example.net"]
    assert of["sent"]["attempts"] == 1 and not of["sent"]["due"]


def test_list_json_of_what_is_no_message(spool: Spool) -> None:
    put(spool, "new", "empty", b"")
    (spool.path / "new" / "folder").mkdir()
    (spool.path / "new" / "link").symlink_to("/etc/passwd")
    put(spool, "new", "text", b"no header\n")
    messages = by_id(spool)
    for which, fault in (("empty", "empty"), ("folder", "regular"), ("link", "symbolic")):
        assert fault in messages[which]["fault"] and messages[which]["size"] is None
    assert "no message" in messages["text"]["fault"] and messages["text"]["size"] == 10
    for which in ("empty", "folder", "link", "text"):
        message = messages[which]
        assert message["sender"] is None and message["recipients"] == []
        assert message["made"] is None


def test_list_json_of_an_empty_spool(spool: Spool) -> None:
    assert as_json(spool, "list", "--json") == []


def test_json_is_well_formed_whatever_is_in_the_spool(spool: Spool) -> None:
    """What is no UTF-8 becomes U+FFFD, byte by byte."""
    evil = b'X-Maildrain-From: <a"\\\x1b[2J\xff\xfe\xc3\xa4@x>\nX-Maildrain-To: <b\xed\xa0\x80@x>\n'
    path = os.fsencode(spool.path / "new") + b"/n\xe4me\xc3\xb6"
    with open(path, "wb") as file:
        file.write(evil.replace(b'"\\\x1b[2J\xff\xfe', b"") + MESSAGE)
    put(spool, "new", "two", evil + b"Subject: \x00\x01\x7f\xff\r\n\r\n\xff\x00\xc3")
    first, second = as_json(spool, "list", "--json")
    assert first["id"] == "n\ufffdme\xf6" and first["sender"] == "a\xe4@x"
    assert first["recipients"][0]["address"] == "b\ufffd\ufffd\ufffd@x"
    assert second["sender"] is None and second["fault"]


def test_an_element_on_each_line(spool: Spool) -> None:
    for _ in range(3):
        spool.drop(MESSAGE, name(1), TO_B)
    lines = spool.command("list", "--json").stdout.splitlines()
    assert lines[0] == "[" and lines[-1] == "]" and len(lines) == 5
    assert all(set(json.loads(line.rstrip(","))) == FIELDS for line in lines[1:-1])


def test_json_that_can_not_be_written(spool: Spool) -> None:
    spool.drop(MESSAGE, name(1), TO_B)
    for command in ("status", "list"):
        with open("/dev/full", "w") as full:
            argv = spool.argv(command, "--json")
            done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 74


# Large spools


def fill_long(spool: Spool, count: int) -> List[str]:
    """COUNT messages with names so long that a queue does not keep them all; in order."""
    now = int(time.time())
    tail = "x" * 180
    names = [f"{now - 90_000 + i}.M1P1Q1.{tail},A=1,E=4.2.1,T={now + 9000}" for i in range(count)]
    content = b"X-Maildrain-From: <>\nX-Maildrain-To: <b@example.net>\n" + MESSAGE
    for file in random.Random(5).sample(names, count):
        put(spool, "new", file, content)
    return [unique_of(file) for file in names]


def test_more_messages_than_are_kept_at_a_time(spool: Spool) -> None:
    ids = fill_long(spool, 25_000)
    put(spool, "failed", name(8, ",A=9,E=5.4.7"))
    done = measure.measure([str(repo.plain_program()), *spool.argv("list", "--json")[1:]])
    assert done.returncode == 0
    messages = json.loads(done.stdout)
    assert [message["id"] for message in messages[:-1]] == ids
    assert messages[-1]["state"] == "failed"
    lines = spool.command("list").stdout.splitlines()[1:-1]
    assert [re.findall(r"\S+x{180}", line) for line in lines] == [[one] for one in ids]
    assert done.max_rss < 20_000_000


# Filters


def test_list_by_state(spool: Spool) -> None:
    now = int(time.time())
    files = {
        "waiting": spool.drop(MESSAGE, name(5), TO_B),
        "in-flight": spool.drop(MESSAGE, name(6, f",A=1,C=h-7,T={now + 100}"), TO_B),
        "deferred": spool.drop(MESSAGE, name(7, f",A=1,E=4.2.1,T={now + 100}"), TO_B),
        "failed": put(spool, "failed", name(8, ",A=9,E=5.4.7")),
        "sent": put(spool, "cur", name(9, ",A=1:2,S")),
    }
    unmoved = spool.drop(MESSAGE, name(10, ",A=1,E=2.0.0"), TO_B)

    def listed(*words: str) -> List[str]:
        shown = spool.command("list", *words)
        assert shown.returncode == 0, shown
        ids = [line.split(" <")[0].split()[-1] for line in shown.stdout.splitlines()[1:]]
        assert sorted(ids) == sorted(by_id(spool, *words))
        return ids

    for word, file in files.items():
        expected = [unique_of(file)] if word != "sent" else [unique_of(unmoved), unique_of(file)]
        assert listed(word) == expected
    assert listed("failed", "deferred") == [unique_of(files[w]) for w in ("deferred", "failed")]
    assert listed("in flight") == listed("in_flight") == [unique_of(files["in-flight"])]
    assert len(listed()) == 4
    assert len(listed("--all")) == len(listed("--all", "failed")) == 6


@pytest.mark.parametrize("words", [["lost"], ["failed", "fail"], ["failed"] * 6])
def test_list_by_what_is_no_state(spool: Spool, words: List[str]) -> None:
    done = spool.command("list", *words)
    assert done.returncode == 64 and done.stdout == "" and words[-1] in done.stderr


# On a terminal


@pytest.mark.parametrize("columns", [20, 40, 71, 72, 80, 120, 200])
def test_list_fits_the_terminal(spool: Spool, columns: int) -> None:
    ids = fill_for_a_terminal(spool)
    lines = screen(spool, columns, "list", "--all")
    assert len(lines) == len(ids) + 1, "no line is wrapped"
    assert lines[0].startswith("state      A ")
    words = ["waiting"] * 6 + ["deferred", "in flight", "failed", "failed", "sent"]
    assert [line[:9].strip() for line in lines[1:]] == words
    assert any(line.endswith("…") for line in lines)


def test_ids_are_told_from_those_not_shown(spool: Spool) -> None:
    spool.drop(MESSAGE, "1795333316.M000001P1Q1.h", TO_B)
    ambiguous = screen(spool, 80, "list")[1][31:].split()[0]
    assert ambiguous == "1795333316.M"
    put(spool, "cur", "1795333316.M000002P1Q1.h,A=1:2,S")
    put(spool, "failed", "1795333316.M000100P1Q1.h,A=1,E=5.1.1")
    shown = screen(spool, 80, "list", "waiting")[1][31:].split()[0]
    assert shown == "1795333316.M000001"


def test_whole_ids_where_they_fit(spool: Spool) -> None:
    ids = fill_for_a_terminal(spool)
    lines = screen(spool, 200, "list", "--all")[1:]
    for line, whole in zip(lines, ids):
        assert whole.isascii() is False or f" {whole} " in line
    assert any("<b@example.net>" in line and not line.endswith("…") for line in lines)


def test_the_columns_of_a_list(spool: Spool) -> None:
    fill_for_a_terminal(spool)
    lines = screen(spool, 80, "list", "deferred")
    assert re.match(r"state      A next       status id +age +sender, recipients$", lines[0])
    pattern = r"deferred  12 in 13h 1\dm 4\.2\.1  \d{10}\.\S+ 6m      <a@example.com> -> <b@exa"
    assert re.match(pattern, lines[1]), lines[1]
    assert lines[1].endswith("…") and len(lines[1]) == 80


def test_the_mark_is_only_where_something_is_cut(spool: Spool) -> None:
    spool.drop(MESSAGE, "1.M1P1Q1.h", ("a@x.y", ["b@x.y", "c" * 60 + "@x.y"]))
    whole = screen(spool, 200, "list")[1]
    assert screen(spool, len(whole), "list")[1].endswith("c@x.y>")
    assert screen(spool, len(whole) - 1, "list")[1].endswith("c@x.…")


def test_columns_from_the_environment(spool: Spool) -> None:
    spool.drop(MESSAGE, name(1), ("a@example.com", ["b@example.net"] * 30))

    def width(columns: int, told: Optional[str]) -> int:
        text = terminal.run(spool.argv("list"), columns, {"COLUMNS": told})
        return len(text.splitlines()[1])

    assert width(0, None) == width(0, "nonsense") == width(0, "0") == 80
    assert width(0, "100") == 100
    assert width(90, "100") == 90, "what the terminal tells goes first"


COLOURS = {"waiting": "default", "in flight": "cyan", "deferred": "brown", "failed": "red"}


def test_colours_of_states(spool: Spool) -> None:
    pytest.importorskip("pyte", reason="python3-pyte is missing")
    fill_for_a_terminal(spool)
    for args in (["list", "--all"], ["status"]):
        text = terminal.run(spool.argv(*args))
        for row in terminal.emulate(text, 80):
            state = terminal.text_of(row)[:9].strip()
            expected = {**COLOURS, "sent": "green"}.get(state)
            if expected is None:
                expected = "default"
            assert row[0].colour == expected, state
            assert {cell.colour for cell in row[10:]} == {"default"}


def test_a_state_without_messages_has_no_colour(spool: Spool) -> None:
    assert "\x1b" not in terminal.run(spool.argv("status"))


@pytest.mark.parametrize(
    "env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": None}, {"TERM": ""}], ids=str
)
def test_no_colour(spool: Spool, env: Dict[str, Optional[str]]) -> None:
    fill_for_a_terminal(spool)
    for command in ("list", "status"):
        assert "\x1b" not in terminal.run(spool.argv(command), 80, env)
        assert "\x1b" in terminal.run(spool.argv(command), 80, {"NO_COLOR": ""})


def test_no_colour_and_nothing_cut_elsewhere(spool: Spool) -> None:
    ids = fill_for_a_terminal(spool)
    done = spool.command("list", "--all", env={"TERM": "xterm", "COLUMNS": "40"})
    lines = done.stdout.splitlines()[1:]
    assert "\x1b" not in done.stdout and "…" not in done.stdout
    assert all(f" {whole} " in line for whole, line in zip(ids, lines)) and len(lines) == len(ids)
    assert all(f"<{recipient}>" in lines[0] for recipient in RECIPIENTS)
    assert "\x1b" not in spool.command("status", env={"TERM": "xterm"}).stdout


def test_status_fits_80_columns(spool: Spool) -> None:
    fill_for_a_terminal(spool)
    shown = terminal.run(spool.argv("status"), 80, {"NO_COLOR": "1"}).splitlines()
    assert max(map(len, shown[1:])) < 80


def test_a_list_on_a_terminal_obeys_no_message(spool: Spool) -> None:
    path = Path(os.fsdecode(os.fsencode(spool.path / "new") + b"/\xc2\x9b2J\xff.eml"))
    path.write_bytes(b"X-Maildrain-From: <a@x>\nX-Maildrain-To: <\x1b]0;evil\x07@x>\n" + MESSAGE)
    shown = terminal.run(spool.argv("list"), 200, {"NO_COLOR": "1"})
    assert all(line.isprintable() for line in shown.split("\r\n"))
    assert " ??2J?.eml " in shown and "<?]0;evil?@x>" in shown
