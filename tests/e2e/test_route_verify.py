"""verify --route: which relays mail would go to and why, from the config alone."""

from __future__ import annotations

from typing import List

import pytest
from lab.spool import Spool

# No test here may need a server: these can't be reached.
CONFIG = """
relay "main" { url = "smtp://127.0.0.1:1" user = me password_file = "${NOWHERE}/password" }
relay "bulk1" { url = "smtp://127.0.0.1:1" weight = 3 }
relay "bulk2" { url = "smtp://127.0.0.1:1" }
route "campaign" { header = {"X-Campaign: *", "List-Id: *news*"} relays = {"bulk2"} }
route "large" { larger_than = "1M" smaller_than = "10M" relays = {"main"} }
route "news" {
	sender = {"news@*", "<>"}
	recipient = {"example.net"}
	relays = {"bulk1 bulk2", "main"}
}
route "from" { from = {"*@shop.example"} relays = {"bulk1"} }
"""


@pytest.fixture
def routed(spool: Spool) -> Spool:
    spool.write_config_text(f'spool = "{spool.path}"\n{CONFIG}')
    return spool


def told(spool: Spool, *words: str) -> List[str]:
    done = spool.command("verify", "--route", *words)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.splitlines()


def test_route_reason_and_relays(routed: Spool) -> None:
    assert told(routed, "News@example.com", "a@example.net", "--size", "1K") == [
        "from News@example.com to a@example.net",
        'route "news": sender matches "news@*", recipient matches "example.net"',
        "  1. bulk1 (weight 3), bulk2 (weight 1)",
        "  2. main",
        "its header or size may lead elsewhere first (see --header, --size):",
        '  route "campaign", if X-Campaign matches "*" or List-Id matches "*news*"',
    ]


def test_no_route(routed: Spool) -> None:
    lines = told(routed, "a@example.com", "b@example.org", "--size", "1", "--header", "X: y")
    assert lines[1:] == [
        "no route takes it, so the relays in the order of the file",
        "  1. main",
        "  2. bulk1",
        "  3. bulk2",
    ]


def test_null_sender(routed: Spool) -> None:
    lines = told(routed, "<>", "b@example.net")
    assert lines[0] == "from <> to b@example.net"
    assert lines[1].startswith('route "news": sender matches "<>"')


@pytest.mark.parametrize(
    ("words", "route"),
    [
        (["--header", "x-campaign: summer"], "campaign"),
        (["--header", "List-Id: <shop.news>"], "campaign"),
        (["--header", "List-Id: <shop.tickets>", "--size", "2M"], "large"),
        (["--header", "Subject: x", "--size", "10M"], "news"),
        (["--size", "1048577", "--header", "Subject: x"], "large"),
        (["--size", "1M"], "news"),
    ],
)
def test_what_is_told_of_the_mail(routed: Spool, words: List[str], route: str) -> None:
    lines = told(routed, "news@example.com", "a@example.net", *words)
    assert lines[1].startswith(f'route "{route}": ')


def test_from_is_the_sender_unless_told(routed: Spool) -> None:
    by_sender = told(routed, "a@shop.example", "b@example.org")
    assert by_sender[1] == 'route "from": From matches "*@shop.example"'
    author = "From: The Shop <orders@shop.example>, x@y"
    assert told(routed, "a@example.com", "b@example.org", "--header", author)[1] == by_sender[1]
    other = told(routed, "a@shop.example", "b@example.org", "--header", "From: a@example.com")
    assert other[1].startswith("no route takes it")


def test_all_that_is_not_known_is_named(routed: Spool) -> None:
    lines = told(routed, "a@example.com", "b@example.org")
    assert lines[-3:] == [
        "its header or size may lead elsewhere first (see --header, --size):",
        '  route "campaign", if X-Campaign matches "*" or List-Id matches "*news*"',
        '  route "large", if it is larger than 1M and it is smaller than 10M',
    ]


def test_what_the_mail_asks_for(routed: Spool) -> None:
    """A route goes before a relay of the same name, and both before all conditions."""
    with routed.config.open("a") as config:
        config.write('route "bulk1" { relays = {"bulk2"} }\n')
    by_route = told(routed, "news@example.com", "a@example.net", "--relay", "bulk1")
    assert by_route[1:] == ['route "bulk1": the message asks for it', "  1. bulk2"]
    by_relay = told(routed, "news@example.com", "a@example.net", "--relay", "main")
    assert by_relay[1:] == ['relay "main": the message asks for it', "  1. main"]
    (_, held) = told(routed, "news@example.com", "a@example.net", "--relay", "nothing")
    assert held.startswith("held: ")


def test_staging(routed: Spool) -> None:
    with routed.config.open("a") as config:
        config.write('allow_recipients = {"example.net"}\n')
    assert told(routed, "a@x", "b@example.org")[1].startswith("held: ")
    assert "held" not in "".join(told(routed, "a@x", "b@example.net"))
    with routed.config.open("a") as config:
        config.write('redirect_to = "dev@example.com"\n')
    assert told(routed, "a@x", "b@example.org")[1].startswith("held: ")
    lines = told(routed, "a@x", "b@example.net")
    assert lines[1].startswith("redirect_to: it goes to dev@example.com instead")
    assert "held" not in "".join(lines)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--route"], 64, "FROM TO"),
        (["--route", "a@x"], 64, "FROM TO"),
        (["--route", "a@x", "b@y", "c@z"], 64, "too many"),
        (["--route", "--configured", "a@x", "b@y"], 64, "either"),
        (["--size", "1K"], 64, "--route"),
        (["--header", "A: b"], 64, "--route"),
        (["--relay", "main"], 64, "--route"),
        (["a@x"], 64, "too many"),
        (["--route", "a@x", "b@y", "--size", "1 MB"], 64, "25M"),
        (["--route", "a@x", "b@y", "--header", "nothing"], 64, "NAME: VALUE"),
        (["--route", "a@x", "b@y", *["--header", "A: b"] * 65], 64, "64"),
        (["--route", "a", "b@y"], 65, "a is no address"),
        (["--route", "a@x", "b"], 65, "b is no address"),
        (["--route", "a@x", "<>"], 65, "no address"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else None,
)
def test_wrong_words(routed: Spool, words: List[str], status: int, said: str) -> None:
    done = routed.command("verify", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr


def test_fault_in_the_config(routed: Spool) -> None:
    with routed.config.open("a") as config:
        config.write('route "x" { relays = {"buld1"} }\n')
    done = routed.command("verify", "--route", "a@x", "b@y")
    assert (done.returncode, done.stdout) == (78, "")
    assert 'did you mean "bulk1"?' in done.stderr


def test_verify_shows_the_routes(spool: Spool) -> None:
    """And says of one that stands behind another which takes all mail."""
    spool.write_config_text(
        f'spool = "{spool.path}"\nrelay a {{ url = "smtp://127.0.0.1:1" tls = none }}\n'
        "route all { relays = {a} }\nroute wish { sender = {x} relays = {a} }\n"
    )
    lines = spool.command("verify").stdout.splitlines()
    at = lines.index('route "all"')
    assert lines[at + 1 : at + 4] == ["  1. a", 'route "wish"', "  1. a"]
    assert 'route "all"' in lines[at + 4] and "X-Maildrain-Relay" in lines[at + 4]
    assert sum("note: route" in line for line in lines) == 1
