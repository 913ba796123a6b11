"""When the hours began that local time stamps name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime

from dbaudit.core.clock import now, to_us
from dbaudit.engines.mariadb.syslog import HOUR, hour_begins
from dbaudit.engines.mysql_protocol.connection import ServerConnection

_REMEMBERED = 20_000
_ASKED_AT_ONCE = 200
_AUDIT_HOUR = re.compile(rb"^(\d{8} \d\d):", re.MULTILINE)

Hours = dict[bytes, int]
HoursIn = Callable[[bytes], Hours]


class ServerHours:
    """The hours in lines of server_audit: local time of the server's host, converted by the server."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._known: Hours = {}

    def __call__(self, data: bytes) -> Hours:
        """When each hour in ``data`` began, in microseconds since the epoch."""
        hours = set(_AUDIT_HOUR.findall(data))
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
