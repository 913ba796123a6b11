"""The engine `mysql`: MySQL Community, Enterprise and Percona Server."""

from dbaudit.engines.mysql.engine import MySQLEngine

__all__ = ["MySQLEngine"]
