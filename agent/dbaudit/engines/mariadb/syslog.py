"""The part of a line that syslog puts before what server_audit said.

Feb  3 10:15:03 db1 mysql-server_auditing:  db1,app,10.0.0.7,41,87,QUERY,...
2025-02-03T10:15:03.120033+01:00 db1 mysql-server_auditing:  db1,app,...
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache

from dbaudit.core.clock import to_us
from dbaudit.engines.mariadb.records import LineContext

Prefix = Callable[[bytes], tuple[int | None, int] | None]
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
HOUR = re.compile(rb"^(?:<\d{1,3}>)?((?:%b) [ \d]\d \d\d):\d\d:\d\d " % b"|".join(_MONTHS), re.MULTILINE)
"""The hour of a time stamp that has neither year nor zone."""


def prefix_of(context: LineContext, hours_us: Mapping[bytes, int]) -> Prefix:
    """A function that gives of a line when it was written, and where what server_audit said begins; None for
    the line of another program or another server. The time is None if it is unknown.
    """
    pattern = _pattern(context.syslog_ident, context.syslog_info)
    server = context.server_host.encode() + b","

    def prefix(line: bytes) -> tuple[int | None, int] | None:
        found = pattern.match(line)
        if found is None or not line.startswith(server, found.end()):
            return None
        hour, rest, stamp = found.groups()
        if stamp is not None:
            return _exact_us(stamp), found.end()
        hour_us = hours_us.get(hour)
        if hour_us is None:
            return None, found.end()
        minute, second = int(rest[:2]), int(rest[3:])
        return hour_us + (minute * 60 + second) * 1_000_000, found.end()

    return prefix


def hour_begins(hour: bytes, now: datetime) -> datetime | None:
    """The local hour `Feb  3 10` that is nearest to ``now`` and not after it by more than a day."""
    try:
        month = _MONTHS.index(hour[:3]) + 1
        day, of_day = int(hour[4:6]), int(hour[7:9])
        for year in (now.year + 1, now.year, now.year - 1):
            began = _valid(year, month, day, of_day)
            if began is not None and began <= now.replace(tzinfo=None) + timedelta(days=1):
                return began
    except ValueError:
        return None
    return None


def _valid(year: int, month: int, day: int, hour: int) -> datetime | None:
    try:
        return datetime(year, month, day, hour)  # noqa: DTZ001  # local time, as syslog writes it
    except ValueError:
        return None


@lru_cache(maxsize=16)
def _pattern(ident: str, info: str) -> re.Pattern[bytes]:
    return re.compile(
        rb"(?:<\d{1,3}>)?(?:((?:%b) [ \d]\d \d\d):(\d\d:\d\d)|(\d{4}-\d\d-\d\dT[\d:.,]+(?:Z|[+-]\d\d:?\d\d)))"
        rb" \S+ %b(?:\[\d+\])?: ?%b ?"
        % (b"|".join(_MONTHS), re.escape(ident.encode()), re.escape(info.encode()))
    )


@lru_cache(maxsize=10_000)
def _exact_us(stamp: bytes) -> int | None:
    try:
        placed = datetime.fromisoformat(stamp.decode())
        return to_us(placed)
    except (ValueError, OverflowError):
        return None
