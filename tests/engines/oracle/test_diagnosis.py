"""The connection test and health: what is there, what is missing, and what would put it right."""

from typing import Any

import pytest
from dbaudit.core.report import CheckStatus, Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engines.oracle import diagnosis, health, traditional_diagnosis
from dbaudit.engines.oracle.options import Options, Source
from dbaudit.engines.oracle.rights import ROOT

from tests.engines.oracle.recorded import ARCHIVED, ENABLED, RULES, TRAIL, RecordedServer, connect, target_of


@pytest.fixture
def server() -> RecordedServer:
    return RecordedServer()


def report_of(server: RecordedServer, source: Source = Source.UNIFIED, **target: Any) -> TestReport:
    connection = connect(server, target_of(**target))
    try:
        return diagnosis.test(connection, Options(source=source))
    finally:
        connection.close()


def step(report: TestReport, code: str) -> Diagnosis:
    (found,) = [d for d in report.diagnoses if d.code == code]
    return found


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("12.1.0.2.0", "Oracle Database 12c (12.1.0.2.0)"),
        ("12.2.0.1.0", "Oracle Database 12c (12.2.0.1.0)"),
        ("19.21.0.0.0", "Oracle Database 19c (19.21.0.0.0)"),
        ("21.3.0.0.0", "Oracle Database 21c (21.3.0.0.0)"),
        ("23.4.0.24.5", "Oracle Database 23ai (23.4.0.24.5)"),
    ],
)
def test_all_is_well_with_the_documented_grants_on_every_version(version: str, shown: str) -> None:
    report = report_of(RecordedServer(version))
    assert report.version == shown
    assert report.success
    assert report.reachable
    assert report.latency_ms is not None
    assert report.permissions == {
        "create_session": True, "unified_audit_trail": True, "audit_unified_policies": True,
    }  # fmt: skip
    assert report.audit_source == "UNIFIED_AUDIT_TRAIL of SHOP, policies DBAUDIT_SESSIONS, DBAUDIT_STATEMENTS"
    expected = {"write_mode"} if version.startswith("12.1") else set()
    assert {d.code for d in report.diagnoses if d.status is not DiagnosisStatus.OK} == expected


def test_a_newer_version_is_a_warning_and_works(server: RecordedServer) -> None:
    server.version, server.product = "29.1.0.0.0", "Oracle AI Database 29ai Enterprise Edition"
    report = report_of(server)
    assert report.success
    assert report.version == "Oracle Database 29ai (29.1.0.0.0)"
    assert step(report, "server_version").status is DiagnosisStatus.WARNING


def test_a_user_without_the_role_is_told_the_grant(server: RecordedServer) -> None:
    server.granted -= {TRAIL, ENABLED, RULES, ARCHIVED}
    report = report_of(server)
    assert not report.success
    assert report.audit_source is None
    assert report.permissions["unified_audit_trail"] is False
    assert step(report, "permission_unified_audit_trail").remedy == "GRANT AUDIT_VIEWER TO DBAUDIT;"
    assert step(report, "log_ins").status is DiagnosisStatus.SKIPPED
    server.passwords["odd user".upper()] = server.passwords["DBAUDIT"]
    odd = report_of(server, username="odd user")
    assert step(odd, "permission_unified_audit_trail").remedy == 'GRANT AUDIT_VIEWER TO "ODD USER";'


def test_the_trail_alone_suffices_with_a_warning(server: RecordedServer) -> None:
    server.granted -= {ENABLED, RULES}
    report = report_of(server)
    assert report.success
    assert step(report, "permission_audit_unified_policies").status is DiagnosisStatus.WARNING
    assert report.audit_source == "UNIFIED_AUDIT_TRAIL of SHOP"


def test_a_server_without_a_policy_records_nothing_in_its_unified_trail(server: RecordedServer) -> None:
    server.enabled = []
    report = report_of(server)
    assert not report.success
    assert step(report, "unified_auditing").remedy == diagnosis.SESSIONS


@pytest.mark.parametrize("value", ["DB", "DB, EXTENDED", "db,extended", "TRUE", "OS", "XML", "XML, EXTENDED"])
@pytest.mark.parametrize("policies", [True, False])
def test_traditional_auditing_that_is_not_read_is_told_whatever_policies_there_are(
    server: RecordedServer, value: str, policies: bool
) -> None:
    server.audit_trail = value
    if not policies:
        server.enabled = []
    found = step(report_of(server), "traditional_auditing")
    assert found.status is DiagnosisStatus.WARNING
    assert value in found.detail
    assert traditional_diagnosis.READ_BOTH in (found.remedy or "")


def test_a_server_whose_traditional_auditing_is_off_or_not_there_is_well(server: RecordedServer) -> None:
    assert step(report_of(server), "traditional_auditing").status is DiagnosisStatus.OK
    server.audit_trail, server.unified = "DB", "TRUE"
    assert step(report_of(server), "traditional_auditing").status is DiagnosisStatus.OK
    newer = RecordedServer("23.4.0.24.5")
    newer.audit_trail = "DB"
    assert "desupported" in step(report_of(newer), "traditional_auditing").detail


