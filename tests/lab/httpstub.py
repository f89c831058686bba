"""HTTP APIs that take mail, as their providers' documentation has them, on loopback.

Each is as strict as the real one: what that would refuse is refused, and what it needs is looked
at. An api is a function from a Request to a Reply; HttpStub serves it over HTTP/1.1, one thread per
connection, and has the faults that no api produces by itself. lab.http2 serves it over HTTP/2.
"""

from __future__ import annotations

import base64
import binascii
import email
import email.policy
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union
from urllib.parse import unquote, urlsplit

from . import net


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: Sequence[Tuple[str, str]]
    body: bytes
    peer: int = 0

    def all(self, name: str) -> List[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def one(self, name: str) -> str:
        """The value of NAME, which may stand there once; "" without."""
        values = self.all(name)
        if len(values) > 1:
            raise Refused(Reply(400, f"{len(values)} times {name}"))
        return values[0] if values else ""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path


@dataclass(frozen=True)
class Reply:
    status: int
    body: Union[str, bytes, Mapping[str, Any]] = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def octets(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body).encode()

    def fields(self) -> Dict[str, str]:
        kind = "text/plain" if isinstance(self.body, (str, bytes)) else "application/json"
        return {"Content-Type": kind, **self.headers}


class Refused(Exception):
    """Ends the work of an api with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


class Hangup:
    """The connection is closed when the request has been read, without a word."""


class Silence:
    """The request is read, and nothing follows."""


@dataclass(frozen=True)
class Cut:
    """The connection is closed when so many octets of the body have been read."""

    octets: int


@dataclass(frozen=True)
class Sips:
    """The body is read so many octets each tenth of a second. What follows is as without it."""

    octets: int


@dataclass(frozen=True)
class Raw:
    """These octets in place of an answer, and then the connection is closed."""

    octets: bytes


@dataclass(frozen=True)
class Early:
    """The same, before the body is read; or, not WHOLE, in place of reading it."""

    octets: bytes
    whole: bool = True


@dataclass(frozen=True)
class Drip:
    """The same as Raw, an octet each fifth of a second."""

    octets: bytes


@dataclass(frozen=True)
class Stall:
    """The same as Raw, but the connection stays open, and nothing follows."""

    octets: bytes


@dataclass(frozen=True)
class Endless:
    """The same as Raw, and its last octet again and again."""

    octets: bytes


Fault = Union[Reply, Hangup, Silence, Cut, Sips, Raw, Early, Drip, Stall, Endless]


@dataclass(frozen=True)
class Mail:
    """What an api has taken."""

    sender: str
    recipients: Tuple[str, ...]
    data: bytes


class Api:
    """What all have in common: the mail that was taken, in order."""

    def __init__(self) -> None:
        self.mails: List[Mail] = []
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        try:
            return self.answer(request)
        except Refused as refused:
            return refused.reply

    def answer(self, request: Request) -> Reply:
        raise NotImplementedError

    def take(self, sender: str, recipients: Sequence[str], data: bytes) -> int:
        """Keeps a mail; returns which one it is."""
        check_mail(data)
        with self._lock:
            self.mails.append(Mail(sender, tuple(recipients), data))
            return len(self.mails)

    def recipients(self) -> List[Tuple[str, ...]]:
        return [mail.recipients for mail in self.mails]


def check_mail(data: bytes) -> None:
    """Every line ends in CRLF, there is a header, and nothing of the spool or of Bcc in it."""
    if data.count(b"\n") != data.count(b"\r\n") or data.count(b"\r") != data.count(b"\r\n"):
        raise Refused(Reply(400, "bare CR or LF in the message"))
    if b"X-Maildrain-" in data or not data.endswith(b"\r\n"):
        raise Refused(Reply(400, "not the wire form of a message"))


# A generic endpoint, as maildrain.conf(5) asks for


class PostApi(Api):
    """POST message/rfc822, with Basic or Bearer where LOGIN says so ("Basic …", "Bearer …")."""

    def __init__(self, path: str = "/mail", login: str = "") -> None:
        super().__init__()
        self._path = path
        self._login = login
        self.keys: List[str] = []

    def answer(self, request: Request) -> Reply:
        if request.one("Authorization") != self._login:
            return Reply(401, {"message": "who are you?"}, {"WWW-Authenticate": "Basic"})
        if request.target != self._path:
            return Reply(404, "no such place")
        if request.method != "POST" or request.one("Content-Type") != "message/rfc822":
            return Reply(415, "POST message/rfc822, please")
        key = request.one("Idempotency-Key")
        if not key or not all(c.isalnum() or c in "-._~%" for c in key):
            return Reply(400, f"no usable key: {key!r}")
        envelope = [self._address(a) for a in request.all("X-Envelope-To")]
        sender = self._address(request.one("X-Envelope-From"))
        if not envelope:
            return Reply(400, "nobody to send to")
        if key in self.keys:
            return Reply(200, {"id": f"n{self.keys.index(key) + 1}", "message": "known already"})
        self.keys.append(key)
        return Reply(200, {"id": f"n{self.take(sender, envelope, request.body)}"})

    @staticmethod
    def _address(text: str) -> str:
        if not (text.startswith("<") and text.endswith(">")):
            raise Refused(Reply(400, f"no address: {text!r}"))
        return text[1:-1]


# Amazon SES, API version 2


class SesApi(Api):
    """SendEmail and GetAccount. The signature is made again by botocore, from the request as it
    came and the secret, and the body is held against botocore's model of the API."""

    KEY = "AKIDEXAMPLE"
    SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

    def __init__(
        self, host: str = "", region: str = "eu-west-1", token: str = "", account: Any = None
    ) -> None:
        super().__init__()
        self.region = region
        self.token = token
        self.account = account
        self.host = host

    def answer(self, request: Request) -> Reply:
        self._check_signature(request)
        if (request.method, request.path) == ("GET", "/v2/email/account"):
            if isinstance(self.account, Reply):
                return self.account
            return Reply(200, self.account or {})
        if (request.method, request.path) != ("POST", "/v2/email/outbound-emails"):
            return self._error(404, "UnknownOperationException", "no such operation")
        return self._send(request)

    @staticmethod
    def _error(status: int, name: str, words: str) -> Reply:
        kind = {"x-amzn-ErrorType": f"{name}:http://internal.amazon.com/coral/"}
        return Reply(status, {"message": words}, kind)

    def _check_signature(self, request: Request) -> None:
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        algorithm, _, rest = request.one("Authorization").partition(" ")
        parts = dict(part.split("=", 1) for part in rest.split(", ") if "=" in part)
        date = request.one("X-Amz-Date")
        scope = f"{date[:8]}/{self.region}/ses/aws4_request"
        if algorithm != "AWS4-HMAC-SHA256" or parts.get("Credential") != f"{self.KEY}/{scope}":
            raise Refused(self._error(403, "UnrecognizedClientException", "token is invalid"))
        then = time.mktime(time.strptime(date, "%Y%m%dT%H%M%SZ")) - time.timezone
        if abs(time.time() - then) > 300:
            raise Refused(self._error(403, "InvalidSignatureException", "Signature expired"))
        signed = parts["SignedHeaders"].split(";")
        self._check_signed(request, signed)
        again = AWSRequest(
            request.method,
            f"http://{request.one('Host')}{request.target}",
            {name: request.one(name) for name in signed},
            request.body,
        )
        again.context["timestamp"] = date
        auth = SigV4Auth(Credentials(self.KEY, self.SECRET), "ses", self.region)
        text = auth.string_to_sign(again, auth.canonical_request(again))
        if auth.signature(text, again) != parts["Signature"]:
            words = "The request signature we calculated does not match"
            raise Refused(self._error(403, "InvalidSignatureException", words))

    def _check_signed(self, request: Request, signed: Sequence[str]) -> None:
        """All x-amz- lines, host and content-type must be signed; and the token must be known."""
        needed = {"host", *(key.lower() for key, _ in request.headers if _is_signed(key))}
        if not needed <= set(signed) or list(signed) != sorted(signed):
            raise Refused(self._error(403, "InvalidSignatureException", f"signed: {signed}"))
        if request.one("X-Amz-Security-Token") != self.token:
            raise Refused(self._error(403, "UnrecognizedClientException", "token is invalid"))

    def _send(self, request: Request) -> Reply:
        if request.one("Content-Type") != "application/json":
            return self._error(400, "BadRequestException", "not JSON")
        call = json.loads(request.body)
        to = call["Destination"].get("ToAddresses", [])
        if ses_faults(call):
            return self._error(400, "BadRequestException", ses_faults(call))
        if not 1 <= len(to) <= 50:
            return self._error(400, "BadRequestException", "Recipient count exceeds 50.")
        data = decoded(call["Content"]["Raw"]["Data"])
        number = self.take(call.get("FromEmailAddress", ""), to, data)
        return Reply(200, {"MessageId": f"0102018f-{number}"})


def _is_signed(name: str) -> bool:
    return name.lower().startswith("x-amz-") or name.lower() == "content-type"


def ses_faults(call: Dict[str, Any]) -> str:
    """What botocore's model finds wrong with CALL; "" when nothing."""
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.validate import ParamValidator

    model = ServiceModel(Loader().load_service_model("sesv2", "service-2"))
    shape = model.operation_model("SendEmail").input_shape
    report = ParamValidator().validate(call, shape)
    unknown = set(call) - set(shape.members)
    return str(report.generate_report()) + "".join(sorted(unknown))


def decoded(text: Union[str, bytes]) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Refused(Reply(400, {"message": f"Invalid base64: {error}"})) from error


# Mailgun


class MailgunApi(Api):
    """messages.mime of one domain: Basic with "api" and the key, multipart/form-data."""

    def __init__(self, domain: str = "mg.example.com", key: str = "key-1234") -> None:
        super().__init__()
        self._path = f"/v3/{domain}/messages.mime"
        self._login = "Basic " + base64.b64encode(f"api:{key}".encode()).decode()

    def answer(self, request: Request) -> Reply:
        if request.one("Authorization") != self._login:
            return Reply(401, "Forbidden")
        if request.path != self._path:
            return Reply(404, {"message": "Domain not found: mg.example.com"})
        if request.method != "POST":
            return Reply(405, {"message": "Method not allowed"})
        to, message = form_parts(request)
        if not to:
            return Reply(400, {"message": "to parameter is missing"})
        if message is None:
            return Reply(400, {"message": "message parameter is missing"})
        if len(to) > 1000:
            return Reply(400, {"message": "too many recipients"})
        number = self.take("", to, message)
        return Reply(200, {"id": f"<{number}@mg.example.com>", "message": "Queued. Thank you."})


def form_parts(request: Request) -> Tuple[List[str], Optional[bytes]]:
    """The values of "to", and the file "message", of a multipart/form-data."""
    kind = request.one("Content-Type")
    if not kind.startswith("multipart/form-data; boundary="):
        return [], None
    boundary = b"--" + kind.split("boundary=", 1)[1].encode()
    pieces = (b"\r\n" + request.body).split(b"\r\n" + boundary)
    if pieces[0] or pieces[-1].strip() != b"--":
        raise Refused(Reply(400, {"message": "damaged form"}))
    to: List[str] = []
    message = None
    for piece in pieces[1:-1]:
        head, _, content = piece.partition(b"\r\n\r\n")
        fields = email.message_from_bytes(head.lstrip(b"\r\n") + b"\r\n\r\n")
        name = fields.get_param("name", header="Content-Disposition")
        if name == "to":
            to.append(content.decode())
        elif name == "message" and fields.get_filename():
            message = content
        else:
            raise Refused(Reply(400, {"message": f"unknown parameter {name}"}))
    return to, message


# The two that send to whom the header names


def named(data: bytes) -> Tuple[List[str], bytes]:
    """Everybody in To, Cc and Bcc, and the message as it goes out, without Bcc."""
    message: Message = email.message_from_bytes(data, policy=email.policy.SMTP)
    found = []
    for name in ("To", "Cc", "Bcc"):
        for value in message.get_all(name, []):
            found += [address.addr_spec for address in value.addresses]
    head, _, body = data.partition(b"\r\n\r\n")
    kept, skipping = [], False
    for line in head.split(b"\r\n"):
        skipping = line.lower().startswith(b"bcc:") or (skipping and line[:1] in b" \t")
        kept += [] if skipping else [line]
    return found, b"\r\n".join(kept) + b"\r\n\r\n" + body


class GmailApi(Api):
    """users.messages.send with uploadType=media."""

    TARGET = "/upload/gmail/v1/users/me/messages/send?uploadType=media"

    def __init__(self, token: str = "ya29.token") -> None:
        super().__init__()
        self._token = token

    @staticmethod
    def error(code: int, reason: str, words: str) -> Reply:
        errors = [{"domain": "global", "reason": reason, "message": words}]
        return Reply(code, {"error": {"code": code, "message": words, "errors": errors}})

    def answer(self, request: Request) -> Reply:
        if request.one("Authorization") != f"Bearer {self._token}":
            return self.error(401, "authError", "Invalid Credentials")
        if (request.method, request.target) != ("POST", self.TARGET):
            return Reply(404, "Not Found")
        if request.one("Content-Type") != "message/rfc822":
            return self.error(400, "badContent", "Media type is not supported")
        recipients, data = named(request.body)
        if not recipients:
            return self.error(400, "invalidArgument", "Recipient address required")
        number = self.take("", recipients, data)
        return Reply(200, {"id": f"18c{number}", "threadId": "18c", "labelIds": ["SENT"]})


class GraphApi(Api):
    """sendMail in MIME format, of USER or (None) of whose token it is."""

    def __init__(self, user: Optional[str] = None, token: str = "eyJ0.token") -> None:
        super().__init__()
        self._user = user
        self._token = token

    @staticmethod
    def error(status: int, code: str, words: str) -> Reply:
        return Reply(status, {"error": {"code": code, "message": words}})

    def answer(self, request: Request) -> Reply:
        if request.one("Authorization") != f"Bearer {self._token}":
            words = "Access token is empty or not valid."
            return self.error(401, "InvalidAuthenticationToken", words)
        whose = f"users/{self._user}" if self._user else "me"
        if (request.method, unquote(request.target)) != ("POST", f"/v1.0/{whose}/sendMail"):
            return self.error(404, "ResourceNotFound", "Resource could not be discovered.")
        if request.one("Content-Type") != "text/plain":
            return self.error(400, "UnableToDeserializePostBody", "not JSON")
        recipients, data = named(decoded(request.body))
        if not recipients:
            return self.error(400, "ErrorInvalidRecipients", "At least one recipient is needed")
        self.take("", recipients, data)
        return Reply(202, b"", {"request-id": f"req-{len(self.mails)}"})


# The server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: "HttpStub"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def handle_expect_100(self) -> bool:
        self.stub.expected += 1
        return super().handle_expect_100()

    def _read(self, octets: int) -> bytes:
        return self.rfile.read(octets)

    def _sip(self, length: int, octets: int) -> bytes:
        pieces = []
        for start in range(0, length, octets):
            self.stub.stopped.wait(0.1)
            pieces.append(self._read(min(octets, length - start)))
        return b"".join(pieces)

    def _serve(self) -> None:
        fault = self.stub.next_fault()
        length = int(self.headers.get("Content-Length", 0))
        if isinstance(fault, (Cut, Early)):
            if isinstance(fault, Cut):
                self._read(min(fault.octets, length))
            else:
                self._say_and_leave(fault)
            self._drop()
            return
        request = Request(
            self.command,
            self.path,
            [(key, value.encode("latin-1").decode()) for key, value in self.headers.items()],
            self._sip(length, fault.octets) if isinstance(fault, Sips) else self._read(length),
            self.client_address[1],
        )
        self.stub.requests.append(request)
        if isinstance(fault, Silence):
            self.stub.stopped.wait(30)
        if isinstance(fault, Raw):
            self.wfile.write(fault.octets)
        if isinstance(fault, Drip):
            self._drip(fault.octets)
        if isinstance(fault, Stall):
            self.wfile.write(fault.octets)
            self.stub.stopped.wait(30)
        if isinstance(fault, Endless):
            self._go_on(fault.octets)
        if isinstance(fault, (Silence, Hangup, Raw, Drip, Stall, Endless)):
            self._drop()
            return
        self._answer(fault if isinstance(fault, Reply) else self.stub.api(request))

    def _say_and_leave(self, fault: Early) -> None:
        """As servers do it: what still comes is read, or a reset would take the answer along."""
        self.wfile.write(fault.octets)
        self.wfile.flush()
        if not fault.whole:
            time.sleep(0.3)
            return
        self.connection.shutdown(socket.SHUT_WR)
        while self.connection.recv(65536):
            pass

    def _drip(self, octets: bytes) -> None:
        for octet in octets:
            self.wfile.write(bytes([octet]))
            if self.stub.stopped.wait(0.2):
                return

    def _go_on(self, octets: bytes) -> None:
        self.wfile.write(octets)
        while not self.stub.stopped.is_set():
            self.wfile.write(octets[-1:] * 4096)

    def _drop(self) -> None:
        self.close_connection = True

    def _answer(self, reply: Reply) -> None:
        time.sleep(self.stub.delay)
        octets = reply.octets()
        self.send_response(reply.status)
        for name, value in reply.fields().items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    do_POST = do_GET = do_PUT = _serve


class HttpStub:
    """Serves API. FAULTS come first, one for each request, None for none."""

    def __init__(
        self,
        api: Callable[[Request], Reply],
        *,
        tls: Optional[ssl.SSLContext] = None,
        faults: Sequence[Optional[Fault]] = (),
        delay: float = 0,
    ) -> None:
        self.api = api
        self.delay = delay
        self.requests: List[Request] = []
        self.connections = 0
        self.most_connections = 0
        self.expected = 0
        self.stopped = threading.Event()
        self._faults = list(faults)
        self._tls = tls
        self._lock = threading.Lock()
        self._open: List[socket.socket] = []
        self._listener = net.listener()
        self._threads: List[threading.Thread] = []
        self.port = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://{net.HOST}:{self.port}"

    def next_fault(self) -> Optional[Fault]:
        with self._lock:
            return self._faults.pop(0) if self._faults else None

    def __enter__(self) -> "HttpStub":
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stopped.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._talk, args=(connection, peer), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket, peer: Tuple[str, int]) -> None:
        with self._lock:
            self._open.append(connection)
            self.connections += 1
            self.most_connections = max(self.most_connections, len(self._open))
        handler = type("Handler", (_Handler,), {"stub": self})
        try:
            talk = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            handler(talk, peer, None)
            talk.close()
        except OSError:
            pass
        finally:
            connection.close()
            with self._lock:
                self._open.remove(connection)


def basic(user: str, password: str) -> str:
    """The value of Authorization."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
