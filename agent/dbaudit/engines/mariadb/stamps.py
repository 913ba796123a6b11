"""Time stamps of server_audit in the format that `server_audit_timestamp_format` names.

The setting is one of MariaDB Enterprise, and of the newest community releases; all others write FORMAT.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import lru_cache

from dbaudit.core.clock import to_us

FORMAT = "%Y%m%d %H:%i:%s"
"""What is written where the server has no such setting."""
SETTING = "server_audit_timestamp_format"

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_TIME_OF_12 = r"(?P<hour12>\d\d):(?P<minute>\d\d):(?P<second>\d\d) (?P<half>[AP]M)"
# As DATE_FORMAT() has them.
_PARTS = {
    "Y": r"(?P<year>\d{4})",
    "y": r"(?P<short_year>\d\d)",
    "m": r"(?P<month>\d\d)",
    "c": r"(?P<month>\d{1,2})",
    "M": r"(?P<month_name>[A-Z][a-z]+)",
    "b": r"(?P<month_name>[A-Z][a-z]{2})",
    "d": r"(?P<day>\d\d)",
    "e": r"(?P<day>\d{1,2})",
    "D": r"(?P<day>\d{1,2})(?:st|nd|rd|th)",
    "j": r"(?P<day_of_year>\d{3})",
    "H": r"(?P<hour>\d\d)",
    "k": r"(?P<hour>\d{1,2})",
    "h": r"(?P<hour12>\d\d)",
    "I": r"(?P<hour12>\d\d)",
    "l": r"(?P<hour12>\d{1,2})",
    "p": r"(?P<half>[AP]M)",
    "i": r"(?P<minute>\d\d)",
    "s": r"(?P<second>\d\d)",
    "S": r"(?P<second>\d\d)",
    "f": r"(?P<micro>\d{6})",
    "T": _TIME,
    "r": _TIME_OF_12,
    "z": r"(?P<zone>[+-]\d{4})",
    "Z": "[^,\n]*",
    "W": r"[^\W\d_]+",
    "a": r"[^\W\d_]+",
    "w": r"\d",
    "u": r"\d\d",
    "U": r"\d\d",
    "v": r"\d\d",
    "V": r"\d\d",
    "x": r"\d{4}",
    "X": r"\d{4}",
    "%": "%",
}
_GROUP = re.compile(r"\(\?P<(\w+)>")


class Stamps:
    """The time stamps of one format, each followed by a comma."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def hours(self, data: bytes) -> set[bytes]:
        """The hours of local time that the lines of ``data`` name, as FORMAT writes them."""
        return {
            _hour(found) for found in self._pattern.finditer(data) if found.groupdict().get("zone") is None
        }

    def count(self, data: bytes) -> int:
        """How many lines of ``data`` have such a stamp."""
        return sum(1 for _found in self._pattern.finditer(data))

    def written(self, line: bytes) -> tuple[str, int]:
        """When a line was written, as text that sorts, in the time that it names, and where its record goes
        on; empty and 0 without a stamp.
        """
        found = self._pattern.match(line)
        if found is None:
            return "", 0
        minute, second = _number(found, "minute"), _number(found, "second")
        return f"{_hour(found).decode()}:{minute:02d}:{second:02d}", found.end()

    def read(self, line: bytes, hours_us: Mapping[bytes, int]) -> tuple[int, int] | None:
        """When a line was written, and where its record continues; None if it has no such stamp."""
        found = self._pattern.match(line)
        if found is None:
            return None
        hour = _hour(found)
        zone = found.groupdict().get("zone")
        try:
            hour_us = hours_us.get(hour) if zone is None else _in_zone_us(hour, zone)
        except ValueError:
            return None
        if hour_us is None:
            return None
        seconds = _number(found, "minute") * 60 + _number(found, "second")
        return hour_us + seconds * 1_000_000 + _number(found, "micro"), found.end()


@lru_cache(maxsize=64)
def stamps_of(text: str) -> Stamps | None:
    """The time stamps of a format; None where they do not say a moment, such as one without a year."""
    known: set[str] = set()
    pattern = ""
    for part in re.findall(r"%.|.", text, re.DOTALL):
        if part[0] != "%" or len(part) == 1:
            pattern += re.escape(part)
            continue
        # A part that comes twice is read once.
        here = _PARTS.get(part[1], re.escape(part[1]))
        names = set(_GROUP.findall(here))
        pattern += _GROUP.sub("(?:", here) if names & known else here
        known |= names
    if not _is_moment(known):
        return None
    return Stamps(re.compile(f"^{pattern},".encode(), re.MULTILINE))


def _is_moment(parts: set[str]) -> bool:
    year = parts & {"year", "short_year"}
    day = "day_of_year" in parts or ("day" in parts and parts & {"month", "month_name"})
    hour = "hour" in parts or {"hour12", "half"} <= parts
    return bool(year and day and hour and "minute" in parts)


def _hour(found: re.Match[bytes]) -> bytes:
    """The hour as FORMAT writes it; one that there is not for what is not a time."""
    parts = {name: value.decode() for name, value in found.groupdict().items() if value is not None}
    year = int(parts["year"]) if "year" in parts else 2000 + int(parts["short_year"])
    if "day_of_year" in parts:
        date = datetime(year, 1, 1) + timedelta(days=int(parts["day_of_year"]) - 1)  # noqa: DTZ001  # a date
        month, day = date.month, date.day
    else:
        name = parts.get("month_name", "")[:3].lower()
        month = int(parts["month"]) if "month" in parts else _MONTHS.index(name) + 1 if name in _MONTHS else 0
        day = int(parts["day"])
    if "hour" in parts:
        hour = int(parts["hour"])
    else:
        hour = int(parts["hour12"]) % 12 + (12 if parts["half"] == "PM" else 0)
    return b"%04d%02d%02d %02d" % (year, month, day, hour)


def _number(found: re.Match[bytes], name: str) -> int:
    return int(found.groupdict().get(name) or 0)


@lru_cache(maxsize=1000)
def _in_zone_us(hour: bytes, zone: bytes) -> int:
    began = datetime.strptime(hour.decode(), "%Y%m%d %H")  # noqa: DTZ007  # the zone follows
    away = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    return to_us(began.replace(tzinfo=timezone(-away if zone[:1] == b"-" else away)))
