"""MariaDB servers of the tests, as the conformance kit wants them told."""

import contextlib
import os
import random
from typing import Any

import msgspec
import pymysql
from dbaudit.core.secret import Secret
from dbaudit.engine import SslMode, Target
from dbaudit.engines.mariadb import MariaDBEngine
from dbaudit.engines.mysql_protocol.general_log import RETIRED_ROWS
from dbaudit.testing import Monitored, Visitor
from dbaudit.testing.monitored import Mutate

from tests.engines.mariadb.targets import COLLECTOR, target
from tests.servers.mariadb import MariaDBServer, Tls
from tests.servers.mysql import quoted

USER, USER_PASSWORD = "lena", "right"
CERTIFIED = "certified"
ACCOUNT = f"{COLLECTOR}@'127.0.0.1'"


class Client(Visitor):
    user = USER

    def __init__(self, server: MariaDBServer) -> None:
        self._connection = server.connect(USER, USER_PASSWORD)

    def run(self, text: str) -> str:
        statement = f"select {quoted(text)}"
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
        return statement

    def leave(self) -> None:
        with contextlib.suppress(pymysql.Error):
            self._connection.close()


class MonitoredMariaDB(Monitored):
    engine = MariaDBEngine()

    def __init__(self, server: MariaDBServer, **options: str) -> None:
        self._server = server
        self._options = options

    def target(self) -> Target:
        mode = SslMode.DISABLE if self._server.tls is Tls.OFF else SslMode.REQUIRE
        return target(self._server, ssl_mode=mode, options=self._options)

    def visit(self) -> Visitor:
        return Client(self._server)

    def fail_to_log_in(self) -> str:
        with contextlib.suppress(pymysql.err.OperationalError):
            self._server.connect(USER, "wrong")
        return USER

    def tls_target(self, mode: SslMode) -> Target:
        return target(self._server, ssl_mode=mode, ssl_ca=self._server.ca_certificate, options=self._options)

    def client_certificate_target(self) -> Target:
        credential = self._server.client_certificate(CERTIFIED)
        return target(
            self._server,
            username=CERTIFIED,
            ssl_mode=SslMode.VERIFY_FULL,
            ssl_ca=self._server.ca_certificate,
            ssl_cert=credential.certificate,
            ssl_key=Secret(credential.key),
            options=self._options,
        )

    def carry_out(self, remedy: str) -> None:
        for statement in remedy.partition(" -- ")[0].split(";"):
            if statement.strip():
                self._server.execute_admin(statement)


class MonitoredFile(MonitoredMariaDB):
    """server_audit, wherever its file is read."""

    def rotate(self) -> None:
        self._server.rotate_audit_file()

    def lose(self) -> None:
        os.truncate(self._server.audit_file, 0)

    def mutated(self, record: Any, mutate: Mutate, chance: random.Random) -> Any:
        return msgspec.structs.replace(record, data=mutate(record.data))

    def write_hostile(self, raw: bytes) -> None:
        with self._server.audit_file.open("ab") as log:
            log.write(raw)


class MonitoredRemotely(MonitoredFile):
    rights = ("file",)

    def revoke(self, right: str) -> None:
        self._server.execute_admin(f"revoke file on *.* from {ACCOUNT}")


class MonitoredGeneralLog(MonitoredMariaDB):
    rights = ("select_general_log",)
    mutations = 500
    # The server writes what is beyond the Basic Multilingual Plane as \xF0\x9F..., in the table's utf8.
    texts = tuple(text.replace("🐘", "ä") for text in Monitored.texts)

    def rotate(self) -> None:
        # So many rows that the table is retired.
        connection = self._server.connect(USER, USER_PASSWORD)
        with connection.cursor() as cursor:
            for _each in range(RETIRED_ROWS):
                cursor.execute("do 0")
        connection.close()

    def lose(self) -> None:
        self._server.execute_admin("truncate table mysql.general_log")

    def revoke(self, right: str) -> None:
        self._server.execute_admin(f"revoke select on mysql.general_log from {ACCOUNT}")

    def mutated(self, record: Any, mutate: Mutate, chance: random.Random) -> Any:
        rows = list(record.rows)
        place = chance.randrange(len(rows))
        rows[place] = mutate(rows[place])
        return msgspec.structs.replace(record, rows=tuple(rows))
