"""Times of the general log.

The table keeps a time as the local time of the session that was logged, without its zone: after ``SET
time_zone`` the same instant reads otherwise. The rows are written in order, though, and when they were
written is known from the reading.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

_MINUTE_US = 60_000_000
_QUARTER_US = 15 * _MINUTE_US
_LARGEST_OFFSET_US = 14 * 60 * _MINUTE_US
_SLACK_US = 2_000_000
_LAST_SECOND = 253_000_000_000


class TimeWindow(msgspec.Struct, frozen=True):
    """When some rows were written, in microseconds since the epoch; 0 for a side that is not known."""

    since_us: int = 0
    until_us: int = 0

    def utc_us(self, local_us: int, offset_us: int) -> int:
        """The instant of a row with the local time ``local_us``, in a zone that probably adds
        ``offset_us`` to UTC; otherwise in the one of whole quarters of an hour that puts it into the window.
        """
        instant = local_us - offset_us
        since, until = self.since_us - _SLACK_US, self.until_us + _SLACK_US
        if not self.until_us or since <= instant <= until:
            return instant
        for step in (_QUARTER_US, _MINUTE_US):
            zone = -(-(local_us - until) // step) * step
            if abs(zone) <= _LARGEST_OFFSET_US and local_us - zone >= since:
                return local_us - zone
        return instant


def micros_of(text: bytes) -> int:
    """A time such as ``2026-02-03 10:15:00.120033`` (or without a fraction), taken for UTC.

    Raises ValueError for a malformed time.
    """
    if len(text) == 26 and text[19] == 46:
        return _seconds(text[:19]) * 1_000_000 + int(text[20:])
    if len(text) != 19:
        raise ValueError("it is no time")
    return _seconds(text) * 1_000_000


@lru_cache(maxsize=4096)
def _seconds(text: bytes) -> int:
    seconds = int(datetime.fromisoformat(text.decode()).replace(tzinfo=UTC).timestamp())
    if not 0 <= seconds < _LAST_SECOND:
        raise ValueError("it is no time at which anything was logged")
    return seconds
