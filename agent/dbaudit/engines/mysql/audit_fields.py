"""Decoding the older formats of audit plugins: XML (new and old style), Percona's JSON and Percona's CSV.

They have the same fields under the same names. XML is cut by its own few rules and not parsed: the files are
never closed while they are written, and no parser of documents is needed, with its entities.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.operations import CommandClass
from dbaudit.engines.mysql.audit_json import NO_EVENT, STATEMENTS, of_bytes
from dbaudit.engines.mysql.local_time import stamped
from dbaudit.engines.mysql.sql_commands import add_operation
from dbaudit.engines.mysql.statement_records import Kind, Part, Records
from dbaudit.engines.mysql_protocol.general_rows import parties
from dbaudit.engines.mysql_protocol.times import micros_of

csv.field_size_limit(2**31 - 1)  # a statement may be longer than the library's 128 KiB

_ATTRIBUTES = re.compile(rb"<CONNECTION_ATTRIBUTES>(.*?)</CONNECTION_ATTRIBUTES>", re.DOTALL)
_PROGRAM_NAME = re.compile(rb"<NAME>program_name</NAME>\s*<VALUE>([^<]*)</VALUE>")
_ELEMENT = re.compile(rb"<([A-Z_]+)>([^<]*)</\1>")
_ATTRIBUTE = re.compile(rb'([A-Z_]+)="([^"]*)"')
_REFERENCE = re.compile(r"&(?:#(\d{1,7})|#x([0-9A-Fa-f]{1,6})|(lt|gt|amp|quot|apos));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_STATUS = re.compile(r"\d{1,10}\Z")

_CSV_COLUMNS = {
    "start": ("NAME", "RECORD", "TIMESTAMP", "MYSQL_VERSION", "STARTUP_OPTIONS", "OS_VERSION"),
    "connection": (
        *("NAME", "RECORD", "TIMESTAMP", "CONNECTION_ID", "STATUS", "USER", "PRIV_USER", "OS_LOGIN"),
        *("PROXY_USER", "HOST", "IP", "DB"),
    ),
    "statement": (
        *("NAME", "RECORD", "TIMESTAMP", "COMMAND_CLASS", "CONNECTION_ID", "STATUS", "SQLTEXT", "USER"),
        *("HOST", "OS_LOGIN", "IP", "DB"),
    ),
}
_CONNECTION_NAMES = frozenset({"Connect", "Quit", "Disconnect", "Change user"})
_AUDIT_NAMES = {"Audit": "STARTUP", "NoAudit": "SHUTDOWN", "Startup": "STARTUP", "Shutdown": "SHUTDOWN"}
_GENERAL_NAMES = {"Log": Kind.LOG, "Error": Kind.ERROR, "Result": Kind.RESULT}
_TABLE_NAMES = {
    "TableRead": "SELECT",
    "TableInsert": "INSERT",
    "TableUpdate": "UPDATE",
    "TableDelete": "DELETE",
}
_COMMANDS = frozenset(
    {
        *STATEMENTS,
        *(NO_EVENT - _CONNECTION_NAMES),
        *("Init DB", "Create DB", "Drop DB", "Refresh", "Debug", "Shutdown", "Kill", "Clone"),
        *("Binlog Dump", "Binlog Dump GTID", "Table Dump", "Register Slave", "Register Replica"),
    }
)
_LEFT_OUT_FIELDS = frozenset(
    {
        *("MESSAGE", "STORED_PROGRAM", "VARIABLE_NAME", "REWRITTEN_QUERY", "REWRITTEN_SQLTEXT"),
        *("AUTH_PLUGIN", "NEW_USER"),
    }
)
_LEFT_OUT_NAMES = frozenset(
    {"Pre Authenticate", "Server Startup", "Server Shutdown", "Preparse", "Postparse"}
)
_JSON_NAMES = {"os_user": "OS_LOGIN", "record": "RECORD"}


class OldJson(msgspec.Struct):
    audit_record: dict[str, Any]


_old_json = typed.decoder(OldJson)


def xml_fields(record: bytes) -> dict[str, str]:
    """The fields of an ``<AUDIT_RECORD>`` in either style."""
    if record.startswith(b"<AUDIT_RECORD>"):
        attributes = _ATTRIBUTES.search(record)
        if attributes is not None:
            record = record[: attributes.start()] + record[attributes.end() :]
        fields: dict[str, str] = {}
        for name, value in _ELEMENT.findall(record):
            fields.setdefault(name.decode(), _text(value))
        program = _PROGRAM_NAME.search(attributes[1]) if attributes is not None else None
        if program is not None:
            fields["PROGRAM_NAME"] = _text(program[1])
        return fields
    return {name.decode(): _text(value) for name, value in _ATTRIBUTE.findall(record)}


def old_json_fields(record: bytes) -> dict[str, str]:
    """The fields of Percona's ``{"audit_record": {...}}``. Raises ValueError."""
    return {
        _JSON_NAMES.get(name, name.upper()): str(value)
        for name, value in of_bytes(_old_json, record).audit_record.items()
        if value is not None
    }


