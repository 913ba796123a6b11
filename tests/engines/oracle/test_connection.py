"""Reaching a server with the real driver over real sockets, and what each failure is told as."""

import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import oracledb
import pytest
from dbaudit.core.database import SslMode
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode, TransientError
from dbaudit.engines.oracle import OracleEngine
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.failures import login_failure, statement_failure
from dbaudit.engines.oracle.loop import OwnLoop
from dbaudit.testing.certificates import CertificateAuthority
from dbaudit.testing.wire import listening, never_answers, speaks_http, speaks_ssh, unused_port

from tests.engines.oracle.recorded import PASSWORD, RecordedServer, connect, database_error, target_of


def refused(**values: Any) -> DbauditError:
    with pytest.raises(DbauditError) as raised:
        OracleEngine().open(target_of(**values))
    assert PASSWORD not in str(raised.value)
    assert "\n" not in raised.value.message
    return raised.value


def refuses(code: int) -> Callable[[Any], None]:
    """A listener that refuses the connect packet, as a real one does, with one of its codes."""

    def answer(connection: Any) -> None:
        connection.recv(8192)
        words = (
            f"(DESCRIPTION=(TMP=)(VSNNUM=318767104)(ERR={code})(ERROR_STACK=(ERROR=(CODE={code})(EMFI=4))))"
        )
        data = struct.pack(">BBH", 34, 0, len(words)) + words.encode()
        connection.sendall(struct.pack(">HHBBH", 8 + len(data), 0, 4, 0, 0) + data)
        connection.recv(1)

    return answer


@pytest.mark.parametrize(
    ("code", "expected", "transient"),
    [
        (12514, ErrorCode.DATABASE_NOT_FOUND, False),
        (12505, ErrorCode.DATABASE_NOT_FOUND, False),
        (12528, ErrorCode.SERVER_STARTING, True),
        (12526, ErrorCode.SERVER_STARTING, True),
        (12516, ErrorCode.TOO_MANY_CONNECTIONS, True),
        (12520, ErrorCode.TOO_MANY_CONNECTIONS, True),
        (12537, ErrorCode.CONNECTION_LOST, True),
        (12999, ErrorCode.CONNECTION_REFUSED, True),
    ],
)
def test_a_listener_that_refuses_is_told_by_its_code(code: int, expected: ErrorCode, transient: bool) -> None:
    with listening(refuses(code)) as port:
        error = refused(port=port)
    assert error.code is expected
    assert isinstance(error, TransientError) is transient


def test_nothing_that_listens_and_no_such_host_are_told() -> None:
    assert refused(port=unused_port()).code is ErrorCode.CONNECTION_REFUSED
    assert refused(host="no-such-host.invalid").code is ErrorCode.HOST_NOT_FOUND
    assert refused(host="é" * 100).code is ErrorCode.HOST_NOT_FOUND


@pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.REQUIRE])
def test_a_server_that_never_answers_is_given_up_and_its_connection_closed(mode: SslMode) -> None:
    with listening(never_answers) as port:
        started = time.monotonic()
        error = refused(port=port, ssl_mode=mode, connect_timeout_seconds=1.0)
        assert time.monotonic() - started < 10
    assert (error.code, isinstance(error, TransientError)) == (ErrorCode.CONNECTION_TIMEOUT, True)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("asyncio")] == []


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [(speaks_http, "a web server"), (speaks_ssh, "an SSH server")],
    ids=["http", "ssh"],
)
@pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.REQUIRE])
def test_another_protocol_is_named(behaviour: Any, words: str, mode: SslMode) -> None:
    with listening(behaviour) as port:
        error = refused(port=port, ssl_mode=mode)
    assert error.code is ErrorCode.WRONG_PROTOCOL
    assert words in error.message


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


def shakes_hands(context: ssl.SSLContext, seen: list[Any] | None = None) -> Callable[[Any], None]:
    """A listener that takes TLS and then refuses with 12514, which shows that the handshake was over."""

    def answer(connection: Any) -> None:
        try:
            wrapped = context.wrap_socket(connection, server_side=True)
        except (ssl.SSLError, OSError):
            return
        if seen is not None:
            seen.append(wrapped.getpeercert())
        refuses(12514)(wrapped)

    return answer


