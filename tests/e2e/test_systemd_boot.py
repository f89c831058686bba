"""The units, as "make install" puts them, under a real systemd."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Dict, Iterator, List

import pytest
from lab import logfmt, metrics, repo
from lab.certs import Certs
from lab.faultserver import DEFAULT_EHLO
from lab.machine import Machine, wait_until, why_not
from lab.spool import envelope_block

# A body that can hold no line of dashes: its record's end is plain without waiting.
ENCODED = (
    b'Content-Type: text/plain; charset="utf-8"\nMIME-Version: 1.0\n'
    b"Content-Transfer-Encoding: base64\nSubject: hello\nFrom: site@example.com\n"
    b"To: a@example.net\nDate: Wed, 01 Jan 2025 00:00:00 -0000\nMessage-ID: <1@example.com>\n"
    b"\nSGVsbG8uCg==\n"
)

# Each is refused in the sandbox, and in it alone: the second word says by what line of the unit.
PROBES = """
import ctypes, errno, json, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *args):
    if getattr(libc, name)(*args) == -1:
        raise OSError(ctypes.get_errno(), name)
def write(path):
    with open(path, "w"):
        os.unlink(path)
PROBES = {
    "ptrace filter": lambda: call("ptrace", 0, 0, 0, 0),
    "setpriority filter": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    "setaffinity filter": lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "personality LockPersonality": lambda: call("personality", 0x0040000),
    "unshare RestrictNamespaces": lambda: call("unshare", 0x10000000),
    "packet RestrictAddressFamilies": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "exec MemoryDenyWriteExecute": lambda: mmap.mmap(
        -1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "setuid RestrictSUIDSGID": lambda: os.close(
        os.open(sys.argv[1] + "/suid", os.O_CREAT | os.O_WRONLY, 0o4700)),
    "srv ProtectSystem": lambda: write("/srv/shared/x"),
    "run ReadOnlyPaths": lambda: write("/run/shared/x"),
    "shm InaccessiblePaths": lambda: write("/dev/shm/x"),
}
def connect(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
GOOD = {
    "ordinary": os.getpid,
    "spool": lambda: write(sys.argv[1] + "/probe"),
    "resolver": lambda: connect("/run/systemd/journal/stdout"),  # as to its own
}
said = {}
for name in (sys.argv[2:] or [*PROBES, *GOOD]):
    try:
        ({**PROBES, **GOOD})[name]()
        said[name] = "worked"
    except OSError as error:
        said[name] = errno.errorcode[error.errno]
with open("/proc/self/status") as file:
    status = dict(line.rstrip().split(":\\t") for line in file if ":\\t" in line)
said.update((key, status[key].strip()) for key in ("Seccomp", "NoNewPrivs", "CapBnd", "CapEff"))
print("PROBE " + json.dumps(said), flush=True)
"""

def install_script() -> str:
    """Run in the new root before its systemd. The sandbox denies what a sanitizer's run-time does,
    so the program is the one as shipped."""
    build = repo.plain_program().parents[1]
    lines = [
        f'make --silent -C {repo.ROOT} DESTDIR="$PWD" PREFIX=/usr BUILD={build} install',
        "printf '[Journal]\\nStorage=volatile\\n' >etc/systemd/journald.conf",
    ]
    return "\n".join(lines)


def run_probes(machine: Machine, override: str = "", *probes: str) -> Dict[str, str]:
    """What a process meets with in the unit's place, OVERRIDE being further lines of it."""
    machine.path("/run/probe.py").write_text(PROBES)
    for place in ("/run/shared", "/srv/shared"):
        machine.path(place).mkdir(exist_ok=True)
        machine.path(place).chmod(0o777)
    words = " ".join(f'"{probe}"' for probe in probes)
    argv = f"/usr/bin/python3 -I /run/probe.py /var/spool/maildrain/tmp {words}"
    machine.override(
        "maildrain.service", f"[Service]\nExecStart=\nExecStart={argv}\n{override}"
    )
    machine.call("systemctl", "start", "maildrain.service")
    found = re.search(r"^PROBE (.*)$", machine.log(), re.MULTILINE)
    return json.loads(found[1]) if found else {}


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if not repo.plain_program().exists():
        pytest.fail(f"{repo.plain_program()} is missing: run make, or set MAILDRAIN_PLAIN")
    reason = why_not()
    if reason:
        pytest.skip(reason)
    machine = Machine(tmp_path_factory.mktemp("boot"), install_script())
    try:
        trouble = machine.start()
        if trouble:
            pytest.skip(f"systemd does not boot in a namespace here: {trouble}")
        for tool in (("systemd-sysusers",), ("systemd-tmpfiles", "--create", "maildrain.conf")):
            machine.check(*tool)
        yield machine
    finally:
        machine.stop()


@pytest.fixture
def machine(booted: Machine) -> Machine:
    booted.reset()
    return booted


def test_unit_sends_what_the_web_user_drops(machine: Machine) -> None:
    unique = machine.drop()
    assert machine.run_service() == 0, machine.log()
    assert machine.sent(unique), machine.ls()
    assert machine.ls()["new"] == []


def test_outage_is_a_failed_unit_until_the_next_good_run(machine: Machine) -> None:
    machine.relay_down()
    unique = machine.drop()
    assert machine.run_service() == os.EX_TEMPFAIL, machine.log()
    assert machine.show("maildrain.service", "ActiveState") == "failed"
    assert machine.ls()["new"] == [unique], "nothing is charged"
    machine.relay_up()
    assert machine.run_service() == 0, machine.log()
    assert machine.show("maildrain.service", "ActiveState") == "inactive"
    assert machine.sent(unique)


ALERT = "maildrain-alert@maildrain.service.service"
ALERT_PRIORITY, ERROR_PRIORITY = 1, 3


def test_outage_is_told_of_once(machine: Machine) -> None:
    machine.pager('echo "PAGED $# $1: $2"; echo "$MAILDRAIN_UNIT"')
    machine.relay_down()
    unique, start = machine.drop(), len(machine.entries())
    for _ in range(3):
        assert machine.run_service() == os.EX_TEMPFAIL
        assert wait_until(lambda: machine.show(ALERT, "SubState") == "running", 5), machine.log(ALERT)
    (alert,) = logfmt.parse("\n".join(machine.said(start, ALERT_PRIORITY)))
    assert (alert["event"], alert["unit"], alert["relay"]) == ("alert", "maildrain.service", "main")
    assert "no relay takes mail (exit status 75); 1 message is due" in alert["text"]
    paged = [line for line in machine.said(start) if line.startswith("PAGED")]
    assert paged == [f"PAGED 2 on call: {alert['text']}"]
    assert machine.show(ALERT, "User") == "maildrain"
    assert machine.failed() == ["maildrain.service"]

    machine.relay_up()
    assert machine.run_service() == 0 and machine.sent(unique)
    assert machine.failed() == []
    assert machine.show(ALERT, "ActiveState") == "active", "for the rest of its hour"


def test_next_outage_is_told_of_after_a_reset(machine: Machine) -> None:
    """As the comment in the unit says."""
    machine.relay_down()
    machine.drop()
    start = len(machine.entries())
    for count in (1, 2):
        machine.run_service()
        assert wait_until(lambda: len(machine.said(start, ALERT_PRIORITY)) == count, 5)
        machine.check("systemctl", "stop", "maildrain-alert@*")
        machine.check("systemctl", "reset-failed", "maildrain-alert@*", "maildrain.service")


def test_command_that_fails_is_a_failed_unit_and_called_once(machine: Machine) -> None:
    machine.pager("echo PAGED; exit 3")
    machine.relay_down()
    machine.drop()
    start = len(machine.entries())
    for _ in range(3):
        machine.run_service()
        assert wait_until(lambda: machine.show(ALERT, "ActiveState") == "failed", 5)
    assert machine.said(start).count("PAGED") == 1
    ended = [line for line in machine.said(start, ERROR_PRIORITY) if "alert-command" in line]
    assert len(ended) == 1 and " exit=3 " in ended[0]


def test_broken_config_is_told_of_too(machine: Machine) -> None:
    machine.path("/etc/maildrain.conf").write_text("spol = 1\n")
    start = len(machine.entries())
    assert machine.run_service() == os.EX_CONFIG
    assert wait_until(lambda: machine.said(start, ALERT_PRIORITY), 5)
    assert "did you mean 'spool'" in machine.said(start, ALERT_PRIORITY)[0]


def test_journal_reads_well(machine: Machine) -> None:
    """All that maildrain says is found by its name, a line an event, and nothing of systemd's."""
    start = len(machine.entries())
    assert machine.run_service() == 0
    assert machine.said(start) == [], "nothing to do, nothing to say"
    machine.drop()
    machine.run_service()
    machine.relay_down()
    machine.drop()
    machine.run_service()
    assert wait_until(lambda: machine.said(start, ALERT_PRIORITY), 5)
    lines = machine.said(start)
    events = logfmt.parse("\n".join(lines))
    assert [event["event"] for event in events] == ["sent", "run", "relay-down", "alert"]
    assert len(events) == len(lines)
    assert events[1]["exit"] == "0"
    assert not any("time" in event for event in events), "the journal has its own"
    assert len(machine.said(start, ERROR_PRIORITY)) == 2


def test_metrics_file_needs_the_lines_that_the_manual_has(machine: Machine) -> None:
    folder, path = machine.path("/var/lib/prometheus"), "/var/lib/prometheus/node-exporter/m.prom"
    (folder / "node-exporter").mkdir(parents=True, exist_ok=True)
    manual = (repo.ROOT / "src" / "maildrain.conf.5").read_text()
    for command in re.findall(r"^# (ch\w+ .*/var/lib/prometheus/node-exporter)$", manual, re.MULTILINE):
        machine.check(*command.split())
    config = machine.path("/etc/maildrain.conf")
    config.write_text(f'metrics_file = "{path}"\n' + config.read_text())
    unique = machine.drop()
    assert machine.run_service() == os.EX_IOERR and machine.sent(unique)
    assert "Read-only file system" in machine.log()
    override = re.search(r"^\[Service\]\nReadWritePaths=.*$", manual, re.MULTILINE)
    assert override
    machine.override("maildrain.service", override[0] + "\n")
    assert machine.run_service() == 0, machine.log()
    found = metrics.parse(machine.path(path).read_text())
    assert found["maildrain_last_run_exit_status"] == 0 and found["maildrain_sent_total"] >= 1


def test_timer_goes_on_after_failed_runs(machine: Machine) -> None:
    machine.override(
        "maildrain.timer", "[Timer]\nOnCalendar=\nOnCalendar=*:*:*\nRandomizedDelaySec=0\n"
    )
    machine.relay_down()
    unique = machine.drop()
    before = machine.runs()
    machine.check("systemctl", "start", "maildrain.timer")
    assert wait_until(lambda: machine.runs() >= before + 3), machine.log()
    machine.relay_up()
    assert wait_until(lambda: machine.sent(unique)), machine.log()


def test_path_unit_sends_at_once_and_does_not_spin(machine: Machine) -> None:
    machine.drop(fields=",A=1,E=4.0.0,T=9999999999")
    machine.check("systemctl", "start", "maildrain.path")
    before = machine.runs()
    unique = machine.drop()
    assert wait_until(lambda: machine.sent(unique), 5), machine.log()
    time.sleep(1.5)
    assert machine.runs() == before + 1, "deferred mail or a run's own renames start further runs"
    assert machine.show("maildrain.path", "SubState") == "waiting"


def test_path_unit_sees_the_dumps_of_stock_django(machine: Machine) -> None:
    dump = machine.path("/var/spool/maildrain/20250101-000000-140000.log")
    dump.touch(0o644)
    machine.check("systemctl", "start", "maildrain.path")
    with open(dump, "ab") as file:
        file.write(ENCODED + b"\n" + b"-" * 79 + b"\n")
    assert wait_until(lambda: machine.ls()["cur"], 5), machine.log()


def test_path_unit_survives_many_drops_during_an_outage(machine: Machine) -> None:
    machine.relay_down()
    machine.check("systemctl", "start", "maildrain.path")
    before = machine.runs()
    for count in range(1, 8):
        machine.drop()
        assert wait_until(lambda: machine.runs() >= before + count, 5), machine.log()
        assert wait_until(lambda: machine.show("maildrain.service", "ActiveState") == "failed", 5)
        assert wait_until(lambda: machine.show("maildrain.path", "SubState") == "waiting", 5)
    machine.relay_up()
    unique = machine.drop()
    assert wait_until(lambda: machine.sent(unique), 5), machine.log()
    assert machine.ls()["new"] == []


def test_password_comes_as_a_credential(machine: Machine) -> None:
    machine.configure(user="site", password_file="${CREDENTIALS_DIRECTORY}/smtp-password")
    machine.drop()
    assert machine.run_service() == os.EX_CONFIG
    assert "/run/credentials/maildrain.service/smtp-password" in machine.log()
    secret = machine.path("/etc/maildrain/smtp-password")
    secret.write_text("s3cret-of-the-site\n")
    secret.chmod(0o600)
    # smtp-sink offers no AUTH: with the password read, that is what is wrong next.
    assert machine.run_service() == os.EX_TEMPFAIL, machine.log()
    assert "s3cret" not in machine.log()


GIVE_TOKEN = """#!/usr/bin/python3 -I
import json, os
with open(os.environ["RUNTIME_DIRECTORY"] + "/asked", "a") as asked:
    asked.write("x")
print(json.dumps({"access_token": "ya29.s3cr3t", "expires_in": 3600}))
"""


def test_token_is_got_within_the_sandbox_and_kept(machine: Machine) -> None:
    """Programs that give tokens are often in Python. A run by hand finds what was kept."""
    server = machine.server(
        ehlo=(*DEFAULT_EHLO, "AUTH XOAUTH2"), users={"site": "ya29.s3cr3t"}, require_auth=True
    )
    give = machine.path("/usr/local/bin/give-token")
    give.write_text(GIVE_TOKEN)
    give.chmod(0o755)
    machine.configure(
        url=f"smtp://localhost:{server.port}", user="site", auth="xoauth2",
        token_command=["/usr/local/bin/give-token"],
    )  # fmt: skip
    folder = machine.path("/run/maildrain")
    with server:
        for run_once in (machine.run_service, machine.run_service, None):
            unique = machine.drop()
            if run_once:
                assert run_once() == 0, machine.log()
            else:
                machine.check("/usr/sbin/maildrain", "run")
            assert machine.sent(unique)
            assert (folder / "asked").read_text() == "x"
    owner = machine.path("/var/spool/maildrain").stat().st_uid
    for path, mode in ((folder, 0o700), (folder / "token-main", 0o600)):
        assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (owner, mode)
    assert "s3cr3t" not in "\n".join(machine.said())
    machine.check("rm", "/run/maildrain/asked", "/run/maildrain/token-main")


def test_template_drains_a_spool_of_its_own(machine: Machine) -> None:
    machine.configure("maildrain/bulk")
    machine.check(
        "sh", "-euc",
        "cd /usr/lib/tmpfiles.d; sed s,/maildrain,/maildrain-bulk, maildrain.conf >/etc/tmpfiles.d/"
        "maildrain-bulk.conf; systemd-tmpfiles --create maildrain-bulk.conf",
    )  # fmt: skip
    other, unique = machine.drop(), machine.drop("maildrain-bulk")
    assert machine.run_service("maildrain@bulk.service") == 0, machine.log("maildrain@bulk.service")
    assert machine.sent(unique, "maildrain-bulk")
    assert machine.ls()["new"] == [other]


def test_template_has_its_own_alert(machine: Machine) -> None:
    machine.path("/etc/maildrain/bulk.conf").write_text("spool = nowhere\n")
    machine.configure("maildrain/bulk")
    machine.pager('echo "PAGED $2"', "maildrain/bulk")
    machine.check("sh", "-euc", "mkdir -p /var/spool/maildrain-bulk; cp -a /var/spool/maildrain/. "
                  "/var/spool/maildrain-bulk; chown --reference=/var/spool/maildrain "
                  "/var/spool/maildrain-bulk; chmod 3770 /var/spool/maildrain-bulk")  # fmt: skip
    machine.relay_down()
    machine.drop("maildrain-bulk")
    start = len(machine.entries())
    status = machine.run_service("maildrain@bulk.service")
    assert status == os.EX_TEMPFAIL, machine.log("maildrain@bulk.service")
    assert wait_until(lambda: machine.said(start, ALERT_PRIORITY), 5)
    assert wait_until(lambda: any(line.startswith("PAGED") for line in machine.said(start)), 5)
    (paged,) = [line for line in machine.said(start) if line.startswith("PAGED")]
    assert paged.startswith("PAGED maildrain@bulk.service on ") and "1 message is due" in paged
    assert machine.show("maildrain-alert@maildrain@bulk.service.service", "SubState") == "running"


def test_sandbox_shows_a_run_nothing_else_to_write(machine: Machine) -> None:
    """A spool elsewhere needs a line in the unit: without it, a clear refusal and no loss."""
    machine.check("cp", "-a", "/var/spool/maildrain", "/srv/maildrain")
    config = machine.path("/etc/maildrain.conf")
    config.write_text(config.read_text().replace("/var/spool/maildrain", "/srv/maildrain"))
    unique = machine.drop()
    machine.check("mv", f"/var/spool/maildrain/new/{unique}", "/srv/maildrain/new/")
    assert machine.run_service() not in (0, os.EX_TEMPFAIL)
    assert os.listdir(machine.path("/srv/maildrain/new")) == [unique]
    machine.override("maildrain.service", "[Service]\nReadWritePaths=/srv/maildrain\n")
    assert machine.run_service() == 0, machine.log()


# The sandbox, from within


def refused(said: Dict[str, str]) -> List[str]:
    """The probes that did not work, of those that are to be refused."""
    return sorted(name for name in said if " " in name and said[name] != "worked")


def probes() -> List[str]:
    return sorted(re.findall(r'^    "(\w+ \w+)": ', PROBES, re.MULTILINE))


def test_sandbox_is_in_effect(machine: Machine) -> None:
    said = run_probes(machine)
    assert refused(said) == probes(), said
    assert {name: said[name] for name in probes() if name.endswith("filter")} == {
        name: "EPERM" for name in probes() if name.endswith("filter")
    }
    assert said["ordinary"] == said["spool"] == said["resolver"] == "worked", said
    assert (said["Seccomp"], said["NoNewPrivs"]) == ("2", "1")
    assert int(said["CapBnd"], 16) == int(said["CapEff"], 16) == 0


def test_each_part_of_the_sandbox_does_its_own(machine: Machine) -> None:
    """The test above can fail: what a line of the unit forbids works without it."""
    off = """
SystemCallFilter=
LockPersonality=no
RestrictNamespaces=no
RestrictAddressFamilies=
MemoryDenyWriteExecute=no
RestrictSUIDSGID=no
ProtectSystem=no
ReadOnlyPaths=
InaccessiblePaths=
"""
    assert refused(run_probes(machine, off)) == []


def test_filter_alone_refuses_what_it_is_for(machine: Machine) -> None:
    without_filter = run_probes(machine, "SystemCallFilter=\n")
    others = [name for name in probes() if not name.endswith("filter")]
    assert refused(without_filter) == others


def test_exposure_of_the_loaded_unit(machine: Machine) -> None:
    for unit in ("maildrain.service", "maildrain@bulk.service", "maildrain-alert@x.service"):
        result = machine.call(
            "systemd-analyze", "security", "--no-pager", "--threshold=15", unit
        )
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
        assert level and float(level[1]) <= 1.5 and result.returncode == 0, result.stdout


KILL = "SystemCallErrorNumber=kill\n"


def test_forbidden_call_can_be_made_to_kill(machine: Machine) -> None:
    """What the next test stands on."""
    assert run_probes(machine, KILL, "ordinary")["ordinary"] == "worked"
    machine.path("/run/systemd/system/maildrain.service.d/test.conf").unlink()
    machine.path("/run/systemd/system/maildrain.service.d").rmdir()
    assert run_probes(machine, KILL, "ptrace filter") == {}
    assert machine.show("maildrain.service", "ExecMainStatus") == str(int(signal.SIGSYS))


PARTLY = b"Subject: three\n\nFor three, with a line of 8bit: \xc3\xa9.\n"


def test_no_path_of_a_run_needs_a_forbidden_call(machine: Machine, tmp_path: Path) -> None:
    """TLS, AUTH, names by DNS or hosts, partial success, a dump, an expiry, a claim that is over,
    notifications, the sweep and the purge: with a filter that kills, one call too many would show."""
    certs = Certs(tmp_path)
    machine.path("/etc/maildrain/ca.pem").write_bytes(certs.ca.read_bytes())
    secret = machine.path("/etc/maildrain/smtp-password")
    secret.write_text("right\n")
    secret.chmod(0o600)
    answers = {"no@example.net": "550 5.1.1 Unknown", "later@example.net": ["451 4.2.1 Busy"]}
    server = machine.server(
        ehlo=(*DEFAULT_EHLO, "STARTTLS"), ehlo_tls=(*DEFAULT_EHLO, "AUTH PLAIN"),
        tls=certs.server_context(), users={"site": "right"}, require_auth=True,
        answers={"RCPT": {**answers, "*": None}},
    )  # fmt: skip
    three = envelope_block("s@example.com", ["a@example.net", *answers])
    machine.put("1.M1P1Q1.h", three + PARTLY)
    machine.put("1.M2P1Q1.h,X=1000", three + PARTLY)
    machine.put("1.M3P1Q1.h,A=1,C=elsewhere-1,T=1000", three + PARTLY)
    machine.put("20250101-000000-140000.log", ENCODED + b"\n" + b"-" * 79 + b"\n", ".")
    for folder in ("tmp", "cur"):
        machine.put("1.M9P1Q1.h,A=1:2,S", PARTLY, folder)
    with server:
        machine.configure(
            url=f"smtp://localhost:{server.port}", tls="required", ca_file="/etc/maildrain/ca.pem",
            user="site", password_file="${CREDENTIALS_DIRECTORY}/smtp-password",
        )  # fmt: skip
        machine.override("maildrain.service", f"[Service]\n{KILL}")
        assert machine.run_service() == 0, machine.log()
        assert machine.show("maildrain.service", "Result") == "success"
        server.check()
    log = machine.log()
    assert "imported messages=1" in log
    # Who is to have it later is put off once, over both messages.
    assert [log.count(f"{event} id=") for event in ("sent", "deferred", "failed")] == [4, 1, 3], log
    after = machine.ls()
    # What is told of the two failures waits beside the one that is deferred.
    told = [name for name in after["new"] if name.endswith(".failure")]
    assert len(told) == log.count("notified id=") == 2, log
    assert [name.split(",")[0] for name in after["new"] if name not in told] == ["1.M1P1Q1.h"]
    assert {name.split(",")[0] for name in after["failed"]} == {"1.M2P1Q1.h", "1.M3P1Q1.h"}


def test_timer_as_shipped_fires_by_itself(machine: Machine) -> None:
    """A stamp an hour old is a missed minute: it is made up for at once."""
    unique = machine.drop()
    machine.check(
        "sh", "-euc",
        "mkdir -p /var/lib/systemd/timers; touch -d -1hour /var/lib/systemd/timers/"
        "stamp-maildrain.timer",
    )  # fmt: skip
    machine.check("systemctl", "enable", "--now", "maildrain.timer")
    try:
        assert wait_until(lambda: machine.sent(unique), 15), machine.log()
        assert wait_until(lambda: machine.show("maildrain.timer", "SubState") == "waiting", 5)
        nearest = machine.out("systemctl", "list-timers", "--no-pager", "--output=json",
                              "maildrain.timer")  # fmt: skip
        (timer,) = json.loads(nearest)
        assert 0 < timer["next"] / 1e6 - time.time() < 66
    finally:
        machine.check("systemctl", "disable", "--now", "maildrain.timer")
