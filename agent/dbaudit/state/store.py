"""The state as a whole: open it, migrate it, and reach each of its parts."""

from __future__ import annotations

from pathlib import Path

import psycopg
from psycopg import sql
from sqlalchemy.exc import ProgrammingError

from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.state import sqlite
from dbaudit.state.api_keys import ApiKeyStore
from dbaudit.state.backend import Backend
from dbaudit.state.changes import Changes, PostgresChanges, SqliteChanges
from dbaudit.state.collectors import CollectorStore
from dbaudit.state.databases import DatabaseStore
from dbaudit.state.db_conns import DbConnsStore
from dbaudit.state.deliveries import DeliveryStore
from dbaudit.state.encryption import Keyring
from dbaudit.state.event_rows import RowEventStore
from dbaudit.state.events import EventStore
from dbaudit.state.migrations import migrate
from dbaudit.state.nodes import NodeStore
from dbaudit.state.own_events import OwnEvents
from dbaudit.state.secrets import SecretStore
from dbaudit.state.settings import SettingStore
from dbaudit.state.tasks import TaskStore
from dbaudit.state.wakeup import ListenWakeup, SocketWakeup, Wakeup

DEFAULT_LEASE_SECONDS = 10.0


class State:
    """Everything that outlives a process. One instance a process; its parts may be used by many threads."""

    def __init__(self, backend: Backend, keyring: Keyring, *, lease_seconds: float) -> None:
        self.backend = backend
        self.changes: Changes = SqliteChanges(backend) if backend.is_sqlite else PostgresChanges(backend)
        self.wakeup: Wakeup = _wakeup(backend)
        self.secrets = SecretStore(backend, keyring)
        self.nodes = NodeStore(backend, lease_seconds)
        self.collectors = CollectorStore(backend)
        self.events: EventStore = RowEventStore(backend, self.secrets)
        self.db_conns = DbConnsStore(backend, self.nodes, self.wakeup)
        self.deliveries = DeliveryStore(backend)
        self.databases = DatabaseStore(
            backend,
            self.secrets,
            self.wakeup,
            events=self.events,
            db_conns=self.db_conns,
            deliveries=self.deliveries,
        )
        self.tasks = TaskStore(backend, self.secrets, self.wakeup, nodes=self.nodes, databases=self.databases)
        self.own_events = OwnEvents(backend)
        self.settings = SettingStore(backend)
        self.api_keys = ApiKeyStore(backend)

    def close(self) -> None:
        """Close every connection."""
        self.wakeup.close()
        self.changes.close()
        self.backend.close()


def open_state(url: str, keyring: Keyring, *, lease_seconds: float = DEFAULT_LEASE_SECONDS) -> State:
    """Open the state at ``url`` and bring it to the present schema.

    Raises ConfigurationError when it is no state of dbaudit, cannot be written, or has a schema newer than
    this program; TransientError when it cannot be reached, is locked or full.
    """
    backend = Backend(url)
    try:
        if backend.path is None:
            _prepare_postgresql(backend)
        else:
            _prepare_file(backend, backend.path)
        return State(backend, keyring, lease_seconds=lease_seconds)
    except BaseException:
        backend.close()
        raise


def _prepare_file(backend: Backend, path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)  # SQLite gives its other files the mode of this one
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from None
    try:
        migrate(backend)
    except TransientError as error:
        if sqlite.is_lasting(error.__cause__):
            raise _unusable(path, error.message) from error
        raise


def _unusable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(
        ErrorCode.CONFIGURATION_INVALID,
        f"The state file {path} cannot be used: {reason}",
        remedy="Give the path of a state of dbaudit, or of a new file in a folder that this user may write.",
    )


def _prepare_postgresql(backend: Backend) -> None:
    with backend.reading() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The database for the state has the encoding {encoding}, which cannot hold every text.",
            remedy="CREATE DATABASE dbaudit ENCODING 'UTF8' TEMPLATE template0",
        )
    try:
        migrate(backend)
    except ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        user = backend.engine.url.username
        raise ConfigurationError(
            ErrorCode.CONFIGURATION_INVALID,
            f"The user {user} may not make the tables of the state: {error.orig.diag.message_primary}.",
            remedy=sql.SQL("GRANT CREATE ON SCHEMA public TO {}")
            .format(sql.Identifier(str(user)))
            .as_string(),
        ) from error


def _wakeup(backend: Backend) -> Wakeup:
    if backend.path is None:
        return ListenWakeup(backend)
    return SocketWakeup(backend.path.with_name(f"{backend.path.name}-wakeup"))
