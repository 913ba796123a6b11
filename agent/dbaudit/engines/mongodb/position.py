"""Where reading resumes: the cursor of this engine, with an entry for every member of the deployment."""

from __future__ import annotations

from typing import Any

import msgspec

from dbaudit.engine import cursors
from dbaudit.engine.base import Cursor
from dbaudit.engine.local_files import FilePosition

_CURSOR_VERSION = 1


class RingPosition(msgspec.Struct, frozen=True, kw_only=True):
    """How many lines the process ``process`` had written to its log."""

    process: str
    lines: int


class ProfilePosition(msgspec.Struct, frozen=True, kw_only=True):
    """The last document that was read of system.profile: its record id, its hash and its time."""

    number: int = 0
    hash: str = ""
    time_ms: int = 0


class MemberPosition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the reading of one server resumes: its log by ``ring`` or ``file``, its audit log, and its
    profilers by database.

    ``since_us`` is when collecting from it began. ``own`` are the agent's own connections; ``parts`` are the
    connections whose last logged statement is a part of an update or a delete, and which one (parts.py).
    """

    since_us: int = 0
    ring: RingPosition | None = None
    file: FilePosition | None = None
    audit: FilePosition | None = None
    profiles: dict[str, ProfilePosition] = {}
    own: tuple[str, ...] = ()
    parts: dict[str, str] = {}


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """The members by their addresses. ``since_us`` is when collecting began."""

    v: int = _CURSOR_VERSION
    since_us: int = 0
    members: dict[str, MemberPosition] = {}

    def cursor(self) -> Cursor:
        """As JSON values."""
        cursor: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return cursor


def understood(cursor: Cursor) -> Position:
    """The position that a stored cursor holds. Raises ConfigurationError for one of another engine."""
    if not isinstance(cursor.get("members"), dict):
        raise cursors.not_ours()
    return cursors.understood(cursor, Position, _CURSOR_VERSION)
