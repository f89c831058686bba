"""AUTH: who logs in how, and a wrong password costs nothing but an exit status."""

from __future__ import annotations

import base64
import socket
import subprocess
from pathlib import Path
from typing import Callable, Dict, List

import pytest

from lab import logfmt, net
from lab.aiosmtp import AioServer
from lab.certs import Certs
from lab.faultactions import Answer, Delay
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.postfix import USERS, Postfix
from lab.spool import Spool

MESSAGE = b"From: a@example.com\nTo: b@example.test\nSubject: AUTH\n\nText\n"
USER = "site"
PASSWORD = "correct horse"
WRONG = "Tr0ub4dor&3"
WITH_AUTH = (*DEFAULT_EHLO, "AUTH PLAIN LOGIN")

Make = Callable[..., FaultServer]


class _OneMechanism(AioServer):
    """Announces a single mechanism of aiosmtpd's two."""

    def __init__(self, mechanism: str, **options: object) -> None:
        super().__init__(**options)  # type: ignore[arg-type]
        self._options["auth_exclude_mechanism"] = {"PLAIN", "LOGIN"} - {mechanism}


def _spellings(password: str) -> List[bytes]:
    """How a password could stand in a file or a log: as it is, and as AUTH sends it."""
    plain = f"\0{USER}\0{password}".encode()
    return [
        password.encode(),
        base64.b64encode(password.encode()).rstrip(b"="),
        base64.b64encode(plain).rstrip(b"="),
    ]


def _assert_secret(spool: Spool, password: str, *texts: str) -> None:
    """PASSWORD stands neither in TEXTS nor in any file or name of the spool."""
    places = [text.encode() for text in texts]
    places += [str(path).encode() for path in spool.path.rglob("*")]
    places += [path.read_bytes() for path in spool.path.rglob("*") if path.is_file()]
    for spelling in _spellings(password):
        assert not [place for place in places if spelling in place]


def _assert_waits(
    spool: Spool, names: List[str], done: "subprocess.CompletedProcess[str]"
) -> Dict[str, str]:
    """The run has charged nothing and ended with 75; returns the one line it has logged."""
    assert done.returncode == 75, done.stderr
    assert spool.ls()["new"] == sorted(names)
    assert spool.counts() == {"tmp": 0, "new": len(names), "cur": 0, "failed": 0}
    assert all((spool.path / "new" / name).read_bytes() == MESSAGE for name in names)
    (event,) = logfmt.parse(done.stderr)
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    return event


def _login(spool: Spool, password: str = PASSWORD) -> Dict[str, object]:
    return {"user": USER, "password_file": spool.secret(password)}


def _attempts(server: FaultServer) -> int:
    server.settle()
    return sum(len(session.credentials) for session in server.sessions)


# Logging in


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_postfix_with_dovecot(
    spool: Spool, make_postfix: Callable[..., Postfix], certs: Certs, mechanism: str
) -> None:
    only = {"smtpd_sasl_mechanism_filter": mechanism.lower()}
    server = make_postfix(require_tls=True, users=USERS, require_auth=True, settings=only)
    spool.write_config(url=server.url, ca_file=certs.ca, **_login(spool, USERS[USER]))
    names = [spool.drop(MESSAGE) for _ in range(8)]
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert [spool.state(name)[0] for name in names] == ["cur"] * 8
    assert len(server.wait_for(8)) == 8
    assert f"sasl_method={mechanism}, sasl_username={USER}" in server.log()
    _assert_secret(spool, USERS[USER], done.stdout, done.stderr)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_aiosmtpd(spool: Spool, certs: Certs, mechanism: str) -> None:
    context = certs.server_context()
    users = {USER: PASSWORD}
    with _OneMechanism(mechanism, starttls=context, users=users, auth_required=True) as server:
        spool.write_config(url=server.url, ca_file=certs.ca, connections=1, **_login(spool))
        spool.drop(MESSAGE)
        done = spool.run()
        assert done.returncode == 0, done.stderr
        assert server.logins == [(mechanism, USER, PASSWORD, True)]
        assert [(m.user, m.tls) for m in server.messages] == [(USER, True)]


