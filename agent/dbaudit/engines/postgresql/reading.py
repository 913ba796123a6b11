"""Reading the log: which file, from which byte, and what was lost between.

The cursor is the file's name and a byte offset at a record border. A name may be used again and a file may be
truncated, so the cursor also holds a fingerprint of the file's first bytes.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.files import (
    HEAD_BYTES,
    LocalLogFiles,
    LogFile,
    LogFiles,
    Portion,
    RemoteLogFiles,
)
from dbaudit.engines.postgresql.holdback import explained_end
from dbaudit.engines.postgresql.options import LogSource, StartFrom
from dbaudit.engines.postgresql.records import (
    Audited,
    LogBlock,
    LogContext,
    LogFileFormat,
    end_of_whole_records,
    start_of_next_record,
    starts_a_record,
)
from dbaudit.engines.postgresql.settings import LogSettings

_CURSOR_VERSION = 1
_EXPLAINED_WITHIN_SECONDS = 0.1
_WRITTEN_WITHIN_SECONDS = 1.0
_LARGEST_RECORD_BYTES = 64 * 1024 * 1024


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Where reading goes on. ``aligned`` is False where ``offset`` may be inside a record."""

    v: int = _CURSOR_VERSION
    format: LogFileFormat
    file: str
    offset: int = 0
    head: str = ""
    head_bytes: int = 0
    size: int = 0
    modified_us: int = 0
    aligned: bool = True


