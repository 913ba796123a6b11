"""A query that runs in several processes is one event."""

from typing import Any

import psycopg
import pytest
from dbaudit.core.event import EventType
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.records import LogFileFormat

from tests.engines.postgresql.collecting import Collecting
from tests.engines.postgresql.logged import CSVLOG, JSONLOG, audit, block, events_of, failing, record, written
from tests.engines.postgresql.targets import COLLECTOR, PASSWORD
from tests.servers.postgresql import PostgresServer

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
QUERY = "select count(f(s)) from big"
WORKER: dict[str, Any] = {
    "session_id": "67a09724.999",
    "backend_type": "parallel worker",
    "vxid": "36/3",
    **dict.fromkeys(("user", "dbname", "remote_host", "remote_port", "ps")),
}


@BOTH
@pytest.mark.parametrize("leader_pid", [None, 4121])
def test_statement_of_parallel_workers_is_that_of_the_leader(
    log_format: LogFileFormat, leader_pid: int | None
) -> None:
    worker = WORKER | {"leader_pid": leader_pid}
    (event,) = events_of(
        log_format,
        audit(QUERY, **worker),
        audit(QUERY, 7, line=1),
        audit(QUERY, 1, 2, kind="FUNCTION,EXECUTE", line=2, **worker),
        failing(QUERY, "22012", line=3, context="parallel worker", **worker),
    )
    assert (event.user, event.outcome) == ("app", None)


@BOTH
def test_what_a_function_runs_in_a_worker_shows(log_format: LogFileFormat) -> None:
    inside = "select pay from payroll"
    events = events_of(log_format, audit(QUERY), audit(inside, 1, 2, line=2, **WORKER, leader_pid=4121))
    assert [e.query for e in events] == [QUERY, inside]
    assert events[1].detail is not None
    assert events[1].detail["worker_of_process"] == 4121


@BOTH
def test_records_of_workers_and_of_further_rows_are_counted(log_format: LogFileFormat) -> None:
    rows = [
        record("execute fetch from named/portal: select 1"),
        audit(QUERY, line=2),
        audit(QUERY, line=3, **WORKER),
        audit("select pay from payroll", 1, 2, line=4, rows=1, **WORKER),
    ]
    found = decode([block(log_format, written(log_format, rows))])
    assert [event.query for event in found.events] == [QUERY]
    assert found.left_out == {"execute fetch": 1, "parallel worker": 2}


@pytest.mark.parametrize("major", [13, 15, 17])
def test_parallel_query_of_a_real_server_is_one_event(postgres_server: Any, major: int) -> None:
    settings = {"max_parallel_workers": 4, "min_parallel_table_scan_size": 0, "parallel_setup_cost": 0}
    server: PostgresServer = postgres_server(major, pgaudit=True, settings=settings)
    server.create_collector_role(COLLECTOR, PASSWORD)
    server.create_role("app", "right")
    server.execute_admin("create table big as select generate_series(1, 50000) i; analyze big")
    server.execute_admin("grant select on big to app")
    query = "select count(*) from big where i % 7 = 3"
    with Collecting(server) as log:
        log.read()
        with psycopg.connect(server.conninfo("app", "right"), autocommit=True) as connection:
            (plan,) = connection.execute("explain (costs off, format json) " + query).fetchone() or ()
            assert '"Workers Planned"' in str(plan).replace("'", '"')
            connection.execute(query)
        log.until(lambda: log.of("app", EventType.DISCONNECT), "the disconnection")
        assert [e.user for e in log.events if e.query == query] == ["app"]
        assert b"parallel worker" in server.current_log("csvlog").read_bytes()
