"""Records of the server's log: csvlog and jsonlog, brought to one form. The text log has text_log.py.

The columns of csvlog and the keys of jsonlog are those of the server's sources (csvlog.c, jsonlog.c). csvlog
has 23 columns up to 12, 24 in 13 (backend_type) and 26 since 14 (leader_pid, query_id).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from enum import StrEnum

import msgspec

from dbaudit.core import typed
from dbaudit.core.event import Rejected

csv.field_size_limit(2**31 - 1)  # a statement may be longer than the library's 128 KiB


class SyslogForm(msgspec.Struct, frozen=True):
    """How the server writes to syslog: under which names (syslog_ident, the present one and earlier ones),
    with a number for each record (syslog_sequence_numbers), and each line apart (syslog_split_messages).
    """

    idents: tuple[str, ...] = ("postgres",)
    numbered: bool = True
    split: bool = True


class LogContext(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be known of the server to understand its records.

    ``time_zones`` are the present `log_timezone` and earlier ones. ``own_user`` and ``own_application`` are
    how the agent logs in, ``own_session`` is the session that reads, and ``own_host`` where it comes from, as
    the log names it. ``audited`` are the classes of statements that pgaudit records for certain, but for
    ``exempt_roles``, ``exempt_databases`` and, with ``catalogs_exempt``, for those on the catalogs alone;
    ``recorded_at_end`` says that it does so when they have ended (pgaudit.log_rows). ``told_twice`` says that
    log_statement may record the same ones. ``log_ins_authorized`` says that each log-in that worked has a
    record of its authorization. ``numbers`` are the latest numbers of records before the block, of the
    server's processes in its syslog, of its sessions in the file of pgauditlogtofile.
    """

    time_zones: tuple[str, ...]
    own_user: str
    own_application: str
    own_session: str | None = None
    own_host: str | None = None
    audited: frozenset[str] = frozenset()
    exempt_roles: frozenset[str] = frozenset()
    exempt_databases: frozenset[str] = frozenset()
    catalogs_exempt: bool = False
    recorded_at_end: bool = False
    told_twice: bool = False
    log_ins_authorized: bool = False
    line_prefixes: tuple[str, ...] = ()
    syslog: SyslogForm = SyslogForm()
    numbers: Mapping[str, int] = msgspec.field(default_factory=dict)


class LogFileFormat(StrEnum):
    """Which of the formats a block is in; STDERR is read by text_log.py, SYSLOG by syslog.py, and
    PGAUDIT_FILE by audit_file.py.
    """

    CSVLOG = "csvlog"
    JSONLOG = "jsonlog"
    STDERR = "stderr"
    SYSLOG = "syslog"
    PGAUDIT_FILE = "pgaudit_file"

    @property
    def is_text(self) -> bool:
        """Whether its records are text that begins with log_line_prefix."""
        return self in (LogFileFormat.STDERR, LogFileFormat.SYSLOG)

    @property
    def of_the_server(self) -> bool:
        """Whether csvlog and jsonlog have the same records in a form that can be matched."""
        return self in (LogFileFormat.CSVLOG, LogFileFormat.JSONLOG)


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
    vxid: str | None = None
    backend_type: str | None = None
    context: str | None = None
    internal_query: str | None = None
    cursor_position: int | None = None
    leader_pid: int | None = None
    error_severity: str | None = None

    @property
    def by_the_server(self) -> bool:
        """Whether the server wrote it of its own accord: what runs in a statement can neither leave out its
        context nor, where the level of the message asks for it, the statement.
        """
        return self.context is None and self.statement is None and self.internal_query is None


LARGEST_RECORD_BYTES = 64 * 1024 * 1024
_PIECE_BYTES = 128 * 1024
"""So much is parsed at once: the rows of a large block all together would take six times its bytes."""
KEPT_BYTES = 64 * 1024
"""How much of a malformed record is put aside."""

