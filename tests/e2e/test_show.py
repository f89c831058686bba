"""show: all there is to tell of one message, whatever is in its file."""

from __future__ import annotations

import codecs
import email
import re
import subprocess
import time
from typing import Dict, List

import pytest

from lab import measure, repo, terminal
from lab.spool import Spool, unique_of
from looking import FIELDS, MESSAGE, TO_B, as_json, by_id, fill_for_a_terminal, name, put, screen

HEADER_SIZE = MESSAGE.index(b"\n\n") + 2
DETAIL = {"meaning", "header", "envelope_size", "header_size", "body_size"}
LOST = "the connection was lost, or the program ended, in the midst of it"


def _each_byte(error: UnicodeError) -> "tuple[str, int]":
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("fffd", _each_byte)


def test_every_field_is_documented(spool: Spool) -> None:
    """With a line of its own in one of the tables."""
    page = (repo.ROOT / "src" / "maildrain.8").read_text()
    tables = page.split(".Ss JSON")[1].split(".Sh ENVIRONMENT")[0]
    fields = set(as_json(spool, "status", "--json")) | FIELDS | DETAIL | {"body"}
    assert set(re.findall(r"^\.It Ic (\S+) Ta", tables, re.MULTILINE)) == fields
    named = re.findall(r"\bIc ([a-z_]+(?: , [a-z_]+)*)", tables)
    inner = {"count", "oldest", "host", "pid", "until", "address", "reply", "name", "value"}
    assert inner <= {word for words in named for word in words.split(" , ")}


def labels(text: str) -> Dict[str, List[str]]:
    """The lines in front of the header by their first word."""
    found: Dict[str, List[str]] = {}
    for line in text.split("\n\n")[0].splitlines():
        found.setdefault(line[:11].strip(), []).append(line[12:])
    return found


def show(spool: Spool, *args: str) -> str:
    done = spool.command("show", *args)
    assert done.returncode == 0 and done.stderr == "", done
    return done.stdout


def test_show_failed(spool: Spool) -> None:
    block = (
        b"X-Maildrain-From: <a@example.com>\n"
        b"X-Maildrain-Done: <b@example.net> 250 2.0.0 Ok: queued\n"
        b"X-Maildrain-Failed: <c@example.net> 550 5.1.1 No such user here\n"
    )
    file = put(spool, "failed", name(7500, ",A=1,E=5.1.1"), block + MESSAGE)
    text = show(spool, unique_of(file))
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(int(file.split(".")[0])))
    assert labels(text) == {
        "id": [unique_of(file)],
        "state": ["failed"],
        "file": [str(spool.path / "failed" / file)],
        "made": [f"{made}, 2h 5m ago"],
        "attempts": ["1"],
        "status": ["5.1.1"],
        "sender": ["<a@example.com>"],
        "recipient": [
            "<b@example.net> sent: 250 2.0.0 Ok: queued",
            "<c@example.net> failed: 550 5.1.1 No such user here",
        ],
        "size": [
            f"{len(block + MESSAGE)} bytes: envelope {len(block)}, header {HEADER_SIZE}, body 5"
        ],
    }
    assert text.endswith("\n\n" + MESSAGE.decode().split("\n\n")[0] + "\n")


def test_show_deferred(spool: Spool) -> None:
    now = int(time.time())
    file = spool.drop(
        MESSAGE,
        name(60, f",A=2,D={now - 3},E=4.4.2,N={now - 3},P=1,T={now + 330},X={now + 90_100}"),
        TO_B,
    )
    said = labels(show(spool, unique_of(file)))
    assert said["state"] == ["deferred"] and said["attempts"] == ["2 of 9"]
    assert said["status"] == [f"4.4.2: {LOST}"]
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now + 330))
    assert said["next"] == [f"{at}, in 5m"]
    assert said["expires"][0].endswith(", in 1d 1h") and said["priority"] == ["1"]
    assert said["warned"][0].endswith("s ago") and said["untold"] == said["warned"]
    assert said["recipient"] == ["<b@example.net> deferred"] and "claim" not in said


