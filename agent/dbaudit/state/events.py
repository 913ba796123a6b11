"""The event store's interface: events and the cursor after them in one transaction, queries, and
dropping by retention. ``event_rows`` keeps one row an event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from dbaudit.core.event import AuditEvent, Rejected
from dbaudit.state.nodes import Lease


class EventOrder(StrEnum):
    """The order of a query: by time, or as the events were stored, which is the order to follow them in."""

    NEWEST = "newest"
    OLDEST = "oldest"
    STORED = "stored"


class EventQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which events; None does not narrow.

    Times are microseconds since the epoch, both inclusive. ``query_contains`` ignores case. ``after`` is
    where the page before ended, from ``EventPage.end``. ``bound_to`` are tags: only events of databases that
    have all of them, or had them when they were removed, are there.
    """

    bound_to: tuple[str, ...] = ()
    database_id: str | None = None
    types: tuple[str, ...] = ()
    user: str | None = None
    severity: str | None = None
    start_us: int | None = None
    end_us: int | None = None
    query_contains: str | None = None
    order: EventOrder = EventOrder.NEWEST
    after: tuple[int, int] | None = None
    limit: int = 100


class StoredEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its identifier and the database that it belongs to."""

    id: str
    database_id: str
    database_name: str
    event: AuditEvent


class EventPage(msgspec.Struct, frozen=True):
    """One page of events; ``end`` is where the next page begins, ``more`` whether there is one already."""

    events: list[StoredEvent]
    end: tuple[int, int] | None
    more: bool


class StoredCursor(msgspec.Struct, frozen=True):
    """The cursor of a database, and the revision that the next append has to name."""

    cursor: Mapping[str, Any] | None
    revision: int


class Appended(msgspec.Struct, frozen=True):
    """What an append did: events stored, events recognised as stored before, and the new revision."""

    stored: int
    replayed: int
    revision: int


class OfServer(msgspec.Struct, frozen=True):
    """What of a chunk is not the declared database's own.

    The events in ``places`` of the chunk, and all its rejected records, are stored once for the server,
    whichever of its declarations reads them first (see ``dbaudit.state.servers``). Those in ``claimed`` are
    the database's own, unless another reader has stored them for the server already.
    """

    places: frozenset[int]
    claimed: frozenset[int] = frozenset()

    def moved(self, places: Iterable[int]) -> OfServer:
        """The same where of the chunk's events only those at ``places`` are left."""
        new = {old: place for place, old in enumerate(places)}
        return OfServer(
            frozenset(new[old] for old in self.places if old in new),
            frozenset(new[old] for old in self.claimed if old in new),
        )


class NumberedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event with its number in the order of storing."""

    seq: int
    event: AuditEvent


class Backlog(msgspec.Struct, frozen=True):
    """How many events wait to be sent, and the time of the first of them; None if no event waits."""

    events: int
    oldest_time_us: int | None


class EventCounts(msgspec.Struct, frozen=True):
    """How many events happened since midnight UTC, and since the midnight six days before that."""

    today: int
    week: int


class EventStore(Protocol):
    """Where events are kept."""

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
        """Store a chunk's events, its rejected records and its cursor: all of them or nothing.

        ``of_server`` says what is stored for the server; with None everything is the declaration's own.
        ``left_out`` are the numbers of records that became no event, by class: they are added to the counts.

        Raises TransientError: `lease_lost` when another node holds the database by now, or
        `state_changed_elsewhere` when the cursor is not ``after`` any more. Nothing is stored then, and
        neither when an event holds what the state cannot (see ``Backend``).
        """

    def cursor(self, database_no: int) -> StoredCursor:
        """Where the reading of a database resumes."""

    def query(self, wanted: EventQuery) -> EventPage:
        """The events that fit, in the order asked for. An unknown database raises RequestError."""

    def get(self, event_id: str, bound_to: tuple[str, ...] = ()) -> StoredEvent:
        """One event, where its database has all the tags ``bound_to``. Raises RequestError (`not_found`)."""

    def last_number(self) -> int:
        """The number of the event that was stored last, where following begins; 0 when there is none."""

    def connections_after(self, database_no: int, after_seq: int, limit: int) -> list[NumberedEvent]:
        """The first connection events (`CONNECTION_EVENTS`) of a database after a number, in the order of
        storing; at most ``limit``. Numbers are given in the order of committing: none comes in between later.
        """

    def connections_waiting(self, after: Mapping[int, int]) -> set[int]:
        """Which databases have connection events after a number; both by ``database_no``."""

    def backlogs(self, after: Mapping[int, int]) -> dict[int, Backlog]:
        """How many connection events each database has after a number; both by ``database_no``."""

    def counts(self, database_id: str) -> EventCounts:
        """How many events of a database happened today and this week."""

    def drop_before(self, database_no: int, time_us: int, limit: int) -> int:
        """Drop up to ``limit`` events that happened before ``time_us``; returns how many were dropped.

        Records put aside before then go with them.
        """
