"""The rights that the agent's login has on the server, as the server itself sees them."""

from __future__ import annotations

import msgspec

from dbaudit.engines.sqlserver.connection import ServerConnection
from dbaudit.engines.sqlserver.names import quoted

# From 2022 on there are finer rights beside the old ones; HAS_PERMS_BY_NAME is NULL for a right that the
# server does not know.
_NAMES = (
    "CONTROL SERVER",
    "ALTER ANY SERVER AUDIT",
    "VIEW SERVER SECURITY AUDIT",
    "VIEW ANY DEFINITION",
    "VIEW ANY SECURITY DEFINITION",
    "VIEW SERVER STATE",
    "VIEW SERVER SECURITY STATE",
    "VIEW SERVER PERFORMANCE STATE",
)
_QUERY = "SELECT ORIGINAL_LOGIN() AS login, IS_SRVROLEMEMBER(N'sysadmin') AS sysadmin, " + ", ".join(
    f"HAS_PERMS_BY_NAME(NULL, NULL, N'{name}') AS right_{number}" for number, name in enumerate(_NAMES)
)


class Right(msgspec.Struct, frozen=True):
    """What is needed for one purpose: the least right that gives it here, and whether the login has it."""

    name: str
    there: bool
    grant: str


class Rights(msgspec.Struct, frozen=True):
    """What the login may do on the server."""

    login: str
    sysadmin: bool
    held: dict[str, bool | None]

    @property
    def finer(self) -> bool:
        """Whether the server has the rights of 2022, one of which opens audit files and nothing else."""
        return self.held["VIEW SERVER SECURITY AUDIT"] is not None

    @property
    def for_audits(self) -> tuple[Right, ...]:
        """What reading audits takes; without the first two nothing can be read."""
        rights = (self.read_audit, self.see_audits, self.see_audit_status, self.see_state)
        return tuple({right.name: right for right in rights}.values())

    @property
    def read_audit(self) -> Right:
        """For sys.fn_get_audit_file."""
        return self._first("VIEW SERVER SECURITY AUDIT", "CONTROL SERVER")

    @property
    def see_audits(self) -> Right:
        """For sys.server_file_audits, which hides its rows from others."""
        return self._first(
            "VIEW ANY SECURITY DEFINITION", "VIEW ANY DEFINITION", others=("ALTER ANY SERVER AUDIT",)
        )

    @property
    def see_audit_status(self) -> Right:
        """For sys.dm_server_audit_status."""
        return self._first("VIEW SERVER SECURITY STATE", "VIEW SERVER STATE")

    @property
    def see_state(self) -> Right:
        """For the views of Extended Events and of volumes, and for sys.fn_xe_file_target_read_file."""
        return self._first("VIEW SERVER PERFORMANCE STATE", "VIEW SERVER STATE")

    def _first(self, name: str, older: str, *, others: tuple[str, ...] = ()) -> Right:
        known = name if self.held[name] is not None else older
        there = any(self.held[each] for each in (name, older, *others))
        return Right(_snake(known), there, f"USE master; GRANT {known} TO {quoted(self.login)};")


def read_rights(connection: ServerConnection) -> Rights:
    """Ask the server for the rights of the session's login."""
    login, sysadmin, *held = connection.row(_QUERY)
    answers = [None if each is None else bool(each) for each in held]
    return Rights(login, bool(sysadmin), dict(zip(_NAMES, answers, strict=True)))


def _snake(name: str) -> str:
    return name.lower().replace(" ", "_")
