"""An authorization server in a thread: it gives tokens by OAuth 2, and tells whose they are.

POST /token			RFC 6749 sections 4.4 and 6: an access token for a secret, as JSON
POST /introspect		RFC 7662: whether a token is valid, and whose
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Dict, List, Tuple
from urllib.parse import parse_qs

from . import net

REFRESH_TOKEN = "1//refresh-s3cr3t"
CLIENT = {"client_id": "lab", "client_secret": "client-s3cr3t"}


@dataclass
class Issued:
    """An access token."""

    user: str
    until: float


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        fields = parse_qs(self.rfile.read(length).decode())
        form = {key: values[0] for key, values in fields.items()}
        status, answer = self.server.issuer.answer(self.path, form)
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    issuer: "Issuer"


class Issuer:
    """Gives tokens for USER that live for LIFETIME seconds; it says EXPIRES_IN, by default the
    same."""

    def __init__(self, user: str, *, lifetime: float = 3600) -> None:
        self.user = user
        self.lifetime = lifetime
        self.expires_in = int(lifetime)
        self.tokens: Dict[str, Issued] = {}
        self.asked: List[Dict[str, str]] = []  # what came to /token
        self.judged: List[bool] = []  # whether the token that came to /introspect was good
        self._count = itertools.count(1)
        self._server = _Server((net.HOST, 0), _Handler)
        self._server.issuer = self
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{net.HOST}:{self._server.server_address[1]}"

    def __enter__(self) -> "Issuer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def issue(self) -> str:
        """Another token. It is as long as real ones are, and no two share a beginning."""
        number = next(self._count)
        token = f"ya{number:02}.s3cr3t-{'~token_' * 30}{number}"
        self.tokens[token] = Issued(self.user, time.time() + self.lifetime)
        return token

    def revoke(self) -> None:
        """None of the tokens given so far is valid any more."""
        self.tokens.clear()

    def form(self) -> str:
        """What a client sends to /token."""
        fields = {**CLIENT, "grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN}
        return "&".join(f"{key}={value.replace('/', '%2F')}" for key, value in fields.items())

    # Its answers

    def answer(self, path: str, form: Dict[str, str]) -> Tuple[int, Dict[str, Any]]:
        if path == "/introspect":
            return 200, self._introspect(form.get("token", ""))
        if path != "/token":
            return 404, {"error": "not found"}
        self.asked.append(form)
        if not self._is_good(form):
            return 400, {"error": "invalid_grant"}
        token = {"access_token": self.issue(), "token_type": "Bearer"}
        return 200, {**token, "expires_in": self.expires_in}

    def _is_good(self, form: Dict[str, str]) -> bool:
        grant = form.get("grant_type")
        known = grant == "client_credentials" or (
            grant == "refresh_token" and form.get("refresh_token") == REFRESH_TOKEN
        )
        return known and CLIENT.items() <= form.items()

    def _introspect(self, token: str) -> Dict[str, Any]:
        issued = self.tokens.get(token)
        self.judged.append(issued is not None and issued.until > time.time())
        if issued is None or not self.judged[-1]:
            return {"active": False}
        return {"active": True, "username": issued.user, "scope": "mail"}
