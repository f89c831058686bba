"""A certificate authority and its certificates, made by openssl(1)."""

from __future__ import annotations

import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

LOCALHOST = "DNS:localhost,IP:127.0.0.1,IP:::1"
ELSEWHERE = "DNS:mail.wrong.example"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM files."""

    cert: Path
    key: Path


def _date(days: int) -> str:
    """The time so many days from now, as openssl writes it."""
    return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))


def _openssl(*args: str) -> None:
    done = subprocess.run(["openssl", *args], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr.decode(errors='replace')}")


def _new_key(directory: Path, name: str) -> Pair:
    pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")
    _openssl("genpkey", *curve, "-out", str(pair.key))
    return pair


def _write_config(directory: Path) -> Path:
    """What `openssl req` and `openssl ca` want to know, in place of the machine's openssl.cnf.

    The extensions are all those that RFC 5280 asks for: VERIFY_X509_STRICT, which Python sets from
    3.13 on, refuses a certificate without them.
    """
    (directory / "index.txt").touch()
    path = directory / "lab.cnf"
    path.write_text(f"""\
[req]
distinguished_name = subject
[subject]
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[alone]
subjectAltName = {LOCALHOST}
extendedKeyUsage = serverAuth
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
[ca]
default_ca = lab
[policy]
commonName = supplied
[lab]
database = {directory}/index.txt
new_certs_dir = {directory}
certificate = {directory}/ca.pem
private_key = {directory}/ca.key
default_md = sha256
policy = policy
unique_subject = no
rand_serial = yes
""")
    return path


def _sign_itself(pair: Pair, config: Path, subject: str, extensions: str) -> None:
    _openssl(
        *("req", "-x509", "-new", "-config", str(config), "-extensions", extensions),
        *("-key", str(pair.key), "-out", str(pair.cert)),
        *("-days", "30", "-subj", subject),
    )


def _make_ca(directory: Path, config: Path) -> Pair:
    pair = _new_key(directory, "ca")
    _sign_itself(pair, config, "/CN=maildrain test CA", "authority")
    return pair


def _self_signed(directory: Path, config: Path) -> Pair:
    """For LOCALHOST, and with nothing wrong but that nobody has signed it."""
    pair = _new_key(directory, "self-signed")
    _sign_itself(pair, config, "/CN=self-signed", "alone")
    return pair


class Certs:
    """All that a TLS test needs, in DIRECTORY. Keys are EC P-256: they take milliseconds."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._config = _write_config(directory)
        self.authority = _make_ca(directory, self._config)
        self.server = self.issue("server", LOCALHOST)
        self.expired = self.issue("expired", LOCALHOST, days=-1)
        self.wrong_name = self.issue("wrong-name", ELSEWHERE)
        self.client = self.issue("client", LOCALHOST, usage="clientAuth")
        self.self_signed = _self_signed(directory, self._config)

    @property
    def ca(self) -> Path:
        """The file for ca_file in a client's config."""
        return self.authority.cert

    def issue(self, name: str, san: str, *, days: int = 30, usage: str = "serverAuth") -> Pair:
        """A certificate for SAN, signed by the authority; negative DAYS: it has expired."""
        pair = _new_key(self.directory, name)
        request = self.directory / f"{name}.csr"
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName = {san}\nextendedKeyUsage = {usage}\n"
            "basicConstraints = critical, CA:false\nkeyUsage = critical, digitalSignature\n"
            "subjectKeyIdentifier = hash\nauthorityKeyIdentifier = keyid\n"
        )
        _openssl(
            *("req", "-new", "-config", str(self._config), "-subj", f"/CN={name}"),
            *("-key", str(pair.key), "-out", str(request)),
        )
        # Not "x509 -days": newer versions refuse what is over before it begins.
        _openssl(
            *("ca", "-batch", "-notext", "-config", str(self._config)),
            *("-in", str(request), "-out", str(pair.cert), "-extfile", str(extensions)),
            *("-startdate", _date(-2), "-enddate", _date(days)),
        )
        return pair

    def server_context(
        self, pair: Optional[Pair] = None, *, require_client: bool = False
    ) -> ssl.SSLContext:
        """For a server that shows PAIR (by default the good one)."""
        pair = pair or self.server
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        if require_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca)
        return context

    def client_context(self, pair: Optional[Pair] = None) -> ssl.SSLContext:
        """For a client that trusts this authority, and shows PAIR when given."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if pair:
            context.load_cert_chain(pair.cert, pair.key)
        return context
