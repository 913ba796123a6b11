"""Documents of system.profile to events."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

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
    error_name,
    leave_out,
    operation_of,
    with_detail,
    without_session,
)
from dbaudit.engines.mongodb.counts import Counts, some_refused, wrote
from dbaudit.engines.mongodb.records import Context
from dbaudit.engines.mongodb.shell_text import as_json
from dbaudit.engines.mongodb.targets import accounts_of, other_users, targets_of

_OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    unicode_decode_error_handler="replace",
    uuid_representation=UuidRepresentation.STANDARD,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
_JSON = json_util.JSONOptions(
    json_mode=json_util.JSONMode.RELAXED, uuid_representation=UuidRepresentation.STANDARD
)
_UNAUTHORIZED = 13
_TRUNCATED = "$truncated"
"""The only field of a command of more than 50 kB: its text in the notation of the shell, texts in it cut."""
_NAME = re.compile(r'\{ ?"?([A-Za-z_$][\w$]*)"?:')


class _Command(NamedTuple):
    """A command: its name, None for a part of an update or a delete; and its text as JSON."""

    name: str | None
    text: str | None
    cut: bool = False


def profiled_event(
    context: Context, database: str, number: int, document: bytes, left_out: dict[str, int]
) -> AuditEvent | None:
    """The event of a document. Returns None if another source records it, if it is the agent's own work, or
    if it is only counted in ``left_out``. Raises RecordError.
    """
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
    # A refused command is recorded in the server's log or in the audit log.
    if time_us < context.since_us or code == _UNAUTHORIZED:
        return None
    command = _command(found.get("command"))
    namespace = _text(found, "ns") or None
    operation = command.name or _text(found, "op") or None
    if operation is not None and operation in OF_THE_CONNECTION:
        leave_out(left_out, operation)
        return None
    counts = Counts.of(found)
    failed = code is not None or "errName" in found or "errMsg" in found
    event = AuditEvent(
        key=f"profile:{context.member}:{database}:{number}",
        type=EventType.QUERY,
        time_us=time_us,
        outcome=Outcome.SUCCESS,
        user=user or None,
        application=application,
        source_ip=ip if is_address(ip) else None,
        operation=operation,
        command_class=class_of(operation, command.text, cut=command.cut, wrote=wrote(found.get("locks"))),
        query=command.text,
        duration_ms=_duration(found.get("millis")),
        rows_affected=counts.rows(),
        detail={"member": context.member} if context.member else None,
    )
    named, event.objects = targets_of(operation, namespace, command.text)
    event.database = named or database
    event.detail = with_detail(event.detail, accounts_of(operation, event.database, command.text))
    event.detail = with_detail(event.detail, other_users(_all_users(found.get("allUsers"))))
    if command.cut:
        event.detail = with_detail(event.detail, {"truncated": True})
    if failed:
        event.error_code = _text(found, "errName") or (error_name(code) if isinstance(code, int) else "Error")
    elif operation == "insert":
        failed = some_refused(event, counts.inserted, found.get("responseLength"), context)
    if failed:
        event.outcome, event.severity = Outcome.FAILURE, Severity.WARNING
    return event


def _command(command: object) -> _Command:
    if not isinstance(command, dict):
        return _Command(None, _json(command))
    cut = command.get(_TRUNCATED)
    if isinstance(cut, str) and len(command) == 1:
        beginning = _NAME.match(cut)
        name = beginning[1] if beginning else None
        return _Command(None if name == "q" else name, without_session(as_json(cut)), cut=True)
    return _Command(operation_of(command), _json(command))


def _all_users(users: object) -> list[tuple[str | None, str | None]]:
    found = [user for user in users if isinstance(user, dict)] if isinstance(users, list) else []
    return [(_text(user, "user"), _text(user, "db")) for user in found]


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
