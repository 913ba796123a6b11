"""Reaching a server: every failure within its time, in our words, and without the password."""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.core.secret import Secret
from dbaudit.engines.postgresql import PostgreSQLEngine
from dbaudit.engines.postgresql.connection import ServerConnection, connect

from tests.engines.postgresql import listeners
from tests.engines.postgresql.targets import COLLECTOR, PASSWORD, nobody, target
from tests.patience import PATIENCE_SECONDS
from tests.servers.installations import Installation
from tests.servers.listening import Behaviour, listening
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

StartServer = Callable[..., PostgresServer]


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    postgres.create_collector_role(COLLECTOR, PASSWORD)
    yield postgres
    with postgres.connect_admin() as connection:
        connection.execute(f"drop owned by {COLLECTOR}")
        connection.execute(f"drop role {COLLECTOR}")


def refused(wanted: Target) -> DbauditError:
    """The error of opening a session; never one that holds the password."""
    with pytest.raises(DbauditError) as raised:
        PostgreSQLEngine().open(wanted)
    error = raised.value
    password = wanted.password.reveal()
    chain = [error, error.__cause__, error.__context__]
    assert not any(password in f"{e!r} {e} {getattr(e, 'remedy', '')}" for e in chain)
    assert "\n" not in error.message
    return error


def answer(wanted: Target) -> ErrorCode | None:
    """The code of what stands in the way of a session now."""
    try:
        connect(wanted).close()
    except TransientError as error:
        return error.code
    return None


# -- log-ins that are refused


def test_wrong_password_is_reported(server: PostgresServer) -> None:
    error = refused(target(server, password=Secret("wr0ng-passw0rd")))
    assert isinstance(error, ConfigurationError)
    assert error.code is ErrorCode.AUTHENTICATION_FAILED
    assert f"{server.host}:{server.port}" in error.message


def test_password_that_is_missing_is_told(server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError) as raised:
        connect(target(server, password=Secret("")))
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED


def test_unknown_user_is_told(server: PostgresServer) -> None:
    assert refused(target(server, username="nosuch")).code is ErrorCode.AUTHENTICATION_FAILED


def test_unknown_database_is_told_with_its_name(server: PostgresServer) -> None:
    error = refused(target(server, database='no"such'))
    assert error.code is ErrorCode.DATABASE_NOT_FOUND
    assert error.remedy is not None
    assert 'CREATE DATABASE "no""such";' in error.remedy


def test_role_that_may_not_log_in_is_told(server: PostgresServer) -> None:
    server.execute_admin(f"alter role {COLLECTOR} nologin")
    try:
        error = refused(target(server))
    finally:
        server.execute_admin(f"alter role {COLLECTOR} login")
    assert error.code is ErrorCode.AUTHENTICATION_FAILED
    assert error.remedy == f'ALTER ROLE "{COLLECTOR}" LOGIN;'


def test_missing_right_to_connect_is_told_with_its_grant(server: PostgresServer) -> None:
    server.create_database("closed")
    server.execute_admin("revoke connect on database closed from public")
    error = refused(target(server, database="closed"))
    assert error.code is ErrorCode.PERMISSION_MISSING
    assert error.remedy == f'GRANT CONNECT ON DATABASE "closed" TO "{COLLECTOR}";'
    server.execute_admin(f'grant connect on database "closed" to "{COLLECTOR}"')
    connect(target(server, database="closed")).close()
    server.execute_admin("drop database closed")


def test_address_without_an_entry_in_pg_hba_is_told(server: PostgresServer) -> None:
    server.set_hba(f"host all {COLLECTOR} 127.0.0.1/32 reject")
    server.reload()
    try:
        error = refused(target(server))
    finally:
        server.set_hba()
        server.reload()
    assert error.code is ErrorCode.AUTHENTICATION_FAILED
    assert error.remedy is not None
    assert "pg_hba.conf" in error.remedy


def test_full_server_is_worth_another_try(server: PostgresServer) -> None:
    server.execute_admin(f"alter role {COLLECTOR} connection limit 1")
    try:
        with PostgreSQLEngine().open(target(server)):
            error = refused(target(server))
    finally:
        server.execute_admin(f"alter role {COLLECTOR} connection limit -1")
    assert isinstance(error, TransientError)
    assert error.code is ErrorCode.TOO_MANY_CONNECTIONS


def test_server_that_shuts_down_is_worth_another_try(postgres_server: StartServer) -> None:
    server = postgres_server()
    server.create_collector_role(COLLECTOR, PASSWORD)
    with server.connect_admin():
        # A smart shutdown waits for the session and refuses new ones.
        os.kill(server.process_id, signal.SIGTERM)
        wait_for(lambda: answer(target(server)) == ErrorCode.SERVER_STARTING, "the refusal of new sessions")


