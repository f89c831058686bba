"""The promises: all mail arrives as it was, in little memory and fast; an idle run is free."""

from __future__ import annotations

import hashlib
import os
import random
import re
import statistics
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timezone
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import pytest

from bench import compare
from bench.cell import Cell
from bench.matrix import Plan
from bench.senders import Maildrain, SmtpSource
from lab import logfmt, measure, repo
from lab.canonical import canonical
from lab.certs import Certs
from lab.postfix import DOMAIN, USERS, Postfix
from lab.spool import Spool

MEGABYTE = 1_000_000
SENDER = "bounces@example.com"
TOTAL = 1000


def _is_sanitized(program: Path) -> bool:
    if os.environ.get("MAILDRAIN_SANITIZED") == "1":
        return True
    runtimes = (b"__asan_", b"__ubsan_", b"__msan_", b"__tsan_", b"__gcov_")
    return any(runtime in program.read_bytes() for runtime in runtimes)


def _plain_program() -> Path:
    """The program under test when it was built for users; else $MAILDRAIN_PLAIN, which was. A
    sanitizer's own memory and time would be measured otherwise."""
    program = repo.program()
    if program.exists() and not _is_sanitized(program):
        return program
    default = repo.ROOT / "build" / "sbin" / "maildrain"
    plain = Path(os.environ.get("MAILDRAIN_PLAIN", default))
    if not plain.exists():
        pytest.fail(f"{plain} is missing: run make, or set MAILDRAIN_PLAIN")
    return plain


def _run_argv(spool: Spool) -> List[str]:
    return [str(_plain_program()), *spool.argv("run")[1:]]


def _builds() -> List[str]:
    """Which programs the mail is sent with: also the one with sanitizers, where there is one."""
    program = repo.program()
    return ["plain", "sanitized"] if program.exists() and _is_sanitized(program) else ["plain"]


# Mail of many kinds


@dataclass(frozen=True)
class Letter:
    """What is dropped, and what every one of TO must get."""

    spooled: bytes
    expected: bytes  # in canonical form
    to: Tuple[str, ...]
    envelope: Optional[Tuple[str, Sequence[str]]] = None  # None: it comes from the header


def _header(number: int, kind: str, to: Sequence[str] = ()) -> bytes:
    listed = ", ".join(to or _to(number))
    return (
        f"From: Site <{SENDER}>\nTo: {listed}\nSubject: {kind} {number}\n"
        f"Message-ID: <{number}@example.com>\n"
    ).encode()


def _to(number: int, count: int = 1) -> Tuple[str, ...]:
    return tuple(f"r{number}-{i}@{DOMAIN}" for i in range(count))


def _letter(number: int, message: bytes, to: Sequence[str] = ()) -> Letter:
    """With the envelope in a block, for each second one."""
    recipients = tuple(to) or _to(number)
    envelope = (SENDER, recipients) if number % 2 else None
    return Letter(message, canonical(message), recipients, envelope)


def _ascii(number: int, rng: random.Random) -> Letter:
    lines = [bytes(rng.choices(range(32, 127), k=rng.randrange(79))) for _ in range(20)]
    return _letter(number, _header(number, "ASCII") + b"\n" + b"\n".join(lines) + b"\n")


def _eight_bit(number: int, rng: random.Random) -> Letter:
    """UTF-8, and octets that are none."""
    body = "Grüße — 漢字 ☃\n".encode() + bytes(rng.choices(range(128, 256), k=500)) + b"\n"
    return _letter(number, _header(number, "8-bit") + b"\n" + body)


def _eight_bit_header(number: int, rng: random.Random) -> Letter:
    """Raw UTF-8 in the header is for SMTPUTF8."""
    return _letter(number, _header(number, "Grüße ☃") + b"\nText\n")


def _long_lines(number: int, rng: random.Random) -> Letter:
    """Up to 998 octets, the longest that RFC 5322 allows, some of them starting with a dot."""
    lengths = [998, 997, *rng.choices(range(900, 999), k=10)]
    lines = [(b"." if n % 2 else b"x") + b"y" * (n - 1) for n in lengths]
    return _letter(number, _header(number, "long") + b"\n" + b"\n".join(lines) + b"\n")


