"""Blocks of audit records of any format: where a record begins and ends, and what a block becomes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Rejected
from dbaudit.engine.base import Decoded
from dbaudit.engine.connections import connection_of
from dbaudit.engine.local_files import Borders
from dbaudit.engines.mysql import audit_fields, audit_json
from dbaudit.engines.mysql_protocol.marking import marking_statement

_MARKS = b" \t\r\n,"
_XML_END = re.compile(rb'</AUDIT_RECORD>\s{0,8}|"\s{0,8}/>\s{0,8}')
_XML_RECORD = re.compile(rb'<AUDIT_RECORD[\s>].*?(?:</AUDIT_RECORD>|"\s*/>)', re.DOTALL)
_XML_FRAME = re.compile(rb"<\?xml[^>]*>|</?AUDIT>|\s+")
_CSV_START = re.compile(rb'(?:\A|(?<=\n))"[A-Za-z ]{1,30}","\d{1,20}_\d{4}-\d\d-\d\dT')


class AuditFormat(StrEnum):
    """How an audit file is written."""

    JSON = "json"
    XML = "xml"
    CSV = "csv"


class AuditBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Whole records of one format, as they stand at ``offset`` of the file that ``head`` names.

    Where ``whole`` is False it is one record without its end. ``own_sessions`` are sessions of the agent that
    the records go on with.
    """

    format: AuditFormat
    data: bytes
    head: str = ""
    offset: int = 0
    whole: bool = True
    own_user: str = ""
    own_application: str = ""
    own_sessions: tuple[int, ...] = ()


# -- where records end


def _json_first(data: bytes) -> int:
    end = data.find(b"\n") + 1
    return end or _json_last(data)


