"""A real Dovecot that takes mail by LMTP, over TCP and over a socket, into a Maildir per user.

USERS of DOMAIN have mailboxes; FULL's has no room left for a message of LARGE octets, which shows
only once it has come, behind the final dot. Whoever else is asked for at RCPT is unknown.
"""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import subprocess
import tempfile
import time
from pathlib import Path
from typing import List, Optional, Tuple

from . import net
from .child import Child

PROGRAM = "/usr/sbin/dovecot"
DOMAIN = "example.test"
FULL = f"full@{DOMAIN}"
FULL_REPLY = "452 4.2.2"
UNKNOWN = f"nobody-there@{DOMAIN}"
USERS = ("ann", "bob", "full")
LARGE = 100_000
_QUOTA = 150_000
_MAIL_UID = 65534  # nobody
_SERVICE = "/usr/lib/dovecot/lmtp"


def version() -> Tuple[int, int]:
    """Dovecot's major and minor number."""
    said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout
    found = re.match(r"(\d+)\.(\d+)", said)
    if not found:
        raise RuntimeError(f"{PROGRAM} --version says no version: {said!r}")
    return int(found[1]), int(found[2])


def why_not() -> Optional[str]:
    """Why its LMTP can't be run here, or None."""
    if os.geteuid() != 0:
        return "Dovecot must be started by root"
    if not os.path.exists(_SERVICE):
        return f"{_SERVICE} is missing: install the package dovecot-lmtpd"
    return None


def _storage_2_3(root: Path) -> str:
    return f"""\
protocols = lmtp
mail_location = maildir:~/Maildir
userdb {{
  driver = passwd-file
  args = {root}/users
}}
passdb {{
  driver = passwd-file
  args = {root}/users
}}
protocol lmtp {{
  mail_plugins = quota
}}
plugin {{
  quota = count:User quota
  quota_vsizes = yes
  quota_rule = *:storage={_QUOTA}B
  quota_grace = 0%%
}}
"""


def _storage_2_4(root: Path) -> str:
    return f"""\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols {{
  lmtp = yes
}}
mail_driver = maildir
mail_path = ~/Maildir
userdb passwd-file {{
  passwd_file_path = {root}/users
}}
passdb passwd-file {{
  passwd_file_path = {root}/users
}}
mail_plugins {{
  quota = yes
}}
quota "User quota" {{
  driver = count
  storage_size = {_QUOTA}B
  storage_grace = 0
}}
"""


class Dovecot:
    """The server, and what has arrived in its mailboxes."""

    def __init__(self) -> None:
        self.port = net.free_port()
        # Short, for the path of a Unix socket; open to Dovecot's own users.
        self.root = Path(tempfile.mkdtemp(prefix="md-dovecot-", dir="/tmp"))
        self.root.chmod(0o755)
        self.socket = self.root / "lmtp"
        self._child: Optional[Child] = None
        self._config = self.root / "dovecot.conf"
        storage = _storage_2_4 if version() >= (2, 4) else _storage_2_3
        self._config.write_text(storage(self.root) + self._config_text())
        self._make_users()

    @property
    def url(self) -> str:
        return f"lmtp://{net.HOST}:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"lmtp+unix:{self.socket}"

    # Its configuration

    def _make_users(self) -> None:
        (self.root / "mail").mkdir(mode=0o700)
        shutil.chown(self.root / "mail", "nobody")
        lines = [
            f"{user}@{DOMAIN}:{{PLAIN}}x:{_MAIL_UID}:{_MAIL_UID}::{self.root}/mail/{user}::\n"
            for user in USERS
        ]
        (self.root / "users").write_text("".join(lines))

    def _config_text(self) -> str:
        """What all versions understand; the versions must come before it."""
        return f"""\
base_dir = {self.root}/run
state_dir = {self.root}/state
log_path = {self.root}/dovecot.log
ssl = no
quota_full_tempfail = yes
first_valid_uid = 1
first_valid_gid = 1
service lmtp {{
  inet_listener lmtp {{
    {"listen" if version() >= (2, 4) else "address"} = {net.HOST}
    port = {self.port}
  }}
  unix_listener {self.socket} {{
    mode = 0666
  }}
}}
service stats {{
  unix_listener stats-reader {{
    mode = 0
  }}
}}
"""

    # Its life

    def __enter__(self) -> "Dovecot":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        argv = [PROGRAM, "-F", "-c", str(self._config)]
        self._child = Child(argv, self.root / "dovecot.out")
        if not net.wait_for_port(self.port, self._child.alive):
            raise RuntimeError(f"dovecot did not start: {self._child.tail()}\n{self.log()}")
        self._fill_up()

    def stop(self) -> None:
        if self._child:
            self._child.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def log(self) -> str:
        path = self.root / "dovecot.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _fill_up(self) -> None:
        """Leaves FULL room for little."""
        text = "Subject: large\r\n\r\n" + ("x" * 78 + "\r\n") * (LARGE // 80)
        with smtplib.LMTP(net.HOST, self.port) as client:
            client.sendmail("filler@example.com", [FULL], text)

    # What arrived

    def _new(self, user: str) -> Path:
        return self.root / "mail" / user / "Maildir" / "new"

    def arrived(self, user: str) -> List[bytes]:
        """The messages in the mailbox of USER, in no particular order."""
        new = self._new(user)
        return [path.read_bytes() for path in new.iterdir()] if new.exists() else []

    def clear(self) -> None:
        """Empties the mailboxes of all but FULL."""
        for user in USERS:
            if f"{user}@{DOMAIN}" != FULL:
                for path in self._new(user).glob("*"):
                    path.unlink()

    def wait_for_goodbyes(self, count: int, timeout: float = 5) -> int:
        """How many sessions have ended with QUIT, once that are COUNT; fails when they don't."""
        end = time.monotonic() + timeout
        while (seen := self.log().count(": Logged out ")) < count:
            if time.monotonic() > end:
                raise AssertionError(f"{seen} of {count} sessions:\n{self.log()[-2000:]}")
            time.sleep(0.02)
        return seen
