"""MariaDB, as the agent and the documentation see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.event import AuditEvent
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Capability, Decoded, DriverStatus, Engine, Session
from dbaudit.engine.drivers import require_driver
from dbaudit.engines.mariadb.options import OPTIONS_SCHEMA


class MariaDBEngine(Engine):
    """Servers 10.5 to 11.8, read through the server_audit plugin or the general log."""

    type = "mariadb"
    display_name = "MariaDB"
    default_port = 3306
    supported_versions = ("10.5", "10.6", "10.11", "11.4", "11.8", "12")
    capabilities = frozenset(
        {
            Capability.CONNECTIONS,
            Capability.LOGIN_FAILURES,
            Capability.DISCONNECTS,
            Capability.QUERIES,
            Capability.DISK_SPACE,
            Capability.LOCAL_FILES,
            Capability.CLIENT_CERTIFICATES,
            Capability.UNIX_SOCKETS,
        }
    )
    dialect = Dialect.MYSQL
    options_schema = OPTIONS_SCHEMA

    def driver_status(self) -> DriverStatus:
        try:
            import cryptography  # noqa: F401  # checks the PEM of a target
            import pymysql
        except ImportError as error:
            return DriverStatus("PyMySQL", problem=str(error).splitlines()[0])
        return DriverStatus("PyMySQL", version=pymysql.VERSION_STRING)

    def open(self, target: Target) -> Session:
        require_driver(self)
        from dbaudit.engines.mariadb.session import MariaDBSession

        return MariaDBSession.open(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        from dbaudit.engines.mariadb import decoding
        from dbaudit.engines.mysql_protocol import general_rows

        if records and isinstance(records[0], general_rows.GeneralLogBlock):
            return general_rows.decode(records)
        return decoding.decode(records)

    def is_of_server(self, event: AuditEvent) -> bool:
        from dbaudit.engines.mysql_protocol import schemas

        return schemas.is_of_server(event)
