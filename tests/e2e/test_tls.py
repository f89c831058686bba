"""TLS with relays: verified unless the config says otherwise; a failure charges no message."""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from pathlib import Path
from typing import Callable, Dict, List, Sequence, Union

import pytest

from lab import logfmt
from lab.certs import LOCALHOST, Certs
from lab.faultactions import Delay, Then
from lab.faultserver import DEFAULT_EHLO, FaultServer
from lab.postfix import USERS, Postfix
from lab.spool import Spool

Make = Callable[..., FaultServer]
Value = Union[str, int, Path]

MESSAGE = b"From: a@example.com\nTo: b@example.test\nSubject: TLS\n\nText\n"
STARTTLS = (*DEFAULT_EHLO, "STARTTLS")
UNTRUSTED = r"self-signed|self signed|unable to get (local )?issuer"
WRONG_NAME = r"(?i)(subject )?name.* (target )?(host|ipv4)|host ?name mismatch"


def _send_one(spool: Spool, **relay: Value) -> List[Dict[str, str]]:
    """Drops a message, which must be sent by one run; returns the log."""
    spool.write_config(**relay)
    name = spool.drop(MESSAGE)
    done = spool.run()
    assert (done.returncode, spool.state(name)[0]) == (0, "cur"), done.stderr
    return logfmt.parse(done.stderr)


def _refused(spool: Spool, reason: str, **relay: Value) -> None:
    """Drops messages, of which one run must send none: it ends with 75, charges nothing, and says
    in one line which relay it was and why."""
    spool.write_config(**relay)
    names = [spool.drop(MESSAGE) for _ in range(3)]
    done = spool.run()
    assert done.returncode == 75, done.stderr
    assert spool.ls()["new"] == sorted(names)
    assert spool.counts() == {"tmp": 0, "new": 3, "cur": 0, "failed": 0}
    assert all((spool.path / "new" / name).read_bytes() == MESSAGE for name in names)
    (event,) = logfmt.parse(done.stderr)
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""
    assert event["event"] in ("relay-down", "relay-misconfigured")
    assert (event["relay"], event["url"]) == ("main", relay["url"])
    assert re.search(reason, event["reply"]), event["reply"]


def _mail_free(server: FaultServer) -> bool:
    """Whether no connection got as far as an envelope or a login."""
    return not {"MAIL", "RCPT", "DATA", "AUTH"} & set(server.verbs)


# What is verified


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
def test_trusted_certificate(
    spool: Spool, fault_server: Make, certs: Certs, implicit: bool
) -> None:
    context = certs.server_context()
    ehlo = DEFAULT_EHLO if implicit else STARTTLS
    server = fault_server(ehlo=ehlo, tls=context, implicit_tls=implicit)
    _send_one(spool, url=server.url, ca_file=certs.ca)
    (message,) = server.messages
    assert message.tls and message.data == MESSAGE.replace(b"\n", b"\r\n")
    assert ("STARTTLS" in server.verbs) is not implicit
    server.check()


@pytest.mark.parametrize("implicit", [False, True], ids=["starttls", "smtps"])
@pytest.mark.parametrize(
    "pair, reason",
    [
        ("self_signed", UNTRUSTED),
        ("expired", "expired"),
        ("wrong_name", WRONG_NAME),
        ("client", "(?i)unsuitable|unsupported|purpose"),
    ],
    ids=["self-signed", "expired", "wrong-name", "for-clients"],
)
def test_bad_certificate(
    spool: Spool, fault_server: Make, certs: Certs, pair: str, reason: str, implicit: bool
) -> None:
    context = certs.server_context(getattr(certs, pair))
    ehlo = DEFAULT_EHLO if implicit else STARTTLS
    server = fault_server(ehlo=ehlo, tls=context, implicit_tls=implicit)
    _refused(spool, reason, url=server.url, ca_file=certs.ca)
    assert _mail_free(server)


def test_certificate_of_an_authority_that_the_system_does_not_trust(
    spool: Spool, fault_server: Make, certs: Certs
) -> None:
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context())
    _refused(spool, UNTRUSTED, url=server.url)
    assert _mail_free(server)


def test_ca_file_of_another_authority(
    spool: Spool, fault_server: Make, certs: Certs, tmp_path: Path
) -> None:
    """ca_file replaces the system's authorities, and a name alone makes none trusted."""
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context())
    _refused(spool, UNTRUSTED + "|signature", url=server.url, ca_file=Certs(tmp_path).ca)
    assert _mail_free(server)


