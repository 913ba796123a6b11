"""Records of the server's log: csvlog and jsonlog, brought to one form.

The columns of csvlog and the keys of jsonlog are those of the server's sources (csvlog.c, jsonlog.c). csvlog
has 23 columns up to 12, 24 in 13 (backend_type) and 26 since 14 (leader_pid, query_id).
"""

from __future__ import annotations

import csv
import io
import re
from enum import StrEnum
from typing import Literal

import msgspec

from dbaudit.core.event import Rejected

csv.field_size_limit(2**31 - 1)  # a statement may be longer than the library's 128 KiB


Audited = Literal["none", "some", "all"]


class LogContext(msgspec.Struct, frozen=True):
    """What has to be known of the server to understand its records.

    ``time_zone`` is `log_timezone`. ``own_user`` and ``own_application`` are how the agent logs in.
    ``audited`` is which statements pgaudit tells of, ``statements_logged`` whether the server's own log tells
    of statements too. ``authorization_logged``: a log-in has its own line after that of the authentication.
    """

    time_zone: str
    own_user: str
    own_application: str
    audited: Audited = "none"
    statements_logged: bool = False
    authorization_logged: bool = True


class LogFileFormat(StrEnum):
    """Which of the two formats a block is in."""

    CSVLOG = "csvlog"
    JSONLOG = "jsonlog"


class LogBlock(msgspec.Struct, frozen=True):
    """Whole records of one log file, as they stand in it from ``offset`` on."""

    format: LogFileFormat
    path: str
    offset: int
    data: bytes
    context: LogContext


class LogRecord(msgspec.Struct, gc=False):
    """One record, in the words of jsonlog."""

    timestamp: str
    message: str
    session_id: str
    line_num: int
    user: str | None = None
    dbname: str | None = None
    remote_host: str | None = None
    remote_port: int | None = None
    ps: str | None = None
    state_code: str | None = None
    detail: str | None = None
    statement: str | None = None
    application_name: str | None = None


_COLUMNS = frozenset({23, 24, 26})
_decode_lines = msgspec.json.Decoder(LogRecord).decode_lines
_decode_line = msgspec.json.Decoder(LogRecord).decode
_RECORD_START = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [^,\n\"]{1,40},", re.MULTILINE)


def parse(block: LogBlock) -> tuple[list[LogRecord], list[Rejected]]:
    """The records of a block, and those that are none."""
    try:
        if block.format is LogFileFormat.JSONLOG:
            return _decode_lines(block.data), []
        return _parse_csv(block.data), []
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError, csv.Error):
        return _parse_one_by_one(block)


def _parse_csv(data: bytes) -> list[LogRecord]:
    rows = csv.reader(io.StringIO(data.decode("utf-8", "replace"), newline=""), strict=True)
    return [_record(row) for row in rows]


def _record(row: list[str]) -> LogRecord:
    if len(row) not in _COLUMNS:
        raise ValueError(f"{len(row)} columns")
    host, port = row[4].rpartition(":")[::2]
    return LogRecord(
        row[0],
        row[13],
        row[5],
        int(row[6]),
        row[1] or None,
        row[2] or None,
        host or row[4] or None,
        int(port) if host else None,
        row[7],
        row[12],
        row[14] or None,
        row[19] or None,
        row[22] or None,
    )


def _parse_one_by_one(block: LogBlock) -> tuple[list[LogRecord], list[Rejected]]:
    records: list[LogRecord] = []
    rejected: list[Rejected] = []
    position = block.offset
    end = block.offset + len(block.data)
    while position < end:
        start = position - block.offset
        raw = block.data[start : _end_of_record(block.format, block.data, start)]
        try:
            if block.format is LogFileFormat.JSONLOG:
                records.append(_decode_line(raw.decode("utf-8", "replace")))
            else:
                records.extend(_parse_csv(raw))
        except (msgspec.MsgspecError, ValueError, csv.Error) as error:
            # A torn record may have swallowed whole ones: they are found again by how a record starts.
            raw = raw[: start_of_next_record(block.format, raw)]
            rejected.append(Rejected(f"{block.path}:{position}", raw, _reason(error)))
        position += len(raw)
    return records, rejected


def _reason(error: Exception) -> str:
    # Only the kind of the fault: the text of an error may quote the record.
    if isinstance(error, msgspec.ValidationError):
        return "a field of the record is missing or has another type"
    if isinstance(error, msgspec.DecodeError):
        return "not a JSON object"
    return "not a row of csvlog with 23, 24 or 26 columns"


def _end_of_record(log_format: LogFileFormat, data: bytes, start: int) -> int:
    """By the parity of quotes; a record whose quotes do not close ends where the next one seems to start."""
    end = start
    quotes = 0
    while True:
        line_end = data.find(b"\n", end) + 1
        if line_end == 0:
            break
        if log_format is LogFileFormat.JSONLOG:
            return line_end
        quotes += data.count(b'"', end, line_end)
        if quotes % 2 == 0:
            return line_end
        end = line_end
    next_start = _RECORD_START.search(data, data.find(b"\n", start) + 1 or len(data))
    return next_start.start() if next_start else len(data)


def end_of_whole_records(log_format: LogFileFormat, data: bytes) -> int:
    """Where the last whole record of ``data`` ends; ``data`` starts with a record. 0 when there is none.

    In csvlog a line break ends a record exactly where the number of quotes before it is even.
    """
    end = data.rfind(b"\n") + 1
    if log_format is LogFileFormat.JSONLOG:
        return end
    odd = data.count(b'"', 0, end) % 2
    while end and odd:
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd ^= data.count(b'"', before, end) % 2
        end = before
    return end


def starts_a_record(log_format: LogFileFormat, data: bytes) -> bool:
    """Whether ``data`` starts like a record does."""
    if log_format is LogFileFormat.JSONLOG:
        return data.startswith(b'{"timestamp":')
    return _RECORD_START.match(data) is not None


def start_of_next_record(log_format: LogFileFormat, data: bytes) -> int:
    """Where the first record starts in ``data``, which may start inside one; ``len(data)`` when none does."""
    if log_format is LogFileFormat.JSONLOG:
        return data.find(b"\n") + 1 or len(data)
    found = _RECORD_START.search(data, data.find(b"\n") + 1 or len(data))
    return found.start() if found else len(data)
