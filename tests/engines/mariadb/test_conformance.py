"""The conformance suite on MariaDB: server_audit on the disk and over the connection, the general log."""

from collections.abc import Iterator

import pytest
from dbaudit.engine import SslMode, Target
from dbaudit.testing import Monitored
from dbaudit.testing.suite import Conformance, SourceConformance

from tests.conftest import missing_engine_is_told
from tests.engines.mariadb.monitored import (
    CERTIFIED,
    USER,
    USER_PASSWORD,
    MonitoredFile,
    MonitoredGeneralLog,
    MonitoredRemotely,
)
from tests.engines.mariadb.targets import COLLECTOR, GENERAL_LOG_GRANTS, PASSWORD, target
from tests.servers.mariadb import MariaDBServer, Tls


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDBServer]:
    settings = {
        "server_audit_query_log_limit": 65536,
        "server_audit_events": "CONNECT,QUERY",
        "general_log": 1,
    }
    with (
        missing_engine_is_told(),
        MariaDBServer(tls=Tls.OFFERED, umask="0644", settings=settings) as started,  # type: ignore[arg-type]
    ):
        started.execute_admin("create database dbaudit")
        started.create_user(COLLECTOR, PASSWORD, "FILE ON *.*", *GENERAL_LOG_GRANTS)
        started.create_user(USER, USER_PASSWORD)
        started.create_user(CERTIFIED, PASSWORD)
        started.execute_admin(f"alter user {CERTIFIED}@'127.0.0.1' require x509")
        yield started


class MonitoredWithTls(MonitoredFile):
    def __init__(self, server: MariaDBServer, unprotected: MariaDBServer) -> None:
        super().__init__(server, source="file")
        self._unprotected = unprotected

    def no_tls_target(self) -> Target:
        return target(self._unprotected, ssl_mode=SslMode.REQUIRE)


class TestFileOnTheDisk(Conformance):
    @pytest.fixture
    def monitored(self, server: MariaDBServer, mariadb: MariaDBServer) -> Monitored:
        return MonitoredWithTls(server, mariadb)


class TestFileOverTheConnection(SourceConformance):
    @pytest.fixture
    def monitored(self, server: MariaDBServer) -> Iterator[Monitored]:
        # As documented: else each reading adds a statement to what is read.
        server.execute_admin("set global server_audit_excl_users = %s", [COLLECTOR])
        yield MonitoredRemotely(server, source="remote_file")
        server.execute_admin("set global server_audit_excl_users = ''")


class TestGeneralLog(SourceConformance):
    @pytest.fixture
    def monitored(self, server: MariaDBServer) -> Monitored:
        return MonitoredGeneralLog(server, source="general_log")
