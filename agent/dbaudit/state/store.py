"""The state as a whole: open it, migrate it, and reach each of its parts."""

from __future__ import annotations

from pathlib import Path

from dbaudit.state.api_keys import ApiKeyStore
from dbaudit.state.backend import Backend
from dbaudit.state.changes import Changes, PostgresChanges, SqliteChanges
from dbaudit.state.collectors import CollectorStore
from dbaudit.state.databases import DatabaseStore
from dbaudit.state.encryption import Keyring
from dbaudit.state.events import EventStore, RowEventStore
from dbaudit.state.migrations import migrate
from dbaudit.state.nodes import NodeStore
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
        self.databases = DatabaseStore(backend, self.secrets, self.wakeup)
        self.tasks = TaskStore(backend, self.secrets, self.wakeup)
        self.nodes = NodeStore(backend, lease_seconds)
        self.collectors = CollectorStore(backend)
        self.events: EventStore = RowEventStore(backend, self.secrets)
        self.settings = SettingStore(backend)
        self.api_keys = ApiKeyStore(backend)

    def close(self) -> None:
        """Close every connection."""
        self.wakeup.close()
        self.changes.close()
        self.backend.close()


def open_state(url: str, keyring: Keyring, *, lease_seconds: float = DEFAULT_LEASE_SECONDS) -> State:
    """Open the state at ``url`` and bring it to the present schema.

    Raises ConfigurationError when the schema is newer than this program, or TransientError when the state
    cannot be reached.
    """
    backend = Backend(url)
    if backend.path is not None:
        _make_private(backend.path)
    migrate(backend)
    return State(backend, keyring, lease_seconds=lease_seconds)


def _make_private(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(mode=0o600)  # SQLite gives its other files the mode of this one


def _wakeup(backend: Backend) -> Wakeup:
    if backend.path is None:
        return ListenWakeup(backend)
    return SocketWakeup(backend.path.with_name(f"{backend.path.name}-wakeup"))
