"""A message of Django's, out of a pickle, by which nothing else comes in.

A pickle may name any function of any module, and have it called. Of those that can be named here,
Django's own stand for objects without behaviour, from which a message is made anew; that also reads
what another version of Django has pickled.
"""

from __future__ import annotations

import base64
import binascii
import collections
import email
import email.charset
import email.header
import email.message
import email.mime.application
import email.mime.audio
import email.mime.base
import email.mime.image
import email.mime.message
import email.mime.multipart
import email.mime.nonmultipart
import email.mime.text
import email.policy
import io
import pickle
from typing import Any, Callable, Collection, Dict, Iterable, List, NamedTuple, Optional, Tuple

import django
from django.core import mail
from django.utils import translation
from django.utils.module_loading import import_string


class Refused(Exception):
    """What the pickle names is not among what may be named."""


class Shell:
    """What a class of Django's is read as: what its objects remember, and nothing that they do."""


class Connection:
    """A backend: each message remembers by which one it came into the table."""


class Text(str):
    """Text that a template has made, which is marked as safe in Django."""


class Attachment(NamedTuple):
    filename: Optional[str]
    content: Any
    mimetype: Optional[str]


class Alternative(NamedTuple):
    content: Any
    mimetype: Any


def translated(
    function: Callable[..., str], args: Iterable[Any], kwargs: Dict[str, Any], *_: Any
) -> str:
    """A lazy translation, made now."""
    return str(function(*args, **kwargs))


def _named(*things: Any) -> Dict[Tuple[str, str], Any]:
    return {(thing.__module__, thing.__name__): thing for thing in things}


MESSAGES = ("EmailMessage", "EmailMultiAlternatives")

KNOWN: Dict[Tuple[str, str], Any] = {
    **{("django.core.mail.message", name): Shell for name in MESSAGES},
    **{("django.core.mail", name): Shell for name in MESSAGES},
    ("django.core.mail.message", "EmailAttachment"): Attachment,
    ("django.core.mail.message", "EmailAlternative"): Alternative,
    ("django.core.mail.message", "SafeMIMEText"): email.mime.text.MIMEText,
    ("django.core.mail.message", "SafeMIMEMessage"): email.mime.message.MIMEMessage,
    ("django.core.mail.message", "SafeMIMEMultipart"): email.mime.multipart.MIMEMultipart,
    ("django.utils.safestring", "SafeString"): Text,
    ("django.utils.safestring", "SafeText"): Text,
    ("django.utils.functional", "_lazy_proxy_unpickle"): translated,
    ("django.utils.translation", "gettext"): translation.gettext,
    ("builtins", "str"): str,  # which such a translation is said to be
    ("mailer.backend", "DbBackend"): Connection,
    **_named(
        collections.OrderedDict,
        email.charset.Charset,
        email.header.Header,
        email.message.Message,
        email.mime.application.MIMEApplication,
        email.mime.audio.MIMEAudio,
        email.mime.base.MIMEBase,
        email.mime.image.MIMEImage,
        email.mime.message.MIMEMessage,
        email.mime.multipart.MIMEMultipart,
        email.mime.nonmultipart.MIMENonMultipart,
        email.mime.text.MIMEText,
        email.policy.Compat32,
    ),
}


class Reader(pickle.Unpickler):
    """ALLOWED are dotted names that the site's administrator trusts."""

    def __init__(self, data: bytes, allowed: Collection[str]) -> None:
        super().__init__(io.BytesIO(data))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        dotted = f"{module}.{name}"
        if dotted in self._allowed:
            return import_string(dotted)
        raise Refused(f"it is pickled with {dotted}; --allow {dotted} if you trust that")

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("it refers to something outside of the pickle")


def message(data: str, allowed: Collection[str] = ()) -> mail.EmailMessage:
    """Out of base64. Refused, or ValueError for what is no message."""
    try:
        found = Reader(base64.b64decode("".join(data.split()), validate=True), allowed).load()
    except Refused:
        raise
    except binascii.Error as error:
        raise ValueError(f"it is no base64: {error}") from error
    except Exception as error:  # a pickle that is damaged can raise anything
        raise ValueError(f"it can't be unpickled: {type(error).__name__}: {error}") from error
    if isinstance(found, mail.EmailMessage):
        return found  # of a class that was allowed
    if isinstance(found, Shell):
        return _made(vars(found))
    raise ValueError(f"it is a pickled {type(found).__name__}, no message")


def _made(state: Dict[str, Any]) -> mail.EmailMessage:
    made = mail.EmailMultiAlternatives(
        subject=state.get("subject", ""),
        body=state.get("body", ""),
        from_email=state.get("from_email"),
        to=_list(state, "to"),
        cc=_list(state, "cc"),
        bcc=_list(state, "bcc"),
        reply_to=_list(state, "reply_to"),
        headers=dict(state.get("extra_headers") or {}),
    )
    for name in ("encoding", "content_subtype", "mixed_subtype", "alternative_subtype"):
        if state.get(name) is not None:
            setattr(made, name, state[name])
    for content, mimetype in _list(state, "alternatives"):
        made.attach_alternative(content, mimetype)
    for attachment in _list(state, "attachments"):
        if isinstance(attachment, email.message.Message):
            attach_part(made, attachment)
        else:
            made.attach(*(_made(vars(it)) if isinstance(it, Shell) else it for it in attachment))
    return made


def attach_part(to: mail.EmailMessage, part: email.message.Message) -> None:
    """In the form that this Django takes."""
    if django.VERSION < (6, 0):
        to.attach(part)
    else:
        to.attach(email.message_from_bytes(part.as_bytes(), policy=email.policy.default))


def _list(state: Dict[str, Any], name: str) -> List[Any]:
    return list(state.get(name) or ())
