"""From records of the server's log to events. Pure: it knows the format and nothing else.

One thing that happens is told by several records of its session: a statement by log_statement, by pgaudit,
by its failure and by its duration, a log-in by its authentication and its authorization. Records that follow
within a tenth of a second become one event; a later one, such as the failure of a long statement, is an
event of its own, because the first was stored long before.

Failures are told by SQLSTATE and never by severity or wording, which are localised.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.core.operations import add_operations, classify
from dbaudit.core.statements import Dialect
from dbaudit.engines.postgresql import messages, pgaudit
from dbaudit.engines.postgresql.messages import Kind, recognise
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogRecord
from dbaudit.engines.postgresql.times import log_clock

JOINED_WITHIN_US = 100_000
"""How far apart, by the log's own time, two records can be that tell of the same thing."""
AUDITED_WITHIN_US = 500_000
"""How long after log_statement pgaudit can tell of the same statement: it is planned in between."""
OWN_LOG_IN_WITHIN_US = 1_000_000
"""How long a log-in from the agent's own host may take to show that it is the agent's."""

_OPENING = frozenset({"authentication", "startup"})
"""What the process title says before a session is open; a failure then is a failed log-in."""
_REFUSED_AT_THE_DOOR = frozenset({"28000", "28P01", "3D000", "53300", "57P03"})
"""SQLSTATE of log-ins that end before the title is set: no pg_hba entry, too many clients, starting up."""
_HARMLESS_CLASSES = frozenset({"00", "01", "02"})
_CONNECTION_FAULTS = "08"
_BETWEEN_STATEMENTS = " \t\r\n;"
LARGEST_PORT = 65535


class Exchange(msgspec.Struct, gc=False):
    """Records of one session that tell of one thing; until ``until_us`` another may follow.

    ``row`` is the first of them, for whoever needs to know where it stands.
    ``untold`` is what pgaudit has not told yet of the statement that ``logged``, the event of log_statement,
    told; None without one.
    """

    row: LogRecord | None
    vxid: str | None
    start_us: int
    until_us: int
    event: AuditEvent | None
    statement_id: str = ""
    substatement_id: str = ""
    opening: bool = False
    logged: AuditEvent | None = None
    untold: str | None = None
    further: list[AuditEvent] | None = None

    @property
    def events(self) -> list[AuditEvent]:
        """The events of the statement and of its parts, latest first."""
        first = [] if self.event is None else [self.event]
        return [*reversed(self.further or ()), *first]