def test_show_counts_the_attempts_of_the_config(spool: Spool) -> None:
    spool.write_config({"retry": ["1m", "2m"]}, url="smtp://127.0.0.1:1", tls="none")
    file = spool.drop(MESSAGE, name(60), TO_B)
    said = labels(show(spool, unique_of(file)))
    assert said["attempts"] == ["0 of 3"] and said["state"] == ["waiting"]
    assert said["next"] == ["now: the next run tries it"] and "status" not in said


def test_show_in_flight(spool: Spool) -> None:
    now = int(time.time())
    file = spool.drop(MESSAGE, name(60, f",A=1,C=web-1-4242,T={now + 3590}"), TO_B)
    said = labels(show(spool, unique_of(file)))
    assert said["state"] == ["in flight"] and said["claim"] == ["process 4242 on web-1"]
    assert said["claim ends"][0].endswith(", in 59m") and "next" not in said


def test_show_sent(spool: Spool) -> None:
    file = put(spool, "cur", name(60, ",A=1:2,S"))
    said = labels(show(spool, unique_of(file)))
    assert said["state"] == ["sent"] and said["attempts"] == ["1"]
    assert said["recipient"] == ["<b@example.net> sent", "<c@example.net> sent"]


def test_every_status_of_our_own_is_explained(spool: Spool) -> None:
    """Those that the man page lists."""
    page = (repo.ROOT / "src" / "maildrain-spool.5").read_text()
    codes = sorted(set(re.findall(r"\b[245]\.[0-9]\.[0-9]\b", page)) - {"5.1.1", "4.2.2"})
    assert len(codes) > 12
    for code in codes:
        folder = "failed" if code[0] == "5" else "new"
        file = put(spool, folder, name(60, f",A=1,E={code}"))
        assert len(labels(show(spool, unique_of(file)))["status"][0]) > 20, code
        assert as_json(spool, "show", "--json", unique_of(file))["meaning"], code


def test_an_id_may_be_shortened(spool: Spool) -> None:
    file = spool.drop(MESSAGE, "1795333316.M728576P1Q1.h", TO_B)
    spool.drop(MESSAGE, "1795333316.M728600P1Q1.h", TO_B)
    assert file in show(spool, "1795333316.M7285") and file in show(spool, file)
    several = spool.command("show", "1795333316")
    assert several.returncode == 65 and several.stdout == ""
    assert "2 messages" in several.stderr and file in several.stderr
    for wrong in ("1795", ""):
        none = spool.command("show", "--json", f"{wrong}.M1")
        assert none.returncode == 65 and none.stdout == "" and "there is no message" in none.stderr


def test_show_without_an_id(spool: Spool) -> None:
    for args in ([], ["--json"], ["one", "two"]):
        done = spool.command("show", *args)
        assert done.returncode == 64 and done.stdout == "" and "--help" in done.stderr


def test_show_what_is_no_message(spool: Spool) -> None:
    put(spool, "failed", "text,A=1,E=5.6.0", b"no header at all\nSubject: x\n\nbody\n")
    put(spool, "failed", "block,A=1,E=5.6.0", b"X-Maildrain-From: a@x\nSubject: x\n\nbody\n")
    put(spool, "failed", "huge,A=1,E=5.6.0", b"Subject: x\n" + b"X: y\n" * 300_000)
    put(spool, "new", "empty", b"")
    (spool.path / "new" / "link").symlink_to("/etc/passwd")
    text = show(spool, "text")
    assert "fault       this is no message" in text and "no header at all" not in text
    assert "header 0, body 34" in text and "sender" not in text
    assert show(spool, "text", "--body").endswith("\n\nno header at all\nSubject: x\n\nbody\n")
    text = show(spool, "block")
    assert "fault       an envelope line has no <address>" in text
    assert text.endswith("\n\nX-Maildrain-From: a@x\nSubject: x\n")
    assert "longer than 1 MiB" in show(spool, "huge")
    assert "an empty file" in show(spool, "empty")
    text = show(spool, "link", "--body")
    assert "a symbolic link" in text and "root:" not in text
    shown = as_json(spool, "show", "--json", "link")
    assert shown["fault"] == "a symbolic link"
    assert [shown[field] for field in DETAIL - {"meaning"}] == [None] * 4


