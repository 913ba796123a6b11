"""The event store with one row an event, in the state's own database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

import msgspec
from msgspec.structs import astuple
from sqlalchemy import (
    Connection,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    select,
    text,
    tuple_,
    update,
)

from dbaudit.core import typed
from dbaudit.core.clock import now_us
from dbaudit.core.db_conns import CONNECTION_EVENTS
from dbaudit.core.errors import ErrorCode, TransientError, not_found
from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.state.backend import Backend
from dbaudit.state.events import (
    Appended,
    Backlog,
    EventCounts,
    EventOrder,
    EventPage,
    EventQuery,
    NumberedEvent,
    OfServer,
    StoredCursor,
    StoredEvent,
)
from dbaudit.state.nodes import Lease
from dbaudit.state.replays import not_stored_yet, placed_events
from dbaudit.state.schema import (
    OF_CONNECTIONS,
    collectors,
    cursors,
    databases,
    deliveries,
    event_hours,
    events,
    leases,
    rejected_records,
)
from dbaudit.state.secrets import SecretStore
from dbaudit.state.servers import server_of
from dbaudit.state.sqlite import CONTAINS
from dbaudit.state.tags import having_tags

_HOUR_US = 3600 * 1_000_000
_ID_PREFIX = "evt_"
_EVENT_ID = re.compile(rf"{_ID_PREFIX}[1-9][0-9]{{0,17}}")
_LOOKUP_BATCH = 500


_COLUMNS = AuditEvent.__struct_fields__
_QUOTED = ", ".join(f'"{name}"' for name in _COLUMNS)
# The last three, objects, parameters and detail, are stored as JSON.
_JSON = slice(-3, None)
_NO_JSON = (None, None, None)
_PG_TYPES = {
    "time_us": "bigint",
    "source_port": "integer",
    "duration_ms": "double precision",
    "rows_affected": "bigint",
}
_ROWS_A_STATEMENT = 8
"""A statement costs a third of a row in addition to its rows; more rows than these save nothing more."""
_INSERT_POSTGRESQL = (
    f"INSERT INTO events (database_no, {_QUOTED})"  # noqa: S608  # names of our own columns
    f" SELECT %s::bigint, {_QUOTED} FROM unnest("
    + ", ".join(f"%s::{_PG_TYPES.get(name, 'text')}[]" for name in _COLUMNS)
    + f") WITH ORDINALITY AS new ({_QUOTED}, ordinal) ORDER BY ordinal"
)


@lru_cache(maxsize=1000)
def _insert_sqlite(database_no: int, rows: int) -> str:
    # Our own number is part of the SQL text: one value less to bind for each of thousands of rows.
    row = f"({database_no:d}, {', '.join('?' * len(_COLUMNS))})"
    return f"INSERT INTO events (database_no, {_QUOTED}) VALUES {', '.join([row] * rows)}"  # noqa: S608  # our own


_encode = msgspec.json.Encoder().encode
_decode_objects = typed.decoder(tuple[str, ...])
_decode_parameters = typed.decoder(tuple[str | None, ...])
_decode_detail = typed.decoder(dict[str, Any])
_decode_counts = typed.decoder(dict[str, int])
_MOST_CLASSES = 200
OTHER_CLASSES = "other"
"""Under this name all classes beyond the first 200 are counted: a plugin may have any number of them."""


class RowEventStore:
    """Events as rows of the state's own database."""

    def __init__(self, backend: Backend, secrets: SecretStore) -> None:
        self._backend = backend
        self._secrets = secrets

    def append(
        self,
        lease: Lease,
        after: StoredCursor,
        cursor: Mapping[str, Any],
        events: Sequence[AuditEvent],
        rejected: Sequence[Rejected],
        of_server: OfServer | None = None,
        left_out: Mapping[str, int] | None = None,
    ) -> Appended:
        with self._backend.writing() as connection:
            # Numbers are given in the order of committing, so that following by number misses nothing.
            self._backend.serialize(connection, "events")
            revision = _advance_cursor(connection, lease, after, cursor)
            if of_server is None:
                new = not_stored_yet(connection, lease.database_no, events)
                placed: Mapping[int, Sequence[AuditEvent]] = {lease.database_no: new}
                aside = self._put_aside(connection, lease.database_no, lease.database_id, rejected)
                put_aside = {lease.database_no: aside}
            else:
                server = server_of(connection, lease.database_no)
                placed = placed_events(connection, lease.database_no, server, events, of_server)
                aside = self._put_aside(
                    connection, server.keeper_no, server.keeper_id, rejected, everywhere=server.ever
                )
                put_aside = {server.keeper_no: aside}
            # In one order, like all code that changes the rows of several collectors: no deadlocks.
            for number in sorted({*placed, *put_aside}):
                new = placed.get(number, ())
                if new:
                    _check_words(new)
                    self._insert(connection, number, new)
                    _add_hours(connection, number, new)
                if new or put_aside.get(number):
                    _count(connection, number, new, put_aside.get(number, 0))
            if left_out:
                _count_left_out(connection, lease.database_no, left_out)
        stored = sum(map(len, placed.values()))
        return Appended(stored, len(events) - stored, revision)

    def _insert(self, connection: Connection, database_no: int, new: Sequence[AuditEvent]) -> None:
        rows = [row if row[_JSON] == _NO_JSON else _with_json(row) for row in map(astuple, new)]
        if self._backend.is_sqlite:
            whole = len(rows) - len(rows) % _ROWS_A_STATEMENT
            starts = range(0, whole, _ROWS_A_STATEMENT)
            groups = [tuple(chain.from_iterable(rows[i : i + _ROWS_A_STATEMENT])) for i in starts]
            if groups:
                connection.exec_driver_sql(_insert_sqlite(database_no, _ROWS_A_STATEMENT), groups)
            if whole < len(rows):
                connection.exec_driver_sql(_insert_sqlite(database_no, 1), rows[whole:])
        else:
            columns = tuple(list(column) for column in zip(*rows, strict=True))
            connection.exec_driver_sql(_INSERT_POSTGRESQL, (database_no, *columns))

    def _put_aside(
        self,
        connection: Connection,
        database_no: int,
        database_id: str,
        rejected: Sequence[Rejected],
        *,
        everywhere: Select[tuple[int]] | None = None,
    ) -> int:
        """Store the rejected records that are not stored already; returns how many.

        ``everywhere`` selects the database numbers under which they may be stored, if these are several.
        """
        of = rejected_records.c.database_no
        there = of == database_no if everywhere is None else of.in_(everywhere)
        stored = 0
        for record in rejected:
            known = select(rejected_records.c.no).where(there, rejected_records.c.position == record.position)
            if connection.execute(known).first() is not None:
                continue
            secret_id = f"rejected/{database_id}/{record.position}"
            self._secrets.put(connection, secret_id, record.raw)
            connection.execute(
                insert(rejected_records).values(
                    database_no=database_no,
                    position=record.position,
                    reason=record.reason,
                    secret_id=secret_id,
                    created_at_us=now_us(),
                )
            )
            stored += 1
        return stored

    def cursor(self, database_no: int) -> StoredCursor:
        with self._backend.reading() as connection:
            row = connection.execute(
                select(cursors.c.cursor, cursors.c.revision).where(cursors.c.database_no == database_no)
            ).one_or_none()
        return (
            StoredCursor(None, 0)
            if row is None
            else StoredCursor(msgspec.json.decode(row.cursor), row.revision)
        )

    def query(self, wanted: EventQuery) -> EventPage:
        with self._backend.reading() as connection:
            query = select(
                events, databases.c.id.label("database_id"), databases.c.name.label("database_name")
            )
            query = query.join(databases, databases.c.no == events.c.database_no)
            if wanted.database_id is not None:
                number = connection.execute(
                    select(databases.c.no).where(
                        databases.c.id == wanted.database_id, *having_tags(databases.c.no, wanted.bound_to)
                    )
                ).scalar_one_or_none()
                if number is None:
                    raise not_found("database", wanted.database_id)
                query = query.where(events.c.database_no == number)
            else:
                query = query.where(*having_tags(events.c.database_no, wanted.bound_to))
            query = (
                query.where(*_conditions(wanted, self._backend.is_sqlite))
                .order_by(*_order(wanted.order))
                .limit(wanted.limit + 1)
            )
            rows = connection.execute(query).all()
        more = len(rows) > wanted.limit
        rows = rows[: wanted.limit]
        end = (rows[-1].time_us, rows[-1].seq) if rows else wanted.after
        return EventPage([_stored(row) for row in rows], end, more)

    def get(self, event_id: str, bound_to: tuple[str, ...] = ()) -> StoredEvent:
        number = event_id.removeprefix(_ID_PREFIX)
        if not _EVENT_ID.fullmatch(event_id):
            raise not_found("event", event_id)
        with self._backend.reading() as connection:
            row = connection.execute(
                select(events, databases.c.id.label("database_id"), databases.c.name.label("database_name"))
                .join(databases, databases.c.no == events.c.database_no)
                .where(events.c.seq == int(number), *having_tags(events.c.database_no, bound_to))
            ).one_or_none()
        if row is None:
            raise not_found("event", event_id)
        return _stored(row)

    def last_number(self) -> int:
        with self._backend.reading() as connection:
            return connection.execute(select(func.max(events.c.seq))).scalar_one() or 0

    def connections_after(self, database_no: int, after_seq: int, limit: int) -> list[NumberedEvent]:
        with self._backend.reading() as connection:
            rows = connection.execute(
                _CONNECTIONS_AFTER, {"no": database_no, "after": after_seq, "limit": limit}
            )
            return [_numbered(row) for row in rows]

    def connections_waiting(self, after: Mapping[int, int]) -> set[int]:
        with self._backend.reading() as connection:
            asked = msgspec.json.encode(list(after.items())).decode()
            query = _WAITING_SQLITE if self._backend.is_sqlite else _WAITING_POSTGRESQL
            return set(connection.execute(query, {"asked": asked}).scalars())

    def backlogs(self, after: Mapping[int, int]) -> dict[int, Backlog]:
        with self._backend.reading() as connection:
            return {
                number: Backlog(*connection.execute(_BACKLOG, {"no": number, "after": seq}).one())
                for number, seq in after.items()
            }

    def counts(self, database_id: str) -> EventCounts:
        today = now_us() // (24 * _HOUR_US) * 24
        with self._backend.reading() as connection:
            rows = connection.execute(
                select(event_hours.c.hour, event_hours.c.events)
                .join(databases, databases.c.no == event_hours.c.database_no)
                .where(databases.c.id == database_id, event_hours.c.hour >= today - 6 * 24)
            ).all()
        return EventCounts(sum(r.events for r in rows if r.hour >= today), sum(r.events for r in rows))

    def drop_before(self, database_no: int, time_us: int, limit: int) -> int:
        with self._backend.writing() as connection:
            # One transaction at a time: on PostgreSQL two that drop the same events would count them twice.
            self._backend.serialize(connection, "retention")
            old = connection.execute(
                select(events.c.seq, events.c.time_us, events.c.type)
                .where(events.c.database_no == database_no, events.c.time_us < time_us)
                .order_by(events.c.time_us, events.c.seq)
                .limit(limit)
            ).all()
            for start in range(0, len(old), _LOOKUP_BATCH):
                some = [row.seq for row in old[start : start + _LOOKUP_BATCH]]
                connection.execute(delete(events).where(events.c.seq.in_(some)))
            for hour, dropped in sorted(Counter([row.time_us // _HOUR_US for row in old]).items()):
                mine = and_(event_hours.c.database_no == database_no, event_hours.c.hour == hour)
                connection.execute(
                    update(event_hours).where(mine).values(events=event_hours.c.events - dropped)
                )
                connection.execute(delete(event_hours).where(mine, event_hours.c.events <= 0))
            _count_unsent(connection, database_no, [r.seq for r in old if r.type in CONNECTION_EVENTS])
            self._drop_rejected(connection, database_no, time_us, limit)
        return len(old)

    def _drop_rejected(self, connection: Connection, database_no: int, time_us: int, limit: int) -> None:
        old = connection.execute(
            select(rejected_records.c.no, rejected_records.c.secret_id)
            .where(rejected_records.c.database_no == database_no, rejected_records.c.created_at_us < time_us)
            .order_by(rejected_records.c.no)
            .limit(limit)
        ).all()
        for start in range(0, len(old), _LOOKUP_BATCH):
            some = old[start : start + _LOOKUP_BATCH]
            connection.execute(
                delete(rejected_records).where(rejected_records.c.no.in_([r.no for r in some]))
            )
            self._secrets.remove(connection, *(r.secret_id for r in some))


# What an event of a connection can have: the columns on statements are left out.
_CONNECTION_COLUMNS = (
    "key",
    "type",
    "time_us",
    "severity",
    "outcome",
    "error_code",
    "user",
    "database",
    "application",
    "session_id",
    "source_ip",
    "source_port",
    "source_host",
    "detail",
)
_OF_CONNECTIONS = f"FROM events WHERE {OF_CONNECTIONS}"
_OF_DATABASE_AFTER = f"{_OF_CONNECTIONS} AND database_no = :no AND seq > :after"
_CONNECTIONS_AFTER = text(
    "SELECT seq, "  # names of our own columns
    + ", ".join(f'"{name}"' for name in _CONNECTION_COLUMNS)
    + f" {_OF_DATABASE_AFTER} ORDER BY seq LIMIT :limit"
)
_BACKLOG = text(
    f"SELECT count(*), (SELECT time_us {_OF_DATABASE_AFTER} ORDER BY seq LIMIT 1) " + _OF_DATABASE_AFTER
)
_WAITING_SQLITE = text(
    "SELECT asked.value ->> 0 FROM json_each(:asked) AS asked WHERE EXISTS"  # noqa: S608  # our own
    f" (SELECT 1 {_OF_CONNECTIONS} AND database_no = asked.value ->> 0 AND seq > asked.value ->> 1)"
)
_WAITING_POSTGRESQL = text(
    "SELECT no FROM (SELECT (value ->> 0)::bigint AS no, (value ->> 1)::bigint AS after"  # noqa: S608  # our own
    " FROM json_array_elements(cast(:asked AS json)) AS asked) AS asked WHERE EXISTS"
    f" (SELECT 1 {_OF_CONNECTIONS} AND database_no = no AND seq > after)"
)
_TYPES = {word.value: word for word in EventType}
_SEVERITIES = {word.value: word for word in Severity}
_OUTCOMES: dict[str | None, Outcome | None] = {None: None, **{word.value: word for word in Outcome}}


def _numbered(row: Sequence[Any]) -> NumberedEvent:
    seq, key, word, time_us, severity, outcome, error_code, user, database, application, *rest = row
    session_id, source_ip, source_port, source_host, detail = rest
    return NumberedEvent(
        seq,
        AuditEvent(
            key,
            _TYPES[word],
            time_us,
            _SEVERITIES[severity],
            _OUTCOMES[outcome],
            error_code,
            user,
            database,
            application,
            session_id,
            source_ip,
            source_port,
            source_host,
            detail=None if detail is None else _decode_detail(detail),
        ),
    )


def _with_json(row: tuple[Any, ...]) -> tuple[Any, ...]:
    objects, parameters, detail = row[_JSON]
    return (
        *row[:-3],
        None if objects is None else _encode(objects).decode(),
        None if parameters is None else _encode(parameters).decode(),
        None if detail is None else _encode(detail).decode(),
    )


def _advance_cursor(
    connection: Connection, lease: Lease, after: StoredCursor, cursor: Mapping[str, Any]
) -> int:
    held = connection.execute(
        select(leases.c.token)
        .where(leases.c.database_no == lease.database_no, leases.c.expires_at_us > now_us())
        .with_for_update()
    ).scalar_one_or_none()
    if held != lease.token:
        raise TransientError(ErrorCode.LEASE_LOST, "Another agent collects this database by now.")
    values = {"cursor": _encode(cursor).decode(), "updated_at_us": now_us(), "revision": after.revision + 1}
    if after.revision == 0:
        exists = connection.execute(
            select(cursors.c.revision).where(cursors.c.database_no == lease.database_no)
        ).first()
        if exists is None:
            connection.execute(insert(cursors).values(database_no=lease.database_no, **values))
            return 1
    else:
        done = connection.execute(
            update(cursors)
            .where(cursors.c.database_no == lease.database_no, cursors.c.revision == after.revision)
            .values(**values)
        )
        if done.rowcount == 1:
            return after.revision + 1
    raise TransientError(ErrorCode.STATE_CHANGED_ELSEWHERE, "The cursor was moved by somebody else.")


def _check_words(new: Sequence[AuditEvent]) -> None:
    # Any other word would be stored too, but then no page of events that has it could be read.
    if (
        {type(event.type) for event in new} != {EventType}
        or {type(event.severity) for event in new} != {Severity}
        or not {type(event.outcome) for event in new} <= {Outcome, type(None)}
    ):
        raise TypeError("an event has a type, severity or outcome that is not one of dbaudit.core.event")


def _add_hours(connection: Connection, database_no: int, new: Sequence[AuditEvent]) -> None:
    hours = Counter([event.time_us // _HOUR_US for event in new])
    for hour, number in sorted(hours.items()):
        done = connection.execute(
            update(event_hours)
            .where(event_hours.c.database_no == database_no, event_hours.c.hour == hour)
            .values(events=event_hours.c.events + number)
        )
        if done.rowcount == 0:
            connection.execute(insert(event_hours).values(database_no=database_no, hour=hour, events=number))


def _count(connection: Connection, database_no: int, new: Sequence[AuditEvent], rejected: int) -> None:
    mine = update(collectors).where(collectors.c.database_no == database_no)
    connection.execute(
        mine.values(
            events_total=collectors.c.events_total + len(new),
            gaps_total=collectors.c.gaps_total + [event.type for event in new].count(EventType.GAP),
            rejected_total=collectors.c.rejected_total + rejected,
        )
    )
    if new:
        times = [event.time_us for event in new]
        latest = new[times.index(max(times))]
        connection.execute(
            mine.where(func.coalesce(collectors.c.last_event_time_us, 0) <= latest.time_us).values(
                last_event_time_us=latest.time_us,
                last_event_type=str(latest.type),
                last_event_user=latest.user,
            )
        )


def _count_left_out(connection: Connection, database_no: int, left_out: Mapping[str, int]) -> None:
    """Add to the counts of a declaration, which reads its source once: with its cursor, each record once."""
    mine = collectors.c.database_no == database_no
    known = connection.execute(select(collectors.c.left_out).where(mine)).scalar_one_or_none()
    counts = Counter({} if known is None else _decode_counts(known))
    for name, records in left_out.items():
        counts[name if name in counts or len(counts) < _MOST_CLASSES else OTHER_CLASSES] += records
    connection.execute(update(collectors).where(mine).values(left_out=_encode(counts).decode()))


def _count_unsent(connection: Connection, database_no: int, dropped: Sequence[int]) -> None:
    """Count the events among ``dropped`` that were to be sent to a listener and were not sent yet."""
    if not dropped:
        return
    sent = connection.execute(
        select(deliveries.c.sent_seq)
        .join(databases, databases.c.no == deliveries.c.database_no)
        .where(
            databases.c.no == database_no, databases.c.deleted_at_us.is_(None), databases.c.db_conns_auditing
        )
    ).scalar_one_or_none()
    if sent is not None and max(dropped) > sent:
        connection.execute(
            update(deliveries)
            .where(deliveries.c.database_no == database_no)
            .values(expired_total=deliveries.c.expired_total + sum(seq > sent for seq in dropped))
        )


def _conditions(wanted: EventQuery, on_sqlite: bool) -> list[Any]:
    conditions: list[Any] = []
    if wanted.types:
        conditions.append(events.c.type.in_(wanted.types))
    if wanted.user is not None:
        conditions.append(events.c.user == wanted.user)
    if wanted.severity is not None:
        conditions.append(events.c.severity == wanted.severity)
    if wanted.start_us is not None:
        conditions.append(events.c.time_us >= wanted.start_us)
    if wanted.end_us is not None:
        conditions.append(events.c.time_us <= wanted.end_us)
    if wanted.query_contains is not None:
        conditions.append(_contains(wanted.query_contains, on_sqlite))
    if wanted.after is not None:
        time_us, seq = wanted.after
        if wanted.order is EventOrder.STORED:
            conditions.append(events.c.seq > seq)
        elif wanted.order is EventOrder.NEWEST:
            conditions.append(tuple_(events.c.time_us, events.c.seq) < tuple_(time_us, seq))
        else:
            conditions.append(tuple_(events.c.time_us, events.c.seq) > tuple_(time_us, seq))
    return conditions


def _contains(text: str, on_sqlite: bool) -> Any:
    if not on_sqlite:
        return events.c.query.icontains(text, autoescape=True)
    if text.isascii():
        return func.instr(func.lower(events.c.query), text.lower()) > 0
    return getattr(func, CONTAINS)(events.c.query, text.lower())  # lower() of SQLite knows ASCII only


def _order(order: EventOrder) -> tuple[Any, ...]:
    if order is EventOrder.STORED:
        return (events.c.seq,)
    if order is EventOrder.NEWEST:
        return (events.c.time_us.desc(), events.c.seq.desc())
    return (events.c.time_us, events.c.seq)


def _stored(row: Row[Any]) -> StoredEvent:
    return StoredEvent(
        id=f"{_ID_PREFIX}{row.seq}",
        database_id=row.database_id,
        database_name=row.database_name,
        event=AuditEvent(
            key=row.key,
            type=EventType(row.type),
            time_us=row.time_us,
            severity=Severity(row.severity),
            outcome=None if row.outcome is None else Outcome(row.outcome),
            error_code=row.error_code,
            user=row.user,
            database=row.database,
            application=row.application,
            session_id=row.session_id,
            source_ip=row.source_ip,
            source_port=row.source_port,
            source_host=row.source_host,
            operation=row.operation,
            command_class=row.command_class,
            query=row.query,
            query_hash=row.query_hash,
            duration_ms=row.duration_ms,
            rows_affected=row.rows_affected,
            objects=None if row.objects is None else _decode_objects(row.objects),
            parameters=None if row.parameters is None else _decode_parameters(row.parameters),
            detail=None if row.detail is None else _decode_detail(row.detail),
        ),
    )
