"""Failed log-ins from performance_schema.error_log: what a server tells whose general log is off.

The table is a ring in memory; the server makes each LOGGED unique, it is the key of the table.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity, gap
from dbaudit.engine import cursors
from dbaudit.engine.base import Chunk, Cursor, Decoded
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.times import micros_of

SOURCE = "error_log"
_CURSOR_VERSION = 1
_PAUSE_SECONDS = 1.0
_DENIED = re.compile(rb"Access denied for user '(.*)'@'([^']*)'", re.DOTALL)
_ROW_BYTES = 200


class ErrorLogBlock(msgspec.Struct, frozen=True):
    """Rows of the table, oldest first: LOGGED, THREAD_ID, ERROR_CODE and DATA."""

    rows: tuple[tuple[str, int, str, bytes], ...]


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where reading goes on; the cursor: LOGGED of the row that was read last, empty before any."""

    v: int = _CURSOR_VERSION
    source: str = SOURCE
    logged: str = ""

    def cursor(self) -> Cursor:
        cursor: dict[str, Any] = msgspec.to_builtins(self)
        return cursor


class ErrorLogReader:
    """Reads the error log of one server, chunk by chunk."""

    def __init__(
        self, connection: ServerConnection, *, beginning: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connection = connection
        self._beginning = beginning
        self._clock = clock
        self._quiet: Place | None = None
        self._quiet_until = 0.0

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The rows after ``cursor``, about ``limit_bytes`` of them at most."""
        if cursor is None:
            return Chunk(records=[], cursor=self._first_place().cursor())
        place = _understood(cursor)
        if place == self._quiet and self._clock() < self._quiet_until:
            return Chunk(records=[], cursor=cursor)
        limit = max(1, min(5000, limit_bytes // _ROW_BYTES))
        rows = self._connection.rows(
            "SELECT CAST(LOGGED AS CHAR), THREAD_ID, ERROR_CODE, CAST(DATA AS BINARY) "
            "FROM performance_schema.error_log WHERE LOGGED >= %s ORDER BY LOGGED LIMIT %s",
            [place.logged or "1970-01-02 00:00:00", limit + 1],
        )
        gaps: tuple[AuditEvent, ...] = ()
        if place.logged and rows and rows[0][0] == place.logged:
            rows = rows[1:]
        elif place.logged:
            gaps = (_lost(place),)
        if not rows and not gaps:
            self._quiet, self._quiet_until = place, self._clock() + _PAUSE_SECONDS
            return Chunk(records=[], cursor=cursor)
        after = Place(logged=str(rows[-1][0]) if rows else "")
        told = tuple((str(r[0]), int(r[1]), str(r[2]), bytes(r[3])) for r in rows if _DENIED.match(r[3]))
        blocks = [ErrorLogBlock(told)] if told else []
        return Chunk(records=blocks, cursor=after.cursor(), gaps=gaps, more=len(rows) >= limit)

    def acknowledge(self, cursor: Cursor) -> None:
        """The ring is the server's: nothing is dropped."""

    def close(self) -> None:
        """Nothing of its own is open."""

    def _first_place(self) -> Place:
        if self._beginning:
            return Place()
        last = self._connection.value("SELECT CAST(MAX(LOGGED) AS CHAR) FROM performance_schema.error_log")
        return Place(logged=str(last or ""))


def decode(records: Sequence[ErrorLogBlock]) -> Decoded:
    """The failed log-ins of some rows. Pure."""
    decoded = Decoded([], [])
    for block in records:
        for logged, thread, _code, data in block.rows:
            found = _DENIED.match(data)
            try:
                time_us = micros_of(logged.encode())
            except ValueError:
                found = None
            if found is None:
                decoded.rejected.append(Rejected(f"error_log:{logged}", data, "it is no refused log-in"))
                continue
            event = AuditEvent(f"error_log:{logged}", EventType.LOGIN_FAILED, time_us)
            event.severity, event.outcome = Severity.WARNING, Outcome.FAILURE
            event.user = found[1].decode(errors="backslashreplace") or None
            host = found[2].decode(errors="backslashreplace")
            event.source_ip, event.source_host = (host, None) if _is_address(host) else (None, host)
            event.error_code = "1044" if b"' to database '" in data else "1045"
            event.session_id = str(thread) if thread else None
            event.detail = {"message": data.decode(errors="backslashreplace")}
            decoded.events.append(event)
    return decoded


def _is_address(host: str) -> bool:
    return bool(re.fullmatch(r"[0-9.]+|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", host))


def _understood(cursor: Cursor) -> Place:
    place = cursors.understood(cursor, Place, _CURSOR_VERSION, "error log")
    if place.source != SOURCE:
        raise cursors.not_ours("error log")
    return place


def _lost(place: Place) -> AuditEvent:
    return gap(
        key=f"gap:error_log:{place.logged}",
        time_us=now_us(),
        reason="The row that was read last is not in performance_schema.error_log any more.",
        source="performance_schema.error_log",
        lost_records=None,
    )
