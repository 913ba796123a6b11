"""The conformance suite on PostgreSQL: each format of the log over the connection, and on the disk."""

import contextlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from dbaudit.engine import Secret, SslMode, Target
from dbaudit.engines.postgresql import PostgreSQLEngine
from dbaudit.engines.postgresql.prefix_checks import RECOMMENDED
from dbaudit.testing import Monitored, Visitor
from dbaudit.testing.monitored import Mutate
from dbaudit.testing.suite import Conformance, SourceConformance
from psycopg import sql

from tests.conftest import missing_engine_is_told
from tests.engines.postgresql.documented import statements
from tests.engines.postgresql.targets import COLLECTOR, PASSWORD, target
from tests.servers.postgresql import PostgresServer, Tls
from tests.servers.processes import wait_for

USER, USER_PASSWORD = "lena", "right"
CERTIFIED = "certified"
_REVOKES = {
    "pg_monitor": sql.SQL("revoke pg_monitor from {}"),
    "pg_stat_file": sql.SQL("revoke execute on function pg_stat_file(text, boolean) from {}"),
    "pg_read_binary_file": sql.SQL(
        "revoke execute on function pg_read_binary_file(text, bigint, bigint, boolean) from {}"
    ),
}
_numbers = itertools.count(1)


class Client(Visitor):
    user = USER

    def __init__(self, server: PostgresServer) -> None:
        options = {"application_name": "shop"}
        conninfo = server.conninfo(USER, USER_PASSWORD, **options)
        self._connection = psycopg.connect(conninfo, autocommit=True)

    def run(self, text: str) -> str:
        statement = sql.SQL("select {}").format(sql.Literal(text)).as_string(self._connection)
        self._connection.execute(statement)  # type: ignore[call-overload]
        return statement

    def leave(self) -> None:
        self._connection.close()


class MonitoredPostgreSQL(Monitored):
    engine = PostgreSQLEngine()
    rights = tuple(_REVOKES)
    without_tls: PostgresServer | None = None

    def __init__(self, server: PostgresServer, **options: str) -> None:
        self._server = server
        self._options = options

    def target(self) -> Target:
        return target(self._server, ssl_mode=SslMode.REQUIRE, options=self._options)

    def visit(self) -> Visitor:
        return Client(self._server)

    def fail_to_log_in(self) -> str:
        with contextlib.suppress(psycopg.OperationalError):
            # With another sslmode libpq tries again by itself.
            psycopg.connect(self._server.conninfo(USER, "wrong", sslmode="disable"))
        return USER

    def rotate(self) -> None:
        # A name of its own each time, instead of waiting for the next second.
        name = f"server-{next(_numbers):05}"
        self._server.configure(log_filename=f"{name}.log")
        self._server.reload()
        wait_for(lambda: self._log().stem == name, "the rotation")

    def lose(self) -> None:
        lost = self._log()
        self.rotate()
        lost.unlink()

    def write_hostile(self, raw: bytes) -> None:
        with self._log().open("ab") as log:
            log.write(raw)

    def revoke(self, right: str) -> None:
        self._server.execute_admin(_REVOKES[right].format(sql.Identifier(COLLECTOR)))

    def carry_out(self, remedy: str) -> None:
        for statement in statements(remedy):
            self._server.execute_admin(statement)  # type: ignore[arg-type]

    def mutated(self, record: Any, mutate: Mutate, chance: random.Random) -> Any:
        return msgspec.structs.replace(record, data=mutate(record.data))

    def _log(self) -> Path:
        return self._server.current_log(self._options["log_format"])

    def tls_target(self, mode: SslMode) -> Target:
        return target(self._server, ssl_mode=mode, ssl_ca=self._server.ca_certificate)

    def no_tls_target(self) -> Target:
        if self.without_tls is None:
            pytest.skip("tried on another server")
        return target(self.without_tls, ssl_mode=SslMode.REQUIRE)

    def client_certificate_target(self) -> Target:
        credential = self._server.client_certificate(CERTIFIED)
        return target(
            self._server,
            username=CERTIFIED,
            password=Secret(""),
            ssl_mode=SslMode.VERIFY_FULL,
            ssl_ca=self._server.ca_certificate,
            ssl_cert=credential.certificate,
            ssl_key=Secret(credential.key),
        )


class MonitoredLocally(MonitoredPostgreSQL):
    """The server's log on the disk of this host, for which no right on its functions is needed."""

    rights = ()


@contextlib.contextmanager
def started(major: int) -> Iterator[PostgresServer]:
    settings = {
        "log_statement": "all",
        "log_destination": "stderr,csvlog,jsonlog" if major >= 15 else "stderr,csvlog",
        "log_line_prefix": RECOMMENDED,
    }
    hba = [f"hostssl all {CERTIFIED} 127.0.0.1/32 cert"]
    with (
        missing_engine_is_told(),
        PostgresServer(major, tls=Tls.OFFERED, settings=settings, hba=hba) as server,
    ):
        server.create_collector_role(COLLECTOR, PASSWORD)
        server.create_role(CERTIFIED, PASSWORD)
        server.create_role(USER, USER_PASSWORD)
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with started(17) as server:
        yield server


@pytest.fixture(scope="module")
def oldest() -> Iterator[PostgresServer]:
    with started(11) as server:
        yield server


class TestJsonlogOverTheConnection(Conformance):
    @pytest.fixture
    def monitored(self, server: PostgresServer, postgres: PostgresServer) -> Monitored:
        monitored = MonitoredPostgreSQL(server, log_source="remote", log_format="jsonlog")
        monitored.without_tls = postgres
        return monitored


class TestCsvlogOfTheOldestVersion(SourceConformance):
    @pytest.fixture
    def monitored(self, oldest: PostgresServer) -> Monitored:
        return MonitoredPostgreSQL(oldest, log_source="remote", log_format="csvlog")


class TestTextLogOverTheConnection(SourceConformance):
    @pytest.fixture
    def monitored(self, server: PostgresServer) -> Monitored:
        return MonitoredPostgreSQL(server, log_source="remote", log_format="stderr")


class TestTextLogOnTheDisk(SourceConformance):
    @pytest.fixture
    def monitored(self, server: PostgresServer) -> Monitored:
        return MonitoredLocally(server, log_source="local", log_format="stderr")


class TestLogOnTheDisk(SourceConformance):
    @pytest.fixture
    def monitored(self, server: PostgresServer) -> Monitored:
        return MonitoredLocally(server, log_source="local", log_format="csvlog")
