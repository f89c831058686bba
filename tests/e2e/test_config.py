"""The config through the program: what libconfuse lets pass, and what no relay could work with, is
said with file and line, before anything is sent."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Callable, List

import pytest

from lab import repo
from lab.faultserver import FaultServer
from lab.spool import Spool

MESSAGE = b"Subject: hello\n\ntext\n"
TO_B = ("a@example.com", ["b@example.net"])


def good(spool: Spool, url: str = "smtp://127.0.0.1:1") -> List[str]:
    """The lines of a config that works."""
    return [
        f'spool = "{spool.path}"',
        'retry = {"1m", "5m"}',
        'keep_sent = "7d"',
        'relay "main" {',
        f'\turl = "{url}"',
        '\ttls = "none"',
        "\tconnections = 2",
        "}",
    ]


def complaint(spool: Spool, lines: List[str], line: int, command: str = "run") -> str:
    """Runs with LINES as its config; returns what is said about LINE."""
    spool.write_config_text("\n".join(lines) + "\n")
    spool.drop(MESSAGE, envelope=TO_B)
    done = spool.command(command)
    assert done.returncode == 78, (done.returncode, done.stderr)
    assert done.stdout == ""
    (said,) = done.stderr.splitlines()
    match = re.fullmatch(rf"maildrain: {re.escape(str(spool.config))}:(\d+): (.+)", said)
    assert match, said
    assert int(match[1]) == line, said
    assert spool.counts()["new"] == 1
    return match[2]


def test_a_good_one(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    spool.write_config_text("\n".join(good(spool, server.url)) + "\n")
    spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    assert len(server.messages) == 1


@pytest.mark.parametrize("command", ["run", "verify", "status", "list", "init"])
def test_every_command_says_it(spool: Spool, command: str) -> None:
    lines = good(spool)
    lines[2] = "keep_sent = 7d oops"
    complaint(spool, lines, 3, command)


# What libconfuse lets pass


def test_an_unclosed_section(spool: Spool) -> None:
    assert re.search(r"[cC]los|}", complaint(spool, good(spool)[:-1], 4))


@pytest.mark.parametrize(("index", "first"), [(0, "spool"), (2, "keep_sent"), (4, "url")])
def test_a_scalar_set_twice(spool: Spool, index: int, first: str) -> None:
    lines = good(spool)
    lines.insert(index + 1, lines[index])
    said = complaint(spool, lines, index + 2)
    assert first in said and f"line {index + 1}" in said


def test_a_title_used_twice(spool: Spool) -> None:
    lines = good(spool)
    said = complaint(spool, lines + lines[3:], 9)
    assert "line 4" in said and "name" in said


@pytest.mark.parametrize("index", [0, 4])
def test_an_unset_variable(spool: Spool, index: int) -> None:
    lines = good(spool)
    lines[index] = re.sub(r'"[^"]*"', '"${MAILDRAIN_NOT_SET}"', lines[index])
    assert "MAILDRAIN_NOT_SET" in complaint(spool, lines, index + 1)


def test_an_empty_variable(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILDRAIN_EMPTY", "")
    lines = good(spool)
    lines[4] = '\turl = "${MAILDRAIN_EMPTY}"'
    assert "${MAILDRAIN_EMPTY} is empty" in complaint(spool, lines, 5)


def test_a_variable_that_is_set(
    spool: Spool, fault_server: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = fault_server()
    monkeypatch.setenv("MAILDRAIN_URL", server.url)
    lines = good(spool)
    lines[4] = '\turl = "${MAILDRAIN_URL}"'
    spool.write_config_text("\n".join(lines) + "\n")
    assert spool.command("verify").returncode == 0


@pytest.mark.parametrize(
    ("index", "text"), [(2, "keep_sent = 7d#x"), (4, "\turl = smtp://127.0.0.1:25#bulk")]
)
def test_an_unquoted_value_ended_by_a_hash(spool: Spool, index: int, text: str) -> None:
    lines = good(spool)
    lines[index] = text
    assert "double quotes" in complaint(spool, lines, index + 1)


@pytest.mark.parametrize("number", ["010", "08", "0x10", "1e1", "2k", "-1", "0", "101"])
def test_numbers(spool: Spool, number: str) -> None:
    lines = good(spool)
    lines[6] = f"\tconnections = {number}"
    assert "connections" in complaint(spool, lines, 7)


def test_include(spool: Spool) -> None:
    other = spool.config.parent / "other.conf"
    other.write_text('keep_sent = "1d"\n')
    assert "include" in complaint(spool, [*good(spool), f'include("{other}")'], 9)


@pytest.mark.parametrize("command", ["run", "status"])
def test_a_directory_for_a_config(spool: Spool, command: str) -> None:
    folder = spool.config.parent
    done = subprocess.run(
        [str(repo.program()), "-c", str(folder), command], capture_output=True, text=True
    )
    assert done.returncode == 78
    assert str(folder) in done.stderr and "directory" in done.stderr


def test_no_config(spool: Spool) -> None:
    spool.config.unlink()
    done = spool.run()
    assert done.returncode == 78
    assert str(spool.config) in done.stderr and "does not exist" in done.stderr


def test_an_endless_config(spool: Spool) -> None:
    done = subprocess.run(
        [str(repo.program()), "-c", "/dev/zero", "run"], capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 78 and "/dev/zero" in done.stderr


@pytest.mark.parametrize("content", [b"\0\0\0", b"spool = \"/a\0b\"\n", b"\xff\xfe\n", b""])
def test_rubbish(spool: Spool, content: bytes) -> None:
    spool.write_config_text(content)
    done = spool.run()
    assert done.returncode == 78 and str(spool.config) in done.stderr


# Values


@pytest.mark.parametrize(
    ("index", "text", "words"),
    [
        (0, 'spool = "relative/path"', "absolute"),
        (0, 'spool = "/"', "folder of its own"),
        (0, 'spool = ""', "empty"),
        (1, "retry = {}", "retry"),
        (1, 'retry = {"1m", "5 minutes"}', "5 minutes"),
        (1, 'retry = {"0"}', "duration"),
        (2, 'keep_sent = "7 d"', "duration"),
        (2, 'keep_sent = "99999999999999999999d"', "duration"),
        (2, 'keep_sents = "7d"', "keep_sents"),
        (2, 'domain = "no name"', "domain"),
        (2, 'domain = "@shop.example"', "domain"),
        (4, '\turl = "smtp.example.com"', "smtp://"),
        (4, '\turl = "http://smtp.example.com"', "in place of http"),
        (4, '\turl = "ftp://smtp.example.com"', "smtp://"),
        (4, '\turl = "smtp://u:p@smtp.example.com"', "url"),
        (4, '\turl = "smtp://smtp.example.com/path"', "url"),
        (4, '\turl = "smtp://smtp.example.com:0"', "url"),
        (4, '\turl = "smtp://smtp.example.com:65536"', "url"),
        (5, '\ttls = "yes"', "required"),
        (5, '\ttls_min_version = "1.1"', "1.2"),
        (5, '\ttimeout_dot = "0"', "duration"),
        (5, '\thelo = "a b"', "helo"),
        (5, '\tca_file = "ca.pem"', "absolute"),
        (5, '\tca_file = "/nowhere/ca.pem"', "does not exist"),
        (5, '\tkey_file = "/etc/hostname"', "cert_file"),
        (5, '\tuser = "site"', "password_file"),
    ],
    ids=lambda value: str(value).strip()[:40],
)
def test_values(spool: Spool, index: int, text: str, words: str) -> None:
    lines = good(spool)
    lines[index] = text
    assert words in complaint(spool, lines, index + 1)


def test_no_url(spool: Spool) -> None:
    lines = good(spool)
    del lines[4]
    assert "url" in complaint(spool, lines, 4)


def test_no_relay(spool: Spool) -> None:
    spool.write_config_text("\n".join(good(spool)[:3]) + "\n")
    done = spool.run()
    assert done.returncode == 78 and "relay" in done.stderr
    assert spool.command("status").returncode == 0, "who only looks needs none"


# Passwords


def with_login(spool: Spool, url: str, password_file: Path, tls: str = "required") -> List[str]:
    lines = good(spool, url)
    lines[5] = f'\ttls = "{tls}"'
    lines[7:] = ['\tuser = "site"', f'\tpassword_file = "{password_file}"', "}"]
    return lines


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o641])
def test_a_password_open_to_everybody(spool: Spool, mode: int) -> None:
    secret = spool.secret("hunter2", mode=mode)
    said = complaint(spool, with_login(spool, "smtp://mx.example", secret), 9)
    assert str(secret) in said and "chmod" in said and "hunter2" not in said


@pytest.mark.parametrize("text", ["", "\n", "two\nlines\n", "x" * 1100, "a\tb\n"])
def test_what_is_no_password(spool: Spool, text: str) -> None:
    secret = spool.secret(text)
    said = complaint(spool, with_login(spool, "smtp://mx.example", secret), 9)
    assert str(secret) in said and (not text.strip() or text.strip() not in said)


def test_a_password_that_is_not_there(spool: Spool) -> None:
    said = complaint(spool, with_login(spool, "smtp://mx.example", Path("/nowhere/pw")), 9)
    assert "/nowhere/pw" in said and "does not exist" in said


@pytest.mark.parametrize("tls", ["none", "opportunistic"])
def test_a_password_never_goes_unencrypted(spool: Spool, tls: str) -> None:
    secret = spool.secret("hunter2")
    said = complaint(spool, with_login(spool, "smtp://mx.example", secret, tls), 8)
    assert "unencrypted" in said


def test_a_password_on_loopback(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(ehlo=["AUTH PLAIN"], users={"site": "hunter2"}, require_auth=True)
    secret = spool.secret("hunter2\n", mode=0o640)
    spool.write_config_text("\n".join(with_login(spool, server.url, secret, "none")) + "\n")
    spool.drop(MESSAGE, envelope=TO_B)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert server.sessions[0].credentials[0][1:] == ("site", "hunter2")
    assert "hunter2" not in done.stderr + done.stdout


def test_who_only_looks_needs_no_password(spool: Spool) -> None:
    lines = with_login(spool, "smtp://mx.example", Path("/nowhere/pw"))
    lines[8] = '\tpassword_file = "${CREDENTIALS_DIRECTORY}/smtp-password"'
    spool.write_config_text("\n".join(lines) + "\n")
    env = {key: value for key, value in os.environ.items() if key != "CREDENTIALS_DIRECTORY"}
    for command, status in (("status", 0), ("list", 0), ("init", 0), ("run", 78)):
        done = subprocess.run(spool.argv(command), capture_output=True, text=True, env=env)
        assert done.returncode == status, done.stderr
    assert "CREDENTIALS_DIRECTORY" in done.stderr


def test_who_queues_or_looks_needs_nothing_of_a_relay(spool: Spool) -> None:
    """Variables that only the service has, and values that only a run can use."""
    relay = {"url": "smtp://${SMTP_HOST}", "user": "${SMTP_USER}", "connections": "many"}
    spool.write_config(**relay)
    for command in (["status"], ["list"], ["init"], ["retry", "--all"], ["purge"]):
        assert spool.command(*command).returncode == 0, command
    done = subprocess.run(spool.argv("submit", "root"), input=b"hello\n", capture_output=True)
    assert done.returncode == 0 and spool.counts()["new"] == 1
    for command in (["run"], ["verify"]):
        done_too = spool.command(*command)
        assert done_too.returncode == 78 and "SMTP_HOST" in done_too.stderr
    spool.write_config({"keep_sent": "${KEEP}"}, **relay)
    assert spool.command("status").returncode == 78


def test_the_example_works_after_changing_three_values(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """etc/maildrain.conf: the spool, the relay's url, its login; here without TLS as well."""
    text = (repo.ROOT / "etc" / "maildrain.conf").read_text()
    server = fault_server(ehlo=["PIPELINING", "AUTH PLAIN"], users={"site": "hunter2"})
    changes = {
        "url": f'url = "{server.url}"',
        "tls": 'tls = "none"',
        "spool": f'spool = "{spool.path}"',
        "password_file": f'password_file = "{spool.secret("hunter2")}"',
        "user": 'user = "site"',
    }
    for key, line in changes.items():
        pattern = re.compile(rf"^(\s*)#? ?{key}\s*=.*$", re.MULTILINE)
        text, count = pattern.subn(rf"\1{line}", text, count=1)
        assert count == 1, key
    spool.write_config_text(text)
    spool.drop(MESSAGE, envelope=TO_B)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert len(server.messages) == 1
