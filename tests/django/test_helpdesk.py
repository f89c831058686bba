"""A site that sends as django-helpdesk does, from the browser to the mailbox, with the relay down
in between."""

from __future__ import annotations

import email
import email.policy
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from lab import repo
from lab.aiosmtp import AioServer
from lab.spool import Spool

HERE = Path(__file__).resolve().parent
PDF = bytes(range(256)) * 40

QUESTION = {
    "title": "Drucker »Nord« streikt",
    "submitter": "ann@example.net",
    "assignee": "bob@example.com",
    "watcher": ["joe@example.net", "zoë@example.org"],
    "text": "Er sagt nur: Papierstau?",
}
FILES = {"Foto – März.pdf": PDF.decode("latin-1"), "notes.bin": "\x00\x01"}
ANSWER = {"text": "Bitte die Klappe öffnen.", "close": "1"}
SHOWN = "Drucker »Nord« streikt\nclosed\nEr sagt nur: Papierstau?\nBitte die Klappe öffnen."


class Desk:
    """The site. Each call of browse() is a new process of it."""

    def __init__(self, spool: Spool, database: Path, **maildrain: Any) -> None:
        self.database = database
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(repo.DJANGO_SOURCE), *sys.path]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "DJANGO_SETTINGS_MODULE": "helpdesk_like.settings",
            "DESK_DATABASE": str(database),
            "DESK_SPOOL": str(spool.path),
            "DESK_MAILDRAIN": json.dumps(maildrain),
        }

    def browse(self, *requests: List[Any]) -> List[Any]:
        done = subprocess.run(
            [sys.executable, "-m", "helpdesk_like.browse"],
            input=json.dumps(requests),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=self.env,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout))

    def rows(self, table: str) -> int:
        with closing(sqlite3.connect(self.database)) as connection:
            [count] = connection.execute(f"SELECT count(*) FROM helpdesk_like_{table}").fetchone()
            return int(count)


def arrived(server: AioServer) -> Dict[str, EmailMessage]:
    """What the server has, by who it is to."""
    found = {}
    for each in server.messages:
        message = email.message_from_bytes(each.data, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        [to] = message["To"].addresses
        to = str(to).encode("utf-8", "surrogateescape").decode()  # in UTF-8, from Django 6.0 on
        found[f"{to} {message['Subject'].split(')')[1].split(':')[0].strip()}"] = message
    return found


def test_from_the_browser_to_the_mailbox(
    spool: Spool, tmp_path: Path, aio_server: Callable[..., AioServer]
) -> None:
    desk = Desk(spool, tmp_path / "db")
    spool.write_config(url="smtp://127.0.0.1:1", tls="none")  # nobody is there

    # Whoever uses the site sees nothing of that.
    assert desk.browse(["/submit/", QUESTION, FILES], ["/1/answer/", ANSWER]) == [
        [200, SHOWN.replace("closed", "open").rpartition("\n")[0]],
        [200, SHOWN],
    ]
    assert (desk.rows("ticket"), desk.rows("comment"), desk.rows("upload")) == (1, 2, 2)
    waiting = spool.ls()["new"]
    assert len(waiting) == 7

    # Nor does a message suffer, however often that is tried.
    for _ in range(3):
        assert spool.run().returncode == 75
    assert spool.ls()["new"] == waiting
    assert desk.browse(["/1/"]) == [[200, SHOWN]]

    server = aio_server()
    spool.write_config(url=server.url, tls="none", connections=1)
    assert spool.run().returncode == 0
    assert spool.counts() == {"tmp": 0, "new": 0, "cur": 7, "failed": 0}
    check_mail(server)


def check_mail(server: AioServer) -> None:
    found = arrived(server)
    assert sorted(found) == [
        "ann@example.net News",
        "ann@example.net We have your question",
        "bob@example.com For you",
        "joe@example.net News",
        "zoë@example.org News",
    ]
    assert len(server.messages) == 7  # the watchers have two of the same name
    envelopes = [(each.sender, sorted(each.recipients)) for each in server.messages]
    assert envelopes[0] == ("help@example.com", ["ann@example.net"])
    assert envelopes[1:] == [
        ("help@example.com", sorted(["archive@example.com", to]))
        for to in ("bob@example.com", "joe@example.net", "zoë@example.org")
        + ("ann@example.net", "joe@example.net", "zoë@example.org")
    ]
    for message in found.values():
        assert str(message["From"]) == "Help Desk <help@example.com>"
        assert "Drucker »Nord« streikt" in str(message["Subject"])
        assert message["Bcc"] is None
        kinds = [part.get_content_type() for part in message.walk() if not part.is_multipart()]
        assert kinds[:2] == ["text/plain", "text/html"]
    first = found["ann@example.net We have your question"]
    assert first["Message-ID"] == "<ticket-1@help.example.com>"
    assert (first["Auto-Submitted"], first["In-Reply-To"]) == ("auto-replied", None)
    check_content(first, "Papierstau")
    for name, message in found.items():
        if message is not first:
            assert message["In-Reply-To"] == "<ticket-1@help.example.com>", name
            assert message["Auto-Submitted"] is None
            assert message["Message-ID"] != first["Message-ID"]
    check_content(found["bob@example.com For you"], "Papierstau")
    last = found["ann@example.net News"]
    assert "Klappe öffnen" in last.get_body().get_content()  # type: ignore[union-attr]
    assert list(last.iter_attachments()) == []


def check_content(message: EmailMessage, words: str) -> None:
    for kind in ("plain", "html"):
        body = message.get_body((kind,))
        assert body is not None and words in body.get_content()
    attached = {part.get_filename(): part.get_content() for part in message.iter_attachments()}
    assert attached == {"Foto – März.pdf": PDF, "notes.bin": b"\x00\x01"}


@pytest.mark.parametrize("on_commit, mails", [(False, 3), (True, 0)])
def test_a_view_that_fails_after_sending(
    spool: Spool, tmp_path: Path, on_commit: bool, mails: int
) -> None:
    """With ATOMIC_REQUESTS the answer is not saved. With ON_COMMIT there is no mail about it."""
    desk = Desk(spool, tmp_path / "db", ON_COMMIT=on_commit)
    desk.browse(["/submit/", QUESTION])
    assert spool.counts()["new"] == 4
    [[status, _], [_, shown]] = desk.browse(["/1/answer/", {**ANSWER, "crash": "1"}], ["/1/"])
    assert status == 500
    assert shown == SHOWN.replace("closed", "open").rpartition("\n")[0]
    assert desk.rows("comment") == 1
    assert spool.counts()["new"] == 4 + mails


def test_a_spool_that_is_missing_is_seen_before_the_first_ticket(
    make_spool: Callable[..., Spool], tmp_path: Path
) -> None:
    spool = make_spool(init=False)
    desk = Desk(spool, tmp_path / "db")
    done = subprocess.run(
        [sys.executable, "-m", "django", "check"],
        env=desk.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert f"sudo maildrain init {spool.path}" in done.stdout
