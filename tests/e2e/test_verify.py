"""What verify says of each common fault: what is wrong, where, and what to do about it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any, Callable, List, Tuple

import pytest
from lab import faked, net, repo
from lab.aiosmtp import AioServer
from lab.certs import Certs
from lab.faultactions import Close, Hang
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.postfix import USERS, Postfix
from lab.spool import Spool

EXAMPLE = repo.ROOT / "etc" / "maildrain.conf"


def problem(spool: Spool, status: int = 75) -> Tuple[str, str]:
    """The only problem that verify finds, and its advice, which is one or two short lines."""
    done = spool.command("verify")
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stderr == "" and done.stdout.count("PROBLEM: ") == 1, done.stdout
    lines = done.stdout.partition("  PROBLEM: ")[2].splitlines()
    advice: List[str] = []
    for line in lines[1:]:
        if not line.startswith(("  to do: ", "         ")):
            break
        advice.append(line[9:])
        assert len(line.replace(str(spool.path), "")) <= 90, line
    assert len(advice) in (1, 2), done.stdout
    return lines[0], " ".join(advice)


def aim(spool: Spool, url: str, **relay: Any) -> None:
    spool.write_config({}, url=url, **{"timeout_connect": "5s", **relay})


def log_in(spool: Spool, password: str) -> dict[str, Any]:
    return {"user": "site", "password_file": spool.secret(password)}


def test_name_that_does_not_resolve(spool: Spool) -> None:
    aim(spool, "smtp://no-such-host.invalid:587", timeout_connect="30s")
    what, advice = problem(spool)
    assert "no-such-host.invalid" in what
    assert "getent hosts" in advice


def test_nobody_listens(spool: Spool) -> None:
    port = net.free_port()
    aim(spool, f"smtp://127.0.0.1:{port}")
    what, advice = problem(spool)
    assert str(port) in what
    assert "port in url" in advice


def test_server_says_nothing(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    server = fault_server(answers={"CONNECT": Hang()})
    aim(spool, server.url, timeout_greeting="1s")
    what, advice = problem(spool)
    assert "time" in what
    assert "slow or hangs" in advice and "smtps://" in advice


def test_starttls_on_the_port_of_smtps(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    aim(spool, postfix.smtps_url.replace("smtps:", "smtp:"), timeout_greeting="1s")
    _, advice = problem(spool)
    assert "write smtps://" in advice


def test_smtps_on_the_port_of_starttls(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    aim(spool, postfix.url.replace("smtp:", "smtps:"), ca_file=certs.ca)
    what, advice = problem(spool)
    assert "SSL" in what or "TLS" in what
    assert "write smtp://" in advice


def test_authority_that_nobody_knows(spool: Spool, postfix: Postfix) -> None:
    aim(spool, postfix.url)
    what, advice = problem(spool)
    assert "certificate" in what
    assert "ca-certificates" in advice and "ca_file" in advice


def test_certificate_of_another_host(
    spool: Spool, aio_server: Callable[..., AioServer], certs: Certs
) -> None:
    server = aio_server(starttls=certs.server_context(certs.wrong_name))
    aim(spool, server.url, ca_file=certs.ca)
    _, advice = problem(spool)
    assert "into url" in advice


def test_certificate_that_has_expired(
    spool: Spool, aio_server: Callable[..., AioServer], certs: Certs
) -> None:
    server = aio_server(starttls=certs.server_context(certs.expired))
    aim(spool, server.url, ca_file=certs.ca)
    what, advice = problem(spool)
    assert "expired" in what
    assert "date" in advice and "renew" in advice


def test_clock_of_last_year(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    """Without a sanitizer, which would be preloaded too late."""
    if faked.why_not():
        pytest.skip(str(faked.why_not()))
    aim(spool, postfix.url, ca_file=certs.ca)
    done = subprocess.run(
        [*faked.clock("-365d"), repo.plain_program(), "-c", spool.config, "verify"],
        stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 75 and "not yet valid" in done.stdout, done.stdout
    assert "to do: see whether the clock of this host is right: date\n" in done.stdout


def test_no_starttls(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    aim(spool, fault_server().url)
    what, advice = problem(spool)
    assert "STARTTLS" in what
    assert "587" in advice and 'tls = "none"' in advice


def test_no_auth(
    spool: Spool, fault_server: Callable[..., FaultServer], certs: Certs
) -> None:
    server = fault_server(ehlo=(*DEFAULT_EHLO, "STARTTLS"), tls=certs.server_context())
    aim(spool, server.url, ca_file=certs.ca, **log_in(spool, "secret-1"))
    what, advice = problem(spool)
    assert "offers no AUTH" in what
    assert "remove user and password_file" in advice


def test_wrong_password(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    aim(spool, postfix.url, ca_file=certs.ca, **log_in(spool, "wrong-1"))
    what, advice = problem(spool)
    assert "535" in what and "wrong-1" not in what
    assert "password_file" in advice and "user is right" in advice


def test_right_password(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    """Of all that is above, nothing stays when nothing is wrong."""
    aim(spool, postfix.url, ca_file=certs.ca, **log_in(spool, USERS["site"]))
    done = spool.command("verify")
    assert done.returncode == 0 and "PROBLEM" not in done.stdout and "to do" not in done.stdout


def test_ca_file_that_is_none(spool: Spool, postfix: Postfix, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    aim(spool, postfix.url, ca_file=empty)
    _, advice = problem(spool)
    assert "ca_file" in advice


@pytest.mark.parametrize("answer", ["554 5.7.1 You are on our list", Close()])
def test_server_that_wants_nothing_of_us(
    spool: Spool, fault_server: Callable[..., FaultServer], answer: Any
) -> None:
    aim(spool, fault_server(answers={"CONNECT": answer}).url, timeout_greeting="1s")
    what, advice = problem(spool)
    if isinstance(answer, str):
        assert "on our list" in what
    assert "refuse this host" in advice


# The spool


def test_spool_that_is_not_there(
    make_spool: Callable[..., Spool], fault_server: Callable[..., FaultServer]
) -> None:
    spool = make_spool(init=False)
    aim(spool, fault_server().url, tls="none")
    what, advice = problem(spool, 78)
    assert str(spool.path) in what and "maildrain init" in advice


def test_mode_of_the_spool(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    aim(spool, fault_server().url, tls="none")
    (spool.path / "failed").chmod(0o777)
    what, advice = problem(spool, 78)
    assert f"{spool.path}/failed has mode 0777" in what and "maildrain init" in advice
    assert spool.command("init").returncode == 0
    assert spool.command("verify").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="owners can be set by root alone")
def test_owner_of_the_spool(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    """The advice is followed to the letter."""
    aim(spool, fault_server().url, tls="none")
    os.chown(spool.path / "cur", 65534, 65534)
    (spool.path / "cur").chmod(0o2750)
    what, advice = problem(spool, 78)
    assert f"{spool.path}/cur" in what
    command = advice.partition(": ")[2]
    assert command.startswith("chown ")
    subprocess.run(["sh", "-c", command], check=True)
    assert spool.command("verify").returncode == 0


# A config that nobody has edited


def test_example_is_no_config_yet(spool: Spool) -> None:
    for words in (("verify",), ("verify", "--configured")):
        done = subprocess.run(
            [repo.program(), "-c", EXAMPLE, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (78, "")
        assert done.stderr.count("\n") == 1 and "<--" in done.stderr


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("smtp://smtp.example.com:587", 78),
        ("smtps://EXAMPLE.ORG", 78),
        ("smtp://mx.example.net", 78),
        ("smtp://smtp.myexample.com", 0),
        ("smtp://example.com.my.test", 0),
        ("smtp://localhost", 0),
        ("http://wrong", 0),
    ],
)
def test_configured_is_what_names_another_server(spool: Spool, url: str, status: int) -> None:
    """A config with a fault is not the example; the fault is for verify and run to tell."""
    spool.write_config({}, url=url)
    done = spool.command("verify", "--configured")
    assert done.returncode == status, done.stderr
    assert (done.stderr == "") == (status == 0) and done.stdout == ""


def test_one_relay_of_ones_own_is_enough(spool: Spool) -> None:
    example = {"url": "smtp://smtp.example.com"}
    spool.write_config({}, relays={"a": example, "b": {"url": "smtp://localhost"}})
    assert spool.command("verify", "--configured").returncode == 0
    spool.write_config({}, relays={"a": example, "b": example})
    assert spool.command("verify", "--configured").returncode == 78


def test_no_config_is_not_configured(spool: Spool) -> None:
    spool.config.unlink()
    assert spool.command("verify", "--configured").returncode == 78
    done = spool.command("verify")
    assert done.returncode == 78 and "does not exist" in done.stderr
