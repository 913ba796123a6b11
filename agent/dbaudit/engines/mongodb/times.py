"""Time stamps of MongoDB's JSON: ISO 8601 texts, or milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from dbaudit.core.clock import to_us
from dbaudit.core.errors import RecordError

_MOST_REMEMBERED = 4096
_LENGTH_OF_SECONDS = 19
_whole_seconds: dict[str, int] = {}


class Stamp(msgspec.Struct, gc=False):
    """A date of Extended JSON."""

    date: str | int | float | dict[str, Any] = msgspec.field(name="$date")


def stamp_us(stamp: Stamp) -> int:
    """Microseconds since the epoch. Raises RecordError."""
    date = stamp.date
    if isinstance(date, str):
        return text_us(date)
    if isinstance(date, dict):
        try:
            return int(date["$numberLong"]) * 1000
        except (KeyError, TypeError, ValueError):
            raise RecordError("a date of an unknown form") from None
    return round(date * 1000)


def text_us(text: str) -> int:
    """Microseconds since the epoch of a text such as ``2025-02-03T10:15:00.101Z``. Raises RecordError."""
    milliseconds = text[20:23]
    if text[19:20] == "." and text[23:24] in "+-Z" and milliseconds.isdecimal() and milliseconds.isascii():
        # The servers write milliseconds; many records are of the same second.
        seconds = text[:_LENGTH_OF_SECONDS] + text[23:]
        known = _whole_seconds.get(seconds)
        if known is None:
            known = _parsed(seconds)
            if len(_whole_seconds) >= _MOST_REMEMBERED:
                _whole_seconds.clear()
            _whole_seconds[seconds] = known
        return known + int(milliseconds) * 1000
    return _parsed(text)


def _parsed(text: str) -> int:
    try:
        return to_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise RecordError("a date without a zone, or of an unknown form") from None
