"""Decoding rows of `mysql.general_log`, which both products write alike.

The server writes a row when a statement arrives, before it runs it: how it ended is not known. Three things
need more than one row. A refused log-in has a row as if it worked, mostly with the refusal right after it:
only another row of the session shows that a log-in worked. A refused USE has the refusal after it. And a
session is known to be the agent's own by its first statement, which says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.core.operations import add_operations, class_of
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Decoded
from dbaudit.engine.connections import connection_of
from dbaudit.engines.mysql_protocol.log_ins import (
    Opening,
    Refusal,
    opening,
    refused_database,
    refused_log_in,
    used_database,
)
from dbaudit.engines.mysql_protocol.marking import marking_statement
from dbaudit.engines.mysql_protocol.times import TimeWindow, micros_of

COLUMNS = (
    "CAST(CONCAT(event_time, '\\t', thread_id, '\\t', command_type, '\\t', LENGTH(user_host), '\\t',"
    " user_host, '\\t', argument) AS BINARY)"
)
"""A row as one value: the driver takes several times as long for six values."""

CUT_COLUMNS = (
    "CAST(CONCAT(event_time, '\\t', thread_id, '\\t', command_type, '\\t', LENGTH(user_host), '\\t',"
    " user_host, '\\t', LEFT(argument, 65536)) AS BINARY)"
)
"""For an argument so long that the whole row is more than max_allowed_packet, which makes COLUMNS NULL."""

SET_NAMES = b"SET NAMES utf8mb4"
_LARGEST_THREAD = 1 << 63

_USER_HOST = re.compile(r"(.*)\] @ ([^\[\]]*) \[([^\[\]]*)\]\Z", re.DOTALL)
_USE = re.compile(rb"\s*use\s", re.IGNORECASE)
_USE_ROW = re.compile(rb"\t\s*use\s", re.IGNORECASE)
_STATEMENT_WITHIN_BYTES = 1000
"""What a statement begins within, in a row: before it stand a time, numbers, and a user and a host."""
_SHORTEST_CUT = 40
_UNCONFIRMED = "no later row of the session shows that the log-in worked"

_STATEMENTS = frozenset({b"Query", b"Execute"})
_LOG_INS = frozenset({b"Connect", b"Change user"})
_NO_EVENT = frozenset(
    {
        *(b"Prepare", b"Close stmt", b"Reset stmt", b"Long Data", b"Fetch", b"Set option", b"Field List"),
        *(b"Ping", b"Statistics", b"Sleep", b"Time", b"Delayed insert", b"Daemon", b"Error", b"Connect Out"),
        *(b"Reset Connection", b"Processlist"),
    }
)
"""Commands whose row becomes no event: they run no statement, or their statement has a row of its own."""


class GeneralLogBlock(msgspec.Struct, frozen=True, kw_only=True):
    """Rows of one table in the order in which they were written, each as COLUMNS gives it.

    ``keys`` are their permanent keys. ``own_user`` and ``own_application`` are how the agent logs in;
    ``own_sessions`` are sessions of the agent that were open before the first row. ``window`` says when the
    rows were written, ``zone_offset_us`` what the server's own time zone adds to UTC (microseconds), and
    ``transport_written`` whether the server records by which transport a session came, as all do from 5.7 on.
    """

    rows: tuple[bytes, ...]
    keys: tuple[str, ...]
    own_user: str
    own_application: str
    own_sessions: tuple[int, ...] = ()
    window: TimeWindow = TimeWindow()
    zone_offset_us: int = 0
    transport_written: bool = True


def decode(records: Sequence[GeneralLogBlock]) -> Decoded:
    """The events of blocks of rows. Pure."""
    decoded = Decoded([], [], {})
    for block in records:
        _decode(block, decoded)
    return decoded


class Row(msgspec.Struct, gc=False):
    """A row, cut into its parts."""

    time: bytes
    thread: int
    command: bytes
    who: bytes
    argument: bytes


def parse(line: bytes) -> Row:
    """Split a row into its columns. Raises ValueError for a malformed row."""
    time, thread, command, length, rest = line.split(b"\t", 4)
    end = int(length)
    if end < 0 or rest[end : end + 1] != b"\t" or not 0 <= int(thread) < _LARGEST_THREAD:
        raise ValueError("a row is cut otherwise")
    return Row(time, int(thread), command, rest[:end], rest[end + 1 :])


Parties = tuple[str, str, str | None, str | None]


@lru_cache(maxsize=10_000)
def parties(who: bytes) -> Parties:
    """The logged-in user, the account's user (empty while logging in), the client's name and address."""
    found = _USER_HOST.match(who.decode(errors="backslashreplace"))
    if found is None:
        raise ValueError("the user and the host are not as the server writes them")
    names, host, address = found.groups()
    half = len(names) // 2
    if len(names) % 2 and names[half] == "[" and names[:half] == names[half + 1 :]:
        account = user = names[:half]
    else:
        account, _bracket, user = names.partition("[")
    return user, account, host or None, address or None


def opening_of(row: Row, *, transport_written: bool = True) -> Opening | None:
    """What a row of a log-in says of the beginning of a session; None if the row is a refusal."""
    user, _account, host, address = parties(row.who)
    text = row.argument.decode(errors="backslashreplace")
    return opening(text, user, (host, address), transport_written=transport_written)


def may_open_only(line: bytes) -> bool:
    """Whether ``opens_only`` may be true for this row. Fast: the row is not split into its columns."""
    return b"\tConnect\t" in line or (b"\tQuery\t" in line and _USE_ROW.search(line) is not None)


def opens_only(row: Row, own_user: str) -> bool:
    """Whether this row, if no later one follows, leaves open how a log-in or a USE ended."""
    if row.command == b"Connect":
        return opening_of(row) is not None
    if row.command != b"Query":
        return False
    if row.argument == SET_NAMES:
        return parties(row.who)[0] == own_user
    return _USE.match(row.argument) is not None


class _Sessions:
    """Which sessions of the agent's user are the agent's own: a number is used again after a restart."""

    def __init__(self, block: GeneralLogBlock, rows: Sequence[Row | None]) -> None:
        self._marking = marking_statement(block.own_application).encode()
        self._own_user = block.own_user
        opened: dict[int, int] = {}
        own: set[tuple[int, int]] = {(thread, -1) for thread in block.own_sessions}
        for place, row in enumerate(rows):
            if row is None:
                continue
            if row.command == b"Connect" and opening_of(row) is not None:
                opened[row.thread] = place
            elif row.argument == self._marking and parties(row.who)[0] == self._own_user:
                own.add((row.thread, opened.get(row.thread, -1)))
        self._opened: dict[int, int] = {}
        self._own = own

    def is_own(self, place: int, row: Row, user: str) -> bool:
        if user != self._own_user:
            return False
        if row.command == b"Connect" and opening_of(row) is not None:
            self._opened[row.thread] = place
        return (row.thread, self._opened.get(row.thread, -1)) in self._own


def own_sessions(block: GeneralLogBlock) -> tuple[int, ...]:
    """The agent's own sessions that later rows may belong to."""
    own = dict.fromkeys(block.own_sessions)
    marking = marking_statement(block.own_application).encode()
    for line in block.rows:
        try:
            row = parse(line)
            if row.argument == marking and parties(row.who)[0] == block.own_user:
                own[row.thread] = None
            elif row.thread in own and row.command in (b"Quit", b"Connect"):
                del own[row.thread]
        except ValueError:
            continue
    return tuple(own)


