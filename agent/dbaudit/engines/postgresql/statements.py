"""Statements: what pgaudit, log_statement and the durations say of them.

pgaudit records a query when it starts (after its rights were checked) or, with pgaudit.log_rows, when it has
ended; a utility command when it has ended; a DO block and the call of a function when they start.
log_statement writes a row before the statement is planned; in the extended protocol before it is executed,
when pgaudit has recorded a query with rows already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.operation_classes import RANKS
from dbaudit.core.operations import add_operations, class_of, classify
from dbaudit.core.statements import Dialect
from dbaudit.engines.postgresql import messages, pgaudit
from dbaudit.engines.postgresql.ledger import (
    AUDITED_WITHIN_US,
    JOINED_WITHIN_US,
    Exchange,
    Ledger,
    Recorded,
    address_of,
    port_of,
)
from dbaudit.engines.postgresql.messages import Kind, recognise
from dbaudit.engines.postgresql.prepared_names import readings
from dbaudit.engines.postgresql.records import LogRecord
from dbaudit.engines.postgresql.statement_parts import bare, parts

PARSE, BIND = "PARSE", "BIND"
"""What a session is doing in the first two steps of the extended protocol."""
FOREIGN_KEY_CHECK = "SELECT 1 FROM ONLY "
"""The server's own query for a deferred foreign key: pgaudit records it as a statement of its own."""
FUNCTION = "FUNCTION"
_SELECT = "SELECT"
_NONE: list[str] = []
_NAME_IS_AMBIGUOUS = (
    "the name of the prepared statement holds ': ', so the log cannot say where the statement begins"
)


# -- pgaudit


def audited(ledger: Ledger, row: LogRecord) -> AuditEvent | None:
    """The event of a record of pgaudit; None where it adds to an event."""
    record = pgaudit.parse(row.message)
    time_us = ledger.time_us(row.timestamp)
    session_id = row.session_id
    exchange = ledger.exchanges.get(session_id)
    if exchange is not None:
        if exchange.statement_id == record.statement_id:
            if exchange.substatement_id == record.substatement_id:
                _add_objects(exchange.recorded[-1].event, record)
                ledger.join(exchange, row, time_us)
                return None
        elif not exchange.unrecorded and not (
            record.command == _SELECT and _is_of_the_server(exchange, row, record.statement)
        ):
            exchange = None
    command, command_class = record.command, record.command_class
    address = address_of(row.remote_host)
    detail: dict[str, Any] | None = None
    if record.object_audit or record.substatement_id != "1":
        detail = _detail(record)
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
        port_of(row),
        address[1],
        command,
        command_class,
        record.statement,
        None,
        None,
        # What pgaudit writes when a function starts has counted nothing yet.
        None if record.command_class == FUNCTION else record.rows,
        None if record.object_name is None else (record.object_name,),
        record.parameters,
        detail,
    )
    if command == _SELECT and record.statement is not None and not _PLAIN_SELECT(record.statement):
        _add_what_it_writes(event, record.statement)
    if exchange is None:
        ledger.exchanges[session_id] = Exchange(
            row,
            row.vxid,
            time_us,
            time_us + JOINED_WITHIN_US,
            None,
            False,
            None,
            _NONE,
            _NONE,
            [Recorded(event, record.statement_id, row.ps)],
            record.statement_id,
            record.substatement_id,
        )
    else:
        _add(ledger, exchange, row, record, event)
    return event


def _is_of_the_server(exchange: Exchange, row: LogRecord, statement: str | None) -> bool:
    """Whether the server ran a query at the end of the statement that is open."""
    return (
        row.ps != _SELECT
        and row.ps != BIND
        and bool(exchange.recorded)
        and exchange.vxid == row.vxid
        and statement is not None
        and statement.startswith(FOREIGN_KEY_CHECK)
    )


