"""The test report and the health, on real servers: what is missing, and that the remedies mend it."""

import contextlib
import gzip
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.report import CheckStatus, Diagnosis, DiagnosisStatus, TestReport
from dbaudit.core.secret import Secret
from dbaudit.engine import Session
from dbaudit.engines.mariadb import MariaDBEngine, audit_checks
from dbaudit.engines.mariadb.settings import AuditSettings
from dbaudit.engines.mariadb.stamps import FORMAT, SETTING
from dbaudit.testing import Collecting

from tests.conftest import missing_engine_is_told
from tests.engines.mariadb.conftest import Start
from tests.engines.mariadb.documented import PASSWORD, run_documented, statements
from tests.engines.mariadb.monitored import USER, USER_PASSWORD, MonitoredMariaDB
from tests.engines.mariadb.targets import COLLECTOR, target
from tests.servers.mariadb import RELEASES, MariaDBServer
from tests.servers.mysql import MySQLServer

ENGINE = MariaDBEngine()


@contextlib.contextmanager
def session(
    server: MySQLServer, *, changes: dict[str, Any] | None = None, **options: str
) -> Iterator[Session]:
    with ENGINE.open(target(server, options=options, **(changes or {}))) as opened:
        yield opened


def report(server: MariaDBServer, **options: str) -> TestReport:
    with session(server, **options) as opened:
        return opened.test()


def diagnosis(found: TestReport, code: str) -> Diagnosis:
    (one,) = (d for d in found.diagnoses if d.code == code)
    return one


def carry_out(server: MariaDBServer, remedy: str | None) -> None:
    for statement in statements(remedy or ""):
        server.execute_admin(statement)


def documented_account(server: MariaDBServer) -> dict[str, Any]:
    return {"username": "dbaudit", "password": Secret(PASSWORD)}


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("block", "source"),
    [("file account", "file"), ("remote account", "remote_file"), ("general log", "general_log")],
)
def test_documented_statements_suffice(started: Start, release: str, block: str, source: str) -> None:
    server = started(release, umask="0644", audit=source != "general_log")
    run_documented(server, block)
    monitored = MonitoredMariaDB(server, source=source)
    with session(server, changes=documented_account(server), source=source) as opened:
        found = opened.test()
        assert found.success, found.warnings
        assert found.version is not None
        assert found.version.startswith(f"MariaDB {release}.")
        assert opened.health().permissions is CheckStatus.HEALTHY
    agent = target(server, options={"source": source}, **documented_account(server))
    with Collecting(monitored, target=agent) as reading:
        connection = server.connect(USER, USER_PASSWORD)
        with connection.cursor() as cursor:
            cursor.execute("select 'documented'")
        connection.close()
        reading.until_query("select 'documented'")
        assert reading.of("dbaudit") == []


def test_plugin_is_loaded_as_documented(started: Start) -> None:
    server = started("10.11", audit=False)
    found = report(server)
    assert not found.success
    assert diagnosis(found, "audit_source").status is DiagnosisStatus.FAILED
    run_documented(server, "plugin")
    found = report(server)
    assert found.success
    assert found.audit_source == f"server_audit over the disk ({server.data_directory}/server_audit.log)"
    assert found.warnings == []


def test_remedy_for_a_server_that_records_nothing_mends_it(started: Start) -> None:
    server = started("10.11", audit=False)
    carry_out(server, diagnosis(report(server), "audit_source").remedy)
    assert report(server).success


def test_file_that_load_file_does_not_give_is_told_with_the_remedy(started: Start) -> None:
    server = started("10.11", "FILE ON *.*")
    found = report(server, source="remote_file")
    assert not found.success
    problem = diagnosis(found, "audit_source")
    assert "LOAD_FILE does not give" in problem.detail
    assert "UMASK=0644" in (problem.remedy or "")
    with session(server, source="remote_file") as opened:
        assert opened.health().permissions is CheckStatus.CRITICAL
        with pytest.raises(ConfigurationError):
            opened.read(None, 1000)


def test_right_that_is_missing_silences_what_depends_on_it(mariadb: MariaDBServer) -> None:
    found = report(mariadb, source="remote_file")
    assert found.permissions == {"file": False, "select_general_log": False, "empty_general_log": False}
    problem = diagnosis(found, "permission_file")
    assert problem.remedy == f"GRANT FILE ON *.* TO '{COLLECTOR}'@'127.0.0.1';"
    assert diagnosis(found, "audit_source").status is DiagnosisStatus.SKIPPED
    assert not found.success


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("server_audit_events = 'QUERY'", "connections"),
        ("server_audit_events = 'CONNECT,TABLE'", "statements"),
        ("server_audit_events = 'CONNECT,QUERY_DDL'", "statements"),
        ("server_audit_excl_users = 'root,lena'", "left_out_users"),
        ("server_audit_incl_users = 'root'", "left_out_users"),
        ("server_audit_query_log_limit = 512", "statement_length"),
        ("server_audit_file_rotate_size = 100000", "history"),
        ("general_log = 1", "general_log_beside"),
    ],
)
def test_what_a_setting_leaves_out_is_told_and_its_remedy_mends_it(
    started_once: MariaDBServer, setting: str, code: str
) -> None:
    name = setting.split()[0]
    before = started_once.execute_admin(f"select @@global.{name}")[0][0]
    started_once.execute_admin(f"set global {setting}")
    try:
        problem = diagnosis(report(started_once, source="file"), code)
        assert problem.status is DiagnosisStatus.WARNING
        carry_out(started_once, problem.remedy)
        assert diagnosis(report(started_once, source="file"), code).status is DiagnosisStatus.OK
    finally:
        started_once.execute_admin(f"set global {name} = %s", [before])


