"""PostgreSQL, as the agent and the documentation see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.event import AuditEvent
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Capability, Decoded, DriverStatus, Engine, Session
from dbaudit.engine.drivers import require_driver
from dbaudit.engines.postgresql.options import OPTIONS_SCHEMA

_NO_SUCH_DATABASE = "3D000"


class PostgreSQLEngine(Engine):
    """Servers 11 to 18, read through their csvlog, jsonlog or text log, remotely or from the disk."""

    type = "postgresql"
    display_name = "PostgreSQL"
    default_port = 5432
    supported_versions = ("11", "12", "13", "14", "15", "16", "17", "18")
    capabilities = frozenset(
        {
            Capability.CONNECTIONS,
            Capability.LOGIN_FAILURES,
            Capability.DISCONNECTS,
            Capability.QUERIES,
            Capability.ROW_COUNTS,
            Capability.DISK_SPACE,
            Capability.LOCAL_FILES,
            Capability.CLIENT_CERTIFICATES,
            Capability.UNIX_SOCKETS,
        }
    )
    dialect = Dialect.POSTGRESQL
    options_schema = OPTIONS_SCHEMA

    def driver_status(self) -> DriverStatus:
        try:
            import cryptography  # noqa: F401  # checks the PEM that libpq is given
            import psycopg
        except ImportError as error:
            return DriverStatus("psycopg", problem=str(error).splitlines()[0])
        return DriverStatus("psycopg", version=psycopg.__version__)

    def open(self, target: Target) -> Session:
        require_driver(self)
        from dbaudit.engines.postgresql.session import PostgreSQLSession

        return PostgreSQLSession.open(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        from dbaudit.engines.postgresql.bulk_decoding import decode

        return decode(records)

    def is_of_server(self, event: AuditEvent) -> bool:
        return event.error_code == _NO_SUCH_DATABASE
