"""How far each database's connection events were sent, and the state of sending."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Row, bindparam, case, exists, insert, select, update

from dbaudit.core.clock import now_us
from dbaudit.state.backend import Backend
from dbaudit.state.nodes import Lease
from dbaudit.state.schema import databases, deliveries, leases


class DeliveryState(StrEnum):
    """The state of sending one database's events."""

    WAITING = "waiting"
    """No agent has taken it up yet."""
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RETRYING = "retrying"
    """The listener cannot be reached; tried again after the interval of the settings."""
    GIVEN_UP = "given_up"
    """The attempts of the settings are used up; new settings, or a restart of the agent, start new ones."""
    STOPPED = "stopped"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """The sending of one database that is switched on.

    ``sent_seq`` is the number of the last event that the listener's host has taken, ``confirmed_seq`` of the
    last one that the listener itself has read for sure: after a connection that broke, or a crash of the
    agent, sending resumes after that one. Both start with the event that was the last when the switch was
    turned on. ``revision`` are the settings that were in use when the state was reported. ``expired_total``
    counts events whose retention ended before they were sent.
    """

    database_id: str
    database_no: int
    database_name: str
    host: str
    port: int
    sent_seq: int
    confirmed_seq: int
    sent_total: int
    reconnects_total: int
    expired_total: int
    state: DeliveryState
    since_us: int
    node_id: str | None
    revision: int | None
    error_code: str | None
    error: str | None
    updated_at_us: int


class Sent(msgspec.Struct, frozen=True):
    """The listener's host has taken all events of a database up to ``seq``, ``events`` of them for the first
    time; the listener has read those up to ``confirmed_seq`` for sure.
    """

    lease: Lease
    seq: int
    events: int
    confirmed_seq: int


class DeliveryStore:
    """Reads and writes the state of sending.

    The node that holds the lease of a database also sends its events. A node that lost the lease writes
    nothing.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def all(self) -> list[Delivery]:
        """Every database that is switched on, in the order of creation."""
        with self._backend.reading() as connection:
            return [_delivery(row) for row in connection.execute(_rows().order_by(databases.c.no))]

    def of(self, held: Sequence[Lease]) -> list[Delivery]:
        """Those of these databases that are switched on, and whose lease is still this one."""
        if not held:
            return []
        with self._backend.reading() as connection:
            mine = [lease.database_no for lease in _held(connection, held, now_us())]
            rows = connection.execute(_rows().where(databases.c.no.in_(mine)).order_by(databases.c.no))
            return [_delivery(row) for row in rows]

    def advance(self, sent: Sequence[Sent]) -> list[Lease]:
        """Store what has arrived, for many databases in one transaction. Numbers never decrease.

        Returns the leases that this node does not hold any more: nothing was written for them, and another
        node sends these databases' events.
        """
        if not sent:
            return []
        now = now_us()
        with self._backend.writing() as connection:
            held = _held(connection, [one.lease for one in sent], now)
            kept = sorted((s for s in sent if s.lease in held), key=lambda one: one.lease.database_no)
            if kept:
                connection.execute(
                    _ADVANCE,
                    [
                        {
                            "of_no": s.lease.database_no,
                            "seq": s.seq,
                            "events": s.events,
                            "confirmed": s.confirmed_seq,
                            "now": now,
                        }
                        for s in kept
                    ],
                )
        return [one.lease for one in sent if one.lease not in held]

    def report(
        self,
        held: Sequence[Lease],
        state: DeliveryState,
        *,
        node_id: str,
        revision: int,
        error_code: str | None = None,
        error: str | None = None,
        reconnects: int = 0,
    ) -> None:
        """Write the state of delivery of these databases: they share a connection, or fail for the same
        reason.

        ``revision`` is that of the settings in use; ``reconnects`` is how many connections were made again
        since the last report.
        """
        if not held:
            return
        now = now_us()
        values = {
            "since_us": _since(state, now),
            "state": state.value,
            "node_id": node_id,
            "revision": revision,
            "error_code": error_code,
            "error": error,
            "reconnects_total": deliveries.c.reconnects_total + reconnects,
            "updated_at_us": now,
        }
        newer = exists().where(
            leases.c.database_no == bindparam("of_no"), leases.c.token > bindparam("of_token")
        )
        with self._backend.writing() as connection:
            connection.execute(
                update(deliveries)
                .where(deliveries.c.database_no == bindparam("of_no"), ~newer)
                .values(values),
                [
                    {"of_no": lease.database_no, "of_token": lease.token}
                    for lease in sorted(held, key=lambda lease: lease.database_no)
                ],
            )

    def begin(self, connection: Connection, database_no: int, after_seq: int) -> None:
        """The switch of a database is turned on, in this transaction: send what comes after ``after_seq``."""
        now = now_us()
        values = {
            "sent_seq": after_seq,
            "confirmed_seq": after_seq,
            "state": DeliveryState.WAITING.value,
            "since_us": now,
            "error_code": None,
            "error": None,
            "updated_at_us": now,
        }
        mine = deliveries.c.database_no == database_no
        if connection.execute(update(deliveries).where(mine).values(**values)).rowcount == 0:
            connection.execute(insert(deliveries).values(database_no=database_no, **values))


def _later(column: Column[Any], name: str) -> Any:
    return case((column < bindparam(name), bindparam(name)), else_=column)


_ADVANCE = (
    update(deliveries)
    .where(deliveries.c.database_no == bindparam("of_no"))
    .values(
        sent_seq=_later(deliveries.c.sent_seq, "seq"),
        confirmed_seq=_later(deliveries.c.confirmed_seq, "confirmed"),
        sent_total=deliveries.c.sent_total + bindparam("events"),
        updated_at_us=bindparam("now"),
    )
)
_ON = (databases.c.deleted_at_us.is_(None), databases.c.db_conns_auditing)


def _since(state: DeliveryState, now: int) -> Any:
    return case((deliveries.c.state == state.value, deliveries.c.since_us), else_=now)


def _held(connection: Connection, wanted: Sequence[Lease], now: int) -> set[Lease]:
    rows = connection.execute(
        select(leases.c.database_no, leases.c.token).where(
            leases.c.database_no.in_([lease.database_no for lease in wanted]),
            leases.c.expires_at_us > now,
        )
    )
    tokens = {row.database_no: row.token for row in rows}
    return {lease for lease in wanted if tokens.get(lease.database_no) == lease.token}


def _rows() -> Any:
    return (
        select(
            databases.c.id,
            databases.c.name,
            databases.c.host,
            databases.c.port,
            deliveries,
        )
        .select_from(databases.join(deliveries, deliveries.c.database_no == databases.c.no))
        .where(*_ON)
    )


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        database_id=row.id,
        database_no=row.database_no,
        database_name=row.name,
        host=row.host,
        port=row.port,
        sent_seq=row.sent_seq,
        confirmed_seq=row.confirmed_seq,
        sent_total=row.sent_total,
        reconnects_total=row.reconnects_total,
        expired_total=row.expired_total,
        state=DeliveryState(row.state),
        since_us=row.since_us,
        node_id=row.node_id,
        revision=row.revision,
        error_code=row.error_code,
        error=row.error,
        updated_at_us=row.updated_at_us,
    )
