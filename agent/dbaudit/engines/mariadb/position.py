"""Where reading resumes: the cursor of this engine."""

from __future__ import annotations

from typing import Any

import msgspec

from dbaudit.engine import cursors
from dbaudit.engine.base import Cursor
from dbaudit.engines.mariadb.options import Source

_CURSOR_VERSION = 1


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in one source; ``place`` has the form of that source.

    ``writes_failed`` is how many records server_audit had failed to write when it was asked last.
    ``time_stamps`` are the latest formats of time stamps that it was set to beside the usual one.
    """

    v: int = _CURSOR_VERSION
    source: Source
    place: dict[str, Any]
    writes_failed: int | None = None
    time_stamps: list[str] = []

    def cursor(self) -> Cursor:
        """As JSON values."""
        cursor: dict[str, Any] = msgspec.to_builtins(self)
        return cursor


def understood(cursor: Cursor) -> Position:
    """The position that a stored cursor holds. Raises ConfigurationError for one of another engine."""
    position = cursors.understood(cursor, Position, _CURSOR_VERSION)
    if position.source is Source.AUTO:
        raise cursors.not_ours()
    return position
