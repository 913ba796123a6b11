"""TLS to a server: each mode does what its name says, with inline PEM, and no key on the disk."""

import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.secret import Secret
from dbaudit.engines.postgresql.connection import connect

from tests.engines.postgresql.targets import COLLECTOR, PASSWORD, target
from tests.servers.certificates import CertificateAuthority
from tests.servers.postgresql import PostgresServer, Tls

STRANGER = CertificateAuthority("somebody else")
IN_USE = "select ssl, version, client_dn from pg_stat_ssl where pid = pg_backend_pid()"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(17, tls=Tls.REQUIRED) as started:
        started.create_collector_role(COLLECTOR, PASSWORD)
        yield started


@pytest.fixture(scope="module")
def by_certificate() -> Iterator[PostgresServer]:
    with PostgresServer(17, tls=Tls.CLIENT_CERTIFICATE) as started:
        started.create_collector_role(COLLECTOR, PASSWORD)
        yield started


def in_use(wanted: Target) -> tuple[bool, str | None, str | None]:
    """Whether the session is encrypted, how, and the client certificate's name, as the server sees it."""
    connection = connect(wanted)
    ssl, version, client = connection.row(IN_USE)
    assert connection.tls_in_use is ssl
    connection.close()
    return ssl, version, client


def refused(wanted: Target) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as raised:
        connect(wanted)
    assert wanted.ssl_key is None or wanted.ssl_key.reveal() not in repr(raised.value)
    return raised.value


def with_certificate(server: PostgresServer, user: str = COLLECTOR) -> Target:
    credential = server.client_certificate(user)
    return target(
        server,
        password=Secret(""),
        ssl_mode=SslMode.VERIFY_FULL,
        ssl_ca=server.ca_certificate,
        ssl_cert=credential.certificate,
        ssl_key=Secret(credential.key),
    )


# -- the modes


