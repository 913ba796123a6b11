"""The rights that the agent's account has, and those that each source needs."""

from __future__ import annotations

import msgspec

from dbaudit.engines.mariadb.options import AuditSource
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.failures import account
from dbaudit.engines.mysql_protocol.general_log import SCHEMA
from dbaudit.engines.mysql_protocol.grants import Grants, read_grants

_EVERYTHING = ("SUPER", "ALL PRIVILEGES")


class Rights(msgspec.Struct, frozen=True):
    """What the account, as the statements for accounts name it, may do."""

    account: str
    grants: Grants

    @property
    def file(self) -> bool:
        return self.grants.allow("FILE")

    @property
    def select_general_log(self) -> bool:
        return self.grants.allow("SELECT", "mysql", "general_log")

    @property
    def may_retire(self) -> bool:
        """Whether the general log's table may be emptied without a loss."""
        return not (
            self.grants.missing(("ALTER", "DROP"), "mysql", "general_log")
            or self.grants.missing(("CREATE", "INSERT", "SELECT", "DROP"), SCHEMA, "*")
        )

    @property
    def everything(self) -> bool:
        return any(self.grants.allow(right) for right in _EVERYTHING)

    @property
    def permissions(self) -> dict[str, bool]:
        """The rights under the names that a test report shows."""
        return {
            "FILE": self.file,
            "SELECT ON mysql.general_log": self.select_general_log,
            "empty mysql.general_log": self.may_retire,
        }

    def needed(self, source: AuditSource | None) -> dict[str, tuple[bool, str]]:
        """The rights that a source needs: whether the account has each, and the GRANT that gives it."""
        if source is AuditSource.REMOTE_FILE:
            return {"FILE": (self.file, f"GRANT FILE ON *.* TO {self.account};")}
        if source is AuditSource.GENERAL_LOG:
            grant = f"GRANT SELECT ON mysql.general_log TO {self.account};"
            return {"SELECT ON mysql.general_log": (self.select_general_log, grant)}
        return {}

    @property
    def retiring_grants(self) -> str:
        """The statements after which the general log's table may be emptied."""
        return (
            f"CREATE DATABASE IF NOT EXISTS {SCHEMA}; "
            f"GRANT ALTER, DROP ON mysql.general_log TO {self.account}; "
            f"GRANT CREATE, INSERT, SELECT, DROP ON {SCHEMA}.* TO {self.account};"
        )


def read_rights(connection: ServerConnection) -> Rights:
    """Ask the server for the rights of the session's account."""
    name, _at, host = str(connection.value("SELECT CURRENT_USER()")).rpartition("@")
    return Rights(account(name, host), read_grants(connection))
