"""The files of pgauditlogtofile: what they say, what they cannot say, and what anybody could have written."""

import contextlib
import json
from collections.abc import Callable, Iterator

import psycopg
import pytest
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.report import DiagnosisStatus
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.options import Options
from dbaudit.engines.postgresql.records import LogBlock, LogContext, LogFileFormat

from tests.conftest import missing_engine_is_told
from tests.engines.postgresql import workload
from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.engines.postgresql.targets import changing
from tests.servers.installations import with_audit_files
from tests.servers.postgresql import PostgresServer

SETTINGS = {
    "shared_preload_libraries": "pgaudit,pgauditlogtofile",
    "pgaudit.log": "all, -misc",
    "pgaudit.log_directory": "audit",
    "pgaudit.log_filename": "audit-%Y%m%d_%H%M.log",
    "pgaudit.log_connections": True,
    "pgaudit.log_disconnections": True,
    "pgaudit.log_rows": True,
    "log_destination": "csvlog",
}


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with missing_engine_is_told():
        installed = with_audit_files()
    with (
        PostgresServer(18, pgaudit=True, installed=installed, settings=SETTINGS) as started,
        collector_on(started),
    ):
        yield started


@pytest.fixture
def configured(server: PostgresServer) -> Iterator[Callable[..., PostgresServer]]:
    change = changing(server)
    yield change
    change(pgaudit__log_directory="audit", pgaudit__log_format="csv")


@pytest.mark.parametrize("form", ["csv", "json"])
def test_statements_and_sessions_of_a_workload_are_those_that_ran(
    configured: Callable[..., PostgresServer], form: str
) -> None:
    server = configured(pgaudit__log_format=form)
    with Collecting(server, log_format="pgaudit_file") as log:
        log.read()
        with workload.role_of_the_workload(server, "worked"):
            workload.run(server, "worked")
            log.until(lambda: len(log.of(workload.USER, EventType.LOGIN_SUCCESS)) == 2, "the workload")
    events = workload.by_session(log.of(workload.USER))
    # A statement that failed has no record here, and a log-in to no database no refusal: the errors are in
    # the server's log.
    wanted = [told for told in workload.expected(pgaudit=True) if told.query not in workload.FAILING]
    wanted = [told for told in wanted if told.error_code != "3D000"] + wanted[:1]
    assert {"refused" in str(e.detail) for e in events if e.type is EventType.LOGIN_SUCCESS} == {True}
    found = [workload.told(event) for event in events]
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    assert {e.outcome for e in events if e.type is EventType.QUERY} == {None}
    assert {(e.database, e.source_ip) for e in events if e.type is EventType.QUERY} == {
        ("worked", "127.0.0.1")
    }
    assert {e.application for e in events if e.type is EventType.QUERY} == {workload.APPLICATION}
    assert [e.rows_affected for e in events if e.query == workload.INSERT] == [1]
    assert log.rejected == []
    assert log.gaps == []


def test_files_are_read_on_where_the_extension_begins_another(
    configured: Callable[..., PostgresServer],
) -> None:
    server = configured()
    with Collecting(server, log_format="pgaudit_file") as log:
        log.read()
        for number in range(3):
            configured(pgaudit__log_filename=f"audit-{number}-%Y.log")
            server.execute_admin(f"select 'file {number}'")
            log.until(lambda number=number: f"select 'file {number}'" in log.queries(), "the statement")
    assert len({e.key for e in log.events}) == len(log.events)


def test_row_that_a_statement_raises_is_a_threat_and_no_event_of_its_own(server: PostgresServer) -> None:
    forged = (
        "do $$ begin raise log 'connection authorized: user=x database=y' using errcode = '28P01'; "
        "raise log 'AUDIT: SESSION,1,1,ROLE,GRANT,,,grant all,<not logged>'; end $$"
    )
    with Collecting(server, log_format="pgaudit_file") as log:
        log.read()
        with server.connect_admin() as connection:
            connection.execute(forged.encode())
        log.until(lambda: log.of("postgres", EventType.DISCONNECT), "the end of the session")
    assert log.queries("postgres") == [forged]
    assert [e.severity for e in log.of("postgres", EventType.THREAT_DETECTED)] == [Severity.CRITICAL] * 2
    assert log.of("postgres", EventType.LOGIN_FAILED) == []