def test_aiosmtpd_over_smtps(
    spool: Spool, aio_server: Callable[..., AioServer], certs: Certs
) -> None:
    server = aio_server(
        smtps=certs.server_context(), users={USER: PASSWORD}, auth_required=True
    )
    spool.write_config(url=server.url, ca_file=certs.ca, **_login(spool))
    spool.drop(MESSAGE)
    assert spool.run().returncode == 0
    assert [(m.user, m.tls) for m in server.messages] == [(USER, True)]


def test_every_session_logs_in(spool: Spool, fault_server: Make) -> None:
    """Replies take a while, so that the first session can't take all the mail."""
    server = fault_server(
        ehlo=WITH_AUTH, users={USER: PASSWORD}, require_auth=True, latency=0.05
    )
    spool.write_config(url=server.url, tls="none", connections=4, **_login(spool))
    for _ in range(40):
        spool.drop(MESSAGE)
    assert spool.run().returncode == 0
    assert len(server.messages) == 40 and {m.user for m in server.messages} == {USER}
    assert len(server.sessions) == 4
    assert [s.credentials for s in server.sessions] == [[("PLAIN", USER, PASSWORD)]] * 4
    server.check()


def test_plain_needs_no_round_trip_of_its_own(spool: Spool, fault_server: Make) -> None:
    """The initial response (RFC 4954) stands in the AUTH command itself."""
    server = fault_server(ehlo=WITH_AUTH, users={USER: PASSWORD})
    spool.write_config(url=server.url, tls="none", **_login(spool))
    spool.drop(MESSAGE)
    assert spool.run().returncode == 0
    (auth,) = [line for line in server.sessions[0].commands if line.startswith("AUTH")]
    assert len(auth.split()) == 3
    server.check()


@pytest.mark.parametrize(
    "user, password",
    [
        ("site@example.com", "p%40ss:/?#[]@"),
        ("DOMAIN\\site", 'quote " and \\ backslash'),
        ("site;AUTH=LOGIN", ";options=x"),
        ("sité", "pässwörd ☃"),
        ("site", " leading and trailing "),
        ("site", "x" * 200),
    ],
    ids=["reserved", "quotes", "options", "utf-8", "blanks", "long"],
)
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_user_and_password_arrive_as_they_are(
    spool: Spool, fault_server: Make, mechanism: str, user: str, password: str
) -> None:
    server = fault_server(
        ehlo=(*DEFAULT_EHLO, f"AUTH {mechanism}"), users={user: password}, require_auth=True
    )
    secret = spool.secret(password + "\n")
    spool.write_config(url=server.url, tls="none", user=user, password_file=secret)
    spool.drop(MESSAGE)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert server.sessions[0].credentials == [(mechanism, user, password)]
    server.check()


def test_no_login_without_a_user(spool: Spool, fault_server: Make) -> None:
    server = fault_server(ehlo=WITH_AUTH)
    spool.write_config(url=server.url, tls="none")
    spool.drop(MESSAGE)
    assert spool.run().returncode == 0
    assert "AUTH" not in server.verbs
    server.check()


