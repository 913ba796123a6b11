"""The text log (log_destination stderr) in the form of the other formats' records.

A record is the lines of one message: the first bears the severity, further ones DETAIL, CONTEXT, STATEMENT
and so on, each behind the same prefix. A line break inside a text is followed by a tab, so no text can begin
a line. The names of a user and a database in the prefix can, though: the server writes them as they are.
Where a line is seen that only such a name can have broken, whatever is near it is put aside, because a client
may have written it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Rejected, Severity, gap
from dbaudit.engines.postgresql.labels import FAILURES, PARTS, POSITIONS, SEVERITIES, UNKNOWN, Level, Part
from dbaudit.engines.postgresql.line_prefix import MESSAGE, LinePrefix, line_prefix
from dbaudit.engines.postgresql.records import KEPT_BYTES, LogBlock, LogRecord
from dbaudit.engines.postgresql.text_messages import Said, said_by
from dbaudit.engines.postgresql.times import log_clock

BY_PROCESS = "pid:"
"""What the session of a record begins with where the prefix names only its process."""
BY_PLACE = "at:"
"""What it begins with where the prefix names not even that: no two records belong together."""
WITHOUT_CODE = "?"
"""Stands for the SQLSTATE of a failure where the log does not say it."""
SUCCESS = "00000"
_SAME = {"m": {"m", "n", "t"}, "p": {"p"}}
"""Escapes that say the same."""
_OPENING = "authentication"
"""The process title while a session is opened."""

_SEVERITY_OF = {word.encode(): severity for severity, words in SEVERITIES.items() for word in words}
_PART_OF = {label.encode(): part for part, labels in PARTS.items() for label in labels}
_HAS_MESSAGE = re.compile(MESSAGE)
_CODE = re.compile(rb"([0-9A-Z]{5}): ")
_POSITION = re.compile("|".join(re.escape(text).replace("%d", r"(\d{1,9})") + r"\Z" for text in POSITIONS))
_REMOTE = re.compile(r"(.*?)(?:\((\d{1,5})\))?", re.DOTALL)


class Line(msgspec.Struct, gc=False):
    """A line with a prefix, and the continuations that follow it: where it starts, and how it can be read."""

    start: int
    prefix: LinePrefix
    found: re.Match[bytes]
    text: bytes


class _Found(msgspec.Struct, gc=False):
    """What is in a piece of the log: its records, each of several lines, and where lines are that only a name
    with a line break can have left, with how far around them nothing is certain.
    """

    records: list[list[Line]]
    foreign: list[tuple[int, int]]
    doubts: list[tuple[int, int]]


def _lines(data: bytes, begin: int = 0) -> Iterator[tuple[int, int]]:
    """Where each line starts and ends with the continuations that follow it."""
    length = len(data)
    while begin < length:
        end = data.find(b"\n", begin) + 1 or length
        while data[end : end + 1] == b"\t":
            end = data.find(b"\n", end) + 1 or length
        yield begin, end
        begin = end


def _prefixed(data: bytes, begin: int, end: int, prefixes: tuple[LinePrefix, ...]) -> Line | None:
    for prefix in prefixes:
        found = prefix.shortest.match(data, begin, end)
        if found is not None:
            return Line(begin, prefix, found, data[found.end() : end].removesuffix(b"\n"))
    return None


def _examine(data: bytes, texts: tuple[str, ...]) -> _Found:
    prefixes = tuple(line_prefix(text) for text in texts)
    breaks_within = max((prefix.breaks_within for prefix in prefixes), default=0)
    records: list[list[Line]] = []
    foreign: list[tuple[int, int]] = []
    doubts: list[tuple[int, int]] = []
    for begin, end in _lines(data):
        line = _prefixed(data, begin, end, prefixes)
        if line is None:
            foreign.append((begin, end))
            if breaks_within and _is_broken(data, begin, end, prefixes, breaks_within):
                doubts.append((begin - breaks_within, begin + breaks_within))
        elif line.found["severity"] is not None:
            records.append([line])
            if breaks_within and _names_a_line_break(line):
                doubts.append((begin - breaks_within, begin + breaks_within))
        elif records and _same_process(records[-1][0].found, line.found):
            records[-1].append(line)
        else:
            foreign.append((begin, end))
    return _Found(records, foreign, doubts)


def _is_broken(
    data: bytes, begin: int, end: int, prefixes: tuple[LinePrefix, ...], breaks_within: int
) -> bool:
    """Whether a line without a whole prefix is what a name with a line break leaves: the beginning of a
    prefix, or the rest of one with a message behind it.
    """
    if _HAS_MESSAGE.search(data, begin, min(end, begin + breaks_within)):
        return True
    return any(
        prefix.beginning is not None and prefix.beginning.match(data, begin, end) for prefix in prefixes
    )


def _names_a_line_break(line: Line) -> bool:
    """Whether a refusal names a user or database with a line break in it."""
    return _SEVERITY_OF[line.found["severity"]] is Level.FATAL and b"\n\t" in line.text


def _same_process(first: re.Match[bytes], later: re.Match[bytes]) -> bool:
    before, after = first.groupdict(), later.groupdict()
    return all(before.get(name) == after.get(name) for name in ("c", "p"))


# -- from lines to records


class Parsed(msgspec.Struct, gc=False):
    """The records of a block, where each starts in it, what is malformed, and the events that say where a
    client may have written into the log. ``unclear`` says which part of the
    text of some records, by their place, cannot be known.
    """

    records: list[LogRecord]
    starts: list[int]
    rejected: list[Rejected]
    suspicious: list[AuditEvent]
    unclear: dict[int, str]


def parse(block: LogBlock, beside: Mapping[str, str] | None = None) -> Parsed:
    """The records of a block of the text log. ``beside`` has what is known of all of them by other ways, by
    the letters of log_line_prefix, for what that does not say.
    """
    found = _examine(block.data, block.context.line_prefixes)
    parsed = Parsed([], [], [], [], {})
    certain = True
    for begin, end in _joined(found.foreign):
        parsed.rejected.append(rejected(block, begin, end, "lines that do not begin with log_line_prefix"))
    for lines in found.records:
        first = lines[0]
        end = lines[-1].found.end() + len(lines[-1].text)
        doubtful = any(low <= first.start <= high for low, high in found.doubts)
        record = None if doubtful else _record(block, lines, beside or {})
        if record is not None:
            parsed.records.append(record)
            parsed.starts.append(first.start)
        else:
            reason = _DOUBTFUL if doubtful else _AMBIGUOUS
            parsed.rejected.append(rejected(block, first.start, end, reason))
            # What follows at once is put aside for the same reason.
            parsed.suspicious += _suspicion(block, first, reason) if certain else []
        certain = record is not None
    return parsed


def _suspicion(block: LogBlock, line: Line, reason: str) -> list[AuditEvent]:
    """The event that says that a client may have written a line; none where the line has no time."""
    stamps = {letter: stamp.decode() for letter in "mnt" if (stamp := line.found.groupdict().get(letter))}
    try:
        time_us = log_clock(block.context.time_zones).time_us(_time(stamps))
    except RecordError:
        return []
    offset = block.offset + line.start
    return [
        AuditEvent(
            f"{block.path}:{offset}:suspicious",
            EventType.THREAT_DETECTED,
            time_us,
            Severity.CRITICAL,
            detail={"reason": reason, "file": block.path, "offset": offset},
        )
    ]


def lost_records(block: LogBlock, start: int, stamp: str, lost: int, reason: str) -> AuditEvent:
    """The event that says that so many records are missing before the one at ``start``."""
    offset = block.offset + start
    try:
        time_us = log_clock(block.context.time_zones).time_us(stamp)
    except RecordError:
        time_us = now_us()
    return gap(
        key=f"gap:{block.path}:{offset}:lost",
        time_us=time_us,
        reason=reason,
        source=block.path,
        offset=offset,
        lost_records=lost,
    )


_DOUBTFUL = (
    "the name of a user or a database has a line break: what is near it may be of a client's own writing"
)
_AMBIGUOUS = "a name in the prefix looks like a message, or a message like a name"


def _joined(places: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for begin, end in places:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def rejected(block: LogBlock, begin: int, end: int, reason: str) -> Rejected:
    """A part of a block that is put aside."""
    raw = block.data[begin:end]
    position = f"{block.path}:{block.offset + begin}:{zlib.crc32(raw):08x}"
    return Rejected(position, raw[:KEPT_BYTES], reason)


def _record(block: LogBlock, lines: list[Line], beside: Mapping[str, str]) -> LogRecord | None:
    """The record of some lines; None where they can be read in two ways."""
    first = lines[0]
    fields = _fields(first, block.data)
    if fields is None:
        return None
    fields |= {letter: value for letter, value in beside.items() if not fields.keys() & _SAME[letter]}
    parts = {_PART_OF[line.found["part"]]: _text(line.text) for line in lines[1:]}
    severity = _SEVERITY_OF[first.found["severity"]]
    raw, code = first.text, fields.get("e")
    if Part.LOCATION in parts and (coded := _CODE.match(raw)):
        # Only log_error_verbosity = verbose names the place in the source, and then also the code.
        raw, code = raw[coded.end() :], coded[1].decode()
    message = _text(raw)
    said = said_by(message, fatal=severity is Level.FATAL) if _is_of_the_server(parts) else Said()
    if code is None:
        code = said.refused_with or (WITHOUT_CODE if severity in FAILURES else SUCCESS)
    remote = _REMOTE.fullmatch(fields.get("r") or fields.get("h") or "")
    session, number = _identity(fields, block.offset + first.start)
    known = first.prefix.says
    return LogRecord(
        _time(fields),
        message,
        session,
        number,
        _name(fields.get("u")) if "u" in known else said.user,
        _name(fields.get("d")) if "d" in known else said.database,
        ((remote[1] or None) if remote else None) if known & {"r", "h"} else said.host,
        (int(remote[2]) if remote and remote[2] else None) if "r" in known else said.port,
        _OPENING if said.refused_with else fields.get("i"),
        code,
        parts.get(Part.DETAIL),
        parts.get(Part.STATEMENT),
        _name(fields.get("a")),
        fields.get("v") or None,
        fields.get("b"),
        parts.get(Part.CONTEXT),
        parts.get(Part.QUERY),
        _position(message) if severity in FAILURES else None,
        int(fields["P"]) if fields.get("P") else None,
    )


def _position(message: str) -> int | None:
    """Where in the statement an error is, which the server writes behind the message."""
    found = _POSITION.search(message)
    return None if found is None else int(next(filter(None, found.groups())))


def _is_of_the_server(parts: dict[Part, str]) -> bool:
    """Whether a record can be one of the server's own of a session: those have no statement."""
    return Part.STATEMENT not in parts and Part.CONTEXT not in parts


