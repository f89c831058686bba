"""A Django site with its admin, for the tests of the page: `project.py COMMAND …` as manage.py.

The environment says what varies: SITE_SPOOL, SITE_DATABASE, SITE_SETTINGS (further ones, as JSON),
and SITE_OPENED, a file that gets the path of each file of the spool that is opened.
"""

from __future__ import annotations

import json
import os
import sys

import django
from django.conf import settings

ROOT = os.path.dirname(os.path.abspath(__file__))
SPOOL = os.environ["SITE_SPOOL"]
BACKEND = "maildrain.filebased.EmailBackend"
MAILERS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"file_path": SPOOL}}}
STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; "
    "img-src 'self' data:; form-action 'self'"
)


def strict(get_response):
    """A policy that allows nothing inline; with "lax" in the query, none."""

    def middleware(request):
        response = get_response(request)
        if "lax" not in request.GET:
            response["Content-Security-Policy"] = STRICT
        return response

    return middleware


if "SITE_OPENED" in os.environ:
    log = open(os.environ["SITE_OPENED"], "a", buffering=1)

    def note(event, args):
        """A name alone is one that is opened relative to a folder, as files of the spool are."""
        if event == "open" and isinstance(args[0], str) and "/" not in args[0]:
            print(args[0], file=log)

    sys.addaudithook(note)

if not settings.configured:
    settings.configure(
        **{
            "SECRET_KEY": "test",
            "DEBUG": True,
            "ALLOWED_HOSTS": ["*"],
            "ROOT_URLCONF": __name__,
            "USE_TZ": True,
            "TIME_ZONE": "Europe/Berlin",
            "LANGUAGE_CODE": "en",
            "STATIC_URL": "/static/",
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "PASSWORD_HASHERS": ["django.contrib.auth.hashers.MD5PasswordHasher"],
            "INSTALLED_APPS": [
                "django.contrib.admin",
                "django.contrib.auth",
                "django.contrib.contenttypes",
                "django.contrib.sessions",
                "django.contrib.messages",
                "django.contrib.staticfiles",
                "maildrain",
            ],
            "MIDDLEWARE": [
                "django.contrib.sessions.middleware.SessionMiddleware",
                "django.middleware.csrf.CsrfViewMiddleware",
                "django.contrib.auth.middleware.AuthenticationMiddleware",
                "django.contrib.messages.middleware.MessageMiddleware",
                f"{__name__}.strict",
            ],
            "TEMPLATES": [
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "APP_DIRS": True,
                    "OPTIONS": {
                        "context_processors": [
                            "django.template.context_processors.request",
                            "django.contrib.auth.context_processors.auth",
                            "django.contrib.messages.context_processors.messages",
                        ]
                    },
                }
            ],
            "DATABASES": {
                "default": {
                    "ENGINE": "django.db.backends.sqlite3",
                    "NAME": os.environ["SITE_DATABASE"],
                    "OPTIONS": {"timeout": 20},
                }
            },
            **(
                {"MAILERS": MAILERS}
                if django.VERSION >= (6, 1)
                else {"EMAIL_BACKEND": BACKEND, "EMAIL_FILE_PATH": SPOOL}
            ),
            **json.loads(os.environ.get("SITE_SETTINGS", "{}")),
        }
    )
    django.setup()

from django.contrib import admin  # noqa: E402
from django.urls import path  # noqa: E402
from maildrain.admin import register  # noqa: E402

# A site of its own beside the default one.
office = admin.AdminSite(name="office")
register(office)

urlpatterns = [path("admin/", admin.site.urls), path("office/", office.urls)]

if __name__ == "__main__":
    sys.modules["project"] = sys.modules["__main__"]
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
