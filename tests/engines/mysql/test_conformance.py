"""The conformance suite on MySQL: the general log of a live 9.7 and 5.6."""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pymysql
import pytest
from dbaudit.engine import Secret, SslMode, Target
from dbaudit.engines.mysql import MySQLEngine
from dbaudit.engines.mysql_protocol.general_log import RETIRED_ROWS
from dbaudit.engines.mysql_protocol.general_rows import GeneralLogBlock
from dbaudit.testing import Monitored, Visitor
from dbaudit.testing.suite import Conformance

from tests.engines.mysql.targets import ACCOUNT, PASSWORD, target
from tests.servers.mysql import MySQLServer

USER, USER_PASSWORD = "lena", "right"
CERTIFIED = "certified"
_REVOKES = {
    "select_general_log": f"REVOKE SELECT ON mysql.general_log FROM {ACCOUNT}",
    "empty_general_log": f"REVOKE DROP ON mysql.general_log FROM {ACCOUNT}",
}


class Client(Visitor):
    user = USER

    def __init__(self, server: MySQLServer) -> None:
        self._connection = server.connect(USER, USER_PASSWORD, program_name="shop")

    def run(self, text: str) -> str:
        statement = f"select {self._connection.escape(text)}"
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
        return statement

    def leave(self) -> None:
        with contextlib.suppress(pymysql.err.Error):
            self._connection.close()


class MonitoredGeneralLog(Monitored):
    engine = MySQLEngine()
    rights = tuple(_REVOKES)
    mutations = 500

    def __init__(self, server: MySQLServer) -> None:
        self._server = server
        if server.release == "5.6":
            # It writes what is beyond the Basic Multilingual Plane as \xF0\x9F..., in the log's utf8.
            self.texts = tuple(text.replace("🐘", "ä") for text in Monitored.texts)

    def target(self) -> Target:
        return target(self._server)

    def visit(self) -> Visitor:
        return Client(self._server)

    def fail_to_log_in(self) -> str:
        with contextlib.suppress(pymysql.err.OperationalError):
            self._server.connect(USER, "wrong")
        return USER

    def rotate(self) -> None:
        # So many rows that the table is retired.
        connection = self._server.connect(USER, USER_PASSWORD)
        with connection.cursor() as cursor:
            for _each in range(RETIRED_ROWS):
                cursor.execute("do 0")
        connection.close()

    def lose(self) -> None:
        self._server.execute_admin("TRUNCATE TABLE mysql.general_log")

    def revoke(self, right: str) -> None:
        self._server.execute_admin(_REVOKES[right])

    def carry_out(self, remedy: str) -> None:
        for statement in remedy.split(";"):
            if statement.strip():
                self._server.execute_admin(statement)

    def mutated(self, record: Any, mutate: Callable[[bytes], bytes], chance: random.Random) -> Any:
        assert isinstance(record, GeneralLogBlock)
        rows = list(record.rows)
        place = chance.randrange(len(rows))
        rows[place] = mutate(rows[place])
        return msgspec.structs.replace(record, rows=tuple(rows))


class MonitoredWithTls(MonitoredGeneralLog):
    def __init__(self, server: MySQLServer, without_tls: MySQLServer) -> None:
        super().__init__(server)
        self._without_tls = without_tls

    def tls_target(self, mode: SslMode) -> Target:
        return target(self._server, ssl_mode=mode, ssl_ca=self._server.ca_certificate)

    def no_tls_target(self) -> Target:
        return target(self._without_tls, ssl_mode=SslMode.REQUIRE)

    def client_certificate_target(self) -> Target:
        credential = self._server.client_certificate(CERTIFIED)
        return target(
            self._server,
            username=CERTIFIED,
            ssl_mode=SslMode.VERIFY_FULL,
            ssl_ca=self._server.ca_certificate,
            ssl_cert=credential.certificate,
            ssl_key=Secret(credential.key),
        )


class TestGeneralLog(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def monitored(cls, mysql: MySQLServer, mysql_oldest: MySQLServer) -> Iterator[Monitored]:
        mysql.create_user(USER, USER_PASSWORD)
        mysql.create_user(CERTIFIED, PASSWORD)
        mysql.execute_admin(f"ALTER USER '{CERTIFIED}'@'127.0.0.1' REQUIRE X509")
        yield MonitoredWithTls(mysql, mysql_oldest)
        mysql.drop_user(USER)
        mysql.drop_user(CERTIFIED)


class TestGeneralLogOfTheOldestRelease(Conformance):
    @pytest.fixture(scope="class")
    @classmethod
    def monitored(cls, mysql_oldest: MySQLServer) -> Iterator[Monitored]:
        mysql_oldest.create_user(USER, USER_PASSWORD)
        yield MonitoredGeneralLog(mysql_oldest)
        mysql_oldest.drop_user(USER)