def test_show_makes_a_header_harmless(spool: Spool) -> None:
    head = b"Subject: \x1b]0;evil\x07 \xc2\x9b\xe2\x80\xae \xff\r\nX: \xe4\xbd\xa0\tb\r\n"
    file = spool.drop(head + b"\r\nbody\r\n", name(1), ("a@x", ["b\x07@x"]))
    text = show(spool, unique_of(file))
    assert text.endswith("\n\nSubject: ?]0;evil? ????? ?\nX: 你\tb\n"), text
    assert "<b?@x>" in text


def test_the_body_is_raw_when_it_goes_to_a_file(spool: Spool) -> None:
    body = bytes(range(256)) * 300 + b"\r\n.\r\nno end"
    file = spool.drop(MESSAGE.replace(b"text\n", body), name(1), TO_B)
    done = subprocess.run(
        spool.argv("show", "--body", unique_of(file)), capture_output=True, check=True
    )
    assert done.stdout.split(b"Subject: hello\n\n", 1)[1] == body
    assert b"text" not in spool.command("show", unique_of(file)).stdout.encode()
    shown = as_json(spool, "show", "--json", "--body", unique_of(file))
    assert shown["body"] == body.decode("utf-8", "fffd")
    assert "body" not in as_json(spool, "show", "--json", unique_of(file))


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 16383, 16384, 16385, 100_001])
def test_a_body_of_any_size_in_json(spool: Spool, size: int) -> None:
    """No character is cut where the pieces meet."""
    body = ("aä你📧" * size)[:size]
    file = spool.drop(MESSAGE.replace(b"text\n", body.encode()), name(1), TO_B)
    shown = as_json(spool, "show", "--json", "--body", unique_of(file))
    assert shown["body"] == body and shown["body_size"] == len(body.encode())


def test_show_json(spool: Spool) -> None:
    file = spool.drop(MESSAGE, name(60, ",A=1,E=4.4.2,T=5"), TO_B)
    shown = as_json(spool, "show", "--json", unique_of(file))
    (listed,) = as_json(spool, "list", "--json")
    assert set(shown) == FIELDS | DETAIL
    assert {field: shown[field] for field in FIELDS} == listed
    assert shown["meaning"] == LOST
    assert shown["header"] == [
        {"name": "From", "value": "Ann <a@example.com>"},
        {"name": "To", "value": "b@example.net,\tc@example.net"},
        {"name": "Subject", "value": "hello"},
    ]
    assert shown["envelope_size"] + shown["header_size"] + shown["body_size"] == shown["size"]
    assert (shown["header_size"], shown["body_size"]) == (HEADER_SIZE, 5)


def test_the_header_in_json_is_that_of_the_message(spool: Spool) -> None:
    head = (
        b"From: a@example.com\r\nTo: b@example.net\r\nBcc: hidden@example.net\r\n"
        b"Subject: a\r\n long\r\n\tone  \r\nX-Empty:\r\nX-Twice: 1\r\nX-Twice: 2\r\n\r\n"
    )
    file = spool.drop(head + b"body", name(1))
    parsed = email.message_from_bytes(head)
    shown = as_json(spool, "show", "--json", unique_of(file))["header"]
    assert [(field["name"], field["value"]) for field in shown] == [
        (key, value.replace("\r\n", "").strip()) for key, value in parsed.items()
    ]
    assert "Bcc: hidden@example.net" in show(spool, unique_of(file))


