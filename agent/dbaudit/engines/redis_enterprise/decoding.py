"""From notifications to events: pure functions, which know only the format.

Unknown fields are kept, never refused: they go to ``detail`` under their own names, and so does the name of
an event that only later versions of the cluster have.
"""

# Exact types: a bool is no number in a notification.
# pylint: disable=unidiomatic-typecheck

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected
from dbaudit.engine.base import Decoded
from dbaudit.engines.redis_enterprise.framing import Piece
from dbaudit.engines.redis_enterprise.notifications import (
    AUTHENTICATION_STATUSES,
    COMMAND_FAILED,
    COMMAND_OK,
    PENDING,
    SUCCEEDED,
    parse,
    time_us,
)
from dbaudit.engines.redis_enterprise.records import Block, Known

_REJECTED_BYTES = 65_536
_DEEPEST_FIELD = 16
_NAME_CHARACTERS = 64
_PORTS = range(65_536)
_PORT_DIGITS = 5
_ROW_COUNTS = range(1 << 63)
_WHOLE_NUMBERS = range(-(1 << 63), 1 << 64)
# Redis repeats the arguments of a command that it does not know; a password may be among them.
_ARGUMENTS = re.compile(r"(with args beginning with: ).*", re.DOTALL)
_ERROR_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,39}(?= |$)")


def decode(records: Sequence[Any]) -> Decoded:
    """The events of some ``Block``s, in their order. Adjacent pieces that are not notifications become one
    rejected record.
    """
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    append = events.append
    for block in records:
        known = block.known
        unread: list[tuple[Piece, str]] = []
        for place, piece in enumerate(block.pieces):
            try:
                append(_event(block, piece, known.get(place)))
            except RecordError as error:
                unread.append((piece, error.message))
            except ValueError:  # Python writes no number of more than 4300 digits
                unread.append((piece, "holds a number that is too long"))
            else:
                if unread:
                    rejected.append(_rejected(block, unread))
                    unread = []
        if unread:
            rejected.append(_rejected(block, unread))
    return Decoded(events, rejected)


def _rejected(block: Block, unread: list[tuple[Piece, str]]) -> Rejected:
    first, reason = unread[0]
    raw = b"\n".join(piece.data for piece, _reason in unread)
    number = f"{len(unread)} pieces in a row are no notifications; the first " if len(unread) > 1 else ""
    cut = f"; {len(raw)} bytes, of which the first {_REJECTED_BYTES} are kept"
    return Rejected(
        block.position(first),
        raw[:_REJECTED_BYTES],
        f"{number}{reason}{cut if len(raw) > _REJECTED_BYTES else ''}; from {block.sender}",
    )


def _event(block: Block, piece: Piece, known: Known | None) -> AuditEvent:
    if not piece.whole:
        raise RecordError(f"is longer than what is kept of a record: {piece.length} bytes")
    fields, mended = parse(piece.data)
    _tame(fields)
    name = _take_name(fields)
    at_us = time_us(fields.get("ts"))
    if at_us is None:
        at_us = block.received_us
    else:
        del fields["ts"]
    event = AuditEvent(_key(block, piece, fields, name), EventType.CONNECTION, at_us)
    event.detail = fields
    _take_common_fields(event, fields)
    _INTERPRETERS.get(name, _unknown)(event, fields, known, name)
    if mended:
        fields["mended_utf8"] = True
    fields["sender"] = block.sender
    return event


def _take_name(fields: dict[str, Any]) -> str:
    """The name of the event; the fields of a nested one are brought up to the others."""
    action = fields.get("action")
    if isinstance(action, str):
        del fields["action"]
        return action
    for name, inner in fields.items():
        if isinstance(inner, dict):
            del fields[name]
            for field, value in inner.items():
                fields.setdefault(field, value)
            return name
    raise RecordError("is a JSON object, but no notification")


def _key(block: Block, piece: Piece, fields: dict[str, Any], name: str) -> str:
    worker, number, client = fields.get("audit_worker_id"), fields.get("audit_seq"), fields.get("id")
    if type(worker) is int and type(number) is int and type(client) is int:
        # The same record again is the same event, over whichever connection it comes.
        return f"{block.sender}:{worker}:{number}:{client}:{name[:_NAME_CHARACTERS]}"
    return block.position(piece)