def csv_fields(record: bytes) -> dict[str, str]:
    """The fields of a record of Percona's CSV. Raises ValueError."""
    try:
        rows = list(csv.reader([record.decode(errors="backslashreplace")], strict=True))
    except csv.Error as error:
        raise ValueError("it is no CSV") from error
    if len(rows) != 1:
        raise ValueError("it is not one record")
    (values,) = rows
    kind = "connection" if values[:1] and values[0] in _CONNECTION_NAMES else "statement"
    columns = _CSV_COLUMNS["start" if len(values) == 6 else kind]
    return dict(zip(columns, values, strict=True))


def add(fields: Mapping[str, str], key: str, raw: bytes, records: Records) -> None:
    """Add what one record says, or count it if it says nothing that is audited. Raises ValueError."""
    name, has_text = fields.get("NAME", ""), "SQLTEXT" in fields
    stamp = fields.get("TIMESTAMP", "")
    utc = stamp.removesuffix("Z").removesuffix(" UTC")
    local = utc == stamp
    if not name and not (local and has_text):
        raise ValueError("it has no name")
    event = AuditEvent(key, EventType.QUERY, micros_of(utc.replace("T", " ").encode()))
    if _is_left_out(name, fields):
        records.several = True
        _who(event, fields)
        records.leave_out(name, event)
        return
    if name in _AUDIT_NAMES and not has_text:
        event.operation, event.command_class = f"AUDIT {_AUDIT_NAMES[name]}", CommandClass.MISC
        event.severity = Severity.INFO if event.operation == "AUDIT STARTUP" else Severity.WARNING
        _when(event, records, local=local)
        records.add(event)
        return
    _who(event, fields)
    _when(event, records, local=local)
    status = fields.get("STATUS", "0") or "0"
    if not _STATUS.match(status):
        raise ValueError("its status is no number")
    failed = int(status) != 0
    event.outcome = Outcome.FAILURE if failed else Outcome.SUCCESS
    event.error_code = status if failed else None
    if name in _CONNECTION_NAMES and not has_text:
        _connection(event, name, failed=failed)
        records.add(event)
    elif name in ("Query Start", "Query Status End"):
        event.query = fields.get("SQLTEXT") or None
        add_operation(event, fields.get("COMMAND_CLASS"))
        records.add(event, Part(Kind.TEXT, key, raw, name))
    elif name in NO_EVENT and name not in _CONNECTION_NAMES:
        if local and failed and has_text:
            _statement(event, "", fields)
            records.add(event, Part(Kind.MESSAGE, key, raw, name))
        else:
            records.end(event.session_id)
            records.leave_out(name, event)
    else:
        kind = _kind(name, fields, has_text=has_text, failed=failed) if local else None
        _statement(event, name if kind in (None, Kind.ANY) else "", fields)
        if name == "Status":
            records.lasts = True
        records.add(event, None if kind is None else Part(kind, key, raw))


