"""A real Postfix with Dovecot's SASL, in its own folder on free loopback ports.

It takes mail for DOMAIN, delivers into one Maildir, and does not touch what it delivers: it adds
no missing header and drops none (so a Bcc that leaks can be seen), it only puts its trace fields on
top, which lab.canonical removes.

Postfix's main.cf and master.cf of the machine play no part, nor does any configuration by debconf.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence

from . import dovecot, net
from .certs import Certs
from .child import Child

DOMAIN = "example.test"
REJECT = f"reject@{DOMAIN}"
REJECT_REPLY = "550 5.1.1 No such user here"
DEFER = f"defer@{DOMAIN}"
DEFER_REPLY = "451 4.3.0 Mailbox is busy"
USERS = {"site": "correct horse"}
MAIL_UID = 65534  # nobody

_POSTFIX = "/usr/sbin/postfix"

# name, type, private, unpriv, chroot, wakeup, maxproc, command
_SERVICES = """\
cleanup   unix n - n - 0 cleanup
qmgr      unix n - n 300 1 qmgr
tlsmgr    unix - - n 1000? 1 tlsmgr
rewrite   unix - - n - - trivial-rewrite
bounce    unix - - n - 0 bounce
defer     unix - - n - 0 bounce
trace     unix - - n - 0 bounce
verify    unix - - n - 1 verify
flush     unix n - n 1000? 0 flush
proxymap  unix - - n - - proxymap
smtp      unix - - n - - smtp
relay     unix - - n - - smtp
showq     unix n - n - - showq
error     unix - - n - - error
retry     unix - - n - - error
discard   unix - - n - - discard
virtual   unix - n n - - virtual
anvil     unix - - n - 1 anvil
scache    unix - - n - 1 scache
pickup    unix n - n 60 1 pickup
postlog   unix-dgram n - n - 1 postlogd
"""


def why_not() -> Optional[str]:
    """Why Postfix can't be run here, or None."""
    if os.geteuid() != 0:
        return "Postfix's master must be started by root"
    for program, package in ((_POSTFIX, "postfix"), (dovecot.PROGRAM, "dovecot-core")):
        if not os.path.exists(program):
            return f"{program} is missing: install the package {package}"
    return None


def _settings_text(settings: Mapping[str, str]) -> str:
    return "".join(f"{key} = {value}\n" for key, value in settings.items())


