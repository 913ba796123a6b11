"""Reading one trail: forwards, and again where rows came late or were purged."""

from __future__ import annotations

import calendar
import contextlib
import datetime
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from dbaudit.core.errors import ConfigurationError
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engine.options import StartFrom
from dbaudit.engines.oracle.connection import Result, ServerConnection
from dbaudit.engines.oracle.failures import user_of
from dbaudit.engines.oracle.options import Options
from dbaudit.engines.oracle.position import MINUTE_US, Position, understood
from dbaudit.engines.oracle.trail import (
    ROWS_A_QUERY,
    SQL_TEXT,
    Trail,
    key_of,
    microseconds,
    time_of,
)

NOW = "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM dual"
LOOK_BACK_EVERY_SECONDS = 10.0
_SHARE_OF_SCANS = 0.05
"""At most this share of the time goes to queries that read a whole trail, as those on SYS.AUD$ do."""
_LONGEST_PAUSE_SECONDS = 300.0
_BYTES_BESIDE_TEXT = 400
"""About how many bytes a row takes in addition to its statement."""
_REMEMBERED_ROWS = 200_000

_Row = tuple[Any, ...]


class TrailReader:
    """Reads one trail over one connection.

    What it remembers between two reads (a query whose rows were not all fetched, and which rows of the last
    minutes it gave) only saves work: it is dropped when a cursor comes that is not the one it gave last.
    """

    def __init__(
        self,
        connection: ServerConnection,
        options: Options,
        read_trail: Callable[[ServerConnection], Trail],
        look_back_every_seconds: float = LOOK_BACK_EVERY_SECONDS,
    ) -> None:
        self._connection = connection
        self._options = options
        self._read_trail = read_trail
        self._every_seconds = look_back_every_seconds
        self._trail: Trail | None = None
        self._own: dict[str, Any] = {}
        self._next_look = 0.0
        self._next_query = 0.0
        self._given: Position | None = None
        self._forward: _Forward | None = None
        self._remembered = _Remembered()

    def read(self, cursor: Cursor | None, limit_bytes: int, own_sessions: Sequence[int] = ()) -> Chunk:
        """See ``Session.read``; ``own_sessions`` are the numbers of the agent's sessions, where it is known
        by them.
        """
        trail = self._trail = self._trail or self._read_trail(self._connection)
        target = self._connection.target
        self._own = trail.own(user_of(target), target.application_name, own_sessions)
        if cursor is None:
            self._given = self._start()
            return Chunk(records=[], cursor=self._given.cursor())
        position = understood(cursor)
        if position != self._given:
            self.close()
            self._remembered = _Remembered()
            self._next_look = self._next_query = 0.0
        elif self._forward is None and time.monotonic() < self._next_query:
            return Chunk(records=[], cursor=position.cursor())
        began = time.monotonic()
        rows: list[_Row] = []
        gaps: tuple[AuditEvent, ...] = ()
        more = False
        if self._forward is None and time.monotonic() >= self._next_look:
            position, rows, gaps, more = self._look_back(trail, position, limit_bytes)
        if not rows and not gaps and not more:
            position, rows, gaps, more = self._read_forward(trail, position, limit_bytes)
        else:
            more = True
        if trail.scanned and not more:
            took = time.monotonic() - began
            self._next_query = time.monotonic() + min(_LONGEST_PAUSE_SECONDS, took / _SHARE_OF_SCANS)
        self._given = position
        return Chunk(records=rows, cursor=position.cursor(), gaps=gaps, more=more)

    def close(self) -> None:
        """Drop the query whose rows were not all fetched."""
        if self._forward is not None:
            self._forward.result.close()
            self._forward = None

    def _start(self) -> Position:
        now_us = microseconds(self._connection.value(NOW))
        start_us = 0 if self._options.start_from is StartFrom.BEGINNING else now_us
        return Position(start_us=start_us, front_us=start_us)

    # -- forwards

    def _read_forward(
        self, trail: Trail, position: Position, limit_bytes: int
    ) -> tuple[Position, list[_Row], tuple[AuditEvent, ...], bool]:
        forward = self._forward
        # A query that was run at an earlier call has not what was recorded since.
        resumed = forward is not None
        if forward is None:
            parameters = {**self._own, "low": time_of(position.front_us)}
            forward = _Forward(self._connection.query(trail.following, parameters), position)
        self._forward = None
        rows: list[_Row] = []
        counts: dict[int, int] = {}
        size = minute = 0
        end_of_minute = time_of(0)
        ended = False
        remembered = self._remembered.of(0)
        try:
            for row, key in forward.unread:
                time_read = row[0]
                if time_read >= end_of_minute:
                    minute = microseconds(time_read) // MINUTE_US
                    end_of_minute = time_of((minute + 1) * MINUTE_US)
                    remembered = self._remembered.of(minute)
                    counts[minute] = 0
                counts[minute] += 1
                remembered.add((time_read, key))
                rows.append(row)
                size += _BYTES_BESIDE_TEXT + len(row[SQL_TEXT] or "")
                if size >= limit_bytes:
                    break
            else:
                ended = True
        except BaseException:
            forward.result.close()
            raise
        if ended:
            forward.result.close()
        else:
            self._forward = forward
        gaps: tuple[AuditEvent, ...] = ()
        if forward.purged:
            forward.purged = False
            position, gaps = self._lost(trail, position, self._purged_until_us(trail))
        if rows:
            position = self._moved(position, microseconds(rows[-1][0]), counts, forward.at_front)
        return position, rows, gaps, bool(resumed or gaps or not ended or forward.seen >= ROWS_A_QUERY)

    def _moved(
        self, position: Position, front_us: int, counts: dict[int, int], at_front: dict[str, int]
    ) -> Position:
        minutes = {int(minute): count for minute, count in position.minutes.items()}
        for minute, count in counts.items():
            minutes[minute] = minutes.get(minute, 0) + count
        first = self._window_start_us(position, front_us) // MINUTE_US
        self._remembered.drop_before(first)
        return msgspec.structs.replace(
            position,
            front_us=front_us,
            at_front=dict(at_front),
            minutes={str(minute): count for minute, count in minutes.items() if minute >= first},
        )

    def _window_start_us(self, position: Position, front_us: int) -> int:
        """Where the window begins in which rows may come late: at the beginning of a minute."""
        minute = front_us // MINUTE_US - self._options.late_rows_minutes
        return max(minute * MINUTE_US, position.start_us)

    # -- back again

    def _look_back(
        self, trail: Trail, position: Position, limit_bytes: int
    ) -> tuple[Position, list[_Row], tuple[AuditEvent, ...], bool]:
        """Rows that came late, a gap where rows were purged unread, and whether more came late."""
        times = {
            "low": time_of(self._window_start_us(position, position.front_us)),
            "front": time_of(position.front_us),
        }
        counted = self._connection.rows(trail.counts, {**self._own, **times})
        of_front = sum(position.at_front.values())
        gaps: tuple[AuditEvent, ...] = ()
        if not position.at_front and (until_us := self._purged_until_us(trail)) > max(
            position.front_us, position.purged_us
        ):
            # No row was read whose absence would show that rows were purged.
            position, gaps = self._lost(trail, position, until_us)
        there = {_minute(name): int(before) for name, before, _at_front in counted}
        front_minute = position.front_us // MINUTE_US
        read = {int(minute): count for minute, count in position.minutes.items()}
        read[front_minute] = read.get(front_minute, 0) - of_front
        rows: list[_Row] = []
        more = False
        # Where there are fewer than were read, the others were purged after that.
        for minute, count in sorted(there.items()):
            if count > read.get(minute, 0):
                if limit_bytes <= 0:
                    more = True
                    continue
                late, size, whole = self._late_rows(trail, minute, position, limit_bytes)
                rows += late
                limit_bytes -= size
                if not whole:
                    more = True
                    continue
            read[minute] = count
        kept = {minute: min(count, there.get(minute, 0)) for minute, count in read.items()}
        still_at_front = min(of_front, sum(int(at_front) for _name, _before, at_front in counted))
        kept[front_minute] = kept.get(front_minute, 0) + still_at_front
        self._next_look = 0.0 if more else time.monotonic() + self._every_seconds
        minutes = {str(minute): count for minute, count in sorted(kept.items()) if count > 0}
        return msgspec.structs.replace(position, minutes=minutes), rows, gaps, more

    def _late_rows(
        self, trail: Trail, minute: int, position: Position, limit_bytes: int
    ) -> tuple[list[_Row], int, bool]:
        """The rows of a minute that were not given yet, as far as is remembered; their size; whether these
        are all.
        """
        times = {
            "low": time_of(max(minute * MINUTE_US, position.start_us)),
            "high": time_of(min((minute + 1) * MINUTE_US, position.front_us)),
        }
        remembered = self._remembered.of(minute)
        counts: dict[tuple[Any, str], int] = {}
        rows: list[_Row] = []
        size = 0
        with self._connection.query(trail.between, {**self._own, **times}) as result:
            for row in result:
                key = key_of(row)
                before = counts.get((row[0], key), 0)
                counts[row[0], key] = before + 1
                if before:
                    row = (*row, before)
                    key = key_of(row)
                if (row[0], key) in remembered:
                    continue
                if size >= limit_bytes:
                    return rows, size, False
                remembered.add((row[0], key))
                rows.append(row)
                size += _BYTES_BESIDE_TEXT + len(row[SQL_TEXT] or "")
        return rows, size, True

    def _purged_until_us(self, trail: Trail) -> int:
        """Up to when the server says that the trail was purged; 0 where it does not say."""
        with contextlib.suppress(ConfigurationError):  # the view is not needed, and may not be granted
            until = self._connection.value(trail.purged_until)
            return microseconds(until) if until is not None else 0
        return 0

    def _lost(
        self, trail: Trail, position: Position, until_us: int
    ) -> tuple[Position, tuple[AuditEvent, ...]]:
        prefix = f"{trail.name}." if trail.by_session else ""
        lost = gap(
            f"{prefix}purged.{position.front_us}.{until_us}",
            position.front_us,
            "The audit trail was purged beyond what was read: later rows may be lost.",
            source=trail.name,
            lost_records=None,
            last_archive_time_us=until_us or None,
        )
        return msgspec.structs.replace(position, at_front={}, purged_us=until_us), (lost,)


