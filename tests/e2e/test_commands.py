"""The commands: what they say, where they say it, and their exit status."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path
from typing import Callable, Dict, List, Optional

import pytest

from lab import logfmt, measure, net, repo, terminal
from lab.aiosmtp import AioServer
from lab.certs import Certs
from lab.faultactions import Delay
from lab.faultserver import FaultServer
from lab.spool import Spool, unique_name, unique_of

MESSAGE = b"Subject: hello\n\ntext\n"
TO_B = ("a@example.com", ["b@example.net"])
COMMANDS = (
    "run", "init", "verify", "status", "list", "show", "retry", "purge", "check", "alert", "submit"
)  # fmt: skip


def program(*args: str, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(repo.program()), *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        **options,  # type: ignore[call-overload]
    )


# Help, version, usage


def test_help() -> None:
    done = program("--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("usage: maildrain")
    for command in COMMANDS:
        assert re.search(rf"^  {command}\b", done.stdout, re.MULTILINE)
    assert max(map(len, done.stdout.splitlines())) < 80


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command: str) -> None:
    done = program(command, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert re.match(rf"usage: maildrain \[-c FILE\] {command}\b", done.stdout)
    assert max(map(len, done.stdout.splitlines())) < 80


def test_version() -> None:
    done = program("--version")
    assert done.returncode == 0 and done.stderr == ""
    assert re.match(r"maildrain \d+\.\d+\.\d+\n", done.stdout)
    assert re.search(r"\blibcurl/\d+\.\d+\.\d+", done.stdout)
    assert re.search(r"\blib[cC]onfuse[/ ].*\d+\.\d+", done.stdout)


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["-c", "/nowhere"],
        ["drain"],
        ["retries"],
        ["--dry-run"],
        ["run", "now"],
        ["run", "--all"],
        ["list", "--dry-run"],
        ["status", "--verbose"],
        ["run", "--nonsense"],
        ["run", "-x"],
        ["-c"],
        ["init", "one", "two"],
    ],
    ids=" ".join,
)
def test_usage(args: List[str]) -> None:
    done = program(*args)
    assert done.returncode == 64, done
    assert done.stdout == ""
    assert "--help" in done.stderr


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_output_that_can_not_be_written(args: List[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [str(repo.program()), *args], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 74 and "output" in done.stderr


def test_status_list_and_show_that_can_not_be_written(spool: Spool) -> None:
    name = spool.drop(MESSAGE, envelope=TO_B)
    for command in (["status"], ["list"], ["show", name]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(spool.argv(*command), stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 74


def test_the_config_may_stand_behind_the_command(spool: Spool) -> None:
    for args in (["status", "-c", str(spool.config)], [f"--config={spool.config}", "status"]):
        assert program(*args).returncode == 0


# status


def fill(spool: Spool) -> Dict[str, str]:
    """A message in each state; their names by state."""
    now = int(time.time())

    def name(age: int, fields: str = "") -> str:
        return f"{now - age}.M1P1Q{age}.h{fields}"

    names = {
        "waiting": spool.drop(MESSAGE, name(30), TO_B),
        "later": spool.drop(MESSAGE, name(7500, f",T={now + 4000}"), TO_B),
        "in flight": spool.drop(MESSAGE, name(40, f",A=1,C=other-7,T={now + 3600}"), TO_B),
        "deferred": spool.drop(MESSAGE, name(200_000, f",A=2,E=4.2.1,T={now + 310}"), TO_B),
    }
    through = (("cur", ",A=1:2,S"), ("cur", ",A=3:2,S"), ("failed", ",A=1,E=5.1.1"))
    for age, (folder, tail) in enumerate(through, 3700):
        path = spool.path / folder / f"{name(age)}{tail}"
        path.write_bytes(b"From: a@example.com\nTo: b@example.net\n\nx\n")
        names[folder] = path.name
    return names


def table(text: str) -> Dict[str, List[str]]:
    rows = (re.match(r"(.+?)  +(\d+)   (.+)$", line) for line in text.splitlines())
    return {row[1].strip(): [row[2], row[3]] for row in rows if row}


def test_status(spool: Spool) -> None:
    fill(spool)
    (spool.path / "new" / "folder").mkdir()
    (spool.path / "new" / ".hidden").touch()
    done = spool.command("status")
    assert done.returncode == 0 and done.stderr == ""
    rows = table(done.stdout)
    assert {state: row[0] for state, row in rows.items()} == {
        "waiting": "2",
        "in flight": "1",
        "deferred": "1",
        "failed": "1",
        "sent": "2",
        "due now": "1",
    }
    assert rows["waiting"][1] == "2h 5m"
    assert re.match(r"[34]\ds$", rows["in flight"][1])
    assert rows["deferred"][1] == "2d 7h"
    assert rows["failed"][1] == "1h 1m"
    assert re.match(r"3\ds$", rows["due now"][1])
    assert re.search(r"^next attempt in 5m$", done.stdout, re.MULTILINE)
    assert str(spool.path) in done.stdout


def test_status_of_an_empty_spool(spool: Spool) -> None:
    done = spool.command("status")
    assert done.returncode == 0
    assert all(row == ["0", "-"] for row in table(done.stdout).values())
    assert "next attempt" not in done.stdout


def test_status_with_wild_births(spool: Spool) -> None:
    for birth in ("9223372036854775807", "9223372036854775806", "99999999999999999999", "0"):
        spool.drop(MESSAGE, f"{birth}.M1P1Q1.h,T=9223372036854775807", TO_B)
    done = spool.command("status")
    assert done.returncode == 0 and table(done.stdout)["waiting"][0] == "4"
    assert spool.command("list").returncode == 0


def test_a_wild_birth_does_no_harm_in_the_log(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    spool.write_config({}, url=server.url, tls="none")
    for birth in ("9223372036854775807", "4102444800"):
        spool.drop(MESSAGE, f"{birth}.M1P1Q1.h", TO_B)
    done = spool.run()
    assert done.returncode == 0
    delays = [line["delay"] for line in logfmt.parse(done.stderr) if line["event"] == "sent"]
    assert delays == ["0.0", "0.0"]


# list


def listed(text: str) -> Dict[str, str]:
    """The lines of `list` by the name's first part."""
    found = ((re.search(r"\d+\.M1P1Q\d+\.h", line), line) for line in text.splitlines())
    return {match[0]: line for match, line in found if match}


