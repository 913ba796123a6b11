"""Log-ins of every kind on real servers, and that the agent's own never show."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engines.postgresql import PostgreSQLEngine

from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.engines.postgresql.targets import COLLECTOR, PASSWORD, target
from tests.servers.postgresql import PostgresServer, Tls

StartServer = Callable[..., PostgresServer]
ROLE, SECRET = "visitor", "right"


@pytest.fixture(scope="module")
def modern() -> Iterator[PostgresServer]:
    """A server with its own pg_hba.conf and settings, which the tests change."""
    with PostgresServer(18) as server, collector_on(server):
        server.create_role(ROLE, SECRET)
        yield server


@pytest.fixture
def changed(modern: PostgresServer) -> Iterator[PostgresServer]:
    before = dict(modern._settings)
    yield modern
    modern._settings = before
    modern.configure()
    modern.set_hba()
    modern.reload()


def visit(server: PostgresServer, **options: str) -> None:
    psycopg.connect(server.conninfo(ROLE, SECRET, **options)).close()


def told_of_a_visit(server: PostgresServer, **options: str) -> list[AuditEvent]:
    """The events of one visit, from its connection to its end."""
    with Collecting(server) as log:
        log.read()
        visit(server, application_name="here", **options)
        log.until(lambda: log.of(ROLE, EventType.DISCONNECT), "the disconnection")
        session = log.of(ROLE)[0].session_id
        return [e for e in log.events if e.session_id == session]


KINDS = [EventType.CONNECTION, EventType.LOGIN_SUCCESS, EventType.DISCONNECT]


@pytest.mark.parametrize(
    ("aspects", "kinds", "method"),
    [
        ("on", KINDS, "scram-sha-256"),
        ("all", KINDS, "scram-sha-256"),
        ("receipt", [KINDS[0], KINDS[2]], None),
        ("authentication", KINDS[1:], "scram-sha-256"),
        ("authorization", KINDS[1:], None),
        ("receipt,authentication", KINDS, "scram-sha-256"),
        ("", KINDS[2:], None),
    ],
)
def test_each_list_of_log_connections_gives_one_event_for_each_thing_that_happened(
    changed: PostgresServer, aspects: str, kinds: list[EventType], method: str | None
) -> None:
    changed.configure(log_connections=aspects)
    changed.reload()
    events = told_of_a_visit(changed)
    assert [e.type for e in events] == kinds
    log_ins = [e for e in events if e.type == EventType.LOGIN_SUCCESS]
    assert [(e.detail or {}).get("method") for e in log_ins] == [method] * len(log_ins)


def test_trust_and_socket_and_names_of_hosts(changed: PostgresServer) -> None:
    changed.set_hba(f"host all {ROLE} 127.0.0.1/32 trust")
    changed.configure(log_hostname=True)
    changed.reload()
    _first, log_in, _ignored = told_of_a_visit(changed)
    assert log_in.detail == {"identity": ROLE, "method": "trust"}
    assert (log_in.source_ip, log_in.source_host) in {(None, "localhost"), ("127.0.0.1", None)}
    events = told_of_a_visit(changed, host=str(changed.socket_directory))
    assert [e.type for e in events] == KINDS
    assert {(e.source_ip, e.source_port, e.source_host) for e in events} == {(None, None, "[local]")}


def test_replication_connection_and_its_commands_are_told(changed: PostgresServer) -> None:
    changed.set_hba("host replication all 127.0.0.1/32 scram-sha-256")
    changed.execute_admin("alter role visitor replication")
    changed.configure(log_replication_commands=True)
    changed.reload()
    with Collecting(changed) as log:
        log.read()
        with psycopg.connect(
            changed.conninfo(ROLE, SECRET, replication="true"), autocommit=True
        ) as connection:
            connection.pgconn.exec_(b"IDENTIFY_SYSTEM")
        log.until(lambda: log.of(ROLE, EventType.DISCONNECT), "the disconnection")
        log_in, command, _ignored = log.of(ROLE)
    assert log_in.detail is not None
    assert log_in.detail["replication"] is True
    assert (command.query, command.operation) == ("IDENTIFY_SYSTEM", "IDENTIFY_SYSTEM")


def test_probe_of_the_port_is_a_connection_without_a_log_in(modern: PostgresServer) -> None:
    with Collecting(modern) as log:
        log.read()
        with socket.create_connection((modern.host, modern.port)) as probe:
            port = probe.getsockname()[1]
        log.until(lambda: [e for e in log.events if e.source_port == port], "the connection")
        assert [e.type for e in log.events if e.source_port == port] == [EventType.CONNECTION]


@pytest.mark.parametrize("user", [COLLECTOR, ROLE, "nobody"])
def test_failed_log_in_shows_whoever_it_is(modern: PostgresServer, user: str) -> None:
    with Collecting(modern) as log:
        log.read()
        for password, database in (("wrong", "postgres"), (PASSWORD, "missing")):
            conninfo = modern.conninfo(user, password, database, application_name="dbaudit-agent")
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(conninfo)
        log.until(lambda: len(log.of(user, EventType.LOGIN_FAILED)) == 2, "both failures")
        expected = ["28P01", "3D000" if user == COLLECTOR else "28P01"]
        assert [e.error_code for e in log.of(user)] == expected
        assert not log.of(user, EventType.LOGIN_SUCCESS)


def test_proven_identity_that_is_not_the_user_it_asks_for_does_not_log_in(changed: PostgresServer) -> None:
    changed.set_hba("local all visitor peer")
    changed.reload()
    with Collecting(changed) as log:
        log.read()
        with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
            visit(changed, host=str(changed.socket_directory))
        log.until(lambda: log.of(ROLE), "the refusal")
        log.until(lambda: not log.read().more, "the end")
        (refused,) = log.of(ROLE)
    assert (refused.type, refused.error_code) == (EventType.LOGIN_FAILED, "28000")
    assert refused.detail is not None
    assert refused.detail["method"] == "peer"


def test_session_that_an_administrator_ends_is_no_clean_end(changed: PostgresServer) -> None:
    with Collecting(changed) as log:
        log.read()
        with psycopg.connect(changed.conninfo(ROLE, SECRET), autocommit=True) as connection:
            changed.execute_admin("select pg_terminate_backend(%s)", [connection.info.backend_pid])
            with pytest.raises(psycopg.OperationalError):
                connection.execute("select 1")
        log.until(lambda: log.of(ROLE, EventType.DISCONNECT), "the end")
        (end,) = log.of(ROLE, EventType.DISCONNECT)
    assert (end.outcome, end.error_code) == (Outcome.FAILURE, "57P01")
    assert end.duration_ms is not None


def test_log_in_without_the_right_to_connect_is_a_failed_one(modern: PostgresServer) -> None:
    modern.create_database("closed")
    modern.execute_admin("revoke connect on database closed from public")
    with Collecting(modern) as log:
        log.read()
        with pytest.raises(psycopg.OperationalError, match="permission denied"):
            visit(modern, dbname="closed")
        log.until(lambda: log.of(ROLE), "the failure")
        assert [(e.type, e.error_code) for e in log.of(ROLE)] == [(EventType.LOGIN_FAILED, "42501")]


def test_client_certificate_and_its_cipher_are_told(postgres_server: StartServer) -> None:
    server = postgres_server(
        17, tls=Tls.CLIENT_CERTIFICATE, hba=["host all dbaudit_collector all scram-sha-256"]
    )
    server.create_collector_role(COLLECTOR, PASSWORD)
    with Collecting(server) as log:
        log.read()
        server.execute_admin("select 1")
        log.until(lambda: log.of("postgres", EventType.LOGIN_SUCCESS), "the log-in")
        (log_in,) = log.of("postgres", EventType.LOGIN_SUCCESS)
    assert log_in.detail is not None
    assert (log_in.detail["identity"], log_in.detail["method"]) == ("CN=postgres", "cert")
    assert log_in.detail["tls_protocol"] == "TLSv1.3"


# -- the agent's own


@pytest.mark.parametrize("major", [11, 13, 18])
@pytest.mark.parametrize("limit_bytes", [200, 1 << 20])
def test_agents_own_sessions_never_show_wherever_a_read_falls(
    postgres_server: StartServer, major: int, limit_bytes: int
) -> None:
    settings = {"log_statement": "all", "log_min_duration_statement": 0}
    server = postgres_server(major, settings=settings)
    server.create_collector_role(COLLECTOR, PASSWORD)
    server.execute_admin(f"alter role {COLLECTOR} set log_statement = 'all'")
    with Collecting(server, start_from="beginning") as log:
        for _again in range(3):
            with PostgreSQLEngine().open(target(server)) as other:
                other.test()
                log.read(limit_bytes)
                other.health()
            log.reopen()
        psycopg.connect(server.conninfo(COLLECTOR, PASSWORD, application_name="psql")).close()
        log.until(
            lambda: [e for e in log.of(COLLECTOR, EventType.DISCONNECT) if e.application == "psql"],
            "the foreign session",
            1 << 20,
        )
        assert {e.application for e in log.of(COLLECTOR)} == ({"psql", None} if major == 11 else {"psql"})
        foreign = {e.session_id for e in log.of(COLLECTOR)}
        assert len(foreign) == 1
        connections = {e.session_id for e in log.events if e.type == EventType.CONNECTION}
        others: set[Any] = {e.session_id for e in log.events if e.user not in (None, COLLECTOR)}
        assert connections <= foreign | others