class _Forward:
    """A query for newer rows that are not all fetched yet.

    ``at_front`` are the keys of the newest time that was reached, with how often each was there. ``purged``:
    the newest rows that had been read are gone. A purge removes everything before a time, so while one of
    these rows is there, no later one is lost.
    """

    def __init__(self, result: Result, position: Position) -> None:
        self.result = result
        self.at_front = dict(position.at_front)
        self.seen = 0
        self.purged = False
        self.unread = self._unread(position)

    def _unread(self, position: Position) -> Iterator[tuple[_Row, str]]:
        given = dict(position.at_front)
        anchored = not given
        current = time_of(position.front_us)
        for row in self.result:
            self.seen += 1
            if row[0] != current:
                current = row[0]
                self.at_front.clear()
                given.clear()
                self.purged = self.purged or not anchored
                anchored = True
            key = key_of(row)
            if given and given.get(key, 0) > 0:
                given[key] -= 1
                anchored = True
                continue
            before = self.at_front.get(key, 0)
            self.at_front[key] = before + 1
            if before:
                row = (*row, before)
                key = key_of(row)
            yield row, key
        self.purged = self.purged or not anchored


class _Remembered:
    """Which rows of the last minutes were given, each by its time and key; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._minutes: dict[int, set[tuple[datetime.datetime, str]]] = {}

    def of(self, minute: int) -> set[tuple[datetime.datetime, str]]:
        """Those of a minute, to be added to."""
        while len(self._minutes) > 1 and sum(map(len, self._minutes.values())) > _REMEMBERED_ROWS:
            del self._minutes[min(self._minutes)]
        return self._minutes.setdefault(minute, set())

    def drop_before(self, minute: int) -> None:
        for old in [old for old in self._minutes if old < minute]:
            del self._minutes[old]


def _minute(name: str) -> int:
    return calendar.timegm(time.strptime(name, "%Y-%m-%d %H:%M")) // 60
