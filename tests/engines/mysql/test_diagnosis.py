"""The connection test: what is missing is found, and each remedy, run as it stands, mends it."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.engines.mysql import MySQLEngine, diagnosis
from dbaudit.engines.mysql.options import Options
from dbaudit.engines.mysql.server import Server, ask
from dbaudit.engines.mysql_protocol.connection import connect
from dbaudit.engines.mysql_protocol.grants import Grants, parse_grant

from tests.engines.mysql.documented import documented
from tests.engines.mysql.targets import ACCOUNT, nobody, target
from tests.servers.mysql import RELEASES, MySQLServer

BAD = (DiagnosisStatus.WARNING, DiagnosisStatus.FAILED)


def report_of(server: MySQLServer, **options: str) -> TestReport:
    with MySQLEngine().open(target(server, options=options)) as session:
        return session.test()


def bad(report: TestReport) -> dict[str, Diagnosis]:
    return {d.code: d for d in report.diagnoses if d.status in BAD}


def carry_out(server: MySQLServer, remedy: str | None) -> None:
    assert remedy is not None
    for statement in remedy.partition(" -- ")[0].split(";"):
        if statement.strip():
            server.execute_admin(statement)


def test_documented_account_on_a_server_as_documented_lacks_nothing(
    mysql_of_each_release: MySQLServer,
) -> None:
    server = mysql_of_each_release
    report = report_of(server)
    assert report.success
    assert bad(report) == {}
    version = {"9.7": "MySQL 9.7.4 (Community)", "5.6": "MySQL 5.6.24 (Community)"}
    assert report.version == version[server.release]
    assert report.audit_source == "mysql.general_log, emptied as it is read"


@pytest.mark.parametrize("release", RELEASES)
def test_remedies_lead_from_a_bare_account_and_no_log_to_collecting(
    mysql_server: Callable[..., MySQLServer], release: str
) -> None:
    settings = {"general_log": 0, "log_output": "FILE"}
    server = mysql_server(release, f"GRANT USAGE ON *.* TO {ACCOUNT}", settings=settings)
    report = report_of(server)
    assert not report.success
    (found,) = bad(report).values()
    assert found.code == "audit_source"
    carry_out(server, found.remedy)
    # FILE is kept beside TABLE: it may be somebody else's.
    assert server.execute_admin("SELECT @@log_output") == [("FILE,TABLE",)]
    report = report_of(server)
    assert report.success
    found = bad(report)["general_log_emptied"]
    carry_out(server, found.remedy)
    assert bad(report_of(server)) == {}
    assert report_of(server).permissions == {"select_general_log": True, "empty_general_log": True}


def test_general_log_that_is_asked_for_and_not_written_is_told(
    mysql_server: Callable[..., MySQLServer],
) -> None:
    server = mysql_server("5.6", settings={"log_output": "FILE"})
    report = report_of(server, source="general_log")
    assert not report.success
    assert bad(report)["general_log"].remedy is not None
    carry_out(server, bad(report)["general_log"].remedy)
    assert report_of(server, source="general_log").success


def test_log_raw_and_rights_on_everything_are_warned_of(mysql_server: Callable[..., MySQLServer]) -> None:
    server = mysql_server("9.7", f"GRANT ALL ON *.* TO {ACCOUNT}", settings={"log_raw": 1})
    assert {"log_raw", "least_privilege"} <= set(bad(report_of(server)))


def test_what_another_declaration_of_the_same_server_has_left_is_warned_of(mysql: MySQLServer) -> None:
    mysql.execute_admin("CREATE TABLE dbaudit.general_log_0123456789_20250203101500000000 (a int)")
    found = bad(report_of(mysql))["retired_tables"]
    assert found.remedy is not None
    mysql.execute_admin(found.remedy.partition(": ")[2])
    assert "retired_tables" not in bad(report_of(mysql))


def test_row_counts_that_cannot_be_told_are_warned_of(mysql: MySQLServer) -> None:
    with MySQLEngine().open(target(mysql, capture_results=True)) as session:
        assert "row_counts" in bad(session.test())


@pytest.mark.parametrize(
    ("version", "comment", "product"),
    [
        ("8.4.2", "MySQL Community Server - GPL", "MySQL 8.4.2 (Community)"),
        ("8.4.2-commercial", "MySQL Enterprise Server - Commercial", "MySQL 8.4.2 (Enterprise)"),
        ("8.0.36-28", "Percona Server (GPL), Release 28, Revision 47601f19", "MySQL 8.0.36-28 (Percona)"),
        ("5.7.44-log", "MySQL Community Server (GPL)", "MySQL 5.7.44 (Community)"),
        ("9.7.4-2", "(Debian)", "MySQL 9.7.4 (Community)"),
        ("10.11.6-MariaDB-log", "Debian 12", "MariaDB 10.11.6"),
        ("5.5.5-10.6.12-MariaDB", "", "MariaDB 10.6.12"),
    ],
)
def test_version_is_told_as_its_users_write_it(
    mysql: MySQLServer, version: str, comment: str, product: str
) -> None:
    assert _pretending(mysql, version, comment).product == product


@pytest.mark.parametrize(
    ("variables", "beginning", "remedy"),
    [
        ({"audit_log_filter_format": "NEW"}, "<?xml", "audit_log_filter_format = JSON"),
        ({"audit_log_filter.event_mode": "FULL"}, "<?xml", "audit_log_filter.event_mode = REDUCED"),
        ({"audit_log_filter.event_mode": "REDUCED"}, "<?xml", None),
        ({"audit_log_filter_format": "JSON"}, "[", None),
        ({"audit_log_format": "NEW"}, "<?xml", None),
    ],
)
def test_records_that_do_not_say_that_they_are_of_one_statement_are_warned_of(
    mysql: MySQLServer, tmp_path: Path, variables: dict[str, str], beginning: str, remedy: str | None
) -> None:
    file = tmp_path / "audit.log"
    file.write_text(f"{beginning}\n")
    options = Options.of({"audit_file": str(file)})
    connection = connect(target(mysql))
    server = msgspec.structs.replace(ask(connection), variables=variables)
    report = diagnosis.test(connection, server, options)
    connection.close()
    warned = [d.remedy for d in report.diagnoses if d.code == "audit_records" and d.status == "warning"]
    assert report.success
    assert len(warned) == (remedy is not None)
    assert remedy is None or remedy in str(warned)


def test_mariadb_is_told_with_the_type_to_declare(mysql: MySQLServer) -> None:
    """The server is a MySQL that says it is a MariaDB: that engine's own tests have real ones."""
    mariadb = _pretending(mysql, "11.8.6-MariaDB", "mariadb.org binary distribution")
    with MySQLEngine().open(target(mysql)) as session:
        connection = session._connection  # type: ignore[attr-defined]
        report = diagnosis.test(connection, mariadb, session._options)  # type: ignore[attr-defined]
    assert report.reachable
    assert not report.success
    assert bad(report)["server_version"].remedy == "Declare the database again with type mariadb."


