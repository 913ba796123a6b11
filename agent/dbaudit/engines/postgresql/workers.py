"""Parallel workers: they run a part of the leader's statement, and pgaudit records it in each of them again.

The rows of a worker have no user. From 14 on they name the leader's process, and before 13 a worker's row
cannot be distinguished from that of another background process.
"""

from __future__ import annotations

from dbaudit.core.event import AuditEvent
from dbaudit.engines.postgresql import pgaudit, statements
from dbaudit.engines.postgresql.ledger import Ledger
from dbaudit.engines.postgresql.records import LogRecord

PARALLEL_WORKER = "parallel worker"


def audited(ledger: Ledger, row: LogRecord) -> AuditEvent | None:
    """The event of what a function of the statement ran in a worker; None for what the leader recorded.

    The leader records the statement and the functions that it calls. With pgaudit.log_rows a worker's records
    do not say which of them is the statement's: none becomes an event.
    """
    record = pgaudit.parse(row.message)
    of_the_leader = record.substatement_id == "1" or record.command_class == "FUNCTION"
    if of_the_leader or record.rows is not None:
        return None
    event = statements.audited(ledger, row)
    if event is not None:
        event.detail = {**(event.detail or {}), "worker_of_process": row.leader_pid}
    return event
