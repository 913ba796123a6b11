"""Databases as the API shows them, and what would change of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dbaudit.core.clock import format_us
from dbaudit.core.database import SECRET_FIELDS, SHOWN_FIELDS, Database
from dbaudit.core.report import Health
from dbaudit.core.secret import HIDDEN
from dbaudit.state.collectors import Collector, CollectorState
from dbaudit.state.events import EventCounts
from dbaudit.state.nodes import Node


def database_object(database: Database) -> dict[str, Any]:
    """The object that every operation on databases answers with."""
    last_event_us = database.last_event_at_us
    return {
        "id": database.id,
        "name": database.name,
        "type": database.type,
        "host": database.host,
        "port": database.port,
        "database": database.database,
        "username": database.username,
        "ssl_mode": database.ssl_mode,
        "ssl_ca": database.ssl_ca,
        "ssl_cert": database.ssl_cert,
        "tags": database.tags,
        "audit_options": database.audit_options,
        "status": database.status,
        "status_code": database.status_code,
        "status_reason": database.status_reason,
        "audit_status": database.audit_status,
        "db_conns_auditing": database.db_conns_auditing,
        "created_at": format_us(database.created_at_us, whole_seconds=True),
        "updated_at": format_us(database.updated_at_us, whole_seconds=True),
        "last_event_at": None if last_event_us is None else format_us(last_event_us),
    }


def details_object(database: Database, collector: Collector, counts: EventCounts) -> dict[str, Any]:
    """The object with its statistics and health."""
    shown = database_object(database)
    beat_us = collector.heartbeat_at_us
    shown["stats"] = {
        "events_today": counts.today,
        "events_this_week": counts.week,
        "alerts_pending": 0,
        "policies_active": 0,
    }
    shown["health"] = {
        "latency_ms": None if collector.health is None else collector.health.latency_ms,
        "last_heartbeat": None if beat_us is None else format_us(beat_us, whole_seconds=True),
    }
    return shown


def status_object(database: Database, collector: Collector, node: Node | None) -> dict[str, Any]:
    """The state of connection and collecting. ``node`` is the live agent that collects; None if there is
    none.
    """
    health = collector.health if node is not None and collector.health is not None else Health()
    state = CollectorState.WAITING if node is None else collector.state
    working = node is not None and state not in (CollectorState.WAITING, CollectorState.STOPPED)
    started = collector.started_at_us if working else None
    beat = collector.heartbeat_at_us or 0
    return {
        "id": database.id,
        "connection_status": database.status,
        "audit_status": database.audit_status,
        "status_code": database.status_code,
        "status_reason": database.status_reason,
        "collector": {
            "version": collector.version,
            "uptime_seconds": 0 if started is None else max(0, (beat - started) // 1_000_000),
            "events_per_second": collector.events_per_second if working else 0.0,
            "state": state,
            "node": None if node is None else node.name,
            "last_error": (
                None
                if collector.error is None
                else {"code": collector.error_code, "message": collector.error}
            ),
            "gaps": collector.gaps_total,
            "rejected": collector.rejected_total,
            "left_out": collector.left_out,
        },
        "health_checks": {
            "connectivity": health.connectivity,
            "permissions": health.permissions,
            "latency": health.latency,
            "disk_space": health.disk_space,
            "audit_source": health.audit_source,
        },
        "last_event": (
            None
            if collector.last_event_time_us is None
            else {
                "timestamp": format_us(collector.last_event_time_us),
                "type": collector.last_event_type,
                "user": collector.last_event_user,
            }
        ),
    }


def plan_object(
    before: Database | None, after: Mapping[str, Any] | None, changed_secrets: Mapping[str, tuple[bool, bool]]
) -> dict[str, Any]:
    """What a dry run answers with: the difference between ``before`` and the fields ``after``.

    ``changed_secrets`` has each secret that changes, with whether there is one before and after.
    """
    old = {} if before is None else {field: getattr(before, field) for field in SHOWN_FIELDS}
    new = dict(after or {})
    if before is not None and after is not None:
        differing = [field for field in SHOWN_FIELDS if old[field] != new[field]]
        old, new = {f: old[f] for f in differing}, {f: new[f] for f in differing}
    diff: dict[str, Any] = {"before": old, "after": new}
    for field in SECRET_FIELDS:
        if field in changed_secrets:
            was, will_be = changed_secrets[field]
            if before is not None:
                old[field] = HIDDEN if was else None
            if after is not None:
                new[field] = HIDDEN if will_be else None
            diff[f"{field}_changed"] = True
    return {"changed": bool(old or new), "diff": diff}
