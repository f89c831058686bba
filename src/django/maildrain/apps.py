"""maildrain as an application: with it in INSTALLED_APPS there are checks and commands."""

from __future__ import annotations

from django.apps import AppConfig


class MaildrainConfig(AppConfig):
    name = "maildrain"
    verbose_name = "Maildrain"

    def ready(self) -> None:
        from . import checks, permissions  # noqa: F401  # checks registers itself

        permissions.connect()
