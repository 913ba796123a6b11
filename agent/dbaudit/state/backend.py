"""Connections to the state: SQLite in WAL mode, or PostgreSQL; one way to read and one way to write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.state import sqlite

_WRITE = "dbaudit_write"
_CONNECTIONS = 15
_FROZEN_SECONDS = 5
_POSTGRESQL = {
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "application_name": "dbaudit-state",
    # A process that is frozen in a transaction (a suspended machine) must not keep its locks.
    "options": f"-c idle_in_transaction_session_timeout={_FROZEN_SECONDS}s",
}


class Backend:
    """The database that holds the state.

    ``url`` is ``sqlite:////absolute/path`` or ``postgresql://user:password@host/database``. Both contexts
    give a SQLAlchemy connection inside a transaction; ``writing`` commits at its end, or rolls back when an
    error leaves it. A state that is away, locked for long, read-only or full raises TransientError
    (`state_unavailable`). A value that the state cannot hold (NUL in a text, a number beyond 64 bits) raises
    whatever the driver raises, and nothing is written.
    """

    def __init__(self, url: str) -> None:
        try:
            parsed = make_url(url)
        except ArgumentError:
            raise ConfigurationError(
                ErrorCode.CONFIGURATION_INVALID,
                "The state URL cannot be read.",
                remedy="Give sqlite:////absolute/path/state.db or postgresql://user:password@host/database.",
            ) from None
        if parsed.get_backend_name() == "sqlite":
            if not parsed.database or not Path(parsed.database).is_absolute():
                raise ConfigurationError(
                    ErrorCode.CONFIGURATION_INVALID,
                    "The state URL of SQLite needs an absolute path.",
                    remedy="Give sqlite:////absolute/path/state.db (four slashes).",
                )
            self.engine = sqlalchemy.create_engine(
                parsed.set(drivername="sqlite+apsw"),
                hide_parameters=True,
                pool_size=_CONNECTIONS,
                max_overflow=_CONNECTIONS,
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        elif parsed.get_backend_name() == "postgresql":
            self.engine = sqlalchemy.create_engine(
                parsed.set(drivername="postgresql+psycopg"),
                hide_parameters=True,
                pool_pre_ping=True,
                pool_size=_CONNECTIONS,
                max_overflow=_CONNECTIONS,
                connect_args=_POSTGRESQL,
            )
        else:
            raise ConfigurationError(
                ErrorCode.CONFIGURATION_INVALID,
                f"The state cannot be kept on {parsed.get_backend_name()}.",
                remedy="Use a sqlite: or a postgresql: URL.",
            )
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer: Engine = self.engine.execution_options(**{_WRITE: True})
        # On SQLite a transaction sees one state of the file anyway.
        self._reader: Engine = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )

    @property
    def path(self) -> Path | None:
        """The file of an SQLite state; None on PostgreSQL."""
        return Path(str(self.engine.url.database)) if self.is_sqlite else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one consistent state and changes nothing."""
        with _translated(), self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that changes the state; on SQLite it holds the write lock from its beginning."""
        with _translated(), self._writer.connect() as connection, connection.begin():
            yield connection

    def serialize(self, connection: Connection, what: str) -> None:
        """Let one transaction at a time go past this point for ``what``; SQLite has one writer anyway."""
        if not self.is_sqlite:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext(%s))", (f"dbaudit {what}",))

    def connect_postgresql(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection outside the pool to a state on PostgreSQL; it commits each statement. Raises
        psycopg.Error.
        """
        arguments, options = self.engine.dialect.create_connect_args(self.engine.url)
        return psycopg.connect(*arguments, **{**_POSTGRESQL, **options}, autocommit=True)

    def close(self) -> None:
        """Close every connection of the pool."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, InternalError) as error:
        reason = " ".join(str(error.orig).split())
        raise TransientError(
            ErrorCode.STATE_UNAVAILABLE, f"The state is not available: {reason.rstrip('.')}."
        ) from error
    except PoolTimeoutError as error:
        raise TransientError(
            ErrorCode.STATE_UNAVAILABLE, "The state is not available: every connection to it is busy."
        ) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise TransientError(
                ErrorCode.STATE_UNAVAILABLE, "The connection to the state was lost."
            ) from error
        raise


def _prepare_sqlite(connection: sqlite.Connection, record: Any) -> None:
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",  # it must be on disk before the source may drop it
        "foreign_keys = ON",
        "cache_size = -32000",
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    mode = "IMMEDIATE" if connection.get_execution_options().get(_WRITE) else "DEFERRED"
    connection.exec_driver_sql(f"BEGIN {mode}")
