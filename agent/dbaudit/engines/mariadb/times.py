"""When the hours began that local time stamps name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from dbaudit.core.clock import now, to_us
from dbaudit.engines.mariadb.stamps import Stamps
from dbaudit.engines.mariadb.syslog import HOUR, hour_begins
from dbaudit.engines.mysql_protocol.connection import ServerConnection

_REMEMBERED = 20_000
_ASKED_AT_ONCE = 200
_NUMBERS = re.compile(rb"(?:[^,\n]*,){3}-?\d{1,11},(\d{1,19}),")
_WRITTEN = re.compile(rb"^(\d{8} \d\d:\d\d:\d\d),(?:[^,\n]*,){3}-?\d{1,11},(\d{1,19}),", re.MULTILINE)
_AUDIT_HOUR = re.compile(rb"^(\d{8} \d\d):", re.MULTILINE)

Hours = dict[bytes, int]
HoursIn = Callable[[bytes], Hours]
Beginning = Callable[[bytes], tuple[str, int]]
"""When the first of some records were written, as text that sorts, and the highest number of a statement
among them; empty and 0 if there are no records.
"""


class ServerHours:
    """The hours in lines of server_audit: local time of the server's host, converted by the server.

    ``stamps`` are those that the lines have beside the usual ones.
    """

    def __init__(self, connection: ServerConnection, stamps: Sequence[Stamps] = ()) -> None:
        self._connection = connection
        self._stamps = stamps
        self._known: Hours = {}

    def __call__(self, data: bytes) -> Hours:
        """When each hour in ``data`` began, in microseconds since the epoch."""
        hours = set(_AUDIT_HOUR.findall(data)).union(*(stamps.hours(data) for stamps in self._stamps))
        unknown = [hour for hour in hours if hour not in self._known]
        if unknown and len(self._known) > _REMEMBERED:
            self._known.clear()
            unknown = list(hours)
        for place in range(0, len(unknown), _ASKED_AT_ONCE):
            self._ask(unknown[place : place + _ASKED_AT_ONCE])
        return {hour: self._known[hour] for hour in hours if self._known.get(hour)}

    def _ask(self, hours: list[bytes]) -> None:
        columns = ", ".join(["UNIX_TIMESTAMP(%s)"] * len(hours))
        try:
            # Whatever zone the server gives to sessions: server_audit writes in that of its host.
            self._connection.execute("SET SESSION time_zone = 'SYSTEM'")
            answers = self._connection.row(f"SELECT {columns}", [_as_sql(hour) for hour in hours])
        finally:
            self._connection.execute("SET SESSION time_zone = '+00:00'")
        self._known.update(
            (hour, int(answer or 0) * 1_000_000) for hour, answer in zip(hours, answers, strict=True)
        )


def beginning_of(data: bytes, stamps: Sequence[Stamps] = ()) -> tuple[str, int]:
    """Of the first bytes of a file of server_audit.

    A statement has the time at which it began, and may stand in the file long after that: the latest of the
    first records says it best.
    """
    written = [(stamp.decode(), int(query)) for stamp, query in _WRITTEN.findall(data)]
    for line in data.split(b"\n") if stamps else ():
        for known in stamps:
            stamp, end = known.written(line)
            numbers = _NUMBERS.match(line, end) if stamp else None
            if numbers is not None:
                written.append((stamp, int(numbers[1])))
    return max(written, default=("", 0))


def has_unknown_stamps(data: bytes, stamps: Sequence[Stamps]) -> bool:
    """Whether lines begin with no time stamp of the usual format, nor of another known one: each of these
    may be the rest of a name, too.
    """
    usual = len(_AUDIT_HOUR.findall(data))
    lines = data.count(b"\n")
    return usual < lines and usual + sum(known.count(data) for known in stamps) < lines


def _as_sql(hour: bytes) -> str:
    text = hour.decode()
    return f"{text[:4]}-{text[4:6]}-{text[6:8]} {text[9:]}:00:00"


def syslog_hours(data: bytes) -> Hours:
    """When the hours in lines of syslog without year and zone began: in the zone of this host."""
    found: Iterable[bytes] = set(HOUR.findall(data))
    local_now = now().astimezone()
    began = ((hour, hour_begins(hour, local_now)) for hour in found)
    return {hour: _local_us(moment) for hour, moment in began if moment is not None}


def _local_us(moment: datetime) -> int:
    return to_us(moment.astimezone())
