"""Monitored databases, as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.sdk.frozen import freeze


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is collected and kept; ``engine`` holds the options of this engine alone."""

    capture_queries: bool = True
    capture_results: bool = False
    mask_sensitive_data: bool = True
    retention_days: int = 90
    scope: str = "database"
    engine: dict[str, Any] = {}

    def __post_init__(self) -> None:
        freeze(self, "engine")


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of events since 00:00 UTC today, and six days ago."""

    events_today: int = 0
    events_this_week: int = 0
    alerts_pending: int = 0
    policies_active: int = 0


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The last measured round trip, and when the agent last reported on the database."""

    latency_ms: float | None = None
    last_heartbeat: datetime | None = None


class Database(msgspec.Struct, frozen=True, kw_only=True):
    """A monitored database. ``stats`` and ``health`` are there after ``get`` only; ``etag``, the version of
    the declaration, after ``get``, ``create`` and ``update``.
    """

    id: str
    name: str
    type: str
    host: str
    port: int
    database: str
    username: str
    ssl_mode: str
    status: str
    audit_status: str
    created_at: datetime
    updated_at: datetime
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    tags: tuple[str, ...] = ()
    audit_options: AuditOptions = AuditOptions()
    status_code: str | None = None
    status_reason: str | None = None
    last_event_at: datetime | None = None
    db_conns_auditing: bool = False
    stats: Stats | None = None
    health: Health | None = None
    etag: str | None = None


class LastError(msgspec.Struct, frozen=True, kw_only=True):
    """What stopped or delays a collector."""

    message: str
    code: str | None = None


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """The collector of a database: its agent, its state, its rate, and what was lost or could not be decoded.

    ``left_out`` counts the records that became no event, by their class in the source's own word.
    """

    version: str | None = None
    uptime_seconds: int = 0
    events_per_second: float = 0.0
    state: str | None = None
    node: str | None = None
    last_error: LastError | None = None
    gaps: int = 0
    rejected: int = 0
    left_out: dict[str, int] = {}

    def __post_init__(self) -> None:
        freeze(self, "left_out")


class HealthChecks(msgspec.Struct, frozen=True, kw_only=True):
    """Each `healthy`, `warning`, `critical` or `unknown`."""

    connectivity: str = "unknown"
    permissions: str = "unknown"
    latency: str = "unknown"
    disk_space: str = "unknown"
    audit_source: str = "unknown"


class LastEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The latest event of a database."""

    timestamp: datetime
    type: str
    user: str | None = None


class DatabaseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The state of connection and collecting."""

    id: str
    connection_status: str
    audit_status: str
    collector: Collector
    health_checks: HealthChecks
    status_code: str | None = None
    status_reason: str | None = None
    last_event: LastEvent | None = None


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a test: `ok`, `warning`, `failed` or `skipped`, and the exact remedy."""

    code: str
    status: str
    detail: str
    remedy: str | None = None


class TestReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection test found. ``success``: the server was reached and every right is there."""

    __test__ = False  # not a test class, whatever its name says to pytest

    success: bool
    latency_ms: float | None = None
    version: str | None = None
    permissions: dict[str, bool] = {}
    warnings: tuple[str, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    audit_source: str | None = None
    error_code: str | None = None
    error: str | None = None

    def __post_init__(self) -> None:
        freeze(self, "permissions")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """Before and after; a secret is shown as `********`, and its change by a field of its own."""

    before: dict[str, Any]
    after: dict[str, Any]
    password_changed: bool = False
    ssl_key_changed: bool = False

    def __post_init__(self) -> None:
        freeze(self, "before", "after")


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What would change."""

    changed: bool
    diff: Difference


class DatabaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """The result for one database of a list: ``action`` is `created`, `updated`, `removed` or `unchanged`;
    ``diff`` is None if nothing differs.
    """

    id: str | None
    name: str | None
    action: str
    diff: Difference | None = None


class DatabaseListResult(msgspec.Struct, frozen=True, kw_only=True):
    """The results for a list of databases, in its order, and which others were removed."""

    changed: bool
    results: tuple[DatabaseResult, ...]
    pruned: tuple[DatabaseResult, ...]


def report_of(value: Any) -> TestReport:
    """The test report in an error's answer; an empty report if it has none."""
    try:
        return typed.convert(value, TestReport)
    except msgspec.ValidationError:
        return TestReport(success=False)
