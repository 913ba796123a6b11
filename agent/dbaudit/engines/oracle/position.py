"""Where reading goes on: the cursor of this engine.

The trail has no number that only grows, and rows arrive late. So the position is the newest time that was
read with the rows of that time, and how many rows were read of each minute before it: a minute that has more
rows now is read again.
"""

from __future__ import annotations

import msgspec

from dbaudit.engine import cursors
from dbaudit.engine.base import Cursor

_CURSOR_VERSION = 1
MINUTE_US = 60_000_000


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """A place in the trail; times are microseconds since the epoch, UTC.

    ``start_us``: what is older was never asked for. ``front_us`` is the time of the newest row that was read,
    and ``at_front`` holds the keys of the rows of that time with how often each was there; none while no row
    was read, or when those that were have been purged. ``minutes`` says how many rows were read of each
    minute (counted since the epoch) of the window in which rows may come late. ``purged_us`` is up to when
    the server said that the trail was purged when a gap was told.
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