def test_list(spool: Spool) -> None:
    names = fill(spool)
    done = spool.command("list")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("state")
    lines = listed(done.stdout)
    assert set(lines) == {unique_of(name) for state, name in names.items() if state != "cur"}
    assert re.match(r"waiting +0 now +- +", lines[unique_of(names["waiting"])])
    assert re.match(r"waiting +0 in 1h 6m +- +", lines[unique_of(names["later"])])
    assert re.match(r"in flight +1 - +- +", lines[unique_of(names["in flight"])])
    assert re.match(r"deferred +2 in 5m +4\.2\.1 +", lines[unique_of(names["deferred"])])
    assert re.match(r"failed +1 - +5\.1\.1 +", lines[unique_of(names["failed"])])
    assert all(line.endswith("<a@example.com> -> <b@example.net>") for line in lines.values())
    everything = listed(spool.command("list", "--all").stdout)
    assert len(everything) == len(lines) + 2
    assert re.match(r"sent +3 - +- +", everything[unique_of(names["cur"])])


def test_list_is_in_the_order_of_service(spool: Spool) -> None:
    names = ["3.M1P1Q1.h,P=1", "4.M1P1Q1.h", "5.M1P1Q1.h", "1.M1P1Q1.h,A=1,E=4.0.0,T=5"]
    for name in reversed(names):
        spool.drop(MESSAGE, name, TO_B)
    assert list(listed(spool.command("list").stdout)) == [unique_of(name) for name in names]


def test_list_shows_what_can_not_be_sent_and_obeys_no_message(spool: Spool) -> None:
    spool.drop(b"no header\n", "1.M1P1Q1.h")
    (spool.path / "new" / "2.M1P1Q1.h").touch()
    evil = b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <\x1b]0;evil\x07@x>\n"
    spool.drop(evil + b"X-Maildrain-Done: <d@example.net> 250 Ok\n" + MESSAGE, "3.M1P1Q1.h")
    done = spool.command("list")
    lines = listed(done.stdout)
    assert "no message" in lines["1.M1P1Q1.h"] and "empty" in lines["2.M1P1Q1.h"]
    assert "<?]0;evil?@x> <d@example.net> (sent)" in lines["3.M1P1Q1.h"]
    for text in (done.stdout, spool.run("--dry-run").stdout):
        assert all(line.isprintable() for line in text.splitlines())


