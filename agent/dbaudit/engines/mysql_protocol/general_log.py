"""Reading the table `mysql.general_log`: by an exact place in it, and emptied where that is granted.

The table is a file to which the server only appends (its engine is CSV, without any index), so the number of
a row in it is the row's permanent key. It is read in place. When it has grown it is *retired*: in one atomic
RENAME the table moves into the schema ``dbaudit`` and an empty one takes its place; the retired one is read
to its end, and dropped once everything in it is stored. A crash between any two of these steps loses nothing:
the row that was read last is found again, in the live table or in a retired one, also of another reader (see
general_log_readers.py).
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from dbaudit.core.clock import now_us, to_us
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode
from dbaudit.core.event import gap
from dbaudit.engine import cursors
from dbaudit.engine.base import Chunk, Cursor
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.general_log_readers import (
    SCHEMA,
    OwnReader,
    first_row,
    others,
    qualified,
    retired_at,
    retired_before,
    retired_name,
    retired_prefix,
    retired_tables,
    server_now,
    unneeded,
)
from dbaudit.engines.mysql_protocol.general_rows import (
    COLUMNS,
    CUT_COLUMNS,
    SET_NAMES,
    GeneralLogBlock,
    may_open_only,
    opens_only,
    own_sessions,
    parse,
)
from dbaudit.engines.mysql_protocol.times import TimeWindow

LIVE = "mysql.general_log"
SOURCE = "general_log"
RETIRED_ROWS = 5000
"""From so many rows on the table is retired: each reading goes through all of it."""

_CURSOR_VERSION = 1
_PAUSE_SECONDS = 1.0
_UNDECIDED_SECONDS = 2.0
_RETIRING_AGAIN_SECONDS = 600.0
_FETCHED_BYTES = 16 << 20
_BACKLOG_ROWS = 1000
_FEWEST_ROWS, _MOST_ROWS = 200, 20_000
_KEPT_OWN_SESSIONS = 500
_LOCK_SLACK_US = 60_000_000
_WHOLE_SECONDS = len("2026-02-03 10:15:00")


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where reading resumes: the cursor.

    ``table`` is the retired table that is being read, empty for the live one; ``row`` the number of the next
    row in it, ``head`` and ``last`` are fingerprints of its first row and of the one before the next.
    ``skipped`` are rows at its beginning that were not read, because they are older than the declaration.
    ``finished`` are retired tables whose rows were all read: they are dropped once that is stored.
    ``before`` is the retired table that the one that is read follows, empty where that is not known.
    ``undecided`` are rows (key, text as Latin-1) whose meaning depends on rows that are not read yet.
    """

    v: int = _CURSOR_VERSION
    source: str = SOURCE
    table: str = ""
    row: int = 0
    head: str = ""
    last: str = ""
    skipped: int = 0
    since_us: int = 0
    until_us: int = 0
    finished: tuple[str, ...] = ()
    before: str = ""
    own: tuple[int, ...] = ()
    undecided: tuple[tuple[str, str], ...] = ()

    def cursor(self) -> Cursor:
        cursor: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return cursor


def understood(cursor: Cursor) -> Place:
    """The place that a stored cursor holds. Raises ConfigurationError for one of another source."""
    place = cursors.understood(cursor, Place, _CURSOR_VERSION, "general log")
    if (
        place.source != SOURCE
        or place.row < 0
        or not all(
            map(_RETIRED_NAME.fullmatch, (*place.finished, *filter(None, [place.table, place.before])))
        )
    ):
        raise cursors.not_ours("general log")
    return place


_RETIRED_NAME = re.compile(r"general_log_[A-Za-z0-9_]{1,40}")


class _Fetched(NamedTuple):
    """Rows that were fetched in advance."""

    table: str
    first: int
    rows: list[bytes]

    @property
    def end(self) -> int:
        return self.first + len(self.rows)


_NOTHING_FETCHED = _Fetched("", 0, [])


