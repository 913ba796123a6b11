"""Reading the log: which file, from which byte, and what was lost between."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from dbaudit.core.clock import now_us
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import AuditEvent, gap
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engine.options import StartFrom
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.files import (
    FileNames,
    LocalLogFiles,
    LogFile,
    LogFiles,
    Portion,
    RemoteLogFiles,
    Stamps,
)
from dbaudit.engines.postgresql.framing import end_of_whole_records, first_record, numbers_after
from dbaudit.engines.postgresql.holdback import Place, Tail, tail
from dbaudit.engines.postgresql.options import LogFormat, LogSource, Options
from dbaudit.engines.postgresql.position import Position, understood
from dbaudit.engines.postgresql.records import (
    KEPT_BYTES,
    LARGEST_RECORD_BYTES,
    LogBlock,
    LogContext,
    LogFileFormat,
    SyslogForm,
)
from dbaudit.engines.postgresql.settings import LogSettings

_SETTINGS_HOLD_SECONDS = 60.0
_ASKED_EVERY_SECONDS = 1.0
_REMEMBERED = 4
_LONGEST_START_BYTES = 4096
"""The beginning of a record, up to its message, is shorter than this."""

_OWN_SESSION = """
    SELECT to_hex(floor(extract(epoch FROM backend_start))::bigint) || '.' || to_hex(pid),
           CASE WHEN client_port = -1 THEN '[local]' ELSE coalesce(client_hostname, host(client_addr)) END
      FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()
