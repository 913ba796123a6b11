"""Monitored databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from dbaudit.core.secret import Secret
from dbaudit.sdk.pages import Page, Pages
from dbaudit.sdk.transport import Transport

_PAGE_SIZE = 100
_TEST_TIMEOUT_SECONDS = 75.0


class AuditOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What is collected and kept; ``engine`` holds the options of this engine alone."""

    capture_queries: bool = True
    capture_results: bool = False
    mask_sensitive_data: bool = True
    retention_days: int = 90
    engine: dict[str, Any] = {}


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
    """A monitored database. ``stats`` and ``health`` are there after ``get`` only."""

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
    tags: list[str] = []
    audit_options: AuditOptions = AuditOptions()
    status_code: str | None = None
    status_reason: str | None = None
    last_event_at: datetime | None = None
    db_conns_auditing: bool = False
    stats: Stats | None = None
    health: Health | None = None


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """The collector of a database: its agent, what it does, how fast, and what was lost or not understood."""

    version: str | None = None
    uptime_seconds: int = 0
    events_per_second: float = 0.0
    state: str | None = None
    node: str | None = None
    last_error: dict[str, str | None] | None = None
    gaps: int = 0
    rejected: int = 0


class HealthChecks(msgspec.Struct, frozen=True, kw_only=True):
    """Each `healthy`, `warning`, `critical` or `unknown`."""

    connectivity: str = "unknown"
    permissions: str = "unknown"
    latency: str = "unknown"
    disk_space: str = "unknown"


class LastEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The latest event of a database."""

    timestamp: datetime
    type: str
    user: str | None = None


class DatabaseStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How connection and collecting stand."""

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
    warnings: list[str] = []
    diagnoses: list[Diagnosis] = []
    audit_source: str | None = None
    error_code: str | None = None
    error: str | None = None


class _Pagination(msgspec.Struct, frozen=True):
    total: int
    page: int
    per_page: int


class _Listing(msgspec.Struct, frozen=True):
    data: list[Database]
    pagination: _Pagination


class Databases:
    """``client.databases``. Every method raises ``dbaudit.sdk.ApiError``."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(
        self,
        *,
        status: str | None = None,
        type: str | None = None,  # noqa: A002  # the API's word
        tags: Sequence[str] | None = None,
        name: str | None = None,
        host: str | None = None,
    ) -> Pages[Database]:
        """The databases that match every filter given, in the order of their creation; ``tags`` means all of
        them.
        """
        filters = {
            "status": status,
            "type": type,
            "tags": ",".join(tags) if tags else None,
            "name": name,
            "host": host,
        }

        def fetch(query: dict[str, str | int]) -> Page[Database]:
            found = self._transport.request("GET", "/v1/databases", _Listing, query={**filters, **query})
            at = found.pagination
            more = at.page * at.per_page < at.total
            following: dict[str, str | int] = {"page": at.page + 1, "per_page": at.per_page}
            return Page(found.data, following if more else None, at.total)

        return Pages(fetch, {"page": 1, "per_page": _PAGE_SIZE})

    def create(
        self,
        *,
        name: str,
        type: str,  # noqa: A002  # the API's word
        host: str,
        port: int,
        database: str,
        username: str,
        password: str | Secret,
        verify: bool = False,
        **optional: Any,
    ) -> Database:
        """Add a database.

        ``verify`` has the connection tested first: nothing is stored when it fails, and
        ConnectionTestFailedError has the report. ``optional`` are the other fields of the API: ``ssl_mode``,
        ``ssl_ca``, ``ssl_cert``, ``ssl_key``, ``tags``, ``audit_options``, ``audit_status``,
        ``db_conns_auditing``.
        """
        body = {
            "name": name,
            "type": type,
            "host": host,
            "port": port,
            "database": database,
            "username": username,
            "password": password,
            **optional,
        }
        return self._transport.request(
            "POST",
            "/v1/databases",
            Database,
            query=_verification(verify),
            body=body,
            timeout_seconds=_TEST_TIMEOUT_SECONDS if verify else None,
        )

    def get(self, database_id: str) -> Database:
        """The database with its statistics and health."""
        return self._transport.request("GET", _path(database_id), Database)

    def update(self, database_id: str, *, verify: bool = False, **changes: Any) -> Database:
        """Change the fields given in ``changes``, named as in ``create``, and return the database as it is
        then. ``verify`` has a changed connection tested first.
        """
        return self._transport.request(
            "PATCH",
            _path(database_id),
            Database,
            query=_verification(verify),
            body=changes,
            timeout_seconds=_TEST_TIMEOUT_SECONDS if verify else None,
        )

    def delete(self, database_id: str) -> None:
        """Remove the database from monitoring. Its events stay until their retention ends."""
        self._transport.request("DELETE", _path(database_id), type(None))

    def get_status(self, database_id: str) -> DatabaseStatus:
        """How connection and collecting stand."""
        return self._transport.request("GET", f"{_path(database_id)}/status", DatabaseStatus)

    def test(self, database_id: str) -> TestReport:
        """Have an agent test the connection now.

        Raises ConnectionTestFailedError, with the report, when the database was not reached or the log-in
        refused.
        """
        return self._transport.request(
            "POST", f"{_path(database_id)}/test", TestReport, timeout_seconds=_TEST_TIMEOUT_SECONDS
        )


def report_of(value: Any) -> TestReport:
    """The report that goes along with an error; an empty one where there is none."""
    try:
        return msgspec.convert(value, TestReport)
    except msgspec.ValidationError:
        return TestReport(success=False)


def _path(database_id: str) -> str:
    return f"/v1/databases/{quote(database_id, safe='')}"


def _verification(verify: bool) -> Mapping[str, str | None]:
    return {"verify": "true" if verify else None}
