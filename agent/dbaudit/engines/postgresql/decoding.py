"""From records of the server's log to events. Pure: it knows the format and nothing else.

Failures are told by SQLSTATE and never by severity or wording, which are localised. The lines of connections
have no code of their own, so they are known by their English text; a test asks for `lc_messages = C`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity
from dbaudit.core.operations import operation_of
from dbaudit.engine.base import Decoded
from dbaudit.engines.postgresql import pgaudit
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogRecord, parse
from dbaudit.engines.postgresql.times import LogClock

_OPENING = frozenset({"authentication", "startup"})
"""What the process title says before a session is open; a failure then is a failed log-in."""
_REFUSED_AT_THE_DOOR = frozenset({"28000", "28P01", "3D000", "53300", "57P03"})
"""SQLSTATE of log-ins that end before the title is set: no pg_hba entry, too many clients, starting up."""
_HARMLESS_CLASSES = frozenset({"00", "01", "02"})
_CONNECTION_FAULTS = "08"

_SESSION_TIME = re.compile(r"session time: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_TIMED_STATEMENT = re.compile(r"duration: ([\d.]+) ms  (?:statement|execute [^:]*): ")
_EXECUTE = re.compile(r"execute [^:]*: ")
_APPLICATION = re.compile(r" application_name=(.*?)(?: (?:SSL|GSS) enabled \(.*| \(?GSS .*)?\Z", re.DOTALL)
_TLS = re.compile(r" SSL enabled \(protocol=([^,)]+), cipher=([^,)]+)")
_AUTHENTICATED = re.compile(r'(?:identity|user)="(.*)" method=(\S+)', re.DOTALL)
_PARAMETER = re.compile(r"\$\d+ = (?:NULL|'((?:[^']|'')*)')")


def decode(records: Sequence[Any]) -> Decoded:
    """The events of some ``LogBlock``s, in the order of the log."""
    events: list[AuditEvent] = []
    rejected: list[Rejected] = []
    for block in records:
        rows, broken = parse(block)
        rejected.extend(broken)
        decoder = _Decoder(block)
        rejected.extend(decoder.take(rows))
        events.extend(decoder.events())
    return Decoded(events, rejected)


class _Decoder:
    """Decodes the records of one block; they may explain each other."""

    def __init__(self, block: LogBlock) -> None:
        self._path = block.path
        self._context: LogContext = block.context
        self._time_us = LogClock(block.context.time_zone).time_us
        self._events: list[AuditEvent] = []
        self._superseded: set[int] = set()
        self._own_sessions: set[str] = set()
        self._methods: dict[str, dict[str, Any]] = {}
        self._log_ins: dict[str, AuditEvent] = {}
        self._audited: dict[tuple[str, str | None], AuditEvent] = {}
        self._also_in_the_log: list[AuditEvent] = []

    def take(self, rows: Sequence[LogRecord]) -> list[Rejected]:
        """Decode the rows in their order; returns those that cannot be."""
        rejected: list[Rejected] = []
        own_user, own_application = self._context.own_user, self._context.own_application
        append = self._events.append
        for row in rows:
            try:
                if row.application_name == own_application and row.user == own_user:
                    self._own_sessions.add(row.session_id)
                elif row.message.startswith(pgaudit.PREFIX):
                    append(self._audit(row))
                else:
                    event = self._other(row)
                    if event is not None:
                        append(event)
            except (RecordError, ValueError) as error:
                reason = error.message if isinstance(error, RecordError) else "a record of an unknown form"
                position = f"{self._path}:{row.session_id}:{row.line_num}"
                rejected.append(Rejected(position, msgspec.json.encode(row), reason))
        return rejected

    def events(self) -> list[AuditEvent]:
        """The events, without the agent's own and without what the log tells twice."""
        for event in self._also_in_the_log:
            if (event.session_id or "", event.query) in self._audited:
                self._superseded.add(id(event))
        if not self._superseded and not self._own_sessions:
            return self._events
        return [
            event
            for event in self._events
            if event.session_id not in self._own_sessions and id(event) not in self._superseded
        ]

    def _audit(self, row: LogRecord) -> AuditEvent:
        audited = pgaudit.parse(row.message)
        address = _address(row.remote_host)
        detail: dict[str, Any] | None = None
        if audited.object_audit or audited.substatement_id != "1":
            detail = {
                "audit": "object" if audited.object_audit else "session",
                "statement": int(audited.statement_id),
                "substatement": int(audited.substatement_id),
            }
        event = AuditEvent(
            f"{row.session_id}:{row.line_num}",
            EventType.QUERY,
            self._time_us(row.timestamp),
            Severity.INFO,
            None,
            None,
            row.user,
            row.dbname,
            row.application_name,
            row.session_id,
            address[0],
            row.remote_port,
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
        if self._context.statements_logged:
            self._audited[row.session_id, audited.statement] = event
        return event

    def _other(self, row: LogRecord) -> AuditEvent | None:
        code = row.state_code
        if code and code[:2] not in _HARMLESS_CLASSES:
            return self._failure(row, code)
        message = row.message
        if message.startswith("connection received: "):
            return self._event(row, EventType.CONNECTION, outcome=Outcome.SUCCESS)
        if message.startswith("connection authenticated: "):
            return self._authentication(row)
        if message.startswith(("connection authorized: ", "replication connection authorized: ")):
            return self._authorization(row)
        if message.startswith("disconnection: "):
            return self._disconnection(row)
        if message.startswith("statement: "):
            return self._statement(row, message.removeprefix("statement: "))
        if message.startswith("execute "):
            prepared = _EXECUTE.match(message)
            return self._statement(row, message[prepared.end() :]) if prepared else None
        if message.startswith("duration: "):
            timed = _TIMED_STATEMENT.match(message)
            return self._timed_statement(row, timed) if timed else None
        return None

    def _event(self, row: LogRecord, kind: EventType, **values: Any) -> AuditEvent:
        address, host = _address(row.remote_host)
        return AuditEvent(
            key=f"{row.session_id}:{row.line_num}",
            type=kind,
            time_us=self._time_us(row.timestamp),
            user=row.user,
            database=row.dbname,
            application=values.pop("application", row.application_name),
            session_id=row.session_id,
            source_ip=address,
            source_port=row.remote_port,
            source_host=host,
            **values,
        )

    def _failure(self, row: LogRecord, code: str) -> AuditEvent | None:
        if row.ps in _OPENING or (not row.ps and code in _REFUSED_AT_THE_DOOR):
            if code.startswith(_CONNECTION_FAULTS):
                return None  # the client went away: nobody was refused
            earlier = self._log_ins.pop(row.session_id, None)
            if earlier is not None:  # authorized, and then turned away: no such database, no right to connect
                self._superseded.add(id(earlier))
            return self._event(
                row,
                EventType.LOGIN_FAILED,
                severity=Severity.WARNING,
                outcome=Outcome.FAILURE,
                error_code=code,
                detail={"message": row.message, **self._methods.pop(row.session_id, {})},
            )
        if row.statement is None:
            return None
        return self._event(
            row,
            EventType.QUERY,
            outcome=Outcome.FAILURE,
            error_code=code,
            operation=operation_of(row.statement),
            query=row.statement,
        )

    def _authentication(self, row: LogRecord) -> AuditEvent | None:
        found = _AUTHENTICATED.search(row.message)
        method = {"identity": found[1], "method": found[2]} if found else {}
        if self._context.authorization_logged:
            self._methods[row.session_id] = method  # told with the line that follows
            return None
        return self._event(row, EventType.LOGIN_SUCCESS, outcome=Outcome.SUCCESS, detail=method or None)

    def _authorization(self, row: LogRecord) -> AuditEvent | None:
        found = _APPLICATION.search(row.message)
        application = found[1] if found else row.application_name
        if application == self._context.own_application and row.user == self._context.own_user:
            self._own_sessions.add(row.session_id)
            return None
        detail = self._methods.pop(row.session_id, {})
        tls = _TLS.search(row.message)
        if tls:
            detail |= {"tls_protocol": tls[1], "tls_cipher": tls[2]}
        if row.message.startswith("replication"):
            detail["replication"] = True
        event = self._event(
            row,
            EventType.LOGIN_SUCCESS,
            outcome=Outcome.SUCCESS,
            application=application,
            detail=detail or None,
        )
        self._log_ins[row.session_id] = event
        return event

    def _disconnection(self, row: LogRecord) -> AuditEvent:
        found = _SESSION_TIME.search(row.message)
        duration_ms = None
        if found:
            seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
            duration_ms = round(seconds * 1000, 3)
        return self._event(row, EventType.DISCONNECT, outcome=Outcome.SUCCESS, duration_ms=duration_ms)

    def _statement(self, row: LogRecord, statement: str, duration_ms: float | None = None) -> AuditEvent:
        event = self._event(
            row,
            EventType.QUERY,
            operation=operation_of(statement),
            query=statement,
            duration_ms=duration_ms,
            parameters=_parameters(row.detail),
        )
        if self._context.audited != "none":
            self._also_in_the_log.append(event)
        return event

    def _timed_statement(self, row: LogRecord, timed: re.Match[str]) -> AuditEvent | None:
        statement = row.message[timed.end() :]
        audited = self._audited.get((row.session_id, statement))
        if audited is not None:
            audited.duration_ms = float(timed[1])
        if audited is not None or self._context.audited == "all":
            return None  # pgaudit told of this statement when it started, maybe long ago
        event = self._statement(row, statement, float(timed[1]))
        event.outcome = Outcome.SUCCESS
        return event


def _parameters(detail: str | None) -> tuple[str | None, ...] | None:
    if detail is None or not detail[:12].lower().startswith("parameters: "):
        return None
    return tuple(
        None if found[1] is None else found[1].replace("''", "'") for found in _PARAMETER.finditer(detail)
    )


@lru_cache(maxsize=10_000)
def _address(host: str | None) -> tuple[str | None, str | None]:
    """The client's address, or its name where the server resolves names (log_hostname) or it is `[local]`."""
    if host is None:
        return None, None
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None, host
    return host, None