def injected(spool: Spool, file: str, when: str) -> measure.Trace:
    """Shows FILE while somebody moves it away: of the openings in new/ those that WHEN counts find
    nothing. Each look opens the folder and then the file."""
    if not measure.have_strace():
        pytest.skip("strace is missing or may not trace")
    inject = ("-P", str(spool.path / "new"), "-e", f"inject=openat:error=ENOENT:when={when}")
    argv = [str(repo.plain_program()), *spool.argv("show", unique_of(file))[1:]]
    done = measure.trace(argv, ("openat",), options=inject)
    gone = [line for line in done.text.splitlines() if "INJECTED" in line]
    assert gone and all(f'"{file}"' in line for line in gone), done.text
    return done


def test_a_message_that_moves_is_found_again_once(spool: Spool) -> None:
    file = spool.drop(MESSAGE, name(1), TO_B)
    done = injected(spool, file, "2")
    assert done.returncode == 0 and "<b@example.net> waiting" in done.stdout
    done = injected(spool, file, "2+2")
    assert done.returncode == 75 and done.stdout == "" and "moves" in done.stderr


def test_what_is_no_message_and_moves_is_found_again_too(spool: Spool) -> None:
    """It is opened twice, the second time for its header."""
    file = spool.drop(b"no header\n", name(1))
    done = injected(spool, file, "3")
    assert done.returncode == 0 and "no message" in done.stdout


@pytest.mark.parametrize("columns", [40, 80])
def test_shortened_ids_are_what_show_takes(spool: Spool, columns: int) -> None:
    ids = fill_for_a_terminal(spool)
    at = {40: 20, 80: 31}[columns]
    lines = screen(spool, columns, "list")[1:]
    for line, whole in zip(lines, ids):
        if "letter" in line:
            continue  # it has blanks, and wide characters
        shown = line[at:].split()[0]
        assert whole.startswith(shown) and 12 <= len(shown) <= len(whole)
        assert whole in show(spool, shown)
    assert len({line[at:].split()[0] for line in lines}) == len(lines)


def test_a_body_on_a_terminal_is_harmless(spool: Spool) -> None:
    body = b"\x1b]0;evil\x07\x1b[2J\r\n\xff\xc2\x9b31m " + "ä你\t".encode() + b"\nend\x08"
    file = spool.drop(MESSAGE.replace(b"text\n", body), name(1), TO_B)
    shown = terminal.run(spool.argv("show", "--body", unique_of(file)), 80, {"NO_COLOR": "1"})
    assert "\x1b" not in shown and "\x07" not in shown and "\x08" not in shown
    assert shown.endswith("\r\n\r\n?]0;evil??[2J\r\n???31m ä你\t\r\nend?")


def test_json_of_a_header_and_a_body_that_are_no_text(spool: Spool) -> None:
    put(spool, "new", "bytes", b"Subject: \x00\x01\x7f\xff\r\n\r\n\xff\x00\xc3")
    shown = as_json(spool, "show", "bytes", "--json", "--body")
    assert shown["header"] == [{"name": "Subject", "value": "\x00\x01\x7f\ufffd"}]
    assert shown["body"] == "\ufffd\x00\ufffd" and shown["fault"]


@pytest.mark.parametrize("options", [[], ["--body"], ["--json"], ["--json", "--body"]], ids=str)
def test_show_that_can_not_be_written(spool: Spool, options: List[str]) -> None:
    file = spool.drop(MESSAGE + b"x" * 100_000, name(1), TO_B)
    with open("/dev/full", "w") as full:
        argv = spool.argv("show", *options, unique_of(file))
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 74


def test_the_colour_of_the_state(spool: Spool) -> None:
    fill_for_a_terminal(spool)
    argv = spool.argv("show", next(iter(by_id(spool, "failed"))))
    assert "state       \x1b[31mfailed\x1b[0m\r\n" in terminal.run(argv)
    assert "\x1b" not in terminal.run(argv, 80, {"NO_COLOR": "1"})
    assert "\x1b" not in spool.command("show", argv[-1], env={"TERM": "xterm"}).stdout
