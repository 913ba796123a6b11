"""Documents of system.profile to events."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import bson
from bson import json_util
from bson.binary import UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from dbaudit.core.clock import to_us
from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.mongodb.addresses import is_address
from dbaudit.engines.mongodb.commands import (
    OF_THE_CONNECTION,
    OF_THE_SESSION,
    class_of,
    database_of,
    error_name,
    objects_of,
    operation_of,
)
from dbaudit.engines.mongodb.records import Context

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    unicode_decode_error_handler="replace",
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
_JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, uuid_representation=UuidRepresentation.STANDARD
)
_COUNTS = ("nreturned", "ninserted", "nModified", "ndeleted")
_UNAUTHORIZED = 13


def profiled_event(context: Context, database: str, number: int, document: bytes) -> AuditEvent | None:
    """The event of a document; None for what is told elsewhere, or is the agent's own. Raises RecordError."""
    try:
        found = bson.decode(document, codec_options=_OPTIONS)
    except (BSONError, ValueError, OverflowError, TypeError, RecursionError, KeyError, IndexError):
        raise RecordError("not a document of the profiler") from None
    stamp = found.get("ts")
    if not isinstance(stamp, datetime):
        raise RecordError("a document of the profiler without a time")
    time_us = to_us(stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC))
    user, _at, _user_database = _text(found, "user").rpartition("@")
    user = user or _text(found, "user")
    application, ip = _text(found, "appName") or None, _text(found, "client")
    if (user, application) == (context.own_user, context.own_application):
        return None
    code = found.get("errCode")
    # A refused command is told by the server's log, or by the audit log.
    if time_us < context.since_us or code == _UNAUTHORIZED:
        return None
    command = found.get("command")
    namespace = _text(found, "ns") or None
    operation = operation_of(command) if isinstance(command, dict) else None
    operation = operation or _text(found, "op") or None
    if operation in OF_THE_CONNECTION:
        return None
    failed = code is not None or "errName" in found or "errMsg" in found
    event = AuditEvent(
        key=f"profile:{context.member}:{database}:{number}",
        type=EventType.QUERY,
        time_us=time_us,
        outcome=Outcome.FAILURE if failed else Outcome.SUCCESS,
        severity=Severity.WARNING if failed else Severity.INFO,
        user=user or None,
        database=database_of(namespace) or database,
        application=application,
        source_ip=ip if is_address(ip) else None,
        operation=operation,
        command_class=class_of(operation),
        query=_json(command),
        duration_ms=_duration(found.get("millis")),
        rows_affected=_rows(found),
        objects=objects_of(namespace),
    )
    if context.member:
        event.detail = {"member": context.member}
    if failed:
        event.error_code = _text(found, "errName") or (error_name(code) if isinstance(code, int) else "Error")
    return event


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""


def _json(command: object) -> str | None:
    if command is None:
        return None
    try:
        if isinstance(command, dict):
            command = {name: value for name, value in command.items() if name not in OF_THE_SESSION}
        return json_util.dumps(command, json_options=_JSON, ensure_ascii=False)
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise RecordError("a command that cannot be written as JSON") from None


def _duration(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) and value >= 0 else None


def _rows(document: dict[str, Any]) -> int | None:
    for name in _COUNTS:
        value = document.get(name)
        if isinstance(value, int) and value >= 0:
            return int(value)
    return None