def _json_last(data: bytes) -> int:
    """Behind the last line; or behind what follows it, where that is a whole element already: the server
    writes the comma and the line break in front of the next one.
    """
    end = data.rfind(b"\n") + 1
    rest = data[end:].strip(_MARKS)
    if rest.startswith(b"{") and rest.endswith(b"}"):
        try:
            msgspec.json.decode(rest, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return end
        return len(data)
    return end


def _xml_first(data: bytes) -> int:
    found = _XML_END.search(data)
    return found.end() if found else 0


def _xml_last(data: bytes) -> int:
    end = 0
    for found in _XML_END.finditer(data):
        end = found.end()
    return end


def _csv_first(data: bytes) -> int:
    found = _CSV_START.search(data, 1)
    return found.start() if found else 0


def _csv_last(data: bytes) -> int:
    start = 0
    for found in _CSV_START.finditer(data):
        start = found.start()
    # The line breaks of a statement stand inside of quotes.
    rest = data[start:]
    return len(data) if rest.endswith(b"\n") and rest.count(b'"') % 2 == 0 else start


BORDERS = {
    AuditFormat.JSON: Borders(_json_first, _json_last),
    AuditFormat.XML: Borders(_xml_first, _xml_last),
    AuditFormat.CSV: Borders(_csv_first, _csv_last),
}


def format_of(beginning: bytes) -> AuditFormat | None:
    """The format of a file, by its beginning; None for an empty file."""
    text = beginning.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text:
        return None
    if text.startswith(b"<"):
        return AuditFormat.XML
    return AuditFormat.CSV if text.startswith(b'"') else AuditFormat.JSON


# -- what records become


def decode(records: Sequence[AuditBlock]) -> Decoded:
    """The events of blocks of records. Pure."""
    decoded = Decoded([], [])
    for block in records:
        if not block.whole:
            reason = "the record has no end: the file was cut off, or it is longer than the largest"
            decoded.rejected.append(Rejected(f"{block.head}:{block.offset}", block.data, reason))
            continue
        events: list[AuditEvent] = []
        _DECODERS[block.format](block, events, decoded.rejected)
        decoded.events.extend(_told(block, events))
    return decoded


def _decode_json(block: AuditBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    event_of, offset = audit_json.event_of, block.offset
    for line in block.data.split(b"\n"):
        text = line.strip(_MARKS)
        if text and text not in (b"[", b"]", b"null"):
            try:
                if text.startswith(b'{"audit_record"'):
                    fields = audit_fields.old_json_fields(text)
                    event = audit_fields.event_of(fields, f"{block.head}:{offset}")
                else:
                    event = event_of(text.lstrip(b"[").rstrip(b"]") if text[:1] == b"[" else text)
                if event is not None:
                    events.append(event)
            except (ValueError, RecursionError):
                rejected.append(Rejected(f"{block.head}:{offset}", line, "it is no element of an audit log"))
        offset += len(line) + 1


def _decode_xml(block: AuditBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    data, end = block.data, 0
    for found in _XML_RECORD.finditer(data):
        _outside(block, end, found.start(), rejected)
        end = found.end()
        _decode_fields(block, found.start(), audit_fields.xml_fields, found[0], events, rejected)
    _outside(block, end, len(data), rejected)


def _outside(block: AuditBlock, start: int, end: int, rejected: list[Rejected]) -> None:
    """What stands between records has to be the frame of the document."""
    between = block.data[start:end]
    if between and _XML_FRAME.sub(b"", between):
        rejected.append(Rejected(f"{block.head}:{block.offset + start}", between, "it is no audit record"))


def _decode_csv(block: AuditBlock, events: list[AuditEvent], rejected: list[Rejected]) -> None:
    data = block.data
    starts = [found.start() for found in _CSV_START.finditer(data)]
    if not starts or starts[0]:
        starts.insert(0, 0)
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        stop = start + _end_of_csv_record(data[start:end])
        for begin, part in ((start, data[start:stop]), (stop, data[stop:end])):
            if record := part.rstrip(b"\r\n"):
                _decode_fields(block, begin, audit_fields.csv_fields, record, events, rejected)


def _end_of_csv_record(data: bytes) -> int:
    """Behind the first line break outside of quotes."""
    end = quotes = 0
    for line in data.splitlines(keepends=True):
        end += len(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0:
            return end
    return end


def _decode_fields(
    block: AuditBlock,
    start: int,
    fields_of: Callable[[bytes], dict[str, str]],
    record: bytes,
    events: list[AuditEvent],
    rejected: list[Rejected],
) -> None:
    key = f"{block.head}:{block.offset + start}"
    try:
        event = audit_fields.event_of(fields_of(record), key)
    except ValueError:
        rejected.append(Rejected(key, record, "it is no audit record"))
    else:
        if event is not None:
            events.append(event)


_LOG_INS = frozenset({EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED})

_DECODERS = {
    AuditFormat.JSON: _decode_json,
    AuditFormat.XML: _decode_xml,
    AuditFormat.CSV: _decode_csv,
}


# -- what is told of them


def _told(block: AuditBlock, events: list[AuditEvent]) -> Iterator[AuditEvent]:
    """Without the agent's own sessions; tables that a statement touched are told with the statement."""
    own_user = block.own_user
    own = _own(block, events)
    current: dict[str | None, int] = {}
    touched: dict[str | None, list[AuditEvent]] = {}
    superseded: set[int] = set()
    kept: list[AuditEvent] = []
    for place, event in enumerate(events):
        session = event.session_id
        if own and event.user == own_user:
            if event.type is EventType.LOGIN_SUCCESS:
                current[session] = place
            if (session, current.get(session, -1)) in own:
                continue
        if event.type in _LOG_INS and (event.detail or {}).get("command") is None:
            kept.append(connection_of(event))
        elif event.objects is not None:
            accesses = touched.setdefault(session, [])
            if accesses and accesses[0].query != event.query:
                accesses.clear()
            accesses.append(event)
        elif touched and event.query is not None and session in touched:
            accesses = touched.pop(session)
            if accesses[0].query == event.query:
                tables = (name for access in accesses for name in access.objects or ())
                event.objects = tuple(dict.fromkeys(tables))
                superseded.update(map(id, accesses))
        kept.append(event)
    return (event for event in kept if id(event) not in superseded)


def _own(block: AuditBlock, events: Sequence[AuditEvent]) -> set[tuple[str | None, int]]:
    """The sessions of the agent, each with the place of its log-in: a number is used again."""
    own: set[tuple[str | None, int]] = {(str(session), -1) for session in block.own_sessions}
    marking = marking_statement(block.own_application)
    opened: dict[str | None, int] = {}
    for place, event in enumerate(events):
        if event.user != block.own_user:
            continue
        if event.type is EventType.LOGIN_SUCCESS:
            opened[event.session_id] = place
            if event.application == block.own_application:
                own.add((event.session_id, place))
        elif event.query == marking:
            own.add((event.session_id, opened.get(event.session_id, -1)))
    return own


def own_sessions(block: AuditBlock) -> tuple[int, ...]:
    """The agent's own sessions that records after these may go on with."""
    needles = (marking_statement(block.own_application).encode(), block.own_application.encode())
    if not any(needle in block.data for needle in needles):
        return block.own_sessions
    own = dict.fromkeys(block.own_sessions)
    events: list[AuditEvent] = []
    _DECODERS[block.format](block, events, [])
    marking = marking_statement(block.own_application)
    for event in events:
        marked = event.query == marking or (
            event.type is EventType.LOGIN_SUCCESS and event.application == block.own_application
        )
        session = event.session_id or ""
        if event.user == block.own_user and marked and session.isdecimal():
            own[int(session)] = None
    return tuple(own)
