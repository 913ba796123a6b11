"""What the audits and the event session record, as far as collecting needs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dbaudit.core.report import Diagnosis
from dbaudit.engine.findings import ok, skipped, warning
from dbaudit.engines.sqlserver.connection import ServerConnection
from dbaudit.engines.sqlserver.failures import ServerError
from dbaudit.engines.sqlserver.names import quoted
from dbaudit.engines.sqlserver.trails import Trail

_SESSION_GROUPS = ("SUCCESSFUL_LOGIN_GROUP", "FAILED_LOGIN_GROUP", "LOGOUT_GROUP")
_STATEMENT_GROUPS = ("BATCH_COMPLETED_GROUP", "BATCH_STARTED_GROUP", "SCHEMA_OBJECT_ACCESS_GROUP")
_WANTED_EVENTS = ("login", "logout", "error_reported", "sql_batch_completed", "rpc_completed")

_SERVER_ACTIONS = """
    SELECT a.name, d.audit_action_name
    FROM sys.server_audits AS a
    JOIN sys.server_audit_specifications AS s ON s.audit_guid = a.audit_guid AND s.is_state_enabled = 1
    JOIN sys.server_audit_specification_details AS d
      ON d.server_specification_id = s.server_specification_id
"""
_KNOWN_GROUPS = "SELECT DISTINCT name FROM sys.dm_audit_actions WHERE name = N'BATCH_COMPLETED_GROUP'"
_SESSION_EVENTS = """
    SELECT e.event_name
    FROM sys.dm_xe_sessions AS s
    JOIN sys.dm_xe_session_events AS e ON e.event_session_address = s.address
    WHERE s.name = ?
"""


def recorded_by_audits(connection: ServerConnection, trails: Sequence[Trail]) -> Iterator[Diagnosis]:
    """Whether sessions and statements are recorded by at least one of the audits."""
    try:
        actions = connection.rows(_SERVER_ACTIONS)
        batches = connection.rows(_KNOWN_GROUPS)
    except ServerError as error:
        yield skipped("session_groups", f"what the server's audits record cannot be read ({error.message})")
        return
    names = {trail.name for trail in trails}
    groups = {action for audit, action in actions if audit in names}
    first = trails[0].name
    missing = [group for group in _SESSION_GROUPS if group not in groups]
    if missing:
        yield warning(
            "session_groups",
            f"No enabled server audit specification records {', '.join(missing)}.",
            _add_groups(first, missing),
        )
    else:
        yield ok("session_groups", "Log-ins, failed log-ins and log-outs are recorded.")
    if groups.isdisjoint(_STATEMENT_GROUPS):
        group = "BATCH_COMPLETED_GROUP" if batches else "SCHEMA_OBJECT_ACCESS_GROUP"
        yield warning(
            "statement_groups",
            "No enabled server audit specification records statements; those of single databases are not "
            "looked at.",
            _add_groups(first, [group]),
        )
    else:
        yield ok("statement_groups", "Statements are recorded.")


def recorded_by_session(connection: ServerConnection, trail: Trail) -> Iterator[Diagnosis]:
    """Whether the session has the events that are understood here."""
    there = {event for (event,) in connection.rows(_SESSION_EVENTS, [trail.name])}
    missing = [event for event in _WANTED_EVENTS if event not in there]
    if not missing:
        yield ok("session_events", f"The session {trail.name!r} records log-ins, errors and statements.")
        return
    added = ", ".join(f"ADD EVENT sqlserver.{event}" for event in missing)
    yield warning(
        "session_events",
        f"The session {trail.name!r} does not record {', '.join(missing)}.",
        f"ALTER EVENT SESSION {quoted(trail.name)} ON SERVER {added}; "
        "-- with the actions of the documentation",
    )


def _add_groups(audit: str, groups: Sequence[str]) -> str:
    specification = quoted(f"{audit}_more")
    added = ", ".join(f"ADD ({group})" for group in groups)
    return (
        f"USE master; CREATE SERVER AUDIT SPECIFICATION {specification} FOR SERVER AUDIT {quoted(audit)} "
        f"{added} WITH (STATE = ON); -- an audit has one specification of the server: where there is one, "
        "ALTER it"
    )