def _take_common_fields(event: AuditEvent, fields: dict[str, Any]) -> None:
    """Move what every engine has from ``fields`` to its place in the event; empty texts say nothing."""
    event.session_id = _text(fields.pop("id", None))
    event.source_ip = _text(fields.pop("srcip", None))
    event.source_host = _text(fields.pop("hname", None))
    event.database = _text(fields.pop("bdb_name", None))
    event.user = _text(fields.pop("username", None))
    port = fields.get("srcp")
    if isinstance(port, str) and port.isascii() and port.isdigit() and len(port) <= _PORT_DIGITS:
        port = int(port)
    if type(port) is int and port in _PORTS:
        event.source_port = port
        del fields["srcp"]


def _text(value: Any) -> str | None:
    return None if value is None or value == "" else str(value)


def _new_connection(event: AuditEvent, fields: dict[str, Any], known: Known | None, name: str) -> None:
    event.outcome = Outcome.SUCCESS


def _closed_connection(event: AuditEvent, fields: dict[str, Any], known: Known | None, name: str) -> None:
    event.type = EventType.DISCONNECT
    if known is not None:
        event.user = event.user or known.user
        if known.opened_us is not None and known.opened_us <= event.time_us:
            event.duration_ms = (event.time_us - known.opened_us) / 1000


def _authentication(event: AuditEvent, fields: dict[str, Any], known: Known | None, name: str) -> None:
    event.operation = "AUTH"
    status = fields.get("status")
    if type(status) is not int:
        return  # nothing is known of how it ended: a step of the connection, without an outcome
    name = AUTHENTICATION_STATUSES.get(status, f"STATUS_{status}")
    fields["auth_status"] = name
    if status in SUCCEEDED:
        event.type, event.outcome = EventType.LOGIN_SUCCESS, Outcome.SUCCESS
    elif status not in PENDING:
        event.type, event.outcome, event.error_code = EventType.LOGIN_FAILED, Outcome.FAILURE, name


def _command(event: AuditEvent, fields: dict[str, Any], known: Known | None, name: str) -> None:
    event.type = EventType.QUERY
    event.operation = (_text(fields.pop("command", None)) or name).upper()
    status = fields.get("status")
    if status in (COMMAND_OK, COMMAND_FAILED) and type(status) is int:
        event.outcome = Outcome.SUCCESS if status == COMMAND_OK else Outcome.FAILURE
    keys = fields.pop("keys", None)
    if isinstance(keys, list):
        event.objects = tuple(str(key) for key in keys) or None
    elif keys is not None:
        fields["keys"] = keys
    affected = fields.get("affected_count")
    if type(affected) is int and affected in _ROW_COUNTS:
        event.rows_affected = fields.pop("affected_count")
    error = fields.get("error")
    if isinstance(error, str):
        fields["error"] = _ARGUMENTS.sub(r"\1?", error)
        code = _ERROR_CODE.match(error)
        event.error_code = code.group() if code else None
    if event.user is None and known is not None:
        event.user = known.user


def _unknown(event: AuditEvent, fields: dict[str, Any], known: Known | None, name: str) -> None:
    """An event that this version of dbaudit does not know: by its name, or as an operation."""
    fields["event"] = name
    if name.startswith("close_") and name.endswith("conn"):
        event.type = EventType.DISCONNECT
    elif not (name.startswith("new_") and name.endswith("conn")):
        event.type, event.operation = EventType.QUERY, name.upper()
        if event.user is None and known is not None:
            event.user = known.user


_INTERPRETERS = {
    "new_conn": _new_connection,
    "close_conn": _closed_connection,
    "auth": _authentication,
    "command": _command,
}


def _tame(fields: dict[str, Any]) -> None:
    """Change the values so that the state can store them: whole numbers of 64 bits, limited nesting."""
    level: list[Any] = []
    for name, value in fields.items():
        if type(value) is int:
            if value not in _WHOLE_NUMBERS:
                fields[name] = str(value)
        elif isinstance(value, dict | list):
            level.append(value)
    for _depth in range(_DEEPEST_FIELD):
        if not level:
            return
        values = [v for outer in level for v in (outer.values() if isinstance(outer, dict) else outer)]
        if any(type(value) is int and value not in _WHOLE_NUMBERS for value in values):
            raise RecordError("holds a number that is too long")
        level = [value for value in values if isinstance(value, dict | list)]
    raise RecordError("is nested too deeply")
