"""The files for systemd and cron: correct, tight enough, and doing what their comments say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Tuple

import pytest
from lab import repo
from lab.spool import Spool

SYSTEMD = repo.ROOT / "systemd"
CRON = repo.ROOT / "etc" / "maildrain.cron"
INSTALLED = "/usr/sbin/maildrain"

KINDS = ("path", "service", "timer")
UNITS = sorted(path.name for kind in KINDS for path in SYSTEMD.glob(f"*.{kind}"))
SERVICES = [name for name in UNITS if name.endswith(".service")]
EXPOSURE_MAX = 1.5

MODES = {"": 0o3770, "tmp": 0o3770, "new": 0o3770, "cur": 0o2750, "failed": 0o2750, "state": 0o2750}
WEB_USER, OTHER_WEB_USER, STRANGER = 4242, 4243, 4244

needs_systemd = pytest.mark.skipif(
    not shutil.which("systemd-analyze"), reason="systemd-analyze is missing: install systemd"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root alone")


def run(*argv: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(arg) for arg in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def settings(unit: Path, section: str) -> List[str]:
    """The lines of a section, without comments."""
    found, inside = [], False
    for line in unit.read_text().splitlines():
        if line.startswith("["):
            inside = line == f"[{section}]"
        elif inside and line and not line.startswith("#"):
            found.append(line)
    return found


# Units


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that is there: verify looks for it."""
    for name in UNITS:
        text = (SYSTEMD / name).read_text().replace(INSTALLED, "/bin/true")
        (tmp_path / name).write_text(text)
    return tmp_path


def verify(unit: Path) -> str:
    """What systemd-analyze finds wrong. It exits 0 on most faults, so its words are the result."""
    return run("systemd-analyze", "verify", "--man=no", "--generators=no", unit).stdout


def test_all_units_are_there() -> None:
    own = [f"maildrain{at}.{kind}" for at in ("", "@") for kind in KINDS]
    more = ["-alert@.service", "-configured.path", "-configured.service"]
    assert UNITS == sorted(own + [f"maildrain{name}" for name in more])


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_has_no_complaint(units: Path, name: str) -> None:
    assert verify(units / name) == ""


@needs_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_would_complain_about_a_slip(units: Path, name: str) -> None:
    """The test above can fail: a misspelt key in the same file is found."""
    with open(units / name, "a", encoding="ascii") as unit:
        unit.write("\n[Unit]\nDescripton=a slip\n")
    assert "Descripton" in verify(units / name)


