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

from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.operations import add_operations, class_of
from dbaudit.core.statements import Dialect
from dbaudit.engines.mysql.audit_json import NOT_TOLD, STATEMENTS
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
_CONNECTION_NAMES = frozenset({"Connect", "Quit", "Change user"})
_JSON_NAMES = {"os_user": "OS_LOGIN", "record": "RECORD"}


class OldJson(msgspec.Struct):
    audit_record: dict[str, Any]


_old_json = msgspec.json.Decoder(OldJson).decode


def xml_fields(record: bytes) -> dict[str, str]:
    """The fields of an ``<AUDIT_RECORD>`` in either style."""
    if record.startswith(b"<AUDIT_RECORD>"):
        attributes = _ATTRIBUTES.search(record)
        if attributes is not None:
            record = record[: attributes.start()] + record[attributes.end() :]
        fields = {name.decode(): _text(value) for name, value in _ELEMENT.findall(record)}
        program = _PROGRAM_NAME.search(attributes[1]) if attributes is not None else None
        if program is not None:
            fields["PROGRAM_NAME"] = _text(program[1])
        return fields
    return {name.decode(): _text(value) for name, value in _ATTRIBUTE.findall(record)}


def old_json_fields(record: bytes) -> dict[str, str]:
    """The fields of Percona's ``{"audit_record": {...}}``. Raises ValueError."""
    return {
        _JSON_NAMES.get(name, name.upper()): str(value)
        for name, value in _old_json(record).audit_record.items()
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


def event_of(fields: Mapping[str, str], key: str) -> AuditEvent | None:
    """The event of one record; None for one that tells nothing that is audited. Raises ValueError."""
    name = fields.get("NAME")
    if not name:
        raise ValueError("it has no name")
    stamp = fields.get("TIMESTAMP", "").removesuffix("Z").removesuffix(" UTC").replace("T", " ")
    event = AuditEvent(key, EventType.QUERY, micros_of(stamp.encode()))
    if name in ("Audit", "NoAudit"):
        event.operation = "AUDIT STARTUP" if name == "Audit" else "AUDIT SHUTDOWN"
        event.severity = Severity.INFO if name == "Audit" else Severity.WARNING
        return event
    _who(event, fields)
    status = fields.get("STATUS", "0") or "0"
    if not _STATUS.match(status):
        raise ValueError("its status is no number")
    failed = int(status) != 0
    event.outcome = Outcome.FAILURE if failed else Outcome.SUCCESS
    event.error_code = status if failed else None
    if name in ("Connect", "Change user"):
        event.type = EventType.LOGIN_FAILED if failed else EventType.LOGIN_SUCCESS
        event.severity = Severity.WARNING if failed else Severity.INFO
        if name == "Change user":
            event.detail = {**(event.detail or {}), "command": name}
        return event
    if name == "Quit":
        event.type = EventType.DISCONNECT
        return event
    if name in NOT_TOLD or name.endswith((" Start", " End")):
        return None
    text = fields.get("SQLTEXT")
    if name.startswith("Table"):
        event.objects = (f"{fields.get('DB', '')}.{fields.get('TABLE', '')}",)
        event.detail = {**(event.detail or {}), "class": "table_access"}
    if name == "Init DB":
        event.operation, event.database = "USE", text or event.database
        event.command_class = class_of(event.operation, Dialect.MYSQL)
        return event
    if name in STATEMENTS or text:
        event.query = text or ""
        add_operations(event, Dialect.MYSQL)
    if event.operation is None:
        event.operation = (fields.get("COMMAND_CLASS") or name).replace("_", " ").upper()
        event.command_class = class_of(event.operation, Dialect.MYSQL)
    return event


def _who(event: AuditEvent, fields: Mapping[str, str]) -> None:
    user = fields.get("USER", "")
    if user.endswith("]") and " @ " in user:
        user = parties(user.encode())[0]
    event.user = user or None
    event.session_id = fields.get("CONNECTION_ID") or None
    event.source_ip = fields.get("IP") or None
    event.source_host = fields.get("HOST") or None
    event.database = fields.get("DB") or None
    event.application = fields.get("PROGRAM_NAME")
    told = {
        "os_login": fields.get("OS_LOGIN"),
        "proxy": fields.get("PROXY_USER"),
        "transport": fields.get("CONNECTION_TYPE"),
    }
    event.detail = {name: value for name, value in told.items() if value} or None


def _text(value: bytes) -> str:
    text = value.decode(errors="backslashreplace")
    return _REFERENCE.sub(_meant, text) if "&" in text else text


def _meant(found: re.Match[str]) -> str:
    decimal, hexadecimal, name = found.groups()
    if name:
        return _NAMED[name]
    number = int(decimal) if decimal else int(hexadecimal, 16)
    return chr(number) if number < 0xD800 or 0xDFFF < number < 0x110000 else found[0]
