"""The engine for Oracle Database."""

from dbaudit.engines.oracle.engine import OracleEngine

__all__ = ["OracleEngine"]
