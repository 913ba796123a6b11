"""The state of collecting of each database: which node does it, its health, and its last error."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Row, and_, bindparam, exists, select, update

from dbaudit.core import typed
from dbaudit.core.clock import now_us
from dbaudit.core.errors import not_found
from dbaudit.core.report import Health, TestReport
from dbaudit.state.backend import Backend
from dbaudit.state.nodes import Lease
from dbaudit.state.schema import collectors, databases, leases


class CollectorState(StrEnum):
    """How the collecting of one database stands."""

    WAITING = "waiting"
    """No agent holds it yet."""
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing_off"
    """The last try failed in a way that may pass; the next one is at `next_try_at_us`."""
    FAILED = "failed"
    """A person has to change something; tried again rarely, and at once when the declaration changes."""
    STOPPED = "stopped"


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """The collecting of one database as its agent last reported it."""

    database_id: str
    node_id: str | None
    version: str | None
    state: CollectorState
    since_us: int
    started_at_us: int | None
    heartbeat_at_us: int | None
    next_try_at_us: int | None
    error_code: str | None
    error: str | None
    events_per_second: float
    events_total: int
    gaps_total: int
    rejected_total: int
    left_out: dict[str, int]
    """The records that were read and became no event, by their class."""
    last_event_time_us: int | None
    last_event_type: str | None
    last_event_user: str | None
    health: Health | None
    report: TestReport | None
    report_at_us: int | None


class Pulse(msgspec.Struct, frozen=True):
    """A sign of life: when the collector last did something, and its mean rate over the last minute."""

    lease: Lease
    at_us: int
    events_per_second: float


class CollectorStore:
    """Reads and writes the state of collecting. The counters of events are kept by the event store.

    Writing takes the lease under which the database was collected, and does nothing once another node has a
    newer one: a node that was asleep does not overwrite what its successor reported.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def get(self, database_id: str) -> Collector:
        """The collecting of one database. Raises RequestError (`not_found`)."""
        with self._backend.reading() as connection:
            row = connection.execute(_rows().where(databases.c.id == database_id)).one_or_none()
        if row is None:
            raise not_found("database", database_id)
        return _collector(row)

    def all(self) -> list[Collector]:
        """The collecting of every database, in the order of their creation."""
        with self._backend.reading() as connection:
            return [_collector(row) for row in connection.execute(_rows().order_by(databases.c.no))]

    def set_state(
        self,
        lease: Lease,
        state: CollectorState,
        *,
        node_id: str | None,
        version: str | None = None,
        error_code: str | None = None,
        error: str | None = None,
        next_try_at_us: int | None = None,
    ) -> None:
        """A node took the database, lost it, failed, or runs. While it starts, its last error stays shown."""
        now = now_us()
        values: dict[str, Any] = {
            "state": state.value,
            "node_id": node_id,
            "since_us": now,
            "next_try_at_us": next_try_at_us,
            "heartbeat_at_us": now,
        }
        if state is CollectorState.STARTING:
            values |= {"started_at_us": now, "version": version}
        else:
            values |= {"error_code": error_code, "error": error}
        if state is not CollectorState.RUNNING:
            values["events_per_second"] = 0.0
        self._update(lease, values)

    def beat(self, pulses: Sequence[Pulse]) -> None:
        """Signs of life of many collectors, in one transaction."""
        if not pulses:
            return
        written = (
            update(collectors)
            .where(_FENCE)
            .values(heartbeat_at_us=bindparam("at_us"), events_per_second=bindparam("rate"))
        )
        with self._backend.writing() as connection:
            connection.execute(
                written,
                [
                    {**_fence(pulse.lease), "at_us": pulse.at_us, "rate": pulse.events_per_second}
                    # In one order, like all code that changes several: two must not wait for each other.
                    for pulse in sorted(pulses, key=lambda one: one.lease.database_no)
                ],
            )

    def set_health(self, lease: Lease, health: Health) -> None:
        """Write what a health check measured."""
        self._update(lease, {"health": msgspec.json.encode(health).decode()})

    def set_report(self, lease: Lease, report: TestReport) -> None:
        """Write the report of the latest connection test."""
        self._update(lease, {"report": msgspec.json.encode(report).decode(), "report_at_us": now_us()})

    def _update(self, lease: Lease, values: dict[str, Any]) -> None:
        with self._backend.writing() as connection:
            connection.execute(update(collectors).where(_FENCE).values(**values), _fence(lease))


# Tokens rise with every new holder of a lease.
_FENCE = and_(
    collectors.c.database_no == bindparam("held_no"),
    ~exists().where(leases.c.database_no == bindparam("held_no"), leases.c.token > bindparam("held_token")),
)


def _fence(lease: Lease) -> dict[str, int]:
    return {"held_no": lease.database_no, "held_token": lease.token}


def _rows() -> Any:
    return (
        select(databases.c.id, collectors)
        .select_from(databases.join(collectors, collectors.c.database_no == databases.c.no))
        .where(databases.c.deleted_at_us.is_(None))
    )


def _collector(row: Row[Any]) -> Collector:
    return Collector(
        database_id=row.id,
        node_id=row.node_id,
        version=row.version,
        state=CollectorState(row.state),
        since_us=row.since_us,
        started_at_us=row.started_at_us,
        heartbeat_at_us=row.heartbeat_at_us,
        next_try_at_us=row.next_try_at_us,
        error_code=row.error_code,
        error=row.error,
        events_per_second=row.events_per_second,
        events_total=row.events_total,
        gaps_total=row.gaps_total,
        rejected_total=row.rejected_total,
        left_out={} if row.left_out is None else typed.decode(row.left_out, dict[str, int]),
        last_event_time_us=row.last_event_time_us,
        last_event_type=row.last_event_type,
        last_event_user=row.last_event_user,
        health=None if row.health is None else typed.decode(row.health, Health),
        report=None if row.report is None else typed.decode(row.report, TestReport),
        report_at_us=row.report_at_us,
    )