class _Sasl:
    """Dovecot with nothing but its auth service, behind a socket for Postfix."""

    def __init__(
        self, root: Path, socket: Path, users: Mapping[str, str], introspection: Optional[str]
    ) -> None:
        self._root = root
        self._introspection = introspection
        root.mkdir(mode=0o755)
        self._socket = socket
        users_file = root / "users"
        users_file.write_text("".join(f"{u}:{{PLAIN}}{p}::::::\n" for u, p in users.items()))
        users_file.chmod(0o644)
        self._config = root / "dovecot.conf"
        new = dovecot.version() >= (2, 4)
        users_text = self._users_2_4(users_file) if new else self._users_2_3(users_file)
        tokens_text = self._tokens_2_4() if new else self._tokens_2_3()
        self._config.write_text(users_text + tokens_text + self._config_text())
        self._child: Optional[Child] = None

    def _users_2_3(self, users: Path) -> str:
        return f"""\
passdb {{
  driver = passwd-file
  mechanisms = plain login
  args = {users}
}}
userdb {{
  driver = static
  args = uid={MAIL_UID} gid={MAIL_UID} home={self._root}
}}
"""

    def _users_2_4(self, users: Path) -> str:
        return f"""\
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
passdb passwd-file {{
  passwd_file_path = {users}
}}
userdb static {{
  fields {{
    uid = {MAIL_UID}
    gid = {MAIL_UID}
    home = {self._root}
  }}
}}
# Whether TLS is needed is for Postfix to say.
auth_allow_cleartext = yes
"""

    def _tokens_2_3(self) -> str:
        if not self._introspection:
            return ""
        oauth2 = self._root / "oauth2.conf"
        oauth2.write_text(_settings_text(self._token_settings("")))
        return f"""\
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {oauth2}
}}
"""

    def _tokens_2_4(self) -> str:
        return _settings_text(self._token_settings("oauth2_")) if self._introspection else ""

    def _token_settings(self, prefix: str) -> Dict[str, str]:
        settings = {
            "introspection_url": self._introspection or "",
            "introspection_mode": "post",
            "username_attribute": "username",
            "active_attribute": "active",
            "active_value": "true",
        }
        return {prefix + key: value for key, value in settings.items()}

    def _config_text(self) -> str:
        """What all versions understand; the versions must come before it."""
        return f"""\
base_dir = {self._root}/run
state_dir = {self._root}/state
log_path = {self._root}/dovecot.log
protocols =
ssl = no
auth_mechanisms = plain login{" xoauth2 oauthbearer" if self._introspection else ""}
auth_failure_delay = 0
auth_verbose = yes
service auth {{
  unix_listener {self._socket} {{
    mode = 0660
    user = postfix
    group = postfix
  }}
}}
# No delays that grow with each wrong password.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-reader {{
    mode = 0
  }}
}}
"""

    def start(self) -> None:
        argv = [dovecot.PROGRAM, "-F", "-c", str(self._config)]
        self._child = Child(argv, self._root / "dovecot.out")
        end = time.monotonic() + 10
        while not self._socket.exists():
            if not self._child.alive() or time.monotonic() > end:
                raise RuntimeError(f"dovecot did not start: {self._child.tail()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._child:
            self._child.stop()


class Postfix:
    """The server. CERTS give it STARTTLS (REQUIRE_TLS refuses mail without) and a second port with
    TLS from the first byte; USERS (None: no AUTH) may log in over TLS only, and with REQUIRE_AUTH
    nobody else may send. DISCARD are EHLO keywords not to announce, e.g. ("pipelining",
    "chunking", "8bitmime"). With USERS also who shows a token may log in, if INTROSPECTION, a URL
    (RFC 7662), says that it is good. SETTINGS are lines of main.cf and win over all others.
    """

    def __init__(
        self,
        certs: Optional[Certs] = None,
        *,
        require_tls: bool = False,
        users: Optional[Mapping[str, str]] = None,
        require_auth: bool = False,
        introspection: Optional[str] = None,
        size_limit: int = 40 * 1024 * 1024,
        discard: Sequence[str] = (),
        settings: Optional[Mapping[str, str]] = None,
    ) -> None:
        self.port = net.free_port()
        self.smtps_port = net.free_port() if certs else 0
        # Short, for the path of a Unix socket; open to Postfix's and Dovecot's own users.
        self.root = Path(tempfile.mkdtemp(prefix="md-postfix-", dir="/tmp"))
        self.root.chmod(0o755)
        self.maildir = self.root / "mail" / "inbox"
        self._log = self.root / "mail.log"
        self._child: Optional[Child] = None
        self._sasl: Optional[_Sasl] = None
        self._settings: Dict[str, str] = {
            **self._basic(size_limit, discard),
            **(self._tls(certs, require_tls) if certs else {}),
            **(self._auth(certs is not None, require_auth) if users else {}),
            **(settings or {}),
        }
        self._lay_out()
        if users:
            socket = self.root / "queue/private/auth"
            self._sasl = _Sasl(self.root / "sasl", socket, users, introspection)

    @property
    def url(self) -> str:
        return f"smtp://{net.HOST}:{self.port}"

    @property
    def smtps_url(self) -> str:
        return f"smtps://{net.HOST}:{self.smtps_port}"

    # Its configuration

    def _basic(self, size_limit: int, discard: Sequence[str]) -> Dict[str, str]:
        refused = f"{{{REJECT} = {REJECT_REPLY}}}, {{{DEFER} = {DEFER_REPLY}}}"
        return {
            "compatibility_level": "3.6",
            "queue_directory": f"{self.root}/queue",
            "data_directory": f"{self.root}/data",
            "maillog_file": f"{self._log}",
            "maillog_file_prefixes": f"{self.root}",
            "myhostname": "lab.example",
            "mydestination": "",
            "mynetworks": "127.0.0.0/8",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "alias_database": "",
            "smtputf8_enable": "yes",
            "message_size_limit": f"{size_limit}",
            "smtpd_discard_ehlo_keywords": ", ".join(discard),
            "smtpd_recipient_restrictions": f"check_recipient_access inline:{{{refused}}}",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "virtual_mailbox_domains": DOMAIN,
            "virtual_mailbox_base": f"{self.root}/mail",
            "virtual_mailbox_maps": "static:inbox/",
            "virtual_mailbox_limit": "0",
            "virtual_uid_maps": f"static:{MAIL_UID}",
            "virtual_gid_maps": f"static:{MAIL_UID}",
            # Deliver what came, with nothing added or dropped.
            "local_header_rewrite_clients": "",
            "message_drop_headers": "",
            "undisclosed_recipients_header": "",
            # A test sends as fast as it can, and nothing else runs here.
            "in_flow_delay": "0",
            "default_process_limit": "20",
        }

    def _tls(self, certs: Certs, required: bool) -> Dict[str, str]:
        return {
            "smtpd_tls_cert_file": f"{certs.server.cert}",
            "smtpd_tls_key_file": f"{certs.server.key}",
            "smtpd_tls_CAfile": f"{certs.ca}",
            "smtpd_tls_security_level": "encrypt" if required else "may",
            "smtpd_tls_loglevel": "1",
        }

    def _auth(self, tls: bool, required: bool) -> Dict[str, str]:
        return {
            "smtpd_sasl_auth_enable": "yes",
            "smtpd_sasl_type": "dovecot",
            "smtpd_sasl_path": "private/auth",
            "smtpd_tls_auth_only": "yes" if tls else "no",
            "smtpd_client_restrictions": "permit_sasl_authenticated, reject" if required else "",
            "smtpd_sasl_authenticated_header": "yes",
        }

    def _services(self) -> str:
        listen = f"{net.HOST}:{{}} inet n - n - - smtpd\n"
        text = listen.format(self.port)
        if self.smtps_port:
            text += listen.format(self.smtps_port) + "    -o smtpd_tls_wrappermode=yes\n"
        return text + _SERVICES

    def _lay_out(self) -> None:
        config = self.root / "config"
        for directory in (config, self.root / "queue"):
            directory.mkdir(mode=0o755)
        (config / "main.cf").write_text(_settings_text(self._settings))
        (config / "master.cf").write_text(self._services())
        for name, owner in (("data", "postfix"), ("mail", "nobody")):
            (self.root / name).mkdir(mode=0o700)
            shutil.chown(self.root / name, owner)

    # Its life

    def __enter__(self) -> "Postfix":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        argv = [_POSTFIX, "-c", str(self.root / "config"), "start-fg"]
        self._child = Child(argv, self.root / "postfix.out")
        if not net.wait_for_port(self.port, self._child.alive):
            raise RuntimeError(f"Postfix did not start:\n{self._child.tail()}\n{self.log()}")
        if self._sasl:
            self._sasl.start()  # after Postfix has made queue/private

    def stop(self) -> None:
        """Ends both daemons and removes their folder."""
        if self._sasl:
            self._sasl.stop()
        if self._child:
            self._end_master(self._child)
            self._child.stop()
        shutil.rmtree(self.root, ignore_errors=True)

    def _end_master(self, child: Child) -> None:
        """Signals master itself, which ends its children; `postfix start-fg`, our child, waits."""
        pid_file = self.root / "queue" / "pid" / "master.pid"
        if child.alive() and pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
            child.wait(10)

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    # What arrived

    def arrived(self) -> List[bytes]:
        """The messages as they stand in the Maildir, in no particular order."""
        new = self.maildir / "new"
        return [path.read_bytes() for path in new.iterdir()] if new.exists() else []

    def count(self) -> int:
        new = self.maildir / "new"
        return len(os.listdir(new)) if new.exists() else 0

    def wait_for(self, count: int, timeout: float = 30) -> List[bytes]:
        """The messages once COUNT have arrived; fails when they don't."""
        end = time.monotonic() + timeout
        while self.count() < count:
            if time.monotonic() > end:
                raise AssertionError(f"{self.count()} of {count} arrived:\n{self.log()[-2000:]}")
            time.sleep(0.05)
        return self.arrived()

    def queued(self) -> int:
        """Messages that Postfix has taken and not delivered yet."""
        queue = self.root / "queue"
        return sum(len(os.listdir(queue / name)) for name in ("incoming", "active"))

    def clear(self, timeout: float = 30) -> None:
        """Empties the Maildir between tests, once what is under way has arrived."""
        end = time.monotonic() + timeout
        while self.queued() and time.monotonic() < end:
            time.sleep(0.05)
        for path in (self.maildir / "new").glob("*"):
            path.unlink()
