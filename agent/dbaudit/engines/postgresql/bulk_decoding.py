"""Decoding many records at once.

On a busy server nearly all records are statements that pgaudit recorded, each in one record with nothing else
to say. For csvlog they have a short way from the bytes of a row to the event. Every other row, and every
doubt, goes the way of all records (records.py, decoding.py), with the same result.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Rejected, Severity
from dbaudit.engine.base import Decoded
from dbaudit.engines.postgresql import text_log
from dbaudit.engines.postgresql.decoding import Decoder
from dbaudit.engines.postgresql.framing import parse, parse_text, pieces
from dbaudit.engines.postgresql.ledger import (
    JOINED_WITHIN_US,
    LARGEST_PORT,
    Exchange,
    Recorded,
    address_of,
)
from dbaudit.engines.postgresql.pgaudit import WITHOUT_TEXT
from dbaudit.engines.postgresql.records import (
    BROKEN,
    COLUMNS,
    LogBlock,
    LogFileFormat,
    csv_columns,
    csv_record,
)
from dbaudit.engines.postgresql.statements import FOREIGN_KEY_CHECK, WRITES_IN_WITH
from dbaudit.engines.postgresql.workers import PARALLEL_WORKER

# Quotes inside a field come in pairs, so these stand nowhere but where a message begins and ends; where a
# text cheats, what is beside it is not what it should be.
_AUDITED = b',00000,"AUDIT: SESSION,'
_END_OF_PLAIN = b',<not logged>",,,,,,,,,'
_END_OF_QUOTED = b'"",<not logged>",,,,,,,,,'
_COLUMNS_BEFORE_APPLICATION = 22
_WHOLE_STATEMENT = b"1"
_FIRST = "1"
_QUERY, _INFO = EventType.QUERY, Severity.INFO
_QUOTE = b'""'
_QUOTE_MARK, _COMMA = b'",'
_QUOTE_INSIDE = b'""""'
_SELECT, _BEGINS_WITH_SELECT = b"SELECT", b"select"
_WRITES_IN_WITH = re.compile(WRITES_IN_WITH.encode(), re.IGNORECASE | re.DOTALL)
_FOREIGN_KEY_CHECK = FOREIGN_KEY_CHECK.encode()
_IN_DOUBT = (ValueError, OverflowError, csv.Error, RecordError)


def decode(records: Sequence[Any]) -> Decoded:
    """The events of some ``LogBlock``s that follow each other, in the order of the log."""
    decoder = _BulkDecoder()
    rejected: list[Rejected] = []
    for block in records:
        for piece in pieces(block):
            if not piece.format.of_the_server:
                rejected += decoder.take_text(piece)
            elif piece.format is LogFileFormat.CSVLOG:
                rejected += decoder.take_csv(piece)
            else:
                rejected += decoder.take_all(piece)
    return Decoded(text_log.without_stand_ins(decoder.events()), rejected, decoder.left_out)


