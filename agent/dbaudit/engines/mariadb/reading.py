"""Reading the server's audit records from the chosen source."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine import cursors
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engine.local_files import FilePosition, LocalLog, Portion
from dbaudit.engine.options import StartFrom
from dbaudit.engines.mariadb.options import Options, Source
from dbaudit.engines.mariadb.position import Position, understood
from dbaudit.engines.mariadb.records import LineBlock, LineContext, LineFormat
from dbaudit.engines.mariadb.remote_file import RemoteFile
from dbaudit.engines.mariadb.rights import read_rights
from dbaudit.engines.mariadb.settings import AuditSettings, read_settings, rotations
from dbaudit.engines.mariadb.sources import FILE_REMEDY, ChosenSource, local_path, no_source, remote_file
from dbaudit.engines.mariadb.stamps import FORMAT, Stamps, stamps_of
from dbaudit.engines.mariadb.times import HoursIn, ServerHours, beginning_of, has_unknown_stamps, syslog_hours
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.general_log import GeneralLogReader

_SETTINGS_HOLD_SECONDS = 60.0
_KEPT_STAMPS = 4
_SAME_FILE = frozenset({Source.FILE, Source.REMOTE_FILE})
_CHANGED = "Another audit source is read from now on; what the former one still held was not read."
_NOT_WRITTEN = "server_audit failed to write records: Server_audit_writes_failed grew."


class _Source(Protocol):
    """One way to read; ``place`` is a part of the cursor, None for a database that is new."""

    def read(self, place: dict[str, Any] | None, limit_bytes: int) -> Chunk: ...

    def acknowledge(self, place: dict[str, Any]) -> None: ...

    def close(self) -> None: ...


class AuditReader:
    """Reads one server, chunk by chunk."""

    def __init__(
        self,
        connection: ServerConnection,
        options: Options,
        sources: ChosenSource,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._options = options
        self._sources = sources
        self._clock = clock
        self._source: _Source | None = None
        self._kind: Source | None = None
        self._settings = read_settings(connection)
        self._time_stamps: tuple[str, ...] = ()
        self._refreshed_at = clock()

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The records after ``cursor``, about ``limit_bytes`` of them at most."""
        position = None if cursor is None else understood(cursor)
        if self._clock() - self._refreshed_at >= _SETTINGS_HOLD_SECONDS:
            self._refresh()
        if position is not None:
            self._time_stamps = self._time_stamps or tuple(position.time_stamps)
        source, kind = self._chosen()
        gaps: list[AuditEvent] = []
        place = None
        if position is not None:
            place = position.place
            if position.source is not kind and {position.source, kind} != _SAME_FILE:
                gaps.append(_changed(position, kind))
                place = None
            gaps += _not_written(position, self._settings)
        chunk = source.read(place, limit_bytes)
        if self._has_other_stamps(chunk):
            source, kind = self._chosen()
            chunk = source.read(place, limit_bytes)
        after = Position(
            source=kind,
            place=dict(chunk.cursor),
            writes_failed=self._settings.writes_failed,
            time_stamps=list(self._time_stamps),
        )
        return Chunk(records=chunk.records, cursor=after.cursor(), gaps=(*gaps, *chunk.gaps), more=chunk.more)

    def acknowledge(self, cursor: Cursor) -> None:
        """What is before ``cursor`` is stored."""
        position = understood(cursor)
        if self._source is not None and position.source is self._kind:
            self._source.acknowledge(position.place)

    def close(self) -> None:
        """Close what is open; reading may go on afterwards."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def _refresh(self) -> None:
        settings = read_settings(self._connection)
        if settings.variables != self._settings.variables:
            # Otherwise what is open stays open: it may be a file that was removed before its end was read.
            self.close()
        self._settings = settings
        self._refreshed_at = self._clock()

    def _has_other_stamps(self, chunk: Chunk) -> bool:
        """Whether the setting of time stamps was changed, as lines of ``chunk`` show."""
        before = self._settings.time_stamps
        if before is None or not any(
            isinstance(record, LineBlock) and has_unknown_stamps(record.data, self._stamps())
            for record in chunk.records
        ):
            return False
        self._refresh()
        return self._settings.time_stamps != before

    def _stamps(self) -> list[Stamps]:
        return [known for known in map(stamps_of, self._time_stamps) if known is not None]

    def _chosen(self) -> tuple[_Source, Source]:
        if self._source is None or self._kind is None:
            kind = self._sources.of(self._settings)
            if kind is None:
                raise no_source(self._settings)
            self._source, self._kind = self._opened(kind), kind
        return self._source, self._kind

    def _opened(self, kind: Source) -> _Source:
        beginning = self._options.start_from is StartFrom.BEGINNING
        settings = self._settings
        if settings.time_stamps not in (None, FORMAT, *self._time_stamps[-1:]):
            self._time_stamps = (*self._time_stamps, str(settings.time_stamps))[-_KEPT_STAMPS:]
        if kind is Source.GENERAL_LOG:
            may_retire = read_rights(self._connection).may_retire
            return _GeneralLog(GeneralLogReader(self._connection, may_retire=may_retire, beginning=beginning))
        context = LineContext(
            own_user=self._connection.target.username,
            own_host=self._connection.client_host,
            query_log_limit=settings.number("server_audit_query_log_limit", 1024),
            server_host=settings.value("hostname"),
            syslog_ident=settings.value("server_audit_syslog_ident"),
            syslog_info=settings.value("server_audit_syslog_info"),
            time_stamps=() if settings.time_stamps is None else self._time_stamps or None,
            has_port=settings.release >= (12,),
        )
        stamps = self._stamps()
        if kind is Source.REMOTE_FILE:
            remote = remote_file(self._connection, settings, lambda data: beginning_of(data, stamps))
            lines = _Lines(LineFormat.SERVER_AUDIT, ServerHours(self._connection, stamps), context)
            return _RemoteLines(remote, lines, beginning=beginning)
        path = local_path(kind, self._connection, settings, self._options)
        limits = self._connection.target.limits
        if kind is Source.SYSLOG:
            log = LocalLog(path, remedy=FILE_REMEDY, limits=limits)
            return _LocalLines(log, _Lines(LineFormat.SYSLOG, syslog_hours, context), beginning=beginning)
        log = LocalLog(
            path,
            remedy=FILE_REMEDY,
            begun=lambda data: beginning_of(data, stamps)[0],
            kept=lambda: rotations(self._connection),
            limits=limits,
        )
        lines = _Lines(LineFormat.SERVER_AUDIT, ServerHours(self._connection, stamps), context)
        return _LocalLines(log, lines, beginning=beginning)


class _GeneralLog:
    def __init__(self, reader: GeneralLogReader) -> None:
        self.reader = reader

    def read(self, place: dict[str, Any] | None, limit_bytes: int) -> Chunk:
        return self.reader.read(place, limit_bytes)

    def acknowledge(self, place: dict[str, Any]) -> None:
        self.reader.acknowledge(place)

    def close(self) -> None:
        """Nothing is open."""


class _Lines(msgspec.Struct, frozen=True):
    """How portions of a file become chunks."""

    format: LineFormat
    hours_in: HoursIn
    context: LineContext

    def chunk(self, portion: Portion) -> Chunk:
        records = []
        if portion.data:
            at, data = portion.start, portion.data
            hours_us = self.hours_in(data)
            block = LineBlock(
                self.format, at.head, at.offset, data, hours_us, self.context, whole=portion.whole
            )
            records.append(block)
        return Chunk(
            records=records,
            cursor=msgspec.to_builtins(portion.after),
            gaps=tuple(loss.event() for loss in portion.losses),
            more=portion.more,
        )


class _LocalLines:
    def __init__(self, log: LocalLog, lines: _Lines, *, beginning: bool) -> None:
        self._log = log
        self._lines = lines
        self._beginning = beginning

    def read(self, place: dict[str, Any] | None, limit_bytes: int) -> Chunk:
        if place is None:
            first = self._log.first_position(beginning=self._beginning)
            return Chunk(records=[], cursor=msgspec.to_builtins(first), more=self._beginning)
        return self._lines.chunk(
            self._log.read(_checked(cursors.converted(place, FilePosition)), limit_bytes)
        )

    def acknowledge(self, place: dict[str, Any]) -> None:
        """The files are the server's."""

    def close(self) -> None:
        self._log.close()


