"""Tables of other packages, read row by row through models that belong to no application."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, Iterator, List

from django.apps.registry import Apps
from django.db import connections, models
from django.utils import timezone

Row = Dict[str, Any]


class NoTable(Exception):
    """The database has no such table, or one of another kind."""


class Table:
    """The table NAME of a database. FIELDS are those that some version of it has; the present one
    must have those that are NEEDED."""

    def __init__(
        self, database: str, name: str, fields: Dict[str, models.Field], needed: List[str]
    ) -> None:
        self.name = name
        columns = _columns(database, name)
        missing = [column for column in needed if column not in columns]
        if missing:
            raise NoTable(f"The table {name} has no column {', '.join(missing)}")
        here = {column: field for column, field in fields.items() if column in columns}
        self._columns = list(here)
        self._rows = _model(name, here)._base_manager.using(database)
        self._absent = {column: None for column in fields if column not in columns}

    def numbers(self, **conditions: Any) -> List[int]:
        """The keys of the rows, the oldest first."""
        return list(self._rows.filter(**conditions).order_by("id").values_list("id", flat=True))

    def row(self, number: int) -> Row | None:
        return next(self.rows(id=number), None)

    def rows(self, **conditions: Any) -> Iterator[Row]:
        """What a version has not is None."""
        found = self._rows.filter(**conditions).order_by("id").values(*self._columns)
        for row in found.iterator():
            yield {**self._absent, **row}


def has_table(database: str, name: str) -> bool:
    connection = connections[database]
    with connection.cursor() as cursor:
        return name in connection.introspection.table_names(cursor)


def moment(value: datetime) -> datetime:
    """With a time zone; without USE_TZ that is the site's."""
    if timezone.is_naive(value):
        value = timezone.make_aware(value)
    return value


def _columns(database: str, name: str) -> List[str]:
    if not has_table(database, name):
        raise NoTable(f"Database {database!r} has no table {name}: is it in another --database?")
    connection = connections[database]
    with connection.cursor() as cursor:
        described = connection.introspection.get_table_description(cursor, name)
    return [column.name for column in described]


def _model(name: str, fields: Dict[str, models.Field]) -> Any:
    """With a registry of its own, so that neither migrations nor the admin know of it."""
    about = {"apps": Apps(), "app_label": "elsewhere", "db_table": name, "managed": False}
    body = {"__module__": __name__, "Meta": type("Meta", (), about), **fields}
    return type("Row", (models.Model,), body)