def _fields(line: Line, data: bytes) -> dict[str, str] | None:
    """The values of the prefix by their letters, without the names that can be read in two ways; None where
    the message itself can begin in two places.
    """
    short = line.found
    values = {
        letter: value.decode("utf-8", "backslashreplace")
        for letter, value in short.groupdict().items()
        if value is not None and len(letter) == 1
    }
    if line.prefix.names:
        long = line.prefix.longest.match(data, line.start, short.end() + len(line.text))
        assert long is not None
        if long.end() != short.end():
            return None
        for letter in line.prefix.names:
            one, other = short[letter], long[letter]
            if letter in line.prefix.padded and one is not None and other is not None:
                one, other = one.strip(b" "), other.strip(b" ")
                values[letter] = one.decode("utf-8", "backslashreplace")
            if one != other:
                values.pop(letter, None)
    return values


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace").replace("\n\t", "\n")


def _name(value: str | None) -> str | None:
    return None if not value or value in UNKNOWN else value


def _identity(fields: dict[str, str], place: int) -> tuple[str, int]:
    """The session of a record and its number in it."""
    if "c" in fields:
        return fields["c"], int(fields.get("l", place))
    if "p" in fields:
        return f"{BY_PROCESS}{fields['p']}", place
    return f"{BY_PLACE}{place}", place


