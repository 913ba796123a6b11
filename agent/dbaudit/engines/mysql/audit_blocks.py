"""Blocks of audit records of any format: where a record begins and ends, and the events of a block."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Rejected
from dbaudit.engine.base import Decoded
from dbaudit.engine.connections import connection_of
from dbaudit.engines.mysql import audit_fields, audit_json, json_elements
from dbaudit.engines.mysql.audit_borders import CSV_START, XML_END, XML_START, AuditFormat
from dbaudit.engines.mysql.local_time import LocalZone
from dbaudit.engines.mysql.statement_records import LeftOut, Records, joined
from dbaudit.engines.mysql_protocol.marking import marking_statement

_MARKS = b" \t\r\n,"
_JSON_FRAME = b" \t\r\n,[]"
_XML_FRAME = re.compile(rb"<\?xml[^>]*>|</?AUDIT>|\s+")
_XML_HEADER = re.compile(rb"\s*(?:<\?xml|</?AUDIT>|\Z)")
_NO_END = "the record has no end: the file was cut off, or it is longer than the largest"

_SEVERAL = {
    AuditFormat.JSON: (b'"log"', b'"error"', b'"result"'),
    AuditFormat.XML: (
        *(b"<NAME></NAME>", b"<NAME/>", b'NAME=""', b">Log<", b">Error<", b">Result<", b" Start<"),
        *(b'"Log"', b'"Error"', b'"Result"', b' Start"'),
    ),
    AuditFormat.CSV: (),
}
"""A block with several records for a statement contains at least one of these."""


class Carried(NamedTuple):
    """A record that was read before and belongs to later ones: its key, and its bytes as Latin-1."""

    key: str
    text: str


class AuditBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Complete records of one format, at ``offset`` of the file whose fingerprint is ``head``.

    If ``whole`` is False, it is one record without its end. ``own_sessions`` are sessions of the agent that
    were open when the block began. ``zone`` is the time zone of the stamps if they are the server's local
    time. ``carried`` are earlier records of statements whose last record had not been read by then. If
    ``hold``, statements that are unfinished at the end of this block become no event yet. ``several`` says
    that the source is known to write several records for a statement.
    """

    format: AuditFormat
    data: bytes
    head: str = ""
    offset: int = 0
    whole: bool = True
    own_user: str = ""
    own_application: str = ""
    own_sessions: tuple[int, ...] = ()
    zone: LocalZone | None = None
    carried: tuple[Carried, ...] = ()
    hold: bool = False
    several: bool = False


# -- what records become


def decode(records: Sequence[AuditBlock]) -> Decoded:
    """The events of blocks of records. Pure."""
    decoded = Decoded([], [], {})
    for block in records:
        if not block.whole:
            rejected = Rejected(f"{block.head}:{block.offset}", block.data, _NO_END)
            decoded.rejected.append(rejected)
            continue
        found = _records_of(block)
        statements = joined(found, hold=block.hold)
        decoded.rejected.extend(found.rejected)
        own = _own(block, statements.events)
        decoded.events.extend(_reported(block, statements.events, own))
        if found.left_out or statements.left_out:
            _count(block, found.left_out + statements.left_out, own, decoded.left_out)
    return decoded


def unfinished(block: AuditBlock) -> tuple[Carried, ...]:
    """The records of statements whose last record is not read yet, for the block after this one.

    Empty if the source writes one record for each statement.
    """
    if not (block.carried or block.several or _may_have_several(block)):
        return ()
    found = _records_of(block)
    parts = joined(found, hold=True).unfinished
    return tuple(Carried(part.key, part.raw.decode("latin-1")) for part in parts)


def writes_several(block: AuditBlock) -> bool:
    """Whether a statement with several records, its last one among them, was seen here or before."""
    if block.several or not _may_have_several(block):
        return block.several
    found = _records_of(block)
    return found.several and found.lasts


def _may_have_several(block: AuditBlock) -> bool:
    return any(word in block.data for word in _SEVERAL[block.format])


def _records_of(block: AuditBlock) -> Records:
    records = Records(zone=block.zone, several=block.several, lasts=block.several)
    if not block.whole:
        return records
    for key, text in block.carried:
        raw = text.encode("latin-1")
        if block.format is AuditFormat.JSON:
            audit_json.add(raw, records)
        else:
            audit_fields.add(audit_fields.xml_fields(raw), key, raw, records)
    _DECODERS[block.format](block, records)
    return records


def _decode_json(block: AuditBlock, records: Records) -> None:
    """An element a line is what most files have, and quick to find; others are looked for by their layout."""
    data, head, add = block.data, block.head, audit_json.add
    place = known = 0
    for line in data.split(b"\n"):
        text = line.strip(_MARKS)
        if place >= known and text and text not in (b"[", b"]", b"null"):
            try:
                if text.startswith(b'{"audit_record"'):
                    _add_old_json(text, f"{head}:{block.offset + place}", records)
                else:
                    add(text.lstrip(b"[").rstrip(b"]") if text[:1] == b"[" else text, records)
            except (ValueError, RecursionError):
                known = _decode_elements(block, place, records)
        place += len(line) + 1


