"""The file of pgauditlogtofile, an extension that takes pgaudit's records out of the server's log.

A record is a line: from 1.7 on values in JSON's quotes with commas between (`csv`), or an object of JSON
(`json`). Before 1.7 nothing was quoted, so everybody who may log a text could write whole lines; those
are put aside. From 1.8 on the fraction of the second is that of another clock, and left out.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

import msgspec

from dbaudit.core import typed
from dbaudit.core.event import Rejected
from dbaudit.engines.postgresql import pgaudit, text_log
from dbaudit.engines.postgresql.messages import Kind, recognise
from dbaudit.engines.postgresql.records import KEPT_BYTES, LogBlock, LogRecord
from dbaudit.engines.postgresql.text_log import SUCCESS, Parsed

_WHOLE_SECONDS = "the time is of whole seconds"
_MAY_BE_REFUSED = "the server may have refused it afterwards (no such database, no right to connect)"
_MAY_BE_RAISED = "the statement may have written this error itself, without failing (RAISE LOG)"
_LOST = "The extension pgauditlogtofile did not write every record of a session."
REMEMBERED_SESSIONS = 256
_BEFORE_1_7 = "pgauditlogtofile before 1.7 writes what a client chose as it is: anybody can write such lines"
_UNKNOWN = "not a record of pgauditlogtofile"

_OF_PGAUDIT = ("SESSION", "OBJECT")
_MESSAGE, _PARTS = 10, 8
"""Where the message is; pgaudit's is cut into so many values."""
_FURTHER = (9, 12, 16)
"""How many values follow it: those of 1.7, with the time of execution, and with its memory."""
_VALUE = re.compile(r'(?:"(?:[^"\\]|\\.)*+")?')
_OLD_START = re.compile(rb"\d{4}-\d\d-\d\d ")
_UNDEFINED, _NO_ROLE = "42704", re.compile(r'role ".*" does not exist', re.DOTALL)
_PRECISE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(\.\d+) (\S+)")

_SESSION, _CODE = "custom.session_id", "custom.state_code"
_KEYS = (
    *("timestamp", "db.user", "db.name", "custom.process_id", "", _SESSION, "custom.command_tag"),
    *("custom.virtual_transaction_id", "custom.transaction_id", _CODE),
)
_KEYS_OF_PGAUDIT = (
    *("custom.audit_type", "custom.statement_id", "custom.substatement_id", "custom.class", "custom.command"),
    *("custom.object_type", "custom.object_name", "content"),
)
_FURTHER_KEYS = (
    *("custom.detail_log", "custom.err_hint", "custom.internal_query", "custom.internal_query_pos"),
    *("custom.context", "custom.debug_query", "custom.cursor_pos", "", "custom.application_name"),
)
_decode_object = typed.decoder(dict[str, str])
_decode_text = typed.decoder(str)


def parse(block: LogBlock) -> Parsed:
    """The records of a block."""
    return _parse(block)[0]


def numbers_after(block: LogBlock) -> dict[str, int]:
    """The latest number of a statement of each session after a block."""
    return dict(list(_parse(block)[1].items())[-REMEMBERED_SESSIONS:])


def _parse(block: LogBlock) -> tuple[Parsed, dict[str, int]]:
    parsed = Parsed([], [], [], [], {})
    numbers = dict(block.context.numbers)
    begin, length = 0, len(block.data)
    while begin < length:
        end = block.data.find(b"\n", begin) + 1 or length
        line = block.data[begin:end]
        try:
            values = _values(line)
            record, unclear = _record(values, block.offset + begin)
        except (msgspec.MsgspecError, ValueError, KeyError):
            reason = _BEFORE_1_7 if _OLD_START.match(line) else _UNKNOWN
            position = f"{block.path}:{block.offset + begin}:{zlib.crc32(line):08x}"
            parsed.rejected.append(Rejected(position, line[:KEPT_BYTES], reason))
        else:
            if lost := _lost(numbers, record, values.get("custom.statement_id")):
                event = text_log.lost_records(block, begin, record.timestamp, lost, _LOST)
                parsed.suspicious.append(event)
            if unclear:
                parsed.unclear[len(parsed.records)] = unclear
            parsed.records.append(record)
            parsed.starts.append(begin)
        begin = end
    return parsed, numbers