def test_name_of_the_url_is_the_one_that_is_verified(
    spool: Spool, fault_server: Make, certs: Certs, tmp_path: Path
) -> None:
    """The certificate is for localhost, the same server by address is another name."""
    pair = certs.issue("only-localhost", "DNS:localhost")
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context(pair))
    _refused(spool, WRONG_NAME, url=server.url, ca_file=certs.ca)
    by_name = server.url.replace("127.0.0.1", "localhost")
    spool.write_config(url=by_name, ca_file=certs.ca)
    done = spool.run()
    assert (done.returncode, len(server.messages)) == (0, 3), done.stderr
    server.check()


# What is required


@pytest.mark.parametrize("settings", [{}, {"tls": "required"}], ids=["default", "required"])
def test_server_without_starttls(
    spool: Spool, fault_server: Make, settings: Dict[str, str]
) -> None:
    server = fault_server()
    _refused(spool, "STARTTLS", url=server.url, **settings)
    assert _mail_free(server)
    server.check()


def test_server_without_starttls_gets_no_password(spool: Spool, fault_server: Make) -> None:
    """Also when it offers AUTH in clear, as somebody between us and the relay would."""
    server = fault_server(ehlo=(*DEFAULT_EHLO, "AUTH PLAIN LOGIN"))
    login = {"user": "site", "password_file": spool.secret("hunter2")}
    _refused(spool, "STARTTLS", url=server.url, **login)
    assert _mail_free(server)
    assert [session.credentials for session in server.sessions] == [[]]
    server.check()


@pytest.mark.parametrize(
    "answer", ["454 4.7.0 TLS not available", "502 5.5.1 No", "250 2.0.0 Ok"]
)
@pytest.mark.parametrize("tls", ["required", "opportunistic"])
def test_starttls_refused(
    spool: Spool, fault_server: Make, certs: Certs, answer: str, tls: str
) -> None:
    server = fault_server(
        ehlo=STARTTLS, tls=certs.server_context(), answers={"STARTTLS": answer}
    )
    if tls == "required":
        _refused(spool, answer[:3], url=server.url, ca_file=certs.ca)
        assert _mail_free(server)
    else:
        _send_one(spool, url=server.url, ca_file=certs.ca, tls=tls)
        assert not server.messages[0].tls
    server.check()


def test_smtps_url_to_a_server_that_greets_in_clear(spool: Spool, fault_server: Make) -> None:
    server = fault_server()
    _refused(spool, "(?i)SSL|TLS", url=server.url.replace("smtp:", "smtps:"), timeout_connect="5s")
    assert _mail_free(server)


@pytest.mark.parametrize("tls", ["none", "opportunistic"])
def test_password_that_could_go_in_clear_to_another_host(spool: Spool, tls: str) -> None:
    for host in ("smtp.example.com", "192.0.2.1", "[2001:db8::1]", "localhost.example.com"):
        spool.write_config(
            url=f"smtp://{host}:587", tls=tls, user="site", password_file=spool.secret("hunter2")
        )
        name = spool.drop(MESSAGE)
        done = spool.run()
        assert done.returncode == 78
        assert str(spool.config) in done.stderr and "unencrypted" in done.stderr
        assert "hunter2" not in done.stderr
        assert spool.find(name) == spool.path / "new" / name


def test_smtps_url_with_tls_none(spool: Spool) -> None:
    spool.write_config(url="smtps://127.0.0.1:465", tls="none")
    done = spool.run()
    assert done.returncode == 78 and "smtps" in done.stderr


# What may be chosen


def test_opportunistic_with_starttls(spool: Spool, fault_server: Make, certs: Certs) -> None:
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context())
    _send_one(spool, url=server.url, ca_file=certs.ca, tls="opportunistic")
    assert server.messages[0].tls
    server.check()


def test_opportunistic_without_starttls(spool: Spool, fault_server: Make) -> None:
    server = fault_server()
    _send_one(spool, url=server.url, tls="opportunistic")
    assert not server.messages[0].tls
    server.check()


def test_opportunistic_verifies_all_the_same(
    spool: Spool, fault_server: Make, certs: Certs
) -> None:
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context(certs.expired))
    _refused(spool, "expired", url=server.url, ca_file=certs.ca, tls="opportunistic")
    assert _mail_free(server)


def test_none_leaves_starttls_alone(spool: Spool, fault_server: Make, certs: Certs) -> None:
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context())
    _send_one(spool, url=server.url, tls="none")
    assert not server.messages[0].tls and "STARTTLS" not in server.verbs
    server.check()


# Versions


