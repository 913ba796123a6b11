"""The traditional trails of the recorded server: the engine's own statements, run by SQLite on tables that
have the columns of the version, so that a wrong column or a wrong expression fails.
"""

from __future__ import annotations

import datetime
import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import oracledb

from tests.engines.oracle import columns

STANDARD, FINE = "dba_audit_trail", "dba_fga_audit_trail"
_TIMES = {"extended_timestamp"}
_LIMIT = re.compile(r"FETCH FIRST (\d+) ROWS ONLY\Z")


def _utc(time: str) -> str:
    """SYS_EXTRACT_UTC: the times of these views bear a zone."""
    if not time.endswith("+00:00"):
        raise ValueError(time)
    return time.removesuffix("+00:00")


def _to_char(time: str, form: str) -> str:
    if form != "YYYY-MM-DD HH24:MI":
        raise ValueError(form)
    return time[:16]


@lru_cache(maxsize=16)
def _for_sqlite(query: str) -> str:
    """SQLite takes a name in double quotes that it does not find for a text, and one in brackets never."""
    return re.sub(r'"([A-Z_$]+)"', r"[\1]", _LIMIT.sub(r"LIMIT \1", query))


class TraditionalTables:
    """Rows as an administrator sees them in the two views."""

    def __init__(self, version: str) -> None:
        self.standard: list[dict[str, Any]] = []
        self.fine: list[dict[str, Any]] = []
        self._columns = {
            STANDARD: sorted(columns.TRADITIONAL[version]),
            FINE: sorted(columns.FINE_GRAINED[version]),
        }

    def columns_of(self, view: str) -> Sequence[str]:
        return self._columns[view]

    def run(
        self, query: str, binds: Mapping[str, Any], container: str, granted: frozenset[str]
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The rows of a statement. Raises what the driver does of a view or a column that is not there."""
        database = sqlite3.connect(":memory:")
        database.create_function("SYS_EXTRACT_UTC", 1, _utc)
        database.create_function("TO_CHAR", 2, _to_char)
        database.create_function("SYS_CONTEXT", 2, lambda _space, _name: container)
        for view, rows in ((STANDARD, self.standard), (FINE, self.fine)):
            if view in granted:
                self._make(database, view, rows)
        values = {name: _stored(value) for name, value in binds.items()}
        named = set(re.findall(r":(\w+)", re.sub(r"'[^']*'", "", query)))
        if named != set(binds):
            raise oracledb.DatabaseError(f"ORA-01036: illegal variable name/number: {named ^ set(binds)}")
        try:
            cursor = database.execute(_for_sqlite(query), values)
            found = [tuple(_given(value) for value in row) for row in cursor.fetchall()]
            return [column[0] for column in cursor.description], found
        except sqlite3.OperationalError as error:
            code = "ORA-00942" if "no such table" in str(error) else "ORA-00904"
            raise oracledb.DatabaseError(f"{code}: {error}") from None
        finally:
            database.close()

    def _make(self, database: sqlite3.Connection, view: str, rows: Sequence[Mapping[str, Any]]) -> None:
        names = self._columns[view]
        listed = ", ".join(f'"{name}"' for name in names)
        database.execute(f"CREATE TABLE {view} ({listed})")
        marks = ", ".join("?" for _name in names)
        database.executemany(
            f"INSERT INTO {view} VALUES ({marks})",
            [[_stored(row.get(name), zoned=name.lower() in _TIMES) for name in names] for row in rows],
        )


def _stored(value: Any, *, zoned: bool = False) -> Any:
    """Times as texts that sort as they do."""
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ", "microseconds") + ("+00:00" if zoned else "")
    return value


_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


def _given(value: Any) -> Any:
    if isinstance(value, str) and _TIME.fullmatch(value):
        return datetime.datetime.fromisoformat(value)
    return value