class _BulkDecoder(Decoder):
    def __init__(self) -> None:
        super().__init__()
        self._latest: dict[str, tuple[str, AuditEvent, bytes, bytes]] = {}
        """Exchanges of the short way: most are of no concern to any record that follows."""

    def take_all(self, block: LogBlock) -> list[Rejected]:
        for session_id in list(self._latest):
            self._remember(session_id)
        rows, rejected = parse(block)
        return rejected + self.take(block, rows)

    def take_text(self, block: LogBlock) -> list[Rejected]:
        parsed = parse_text(block)
        rejected = parsed.rejected + self._take_unclear(block, parsed)
        self._ledger.events += parsed.suspicious
        return rejected

    def _take_unclear(self, block: LogBlock, parsed: text_log.Parsed) -> list[Rejected]:
        """Decode records of which some are not clear; what they become says so."""
        if not parsed.unclear:
            return self.take(block, parsed.records)
        rejected: list[Rejected] = []
        for place, row in enumerate(parsed.records):
            before = len(self._ledger.events)
            rejected += self.take(block, [row])
            if place in parsed.unclear:
                for event in self._ledger.events[before:]:
                    event.detail = {**(event.detail or {}), "unclear": parsed.unclear[place]}
        return rejected

    def take_csv(self, block: LogBlock) -> list[Rejected]:
        self._ledger.enter(block.context)
        rejected: list[Rejected] = []
        append = self._ledger.events.append
        lines = iter(block.data.split(b"\n"))
        begin = 0
        for line in lines:
            row = line if line.count(b'"') % 2 == 0 else _rest_of_row(line, lines)
            try:
                event = self._short_way(row)
            except _IN_DOUBT:
                event = None
            if event is not None:
                append(event)
            elif begin < len(block.data):
                try:
                    record = csv_record(row)
                except BROKEN:
                    # What is torn may reach into whole rows: from here on they are searched for.
                    return rejected + self.take_all(_part(block, begin))
                self._remember(record.session_id)
                self._take_one(block, record, rejected)
            begin += len(row) + 1
        return rejected

    def _remember(self, session_id: str) -> None:
        """Turn the session's latest statement of the short way into an exchange, for ``take``."""
        latest = self._latest.pop(session_id, None)
        if latest is not None:
            statement_id, event, vxid, ps = latest
            self._ledger.exchanges[session_id] = Exchange(
                None,
                vxid.decode(),
                event.time_us,
                event.time_us + JOINED_WITHIN_US,
                recorded=[Recorded(event, statement_id, ps[1:-1].decode())],
                statement_id=statement_id,
                substatement_id=_FIRST,
            )

    def _short_way(self, row: bytes) -> AuditEvent | None:
        """The event of a row that is a statement and nothing else; None, or an error, for any other."""
        before, _mark, message = row.partition(_AUDITED)
        columns, in_quotes, after = message.rpartition(_END_OF_QUOTED)
        if not in_quotes:
            columns, _mark, after = message.rpartition(_END_OF_PLAIN)
            if not columns:
                return None
        statement_id, part, command_class, command, object_type, object_name, text = columns.split(b",", 6)
        of_session, number, ps, _start, vxid, _txid, _severity = before.rsplit(b",", 6)
        stamp, _comma, of_session = of_session.partition(b",")
        user, dbname, source_ip, port, source_host, session_id = _of_session(of_session)
        application = _application(after)
        ledger = self._ledger
        context = ledger.context
        if part != _WHOLE_STATEMENT or (user == context.own_user and application == context.own_application):
            return None
        if in_quotes:
            if not text.startswith(_QUOTE):
                return None
            text = text[2:]
            # find(), because "in" makes and drops an error for each text that is no number.
            if text.find(_QUOTE_MARK) >= 0:
                text = _unquoted(text)
        elif text.find(_QUOTE_MARK) >= 0 or text.find(_COMMA) >= 0:
            return None
        if command == _SELECT:
            if text.startswith(_FOREIGN_KEY_CHECK):
                return None
            if text[:6].lower() != _BEGINS_WITH_SELECT and _WRITES_IN_WITH.search(text):
                return None
        time_us = ledger.time_us(stamp.decode())
        statement_name = _name(statement_id)
        latest = self._latest.get(session_id)
        if latest is not None:
            if latest[0] == statement_name:
                return None
        elif session_id in ledger.exchanges:
            exchange = ledger.exchanges[session_id]
            if exchange.unrecorded or exchange.statement_id == statement_name:
                return None
            del ledger.exchanges[session_id]
        query = text.decode("utf-8", "backslashreplace")
        event = AuditEvent(
            f"{session_id}:{number.decode()}",
            _QUERY,
            time_us,
            _INFO,
            None,
            None,
            user,
            dbname,
            application,
            session_id,
            source_ip,
            port,
            source_host,
            _name(command),
            _name(command_class),
            None if query in WITHOUT_TEXT else query,
            None,
            None,
            None,
            _objects(object_type, object_name) if object_name else None,
            None,
            None,
        )
        self._latest[session_id] = (statement_name, event, vxid, ps)
        return event


def _unquoted(text: bytes) -> bytes:
    """A quote is doubled by pgaudit and again by csvlog."""
    single = text.replace(_QUOTE_INSIDE, b'"')
    if len(text) - len(single) != 3 * single.count(b'"'):
        raise ValueError("a quote that is not doubled twice")
    return single


def _part(block: LogBlock, begin: int) -> LogBlock:
    return LogBlock(block.format, block.path, block.offset + begin, block.data[begin:], block.context)


def _rest_of_row(line: bytes, lines: Iterator[bytes]) -> bytes:
    """A row with line breaks in its texts; all that is left of the lines where it does not end."""
    parts = [line]
    quotes = line.count(b'"')
    while quotes % 2:
        more = next(lines, None)
        if more is None:
            break
        parts.append(more)
        quotes += more.count(b'"')
    return b"\n".join(parts)


@lru_cache(maxsize=10_000)
def _of_session(
    columns: bytes,
) -> tuple[str | None, str | None, str | None, int | None, str | None, str]:
    """User, database, the address of the client, its port, its name, and the session.

    Raises ValueError, csv.Error for what are not these columns.
    """
    user, dbname, _pid, remote, session_id = csv_columns(columns)
    host, _colon, digits = remote.rpartition(":")
    port = int(digits) if host else None
    if port is not None and not 0 <= port <= LARGEST_PORT:
        raise ValueError("the client's port is out of range")
    address, name = address_of(host or remote or None)
    return user or None, dbname or None, address, port, name, session_id


@lru_cache(maxsize=10_000)
def _application(columns: bytes) -> str | None:
    """The application's name, from the columns at the end of a row.

    Raises ValueError, csv.Error for what are not these columns, or those of a parallel worker.
    """
    application, *rest = csv_columns(columns)
    if rest[:1] == [PARALLEL_WORKER]:
        raise ValueError("a part of another session's statement")
    if _COLUMNS_BEFORE_APPLICATION + 1 + len(rest) not in COLUMNS:
        raise ValueError("another number of columns")
    return application or None


@lru_cache(maxsize=10_000)
def _objects(object_type: bytes, object_name: bytes) -> tuple[str, ...]:
    if _QUOTE_MARK in object_type or _QUOTE_MARK in object_name:
        raise ValueError("a name in quotes")
    return (f"{object_type.decode()} {object_name.decode()}",)


@lru_cache(maxsize=1_000)
def _name(word: bytes) -> str:
    if _QUOTE_MARK in word:
        raise ValueError("a name in quotes")
    return word.decode()
