"""What users see of a PostgreSQL server as it comes, goes, and is declared wrongly."""

from collections.abc import Callable

from dbaudit.core.database import AuditOptions, AuditStatus, ConnectionStatus
from dbaudit.core.report import CheckStatus
from dbaudit.core.secret import Secret

from tests.agent.conftest import PASSWORD, Installation
from tests.servers.postgresql import PostgresServer

UNMASKED = AuditOptions(mask_sensitive_data=False)


def test_new_database_is_tested_and_becomes_connected_and_active(
    dbaudit: Installation, postgres: PostgresServer
) -> None:
    dbaudit.start()
    database = dbaudit.declare_server(postgres)
    assert (database.status, database.audit_status) == (ConnectionStatus.PENDING, AuditStatus.INITIALIZING)
    dbaudit.wait_for_active(database)
    collector = dbaudit.collector(database)
    assert collector.report is not None
    assert collector.report.success
    assert collector.health is not None
    assert collector.health.connectivity is CheckStatus.HEALTHY
    assert collector.health.latency_ms is not None


def test_wrong_password_is_an_error_with_its_reason_and_the_right_one_connects_at_once(
    dbaudit: Installation, postgres: PostgresServer
) -> None:
    dbaudit.start(misconfigured_retry_seconds=3600.0)
    database = dbaudit.declare_server(postgres, password="wrong")
    shown = dbaudit.wait_for_status(database, ConnectionStatus.ERROR)
    assert shown.status_code == "authentication_failed"
    assert "Remedy: Check username and password" in (shown.status_reason or "")
    dbaudit.change(database, {"password": Secret(PASSWORD)})
    dbaudit.wait_for_active(database)
    shown = dbaudit.state.databases.get(database.id)
    assert (shown.status_code, shown.status_reason) == (None, None)


def test_a_password_that_is_a_word_of_the_reason_does_not_show_itself(dbaudit: Installation) -> None:
    dbaudit.start()
    reasons = set()
    for password in ("port", "p", "server runs", "127.0.0.1", "4711 is no word of it"):
        database = dbaudit.declare(
            "postgresql", host="127.0.0.1", port=1, database=f"of {len(password)}", password=password
        )
        shown = dbaudit.wait_for_status(database, ConnectionStatus.DISCONNECTED)
        reasons.add(shown.status_reason)
    assert len(reasons) == 1
    assert "Check host and port, that the server runs" in str(reasons.pop())


def test_missing_right_is_an_error_with_the_grant(dbaudit: Installation, postgres: PostgresServer) -> None:
    postgres.create_role("without_rights", PASSWORD)
    dbaudit.start()
    database = dbaudit.declare_server(postgres, username="without_rights")
    shown = dbaudit.wait_for_status(database, ConnectionStatus.ERROR)
    assert "GRANT" in (shown.status_reason or "")
    health = dbaudit.collector(database).health
    assert health is not None
    assert health.connectivity is CheckStatus.HEALTHY


def test_server_that_goes_is_disconnected_and_caught_up_with_when_it_comes_back(
    dbaudit: Installation, postgres_server: Callable[..., PostgresServer]
) -> None:
    server = postgres_server(17, pgaudit=True)
    database = dbaudit.declare_server(server, audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    server.execute_admin("select 'before'")
    server.stop()
    shown = dbaudit.wait_for_status(database, ConnectionStatus.DISCONNECTED)
    assert shown.status_code in ("connection_refused", "connection_lost")
    server.start()
    server.execute_admin("select 'after'")
    dbaudit.wait_for_active(database)
    dbaudit.wait_until(lambda: "select 'after'" in dbaudit.queries(database), "catching up")
    assert dbaudit.queries(database).count("select 'before'") == 1
    assert dbaudit.collector(database).gaps_total == 0


def test_paused_server_is_left_alone_and_then_caught_up_with(
    dbaudit: Installation, postgres_server: Callable[..., PostgresServer]
) -> None:
    server = postgres_server(17, pgaudit=True)
    database = dbaudit.declare_server(server, audit_options=UNMASKED)
    dbaudit.start()
    dbaudit.wait_for_active(database)
    dbaudit.change(database, audit_status=AuditStatus.PAUSED)

    def sessions() -> int:
        query = "select count(*) from pg_stat_activity where application_name = 'dbaudit-agent'"
        return int(server.execute_admin(query)[0][0])

    dbaudit.wait_until(lambda: sessions() == 0, "the end of the agent's session")
    server.execute_admin("select 'while paused'")
    assert "select 'while paused'" not in dbaudit.queries(database)
    dbaudit.change(database, audit_status=AuditStatus.ACTIVE)
    dbaudit.wait_until(lambda: "select 'while paused'" in dbaudit.queries(database), "catching up")
    assert dbaudit.queries(database).count("select 'while paused'") == 1


def test_server_is_moved_by_a_changed_declaration(
    dbaudit: Installation, postgres_server: Callable[..., PostgresServer]
) -> None:
    server = postgres_server(17, pgaudit=True)
    database = dbaudit.declare_server(server, port=1, audit_options=UNMASKED)
    dbaudit.start(backoff_initial_seconds=3600.0, backoff_max_seconds=3600.0)
    dbaudit.wait_for_status(database, ConnectionStatus.DISCONNECTED)
    dbaudit.change(database, port=server.port)
    dbaudit.wait_for_active(database)