def _dots(number: int, rng: random.Random) -> Letter:
    choices = [b".", b"..", b"...", b".x", b"", b"QUIT", b"x.", b". "]
    lines = [b".", *rng.choices(choices, k=50), b"."]
    return _letter(number, _header(number, "dots") + b"\n" + b"\n".join(lines) + b"\n")


def _mixed_ends(number: int, rng: random.Random) -> Letter:
    """CRLF, LF and bare CR by chance, also around dots, where smuggling is tried."""
    ends = [b"\r\n", b"\n", b"\r", b"\n.\r\n", b"\r.\r", b"\r\r\n", b"\n\r"]
    body = b"".join(b"line" + rng.choice(ends) for _ in range(60))
    header = _header(number, "ends").replace(b"\n", b"\r\n" if number % 3 else b"\n")
    return _letter(number, header + b"\n" + body + b"MAIL FROM:<evil@example.com>\n")


def _no_final_newline(number: int, rng: random.Random) -> Letter:
    end = rng.choice([b"no end", b"CR at the end\r", b"a dot\n.", b"."])
    return _letter(number, _header(number, "unended") + b"\nText\n" + end)


def _no_body(number: int, rng: random.Random) -> Letter:
    return _letter(number, _header(number, "empty") + b"\n")


def _multipart(number: int, rng: random.Random) -> Letter:
    """Text, HTML and an attachment, as a site sends them."""
    mail = EmailMessage()
    mail["From"], mail["To"] = f"Site <{SENDER}>", ", ".join(_to(number))
    mail["Subject"] = f"Bestätigung {number}"
    mail["Date"] = format_datetime(datetime(2026, 1, 1, tzinfo=timezone.utc))
    mail.set_content("Grüße\n")
    mail.add_alternative("<p>Grüße</p>\n", subtype="html")
    mail.add_attachment(
        rng.randbytes(rng.randrange(1, 60_000)),
        *("application", "pdf"),
        filename="Rechnung ☃.pdf",
    )
    for part in mail.walk():
        if part.is_multipart():
            part.set_boundary(f"{rng.getrandbits(64):x}")
    return _letter(number, mail.as_bytes())


def _bcc(number: int, rng: random.Random) -> Letter:
    """Bcc is served and never shown: once, twice, folded, first and last, in any spelling."""
    shown, hidden = _to(number, 4)[:2], _to(number, 4)[2:]
    fields = rng.choice(
        [
            f"Bcc: {', '.join(hidden)}\n",
            f"BCC:\n {hidden[0]},\n\t{hidden[1]}\n",
            f"bcc: {hidden[0]}\nBcc: Hidden <{hidden[1]}>\n",
        ]
    ).encode()
    lines = _header(number, "Bcc", shown)
    place = rng.choice([0, lines.index(b"Subject"), len(lines)])
    message = lines[:place] + fields + lines[place:] + b"\nBcc: in the body stays\n"
    expected = lines + b"\nBcc: in the body stays\n"
    return Letter(message, expected, shown + hidden)


def _several(number: int, rng: random.Random) -> Letter:
    to = _to(number, rng.randrange(2, 6))
    return _letter(number, _header(number, "several", to) + b"\nText\n", to)


def _medium(number: int, rng: random.Random) -> Letter:
    """Around the sizes of buffers, so that ends of lines and of buffers meet."""
    size = rng.choice([16384, 32768, 65536]) + rng.randrange(-400, 400)
    message = _header(number, "medium") + b"\n"
    while len(message) < size:
        message += rng.choice([b".", b"x"]) * rng.randrange(1, 99) + rng.choice([b"\n", b"\r\n"])
    return _letter(number, message)


