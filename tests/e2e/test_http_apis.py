"""Mailgun, and the two that know no envelope: the Gmail API and Microsoft Graph."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import pytest
from lab.httpstub import Api, GmailApi, GraphApi, Hangup, HttpStub, MailgunApi, Reply
from lab.spool import Spool
from relaying import (
    LETTER,
    about_relay,
    assert_deferred,
    assert_failed,
    assert_sent,
    assert_waiting,
    letter,
    result,
    results,
    run,
)

Stub = Callable[..., HttpStub]
WIRE = LETTER.replace(b"\n", b"\r\n")


# Mailgun


def aim_mailgun(spool: Spool, stub: HttpStub, key: str = "key-1234", **relay: Any) -> None:
    login = {"password_file": spool.secret(key), "connections": 1, **relay}
    spool.write_config({}, url=f"mailgun+{stub.url}/v3/mg.example.com", **login)


@pytest.mark.parametrize("size", [0, 20_000, 3_000_000])
def test_mailgun(spool: Spool, http_stub: Stub, size: int) -> None:
    api = MailgunApi()
    aim_mailgun(spool, http_stub(api))
    text = LETTER + b"x" * size + b"\n--x\n"
    recipients = ["b@example.net", "jürgen@example.net", '"q\\"x"@example.net']
    name = spool.drop(text, envelope=("a@example.com", recipients))
    events = run(spool)
    (mail,) = api.mails
    assert mail.recipients == tuple(recipients)
    assert mail.data == text.replace(b"\n", b"\r\n")
    assert results(events)[0]["reply"] == "200 Queued. Thank you. <1@mg.example.com>"
    assert_sent(spool, name)


def test_mailgun_with_a_thousand_recipients(spool: Spool, http_stub: Stub) -> None:
    api = MailgunApi()
    aim_mailgun(spool, http_stub(api))
    recipients = [f"r{n}@example.net" for n in range(1000)]
    spool.drop(LETTER, envelope=("a@example.com", recipients))
    run(spool)
    assert api.recipients() == [tuple(recipients)]


def test_mailgun_refuses_the_key(spool: Spool, http_stub: Stub) -> None:
    stub = http_stub(MailgunApi())
    aim_mailgun(spool, stub, key="key-4321")
    name = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["reply"] == "401 4.3.5 Forbidden"
    assert_waiting(spool, name)


def test_mailgun_has_words(spool: Spool, http_stub: Stub) -> None:
    words = "'to' parameter is not a valid address. please check documentation"
    aim_mailgun(spool, http_stub(MailgunApi(), faults=[Reply(400, {"message": words})]))
    name = letter(spool)
    assert result(run(spool))["reply"] == f"400 5.0.0 {words}"
    assert_failed(spool, name, "5.0.0")


def test_mailgun_is_not_asked_twice(spool: Spool, http_stub: Stub) -> None:
    """A form is no different: when its connection breaks nobody knows what became of it."""
    stub = http_stub(MailgunApi(), faults=[None, Hangup()])
    aim_mailgun(spool, stub)
    names = [letter(spool) for _ in range(3)]
    run(spool)
    assert len(stub.requests) == 3
    assert_deferred(spool, names[1], "4.4.2")
    assert_sent(spool, names[2])


@pytest.mark.parametrize(
    "key, domain, status, words",
    [
        ("key-1234", "mg.example.com", 0, "the key is good"),
        ("key-4321", "mg.example.com", 75, "password_file"),
        ("key-1234", "other.example.com", 75, "api.eu.mailgun.net"),
    ],
)
def test_verify_mailgun(
    spool: Spool, http_stub: Stub, key: str, domain: str, status: int, words: str
) -> None:
    api = MailgunApi()
    stub = http_stub(api)
    url = f"mailgun+{stub.url}/v3/{domain}"
    spool.write_config({}, url=url, password_file=spool.secret(key))
    done = spool.command("verify")
    assert done.returncode == status and words in done.stdout, done.stdout
    assert not api.mails and len(stub.requests) == 1


# Gmail and Graph

TOKENS = {"gmail": "ya29.token", "graph": "eyJ0.token"}
APIS: Dict[str, Callable[..., Api]] = {"gmail": GmailApi, "graph": GraphApi}
both = pytest.mark.parametrize("kind", ["gmail", "graph"])


def aim(spool: Spool, stub: HttpStub, kind: str, token: str = "", **relay: Any) -> None:
    command = ["/bin/echo", token or TOKENS[kind]]
    options = {"token_command": command, "connections": 1, **relay}
    spool.write_config({}, url=f"{kind}+{stub.url}", **options)


def drop(spool: Spool, header: str, *to: str, done: Sequence[str] = ()) -> str:
    block = "X-Maildrain-From: <a@example.com>\n"
    block += "".join(f"X-Maildrain-Done: <{who}> 250 Ok\n" for who in done)
    block += "".join(f"X-Maildrain-To: <{who}>\n" for who in to)
    return spool.drop(f"{block}From: a@example.com\n{header}\n\ntext\n".encode())


@both
def test_header_names_all(spool: Spool, http_stub: Stub, kind: str) -> None:
    """The message goes as it is."""
    api = APIS[kind]()
    stub = http_stub(api)
    aim(spool, stub, kind)
    header = "To: B <b@example.net>, c@Example.NET\nCc: x: d@e.example;"
    name = drop(spool, header, "b@example.net", "c@example.net", "d@e.example")
    event = run(spool)[0]
    (mail,) = api.mails
    assert mail.recipients == ("b@example.net", "c@Example.NET", "d@e.example")
    assert mail.data.startswith(b"From: a@example.com\r\nTo: B <b@example.net>, c@Example.NET\r\n")
    assert event["reply"] == {"gmail": "200 18c1", "graph": "202 req-1"}[kind]
    assert_sent(spool, name)


@both
@pytest.mark.parametrize("size", [*range(4), 100_000, 2_000_000])
def test_others_get_it_by_bcc(spool: Spool, http_stub: Stub, kind: str, size: int) -> None:
    """Of any size, as one of the two has base64."""
    api = APIS[kind]()
    aim(spool, http_stub(api), kind)
    text = b"From: a@example.com\nTo: b@example.net\n\n" + b"x" * size + b"\n"
    recipients = ("b@example.net", "c@example.net", "d@example.net")
    spool.drop(text, envelope=("a@example.com", recipients))
    run(spool)
    (mail,) = api.mails
    assert mail.recipients == recipients
    assert mail.data == text.replace(b"\n", b"\r\n")


@both
@pytest.mark.parametrize("line", ["Subject: x", "To: undisclosed-recipients:;", "To: ,"])
def test_header_names_nobody(spool: Spool, http_stub: Stub, kind: str, line: str) -> None:
    api = APIS[kind]()
    aim(spool, http_stub(api), kind)
    drop(spool, line, "b@example.net")
    run(spool)
    assert api.recipients() == [("b@example.net",)]


@both
@pytest.mark.parametrize(
    "header, done",
    [
        ("To: b@example.net, done@example.net", ["done@example.net"]),
        ("To: b@example.net\nCC: stranger@example.net", []),
        ("To: b@example.net\nTo: stranger@example.net", []),
        ("To: b@example.net, group: stranger@example.net;", []),
        ("To: b@example.net, <broken", []),
    ],
    ids=["done", "cc", "second", "group", "broken"],
)
def test_header_names_another(
    spool: Spool, http_stub: Stub, kind: str, header: str, done: List[str]
) -> None:
    """It would get the message, once more or without being meant to: nothing goes out."""
    stub = http_stub(APIS[kind]())
    aim(spool, stub, kind)
    name = drop(spool, header, "b@example.net", done=done)
    event = result(run(spool))
    assert_failed(spool, name, "5.3.3")
    assert "use smtp for such mail" in event["reply"]
    assert not stub.requests


@both
def test_bcc_of_the_file_is_no_recipient(spool: Spool, http_stub: Stub, kind: str) -> None:
    """The block alone counts, and who stands in Bcc gets nothing by this way either."""
    api = APIS[kind]()
    aim(spool, http_stub(api), kind)
    drop(spool, "To: b@example.net\nBcc: hidden@example.net", "b@example.net")
    run(spool)
    assert api.recipients() == [("b@example.net",)]


@both
def test_token_that_is_not_taken(spool: Spool, http_stub: Stub, kind: str) -> None:
    stub = http_stub(APIS[kind]())
    aim(spool, stub, kind, token="secret.token")
    names = [letter(spool) for _ in range(3)]
    done = spool.run()
    assert done.returncode == 75 and "secret.token" not in done.stderr
    assert_waiting(spool, *names)


def test_user_of_graph(spool: Spool, http_stub: Stub) -> None:
    user = "site/office@example.com"
    api = GraphApi(user=user)
    aim(spool, http_stub(api), "graph", user=user)
    letter(spool)
    run(spool)
    assert len(api.mails) == 1


def test_user_of_gmail(spool: Spool, http_stub: Stub) -> None:
    stub = http_stub(GmailApi())
    aim(spool, stub, "gmail", user="site@example.com")
    letter(spool)
    run(spool, 75)
    assert "/users/site%40example.com/messages/send" in stub.requests[0].target


@pytest.mark.parametrize(
    "reason", ["rateLimitExceeded", "userRateLimitExceeded", "dailyLimitExceeded"]
)
def test_gmail_wants_less(spool: Spool, http_stub: Stub, reason: str) -> None:
    aim(spool, http_stub(GmailApi(), faults=[GmailApi.error(403, reason, "Too much")]), "gmail")
    name = letter(spool)
    assert result(run(spool))["reply"] == "403 4.4.5 Too much"
    assert_deferred(spool, name, "4.4.5")


def test_gmail_without_the_scope(spool: Spool, http_stub: Stub) -> None:
    error = GmailApi.error(403, "insufficientPermissions", "Insufficient Permission")
    aim(spool, http_stub(GmailApi(), faults=[error]), "gmail")
    name = letter(spool)
    run(spool, 75)
    assert_waiting(spool, name)


def test_graph_wants_less(spool: Spool, http_stub: Stub) -> None:
    error = GraphApi.error(429, "ApplicationThrottled", "MailboxConcurrency limit")
    aim(spool, http_stub(GraphApi(), faults=[error]), "graph")
    name = letter(spool)
    assert result(run(spool))["reply"].startswith("429 4.4.5 ApplicationThrottled: Mailbox")
    assert_deferred(spool, name, "4.4.5")


def test_graph_and_another_sender(spool: Spool, http_stub: Stub) -> None:
    """One message that may not be sent so is no reason to stop; ten at the start are."""
    error = GraphApi.error(403, "ErrorSendAsDenied", "not allowed to send as this account")
    aim(spool, http_stub(GraphApi(), faults=[error]), "graph")
    name, other = letter(spool), letter(spool)
    run(spool)
    assert_failed(spool, name, "5.7.1")
    assert_sent(spool, other)
    aim(spool, http_stub(GraphApi(), faults=[error] * 12), "graph")
    names = [letter(spool) for _ in range(11)]
    run(spool, 75)
    assert_waiting(spool, *names)


@both
def test_verify(spool: Spool, http_stub: Stub, kind: str) -> None:
    """There is nothing harmless to ask: no request is made."""
    stub = http_stub(APIS[kind]())
    aim(spool, stub, kind)
    done = spool.command("verify")
    assert done.returncode == 0 and "there is a token" in done.stdout, done.stdout
    assert not stub.requests
