"""Reaching a server and logging in, through both drivers; every failure in words of our own."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from dbaudit.core.database import Target
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.core.secret import Secret
from dbaudit.engines.sqlserver import SQLServerEngine

from tests.engines.sqlserver.double import LOGIN, PASSWORD, SqlServerDouble, server_2022
from tests.engines.sqlserver.tds_server import SqlError
from tests.servers.certificates import CertificateAuthority

ENGINE = SQLServerEngine()
Start = Callable[..., SqlServerDouble]

REFUSALS = {
    "disabled": (18470, "The account is disabled.", ErrorCode.AUTHENTICATION_FAILED, "[{login}] ENABLE"),
    "locked": (18486, "Currently locked out.", ErrorCode.AUTHENTICATION_FAILED, "[{login}] WITH PASSWORD"),
    "expired": (18487, "The password has expired.", ErrorCode.AUTHENTICATION_FAILED, "CHECK_EXPIRATION"),
    "windows only": (18452, "Untrusted domain.", ErrorCode.AUTHENTICATION_FAILED, "authentication mode"),
    "full": (17809, "Could not connect: the maximum.", ErrorCode.TOO_MANY_CONNECTIONS, "user connections"),
    "upgrading": (18401, "Server is in script upgrade mode.", ErrorCode.SERVER_STARTING, None),
}


def refusal(target: Target) -> DbauditError:
    """The error with which a session is refused; it never holds the password."""
    with pytest.raises(DbauditError) as raised:
        ENGINE.open(target).close()
    told = f"{raised.value.message} {raised.value.remedy} {raised.value.details}"
    assert target.password.reveal() not in told
    return raised.value


@pytest.mark.parametrize(
    "password",
    [PASSWORD, "ends}", "{begins", "a;b=c", " blanks ", "quotes'\"", "é日本", "}", "x" * 127],
)
def test_password_of_any_characters_logs_in(start: Start, driver: str, password: str) -> None:
    model = server_2022()
    model.passwords[LOGIN] = password
    double = start(model)
    with ENGINE.open(double.target(driver, password=Secret(password))) as session:
        assert session.test().reachable


def test_password_that_freetds_cannot_be_told_is_refused_before_it_is_sent(
    start: Start, freetds: str
) -> None:
    error = refusal(start(server_2022()).target(freetds, password=Secret("a};b")))
    assert error.code is ErrorCode.VALIDATION_FAILED
    assert error.details[0].pointer == "/password"


def test_password_with_brace_and_semicolon_logs_in_with_microsofts_driver(
    start: Start, microsoft: str
) -> None:
    model = server_2022()
    model.passwords[LOGIN] = "a};b"
    ENGINE.open(start(model).target(microsoft, password=Secret("a};b"))).close()


def test_database_that_is_not_there_is_told(start: Start, driver: str) -> None:
    error = refusal(start(server_2022()).target(driver, database="no]such"))
    assert error.code is ErrorCode.DATABASE_NOT_FOUND
    assert "USE [no]]such];" in (error.remedy or "")


@pytest.mark.parametrize(("number", "text", "code", "remedy"), REFUSALS.values(), ids=REFUSALS)
def test_refused_login_is_told_with_its_reason(
    start: Start, driver: str, number: int, text: str, code: ErrorCode, remedy: str | None
) -> None:
    model = server_2022()
    model.refuses_logins = (number, text)
    error = refusal(start(model).target(driver))
    assert error.code is code
    assert (remedy or "").format(login=LOGIN) in (error.remedy or "")
    assert isinstance(error, TransientError) is (
        code in (ErrorCode.TOO_MANY_CONNECTIONS, ErrorCode.SERVER_STARTING)
    )


@contextlib.contextmanager
def saying(words: bytes, *, first: bool) -> Iterator[int]:
    """A server that says something and hangs up: at once, or when it is spoken to."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                with connection:
                    if not first:
                        connection.recv(4096)
                    connection.sendall(words)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("words", "first", "who"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", True, "SSH"),
        (b"J\0\0\0\x0a8.0.36\0", True, "MySQL"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "web server"),
        (b"-ERR unknown command\r\n", False, "Redis"),
    ],
)
def test_another_server_at_the_port_is_named(driver: str, words: bytes, first: bool, who: str) -> None:
    with saying(words, first=first) as port, SqlServerDouble(server_2022()) as double:
        error = refusal(double.target(driver, port=port, connect_timeout_seconds=2.0))
    assert isinstance(error, ConfigurationError)
    assert error.code is ErrorCode.WRONG_PROTOCOL
    assert who in error.message


