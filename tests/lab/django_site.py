"""A Django that sends mail, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

from . import repo

STOCK = "django.core.mail.backends.filebased.EmailBackend"
MAILDRAIN = "maildrain.filebased.EmailBackend"

_START = """\
from django.conf import settings
settings.configure(**{settings!r})
import django
django.setup()
from django.core import mail
from django.core.mail import EmailMessage, EmailMultiAlternatives, get_connection, send_mail
"""


class DjangoSite:
    """A site whose mail goes to the folder SPOOL by BACKEND, one of STOCK and MAILDRAIN. SETTINGS
    are further Django settings; their values must survive repr()."""

    def __init__(
        self,
        spool: Path,
        backend: str = MAILDRAIN,
        *,
        settings: Optional[Mapping[str, Any]] = None,
        python: str = sys.executable,
    ) -> None:
        self.python = python
        self.settings: Dict[str, Any] = {
            "SECRET_KEY": "lab",
            "USE_TZ": True,
            "DEFAULT_FROM_EMAIL": "site@example.com",
            "EMAIL_BACKEND": backend,
            "EMAIL_FILE_PATH": str(spool),
            **(settings or {}),
        }

    def argv(self, snippet: str) -> List[str]:
        """The command line that runs SNIPPET with django.core.mail's names at hand."""
        return [self.python, "-c", _START.format(settings=self.settings) + snippet]

    @staticmethod
    def env() -> Dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(repo.DJANGO_SOURCE), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(self, snippet: str, timeout: float = 60) -> str:
        """Runs SNIPPET, e.g. send_mail("Hi", "Text", None, ["a@example.net"]); returns what it
        prints. Fails with its traceback."""
        done = subprocess.run(
            self.argv(snippet),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.env(),
            timeout=timeout,
        )
        if done.returncode:
            raise AssertionError(f"the Django snippet failed:\n{done.stderr}")
        return done.stdout

    def start(self, snippet: str) -> "subprocess.Popen[str]":
        """The same without waiting, with pipes on its standard input and output: for a Django that
        keeps a file open. The caller ends it."""
        return subprocess.Popen(
            self.argv(snippet),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.env(),
        )
