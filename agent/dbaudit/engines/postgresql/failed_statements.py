"""Which statement an error of the log belongs to.

The row of an error names the client's whole message (STATEMENT), the transaction and the step in which it
came (the process title). pgaudit's record of the failed execution, where there is one, is the last of its
session in that transaction: nothing is recorded between a statement's start and its failure but what ran
inside of it. So the error is put on that record where its text is that of the message, and where the error is
not one that comes before the record is written: then it is the error of a later statement with the same text.
In every other case the failure is an event of its own, which is always true.

What pgaudit writes when a statement has ended (utility commands; queries with pgaudit.log_rows) did not fail.
"""

from __future__ import annotations

import re

from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.core.operations import add_operations, classify
from dbaudit.core.statements import Dialect
from dbaudit.engines.postgresql.late_refusals import is_late_refusal
from dbaudit.engines.postgresql.ledger import Exchange, Ledger, Recorded
from dbaudit.engines.postgresql.records import LogRecord
from dbaudit.engines.postgresql.statement_parts import bare, parts
from dbaudit.engines.postgresql.statements import BIND, FUNCTION, PARSE, is_audited

_QUERIES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "???"})
"""Commands that pgaudit records when they start; it calls those `???` that it does not know."""
_STARTING = frozenset({"DO", "EXECUTE"})
_SELECTS = frozenset({"VALUES", "TABLE"})
"""What the server calls SELECT too."""
_OF_QUERIES = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"}) | _SELECTS

_AFTER_START_CLASS, _AFTER_START = "23", frozenset({"40001"})
"""Constraints and conflicts of transactions: no planner can find them."""
_BEFORE_START_CLASSES = frozenset({"0A", "25", "26", "34", "42"})
"""Names, syntax, rights, the state of the transaction: looked at before pgaudit writes."""
_MAY_HAVE_ANOTHER = "may be an event of its own, without an outcome"
"""Said of a statement whose start pgaudit may have recorded before what was read with the failure."""
_OF_PARAMETERS = re.compile(
    r'(?:unnamed portal|portal ".*"|extended query) (?:with parameters|parameter \$\d+)\b', re.DOTALL
)
_EXECUTE = re.compile(r'\s*execute\s+("(?:[^"]|"")+"|[^\s("]+)', re.IGNORECASE)
_PREPARE = re.compile(r'\s*prepare\s+("(?:[^"]|"")+"|[^\s("]+)', re.IGNORECASE)


def failed(ledger: Ledger, row: LogRecord, code: str) -> AuditEvent | None:
    """The event of a statement that failed; None where it has one, which takes the failure as its outcome."""
    if row.statement is None:
        return None
    exchange = ledger.exchanges.get(row.session_id)
    if exchange is not None and not exchange.opening and exchange.vxid == row.vxid:
        event = _failed_event(exchange, row, row.statement, code)
        if event is not None:
            event.outcome, event.error_code = Outcome.FAILURE, code
            ledger.close(row)
            return None
    ledger.exchanges.pop(row.session_id, None)
    own = ledger.event(row, EventType.QUERY, Outcome.FAILURE, error_code=code, query=row.statement)
    add_operations(own, Dialect.POSTGRESQL)
    recorded = not ledger.context.recorded_at_end and is_audited(ledger, row, row.statement)
    if recorded and not _is_before_start(row, code):
        own.detail = {**(own.detail or {}), "start": _MAY_HAVE_ANOTHER}
    return own


def _failed_event(exchange: Exchange, row: LogRecord, statement: str, code: str) -> AuditEvent | None:
    before = _is_before_start(row, code)
    logged = exchange.logged
    if logged is not None and row.ps not in (PARSE, BIND) and bare(logged.query or "") == bare(statement):
        # log_statement wrote the message once: this is that message, whatever its error.
        if exchange.unrecorded:
            return logged
        if len(parts(statement)) == 1:
            return _not_a_call(_of_text(exchange.latest, statement))
    if before:
        return None
    started = [one for one in exchange.latest if _is_started(one.event)]
    texts = parts(statement)
    if len(texts) == 1:
        found = _of_text(started, statement) or _of_prepared(started, row, statement)
    else:
        found = _of_several(started, texts, row.ps or "", certain=_is_after_start(row, code))
    return _not_a_call(found)


