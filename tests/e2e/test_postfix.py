"""A real Postfix: what it refuses, defers, limits and does not announce."""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from typing import Callable, Dict, List

import pytest

from lab import logfmt
from lab.canonical import canonical
from lab.certs import Certs
from lab.postfix import DEFER, DOMAIN, REJECT, USERS, Postfix
from lab.spool import Spool

Make = Callable[..., Postfix]

SENDER = "bounces@example.com"
HEADER = b"From: a@example.com\nTo: b@example.test\nSubject: Postfix\n\n"
MESSAGE = HEADER + b"Text\n"
GOOD = f"good@{DOMAIN}"


def _configure(spool: Spool, server: Postfix, certs: Certs, connections: int = 4) -> None:
    """For the session's one Postfix, or one like it."""
    spool.write_config(
        url=server.url,
        ca_file=certs.ca,
        user="site",
        password_file=spool.secret(USERS["site"]),
        connections=connections,
    )


def _by_recipient(stderr: str) -> Dict[str, Dict[str, str]]:
    return {event["to"]: event for event in logfmt.parse(stderr) if "to" in event}


def _disconnects(server: Postfix) -> List[Dict[str, int]]:
    """The count of each command, of each connection that has ended: {"mail": 3, "quit": 1}."""
    lines = re.findall(r"disconnect from \S+ (.*) commands=\S+", server.log())
    # mail=2/3: two of three were accepted
    return [
        {verb: int(all_) for verb, all_ in re.findall(r"(\w+)=(?:\d+/)?(\d+)", line)}
        for line in lines
    ]


def _verbs(server: Postfix) -> "Counter[str]":
    return sum((Counter(counts) for counts in _disconnects(server)), Counter())


def _retry_now(spool: Spool) -> None:
    """As a person does it: the time is renamed away."""
    for name in spool.ls()["new"]:
        without_time = re.sub(r",T=\d+", "", name)
        os.rename(spool.path / "new" / name, spool.path / "new" / without_time)


# Results


