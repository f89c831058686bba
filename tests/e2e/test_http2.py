"""Many requests at a time over one connection, to a real HTTP/2 server."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Callable

import pytest
from lab.certs import Certs
from lab.http2 import Http2Server
from lab.httpstub import MailgunApi, PostApi, Reply, Request, SesApi
from lab.spool import Spool
from relaying import assert_deferred, assert_sent, letter, run

pytest.importorskip("hypercorn", reason="install the package python3-hypercorn")

Serve = Callable[..., Http2Server]


@pytest.fixture
def serve(servers: ExitStack, certs: Certs) -> Serve:
    """serve(api, …) is a running Http2Server."""
    return lambda api, **options: servers.enter_context(Http2Server(api, certs, **options))


def aim(spool: Spool, server: Http2Server, certs: Certs, **relay: Any) -> None:
    options = {"url": f"{server.url}/mail", "ca_file": certs.ca, **relay}
    spool.write_config({}, **options)


def drop(spool: Spool, count: int) -> None:
    for n in range(count):
        letter(spool, f"r{n}@example.net")


def test_many_on_one_connection(spool: Spool, serve: Serve, certs: Certs) -> None:
    """The first is alone; then as many as "pipeline" allows are under way."""
    api = PostApi()
    server = serve(api, delay=0.3)
    aim(spool, server, certs, connections=1, pipeline=25)
    drop(spool, 76)
    run(spool)
    assert server.versions == {"2"}
    assert list(server.most.values()) == [25]
    assert sorted(api.recipients()) == sorted((f"r{n}@example.net",) for n in range(76))


def test_no_more_connections_than_allowed(spool: Spool, serve: Serve, certs: Certs) -> None:
    api = PostApi()
    server = serve(api, delay=0.2)
    aim(spool, server, certs, connections=2, pipeline=10)
    drop(spool, 61)
    run(spool)
    assert len(server.most) <= 2 and max(server.most.values()) == 10
    assert len(api.mails) == 61


def test_server_that_takes_few_at_a_time(spool: Spool, serve: Serve, certs: Certs) -> None:
    """Its own limit of streams holds; what is more waits, and times out by nothing of that."""
    api = PostApi()
    server = serve(api, delay=0.2, streams=3)
    aim(spool, server, certs, connections=1, pipeline=30, timeout_block="1s", timeout_dot="1s")
    drop(spool, 25)
    run(spool)
    assert list(server.most.values()) == [3]
    assert len(api.mails) == 25


def test_answers_of_their_own(spool: Spool, serve: Serve, certs: Certs) -> None:
    """Each request gets the answer that is its own, in whatever order they come."""
    api = PostApi()

    def some(request: Request) -> Reply:
        number = int(request.one("X-Envelope-To")[2:].partition("@")[0])
        return Reply(500, "no") if number % 3 == 0 else api(request)

    aim(spool, serve(some), certs, connections=1)
    names = [letter(spool, f"r{n}@example.net") for n in range(30)]
    run(spool)
    for n, name in enumerate(names):
        if n % 3 == 0:
            assert_deferred(spool, name, "4.0.0")
        else:
            assert_sent(spool, name)


def test_large_messages_side_by_side(spool: Spool, serve: Serve, certs: Certs) -> None:
    """They share the window of the connection, and none is damaged."""
    api = PostApi()
    aim(spool, serve(api, delay=0.1), certs, connections=1)
    texts = [
        b"From: a@example.com\nSubject: %d\n\n" % n + b"%d" % n * 300_000 + b"\n" for n in range(9)
    ]
    for text in texts:
        spool.drop(text, envelope=("a@example.com", ["b@example.net"]))
    run(spool)
    wanted = sorted(text.replace(b"\n", b"\r\n") for text in texts)
    assert sorted(mail.data for mail in api.mails) == wanted


def test_signed_over_http2(spool: Spool, serve: Serve, certs: Certs) -> None:
    pytest.importorskip("botocore", reason="install the package python3-botocore")
    api = SesApi()
    server = serve(api, delay=0.1)
    spool.write_config(
        {},
        url=f"ses+{server.url}",
        region="eu-west-1",
        user=SesApi.KEY,
        password_file=spool.secret(SesApi.SECRET),
        ca_file=certs.ca,
    )
    drop(spool, 20)
    run(spool)
    assert len(api.mails) == 20 and server.versions == {"2"}


def test_forms_over_http2(spool: Spool, serve: Serve, certs: Certs) -> None:
    api = MailgunApi()
    server = serve(api, delay=0.1)
    spool.write_config(
        {},
        url=f"mailgun+{server.url}/v3/mg.example.com",
        password_file=spool.secret("key-1234"),
        ca_file=certs.ca,
    )
    drop(spool, 20)
    run(spool)
    assert len(api.mails) == 20 and server.versions == {"2"}