def _lost(numbers: dict[str, int], record: LogRecord, number: str | None) -> int:
    """How many statements of a session are missing: pgaudit counts them from 1 on."""
    if not record.by_the_server:
        return 0
    if number is None:
        if recognise(record.message):
            numbers.setdefault(record.session_id, 0)
        return 0
    before = numbers.pop(record.session_id, None)
    numbers[record.session_id] = int(number)
    return max(0, int(number) - before - 1) if before is not None else 0


def _values(line: bytes) -> Mapping[str, str]:
    """The values of a line by their keys in JSON. Raises ValueError, MsgspecError for another."""
    text = line.decode("utf-8", "backslashreplace").removesuffix("\n")
    if text.startswith("{"):
        return _decode_object(text)
    values = _columns(text)
    of_pgaudit = len(values) > _MESSAGE + 2 and values[_MESSAGE] in _OF_PGAUDIT
    of_pgaudit = of_pgaudit and (values[_MESSAGE + 1] or "").isdecimal()
    keys = (*_KEYS, *(_KEYS_OF_PGAUDIT if of_pgaudit else ("content",)), *_FURTHER_KEYS)
    if len(values) - len(keys) + len(_FURTHER_KEYS) not in _FURTHER:
        raise ValueError("another number of values")
    named = {key: value for key, value in zip(keys, values, strict=False) if key and value is not None}
    host, _colon, port = (values[4] or "").rpartition(":")
    return named | ({"net.peer.name": host, "net.peer.port": port} if host else {"net.peer.name": port})


def _columns(text: str) -> list[str | None]:
    values: list[str | None] = []
    place = -1
    while place < len(text):
        found = _VALUE.match(text, place + 1)
        assert found is not None  # an empty value fits everywhere
        values.append(_decode_text(found[0]) if found[0] else None)
        place = found.end()
        if text[place : place + 1] not in (",", ""):
            raise ValueError("a value that does not end")
    return values


def _record(values: Mapping[str, str], place: int) -> tuple[LogRecord, str | None]:
    """The record of a line, and what of it cannot be known. Raises KeyError, ValueError for none."""
    stamp, unclear = _stamp(values["timestamp"])
    record = LogRecord(
        stamp,
        _message(values),
        values[_SESSION],
        place,
        values.get("db.user") or None,
        values.get("db.name") or None,
        values.get("net.peer.name") or None,
        int(values["net.peer.port"]) if values.get("net.peer.port") else None,
        values.get("custom.command_tag"),
        values[_CODE],
        values.get("custom.detail_log"),
        values.get("custom.debug_query"),
        values.get("custom.application_name") or None,
        values.get("custom.virtual_transaction_id"),
        context=values.get("custom.context"),
        internal_query=values.get("custom.internal_query"),
    )
    if record.message.startswith(pgaudit.PREFIX) and record.user and record.statement is None:
        # pgaudit hides its context, which the extension writes all the same; a statement that writes such a
        # row itself cannot hide its text.
        record.context = record.internal_query = None
    if _NO_ROLE.fullmatch(record.message) and record.statement and record.state_code == _UNDEFINED:
        # The extension takes it for a refused log-in. It is the error of a statement, or one's own row.
        unclear = f"{_MAY_BE_RAISED}; {unclear}" if unclear else _MAY_BE_RAISED
    elif not record.by_the_server:
        # The extension names what looks like a log-in one, and a statement may raise any code.
        record.ps, record.state_code = None, SUCCESS
    else:
        found = recognise(record.message)
        if found is not None and found[0] is Kind.AUTHORIZED:
            unclear = f"{_MAY_BE_REFUSED}; {unclear}" if unclear else _MAY_BE_REFUSED
    return record, unclear


def _stamp(stamp: str) -> tuple[str, str | None]:
    found = _PRECISE.fullmatch(stamp)
    if found is None:
        raise ValueError("a time of an unknown form")
    second, fraction, zone = found.groups()
    exact = len(fraction) == len(".000")
    return f"{second}{fraction if exact else '.000'} {zone}", None if exact else _WHOLE_SECONDS


def _message(values: Mapping[str, str]) -> str:
    if values.get("custom.audit_type") not in _OF_PGAUDIT:
        return values["content"]
    # It was cut at its first commas, wherever they were: so it is joined again.
    return pgaudit.PREFIX + ",".join(values[key] for key in _KEYS_OF_PGAUDIT)
