"""Rows out of the files of a trail, by the functions of the server."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import msgspec

from dbaudit.engines.sqlserver import queries
from dbaudit.engines.sqlserver.connection import ServerConnection
from dbaudit.engines.sqlserver.failures import ServerError
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.position import Buffer, Position
from dbaudit.engines.sqlserver.queries import FILE, OFFSET
from dbaudit.engines.sqlserver.trails import Trail

_SMALLEST_ROW_BYTES = 256
_MOST_ROWS = 20_000
_NO_FILES = frozenset({33224, 25718, 25717})
_NO_SUCH_PLACE = frozenset({33225, 25722, 25723})
"""Numbers of sys.messages: the pattern matches no file; the file or the offset in it does not exist."""
_SKIPPING = re.compile(r"is skipping records|\((?:33226|25720)\)")


class FilesGoneError(Exception):
    """The file or buffer of the position is gone; ``reason`` is one line for people."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Portion(msgspec.Struct, frozen=True):
    """``rows`` that follow a position; ``skipped`` rows of the first one's buffer come before it. ``more``
    says that others are there already; ``passed_over`` is what the server said of records that it cannot
    read.
    """

    rows: Sequence[Any]
    skipped: int
    more: bool
    passed_over: tuple[str, ...] = ()


class TrailFiles:
    """The files of trails, over one connection."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._columns: frozenset[str] | None = None

    @cached_property
    def actions(self) -> dict[str, str]:
        """The server's names of action ids; empty if the agent may not read them."""
        try:
            return dict(self._connection.rows(queries.actions_query()))
        except ServerError:
            return {}

    @property
    def names_applications(self) -> bool:
        """Whether audit records of this server name the application; known after the first read."""
        return self._columns is not None and "application_name" in self._columns

    def read(self, trail: Trail, position: Position, limit_bytes: int) -> Portion:
        """What follows ``position``, about ``limit_bytes`` of it.

        Raises FilesGoneError where it is not known what follows.
        """
        buffer, before = position.buffer, position.before
        if buffer is None:
            return self._from_the_oldest(trail, limit_bytes)
        if before is not None:
            try:
                return self._rows(trail, position, limit_bytes, [before.file, before.offset], after=True)
            except _NotThereError:
                pass  # the file before this one may have been removed, and this one not
        floor = [buffer.file, buffer.file, buffer.offset]
        try:
            return self._rows(trail, position, limit_bytes, floor, floor=True)
        except _NotThereError as error:
            raise FilesGoneError(str(error)) from None

    def _from_the_oldest(self, trail: Trail, limit_bytes: int) -> Portion:
        try:
            return self._rows(trail, Position(), limit_bytes, [])
        except _NotThereError:
            return Portion([], 0, more=False)  # nothing was written yet

    def end(self, trail: Trail) -> Position:
        """The position after everything that was written so far."""
        # The current file alone: reading all of them may take longer than a statement may.
        current = trail.current if trail.kind is Kind.AUDIT else None
        try:
            found = self._executed(queries.end_query(trail.kind), [current or trail.pattern])
        except _NotThereError:
            return Position()
        if not found and current is not None:
            return Position(Buffer(current, 0))  # a file in which nothing stands yet
        places = [(Buffer(file, offset), int(count)) for file, offset, count in found]
        if not places:
            return Position()
        before = places[1][0] if len(places) > 1 else None
        return Position(places[0][0], places[0][1], before)

    def oldest(self, trail: Trail) -> Buffer | None:
        """The first buffer that is still there; None where nothing was written. Raises FilesGoneError."""
        query = queries.rows_query(trail.kind, self._known(trail))
        try:
            rows = self._executed(query, [1, trail.pattern])
        except _NotThereError as error:
            raise FilesGoneError(str(error)) from None
        return Buffer(rows[0][FILE], rows[0][OFFSET]) if rows else None

    def _rows(
        self,
        trail: Trail,
        position: Position,
        limit_bytes: int,
        start: list[Any],
        *,
        after: bool = False,
        floor: bool = False,
    ) -> Portion:
        wanted = position.count + min(_MOST_ROWS, max(1, limit_bytes // _SMALLEST_ROW_BYTES)) + 1
        query = queries.rows_query(trail.kind, self._known(trail), after=after, floor=floor)
        parameters = [wanted, trail.pattern, *start]
        rows: list[Any] = []
        passed_over: list[str] = []
        size = 0
        try:
            for batch, said in self._connection.batches(query, parameters):
                passed_over += [text for text in said if _SKIPPING.search(text)]
                for row in batch:
                    if len(rows) >= position.count:
                        size += _size_of(row)
                    rows.append(row)
                if size > limit_bytes:
                    break
        except ServerError as error:
            raise _meaning(error) from None
        self._check(position, rows)
        rest = rows[position.count :]
        kept = _within(rest, limit_bytes)
        same = position.buffer is not None and bool(kept) and _in(kept[0], position.buffer)
        return Portion(
            [tuple(row) for row in kept],
            position.count if same else 0,
            more=len(kept) < len(rest) or len(rows) >= wanted,
            passed_over=tuple(dict.fromkeys(passed_over)),
        )

    def _check(self, position: Position, rows: Sequence[Any]) -> None:
        """Check that what was read before is still there."""
        buffer = position.buffer
        if buffer is None or position.count == 0:
            return
        seen = rows[: position.count]
        if len(seen) < position.count or not all(_in(row, buffer) for row in seen):
            raise _NotThereError("A file was removed or replaced before it was read to its end.")

    def _known(self, trail: Trail) -> frozenset[str]:
        if trail.kind is not Kind.AUDIT:
            return frozenset()
        if self._columns is None:
            try:
                columns = self._connection.columns(queries.columns_query(), [trail.pattern])
            except ServerError as error:
                raise _meaning(error) from None
            self._columns = frozenset(columns)
        return self._columns

    def _executed(self, query: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.rows(query, parameters)
        except ServerError as error:
            raise _meaning(error) from None


class _NotThereError(Exception):
    """The server knows no such file, or no such place in it."""


def _meaning(error: ServerError) -> Exception:
    if error.numbers & (_NO_FILES | _NO_SUCH_PLACE):
        return _NotThereError("A file was removed before it was read to its end.")
    return error


def _in(row: Sequence[Any], buffer: Buffer) -> bool:
    return bool(row[OFFSET] == buffer.offset and row[FILE] == buffer.file)


def _within(rows: Sequence[Any], limit_bytes: int) -> Sequence[Any]:
    """The first rows, one at least, that are about as large as the limit."""
    size = 0
    for number, row in enumerate(rows):
        size += _size_of(row)
        if size > limit_bytes and number:
            return rows[:number]
    return rows


def _size_of(row: Sequence[Any]) -> int:
    return sum(len(value) for value in row if isinstance(value, str)) + 8 * len(row)