class GeneralLogReader:
    """Reads the general log of one server, chunk by chunk.

    ``may_retire`` says whether the table may be emptied; ``beginning`` whether what is in it at first is
    read.
    """

    def __init__(
        self,
        connection: ServerConnection,
        *,
        may_retire: bool,
        beginning: bool,
        retired_rows: int = RETIRED_ROWS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._may_retire = may_retire
        self._beginning = beginning
        self._retired_rows = retired_rows
        self._clock = clock
        self._prefix = retired_prefix(connection.target.database_id)
        self._zone_offset_us = self._ask_zone_offset()
        self._transport_written = not re.match(r"5\.[0-6]\.(?!.*MariaDB)", connection.version)
        self._quiet: Place | None = None
        self._quiet_until = 0.0
        self._ahead = 0
        self._ahead_last = ""
        self._undecided_since: dict[str, float] = {}
        self._retiring_after = 0.0
        self._dropped: set[str] = set()
        self._self: OwnReader | None = None
        self._asking_again = 0.0
        self._row_bytes = 200.0
        self._fetched = _NOTHING_FETCHED

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        """The rows after ``cursor``, about ``limit_bytes`` of them at most."""
        if self._may_retire and self._self is None:
            self._self = OwnReader(self._connection, self._prefix)
            self._quietly(self._self.join)
        if cursor is None:
            return _chunk(self._first_place())
        place = self._without_dropped(understood(cursor))
        if place == self._quiet:
            if self._clock() < self._quiet_until:
                return Chunk(records=[], cursor=cursor)
        else:
            self._quiet, self._ahead = None, 0
        # By what is stored: a row that was read last is what is searched for after a crash.
        if not place.table and place.row >= self._retired_rows:
            place = self._retire_if_possible(place)
        return self._read(place, cursor, limit_bytes)

    def acknowledge(self, cursor: Cursor) -> None:
        """Drop the retired tables whose rows are all stored, here and by the other readers of this log."""
        if cursor.get("source") != SOURCE:
            return
        place = understood(cursor)
        reader = self._self
        if reader is not None:
            self._quietly(lambda: reader.note(place.before))
        names = [n for n in place.finished if n not in self._dropped and n.startswith(self._prefix)]
        if not names or self._clock() < self._asking_again:
            return
        for name in self._unneeded(names):
            self._connection.execute(f"DROP TABLE IF EXISTS {qualified(name)}")
            self._dropped.add(name)
        if not self._dropped.issuperset(names):
            self._asking_again = self._clock() + _PAUSE_SECONDS

    def _unneeded(self, names: list[str]) -> list[str]:
        readers = others(self._connection, self._prefix)
        if not readers:
            return names
        return unneeded(names, readers, server_now(self._connection))

    def _quietly(self, done: Callable[[], None]) -> None:
        """What is for other readers: where the server refuses it, as one does that is read_only, it waits."""
        try:
            done()
        except DbauditError as error:
            if error.code is ErrorCode.CONNECTION_LOST:
                raise

    def close(self) -> None:
        """Nothing of its own is open."""

    # -- places

    def _first_place(self) -> Place:
        # Other sessions of the agent have begun before: that they are its own is not in what is read.
        known = others(self._connection, self._prefix) if self._may_retire else ()
        own = (self._connection.connection_id, *(reader.connection for reader in known if reader.connection))
        start = Place(own=own)
        if self._beginning:
            return start
        start = msgspec.structs.replace(start, since_us=self._server_now_us())
        # The rows that are there now; more may come between the statements, and are read then.
        number = int(self._connection.value("SELECT COUNT(*) FROM mysql.general_log"))
        head, last = (self._row(LIVE, place) if number else None for place in (0, number - 1))
        if head is None or last is None:
            return start
        return msgspec.structs.replace(
            start,
            row=number,
            head=_fingerprint(head),
            last=_fingerprint(last),
            skipped=number,
            before=retired_before(head),
        )

    def _without_dropped(self, place: Place) -> Place:
        left = tuple(name for name in place.finished if name not in self._dropped)
        return msgspec.structs.replace(place, finished=left) if left != place.finished else place

    def _retire_if_possible(self, place: Place) -> Place:
        if not self._may_retire or self._clock() < self._retiring_after:
            return place
        try:
            # It may have been retired already, before a crash: that one is read first.
            self._fetched = _NOTHING_FETCHED
            last = self._row(LIVE, place.row - 1)
            return self._retire(place) if last is not None and _fingerprint(last) == place.last else place
        except DbauditError as error:
            if error.code is ErrorCode.CONNECTION_LOST:
                raise
            # Disk full, read_only, a lock: the table can be read as it is until that has passed.
            self._retiring_after = self._clock() + _RETIRING_AGAIN_SECONDS
            return place

    def _retire(self, place: Place) -> Place:
        name = retired_name(self._prefix, server_now(self._connection))
        coming = qualified(f"{self._prefix}next")
        connection = self._connection
        connection.execute(f"DROP TABLE IF EXISTS {coming}")  # one that a crash left may be of an old version
        connection.execute(f"CREATE TABLE {coming} LIKE {LIVE}")
        # Its first row names the table, and with it its rows: servers that log whole seconds would else begin
        # one table as the other. What is not yet the log can still be inserted into.
        connection.execute(
            f"INSERT INTO {coming} "  # noqa: S608  # a name of ours, quoted
            "(event_time, user_host, thread_id, server_id, command_type, argument) "
            "VALUES (NOW(), '[] @  []', 0, 0, 'Daemon', %s)",
            [first_row(name)],
        )
        connection.execute(f"RENAME TABLE {LIVE} TO {qualified(name)}, {coming} TO {LIVE}")
        self._quiet, self._ahead = None, 0
        return msgspec.structs.replace(place, table=name, until_us=self._server_now_us())

    # -- reading

    def _read(self, place: Place, cursor: Cursor, limit_bytes: int) -> Chunk:
        table = qualified(place.table) if place.table else LIVE
        ahead = self._ahead
        first = place.row + ahead
        # The row before is read again, to see that it is the one it was.
        overlap = 1 if first else 0
        wanted = self._wanted_rows(limit_bytes)
        try:
            rows, at_end = self._rows(table, first - overlap, wanted + overlap)
        except ConfigurationError as error:
            if not place.table or error.code is not ErrorCode.AUDIT_SOURCE_MISSING:
                raise
            rows, at_end = [], True
        known = self._ahead_last if ahead else place.last
        if overlap and (not rows or _fingerprint(rows[0]) != known or self._is_of_another_table(place, rows)):
            if ahead:
                self._quiet, self._ahead = None, 0
                return self._read(place, cursor, limit_bytes)
            return self._after_replaced(place, limit_bytes)
        # Behind the rows: the driver keeps the last result, which is a small one then.
        asked = place.until_us if place.table else self._server_now_us()
        if not first and place.before and retired_before(rows[0] if rows else None) != place.before:
            return self._after_another_was_retired(place, limit_bytes)
        new = rows[overlap:]
        kept = _within(new, limit_bytes)
        whole = at_end and kept == len(new)
        new = new[:kept]
        if whole:
            self._fetched = _NOTHING_FETCHED
        if not new:
            return self._end(place, cursor, asked)
        few = ahead + len(new) < self._retired_rows // 2
        if not place.table and whole and few and not place.undecided and self._all_own(new):
            return self._only_own(place, cursor, new)
        return self._block(place, new, first, asked, end_of_table=whole)

    def _is_of_another_table(self, place: Place, rows: list[bytes]) -> bool:
        """Whether rows of the live table follow one that stood in another table at the same place: servers
        that log whole seconds may write the same row into both.
        """
        if place.table or len(rows) < 2 or rows[0].find(b"\t") != _WHOLE_SECONDS:
            return False
        # Not by _row: what was fetched for later is kept.
        source = f"FROM {LIVE}"
        heads = self._connection.rows(f"SELECT {COLUMNS} {source} LIMIT 1")
        return not heads or heads[0][0] is None or _fingerprint(bytes(heads[0][0])) != place.head

    def _only_own(self, place: Place, cursor: Cursor, new: list[bytes]) -> Chunk:
        """Nothing but what this session did: on an idle server the cursor stays as it is."""
        self._ahead += len(new)
        self._ahead_last = _fingerprint(new[-1])
        self._quiet, self._quiet_until = place, self._clock() + _PAUSE_SECONDS
        return Chunk(records=[], cursor=cursor)

    def _all_own(self, rows: list[bytes]) -> bool:
        mine = str(self._connection.connection_id).encode()
        return all(line.split(b"\t", 2)[1:2] == [mine] for line in rows)

    def _end(self, place: Place, cursor: Cursor, asked: int) -> Chunk:
        if place.table:
            return _chunk(self._finished(place), more=True)
        if place.undecided:
            decided, undecided = self._split(self._as_block(place, [], 0, asked))
            if not decided.rows:
                return Chunk(records=[], cursor=cursor)
            after = msgspec.structs.replace(
                place, undecided=undecided, own=own_sessions(decided)[-_KEPT_OWN_SESSIONS:]
            )
            return Chunk(records=[decided], cursor=after.cursor())
        self._quiet, self._quiet_until = place, self._clock() + _PAUSE_SECONDS
        return _chunk(place)

    def _finished(self, place: Place) -> Place:
        """At the beginning of the live table, after a retired one that was read to its end.

        One with rows that were never read is kept: it is not the agent's to throw away. One that another
        reader has retired is that one's to drop.
        """
        mine = not place.skipped and place.table.startswith(self._prefix)
        finished = (*place.finished, place.table) if mine else place.finished
        at = retired_at(place.table)
        return msgspec.structs.replace(
            place,
            table="",
            row=0,
            head="",
            last="",
            skipped=0,
            since_us=place.since_us if at is None else to_us(at),
            until_us=0,
            finished=finished,
            before=place.table,
        )

    def _after_replaced(self, place: Place, limit_bytes: int) -> Chunk:
        """The row that was read last is not where it was: the table was retired, or another client emptied
        it.
        """
        names = retired_tables(self._connection)
        for name in names:
            head = self._row(qualified(name), 0) if place.head and name != place.table else None
            if head is None or _fingerprint(head) != place.head:
                continue
            last = self._row(qualified(name), place.row - 1)
            if last is not None and _fingerprint(last) == place.last:
                return self._read_retired(name, place, limit_bytes)
        table = place.table if place.table in names else ""
        before = retired_before(self._row(qualified(table) if table else LIVE, 0))
        begin = msgspec.structs.replace(place, table=table, row=0, head="", last="", skipped=0, before=before)
        return self._lost(place, begin)

    def _after_another_was_retired(self, place: Place, limit_bytes: int) -> Chunk:
        """The live table does not follow the one that was read to its end: others were retired meanwhile."""
        for name in retired_tables(self._connection):
            if retired_before(self._row(qualified(name), 0)) == place.before:
                return self._read_retired(name, place, limit_bytes)
        before = retired_before(self._row(LIVE, 0))
        if before == place.before:
            return self._read(place, place.cursor(), limit_bytes)
        return self._lost(place, msgspec.structs.replace(place, table="", before=before))

    def _read_retired(self, name: str, place: Place, limit_bytes: int) -> Chunk:
        at = retired_at(name)
        until = now_us() if at is None else to_us(at) + _LOCK_SLACK_US
        there = msgspec.structs.replace(place, table=name, until_us=until)
        return self._read(there, there.cursor(), limit_bytes)

    def _lost(self, place: Place, begin: Place) -> Chunk:
        lost = gap(
            key=f"gap:{place.head or place.before}:{place.row}",
            time_us=now_us(),
            reason="The general log's table was emptied or replaced, perhaps before it was read to its end.",
            source=f"{SCHEMA}.{place.table}" if place.table else LIVE,
            rows_read=place.row,
            lost_records=None,
        )
        return Chunk(records=[], cursor=begin.cursor(), gaps=(lost,), more=True)

    def _row(self, table: str, place: int) -> bytes | None:
        """One row by its place in a table; None where there is no such row, or no such retired table any
        more: the reader that has retired it drops it when all have read it, which may be right now.
        """
        try:
            rows, _at_end = self._rows(table, place, 1)
        except ConfigurationError as error:
            if table == LIVE or error.code is not ErrorCode.AUDIT_SOURCE_MISSING:
                raise
            return None
        return rows[0] if rows else None

    def _rows(self, table: str, first: int, number: int) -> tuple[list[bytes], bool]:
        """Rows by their place in a table, and whether the table ends with them.

        More is fetched at once where there is a backlog: to come to a place the server goes through all rows
        before it.
        """
        ahead = self._fetched
        if ahead.table == table and ahead.first <= first and first + number <= ahead.end:
            return ahead.rows[first - ahead.first : first - ahead.first + number], False
        self._fetched = _NOTHING_FETCHED
        at_once = number if number < _BACKLOG_ROWS else max(number, int(_FETCHED_BYTES / self._row_bytes))
        source = f"FROM {table}"  # LIVE, or a name of ours that _qualified has quoted
        query = f"SELECT {COLUMNS} {source} LIMIT {at_once:d} OFFSET {first:d}"
        rows = []
        values, complete = self._connection.values_within(query, _FETCHED_BYTES)
        for place, row in enumerate(values):
            if row is None:
                cut = f"SELECT {CUT_COLUMNS} {source} LIMIT 1 OFFSET {first + place:d}"
                row = bytes(self._connection.value(cut))
            rows.append(row)
        if len(rows) > number:
            self._fetched = _Fetched(table, first, rows)
        return rows[:number], complete and len(rows) < min(number, at_once)

    def _wanted_rows(self, limit_bytes: int) -> int:
        return max(
            1, min(_MOST_ROWS, max(int(limit_bytes / self._row_bytes), min(_FEWEST_ROWS, limit_bytes)))
        )

    # -- blocks

    def _block(self, place: Place, new: list[bytes], first: int, asked: int, *, end_of_table: bool) -> Chunk:
        self._row_bytes = max(50.0, sum(map(len, new)) / len(new))
        table = qualified(place.table) if place.table else LIVE
        head = place.head or _fingerprint((self._row(table, 0) if first else None) or new[0])
        at = msgspec.structs.replace(place, head=head)
        block = self._as_block(at, new, first, asked)
        decided, undecided = self._split(block)
        after = msgspec.structs.replace(
            at,
            row=first + len(new),
            last=_fingerprint(new[-1]),
            own=own_sessions(decided)[-_KEPT_OWN_SESSIONS:],
            undecided=undecided,
            since_us=place.since_us if place.table else asked,
        )
        self._quiet, self._ahead = None, 0
        if place.table and end_of_table:
            after = self._finished(after)
        more = bool(place.table) or not end_of_table
        return Chunk(records=[decided] if decided.rows else [], cursor=after.cursor(), more=more)

    def _as_block(self, place: Place, new: list[bytes], first: int, asked: int) -> GeneralLogBlock:
        target = self._connection.target
        carried = [text.encode("latin-1") for _key, text in place.undecided]
        keys = [key for key, _text in place.undecided]
        return GeneralLogBlock(
            rows=(*carried, *new),
            keys=(*keys, *(f"{place.head}:{number}" for number in range(first, first + len(new)))),
            own_user=target.username,
            own_application=target.application_name,
            own_sessions=tuple(dict.fromkeys((*place.own, self._connection.connection_id))),
            window=TimeWindow(place.since_us, asked),
            zone_offset_us=self._zone_offset_us,
            transport_written=self._transport_written,
        )

    def _split(self, block: GeneralLogBlock) -> tuple[GeneralLogBlock, tuple[tuple[str, str], ...]]:
        """The rows whose meaning is known, and the undecided ones: beginnings of sessions, and USEs, after
        which their session has no row yet.
        """
        waiting: dict[int, list[int]] = {}
        for place, line in enumerate(block.rows):
            try:
                if not (may_open_only(line) or waiting):
                    continue
                row = parse(line)
                if not opens_only(row, block.own_user):
                    waiting.pop(row.thread, None)
                elif row.argument == SET_NAMES and row.thread in waiting:
                    waiting[row.thread].append(place)
                elif row.argument != SET_NAMES:
                    waiting[row.thread] = [place]
            except ValueError:
                continue
        now, before = self._clock(), self._undecided_since
        self._undecided_since = {}
        held: set[int] = set()
        for places in waiting.values():
            since = before.get(block.keys[places[0]], now)
            if now - since < _UNDECIDED_SECONDS:
                self._undecided_since[block.keys[places[0]]] = since
                held.update(places)
        if not held:
            return block, ()
        left = [place for place in range(len(block.rows)) if place not in held]
        undecided = tuple((block.keys[p], block.rows[p].decode("latin-1")) for p in sorted(held))
        decided = msgspec.structs.replace(
            block, rows=tuple(block.rows[p] for p in left), keys=tuple(block.keys[p] for p in left)
        )
        return decided, undecided

    # -- the server's clock

    def _server_now_us(self) -> int:
        return to_us(server_now(self._connection))

    def _ask_zone_offset(self) -> int:
        """What the server's own time zone adds to UTC now, in microseconds."""
        query = "SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', %s))"
        zone = self._connection.value("SELECT @@global.time_zone")
        if zone == "SYSTEM":
            # Its name is not known to CONVERT_TZ; NOW() in it is.
            try:
                self._connection.execute("SET SESSION time_zone = 'SYSTEM'")
                # Both are of the same instant.
                minutes = self._connection.value("SELECT TIMESTAMPDIFF(MINUTE, UTC_TIMESTAMP(), NOW())")
            finally:
                self._connection.execute("SET SESSION time_zone = '+00:00'")
        else:
            minutes = self._connection.value(query, [zone])
        return int(minutes or 0) * 60_000_000


def _fingerprint(row: bytes) -> str:
    return hashlib.blake2b(row, digest_size=8).hexdigest()


def _within(rows: list[bytes], limit_bytes: int) -> int:
    """How many of the first rows are within the limit; one at least, where there is one."""
    total = 0
    for place, row in enumerate(rows):
        total += len(row)
        if total > limit_bytes and place:
            return place
    return len(rows)


def _chunk(place: Place, *, more: bool = False) -> Chunk:
    return Chunk(records=[], cursor=place.cursor(), more=more)
