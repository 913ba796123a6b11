"""The protocol double as the tests start it: a model, its answers, and a TDS server before them."""

from __future__ import annotations

import importlib.util
import os
import platform
import ssl
import tempfile
from pathlib import Path
from typing import Any, Self

from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret

from tests.engines.sqlserver.answers import Answers
from tests.engines.sqlserver.model import Model
from tests.engines.sqlserver.tds_server import Backend, Encryption, TdsServer
from tests.servers.certificates import CertificateAuthority, Credential

LOGIN = "dbaudit"
PASSWORD = "a p@ss]word 'of' 16é"
RIGHTS_2022 = (
    *("VIEW SERVER SECURITY AUDIT", "VIEW ANY SECURITY DEFINITION", "VIEW SERVER SECURITY STATE"),
    "VIEW SERVER PERFORMANCE STATE",
)
RIGHTS_2019 = ("CONTROL SERVER",)
RIGHTS_FOR_EVENTS = ("VIEW SERVER STATE",)


class SqlServerDouble:
    """Runs inside a with block; ``model`` may be changed at any time."""

    def __init__(self, model: Model, encryption: Encryption | None = None) -> None:
        self.model = model
        self.answers = Answers(model)
        backend = Backend(
            self.answers.log_in,
            self.answers.answer,
            self.answers.log_out,
            lambda: model.version,
            encryption or Encryption(),
        )
        self.tds = TdsServer(backend)

    @property
    def port(self) -> int:
        return self.tds.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.tds.close()

    def target(self, driver: str | None = None, **changes: Any) -> Target:
        """The agent's login; ``options`` are merged with the driver's."""
        options = {
            "poll_seconds": 0,
            "password_in_clear": True,
            **({"odbc_driver": driver} if driver else {}),
            **changes.pop("options", {}),
        }
        values: dict[str, Any] = {
            "database_id": "db_1",
            "host": "127.0.0.1",
            "port": self.port,
            "database": "master",
            "username": LOGIN,
            "password": Secret(PASSWORD),
            "ssl_mode": SslMode.DISABLE,
            "connect_timeout_seconds": 5.0,
            "statement_timeout_seconds": 5.0,
            "options": options,
        }
        return Target(**{**values, **changes})


def server_2022(**options: Any) -> Model:
    """A server as the documentation sets it up: one audit of everything, and the agent's login."""
    model = Model(**options)
    model.add_login(LOGIN, PASSWORD, *RIGHTS_2022)
    model.add_audit("dbaudit")
    return model


def server_2016() -> Model:
    """A server whose audit names neither addresses nor applications."""
    model = Model((13, 0, 6300))
    model.add_login(LOGIN, PASSWORD, *RIGHTS_2019)
    model.add_audit("dbaudit")
    return model


def server_with_events(version: tuple[int, int, int] = (15, 0, 4300)) -> Model:
    """A server whose login has the lower right alone, with an Extended Events session."""
    model = Model(version)
    model.add_login(LOGIN, PASSWORD, *RIGHTS_FOR_EVENTS)
    model.add_event_session()
    return model


def tls_context(credential: Credential) -> ssl.SSLContext:
    """TLS 1.2 at most: what servers up to 2019 speak."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(credential.certificate + credential.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def encrypting(authority: CertificateAuthority, *names: str, required: bool = False) -> Encryption:
    return Encryption(tls_context(authority.server(*names)), required)


def microsoft_driver() -> str | None:
    """The library of Microsoft's driver inside the wheel mssql-python-odbc; None where there is none."""
    found = importlib.util.find_spec("mssql_python_odbc")
    if found is None or not found.submodule_search_locations:
        return None
    family = "debian_ubuntu" if Path("/etc/debian_version").exists() else "rhel"
    folder = (
        Path(found.submodule_search_locations[0]) / "libs" / "linux" / family / platform.machine() / "lib"
    )
    return next((os.fspath(path) for path in sorted(folder.glob("libmsodbcsql-*"))), None)
