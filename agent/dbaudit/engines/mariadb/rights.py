"""The rights that the agent's account has, and those that each source needs."""

from __future__ import annotations

import msgspec

from dbaudit.engines.mariadb.options import Source
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.failures import account
from dbaudit.engines.mysql_protocol.general_log_readers import SCHEMA
from dbaudit.engines.mysql_protocol.grants import Grants, read_grants

_ADMINISTRATION = ("SUPER", "ALL PRIVILEGES")
_RETIRING = ("SELECT", "ALTER", "DROP", "CREATE", "INSERT")
_SURROUNDINGS = """
    SELECT @@log_bin, @@read_only,
           (SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = %s)
"""


class Rights(msgspec.Struct, frozen=True, kw_only=True):
    """What the account, as the statements for accounts name it, may do.

    ``may_retire``: the general log's table may be emptied without a loss, on this server and on no other.
    ``binary_log`` says that the right to keep that out of the binary log is needed.
    """

    account: str
    grants: Grants
    may_retire: bool
    binary_log: bool

    @property
    def file(self) -> bool:
        return self.grants.allow("FILE")

    @property
    def select_general_log(self) -> bool:
        return self.grants.allow("SELECT", "mysql", "general_log")

    @property
    def administration(self) -> bool:
        return any(map(self.grants.allow, _ADMINISTRATION))

    @property
    def permissions(self) -> dict[str, bool]:
        """The rights under the names that a test report shows."""
        return {
            "file": self.file,
            "select_general_log": self.select_general_log,
            "empty_general_log": self.may_retire,
        }

    def needed(self, source: Source | None) -> dict[str, tuple[bool, str]]:
        """The rights that a source needs: whether the account has each, and the GRANT that gives it."""
        if source is Source.REMOTE_FILE:
            return {"file": (self.file, f"GRANT FILE ON *.* TO {self.account};")}
        if source is Source.GENERAL_LOG:
            grant = f"GRANT SELECT ON mysql.general_log TO {self.account};"
            return {"select_general_log": (self.select_general_log, grant)}
        return {}

    @property
    def retiring_grants(self) -> str:
        """The statements after which the general log's table may be emptied."""
        grants = (
            f"CREATE DATABASE IF NOT EXISTS {SCHEMA}; "
            f"GRANT {', '.join(_RETIRING)} ON mysql.general_log TO {self.account}; "
            f"GRANT {', '.join(_RETIRING)} ON {SCHEMA}.* TO {self.account};"
        )
        return f"{grants} GRANT BINLOG ADMIN ON *.* TO {self.account};" if self.binary_log else grants


def read_rights(connection: ServerConnection) -> Rights:
    """Ask the server for the rights of the session's account.

    From then on what the session itself does is kept out of the binary log, where it may be: else replicas
    would empty their own general log.
    """
    name, _at, host = str(connection.value("SELECT CURRENT_USER()")).rpartition("@")
    binary_log, read_only, schemas = connection.row(_SURROUNDINGS, [SCHEMA])
    grants = read_grants(connection)
    may_retire = (
        not read_only
        and schemas > 0
        and not grants.missing(_RETIRING, "mysql", "general_log")
        and not grants.missing(_RETIRING, SCHEMA)
        and (not binary_log or connection.refusal("SET SESSION sql_log_bin = 0") is None)
    )
    return Rights(
        account=account(name, host), grants=grants, may_retire=may_retire, binary_log=bool(binary_log)
    )
