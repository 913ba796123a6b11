"""The connection test."""

from __future__ import annotations

from dbaudit.core.report import TestReport
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.health import measure_latency_ms
from dbaudit.engines.postgresql.options import Options
from dbaudit.engines.postgresql.rights import read_rights
from dbaudit.engines.postgresql.settings import read_settings


def test(connection: ServerConnection, options: Options) -> TestReport:
    """Find out what works and what is missing."""
    rights = read_rights(connection)
    settings = read_settings(connection, rights, options)
    return TestReport(
        reachable=True,
        success=rights.can_read_remotely and settings.format is not None,
        latency_ms=measure_latency_ms(connection),
        version=f"PostgreSQL {settings.version}",
        permissions=rights.permissions,
    )
