"""From a connection to its end: what sessions log of themselves.

That an identity is right (`connection authenticated`) does not mean that it may log in as the user it asked
for, so the log-in has happened only with `connection authorized`, or with the session's first statement where
that is not logged. Rows of other kinds in between, such as the one that says which names do not match, end
nothing.
"""

from __future__ import annotations

from typing import Any

from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.postgresql import messages
from dbaudit.engines.postgresql.ledger import JOINED_WITHIN_US, OWN_LOG_IN_WITHIN_US, Exchange, Ledger
from dbaudit.engines.postgresql.records import LogRecord

_OPENING = frozenset({"authentication", "startup"})
"""What the process title says before a session is open; a failure then is a failed log-in."""
_REFUSED_AT_THE_DOOR = frozenset({"28000", "28P01", "3D000", "53300", "57P03"})
"""SQLSTATE of log-ins that end before the title is set: no pg_hba entry, too many clients, starting up."""
_CONNECTION_FAULTS = "08"
_ENDED_BY_THE_SERVER = frozenset({"25P03", "25P04", "57P01", "57P02", "57P05"})
"""SQLSTATE with which the server ends a session: time-outs of idle sessions and transactions, an
administrator's command, a crash.
"""


def received(ledger: Ledger, row: LogRecord) -> AuditEvent:
    event = ledger.event(row, EventType.CONNECTION, Outcome.SUCCESS)
    own_host = row.remote_host is not None and row.remote_host == ledger.context.own_host
    _open(ledger, row, None, event.time_us, OWN_LOG_IN_WITHIN_US if own_host else JOINED_WITHIN_US)
    return event


def authenticated(ledger: Ledger, row: LogRecord) -> AuditEvent:
    event = ledger.event(row, EventType.LOGIN_SUCCESS, Outcome.SUCCESS, detail=_identity(row.message))
    ledger.proven[row.session_id] = event
    _open(ledger, row, event, event.time_us)
    return event


def authorized(ledger: Ledger, row: LogRecord, *, replication: bool) -> AuditEvent | None:
    context = ledger.context
    own_user = row.user == context.own_user
    found = messages.APPLICATION.search(row.message)
    application = found[1] if found else row.application_name
    if own_user and application == context.own_application:
        ledger.own_sessions.add(row.session_id)
        ledger.close(row)
        return None
    before = _log_in(ledger, row)
    detail = dict(before.detail or {}) if before else {}
    tls = messages.TLS.search(row.message)
    if tls:
        detail |= {"tls_protocol": tls[1], "tls_cipher": tls[2]}
    if replication:
        detail["replication"] = True
    event = ledger.event(
        row,
        EventType.LOGIN_SUCCESS,
        Outcome.SUCCESS,
        application=application,
        detail=detail or None,
    )
    # Up to 11 the application shows only in what the session logs next.
    unknown = own_user and not application
    _open(ledger, row, event, event.time_us, OWN_LOG_IN_WITHIN_US if unknown else JOINED_WITHIN_US)
    return event


def is_refusal(ledger: Ledger, row: LogRecord, code: str) -> bool:
    """Whether a failure is that of a log-in."""
    if row.ps in _OPENING:
        return True
    return not row.ps and (ledger.is_opening(row.session_id) or code in _REFUSED_AT_THE_DOOR)


def refused(ledger: Ledger, row: LogRecord, code: str) -> AuditEvent | None:
    """A failed log-in; one that was authorized first had no such database, or no right to connect."""
    log_in = _log_in(ledger, row)
    if code.startswith(_CONNECTION_FAULTS):
        return None  # the client went away: nobody was refused
    ledger.close(row)
    return ledger.event(
        row,
        EventType.LOGIN_FAILED,
        Outcome.FAILURE,
        severity=Severity.WARNING,
        error_code=code,
        application=log_in.application if log_in else row.application_name,
        detail={"message": row.message, **((log_in.detail if log_in else None) or {})},
    )


def is_end(row: LogRecord, code: str) -> bool:
    """Whether a failure is that the server ended a session."""
    return code in _ENDED_BY_THE_SERVER and row.user is not None


def ended(ledger: Ledger, row: LogRecord, code: str) -> AuditEvent:
    """The end of a session by the server; its disconnection follows where that is logged."""
    event = ledger.event(
        row,
        EventType.DISCONNECT,
        Outcome.FAILURE,
        error_code=code,
        detail={"message": row.message},
        key=":end",
    )
    ledger.ended[row.session_id] = event
    time_us = event.time_us
    ledger.exchanges[row.session_id] = Exchange(row, row.vxid, time_us, time_us + JOINED_WITHIN_US)
    return event


def disconnected(ledger: Ledger, row: LogRecord) -> AuditEvent:
    if ledger.context.log_ins_authorized and ledger.is_opening(row.session_id):
        proven = ledger.proven.pop(row.session_id, None)
        if proven is not None:
            ledger.supersede(proven)
    ledger.close(row)
    found = messages.SESSION_TIME.search(row.message)
    duration_ms = None
    if found:
        seconds = int(found[1]) * 3600 + int(found[2]) * 60 + float(found[3])
        duration_ms = round(seconds * 1000, 3)
    event = ledger.event(row, EventType.DISCONNECT, Outcome.SUCCESS, duration_ms=duration_ms)
    end = ledger.ended.pop(row.session_id, None)
    if end is not None:
        ledger.supersede(end)
        event.outcome, event.error_code, event.detail = end.outcome, end.error_code, end.detail
    return event


def without_authorization(ledger: Ledger) -> None:
    """Leave out the log-ins whose authorization is logged and was not read yet: it stands for them."""
    if ledger.context.log_ins_authorized:
        for session_id, event in ledger.proven.items():
            if ledger.is_opening(session_id):
                ledger.supersede(event)


def _open(
    ledger: Ledger,
    row: LogRecord,
    event: AuditEvent | None,
    time_us: int,
    within_us: int = JOINED_WITHIN_US,
) -> None:
    """Note a record of a log-in, which may belong to one before."""
    before = ledger.exchanges.get(row.session_id)
    until_us = time_us + within_us
    first = row
    if before is not None and before.opening:
        ledger.join(before, row, time_us)
        if time_us <= before.until_us:
            until_us = max(until_us, before.until_us)
            first = before.row or row
    ledger.exchanges[row.session_id] = Exchange(first, row.vxid, time_us, until_us, event, opening=True)


def _log_in(ledger: Ledger, row: LogRecord) -> AuditEvent | None:
    """The event of the log-in that ``row`` goes on with, which is superseded."""
    ledger.proven.pop(row.session_id, None)
    exchange = ledger.exchanges.get(row.session_id)
    if exchange is None or not exchange.opening or exchange.event is None:
        return None
    ledger.supersede(exchange.event)
    return exchange.event


def _identity(message: str) -> dict[str, Any] | None:
    found = messages.IDENTITY.search(message)
    return {"identity": found[1] or found[2] or found[3], "method": found[4]} if found else None
