"""A monitored database as it is declared: connection, TLS, audit options, and the states it can be in."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dbaudit.core.host_limits import HostLimits
from dbaudit.core.secret import Secret

SECRET_FIELDS = ("password", "ssl_key")
"""Fields of a declaration that are stored encrypted and never shown."""

SHOWN_FIELDS = (
    "name",
    "type",
    "host",
    "port",
    "database",
    "username",
    "ssl_mode",
    "ssl_ca",
    "ssl_cert",
    "tags",
    "audit_options",
    "audit_status",
    "db_conns_auditing",
)
"""Fields of a declaration that may be shown, in a comparison or an event."""

CONNECTION_FIELDS = (
    "host",
    "port",
    "database",
    "username",
    "password",
    "ssl_mode",
    "ssl_ca",
    "ssl_cert",
    "ssl_key",
)
"""Fields whose change makes a database `pending` again: the connection has to be tested again."""


class SslMode(StrEnum):
    """How the connection to the monitored server is protected; the words are those of libpq."""

    DISABLE = "disable"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class ConnectionStatus(StrEnum):
    """Whether the agent reaches the database."""

    PENDING = "pending"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    ERROR = "error"


class AuditStatus(StrEnum):
    """Whether events are being collected."""

    INITIALIZING = "initializing"
    ACTIVE = "active"
    PAUSED = "paused"


class Scope(StrEnum):
    """Which events a declaration gets."""

    DATABASE = "database"
    """Those of its database; what belongs to no database is stored once for the server."""
    SERVER = "server"
    """Everything that the server's source has."""


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is collected and kept.

    ``engine`` holds the options that only this engine knows, checked against the engine's own JSON Schema.
    """

    capture_queries: bool = True
    capture_results: bool = False
    mask_sensitive_data: bool = True
    retention_days: int = 90
    scope: Scope = Scope.DATABASE
    engine: dict[str, Any] = {}


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """One monitored database with its present state; times are microseconds since the epoch.

    Secrets are not here: the state returns them by the database's id to the code that needs them.
    """

    id: str
    name: str
    type: str
    host: str
    port: int
    database: str
    username: str
    ssl_mode: SslMode
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    tags: tuple[str, ...] = ()
    audit_options: AuditOptions = AuditOptions()
    status: ConnectionStatus = ConnectionStatus.PENDING
    status_code: str | None = None
    status_reason: str | None = None
    audit_status: AuditStatus = AuditStatus.INITIALIZING
    db_conns_auditing: bool = False
    """Whether connection events are sent to the listener of the cluster's settings."""
    connection_version: int = 1
    """Counts the changes of the connection fields, so that the result of a test of an older declaration is
    ignored.
    """
    created_at_us: int = 0
    updated_at_us: int = 0
    last_event_at_us: int | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an engine needs to open a session to a monitored database.

    ``options`` are the engine's own audit options, valid by its schema; ``capture_results`` asks a test to
    warn if row counts are not recorded. ``connect_timeout_seconds`` bounds reaching the server and logging
    in; ``statement_timeout_seconds`` bounds every statement. ``application_name`` is what the agent calls
    itself, so that its own activity can be left out. ``limits`` are what the agent allows of its own host;
    None only if a program other than an agent opens the session.
    """

    database_id: str
    host: str
    port: int
    database: str
    username: str
    password: Secret
    ssl_mode: SslMode
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    ssl_key: Secret | None = None
    options: Mapping[str, Any] = {}
    capture_results: bool = False
    application_name: str = "dbaudit-agent"
    connect_timeout_seconds: float = 10.0
    statement_timeout_seconds: float = 30.0
    limits: HostLimits | None = None