def test_what_cannot_be_known_of_traditional_auditing_is_told_with_the_grant(server: RecordedServer) -> None:
    server.granted.discard("v$parameter")
    found = step(report_of(server), "traditional_auditing")
    assert found.status is DiagnosisStatus.WARNING
    assert found.remedy == "GRANT SELECT ON SYS.V_$PARAMETER TO DBAUDIT;"


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("DB, EXTENDED", DiagnosisStatus.OK),
        ("DB", DiagnosisStatus.WARNING),
        ("NONE", DiagnosisStatus.WARNING),
        ("XML", DiagnosisStatus.WARNING),
    ],
)
def test_a_traditional_trail_that_is_read_is_told_with_what_it_lacks(
    server: RecordedServer, value: str, status: DiagnosisStatus
) -> None:
    server.audit_trail = value
    report = report_of(server, Source.TRADITIONAL)
    found = step(report, "traditional_auditing")
    assert found.status is status
    assert (found.remedy is None) is (status is DiagnosisStatus.OK)
    assert report.success
    assert report.permissions == {"create_session": True, "dba_audit_trail": True}
    assert report.audit_source == f"DBA_AUDIT_TRAIL of SHOP, audit_trail {value}"
    assert "unified_auditing" not in {d.code for d in report.diagnoses}


def test_both_trails_are_told_where_both_are_read(server: RecordedServer) -> None:
    server.audit_trail = "DB, EXTENDED"
    report = report_of(server, Source.BOTH)
    assert report.success
    assert {"unified_auditing", "traditional_auditing"} <= {d.code for d in report.diagnoses}
    assert (report.audit_source or "").endswith("; DBA_AUDIT_TRAIL of SHOP, audit_trail DB, EXTENDED")


def test_a_traditional_trail_that_may_not_be_read_fails_with_the_grant(server: RecordedServer) -> None:
    server.granted -= {"dba_audit_trail", "dba_fga_audit_trail"}
    report = report_of(server, Source.BOTH)
    assert not report.success
    found = step(report, "permission_dba_audit_trail")
    assert (found.status, found.remedy) == (DiagnosisStatus.FAILED, "GRANT AUDIT_VIEWER TO DBAUDIT;")
    connection = connect(server)
    assert health.measure(connection, Options(source=Source.BOTH)).permissions is CheckStatus.CRITICAL
    assert health.measure(connection, Options()).permissions is CheckStatus.HEALTHY
    connection.close()


def test_a_traditional_trail_is_nothing_to_read_on_a_server_that_has_none() -> None:
    report = report_of(RecordedServer("23.4.0.24.5"), Source.TRADITIONAL)
    assert not report.success
    assert step(report, "traditional_auditing").remedy == "Set the option source to unified."


def test_default_policies_leave_log_ins_and_statements_unrecorded(server: RecordedServer) -> None:
    server.enabled = [
        ("ORA_SECURECONFIG", "ALL USERS", "YES", "YES"),
        ("ORA_LOGON_FAILURES", "ALL USERS", "NO", "YES"),
    ]
    server.rules = [("ORA_SECURECONFIG", "CREATE USER"), ("ORA_LOGON_FAILURES", "LOGON")]
    report = report_of(server)
    assert report.success
    assert step(report, "failed_log_ins").status is DiagnosisStatus.OK
    assert step(report, "log_ins").remedy == diagnosis.SESSIONS
    assert step(report, "log_offs").status is DiagnosisStatus.WARNING
    assert (step(report, "statements").remedy or "").endswith("EXCEPT DBAUDIT;")


def test_a_policy_for_one_user_is_not_one_for_all(server: RecordedServer) -> None:
    server.enabled = [("DBAUDIT_SESSIONS", "ALICE", "YES", "YES")]
    assert step(report_of(server), "log_ins").status is DiagnosisStatus.WARNING


@pytest.mark.parametrize("roles", [["DBA"], ["AUDIT_ADMIN"]])
def test_more_rights_than_needed_are_told(server: RecordedServer, roles: list[str]) -> None:
    server.roles = roles
    assert step(report_of(server), "least_privilege").status is DiagnosisStatus.WARNING


def test_the_root_container_is_told(server: RecordedServer) -> None:
    server.container = ROOT
    assert step(report_of(server), "container").status is DiagnosisStatus.WARNING


def test_row_counts_are_told_to_be_unknown(server: RecordedServer) -> None:
    report = report_of(server, capture_results=True)
    assert step(report, "row_counts").status is DiagnosisStatus.WARNING


def test_an_unencrypted_way_over_the_network_is_a_warning(server: RecordedServer) -> None:
    assert step(report_of(server, host="10.1.2.3"), "encryption").status is DiagnosisStatus.WARNING


def test_health_says_that_the_disk_is_unknown(server: RecordedServer) -> None:
    connection = connect(server)
    measured = health.measure(connection, Options())
    assert (measured.connectivity, measured.permissions) == (CheckStatus.HEALTHY, CheckStatus.HEALTHY)
    assert measured.disk_space is CheckStatus.UNKNOWN
    assert measured.disk_free_ratio is None
    server.granted.discard(TRAIL)
    assert health.measure(connection, Options()).permissions is CheckStatus.CRITICAL
    connection.close()
