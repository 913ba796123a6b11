"""What an event belongs to: the declared database, the server, or another database, which is left out.

An event belongs to the database that its record names. If it names none, it belongs to the server: it is
stored once for all declarations of the server (see ``dbaudit.state.servers``). A connection is opened before
its database is known: it belongs to the database of its session's log-in if both were read together.
"""

from __future__ import annotations

from collections.abc import Sequence

from dbaudit.core.database import Database, Scope
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engine import Engine, Session
from dbaudit.state.events import OfServer

_LOG_INS = (EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED)
_MOST_NAMES = 1000
"""At most so many names of databases are remembered, since clients choose them."""


class Router:
    """Knows the databases that one session's events name."""

    def __init__(self, engine: Engine, session: Session, database: Database) -> None:
        self._engine = engine
        self._session = session
        self._database = database
        self._declared = database.database
        self._own = {database.database}
        self._others: set[str] = set()
        self.existing: frozenset[str] | None = None
        """The server's databases; None if they are not known."""
        self.takes_all = database.audit_options.scope is Scope.SERVER or engine.source_is_database

    def is_for(self, database: Database, session: Session) -> bool:
        """Whether this router was made for ``session`` and for the declaration as it is now."""
        return database is self._database and session is self._session

    def chunk(self) -> Routed:
        """A new sorter for the events of one chunk."""
        return Routed(self)

    def is_own(self, name: str) -> bool:
        """Whether a database of this name is the declared one."""
        if name in self._own:
            return True
        if name in self._others:
            return False
        own = self._session.is_declared(name, self._declared)
        names = self._own if own else self._others
        if len(names) < _MOST_NAMES:
            names.add(name)
        return own

    def all_own(self, events: Sequence[AuditEvent]) -> bool:
        """Whether every event names the declared database: the usual case, which must cost nothing."""
        return self._own.issuperset({event.database for event in events})

    def is_of_server(self, event: AuditEvent) -> bool:
        """Whether an event that names another database is the server's: the engine says so, or it is a
        refused log-in to a database that is not there.
        """
        if event.type is EventType.LOGIN_FAILED and self.existing is not None:
            return event.database not in self.existing or self._engine.is_of_server(event)
        return self._engine.is_of_server(event)


class Routed:
    """Sorts the events of one chunk by what they belong to."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.decoded = 0
        """How many events were decoded and protected, also those of other databases."""
        # By id(). The events are kept too: the id of a deleted object may be reused.
        self._of_server: dict[int, AuditEvent] = {}
        self._claimed: dict[int, AuditEvent] = {}

    def take(self, events: list[AuditEvent]) -> list[AuditEvent]:
        """Note what ``events`` belong to; returns them without those of other databases."""
        router = self._router
        if router.takes_all or router.all_own(events):
            return events
        kept: list[AuditEvent] = []
        databases: dict[str | None, str] | None = None
        for event in events:
            name = event.database
            if name is None and event.type is EventType.CONNECTION and event.session_id is not None:
                if databases is None:
                    databases = _databases_of_sessions(events)
                name = databases.get(event.session_id)
                if name is not None and router.is_own(name):
                    self._claimed[id(event)] = event
                    kept.append(event)
                    continue
                event_of_server = name is None
            elif name is not None and router.is_own(name):
                kept.append(event)
                continue
            else:
                event_of_server = name is None or router.is_of_server(event)
            if event_of_server:
                self._of_server[id(event)] = event
                kept.append(event)
        return kept

    def add_gaps(self, gaps: Sequence[AuditEvent]) -> None:
        """Add losses of the source, which belong to the server."""
        if not self._router.takes_all:
            self._of_server.update((id(gap), gap) for gap in gaps)

    def parted(self, events: Sequence[AuditEvent]) -> tuple[list[AuditEvent], list[AuditEvent]]:
        """The events of the declared database, and those of the server."""
        of_server = self._of_server
        if not of_server:
            return list(events), []
        return (
            [event for event in events if id(event) not in of_server],
            [event for event in events if id(event) in of_server],
        )

    def places(self, events: Sequence[AuditEvent]) -> OfServer | None:
        """Which of the taken ``events`` belong to the server; None if all belong to the declaration."""
        if self._router.takes_all:
            return None
        if not self._of_server and not self._claimed:
            return _NOTHING
        return OfServer(
            frozenset(i for i, event in enumerate(events) if id(event) in self._of_server),
            frozenset(i for i, event in enumerate(events) if id(event) in self._claimed),
        )


_NOTHING = OfServer(frozenset())


def _databases_of_sessions(events: Sequence[AuditEvent]) -> dict[str | None, str]:
    return {
        event.session_id: event.database
        for event in events
        if event.type in _LOG_INS and event.database is not None
    }
