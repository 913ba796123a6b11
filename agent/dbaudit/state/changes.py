"""Whether anything in the state has changed: a stamp that is cheap to get, so that answers can be kept until
it changes.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any

import apsw
import psycopg

from dbaudit.core.errors import ErrorCode, TransientError
from dbaudit.state.backend import Backend

_BUSY_MS = 30_000


class Changes(ABC):
    """Gives the stamp of the state as it is now.

    Two equal stamps mean that no process committed a transaction between them. So an answer that was made
    after a stamp was taken is still right while the stamp is the same.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()

    @abstractmethod
    def stamp(self) -> Hashable:
        """The stamp now. Raises TransientError (`state_unavailable`)."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class SqliteChanges(Changes):
    """By `PRAGMA data_version`: for a connection that writes nothing it changes with every commit."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._connection = apsw.Connection(str(backend.path))
        self._connection.set_busy_timeout(_BUSY_MS)

    def stamp(self) -> Hashable:
        try:
            with self._lock:
                return int(self._connection.execute("PRAGMA data_version").get)
        except apsw.Error as error:
            raise _unavailable(error) from error

    def close(self) -> None:
        self._connection.close()


class PostgresChanges(Changes):
    """By the snapshot of a new transaction: it stays the same as long as no transaction has ended."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self._backend = backend
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

    def stamp(self) -> Hashable:
        with self._lock:
            try:
                if self._connection is not None:
                    try:
                        return self._ask(self._connection)
                    except psycopg.OperationalError:  # the server ended it: a new one may do
                        self._connection.close()
                self._connection = self._backend.connect_postgresql()
                return self._ask(self._connection)
            except psycopg.Error as error:
                raise _unavailable(error) from error

    def _ask(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Hashable:
        return connection.execute("SELECT pg_current_snapshot()::text").fetchone()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _unavailable(error: Exception) -> TransientError:
    return TransientError(
        ErrorCode.STATE_UNAVAILABLE, f"The state is not available: {' '.join(str(error).split())}"
    )
