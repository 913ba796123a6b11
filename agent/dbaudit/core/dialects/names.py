"""The families of servers."""

from __future__ import annotations

from enum import StrEnum


class Dialect(StrEnum):
    """How a family of servers writes statements."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    """MySQL and MariaDB."""
    SQLSERVER = "sqlserver"
    ORACLE = "oracle"
    MONGODB = "mongodb"
    """A command as JSON text."""

    __hash__ = str.__hash__  # that of Enum is written in Python: too slow for each statement
