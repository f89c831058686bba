"""The Debian packages under a real systemd: from a fresh install to the last mail, and away."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Iterator, List

import pytest
from lab import debs, postfix
from lab.certs import Certs
from lab.faultactions import Delay
from lab.machine import Machine, wait_until, why_not
from lab.postfix import DOMAIN, Postfix

SERVICE, TIMER = "maildrain.service", "maildrain.timer"
CONFIGURED = "maildrain-configured.service"
SITE = """
from django.conf import settings
settings.configure(EMAIL_BACKEND="maildrain.filebased.EmailBackend",
                   EMAIL_FILE_PATH="/var/spool/maildrain")
from django.core.mail import send_mail
send_mail("{subject}", "Text.", "site@example.com", ["a@{domain}"])
"""


def install_script() -> str:
    """As an image is built: the packages are there before the first boot. This machine's policy
    that no daemon may start is not the new one's."""
    packages = [str(debs.find(name)) for name in ("maildrain", "python3-maildrain")]
    return "\n".join([
        "rm -f usr/sbin/policy-rc.d",
        "printf '[Journal]\\nStorage=volatile\\n' >etc/systemd/journald.conf",
        "mkdir opt/debs",
        f"cp {' '.join(packages)} opt/debs/",
        "chroot . sh -c 'dpkg --install /opt/debs/*.deb'",
    ])  # fmt: skip


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The tests of this file tell one story: each goes on where the one before it has ended."""
    if debs.missing():
        pytest.fail("there are no packages: run make deb, or set MAILDRAIN_DEBS")
    reason = why_not() or postfix.why_not()
    if reason:
        pytest.skip(reason)
    machine = Machine(tmp_path_factory.mktemp("boot"), install_script())
    try:
        trouble = machine.start()
        if trouble:
            pytest.skip(f"systemd does not boot in a namespace here: {trouble}")
        yield machine
    finally:
        machine.stop()


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Certs:
    return Certs(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def relay(machine: Machine, certs: Certs) -> Iterator[Postfix]:
    """A submission service in the machine's network: TLS and a password are required."""
    server = machine.in_network(
        lambda: Postfix(certs, require_tls=True, users=postfix.USERS, require_auth=True)
    )
    machine.in_network(server.start)
    yield server
    server.stop()


def active(machine: Machine, unit: str) -> str:
    return machine.show(unit, "ActiveState")


def failed(machine: Machine) -> List[str]:
    lines = machine.out("systemctl", "list-units", "--failed", "--plain", "--no-legend")
    return [line for line in lines.splitlines() if "maildrain" in line]


def journal(machine: Machine) -> List[str]:
    """What the journal has of maildrain since the boot, by its program or about its units."""
    machine.check("journalctl", "--sync")
    return [line for line in machine.out("journalctl", "--output=cat").splitlines()
            if "maildrain" in line]  # fmt: skip