def _add_old_json(text: bytes, key: str, records: Records) -> None:
    audit_fields.add(audit_fields.old_json_fields(text), key, text, records)


def _decode_elements(block: AuditBlock, start: int, records: Records) -> int:
    """Elements of any layout, up to a line on which one ends; where the next line begins."""
    data, bad = block.data, None
    elements, next_line = json_elements.elements_of_lines(data, start)
    for element in elements:
        text = data[element.begin : element.end]
        try:
            if not element.whole:
                raise ValueError("it has no end")
            if text.startswith(b'{"audit_record"'):
                _add_old_json(text, f"{block.head}:{block.offset + element.begin}", records)
            else:
                audit_json.add(text, records)
        except (ValueError, RecursionError):
            bad = element.begin if bad is None else bad
        else:
            _reject_json(block, bad, element.begin, records)
            bad = None
    _reject_json(block, bad, next_line, records)
    return next_line


def _reject_json(block: AuditBlock, begin: int | None, end: int, records: Records) -> None:
    if begin is not None:
        raw = block.data[begin:end].strip(_JSON_FRAME)
        key = f"{block.head}:{block.offset + begin}"
        records.rejected.append(Rejected(key, raw, "it is no element of an audit log"))


def _decode_xml(block: AuditBlock, records: Records) -> None:
    data = block.data
    starts = [found.start() for found in XML_START.finditer(data)]
    _outside(block, 0, starts[0] if starts else len(data), records)
    for start, limit in pairwise([*starts, len(data)]):
        # No record holds the beginning of another: what has no end before that was cut off.
        found = XML_END.search(data, start, limit)
        if found is None:
            header = _XML_HEADER.search(data, start, limit)
            end = header.start() if header else limit
            key = f"{block.head}:{block.offset + start}"
            records.rejected.append(Rejected(key, data[start:end], _NO_END))
            _outside(block, end, limit, records)
        else:
            _decode_fields(block, start, audit_fields.xml_fields, data[start : found.end()], records)
            _outside(block, found.end(), limit, records)


def _outside(block: AuditBlock, start: int, end: int, records: Records) -> None:
    """Check text between records: only the frame of the document may be there."""
    between = block.data[start:end]
    if between and _XML_FRAME.sub(b"", between):
        key = f"{block.head}:{block.offset + start}"
        records.rejected.append(Rejected(key, between, "it is no audit record"))


def _decode_csv(block: AuditBlock, records: Records) -> None:
    data = block.data
    starts = [found.start() for found in CSV_START.finditer(data)]
    if not starts or starts[0]:
        starts.insert(0, 0)
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        stop = start + _end_of_csv_record(data[start:end])
        for begin, part in ((start, data[start:stop]), (stop, data[stop:end])):
            if record := part.rstrip(b"\r\n"):
                _decode_fields(block, begin, audit_fields.csv_fields, record, records)


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
    records: Records,
) -> None:
    key = f"{block.head}:{block.offset + start}"
    try:
        audit_fields.add(fields_of(record), key, record, records)
    except ValueError:
        records.rejected.append(Rejected(key, record, "it is no audit record"))


_Own = set[tuple[str | None, int]]
"""Sessions, each with the place of its log-in."""
_LOG_INS = frozenset({EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED})

_DECODERS = {
    AuditFormat.JSON: _decode_json,
    AuditFormat.XML: _decode_xml,
    AuditFormat.CSV: _decode_csv,
}


# -- which events are emitted


def _count(block: AuditBlock, left_out: Counter[LeftOut], own: _Own, counts: dict[str, int]) -> None:
    """Count the records that become no event, without those of the agent's own sessions."""
    own_sessions = {session for session, _place in own}
    for (name, user, session), number in left_out.items():
        if user != block.own_user or session not in own_sessions:
            counts[name] = counts.get(name, 0) + number


def _reported(block: AuditBlock, events: list[AuditEvent], own: _Own) -> Iterator[AuditEvent]:
    """The events to emit: none of the agent's own sessions. The tables that a statement touched are added to
    the statement's event.
    """
    own_user = block.own_user
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


def _own(block: AuditBlock, events: Sequence[AuditEvent]) -> _Own:
    """The sessions of the agent, each with the index of its log-in, since servers reuse session numbers."""
    own: _Own = {(str(session), -1) for session in block.own_sessions}
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
    """The agent's own sessions that later records may belong to."""
    needles = (marking_statement(block.own_application).encode(), block.own_application.encode())
    if not any(needle in block.data for needle in needles):
        return block.own_sessions
    own = dict.fromkeys(block.own_sessions)
    events = _records_of(block).events
    marking = marking_statement(block.own_application)
    for event in events:
        marked = event.query == marking or (
            event.type is EventType.LOGIN_SUCCESS and event.application == block.own_application
        )
        session = event.session_id or ""
        if event.user == block.own_user and marked and session.isdecimal():
            own[int(session)] = None
    return tuple(own)
