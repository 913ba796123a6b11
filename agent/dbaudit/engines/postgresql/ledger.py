"""What was made of the records so far, and what a record that follows may still explain."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.postgresql.records import LogContext, LogRecord
from dbaudit.engines.postgresql.times import log_clock

JOINED_WITHIN_US = 100_000
"""How long a read waits, by the log's own time, for another record of the same thing."""
AUDITED_WITHIN_US = 500_000
"""How long it waits after log_statement for pgaudit: the statement is planned in between."""
OWN_LOG_IN_WITHIN_US = 1_000_000
"""How long a log-in from the agent's own host may take to show that it is the agent's."""

LARGEST_PORT = 65535


class Recorded(msgspec.Struct, gc=False):
    """A (sub)statement that pgaudit recorded; ``ps`` is what its session was doing: BIND, or the tag of the
    client's statement.
    """

    event: AuditEvent
    statement_id: str
    ps: str | None


class Exchange(msgspec.Struct, gc=False):
    """What one session did last; a read waits until ``until_us`` for records that explain it.

    ``row`` is its first record. ``opening`` says that it is a log-in, whose event is ``event``. ``logged`` is
    the event of log_statement, ``unrecorded`` are the parts of its text that pgaudit did not record yet,
    ``readings`` are other texts that it may have, and ``recorded`` is what pgaudit recorded, with the ids of
    the latest record.
    """

    row: LogRecord | None
    vxid: str | None
    start_us: int
    until_us: int
    event: AuditEvent | None = None
    opening: bool = False
    logged: AuditEvent | None = None
    unrecorded: list[str] = []
    readings: list[str] = []
    recorded: list[Recorded] = []
    statement_id: str = ""
    substatement_id: str = ""

    @property
    def latest(self) -> list[Recorded]:
        """What pgaudit recorded of the statement that it recorded last."""
        if not self.recorded:
            return []
        statement_id = self.recorded[-1].statement_id
        return [one for one in self.recorded if one.statement_id == statement_id]


class Ledger:
    """The events so far, and the exchange that is open in each session."""

    def __init__(self) -> None:
        self.context = LogContext(time_zones=(), own_user="", own_application="")
        self.time_us = log_clock(()).time_us
        self.events: list[AuditEvent] = []
        self.superseded: set[int] = set()
        self.own_sessions: set[str] = set()
        self.exchanges: dict[str, Exchange] = {}
        self.proven: dict[str, AuditEvent] = {}
        """Log-ins of which only the identity is known to be right so far, by session."""
        self.ended: dict[str, AuditEvent] = {}
        """Ends of sessions by the server of which the disconnection was not read yet, by session."""
        self.joined: list[tuple[LogRecord, LogRecord]] = []
        """The first record of an exchange and a later one of the same: they have to be decoded together."""

    def enter(self, context: LogContext) -> None:
        """Go on with records that ``context`` explains."""
        if context is not self.context and context != self.context:
            self.context = context
            self.time_us = log_clock(context.time_zones).time_us
        if context.own_session is not None:
            self.own_sessions.add(context.own_session)

    def supersede(self, event: AuditEvent) -> None:
        """Leave out an event that another one stands for."""
        self.superseded.add(id(event))

    def join(self, exchange: Exchange, later: LogRecord, time_us: int) -> None:
        """Note that a record belongs to an exchange; a read does not part them where they are close."""
        if exchange.row is not None and time_us <= exchange.until_us:
            self.joined.append((exchange.row, later))

    def close(self, row: LogRecord) -> None:
        """End the exchange of a session with its last record."""
        exchange = self.exchanges.pop(row.session_id, None)
        if exchange is not None:
            self.join(exchange, row, self.time_us(row.timestamp))

    def is_opening(self, session_id: str) -> bool:
        """Whether a session has shown nothing but its log-in yet."""
        exchange = self.exchanges.get(session_id)
        return exchange is not None and exchange.opening

    def event(
        self,
        row: LogRecord,
        kind: EventType,
        outcome: Outcome | None,
        *,
        severity: Severity = Severity.INFO,
        error_code: str | None = None,
        application: str | None = None,
        operation: str | None = None,
        query: str | None = None,
        duration_ms: float | None = None,
        parameters: tuple[str | None, ...] | None = None,
        detail: dict[str, Any] | None = None,
        key: str = "",
    ) -> AuditEvent:
        """An event that a record shows; ``key`` is added where the record shows two."""
        address, host = address_of(row.remote_host)
        return AuditEvent(
            f"{row.session_id}:{row.line_num}{key}",
            kind,
            self.time_us(row.timestamp),
            severity,
            outcome,
            error_code,
            row.user,
            row.dbname,
            row.application_name if application is None else application,
            row.session_id,
            address,
            port_of(row),
            host,
            operation,
            None,
            query,
            None,
            duration_ms,
            None,
            None,
            parameters,
            detail,
        )


def port_of(row: LogRecord) -> int | None:
    """The client's port. Raises RecordError for a number that is no port."""
    port = row.remote_port
    if port is not None and not 0 <= port <= LARGEST_PORT:
        raise RecordError("the client's port is out of range")
    return port


@lru_cache(maxsize=10_000)
def address_of(host: str | None) -> tuple[str | None, str | None]:
    """The client's address, or its name where the server resolves names (log_hostname) or it is `[local]`."""
    if host is None:
        return None, None
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None, host
    return host, None