@needs_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_sandbox_is_tight(name: str) -> None:
    result = run(
        "systemd-analyze", "security", "--offline=true", "--no-pager",
        f"--threshold={EXPOSURE_MAX * 10:.0f}", SYSTEMD / name,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", result.stdout)
    assert level, result.stdout
    assert result.returncode == 0 and float(level[1]) <= EXPOSURE_MAX, result.stdout


@needs_systemd
def test_run_starts_each_minute() -> None:
    for name in ("maildrain.timer", "maildrain@.timer"):
        lines = settings(SYSTEMD / name, "Timer")
        calendar = [line for line in lines if line.startswith("OnCalendar=")]
        assert len(calendar) == 1
        result = run(
            "systemd-analyze", "calendar", "--base-time=2025-01-01 00:00:30 UTC", "--iterations=3",
            calendar[0].partition("=")[2], env={**os.environ, "TZ": "UTC"},
        )  # fmt: skip
        assert re.findall(r"00:0\d:00", result.stdout) == ["00:01:00", "00:02:00", "00:03:00"]


def as_instance(line: str) -> str:
    """A line of a plain unit as its template must have it."""
    return (
        line.replace("/etc/maildrain/smtp-password", "/etc/maildrain/%i.smtp-password")
        .replace("/var/spool/maildrain", "/var/spool/maildrain-%i")
        .replace(f"{INSTALLED} run", f"{INSTALLED} -c /etc/maildrain/%i.conf run")
        .replace("the spool", "the spool %i")
        .replace("RuntimeDirectory=maildrain", "RuntimeDirectory=maildrain@%i")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_template_has_the_same_settings(kind: str) -> None:
    for section in ("Unit", "Service", "Timer", "Path", "Install"):
        plain = settings(SYSTEMD / f"maildrain.{kind}", section)
        expected = [as_instance(line) for line in plain if "configured" not in line]
        assert settings(SYSTEMD / f"maildrain@.{kind}", section) == expected


# User and spool


class Machine(NamedTuple):
    """A root folder with the user and the spool in it."""

    root: Path
    uid: int
    gid: int

    @property
    def spool(self) -> Path:
        return self.root / "var" / "spool" / "maildrain"


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for tool in ("systemd-sysusers", "systemd-tmpfiles"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is missing: install systemd")
    (tmp_path / "etc").mkdir()
    (tmp_path / "var" / "spool").mkdir(parents=True)
    made = run("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "maildrain.sysusers")
    assert made.returncode == 0, made.stdout
    user = (tmp_path / "etc" / "passwd").read_text().strip().split(":")
    create_spool(tmp_path, SYSTEMD / "maildrain.tmpfiles")
    return Machine(tmp_path, int(user[2]), int(user[3]))


def create_spool(root: Path, tmpfiles: Path) -> None:
    made = run("systemd-tmpfiles", f"--root={root}", "--create", tmpfiles)
    assert (made.returncode, made.stdout) == (0, "")


def modes_below(spool: Path) -> Dict[str, int]:
    return {name: stat.S_IMODE((spool / name).stat().st_mode) for name in MODES}


@needs_root
def test_user_is_made_and_can_not_log_in(machine: Machine) -> None:
    etc = machine.root / "etc"
    name, _, uid, gid, _, _, shell = (etc / "passwd").read_text().strip().split(":")
    assert (name, shell.rpartition("/")[2]) == ("maildrain", "nologin")
    assert 0 < int(uid) < 1000, "a system user"
    assert (etc / "group").read_text().strip() == f"maildrain:x:{gid}:"


@needs_root
def test_spool_is_made_with_its_modes(machine: Machine) -> None:
    assert modes_below(machine.spool) == MODES
    for name in MODES:
        status = (machine.spool / name).stat()
        assert (status.st_uid, status.st_gid) == (machine.uid, machine.gid), name


@needs_root
def test_modes_are_mended(machine: Machine) -> None:
    (machine.spool / "new").chmod(0o777)
    create_spool(machine.root, SYSTEMD / "maildrain.tmpfiles")
    assert modes_below(machine.spool) == MODES


@needs_root
def test_init_makes_the_same_modes(machine: Machine, make_spool: Callable[..., Spool]) -> None:
    assert modes_below(make_spool().path) == modes_below(machine.spool)


@needs_root
def test_advice_for_a_further_spool_works(machine: Machine, tmp_path: Path) -> None:
    """The sed command in the comment of the tmpfiles.d entry, as a reader would run it."""
    source = SYSTEMD / "maildrain.tmpfiles"
    advice = re.search(r"^#\t(sed \S+) maildrain\.conf >/etc/tmpfiles\.d/maildrain-NAME\.conf$",
                       source.read_text(), re.MULTILINE)  # fmt: skip
    assert advice
    second = tmp_path / "maildrain-bulk.conf"
    second.write_text(run(*shlex.split(advice[1].replace("NAME", "bulk")), source).stdout)
    create_spool(machine.root, second)
    assert modes_below(machine.root / "var" / "spool" / "maildrain-bulk") == MODES


def attempt(machine: Machine, uid: int, *argv: str) -> bool:
    """Whether a command in the folder above the spool succeeds for this user. Strangers apart, he
    is in the group."""
    return (
        run(
            *argv, cwd=machine.spool.parent, user=uid, group=uid,
            extra_groups=[] if uid == STRANGER else [machine.gid],
        ).returncode
        == 0
    )  # fmt: skip


@needs_root
def test_group_drops_mail_and_nothing_more(machine: Machine) -> None:
    def may(uid: int, *argv: str) -> bool:
        return attempt(machine, uid, *argv)

    assert may(WEB_USER, "touch", "maildrain/tmp/m")
    assert may(WEB_USER, "mv", "-n", "maildrain/tmp/m", "maildrain/new/m")
    assert (machine.spool / "new" / "m").stat().st_gid == machine.gid, "readable for the sender"
    assert may(WEB_USER, "touch", "maildrain/dump.log"), "as Django's own backend does"
    assert may(WEB_USER, "ls", "maildrain/failed")

    assert not may(OTHER_WEB_USER, "mv", "maildrain/new/m", "maildrain/new/n")
    assert not may(OTHER_WEB_USER, "rm", "-f", "maildrain/dump.log")
    assert not may(WEB_USER, "touch", "maildrain/cur/m")
    assert not may(WEB_USER, "touch", "maildrain/failed/m")
    assert not may(STRANGER, "ls", "maildrain")
    assert may(machine.uid, "mv", "maildrain/new/m", "maildrain/cur/m")
    assert may(machine.uid, "rm", "maildrain/dump.log")


# cron


def cron_entries() -> Tuple[Dict[str, str], List[str]]:
    """The settings and the lines of the cron.d file, as cron tells them apart."""
    environment, lines = {}, []
    for line in CRON.read_text().splitlines():
        setting = re.fullmatch(r"([A-Z_]+)=(.*)", line)
        if setting:
            environment[setting[1]] = setting[2].strip('"')
        elif line and not line.startswith("#"):
            lines.append(line)
    return environment, lines


def test_cron_line_has_the_form_of_cron_d() -> None:
    environment, lines = cron_entries()
    assert environment == {"MAILTO": "", "CREDENTIALS_DIRECTORY": "/etc/maildrain"}
    assert CRON.read_text().endswith("\n"), "cron ignores a file whose last line has no end"
    assert len(lines) == 1
    minute, hour, day, month, weekday, user, command = lines[0].split(None, 6)
    assert [minute, hour, day, month, weekday] == ["*"] * 5
    assert user == "maildrain"
    assert "%" not in command, "a line end to cron"
    assert len(command) < 998, "cron's limit"


class CronJob:
    """The command of the cron.d file with stand-ins for what it names."""

    def __init__(self, place: Path) -> None:
        self.program = place / "maildrain"
        self.booted = place / "booted-by-systemd"
        self.ran = place / "ran"
        self.syslog = place / "syslog"
        self.bin = place / "bin"
        self.bin.mkdir()
        command = cron_entries()[1][0].split(None, 6)[6]
        assert INSTALLED in command and "/run/systemd/system" in command
        self.command = command.replace(INSTALLED, str(self.program)).replace(
            "/run/systemd/system", str(self.booted)
        )
        self._script(
            self.bin / "logger", f'(printf "%s\\n" "$*"; cat) >"{self.syslog}"'
        )

    def _script(self, path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def install(self, status: int, configured: int = 0) -> None:
        self._script(
            self.program,
            f'[ "$*" != "verify --configured" ] || {{ echo no >&2; exit {configured}; }}\n'
            f'echo "$*" >"{self.ran}"; echo words; echo trouble >&2; exit {status}',
        )

    def run(self) -> subprocess.CompletedProcess[str]:
        environment: Mapping[str, str] = {"PATH": f"{self.bin}:/usr/bin:/bin"}
        return run("/bin/sh", "-c", self.command, env=environment)


@pytest.fixture
def cron_job(tmp_path: Path) -> CronJob:
    return CronJob(tmp_path)


@pytest.mark.parametrize("status", [0, 75, 78])
def test_cron_gets_nothing_to_mail(cron_job: CronJob, status: int) -> None:
    cron_job.install(status)
    result = cron_job.run()
    assert (result.returncode, result.stdout) == (0, "")
    assert cron_job.ran.read_text() == "run\n"
    assert cron_job.syslog.read_text() == "-t maildrain -p mail.info\nwords\ntrouble\n"


def test_cron_is_silent_without_the_program(cron_job: CronJob) -> None:
    result = cron_job.run()
    assert (result.returncode, result.stdout) == (0, "")
    assert not cron_job.syslog.exists()


def test_cron_is_silent_until_it_is_configured(cron_job: CronJob) -> None:
    cron_job.install(0, configured=78)
    result = cron_job.run()
    assert (result.returncode, result.stdout) == (0, "")
    assert not cron_job.ran.exists() and not cron_job.syslog.exists()


def test_cron_leaves_the_work_to_systemd(cron_job: CronJob) -> None:
    cron_job.install(0)
    cron_job.booted.mkdir()
    result = cron_job.run()
    assert (result.returncode, result.stdout) == (0, "")
    assert not cron_job.ran.exists()