class _RemoteLines:
    def __init__(self, file: RemoteFile, lines: _Lines, *, beginning: bool) -> None:
        self._file = file
        self._lines = lines
        self._beginning = beginning

    def read(self, place: dict[str, Any] | None, limit_bytes: int) -> Chunk:
        if place is None:
            first = self._file.first_position(beginning=self._beginning)
            return Chunk(records=[], cursor=msgspec.to_builtins(first), more=self._beginning)
        position = _checked(cursors.converted(place, FilePosition))
        return self._lines.chunk(self._file.read(position, limit_bytes))

    def acknowledge(self, place: dict[str, Any]) -> None:
        """The files are the server's."""

    def close(self) -> None:
        self._file.close()


def _checked(position: FilePosition) -> FilePosition:
    if position.offset < 0 or position.head_bytes < 0:
        raise cursors.not_ours()
    return position


def _changed(position: Position, kind: Source) -> AuditEvent:
    return gap(
        key=f"gap:{position.source.value}:{kind.value}:{position.place}",
        time_us=now_us(),
        reason=_CHANGED,
        source=position.source.value,
        lost_records=None,
    )


def _not_written(position: Position, settings: AuditSettings) -> list[AuditEvent]:
    before, failed = position.writes_failed, settings.writes_failed
    if before is None or failed <= before:
        return []
    return [
        gap(
            key=f"gap:writes_failed:{position.place}:{failed}",
            time_us=now_us(),
            reason=_NOT_WRITTEN,
            source=settings.audit_file,
            lost_records=failed - before,
        )
    ]
