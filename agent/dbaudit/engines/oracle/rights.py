"""The rights that the agent's user has in its container, as the server itself sees them."""

from __future__ import annotations

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engines.oracle import traditional
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.failures import quoted
from dbaudit.engines.oracle.options import Options, Source
from dbaudit.engines.oracle.trail import PROBE

POLICIES_PROBE = "SELECT 1 FROM audit_unified_enabled_policies WHERE 1 = 0"
RULES_PROBE = "SELECT 1 FROM audit_unified_policies WHERE 1 = 0"
ROLES = "SELECT role FROM session_roles"
WHO = (
    "SELECT SYS_CONTEXT('USERENV', 'SESSION_USER'), SYS_CONTEXT('USERENV', 'CON_NAME'),"
    " SYS_CONTEXT('USERENV', 'DB_NAME'), SYS_CONTEXT('USERENV', 'ISDBA') FROM dual"
)
ROOT = "CDB$ROOT"
_FAR_TOO_MUCH = frozenset({"DBA", "AUDIT_ADMIN", "SELECT_CATALOG_ROLE"})


class Rights(msgspec.Struct, frozen=True):
    """What the user may do.

    ``trail`` holds the names of the columns of the unified trail and ``traditional`` those of the traditional
    one, None where it may not be read; ``sources`` are the trails that the options want.
    """

    user: str
    container: str
    database: str
    dba: bool
    roles: frozenset[str]
    trail: frozenset[str] | None
    policies: bool
    traditional: frozenset[str] | None
    sources: tuple[Source, ...]

    @property
    def permissions(self) -> dict[str, bool]:
        """The rights under the names that a test report shows."""
        rights = {"create_session": True}
        if Source.UNIFIED in self.sources:
            rights["unified_audit_trail"] = self.trail is not None
            rights["audit_unified_policies"] = self.policies
        if Source.TRADITIONAL in self.sources:
            rights["dba_audit_trail"] = self.traditional is not None
        return rights

    @property
    def suffice(self) -> bool:
        """Whether every trail that the options want may be read."""
        by_source = {Source.UNIFIED: self.trail, Source.TRADITIONAL: self.traditional}
        return all(by_source[source] is not None for source in self.sources)

    @property
    def grant(self) -> str:
        """The statement that gives the rights that are missing."""
        return f"GRANT AUDIT_VIEWER TO {quoted(self.user)};"

    @property
    def too_much(self) -> list[str]:
        """Roles, or SYSDBA, that collecting does not need."""
        return [*(["SYSDBA"] if self.dba else []), *sorted(self.roles & _FAR_TOO_MUCH)]


def read_rights(connection: ServerConnection, options: Options) -> Rights:
    """Ask the server for the rights of the session's user."""
    ((user, container, database, dba),) = connection.rows(WHO)
    trail = _columns(connection, PROBE)
    policies = (
        _columns(connection, POLICIES_PROBE) is not None and _columns(connection, RULES_PROBE) is not None
    )
    return Rights(
        user=user,
        container=container or database,
        database=database,
        dba=dba == "TRUE",
        roles=frozenset(role for (role,) in connection.rows(ROLES)),
        trail=trail,
        policies=policies,
        traditional=_columns(connection, traditional.PROBE),
        sources=options.source.trails,
    )


def _columns(connection: ServerConnection, query: str) -> frozenset[str] | None:
    try:
        return frozenset(connection.columns(query))
    except ConfigurationError as error:
        if error.code is ErrorCode.PERMISSION_MISSING:
            return None
        raise