def _kind(name: str, fields: Mapping[str, str], *, has_text: bool, failed: bool) -> Kind | None:
    """Which of a statement's records this one of Percona's audit_log_filter is."""
    if fields.get("COMMAND_CLASS") == "General":
        return _GENERAL_NAMES.get(name)
    if name in _TABLE_NAMES:
        return None
    if has_text and not name:
        return Kind.RESULT
    if has_text and failed and name not in _COMMANDS:
        return Kind.ERROR  # some releases put its message into the name
    return Kind.ANY


def _is_left_out(name: str, fields: Mapping[str, str]) -> bool:
    if name in ("Query Start", "Query Status End"):
        return False
    return (
        not _LEFT_OUT_FIELDS.isdisjoint(fields)
        or name in _LEFT_OUT_NAMES
        or name.startswith("Auth ")
        or name.endswith((" Start", " End"))
        or fields.get("COMMAND_CLASS", "").startswith("Server ")
    )


def _when(event: AuditEvent, records: Records, *, local: bool) -> None:
    if local and records.zone is not None:
        stamped(event, event.time_us, records.zone)


def _connection(event: AuditEvent, name: str, *, failed: bool) -> None:
    if name in ("Quit", "Disconnect"):
        event.type = EventType.DISCONNECT
        return
    event.type = EventType.LOGIN_FAILED if failed else EventType.LOGIN_SUCCESS
    event.severity = Severity.WARNING if failed else Severity.INFO
    if name == "Change user":
        event.detail = {**(event.detail or {}), "command": name}


def _statement(event: AuditEvent, name: str, fields: Mapping[str, str]) -> None:
    text = fields.get("SQLTEXT")
    command_class = fields.get("COMMAND_CLASS")
    if name in _TABLE_NAMES:
        event.objects = (f"{fields.get('DB', '')}.{fields.get('TABLE', '')}",)
        event.detail = {**(event.detail or {}), "class": "table_access"}
        event.query = text or None
        add_operation(event, None, _TABLE_NAMES[name])
    elif name == "Init DB":
        event.database = text or event.database
        add_operation(event, "change_db")
    else:
        if name in STATEMENTS or text:
            event.query = text or ""
        named = None if command_class in ("General", "Table Access") else command_class
        add_operation(event, named, name)


def _who(event: AuditEvent, fields: Mapping[str, str]) -> None:
    event.user = _user(fields) or None
    event.session_id = fields.get("CONNECTION_ID") or None
    event.source_ip = fields.get("IP") or None
    event.source_host = fields.get("HOST") or None
    event.database = fields.get("DB") or None
    event.application = fields.get("PROGRAM_NAME")
    fields_of_detail = {
        "os_login": fields.get("OS_LOGIN") or fields.get("OS_USER"),
        "proxy": fields.get("PROXY_USER"),
        "transport": fields.get("CONNECTION_TYPE"),
    }
    event.detail = {name: value for name, value in fields_of_detail.items() if value} or None


def _user(fields: Mapping[str, str]) -> str:
    """Who it was. Records of statements may have the user as ``root[root] @ localhost []``; a client can have
    a name that looks like that, but the host and the address are the server's.
    """
    user = fields.get("USER", "")
    if not user.endswith("]") or "PRIV_USER" in fields:
        return user
    try:
        name, _account, host, address = parties(user.encode())
    except ValueError:
        return user
    alike = fields.get("HOST", "") == (host or "") and fields.get("IP", "") == (address or "")
    return name if alike else user


def _text(value: bytes) -> str:
    text = value.decode(errors="backslashreplace")
    return _REFERENCE.sub(_meant, text) if "&" in text else text


def _meant(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name:
        return _NAMED[name]
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if number < 0xD800 or 0xDFFF < number < 0x110000 else found[0]
