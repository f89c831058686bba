"""Logging in with tokens of OAuth 2: XOAUTH2 and OAUTHBEARER, kept from run to run."""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Mapping, Optional

import pytest

from lab import logfmt, repo
from lab import postfix as lab_postfix
from lab.certs import Certs
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.issuer import CLIENT, REFRESH_TOKEN, Issuer
from lab.postfix import USERS, Postfix
from lab.spool import Spool

MESSAGE = b"From: a@example.com\nTo: b@example.test\nSubject: OAuth\n\nText\n"
USER = "site"
MECHANISMS = ["xoauth2", "oauthbearer"]
BOTH = (*DEFAULT_EHLO, "AUTH XOAUTH2 OAUTHBEARER PLAIN")
TOKEN = "ya29.s3cr3t-token_~+/with-all-that-may-be-in-one=="

Make = Callable[..., FaultServer]
Done = subprocess.CompletedProcess


class Site:
    """A spool, and the folder where tokens are kept."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self.spool = spool
        self.folder = folder
        folder.mkdir(mode=0o700)

    @property
    def kept(self) -> Path:
        return self.folder / "token-main"

    def send(self, status: int = 0) -> "Done[str]":
        """Drops a message and runs."""
        self.spool.drop(MESSAGE)
        return self.run(status)

    def run(self, status: int = 0, *words: str, **env: str) -> "Done[str]":
        done = self.spool.run(*words, env={"RUNTIME_DIRECTORY": str(self.folder), **env})
        assert done.returncode == status, done.stderr
        return done

    def verify(self) -> "Done[str]":
        return self.spool.command("verify", env={"RUNTIME_DIRECTORY": str(self.folder)})


@pytest.fixture
def site(spool: Spool, tmp_path: Path) -> Site:
    return Site(spool, tmp_path / "runtime")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with Issuer(USER) as server:
        yield server


@pytest.fixture(scope="module")
def _shared(certs: Certs, issuer: Issuer) -> Iterator[Postfix]:
    reason = lab_postfix.why_not()
    if reason:
        pytest.skip(reason)
    options = {"introspection": f"{issuer.url}/introspect"}
    with Postfix(certs, require_tls=True, users=USERS, require_auth=True, **options) as server:
        yield server


@pytest.fixture
def postfix(_shared: Postfix, issuer: Issuer) -> Postfix:
    """With Dovecot, which asks ISSUER whether a token is good."""
    _shared.clear()
    issuer.revoke()
    issuer.asked.clear()
    issuer.judged.clear()
    issuer.expires_in = int(issuer.lifetime)
    return _shared


def curl(issuer: Issuer, directory: Path, form: Optional[str] = None) -> List[str]:
    """The command of maildrain.conf(5): the secrets stand in a file."""
    secrets = directory / "oauth"
    secrets.write_text(form or issuer.form())
    secrets.chmod(0o600)
    return ["/usr/bin/curl", "-sS", "--fail", "-d", f"@{secrets}", f"{issuer.url}/token"]


def program(directory: Path, script: str) -> List[str]:
    """A program for the shell, SCRIPT."""
    path = directory / "give-token"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return [str(path)]


def spellings(token: str) -> List[bytes]:
    """How TOKEN could stand somewhere: as it is, and in base64 behind 0, 1 or 2 other bytes."""
    found = [token.encode()]
    for before in range(3):
        digits = base64.b64encode(b"x" * before + token.encode())
        first, last = -(-before * 8 // 6), (before + len(token)) * 8 // 6
        found.append(digits[first:last])
    return found


def assert_secret(site: Site, tokens: List[str], *texts: str) -> None:
    """None of TOKENS stands in TEXTS, or in a file or name of the spool."""
    places = [text.encode() for text in texts]
    places += [str(path).encode() for path in site.spool.path.rglob("*")]
    places += [path.read_bytes() for path in site.spool.path.rglob("*") if path.is_file()]
    for token in tokens:
        for spelling in spellings(token):
            assert not [place for place in places if spelling in place]


def the_event(done: "Done[str]") -> Dict[str, str]:
    (event,) = logfmt.parse(done.stderr)
    return event


# A submission service that takes tokens


@pytest.mark.parametrize("auth", MECHANISMS)
def test_postfix_with_dovecot(
    site: Site, postfix: Postfix, issuer: Issuer, certs: Certs, tmp_path: Path, auth: str
) -> None:
    site.spool.write_config(
        url=postfix.url, ca_file=certs.ca, user=USER, auth=auth,
        token_command=curl(issuer, tmp_path),
    )  # fmt: skip
    for _ in range(8):
        site.spool.drop(MESSAGE)
    done = site.run(0, "--verbose")
    assert len(postfix.wait_for(8)) == 8
    assert f"sasl_method={auth.upper()}, sasl_username={USER}" in postfix.log()
    (token,) = issuer.tokens
    grant = {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
    assert issuer.asked == [{**CLIENT, **grant}]
    assert_secret(site, [token, REFRESH_TOKEN], done.stdout, done.stderr)
    site.send()
    assert len(issuer.asked) == 1, "the token is kept"
    verified = site.verify()
    assert verified.returncode == 0 and f"AUTH: logged in as {USER}" in verified.stdout
    assert_secret(site, [token], verified.stdout, verified.stderr)
    assert len(issuer.asked) == 1


@pytest.mark.parametrize("auth", MECHANISMS)
def test_token_that_has_expired_is_renewed_once(
    site: Site, postfix: Postfix, issuer: Issuer, certs: Certs, tmp_path: Path, auth: str
) -> None:
    site.spool.write_config(
        url=postfix.url, ca_file=certs.ca, user=USER, auth=auth,
        token_command=curl(issuer, tmp_path),
    )  # fmt: skip
    site.send()
    issuer.revoke()
    done = site.send()
    assert len(issuer.asked) == 2 and len(postfix.wait_for(2)) == 2
    assert issuer.judged == [True, False, True]
    assert [event["event"] for event in logfmt.parse(done.stderr)] == ["sent", "run"]
    site.send()
    assert len(issuer.asked) == 2


@pytest.mark.parametrize("auth", MECHANISMS)
def test_wrong_token_costs_nothing_but_an_exit_status(
    site: Site, postfix: Postfix, issuer: Issuer, certs: Certs, tmp_path: Path, auth: str
) -> None:
    site.spool.write_config(
        url=postfix.url, ca_file=certs.ca, user=USER, auth=auth, connections=4,
        token_command=program(tmp_path, f"echo {TOKEN}"),
    )  # fmt: skip
    names = [site.spool.drop(MESSAGE) for _ in range(20)]
    done = site.run(os.EX_TEMPFAIL)
    event = the_event(done)
    assert event["event"] == "relay-misconfigured"
    said = {"xoauth2": '{"status":"401"', "oauthbearer": '535 5.7.8 '}[auth]
    assert said in event["reply"] and '{"status":"' in event["reply"], "decoded"
    assert site.spool.ls()["new"] == sorted(names), "nothing is charged"
    assert issuer.judged == [False]
    assert_secret(site, [TOKEN], done.stdout, done.stderr)
    verified = site.verify()
    assert verified.returncode == os.EX_TEMPFAIL and "maildrain.conf(5)" in verified.stdout
    assert_secret(site, [TOKEN], verified.stdout, verified.stderr)


def test_token_of_somebody_else(
    site: Site, postfix: Postfix, issuer: Issuer, certs: Certs, tmp_path: Path
) -> None:
    """The kept one is refused, and so is the next: no third login, and nothing stays kept."""
    site.spool.write_config(
        url=postfix.url, ca_file=certs.ca, user=USER, auth="xoauth2",
        token_command=curl(issuer, tmp_path),
    )  # fmt: skip
    site.send()
    issuer.revoke()
    issuer.user = "somebody"
    try:
        done = site.send(os.EX_TEMPFAIL)
    finally:
        issuer.user = USER
    assert the_event(done)["event"] == "relay-misconfigured"
    assert issuer.judged[1:] == [False, True], "good, and not this user's"
    assert not site.kept.exists()
    assert_secret(site, list(issuer.tokens), done.stdout, done.stderr)
    site.run()
    assert len(issuer.asked) == 3


# The examples that come with it

EXAMPLES = {
    "gmail-smtp.conf": {"refresh_token": REFRESH_TOKEN, "grant_type": "refresh_token"},
    "microsoft365-smtp.conf": {
        "scope": "https://outlook.office365.com/.default", "grant_type": "client_credentials",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_gets_its_token_with_curl(
    site: Site, postfix: Postfix, issuer: Issuer, certs: Certs, tmp_path: Path, name: str
) -> None:
    """As it is, but for the addresses; the file with the secrets is as its comment has it."""
    text = (repo.ROOT / "etc" / "examples" / name).read_text()
    asked = {**CLIENT, **EXAMPLES[name]}
    for key in asked:
        assert re.search(rf"^\t#     &?{key}=", text, re.MULTILINE)
    text, servers = re.subn(r"url  = .*", f'url = "{postfix.url}"\nca_file = "{certs.ca}"', text)
    text, issuers = re.subn(r'"https://[^"]*/token"', f'"{issuer.url}/token"', text)
    text, users = re.subn(r'user = "[^"]*"', f'user = "{USER}"', text)
    assert (servers, issuers, users) == (1, 1, 1)
    site.spool.write_config_text(f'spool = "{site.spool.path}"\n{text}')
    lines = [f"{key}={value}" for key, value in asked.items()]
    site.spool.secret("\n&".join(lines) + "\n", "oauth")
    site.spool.drop(MESSAGE)
    site.run(0, CREDENTIALS_DIRECTORY=str(site.spool.config.parent))
    assert len(postfix.wait_for(1)) == 1 and issuer.asked == [asked]


# What is kept, and for how long


@pytest.fixture
def offering(fault_server: Make) -> FaultServer:
    return fault_server(ehlo=BOTH, require_auth=True)


def configure(site: Site, server: FaultServer, command: List[str], **more: str) -> None:
    options: Mapping[str, str] = {"auth": "oauthbearer", "user": USER, **more}
    site.spool.write_config(url=server.url, tls="none", token_command=command, **options)


def tokens_of(server: FaultServer) -> List[str]:
    server.settle()
    return [token for session in server.sessions for _, _, token in session.credentials]


def test_kept_token_is_for_its_owner_alone(
    site: Site, offering: FaultServer, issuer: Issuer, tmp_path: Path
) -> None:
    configure(site, offering, curl(issuer, tmp_path))
    site.send()
    assert [path.name for path in site.folder.iterdir()] == ["token-main"]
    assert stat.S_IMODE(site.kept.stat().st_mode) == 0o600
    site.kept.chmod(0o644)
    site.send()
    first, second = tokens_of(offering)
    assert first != second, "what others could have read is not used"
    site.send()
    assert tokens_of(offering)[2] == second


def test_changed_config_asks_anew(
    site: Site, offering: FaultServer, issuer: Issuer, tmp_path: Path
) -> None:
    command = curl(issuer, tmp_path)
    configure(site, offering, command)
    site.send()
    configure(site, offering, [*command[:1], "-q", *command[1:]])
    site.send()
    configure(site, offering, command, user="other")
    site.send()
    assert len(set(tokens_of(offering))) == 3


def test_token_is_not_used_in_its_last_minute(
    site: Site, offering: FaultServer, issuer: Issuer, tmp_path: Path
) -> None:
    configure(site, offering, curl(issuer, tmp_path))
    issuer.expires_in = 60
    try:
        site.send()
        site.send()
    finally:
        issuer.expires_in = 3600
    assert len(set(tokens_of(offering))) == 2 and not site.kept.exists()


def test_bare_token_is_for_one_run(site: Site, offering: FaultServer, tmp_path: Path) -> None:
    configure(site, offering, program(tmp_path, f"echo >>{tmp_path}/asked; echo {TOKEN}"))
    for _ in range(3):
        site.spool.drop(MESSAGE)
    site.run()
    site.send()
    assert set(tokens_of(offering)) == {TOKEN}
    assert (tmp_path / "asked").read_text() == "\n\n" and not site.kept.exists()


def test_nobody_is_asked_without_mail(
    site: Site, offering: FaultServer, tmp_path: Path
) -> None:
    configure(site, offering, program(tmp_path, f"echo >>{tmp_path}/asked; echo {TOKEN}"))
    site.run()
    assert not (tmp_path / "asked").exists() and not offering.sessions


def test_without_a_folder_each_run_asks(
    site: Site, offering: FaultServer, issuer: Issuer, tmp_path: Path
) -> None:
    configure(site, offering, curl(issuer, tmp_path))
    site.folder.rmdir()
    site.send()
    site.send()
    assert len(set(tokens_of(offering))) == 2


# Programs that give none


@pytest.mark.parametrize(
    "script, why",
    [
        ("echo 'log in' >&2; echo more >&2; exit 2", "failed with exit status 2: log in"),
        ("exit 1", "failed with exit status 1"),
        ("kill -9 $$", "was ended by signal 9"),
        (":", "printed nothing"),
        (f"echo {TOKEN} {TOKEN}", "printed something that is no token"),
        (f"echo '{{\"access_token\": \"{TOKEN}\"'", "printed JSON that can't be read"),
    ],
)
def test_program_that_fails(
    site: Site, offering: FaultServer, tmp_path: Path, script: str, why: str
) -> None:
    """The mail waits, uncharged, and the relay is not even called."""
    configure(site, offering, program(tmp_path, script))
    name = site.spool.drop(MESSAGE)
    done = site.run(os.EX_TEMPFAIL)
    event = the_event(done)
    assert event["event"] == "relay-down" and event["relay"] == "main"
    assert event["reply"].startswith(f"token_command: {tmp_path}/give-token {why}")
    assert site.spool.ls()["new"] == [name] and not offering.sessions
    assert_secret(site, [TOKEN], done.stdout, done.stderr)
    verified = site.verify()
    assert verified.returncode == os.EX_TEMPFAIL
    assert why in verified.stdout and "run token_command by hand" in verified.stdout
    assert_secret(site, [TOKEN], verified.stdout, verified.stderr)


def test_issuer_that_refuses(
    site: Site, offering: FaultServer, issuer: Issuer, tmp_path: Path
) -> None:
    form = issuer.form().replace("s3cr3t", "wr0ng")
    configure(site, offering, curl(issuer, tmp_path, form))
    done = site.send(os.EX_TEMPFAIL)
    assert "failed with exit status 22: curl: (22)" in the_event(done)["reply"]
    assert "wr0ng" not in done.stderr


def test_next_relay_takes_over(site: Site, fault_server: Make, tmp_path: Path) -> None:
    first, spare = fault_server(ehlo=BOTH), fault_server()
    command = program(tmp_path, "exit 1")
    relays = {
        "first": {"url": first.url, "tls": "none", "user": USER, "auth": "xoauth2",
                  "token_command": command},
        "spare": {"url": spare.url, "tls": "none"},
    }  # fmt: skip
    site.spool.write_config(relays=relays)  # type: ignore[arg-type]
    site.send()
    assert len(spare.messages) == 1 and not first.sessions


# What servers say of a token


@pytest.mark.parametrize("auth", MECHANISMS)
def test_words_of_a_refusal_are_decoded_and_masked(
    site: Site, fault_server: Make, tmp_path: Path, auth: str
) -> None:
    """Google and Microsoft say in base64 what is wrong; one that repeats the token must not make it
    known."""
    about = {"status": "400", "scope": "https://mail.example/", "token": TOKEN}
    refusal = json.dumps(about).encode()
    server = fault_server(ehlo=BOTH, users={}, refusal=refusal)
    configure(site, server, program(tmp_path, f"echo {TOKEN}"), auth=auth)
    name = site.spool.drop(MESSAGE)
    done = site.run(os.EX_TEMPFAIL)
    event = the_event(done)
    assert event["event"] == "relay-misconfigured"
    assert '"status": "400", "scope": "https://mail.example/", "token": "*****' in event["reply"]
    assert server.sessions[0].credentials == [(auth.upper(), USER, TOKEN)]
    assert site.spool.ls()["new"] == [name]
    assert_secret(site, [TOKEN], done.stdout, done.stderr)
    verified = site.verify()
    assert verified.returncode == os.EX_TEMPFAIL
    assert_secret(site, [TOKEN], verified.stdout, verified.stderr)


RESPONSES = {
    "bare": TOKEN.encode(),
    "xoauth2": base64.b64encode(f"user={USER}\1auth=Bearer {TOKEN}\1\1".encode()),
    "oauthbearer": base64.b64encode(f"n,a={USER},\1host=h\1auth=Bearer {TOKEN}\1\1".encode()),
}


@pytest.mark.parametrize("echo", RESPONSES.values(), ids=RESPONSES)
def test_relay_that_repeats_the_token(
    site: Site, fault_server: Make, tmp_path: Path, echo: bytes
) -> None:
    answer = b"535-5.7.8 I don't know " + echo + b"\r\n535 5.7.8 that is " + echo + b"\r\n"
    server = fault_server(ehlo=BOTH, answers={"AUTH": answer})
    configure(site, server, program(tmp_path, f"echo {TOKEN}"))
    done = site.send(os.EX_TEMPFAIL)
    assert "535 5.7.8 that is" in the_event(done)["reply"]
    assert_secret(site, [TOKEN], done.stdout, done.stderr)
    verified = site.verify()
    assert "535-5.7.8 I don't know" in verified.stdout
    assert_secret(site, [TOKEN], verified.stdout, verified.stderr)


@pytest.mark.parametrize("keywords", [(), ("AUTH PLAIN LOGIN",), ("AUTH XOAUTH2",)])
def test_token_goes_by_no_other_mechanism(
    site: Site, fault_server: Make, tmp_path: Path, keywords: List[str]
) -> None:
    """Least of all as a password."""
    server = fault_server(ehlo=(*DEFAULT_EHLO, *keywords))
    configure(site, server, program(tmp_path, f"echo {TOKEN}"))
    name = site.spool.drop(MESSAGE)
    done = site.run(os.EX_TEMPFAIL)
    assert the_event(done)["event"] == "relay-misconfigured"
    assert not {"AUTH", "MAIL"} & set(server.verbs) and site.spool.ls()["new"] == [name]


@pytest.mark.parametrize("auth", MECHANISMS)
def test_long_token(site: Site, fault_server: Make, tmp_path: Path, auth: str) -> None:
    """Those of Microsoft have thousands of characters, more than a command may have."""
    token = "eyJ0" + "x" * 4000
    server = fault_server(ehlo=BOTH, users={USER: token}, require_auth=True)
    configure(site, server, program(tmp_path, f"echo {token}"), auth=auth)
    site.send()
    assert server.sessions[0].credentials == [(auth.upper(), USER, token)]
    server.check()
