"""Time stamps of the log: `2026-11-21 19:34:04.240 UTC`, with the abbreviation of a zone or its distance to
UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dbaudit.core.clock import to_us
from dbaudit.core.errors import RecordError

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?:?(\d\d)?")
_POSIX = re.compile(r"<?([A-Za-z]{3,}|[+-]\d+)>?([+-]?)(\d{1,2})(?::(\d\d))?")
_REMEMBERED = 10_000
_REMEMBERED_ZONES = 100
_UTC_NAMES = ("UTC", "GMT")


class LogClock:
    """Reads the time stamps of a server whose `log_timezone` is the first of ``time_zones``, and was one of
    the others before. Remembers what it read; may be used by many threads.
    """

    def __init__(self, time_zones: tuple[str, ...]) -> None:
        self._zones = tuple(_zone(name) for name in time_zones)
        self._seconds: dict[str, dict[str, int]] = {}
        self._fractions: dict[str, tuple[int, dict[str, int]]] = {}

    def time_us(self, stamp: str) -> int:
        """Microseconds since the epoch. Raises RecordError for a stamp that cannot be placed without
        guessing."""
        try:
            fraction_us, seconds = self._fractions[stamp[19:]]
            return seconds[stamp[:19]] + fraction_us
        except KeyError:
            return self._new_time_us(stamp)

    def _new_time_us(self, stamp: str) -> int:
        second, rest = stamp[:19], stamp[19:]
        try:
            fraction_us = int(rest[1:4]) * 1000
        except ValueError:
            raise RecordError("the time stamp cannot be read") from None
        seconds = self._seconds.get(rest[4:], {})
        second_us = seconds.get(second)
        if second_us is None:
            second_us = self._second_us(second, rest[5:])
            if len(seconds) > _REMEMBERED:
                seconds.clear()
            seconds[second] = second_us
            if len(self._seconds) > _REMEMBERED_ZONES:
                self._seconds.clear()
            self._seconds[rest[4:]] = seconds
        if len(self._fractions) > _REMEMBERED:
            self._fractions.clear()
        self._fractions[rest] = (fraction_us, seconds)
        return second_us + fraction_us

    def _second_us(self, second: str, abbreviation: str) -> int:
        try:
            local = datetime.strptime(second, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # the zone comes beside it
            for zone in self._candidates(abbreviation):
                for fold in (0, 1):  # the abbreviation says which one of an hour that happens twice in autumn
                    placed = local.replace(tzinfo=zone, fold=fold)
                    if placed.tzname() == abbreviation:
                        return to_us(placed)
        except (ValueError, OverflowError):
            raise RecordError("the time stamp cannot be read") from None
        raise RecordError("the zone of the time stamp is not one of log_timezone")

    def _candidates(self, abbreviation: str) -> list[tzinfo]:
        candidates = [zone for zone in self._zones if zone is not None]
        if abbreviation in _UTC_NAMES:
            return [*candidates, timezone(timedelta(0), abbreviation)]
        offset = _OFFSET.fullmatch(abbreviation)
        if offset:
            sign = -1 if offset[1] == "-" else 1
            east = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0), seconds=int(offset[4] or 0))
            return [*candidates, timezone(sign * east, abbreviation)]
        return candidates


@lru_cache(maxsize=64)
def log_clock(time_zones: tuple[str, ...]) -> LogClock:
    """The clock for these zones, with what it remembers."""
    return LogClock(time_zones)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo | None:
    if name.upper() in _UTC_NAMES:
        return UTC if name.upper() == "UTC" else timezone(timedelta(0), "GMT")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return _posix_zone(name)


def is_known(time_zone: str) -> bool:
    """Whether stamps of a server whose log_timezone this is can be placed."""
    return _zone(time_zone) is not None


def _posix_zone(name: str) -> tzinfo | None:
    """A zone as POSIX writes it, `EST5` or `<+03>-3`: the distance counts towards the west."""
    found = _POSIX.fullmatch(name)
    if found is None:
        return None
    west = timedelta(hours=int(found[3]), minutes=int(found[4] or 0))
    return timezone(west if found[2] == "-" else -west, found[1])