"""


class LogReader:
    """Reads the log of one server, chunk by chunk.

    ``read_settings`` asks the server for what concerns its log; that is done again when the server has read
    its configuration again, and now and then.
    """

    def __init__(
        self,
        connection: ServerConnection,
        options: Options,
        read_settings: Callable[[], LogSettings],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._options = options
        self._read_settings = read_settings
        self._clock = clock
        self._own_session, self._own_host = connection.row(_OWN_SESSION)
        self._zones_seen: frozenset[str] = frozenset()
        self._waiting_since: dict[tuple[str, int], float] = {}
        self._refresh()

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The whole records after ``cursor``, about ``limit_bytes`` of them at most."""
        self._refresh_when_due()
        position = self._first_position() if cursor is None else self._with_settings(understood(cursor))
        chunk = _chunk(position) if cursor is None else self._read(position, limit_bytes)
        # The settings may have been read again meanwhile.
        known = self._with_settings(position)
        numbers = position.numbers
        for block in chunk.records:
            numbers = numbers_after(block)
        remembered = {
            "time_zones": list(known.time_zones),
            "line_prefixes": list(known.line_prefixes),
            "syslog_idents": list(known.syslog_idents),
            "numbers": numbers,
        }
        return msgspec.structs.replace(chunk, cursor={**chunk.cursor, **remembered})

    def _read(self, position: Position, limit_bytes: int) -> Chunk:
        if not position.file:
            return self._first_file(position)
        if not position.aligned:
            # Else a small portion would hold no record's start, whatever follows it.
            limit_bytes = max(limit_bytes, 2 * _LONGEST_START_BYTES)
        portion = self._portion(position, limit_bytes)
        if portion is None:
            return self._after_vanished(position)
        if not position.is_in(portion):
            return self._after_replaced(position, portion)
        return self._records(position, portion, limit_bytes)

    # -- settings

    def _refresh(self) -> None:
        self._settings = self._read_settings()
        self._stamps: Stamps = {}
        self._configured: datetime = self._connection.value("SELECT pg_conf_load_time()")
        self._refreshed_at = self._asked_at = self._clock()

    def _refresh_when_due(self) -> None:
        now = self._clock()
        if now - self._refreshed_at >= _SETTINGS_HOLD_SECONDS:
            self._refresh()
        elif self._settings.source is LogSource.LOCAL and now - self._asked_at >= _ASKED_EVERY_SECONDS:
            self._asked_at = now
            self._refresh_if_configured(self._connection.value("SELECT pg_conf_load_time()"))

    def _refresh_if_configured(self, configured: datetime | None) -> None:
        if configured is not None and configured != self._configured:
            self._refresh()

    def _with_settings(self, position: Position) -> Position:
        """With the present settings that a record needs to be understood, before the earlier ones."""
        zones = dict.fromkeys((self._settings.log_timezone, *position.time_zones))
        prefixes = dict.fromkeys((self._settings.line_prefix, *position.line_prefixes))
        idents = dict.fromkeys((self._settings.value("syslog_ident") or "postgres", *position.syslog_idents))
        return msgspec.structs.replace(
            position,
            time_zones=tuple(zones)[:_REMEMBERED],
            line_prefixes=tuple(prefixes)[:_REMEMBERED] if position.format.is_text else (),
            syslog_idents=tuple(idents)[:_REMEMBERED] if position.format is LogFileFormat.SYSLOG else (),
        )

    def _context(self, position: Position) -> LogContext:
        target = self._connection.target
        known = self._with_settings(position)
        return LogContext(
            time_zones=known.time_zones,
            line_prefixes=known.line_prefixes,
            syslog=SyslogForm(
                idents=known.syslog_idents,
                numbered=self._settings.value("syslog_sequence_numbers") != "off",
                split=self._settings.value("syslog_split_messages") != "off",
            ),
            numbers=known.numbers,
            own_user=target.username,
            own_application=target.application_name,
            own_session=self._own_session,
            own_host=self._own_host,
            **_audited(self._settings),
            told_twice=_told_twice(self._settings),
            log_ins_authorized="authorization" in self._settings.connections,
        )

    # -- files

    @property
    def _directory(self) -> str:
        return self._settings.log_directory or "log"

    def _files(self, log_format: LogFileFormat) -> LogFiles:
        names = FileNames(log_format, self._settings.log_filename)
        if self._settings.source is not LogSource.LOCAL:
            return RemoteLogFiles(self._connection, self._directory, names, self._stamps)
        if self._settings.local_directory is None:
            raise ConfigurationError(
                ErrorCode.AUDIT_SOURCE_MISSING,
                "The directory of the log on this host is not known.",
                remedy="Give the engine's option log_directory.",
            )
        written = log_format.value in self._settings.written
        return LocalLogFiles(
            self._local_path,
            self._directory,
            names,
            self._stamps,
            written=written,
            limits=self._settings.limits,
        )

    def _local_path(self, directory: str) -> str:
        data_directory = self._settings.value("data_directory")
        if directory == self._directory or self._options.log_directory or data_directory is None:
            return self._settings.local_directory or ""
        return posixpath.join(data_directory, directory)

    def _portion(self, position: Position, limit_bytes: int) -> Portion | None:
        files = self._files(position.format)
        portion = files.read(position.directory, position.file, position.offset, limit_bytes)
        if portion is not None:
            self._refresh_if_configured(portion.configured)
        return portion

    def _format_after(self, log_format: LogFileFormat) -> LogFileFormat | None:
        """The format to go on with where this one is over. The text log says less than the others: it takes
        the place of one of them only where it is asked for.
        """
        wanted = self._settings.format
        to_text = wanted is LogFormat.STDERR and log_format.of_the_server
        if wanted is None or (to_text and self._options.log_format is LogFormat.AUTO):
            return None
        return LogFileFormat(wanted.value)

    def _expect_a_log_after(self, log_format: LogFileFormat) -> None:
        if self._format_after(log_format) is None:
            raise _no_log(self._settings)

    def _first_position(self) -> Position:
        if self._settings.format is None:
            raise _no_log(self._settings)
        log_format = LogFileFormat(self._settings.format.value)
        if self._options.start_from is StartFrom.BEGINNING:
            return self._at_beginning(log_format)
        return self._at_end(log_format)

    def _at_beginning(self, log_format: LogFileFormat) -> Position:
        position = self._nowhere(log_format)
        listing = self._files(log_format).listing()
        return position.at_start_of(listing[0]) if listing else position

    def _nowhere(self, log_format: LogFileFormat) -> Position:
        """Where a log is read that has no file yet."""
        second_us = int(self._connection.value("SELECT floor(extract(epoch FROM now()))::bigint")) * 1_000_000
        return self._with_settings(
            Position(format=log_format, directory=self._directory, modified_us=second_us)
        )

    def _at_end(self, log_format: LogFileFormat) -> Position:
        position = self._nowhere(log_format)
        files = self._files(log_format)
        current = files.current()
        if current is None:
            return position
        at_start = position.at_start_of(LogFile(current, 0, position.modified_us))
        portion = files.read(self._directory, current, 0, 1)
        if portion is None:
            return at_start
        size = portion.size
        # A line of the text log is known to start where the byte before is a line break.
        begin = max(0, size - 1) if not log_format.of_the_server else size
        return at_start.moved(begin, portion, aligned=size == 0)

    def _first_file(self, position: Position) -> Chunk:
        """The log had no file yet when it was looked at first."""
        following = self._following(position)
        return _chunk(position) if following is None else _chunk(following, more=True)

    def _following(self, position: Position) -> Position | None:
        """The start of the first file that was written to since the present one was last seen; of the
        present log directory, and of the format that is wanted.
        """
        over = self._is_over(position.format)
        log_format = self._format_after(position.format) if over else position.format
        if log_format is None:
            return None
        since_us = position.modified_us
        if self._settings.source is not LogSource.LOCAL:
            since_us -= since_us % 1_000_000  # the server gives whole seconds
        file = next((f for f in self._files(log_format).listing() if f.modified_us >= since_us), None)
        if file is None:
            return None
        return position.at_start_of(file, format=log_format, directory=self._directory)

    def _is_over(self, log_format: LogFileFormat) -> bool:
        """Whether the log is to be read in another format once this one is read to its end."""
        wanted = self._options.log_format
        written = log_format.value in self._settings.written
        return not written or (wanted is not LogFormat.AUTO and wanted.value != log_format.value)

    def _next_file(self, position: Position) -> Position | None:
        """The start of the file after one that the server is done with; None while there is none."""
        if position.directory == self._directory and not self._is_over(position.format):
            listing = self._files(position.format).listing()
            place = next((i for i, file in enumerate(listing) if file.name == position.file), None)
            if place is not None:
                return position.at_start_of(listing[place + 1]) if place + 1 < len(listing) else None
        following = self._following(position)
        return None if following is None or _same_file(following, position) else following

    def _after_vanished(self, position: Position) -> Chunk:
        self._refresh()
        following = self._following(position)
        if following is None:
            # The server may still write into the file that was removed. What comes next is another one.
            nowhere = position.at_start_of(LogFile("", 0, position.modified_us))
            return _chunk(nowhere, gaps=(_gap(position, _REMOVED, None),))
        is_new_file = _same_file(following, position) and position.size == 0
        lost = () if is_new_file else (_gap(position, _REMOVED, None),)
        return _chunk(following, gaps=lost, more=True)

    def _after_replaced(self, position: Position, portion: Portion) -> Chunk:
        """The file was truncated, or its name was used again: maybe after others were written."""
        file = LogFile(position.file, portion.size, portion.modified_us)
        following = self._following(position) or position.at_start_of(file)
        return _chunk(following, gaps=(_gap(position, _REPLACED, portion.size),), more=True)

    # -- records

    def _records(self, position: Position, portion: Portion, limit_bytes: int) -> Chunk:
        data = portion.data
        if not position.aligned:
            start = first_record(position.format, data, position.line_prefixes)
            if start is None:
                return self._unaligned(position, portion)
            aligned = position.moved(start, portion)
            rest = msgspec.structs.replace(portion, data=data[start:])
            return self._records(aligned, rest, limit_bytes)
        whole = end_of_whole_records(position.format, data)
        if not portion.at_end:
            return self._middle(position, portion, whole, limit_bytes)
        if self._changes_to_unlike_records(position.format):
            return self._in_another_format(position, portion, whole)
        if portion.current and not self._is_over(position.format):
            return self._live(position, portion, whole)
        if portion.current:
            portion = msgspec.structs.replace(portion, data=data[:whole])
        return self._end_of_file(position, portion)

    def _unaligned(self, position: Position, portion: Portion) -> Chunk:
        """No record starts in the portion, but one may have begun at its end."""
        kept = min(len(portion.data), _LONGEST_START_BYTES) if portion.current or not portion.at_end else 0
        after = position.moved(len(portion.data) - kept, portion, aligned=False)
        if portion.at_end and not portion.current:
            following = self._next_file(after)
            return _chunk(after) if following is None else _chunk(following, more=True)
        return _chunk(after, more=not portion.at_end)

    def _middle(self, position: Position, portion: Portion, whole: int, limit_bytes: int) -> Chunk:
        """More of the file follows: end where no record waits for one that follows."""
        if whole:
            block = self._block(position, portion.data[:whole])
            found = self._examine([block], more=True)
            end = found.cut_before(found.waiting[0].place)[1] if found.waiting else whole
            if end or limit_bytes >= LARGEST_RECORD_BYTES:
                return self._chunk_to(position, portion, end or whole, more=True)
        if limit_bytes < LARGEST_RECORD_BYTES:
            limit_bytes = min(limit_bytes * 4, LARGEST_RECORD_BYTES)
            larger = self._portion(position, limit_bytes)
            if larger is None:
                return _chunk(position, more=True)
            return self._records(position, larger, limit_bytes)
        # Longer than any record can be: put aside the beginning of it, and search for the next one.
        end = len(portion.data) - _LONGEST_START_BYTES
        block = self._block(position, portion.data[:KEPT_BYTES])
        after = position.moved(end, portion, aligned=False)
        return Chunk(records=[block], cursor=after.cursor(), more=True)

    def _live(self, position: Position, portion: Portion, whole: int) -> Chunk:
        """The end of the file that the server writes to: records may wait for others, but not for long."""
        if not whole:
            return _chunk(position.moved(0, portion))
        block = self._block(position, portion.data[:whole])
        place = self._unexpired([block], [position])
        return self._chunk_to(position, portion, whole if place is None else place[1], more=False)

    def _end_of_file(self, position: Position, portion: Portion) -> Chunk:
        """The server is done with this file: its end is read together with the beginning of the next."""
        data = portion.data
        end = position.moved(len(data), portion)
        following = self._next_file(end)
        first = self._portion(following, max(len(data), 1 << 16)) if following and data else None
        if following is None or first is None:
            if data:
                return self._live(position, portion, len(data))
            if (
                following is None
                and self._is_over(position.format)
                and not self._format_after(position.format)
            ):
                raise _no_log(self._settings)
            return _chunk(following or end, more=following is not None)
        whole = end_of_whole_records(following.format, first.data)
        blocks = [self._block(position, data), self._block(following, first.data[:whole])]
        place = self._unexpired(blocks, [position, following])
        if place is not None and place[0] == 0:
            return self._chunk_to(position, portion, place[1], more=False)
        part = whole if place is None else place[1]
        records = [self._block(position, data)]
        if part:
            records.append(self._block(following, first.data[:part]))
        after = following.moved(part, first)
        return Chunk(records=records, cursor=after.cursor(), more=place is None or not first.at_end)

    def _changes_to_unlike_records(self, log_format: LogFileFormat) -> bool:
        """Whether another format is asked for that holds the same records in a way that cannot be matched."""
        after = self._format_after(log_format) if self._is_over(log_format) else None
        if after is None or after is log_format or (after.of_the_server and log_format.of_the_server):
            return False
        return not after.of_the_server or log_format.value in self._settings.written

    def _in_another_format(self, position: Position, portion: Portion, whole: int) -> Chunk:
        """Go on at the end of the other log: from its beginning, most would be there twice."""
        after = self._at_end(self._format_after(position.format) or position.format)
        lost = _gap(position, _OTHER_FORMAT, portion.size)
        records = [self._block(position, portion.data[:whole])] if whole else []
        return Chunk(records=records, cursor=after.cursor(), gaps=(lost,), more=True)

    def _block(self, position: Position, data: bytes) -> LogBlock:
        return LogBlock(position.format, position.file, position.offset, data, self._context(position))

    def _chunk_to(self, position: Position, portion: Portion, end: int, *, more: bool) -> Chunk:
        if end == 0:
            return _chunk(position.moved(0, portion), more=more)
        block = self._block(position, portion.data[:end])
        return Chunk(records=[block], cursor=position.moved(end, portion).cursor(), more=more)

    def _examine(self, blocks: Sequence[LogBlock], *, more: bool) -> Tail:
        """The records that wait for others or belong together.

        A zone that was not seen before makes the settings read again: the server may have changed
        log_timezone a moment ago.
        """
        found = tail(blocks, more=more)
        if not found.zones <= self._zones_seen:
            self._zones_seen |= found.zones
            self._refresh()
        return found

    def _unexpired(self, blocks: Sequence[LogBlock], starts: Sequence[Position]) -> Place | None:
        """Where to cut before the first record that has to wait for another and has not done so for long."""
        now = self._clock()
        found = self._examine(blocks, more=False)
        since = {}
        first = None
        for record in found.waiting:
            block, offset = record.place
            place = (starts[block].file, starts[block].offset + offset)
            since[place] = self._waiting_since.get(place, now)
            if first is None and now - since[place] < record.seconds:
                first = record.place
        self._waiting_since = since
        return None if first is None else found.cut_before(first)


