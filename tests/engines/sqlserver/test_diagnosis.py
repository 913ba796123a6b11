"""The report of a connection test: version, rights, sources, and the statement that mends what is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from dbaudit.core.report import CheckStatus, Diagnosis, DiagnosisStatus, TestReport
from dbaudit.core.secret import Secret
from dbaudit.engines.sqlserver import SQLServerEngine

from tests.engines.sqlserver.double import (
    LOGIN,
    PASSWORD,
    RIGHTS_2022,
    SqlServerDouble,
    server_2016,
    server_2022,
    server_with_events,
)
from tests.engines.sqlserver.model import Model
from tests.engines.sqlserver.tds_server import SqlError

ENGINE = SQLServerEngine()
Start = Callable[..., SqlServerDouble]

pytestmark = pytest.mark.usefixtures("freetds")


def report_of(double: SqlServerDouble, **changes: object) -> TestReport:
    with ENGINE.open(double.target("FreeTDS", **changes)) as session:
        return session.test()


def of(report: TestReport, code: str) -> Diagnosis:
    """The only diagnosis with that code."""
    (found,) = [diagnosis for diagnosis in report.diagnoses if diagnosis.code == code]
    return found


@pytest.mark.parametrize(
    ("version", "written", "supported"),
    [
        ((13, 0, 6300), "Microsoft SQL Server 2016 (13.0.6300)", True),
        ((14, 0, 3456), "Microsoft SQL Server 2017 (14.0.3456)", True),
        ((15, 0, 4300), "Microsoft SQL Server 2019 (15.0.4300)", True),
        ((16, 0, 4125), "Microsoft SQL Server 2022 (16.0.4125)", True),
        ((17, 0, 1000), "Microsoft SQL Server 2025 (17.0.1000)", True),
        ((12, 0, 6024), "Microsoft SQL Server 2014 (12.0.6024)", False),
        ((19, 0, 1), "Microsoft SQL Server (19.0.1)", False),
    ],
)
def test_version_is_written_as_its_users_do_and_an_untried_one_works_with_a_warning(
    start: Start, version: tuple[int, int, int], written: str, supported: bool
) -> None:
    model = Model(version)
    model.add_login(LOGIN, PASSWORD, "CONTROL SERVER")
    model.add_audit("dbaudit")
    report = report_of(start(model))
    assert report.version == written
    assert report.success
    expected = DiagnosisStatus.OK if supported else DiagnosisStatus.WARNING
    assert of(report, "server_version").status is expected


def test_service_in_the_cloud_is_named(start: Start) -> None:
    model = server_2022()
    model.engine_edition = 8
    assert "Managed Instance" in of(report_of(start(model)), "server_version").detail


@pytest.mark.parametrize("right", RIGHTS_2022)
def test_missing_right_comes_with_its_grant_to_a_quoted_login(start: Start, right: str) -> None:
    model = server_2022()
    model.add_login("odd]name", PASSWORD, *(each for each in RIGHTS_2022 if each != right))
    report = report_of(start(model), username="odd]name")
    code = f"permission_{right.lower().replace(' ', '_')}"
    assert of(report, code).remedy == f"USE master; GRANT {right} TO [odd]]name];"
    assert report.permissions[code.removeprefix("permission_")] is False
    needed = right in ("VIEW SERVER SECURITY AUDIT", "VIEW ANY SECURITY DEFINITION")
    assert report.success is not needed


def test_right_that_is_missing_silences_what_depends_on_it(start: Start) -> None:
    model = server_2022()
    model.rights[LOGIN] = set()
    report = report_of(start(model))
    assert not report.success
    assert report.audit_source is None
    assert of(report, "audit_source").status is DiagnosisStatus.SKIPPED
    assert of(report, "disk_space").status is DiagnosisStatus.SKIPPED
    assert "session_groups" not in {diagnosis.code for diagnosis in report.diagnoses}


def test_before_2022_the_lower_right_is_asked_for(start: Start) -> None:
    model = server_with_events()
    model.rights[LOGIN] = set()
    report = report_of(start(model))
    assert report.permissions == {"view_server_state": False}
    remedy = of(report, "permission_view_server_state").remedy
    assert remedy == "USE master; GRANT VIEW SERVER STATE TO [dbaudit];"


def test_control_server_is_told_to_be_much(start: Start) -> None:
    report = report_of(start(server_2016()))
    assert report.success
    assert of(report, "least_privilege").status is DiagnosisStatus.WARNING
    assert report.permissions["control_server"] is True


def test_sysadmin_is_told_to_be_far_too_much(start: Start) -> None:
    model = server_2022()
    model.sysadmins.add(LOGIN)
    assert of(report_of(start(model)), "least_privilege").remedy.startswith(  # type: ignore[union-attr]
        "ALTER SERVER ROLE sysadmin DROP MEMBER [dbaudit];"
    )


def test_audit_is_the_source_where_there_is_one(start: Start) -> None:
    model = server_2022()
    model.add_event_session()
    report = report_of(start(model))
    assert report.audit_source == "SQL Server Audit dbaudit over sys.fn_get_audit_file"


def test_event_session_is_the_source_where_audits_may_not_be_read(start: Start) -> None:
    model = server_with_events()
    model.add_audit("of somebody else")
    report = report_of(start(model))
    assert report.success
    assert report.audit_source == "Extended Events session dbaudit over sys.fn_xe_file_target_read_file"
    assert "control_server" in of(report, "better_source").detail


def test_server_without_an_audit_is_told_how_to_make_one(start: Start) -> None:
    model = server_2022()
    model.audits.clear()
    found = of(report_of(start(model)), "audit_source")
    assert found.status is DiagnosisStatus.FAILED
    assert "CREATE SERVER AUDIT [dbaudit]" in (found.remedy or "")
    assert "ADD (FAILED_LOGIN_GROUP)" in (found.remedy or "")


def test_audit_that_the_options_name_and_is_not_there_is_told(start: Start) -> None:
    found = of(report_of(start(server_2022()), options={"audit": "no]such"}), "audit_source")
    assert "'no]such'" in found.detail
    assert "CREATE SERVER AUDIT [no]]such]" in (found.remedy or "")


def test_session_that_does_not_run_is_told_how_to_start(start: Start) -> None:
    model = server_with_events()
    model.event_sessions.clear()
    found = of(report_of(start(model)), "audit_source")
    assert found.status is DiagnosisStatus.FAILED
    assert found.remedy.startswith(  # type: ignore[union-attr]
        "ALTER EVENT SESSION [dbaudit] ON SERVER STATE = START;"
    )


def test_audit_that_is_off_or_failed_is_told(start: Start) -> None:
    model = server_2022()
    audit = model.audits[0]
    double = start(model)
    audit.enabled = False
    assert of(report_of(double), "audit_enabled").remedy == "ALTER SERVER AUDIT [dbaudit] WITH (STATE = ON);"
    audit.enabled, audit.status = True, "RUNTIME_FAIL"
    assert "RUNTIME_FAIL" in of(report_of(double), "audit_enabled").detail


def test_what_no_audit_records_is_told(start: Start) -> None:
    model = server_2022()
    model.audits[0].groups = ("SUCCESSFUL_LOGIN_GROUP",)
    double = start(model)
    report = report_of(double)
    assert "FAILED_LOGIN_GROUP, LOGOUT_GROUP" in of(report, "session_groups").detail
    assert "ADD (BATCH_COMPLETED_GROUP)" in (of(report, "statement_groups").remedy or "")
    model.version = (15, 0, 4300)
    model.rights[LOGIN] = {"CONTROL SERVER"}
    assert "ADD (SCHEMA_OBJECT_ACCESS_GROUP)" in (of(report_of(double), "statement_groups").remedy or "")


def test_event_session_that_lacks_events_or_drops_them_is_told(start: Start) -> None:
    model = server_with_events()
    model.event_sessions[0].events = ("login",)
    model.event_sessions[0].dropped = 4
    report = report_of(start(model))
    assert "ADD EVENT sqlserver.logout" in (of(report, "session_events").remedy or "")
    assert "dropped 4 buffers" in of(report, "event_loss").detail


def test_row_counts_that_audits_do_not_have_are_told_where_they_are_asked_for(start: Start) -> None:
    report = report_of(start(server_2022()), capture_results=True)
    assert of(report, "row_counts").status is DiagnosisStatus.WARNING
    azure = server_2022()
    azure.engine_edition = 8
    of_azure = report_of(start(azure), capture_results=True)
    assert "row_counts" not in {diagnosis.code for diagnosis in of_azure.diagnoses}
    events = report_of(start(server_with_events()), capture_results=True)
    assert "row_counts" not in {diagnosis.code for diagnosis in events.diagnoses}


def test_connection_over_the_network_in_clear_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbaudit.engine.findings.is_this_host", lambda host: False)
    assert of(report_of(start(server_2022())), "encryption").status is DiagnosisStatus.WARNING


def test_view_that_the_server_refuses_does_not_end_the_test(start: Start) -> None:
    double = start(server_2022())

    def refuse(sql: str) -> None:
        if "sys.dm_audit_actions" in sql:
            raise SqlError(300, "VIEW SERVER SECURITY STATE permission was denied.", 14)

    double.answers.failing = refuse
    report = report_of(double)
    assert report.success
    assert of(report, "session_groups").status is DiagnosisStatus.SKIPPED


def test_databases_of_the_server_are_named_without_its_own(start: Start) -> None:
    model = server_2022()
    model.databases |= {"hr", "odd]name"}
    with ENGINE.open(start(model).target("FreeTDS")) as session:
        assert session.databases() == ["hr", "odd]name", "shop"]
        assert session.is_declared("master", "MASTER")  # as the server calls the one that was declared
        assert not session.is_declared("hr", "shop")


def test_latency_is_that_of_real_round_trips(start: Start) -> None:
    double = start(server_2022())
    report = report_of(double)
    assert report.latency_ms is not None
    assert report.latency_ms > 0
    assert [sql for sql, _values in double.answers.statements].count("SELECT 1 AS one") == 5


@pytest.mark.parametrize(
    ("free", "status"), [(40, CheckStatus.HEALTHY), (15, CheckStatus.WARNING), (5, CheckStatus.CRITICAL)]
)
def test_health_knows_the_fullest_volume(start: Start, free: int, status: CheckStatus) -> None:
    model = server_2022()
    model.volumes.append(("/backup", 100, free))
    with ENGINE.open(start(model).target("FreeTDS")) as session:
        health = session.health()
    assert health.disk_space is status
    assert health.disk_free_ratio == free / 100
    assert health.permissions is CheckStatus.HEALTHY


def test_health_without_the_rights_says_so(start: Start) -> None:
    model = server_2022()
    model.rights[LOGIN] = set()
    with ENGINE.open(start(model).target("FreeTDS")) as session:
        health = session.health()
    assert health.permissions is CheckStatus.CRITICAL
    assert health.disk_space is CheckStatus.UNKNOWN


def test_password_stands_in_no_diagnosis(start: Start) -> None:
    model = server_2022()
    model.passwords[LOGIN] = "dbaudit-secret-1433"
    report = report_of(start(model), password=Secret("dbaudit-secret-1433"))
    assert "dbaudit-secret-1433" not in repr(report)
