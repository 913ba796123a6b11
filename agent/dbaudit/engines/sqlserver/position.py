"""Where reading resumes: the cursor of this engine.

Many records share one offset, that of the buffer in which the server wrote them, and the server can only be
asked for the records after a given buffer. So a position is a buffer, the number of its records that were
read, and the buffer before it, after which the server is asked to begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from dbaudit.engine import cursors
from dbaudit.engine.base import Cursor
from dbaudit.engines.sqlserver.queries import FILE, OFFSET

_CURSOR_VERSION = 1
_OWN_SESSIONS_KEPT = 16


class Buffer(msgspec.Struct, frozen=True):
    """A buffer in a file of the server."""

    file: str
    offset: int


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """The first ``count`` records of ``buffer`` were read; ``before`` is the buffer before it, or None if
    that is not known. Without a buffer nothing was read yet.
    """

    buffer: Buffer | None = None
    count: int = 0
    before: Buffer | None = None

    def behind(self, rows: Sequence[Sequence[Any]]) -> Position:
        """The position after ``rows``, which follow this position."""
        buffer, count, before = self.buffer, self.count, self.before
        for row in rows:
            if buffer is not None and row[OFFSET] == buffer.offset and row[FILE] == buffer.file:
                count += 1
            else:
                buffer, count, before = Buffer(row[FILE], row[OFFSET]), 1, buffer if count else before
        return Position(buffer, count, before)


class OwnSession(msgspec.Struct, frozen=True):
    """A session of the agent itself: its id, and when it began (microseconds since the epoch)."""

    session_id: int
    since_us: int


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The position in every trail, by its key, and the agent's latest sessions."""

    trails: dict[str, Position]
    own: list[OwnSession] = []
    v: int = _CURSOR_VERSION

    @classmethod
    def of(cls, cursor: Cursor) -> Progress:
        """Raises ConfigurationError for a cursor that is not one of this engine."""
        return cursors.understood(cursor, cls, _CURSOR_VERSION)

    def cursor(self) -> Cursor:
        built: dict[str, Any] = msgspec.to_builtins(self)
        return built

    def moved(self, key: str, position: Position) -> Progress:
        return msgspec.structs.replace(self, trails={**self.trails, key: position})

    def without(self, key: str) -> Progress:
        return msgspec.structs.replace(self, trails={k: p for k, p in self.trails.items() if k != key})

    def joined_by(self, session: OwnSession) -> Progress:
        """With a session of the agent that began now."""
        if session in self.own:
            return self
        return msgspec.structs.replace(self, own=[*self.own, session][-_OWN_SESSIONS_KEPT:])