@pytest.fixture(scope="module")
def started_once() -> Iterator[MariaDBServer]:
    settings = {"server_audit_query_log_limit": 65536}
    with missing_engine_is_told(), MariaDBServer(settings=settings) as server:  # type: ignore[arg-type]
        server.create_user(COLLECTOR, target(server).password.reveal(), "FILE ON *.*")
        yield server


def test_report_warns_of_reading_over_the_connection(mariadb_of_each_release: MariaDBServer) -> None:
    server = mariadb_of_each_release
    found = report(server, source="remote_file")
    assert found.success
    assert diagnosis(found, "better_source").status is DiagnosisStatus.WARNING
    assert diagnosis(found, "file_size").status is DiagnosisStatus.WARNING
    problem = diagnosis(found, "own_activity")
    assert problem.status is DiagnosisStatus.WARNING
    carry_out(server, problem.remedy)
    assert diagnosis(report(server, source="remote_file"), "own_activity").status is DiagnosisStatus.OK
    server.execute_admin("set global server_audit_excl_users = ''")


def test_table_that_may_not_be_emptied_is_told_and_the_remedy_mends_it(started: Start) -> None:
    server = started("10.11", "SELECT ON mysql.general_log", audit=False, settings={"general_log": 1})
    found = report(server)
    assert found.success
    assert found.audit_source == "the table mysql.general_log"
    problem = diagnosis(found, "general_log_emptied")
    assert problem.status is DiagnosisStatus.WARNING
    carry_out(server, problem.remedy)
    assert diagnosis(report(server), "general_log_emptied").status is DiagnosisStatus.OK


def test_administrator_is_told(mariadb: MariaDBServer) -> None:
    mariadb.create_user("boss", PASSWORD, "ALL ON *.*")
    with session(mariadb, changes={"username": "boss", "password": Secret(PASSWORD)}) as opened:
        assert diagnosis(opened.test(), "least_privilege").status is DiagnosisStatus.WARNING
    mariadb.drop_user("boss")


def test_row_counts_are_not_to_be_had(mariadb: MariaDBServer) -> None:
    with session(mariadb, changes={"capture_results": True}) as opened:
        assert diagnosis(opened.test(), "row_counts").status is DiagnosisStatus.WARNING


def test_disk_space_is_told_by_the_plugin_disks(started: Start) -> None:
    server = started("10.11", "FILE ON *.*", umask="0644")
    with session(server, source="remote_file") as opened:
        assert opened.health().disk_space is CheckStatus.UNKNOWN
    server.execute_admin("install soname 'disks'")
    with session(server, source="remote_file") as opened:
        found = opened.health()
    usage = os.statvfs(server.data_directory)
    free = usage.f_bavail / (usage.f_blocks - usage.f_bfree + usage.f_bavail)
    assert found.disk_free_ratio == pytest.approx(free, abs=0.02)
    assert found.disk_space is not CheckStatus.UNKNOWN


def test_disk_space_is_that_of_the_file_where_it_is_here(mariadb: MariaDBServer) -> None:
    with session(mariadb, source="file") as opened:
        assert opened.health().disk_free_ratio is not None


def test_file_of_another_place_is_told(mariadb: MariaDBServer, tmp_path: Path) -> None:
    found = report(mariadb, source="file", audit_file=str(tmp_path / "nowhere" / "server_audit.log"))
    problem = diagnosis(found, "audit_source")
    assert problem.status is DiagnosisStatus.FAILED
    assert "nowhere/server_audit.log" in problem.detail


def test_compressed_file_is_told(mariadb: MariaDBServer, tmp_path: Path) -> None:
    file = tmp_path / "server_audit.log.gz"
    file.write_bytes(gzip.compress(mariadb.audit_file.read_bytes()))
    found = report(mariadb, source="file", audit_file=str(file))
    source = diagnosis(found, "audit_source")
    assert (found.success, source.status) == (False, DiagnosisStatus.FAILED)
    assert "is compressed (gzip)" in source.detail
    assert "audit_file" in (source.remedy or "")


@pytest.mark.parametrize(
    ("setting", "status", "says"),
    [
        (FORMAT, DiagnosisStatus.OK, "are read as"),
        ("%Y-%m-%dT%T.%f%z", DiagnosisStatus.OK, "are read as"),
        ("US=%f", DiagnosisStatus.FAILED, "put aside"),
    ],
)
def test_time_stamps_that_say_no_date_are_told(setting: str, status: DiagnosisStatus, says: str) -> None:
    settings = AuditSettings(version="12.3.1", variables={SETTING: setting}, status={})
    found = audit_checks.time_stamps(settings)
    assert found is not None
    assert (found.status, says in found.detail) == (status, True)
    assert (found.remedy is None) == (status is DiagnosisStatus.OK)
    assert audit_checks.time_stamps(AuditSettings(version="11.8.1", variables={}, status={})) is None


def test_mysql_is_told_with_the_type_to_declare() -> None:
    with missing_engine_is_told(), MySQLServer() as server:
        server.create_user(COLLECTOR, target(server).password.reveal())
        with pytest.raises(ConfigurationError) as raised:
            ENGINE.open(target(server))
    assert raised.value.code is ErrorCode.WRONG_PROTOCOL
    assert "MySQL 9.7" in raised.value.message
    assert "type mysql" in (raised.value.remedy or "")


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"audit_file": "relative.log"}, "/audit_options/engine/audit_file"),
        ({"source": "syslog"}, "/audit_options/engine/syslog_file"),
    ],
)
def test_option_that_is_wrong_is_named(mariadb: MariaDBServer, options: dict[str, str], pointer: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ENGINE.open(target(mariadb, options=options))
    assert raised.value.details[0].pointer == pointer
