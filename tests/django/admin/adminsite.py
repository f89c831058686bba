"""A site of project.py in a process of its own, a visitor of it, and mail for its spool."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from email.message import EmailMessage
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple, Union
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, HTTPErrorProcessor, build_opener

from lab import net, repo

QUEUE = "/admin/maildrain/queue/"
USERS = """
from django.contrib.auth.models import Permission, User
User.objects.create_superuser("admin", "admin@example.com", "secret")
for name, codenames in {"viewer": ["view_queue"], "nobody": []}.items():
    user = User.objects.create_user(name, "", "secret", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
"""

_serial = iter(range(1, 10**9))


class AdminSite:
    """The site. As USER (a uid, a gid and further groups) if that is given, which takes root."""

    def __init__(
        self,
        directory: Path,
        spool: Path,
        *,
        settings: Optional[Mapping[str, Any]] = None,
        user: Optional[Tuple[int, int, Sequence[int]]] = None,
    ) -> None:
        self.directory = directory
        self.spool = spool
        self.user = user
        self.source = directory / "source"
        self.opened = directory / "opened"
        shutil.copytree(repo.DJANGO_SOURCE, self.source, ignore=shutil.ignore_patterns("__pyc*"))
        shutil.copy(Path(__file__).parent / "project.py", directory)
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(self.source), os.environ.get("PYTHONPATH", "")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONWARNINGS": "ignore",
            "SITE_SPOOL": str(spool),
            "SITE_DATABASE": str(directory / "site.sqlite3"),
            "SITE_SETTINGS": json.dumps(settings or {}),
            "SITE_OPENED": str(self.opened),
        }
        self.manage("migrate", "--verbosity", "0")
        self.manage("shell", "-c", USERS)
        if user:
            for path in (directory, *directory.rglob("*")):
                os.chown(path, user[0], user[1])

    def argv(self, *command: str) -> List[str]:
        return [sys.executable, str(self.directory / "project.py"), *command]

    def manage(self, *command: str) -> str:
        done = subprocess.run(
            self.argv(*command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=self.env, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def ask(self, expression: str) -> Any:
        """What the expression is in the site, by way of JSON."""
        names = "from django.contrib.admin.models import LogEntry; import json"
        said = self.manage("shell", "-c", f"{names}; print(json.dumps({expression}))")
        return json.loads(said.splitlines()[-1])  # newer shells tell what they have imported

    def __enter__(self) -> AdminSite:
        port = net.free_port()
        self.url = f"http://{net.HOST}:{port}"
        self.log = self.directory / "log"

        def become() -> None:
            if self.user:
                uid, gid, groups = self.user
                os.setgroups(groups)
                os.setgid(gid)
                os.setuid(uid)

        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.argv("runserver", "--noreload", f"{net.HOST}:{port}"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, preexec_fn=become,
                cwd=self.directory,
            )  # fmt: skip
        alive = net.wait_for_port(port, lambda: self.process.poll() is None, greeting=False)
        assert alive, self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def opened_files(self) -> List[str]:
        """Those of the spool that were opened since the last call."""
        names = self.opened.read_text().splitlines() if self.opened.exists() else []
        os.truncate(self.opened, 0)
        return names

    def visitor(self, name: str = "admin") -> Visitor:
        visitor = Visitor(self.url)
        visitor.get("/admin/login/")
        answer = visitor.post("/admin/login/", username=name, password="secret", next="/admin/")
        assert answer.status == 302, answer.text
        return visitor


class Answer:
    def __init__(self, response: Union[HTTPResponse, HTTPError]) -> None:
        self.status = response.status
        self.location = response.headers.get("Location", "")
        self.text = response.read().decode()

    @property
    def words(self) -> str:
        """The text without its tags, blanks as one."""
        text = re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", self.text, flags=re.DOTALL)
        return re.sub(r"\s+", " ", text)

    @property
    def ids(self) -> List[str]:
        """The messages of a list."""
        return re.findall(r'name="id" value="([^"]*)"', self.text)


class _NoRedirect(HTTPErrorProcessor):
    def http_response(self, request: Any, response: Any) -> Any:
        return response


class Visitor:
    """Follows no redirect, and gives each form its token."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = CookieJar()
        self._opener = build_opener(HTTPCookieProcessor(self.cookies), _NoRedirect)
        self._token = ""

    def get(self, path: str = QUEUE, **query: Any) -> Answer:
        return self._open(path + ("?" + urlencode(query) if query else ""), None)

    def post(self, path: str, *, token: bool = True, **fields: Any) -> Answer:
        if token:
            fields["csrfmiddlewaretoken"] = self._token
        return self._open(path, urlencode(fields, doseq=True).encode())

    def act(self, action: str, *ids: str, confirmed: bool = False) -> Answer:
        more = {"confirmed": "yes"} if confirmed else {}
        return self.post(QUEUE + "act/", action=action, id=ids, **more)

    def said(self) -> str:
        """The messages that the next page shows."""
        found = re.search(r'<ul class="messagelist">(.*?)</ul>', self.get().text, re.DOTALL)
        return re.sub(r"<[^>]*>", "", found[1]).strip() if found else ""

    def _open(self, path: str, data: Optional[bytes]) -> Answer:
        answer = Answer(self._opener.open(self.url + path, data, timeout=60))
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', answer.text)
        if token:
            self._token = token[1]
        return answer


def letter(subject: str = "Hello", *, html: str = "", **header: str) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = subject
    message["From"] = "Shop <shop@example.com>"
    message["To"] = "ann@example.net"
    for name, value in header.items():
        del message[name]
        message[name.replace("_", "-")] = value
    message.set_content(f"The text of {subject}.\n")
    if html:
        message.add_alternative(html, subtype="html")
    return message


def put(
    spool: Path,
    message: EmailMessage,
    fields: str = "",
    *,
    folder: str = "new",
    to: Sequence[str] = ("ann@example.net",),
    block: str = "",
    age: int = 100,
    owner: Optional[Tuple[int, int]] = None,
) -> str:
    """Puts it into FOLDER as the backend does, or the sender; returns its id."""
    id = f"{int(time.time()) - age}.M000000P1Q{next(_serial)}.web1"
    block = block or "".join(f"X-Maildrain-To: <{address}>\n" for address in to)
    path = spool / folder / f"{id}{fields}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"X-Maildrain-From: <shop@example.com>\n" + block.encode() + bytes(message))
    path.chmod(0o640)
    if owner:
        os.chown(path, *owner)
    return id


def tree(spool: Path) -> Dict[str, List[str]]:
    """The names in each folder that has some."""
    folders = ("new", "hold", "failed", "cur")
    names = {folder: sorted(os.listdir(spool / folder)) for folder in folders
             if (spool / folder).exists()}  # fmt: skip
    return {folder: found for folder, found in names.items() if found}
