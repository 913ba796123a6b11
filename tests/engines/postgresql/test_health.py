"""Health: measured, and unknown where the server cannot tell."""

import shutil
import threading
from collections.abc import Callable, Iterator

import pytest
from dbaudit.core.clock import now_us
from dbaudit.core.report import CheckStatus, Health
from dbaudit.engines.postgresql import PostgreSQLEngine
from dbaudit.engines.postgresql.connection import connect
from dbaudit.engines.postgresql.health import measure, measure_latency_ms
from dbaudit.engines.postgresql.options import LogSource, Options
from dbaudit.engines.postgresql.rights import read_rights
from dbaudit.engines.postgresql.settings import read_settings

from tests.engines.postgresql import listeners
from tests.engines.postgresql.targets import COLLECTOR, PASSWORD, target
from tests.servers.listening import listening
from tests.servers.postgresql import PostgresServer

StartServer = Callable[..., PostgresServer]


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    postgres.create_collector_role(COLLECTOR, PASSWORD)
    yield postgres
    postgres.execute_admin(f"drop owned by {COLLECTOR}")
    postgres.execute_admin(f"drop role {COLLECTOR}")


def health(server: PostgresServer, **options: str) -> Health:
    with PostgreSQLEngine().open(target(server, options=options)) as session:
        return session.health()


def test_health_is_measured(server: PostgresServer) -> None:
    before = now_us()
    found = health(server)
    assert (found.connectivity, found.permissions) == (CheckStatus.HEALTHY, CheckStatus.HEALTHY)
    assert found.latency_ms is not None
    assert found.latency_ms > 0
    assert before <= found.measured_at_us <= now_us()


def test_free_disk_space_of_a_remote_server_is_unknown(server: PostgresServer) -> None:
    found = health(server, log_source="remote")
    assert (found.disk_space, found.disk_free_ratio) == (CheckStatus.UNKNOWN, None)


def test_free_disk_space_is_that_of_the_log_directory_in_local_mode(server: PostgresServer) -> None:
    found = health(server, log_source="local")
    usage = shutil.disk_usage(server.data_directory)
    assert found.disk_space is not CheckStatus.UNKNOWN
    assert found.disk_free_ratio == pytest.approx(usage.free / (usage.used + usage.free), abs=0.01)


def test_missing_right_is_critical(server: PostgresServer) -> None:
    function = "pg_read_binary_file(text, bigint, bigint, boolean)"
    with PostgreSQLEngine().open(target(server, options={"log_source": "remote"})) as session:
        assert session.health().permissions is CheckStatus.HEALTHY
        server.execute_admin(f"revoke execute on function {function} from {COLLECTOR}")  # type: ignore[arg-type]
        try:
            assert session.health().permissions is CheckStatus.CRITICAL
        finally:
            server.execute_admin(f"grant execute on function {function} to {COLLECTOR}")  # type: ignore[arg-type]
        assert session.health().permissions is CheckStatus.HEALTHY


def test_slow_way_to_the_server_is_seen_in_the_latency(server: PostgresServer) -> None:
    slow = threading.Event()
    with listening(listeners.relays((server.host, server.port), 0.3, slow)) as port:
        connection = connect(target(server, port=port))
        assert measure_latency_ms(connection) < 250
        slow.set()
        rights = read_rights(connection)
        settings = read_settings(connection, rights, Options(log_source=LogSource.REMOTE))
        found = measure(connection, rights, settings)
        connection.close()
    assert found.latency is CheckStatus.WARNING
    assert found.latency_ms is not None
    assert 300 <= found.latency_ms < 1000