def test_password_from_the_credentials_directory(
    spool: Spool, fault_server: Make, tmp_path: Path
) -> None:
    """As systemd's LoadCredential= hands it over."""
    server = fault_server(ehlo=WITH_AUTH, users={USER: PASSWORD}, require_auth=True)
    credential = tmp_path / "smtp-password"
    credential.write_text(PASSWORD)
    credential.chmod(0o440)
    path = "${CREDENTIALS_DIRECTORY}/smtp-password"
    spool.write_config(url=server.url, tls="none", user=USER, password_file=path)
    name = spool.drop(MESSAGE)
    done = spool.run(env={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert (done.returncode, spool.state(name)[0]) == (0, "cur"), done.stderr
    server.check()


# Being refused


def test_wrong_password_at_postfix(
    spool: Spool, postfix: Postfix, certs: Certs
) -> None:
    spool.write_config(
        url=postfix.url, ca_file=certs.ca, connections=4, **_login(spool, WRONG)
    )
    names = [spool.drop(MESSAGE) for _ in range(20)]
    before = postfix.log().count("authentication failed")
    done = spool.run()
    event = _assert_waits(spool, names, done)
    assert event["event"] == "relay-misconfigured"
    assert (event["relay"], event["url"]) == ("main", postfix.url)
    assert "535" in event["reply"]
    assert postfix.log().count("authentication failed") - before == 1
    _assert_secret(spool, WRONG, done.stdout, done.stderr)
    spool.secret(USERS[USER])
    done = spool.run()
    assert (done.returncode, spool.counts()["cur"]) == (0, 20), done.stderr
    assert all(",A=1:2,S" in name for name in spool.ls()["cur"])


def test_wrong_password_at_aiosmtpd(
    spool: Spool, aio_server: Callable[..., AioServer], certs: Certs
) -> None:
    server = aio_server(starttls=certs.server_context(), users={USER: PASSWORD})
    spool.write_config(url=server.url, ca_file=certs.ca, connections=4, **_login(spool, WRONG))
    names = [spool.drop(MESSAGE) for _ in range(20)]
    done = spool.run()
    assert _assert_waits(spool, names, done)["event"] == "relay-misconfigured"
    assert len(server.logins) == 1 and not server.messages
    _assert_secret(spool, WRONG, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "answer",
    [
        "535 5.7.8 Wrong user or password",
        "534 5.7.9 This mechanism is too weak",
        "530 5.7.0 Must issue STARTTLS first",
        "538 5.7.11 Encryption required",
        "454 4.7.0 Temporary authentication failure",
        "550 5.7.1 Go away",
        "250 2.0.0 Not the 235 that RFC 4954 asks for",
        "421 4.7.0 Too many wrong passwords",
    ],
)
def test_refused_login_is_tried_once(spool: Spool, fault_server: Make, answer: Answer) -> None:
    """However many connections are allowed: servers lock out who guesses."""
    server = fault_server(ehlo=WITH_AUTH, answers={"AUTH": answer})
    spool.write_config(url=server.url, tls="none", connections=4, **_login(spool))
    names = [spool.drop(MESSAGE) for _ in range(20)]
    event = _assert_waits(spool, names, spool.run())
    assert event["event"] in ("relay-down", "relay-misconfigured")
    assert str(answer)[:3] in event["reply"]
    assert _attempts(server) == 1
    assert "MAIL" not in server.verbs
    server.check()


def test_refusal_that_takes_its_time_is_asked_for_once(
    spool: Spool, fault_server: Make
) -> None:
    """Servers hold back the answer to a wrong password, Dovecot for two seconds."""
    refusal = Delay(2.5, "535 5.7.8 Wrong user or password")
    server = fault_server(ehlo=WITH_AUTH, answers={"AUTH": refusal})
    spool.write_config(url=server.url, tls="none", connections=4, **_login(spool))
    names = [spool.drop(MESSAGE) for _ in range(20)]
    event = _assert_waits(spool, names, spool.run())
    assert event["event"] == "relay-misconfigured"
    assert _attempts(server) == 1


@pytest.mark.parametrize("keywords", [(), ("AUTH GSSAPI",), ("AUTH X-UNHEARD-OF",)])
def test_server_without_a_usable_mechanism(
    spool: Spool, fault_server: Make, keywords: List[str]
) -> None:
    """libcurl would go on without a login."""
    server = fault_server(ehlo=(*DEFAULT_EHLO, *keywords))
    spool.write_config(url=server.url, tls="none", connections=4, **_login(spool))
    names = [spool.drop(MESSAGE) for _ in range(20)]
    event = _assert_waits(spool, names, spool.run())
    assert event["event"] == "relay-misconfigured" and "AUTH" in event["reply"]
    assert not {"MAIL", "AUTH"} & set(server.verbs)
    server.check()


def test_server_that_offers_auth_in_clear_only(
    spool: Spool, fault_server: Make, certs: Certs
) -> None:
    server = fault_server(
        ehlo=(*WITH_AUTH, "STARTTLS"), ehlo_tls=DEFAULT_EHLO, tls=certs.server_context()
    )
    spool.write_config(url=server.url, ca_file=certs.ca, **_login(spool))
    names = [spool.drop(MESSAGE)]
    event = _assert_waits(spool, names, spool.run())
    assert event["event"] == "relay-misconfigured"
    assert not {"MAIL", "AUTH"} & set(server.verbs)
    server.check()


def test_login_forgotten_where_the_relay_wants_one(spool: Spool, fault_server: Make) -> None:
    server = fault_server(ehlo=WITH_AUTH, require_auth=True)
    spool.write_config(url=server.url, tls="none", connections=4)
    names = [spool.drop(MESSAGE) for _ in range(20)]
    event = _assert_waits(spool, names, spool.run())
    assert event["event"] == "relay-misconfigured" and "530 5.7.0" in event["reply"]
    assert not server.messages


def test_next_relay_takes_over(spool: Spool, fault_server: Make) -> None:
    strict = fault_server(ehlo=WITH_AUTH, users={USER: PASSWORD})
    spare = fault_server()
    first = {"url": strict.url, "tls": "none", **_login(spool, WRONG)}
    second = {"url": spare.url, "tls": "none"}
    spool.write_config(relays={"strict": first, "spare": second})  # type: ignore[dict-item]
    for _ in range(5):
        spool.drop(MESSAGE)
    done = spool.run()
    assert (done.returncode, len(spare.messages)) == (0, 5), done.stderr
    events = logfmt.parse(done.stderr)
    assert [e["relay"] for e in events if e["event"] == "relay-misconfigured"] == ["strict"]
    assert {e["relay"] for e in events if e["event"] == "sent"} == {"spare"}
    assert _attempts(strict) == 1 and "MAIL" not in strict.verbs
    spare.check()


# Keeping the secret


@pytest.mark.parametrize("echo", _spellings(WRONG), ids=["plain", "base64", "response"])
def test_relay_that_repeats_the_password(
    spool: Spool, fault_server: Make, echo: bytes
) -> None:
    refusal = b"535 5.7.8 I don't know " + echo + b"\r\n"
    server = fault_server(ehlo=WITH_AUTH, answers={"AUTH": refusal})
    spool.write_config(url=server.url, tls="none", **_login(spool, WRONG))
    names = [spool.drop(MESSAGE)]
    done = spool.run()
    event = _assert_waits(spool, names, done)
    assert "535" in event["reply"]
    _assert_secret(spool, WRONG, done.stdout, done.stderr)
    verified = spool.command("verify")
    assert verified.returncode == 75
    _assert_secret(spool, WRONG, verified.stdout, verified.stderr)


@pytest.mark.parametrize("tls, asked", [("none", False), ("required", True)])
def test_no_proxy_sees_a_password_in_clear(
    spool: Spool, fault_server: Make, tls: str, asked: bool
) -> None:
    """What is for this host alone goes to no proxy that the environment names."""
    server = fault_server(ehlo=WITH_AUTH, users={USER: PASSWORD})
    spool.write_config(url=server.url, tls=tls, timeout_connect="1s", **_login(spool))
    spool.drop(MESSAGE)
    with socket.create_server((net.HOST, 0)) as proxy:
        url = f"socks5://{net.HOST}:{proxy.getsockname()[1]}"
        done = spool.run(env={"ALL_PROXY": url, "NO_PROXY": ""})
        proxy.setblocking(False)
        try:
            proxy.accept()[0].close()
            seen = True
        except BlockingIOError:
            seen = False
    assert (seen, done.returncode) == (asked, 75 if asked else 0), done.stderr
    server.check()
