"""A copy of a site that must not write to real people: redirect_to, allow_recipients, a Maildir."""

from __future__ import annotations

import mailbox
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from lab.faultserver import FaultServer
from lab.httpstub import HttpStub, PostApi
from lab.spool import Spool

from e2e.relaying import (
    LETTER,
    assert_deferred,
    assert_failed,
    assert_sent,
    block,
    letter,
    make_due,
    results,
    run,
)

Servers = Callable[..., FaultServer]

DEV = "dev@example.com"


def redirect(spool: Spool, server: FaultServer, **options: str) -> None:
    spool.write_config(
        {"redirect_to": DEV, **options}, url=server.url, tls="none", connections=1
    )


def originals(data: bytes) -> List[str]:
    """What the X-Original-To fields in front of the header of DATA say."""
    lines = data.decode().split("\r\n")
    start = "X-Original-To: "
    return [line[len(start) :] for line in lines if line.startswith(start)]


def test_into_a_maildir_with_no_server(spool: Spool, tmp_path: Path) -> None:
    folder = tmp_path / "Maildir"
    spool.write_config({"redirect_to": DEV}, url=f"maildir:{folder}")
    name = letter(spool, "b@example.net", "c@example.org")
    text = spool.find(name).read_bytes()
    run(spool)
    assert_sent(spool, name)
    assert spool.find(name).read_bytes() == text
    (message,) = mailbox.Maildir(folder, create=False)
    assert message.get_all("Delivered-To") == [DEV]
    assert message.get_all("X-Original-To") == ["b@example.net", "c@example.org"]
    assert message["Subject"] == "x" and message.get_payload() == "text\n"


def test_groups_are_apart_there_too(spool: Spool, tmp_path: Path) -> None:
    """Two that go different ways are two messages for one address, of which none is lost."""
    folder = tmp_path / "Maildir"
    spool.write_config(
        {"redirect_to": DEV},
        relays={"one": {"url": f"maildir:{folder}"}, "two": {"url": f"maildir:{folder}"}},
        routes={"r": {"recipient": ["example.org"], "relays": ["two"]}},
    )
    name = letter(spool, "b@example.net", "c@example.org", "d@example.net")
    run(spool)
    assert_sent(spool, name)
    found = [message.get_all("X-Original-To") for message in mailbox.Maildir(folder, create=False)]
    assert sorted(found) == [["b@example.net", "d@example.net"], ["c@example.org"]]


def test_groups_are_apart_for_an_api(
    spool: Spool, http_stub: Callable[..., HttpStub]
) -> None:
    """It does not take the second for the first again: they are for others."""
    api = PostApi()
    relay = {"url": f"{http_stub(api).url}/mail"}
    spool.write_config(
        {"redirect_to": DEV},
        relays={"one": relay, "two": relay},
        routes={"r": {"recipient": ["example.org"], "relays": ["two"]}},
    )
    name = letter(spool, "b@example.net", "c@example.org")
    run(spool)
    assert_sent(spool, name)
    assert api.recipients() == [(DEV,), (DEV,)]


