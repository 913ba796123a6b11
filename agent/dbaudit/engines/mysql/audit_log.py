"""Reading the audit log over the connection: audit_log_read() of MySQL Enterprise and of Percona Server.

By the manual of MySQL, "Reading Audit Log Files": a pair of ``timestamp`` and ``id`` (a bookmark) names an
event, reading begins with that event, goes on from call to call in the same session, and ends with ``null``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.clock import now_us
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine import cursors
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engines.mysql.audit_blocks import AuditBlock, Carried, own_sessions
from dbaudit.engines.mysql.audit_borders import AuditFormat
from dbaudit.engines.mysql.audit_going_on import Patience, Stamps, carried_on
from dbaudit.engines.mysql_protocol.connection import ServerConnection

SOURCE = "audit_log"
_CURSOR_VERSION = 1
_PAUSE_SECONDS = 1.0
_RECORD_BYTES = 400
_MOST_RECORDS = 10_000
_KEPT_OWN_SESSIONS = 500


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where reading resumes, the cursor: the event that was read last or, before the first event, the time
    from which on events are wanted.

    ``carried`` are records (key, text) of statements that had not ended; ``several`` says that several
    records for a statement were seen.
    """

    v: int = _CURSOR_VERSION
    source: str = SOURCE
    timestamp: str = ""
    id: int = -1
    own: tuple[int, ...] = ()
    carried: tuple[tuple[str, str], ...] = ()
    several: bool = False

    def cursor(self) -> Cursor:
        cursor: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return cursor


class _Bookmark(msgspec.Struct):
    timestamp: str
    id: int
    connection_id: int | None = None


def _bookmark(element: bytes) -> _Bookmark | None:
    try:
        return typed.decode(element, _Bookmark, strict=False)
    except msgspec.DecodeError:
        return None


def understood(cursor: Cursor) -> Place:
    """The place that a stored cursor holds. Raises ConfigurationError for one of another source."""
    place = cursors.understood(cursor, Place, _CURSOR_VERSION, "audit log")
    if place.source != SOURCE or not place.timestamp:
        raise cursors.not_ours("audit log")
    return place


