"""Suspicious records: a client put text that looks like a record into a name."""

from __future__ import annotations

from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.operations import add_operations
from dbaudit.core.statements import Dialect
from dbaudit.engines.mariadb.columns import (
    CONNECTION_OPERATIONS,
    STATEMENT_OPERATIONS,
    Columns,
    looks_like_a_record,
)
from dbaudit.engines.mariadb.fields import Address, name, statement

_FORGED = "The user name holds line breaks: records just before this one may be forged."
_LIKE_A_RECORD = "The user name holds what looks like the columns of a record."
_AMBIGUOUS = "A name in this record holds what looks like its columns: whose record it is cannot be said."
_NOWHERE: Address = (None, None, None)


def suspicion(user: bytes) -> str | None:
    """What is suspicious about the name of a user; None if nothing is."""
    if b"\n" in user:
        return _FORGED
    return _LIKE_A_RECORD if looks_like_a_record(user) else None


def threat(
    time_us: int,
    key: str,
    reason: str,
    record: bytes,
    user: str | None = None,
    address: Address = _NOWHERE,
) -> AuditEvent:
    """The event that a client tampered with a record, in addition to the events of what really happened."""
    ip, port, host = address
    return AuditEvent(
        f"{key}:suspect",
        EventType.THREAT_DETECTED,
        time_us,
        severity=Severity.CRITICAL,
        user=user,
        source_ip=ip,
        source_port=port,
        source_host=host,
        detail={"suspect": reason, "record": name(record)},
    )


def ambiguous_events(
    found: Columns, record: bytes, time_us: int, key: str, cut_at: int
) -> tuple[AuditEvent, AuditEvent]:
    """Two events for a record that can be read in several ways: what all readings agree on, and a threat."""
    kind = EventType.QUERY
    if found.operation in CONNECTION_OPERATIONS:
        kind = EventType.DISCONNECT if found.operation == b"DISCONNECT" else EventType.CONNECTION
    outcome = None
    if found.code:
        outcome = Outcome.SUCCESS if found.code == b"0" else Outcome.FAILURE
    event = AuditEvent(
        key,
        kind,
        time_us,
        severity=Severity.CRITICAL,
        outcome=outcome,
        error_code=found.code.decode() if outcome is Outcome.FAILURE else None,
        detail={"suspect": _AMBIGUOUS},
    )
    if found.operation in STATEMENT_OPERATIONS:
        event.query = statement(found.thing, cut_at)
        add_operations(event, Dialect.MYSQL)
        # The names alone: the statement may hold what is masked.
        record = record[: -len(found.thing) - len(found.code) - len(b"'',")]
    return event, threat(time_us, key, _AMBIGUOUS, record)
