"""MySQL, as the agent and the documentation see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.event import AuditEvent
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Capability, Decoded, DriverStatus, Engine, Session
from dbaudit.engine.drivers import require_driver
from dbaudit.engines.mysql.options import OPTIONS_SCHEMA


class MySQLEngine(Engine):
    """Servers 5.6 to 9, Community, Enterprise and Percona, read through the best source that each offers."""

    type = "mysql"
    display_name = "MySQL"
    default_port = 3306
    supported_versions = ("5.6", "5.7", "8.0", "8.4", "9")
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
    dialect = Dialect.MYSQL
    options_schema = OPTIONS_SCHEMA

    def driver_status(self) -> DriverStatus:
        try:
            import cryptography  # noqa: F401  # the driver needs it for the log-in of MySQL 8
            import pymysql
        except ImportError as error:
            return DriverStatus("PyMySQL", problem=str(error).splitlines()[0])
        return DriverStatus("PyMySQL", version=pymysql.VERSION_STRING)

    def open(self, target: Target) -> Session:
        require_driver(self)
        from dbaudit.engines.mysql.session import MySQLSession

        return MySQLSession.open(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        from dbaudit.engines.mysql.decoding import decode

        return decode(records)

    def is_of_server(self, event: AuditEvent) -> bool:
        from dbaudit.engines.mysql_protocol import schemas

        return schemas.is_of_server(event)
