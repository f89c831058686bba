"""Amazon SES: each signature is made again by botocore, each body held against its model."""

from __future__ import annotations

from typing import Any, Callable, Dict

import pytest
from lab.certs import Certs
from lab.httpstub import Hangup, HttpStub, Reply, SesApi, Sips
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
    run,
)

pytest.importorskip("botocore", reason="install the package python3-botocore")

Stub = Callable[..., HttpStub]
WIRE = LETTER.replace(b"\n", b"\r\n")
ACCOUNT: Dict[str, Any] = {
    "SendingEnabled": True,
    "ProductionAccessEnabled": True,
    "SendQuota": {"Max24HourSend": 50000, "MaxSendRate": 14, "SentLast24Hours": 120},
}


def aim(spool: Spool, stub: HttpStub, **relay: Any) -> None:
    login = {"user": SesApi.KEY, "password_file": spool.secret(SesApi.SECRET)}
    options = {"region": "eu-west-1", "connections": 1, **login, **relay}
    spool.write_config({}, url=f"ses+{stub.url}", **options)


def test_signed_and_sent(spool: Spool, http_stub: Stub) -> None:
    api = SesApi()
    aim(spool, http_stub(api))
    name = letter(spool, "b@example.net", "c@example.net")
    event = run(spool)[0]
    (mail,) = api.mails
    assert (mail.sender, mail.recipients) == ("a@example.com", ("b@example.net", "c@example.net"))
    assert mail.data == WIRE
    assert event["reply"] == "200 0102018f-1"
    assert_sent(spool, name)


def test_over_tls(spool: Spool, http_stub: Stub, certs: Certs) -> None:
    api = SesApi()
    aim(spool, http_stub(api, tls=certs.server_context()), ca_file=certs.ca)
    assert_sent(spool, _one(spool))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 6143, 6144, 6145, 100_000, 3_000_000])
