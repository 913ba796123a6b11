"""Instants of stamps in the server's local time without its zone: those of Percona's audit_log_filter.

The server itself is asked for the rules of its clock: only the server knows them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec

from dbaudit.core.event import AuditEvent
from dbaudit.engines.mysql_protocol.connection import ServerConnection

_SECOND_US = 1_000_000
_DAY = timedelta(days=1)
_AHEAD = timedelta(days=2)
_DAYS_AT_ONCE = 500
_EPOCH = datetime(1970, 1, 2, tzinfo=UTC)


class LocalZone(msgspec.Struct, frozen=True):
    """A clock's rules: up to the first of ``changes`` (instants, ascending) it shows UTC plus the first of
    ``offsets``, then UTC plus the next, and so on; all in microseconds.
    """

    offsets: tuple[int, ...] = (0,)
    changes: tuple[int, ...] = ()

    def instants(self, local_us: int) -> tuple[int, ...]:
        """The instants at which the clock showed this, the earliest first: one; two in the hour that a clock
        that is put back shows twice.
        """
        if not self.changes:
            return (local_us - self.offsets[0],)
        found = tuple(
            sorted(
                local_us - offset
                for offset in set(self.offsets)
                if self._offset_at(local_us - offset) == offset
            )
        )
        # A clock that is put forward never shows the hour between; what was before holds then.
        return found or (local_us - min(self.offsets),)

    def _offset_at(self, instant_us: int) -> int:
        return self.offsets[sum(change <= instant_us for change in self.changes)]


def stamped(event: AuditEvent, local_us: int, zone: LocalZone) -> None:
    """Give an event its time. One of the hour that the clock showed twice is the earlier one, and says so."""
    event.time_us, *others = zone.instants(local_us)
    if others:
        later = datetime.fromtimestamp(others[0] / _SECOND_US, UTC)
        event.detail = {**(event.detail or {}), "or_at": later.strftime("%Y-%m-%dT%H:%M:%SZ")}


class ServerClock:
    """The zone of a server's own clock, asked as far back and ahead as stamps need it."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._known: LocalZone | None = None
        self._since = self._until = _EPOCH

    def zone(self, first: datetime, last: datetime) -> LocalZone:
        """The zone for the stamps (taken for UTC) from ``first`` to ``last``."""
        since, until = max(first - _DAY, _EPOCH), last + _DAY
        if self._known is None or since < self._since or until > self._until:
            self._since = since if self._known is None else min(since, self._since)
            self._until = max(until + _AHEAD, self._until)
            self._known = self._ask(self._since, self._until)
        return self._known

    def _ask(self, since: datetime, until: datetime) -> LocalZone:
        days = [since + n * _DAY for n in range((until - since) // _DAY + 2)]
        offsets = self._offsets(days)
        zone_offsets, changes = [offsets[0]], []
        for (before, after), (old, new) in zip(pairwise(days), pairwise(offsets), strict=True):
            if old != new:
                zone_offsets.append(new)
                changes.append(self._change(before, after, old))
        return LocalZone(tuple(zone_offsets), tuple(changes))

    def _change(self, before: datetime, after: datetime, old: int) -> int:
        """The first second of an offset that is not ``old`` any more, between two moments."""
        while after - before > timedelta(seconds=1):
            middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
            if self._offsets([middle])[0] == old:
                before = middle
            else:
                after = middle
        return int(after.timestamp()) * _SECOND_US

    def _offsets(self, moments: list[datetime]) -> list[int]:
        found: list[int] = []
        for begin in range(0, len(moments), _DAYS_AT_ONCE):
            columns = (
                f"TIMESTAMPDIFF(SECOND, '{m:%Y-%m-%d %T}', CONVERT_TZ('{m:%Y-%m-%d %T}', '+00:00', 'SYSTEM'))"
                for m in moments[begin : begin + _DAYS_AT_ONCE]
            )
            found += self._connection.row(f"SELECT {', '.join(columns)}")
        return [int(seconds or 0) * _SECOND_US for seconds in found]
