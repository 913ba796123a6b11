"""Reaching a server and logging in: what the suite does not try, in our words."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pymysql
import pytest
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import DbauditError, ErrorCode, TransientError
from dbaudit.core.secret import Secret
from dbaudit.engines.mysql import MySQLEngine
from dbaudit.engines.mysql_protocol.connection import connect

from tests.engines.crowded import version_asked_among_many_sockets
from tests.engines.mysql.targets import ACCOUNT, COLLECTOR, HOST, PASSWORD, nobody, target
from tests.servers.certificates import CertificateAuthority
from tests.servers.mysql import RELEASES, MySQLServer, Tls


def refusal(to: Target) -> DbauditError:
    with pytest.raises(DbauditError) as raised:
        connect(to)
    assert PASSWORD not in f"{raised.value} {raised.value.remedy}"
    return raised.value


@contextlib.contextmanager
def answering(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that does with each connection what it is given."""
    with socket.create_server((HOST, 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=_serve, args=(listener.accept()[0], behave), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]


def _serve(connection: socket.socket, behave: Callable[[socket.socket], None]) -> None:
    connection.settimeout(5)
    with connection, contextlib.suppress(OSError):
        behave(connection)


def test_postgresql_at_the_port_is_named() -> None:
    def postgresql(connection: socket.socket) -> None:
        if connection.recv(8):
            connection.sendall(b"S")

    with answering(postgresql) as port:
        error = refusal(nobody(port))
    assert error.code is ErrorCode.WRONG_PROTOCOL
    assert "PostgreSQL" in error.message


def test_x_protocol_at_the_port_is_named() -> None:
    def x_protocol(connection: socket.socket) -> None:
        connection.sendall(bytes.fromhex("050000000b08051a00"))
        connection.recv(1)

    with answering(x_protocol) as port:
        error = refusal(nobody(port))
    assert error.code is ErrorCode.WRONG_PROTOCOL
    assert "X protocol" in error.message


def _packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


@pytest.mark.parametrize("plugin", [b"mysql_clear_password", b"dialog", b"mysql_old_password"])
@pytest.mark.parametrize("ssl_mode", [SslMode.DISABLE, SslMode.REQUIRE])
def test_password_is_not_sent_in_clear_to_a_server_that_is_not_checked(
    ssl_mode: SslMode, plugin: bytes, tmp_path: Path
) -> None:
    received: list[bytes] = []
    credential = CertificateAuthority("nobody knows").server("127.0.0.1")
    (tmp_path / "pem").write_text(credential.key + credential.certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")

    def thief(connection: socket.socket) -> None:
        with_tls = ssl_mode is not SslMode.DISABLE
        connection.sendall(_packet(0, _greeting(with_tls=with_tls)))
        number = 2
        if with_tls:
            connection.recv(36)  # the request for TLS, before the handshake
            connection = context.wrap_socket(connection, server_side=True)
            number = 3
        received.append(connection.recv(4096))
        connection.sendall(_packet(number, b"\xfe" + plugin + b"\x00"))
        received.append(connection.recv(4096))

    with answering(thief) as port:
        error = refusal(nobody(port, ssl_mode=ssl_mode))
    assert received[0], "the server was not reached"
    assert error.code is ErrorCode.AUTHENTICATION_FAILED
    assert "in clear" in error.message
    assert PASSWORD.encode() not in b"".join(received)


@pytest.mark.parametrize("answers_before", [0, 1, 4])
def test_a_server_that_asks_for_a_file_gets_none_and_is_named(answers_before: int) -> None:
    received: list[bytes] = []

    def thief(connection: socket.socket) -> None:
        connection.sendall(_packet(0, _greeting()))
        connection.recv(4096)
        connection.sendall(_packet(2, _OK))
        for _answer in range(answers_before):
            connection.recv(4096)
            connection.sendall(_packet(1, _OK))
        while said := connection.recv(4096):
            received.append(said)
            connection.sendall(_packet(1, b"\xfb/etc/passwd"))

    with answering(thief) as port:
        error = refusal(nobody(port, ssl_mode=SslMode.DISABLE))
    assert error.code is ErrorCode.WRONG_PROTOCOL
    assert "asked for a file" in error.message
    assert b"root:" not in b"".join(received)


def _greeting(*, with_tls: bool = False) -> bytes:
    capabilities = struct.pack("<H", 0xFFFF if with_tls else 0xF7FF), struct.pack("<H", 0x81FF)
    greeting = b"\x0a8.4.2\x00" + struct.pack("<I", 7) + b"abcdefgh\x00" + capabilities[0] + b"\x21\x02\x00"
    return greeting + capabilities[1] + b"\x15" + bytes(10) + b"ijklmnopqrst\x00mysql_native_password\x00"


_OK = b"\x00\x00\x00\x02\x00\x00\x00"


def test_server_that_drips_bytes_is_given_up_in_time() -> None:
    def slowly(connection: socket.socket) -> None:
        connection.sendall(b"\xff\xff\x00\x00\x0a")
        stop = threading.Event()
        while not stop.wait(0.05):
            connection.sendall(b"8")

    with answering(slowly) as port:
        error = refusal(nobody(port))
    assert isinstance(error, TransientError)
    assert error.code is ErrorCode.CONNECTION_TIMEOUT


def test_statement_that_takes_too_long_is_given_up(mysql_of_each_release: MySQLServer) -> None:
    connection = connect(target(mysql_of_each_release, statement_timeout_seconds=0.5))
    with pytest.raises(TransientError) as raised:
        connection.rows(
            f"SELECT COUNT(*) FROM {', '.join(f'information_schema.collations c{n}' for n in range(6))}"
        )
    assert raised.value.code is ErrorCode.STATEMENT_TIMEOUT
    connection.close()
    # A server without max_execution_time would compute on for the rest of the tests.
    mine = "select id from information_schema.processlist where user = %s"
    for (number,) in mysql_of_each_release.execute_admin(mine, [COLLECTOR]):
        with contextlib.suppress(pymysql.err.OperationalError):  # it has ended by itself
            mysql_of_each_release.execute_admin("kill %s", [number])


def test_agent_with_thousands_of_open_sockets_still_connects(mysql_of_each_release: MySQLServer) -> None:
    assert version_asked_among_many_sockets(target(mysql_of_each_release)).startswith(RELEASES)


def test_account_states_are_told_apart(mysql_server: Callable[..., MySQLServer]) -> None:
    server = mysql_server("9.7", tls=Tls.REQUIRED)
    assert refusal(target(server)).code is ErrorCode.TLS_FAILED
    over_tls = target(server, ssl_mode=SslMode.REQUIRE)
    server.execute_admin(f"ALTER USER {ACCOUNT} ACCOUNT LOCK")
    assert "locked" in refusal(over_tls).message
    server.execute_admin(f"ALTER USER {ACCOUNT} ACCOUNT UNLOCK")
    server.execute_admin(f"ALTER USER {ACCOUNT} PASSWORD EXPIRE")
    assert "expired" in refusal(over_tls).message
    server.execute_admin(f"ALTER USER {ACCOUNT} PASSWORD EXPIRE NEVER")
    server.execute_admin(f"ALTER USER {ACCOUNT} IDENTIFIED BY 'another'")
    assert refusal(over_tls).code is ErrorCode.AUTHENTICATION_FAILED
    changed = target(server, ssl_mode=SslMode.REQUIRE, password=Secret("another"), database="nowhere")
    assert refusal(changed).code is ErrorCode.PERMISSION_MISSING
    server.execute_admin(f"GRANT SELECT ON *.* TO {ACCOUNT}")
    assert refusal(changed).code is ErrorCode.DATABASE_NOT_FOUND
    server.execute_admin("SET GLOBAL max_connections = 1")
    held = server.connect_admin()
    try:
        assert refusal(changed).code is ErrorCode.TOO_MANY_CONNECTIONS
    finally:
        held.close()


def test_server_offers_no_tls_is_told(mysql_oldest: MySQLServer) -> None:
    assert refusal(target(mysql_oldest, ssl_mode=SslMode.REQUIRE)).code is ErrorCode.TLS_FAILED


def test_socket_of_the_server_works_as_host(mysql: MySQLServer) -> None:
    mysql.create_user(COLLECTOR, PASSWORD, host="localhost")
    try:
        connect(target(mysql, host=str(mysql.socket))).close()
    finally:
        mysql.drop_user(COLLECTOR, host="localhost")


def test_lost_connection_is_told(mysql_server: Callable[..., MySQLServer]) -> None:
    server = mysql_server("5.6")
    with MySQLEngine().open(target(server)) as session:
        cursor = session.read(None, 1 << 20).cursor
        server.kill()
        with pytest.raises(TransientError) as raised:
            session.read(cursor, 1 << 20)
        assert raised.value.code is ErrorCode.CONNECTION_LOST