def send_as_www_data(machine: Machine, subject: str) -> None:
    """A real Django of the web user's, with the backend that the package has installed."""
    result = machine.call(
        "setpriv", "--reuid=www-data", "--regid=www-data", "--init-groups",
        "env", "-C", "/", "PYTHONDONTWRITEBYTECODE=1",
        "/usr/bin/python3", "-c", SITE.format(subject=subject, domain=DOMAIN),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def arrived(relay: Postfix, subject: str) -> int:
    return sum(f"Subject: {subject}\n".encode() in message for message in relay.arrived())


def write_password(machine: Machine, text: str) -> None:
    path = machine.path("/etc/maildrain/smtp-password")
    path.write_text(text + "\n")
    path.chmod(0o600)


def edit_config(machine: Machine, relay: Postfix, certs: Certs) -> None:
    """As a person does: three values, by an editor that puts a new file in the place of the old."""
    machine.path("/etc/maildrain/ca.pem").write_bytes(certs.ca.read_bytes())
    config = machine.path("/etc/maildrain.conf")
    text = config.read_text()
    for old, new in (
        ("smtp://smtp.example.com:587", relay.url),
        ("site@example.com", "site"),
        ('#ca_file = "/etc/maildrain/ca.pem"', 'ca_file = "/etc/maildrain/ca.pem"'),
    ):
        assert old in text
        text = text.replace(old, new)
    edited = config.with_name("maildrain.conf.new")
    edited.write_text(text)
    edited.rename(config)


def test_fresh_install_is_enabled_and_inert(machine: Machine) -> None:
    for unit in (TIMER, "maildrain-configured.path"):
        assert machine.out("systemctl", "is-enabled", unit) == "enabled"
    assert active(machine, TIMER) == "inactive"
    assert active(machine, "maildrain-configured.path") == "active"
    assert machine.out("systemctl", "is-enabled", "maildrain.path") == "disabled"
    assert failed(machine) == []
    said = journal(machine)
    assert len([line for line in said if "is not configured yet" in line]) == 1, said
    assert not [line for line in said if "cycle" in line or "rror" in line], said
    assert len(said) <= 8, said


def test_config_that_is_still_the_example_starts_nothing(machine: Machine) -> None:
    """And the watch goes on after that, also when it is written line by line, as by a tool."""
    for pause in (3, 3, *[0.2] * 20, 3):
        machine.check("touch", "/etc/maildrain.conf")
        time.sleep(pause)
    assert active(machine, TIMER) == "inactive"
    assert active(machine, "maildrain-configured.path") == "active"
    assert failed(machine) == []


def test_mail_of_www_data_waits_meanwhile(machine: Machine) -> None:
    machine.check("usermod", "-aG", "maildrain", "www-data")
    send_as_www_data(machine, "first")
    assert len(machine.ls()["new"]) == 1


def test_saving_the_config_is_all_that_it_takes(
    machine: Machine, relay: Postfix, certs: Certs
) -> None:
    """Though it is written twice, the second time when systemd has looked and does not watch again
    yet. With the stamp of the timer's last time an hour old, the minute is not waited for."""
    machine.check(
        "sh", "-euc",
        "mkdir -p /var/lib/systemd/timers; touch -d -1hour /var/lib/systemd/timers/"
        "stamp-maildrain.timer",
    )  # fmt: skip
    write_password(machine, postfix.USERS["site"])
    config = machine.path("/etc/maildrain.conf")
    machine.override(CONFIGURED, "[Service]\nExecStopPost=/bin/sleep 1\n")
    config.write_text(config.read_text() + "# An edit.\n")
    time.sleep(0.5)
    edit_config(machine, relay, certs)
    assert wait_until(lambda: active(machine, TIMER) == "active"), journal(machine)
    assert wait_until(lambda: arrived(relay, "first") == 1), machine.log()
    assert wait_until(lambda: machine.ls()["new"] == []), machine.log()
    assert failed(machine) == []


def test_password_was_a_credential_that_the_user_can_not_read(machine: Machine) -> None:
    """It was logged in with, as the relay requires it."""
    assert machine.path("/etc/maildrain/smtp-password").stat().st_mode & 0o777 == 0o600
    assert machine.path("/etc/maildrain/smtp-password").stat().st_uid == 0
    assert postfix.USERS["site"] not in "".join(journal(machine))


def test_path_unit_sends_within_seconds(machine: Machine, relay: Postfix) -> None:
    machine.check("systemctl", "enable", "--now", "maildrain.path")
    send_as_www_data(machine, "second")
    assert wait_until(lambda: arrived(relay, "second") == 1, 10), machine.log()


def test_sandbox_is_on(machine: Machine) -> None:
    for unit in (SERVICE, CONFIGURED):
        said = machine.out("systemd-analyze", "security", "--no-pager", unit)
        level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
        assert level and float(level[1]) <= 1.5, said


def test_upgrade_lets_a_run_go_on(machine: Machine, tmp_path: Path) -> None:
    """The relay is slow: the run is at work before, while and after the package is replaced."""
    newer = debs.repack(tmp_path, debs.version() + "+1")
    shutil.copy(newer, machine.path("/opt/debs"))
    with machine.server(answers={"DOT": Delay(4)}) as server:
        machine.configure(url=f"smtp://localhost:{server.port}")
        config = machine.path("/etc/maildrain.conf").read_text()
        machine.drop()
        assert wait_until(lambda: ",C=" in "".join(machine.ls()["new"])), machine.log()
        pid = machine.show(SERVICE, "MainPID")
        machine.check("dpkg", "--install", f"/opt/debs/{newer.name}")
        assert machine.show(SERVICE, "MainPID") == pid != "0"
        assert wait_until(lambda: active(machine, SERVICE) == "inactive"), machine.log()
        assert len(server.messages) == 1 and machine.ls()["new"] == []
    assert machine.path("/etc/maildrain.conf").read_text() == config
    for unit in (TIMER, "maildrain.path"):
        assert active(machine, unit) == "active"
    assert failed(machine) == []


def alerts(machine: Machine) -> List[str]:
    machine.check("journalctl", "--sync")
    said = machine.out("journalctl", "--output=cat", "--identifier=maildrain", "--priority=alert",
                       "--quiet")  # fmt: skip
    return said.splitlines()


def test_outage_raises_one_alert_and_is_over_by_itself(machine: Machine) -> None:
    """With a timer of seconds; all else is as shipped."""
    assert alerts(machine) == []
    machine.override(TIMER, "[Timer]\nOnCalendar=\nOnCalendar=*:*:*\nRandomizedDelaySec=0\n")
    machine.configure()
    machine.check("systemctl", "restart", TIMER)
    unique = machine.drop()
    assert wait_until(lambda: failed(machine)), machine.log()
    assert machine.ls()["new"] == [unique], "nothing is charged"
    before = machine.runs()
    assert wait_until(lambda: machine.runs() >= before + 3), machine.log()
    (alert,) = alerts(machine)
    assert SERVICE in alert
    machine.relay_up()
    assert wait_until(lambda: machine.sent(unique)), machine.log()
    assert wait_until(lambda: not failed(machine)), machine.log()


def test_disabled_timer_stays_so(machine: Machine, tmp_path: Path) -> None:
    """Over an edit of the config, and an upgrade."""
    machine.check("systemctl", "disable", "--now", TIMER, "maildrain.path")
    newer = debs.repack(tmp_path, debs.version() + "+2")
    shutil.copy(newer, machine.path("/opt/debs"))
    machine.configure()
    machine.check("dpkg", "--install", f"/opt/debs/{newer.name}")
    machine.check("touch", "/etc/maildrain.conf")
    time.sleep(0.5)
    assert active(machine, TIMER) == "inactive"
    assert machine.out("systemctl", "is-enabled", TIMER) == "disabled"
    machine.check("systemctl", "enable", "--now", TIMER)
    assert active(machine, TIMER) == "active"


def test_removal_stops_all_units(machine: Machine) -> None:
    machine.check("systemctl", "enable", "--now", "maildrain.path", "maildrain@bulk.timer")
    machine.check("dpkg", "--remove", "maildrain")
    left = machine.out("systemctl", "list-units", "--plain", "--no-legend", "maildrain*")
    assert left == "", left


def test_purge_leaves_no_units_and_comes_back_inert(machine: Machine) -> None:
    machine.check("systemctl", "disable", "maildrain@bulk.timer", "maildrain.path")
    machine.check("dpkg", "--purge", "maildrain")
    places = ("/etc", "/lib/systemd", "/var/lib/systemd", "/run", "/var/spool")
    left = machine.out("find", *places, "-path", "*maildrain*").splitlines()
    # A file of the administrator's, and what this test has overridden.
    assert [path for path in left if not path.startswith("/run/systemd/system/")] == [
        "/etc/maildrain", "/etc/maildrain/ca.pem",
    ]  # fmt: skip
    machine.check("sh", "-c", "dpkg --install /opt/debs/maildrain_*[0-9]_*.deb")
    assert active(machine, TIMER) == "inactive"
    assert failed(machine) == []
