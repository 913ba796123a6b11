"""From records of the server's log to events. Pure: it knows the format and nothing else.

One thing that happens has several records of its session: a statement those of log_statement, of pgaudit,
of its failure and of its duration, a log-in those of its authentication and its authorization. Those that are
read together become one event; a read waits a tenth of a second for them. A later one, such as the failure of
a long statement, is an event of its own, because the first was stored long before.

Failures are known by SQLSTATE, whatever the language. A statement may log any SQLSTATE without failing (RAISE
LOG USING ERRCODE), so what is known to be of a lower severity is no failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from dbaudit.core.errors import RecordError
from dbaudit.core.event import AuditEvent, EventType, Rejected
from dbaudit.engines.postgresql import failed_statements, forged, log_ins, pgaudit, statements, workers
from dbaudit.engines.postgresql.labels import FAILURES, SEVERITIES
from dbaudit.engines.postgresql.ledger import Exchange, Ledger
from dbaudit.engines.postgresql.messages import Kind, recognise
from dbaudit.engines.postgresql.records import LogBlock, LogRecord

_HARMLESS_CLASSES = frozenset({"00", "01", "02"})
_NO_FAILURES = frozenset(
    word for severity, words in SEVERITIES.items() if severity not in FAILURES for word in words
)


class Decoder:
    """Decodes records that may explain each other."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self.left_out: Counter[str] = Counter()
        """The number of records of clients that make no event, by what their messages begin with."""

    def take(self, block: LogBlock, rows: Sequence[LogRecord]) -> list[Rejected]:
        """Decode the rows of a block in their order; returns those that cannot be."""
        self._ledger.enter(block.context)
        rejected: list[Rejected] = []
        for row in rows:
            self._take_one(block, row, rejected)
        return rejected

    def _take_one(self, block: LogBlock, row: LogRecord, rejected: list[Rejected]) -> None:
        ledger = self._ledger
        try:
            context = ledger.context
            if row.user == context.own_user and row.application_name == context.own_application:
                ledger.own_sessions.add(row.session_id)
                ledger.close(row)
                return
            if row.context is None and row.statement is None and row.message.startswith(pgaudit.PREFIX):
                if row.backend_type == workers.PARALLEL_WORKER:
                    event = workers.audited(ledger, row)
                    if event is None:
                        self.left_out["parallel worker"] += 1
                else:
                    event = statements.audited(ledger, row)
                if event is not None:
                    ledger.events.append(event)
            else:
                ledger.events += self._others(row)
        except (RecordError, ValueError, OverflowError) as error:
            reason = error.message if isinstance(error, RecordError) else "a record of an unknown form"
            position = f"{block.path}:{row.session_id}:{row.line_num}"
            rejected.append(Rejected(position, msgspec.json.encode(row), reason))

    def _others(self, row: LogRecord) -> list[AuditEvent]:
        code = row.state_code
        if code and code[:2] not in _HARMLESS_CLASSES and row.error_severity not in _NO_FAILURES:
            return self._failure(row, code)
        if not row.by_the_server and forged.is_forged(row):
            return forged.forgery(self._ledger, row)
        event = self._message(row)
        return [] if event is None else [event]

    def _failure(self, row: LogRecord, code: str) -> list[AuditEvent]:
        ledger = self._ledger
        if log_ins.is_refusal(ledger, row, code):
            found = [log_ins.refused(ledger, row, code)]
        elif row.backend_type == workers.PARALLEL_WORKER:
            found = []  # the leader has it too
        else:
            found = [failed_statements.failed(ledger, row, code)]
            if log_ins.is_end(row, code):
                found.append(log_ins.ended(ledger, row, code))
        return [event for event in found if event is not None]

    def _message(self, row: LogRecord) -> AuditEvent | None:
        found = recognise(row.message)
        if found is None:
            return None
        ledger = self._ledger
        kind, start = found
        if kind is Kind.RECEIVED:
            return log_ins.received(ledger, row)
        if kind is Kind.AUTHENTICATED:
            return log_ins.authenticated(ledger, row)
        if kind is Kind.AUTHORIZED or kind is Kind.REPLICATION_AUTHORIZED:
            return log_ins.authorized(ledger, row, replication=kind is Kind.REPLICATION_AUTHORIZED)
        if kind is Kind.DISCONNECTED:
            return log_ins.disconnected(ledger, row)
        if kind is Kind.STATEMENT or kind is Kind.REPLICATION_COMMAND:
            return statements.logged(ledger, row, row.message[start:])
        if kind is Kind.EXECUTE:
            return statements.executed(ledger, row, row.message[start:])
        if kind is Kind.FETCH:
            # More rows of a portal: its first execution has an event.
            self.left_out["execute fetch"] += 1
            return None
        return statements.duration(ledger, row, start) if kind is Kind.DURATION else None

    def events(self) -> list[AuditEvent]:
        """The events, without the agent's own and without those that another one stands for."""
        ledger = self._ledger
        log_ins.without_authorization(ledger)
        superseded, own = ledger.superseded, ledger.own_sessions
        if not superseded and not own:
            return ledger.events
        return [
            event
            for event in ledger.events
            if id(event) not in superseded
            and (event.session_id not in own or event.type == EventType.LOGIN_FAILED)
        ]

    def time_us(self, row: LogRecord) -> int | None:
        """When the server wrote a row; None if that cannot be known."""
        try:
            return self._ledger.time_us(row.timestamp)
        except RecordError:
            return None

    def open_exchanges(self) -> list[Exchange]:
        """What may still be explained by a record that follows."""
        own = self._ledger.own_sessions
        return [exchange for session, exchange in self._ledger.exchanges.items() if session not in own]

    @property
    def joined(self) -> list[tuple[LogRecord, LogRecord]]:
        """The first record of an exchange and a later one of the same, for each that was close to it."""
        return self._ledger.joined
