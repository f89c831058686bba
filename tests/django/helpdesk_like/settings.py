"""What a site with a help desk sets; the test gives the paths."""

from __future__ import annotations

import json
import os
from typing import Any, Dict

import django

SECRET_KEY = "test"
ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
INSTALLED_APPS = ["maildrain", "helpdesk_like"]
ROOT_URLCONF = "helpdesk_like.urls"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
USE_TZ = True
LOGGING_CONFIG = None

DATABASES: Dict[str, Dict[str, Any]] = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["DESK_DATABASE"],
        "ATOMIC_REQUESTS": True,
        "OPTIONS": {"timeout": 30},
    }
}

DEFAULT_FROM_EMAIL = "Help Desk <help@example.com>"
MAILDRAIN = json.loads(os.environ.get("DESK_MAILDRAIN", "{}"))

if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {
            "BACKEND": "maildrain.filebased.EmailBackend",
            "OPTIONS": {"file_path": os.environ["DESK_SPOOL"]},
        }
    }
else:
    EMAIL_BACKEND = "maildrain.filebased.EmailBackend"
    EMAIL_FILE_PATH = os.environ["DESK_SPOOL"]