class LogReader:
    """Reads the log of one server, chunk by chunk."""

    def __init__(
        self,
        connection: ServerConnection,
        settings: LogSettings,
        target: Target,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._format = _format(settings)
        self._files = _files(connection, settings, self._format)
        self._context = _context(settings, target)
        self._clock = clock
        self._waiting: tuple[str, int, float] | None = None

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The whole records after ``cursor``, about ``limit_bytes`` of them at most."""
        if cursor is None:
            return _chunk(self._first_position())
        position = self._understood(cursor)
        portion = self._files.read(position.file, position.offset, limit_bytes)
        if portion is None:
            return self._after_vanished(position)
        if portion.size < position.offset or _fingerprint(portion.head, position.head_bytes) != position.head:
            return _chunk(
                _at_start_of(position, position.file),
                gaps=(
                    self._gap(
                        position, "The log file was truncated or its name was used again.", portion.size
                    ),
                ),
                more=True,
            )
        return self._records(position, portion, limit_bytes)

    def _records(self, position: Position, portion: Portion, limit_bytes: int) -> Chunk:
        data = portion.data
        at_end = position.offset + len(data) >= portion.size
        if not position.aligned and data and not starts_a_record(self._format, data):
            skipped = start_of_next_record(self._format, data)
            return _chunk(_moved(position, skipped, portion, aligned=skipped < len(data)), more=not at_end)
        whole = end_of_whole_records(self._format, data)
        if whole == 0 and not at_end:
            return self._larger(position, portion, limit_bytes)
        end = self._end(position, portion, whole, at_end=at_end)
        if end == 0 and at_end and not portion.current:
            return self._next_file(position)
        if end == 0:
            return _chunk(position)
        block = LogBlock(self._format, position.file, position.offset, data[:end], self._context)
        after = _moved(position, end, portion, aligned=True)
        more = not at_end or not portion.current
        return Chunk(records=[block], cursor=msgspec.to_builtins(after), more=more)

    def _end(self, position: Position, portion: Portion, whole: int, *, at_end: bool) -> int:
        """Where the block ends: at a record border, and not before a record that explains the last one."""
        data = portion.data
        if not at_end:
            return explained_end(self._format, self._context, data, whole) or whole
        if not portion.current:
            return len(data)  # the server is done with this file: a torn record at its end stays torn
        if whole < len(data) and self._waited(position.offset + whole, _WRITTEN_WITHIN_SECONDS):
            return self._end_despite_torn_record(data, whole)
        end = explained_end(self._format, self._context, data, whole)
        waited = end < whole and self._waited(position.offset + end, _EXPLAINED_WITHIN_SECONDS)
        return whole if waited else end

    def _larger(self, position: Position, portion: Portion, limit_bytes: int) -> Chunk:
        """A record that is longer than a chunk: read more of it, or put aside what cannot be one."""
        data = portion.data
        if len(data) >= limit_bytes and limit_bytes < _LARGEST_RECORD_BYTES:
            larger = self._files.read(position.file, position.offset, limit_bytes * 4)
            if larger is not None:
                return self._records(position, larger, limit_bytes * 4)
        end = self._end_despite_torn_record(data, 0) or len(data)
        block = LogBlock(self._format, position.file, position.offset, data[:end], self._context)
        after = _moved(position, end, portion, aligned=False)
        return Chunk(records=[block], cursor=msgspec.to_builtins(after), more=True)

    def _end_despite_torn_record(self, data: bytes, whole: int) -> int:
        """Past a record that was torn by a crash of the server: where the last line starts that looks like
        one."""
        last = data.rfind(b"\n", whole) + 1
        start = whole
        while (found := start_of_next_record(self._format, data[start:last])) < last - start:
            start += found
        return start

    def _waited(self, offset: int, seconds: float) -> bool:
        """Whether reading has been waiting at this place for so long."""
        now = self._clock()
        place = (self._format.value, offset)
        if self._waiting is None or self._waiting[:2] != place:
            self._waiting = (*place, now)
            return False
        return now - self._waiting[2] >= seconds

    def _first_position(self) -> Position:
        files = self._files.listing()
        current = self._files.current()
        if current is None:
            raise _no_log(self._settings)
        if self._settings.options.start_from is StartFrom.BEGINNING and files:
            return Position(format=self._format, file=files[0].name, modified_us=files[0].modified_us)
        portion = self._files.read(current, 0, 0)
        start = Position(format=self._format, file=current, modified_us=now_us())
        return start if portion is None else _moved(start, portion.size, portion, aligned=False)

    def _understood(self, cursor: Cursor) -> Position:
        try:
            position = msgspec.convert(cursor, Position)
        except msgspec.ValidationError:
            raise ConfigurationError(
                ErrorCode.CURSOR_INVALID, "The stored cursor is not one of this engine's."
            ) from None
        if position.v != _CURSOR_VERSION:
            raise ConfigurationError(
                ErrorCode.CURSOR_INVALID,
                f"The stored cursor has the form {position.v}, which this version of dbaudit does not know.",
                remedy="Upgrade dbaudit.",
            )
        if position.format is self._format:
            return position
        # The server logs in another format now. The two name their files alike, and the records have the same
        # keys in both, so that those read already are recognised.
        stem = position.file.rpartition(".")[0]
        twin = next((f for f in self._files.listing() if f.name.rpartition(".")[0] == stem), None)
        following = twin or self._following(position, self._files.listing())
        if following is None:
            return self._first_position()
        return Position(format=self._format, file=following.name, modified_us=following.modified_us)

    def _next_file(self, position: Position) -> Chunk:
        listing = self._files.listing()
        names = [f.name for f in listing]
        if position.file not in names:
            return self._after_vanished(position)
        place = names.index(position.file) + 1
        if place == len(names):
            return _chunk(position)
        return _chunk(_at_start_of(position, names[place], listing[place].modified_us), more=True)

    def _after_vanished(self, position: Position) -> Chunk:
        following = self._following(position, self._files.listing())
        if following is None:
            current = self._files.current()
            if current is None:
                raise _no_log(self._settings)
            following = LogFile(current, 0, now_us())
        event = self._gap(position, "A log file was removed before it was read to its end.", None)
        return _chunk(_at_start_of(position, following.name, following.modified_us), gaps=(event,), more=True)

    def _following(self, position: Position, listing: list[LogFile]) -> LogFile | None:
        """The first file that was written to after the present one was last seen."""
        return next(
            (f for f in listing if f.modified_us >= position.modified_us // 1_000_000 * 1_000_000), None
        )

    def _gap(self, position: Position, reason: str, size_now: int | None) -> AuditEvent:
        unread = max(0, position.size - position.offset)
        return gap(
            key=f"gap:{position.file}:{position.offset}:{position.head}",
            time_us=now_us(),
            reason=reason,
            source=position.file,
            offset=position.offset,
            known_unread_bytes=unread,
            lost_records=None,
            size_now=size_now,
        )


def _chunk(position: Position, *, gaps: tuple[AuditEvent, ...] = (), more: bool = False) -> Chunk:
    return Chunk(records=[], cursor=msgspec.to_builtins(position), gaps=gaps, more=more)


def _moved(position: Position, by: int, portion: Portion, *, aligned: bool) -> Position:
    offset = position.offset + by
    head_bytes = min(offset, HEAD_BYTES, len(portion.head))
    return Position(
        format=position.format,
        file=position.file,
        offset=offset,
        head=_fingerprint(portion.head, head_bytes),
        head_bytes=head_bytes,
        size=portion.size,
        modified_us=now_us() if portion.current else position.modified_us,
        aligned=aligned,
    )


def _at_start_of(position: Position, name: str, modified_us: int | None = None) -> Position:
    return Position(
        format=position.format,
        file=name,
        modified_us=position.modified_us if modified_us is None else modified_us,
    )


def _fingerprint(head: bytes, length: int) -> str:
    return hashlib.sha256(head[:length]).hexdigest()[:16] if length else ""


def _format(settings: LogSettings) -> LogFileFormat:
    if settings.format is None:
        raise _no_log(settings)
    return LogFileFormat(settings.format.value)


def _files(connection: ServerConnection, settings: LogSettings, log_format: LogFileFormat) -> LogFiles:
    if settings.source is LogSource.LOCAL:
        if settings.local_directory is None:
            raise ConfigurationError(
                ErrorCode.AUDIT_SOURCE_MISSING,
                "The directory of the log on this host is not known.",
                remedy="Give the engine's option log_directory.",
            )
        return LocalLogFiles(settings.local_directory, log_format)
    return RemoteLogFiles(connection, settings, log_format)


def _context(settings: LogSettings, target: Target) -> LogContext:
    statements = settings.server_wide.get("log_statement") or settings.value("log_statement")
    duration = settings.value("log_min_duration_statement")
    overridden = any(o.name == "log_statement" and o.value != "none" for o in settings.overrides)
    return LogContext(
        time_zone=settings.log_timezone,
        own_user=target.username,
        own_application=target.application_name,
        audited=_audited(settings),
        statements_logged=statements not in (None, "none") or overridden or duration not in (None, "-1"),
        authorization_logged="authorization" in settings.connections,
    )


def _audited(settings: LogSettings) -> Audited:
    if not settings.pgaudit_loaded:
        return "none"
    classes = settings.server_wide.get("pgaudit.log") or settings.value("pgaudit.log") or ""
    words = {word.strip().lower() for word in classes.split(",") if word.strip()}
    if words == {"all"} or ({"read", "write"} <= words and not any(w.startswith("-") for w in words)):
        return "all"
    roles = any(o.name.startswith("pgaudit.") for o in settings.overrides)
    return "some" if words - {"none"} or settings.value("pgaudit.role") or roles else "none"


def _no_log(settings: LogSettings) -> ConfigurationError:
    if not settings.collecting:
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            "The server collects no log (logging_collector is off).",
            remedy="ALTER SYSTEM SET logging_collector = on; and restart the server.",
        )
    return ConfigurationError(
        ErrorCode.AUDIT_SOURCE_MISSING,
        "The server writes neither jsonlog nor csvlog.",
        remedy=f"ALTER SYSTEM SET log_destination = '{'jsonlog' if settings.major >= 15 else 'csvlog'}'; "
        "SELECT pg_reload_conf();",
    )