def _add(
    ledger: Ledger, exchange: Exchange, row: LogRecord, record: pgaudit.Audited, event: AuditEvent
) -> None:
    """Add what pgaudit recorded to an exchange; it supersedes what log_statement said of it."""
    ledger.join(exchange, row, event.time_us)
    of_statement = record.statement_id
    if _is_of_the_server(exchange, row, record.statement):
        of_statement = exchange.recorded[-1].statement_id
    exchange.recorded.append(Recorded(event, of_statement, row.ps))
    exchange.statement_id, exchange.substatement_id = record.statement_id, record.substatement_id
    logged = exchange.logged
    if logged is None or not exchange.unrecorded:
        return
    whole = [logged.query or "", *exchange.readings]
    left = _not_recorded(exchange.unrecorded, event.query, whole)
    if left == exchange.unrecorded:
        return
    if event.query is None:
        event.query = logged.query
    if event.parameters is None:
        event.parameters = logged.parameters
    exchange.unrecorded = left
    if not left:
        ledger.supersede(logged)
        exchange.until_us = event.time_us + JOINED_WITHIN_US


def _not_recorded(parts_left: list[str], recorded: str | None, whole: list[str]) -> list[str]:
    """The parts of a message that are left when pgaudit recorded one, or all of it in one of its readings."""
    if recorded is None:
        return []
    text = bare(recorded)
    if any(text == bare(reading) for reading in whole):
        return []
    before, redacted, _rest = text.partition(pgaudit.REDACTED)
    for number, part in enumerate(parts_left):
        if part == text or (redacted and part.startswith(before)):
            return parts_left[:number] + parts_left[number + 1 :]
    return parts_left


def _add_objects(event: AuditEvent, record: pgaudit.Audited) -> None:
    """pgaudit writes a record for each object of one statement, with what is done to it."""
    _add_operations(event, [record.command], [record.command_class])
    if record.object_name is not None and record.object_name not in (event.objects or ()):
        event.objects = (*(event.objects or ()), record.object_name)
    if record.object_audit and (event.detail or {}).get("audit") != "object":
        event.detail = (event.detail or {}) | _detail(record)


WRITES_IN_WITH = r"\bwith\b.*\b(?:insert|update|delete|merge)\b"
_WRITES_IN_WITH = re.compile(WRITES_IN_WITH, re.IGNORECASE | re.DOTALL)
_PLAIN_SELECT = re.compile("select", re.IGNORECASE).match


def _add_what_it_writes(event: AuditEvent, statement: str) -> None:
    """Add what a query that pgaudit calls SELECT changes in a WITH, which it need not record."""
    if _WRITES_IN_WITH.search(statement) is None:
        return
    found = classify(statement, Dialect.POSTGRESQL)
    if len(parts(statement)) == 1 and set(found.operations) <= _OF_A_QUERY:
        _add_operations(event, found.operations, found.command_classes)


_OF_A_QUERY = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "VALUES", "TABLE"})


def _add_operations(event: AuditEvent, operations: Sequence[str], classes: Sequence[str]) -> None:
    """Add what else a statement does; the most consequential operation is that of the event."""
    if list(operations) == [event.operation]:
        return
    detail = event.detail or {}
    all_operations = list(dict.fromkeys([*detail.get("operations", [event.operation]), *operations]))
    all_classes = list(dict.fromkeys([*detail.get("command_classes", [event.command_class]), *classes]))
    for operation in operations:
        command_class = classes[0] if len(operations) == 1 else class_of(operation, Dialect.POSTGRESQL)
        if _rank(command_class) < _rank(event.command_class):
            event.operation, event.command_class = operation, command_class
    if len(all_operations) > 1:
        event.detail = detail | {"operations": all_operations}
        if len(all_classes) > 1:
            event.detail["command_classes"] = all_classes


def _rank(command_class: str | None) -> int:
    return next((rank for name, rank in RANKS.items() if name == command_class), len(RANKS))


def _detail(record: pgaudit.Audited) -> dict[str, Any]:
    return {
        "audit": "object" if record.object_audit else "session",
        "statement": int(record.statement_id),
        "substatement": int(record.substatement_id),
    }


