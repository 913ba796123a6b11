"""The connection test: each thing missing is found, and its remedy, run as it stands, mends it."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.core.secret import Secret
from dbaudit.engines.postgresql import PostgreSQLEngine

from tests.engines.postgresql.documented import documented, statements
from tests.engines.postgresql.targets import COLLECTOR, PASSWORD, target
from tests.servers.installations import Installation
from tests.servers.postgresql import PostgresServer

StartServer = Callable[..., PostgresServer]

OK, WARNING, FAILED, SKIPPED = DiagnosisStatus
LOCAL = {"options": {"log_source": "local"}}
REMOTE = {"options": {"log_source": "remote"}}


def report(server: PostgresServer, **changes: Any) -> TestReport:
    with PostgreSQLEngine().open(target(server, **changes)) as session:
        return session.test()


def diagnosis(server: PostgresServer, code: str, **changes: Any) -> Diagnosis:
    (found,) = [found for found in report(server, **changes).diagnoses if found.code == code]
    return found


def run(server: PostgresServer, remedy: str | None, database: str = "postgres") -> None:
    """Does what a user does with a remedy: runs its statements, and restarts the server where it says so."""
    assert remedy is not None
    for statement in statements(remedy):
        if statement.isupper() or statement.split()[0].isupper():
            server.execute_admin(statement, database=database)  # type: ignore[arg-type]
    if "restart the server" in remedy.lower():
        server.restart()


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """A shared server: a test undoes what it changes."""
    postgres.create_collector_role(COLLECTOR, PASSWORD)
    yield postgres
    postgres.execute_admin(f"drop owned by {COLLECTOR}")
    postgres.execute_admin(f"drop role {COLLECTOR}")


@contextlib.contextmanager
def changed(server: PostgresServer, **settings: str) -> Iterator[None]:
    """Settings of the whole server during a test; pgaudit__log stands for pgaudit.log."""
    for name, value in settings.items():
        server.execute_admin(f"alter system set {name.replace('__', '.')} = {value}")
    server.reload()
    try:
        yield
    finally:
        server.execute_admin("alter system reset all")
        server.reload()


# -- a server as the documentation sets it up


def test_documented_grants_suffice_on_every_version(postgres_of_each_major: PostgresServer) -> None:
    server = postgres_of_each_major
    server.create_database("shop")
    wanted = {"database": "shop", "username": "dbaudit", "password": Secret("a long random password")}
    try:
        for statement in documented("role"):
            server.execute_admin(statement, database="shop")  # type: ignore[arg-type]
        if server.pgaudit:
            server.execute_admin("alter role dbaudit set pgaudit.log = 'none'")
        found = report(server, **wanted)
    finally:
        server.execute_admin("drop database shop")
        server.execute_admin("drop role dbaudit")
    assert found.success
    assert all(found.permissions.values()), found.permissions
    assert found.version is not None
    assert found.version.startswith(f"PostgreSQL {server.major}.")
    assert [d for d in found.diagnoses if d.code.startswith("permission_") and d.status is not OK] == []
    # Without pgaudit and with log_statement off there is something to say about statements, and nothing else.
    complaints = {d.code for d in found.diagnoses if d.status is not OK}
    missing = {"pgaudit", "pgaudit_extension", "pgaudit_classes", "pgaudit_statement_text", "log_statement"}
    assert complaints == (set() if server.pgaudit else missing)
    log_format = "jsonlog" if server.major >= 15 else "csvlog"
    assert found.audit_source is not None
    assert found.audit_source.startswith(f"{log_format} over pg_read_binary_file, ")
    assert ("pgaudit 1" in found.audit_source) is server.pgaudit


def test_documented_setup_of_a_bare_server_leaves_nothing_to_say(postgres_server: StartServer) -> None:
    server = postgres_server(
        17,
        pgaudit=True,
        settings={
            "logging_collector": False,
            "log_destination": "stderr",
            "log_connections": False,
            "log_disconnections": False,
            "log_timezone": "Europe/Berlin",
            "pgaudit.log": "none",
        },
    )
    wanted = {"username": "dbaudit", "password": Secret("a long random password")}
    for block in ("settings", "role", "pgaudit"):
        for statement in documented(block):
            server.execute_admin(statement)  # type: ignore[arg-type]
    server.restart()
    found = report(server, **wanted)
    assert [d for d in found.diagnoses if d.status is not OK] == []
    assert found.success


def test_following_every_remedy_of_a_bare_server_leads_to_success(postgres_server: StartServer) -> None:
    server = postgres_server(
        settings={
            "logging_collector": False,
            "log_destination": "stderr",
            "log_connections": False,
            "log_disconnections": False,
        }
    )
    server.create_role(COLLECTOR, PASSWORD)
    found = report(server)
    assert not found.success
    by_code = {d.code: d for d in found.diagnoses}
    assert by_code["log_files"].status is SKIPPED
    assert by_code["audit_source"].status is SKIPPED
    assert found.audit_source is None
    for found_wrong in found.diagnoses:
        if found_wrong.remedy and found_wrong.code != "pgaudit":
            run(server, found_wrong.remedy)
    # Statements of the agent itself were not logged before log_statement was switched on.
    run(server, diagnosis(server, "own_activity").remedy)
    found = report(server)
    assert found.success
    still = [d for d in found.diagnoses if d.status in (WARNING, FAILED)]
    # The role's own value hides that of the others, until it may look into the files.
    assert [d.code for d in still] == ["pgaudit", "log_statement"]
    run(server, still[-1].remedy)
    assert [d for d in report(server).diagnoses if d.status in (WARNING, FAILED)] == []


# -- rights


@pytest.mark.parametrize(
    ("revoke", "lacking"),
    [
        (
            "revoke pg_monitor from {}",
            {"pg_monitor", "pg_read_all_stats", "pg_read_all_settings", "pg_ls_logdir"},
        ),
        (
            "revoke execute on function pg_read_binary_file(text, bigint, bigint, boolean) from {}",
            {"pg_read_binary_file"},
        ),
        ("revoke execute on function pg_stat_file(text, boolean) from {}", {"pg_stat_file"}),
    ],
)
def test_missing_right_is_told_with_its_grant(server: PostgresServer, revoke: str, lacking: set[str]) -> None:
    server.execute_admin(revoke.format(COLLECTOR))  # type: ignore[arg-type]
    found = report(server, **REMOTE)
    wrong = [d for d in found.diagnoses if d.code.startswith("permission_") and d.status is FAILED]
    try:
        assert not found.success
        assert {name for name, there in found.permissions.items() if not there} == lacking
        assert next(d for d in found.diagnoses if d.code == "log_files").status is SKIPPED
    finally:
        for complaint in wrong:
            run(server, complaint.remedy)
    found = report(server, **REMOTE)
    assert found.success
    assert all(found.permissions.values())


def test_right_to_know_the_current_file_is_told_where_pg_monitor_does_not_bring_it(
    postgres_server: StartServer,
) -> None:
    server = postgres_server(15)
    server.create_collector_role(COLLECTOR, PASSWORD)
    server.execute_admin(f"revoke execute on function pg_current_logfile(text) from {COLLECTOR}")
    missing = diagnosis(server, "permission_pg_current_logfile", **REMOTE)
    assert missing.remedy == f'GRANT EXECUTE ON FUNCTION pg_current_logfile(text) TO "{COLLECTOR}";'
    run(server, missing.remedy)
    assert report(server, **REMOTE).success


def test_remedies_quote_the_name_of_the_role(server: PostgresServer) -> None:
    name = 'au"dit; drop role x'
    server.create_role(name, PASSWORD)
    quoted = '"au""dit; drop role x"'
    try:
        grants = [
            d.remedy
            for d in report(server, username=name, **REMOTE).diagnoses
            if d.code.startswith("permission_") and d.status is FAILED
        ]
        assert grants
        for grant in grants:
            assert grant is not None
            assert f" TO {quoted};" in grant
            server.execute_admin(grant)  # type: ignore[arg-type]
        assert report(server, username=name, **REMOTE).success
    finally:
        server.execute_admin(f"drop owned by {quoted}")  # type: ignore[arg-type]
        server.execute_admin(f"drop role {quoted}")  # type: ignore[arg-type]


def test_superuser_is_more_than_the_agent_needs(server: PostgresServer) -> None:
    admin = {"username": "postgres", "password": Secret(server.superuser_password)}
    found = report(server, **admin)
    assert found.success
    assert next(d for d in found.diagnoses if d.code == "least_privilege").status is WARNING


def test_log_directory_that_the_functions_may_not_read_is_found_by_reading(
    postgres_server: StartServer,
) -> None:
    server = postgres_server(settings={"log_directory": "../elsewhere"})
    server.create_collector_role(COLLECTOR, PASSWORD)
    unreadable = diagnosis(server, "log_files")
    assert unreadable.status is FAILED
    assert "elsewhere" in unreadable.detail
    run(server, unreadable.remedy)
    assert diagnosis(server, "log_files").status is OK


# -- the log


@pytest.mark.parametrize(
    ("settings", "code", "status"),
    [
        ({"log_destination": "'stderr'"}, "log_destination", WARNING),
        ({"log_connections": "off"}, "log_connections", WARNING),
        ({"log_disconnections": "off"}, "log_disconnections", WARNING),
        ({"log_min_messages": "fatal"}, "log_min_messages", FAILED),
        ({"log_min_messages": "log"}, "log_min_messages", WARNING),
        ({"pgaudit__log_level": "notice"}, "log_min_messages", FAILED),
        ({"log_min_error_statement": "panic"}, "log_min_error_statement", WARNING),
        ({"log_error_verbosity": "terse"}, "log_error_verbosity", WARNING),
        ({"log_timezone": "'FOO-1BAR'"}, "log_timezone", WARNING),
        ({"log_rotation_age": "0", "log_rotation_size": "0"}, "log_rotation", WARNING),
        (
            {"log_truncate_on_rotation": "on", "log_filename": "'postgresql-%H.log'"},
            "log_rotation",
            WARNING,
        ),
        ({"log_truncate_on_rotation": "on", "log_filename": "'postgresql.log'"}, "log_rotation", WARNING),
        ({"pgaudit__log": "''"}, "pgaudit_classes", WARNING),
        ({"pgaudit__log": "'ddl, role'"}, "pgaudit_classes", WARNING),
        ({"pgaudit__log": "'all, -read'"}, "pgaudit_classes", WARNING),
        ({"pgaudit__log": "'all, -misc'"}, "pgaudit_classes", WARNING),
        ({"pgaudit__log_statement": "off"}, "pgaudit_statement_text", WARNING),
        ({"log_statement": "'all'"}, "log_statement", WARNING),
    ],
)
def test_setting_that_loses_records_is_told_and_its_remedy_mends_it(
    server: PostgresServer, settings: dict[str, str], code: str, status: DiagnosisStatus
) -> None:
    assert diagnosis(server, code).status is OK
    with changed(server, **settings):
        wrong = diagnosis(server, code)
        assert wrong.status is status
        run(server, wrong.remedy)
        server.reload()
        assert diagnosis(server, code).status is OK


@pytest.mark.parametrize(
    ("prefix", "status", "said"),
    [
        ("%m [%p] ", WARNING, "no %u: statements have no user"),
        ("%m [%p] %c %l %v %e %r %b %P %i %q%u@%d %a ", WARNING, "nothing that separates"),
        ("%m %u@%d ", FAILED, "no process"),
        ("[%p] ", FAILED, "no time"),
    ],
)
def test_prefix_that_says_too_little_is_named_and_its_remedy_mends_it(
    server: PostgresServer, prefix: str, status: DiagnosisStatus, said: str
) -> None:
    with changed(server, log_destination="'stderr'", log_line_prefix=f"'{prefix}'"):
        wrong = diagnosis(server, "log_line_prefix")
        assert wrong.status is status
        assert said in wrong.detail
        run(server, wrong.remedy)
        server.reload()
        assert diagnosis(server, "log_line_prefix").status is OK


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"log_truncate_on_rotation": "on", "log_filename": "'postgresql-%a.log'"}, "log_rotation"),
        ({"log_truncate_on_rotation": "on"}, "log_rotation"),
        ({"log_filename": "'postgresql.log'"}, "log_rotation"),
        ({"log_min_messages": "error"}, "log_min_messages"),
        ({"log_timezone": "'Etc/UTC'"}, "log_timezone"),
        ({"log_timezone": "'Europe/Berlin'"}, "log_timezone"),
        ({"pgaudit__log": "'read, write, function, role, ddl, misc_set'"}, "pgaudit_classes"),
        ({"pgaudit__log": "'ddl, role, function, misc'", "pgaudit__role": "'auditor'"}, "pgaudit_classes"),
    ],
)
def test_setting_that_loses_nothing_is_no_complaint(
    server: PostgresServer, settings: dict[str, str], code: str
) -> None:
    with changed(server, **settings):
        assert diagnosis(server, code).status is OK


def test_logging_collector_that_waits_for_a_restart_is_told(postgres_server: StartServer) -> None:
    server = postgres_server(settings={"logging_collector": False})
    server.create_collector_role(COLLECTOR, PASSWORD)
    off = diagnosis(server, "logging_collector")
    assert off.status is FAILED
    assert off.remedy is not None
    for statement in statements(off.remedy):
        server.execute_admin(statement)  # type: ignore[arg-type]
    server.reload()
    waiting = diagnosis(server, "logging_collector")
    assert (waiting.status, waiting.remedy) == (FAILED, "Restart the server.")
    server.restart()
    assert report(server).success


def test_log_connections_in_part_is_told_on_18(postgres_server: StartServer) -> None:
    server = postgres_server(18, settings={"log_connections": "authorization,setup_durations"})
    server.create_collector_role(COLLECTOR, PASSWORD)
    partly = diagnosis(server, "log_connections")
    assert partly.status is WARNING
    assert "authentication, receipt" in partly.detail
    run(server, partly.remedy)
    assert diagnosis(server, "log_connections").status is OK
    assert "setup_durations" in str(server.execute_admin("show log_connections"))


@pytest.mark.parametrize("value", ["all", "on", "true", "yes", "1"])
def test_every_spelling_of_log_connections_is_understood_on_18(
    postgres_server: StartServer, value: str
) -> None:
    server = postgres_server(18, settings={"log_connections": value})
    server.create_collector_role(COLLECTOR, PASSWORD)
    assert diagnosis(server, "log_connections").status is OK


def test_format_that_the_version_does_not_have_is_told(postgres_server: StartServer) -> None:
    server = postgres_server(14)
    server.create_collector_role(COLLECTOR, PASSWORD)
    wrong = diagnosis(server, "log_destination", options={"log_format": "jsonlog"})
    assert wrong.status is FAILED
    assert wrong.remedy is not None
    assert "csvlog" in wrong.remedy
    assert report(server, options={"log_format": "csvlog"}).success


def test_translated_messages_are_no_complaint(
    postgres_server: StartServer, postgres_localised: Installation
) -> None:
    server = postgres_server(15, installed=postgres_localised, settings={"lc_messages": "de_DE.UTF-8"})
    server.create_collector_role(COLLECTOR, PASSWORD)
    translated = diagnosis(server, "lc_messages")
    assert translated.status is OK
    assert "de_DE" in translated.detail


def test_server_that_records_nothing_is_no_success(postgres_server: StartServer) -> None:
    server = postgres_server(settings={"log_connections": False, "log_disconnections": False})
    server.create_collector_role(COLLECTOR, PASSWORD)
    found = report(server)
    assert not found.success
    nothing = diagnosis(server, "audit_source")
    assert nothing.status is FAILED
    run(server, nothing.remedy)
    assert report(server).success


# -- statements


def test_pgaudit_that_is_installed_and_not_loaded_is_told_with_the_libraries_kept(
    postgres_server: StartServer,
) -> None:
    server = postgres_server(17, pgaudit=True)
    server.create_collector_role(COLLECTOR, PASSWORD)
    server.execute_admin("alter system set shared_preload_libraries = 'pg_stat_statements', 'auto_explain'")
    server.restart()
    absent = diagnosis(server, "pgaudit")
    assert absent.status is WARNING
    assert absent.remedy is not None
    assert absent.remedy.startswith(
        "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements', 'auto_explain', 'pgaudit';"
    )
    for step in ("pgaudit_extension", "pgaudit_classes", "pgaudit_statement_text"):
        assert diagnosis(server, step).status is SKIPPED
    run(server, absent.remedy)
    assert diagnosis(server, "pgaudit").status is OK
    assert server.execute_admin("show shared_preload_libraries") == [
        ("pg_stat_statements, auto_explain, pgaudit",)
    ]


def test_pgaudit_that_is_not_installed_is_told_with_its_package(postgres_server: StartServer) -> None:
    server = postgres_server(16)
    server.create_collector_role(COLLECTOR, PASSWORD)
    absent = diagnosis(server, "pgaudit")
    assert absent.status is WARNING
    assert absent.remedy is not None
    assert "postgresql-16-pgaudit" in absent.remedy
    assert "pgaudit_16" in absent.remedy


def test_extension_that_is_not_in_the_declared_database_is_told(server: PostgresServer) -> None:
    server.create_database("bare")
    server.execute_admin("drop extension pgaudit", database="bare")
    missing = diagnosis(server, "pgaudit_extension", database="bare")
    assert missing.status is WARNING
    run(server, missing.remedy, database="bare")
    assert diagnosis(server, "pgaudit_extension", database="bare").status is OK
    server.execute_admin("drop database bare")


def test_own_activity_in_the_log_is_told(server: PostgresServer) -> None:
    server.execute_admin(f"alter role {COLLECTOR} reset all")
    with changed(server, log_min_duration_statement="0"):
        noisy = diagnosis(server, "own_activity")
        assert noisy.status is WARNING
        assert "pgaudit.log" in noisy.detail
        run(server, noisy.remedy)
        assert diagnosis(server, "own_activity").status is OK


def test_what_pgaudit_records_of_others_is_seen_past_the_own_setting(server: PostgresServer) -> None:
    assert "pgaudit records all" in diagnosis(server, "pgaudit_classes").detail
    server.execute_admin("alter database postgres set pgaudit.log = 'ddl'")
    try:
        assert "(pgaudit.log is 'ddl')" in diagnosis(server, "pgaudit_classes").detail
    finally:
        server.execute_admin("alter database postgres reset pgaudit.log")
    server.execute_admin(f"revoke select on pg_file_settings from {COLLECTOR}")
    hidden = diagnosis(server, "pgaudit_classes")
    assert hidden.status is WARNING
    run(server, hidden.remedy)
    assert diagnosis(server, "pgaudit_classes").status is OK


def test_role_and_database_that_are_not_audited_are_told_by_name(server: PostgresServer) -> None:
    server.create_role("Sneaky", PASSWORD)
    server.create_database("quiet")
    server.execute_admin("alter role \"Sneaky\" set pgaudit.log = 'none'")
    server.execute_admin("alter role \"Sneaky\" in database quiet set pgaudit.log = ''")
    server.execute_admin("alter database quiet set pgaudit.log = 'none'")
    exempt = diagnosis(server, "audit_exemptions")
    assert exempt.status is WARNING
    for name in ("role Sneaky", "role Sneaky in database quiet", "database quiet"):
        assert name in exempt.detail
    run(server, exempt.remedy)
    assert diagnosis(server, "audit_exemptions").status is OK
    server.execute_admin("drop database quiet")
    server.execute_admin('drop role "Sneaky"')


@pytest.mark.parametrize(("major", "available"), [(13, False), (15, True), (17, True), (18, True)])
def test_row_counts_are_asked_for_where_pgaudit_has_them(
    postgres_server: StartServer, major: int, available: bool
) -> None:
    server = postgres_server(major, pgaudit=True)
    server.create_collector_role(COLLECTOR, PASSWORD)
    assert not [d for d in report(server).diagnoses if d.code == "row_counts"]
    missing = diagnosis(server, "row_counts", capture_results=True)
    assert missing.status is WARNING
    assert missing.remedy is not None
    if available:
        assert "ALTER SYSTEM SET pgaudit.log_rows = 'on';" in missing.remedy
        run(server, missing.remedy)
        assert diagnosis(server, "row_counts", capture_results=True).status is OK
    else:
        assert "Update pgaudit" in missing.remedy


# -- local mode


def test_local_mode_needs_pg_monitor_alone(postgres_server: StartServer) -> None:
    server = postgres_server()
    for statement in documented("local role"):
        server.execute_admin(statement)  # type: ignore[arg-type]
    wanted = {"username": "dbaudit", "password": Secret("a long random password")}
    found = report(server, **wanted, **LOCAL)
    if os.geteuid() == 0:
        assert found.success
        assert found.audit_source is not None
        assert found.audit_source.startswith(f"jsonlog over the disk ({server.log_directory})")
    assert not report(server, **wanted, options={"log_source": "remote"}).success


def test_auto_is_local_only_where_a_right_is_missing_and_the_server_runs_here(
    server: PostgresServer,
) -> None:
    assert "pg_read_binary_file" in str(report(server).audit_source)
    function = "pg_read_binary_file(text, bigint, bigint, boolean)"
    server.execute_admin(f"revoke execute on function {function} from {COLLECTOR}")  # type: ignore[arg-type]
    try:
        found = report(server)
        with as_an_ordinary_account():
            unreadable = report(server)
    finally:
        server.execute_admin(f"grant execute on function {function} to {COLLECTOR}")  # type: ignore[arg-type]
    assert not unreadable.success
    assert "pg_read_binary_file" in str(unreadable.audit_source)
    if os.geteuid() == 0:
        assert found.success
        assert str(server.log_directory) in str(found.audit_source)


@pytest.mark.parametrize("content", [None, "other.txt"], ids=["missing", "without a log"])
def test_local_directory_that_is_not_the_log_is_told(
    server: PostgresServer, tmp_path: Path, content: str | None
) -> None:
    directory = tmp_path / "log"
    if content is not None:
        directory.mkdir()
        (directory / content).touch()
    wrong = diagnosis(server, "log_files", options={"log_source": "local", "log_directory": str(directory)})
    assert wrong.status is FAILED
    assert str(directory) in wrong.detail
    assert wrong.remedy is not None
    assert "log_directory" in wrong.remedy


def test_local_directory_that_the_agent_may_not_enter_is_told_with_its_group(
    server: PostgresServer, tmp_path: Path
) -> None:
    directory = tmp_path / "log"
    directory.mkdir(mode=0o700)
    directory.chmod(0o000)
    options = {"log_source": "local", "log_directory": str(directory)}
    with as_an_ordinary_account():
        wrong = diagnosis(server, "log_files", options=options)
    assert wrong.status is FAILED
    assert wrong.remedy is not None
    assert "log_file_mode" in wrong.remedy
    assert "usermod" in wrong.remedy


@contextlib.contextmanager
def as_an_ordinary_account() -> Iterator[None]:
    """Root may enter everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"log_source": "nowhere"}, "/audit_options/engine"),
        ({"nosuch": 1}, "/audit_options/engine"),
        ({"log_source": "local", "log_directory": "log"}, "/audit_options/engine/log_directory"),
        ({"log_source": "remote", "log_directory": "/log"}, "/audit_options/engine/log_directory"),
    ],
)
def test_wrong_option_is_told(server: PostgresServer, options: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        PostgreSQLEngine().open(target(server, options=options))
    assert raised.value.details[0].pointer == pointer


def test_report_goes_through_json(server: PostgresServer) -> None:
    found = report(server)
    assert msgspec.json.decode(msgspec.json.encode(found), type=TestReport) == found


def test_test_changes_nothing_on_the_server(server: PostgresServer) -> None:
    def state() -> list[tuple[Any, ...]]:
        with server.connect_admin() as connection, contextlib.closing(connection.cursor()) as cursor:
            assert isinstance(cursor, psycopg.Cursor)
            query = "select xmin::text, * from pg_db_role_setting order by 1"
            settings = "select name, setting from pg_settings where source <> 'client' order by 1"
            return cursor.execute(query).fetchall() + cursor.execute(settings).fetchall()

    before = state()
    report(server)
    assert state() == before
