"""Rows that look like the server's own and were written by a statement.

Any user can write a row with any text (`RAISE LOG`). What a statement writes has its context, and where the
level asks for it the statement itself; the server's rows of sessions and statements, and pgaudit's, never do
(errhidestmt, errhidecontext, or nothing runs). Only a replication command has its own text as the statement.
"""

from __future__ import annotations

from dbaudit.core.event import AuditEvent, EventType, Severity
from dbaudit.engines.postgresql import messages, pgaudit, statements
from dbaudit.engines.postgresql.ledger import Ledger
from dbaudit.engines.postgresql.messages import Kind, recognise
from dbaudit.engines.postgresql.records import LogRecord
from dbaudit.engines.postgresql.statement_parts import bare

_REASON = "a statement wrote a row to the server's log that looks like one of the server's own"


def is_forged(row: LogRecord) -> bool:
    """Whether a row that is not by the server looks like one of the records that become events."""
    if row.message.startswith(pgaudit.PREFIX):
        return True
    found = recognise(row.message)
    if found is None:
        return False
    kind, start = found
    if kind is Kind.REPLICATION_COMMAND and row.context is None:
        return row.statement is not None and bare(row.statement) != bare(row.message[start:])
    return kind is not Kind.DURATION or _is_duration_of_a_statement(row.message, start)


def _is_duration_of_a_statement(message: str, start: int) -> bool:
    """Others are those of auto_explain, which may have a context."""
    found = messages.MILLISECONDS.match(message, start)
    return found is not None and (
        found.end() == len(message) or recognise(message[found.end() :]) is not None
    )


def forgery(ledger: Ledger, row: LogRecord) -> list[AuditEvent]:
    """The events of a forged row: that somebody tried, and the statement that did, unless it has one."""
    threat = ledger.event(
        row,
        EventType.THREAT_DETECTED,
        None,
        severity=Severity.CRITICAL,
        query=row.statement,
        detail={"reason": _REASON, "message": row.message, "context": row.context},
        key=":forged",
    )
    if row.statement is None or statements.is_recorded(ledger, row, row.statement):
        return [threat]
    return [statements.logged(ledger, row, row.statement), threat]
