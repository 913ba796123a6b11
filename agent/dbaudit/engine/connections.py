"""Connections of which a source tells only by their log-in."""

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
    """``events``, with that of its connection before each log-in that worked.

    A log-in whose detail says ``pooled_connection`` used one that was there already.
    """
    told = []
    for event in events:
        if event.type is EventType.LOGIN_SUCCESS and not (event.detail or {}).get("pooled_connection"):
            told.append(connection_of(event))
        told.append(event)
    return told
