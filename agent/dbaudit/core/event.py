"""Audit events: what every engine's native records become."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec


class EventType(StrEnum):
    """The kinds of event. The first twelve are those of the product's documentation; the others are ours."""

    QUERY = "database.query"
    CONNECTION = "database.connection"
    DISCONNECT = "database.disconnect"
    THREAT_DETECTED = "security.threat_detected"
    ANOMALY = "security.anomaly"
    PRIVILEGE_ESCALATION = "security.privilege_escalation"
    POLICY_VIOLATION = "policy.violation"
    POLICY_MATCH = "policy.match"
    SENSITIVE_ACCESS = "data.sensitive_access"
    EXPORT = "data.export"
    LOGIN_FAILED = "user.login_failed"
    LOGIN_SUCCESS = "user.login_success"
    GAP = "collector.gap"
    API = "dbaudit.api"
    """Somebody changed something in dbaudit, or read events."""


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class Outcome(StrEnum):
    """Whether what was tried worked. None on an event: the source does not say."""

    SUCCESS = "success"
    FAILURE = "failure"


class AuditEvent(msgspec.Struct, gc=False):
    """One event. An engine's decoder makes it; masking and hashing happen in the agent before it is stored.

    ``key`` permanently identifies the source record (a position or a natural key), so that a record which is
    read again is recognised: within one database the pair (``time_us``, ``key``) is unique. ``time_us`` is
    microseconds since the epoch, UTC. ``database`` is the database within the server; ``objects`` are names
    of tables and the like; ``operation`` and ``command_class`` (a word of
    dbaudit.core.operations.CommandClass) say what a statement does; what else it does is in
    ``detail["operations"]``. ``detail`` holds what only this engine knows, as JSON values. Text fields are as
    the source gives them: control characters and all.
    """

    key: str
    type: EventType
    time_us: int
    severity: Severity = Severity.INFO
    outcome: Outcome | None = None
    error_code: str | None = None
    user: str | None = None
    database: str | None = None
    application: str | None = None
    session_id: str | None = None
    source_ip: str | None = None
    source_port: int | None = None
    source_host: str | None = None
    operation: str | None = None
    command_class: str | None = None
    query: str | None = None
    query_hash: str | None = None
    duration_ms: float | None = None
    rows_affected: int | None = None
    objects: tuple[str, ...] | None = None
    parameters: tuple[str | None, ...] | None = None
    detail: dict[str, Any] | None = None


class Rejected(msgspec.Struct, frozen=True):
    """A native record that could not be decoded: its position in the source, its bytes, and the reason, in
    one line without its content.
    """

    position: str
    raw: bytes
    reason: str


def gap(key: str, time_us: int, reason: str, **detail: Any) -> AuditEvent:
    """The event that reports a loss: between the last read and the next one the source lost records.

    ``reason`` is one line for people; ``detail`` says what is known of the size (``lost_bytes``,
    ``lost_records``, ``source`` ...), with None for what is not known.
    """
    return AuditEvent(
        key=key,
        type=EventType.GAP,
        time_us=time_us,
        severity=Severity.WARNING,
        detail={"reason": reason, **detail},
    )
