"""Time stamps of MongoDB's JSON: ISO 8601 texts, or milliseconds."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from dbaudit.core.clock import to_us
from dbaudit.core.errors import RecordError

_MOST_REMEMBERED = 4096
_LENGTH_OF_SECONDS = 19
_Seconds = dict[str, int]
# By the text of a second, for each zone; and by what follows it, with the seconds of that zone.
_seconds_of_zones: dict[str, _Seconds] = {}
_fractions: dict[str, tuple[int, _Seconds]] = {}


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
    try:
        # Cached: most records have a second, and a fraction of a second, that was parsed before.
        fraction_us, seconds = _fractions[text[_LENGTH_OF_SECONDS:]]
        return seconds[text[:_LENGTH_OF_SECONDS]] + fraction_us
    except KeyError:
        return _new_text_us(text)


def _new_text_us(text: str) -> int:
    milliseconds, zone = text[20:23], text[23:]
    plain = len(milliseconds) == 3 and milliseconds.isascii() and milliseconds.isdecimal()
    if text[19:20] != "." or zone[:1] not in ("+", "-", "Z") or not plain:
        return _parsed(text)
    second, fraction_us = text[:_LENGTH_OF_SECONDS], int(milliseconds) * 1000
    second_us = _parsed(second + zone)
    for remembered in (_seconds_of_zones, _fractions):
        if len(remembered) >= _MOST_REMEMBERED:
            remembered.clear()
    seconds = _seconds_of_zones.setdefault(zone, {})
    if len(seconds) >= _MOST_REMEMBERED:
        seconds.clear()
    seconds[second] = second_us
    _fractions[text[_LENGTH_OF_SECONDS:]] = (fraction_us, seconds)
    return second_us + fraction_us


def _parsed(text: str) -> int:
    try:
        return to_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        raise RecordError("a date without a zone, or of an unknown form") from None
