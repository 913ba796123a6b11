"""Where reading resumes: the cursor of this engine.

A trail has no number that only grows, and rows arrive late. So the position is the newest time that was
read with the rows of that time, and how many rows were read of each minute before it: a minute that has more
rows now is read again.
"""

from __future__ import annotations

import msgspec

from dbaudit.engine import cursors
from dbaudit.engine.base import Cursor

_CURSOR_VERSION = 1
_PROGRESS_VERSION = 2
MINUTE_US = 60_000_000
UNIFIED = "unified"
OWN_SESSIONS_KEPT = 16


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the trail; times are microseconds since the epoch, UTC.

    ``start_us``: what is older was never asked for. ``front_us`` is the time of the newest row that was read,
    and ``at_front`` holds the keys of the rows of that time with how often each was there; none while no row
    was read, or when those that were have been purged. ``minutes`` says how many rows were read of each
    minute (counted since the epoch) of the window in which rows may come late. ``purged_us``: the last gap
    event reported that the server had purged the trail up to this time.
    """

    v: int = _CURSOR_VERSION
    start_us: int
    front_us: int
    at_front: dict[str, int] = {}
    minutes: dict[str, int] = {}
    purged_us: int = 0

    def cursor(self) -> Cursor:
        """As JSON values."""
        cursor: Cursor = msgspec.to_builtins(self)
        return cursor


def understood(cursor: Cursor) -> Position:
    """The position that a stored cursor holds. Raises ConfigurationError for one of another engine."""
    position = cursors.understood(cursor, Position, _CURSOR_VERSION)
    try:
        numbers = [int(minute) for minute in position.minutes]
    except ValueError:
        raise cursors.not_ours() from None
    if min([position.front_us, *numbers]) < 0:
        raise cursors.not_ours()
    return position


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The position in each trail that is read, by the trail's name, and the numbers of the agent's latest
    sessions, by which some trails know it.
    """

    trails: dict[str, Cursor]
    own: list[int] = []
    v: int = _PROGRESS_VERSION

    @classmethod
    def of(cls, cursor: Cursor) -> Progress:
        """Raises ConfigurationError for a cursor that is not one of this engine.

        A position by itself, as it was stored before there were several trails, is that of the unified one.
        """
        if cursor.get("v") == _CURSOR_VERSION:
            understood(cursor)
            return cls({UNIFIED: cursor})
        progress = cursors.understood(cursor, cls, _PROGRESS_VERSION)
        for position in progress.trails.values():
            understood(position)
        return progress

    def cursor(self) -> Cursor:
        """As JSON values; the unified trail alone is stored as its position, as ever."""
        if list(self.trails) == [UNIFIED]:
            return self.trails[UNIFIED]
        cursor: Cursor = msgspec.to_builtins(self)
        return cursor

    def moved(self, trail: str, position: Cursor) -> Progress:
        return msgspec.structs.replace(self, trails={**self.trails, trail: position})

    def without(self, trail: str) -> Progress:
        left = {name: position for name, position in self.trails.items() if name != trail}
        return msgspec.structs.replace(self, trails=left)

    def joined_by(self, session: int) -> Progress:
        """With a session of the agent that began now."""
        if session in self.own:
            return self
        return msgspec.structs.replace(self, own=[*self.own, session][-OWN_SESSIONS_KEPT:])
