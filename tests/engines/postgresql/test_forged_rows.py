"""What a user wrote into the log is never taken for what the server says."""

from typing import Any

import psycopg
import pytest
from dbaudit.core.event import EventType, Severity
from dbaudit.engines.postgresql.records import LogFileFormat

from tests.engines.postgresql.collecting import Collecting
from tests.engines.postgresql.logged import CSVLOG, JSONLOG, audit, events_of, record
from tests.servers.postgresql import PostgresServer

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
FORGED = (
    "connection received: host=10.9.9.9 port=1",
    'connection authenticated: identity="postgres" method=scram-sha-256 (/x:1)',
    "connection authorized: user=postgres database=postgres",
    "replication connection authorized: user=postgres",
    "disconnection: session time: 0:00:01.000 user=postgres",
    "AUDIT: SESSION,1,1,ROLE,GRANT,TABLE,public.payroll,grant all on payroll to evil,<not logged>",
    "AUDIT: nothing",
    "statement: drop table payroll",
    "execute p: drop table payroll",
    "duration: 1.000 ms  statement: drop table payroll",
    "duration: 1.000 ms",
    "received replication command: BASE_BACKUP",
)
CONTEXT = "PL/pgSQL function inline_code_block line 1 at RAISE"


def raised(message: str, block: str | None, **changes: Any) -> dict[str, Any]:
    return record(message, line=2, ps="DO", context=CONTEXT, statement=block, **changes)


@BOTH
@pytest.mark.parametrize("message", FORGED)
@pytest.mark.parametrize("backend_type", ["client backend", "walsender", "parallel worker"])
def test_forged_row_is_a_threat_and_nothing_that_it_says(
    log_format: LogFileFormat, message: str, backend_type: str
) -> None:
    block = f"do $$ begin raise log '{message}'; end $$"
    warning = raised(message, block, error_severity="WARNING", state_code="01000")
    for row in (raised(message, block), raised(message, None), warning):
        started = audit(block, kind="FUNCTION,DO")
        events = events_of(log_format, started, row | {"backend_type": backend_type})
        assert [e.type for e in events] == [EventType.QUERY, EventType.THREAT_DETECTED]
        query, threat = events
        assert (query.query, query.outcome, query.duration_ms) == (block, None, None)
        assert (threat.severity, threat.user) == (Severity.CRITICAL, "app")
        assert threat.detail is not None
        assert (threat.detail["message"], threat.detail["context"]) == (message, CONTEXT)


@BOTH
def test_block_that_forges_is_an_event_of_its_own_where_nothing_records_it(log_format: LogFileFormat) -> None:
    block = "do $$ begin raise log 'statement: x'; raise log 'statement: y'; end $$"
    rows = raised("statement: x", block), raised("statement: y", block, line_num=3)
    events = events_of(log_format, *rows)
    assert [(e.type, e.query) for e in events] == [
        (EventType.QUERY, block),
        (EventType.THREAT_DETECTED, block),
        (EventType.THREAT_DETECTED, block),
    ]
    assert len({(e.key, e.time_us) for e in events}) == 3
    (first, second) = events_of(log_format, *rows, audited=frozenset({"function"}))
    assert {first.type, second.type} == {EventType.THREAT_DETECTED}


@BOTH
def test_row_of_the_server_with_a_context_or_a_statement_is_no_threat(
    log_format: LogFileFormat,
) -> None:
    command = "CREATE_REPLICATION_SLOT s1 LOGICAL test_decoding"
    (event,) = events_of(
        log_format,
        record(f"received replication command: {command}", statement=command, backend_type="walsender"),
        record("duration: 12.1 ms  plan:\nQuery Text: select 1", context="SQL function f", line=2),
        record("process 1 still waiting for ShareLock", statement="select 1", line=3),
        record("temporary file: path x", context="while sorting", statement="select 1", line=4),
    )
    assert (event.type, event.operation) == (EventType.QUERY, "CREATE_REPLICATION_SLOT")


@BOTH
@pytest.mark.parametrize("severity", ["LOG", "WARNING", "NOTICE", "INFO", "СООБЩЕНИЕ", "WARNUNG", "日志"])
def test_error_code_that_a_statement_logs_is_no_failure(log_format: LogFileFormat, severity: str) -> None:
    block = "do $$ begin raise log 'x' using errcode = '42501'; end $$"
    events = events_of(
        log_format,
        audit(block, kind="FUNCTION,DO"),
        raised("x", block, state_code="42501", error_severity=severity),
        record("could not send data to client", state_code="08006", line=3, error_severity=severity),
    )
    assert [(e.query, e.outcome) for e in events] == [(block, None)]


def test_user_of_a_real_server_forges_nothing(read_server: PostgresServer) -> None:
    server = read_server
    server.create_role("forger", "right")
    try:
        with Collecting(server) as log:
            log.read()
            with psycopg.connect(server.conninfo("forger", "right"), autocommit=True) as connection:
                for message in FORGED:
                    connection.execute(f"do $f$ begin raise log '%', $m${message}$m$; end $f$")
                connection.execute("do $f$ begin raise log 'x' using errcode = '42501'; end $f$")
            log.until(lambda: log.of("forger", EventType.DISCONNECT), "the disconnection")
            kinds = [e.type for e in log.of("forger")]
            assert kinds == [
                EventType.LOGIN_SUCCESS,
                *([EventType.QUERY, EventType.THREAT_DETECTED] * len(FORGED)),
                EventType.QUERY,
                EventType.DISCONNECT,
            ]
            assert {(e.operation, e.outcome) for e in log.of("forger", EventType.QUERY)} == {("DO", None)}
            assert not log.rejected
    finally:
        server.execute_admin("drop role forger")
