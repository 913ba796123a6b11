"""Declarations, events and leases for the tests of the state."""

from __future__ import annotations

from typing import Any

from dbaudit.core.clock import now_us
from dbaudit.core.database import Database, SslMode
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.secret import Secret
from dbaudit.state import State
from dbaudit.state.databases import Declaration
from dbaudit.state.nodes import Lease, Node
from sqlalchemy import text

PASSWORD = Secret("tiger-4711")


def declaration(name: str = "orders", **changes: Any) -> Declaration:
    values: dict[str, Any] = {
        "name": name,
        "type": "postgresql",
        "host": "db.example.com",
        "port": 5432,
        "database": name,
        "username": "collector",
        "ssl_mode": SslMode.REQUIRE,
    }
    return Declaration(**(values | changes))


def create(state: State, name: str = "orders", *, ssl_key: Secret | None = None, **changes: Any) -> Database:
    secrets = {"password": PASSWORD} if ssl_key is None else {"password": PASSWORD, "ssl_key": ssl_key}
    return state.databases.create(declaration(name, **changes), secrets)


def node(state: State, name: str = "node") -> Node:
    return state.nodes.register(name, "0.1.0", ("postgresql",))


def leased(state: State, name: str = "orders") -> tuple[Database, Lease]:
    """A new database, and the lease of a new node for it."""
    database = create(state, name)
    leases = state.nodes.beat(node(state, f"node of {name}"))
    return database, next(lease for lease in leases if lease.database_id == database.id)


def let_pass(seconds: float, state: State) -> None:
    """Move every lease and heartbeat into the past, as if so much time had passed."""
    with state.backend.writing() as connection:
        moved = {"us": int(seconds * 1_000_000)}
        connection.execute(text("UPDATE leases SET expires_at_us = expires_at_us - :us"), moved)
        connection.execute(text("UPDATE nodes SET heartbeat_at_us = heartbeat_at_us - :us"), moved)


def event(key: str, **changes: Any) -> AuditEvent:
    values: dict[str, Any] = {"key": key, "type": EventType.QUERY, "time_us": now_us()}
    return AuditEvent(**(values | changes))


def append(state: State, lease: Lease, *events: AuditEvent) -> None:
    """Append events after whatever is stored, with a cursor that counts the appends."""
    after = state.events.cursor(lease.database_no)
    state.events.append(lease, after, {"v": 1, "n": after.revision + 1}, events, [])