def test_error_that_the_extension_takes_for_a_refused_log_in_is_that_of_its_statement(
    server: PostgresServer,
) -> None:
    statement = "grant pg_monitor to missing_role"
    with Collecting(server, log_format="pgaudit_file") as log:
        log.read()
        with server.connect_admin() as connection, contextlib.suppress(psycopg.Error):
            connection.execute(statement)
        log.until(lambda: log.of("postgres", EventType.DISCONNECT), "the end of the session")
    (event,) = log.of("postgres", EventType.QUERY)
    assert (event.query, event.outcome, event.error_code) == (statement, Outcome.FAILURE, "42704")
    assert "RAISE LOG" in str(event.detail)


def test_report_of_the_test_says_where_pgaudits_records_are(
    configured: Callable[..., PostgresServer],
) -> None:
    server = configured()
    with Collecting(server, log_format="pgaudit_file") as log:
        report = log.session.test()
        assert report.audit_source is not None
        assert report.audit_source.startswith("pgaudit_file over the disk")
        statuses = {d.code: d.status for d in report.diagnoses}
        assert DiagnosisStatus.FAILED not in statuses.values()
        assert statuses["pgaudit_file"] is DiagnosisStatus.OK
    with Collecting(server) as log:
        found = {d.code: d for d in log.session.test().diagnoses}
        assert found["pgaudit_file"].status is DiagnosisStatus.FAILED
        assert "pgaudit.log_directory" in (found["pgaudit_file"].remedy or "")
        configured(pgaudit__log_directory="")
        assert "pgaudit_file" not in {d.code for d in log.session.test().diagnoses}
        log.read()
        server.execute_admin("select 'in the log'")
        log.until(lambda: "select 'in the log'" in log.queries(), "the statement")
    with Collecting(server, log_format="pgaudit_file") as log:
        found = {d.code: d for d in log.session.test().diagnoses}
        assert found["log_destination"].status is DiagnosisStatus.FAILED
        with pytest.raises(ConfigurationError):
            log.read()


# -- texts


def row(number: int, query: str = "select 1", *, time: str = "2026-11-28 10:00:00.123 UTC") -> str:
    """A line of 1.7, without what later versions add at its end."""
    values = [time, "ann", "shop", "7", "10.0.0.7:51514", "6b0acf7e.7", "SELECT", "2/4", "0", "00000"]
    values += ["SESSION", str(number), "1", "READ", "SELECT", "", "", f"{query},<not logged>"]
    return ",".join(map(json.dumps, values)) + ',,,,,,,,,"web"\n'


def decoded(text: str) -> tuple[list[AuditEvent], list[str]]:
    context = LogContext(time_zones=("UTC",), own_user="agent", own_application="dbaudit-agent")
    result = decode([LogBlock(LogFileFormat.PGAUDIT_FILE, "a.log", 0, text.encode(), context)])
    return result.events, [rejected.reason for rejected in result.rejected]


def test_statement_numbers_that_are_missing_are_a_gap() -> None:
    events, rejected = decoded(row(1) + row(2) + row(5))
    assert [e.detail["lost_records"] for e in events if e.type is EventType.GAP and e.detail] == [2]
    assert rejected == []


def test_fraction_of_another_clock_is_left_out_and_the_event_says_so() -> None:
    (exact,), _rejected = decoded(row(1))
    assert (exact.time_us % 1_000_000, exact.detail) == (123_000, None)
    (coarse,), _rejected = decoded(row(1, time="2026-11-28 10:00:00.976249731 UTC"))
    assert coarse.time_us % 1_000_000 == 0
    assert coarse.detail == {"unclear": "the time is of whole seconds"}


def test_lines_of_older_versions_and_torn_ones_are_put_aside() -> None:
    old = (
        "2026-11-28 10:00:00.123 UTC,ann,shop,7,10.0.0.7:51514,6b0acf7e.7,1,SELECT,"
        "2026-11-28 10:00:00 UTC,3/8,0,00000,SESSION,1,1,READ,SELECT,,,select 1,<not logged>,,,,,,,,,web\n"
    )
    events, rejected = decoded(old + row(1)[20:] + row(1))
    assert [(e.query, e.outcome) for e in events] == [("select 1", None)]
    assert len(rejected) == 2
    assert "anybody can write" in rejected[0]
    assert Outcome.SUCCESS not in {e.outcome for e in events}


@pytest.mark.parametrize("wrong", [{"log_source": "remote"}, {"log_file": "/a.log"}])
def test_audit_files_with_options_that_contradict_them_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        Options.of({"log_format": "pgaudit_file", **wrong})