@pytest.mark.parametrize(
    ("password", "kind", "code"),
    [
        ("wr0ng-passw0rd", ConfigurationError, ErrorCode.AUTHENTICATION_FAILED),
        (PASSWORD, ConfigurationError, ErrorCode.AUTHENTICATION_FAILED),
    ],
    ids=["wrong password", "unknown database"],
)
def test_refusal_in_another_language_is_told_in_the_words_of_the_server(
    postgres_server: StartServer,
    postgres_localised: Installation,
    password: str,
    kind: type[DbauditError],
    code: ErrorCode,
) -> None:
    server = postgres_server(15, installed=postgres_localised, settings={"lc_messages": "de_DE.UTF-8"})
    server.create_collector_role(COLLECTOR, PASSWORD)
    error = refused(target(server, password=Secret(password), database="nirgends"))
    assert isinstance(error, kind)
    assert error.code is code
    assert "FATAL:" in error.message
    assert re.search("fehlgeschlagen|existiert nicht", error.message)


@pytest.mark.parametrize("sqlstate", ["57P03", "53300"])
def test_refusal_before_the_password_in_another_language_is_worth_another_try(sqlstate: str) -> None:
    with listening(listeners.refuses(sqlstate, "das Datenbanksystem startet")) as port:
        assert isinstance(refused(nobody(port, ssl_mode=SslMode.DISABLE)), TransientError)


# -- places where no server is


def test_closed_port_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    error = refused(nobody(port))
    assert isinstance(error, TransientError)
    assert error.code is ErrorCode.CONNECTION_REFUSED
    assert f"127.0.0.1:{port}" in error.message


def test_unknown_host_is_told_within_the_time() -> None:
    started = time.monotonic()
    error = refused(nobody(5432, host="no-such-host.invalid", connect_timeout_seconds=3.0))
    assert error.code in (ErrorCode.HOST_NOT_FOUND, ErrorCode.CONNECTION_TIMEOUT)
    assert "no-such-host.invalid" in error.message
    assert time.monotonic() - started < 5


def test_name_server_that_never_answers_does_not_hold_longer_than_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = threading.Event()

    def hang(*arguments: object, **options: object) -> list[object]:
        asked.wait(PATIENCE_SECONDS)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    started = time.monotonic()
    error = refused(nobody(5432, host="db.example.com"))
    asked.set()
    assert error.code is ErrorCode.CONNECTION_TIMEOUT
    assert time.monotonic() - started < 3


@pytest.mark.parametrize("ssl_mode", [SslMode.DISABLE, SslMode.REQUIRE])
@pytest.mark.parametrize(
    ("behaviour", "speaker"),
    [
        (listeners.speaks_http, "PostgreSQL"),
        (listeners.speaks_redis, "PostgreSQL"),
        (listeners.speaks_ssh, "an SSH server"),
        *[(listeners.speaks_mysql(length), "a MySQL or MariaDB server") for length in (74, 69, 78, 82, 83)],
    ],
    ids=["http", "redis", "ssh", "mysql-J", "mysql-E", "mysql-N", "mysql-R", "mysql-S"],
)
def test_other_protocol_is_recognised(behaviour: Behaviour, speaker: str, ssl_mode: SslMode) -> None:
    with listening(behaviour) as port:
        error = refused(nobody(port, ssl_mode=ssl_mode))
    assert isinstance(error, ConfigurationError)
    assert error.code is ErrorCode.WRONG_PROTOCOL
    assert speaker in error.message


@pytest.mark.parametrize("ssl_mode", [SslMode.DISABLE, SslMode.REQUIRE])
@pytest.mark.parametrize(
    "behaviour",
    [listeners.never_answers, listeners.hangs_in_the_tls_handshake, listeners.hangs_after_the_login],
    ids=["at once", "in the handshake", "after the log-in"],
)
def test_server_that_hangs_does_not_hold_longer_than_the_time(
    behaviour: Behaviour, ssl_mode: SslMode
) -> None:
    with listening(behaviour) as port:
        started = time.monotonic()
        error = refused(nobody(port, ssl_mode=ssl_mode))
        assert time.monotonic() - started < 4
    # A byte S or R out of place is another protocol, silence is none.
    assert error.code in (ErrorCode.CONNECTION_TIMEOUT, ErrorCode.WRONG_PROTOCOL)
    if behaviour is listeners.never_answers:
        assert isinstance(error, TransientError)
        assert "took the connection" in error.message


def test_connection_that_is_reset_is_worth_another_try() -> None:
    with listening(listeners.resets) as port:
        error = refused(nobody(port))
    assert isinstance(error, TransientError)
    assert error.code is ErrorCode.CONNECTION_LOST


@pytest.mark.parametrize("version", ["10.23", "9.6.24", "8.0.2"])
def test_server_before_11_is_refused_with_its_version(version: str) -> None:
    with listening(listeners.is_version(version)) as port:
        error = refused(nobody(port, ssl_mode=SslMode.DISABLE))
    assert error.code is ErrorCode.SERVER_NOT_SUPPORTED
    assert version in error.message


def test_stopped_server_does_not_hold_longer_than_the_time(postgres_server: StartServer) -> None:
    server = postgres_server()
    os.kill(server.process_id, signal.SIGSTOP)
    try:
        started = time.monotonic()
        error = refused(target(server, connect_timeout_seconds=1.0))
        assert time.monotonic() - started < 4
    finally:
        os.kill(server.process_id, signal.SIGCONT)
    assert error.code is ErrorCode.CONNECTION_TIMEOUT