def _of_text(records: list[Recorded], statement: str) -> list[Recorded]:
    text = bare(statement)
    return [one for one in records if one.event.query is not None and bare(one.event.query) == text]


def _of_prepared(records: list[Recorded], row: LogRecord, statement: str) -> list[Recorded]:
    """pgaudit records EXECUTE with the text of the PREPARE."""
    name = _EXECUTE.match(bare(statement)) if row.ps == "EXECUTE" else None
    if name is None:
        return []
    prepared = [(one, _PREPARE.match(bare(one.event.query or ""))) for one in records if one.ps == row.ps]
    return [one for one, found in prepared if found is not None and found[1] == name[1]]


def _of_several(records: list[Recorded], texts: tuple[str, ...], ps: str, *, certain: bool) -> list[Recorded]:
    """The records of the part of a message that failed, where that is known.

    ``ps`` is the command of the part that failed. An error that can come before the start may be that of a
    later part with this command. Up to 14 pgaudit records each part with the text of the whole message: there
    the command says which it is.
    """
    found = [one for one in records if one.ps == ps and bare(one.event.query or "") in texts]
    if found:
        first = texts.index(bare(found[-1].event.query or ""))
    else:
        found = [one for one in records if one.ps == ps and parts(one.event.query or "") == texts]
        first = next((number for number, text in enumerate(texts) if _may_be(text, ps)), len(texts))
    later = [text for text in texts[first + 1 :] if _may_be(text, ps)]
    if not later or (certain and all(map(_is_query, later))):
        return found
    return []


def _may_be(statement: str, ps: str) -> bool:
    """Whether ``ps``, the tag of a command, may be that of a statement."""
    operations = classify(statement, Dialect.POSTGRESQL).operations
    words = {operation.split()[0] for operation in operations}
    return not words or ps.split(" ")[0] in words or (ps == "SELECT" and bool(words & _SELECTS))


def _is_query(statement: str) -> bool:
    """Whether pgaudit records a statement, if it records queries, before it can fail by its data."""
    operations = classify(statement, Dialect.POSTGRESQL).operations
    return bool(operations) and all(operation in _OF_QUERIES for operation in operations)


def _not_a_call(found: list[Recorded]) -> AuditEvent | None:
    """The latest statement rather than the calls of functions in it, recorded with the same text."""
    statements = [one.event for one in found if one.event.operation != "EXECUTE"]
    calls = [one.event for one in found]
    return next(iter([*statements[-1:], *calls[-1:]]), None)


def _is_started(event: AuditEvent) -> bool:
    """Whether pgaudit recorded it when it started."""
    if event.command_class == FUNCTION:
        return event.operation in _STARTING
    return event.rows_affected is None and event.operation in _QUERIES


def _is_before_start(row: LogRecord, code: str) -> bool:
    """Whether an error may well come before pgaudit's record of the statement."""
    if is_late_refusal(row.message, code):
        return False
    if row.ps in (PARSE, BIND) or (row.cursor_position is not None and row.internal_query is None):
        return True
    return code[:2] in _BEFORE_START_CLASSES and not _in_a_function(row)


def _is_after_start(row: LogRecord, code: str) -> bool:
    """Whether an error is certain to come after pgaudit's record of the statement."""
    if is_late_refusal(row.message, code):
        return True
    return (code[:2] == _AFTER_START_CLASS or code in _AFTER_START) and not _in_a_function(row)


def _in_a_function(row: LogRecord) -> bool:
    """Whether an error came inside of a function, which may raise what it wants."""
    return row.context is not None and _OF_PARAMETERS.match(row.context) is None
