"""Events of an Extended Events session, each an XML text, into events.

The XML is the server's own and always of one form, so that it is taken apart by regular expressions: several
times faster than a parser, and a text that was cut off is still understood as far as it goes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape
from typing import Any

from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.core.operations import CommandClass, classify
from dbaudit.core.statements import Dialect
from dbaudit.engines.sqlserver.clients import client_of, put_address, user_of
from dbaudit.engines.sqlserver.records import Rows, file_key

_EVENT = re.compile(r'<event name="([^"]*)"[^>]*? timestamp="([^"]*)"')
_FIELD = re.compile(
    r'<(?:data|action) name="([^"]*)"[^>]*>\s*(?:<type [^>]*/>\s*)?'
    r"(?:<value>([^<]*)</value>|<value\s*/>)\s*(?:<text>([^<]*)</text>)?"
)
_STATEMENTS = {
    "sql_batch_completed": "batch_text",
    "rpc_completed": "statement",
    "sql_statement_completed": "statement",
}
_LOGIN_FAILED = frozenset(
    str(number)
    for number in (18450, 18451, 18452, 18456, *range(18458, 18469), 18470, 18471, 18486, 18487, 18488)
)
"""The errors of sys.messages that refuse a log-in: a wrong password, an account that is disabled, locked out
or has to change its password, no more licences.
"""
_MOST_INFORMING = 10
"""Up to this severity a message is no error."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_KEPT_BYTES = 65_536


def decode_events(block: Rows, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    """Append the events of rows of sys.fn_xe_file_target_read_file."""
    place: tuple[Any, Any] | None = None
    ordinal = block.skipped - 1
    for row in block.rows:
        if place is not None and (row[0], row[1]) != place:
            ordinal = -1
        place = (row[0], row[1])
        ordinal += 1
        key = f"{file_key(str(row[0]))}:{row[1]}:{ordinal}"
        data = row[3] if isinstance(row[3], str) else ""
        head = _EVENT.search(data)
        time_us = _time_us(head[2]) if head else None
        if head is None or time_us is None:
            raw = data.encode("utf-8", "surrogatepass")[:_KEPT_BYTES]
            rejected.append(Rejected(key, raw, "no event of Extended Events with a time"))
            continue
        fields = {name: _text(value, text) for name, value, text in _FIELD.findall(data)}
        event = _event(key, head[1], time_us, fields)
        if event.user == block.own_login and event.application == block.own_application:
            continue
        if not data.rstrip().endswith("</event>") and event.detail is not None:
            event.detail["truncated"] = True
        events.append(event)
        if event.error_code in _LOGIN_FAILED and event.query and client_of(fields.get("message", "")):
            events.append(_forgery(event, fields["message"]))


def _event(key: str, name: str, time_us: int, fields: dict[str, str]) -> AuditEvent:
    user = (
        fields.get("session_server_principal_name")
        or fields.get("server_principal_name")
        or fields.get("username")
    )
    detail: dict[str, Any] = {"event": name}
    event = AuditEvent(
        key=key,
        type=EventType.QUERY,
        time_us=time_us,
        user=user or None,
        database=fields.get("database_name") or None,
        application=fields.get("client_app_name") or None,
        session_id=fields.get("session_id") or None,
        source_host=fields.get("client_hostname") or None,
        detail=detail,
    )
    if name == "login":
        event.type = EventType.LOGIN_SUCCESS
        event.outcome = Outcome.SUCCESS
        if fields.get("is_cached") == "true":
            detail["pooled_connection"] = True
    elif name == "logout":
        event.type = EventType.DISCONNECT
        event.duration_ms = _milliseconds(fields.get("duration"))
    elif name == "error_reported":
        _be_error(event, detail, fields)
    else:
        event.query = fields.get(_STATEMENTS.get(name, "statement")) or fields.get("batch_text") or None
        event.duration_ms = _milliseconds(fields.get("duration"))
        event.rows_affected = _number(fields.get("row_count"))
        _put_operation(event, detail, name)
        result = fields.get("result")
        if result is not None:
            event.outcome = Outcome.SUCCESS if result == "OK" else Outcome.FAILURE
            detail["result"] = result
        if fields.get("object_name"):
            event.objects = (fields["object_name"],)
    return event


def _be_error(event: AuditEvent, detail: dict[str, Any], fields: dict[str, str]) -> None:
    message = fields.get("message") or ""
    event.error_code = fields.get("error_number") or fields.get("error") or None
    detail["message"] = message
    severity = _number(fields.get("severity"))
    if severity is None or severity > _MOST_INFORMING:
        event.outcome = Outcome.FAILURE
        event.severity = Severity.WARNING
    if state := _number(fields.get("state")):
        detail["state"] = state
    statement = fields.get("sql_text")
    if event.error_code in _LOGIN_FAILED and not statement:
        event.type = EventType.LOGIN_FAILED
        put_address(event, detail, client_of(message))
        if event.user is None:
            event.user = user_of(message)
    else:
        # There is no statement before a log-in: a statement raised this error, or it is a linked server's.
        event.query = statement or None
        _put_operation(event, detail, None)


def _put_operation(event: AuditEvent, detail: dict[str, Any], name: str | None) -> None:
    if event.query is None:
        event.operation, event.command_class = name, CommandClass.MISC if name else None
        return
    found = classify(event.query, Dialect.SQLSERVER)
    event.operation, event.command_class = found.operation or name, found.command_class
    found.add_all(detail)


def _forgery(event: AuditEvent, message: str) -> AuditEvent:
    """The event that a statement raised what only the server's log says of a refused log-in."""
    return AuditEvent(
        key=f"{event.key}:forged",
        type=EventType.THREAT_DETECTED,
        time_us=event.time_us,
        severity=Severity.CRITICAL,
        user=event.user,
        database=event.database,
        application=event.application,
        session_id=event.session_id,
        source_host=event.source_host,
        detail={
            "reason": "A statement raised the server's message about a refused log-in.",
            "message": message,
        },
    )


def _text(value: str, text: str) -> str:
    """What an enumeration means rather than its number."""
    chosen = text or value
    return unescape(chosen) if "&" in chosen else chosen


def _time_us(stamp: str) -> int | None:
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    past = moment - _EPOCH
    return (past.days * 86_400 + past.seconds) * 1_000_000 + past.microseconds


def _milliseconds(microseconds: str | None) -> float | None:
    number = _number(microseconds)
    return None if number is None else number / 1000


def _number(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18:
        return None
    return int(text)