def test_every_size(spool: Spool, http_stub: Stub, size: int) -> None:
    """The body is signed, so an octet that is missing or too many would be refused."""
    api = SesApi()
    aim(spool, http_stub(api))
    text = LETTER + b"x" * size + b"\n"
    spool.drop(text, envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    assert api.mails[0].data == text.replace(b"\n", b"\r\n")


def test_a_slow_line(spool: Spool, http_stub: Stub) -> None:
    """As a whole it may take longer than timeout_block, of which each 64 KiB have their own."""
    api = SesApi()
    aim(spool, http_stub(api, faults=[Sips(500_000)]), timeout_block="1s")
    name = spool.drop(LETTER + b"x\n" * 3_000_000, envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    assert_sent(spool, name)


def test_addresses_that_json_must_quote(spool: Spool, http_stub: Stub) -> None:
    api = SesApi()
    aim(spool, http_stub(api))
    odd = ('"q\\"uote"@example.net', "tick'back`@example.net", "jürgen@example.net")
    spool.drop(LETTER, envelope=("b+ounce=x@example.com", odd))
    run(spool)
    (mail,) = api.mails
    assert (mail.sender, mail.recipients) == ("b+ounce=x@example.com", odd)


def test_null_sender(spool: Spool, http_stub: Stub) -> None:
    """SES knows none, and is told none."""
    api = SesApi()
    aim(spool, http_stub(api))
    letter(spool, sender="")
    run(spool)
    assert api.mails[0].sender == ""


def test_session_token(spool: Spool, http_stub: Stub) -> None:
    token = "FwoGZXIvYXdzEBYaDH" + "x+/=" * 80
    api = SesApi(token=token)
    stub = http_stub(api)
    aim(spool, stub, session_token_file=spool.secret(token, "session-token"))
    assert_sent(spool, _one(spool))
    aim(spool, stub)
    name = letter(spool)
    run(spool, 75)
    assert_waiting(spool, name)


def _one(spool: Spool) -> str:
    name = letter(spool)
    run(spool)
    return name


@pytest.mark.parametrize(
    "relay", [{"region": "eu-west-2"}, {"user": "AKIDOTHER"}, {"password_file": "wrong"}]
)
def test_wrong_credentials(spool: Spool, http_stub: Stub, relay: Dict[str, str]) -> None:
    stub = http_stub(SesApi())
    if "password_file" in relay:
        relay = {"password_file": str(spool.secret("wrong", "other"))}
    aim(spool, stub, connections=4, **relay)
    names = [letter(spool) for _ in range(4)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured" and len(stub.requests) == 1
    assert_waiting(spool, *names)


def _error(status: int, name: str, words: str = "words") -> Reply:
    return Reply(status, {"message": words}, {"x-amzn-ErrorType": name})


@pytest.mark.parametrize(
    "name, status",
    [
        ("TooManyRequestsException", 429),
        ("Throttling", 400),
        ("ThrottlingException:http://x/", 400),
        ("LimitExceededException", 400),
    ],
)
def test_throttled(spool: Spool, http_stub: Stub, name: str, status: int) -> None:
    aim(spool, http_stub(SesApi(), faults=[_error(status, name, "Maximum sending rate exceeded.")]))
    dropped = letter(spool)
    event = result(run(spool))
    words = f"{status} 4.4.5 {name.partition(':')[0]}: Maximum sending rate exceeded."
    assert event["reply"] == words
    assert_deferred(spool, dropped, "4.4.5")


@pytest.mark.parametrize(
    "name, status",
    [
        ("AccountSuspendedException", 400),
        ("SendingPausedException", 400),
        ("MailFromDomainNotVerifiedException", 400),
        ("ExpiredTokenException", 403),
        ("AccessDeniedException", 403),
        ("NotFoundException", 404),
        ("IncompleteSignature", 400),
    ],
)
def test_fault_of_the_account(spool: Spool, http_stub: Stub, name: str, status: int) -> None:
    aim(spool, http_stub(SesApi(), faults=[_error(status, name)]))
    dropped = letter(spool)
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured" and name in event["reply"]
    assert_waiting(spool, dropped)


def test_rejected_message(spool: Spool, http_stub: Stub) -> None:
    error = _error(400, "MessageRejected", "it contains a virus")
    aim(spool, http_stub(SesApi(), faults=[error]))
    name = letter(spool)
    other = letter(spool, "c@example.net")
    run(spool)
    assert_failed(spool, name, "5.0.0")
    assert_sent(spool, other)


def test_sender_that_nobody_has_verified(spool: Spool, http_stub: Stub) -> None:
    """When ten in a row are refused for that, it is the account, and no mail fails."""
    error = _error(400, "MessageRejected", "Email address is not verified.")
    stub = http_stub(SesApi(), faults=[error] * 20)
    aim(spool, stub)
    names = [letter(spool) for _ in range(12)]
    (event,) = about_relay(run(spool, 75))
    assert event["event"] == "relay-misconfigured"
    assert_waiting(spool, *names)


def test_bad_request(spool: Spool, http_stub: Stub) -> None:
    aim(spool, http_stub(SesApi(), faults=[_error(400, "BadRequestException", "Illegal address")]))
    name = letter(spool)
    assert result(run(spool))["reply"] == "400 5.0.0 BadRequestException: Illegal address"
    assert_failed(spool, name, "5.0.0")


def test_a_connection_used_before_is_no_reason_to_send_twice(spool: Spool, http_stub: Stub) -> None:
    """Libcurl has the whole body, and would send it again by itself."""
    stub = http_stub(SesApi(), faults=[None, Hangup()])
    aim(spool, stub)
    names = [letter(spool) for _ in range(3)]
    run(spool)
    assert len(stub.requests) == 3
    assert_sent(spool, names[0])
    assert_deferred(spool, names[1], "4.4.2")
    assert_sent(spool, names[2])


# verify


def test_verify(spool: Spool, http_stub: Stub) -> None:
    stub = http_stub(SesApi(account=ACCOUNT))
    aim(spool, stub)
    done = spool.command("verify")
    assert done.returncode == 0, done.stdout
    assert "quota: 50000 in 24 hours, of which 120 are used; 14 a second" in done.stdout
    assert [(request.method, request.path) for request in stub.requests] == [
        ("GET", "/v2/email/account")
    ]
    assert "sandbox" not in done.stdout


def test_verify_does_not_repeat_the_key(spool: Spool, http_stub: Stub) -> None:
    error = Reply(403, {"message": f"not {SesApi.SECRET}"}, {"x-amzn-errortype": "Refused"})
    aim(spool, http_stub(SesApi(), faults=[error]))
    done = spool.command("verify")
    assert done.returncode == 75 and "Refused: not ***" in done.stdout
    assert SesApi.SECRET not in done.stdout + done.stderr


def test_verify_in_the_sandbox(spool: Spool, http_stub: Stub) -> None:
    aim(spool, http_stub(SesApi(account={**ACCOUNT, "ProductionAccessEnabled": False})))
    done = spool.command("verify")
    assert done.returncode == 0 and "sandbox" in done.stdout


def test_verify_with_a_key_that_may_only_send(spool: Spool, http_stub: Stub) -> None:
    aim(spool, http_stub(SesApi(account=_error(403, "AccessDeniedException", "not authorized"))))
    done = spool.command("verify")
    assert done.returncode == 0 and "the key is good" in done.stdout


@pytest.mark.parametrize(
    "account, words, advice",
    [
        ({**ACCOUNT, "SendingEnabled": False}, "paused", "account dashboard"),
        (_error(403, "UnrecognizedClientException"), "UnrecognizedClient", "password_file"),
        (Reply(503), "503", "try again later"),
    ],
)
def test_verify_finds(
    spool: Spool, http_stub: Stub, account: Any, words: str, advice: str
) -> None:
    aim(spool, http_stub(SesApi(account=account)))
    done = spool.command("verify")
    assert done.returncode == 75
    problem, _, to_do = done.stdout.partition("PROBLEM: ")[2].partition("to do: ")
    assert words in problem and advice in to_do, done.stdout
