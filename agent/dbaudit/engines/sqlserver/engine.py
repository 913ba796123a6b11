"""SQL Server, as the agent and the documentation see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.event import AuditEvent
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Capability, Decoded, DriverStatus, Engine, Session
from dbaudit.engine.drivers import require_driver
from dbaudit.engines.sqlserver.options import OPTIONS_SCHEMA

DRIVER_REMEDY = (
    "pip install 'dbaudit[sqlserver]' and, on the agent's host, apt-get install unixodbc tdsodbc "
    "(or Microsoft's package msodbcsql18)"
)

_OF_THE_SERVER = frozenset({"master", "model", "msdb", "tempdb"})


class SQLServerEngine(Engine):
    """Servers 2016 to 2025, read through SQL Server Audit files or an Extended Events session."""

    type = "sqlserver"
    display_name = "Microsoft SQL Server"
    default_port = 1433
    supported_versions = ("2016", "2017", "2019", "2022", "2025")
    capabilities = frozenset(
        {
            Capability.CONNECTIONS,
            Capability.LOGIN_FAILURES,
            Capability.DISCONNECTS,
            Capability.QUERIES,
            Capability.ROW_COUNTS,
            Capability.DISK_SPACE,
        }
    )
    dialect = Dialect.SQLSERVER
    options_schema = OPTIONS_SCHEMA

    def driver_status(self) -> DriverStatus:
        try:
            import cryptography  # noqa: F401  # checks the PEM that drivers are given
            import pyodbc
        except ImportError as error:
            return DriverStatus("pyodbc", problem=str(error).splitlines()[0])
        return DriverStatus("pyodbc", version=pyodbc.version)

    def open(self, target: Target) -> Session:
        require_driver(self, DRIVER_REMEDY)
        from dbaudit.engines.sqlserver.session import SQLServerSession

        return SQLServerSession.open(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        from dbaudit.engines.sqlserver.decoding import decode

        return decode(records)

    def is_of_server(self, event: AuditEvent) -> bool:
        return event.database is not None and event.database.lower() in _OF_THE_SERVER
