"""Which spools the settings of this site name."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterator, NamedTuple

from django.conf import settings
from django.core import mail
from django.core.mail.backends import filebased as djangos
from django.utils.module_loading import import_string

from .filebased import EmailBackend, file_path_setting


class Place(NamedTuple):
    """Where the mail of one backend goes."""

    label: str  # the alias in MAILERS, or "default"
    path: str
    is_stock: bool  # by Django's own file-based backend


def places() -> Iterator[Place]:
    """All that are a spool, or should be one. Django's own backend makes a folder for development,
    unless it is told to use what is a spool already."""
    for label, backend, path in _configured():
        if not isinstance(path, (str, os.PathLike)):
            continue
        place = Place(label, os.path.abspath(path), _is_stock(backend))
        looks_like_one = os.path.isdir(os.path.join(place.path, "new"))
        if _is_ours(backend) or (looks_like_one and _may_pass_on(backend)):
            yield place


def spools() -> Dict[str, str]:
    """The paths of the spools by their labels; of labels that share one, the first."""
    found: Dict[str, str] = {}
    for place in places():
        if place.path not in found.values():
            found[place.label] = place.path
    return found


def _configured() -> Iterator[tuple[str, str, Any]]:
    """Label, backend and path."""
    mailers = getattr(settings, "MAILERS", None) if hasattr(mail, "mailers") else None
    if mailers is None:
        yield "default", settings.EMAIL_BACKEND, file_path_setting()
        return
    for alias, entry in mailers.items():
        yield alias, entry.get("BACKEND", ""), entry.get("OPTIONS", {}).get("file_path")


def _class(backend: str) -> Any:
    try:
        return import_string(backend)
    except ImportError:
        return None


def _is_ours(backend: str) -> bool:
    found = _class(backend)
    return isinstance(found, type) and issubclass(found, EmailBackend)


def _is_stock(backend: str) -> bool:
    return _class(backend) is djangos.EmailBackend


def _may_pass_on(backend: str) -> bool:
    """Other packages' backends queue mail of their own, and hand it to ours. Those of Django that
    write no files, such as the one of tests, don't."""
    return _is_stock(backend) or not backend.startswith("django.core.mail.backends.")
