"""Time stamps of the log: `2026-11-21 19:34:04.240 UTC`, with the abbreviation of a zone or its distance to
UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dbaudit.core.clock import to_us
from dbaudit.core.errors import RecordError

_OFFSET = re.compile(r"([+-])(\d\d):?(\d\d)?:?(\d\d)?")


class LogClock:
    """Reads the time stamps of a server whose `log_timezone` is ``time_zone``."""

    def __init__(self, time_zone: str) -> None:
        self._zone = _zone(time_zone)
        self._seconds: dict[str, int] = {}

    def time_us(self, stamp: str) -> int:
        """Microseconds since the epoch. Raises RecordError for a stamp that cannot be placed without
        guessing."""
        second = stamp[:19] + stamp[23:]
        known = self._seconds.get(second)
        if known is None:
            known = self._second_us(stamp[:19], stamp[24:])
            if len(self._seconds) > 10_000:
                self._seconds.clear()
            self._seconds[second] = known
        return known + int(stamp[20:23]) * 1000

    def _second_us(self, second: str, zone: str) -> int:
        try:
            local = datetime.strptime(second, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007  # the zone comes beside it
        except ValueError:
            raise RecordError("the time stamp cannot be read") from None
        if zone in ("UTC", "GMT"):
            return to_us(local.replace(tzinfo=UTC))
        offset = _OFFSET.fullmatch(zone)
        if offset:
            sign = -1 if offset[1] == "-" else 1
            east = timedelta(hours=int(offset[2]), minutes=int(offset[3] or 0), seconds=int(offset[4] or 0))
            return to_us(local.replace(tzinfo=timezone(sign * east)))
        for fold in (0, 1):  # an hour that happens twice in autumn is told apart by the abbreviation
            placed = local.replace(tzinfo=self._zone, fold=fold)
            if self._zone is not None and placed.tzname() == zone:
                return to_us(placed)
        raise RecordError(f"the zone {zone!r} of the time stamp is not one of log_timezone")


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