def test_each_result(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    _configure(spool, postfix, certs)
    sent = spool.drop(MESSAGE, envelope=(SENDER, [GOOD]))
    rejected = spool.drop(MESSAGE, envelope=(SENDER, [REJECT]))
    deferred = spool.drop(MESSAGE, envelope=(SENDER, [DEFER]))
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert spool.state(sent) == ("cur", {"A": "1"})
    assert spool.state(rejected) == ("failed", {"A": "1", "E": "5.1.1"})
    where, fields = spool.state(deferred)
    assert (where, fields["A"], fields["E"]) == ("new", "1", "4.3.0")
    events = _by_recipient(done.stderr)
    assert re.match(r"250 2\.0\.0 Ok: \d+ bytes queued as \w+$", events[GOOD]["reply"])
    assert events[REJECT]["reply"] == f"550 5.1.1 <{REJECT}>: Recipient address rejected: " + (
        "No such user here"
    )
    assert events[DEFER]["reply"].startswith("451 4.3.0") and "busy" in events[DEFER]["reply"]
    assert len(postfix.wait_for(1)) == 1


def test_some_recipients_of_one_message(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    """Who has got it never gets it again, who refused it is not asked again."""
    _configure(spool, postfix, certs)
    name = spool.drop(MESSAGE, envelope=(SENDER, [REJECT, GOOD, DEFER]))
    assert spool.run().returncode == 0
    where, fields = spool.state(name)
    assert (where, fields["A"], fields["E"]) == ("new", "1", "4.3.0")
    block = spool.find(name).read_bytes()
    assert re.search(rb"^X-Maildrain-To: <defer@", block, re.M)
    assert re.search(rb"^X-Maildrain-Done: <good@example.test> 250 2\.0\.0 ", block, re.M)
    assert re.search(rb"^X-Maildrain-Failed: <reject@example.test> 550 5\.1\.1 ", block, re.M)
    assert block.endswith(MESSAGE) and block.count(b"X-Maildrain-To:") == 1
    before = _asked(postfix, REJECT), _asked(postfix, DEFER)
    _retry_now(spool)
    assert spool.run().returncode == 0
    assert spool.state(name)[1]["A"] == "2"
    assert (_asked(postfix, REJECT), _asked(postfix, DEFER)) == (before[0], before[1] + 1)
    (arrived,) = postfix.wait_for(1)
    assert canonical(arrived) == MESSAGE


def _asked(server: Postfix, recipient: str) -> int:
    return len(re.findall(rf"NOQUEUE: reject: RCPT .*<{recipient}>: Recip", server.log()))


def test_null_sender(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    _configure(spool, postfix, certs)
    spool.drop(MESSAGE, envelope=("", [GOOD]))
    assert spool.run().returncode == 0
    (arrived,) = postfix.wait_for(1)
    assert re.search(rb"^Return-Path: <>$", arrived, re.M)


def test_tls_forgotten_where_postfix_requires_it(
    spool: Spool, make_postfix: Make
) -> None:
    """530 at MAIL is the relay's word on us, not on the messages."""
    server = make_postfix(require_tls=True)
    spool.write_config(url=server.url, tls="none")
    names = [spool.drop(MESSAGE) for _ in range(15)]
    done = spool.run()
    assert done.returncode == 75
    assert spool.ls()["new"] == sorted(names)
    (event,) = logfmt.parse(done.stderr)
    assert event["event"] == "relay-misconfigured"
    assert "530 5.7.0 Must issue a STARTTLS command first" in event["reply"]


# Size


def test_25_megabytes(spool: Spool, postfix: Postfix, certs: Certs) -> None:
    _configure(spool, postfix, certs)
    line = random.Random(25).randbytes(750)
    text = bytes(b % 94 + 33 for b in line) + b"\n"
    message = HEADER + text * (25_000_000 // len(text))
    name = spool.drop(message, envelope=(SENDER, [GOOD]))
    done = spool.run()
    assert (done.returncode, spool.state(name)[0]) == (0, "cur"), done.stderr
    (arrived,) = postfix.wait_for(1)
    assert canonical(arrived) == message
    wire = len(message) + message.count(b"\n")
    assert _by_recipient(done.stderr)[GOOD]["size"] == str(wire)


def test_larger_than_postfix_takes(spool: Spool, make_postfix: Make) -> None:
    """SIZE in EHLO tells before a byte of it is sent."""
    server = make_postfix(tls=False, size_limit=100_000)
    spool.write_config(url=server.url, tls="none")
    large = spool.drop(HEADER + b"x" * 70 + b"\n" * 100_000, envelope=(SENDER, [GOOD]))
    small = spool.drop(MESSAGE, envelope=(SENDER, [GOOD]))
    done = spool.run()
    assert spool.state(large) == ("failed", {"A": "1", "E": "5.3.4"})
    assert spool.state(small)[0] == "cur"
    assert len(server.wait_for(1)) == 1 and "100000" in done.stderr


# Extensions


def test_chunking_is_used_and_sessions_end_with_quit(
    spool: Spool, make_postfix: Make
) -> None:
    server = make_postfix(tls=False)
    spool.write_config(url=server.url, tls="none", connections=2)
    for _ in range(30):
        spool.drop(MESSAGE, envelope=(SENDER, [GOOD]))
    assert spool.run().returncode == 0
    server.wait_for(30)
    verbs = _verbs(server)
    sessions = [counts for counts in _disconnects(server) if "mail" in counts]
    assert 1 <= len(sessions) <= 2
    # A first octet goes ahead in each session.
    bdat = 30 + len(sessions)
    assert (verbs["mail"], verbs["rcpt"], verbs["data"], verbs["bdat"]) == (30, 30, 0, bdat)
    assert all(counts["quit"] == 1 for counts in sessions)


@pytest.mark.parametrize("offered", [True, False], ids=["offered", "not-offered"])
def test_pipelining(spool: Spool, make_postfix: Make, offered: bool) -> None:
    """Postfix refuses what comes too early where PIPELINING holds, say a body before the 354.
    It does not mind commands that it has not asked for: the fault server watches over those."""
    server = make_postfix(
        tls=False,
        discard=() if offered else ("pipelining",),
        settings={
            "smtpd_forbid_unauth_pipelining": "yes",
            "smtpd_data_restrictions": "reject_unauth_pipelining",
        },
    )
    spool.write_config(url=server.url, tls="none", connections=2)
    recipients = [GOOD, REJECT, f"second@{DOMAIN}"]
    names = [spool.drop(MESSAGE, envelope=(SENDER, recipients)) for _ in range(20)]
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert {spool.state(name)[0] for name in names} == {"failed"}
    assert {canonical(m) for m in server.wait_for(40)} == {MESSAGE}
    assert server.count() == 40
    assert "mproper" not in server.log() and "mproper" not in done.stderr


def test_8bitmime_not_offered(spool: Spool, make_postfix: Make) -> None:
    server = make_postfix(tls=False, discard=("8bitmime", "smtputf8"))
    spool.write_config(url=server.url, tls="none")
    eightbit = spool.drop(HEADER + "é\n".encode(), envelope=(SENDER, [GOOD]))
    plain = spool.drop(MESSAGE, envelope=(SENDER, [GOOD]))
    assert spool.run().returncode == 0
    assert spool.state(eightbit) == ("failed", {"A": "1", "E": "5.6.3"})
    assert spool.state(plain)[0] == "cur"


@pytest.mark.parametrize("offered", [True, False], ids=["offered", "not-offered"])
def test_smtputf8(spool: Spool, make_postfix: Make, offered: bool) -> None:
    """An address that needs it fails alone where it is missing."""
    server = make_postfix(tls=False, discard=() if offered else ("smtputf8",))
    spool.write_config(url=server.url, tls="none")
    recipients = [f"jürgen@{DOMAIN}", GOOD]
    name = spool.drop(MESSAGE, envelope=(SENDER, recipients))
    done = spool.run()
    assert done.returncode == 0
    events = _by_recipient(done.stderr)
    assert events[GOOD]["event"] == "sent"
    if offered:
        assert spool.state(name)[0] == "cur" and events[recipients[0]]["event"] == "sent"
        server.wait_for(2)
    else:
        assert spool.state(name) == ("failed", {"A": "1", "E": "5.6.7"})
        assert "SMTPUTF8" in events[recipients[0]]["reply"]
        server.wait_for(1)


# Limits


def test_fewer_connections_than_configured(spool: Spool, make_postfix: Make) -> None:
    """The other sessions get 421 for a greeting; the mail goes over the one that is left."""
    server = make_postfix(
        tls=False,
        settings={
            "smtpd_client_connection_count_limit": "1",
            "smtpd_client_event_limit_exceptions": "",
        },
    )
    spool.write_config(url=server.url, tls="none", connections=4)
    names = [spool.drop(MESSAGE, envelope=(SENDER, [GOOD])) for _ in range(60)]
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert "Connection concurrency limit exceeded" in server.log()
    assert {spool.state(name)[1]["A"] for name in names} == {"1"}
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 60, "failed": 0}
    assert {event["event"] for event in logfmt.parse(done.stderr)} == {"sent", "run"}
    server.wait_for(60)


def test_421_after_too_many_errors(spool: Spool, make_postfix: Make) -> None:
    """Each refused recipient counts as one, so some bad addresses make Postfix hang up. What was
    under way is not charged for it, and the run goes on in a new session."""
    server = make_postfix(
        tls=False,
        settings={"smtpd_hard_error_limit": "3", "smtpd_error_sleep_time": "0"},
    )
    spool.write_config(url=server.url, tls="none", connections=1)
    bad = [spool.drop(MESSAGE, envelope=(SENDER, [REJECT])) for _ in range(4)]
    good = [spool.drop(MESSAGE, envelope=(SENDER, [GOOD])) for _ in range(2)]
    done = spool.run()
    assert done.returncode == 0, done.stderr
    assert "too many errors" in server.log()
    assert {spool.state(name)[0] for name in good} == {"cur"}
    assert {(s, f["A"], f["E"]) for s, f in map(spool.state, bad)} == {("failed", "1", "5.1.1")}
    server.wait_for(2)


def test_more_recipients_than_postfix_takes_at_once(
    spool: Spool, make_postfix: Make
) -> None:
    """452 to those too many: they are deferred, and get it with the next attempt."""
    server = make_postfix(tls=False, settings={"smtpd_recipient_limit": "5"})
    spool.write_config(url=server.url, tls="none")
    recipients = [f"r{i}@{DOMAIN}" for i in range(8)]
    name = spool.drop(MESSAGE, envelope=(SENDER, recipients))
    assert spool.run().returncode == 0
    assert spool.state(name)[1]["E"] == "4.5.3"
    assert spool.find(name).read_bytes().count(b"X-Maildrain-To:") == 3
    _retry_now(spool)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "2"})
    arrived = server.wait_for(8)
    to = Counter(re.findall(rb"^Delivered-To: (.*)$", b"\n".join(arrived), re.M))
    assert to == {recipient.encode(): 1 for recipient in recipients}


def test_rate_limit(spool: Spool, make_postfix: Make) -> None:
    """450 at MAIL defers what is too much, and nothing else."""
    server = make_postfix(
        tls=False,
        settings={
            "smtpd_client_message_rate_limit": "10",
            "smtpd_client_event_limit_exceptions": "",
            "smtpd_error_sleep_time": "0",
        },
    )
    spool.write_config(url=server.url, tls="none", connections=1)
    names = [spool.drop(MESSAGE, envelope=(SENDER, [GOOD])) for _ in range(15)]
    done = spool.run()
    assert done.returncode == 0, done.stderr
    states = Counter((s, f.get("E")) for s, f in map(spool.state, names))
    assert states == {("cur", None): 10, ("new", "4.7.1"): 5}
    server.wait_for(10)
