"""What both readers of an audit log keep between blocks: unfinished statements and the server's clock."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from dbaudit.engines.mysql.audit_blocks import AuditBlock, Carried, unfinished, writes_several
from dbaudit.engines.mysql.audit_borders import AuditFormat
from dbaudit.engines.mysql.local_time import LocalZone, ServerClock
from dbaudit.engines.mysql_protocol.connection import ServerConnection

_MOST_CARRIED, _MOST_CARRIED_BYTES = 2000, 1 << 20
_STAMP = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?P<utc> UTC|Z)?")
_LAST_BYTES = 64 << 10
_PATIENCE_SECONDS = 30.0


class GoesOn(NamedTuple):
    """What the next block needs from this one: the records of unfinished statements, and ``several``."""

    carried: tuple[tuple[str, str], ...]
    several: bool


def carried_on(
    block: AuditBlock, carried: tuple[tuple[str, str], ...], *, several: bool
) -> tuple[AuditBlock, GoesOn]:
    """The block with the records carried into it, and those to carry into the next block.

    The records of a statement whose last record has not been read yet wait in the cursor. If more wait than a
    cursor can hold, all of their statements become events from the records that there are.
    """
    block = msgspec.structs.replace(block, carried=tuple(Carried(*one) for one in carried), several=several)
    if not block.whole:
        return block, GoesOn(carried, several)
    several = writes_several(block)
    block = msgspec.structs.replace(block, several=several)
    waiting = unfinished(block)
    if not waiting:
        return block, GoesOn((), several)
    if len(waiting) > _MOST_CARRIED or sum(len(one.text) for one in waiting) > _MOST_CARRIED_BYTES:
        return block, GoesOn((), several)
    return msgspec.structs.replace(block, hold=True), GoesOn(
        tuple((one.key, one.text) for one in waiting), several
    )


class Patience:
    """How long records wait for the last one of their statement, which a filter may leave out."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting: tuple[tuple[str, str], ...] = ()
        self._since = 0.0

    def is_over(self, waiting: tuple[tuple[str, str], ...], *, several: bool) -> bool:
        """Whether these have waited long enough; never if the source is known to write last records."""
        if several or not waiting:
            return False
        if waiting != self._waiting:
            self._waiting, self._since = waiting, self._clock()
        return self._clock() - self._since >= _PATIENCE_SECONDS


class Stamps:
    """The zone of the stamps of a block."""

    def __init__(self, connection: ServerConnection, *, always_local: bool) -> None:
        self._clock = ServerClock(connection)
        self._always_local = always_local

    def zone(self, data: bytes, file_format: AuditFormat) -> LocalZone | None:
        """The server's time zone if the stamps are its local time; None if they are UTC.

        Stamps in XML say so themselves if they are UTC.
        """
        first = _STAMP.search(data)
        if first is None or file_format is AuditFormat.CSV or first["utc"]:
            return None
        if not self._always_local and file_format is AuditFormat.JSON:
            return None
        stamps = [_moment(found[0]) for found in _STAMP.finditer(data[-_LAST_BYTES:])]
        moments = [moment for moment in (_moment(first[0]), *stamps) if moment is not None]
        if not moments:
            return None
        now = datetime.now(UTC)
        # A stamp inside a statement's text is not the log's own and may be any time.
        moments = [min(moment, now) for moment in moments]
        return self._clock.zone(max(min(moments), _OLDEST), now)


_OLDEST = datetime(2010, 1, 1, tzinfo=UTC)


def _moment(stamp: bytes) -> datetime | None:
    try:
        return datetime.fromisoformat(stamp[:19].decode()).replace(tzinfo=UTC)
    except ValueError:
        return None