def _pretending(server: MySQLServer, version: str, comment: str) -> Server:
    connection = connect(target(server))
    try:
        return msgspec.structs.replace(ask(connection), version=version, comment=comment)
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"source": "nowhere"}, "/audit_options/engine"),
        ({"audit_file": "audit.log"}, "/audit_options/engine/audit_file"),
        ({"source": "audit_file"}, "/audit_options/engine/audit_file"),
        ({"source": "general_log", "audit_file": "/a"}, "/audit_options/engine/audit_file"),
    ],
)
def test_option_that_is_wrong_is_told_with_its_field(options: dict[str, str], pointer: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        MySQLEngine().open(msgspec.structs.replace(nobody(1), options=options))
    assert raised.value.code is ErrorCode.VALIDATION_FAILED
    assert [detail.pointer for detail in raised.value.details] == [pointer]


@pytest.mark.parametrize(
    ("statement", "right", "schema", "table", "allowed"),
    [
        ("GRANT SELECT ON `mysql`.`general_log` TO `a`@`%`", "SELECT", "mysql", "general_log", True),
        ("GRANT SELECT ON `mysql`.`general_log` TO `a`@`%`", "SELECT", "mysql", "user", False),
        ("GRANT ALL PRIVILEGES ON *.* TO 'a'@'%' WITH GRANT OPTION", "DROP", "dbaudit", "*", True),
        ("GRANT SELECT, DROP ON `db\\_audit`.* TO `a`@`%`", "DROP", "dbxaudit", "*", False),
        ("GRANT SELECT, DROP ON `db%`.* TO `a`@`%`", "DROP", "dbaudit", "*", True),
        (
            "GRANT SELECT (`a`, `b`) ON `mysql`.`general_log` TO `a`@`%`",
            "SELECT",
            "mysql",
            "general_log",
            False,
        ),
        ("GRANT `role`@`%` TO `a`@`%`", "SELECT", "mysql", "general_log", False),
        ("GRANT PROXY ON ''@'' TO 'root'@'localhost' WITH GRANT OPTION", "SELECT", "mysql", "user", False),
    ],
)
def test_grants_are_understood(statement: str, right: str, schema: str, table: str, *, allowed: bool) -> None:
    found = parse_grant(statement)
    assert Grants((found,) if found else ()).allow(right, schema, table) is allowed


def test_partial_revoke_takes_a_right_away() -> None:
    statements = ("GRANT SELECT ON *.* TO `a`@`%`", "REVOKE SELECT ON `mysql`.* FROM `a`@`%`")
    found = Grants(tuple(grant for s in statements if (grant := parse_grant(s))))
    assert not found.allow("SELECT", "mysql", "general_log")
    assert found.allow("SELECT", "shop")


def test_rights_of_a_role_count(mysql_server: Callable[..., MySQLServer]) -> None:
    server = mysql_server(
        "9.7",
        "CREATE ROLE collecting",
        "GRANT SELECT ON mysql.general_log TO collecting",
        f"GRANT collecting TO {ACCOUNT}",
        f"SET DEFAULT ROLE collecting TO {ACCOUNT}",
    )
    assert report_of(server).permissions["select_general_log"] is True


def test_documented_settings_are_enough(mysql_server: Callable[..., MySQLServer]) -> None:
    server = mysql_server("5.6", settings={"general_log": 0, "log_output": "NONE"})
    assert not report_of(server).success
    for statement in documented("settings"):
        server.execute_admin(statement)
    assert bad(report_of(server)) == {}