def _decode(block: GeneralLogBlock, decoded: Decoded) -> None:
    rejected = decoded.rejected
    rows: list[Row | None] = []
    row: Row | None
    for key, line in zip(block.keys, block.rows, strict=False):
        try:
            row = parse(line)
            parties(row.who)
            rows.append(row)
        except ValueError:
            rows.append(None)
            rejected.append(Rejected(key, line, "not a row of mysql.general_log"))
    sessions = _Sessions(block, rows)
    log_ins: dict[int, int] = {}
    uses: dict[int, AuditEvent] = {}
    events: list[AuditEvent | None] = []
    skipped: list[bytes] = []
    window, offset = block.window, block.zone_offset_us
    for place, row in enumerate(rows):
        if row is None:
            continue
        user, account, host, address = parties(row.who)
        if sessions.is_own(place, row, user):
            continue
        command = row.command
        opened, use = log_ins.pop(row.thread, None), uses.pop(row.thread, None)
        if command in _NO_EVENT:
            if row.thread:  # a row without a session is the first one of a table that the agent created
                skipped.append(command)
            continue
        try:
            time_us = window.utc_us(micros_of(row.time), offset)
        except ValueError:
            rejected.append(Rejected(block.keys[place], block.rows[place], "its time is malformed"))
            continue
        text = row.argument.decode(errors="backslashreplace")
        event = AuditEvent(
            key=block.keys[place],
            type=EventType.QUERY,
            time_us=time_us,
            user=user or None,
            session_id=str(row.thread),
            source_ip=address,
            source_host=host,
        )
        if account and account != user and command not in _LOG_INS:
            event.detail = {"account": account}
        if command in _STATEMENTS:
            event.query = text
            add_operations(event, Dialect.MYSQL)
            if event.operation == "USE":
                uses[row.thread] = event
            events.append(event)
            continue
        log_in = events[opened] if opened is not None else None
        if command == b"Init DB" and _refuses_use(use, text, (account, user, "")):
            continue
        begun = opening_of(row, transport_written=block.transport_written) if command in _LOG_INS else None
        if begun is not None:
            _opened(event, begun, command)
            if command == b"Connect":
                events.append(connection_of(event))
            log_ins[row.thread] = len(events)
        elif command in _LOG_INS:
            if _refused(event, text, log_in, (account, user, "")) and opened is not None:
                events[opened] = None
        else:
            _other(event, command, text, log_in, (account, user, ""))
            if opened is not None and event.type is EventType.LOGIN_FAILED:
                events[opened] = None
        events.append(event)
    for opened in log_ins.values():
        _unconfirmed(events[opened])
    decoded.events.extend(event for event in events if event is not None)
    for command, number in Counter(skipped).items():
        name = command.decode()
        decoded.left_out[name] = decoded.left_out.get(name, 0) + number