def server_context(authority: CertificateAuthority, tmp_path: Any, name: str) -> ssl.SSLContext:
    credential = authority.server(name)
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text(credential.certificate)
    key.write_text(credential.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize(
    ("mode", "name", "own_authority", "expected"),
    [
        (SslMode.REQUIRE, "elsewhere.example", False, ErrorCode.DATABASE_NOT_FOUND),
        (SslMode.VERIFY_CA, "elsewhere.example", True, ErrorCode.DATABASE_NOT_FOUND),
        (SslMode.VERIFY_CA, "localhost", False, ErrorCode.CERTIFICATE_INVALID),
        (SslMode.VERIFY_FULL, "localhost", True, ErrorCode.DATABASE_NOT_FOUND),
        (SslMode.VERIFY_FULL, "elsewhere.example", True, ErrorCode.CERTIFICATE_INVALID),
        (SslMode.VERIFY_FULL, "localhost", False, ErrorCode.CERTIFICATE_INVALID),
    ],
)
def test_tls_checks_what_the_mode_says(
    authority: CertificateAuthority,
    tmp_path: Any,
    mode: SslMode,
    name: str,
    own_authority: bool,
    expected: ErrorCode,
) -> None:
    ca = (authority if own_authority else CertificateAuthority()).certificate
    with listening(shakes_hands(server_context(authority, tmp_path, name))) as port:
        error = refused(
            host="localhost", port=port, ssl_mode=mode, ssl_ca=None if mode is SslMode.REQUIRE else ca
        )
    assert error.code is expected


def test_a_listener_without_tls_is_told(authority: CertificateAuthority) -> None:
    def answers_in_clear(connection: Any) -> None:
        connection.recv(8192)
        connection.sendall(b"\x00\x08\x00\x00\x0b\x00\x00\x00" * 4)
        connection.recv(1)

    with listening(answers_in_clear) as port:
        error = refused(port=port, ssl_mode=SslMode.REQUIRE)
    assert (error.code, isinstance(error, ConfigurationError)) == (ErrorCode.TLS_FAILED, True)


def test_ssl_mode_disable_at_a_port_with_tls_is_told(authority: CertificateAuthority, tmp_path: Any) -> None:
    with listening(shakes_hands(server_context(authority, tmp_path, "localhost"))) as port:
        error = refused(port=port)
    assert error.code in (ErrorCode.TLS_FAILED, ErrorCode.CONNECTION_LOST)


@pytest.mark.parametrize("field", ["host", "database"])
@pytest.mark.parametrize("value", ["", "a)(b", "a=b", "x\0", "a'b"])
def test_what_would_change_the_connect_descriptor_is_refused_by_its_field(field: str, value: str) -> None:
    error = refused(**{field: value})
    assert error.code is ErrorCode.VALIDATION_FAILED
    assert [detail.pointer for detail in error.details] == [f"/{field}"]


@pytest.mark.parametrize(
    ("words", "code", "transient"),
    [
        ("ORA-01017: invalid username/password; logon denied", ErrorCode.AUTHENTICATION_FAILED, False),
        ("ORA-28000: The account is locked.", ErrorCode.AUTHENTICATION_FAILED, False),
        ("ORA-28001: The password has expired.", ErrorCode.AUTHENTICATION_FAILED, False),
        ("ORA-01045: user lacks CREATE SESSION privilege", ErrorCode.PERMISSION_MISSING, False),
        ("ORA-01033: ORACLE initialization or shutdown in progress", ErrorCode.SERVER_STARTING, True),
        ("ORA-00020: maximum number of processes exceeded", ErrorCode.TOO_MANY_CONNECTIONS, True),
        ("DPY-3010: connections to this database server version", ErrorCode.SERVER_NOT_SUPPORTED, False),
        ("DPY-3015: password verifier type 0x939", ErrorCode.AUTHENTICATION_FAILED, False),
        ("DPY-3001: Native Network Encryption", ErrorCode.CONFIGURATION_INVALID, False),
        ("ORA-99999: something new", ErrorCode.CONNECTION_REFUSED, True),
    ],
)
def test_each_refusal_of_the_log_in_has_its_code(words: str, code: ErrorCode, transient: bool) -> None:
    error = login_failure(target_of(), database_error(words))
    assert error.code is code
    assert isinstance(error, TransientError) is transient


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("DPY-4024: call timeout of 2000 ms exceeded", ErrorCode.STATEMENT_TIMEOUT),
        ("ORA-03113: end-of-file on communication channel", ErrorCode.CONNECTION_LOST),
        ("DPY-4011: the database or network closed the connection", ErrorCode.CONNECTION_LOST),
        ("ORA-00942: table or view does not exist", ErrorCode.PERMISSION_MISSING),
        ("ORA-01555: snapshot too old", ErrorCode.CONNECTION_LOST),
        ("ORA-00904: invalid identifier", ErrorCode.SERVER_NOT_SUPPORTED),
    ],
)
def test_each_failure_of_a_statement_has_its_code(words: str, code: ErrorCode) -> None:
    assert statement_failure(target_of(), database_error(words)).code is code


def test_no_message_holds_the_password() -> None:
    error = login_failure(target_of(), database_error(f"ORA-99999: {PASSWORD}\nand more"))
    assert PASSWORD not in error.message
    assert "\n" not in error.message


class Hanging:
    """A connection whose statements never end."""

    version = "19.21.0.0.0"

    class _Cursor:
        arraysize = prefetchrows = 0

        async def execute(self, *_arguments: Any, **_options: Any) -> None:
            import asyncio

            await asyncio.sleep(3600)

        def close(self) -> None:
            pass

    def cursor(self) -> Any:
        return self._Cursor()

    async def close(self) -> None:
        raise oracledb.InterfaceError("DPY-1001: not connected to database")


def test_a_statement_that_hangs_is_given_up_and_so_is_the_connection() -> None:
    connection = ServerConnection(Hanging(), OwnLoop(), target_of(statement_timeout_seconds=0.1))
    with pytest.raises(TransientError) as raised:
        connection.rows("SELECT 1 FROM dual")
    assert raised.value.code is ErrorCode.STATEMENT_TIMEOUT
    with pytest.raises(TransientError) as raised:
        connection.rows("SELECT 1 FROM dual")
    assert raised.value.code is ErrorCode.CONNECTION_LOST
    connection.close()


def test_a_wrong_password_is_told_and_closing_twice_is_fine() -> None:
    server = RecordedServer()
    connection = connect(server)
    connection.close()
    connection.close()
    server.passwords["DBAUDIT"] = "another"
    with pytest.raises(ConfigurationError) as raised:
        connect(server)
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED
