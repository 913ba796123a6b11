"""The records of a file of a syslog daemon, in the form of the other formats' records.

Each is put together from its pieces and then read as one of the text log. What does not fit together is put
aside. A number that is left out, and a line that the daemon wrote once for several, is a gap.
"""

from __future__ import annotations

from dbaudit.engines.postgresql import text_log
from dbaudit.engines.postgresql.records import LogBlock, LogFileFormat, LogRecord
from dbaudit.engines.postgresql.syslog_pieces import Whole, assemble
from dbaudit.engines.postgresql.text_log import Parsed

UNFINISHED_SECONDS = 1.0
"""How long a further piece of the last record of a process is waited for: nothing says which is the last."""
_WITHOUT_TIME = "neither log_line_prefix nor the syslog daemon gives a time with its year"
_NOT_ONE_RECORD = "lines that do not begin with log_line_prefix"
_LOST = "The syslog daemon did not write every record of a process."


def wholes(block: LogBlock) -> list[Whole]:
    """The records of a block before they are read."""
    context = block.context
    return assemble(block.data, context.syslog, context.line_prefixes, context.numbers).records


def numbers_after(block: LogBlock) -> dict[str, int]:
    """The latest number of each process after a block."""
    context = block.context
    return assemble(block.data, context.syslog, context.line_prefixes, context.numbers).numbers


def parse(block: LogBlock) -> Parsed:
    """The records of a block."""
    parsed = Parsed([], [], [], [], {})
    for whole in wholes(block):
        record = _read(block, whole, parsed) if whole.pieces else None
        if whole.lost:
            stamp = record.timestamp if record else _stamp(whole.stamp or "")
            parsed.suspicious.append(text_log.lost_records(block, whole.start, stamp, whole.lost, _LOST))
    return parsed


def _read(block: LogBlock, whole: Whole, parsed: Parsed) -> LogRecord | None:
    """Read one record into ``parsed``; None where it is put aside."""
    text = LogBlock(
        LogFileFormat.STDERR, block.path, block.offset + whole.start, whole.text + b"\n", block.context
    )
    beside = {"p": whole.process} | ({} if whole.stamp is None else {"m": _stamp(whole.stamp)})
    found = text_log.parse(text, beside)
    parsed.suspicious += found.suspicious
    problem = whole.problem
    if problem is None and (len(found.records) != 1 or found.rejected):
        problem = found.rejected[0].reason if found.rejected else _NOT_ONE_RECORD
    if problem is None and not found.records[0].timestamp:
        problem = _WITHOUT_TIME
    if problem is not None:
        parsed.rejected.append(text_log.rejected(text, 0, len(text.data), problem))
        return None
    if whole.unclear is not None:
        parsed.unclear[len(parsed.records)] = whole.unclear
    parsed.records.append(found.records[0])
    parsed.starts.append(whole.start)
    return found.records[0]


def _stamp(stamp: str) -> str:
    """A stamp as `2026-11-28T12:00:00.123456+00:00` in the form that the server's have."""
    second, rest = stamp[:19].replace("T", " "), stamp[19:]
    fraction, zone = (rest[:-1], "UTC") if rest.endswith("Z") else (rest[:-6], rest[-6:])
    return f"{second}{(fraction or '.')[:4]:0<4} {zone}"
