"""SQLite for SQLAlchemy, through APSW.

APSW brings its own current SQLite, and inserts rows about twice as fast as the module of the standard library
(2.0 against 4.4 µs for an event's row, one core). SQLAlchemy has no dialect for it, so this module is the
thin layer between: the part of the DB-API (PEP 249) that SQLAlchemy uses, with transactions begun and ended
explicitly.

One process must not open the same file through two copies of SQLite: closing it in one drops the locks of the
other (https://sqlite.org/howtocorrupt.html, section 2.2.1). So the whole state goes through this module.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from types import ModuleType
from typing import Any

import apsw
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.engine import URL, ConnectArgsType

apilevel = "2.0"
threadsafety = 1
paramstyle = "qmark"
CONTAINS = "dbaudit_contains"
"""The SQL function that returns whether a text contains another one, which is in lower case, in any case."""
sqlite_version_info = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
Binary = bytes


class Error(Exception):
    """PEP 249: the base of all errors of a database."""


class InterfaceError(Error):
    """PEP 249: the interface was used wrongly."""


class DatabaseError(Error):
    """PEP 249: an error of the database itself."""


class OperationalError(DatabaseError):
    """PEP 249: locked, full, not readable, not a database: nothing that the program does wrong."""


class IntegrityError(DatabaseError):
    """PEP 249: a constraint was violated."""


class ProgrammingError(DatabaseError):
    """PEP 249: wrong SQL."""


class DataError(DatabaseError):
    """PEP 249: a value that does not fit, such as a text of more than 1,000,000,000 bytes."""


_MEANING: dict[type[Exception], type[Error]] = {
    apsw.ConstraintError: IntegrityError,
    apsw.SQLError: ProgrammingError,
    apsw.TooBigError: DataError,
    apsw.MismatchError: DataError,
    apsw.MisuseError: InterfaceError,
    apsw.ThreadingViolationError: InterfaceError,
}


_LASTING = (
    apsw.NotADBError,
    apsw.CorruptError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.AuthError,
)


def is_lasting(error: BaseException | None) -> bool:
    """Whether ``error``, or its cause, needs a person to solve it: a file that is not a database, is damaged,
    or cannot be opened or written.
    """
    while error is not None and not isinstance(error, _LASTING):
        error = error.__cause__
    return error is not None


def _contains(*values: Any) -> bool:
    text, lower = values
    return text is not None and lower in text.lower()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise _MEANING.get(type(error), OperationalError)(str(error)) from error


class Cursor:
    """PEP 249, as far as SQLAlchemy needs it."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self.description: tuple[Any, ...] | None = None
        self.rowcount = -1
        self.lastrowid = 0
        self.arraysize = 1

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement."""
        self.description = None
        self._cursor.exec_trace = self._describe  # the description is gone once a statement has ended
        with _translated():
            self._cursor.execute(statement, tuple(parameters))
        self.rowcount = self._connection.changes() if self.description is None else -1
        self.lastrowid = self._connection.last_insert_rowid()

    def executemany(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each of ``rows``."""
        self.description = None
        self._cursor.exec_trace = None
        before = self._connection.total_changes()
        with _translated():
            self._cursor.executemany(statement, rows)
        self.rowcount = self._connection.total_changes() - before

    def _describe(self, cursor: apsw.Cursor, statement: str, bindings: Any) -> bool:
        self.description = tuple(
            (name, None, None, None, None, None, None) for name, kind in cursor.get_description()
        )
        self.description = self.description or None
        return True

    def fetchone(self) -> Any:
        """The next row, or None."""
        with _translated():
            return next(self._cursor, None)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next ``size`` rows."""
        with _translated():
            return list(islice(self._cursor, size or self.arraysize))

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        with _translated():
            return self._cursor.fetchall()

    def close(self) -> None:
        """Close the cursor."""
        self._cursor.close(True)


class Connection:
    """PEP 249, as far as SQLAlchemy needs it."""

    def __init__(self, path: str, busy_seconds: float) -> None:
        with _translated():
            self._connection = apsw.Connection(path)
            self._connection.set_busy_timeout(int(busy_seconds * 1000))
            self._connection.create_scalar_function(CONTAINS, _contains, 2, deterministic=True)

    def cursor(self) -> Cursor:
        """A new cursor."""
        return Cursor(self._connection)

    def execute(self, statement: str) -> None:
        """Run one statement that gives no rows that matter, such as a PRAGMA."""
        with _translated():
            self._connection.execute(statement).fetchall()

    def commit(self) -> None:
        """End the transaction, if there is one."""
        if self._connection.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        """Undo the transaction, if there is one."""
        if self._connection.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        with _translated():
            self._connection.close()


def connect(path: str, busy_seconds: float = 30.0) -> Connection:
    """Open the file at ``path``; a lock is waited for up to ``busy_seconds``."""
    return Connection(path, busy_seconds)


class ApswDialect(SQLiteDialect):
    """SQLAlchemy's SQLite, with APSW as its driver: ``sqlite+apsw:////absolute/path``."""

    driver = "apsw"
    supports_statement_cache = True
    default_paramstyle = "qmark"

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        return sys.modules[__name__]

    def create_connect_args(self, url: URL) -> ConnectArgsType:
        return (str(url.database),), {}

    def _get_server_version_info(self, connection: Any) -> tuple[int, ...]:
        return sqlite_version_info


registry.register("sqlite.apsw", __name__, "ApswDialect")
