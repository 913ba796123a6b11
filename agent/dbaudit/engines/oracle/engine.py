"""Oracle Database, as the agent and the documentation see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Capability, Decoded, DriverStatus, Engine, Session
from dbaudit.engine.drivers import require_driver
from dbaudit.engines.oracle.options import OPTIONS_SCHEMA


class OracleEngine(Engine):
    """Servers 12.1 to 23ai, read through UNIFIED_AUDIT_TRAIL; no Oracle Client is needed."""

    type = "oracle"
    display_name = "Oracle Database"
    default_port = 1521
    supported_versions = ("12c", "18c", "19c", "21c", "23ai")
    capabilities = frozenset(
        {
            Capability.CONNECTIONS,
            Capability.LOGIN_FAILURES,
            Capability.DISCONNECTS,
            Capability.QUERIES,
            Capability.CLIENT_CERTIFICATES,
        }
    )
    dialect = Dialect.ORACLE
    source_is_database = True
    options_schema = OPTIONS_SCHEMA

    def driver_status(self) -> DriverStatus:
        try:
            import cryptography  # noqa: F401  # the driver logs in with it
            import oracledb
        except ImportError as error:
            return DriverStatus("oracledb", problem=str(error).splitlines()[0])
        return DriverStatus("oracledb", version=oracledb.__version__)

    def open(self, target: Target) -> Session:
        require_driver(self)
        from dbaudit.engines.oracle.session import OracleSession

        return OracleSession.open(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        from dbaudit.engines.oracle.decoding import decode

        return decode(records)