class Decoder:
    """Decodes records that may explain each other."""

    def __init__(self) -> None:
        self._context = LogContext(time_zones=(), own_user="", own_application="")
        self._time_us = log_clock(()).time_us
        self._events: list[AuditEvent] = []
        self._superseded: set[int] = set()
        self._own_sessions: set[str] = set()
        self._exchanges: dict[str, Exchange] = {}
        self.joined: list[tuple[LogRecord, LogRecord]] = []
        """The first record of an exchange and a later one of the same: they have to be decoded together."""

    def take(self, block: LogBlock, rows: Sequence[LogRecord]) -> list[Rejected]:
        """Decode the rows of a block in their order; returns those that cannot be."""
        self._enter(block.context)
        rejected: list[Rejected] = []
        for row in rows:
            self._take_one(block, row, rejected)
        return rejected

    def _take_one(self, block: LogBlock, row: LogRecord, rejected: list[Rejected]) -> None:
        try:
            context = self._context
            if row.user == context.own_user and row.application_name == context.own_application:
                self._own_sessions.add(row.session_id)
                self._close(row)
                return
            event = self._audit(row) if row.message.startswith(pgaudit.PREFIX) else self._other(row)
            if event is not None:
                self._events.append(event)
        except (RecordError, ValueError, OverflowError) as error:
            reason = error.message if isinstance(error, RecordError) else "a record of an unknown form"
            position = f"{block.path}:{row.session_id}:{row.line_num}"
            rejected.append(Rejected(position, msgspec.json.encode(row), reason))

    def _enter(self, context: LogContext) -> None:
        if context is not self._context and context != self._context:
            self._context = context
            self._time_us = log_clock(context.time_zones).time_us
        if context.own_session is not None:
            self._own_sessions.add(context.own_session)

    def events(self) -> list[AuditEvent]:
        """The events, without the agent's own and without what is told twice."""
        superseded, own = self._superseded, self._own_sessions
        if not superseded and not own:
            return self._events
        return [
            event
            for event in self._events
            if id(event) not in superseded
            and (event.session_id not in own or event.type == EventType.LOGIN_FAILED)
        ]

    def time_us(self, row: LogRecord) -> int | None:
        """When the server wrote a row; None when that cannot be told."""
        try:
            return self._time_us(row.timestamp)
        except RecordError:
            return None

    def open_exchanges(self) -> list[Exchange]:
        """What may still be explained by a record that follows."""
        own = self._own_sessions
        return [exchange for session, exchange in self._exchanges.items() if session not in own]

    def _join_rows(self, first: LogRecord | None, later: LogRecord) -> None:
        if first is not None:
            self.joined.append((first, later))

    # -- pgaudit

    def _audit(self, row: LogRecord) -> AuditEvent | None:
        audited = pgaudit.parse(row.message)
        time_us = self._time_us(row.timestamp)
        session_id = row.session_id
        exchange = self._exchanges.get(session_id)
        if exchange is not None:
            same = exchange.statement_id == audited.statement_id
            if time_us > exchange.until_us or not (same or exchange.untold):
                exchange = None
            elif same and exchange.substatement_id == audited.substatement_id:
                _add_objects(exchange.events[0], audited)
                self._join_rows(exchange.row, row)
                return None
        address = address_of(row.remote_host)
        detail: dict[str, Any] | None = None
        if audited.object_audit or audited.substatement_id != "1":
            detail = _detail(audited)
        event = AuditEvent(
            f"{session_id}:{row.line_num}",
            EventType.QUERY,
            time_us,
            Severity.INFO,
            None,
            None,
            row.user,
            row.dbname,
            row.application_name,
            session_id,
            address[0],
            _port(row),
            address[1],
            audited.command,
            audited.command_class,
            audited.statement,
            None,
            None,
            audited.rows,
            None if audited.object_name is None else (audited.object_name,),
            audited.parameters,
            detail,
        )
        if exchange is None:
            self._exchanges[session_id] = Exchange(
                row,
                row.vxid,
                time_us,
                time_us + JOINED_WITHIN_US,
                event,
                audited.statement_id,
                audited.substatement_id,
            )
        else:
            self._join(exchange, audited, event)
            self._join_rows(exchange.row, row)
        return event

    def _join(self, exchange: Exchange, audited: pgaudit.Audited, event: AuditEvent) -> None:
        """Add what pgaudit tells to an exchange, which supersedes what log_statement told of it."""
        exchange.statement_id, exchange.substatement_id = audited.statement_id, audited.substatement_id
        logged = exchange.logged
        if logged is None or exchange.untold is None:
            exchange.further = [*(exchange.further or ()), event]
            return
        left = _without(exchange.untold, event.query)
        if left == exchange.untold:
            exchange.further = [*(exchange.further or ()), event]
            return
        if event.query is None:
            event.query = logged.query
        if event.parameters is None:
            event.parameters = logged.parameters
        exchange.untold = left
        if not left:
            self._superseded.add(id(logged))
            exchange.until_us = event.time_us + JOINED_WITHIN_US
        if exchange.event is logged:
            exchange.event = event
        else:
            exchange.further = [*(exchange.further or ()), event]

    # -- the server's own messages

    def _other(self, row: LogRecord) -> AuditEvent | None:
        code = row.state_code
        if code and code[:2] not in _HARMLESS_CLASSES:
            return self._failure(row, code)
        found = recognise(row.message)
        if found is None:
            exchange = self._exchanges.get(row.session_id)
            if exchange is not None and exchange.opening:
                del self._exchanges[row.session_id]
            return None
        kind, start = found
        if kind is Kind.RECEIVED:
            return self._received(row)
        if kind is Kind.AUTHENTICATED:
            return self._authenticated(row)
        if kind is Kind.AUTHORIZED or kind is Kind.REPLICATION_AUTHORIZED:
            return self._authorized(row, replication=kind is Kind.REPLICATION_AUTHORIZED)
        if kind is Kind.DISCONNECTED:
            return self._disconnected(row)
        if kind is Kind.STATEMENT or kind is Kind.REPLICATION_COMMAND:
            return self._statement(row, row.message[start:])
        if kind is Kind.EXECUTE:
            name = messages.AFTER_NAME.match(row.message, start)
            return self._statement(row, row.message[name.end() :]) if name else None
        return self._duration(row, start) if kind is Kind.DURATION else None

    def _event(
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
    ) -> AuditEvent:
        address, host = address_of(row.remote_host)
        return AuditEvent(
            f"{row.session_id}:{row.line_num}",
            kind,
            self._time_us(row.timestamp),
            severity,
            outcome,
            error_code,
            row.user,
            row.dbname,
            row.application_name if application is None else application,
            row.session_id,
            address,
            _port(row),
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

    # -- sessions

    def _received(self, row: LogRecord) -> AuditEvent:
        event = self._event(row, EventType.CONNECTION, Outcome.SUCCESS)
        own_host = row.remote_host is not None and row.remote_host == self._context.own_host
        self._open(row, None, event.time_us, OWN_LOG_IN_WITHIN_US if own_host else JOINED_WITHIN_US)
        return event

    def _authenticated(self, row: LogRecord) -> AuditEvent:
        event = self._event(row, EventType.LOGIN_SUCCESS, Outcome.SUCCESS, detail=_identity(row.message))
        self._open(row, event, event.time_us)
        return event

    def _authorized(self, row: LogRecord, *, replication: bool) -> AuditEvent | None:
        own_user = row.user == self._context.own_user
        found = messages.APPLICATION.search(row.message)
        application = found[1] if found else row.application_name
        if own_user and application == self._context.own_application:
            self._own_sessions.add(row.session_id)
            self._close(row)
            return None
        authenticated = self._log_in(row)
        detail = dict(authenticated.detail or {}) if authenticated else {}
        tls = messages.TLS.search(row.message)
        if tls:
            detail |= {"tls_protocol": tls[1], "tls_cipher": tls[2]}
        if replication:
            detail["replication"] = True
        event = self._event(
            row,
            EventType.LOGIN_SUCCESS,
            Outcome.SUCCESS,
            application=application,
            detail=detail or None,
        )
        if authenticated is not None:
            self._superseded.add(id(authenticated))
        # Up to 11 the application shows only in what the session logs next.
        unknown = own_user and not application
        self._open(row, event, event.time_us, OWN_LOG_IN_WITHIN_US if unknown else JOINED_WITHIN_US)
        return event

    def _open(
        self, row: LogRecord, event: AuditEvent | None, time_us: int, within_us: int = JOINED_WITHIN_US
    ) -> None:
        """Note a record of a log-in, which may belong to one before."""
        before = self._exchanges.get(row.session_id)
        until_us = time_us + within_us
        if before is not None and before.opening and time_us <= before.until_us:
            self._join_rows(before.row, row)
            until_us = max(until_us, before.until_us)
            row = before.row or row
        self._exchanges[row.session_id] = Exchange(row, row.vxid, time_us, until_us, event, opening=True)

    def _close(self, row: LogRecord) -> None:
        """End the exchange of a session with its last record."""
        exchange = self._exchanges.pop(row.session_id, None)
        if exchange is not None:
            self._join_rows(exchange.row, row)

    def _log_in(self, row: LogRecord) -> AuditEvent | None:
        """The event of the log-in that ``row`` goes on with."""
        exchange = self._exchanges.get(row.session_id)
        if exchange is None or not exchange.opening or exchange.event is None:
            return None
        late = self._time_us(row.timestamp) - exchange.start_us > JOINED_WITHIN_US
        return None if late else exchange.event

    def _disconnected(self, row: LogRecord) -> AuditEvent:
        self._exchanges.pop(row.session_id, None)
        found = messages.SESSION_TIME.search(row.message)
        duration_ms = None
        if found:
            seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            duration_ms = round(seconds * 1000, 3)
        return self._event(row, EventType.DISCONNECT, Outcome.SUCCESS, duration_ms=duration_ms)

    # -- statements

    def _statement(
        self, row: LogRecord, statement: str, duration_ms: float | None = None
    ) -> AuditEvent | None:
        event = self._event(
            row,
            EventType.QUERY,
            None,
            query=statement,
            duration_ms=duration_ms,
            parameters=_parameters(row.detail),
        )
        add_operations(event, Dialect.POSTGRESQL)
        exchange = self._exchanges.get(row.session_id)
        if (
            exchange is not None
            and exchange.logged is None
            and exchange.statement_id
            and event.time_us <= exchange.until_us
        ):
            # With a statement that gives rows pgaudit is first: it tells of it when it is bound.
            audited = next((e for e in exchange.events if not _without(statement, e.query)), None)
            if audited is not None:
                exchange.logged = event
                self._join_rows(exchange.row, row)
                audited.query = audited.query or statement
                audited.parameters = audited.parameters or event.parameters
                return None
        within_us = AUDITED_WITHIN_US if self._context.told_twice else JOINED_WITHIN_US
        self._exchanges[row.session_id] = Exchange(
            row,
            row.vxid,
            event.time_us,
            event.time_us + within_us,
            event,
            logged=event,
            untold=statement.strip(_BETWEEN_STATEMENTS),
        )
        return event

    def _duration(self, row: LogRecord, start: int) -> AuditEvent | None:
        found = messages.MILLISECONDS.match(row.message, start)
        if found is None:
            return None
        statement = None
        if found.end() < len(row.message):
            announced = recognise(row.message[found.end() :])
            if announced is None or announced[0] not in (Kind.STATEMENT, Kind.EXECUTE):
                return None  # of parsing, binding, or fetching more of what was told before
            statement = row.message[found.end() + announced[1] :]
            if announced[0] is Kind.EXECUTE:
                statement = messages.AFTER_NAME.sub("", statement, count=1)
        duration_ms = float(found[1])
        exchange = self._exchanges.get(row.session_id)
        if exchange is not None and exchange.event is not None and not exchange.opening:
            told = exchange.event
            same = statement is None or _without(statement, told.query) != statement
            if same and self._time_us(row.timestamp) <= exchange.until_us:
                self._close(row)
                logged = exchange.logged
                if logged is None or not _without(logged.query or "", told.query):
                    told.duration_ms, told.outcome = duration_ms, Outcome.SUCCESS
                return None
        if statement is None or self._is_audited(statement):
            return None  # it was told when it started, long ago
        event = self._statement(row, statement, duration_ms)
        self._exchanges.pop(row.session_id, None)
        if event is not None:
            event.outcome = Outcome.SUCCESS
        return event

    def _is_audited(self, statement: str) -> bool:
        audited = self._context.audited
        return bool(audited) and classify(statement, Dialect.POSTGRESQL).command_class.lower() in audited

    def _failure(self, row: LogRecord, code: str) -> AuditEvent | None:
        exchange = self._exchanges.get(row.session_id)
        opening = exchange is not None and exchange.opening
        if row.ps in _OPENING or (not row.ps and (opening or code in _REFUSED_AT_THE_DOOR)):
            return self._refusal(row, code)
        if row.statement is None or row.backend_type == "parallel worker":
            return None  # the leader tells of it too
        time_us = self._time_us(row.timestamp)
        if (
            exchange is not None
            and not opening
            and exchange.vxid == row.vxid
            and time_us <= exchange.until_us
        ):
            failed = next(
                (e for e in exchange.events if _without(row.statement, e.query) != row.statement), None
            )
            if failed is not None:
                failed.outcome, failed.error_code = Outcome.FAILURE, code
                self._close(row)
                return None
        self._exchanges.pop(row.session_id, None)
        event = self._event(row, EventType.QUERY, Outcome.FAILURE, error_code=code, query=row.statement)
        add_operations(event, Dialect.POSTGRESQL)
        return event

    def _refusal(self, row: LogRecord, code: str) -> AuditEvent | None:
        """A failed log-in; one that was authorized first had no such database, or no right to connect."""
        if code.startswith(_CONNECTION_FAULTS):
            return None  # the client went away: nobody was refused
        log_in = self._log_in(row)
        self._close(row)
        if log_in is not None:
            self._superseded.add(id(log_in))
        return self._event(
            row,
            EventType.LOGIN_FAILED,
            Outcome.FAILURE,
            severity=Severity.WARNING,
            error_code=code,
            application=log_in.application if log_in else row.application_name,
            detail={"message": row.message, **((log_in.detail if log_in else None) or {})},
        )


def _without(statement: str, part: str | None) -> str:
    """What is left of a statement when ``part``, as pgaudit tells it, is taken out: the same if it is not in
    it.
    """
    if part is None:
        return ""
    begin = statement.find(part)
    if begin >= 0:
        return (statement[:begin] + statement[begin + len(part) :]).strip(_BETWEEN_STATEMENTS)
    before, redacted, _rest = part.partition(pgaudit.REDACTED)
    return "" if redacted and before in statement else statement


def _add_objects(event: AuditEvent, audited: pgaudit.Audited) -> None:
    """pgaudit writes a record for each object of one statement."""
    if audited.object_name is not None and audited.object_name not in (event.objects or ()):
        event.objects = (*(event.objects or ()), audited.object_name)
    if audited.object_audit and (event.detail or {}).get("audit") != "object":
        event.detail = _detail(audited)


def _detail(audited: pgaudit.Audited) -> dict[str, Any]:
    return {
        "audit": "object" if audited.object_audit else "session",
        "statement": int(audited.statement_id),
        "substatement": int(audited.substatement_id),
    }


def _identity(message: str) -> dict[str, Any] | None:
    found = messages.IDENTITY.search(message)
    return {"identity": found[1] or found[2] or found[3], "method": found[4]} if found else None


def _port(row: LogRecord) -> int | None:
    port = row.remote_port
    if port is not None and not 0 <= port <= LARGEST_PORT:
        raise RecordError("the port of the client is none")
    return port


def _parameters(detail: str | None) -> tuple[str | None, ...] | None:
    found = list(messages.PARAMETER.finditer(detail)) if detail and "$1 = " in detail else []
    return tuple(None if p[1] is None else p[1].replace("''", "'") for p in found) or None


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
