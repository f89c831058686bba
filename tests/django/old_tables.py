"""The tables of django-post_office and django-mailer, by their published migrations, and rows as
these packages write them."""

from __future__ import annotations

import base64
import json
import pickle
import sys
import types
from datetime import datetime, timezone
from typing import Any, Dict, List

from django.core import mail
from django.db import connections

POST_OFFICE = """
CREATE TABLE post_office_emailtemplate (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    name varchar(255) NOT NULL, description text NOT NULL,
    subject varchar(255) NOT NULL, content text NOT NULL, html_content text NOT NULL,
    created datetime NOT NULL, last_updated datetime NOT NULL,
    default_template_id integer NULL, language varchar(12) NOT NULL
);
CREATE TABLE post_office_email (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    from_email varchar(254) NOT NULL,
    "to" text NOT NULL, cc text NOT NULL, bcc text NOT NULL,
    subject varchar(989) NOT NULL, message text NOT NULL, html_message text NOT NULL,
    status smallint unsigned NULL, priority smallint unsigned NULL,
    created datetime NOT NULL, last_updated datetime NOT NULL, scheduled_time datetime NULL,
    headers text NULL CHECK (JSON_VALID(headers) OR headers IS NULL),
    context text NULL,
    template_id integer NULL, backend_alias varchar(64) NOT NULL,
    number_of_retries integer unsigned NULL, expires_at datetime NULL,
    message_id varchar(255) NULL, recipient_delivery_status smallint unsigned NULL
);
CREATE TABLE post_office_attachment (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    file varchar(100) NOT NULL, name varchar(255) NOT NULL,
    mimetype varchar(255) NOT NULL, headers text NULL
);
CREATE TABLE post_office_attachment_emails (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    attachment_id integer NOT NULL, email_id integer NOT NULL
);
"""

# Of its first migration.
OLDEST_POST_OFFICE = """
CREATE TABLE post_office_emailtemplate (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    name varchar(255) NOT NULL, description text NOT NULL,
    subject varchar(255) NOT NULL, content text NOT NULL, html_content text NOT NULL,
    created datetime NOT NULL, last_updated datetime NOT NULL
);
CREATE TABLE post_office_email (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    from_email varchar(254) NOT NULL,
    "to" text NOT NULL, cc text NOT NULL, bcc text NOT NULL,
    subject varchar(255) NOT NULL, message text NOT NULL, html_message text NOT NULL,
    status smallint unsigned NULL, priority smallint unsigned NULL,
    created datetime NOT NULL, last_updated datetime NOT NULL, scheduled_time datetime NULL,
    headers text NULL, context text NULL, template_id integer NULL
);
CREATE TABLE post_office_attachment (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    file varchar(100) NOT NULL, name varchar(255) NOT NULL
);
CREATE TABLE post_office_attachment_emails (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    attachment_id integer NOT NULL, email_id integer NOT NULL
);
"""

MAILER = """
CREATE TABLE mailer_message (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    message_data text NOT NULL, when_added datetime NOT NULL,
    priority smallint unsigned NOT NULL, retry_count integer NOT NULL
);
CREATE TABLE mailer_dontsendentry (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    to_address varchar(254) NOT NULL, when_added datetime NOT NULL
);
"""

# Up to version 1.2.
OLDEST_MAILER = """
CREATE TABLE mailer_message (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    message_data text NOT NULL, when_added datetime NOT NULL, priority varchar(1) NOT NULL
);
"""

NAMES = (
    "post_office_emailtemplate",
    "post_office_email",
    "post_office_attachment",
    "post_office_attachment_emails",
    "mailer_message",
    "mailer_dontsendentry",
)
CREATED = datetime(2026, 11, 1, 12, 0, 0, 250_000, tzinfo=timezone.utc)

SENT, FAILED, QUEUED, REQUEUED = range(4)


def create(script: str, database: str = "default") -> None:
    with connections[database].cursor() as cursor:
        for statement in script.split(";"):
            cursor.execute(statement)


def drop_all() -> None:
    for database in ("default", "other"):
        with connections[database].cursor() as cursor:
            for name in NAMES:
                cursor.execute(f"DROP TABLE IF EXISTS {name}")
        connections[database].close()


def dump(database: str = "default") -> List[str]:
    """All that is in the database."""
    connections[database].ensure_connection()
    return list(connections[database].connection.iterdump())


def insert(table: str, database: str = "default", **row: Any) -> int:
    names = ", ".join(f'"{name}"' for name in row)
    places = ", ".join("%s" for _ in row)
    values = [each.isoformat(" ") if isinstance(each, datetime) else each for each in row.values()]
    values = [each.replace("+00:00", "") if isinstance(each, str) else each for each in values]
    with connections[database].cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", values)
        return int(cursor.lastrowid)


def change(table: str, number: int, **row: Any) -> None:
    names = ", ".join(f'"{name}" = %s' for name in row)
    with connections["default"].cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {names} WHERE id = %s", [*row.values(), number])


def post(*, database: str = "default", with_all: bool = True, **given: Any) -> int:
    """A row of post_office_email, queued if nothing else is said."""
    row: Dict[str, Any] = {
        "from_email": "Site <site@example.com>",
        "to": "a@example.net",
        "cc": "",
        "bcc": "",
        "subject": "Hi",
        "message": "Text",
        "html_message": "",
        "status": QUEUED,
        "priority": 1,
        "created": CREATED,
        "last_updated": CREATED,
        **({"backend_alias": ""} if with_all else {}),
        **given,
    }
    for name in ("headers", "context"):
        if isinstance(row.get(name), dict):
            row[name] = json.dumps(row[name])
    return insert("post_office_email", database, **row)


def template(subject: str, content: str, html_content: str = "") -> int:
    return insert(
        "post_office_emailtemplate",
        name="welcome",
        description="",
        subject=subject,
        content=content,
        html_content=html_content,
        created=CREATED,
        last_updated=CREATED,
        language="",
    )


def attach(number: int, file: str, name: str, mimetype: str = "", headers: Any = None) -> None:
    text = None if headers is None else json.dumps(headers)
    attachment = insert(
        "post_office_attachment", file=file, name=name, mimetype=mimetype, headers=text
    )
    insert("post_office_attachment_emails", attachment_id=attachment, email_id=number)


def pickled(thing: Any, protocol: int = pickle.DEFAULT_PROTOCOL) -> str:
    return base64.encodebytes(pickle.dumps(thing, protocol)).decode("ascii")


def keep(data: Any, priority: Any = 2, *, with_all: bool = True, **more: Any) -> int:
    """A row of mailer_message; of a message, as its backend makes it of one that is sent."""
    if isinstance(data, mail.EmailMessage):
        data = pickled(sent_by_its_backend(data))
    row = {"message_data": data, "when_added": CREATED, "priority": priority}
    return insert("mailer_message", **{**row, **({"retry_count": 0} if with_all else {}), **more})


class DbBackend:
    def __init__(self) -> None:
        self.fail_silently = False


def sent_by_its_backend(message: mail.EmailMessage) -> mail.EmailMessage:
    """Django lets a message remember its backend."""
    name = "_connection" if "_connection" in vars(message) else "connection"
    DbBackend.__module__ = "mailer.backend"
    for module in ("mailer", "mailer.backend"):
        sys.modules.setdefault(module, types.ModuleType(module))
    setattr(sys.modules["mailer.backend"], "DbBackend", DbBackend)
    vars(message)[name] = DbBackend()
    return message
