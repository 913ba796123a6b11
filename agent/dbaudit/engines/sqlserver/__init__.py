"""Microsoft SQL Server."""

from dbaudit.engines.sqlserver.engine import SQLServerEngine

__all__ = ["SQLServerEngine"]
