"""Failed log-ins from performance_schema.error_log, for servers whose general log is off.

The table is a ring in memory. The server makes each value of LOGGED unique; it is the key of the table.
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
from dbaudit.engines.mysql_protocol.log_ins import (
    DENIED,
    Refusal,
    refused_database,
    refused_log_in,
    source_of,
)
from dbaudit.engines.mysql_protocol.times import micros_of

SOURCE = "error_log"
_CURSOR_VERSION = 1
_PAUSE_SECONDS = 1.0
_REFUSED = re.compile(rb"Access denied for user '|Unknown database '|Password for the account '")
_UNKNOWN_DATABASE = re.compile(r"Unknown database '(.*)'\Z", re.DOTALL)
_EXPIRED = re.compile(r"Password for the account '(.*)'@'([^']*)' has expired\b", re.DOTALL)
_WITH_PASSWORD, _WITHOUT, _ABORTED = "MY-010926", "MY-010927", "MY-010914"
_ROW_BYTES = 200


class ErrorLogBlock(msgspec.Struct, frozen=True):
    """Rows of the table, oldest first: LOGGED, THREAD_ID, ERROR_CODE and DATA."""

    rows: tuple[tuple[str, int, str, bytes], ...]


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where reading resumes, the cursor: LOGGED of the row that was read last; empty before the first row."""

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
        refused = tuple((str(r[0]), int(r[1]), str(r[2]), bytes(r[3])) for r in rows if _REFUSED.match(r[3]))
        blocks = [ErrorLogBlock(refused)] if refused else []
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
        for logged, thread, code, data in block.rows:
            text = data.decode(errors="backslashreplace")
            found = _refusal(code, text)
            try:
                time_us = micros_of(logged.encode())
            except ValueError:
                found = None
            if found is None:
                decoded.rejected.append(Rejected(f"error_log:{logged}", data, "it is no refused log-in"))
                continue
            event = AuditEvent(f"error_log:{logged}", EventType.LOGIN_FAILED, time_us)
            event.severity, event.outcome = Severity.WARNING, Outcome.FAILURE
            event.user, event.database = found.user or None, found.database
            event.source_ip, event.source_host = source_of(found.host)
            event.error_code = found.error_code
            event.session_id = str(thread) if thread else None
            event.detail = {"message": text}
            decoded.events.append(event)
    return decoded


def _refusal(code: str, text: str) -> Refusal | None:
    """The refusal in a row. Its error number says which message it is: names in it may look like another."""
    if code == _ABORTED:
        unknown = _UNKNOWN_DATABASE.match(text)
        if unknown is not None:
            return Refusal("1049", database=unknown[1])
        return refused_database(text)
    expired = _EXPIRED.match(text)
    if expired is not None:
        return Refusal("1862", expired[1], expired[2])
    found = refused_log_in(text)
    if code == _WITHOUT and found.error_code is None and text.endswith("'"):
        user, _at, host = text[len(DENIED) : -1].rpartition("'@'")
        return Refusal("1698", user, host)
    if code not in (_WITH_PASSWORD, _WITHOUT):
        database = refused_database(text)
        if database is not None and found.error_code is not None:
            return Refusal(None)  # it reads as either
        found = database or found
    return found if found.error_code is not None else None


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