def _time(fields: dict[str, str]) -> str:
    """The time stamp in the form that it has in the other formats; an empty one where there is none."""
    if "m" in fields:
        return fields["m"]
    if "n" in fields:
        seconds, _point, millis = fields["n"].partition(".")
        return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%d %H:%M:%S}.{millis} UTC"
    stamp = fields.get("t", "")
    return f"{stamp[:19]}.000{stamp[19:]}" if stamp else ""


# -- what the prefix does not say


def without_stand_ins(events: list[AuditEvent]) -> list[AuditEvent]:
    """Take away what stood in the place of what the prefix does not say: the session and the SQLSTATE."""
    for event in events:
        if event.session_id is not None and event.session_id.startswith((BY_PROCESS, BY_PLACE)):
            event.session_id = None
        if event.error_code == WITHOUT_CODE:
            event.error_code = None
    return events


# -- where records start


def first_record(data: bytes, prefixes: tuple[str, ...]) -> int | None:
    """Where the first record starts in ``data``, which may start inside one; None when none does."""
    begin = data.find(b"\n") + 1
    records = _examine(data[begin:], prefixes).records if begin else []
    return begin + records[0][0].start if records else None


def uncertain_bytes(prefixes: tuple[str, ...]) -> int:
    """How many bytes at the end of what was read have to be seen together with what follows them: further
    lines of the last record may follow, and a name that breaks lines taints those around it.
    """
    return max((line_prefix(text).breaks_within for text in prefixes), default=0)