# -- log_statement


def logged(ledger: Ledger, row: LogRecord, statement: str) -> AuditEvent:
    """The event of `statement: ...`, or of a statement that nothing else recorded."""
    event = ledger.event(
        row,
        EventType.QUERY,
        None,
        query=statement,
        parameters=_parameters(row.detail),
    )
    add_operations(event, Dialect.POSTGRESQL)
    within_us = AUDITED_WITHIN_US if ledger.context.told_twice else JOINED_WITHIN_US
    ledger.exchanges[row.session_id] = Exchange(
        row,
        row.vxid,
        event.time_us,
        event.time_us + within_us,
        logged=event,
        unrecorded=list(parts(statement)),
    )
    return event


def is_recorded(ledger: Ledger, row: LogRecord, statement: str) -> bool:
    """Whether the statement that is running has an event, of this read or of an earlier one."""
    exchange = _exchange_of(ledger, row)
    if exchange is not None and _recorded_as(exchange, statement)[0]:
        return True
    return is_audited(ledger, row, statement)


def executed(ledger: Ledger, row: LogRecord, text: str) -> AuditEvent | None:
    """The event of `execute NAME: ...`; None where pgaudit recorded the statement when it was bound."""
    found = readings(text)
    if not found:
        return None
    exchange = ledger.exchanges.get(row.session_id)
    if exchange is not None and exchange.logged is None and exchange.vxid == row.vxid:
        for one in exchange.latest:
            text_of_one = None if one.event.query is None else bare(one.event.query)
            statement = next((s for s in found if text_of_one in (None, bare(s))), None)
            if one.ps == BIND and statement is not None:
                ledger.join(exchange, row, ledger.time_us(row.timestamp))
                exchange.logged = one.event
                one.event.query = one.event.query or statement
                one.event.parameters = one.event.parameters or _parameters(row.detail)
                return None
    event = logged(ledger, row, found[0])
    ledger.exchanges[row.session_id].readings = found[1:]
    _say_what_is_ambiguous(event, found)
    return event


def _say_what_is_ambiguous(event: AuditEvent, found: list[str]) -> None:
    if len(found) < 2:
        return
    several = [classify(statement, Dialect.POSTGRESQL) for statement in found]
    event.operation, event.command_class = min(
        ((one.operation, one.command_class) for one in several), key=lambda one: RANKS[one[1]]
    )
    operations = dict.fromkeys(operation for one in several for operation in one.operations)
    classes = dict.fromkeys(name for one in several for name in one.command_classes)
    event.detail = {
        "ambiguous": _NAME_IS_AMBIGUOUS,
        "operations": list(operations),
        "command_classes": list(classes),
    }


def _parameters(detail: str | None) -> tuple[str | None, ...] | None:
    found = list(messages.PARAMETER.finditer(detail)) if detail and "$1 = " in detail else []
    return tuple(None if p[1] is None else p[1].replace("''", "'") for p in found) or None


# -- durations


def duration(ledger: Ledger, row: LogRecord, start: int) -> AuditEvent | None:
    """Note how long a statement took: on its event, or on one of its own where nothing else recorded it.

    The durations of parsing and binding are not the statement's.
    """
    found = messages.MILLISECONDS.match(row.message, start)
    if found is None or row.ps == BIND:
        return None
    if row.ps == PARSE:
        ledger.exchanges.pop(row.session_id, None)
        return None
    duration_ms = float(found[1])
    if found.end() == len(row.message):
        _note_bare(ledger, row, duration_ms)
        return None
    announced = recognise(row.message[found.end() :])
    if announced is None or announced[0] not in (Kind.STATEMENT, Kind.EXECUTE):
        return None  # of parsing, binding, or fetching more
    text = row.message[found.end() + announced[1] :]
    statements = readings(text) if announced[0] is Kind.EXECUTE else [text]
    if not statements:
        return None
    exchange = _exchange_of(ledger, row)
    if exchange is not None:
        for statement in statements:
            known, event = _recorded_as(exchange, statement)
            if known:
                ledger.close(row)
                _note(event, duration_ms)
                return None
    if is_audited(ledger, row, statements[0]):
        return None  # it was recorded when it started, long ago
    event = logged(ledger, row, statements[0])
    _say_what_is_ambiguous(event, statements)
    _note(event, duration_ms)
    ledger.exchanges.pop(row.session_id, None)
    return event


