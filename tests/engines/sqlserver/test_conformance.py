"""The conformance suite on the protocol double: both sources, through both drivers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest
from dbaudit.engine import SslMode, Target
from dbaudit.engines.sqlserver import SQLServerEngine
from dbaudit.testing import Monitored, Visitor
from dbaudit.testing.suite import Conformance

from tests.engines.sqlserver.double import (
    LOGIN,
    RIGHTS_2022,
    RIGHTS_FOR_EVENTS,
    SqlServerDouble,
    encrypting,
    server_2022,
    server_with_events,
)
from tests.engines.sqlserver.model import FileSet, Model
from tests.servers.certificates import CertificateAuthority

USER, USER_PASSWORD = "lena", "right"
_GRANT = re.compile(r"USE master; GRANT ([A-Z ]+) TO \[(\w+)\];")


class Client(Visitor):
    """An application that talks to the double through FreeTDS, as any other does."""

    user = USER

    def __init__(self, port: int, password: str = USER_PASSWORD) -> None:
        import pyodbc  # which cannot be imported without the system's package

        self._connection = pyodbc.connect(
            f"DRIVER=FreeTDS;SERVER=127.0.0.1;PORT={port};TDS_Version=7.4;ClientCharset=UTF-8;"
            f"UID={USER};PWD={password};APP=shop",
            autocommit=True,
            timeout=5,
        )

    def run(self, text: str) -> str:
        quoted = text.replace("'", "''")
        statement = f"SELECT N'{quoted}'"
        # A text without parameters goes as it stands; braces would be escapes of ODBC.
        self._connection.cursor().execute("{call sp_executesql(?)}", statement).fetchall()
        return statement

    def leave(self) -> None:
        self._connection.close()


class MonitoredSqlServer(Monitored):
    engine = SQLServerEngine()

    def __init__(
        self,
        double: SqlServerDouble,
        plain: SqlServerDouble,
        driver: str,
        rights: tuple[str, ...],
        authority: CertificateAuthority,
    ) -> None:
        self._double = double
        self._plain = plain
        self._driver = driver
        self._authority = authority
        self.rights = tuple(right.lower().replace(" ", "_") for right in rights)

    def target(self) -> Target:
        return self._double.target(self._driver)

    def visit(self) -> Visitor:
        return Client(self._double.port)

    def fail_to_log_in(self) -> str:
        import pyodbc

        with contextlib.suppress(pyodbc.Error):
            Client(self._double.port, "wrong")
        return USER

    def rotate(self) -> None:
        for files in self._files():
            files.roll_over()

    def lose(self) -> None:
        for files in self._files():
            files.files.clear()

    def write_hostile(self, raw: bytes) -> None:
        if not self._model.event_sessions:
            pytest.skip("a row of an audit file cannot be anything else than a row")
        for session in self._model.event_sessions:
            session.files.write([{"object_name": "login", "event_data": raw.decode("latin-1")}])

    def revoke(self, right: str) -> None:
        self._model.rights[LOGIN].remove(right.upper().replace("_", " "))

    def carry_out(self, remedy: str) -> None:
        grant = _GRANT.fullmatch(remedy)
        assert grant, remedy
        self._model.rights[grant[2]].add(grant[1])

    def tls_target(self, mode: SslMode) -> Target:
        if mode is SslMode.DISABLE and self._driver != "FreeTDS":
            pytest.skip("Microsoft's driver encrypts the log-in even then, where the server can")
        if mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL) and self._driver != "FreeTDS":
            pytest.skip(
                "Microsoft's driver takes no authority by itself; test_tls.py says what it tells then"
            )
        return self._double.target(self._driver, ssl_mode=mode, ssl_ca=self._authority.certificate)

    def no_tls_target(self) -> Target:
        return self._plain.target(self._driver, ssl_mode=SslMode.REQUIRE)

    @property
    def _model(self) -> Model:
        return self._double.model

    def _files(self) -> list[FileSet]:
        return [
            each.files  # type: ignore[attr-defined]  # both have them
            for each in (*self._model.audits, *self._model.event_sessions)
        ]


@contextlib.contextmanager
def monitoring(model: Model, driver: str, rights: tuple[str, ...]) -> Iterator[Monitored]:
    """A running double of which the agent's login has ``rights``."""
    authority = CertificateAuthority()
    model.live = True
    model.add_login(USER, USER_PASSWORD)
    model.rights[LOGIN] = set(rights)
    encryption = encrypting(authority, "localhost", "127.0.0.1")
    with SqlServerDouble(model, encryption) as double, SqlServerDouble(model) as plain:
        double.answers.visitors.add(USER)
        yield MonitoredSqlServer(double, plain, driver, rights, authority)


class TestAuditFilesThroughFreeTds(Conformance):
    @pytest.fixture
    def monitored(self, freetds: str) -> Iterator[Monitored]:
        with monitoring(server_2022(), freetds, RIGHTS_2022) as monitored:
            yield monitored


class TestAuditFilesThroughMicrosoftsDriver(Conformance):
    @pytest.fixture
    def monitored(self, microsoft: str) -> Iterator[Monitored]:
        with monitoring(server_2022(windows=True), microsoft, RIGHTS_2022) as monitored:
            yield monitored


class TestExtendedEvents(Conformance):
    @pytest.fixture
    def monitored(self, freetds: str) -> Iterator[Monitored]:
        with monitoring(server_with_events(), freetds, RIGHTS_FOR_EVENTS) as monitored:
            yield monitored
