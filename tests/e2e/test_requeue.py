"""`mv` is the repair tool: what a person puts back, holds or cancels."""

from __future__ import annotations

import os
import time
from typing import Callable

import pytest

from lab.faultserver import FaultServer
from lab.spool import Spool, fields_of, unique_name, unique_of

MESSAGE = b"Subject: hello\n\ntext\n"
FAILED = (
    b"X-Maildrain-From: <a@example.com>\n"
    b"X-Maildrain-Done: <done@example.net> 250 2.0.0 Ok\n"
    b"X-Maildrain-Failed: <failed@example.net> 550 5.1.1 Unknown\n"
    b"X-Maildrain-Failed: <second@example.net> 554 5.7.1 Spam\n"
) + MESSAGE


def point_at(spool: Spool, server: FaultServer, **options: object) -> None:
    spool.write_config(options, url=server.url, tls="none", connections=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    ["A=1,E=5.1.1", "A=9,E=5.4.7", "E=5.6.0", "A=9", "A=9,E=4.2.1", "A=12,E=4.2.1,T=5", "A=40"],
)
def test_a_message_put_back_starts_afresh(
    spool: Spool, fault_server: Callable[..., FaultServer], fields: str
) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(FAILED, f"{unique_name()},{fields}")
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "1"})
    (message,) = server.messages
    assert message.recipients == ("failed@example.net", "second@example.net")
    server.check()


def test_mv_from_failed(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    """The whole way: failed, put back, failed for one recipient, put back again."""
    server = fault_server(answers={"RCPT": "550 5.1.1 Unknown"})
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=("a@example.com", ["b@example.net", "c@example.net"]))
    spool.run()
    path = spool.find(name)
    assert path.parent.name == "failed"

    os.rename(path, spool.path / "new" / path.name)
    server.answer("RCPT", {"b@example.net": "550 5.1.1 Still unknown", "*": None})
    assert spool.run().returncode == 0
    path = spool.find(name)
    assert (path.parent.name, fields_of(path.name)) == ("failed", {"A": "1", "E": "5.1.1"})
    text = path.read_bytes()
    assert b"X-Maildrain-Failed: <b@example.net> 550 5.1.1 Still unknown\n" in text
    assert b"X-Maildrain-Done: <c@example.net> 250 " in text

    os.rename(path, spool.path / "new" / path.name)
    server.answer("RCPT", None)
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "1"})
    assert [message.recipients for message in server.messages] == [
        ("c@example.net",),
        ("b@example.net",),
    ]
    server.check()


def test_put_back_and_deferred_it_has_all_its_attempts(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server(answers={"RCPT": "450 4.2.1 Busy"})
    point_at(spool, server)
    name = spool.drop(FAILED, f"{unique_name()},A=9,E=5.4.7,S=3")
    assert spool.run().returncode == 0
    folder, fields = spool.state(name)
    assert folder == "new"
    assert (fields["A"], fields["E"], fields["S"]) == ("1", "4.2.1", "3")
    assert 50 < int(fields["T"]) - time.time() < 70
    text = spool.find(name).read_bytes()
    assert text == FAILED.replace(
        b"-Failed: <failed@example.net> 550 5.1.1 Unknown", b"-To: <failed@example.net>"
    ).replace(b"-Failed: <second@example.net> 554 5.7.1 Spam", b"-To: <second@example.net>")


def test_put_back_while_the_relay_is_down_it_waits(spool: Spool) -> None:
    name = spool.drop(FAILED, f"{unique_name()},A=2,E=5.1.1")
    assert spool.run().returncode == 75
    assert spool.ls()["new"] == [name]
    assert (spool.path / "new" / name).read_bytes() == FAILED


def test_a_deferred_message_keeps_its_failed_recipients(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """E=4: nobody has put it back."""
    server = fault_server()
    point_at(spool, server)
    text = FAILED.replace(b"-Failed: <second", b"-To: <second").replace(b" 554 5.7.1 Spam", b"")
    name = spool.drop(text, f"{unique_name()},A=1,E=4.2.1,T=5")
    assert spool.run().returncode == 0
    assert server.messages[0].recipients == ("second@example.net",)
    assert spool.state(name)[0] == "failed"
    assert b"X-Maildrain-Failed: <failed@example.net> 550 5.1.1 Unknown\n" in spool.find(
        name
    ).read_bytes()


def test_a_block_with_nobody_left_to_serve(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server)
    block = b"X-Maildrain-From: <>\nX-Maildrain-Done: <b@example.net> 250 Ok\n"
    name = spool.drop(block + MESSAGE)
    assert spool.run().returncode == 0
    assert spool.state(name)[0] == "cur"
    assert not server.received


def test_sent_mail_put_back_is_sent_again(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(MESSAGE, envelope=("a@example.com", ["b@example.net"]))
    spool.run()
    path = spool.find(name)
    os.rename(path, spool.path / "new" / path.name)
    assert spool.run().returncode == 0
    assert len(server.messages) == 2
    assert spool.ls()["cur"] == [f"{unique_of(name)},A=2:2,S"]


def test_a_hand_made_message(spool: Spool, fault_server: Callable[..., FaultServer]) -> None:
    """cp letter.eml new/"""
    server = fault_server()
    point_at(spool, server)
    (spool.path / "new" / "letter.eml").write_bytes(
        b"From: Me <a@example.com>\nTo: you <b@example.net>\nBcc: c@example.net\n\nhello\n"
    )
    assert spool.run().returncode == 0
    (message,) = server.messages
    assert message.sender == "a@example.com"
    assert message.recipients == ("b@example.net", "c@example.net")
    assert message.data == b"From: Me <a@example.com>\r\nTo: you <b@example.net>\r\n\r\nhello\r\n"
    assert spool.ls()["cur"] == ["letter.eml,A=1:2,S"]


def test_the_time_renamed_away_is_now(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    server = fault_server()
    point_at(spool, server)
    name = spool.drop(
        MESSAGE, f"{unique_name()},A=2,E=4.2.1,T=4102444800", ("a@example.com", ["b@example.net"])
    )
    new = spool.path / "new"
    os.rename(new / name, new / name.replace(",T=4102444800", ""))
    assert spool.run().returncode == 0
    assert spool.state(name) == ("cur", {"A": "3"})


def test_a_faulty_address_does_not_become_another_when_put_back(
    spool: Spool, fault_server: Callable[..., FaultServer]
) -> None:
    """What stands behind the ">" made it faulty; written and read again, it still is."""
    server = fault_server()
    point_at(spool, server)
    block = b"X-Maildrain-From: <a@example.com>\nX-Maildrain-To: <victim@example.net>x>\n"
    name = spool.drop(block + MESSAGE)
    for _ in range(3):
        assert spool.run().returncode == 0
        path = spool.find(name)
        assert (path.parent.name, fields_of(path.name)["E"]) == ("failed", "5.1.3")
        os.rename(path, spool.path / "new" / path.name)
    assert not server.received
    assert b"angle bracket" in (spool.path / "new" / path.name).read_bytes()