def _note_bare(ledger: Ledger, row: LogRecord, duration_ms: float) -> None:
    """Note the duration of the statement that was recorded last, if it is that statement's."""
    exchange = _exchange_of(ledger, row)
    if exchange is None:
        return
    event = exchange.logged if exchange.unrecorded else _main(exchange)
    first = next(iter(exchange.latest), None)
    if exchange.logged is None and first is not None and not _may_end(row.ps, first):
        event = None
    ledger.close(row)
    _note(event, duration_ms)


def _may_end(ps: str | None, first: Recorded) -> bool:
    """Whether the step ``ps`` is that in which a statement is executed that was recorded first."""
    if first.ps != BIND:
        return ps == first.ps
    return ps in (first.event.operation, *(first.event.detail or {}).get("operations", ()))


def _exchange_of(ledger: Ledger, row: LogRecord) -> Exchange | None:
    """The exchange that may be of the statement whose duration ``row`` is; its transaction may be over."""
    exchange = ledger.exchanges.get(row.session_id)
    if exchange is None or exchange.opening or (exchange.logged is None and not exchange.recorded):
        return None
    if row.vxid == exchange.vxid or row.vxid is None or row.vxid.endswith("/0"):
        return exchange
    return None


def _recorded_as(exchange: Exchange, statement: str) -> tuple[bool, AuditEvent | None]:
    """Whether a message that has ended was recorded, and the event that stands for the whole of it."""
    text = bare(statement)
    if exchange.logged is not None and bare(exchange.logged.query or "") == text:
        return True, exchange.logged if exchange.unrecorded else _main(exchange)
    whole = [one for one in exchange.latest if one.event.query is None or bare(one.event.query) == text]
    if whole and len(parts(statement)) == 1:
        return True, _not_a_call(whole)
    texts = parts(statement)
    return any(bare(one.event.query or "") in texts for one in exchange.latest) or bool(whole), None


def _main(exchange: Exchange) -> AuditEvent | None:
    """The event of the client's statement; None where its message held several."""
    if len({one.statement_id for one in exchange.recorded}) != 1:
        return None
    first = exchange.recorded[0]
    same_text = [one for one in exchange.recorded if one.event.query == first.event.query]
    if first.event.rows_affected is not None:
        same_text = exchange.recorded[-1:]
    return _not_a_call(same_text)


def _not_a_call(found: list[Recorded]) -> AuditEvent:
    """The statement rather than the calls of functions in it, which pgaudit records with the same text."""
    return next((one.event for one in reversed(found) if one.event.operation != "EXECUTE"), found[-1].event)


def _note(event: AuditEvent | None, duration_ms: float) -> None:
    if event is not None:
        event.duration_ms, event.outcome = duration_ms, Outcome.SUCCESS


def is_audited(ledger: Ledger, row: LogRecord, statement: str) -> bool:
    """Whether pgaudit recorded a statement for certain, maybe long ago."""
    context = ledger.context
    if not context.audited or row.user in context.exempt_roles or row.dbname in context.exempt_databases:
        return False
    if context.catalogs_exempt and _CATALOGS.search(statement):
        return False
    return all(_class_of(part).lower() in context.audited for part in parts(statement))


def _class_of(statement: str) -> str:
    return classify(statement, Dialect.POSTGRESQL).command_class


_CATALOGS = re.compile(r"\b(?:from|join|using|into|table)\b.*\b(?:pg_|information_schema\b)", re.I | re.S)
"""Whether a statement may be on nothing but catalogs; their functions are recorded like others."""
