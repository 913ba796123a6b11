"""Where the records of a log start and end, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from dbaudit.core.event import Rejected
from dbaudit.engines.postgresql import audit_file, records, syslog, text_log
from dbaudit.engines.postgresql.records import LogBlock, LogFileFormat, LogRecord


def pieces(block: LogBlock) -> Iterator[LogBlock]:
    """The block in parts that can be decoded one after the other, each of which starts with a record."""
    if not block.format.of_the_server:
        return iter((block,))
    return records.pieces(block)


def parse(block: LogBlock) -> tuple[list[LogRecord], list[Rejected]]:
    """The records of a block, and those that are none."""
    if not block.format.of_the_server:
        parsed = parse_text(block)
        return parsed.records, parsed.rejected
    return records.parse(block)


def parse_text(block: LogBlock) -> text_log.Parsed:
    """The records of a block of any format but csvlog and jsonlog."""
    return _PARSERS[block.format](block)


_PARSERS = {
    LogFileFormat.STDERR: text_log.parse,
    LogFileFormat.SYSLOG: syslog.parse,
    LogFileFormat.PGAUDIT_FILE: audit_file.parse,
}


def placed(block: LogBlock) -> list[tuple[int, LogRecord]]:
    """The records of a block that can be parsed, each with where it starts in the block's data."""
    if not block.format.of_the_server:
        parsed = parse_text(block)
        return list(zip(parsed.starts, parsed.records, strict=True))
    starts = records.record_starts(block.format, block.data)
    rows, _broken = records.parse(block)
    if len(rows) == len(starts):
        return list(zip(starts, rows, strict=True))
    found = []
    for start, end in zip(starts, [*starts[1:], len(block.data)], strict=True):
        rows, _broken = records.parse(msgspec.structs.replace(block, data=block.data[start:end]))
        found += [(start, row) for row in rows[:1]]
    return found


def first_record(log_format: LogFileFormat, data: bytes, line_prefixes: tuple[str, ...]) -> int | None:
    """Where the first record starts in ``data``, which may start inside one; None when none does."""
    if log_format in (LogFileFormat.SYSLOG, LogFileFormat.PGAUDIT_FILE):
        return data.find(b"\n") + 1 or None
    if log_format is LogFileFormat.STDERR:
        return text_log.first_record(data, line_prefixes)
    return records.first_record(log_format, data)


def end_of_whole_records(log_format: LogFileFormat, data: bytes) -> int:
    """Where the last whole record of ``data`` ends, which starts with one; 0 when there is none. In the text
    log it is the last whole line: more lines of its record may follow.
    """
    if not log_format.of_the_server:
        return data.rfind(b"\n") + 1
    return records.end_of_whole_records(log_format, data)


class Unfinished(msgspec.Struct, frozen=True):
    """A record that more may follow in the log, by where it starts, and for how long that is waited for."""

    start: int
    seconds: float


def numbers_after(block: LogBlock) -> dict[str, int]:
    """The latest number of a record of each process or session after a block; empty for other formats."""
    if block.format is LogFileFormat.SYSLOG:
        return syslog.numbers_after(block)
    return audit_file.numbers_after(block) if block.format is LogFileFormat.PGAUDIT_FILE else {}


def unfinished(block: LogBlock, starts: Sequence[int], seconds: float) -> list[Unfinished]:
    """The records at the end of a block that more may follow, of those that start at ``starts``."""
    if block.format is LogFileFormat.SYSLOG:
        return [
            Unfinished(whole.start, syslog.UNFINISHED_SECONDS) for whole in syslog.wholes(block) if whole.open
        ]
    if block.format is not LogFileFormat.STDERR or not starts:
        return []
    last = max(starts)
    certain = len(block.data) - text_log.uncertain_bytes(block.context.line_prefixes)
    return [Unfinished(start, seconds) for start in starts if start == last or start >= certain]


def spans(block: LogBlock) -> list[tuple[int, int]]:
    """Where each record with others in it starts, and where its last piece does."""
    if block.format is not LogFileFormat.SYSLOG:
        return []
    return [(whole.start, whole.end - 1) for whole in syslog.wholes(block) if whole.part > 1]
