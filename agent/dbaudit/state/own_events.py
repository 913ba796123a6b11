"""Who did what in dbaudit itself: events of the type `dbaudit.api`, which belong to no monitored database.

Every event has an owner. That of these is one reserved row of ``databases``, stored as if it had been
removed: no list, lease, collector or listener sees it, and its events are read like those of a removed
database. The event of a change is written in the transaction of the change, so there are both or neither.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import msgspec
from sqlalchemy import Connection, insert

from dbaudit.core.clock import now_us
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.state.backend import Backend
from dbaudit.state.identifiers import new_id
from dbaudit.state.schema import events

OWN_DATABASE_NO = 0
OWN_DATABASE_ID = "db_dbaudit"
"""The reserved row of ``databases``; a migration makes it."""

_LONGEST_CLIENT = 256
_encode = msgspec.json.Encoder().encode


class By(StrEnum):
    """The two ways to change something."""

    API_KEY = "api key"
    COMMAND_LINE = "command line"


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something, from where, and what it is called.

    ``operation`` is the id of an operation of the API's document, or a command. ``user`` is the name of the
    API key, or of the account that runs the command. ``client`` is what the client calls itself.
    """

    operation: str
    by: By
    user: str | None
    key_id: str | None = None
    address: str | None = None
    port: int | None = None
    client: str | None = None
    request_id: str | None = None


class Action(StrEnum):
    """What was done; ``detail.action`` of the event."""

    CREATED = "created"
    CHANGED = "changed"
    REMOVED = "removed"
    TEST = "connection test"
    """An agent was asked to log in."""
    DRY_RUN = "dry run"
    READ = "read"
    REFUSED = "refused"
    """The key is known and may not do this."""


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """What was done: ``objects`` are the ids and names of what was touched, ``rows`` is the number of rows
    that were read or changed, ``detail`` what else is to be known of it, without secrets.
    """

    action: Action
    objects: tuple[str, ...] | None = None
    rows: int | None = None
    outcome: Outcome | None = Outcome.SUCCESS
    error_code: str | None = None
    detail: Mapping[str, Any] = {}


class OwnEvents:
    """Stores what is no change of the state: readings, refusals, dry runs."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._writing = threading.Lock()
        self._waiting: list[_Entry] = []

    def store(self, act: Act, deed: Deed) -> None:
        """Returns when the event is on disk. Raises TransientError (`state_unavailable`).

        What several threads store at the same time is one transaction: the first of them writes for all.
        """
        mine = _Entry(_row(act, deed))
        self._waiting.append(mine)
        with self._writing:
            if mine.stored:
                return
            entries = list(self._waiting)
            try:
                with changing(self._backend) as connection:
                    connection.execute(insert(events), [entry.row for entry in entries])
            except BaseException:
                self._waiting.remove(mine)  # the other threads try for themselves
                raise
            del self._waiting[: len(entries)]
            for entry in entries:
                entry.stored = True


class _Entry:
    __slots__ = ("row", "stored")

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.stored = False


@contextmanager
def changing(backend: Backend) -> Iterator[Connection]:
    """A transaction that changes the state and writes who did it.

    Like every one that stores events it waits for its turn before anything else: numbers are given in the
    order of committing, and no two of them can wait for each other.
    """
    with backend.writing() as connection:
        backend.serialize(connection, "events")
        yield connection


def record(connection: Connection, act: Act | None, deed: Deed) -> None:
    """Write the event of a change in the transaction of the change, one of ``changing``. None: a program has
    made the change by itself.
    """
    if act is not None:
        connection.execute(insert(events).values(**_row(act, deed)))


def differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that differ, as they were and as they are now."""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {
        "before": {name: before[name] for name in names if name in before},
        "after": {name: after[name] for name in names if name in after},
    }


def is_record_of_reading(event: AuditEvent) -> bool:
    """Whether an event says that events were read."""
    return event.type is EventType.API and (event.detail or {}).get("action") == Action.READ


def _row(act: Act, deed: Deed) -> dict[str, Any]:
    detail = {"action": deed.action, "by": act.by, "key_id": act.key_id, "request_id": act.request_id}
    return {
        "database_no": OWN_DATABASE_NO,
        "key": new_id("act"),
        "type": EventType.API.value,
        "time_us": now_us(),
        "severity": (Severity.INFO if deed.outcome is not Outcome.FAILURE else Severity.WARNING).value,
        "outcome": None if deed.outcome is None else deed.outcome.value,
        "error_code": deed.error_code,
        "user": act.user,
        "application": None if act.client is None else _printable(act.client)[:_LONGEST_CLIENT],
        "source_ip": act.address,
        "source_port": act.port,
        "operation": act.operation,
        "rows_affected": deed.rows,
        "objects": None if deed.objects is None else _encode(deed.objects).decode(),
        "detail": _encode({**detail, **deed.detail}).decode(),
    }


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
