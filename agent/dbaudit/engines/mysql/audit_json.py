"""Decoding the JSON audit log of MySQL Enterprise and of Percona's audit_log_filter.

The items are those of the manual of MySQL, "Audit Log File Formats". The pair of ``timestamp`` and ``id``
is an event's permanent key, whether it comes from the file or from audit_log_read().
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from dbaudit.core import typed
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.operations import CommandClass
from dbaudit.engines.mysql.local_time import stamped
from dbaudit.engines.mysql.sql_commands import add_operation
from dbaudit.engines.mysql.statement_records import Kind, Part, Records
from dbaudit.engines.mysql_protocol.general_rows import Parties, parties
from dbaudit.engines.mysql_protocol.log_ins import source_of
from dbaudit.engines.mysql_protocol.times import micros_of

NO_EVENT = frozenset(
    {
        *("Connect", "Quit", "Prepare", "Close stmt", "Reset stmt", "Long Data", "Fetch", "Set option"),
        *("Field List", "Ping", "Statistics", "Sleep", "Time", "Delayed insert", "Daemon", "Error"),
        *("Connect Out", "Reset Connection", "Processlist", "Change user"),
    }
)
"""Commands whose record becomes no event: they run no statement, or have a record of another kind."""

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


class QueryData(msgspec.Struct, gc=False):
    query: str | None = None
    sql_command: str | None = None
    status: int = 0


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
    time: int | None = None
    connection_data: ConnectionData | None = None
    connection_attributes: dict[str, Any] | None = None
    general_data: GeneralData | None = None
    table_access_data: TableAccessData | None = None
    query_data: QueryData | None = None
    query_statistics: QueryStatistics | None = None


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Replace each byte that is not UTF-8 by text such as ``\\xff``, as in the other formats."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"\\\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


_ESCAPED_BYTES = "dbaudit.mysql.escaped"
codecs.register_error(_ESCAPED_BYTES, _escaped)

_Struct = TypeVar("_Struct")
_decode = typed.decoder(Record, strict=False)
_LONGEST_NUMBER = 1 << 63
_MICROSECONDS_FROM = 10**14
"""Unix stamps are seconds (Enterprise) or microseconds (Percona): microseconds from this number on."""

_PARTS = {"log": Kind.LOG, "error": Kind.ERROR, "result": Kind.RESULT}
_AUDIT_EVENTS = {"audit": "STARTUP", "noaudit": "SHUTDOWN", "startup": "STARTUP", "shutdown": "SHUTDOWN"}


def add(text: bytes, records: Records) -> None:
    """Add what one element says, or count it if it says nothing that is audited.

    Raises ValueError (msgspec's errors are such) for a malformed element.
    """
    try:
        record = _decode(text)
    except ValueError:
        record = of_bytes(_decode, text)
    key = f"{record.timestamp}#{record.id}"
    event = AuditEvent(key, EventType.QUERY, micros_of(record.timestamp.encode()))
    if record.connection_id is not None:
        event.session_id = str(record.connection_id)
    _who(event, record)
    if record.time is not None or records.zone is not None:
        _when(event, record, records)
    if record.general_data is not None:
        _general(event, record, record.general_data, text, records)
    elif record.connection_data is not None:
        _connection(event, record, record.connection_data, records)
    elif record.table_access_data is not None:
        records.add(_table_access(event, record.table_access_data))
    elif record.query_data is not None:
        records.several = True
        if record.event in ("query_start", "query_status_end"):
            _text_of(event, record.query_data)
            records.add(event, Part(Kind.TEXT, key, text, f"query/{record.event}"))
        else:
            records.leave_out(f"query/{record.event}", event)
    elif record.kind == "audit":
        what = _AUDIT_EVENTS.get(record.event, record.event.upper())
        event.operation, event.command_class = f"AUDIT {what}".rstrip(), CommandClass.MISC
        event.severity = Severity.WARNING if what == "SHUTDOWN" else Severity.INFO
        event.session_id = None
        records.add(event)
    else:
        records.leave_out(record.kind, event)


def of_bytes(decode: Callable[[bytes], _Struct], text: bytes) -> _Struct:
    """Decode an element by ``decode``; bytes that are not UTF-8 become text such as ``\\xff``.

    Raises ValueError for a malformed element.
    """
    try:
        return decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        if _is_text(text):
            raise
        # Old plugins write names and texts as they come from the client, in whatever letters.
        return decode(text.decode(errors=_ESCAPED_BYTES).encode())


def _is_text(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _when(event: AuditEvent, record: Record, records: Records) -> None:
    if record.time is not None and 0 < record.time < _LONGEST_NUMBER:
        event.time_us = record.time if record.time >= _MICROSECONDS_FROM else record.time * 1_000_000
    elif records.zone is not None:
        stamped(event, event.time_us, records.zone)


def _who(event: AuditEvent, record: Record) -> None:
    login, account = record.login, record.account
    user = (login.user if login else None) or (account.user if account else None)
    if user and user.endswith("]"):
        long_form = _long_form(user, record)
        if long_form is not None:
            user, _account, event.source_host, event.source_ip = long_form
    event.user = user or None
    if login is not None:
        event.source_ip = login.ip or event.source_ip
        if login.proxy or login.os:
            event.detail = {k: v for k, v in (("proxy", login.proxy), ("os_login", login.os)) if v}
    if account is not None and account.host and not event.source_ip:
        event.source_ip, event.source_host = source_of(account.host)


def _long_form(user: str, record: Record) -> Parties | None:
    """The parts of a user such as ``root[root] @ localhost []``, as Percona's older filters write it.

    None where it is a name that a client chose to look like that: then the account is another one, or the
    client came from elsewhere.
    """
    try:
        found = parties(user.encode())
    except ValueError:
        return None
    account, login = record.account or Account(), record.login or Login()
    if account.user not in (found[1], user if record.general_data is not None else found[1]):
        return None
    if (login.ip or "") != (found[3] or "") or (account.host or "") != (found[2] or ""):
        return None
    return found


def _general(event: AuditEvent, record: Record, data: GeneralData, text: bytes, records: Records) -> None:
    kind = _PARTS.get(record.event)
    if data.command in NO_EVENT:
        if kind is None:
            records.end(event.session_id)
        records.leave_out(f"general/{data.command}", event)
        return
    _statement(event, data, record.query_statistics, named=kind is not Kind.ERROR)
    if kind is None:
        records.lasts = True
        records.events.append(event)
    else:
        records.add(event, Part(kind, event.key, text))


def _statement(
    event: AuditEvent, data: GeneralData, statistics: QueryStatistics | None, *, named: bool
) -> None:
    """``named`` says whether the command is one: that of an error may be its message."""
    command = data.command
    if data.status:
        event.outcome, event.error_code = Outcome.FAILURE, str(data.status)
    else:
        event.outcome = Outcome.SUCCESS
    if command in STATEMENTS or data.query:
        event.query = data.query or ""
    if command == "Init DB":
        event.database, event.query = data.query or None, None
        add_operation(event, "change_db")
    else:
        add_operation(event, data.sql_command, command if named else None)
    if statistics is not None:
        spent = statistics.query_time
        if spent is not None and 0 <= spent < _LONGEST_NUMBER:
            # Whole microseconds, or seconds with a fraction, as the filter's definition asks for.
            event.duration_ms = spent / 1000 if isinstance(spent, int) else round(spent * 1000, 3)
        if statistics.rows_sent is not None and 0 <= statistics.rows_sent < _LONGEST_NUMBER:
            event.rows_affected = statistics.rows_sent


def _text_of(event: AuditEvent, data: QueryData) -> None:
    event.query = data.query or None
    add_operation(event, data.sql_command)


def _connection(event: AuditEvent, record: Record, data: ConnectionData, records: Records) -> None:
    detail = event.detail or {}
    what = record.event
    if data.connection_type:
        detail["transport"] = data.connection_type
    event.database = data.db or None
    attributes = data.connection_attributes or record.connection_attributes or {}
    program = attributes.get("program_name")
    event.application = program if isinstance(program, str) else None
    if what == "change_user":
        detail["command"] = "Change user"
    event.detail = detail or None
    if what == "disconnect":
        event.type, event.outcome = EventType.DISCONNECT, Outcome.SUCCESS
    elif what not in ("connect", "change_user"):
        records.leave_out(f"connection/{what}", event)
        return
    elif data.status:
        event.type, event.outcome = EventType.LOGIN_FAILED, Outcome.FAILURE
        event.severity, event.error_code = Severity.WARNING, str(data.status)
    else:
        event.type, event.outcome = EventType.LOGIN_SUCCESS, Outcome.SUCCESS
    records.add(event)


def _table_access(event: AuditEvent, data: TableAccessData) -> AuditEvent:
    event.query = data.query
    add_operation(event, data.sql_command)
    event.objects = (f"{data.db}.{data.table}",)
    event.detail = {**(event.detail or {}), "class": "table_access"}
    return event
