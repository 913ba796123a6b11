"""Which events of a chunk are stored already, and under which declaration the others belong."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Select, select

from dbaudit.core.event import AuditEvent
from dbaudit.state.events import OfServer
from dbaudit.state.schema import events
from dbaudit.state.servers import Server

_LOOKUP_BATCH = 500


def placed_events(
    connection: Connection,
    database_no: int,
    server: Server,
    chunk: Sequence[AuditEvent],
    of_server: OfServer,
) -> dict[int, list[AuditEvent]]:
    """The events that are not stored yet, in their order, by the number under which each belongs."""
    shared = of_server.places | of_server.claimed
    new = not_stored_yet(connection, database_no, [e for i, e in enumerate(chunk) if i not in shared])
    new_shared = not_stored_yet(connection, server.ever, [chunk[i] for i in sorted(shared)])
    fresh = {id(event) for event in (*new, *new_shared)}
    placed: dict[int, list[AuditEvent]] = {}
    for place, event in enumerate(chunk):
        if id(event) in fresh:
            number = database_no
            if place in of_server.places:
                number = server.declared.get(event.database or "", server.keeper_no)
            placed.setdefault(number, []).append(event)
    return placed


def not_stored_yet(
    connection: Connection, numbers: int | Select[tuple[int]], new: Sequence[AuditEvent]
) -> Sequence[AuditEvent]:
    """Leave out what is stored already under one of ``numbers``: the same key at the same time.

    No other transaction appends meanwhile. New events are usually later than all stored ones, so one look-up
    in the index is enough for the whole chunk; only records that are read again are compared key by key.
    """
    if not new:
        return new
    times = [event.time_us for event in new]
    of = events.c.database_no
    there = of == numbers if isinstance(numbers, int) else of.in_(numbers)
    stored = select(events.c.time_us, events.c.key).where(there)
    between = stored.where(events.c.time_us.between(min(times), max(times)))
    rows = connection.execute(between.limit(2 * len(new) + 1)).all()
    if len(rows) > 2 * len(new):
        distinct = sorted(set(times))
        rows = []
        for start in range(0, len(distinct), _LOOKUP_BATCH):
            some = distinct[start : start + _LOOKUP_BATCH]
            rows.extend(connection.execute(stored.where(events.c.time_us.in_(some))).all())
    keys = {event.key for event in new}
    if len(keys) == len(new) and keys.isdisjoint([row.key for row in rows]):
        return new
    known = {tuple(row) for row in rows}
    fresh = []
    for event in new:
        name = (event.time_us, event.key)
        if name not in known:
            known.add(name)
            fresh.append(event)
    return fresh
