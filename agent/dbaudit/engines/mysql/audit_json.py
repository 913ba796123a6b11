"""Decoding the JSON audit log of MySQL Enterprise and of Percona's audit_log_filter.

The items are those of the manual of MySQL, "Audit Log File Formats". The pair of ``timestamp`` and ``id``
names an event for ever, whether it comes from the file or from audit_log_read().
"""

from __future__ import annotations

from typing import Any

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.operations import add_operations, class_of
from dbaudit.core.statements import Dialect
from dbaudit.engines.mysql_protocol.general_rows import parties
from dbaudit.engines.mysql_protocol.times import micros_of

NOT_TOLD = frozenset(
    {
        *("Connect", "Quit", "Prepare", "Close stmt", "Reset stmt", "Long Data", "Fetch", "Set option"),
        *("Field List", "Ping", "Statistics", "Sleep", "Time", "Delayed insert", "Daemon", "Error"),
        *("Connect Out", "Reset Connection", "Processlist", "Change user"),
    }
)
"""Commands that run no statement, or have a record of another kind."""

STATEMENTS = frozenset({"Query", "Execute"})


class Account(msgspec.Struct, gc=False):
    user: str | None = None
    host: str | None = None


class Login(msgspec.Struct, gc=False):
    user: str | None = None
    os: str | None = None
    ip: str | None = None
    proxy: str | None = None


class ConnectionData(msgspec.Struct, gc=False):
    connection_type: str | None = None
    status: int = 0
    db: str | None = None
    connection_attributes: dict[str, Any] | None = None


class GeneralData(msgspec.Struct, gc=False):
    command: str | None = None
    sql_command: str | None = None
    query: str | None = None
    status: int = 0


class TableAccessData(msgspec.Struct, gc=False):
    db: str | None = None
    table: str | None = None
    query: str | None = None
    sql_command: str | None = None


class QueryStatistics(msgspec.Struct, gc=False):
    query_time: int | float | None = None
    rows_sent: int | None = None


class Record(msgspec.Struct, gc=False):
    """One element of the log's array, in the words of its format."""

    timestamp: str
    id: int
    kind: str = msgspec.field(name="class")
    event: str = ""
    connection_id: int | None = None
    account: Account | None = None
    login: Login | None = None
    connection_data: ConnectionData | None = None
    general_data: GeneralData | None = None
    table_access_data: TableAccessData | None = None
    query_statistics: QueryStatistics | None = None


_decode = msgspec.json.Decoder(Record, strict=False).decode
_LONGEST_NUMBER = 1 << 63


def event_of(text: bytes) -> AuditEvent | None:
    """The event of one element; None for one that tells nothing that is audited.

    Raises ValueError (msgspec's errors are such) for what is no element.
    """
    record = _decode(text)
    time_us = micros_of(record.timestamp.encode())
    event = AuditEvent(f"{record.timestamp}#{record.id}", EventType.QUERY, time_us)
    if record.connection_id is not None:
        event.session_id = str(record.connection_id)
    _who(event, record)
    if record.general_data is not None:
        return _statement(event, record.general_data, record.query_statistics)
    if record.connection_data is not None:
        return _connection(event, record.event, record.connection_data)
    if record.table_access_data is not None:
        return _table_access(event, record.table_access_data)
    if record.kind == "audit":
        event.operation = f"AUDIT {record.event.upper()}"
        event.severity = Severity.WARNING if record.event == "shutdown" else Severity.INFO
        return event
    return None


def _who(event: AuditEvent, record: Record) -> None:
    login, account = record.login, record.account
    user = (login.user if login else None) or (account.user if account else None)
    if user and user.endswith("]") and " @ " in user:
        # As the general log writes it: root[root] @ localhost []
        user, _account, event.source_host, event.source_ip = parties(user.encode())
    event.user = user or None
    if login is not None:
        event.source_ip = login.ip or event.source_ip
        if login.proxy or login.os:
            event.detail = {k: v for k, v in (("proxy", login.proxy), ("os_login", login.os)) if v}
    if account is not None and account.host and "%" not in account.host and not event.source_ip:
        event.source_host = account.host


def _statement(event: AuditEvent, data: GeneralData, statistics: QueryStatistics | None) -> AuditEvent | None:
    command = data.command
    if command in NOT_TOLD:
        return None
    if data.status:
        event.outcome, event.error_code = Outcome.FAILURE, str(data.status)
    else:
        event.outcome = Outcome.SUCCESS
    if command in STATEMENTS or data.query:
        event.query = data.query or ""
        add_operations(event, Dialect.MYSQL)
    if event.operation is None:
        event.operation = (data.sql_command or command or "").replace("_", " ").upper() or None
        event.command_class = class_of(event.operation, Dialect.MYSQL)
    if command == "Init DB":
        event.operation, event.database, event.query = "USE", data.query or None, None
        event.command_class = class_of(event.operation, Dialect.MYSQL)
    if statistics is not None:
        spent = statistics.query_time
        if spent is not None and 0 <= spent < _LONGEST_NUMBER:
            # Whole microseconds, or seconds with a fraction, as the filter's definition asks for.
            event.duration_ms = spent / 1000 if isinstance(spent, int) else round(spent * 1000, 3)
        if statistics.rows_sent is not None and 0 <= statistics.rows_sent < _LONGEST_NUMBER:
            event.rows_affected = statistics.rows_sent
    return event


def _connection(event: AuditEvent, what: str, data: ConnectionData) -> AuditEvent | None:
    detail = event.detail or {}
    if data.connection_type:
        detail["transport"] = data.connection_type
    event.database = data.db or None
    attributes = data.connection_attributes or {}
    program = attributes.get("program_name")
    event.application = program if isinstance(program, str) else None
    if what == "disconnect":
        event.type, event.outcome = EventType.DISCONNECT, Outcome.SUCCESS
    elif what not in ("connect", "change_user"):
        return None
    elif data.status:
        event.type, event.outcome = EventType.LOGIN_FAILED, Outcome.FAILURE
        event.severity, event.error_code = Severity.WARNING, str(data.status)
    else:
        event.type, event.outcome = EventType.LOGIN_SUCCESS, Outcome.SUCCESS
        if what == "change_user":
            detail["command"] = "Change user"
    event.detail = detail or None
    return event


def _table_access(event: AuditEvent, data: TableAccessData) -> AuditEvent:
    event.query = data.query
    add_operations(event, Dialect.MYSQL)
    if event.operation is None:
        event.operation = (data.sql_command or "").replace("_", " ").upper()
        event.command_class = class_of(event.operation, Dialect.MYSQL)
    event.objects = (f"{data.db}.{data.table}",)
    event.detail = {**(event.detail or {}), "class": "table_access"}
    return event
