"""The PostgreSQL engine: audit records from the server's own log, with pgaudit where there is one."""

from dbaudit.engines.postgresql.engine import PostgreSQLEngine

__all__ = ["PostgreSQLEngine"]
