"""The tags of databases, also of those that were removed: keys with these tags still read their events."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, exists

from dbaudit.state.schema import database_tags


def having_tags(database_no: ColumnElement[int], tags: Iterable[str]) -> list[ColumnElement[bool]]:
    """The conditions for a database, given by the column of its number, to have all of ``tags``."""
    return [
        exists().where(database_tags.c.database_no == database_no, database_tags.c.tag == tag) for tag in tags
    ]
