"""Records that the server cut in parts.

An audit record whose statement is longer than 4000 characters is several rows: all fields are repeated, and
the sequence number grows (learn.microsoft.com, "SQL Server Audit Records").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.engines.sqlserver.queries import AUDIT_COLUMNS

PART_CHARACTERS = 4000

_SEQUENCE = AUDIT_COLUMNS.index("sequence_number")
_SESSION = AUDIT_COLUMNS.index("session_id")
_STATEMENT = AUDIT_COLUMNS.index("statement")
_INFORMATION = AUDIT_COLUMNS.index("additional_information")
_IDENTITY = tuple(
    AUDIT_COLUMNS.index(name) for name in ("time_us", "action_id", "session_id", "sequence_group_id")
)


def identity(row: Sequence[Any]) -> tuple[Any, ...]:
    """The fields that parts of one record have in common, and that differ between records."""
    return tuple(row[index] for index in _IDENTITY)


def perhaps_continued(row: Sequence[Any]) -> bool:
    """Whether a part may follow: a text fills its column."""
    statement, information = row[_STATEMENT], row[_INFORMATION]
    return (statement is not None and len(statement) >= PART_CHARACTERS) or (
        information is not None and len(information) >= PART_CHARACTERS
    )


def whole_records(rows: Sequence[Sequence[Any]]) -> int:
    """How many rows there are before the first record of which parts may be missing."""
    begun: dict[Any, tuple[tuple[Any, ...], int]] = {}
    for number, row in enumerate(rows):
        session = row[_SESSION]
        if begun and session in begun and (begun[session][0] != identity(row) or row[_SEQUENCE] <= 1):
            del begun[session]  # the session went on to something else: what came before is complete
        if perhaps_continued(row):
            begun.setdefault(session, (identity(row), number))
        elif begun:
            begun.pop(session, None)
    return min((number for _identity, number in begun.values()), default=len(rows))
