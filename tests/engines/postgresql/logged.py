"""Records as a server writes them (csvlog.c and jsonlog.c of 17), for what no server does on demand."""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogFileFormat

CSVLOG, JSONLOG = LogFileFormat.CSVLOG, LogFileFormat.JSONLOG
CONTEXT = LogContext(time_zones=("UTC",), own_user="agent", own_application="dbaudit-agent")

# The columns of csvlog in the words of jsonlog; the host and the port are one column there.
_COLUMNS = (
    *("timestamp", "user", "dbname", "pid", "remote_host", "session_id", "line_num", "ps", "session_start"),
    *("vxid", "txid", "error_severity", "state_code", "message", "detail", "hint", "internal_query"),
    *("internal_position", "context", "statement", "cursor_position", "location", "application_name"),
    *("backend_type", "leader_pid", "query_id"),
)
_BARE = {"timestamp", "pid", "session_id", "line_num", "session_start", "vxid", "txid"} | {
    *("error_severity", "state_code", "internal_position", "cursor_position", "leader_pid", "query_id")
}


def record(message: str, *, at_ms: int = 0, line: int = 1, **changes: Any) -> dict[str, Any]:
    """A record of an ordinary session; None takes a field away."""
    fields: dict[str, Any] = {
        "timestamp": f"2026-11-21 19:{at_ms // 60000:02}:{at_ms // 1000 % 60:02}.{at_ms % 1000:03} UTC",
        "user": "app",
        "dbname": "shop",
        "pid": 4121,
        "remote_host": "10.0.0.7",
        "remote_port": 51514,
        "session_id": "67a09724.1019",
        "line_num": line,
        "ps": "SELECT",
        "session_start": "2026-11-21 19:00:00 UTC",
        "vxid": "4/11",
        "txid": 0,
        "error_severity": "LOG",
        "state_code": "00000",
        "message": message,
        "application_name": "web",
        "backend_type": "client backend",
        "query_id": 0,
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def csv(fields: dict[str, Any]) -> bytes:
    columns = []
    for name in _COLUMNS:
        value = fields.get(name)
        if name == "remote_host" and value is not None and "remote_port" in fields:
            value = f"{value}:{fields['remote_port']}"
        if value is None:
            columns.append("")
        elif name in _BARE:
            columns.append(str(value))
        else:
            columns.append('"{}"'.format(str(value).replace('"', '""')))
    return ",".join(columns).encode() + b"\n"


def jsonl(fields: dict[str, Any]) -> bytes:
    fields = {name: value for name, value in fields.items() if (name, value) != ("state_code", "00000")}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def written(log_format: LogFileFormat, records: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(map(csv if log_format is CSVLOG else jsonl, records))


def block(log_format: LogFileFormat, data: bytes, context: LogContext = CONTEXT, offset: int = 0) -> LogBlock:
    return LogBlock(log_format, "log", offset, data, context)


def decoded(
    log_format: LogFileFormat, data: bytes, context: LogContext = CONTEXT
) -> tuple[list[AuditEvent], list[Rejected]]:
    result = decode([block(log_format, data, context)])
    return result.events, result.rejected


def events_of(log_format: LogFileFormat, *records: dict[str, Any], **context: Any) -> list[AuditEvent]:
    """The events of records none of which is put aside; ``context`` is what else is known of the server."""
    events, rejected = decoded(
        log_format, written(log_format, records), msgspec.structs.replace(CONTEXT, **context)
    )
    assert rejected == []
    return events


def audit(
    statement: str,
    number: int = 1,
    part: int = 1,
    *,
    kind: str = "READ,SELECT",
    rows: int | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A record of pgaudit."""
    text = '"{}"'.format(statement.replace('"', '""')) if {",", '"', "\n"} & set(statement) else statement
    counted = "" if rows is None else f",{rows}"
    changes.setdefault("ps", kind.rpartition(",")[2])
    return record(f"AUDIT: SESSION,{number},{part},{kind},,,{text},<not logged>{counted}", **changes)


def failing(statement: str | None, code: str = "23505", **changes: Any) -> dict[str, Any]:
    """The row of an error of a statement."""
    changes = {"error_severity": "ERROR", "state_code": code, "statement": statement, **changes}
    return record(changes.pop("message", "it failed"), **changes)
