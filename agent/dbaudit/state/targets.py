"""From a declaration and its secrets to what an engine connects with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from dbaudit.core.database import AuditOptions, SslMode, Target
from dbaudit.core.secret import Secret


class Declared(Protocol):
    """A declaration, stored or not."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def database(self) -> str: ...
    @property
    def username(self) -> str: ...
    @property
    def ssl_mode(self) -> SslMode: ...
    @property
    def ssl_ca(self) -> str | None: ...
    @property
    def ssl_cert(self) -> str | None: ...
    @property
    def audit_options(self) -> AuditOptions: ...


def target_of(database_id: str, declared: Declared, secrets: Mapping[str, Secret | None]) -> Target:
    """The target of a declaration with its secrets by field."""
    return Target(
        database_id=database_id,
        host=declared.host,
        port=declared.port,
        database=declared.database,
        username=declared.username,
        password=secrets.get("password") or Secret(""),
        ssl_mode=declared.ssl_mode,
        ssl_ca=declared.ssl_ca,
        ssl_cert=declared.ssl_cert,
        ssl_key=secrets.get("ssl_key"),
        options=declared.audit_options.engine,
        capture_results=declared.audit_options.capture_results,
    )
