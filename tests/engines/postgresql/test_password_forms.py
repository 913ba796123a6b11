"""The password leaves the agent in a readable form only for a server whose certificate was checked."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.secret import Secret
from dbaudit.engines.postgresql.connection import connect

from tests.engines.postgresql.targets import PASSWORD, nobody, target
from tests.servers.listening import listening
from tests.servers.postgresql import PostgresServer, Tls

METHODS = ("password", "md5", "scram-sha-256")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that asks each role for its password in another form."""
    hba = [f'{kind} all "by_{method}" 127.0.0.1/32 {method}' for kind in ("host",) for method in METHODS]
    with PostgresServer(17, tls=Tls.OFFERED, hba=hba) as started:
        for method in METHODS:
            stored = "scram-sha-256" if method == "scram-sha-256" else "md5"
            started.execute_admin(f"alter system set password_encryption = '{stored}'")
            started.reload()
            started.create_role(f"by_{method}", PASSWORD)
        yield started


def login(server: PostgresServer, method: str, ssl_mode: SslMode, require_auth: str | None = None) -> Target:
    proven = ssl_mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL)
    return target(
        server,
        username=f"by_{method}",
        ssl_mode=ssl_mode,
        ssl_ca=server.ca_certificate if proven else None,
        options={} if require_auth is None else {"require_auth": require_auth},
    )


@pytest.mark.parametrize("ssl_mode", [SslMode.DISABLE, SslMode.REQUIRE])
@pytest.mark.parametrize("method", ["password", "md5"])
def test_a_server_that_is_not_checked_gets_no_readable_password(
    server: PostgresServer, method: str, ssl_mode: SslMode
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        connect(login(server, method, ssl_mode))
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED
    assert "in clear or as an MD5 hash" in raised.value.message
    assert "require_auth" in (raised.value.remedy or "")


@pytest.mark.parametrize("ssl_mode", [SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
@pytest.mark.parametrize("method", METHODS)
def test_a_server_that_is_checked_may_ask_for_any_form(
    server: PostgresServer, method: str, ssl_mode: SslMode
) -> None:
    connect(login(server, method, ssl_mode)).close()


@pytest.mark.parametrize("ssl_mode", [SslMode.DISABLE, SslMode.REQUIRE])
def test_scram_needs_no_checked_server(server: PostgresServer, ssl_mode: SslMode) -> None:
    connect(login(server, "scram-sha-256", ssl_mode)).close()


@pytest.mark.parametrize("method", ["password", "md5"])
def test_a_form_that_the_option_names_is_answered(server: PostgresServer, method: str) -> None:
    connect(login(server, method, SslMode.DISABLE, require_auth=method)).close()


def test_a_form_that_the_option_leaves_out_is_refused(server: PostgresServer) -> None:
    with pytest.raises(ConfigurationError):
        connect(login(server, "password", SslMode.VERIFY_FULL, require_auth="scram-sha-256"))


def test_a_rogue_server_that_asks_for_the_password_in_clear_never_reads_it() -> None:
    received: list[bytes] = []

    def thief(connection: socket.socket) -> None:
        received.append(connection.recv(4096))
        connection.sendall(b"R" + struct.pack("!II", 8, 3))  # AuthenticationCleartextPassword
        received.append(connection.recv(4096))

    with listening(thief) as port, pytest.raises(ConfigurationError) as raised:
        connect(nobody(port, ssl_mode=SslMode.DISABLE, password=Secret(PASSWORD)))
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED
    assert PASSWORD.encode() not in b"".join(received)