@pytest.mark.parametrize("ssl_mode", [SslMode.REQUIRE, SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
def test_each_mode_encrypts(server: PostgresServer, ssl_mode: SslMode) -> None:
    wanted = target(server, ssl_mode=ssl_mode, ssl_ca=server.ca_certificate)
    assert in_use(wanted)[:2] == (True, "TLSv1.3")


def test_disable_does_not_encrypt(postgres: PostgresServer) -> None:
    assert not connect(
        target(postgres, username="postgres", password=Secret(postgres.superuser_password))
    ).tls_in_use


def test_disable_on_a_server_that_wants_tls_is_told_with_the_mode_to_set(server: PostgresServer) -> None:
    error = refused(target(server, ssl_mode=SslMode.DISABLE))
    assert error.code is ErrorCode.AUTHENTICATION_FAILED
    assert error.remedy is not None
    assert "verify-full" in error.remedy


def test_server_without_tls_is_told(postgres: PostgresServer) -> None:
    error = refused(target(postgres, ssl_mode=SslMode.REQUIRE))
    assert error.code is ErrorCode.TLS_FAILED
    assert error.remedy is not None
    assert "ssl = on" in error.remedy


@pytest.mark.parametrize("ssl_mode", [SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
def test_certificate_of_another_authority_is_refused(server: PostgresServer, ssl_mode: SslMode) -> None:
    error = refused(target(server, ssl_mode=ssl_mode, ssl_ca=STRANGER.certificate))
    assert error.code is ErrorCode.CERTIFICATE_INVALID
    assert error.remedy is not None
    assert "ssl_ca" in error.remedy


@pytest.mark.parametrize("ssl_mode", [SslMode.VERIFY_CA, SslMode.VERIFY_FULL])
def test_without_a_ca_only_public_authorities_are_trusted(
    server: PostgresServer, ssl_mode: SslMode, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    bundle.write_text(STRANGER.certificate)
    assert refused(target(server, ssl_mode=ssl_mode)).code is ErrorCode.CERTIFICATE_INVALID
    bundle.write_text(STRANGER.certificate + server.ca_certificate)
    assert in_use(target(server, ssl_mode=ssl_mode))[0]


def test_other_host_name_is_refused_by_verify_full_and_taken_by_verify_ca(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", (server.host, server.port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: [address])
    named = {"host": "db.example.com", "ssl_ca": server.ca_certificate}
    assert in_use(target(server, ssl_mode=SslMode.VERIFY_CA, **named))[0]
    error = refused(target(server, ssl_mode=SslMode.VERIFY_FULL, **named))
    assert error.code is ErrorCode.CERTIFICATE_INVALID
    assert "host name" in error.message


def test_require_does_not_check_even_where_the_home_has_a_root_certificate(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").write_text(STRANGER.certificate)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert in_use(target(server, ssl_mode=SslMode.REQUIRE))[0]
    # Nor where one is given.
    assert in_use(target(server, ssl_mode=SslMode.REQUIRE, ssl_ca=STRANGER.certificate))[0]


# -- client certificates


def test_client_certificate_logs_in_without_a_password(by_certificate: PostgresServer) -> None:
    assert in_use(with_certificate(by_certificate)) == (True, "TLSv1.3", f"/CN={COLLECTOR}")


def test_certificate_of_another_user_is_refused(by_certificate: PostgresServer) -> None:
    error = refused(with_certificate(by_certificate, "somebody"))
    assert error.code is ErrorCode.AUTHENTICATION_FAILED
    assert error.remedy is not None
    assert COLLECTOR in error.remedy


def test_missing_client_certificate_is_told(by_certificate: PostgresServer) -> None:
    error = refused(target(by_certificate, ssl_mode=SslMode.REQUIRE))
    assert error.code is ErrorCode.AUTHENTICATION_FAILED
    assert error.remedy is not None
    assert "ssl_cert" in error.remedy


def test_key_is_never_written_to_a_file_and_gone_after_the_login(
    by_certificate: PostgresServer, opened: list[str]
) -> None:
    connection = connect(with_certificate(by_certificate))
    held = [path.readlink() for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    connection.close()
    assert opened == []
    assert not any("memfd:pem" in str(path) for path in held)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """The paths that Python opens during a test; those of descriptors, which have no path, are left out."""
    _opened.clear()
    _watching.set()
    yield _opened
    _watching.clear()


_opened: list[str] = []
_watching = threading.Event()


def _note_path(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watching.is_set() and isinstance(arguments[0], str | bytes):
        _opened.append(str(arguments[0]))


sys.addaudithook(_note_path)


# -- PEM that is none


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("ssl_ca", "not a certificate"),
        ("ssl_ca", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("ssl_cert", "not a certificate"),
        ("ssl_key", "not a key"),
        ("ssl_key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
    ],
)
def test_pem_that_is_none_is_told_with_its_field(
    by_certificate: PostgresServer, field: str, text: str
) -> None:
    fields = {
        name: getattr(with_certificate(by_certificate), name) for name in ("ssl_ca", "ssl_cert", "ssl_key")
    }
    fields[field] = Secret(text) if field == "ssl_key" else text
    error = refused(target(by_certificate, ssl_mode=SslMode.VERIFY_FULL, **fields))
    assert error.code is ErrorCode.CERTIFICATE_INVALID
    assert [detail.pointer for detail in error.details] == [f"/{field}"]
    assert text not in error.message


def test_certificate_and_key_need_each_other(by_certificate: PostgresServer) -> None:
    whole = with_certificate(by_certificate)
    for given, missing in (("ssl_cert", "/ssl_key"), ("ssl_key", "/ssl_cert")):
        error = refused(target(by_certificate, ssl_mode=SslMode.REQUIRE, **{given: getattr(whole, given)}))
        assert [detail.pointer for detail in error.details] == [missing]


def test_key_of_another_certificate_is_told(by_certificate: PostgresServer) -> None:
    whole = with_certificate(by_certificate)
    other = by_certificate.client_certificate(COLLECTOR)
    error = refused(
        target(by_certificate, ssl_mode=SslMode.REQUIRE, ssl_cert=whole.ssl_cert, ssl_key=Secret(other.key))
    )
    assert [detail.pointer for detail in error.details] == ["/ssl_key"]


def test_key_with_a_passphrase_is_told() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, COLLECTOR)])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"passphrase"),
    )
    with pytest.raises(ConfigurationError) as raised:
        connect(
            Target(
                database_id="db_test",
                host="127.0.0.1",
                port=1,
                database="postgres",
                username=COLLECTOR,
                password=Secret(""),
                ssl_mode=SslMode.REQUIRE,
                ssl_cert=certificate.sign(key, hashes.SHA256())
                .public_bytes(serialization.Encoding.PEM)
                .decode(),
                ssl_key=Secret(encrypted.decode()),
            )
        )
    assert [detail.pointer for detail in raised.value.details] == ["/ssl_key"]
    assert "passphrase" in raised.value.message