@pytest.mark.parametrize("command", ["show", "retry"])
def test_what_is_wrong_obeys_no_message(spool: Spool, command: str) -> None:
    """Names that could be meant, and an id that there is not: who drops mail chooses them."""
    for name in (b"1\xc2\x9b2Jone", b"1\xe2\x80\xaetwo", b"1\xd8\x9c\xe2\x80\x8fthree"):
        Path(os.fsdecode(os.fsencode(spool.path / "new") + b"/" + name)).write_bytes(MESSAGE)
    done = spool.command(command, "1")
    assert done.returncode == 65
    for shown in ("1??2Jone", "1???two", "1?????three"):
        assert shown in done.stderr
    assert "there is no message ?[2J in " in spool.command(command, "\x1b[2J").stderr


# The progress line


def test_progress_on_a_terminal(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(
        ehlo=["8BITMIME"], answers={"DOT": lambda _: Delay(0.3), "RCPT": [None, "550 5.1.1 No"]}
    )
    spool.write_config({}, url=server.url, tls="none", connections=1)
    for _ in range(4):
        spool.drop(MESSAGE, envelope=TO_B)
    shown = terminal.run(spool.argv("run"))
    assert re.search(r"1 sent, 0 deferred, \d failed, \d to go\r\x1b\[K", shown), shown
    assert "sent id=" not in shown, "results that are well are not shown one by one"
    assert shown.count("failed id=") == 1
    last = shown.rsplit("\x1b[K", 1)[1]
    assert last.startswith("run sent=3 deferred=0 failed=1 ") and last.endswith("\r\n")


def test_verbose_on_a_terminal(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    spool.write_config({}, url=server.url, tls="none", connections=1)
    spool.drop(MESSAGE, envelope=TO_B)
    assert "sent id=" in terminal.run(spool.argv("run", "--verbose"))


def test_no_progress_elsewhere(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(ehlo=["8BITMIME"], answers={"DOT": lambda _: Delay(0.3)})
    spool.write_config({}, url=server.url, tls="none", connections=1)
    for _ in range(3):
        spool.drop(MESSAGE, envelope=TO_B)
    done = spool.run()
    assert done.stdout == "" and "to go" not in done.stderr and "\r" not in done.stderr
    assert [line["event"] for line in logfmt.parse(done.stderr)] == ["sent"] * 3 + ["run"]
    assert all("time" in line for line in logfmt.parse(done.stderr))


def test_priorities_and_no_time_under_journald(
    spool: Spool, fault_server: Callable[..., FaultServer], tmp_path: Path
) -> None:
    server = fault_server(answers={"RCPT": [None, "450 4.2.1 Busy", "550 5.1.1 No"]})
    spool.write_config({}, url=server.url, tls="none", connections=1)
    for _ in range(3):
        spool.drop(MESSAGE, envelope=TO_B)
    log = tmp_path / "journal"
    with open(log, "w") as stream:
        st = os.fstat(stream.fileno())
        env = {**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"}
        assert subprocess.run(spool.argv("run"), stderr=stream, env=env).returncode == 0
    lines = log.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["<6>sent", "<5>deferred", "<4>failed", "<5>run"]
    assert not any(" time=" in line for line in lines)
    # A stream that is not stderr is somebody else's.
    spool.drop(MESSAGE, envelope=TO_B)
    assert not spool.run(env={"JOURNAL_STREAM": "1:2"}).stderr.startswith("<")


def test_a_log_that_nobody_reads(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    spool.write_config({}, url=server.url, tls="none", connections=1)
    spool.drop(MESSAGE, envelope=TO_B)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(spool.argv("run"), stderr=writer)
    finally:
        os.close(writer)
    assert done.returncode == 0 and spool.counts()["cur"] == 1


def test_a_server_can_not_forge_the_log(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    evil = b'550 5.1.1 "quoted" \\ \x1b[2J\x01\tsent id=1 to=x\r\n'
    server = fault_server(answers={"RCPT": evil})
    spool.write_config({}, url=server.url, tls="none", connections=1)
    spool.drop(MESSAGE, envelope=TO_B)
    done = spool.run()
    (failed,) = [line for line in logfmt.parse(done.stderr) if "reply" in line]
    assert failed["event"] == "failed"
    assert failed["reply"] == '550 5.1.1 "quoted" \\ ?[2J??sent id=1 to=x'


# verify


def write_tls_config(
    spool: Spool, certs: Certs, url: str, password: Optional[str] = None
) -> None:
    login: Dict[str, object] = {}
    if password is not None:
        login = {"user": "site", "password_file": spool.secret(password)}
    relay = {"url": url, "ca_file": certs.ca, "timeout_connect": "5s", **login}
    spool.write_config({}, relays={"main": relay})  # type: ignore[dict-item]


def test_verify_shows_what_there_is(
    spool: Spool, aio_server: Callable[..., AioServer], certs: Certs
) -> None:
    server = aio_server(
        starttls=certs.server_context(), users={"site": "secret-1"}, pipelining=True
    )
    write_tls_config(spool, certs, server.url, "secret-1")
    done = spool.command("verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == "" and "PROBLEM" not in done.stdout
    for said in (str(spool.config), str(spool.path), server.url, '"main"', "TLSv1."):
        assert said in done.stdout
    assert "logged in as site" in done.stdout and "PIPELINING" in done.stdout
    assert "secret-1" not in done.stdout
    assert server.logins[-1][3] and not server.messages


def test_verify_wrong_password(
    spool: Spool, aio_server: Callable[..., AioServer], certs: Certs
) -> None:
    server = aio_server(starttls=certs.server_context(), users={"site": "secret-1"})
    write_tls_config(spool, certs, server.url, "wrong-1")
    done = spool.command("verify")
    assert done.returncode == 75
    assert "PROBLEM" in done.stdout and "535" in done.stdout and "wrong-1" not in done.stdout


def test_verify_unreachable(spool: Spool) -> None:
    port = net.free_port()
    spool.write_config({}, url=f"smtp://127.0.0.1:{port}", tls="none")
    done = spool.command("verify")
    assert done.returncode == 75
    assert "PROBLEM" in done.stdout and str(port) in done.stdout


def one_down_one_well(spool: Spool, server: FaultServer) -> None:
    relays = {
        "down": {"url": f"smtp://127.0.0.1:{net.free_port()}", "tls": "none"},
        "well": {"url": server.url, "tls": "none"},
    }
    spool.write_config({}, relays=relays)


def test_verify_goes_on_to_the_next_relay(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    one_down_one_well(spool, server)
    done = spool.command("verify")
    assert done.returncode == 75
    down, well = done.stdout.split('relay "well"')
    assert "PROBLEM" in down and "PROBLEM" not in well
    assert server.verbs == ["EHLO", "QUIT"]
    server.check()


def test_verify_without_tls_says_so(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(ehlo=["SIZE 1000000"])
    spool.write_config({}, url=server.url, tls="none")
    done = spool.command("verify")
    assert done.returncode == 0
    assert "not encrypted" in done.stdout and "1.0 MB" in done.stdout
    assert "PIPELINING" in done.stdout, "what it lacks is worth a note"


@pytest.mark.parametrize("folder", [".", "tmp", "new", "cur", "failed"])
def test_verify_wrong_modes(
    spool: Spool, fault_server: Callable[..., FaultServer], folder: str
) -> None:
    server = fault_server()
    spool.write_config({}, url=server.url, tls="none")
    (spool.path / folder).chmod(0o777)
    done = spool.command("verify")
    assert done.returncode == 78
    assert "PROBLEM" in done.stdout and "0777" in done.stdout and "maildrain init" in done.stdout
    assert server.verbs == ["EHLO", "QUIT"], "the relay is looked at all the same"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_verify_wrong_owner(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server()
    spool.write_config({}, url=server.url, tls="none")
    os.chown(spool.path / "cur", 65534, 65534)
    (spool.path / "cur").chmod(0o2750)
    done = spool.command("verify")
    assert done.returncode == 78 and "/cur" in done.stdout and "chown" in done.stdout


def test_verify_without_a_spool(
    make_spool: Callable[..., Spool], fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    spool = make_spool(init=False)
    spool.write_config({}, url=server.url, tls="none")
    done = spool.command("verify")
    assert done.returncode == 78 and "maildrain init" in done.stdout


def test_verify_changes_nothing(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    spool.write_config({}, url=server.url, tls="none")
    name = spool.drop(MESSAGE, envelope=TO_B)
    assert spool.command("verify").returncode == 0
    assert spool.ls()["new"] == [name] and not server.received


# Exit status


def test_75_when_no_relay_can_be_reached(spool: Spool) -> None:
    spool.write_config({}, url=f"smtp://127.0.0.1:{net.free_port()}", tls="none")
    assert spool.run().returncode == 0, "nothing is due, so nobody is asked"
    name = spool.drop(MESSAGE, envelope=TO_B)
    done = spool.run()
    assert done.returncode == 75
    assert spool.ls()["new"] == [name]
    (down,) = [line for line in logfmt.parse(done.stderr) if line["event"] == "relay-down"]
    assert down["relay"] == "main" and down["reply"]


def test_0_when_the_second_relay_takes_it(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    one_down_one_well(spool, fault_server())
    name = spool.drop(MESSAGE, envelope=TO_B)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "1"})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
@pytest.mark.parametrize("command", ["run", "status", "list"])
def test_77_when_it_may_not(spool: Spool, command: str) -> None:
    for parent in spool.path.parents:
        if parent.stat().st_mode & stat.S_IXOTH == 0:
            parent.chmod(0o755)
    spool.config.chmod(0o644)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run([*become, *spool.argv(command)], capture_output=True, text=True)
    assert done.returncode == 77, done
    assert str(spool.path) in done.stderr and "Permission denied" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_77_when_the_config_may_not_be_read(spool: Spool) -> None:
    for parent in spool.path.parents:
        if parent.stat().st_mode & stat.S_IXOTH == 0:
            parent.chmod(0o755)
    spool.config.chmod(0o600)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run([*become, *spool.argv("run")], capture_output=True, text=True)
    assert done.returncode == 77 and str(spool.config) in done.stderr


def test_74_when_a_result_can_not_be_synced(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    if not measure.have_strace():
        pytest.skip("strace is missing or may not trace")
    server = fault_server()
    spool.write_config({}, url=server.url, tls="none", connections=1)
    spool.drop(MESSAGE, envelope=TO_B)
    trace = measure.trace(spool.argv("run"), ("fsync",), options=("-e", "inject=fsync:error=EIO"))
    assert trace.returncode == 74
    assert "can't sync" in trace.stderr and "Input/output error" in trace.stderr


def test_a_name_made_elsewhere_is_listed(spool: Spool) -> None:
    name = spool.drop(MESSAGE, unique_name().split(".")[0] + "-letter ö.eml", TO_B)
    assert name in spool.command("list").stdout


# A module of another version


def test_an_upgrade_beside_a_program_that_runs(spool: Spool, tmp_path: Path) -> None:
    """The module that it finds is not its own: nothing is sent through it, and nothing charged."""
    plain = repo.plain_program()
    module = plain.parents[1] / "lib" / "maildrain" / "smtp.so"
    version = re.match(r"maildrain (\S+)", program("--version").stdout)
    assert version
    own = version[1].encode() + b"\0"
    (tmp_path / "sbin").mkdir()
    (tmp_path / "lib" / "maildrain").mkdir(parents=True)
    shutil.copy2(plain, tmp_path / "sbin")
    other = b"9.9.9" + b"\0" * (len(own) - 5)
    (tmp_path / "lib" / "maildrain" / "smtp.so").write_bytes(
        module.read_bytes().replace(own, other)
    )
    argv = [str(tmp_path / "sbin" / plain.name), "-c", str(spool.config)]
    name = spool.drop(MESSAGE, envelope=TO_B)
    for command, status in (("run", 74), ("verify", 69)):
        done = subprocess.run([*argv, command], capture_output=True, text=True)
        assert done.returncode == status, done
        assert "smtp.so is of maildrain 9.9.9" in done.stdout + done.stderr
    assert spool.ls()["new"] == [name]
