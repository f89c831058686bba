"""maildrain.send(): a message with its options, and the id by which maildrain(8) knows it."""

from __future__ import annotations

from typing import Any

from django.core import mail

from . import content, options
from .filebased import EmailBackend


def send(
    message: mail.EmailMessage,
    *,
    priority: Any = None,
    not_before: Any = None,
    expires: Any = None,
    relay: str | None = None,
    envelope_from: str | None = None,
    on_commit: bool | str | None = None,
    using: str | None = None,
    connection: Any = None,
) -> str:
    """Queue the message; return its id, or "" when it has none.

    What is None is left to the message's headers, the backend's options and settings.MAILDRAIN; see
    options.py for the values. The backend is the connection; or the one that MAILERS calls by the
    alias in using, from Django 6.1 on; or the message's own connection; or the site's.

    With on_commit there is an id at once, and a message after the commit only. There is none for a
    message without recipients, for one that a backend with fail_silently could not write, and with
    backends that are not ours: these are given the message as it is, once the options are checked.
    """
    given = options.merged(
        {
            "priority": priority,
            "not_before": not_before,
            "expires": expires,
            "relay": relay,
            "envelope_from": envelope_from,
            "on_commit": on_commit,
        }
    )
    backend = backend_of(message, using, connection)
    if not isinstance(backend, EmailBackend):
        content.draft(message, options.from_settings(), given)
        options.on_commit(given)
        backend.send_messages([message])
        return ""
    try:
        return backend.queue(message, **given)
    except Exception:
        if not backend.fail_silently:
            raise
        return ""


def backend_of(message: mail.EmailMessage, using: str | None, connection: Any = None) -> Any:
    """The backend that send() gives the message to."""
    mailers = getattr(mail, "mailers", None)
    if using is not None:
        if mailers is None:
            raise TypeError(f"using={using!r} needs MAILERS, which came with Django 6.1")
        if connection is not None:
            raise TypeError(f"using={using!r} and a connection exclude each other")
        return mailers[using]
    # By that name Django 6.1 keeps it; its property of the older name gives a warning.
    own = vars(message).get("_connection") or vars(message).get("connection")
    if connection or own:
        return connection or own
    return mail.get_connection() if mailers is None else mailers.default
