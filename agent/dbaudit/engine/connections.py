"""Connection events for sources that record a connection only by its log-in."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity


def connection_of(log_in: AuditEvent) -> AuditEvent:
    """The event of the connection that a log-in came over; the log-in gets a key of its own."""
    connection = msgspec.structs.replace(
        log_in,
        type=EventType.CONNECTION,
        severity=Severity.INFO,
        outcome=Outcome.SUCCESS,
        error_code=None,
    )
    log_in.key += ":login"
    return connection


def with_connections(events: Iterable[AuditEvent]) -> list[AuditEvent]:
    """``events``, with a connection event inserted before each successful log-in.

    None is inserted before a log-in whose detail says ``pooled_connection``: it used an existing connection.
    """
    result = []
    for event in events:
        if event.type is EventType.LOGIN_SUCCESS and not (event.detail or {}).get("pooled_connection"):
            result.append(connection_of(event))
        result.append(event)
    return result