COLUMNS = frozenset({23, 24, 26})
_decode_lines = typed.lines_decoder(LogRecord)
_decode_line = typed.decoder(LogRecord)

_ESCAPED_IN_JSON = "dbaudit.escaped_in_json"
"""Bytes that are not UTF-8 stay apart: a server writes the names of a LATIN1 or SQL_ASCII database as they
are. They show as in `\\xe9`, whose backslash is doubled in JSON.
"""


def _escaped_in_json(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"\\\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_ESCAPED_IN_JSON, _escaped_in_json)

_JSON_START = b'{"timestamp":"'
"""Quotes inside a text are escaped in JSON, so this stands nowhere but where a record starts."""

# Quotes inside a field come in pairs, so a single one after a comma stands nowhere but where a field starts:
# no statement can hold a text that matches, whatever lines it has.
_CSV_START = re.compile(
    rb"""
    \d{4}-\d\d-\d\d[ ]\d\d:\d\d:\d\d\.\d{3}[ ][^\s,"]{1,40},
    (?:"(?:[^"]|""){0,300}+")?,(?:"(?:[^"]|""){0,300}+")?,\d*,(?:"[^"]{0,300}")?,
    [0-9a-f]+\.[0-9a-f]+,\d+,(?:"(?:[^"]|""){0,300}+")?,[^",]{0,60},[^",]{0,40},\d*,
    [^\s",]{1,60},[0-9A-Z]{5},"(?:"")*[^",\r\n]
    """,
    re.VERBOSE,
)


_CSV_RECORD = re.compile(rb'[^"\n]*+(?:"[^"]*+"[^"\n]*+)*+\n')


def pieces(block: LogBlock, size: int = _PIECE_BYTES) -> Iterator[LogBlock]:
    """The block in parts of about ``size`` bytes, each of which starts with a record."""
    begin, length = 0, len(block.data)
    while begin < length:
        end = length
        if length - begin > size:
            end = begin + _last_start(block.format, block.data[begin : begin + size])
            if end == begin:
                end = _start_of_record(block.format, block.data, begin + size, length)
        yield LogBlock(block.format, block.path, block.offset + begin, block.data[begin:end], block.context)
        begin = end


def _last_start(log_format: LogFileFormat, data: bytes) -> int:
    if log_format is LogFileFormat.JSONLOG:
        return max(0, data.rfind(_JSON_START))
    return _last_csv_start(data, len(data))


def parse(block: LogBlock) -> tuple[list[LogRecord], list[Rejected]]:
    """The records of a block, and those that are none."""
    try:
        if block.format is LogFileFormat.JSONLOG:
            return _decode_lines(block.data), []
        return _parse_csv(block.data), []
    except BROKEN:
        return _parse_one_by_one(block)


BROKEN = (msgspec.MsgspecError, ValueError, csv.Error, RecursionError)


def _parse_csv(data: bytes) -> list[LogRecord]:
    rows = csv.reader(io.StringIO(data.decode("utf-8", "backslashreplace"), newline=""), strict=True)
    return [_record(row) for row in rows]


def csv_record(row: bytes) -> LogRecord:
    """The record of one row. Raises one of BROKEN if it is malformed."""
    return _record(csv_columns(row))


def csv_columns(row: bytes) -> list[str]:
    """The columns of one row, or of a part of it."""
    (columns,) = csv.reader([row.decode("utf-8", "backslashreplace")], strict=True)
    return columns


def _record(row: list[str]) -> LogRecord:
    columns = len(row)
    if columns not in COLUMNS:
        raise ValueError(f"{columns} columns")
    host, _ignored, port = row[4].rpartition(":")
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
        row[9],
        row[23] if columns > 23 else None,
        row[18] or None,
        row[16] or None,
        int(row[20]) if row[20] else None,
        int(row[24]) if columns > 24 and row[24] else None,
        row[11],
    )