def test_the_result_is_that_of_each(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": ["451 4.3.0 Not now", "550 5.1.1 No developer"]})
    redirect(spool, server)
    name = letter(spool, "b@example.net", "c@example.org")
    events = results(run(spool))
    assert [(event["event"], event["to"]) for event in events] == [
        ("deferred", "b@example.net"),
        ("deferred", "c@example.org"),
    ]
    assert_deferred(spool, name, "4.3.0")
    lines = block(spool, name)
    make_due(spool, name)
    events = results(run(spool))
    assert [event["reply"] for event in events] == ["550 5.1.1 No developer"] * 2
    assert_failed(spool, name, "5.1.1", 2)
    assert lines == [
        "X-Maildrain-From: <a@example.com>",
        "X-Maildrain-To: <b@example.net>",
        "X-Maildrain-To: <c@example.org>",
    ]
    assert {session.violations == [] for session in server.sessions} == {True}


def test_without_it_the_rest_goes_to_whom_it_is_for(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(answers={"RCPT": ["451 4.3.0 Not now"]})
    redirect(spool, server)
    name = letter(spool)
    run(spool)
    make_due(spool, name)
    spool.write_config(url=server.url, tls="none")
    run(spool)
    assert_sent(spool, name, 2)
    assert server.messages[0].recipients == ("b@example.net",)
    assert b"X-Original-To" not in server.messages[0].data


def test_a_recipient_in_utf_8_asks_nothing_of_the_relay(
    spool: Spool, fault_server: Servers
) -> None:
    server = fault_server(ehlo=("PIPELINING", "SIZE 1000"))
    redirect(spool, server)
    name = letter(spool, "jörg@example.net")
    run(spool)
    assert_sent(spool, name)
    assert originals(server.messages[0].data) == ["j%C3%B6rg@example.net"]
    server.check()


def test_the_fields_count_in_what_is_announced(spool: Spool, fault_server: Servers) -> None:
    server = fault_server(ehlo=("PIPELINING", "SIZE 1000000", "CHUNKING"))
    redirect(spool, server)
    name = letter(spool, *(f"r{n}@example.net" for n in range(1000)))
    events = results(run(spool))
    assert_sent(spool, name)
    data = server.messages[0].data
    assert {int(event["size"]) for event in events} == {len(data)}
    assert 100 < len(originals(data)) < 1000
    more = 1000 - len(originals(data))
    assert f"\r\nX-Original-To-More: {more}\r\nFrom: ".encode() in data
    server.check()


def test_no_header_of_the_message_is_touched(spool: Spool, fault_server: Servers) -> None:
    server = fault_server()
    redirect(spool, server)
    letter(spool, text=b"X-Original-To: old@example.org\nBcc: c@example.org\n" + LETTER)
    run(spool)
    assert server.messages[0].data == (
        b"X-Original-To: b@example.net\r\nX-Original-To: old@example.org\r\n"
        + LETTER.replace(b"\n", b"\r\n")
    )


def test_only_what_may_get_out_is_redirected(spool: Spool, fault_server: Servers) -> None:
    """It is for whom mail is that counts, not where it ends."""
    server = fault_server()
    spool.write_config(
        {"redirect_to": DEV, "allow_recipients": ["example.net"]}, url=server.url, tls="none"
    )
    name = letter(spool, "b@example.net", "real@customer.example")
    run(spool)
    (message,) = server.messages
    assert message.recipients == (DEV,)
    assert originals(message.data) == ["b@example.net"]
    place, fields = spool.state(name)
    assert place == "new" and fields["E"] == "4.7.1"
    assert block(spool, name)[1:] == [
        "X-Maildrain-Done: <b@example.net> 250 2.0.0 Ok: queued as L000001",
        "X-Maildrain-To: <real@customer.example>",
    ]


STAGED: List[Dict[str, Any]] = [{"redirect_to": DEV}, {"allow_recipients": ["example.net"]}]


@pytest.mark.parametrize("options", STAGED)
def test_who_is_told_of_a_failure_is_no_exception(
    spool: Spool, fault_server: Servers, options: Dict[str, Any]
) -> None:
    """Mail that maildrain itself writes, to the sender too, is held and redirected as any other."""
    server = fault_server(answers={"RCPT": ["550 5.1.1 No", "250 Ok"]})
    spool.write_config(
        {**options, "notify": ["sender", "ops@real.example"]}, url=server.url, tls="none"
    )
    letter(spool, sender="real@customer.example")
    for _ in range(2):
        spool.run()
    (notice,) = spool.path.glob("*/*.failure*")
    assert b"<real@customer.example>" in notice.read_bytes()
    if "redirect_to" in options:
        assert [message.recipients for message in server.messages] == [(DEV,)]
        told = ["real@customer.example", "ops@real.example"]
        assert originals(server.messages[0].data) == told
    else:
        assert not server.messages and spool.state(notice.name)[1]["E"] == "4.7.1"


@pytest.mark.parametrize("options", STAGED)
def test_a_wish_for_a_relay_gets_round_nothing(
    spool: Spool, fault_server: Servers, options: Dict[str, Any]
) -> None:
    server = fault_server()
    other = {"url": server.url, "tls": "none"}
    spool.write_config(dict(options), relays={"main": other, "other": other})
    text = b"X-Maildrain-Relay: other\nX-Maildrain-From: <a@example.com>\n"
    spool.drop(text + b"X-Maildrain-To: <real@customer.example>\n" + LETTER)
    spool.run()
    sent = [message.recipients for message in server.messages]
    assert sent == ([(DEV,)] if "redirect_to" in options else [])
