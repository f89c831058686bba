"""An api of lab.httpstub over HTTP/2 and TLS, by hypercorn, a server of its own."""

from __future__ import annotations

import asyncio
import collections
import logging
import threading
from types import TracebackType
from typing import Any, Awaitable, Callable, Counter, Dict, Optional, Set, Type

from . import net
from .certs import Certs
from .httpstub import Reply, Request

Message = Dict[str, Any]


class Http2Server:
    """Serves API to many requests at a time, each after DELAY seconds. It notes over how many
    connections they came, and how many were under way on one of them."""

    def __init__(
        self,
        api: Callable[[Request], Reply],
        certs: Certs,
        *,
        delay: float = 0,
        streams: int = 100,
    ) -> None:
        from hypercorn.config import Config

        self.api = api
        self.delay = delay
        self.versions: Set[str] = set()
        self.most: Counter[int] = collections.Counter()
        self._now: Counter[int] = collections.Counter()
        listener = net.listener()
        self.url = f"https://{net.HOST}:{listener.getsockname()[1]}"
        self._config = Config()
        self._config.bind = [f"fd://{listener.detach()}"]
        self._config.graceful_timeout = 0.1
        self._config.certfile = str(certs.server.cert)
        self._config.keyfile = str(certs.server.key)
        self._config.h2_max_concurrent_streams = streams
        self._config.errorlog = logging.getLogger("lab.http2")
        self._loop: Optional[asyncio.AbstractEventLoop] = None
        self._stop: Optional[asyncio.Event] = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        from hypercorn.asyncio import serve

        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await serve(self._app, self._config, shutdown_trigger=self._stop.wait)  # type: ignore

    async def _app(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        if scope["type"] != "http":
            raise NotImplementedError  # the server goes on without
        peer = scope["client"][1]
        self.versions.add(scope["http_version"])
        self._now[peer] += 1
        self.most[peer] = max(self.most[peer], self._now[peer])
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
        await asyncio.sleep(self.delay)
        self._now[peer] -= 1
        await self._answer(self.api(_request(scope, body)), send)

    @staticmethod
    async def _answer(reply: Reply, send: Callable[[Message], Awaitable[None]]) -> None:
        headers = [(k.lower().encode(), v.encode()) for k, v in reply.fields().items()]
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": headers}
        )
        await send({"type": "http.response.body", "body": reply.octets()})

    def __enter__(self) -> "Http2Server":
        self._thread.start()
        self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if self._loop and self._stop:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


def _request(scope: Message, body: bytes) -> Request:
    query = scope["query_string"].decode()
    headers = [(key.decode(), value.decode()) for key, value in scope["headers"]]
    target = scope["raw_path"].decode() + (f"?{query}" if query else "")
    return Request(scope["method"], target, headers, body, scope["client"][1])