class AuditLogReader:
    """Reads the audit log of one server, chunk by chunk.

    ``local_time`` says that the stamps are the server's local time.
    """

    def __init__(
        self,
        connection: ServerConnection,
        *,
        beginning: bool,
        local_time: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._beginning = beginning
        self._local_time = local_time
        self._stamps = Stamps(connection, always_local=local_time)
        self._patience = Patience(clock)
        self._clock = clock
        self._open = False
        self._at: Place | None = None
        """The position of this session's read sequence, while one is open."""
        self._quiet: Place | None = None
        self._ahead: Place | None = None
        self._quiet_until = 0.0

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The events after ``cursor``, about ``limit_bytes`` of them at most."""
        if cursor is None:
            return Chunk(records=[], cursor=self._first_place().cursor())
        place = understood(cursor)
        if place != self._quiet:
            self._quiet = self._ahead = None
        elif self._clock() < self._quiet_until:
            return Chunk(records=[], cursor=cursor)
        begin = self._ahead or place
        elements, gaps, more = self._elements(begin, limit_bytes)
        if not elements and gaps:
            # The event of the bookmark is gone: reading resumes at its time.
            later = msgspec.structs.replace(place, id=-1)
            return Chunk(records=[], cursor=later.cursor(), gaps=gaps, more=more)
        if not elements and self._patience.is_over(place.carried, several=place.several):
            carried = tuple(Carried(*one) for one in place.carried)
            block = msgspec.structs.replace(self._block([], begin), carried=carried)
            return Chunk(records=[block], cursor=msgspec.structs.replace(place, carried=()).cursor())
        if not elements:
            self._pause(place, begin)
            return Chunk(records=[], cursor=cursor, more=more)
        last = next(filter(None, map(_bookmark, reversed(elements))), None)
        if last is None:
            raise ConfigurationError(
                ErrorCode.AUDIT_SOURCE_MISSING,
                "audit_log_read() gave events without timestamp and id.",
                remedy="Set the option source to audit_file or general_log.",
            )
        after = msgspec.structs.replace(place, timestamp=last.timestamp, id=last.id)
        if self._at is not None:
            self._at = after
        if not gaps and not more and self._all_own(elements):
            # Only the session's own work was read: on an idle server the cursor stays as it is.
            self._pause(place, after)
            return Chunk(records=[], cursor=cursor)
        block, goes_on = carried_on(self._block(elements, begin), place.carried, several=place.several)
        after = msgspec.structs.replace(
            after,
            own=own_sessions(block)[-_KEPT_OWN_SESSIONS:],
            carried=goes_on.carried,
            several=goes_on.several,
        )
        if self._at is not None:
            self._at = after
        self._quiet = self._ahead = None
        return Chunk(records=[block], cursor=after.cursor(), gaps=gaps, more=more)

    def acknowledge(self, cursor: Cursor) -> None:
        """The log is the server's: nothing is dropped."""

    def close(self) -> None:
        """The read sequence ends with the session."""

    def _pause(self, place: Place, ahead: Place) -> None:
        self._quiet, self._ahead = place, ahead
        self._quiet_until = self._clock() + _PAUSE_SECONDS

    def _first_place(self) -> Place:
        own = (self._connection.connection_id,)
        if self._beginning:
            return Place(timestamp="1970-01-01 00:00:00", own=own)
        text = self._connection.value("SELECT audit_log_read_bookmark()")
        try:
            bookmark = typed.decode(text or "null", _Bookmark)
        except (msgspec.DecodeError, TypeError):
            bookmark = _Bookmark("", 0)
        if not bookmark.timestamp:
            now = "CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')" if self._local_time else "UTC_TIMESTAMP()"
            return Place(timestamp=str(self._connection.value(f"SELECT CAST({now} AS CHAR)")), own=own)
        return Place(timestamp=bookmark.timestamp, id=bookmark.id, own=own)

    def _elements(self, place: Place, limit_bytes: int) -> tuple[list[bytes], tuple[AuditEvent, ...], bool]:
        """The events after a place, the losses, and whether more is waiting."""
        wanted = max(2, min(_MOST_RECORDS, limit_bytes // _RECORD_BYTES))
        resumed = self._at is not None and (self._at.timestamp, self._at.id) == (place.timestamp, place.id)
        argument: dict[str, Any] = {"max_array_length": wanted}
        if not resumed and place.id < 0:
            argument["start"] = {"timestamp": place.timestamp}
        elif not resumed:
            argument |= {"timestamp": place.timestamp, "id": place.id}
        self._at = None
        if self._open and not resumed:
            # A read sequence returns each event once, and Percona refuses a second sequence.
            self._connection.value("SELECT audit_log_read('null')")
            self._open = False
        try:
            answer = self._connection.value("SELECT audit_log_read(%s)", [json.dumps(argument)])
        except ConfigurationError:
            if resumed or place.id < 0:
                raise
            # The event of the bookmark is gone: its file was removed.
            return self._elements_by_time(place, limit_bytes)
        elements = self._parsed(answer)
        more = bool(elements) and elements[-1] != b"null"
        self._open = more
        if not resumed and place.id >= 0 and not any(element != b"null" for element in elements):
            # A reading that begins at a bookmark begins with its event: Percona gives nothing for one that is
            # gone, without any error.
            return self._elements_by_time(place, limit_bytes)
        elements = [element for element in elements if element != b"null"]
        gaps: tuple[AuditEvent, ...] = ()
        if elements and not resumed and place.id >= 0:
            first = _bookmark(elements[0])
            if first is not None and (first.timestamp, first.id) == (place.timestamp, place.id):
                elements = elements[1:]
            else:
                gaps = (_lost(place),)
        if more:
            self._at = place
        return elements, gaps, more

    def _elements_by_time(
        self, place: Place, limit_bytes: int
    ) -> tuple[list[bytes], tuple[AuditEvent, ...], bool]:
        """The events from the time of a bookmark on that gave nothing, and the loss: that of its event, where
        that is not among them.
        """
        elements, _gaps, more = self._elements(msgspec.structs.replace(place, id=-1), limit_bytes)
        for number, mark in enumerate(map(_bookmark, elements), start=1):
            if mark is not None and (mark.timestamp, mark.id) == (place.timestamp, place.id):
                return elements[number:], (), more
        return elements, (_lost(place),), more

    def _parsed(self, answer: str | bytes | None) -> list[bytes]:
        try:
            return [bytes(element) for element in typed.decode(answer or "[]", list[msgspec.Raw])]
        except (msgspec.DecodeError, TypeError) as error:
            raise ConfigurationError(
                ErrorCode.AUDIT_SOURCE_MISSING,
                f"audit_log_read() gave what is no array of events: {str(error).splitlines()[0]}",
                remedy="Set audit_log_format = JSON in the configuration of the server.",
            ) from None

    def _all_own(self, elements: list[bytes]) -> bool:
        mine = self._connection.connection_id
        return all(mark is not None and mark.connection_id == mine for mark in map(_bookmark, elements))

    def _block(self, elements: list[bytes], place: Place) -> AuditBlock:
        target = self._connection.target
        # A line break cannot stand in an element but between its items.
        lines = [element.replace(b"\n", b" ") for element in elements]
        data = b"\n".join(lines)
        return AuditBlock(
            format=AuditFormat.JSON,
            data=data,
            zone=self._stamps.zone(data, AuditFormat.JSON),
            head=f"audit_log_read@{place.timestamp}#{place.id}",
            own_user=target.username,
            own_application=target.application_name,
            own_sessions=tuple(dict.fromkeys((*place.own, self._connection.connection_id))),
        )


def _lost(place: Place) -> AuditEvent:
    return gap(
        key=f"gap:{place.timestamp}#{place.id}",
        time_us=now_us(),
        reason="The event that was read last is not in the audit log any more: files of it were removed.",
        source="audit_log_read()",
        last_event=f"{place.timestamp}#{place.id}",
        lost_records=None,
    )