def _huge(number: int) -> Letter:
    rng = random.Random(number)
    line = bytes(rng.choices(range(33, 127), k=76)) + b"\n"
    message = _header(number, "huge") + b"\n" + (b"." + line) * (25 * MEGABYTE // 78 + 1)
    return _letter(number, message)


KINDS: Sequence[Callable[[int, random.Random], Letter]] = (
    _ascii,
    _eight_bit,
    _eight_bit_header,
    _long_lines,
    _dots,
    _mixed_ends,
    _no_final_newline,
    _no_body,
    _multipart,
    _bcc,
    _several,
    _medium,
)


def _letters() -> List[Letter]:
    rng = random.Random(1)
    letters = [KINDS[i % len(KINDS)](i, rng) for i in range(TOTAL - 1)]
    letters.insert(TOTAL // 2, _huge(TOTAL))
    return letters


Copy = Tuple[str, str]  # recipient, digest


def _copies(letters: Sequence[Letter]) -> "Counter[Copy]":
    return Counter(
        (to, hashlib.sha256(letter.expected).hexdigest()) for letter in letters for to in letter.to
    )


def _arrived_copy(message: bytes) -> Copy:
    found = re.search(rb"^Delivered-To: (\S+)$", message[:4096], re.M)
    assert found, message[:200]
    return found[1].decode(), hashlib.sha256(canonical(message)).hexdigest()


def _wait_until_idle(server: Postfix, timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while server.queued() and time.monotonic() < end:
        time.sleep(0.1)
    assert server.queued() == 0


@pytest.mark.parametrize("build", _builds())
def test_thousand_messages_through_starttls_and_auth(
    spool: Spool, postfix: Postfix, certs: Certs, build: str
) -> None:
    """Every one arrives as it was meant, none twice, none lost, in less than 20 MB."""
    argv = _run_argv(spool) if build == "plain" else spool.argv("run")
    letters = _letters()
    assert len(letters) == TOTAL and max(len(x.spooled) for x in letters) > 25 * MEGABYTE
    expected = _copies(letters)
    names = [spool.drop(letter.spooled, envelope=letter.envelope) for letter in letters]
    spool.write_config(
        url=postfix.url,
        ca_file=certs.ca,
        user="site",
        password_file=spool.secret(USERS["site"]),
        connections=4,
    )
    start = len(postfix.log())
    used = measure.measure(argv, timeout=120)
    assert used.returncode == 0, used.stderr[-3000:]

    assert spool.counts() == {"tmp": 0, "new": 0, "cur": TOTAL, "failed": 0}
    assert {(s, f["A"]) for s, f in map(spool.state, names)} == {("cur", "1")}
    events = Counter(event["event"] for event in logfmt.parse(used.stderr))
    assert events == {"sent": sum(expected.values()), "run": 1}

    postfix.wait_for(sum(expected.values()), timeout=120)
    _wait_until_idle(postfix)
    arrived = Counter(map(_arrived_copy, postfix.arrived()))
    assert _described(expected - arrived, letters) == [], "lost or changed"
    assert _described(arrived - expected, letters) == [], "twice or changed"

    log = postfix.log()[start:]
    taken = re.findall(r"client=.*sasl_method=\S+, sasl_username=site", log)
    assert len(taken) == TOTAL
    assert len(re.findall(r"(?:Anonymous|Untrusted|Trusted) TLS connection", log)) == 4
    print(f"{used.max_rss / MEGABYTE:.1f} MB at most, {used.wall:.1f} s")
    assert build == "sanitized" or used.max_rss < 20 * MEGABYTE


def _described(copies: "Counter[Copy]", letters: Sequence[Letter]) -> List[str]:
    """The first few, by the start of the letter that it should be."""
    by_recipient: Dict[str, Letter] = {to: letter for letter in letters for to in letter.to}
    return [
        f"{count}× {to}: {by_recipient[to].spooled[:120]!r}"
        for (to, _), count in list(copies.items())[:5]
    ]


# An idle run


def _fill_nothing(spool: Spool) -> None:
    pass


def _fill_not_due(spool: Spool) -> None:
    """Deferred mail, mail for later, sent mail and failures: nothing to do now."""
    later = int(time.time()) + 3600
    born = int(time.time()) - 60
    for i in range(50):
        spool.drop(b"From: a@example.com\nTo: b@example.test\n\nText\n", not_before=later)
        name = f"{born}.M{i}P1Q{i}.host"
        for directory, fields in (
            ("new", f",A=1,E=4.3.0,T={later}"),
            ("cur", ",A=1:2,S"),
            ("failed", ",A=1,E=5.1.1"),
        ):
            (spool.path / directory / (name + fields)).write_bytes(b"From: a@example.com\n\n")


FILLS = pytest.mark.parametrize("fill", [_fill_nothing, _fill_not_due], ids=["empty", "not-due"])


@pytest.fixture
def idle_spool(spool: Spool, certs: Certs) -> Spool:
    """With TLS and AUTH configured: the price would be known."""
    spool.write_config(
        url="smtps://127.0.0.1:1",
        ca_file=certs.ca,
        user="site",
        password_file=spool.secret("correct horse"),
    )
    return spool


@FILLS
def test_idle_run_takes_no_cpu(idle_spool: Spool, fill: Callable[[Spool], None]) -> None:
    fill(idle_spool)
    runs = [measure.measure(_run_argv(idle_spool)) for _ in range(20)]
    assert {run.returncode for run in runs} == {0}
    cpu = statistics.median(run.cpu for run in runs)
    print(f"{cpu * 1000:.2f} ms of CPU")
    assert cpu < 0.005, f"{cpu * 1000:.2f} ms"


@FILLS
def test_idle_run_opens_no_socket_and_loads_no_libcurl(
    idle_spool: Spool, fill: Callable[[Spool], None]
) -> None:
    if not measure.have_strace():
        pytest.skip("strace is missing, or may not trace")
    fill(idle_spool)
    before = idle_spool.ls()
    trace = measure.trace(_run_argv(idle_spool))
    assert (trace.returncode, trace.stdout, trace.stderr) == (0, "", "")
    assert idle_spool.ls() == before
    assert trace.lines(r"openat\(.*maildrain\.conf"), "the trace shows nothing"
    assert not trace.lines(r"^\d+ +(socket|connect|sendto|bind)\(")
    assert not trace.lines(r"libcurl|libssl|libcrypto|smtp\.so")
    assert not trace.lines(r"^\d+ +(write|pwrite64|writev|rename\w*|unlink\w*|f(data)?sync)\(")
    assert not trace.lines(r"O_CREAT|O_WRONLY|O_RDWR")


def test_the_trace_would_show_libcurl(idle_spool: Spool) -> None:
    """The same look at a run with mail: else the test before could not fail."""
    if not measure.have_strace():
        pytest.skip("strace is missing, or may not trace")
    idle_spool.drop(b"From: a@example.com\nTo: b@example.test\n\nText\n")
    trace = measure.trace(_run_argv(idle_spool))
    assert trace.returncode == 75
    assert trace.lines(r"^\d+ +socket\(") and trace.lines(r"libcurl") and trace.lines(r"smtp\.so")


# Speed


def test_drains_at_the_pace_of_smtp_source(
    smtp_sink: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The true figures are those of `make bench-drain` on a quiet machine; here others may be at
    work on it, so only a run that is far slower fails."""
    del smtp_sink  # it sees to it that what this needs is there
    monkeypatch.setenv("MAILDRAIN", str(_plain_program()))
    place = Cell(0, 4)
    plan = Plan((place,), 3, 1.0, 100)
    found = compare.compare(plan, senders=(Maildrain.name, SmtpSource.name), directory=tmp_path)
    ours, theirs = found.at(place, Maildrain.name), found.at(place, SmtpSource.name)
    assert ours and theirs and not ours.fault and not theirs.fault
    print(f"{ours.rate:.0f} messages per second, smtp-source {theirs.rate:.0f}")
    best = max(ours.rates()) / max(theirs.rates())
    assert max(ours.rate / theirs.rate, best) >= 0.5