_OTHER_FORMAT = "The log is read in another format from here on; what was logged in between may be missing."
_REMOVED = "A log file was removed before it was read to its end."
_REPLACED = "The log file was truncated or its name was used again."


def _chunk(position: Position, *, gaps: tuple[AuditEvent, ...] = (), more: bool = False) -> Chunk:
    return Chunk(records=[], cursor=position.cursor(), gaps=gaps, more=more)


def _same_file(one: Position, other: Position) -> bool:
    return (one.format, one.directory, one.file) == (other.format, other.directory, other.file)


def _gap(position: Position, reason: str, size_now: int | None) -> AuditEvent:
    return gap(
        key=f"gap:{position.file}:{position.offset}:{position.head}",
        time_us=now_us(),
        reason=reason,
        source=position.file,
        offset=position.offset,
        known_unread_bytes=max(0, position.size - position.offset),
        lost_records=None,
        size_now=size_now,
    )


def _audited(settings: LogSettings) -> dict[str, Any]:
    """What the context says of the statements that pgaudit records for certain."""
    apart = LogFormat.PGAUDIT_FILE.value in settings.written
    if not settings.pgaudit_loaded or apart is not (settings.format is LogFormat.PGAUDIT_FILE):
        return {}
    value = settings.server_wide.get("pgaudit.log") or ""
    words = [word.strip().lower() for word in value.split(",") if word.strip()]
    known = {"read", "write", "function"}
    audited = known if "all" in words else known & set(words)
    audited = audited - {word.removeprefix("-") for word in words if word.startswith("-")}
    exempt = [override for override in settings.overrides if override.name == "pgaudit.log"]
    of_a_role = frozenset(override.role for override in exempt if override.role is not None)
    of_a_database = frozenset(o.database for o in exempt if o.role is None and o.database is not None)
    # A setting of all roles in all databases has neither.
    everybody = any(override.role is None and override.database is None for override in exempt)
    return {
        "audited": frozenset() if everybody else frozenset(audited),
        "exempt_roles": of_a_role,
        "exempt_databases": of_a_database,
        "catalogs_exempt": settings.value("pgaudit.log_catalog") == "off",
        "recorded_at_end": settings.value("pgaudit.log_rows") == "on",
    }


def _told_twice(settings: LogSettings) -> bool:
    """Whether statements may be logged by log_statement and by pgaudit."""
    statements = settings.server_wide.get("log_statement") or settings.value("log_statement")
    overridden = any(o.name == "log_statement" and o.value != "none" for o in settings.overrides)
    return settings.pgaudit_loaded and (statements not in (None, "none") or overridden)


def _no_log(settings: LogSettings) -> ConfigurationError:
    if not settings.collecting:
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            "The server collects no log (logging_collector is off).",
            remedy="ALTER SYSTEM SET logging_collector = on; and restart the server.",
        )
    return ConfigurationError(
        ErrorCode.AUDIT_SOURCE_MISSING,
        "The server writes neither jsonlog nor csvlog."
        if settings.options.log_format is LogFormat.AUTO
        else f"The server writes no {settings.options.log_format.value}.",
        remedy=f"ALTER SYSTEM SET log_destination = '{'jsonlog' if settings.major >= 15 else 'csvlog'}'; "
        "SELECT pg_reload_conf();",
    )
