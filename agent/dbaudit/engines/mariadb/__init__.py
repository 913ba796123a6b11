"""MariaDB: its server_audit file, on the disk, over the connection or in syslog, and its general log."""

from dbaudit.engines.mariadb.engine import MariaDBEngine

__all__ = ["MariaDBEngine"]
