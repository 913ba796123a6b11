"""A password is sent readable to no server unless an option says so: LOGIN7 hides nothing."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from dbaudit.core.database import SslMode
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode
from dbaudit.core.secret import Secret
from dbaudit.engines.sqlserver import SQLServerEngine
from dbaudit.engines.sqlserver.options import OPTIONS_SCHEMA

from tests.engines.sqlserver.double import PASSWORD, SqlServerDouble, encrypting, server_2022
from tests.servers.certificates import CertificateAuthority
from tests.servers.listening import listening

ENGINE = SQLServerEngine()
Start = Callable[..., SqlServerDouble]


def test_without_tls_no_log_in_is_tried_unless_the_option_says_so(start: Start, driver: str) -> None:
    double = start(server_2022())
    with pytest.raises(ConfigurationError) as raised:
        ENGINE.open(double.target(driver, options={"password_in_clear": False}))
    assert raised.value.code is ErrorCode.TLS_FAILED
    assert [detail.pointer for detail in raised.value.details] == ["/ssl_mode"]
    assert "password_in_clear" in (raised.value.remedy or "")
    assert (double.tds.plain_logins, double.tds.encrypted_logins) == (0, 0)
    ENGINE.open(double.target(driver, options={"password_in_clear": True})).close()
    assert double.tds.plain_logins == 1


def test_the_option_cannot_be_set_without_the_password() -> None:
    assert OPTIONS_SCHEMA["properties"]["password_in_clear"]["x-destination"] is True


def test_with_tls_the_option_is_not_needed(
    start: Start, driver: str, authority: CertificateAuthority
) -> None:
    double = start(server_2022(), encrypting(authority, "127.0.0.1"))
    target = double.target(driver, ssl_mode=SslMode.REQUIRE, options={"password_in_clear": False})
    ENGINE.open(target).close()
    assert (double.tds.plain_logins, double.tds.encrypted_logins) == (0, 1)


@pytest.mark.parametrize("mode", [SslMode.DISABLE, SslMode.REQUIRE])
def test_a_rogue_server_that_offers_no_tls_never_gets_the_password(
    start: Start, driver: str, mode: SslMode
) -> None:
    double = start(server_2022())
    options = {"password_in_clear": False}
    with _thief() as (port, received), pytest.raises(DbauditError):
        ENGINE.open(
            double.target(driver, port=port, ssl_mode=mode, connect_timeout_seconds=2.0, options=options)
        )
    assert _written(PASSWORD) not in b"".join(received)
    assert received or mode is SslMode.DISABLE


def test_the_thief_of_this_test_can_read(start: Start, driver: str) -> None:
    double = start(server_2022())
    with _thief() as (port, received), pytest.raises(DbauditError):
        ENGINE.open(double.target(driver, port=port, password=Secret(PASSWORD), connect_timeout_seconds=2.0))
    assert _written(PASSWORD) in b"".join(received)


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


def _written(password: str) -> bytes:
    """As LOGIN7 has it: halves of each byte swapped, then a fixed XOR ([MS-TDS] 2.2.6.4)."""
    raw = password.encode("utf-16-le")
    return bytes(((byte << 4 & 0xF0) | (byte >> 4)) ^ 0xA5 for byte in raw)


@contextlib.contextmanager
def _thief() -> Iterator[tuple[int, list[bytes]]]:
    """A server that offers no TLS and keeps what it is sent."""
    received: list[bytes] = []
    # VERSION and ENCRYPTION (2, not supported), then their values.
    body = struct.pack(">BHHBHHB", 0, 11, 6, 1, 17, 1, 0xFF) + bytes((16, 0, 16, 0, 0, 0)) + b"\x02"
    answer = struct.pack(">BBHHBB", 4, 1, len(body) + 8, 0, 1, 0) + body

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            received.append(connection.recv(65536))
            connection.sendall(answer)
            while said := connection.recv(65536):
                received.append(said)
                if b"\x10\x01" in said[:2]:
                    return

    with listening(serve) as port:
        yield port, received