def test_statement_that_stops_in_the_middle_of_its_answer_is_given_up(start: Start, driver: str) -> None:
    model = server_2022()
    double = start(model)
    target = double.target(driver, statement_timeout_seconds=1.0, options={"start_from": "beginning"})
    with ENGINE.open(target) as session:
        cursor = session.read(None, 1).cursor
        for _each in range(500):
            model.record(model.audits[0], "BCM", statement="select " + "x" * 500)
        session.read(cursor, 1000)
        double.tds.stalling.set()
        began = time.monotonic()
        with pytest.raises(TransientError) as raised:
            session.read(cursor, 1 << 20)
        assert raised.value.code is ErrorCode.STATEMENT_TIMEOUT
        assert time.monotonic() - began < 30


def test_connection_that_breaks_is_told_as_lost(start: Start, driver: str) -> None:
    double = start(server_2022())
    with ENGINE.open(double.target(driver)) as session:
        double.tds.drop_connections()
        with pytest.raises(TransientError) as raised:
            session.health()
    assert raised.value.code is ErrorCode.CONNECTION_LOST


def test_error_of_the_server_in_a_statement_is_told_with_its_number(start: Start, driver: str) -> None:
    double = start(server_2022())

    def fail(sql: str) -> None:
        if "sys.server_file_audits" in sql:
            raise SqlError(8180, f"Statement(s) could not be prepared. {PASSWORD}")

    with ENGINE.open(double.target(driver)) as session:
        double.answers.failing = fail
        with pytest.raises(ConfigurationError) as raised:
            session.read(None, 1)
    assert "8180" in raised.value.message
    assert PASSWORD not in raised.value.message


def test_client_certificate_is_refused_by_its_field(start: Start, driver: str) -> None:
    client = CertificateAuthority().client(LOGIN)
    error = refusal(
        start(server_2022()).target(driver, ssl_cert=client.certificate, ssl_key=Secret(client.key))
    )
    assert error.code is ErrorCode.VALIDATION_FAILED
    assert error.details[0].pointer == "/ssl_cert"


@pytest.mark.parametrize("host", ["a b", "x\n[global]", "h;PWD=x"])
def test_host_that_is_none_reaches_no_driver(start: Start, freetds: str, host: str) -> None:
    error = refusal(start(server_2022()).target(freetds, host=host))
    assert error.code is ErrorCode.VALIDATION_FAILED
    assert error.details[0].pointer == "/host"


@pytest.mark.parametrize("name", ["No Such Driver", "/nowhere/libtdsodbc.so"])
def test_driver_that_is_not_installed_is_told_by_its_option(start: Start, name: str) -> None:
    error = refusal(start(server_2022()).target(name))
    assert error.code is ErrorCode.DRIVER_MISSING
    assert error.details[0].pointer == "/audit_options/engine/odbc_driver"


def test_host_without_any_driver_is_told_what_to_install(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyodbc.drivers", lambda: ["PostgreSQL Unicode"])
    error = refusal(start(server_2022()).target())
    assert error.code is ErrorCode.DRIVER_MISSING
    assert "tdsodbc" in (error.remedy or "")


def test_missing_python_package_is_told_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    assert ENGINE.driver_status().problem
    with pytest.raises(ConfigurationError) as raised, SqlServerDouble(server_2022()) as double:
        ENGINE.open(double.target())
    assert raised.value.code is ErrorCode.DRIVER_MISSING
    assert "pip install 'dbaudit[sqlserver]'" in (raised.value.remedy or "")
    assert "tdsodbc" in (raised.value.remedy or "")


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"source": "syslog"}, "/audit_options/engine"),
        ({"audit": ""}, "/audit_options/engine/audit"),
        ({"audit": "a", "source": "extended_events"}, "/audit_options/engine/audit"),
        ({"poll_seconds": -1}, "/audit_options/engine/poll_seconds"),
        ({"no_such_option": 1}, "/audit_options/engine"),
    ],
)
def test_option_that_is_wrong_is_named(start: Start, options: dict[str, object], pointer: str) -> None:
    error = refusal(start(server_2022()).target(options=options))
    assert error.code is ErrorCode.VALIDATION_FAILED
    assert error.details[0].pointer == pointer