def _parse_one_by_one(block: LogBlock) -> tuple[list[LogRecord], list[Rejected]]:
    records: list[LogRecord] = []
    rejected: list[Rejected] = []
    start = 0
    while start < len(block.data):
        end = _end_of_record(block.format, block.data, start)
        try:
            records.extend(_parse_single(block.format, block.data[start:end]))
        except BROKEN as error:
            # A crash of the server leaves a torn record, and the next one may follow it in the same line.
            end = _start_of_record(block.format, block.data, start + 1, end)
            rejected.append(_rejected(block, start, end, _reason(error)))
        start = end
    return records, rejected


def _parse_single(log_format: LogFileFormat, raw: bytes) -> list[LogRecord]:
    if log_format is LogFileFormat.CSVLOG:
        return _parse_csv(raw)
    return [_decode_line(raw.decode("utf-8", _ESCAPED_IN_JSON))]


def _rejected(block: LogBlock, start: int, end: int, reason: str) -> Rejected:
    raw = block.data[start:end]
    # A file's name and its offsets come again when the name is used again.
    position = f"{block.path}:{block.offset + start}:{zlib.crc32(raw):08x}"
    if len(raw) > KEPT_BYTES:
        reason = f"{reason}; it has {len(raw)} bytes, of which the first {KEPT_BYTES} are kept"
    return Rejected(position, raw[:KEPT_BYTES], reason)


def _reason(error: Exception) -> str:
    # Only the kind of the fault: the text of an error may quote the record.
    if isinstance(error, msgspec.ValidationError):
        return "a field of the record is missing or has another type"
    if isinstance(error, msgspec.MsgspecError):
        return "not a JSON object"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return "not a row of csvlog with 23, 24 or 26 columns"


def _end_of_record(log_format: LogFileFormat, data: bytes, start: int) -> int:
    """Where the record ends that starts at ``start``: in csvlog at a line break with even quotes before."""
    if log_format is LogFileFormat.JSONLOG:
        return data.find(b"\n", start) + 1 or len(data)
    record = _CSV_RECORD.match(data, start)
    return record.end() if record else len(data)


def _start_of_record(log_format: LogFileFormat, data: bytes, start: int, end: int) -> int:
    """Where the first record starts between ``start`` and ``end``, which may lie inside one; ``end`` if none
    does.
    """
    if log_format is LogFileFormat.JSONLOG:
        found = data.find(_JSON_START, start, end)
        return end if found < 0 else found
    match = _CSV_START.search(data, start, end)
    return match.start() if match else end


def record_starts(log_format: LogFileFormat, data: bytes) -> list[int]:
    """Where each record of ``data`` starts, which are whole records."""
    starts = []
    start = 0
    while start < len(data):
        starts.append(start)
        start = _end_of_record(log_format, data, start)
    return starts


def end_of_whole_records(log_format: LogFileFormat, data: bytes) -> int:
    """Where the last whole record of ``data`` ends; ``data`` starts with a record. 0 when there is none.

    In csvlog a line break ends a record exactly where the number of quotes since the record's start is even;
    they are counted from the last start, because a record before it may be torn.
    """
    end = data.rfind(b"\n") + 1
    if log_format is LogFileFormat.JSONLOG:
        return end
    last = _last_csv_start(data, end)
    return end if data.count(b'"', last, end) % 2 == 0 else last


def _last_csv_start(data: bytes, end: int) -> int:
    window = 2 * 1024
    while True:
        begin = max(0, end - window)
        starts = [match.start() for match in _CSV_START.finditer(data, begin, end)]
        if starts or begin == 0:
            return starts[-1] if starts else 0
        window *= 8


def first_record(log_format: LogFileFormat, data: bytes) -> int | None:
    """Where the first record starts in ``data``, which may start inside one; None when none does."""
    found = _start_of_record(log_format, data, 0, len(data))
    return found if found < len(data) else None
