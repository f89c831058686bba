"""The permissions maildrain.view_queue and maildrain.change_queue.

Django makes permissions for models, and there is none here. So these, and the content type that
they and the entries of the admin's log hang on, are made after each `migrate`, as Django's are.
"""

from __future__ import annotations

from typing import Any, Optional, Tuple

from django.apps import apps as installed
from django.db import DEFAULT_DB_ALIAS, router
from django.db.models.signals import post_migrate

APP, MODEL = "maildrain", "queue"
PERMISSIONS: Tuple[Tuple[str, str], ...] = (
    ("view_queue", "Can view mail queue"),
    ("change_queue", "Can change mail queue"),
)


def connect() -> None:
    post_migrate.connect(create, dispatch_uid="maildrain.permissions")


def create(using: str = DEFAULT_DB_ALIAS, apps: Any = installed, **kwargs: Any) -> None:
    """Once per app that was migrated, whichever it was: it costs three queries."""
    try:
        permission = apps.get_model("auth", "Permission")
        models = (apps.get_model("contenttypes", "ContentType"), permission)
    except LookupError:
        return  # a site without users, or not that far yet
    if not all(router.allow_migrate_model(using, model) for model in models):
        return
    content_type = content_type_for(using, apps)
    for codename, name in PERMISSIONS:
        permission.objects.using(using).get_or_create(
            content_type=content_type, codename=codename, defaults={"name": name}
        )


def content_type_for(using: Optional[str] = None, apps: Any = installed) -> Any:
    """The row that stands for the queue, in the database USING or where the site has them."""
    rows = apps.get_model("contenttypes", "ContentType").objects.using(using)
    return rows.get_or_create(app_label=APP, model=MODEL)[0]