def _limited(certs: Certs, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = certs.server_context()
    context.minimum_version = context.maximum_version = version
    return context


@pytest.mark.parametrize("minimum", ["1.2", "1.3"])
@pytest.mark.parametrize("served", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_minimum_version(
    spool: Spool, fault_server: Make, certs: Certs, minimum: str, served: ssl.TLSVersion
) -> None:
    server = fault_server(ehlo=STARTTLS, tls=_limited(certs, served))
    relay = {"url": server.url, "ca_file": certs.ca, "tls_min_version": minimum}
    if minimum == "1.3" and served == ssl.TLSVersion.TLSv1_2:
        _refused(spool, "(?i)version|SSL connect", **relay)
        assert _mail_free(server)
    else:
        _send_one(spool, **relay)
        assert server.messages[0].tls
        server.check()


def test_default_minimum_is_1_2(spool: Spool, fault_server: Make, certs: Certs) -> None:
    """The server takes nothing but TLS 1.1, with all that OpenSSL forbids there allowed."""
    context = certs.server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    server = fault_server(ehlo=STARTTLS, tls=context)
    _refused(spool, "(?i)version|SSL connect", url=server.url, ca_file=certs.ca)
    assert _mail_free(server)


# Certificates of the client


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_certificate(
    spool: Spool, fault_server: Make, certs: Certs, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = certs.server_context(require_client=True)
    context.minimum_version = context.maximum_version = version
    server = fault_server(ehlo=STARTTLS, tls=context)
    relay = {"url": server.url, "ca_file": certs.ca}
    _send_one(spool, **relay, cert_file=certs.client.cert, key_file=certs.client.key)
    both = tmp_path / "client.pem"
    both.write_bytes(certs.client.cert.read_bytes() + certs.client.key.read_bytes())
    _send_one(spool, **relay, cert_file=both)
    assert len(server.messages) == 2
    server.check()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_missing_client_certificate(
    spool: Spool, fault_server: Make, certs: Certs, version: ssl.TLSVersion
) -> None:
    context = certs.server_context(require_client=True)
    context.minimum_version = context.maximum_version = version
    server = fault_server(ehlo=STARTTLS, tls=context)
    # In TLS 1.3 the handshake is over by then: libcurl may see no more than a connection that ends.
    reason = "(?i)certificate required|handshake failure|peer"
    _refused(spool, reason, url=server.url, ca_file=certs.ca)
    assert _mail_free(server)


def test_client_key_of_another_certificate(
    spool: Spool, fault_server: Make, certs: Certs
) -> None:
    server = fault_server(ehlo=STARTTLS, tls=certs.server_context(require_client=True))
    relay = {"url": server.url, "ca_file": certs.ca}
    reason = "(?i)certificate|private key"
    _refused(spool, reason, **relay, cert_file=certs.client.cert, key_file=certs.server.key)
    assert _mail_free(server)


def _fingerprint(cert: Path) -> str:
    """As in Postfix's relay_clientcerts."""
    der = ssl.PEM_cert_to_DER_cert(cert.read_text())
    digits = hashlib.sha256(der).hexdigest().upper()
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


@pytest.fixture
def knowing_postfix(make_postfix: Callable[..., Postfix], certs: Certs) -> Postfix:
    """Asks for a certificate, and takes mail from one that it knows."""
    return make_postfix(
        require_tls=True,
        settings={
            "smtpd_tls_req_ccert": "yes",
            "smtpd_tls_fingerprint_digest": "sha256",
            "relay_clientcerts": f"inline:{{{{{_fingerprint(certs.client.cert)} = lab}}}}",
            "smtpd_delay_reject": "no",
            "smtpd_sender_restrictions": "permit_tls_clientcerts, reject",
        },
    )


def test_client_certificate_at_postfix(
    spool: Spool, knowing_postfix: Postfix, certs: Certs
) -> None:
    """It stands for a login. Without it, or with another of the same authority, the mail waits."""
    other = certs.issue("other-client", LOCALHOST, usage="clientAuth")
    relay: Dict[str, Value] = {"url": knowing_postfix.url, "ca_file": certs.ca}
    names = [spool.drop(MESSAGE) for _ in range(12)]
    for pair, reason in ((None, "relay-down"), (other, "refused with the same reply at MAIL FROM")):
        shown = {"cert_file": pair.cert, "key_file": pair.key} if pair else {}
        spool.write_config(**relay, **shown)
        done = spool.run()
        assert done.returncode == os.EX_TEMPFAIL and reason in done.stderr
        assert spool.ls()["new"] == sorted(names), "nothing is charged"
    spool.write_config(**relay, cert_file=certs.client.cert, key_file=certs.client.key)
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert len(knowing_postfix.wait_for(12)) == 12


# What stands in clear before TLS counts for nothing

INJECTED = (
    b"250-lab.example\r\n250-AUTH PLAIN LOGIN\r\n250 PIPELINING\r\n",
    b"235 2.7.0 Welcome\r\n",
    b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go\r\n250 2.0.0 Ok: queued\r\n",
    b"x",
)


@pytest.mark.parametrize("tls", ["required", "opportunistic"])
@pytest.mark.parametrize("injected", INJECTED, ids=["ehlo", "auth", "mail", "octet"])
def test_octets_behind_the_220_to_starttls(
    spool: Spool, fault_server: Make, certs: Certs, injected: bytes, tls: str
) -> None:
    """In one write with it, as somebody on the path would put them."""
    server = fault_server(
        ehlo=STARTTLS,
        tls=certs.server_context(),
        answers={"STARTTLS": b"220 2.0.0 Go ahead\r\n" + injected},
    )
    _refused(spool, ".", url=server.url, ca_file=certs.ca, tls=tls)
    assert _mail_free(server)


def test_octets_behind_the_220_in_a_packet_of_their_own(
    spool: Spool, fault_server: Make, certs: Certs
) -> None:
    answer = Then("220 2.0.0 Go ahead", Delay(0.2, INJECTED[0]))
    server = fault_server(
        ehlo=STARTTLS, tls=certs.server_context(), answers={"STARTTLS": answer}
    )
    _refused(spool, "(?i)SSL|TLS", url=server.url, ca_file=certs.ca)
    assert _mail_free(server)


def test_keywords_of_the_clear_ehlo_are_forgotten(
    spool: Spool, fault_server: Make, certs: Certs
) -> None:
    """Nothing of PIPELINING, SIZE, 8BITMIME or SMTPUTF8 holds on TLS, where it is not said. The
    server's check fails on octets that were pipelined, or on parameters of MAIL."""
    server = fault_server(
        ehlo=("PIPELINING", "SIZE 20", "8BITMIME", "SMTPUTF8", "STARTTLS"),
        ehlo_tls=("HELP",),
        tls=certs.server_context(),
    )
    spool.write_config(url=server.url, ca_file=certs.ca, connections=1)
    plain = [spool.drop(MESSAGE) for _ in range(3)]
    eightbit = spool.drop(MESSAGE + "é\n".encode())
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert [spool.state(name)[0] for name in plain] == ["cur"] * 3
    assert spool.state(eightbit) == ("failed", {"A": "1", "E": "5.6.3"})
    assert {message.options for message in server.messages} == {()}
    server.check()


def test_keywords_of_the_encrypted_ehlo_count(
    spool: Spool, fault_server: Make, certs: Certs
) -> None:
    server = fault_server(ehlo=("STARTTLS",), ehlo_tls=DEFAULT_EHLO, tls=certs.server_context())
    spool.write_config(url=server.url, ca_file=certs.ca, connections=1)
    spool.drop(MESSAGE + "é\n".encode())
    assert spool.run().returncode == 0
    (message,) = server.messages
    assert message.option("BODY") == "8BITMIME" and message.option("SIZE") is not None
    server.check()


@pytest.mark.parametrize(
    "event, reply",
    [
        ("CONNECT", b"235-2.7.0 Welcome\r\n220 lab.example ESMTP\r\n"),
        ("EHLO", b"250-lab.example\r\n235-2.7.0 Welcome\r\n250 STARTTLS\r\n"),
    ],
    ids=["greeting", "ehlo"],
)
def test_login_is_not_believed_before_tls(
    spool: Spool, fault_server: Make, certs: Certs, event: str, reply: bytes
) -> None:
    """The server proper offers no AUTH: a 235 in clear must not pass for its own."""
    server = fault_server(
        ehlo=STARTTLS, tls=certs.server_context(), answers={event: [reply]}
    )
    login = {"user": "site", "password_file": spool.secret("hunter2")}
    _refused(spool, "AUTH", url=server.url, ca_file=certs.ca, **login)
    assert _mail_free(server)


# A server of the real world


@pytest.mark.parametrize("kind", ["starttls", "smtps"])
def test_postfix(spool: Spool, postfix: Postfix, certs: Certs, kind: str) -> None:
    spool.write_config(
        url=postfix.url if kind == "starttls" else postfix.smtps_url,
        ca_file=certs.ca,
        user="site",
        password_file=spool.secret(USERS["site"]),
        tls_min_version="1.3",
    )
    name = spool.drop(MESSAGE)
    done = spool.run()
    assert (done.returncode, spool.state(name)[0]) == (0, "cur"), done.stderr
    assert MESSAGE in postfix.wait_for(1)[0]
    assert "TLSv1.3" in postfix.log()