def _opened(event: AuditEvent, begun: Opening, command: bytes) -> None:
    event.type, event.outcome, event.database = EventType.LOGIN_SUCCESS, Outcome.SUCCESS, begun.database
    detail: dict[str, Any] = {}
    if begun.transport:
        detail["transport"] = begun.transport
    if command == b"Change user":
        detail["command"] = "Change user"
    if not begun.known:
        detail["database"] = "not known: the row is not as the server writes it"
    event.detail = detail or None


def _unconfirmed(event: AuditEvent | None) -> None:
    """The server writes no row if it refuses a log-in for an unknown database, a limit, or a lock."""
    if event is not None:
        event.outcome = None
        event.detail = {**(event.detail or {}), "unconfirmed": _UNCONFIRMED}


def _refuses_use(use: AuditEvent | None, text: str, accounts: tuple[str, ...]) -> bool:
    """Whether this is the refusal of a USE right before it in its session, which then failed."""
    if use is None or use.query is None:
        return False
    found = refused_database(text, accounts)
    asked = used_database(use.query)
    if found is None or found.database is None or asked is None:
        return False
    if found.database.casefold() != asked.casefold():
        return False
    use.outcome, use.severity, use.error_code = Outcome.FAILURE, Severity.WARNING, found.error_code
    use.detail = {**(use.detail or {}), "message": text}
    return True


def _other(
    event: AuditEvent, command: bytes, text: str, log_in: AuditEvent | None, accounts: tuple[str, ...]
) -> None:
    if command == b"Quit":
        event.type, event.outcome = EventType.DISCONNECT, Outcome.SUCCESS
        return
    if command == b"Init DB":
        found = refused_database(text, accounts)
        if found is not None and log_in is not None:
            _failed(event, found, text, log_in)
            return
        event.operation = "USE"
        if found is not None:
            event.outcome, event.severity = Outcome.FAILURE, Severity.WARNING
            event.error_code, event.detail = found.error_code, {"message": text}
        else:
            event.database = text or None
    else:
        name = command.decode(errors="replace")
        event.operation = name.upper()
        event.detail = {"command": name, "argument": text} if text else {"command": name}
    event.command_class = class_of(event.operation, Dialect.MYSQL)


def _refused(event: AuditEvent, text: str, log_in: AuditEvent | None, accounts: tuple[str, ...]) -> bool:
    """The refusal of a log-in; whether of the one that the session began with, and not of a change of its
    user.
    """
    found = refused_database(text, (*accounts, None)) or refused_log_in(text)
    user = event.user or ""
    if found.error_code != "1044" and found.user is not None and not _is_same(found.user, user):
        _failed(event, found, text, None)
        event.detail = {**(event.detail or {}), "command": "Change user", "session_user": user}
        event.user = found.user
        return False
    _failed(event, found, text, log_in)
    return True


def _is_same(named: str, user: str) -> bool:
    """Whether the user named in a message is this one: a message has only the beginning of a long name."""
    return named == user or (len(named) >= _SHORTEST_CUT and user.startswith(named))


def _failed(event: AuditEvent, found: Refusal, text: str, log_in: AuditEvent | None) -> None:
    event.type, event.outcome, event.severity = EventType.LOGIN_FAILED, Outcome.FAILURE, Severity.WARNING
    event.error_code = found.error_code
    event.database = found.database if log_in is None else log_in.database
    event.detail = {**((log_in.detail if log_in else None) or {}), "message": text}
