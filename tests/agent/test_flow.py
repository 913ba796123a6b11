"""A collector that reads and gets nowhere is not called healthy, and its status says why."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from dbaudit.agent.flow import Flow
from dbaudit.core.database import ConnectionStatus
from dbaudit.core.event import gap
from dbaudit.core.report import CheckStatus, Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engine import Chunk
from dbaudit.state.collectors import CollectorState

from tests.agent.conftest import Installation
from tests.agent.unruly import START_US
from tests.servers.postgresql import PostgresServer

ONE = [(1, "select 1")]


def audit_source(dbaudit: Installation, database: Any) -> CheckStatus | None:
    health = dbaudit.collector(database).health
    return None if health is None else health.audit_source


def wait_for(dbaudit: Installation, database: Any, status: CheckStatus, words: str | None) -> None:
    def reached() -> bool:
        found = dbaudit.collector(database)
        said = found.error is None if words is None else words in (found.error or "")
        return said and audit_source(dbaudit, database) is status

    dbaudit.wait_until(reached, f"{status}, {words}")


def place(number: int) -> dict[str, int]:
    return {"v": 1, "position": number}


def test_a_source_that_flows_is_healthy(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1"]
    database = dbaudit.declare()
    dbaudit.start()
    wait_for(dbaudit, database, CheckStatus.HEALTHY, None)


def test_nothing_but_records_that_cannot_be_understood_is_told_until_one_can(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["poison"]
    database = dbaudit.declare()
    dbaudit.start()
    wait_for(dbaudit, database, CheckStatus.WARNING, "the last 1 were put aside")
    dbaudit.unruly.source += ["poison"] * 30
    wait_for(dbaudit, database, CheckStatus.CRITICAL, "put aside")
    assert dbaudit.collector(database).error_code == "audit_source_stuck"
    dbaudit.unruly.source += ["select 1"]
    wait_for(dbaudit, database, CheckStatus.HEALTHY, None)
    assert dbaudit.collector(database).state is CollectorState.RUNNING


def test_records_put_aside_among_others_are_no_alarm(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["poison", "poison", "select 1"]
    database = dbaudit.declare()
    dbaudit.start()
    dbaudit.wait_until(lambda: dbaudit.queries(database) == ["select ?"], "the event")
    wait_for(dbaudit, database, CheckStatus.HEALTHY, None)


@pytest.mark.parametrize("records", [[], ONE], ids=["nothing", "the same again"])
def test_a_cursor_that_stands_still_while_there_is_more_is_told(
    dbaudit: Installation, records: list[Any]
) -> None:
    dbaudit.unruly.instead["read"] = lambda: Chunk(records=records, cursor=place(7), more=True)
    database = dbaudit.declare()
    dbaudit.start(poll_interval_seconds=0.2)
    wait_for(dbaudit, database, CheckStatus.CRITICAL, "its place stays the same")
    reads = dbaudit.unruly.reads
    dbaudit.wait_until(lambda: dbaudit.unruly.reads >= reads + 2, "going on trying")
    assert dbaudit.unruly.reads < reads + 20, "it is read without a pause"
    dbaudit.unruly.instead.clear()
    dbaudit.unruly.source = ["select 1"] * 10
    wait_for(dbaudit, database, CheckStatus.HEALTHY, None)


@pytest.mark.parametrize("with_gaps", [False, True])
def test_a_source_that_is_read_in_circles_is_told(dbaudit: Installation, with_gaps: bool) -> None:
    rounds = itertools.cycle(range(3))
    number = itertools.count()

    def read() -> Chunk:
        gaps = (gap(f"gap {next(number)}", START_US, "rotated"),) if with_gaps else ()
        return Chunk(records=ONE, cursor=place(next(rounds)), gaps=gaps, more=True)

    dbaudit.unruly.instead["read"] = read
    database = dbaudit.declare()
    dbaudit.start()
    wait_for(dbaudit, database, CheckStatus.CRITICAL, "in circles")
    dbaudit.unruly.instead.clear()
    dbaudit.unruly.source = ["select 1"] * 10
    wait_for(dbaudit, database, CheckStatus.HEALTHY, None)


def test_what_was_read_before_and_is_read_again_once_is_no_circle() -> None:
    flow = Flow()
    for number in range(100):
        flow.saw(place(number), place(number + 1), records=9, events=9, rejected=0, new=0, more=True)
    assert flow.finding().status is CheckStatus.HEALTHY


def test_a_source_that_gives_nothing_for_long_is_tested_anew(dbaudit: Installation) -> None:
    dbaudit.unruly.source = ["select 1"]
    database = dbaudit.declare()
    dbaudit.start(health_interval_seconds=0.05, quiet_seconds=0.2)
    dbaudit.wait_for_active(database)
    failed = Diagnosis("audit_source", DiagnosisStatus.FAILED, "The plugin is off.", "SET GLOBAL it = ON")
    dbaudit.unruly.instead["test"] = lambda: TestReport(reachable=True, success=False, diagnoses=(failed,))
    dbaudit.wait_for_error(database, "The plugin is off. Remedy: SET GLOBAL it = ON")
    dbaudit.wait_for_status(database, ConnectionStatus.ERROR)


def test_a_source_that_is_gone_is_told_at_the_next_health_check(dbaudit: Installation) -> None:
    database = dbaudit.declare()
    dbaudit.start(health_interval_seconds=0.05, misconfigured_retry_seconds=0.1)
    dbaudit.wait_for_active(database)
    gone = Diagnosis("log_files", DiagnosisStatus.FAILED, "The file is gone.", "SELECT 1")
    dbaudit.unruly.instead["check_source"] = lambda: gone
    dbaudit.wait_for_error(database, "The file is gone. Remedy: SELECT 1")
    dbaudit.unruly.instead.clear()
    dbaudit.wait_for_active(database)
    dbaudit.wait_until(lambda: dbaudit.collector(database).error is None, "the error's going")


def test_the_removed_log_of_a_live_server_is_told_until_there_is_another(
    dbaudit: Installation, postgres_server: Any
) -> None:
    server: PostgresServer = postgres_server()
    database = dbaudit.declare_server(server)
    dbaudit.start(health_interval_seconds=0.2, misconfigured_retry_seconds=0.2)
    dbaudit.wait_for_active(database)
    for file in server.log_directory.iterdir():
        file.unlink()
    dbaudit.wait_for_error(database, "SELECT pg_rotate_logfile()")
    dbaudit.wait_for_status(database, ConnectionStatus.ERROR)
    server.execute_admin("select pg_rotate_logfile()")
    dbaudit.wait_for_active(database)
    server.connect_admin(application_name="after the rotation").close()

    def applications() -> set[str | None]:
        return {found.event.application for found in dbaudit.events(database)}

    dbaudit.wait_until(lambda: "after the rotation" in applications(), "collecting what comes then")