@pytest.mark.parametrize("field", ["host", "database", "username", "password"])
def test_nul_cannot_cut_the_connection_string_short(server: PostgresServer, field: str) -> None:
    whole = target(server)
    value = getattr(whole, field)
    cut = Secret(f"{value.reveal()}\0") if isinstance(value, Secret) else f"{value}\0"
    error = refused(msgspec.structs.replace(whole, **{field: cut}))
    assert error.code is ErrorCode.VALIDATION_FAILED
    assert error.details[0].pointer == f"/{field}"


# -- what a session is


@pytest.fixture
def connection(server: PostgresServer) -> Iterator[ServerConnection]:
    opened = connect(target(server, statement_timeout_seconds=1.0))
    yield opened
    opened.close()


def test_session_cannot_write(connection: ServerConnection) -> None:
    with pytest.raises(ConfigurationError, match="read-only"):
        connection.rows("create table written (id int)")


def test_session_says_who_it_is(server: PostgresServer) -> None:
    with PostgreSQLEngine().open(target(server, application_name="dbaudit-agent node 1")):
        query = "select application_name from pg_stat_activity where usename = %s"
        assert server.execute_admin(query, [COLLECTOR]) == [("dbaudit-agent node 1",)]


def test_functions_of_a_schema_of_others_are_not_taken(connection: ServerConnection) -> None:
    assert connection.value("show search_path") == "pg_catalog"


def test_host_with_an_address_that_refuses_is_tried_on_the_next(server: PostgresServer) -> None:
    # The server listens on 127.0.0.1 alone, and localhost is often ::1 first.
    connect(target(server, host="localhost")).close()


def test_socket_in_the_file_system_is_a_host(server: PostgresServer) -> None:
    connect(target(server, host=str(server.socket_directory))).close()


def test_environment_and_home_are_not_looked_at(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".pgpass").write_text(f"*:*:*:*:{PASSWORD}")
    (tmp_path / ".pgpass").chmod(0o600)
    surroundings = {
        "HOME": str(tmp_path),
        "PGPASSFILE": str(tmp_path / ".pgpass"),
        "PGPASSWORD": PASSWORD,
        "PGHOST": "nosuch.invalid",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGDATABASE": "nosuch",
        "PGUSER": "nosuch",
        "PGOPTIONS": "-c search_path=nosuch",
        "PGAPPNAME": "somebody",
        "PGCLIENTENCODING": "LATIN1",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/nosuch",
        "PGSSLNEGOTIATION": "direct",
        "PGREQUIREAUTH": "none",
        "PGREQUIREPEER": "nosuch",
        "PGTARGETSESSIONATTRS": "standby",
        "PGCHANNELBINDING": "require",
        "PGTZ": "Asia/Tokyo",
    }
    for name, value in surroundings.items():
        monkeypatch.setenv(name, value)
    connection = connect(target(server))
    assert connection.value("select current_setting('client_encoding')") == "UTF8"
    assert connection.value("select current_setting('application_name')") == "dbaudit-agent"
    assert connection.value("select current_setting('search_path')") == "pg_catalog"
    connection.close()
    with pytest.raises(ConfigurationError) as raised:
        connect(target(server, password=Secret("")))
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED


def test_service_of_the_environment_that_is_missing_is_told(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICE", "nosuch")
    error = refused(target(server))
    assert error.code is ErrorCode.CONFIGURATION_INVALID
    assert error.remedy is not None
    assert "PGSERVICE" in error.remedy


# -- statements that do not end


def test_long_statement_is_ended_by_the_server_and_the_session_goes_on(connection: ServerConnection) -> None:
    with pytest.raises(TransientError) as raised:
        connection.rows("select pg_sleep(60)")
    assert raised.value.code is ErrorCode.STATEMENT_TIMEOUT
    assert connection.value("select 1") == 1


def test_statement_on_a_hanging_server_is_given_up(
    server: PostgresServer, connection: ServerConnection
) -> None:
    os.kill(connection.backend_process_id, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(TransientError) as raised:
            connection.rows("select 1")
        assert time.monotonic() - started < connection.target.statement_timeout_seconds + 2
    finally:
        os.kill(connection.backend_process_id, signal.SIGCONT)
    assert raised.value.code is ErrorCode.STATEMENT_TIMEOUT
    assert connection.closed


def test_statement_on_a_killed_server_is_worth_another_try(postgres_server: StartServer) -> None:
    server = postgres_server()
    server.create_collector_role(COLLECTOR, PASSWORD)
    connection = connect(target(server))
    server.kill()
    with pytest.raises(TransientError) as raised:
        connection.rows("select 1")
    assert raised.value.code is ErrorCode.CONNECTION_LOST
    connection.close()
    connection.close()


def test_session_of_a_killed_server_says_that_it_is_lost(postgres_server: StartServer) -> None:
    server = postgres_server()
    server.create_collector_role(COLLECTOR, PASSWORD)
    session = PostgreSQLEngine().open(target(server))
    server.kill()
    for attempt in (session.test, session.health):
        with pytest.raises(TransientError):
            attempt()
    session.close()
    session.close()
