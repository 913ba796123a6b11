"""The four modes of TLS: what each driver can do of them, and what is told of the rest.

The conformance suite looks at what goes over the wire.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from dbaudit.core.database import SslMode
from dbaudit.core.errors import ConfigurationError, DbauditError, ErrorCode
from dbaudit.engines.sqlserver import SQLServerEngine

from tests.engines.sqlserver.double import SqlServerDouble, encrypting, server_2022
from tests.patience import PATIENCE_SECONDS
from tests.servers.certificates import CertificateAuthority

ENGINE = SQLServerEngine()
Start = Callable[..., SqlServerDouble]
VERIFYING = [SslMode.VERIFY_CA, SslMode.VERIFY_FULL]


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


def test_server_that_cannot_encrypt_is_told_so(start: Start, driver: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        ENGINE.open(start(server_2022()).target(driver, ssl_mode=SslMode.REQUIRE))
    assert raised.value.code is ErrorCode.TLS_FAILED
    assert "offers no TLS" in raised.value.message


def test_server_that_forces_encryption_is_told_so(
    start: Start, freetds: str, authority: CertificateAuthority
) -> None:
    double = start(server_2022(), encrypting(authority, "127.0.0.1", required=True))
    with pytest.raises(ConfigurationError) as raised:
        ENGINE.open(double.target(freetds))
    assert raised.value.code is ErrorCode.TLS_FAILED
    assert "forces encryption" in raised.value.message


def test_microsofts_driver_encrypts_the_login_even_without_tls(
    start: Start, microsoft: str, authority: CertificateAuthority
) -> None:
    double = start(server_2022(), encrypting(authority, "127.0.0.1"))
    ENGINE.open(double.target(microsoft)).close()
    assert (double.tds.plain_logins, double.tds.encrypted_logins) == (1, 0)


@pytest.mark.parametrize("mode", VERIFYING)
def test_what_microsofts_driver_cannot_check_is_refused_and_not_left_out(
    start: Start, microsoft: str, authority: CertificateAuthority, mode: SslMode
) -> None:
    double = start(server_2022(), encrypting(authority, "127.0.0.1"))
    with pytest.raises(ConfigurationError) as raised:
        ENGINE.open(double.target(microsoft, ssl_mode=mode, ssl_ca=authority.certificate))
    assert raised.value.code is ErrorCode.TLS_FAILED
    assert "tdsodbc" in (raised.value.remedy or "")
    assert double.tds.encrypted_logins == 0


def test_freetds_is_taken_for_what_only_it_can_do(
    start: Start, microsoft: str, authority: CertificateAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyodbc.drivers", lambda: ["ODBC Driver 18 for SQL Server", "FreeTDS"])
    double = start(server_2022(), encrypting(authority, "127.0.0.1"))
    target = double.target(ssl_mode=SslMode.VERIFY_CA, ssl_ca=authority.certificate)
    with ENGINE.open(target) as session:
        detail = {diagnosis.code: diagnosis.detail for diagnosis in session.test().diagnoses}["connection"]
    assert "FreeTDS" in detail


_PROGRAM = """
import json, sys
sys.path[:0] = json.loads(sys.argv[1])
from dbaudit.core.database import SslMode, Target
from dbaudit.core.errors import DbauditError
from dbaudit.core.secret import Secret
from dbaudit.engines.sqlserver import SQLServerEngine
values = json.loads(sys.argv[2])
target = Target(database_id="db_1", database="master", username="dbaudit", ssl_mode=SslMode.VERIFY_FULL,
                password=Secret(values.pop("password")), connect_timeout_seconds=5.0, **values)
try:
    SQLServerEngine().open(target).close()
    print("connected")
except DbauditError as error:
    print(error.code.value)
"""


@pytest.mark.parametrize(
    ("names", "told"),
    [(("localhost", "127.0.0.1"), "connected"), (("elsewhere.example",), "certificate_invalid")],
)
def test_each_driver_checks_name_and_authority_against_those_of_the_host(
    start: Start,
    driver: str,
    authority: CertificateAuthority,
    tmp_path: Path,
    names: tuple[str, ...],
    told: str,
) -> None:
    if driver == "FreeTDS" and told == "connected":
        pytest.skip("GnuTLS, which Debian's FreeTDS uses, takes its authorities from no variable")
    double = start(server_2022(), encrypting(authority, *names))
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(authority.certificate)
    target = double.target(driver, host="localhost")
    values = {"host": target.host, "port": target.port, "password": target.password.reveal()}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            _PROGRAM,
            json.dumps(sys.path),
            json.dumps({**values, "options": target.options}),
        ],
        env={**os.environ, "SSL_CERT_FILE": str(bundle)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.stdout.strip() == told, done.stderr


def test_connections_made_at_once_keep_their_own_authorities(
    start: Start, freetds: str, authority: CertificateAuthority
) -> None:
    """freetds.conf is one for the whole process; each of the connections must find its own part of it."""
    stranger = CertificateAuthority("somebody else")
    double = start(server_2022(), encrypting(authority, "127.0.0.1"))
    outcomes: list[tuple[bool, bool]] = []

    def connect(trusted: bool) -> None:
        ca = (authority if trusted else stranger).certificate
        for _each in range(15):
            try:
                ENGINE.open(double.target(freetds, ssl_mode=SslMode.VERIFY_FULL, ssl_ca=ca)).close()
                outcomes.append((trusted, True))
            except DbauditError:
                outcomes.append((trusted, False))

    threads = [threading.Thread(target=connect, args=(trusted,)) for trusted in (True, False) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    assert len(outcomes) == 90
    assert all(trusted is connected for trusted, connected in outcomes)


def test_users_own_freetds_conf_has_no_say(
    start: Start, freetds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".freetds.conf").write_text("[global]\nhost = 192.0.2.1\nport = 9\nencryption = require\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FREETDSCONF", str(tmp_path / ".freetds.conf"))
    ENGINE.open(start(server_2022()).target(freetds)).close()
