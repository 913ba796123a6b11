"""What the actions of SQL Server Audit mean, and what a record says was done.

The server's own names decide (sys.dm_audit_actions); the ids below are used if they cannot be read. If an
action names a command, such as GRANT, that is the operation, whatever the statement looks like; if it does
not, such as BATCH COMPLETED, the operation is taken from the statement.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from dbaudit.core.event import AuditEvent
from dbaudit.core.operations import CommandClass, Operations, class_of, classify
from dbaudit.core.statements import Dialect

NAMES = {
    "AL": "ALTER",
    "APRL": "ADD MEMBER",
    "AUSC": "AUDIT SESSION CHANGED",
    "BA": "BACKUP",
    "BAL": "BACKUP LOG",
    "BCM": "BATCH COMPLETED",
    "BST": "BATCH STARTED",
    "CCLG": "CHANGE LOGIN CREDENTIAL",
    "CMLG": "CREDENTIAL MAP TO LOGIN",
    "CR": "CREATE",
    "D": "DENY",
    "DBAF": "DATABASE AUTHENTICATION FAILED",
    "DBAS": "DATABASE AUTHENTICATION SUCCEEDED",
    "DBCC": "DBCC",
    "DBL": "DATABASE LOGOUT",
    "DL": "DELETE",
    "DPRL": "DROP MEMBER",
    "DR": "DROP",
    "DWC": "DENY WITH CASCADE",
    "EX": "EXECUTE",
    "G": "GRANT",
    "GWG": "GRANT WITH GRANT",
    "IMP": "IMPERSONATE",
    "IN": "INSERT",
    "LGDA": "DISABLE",
    "LGDB": "CHANGE DEFAULT DATABASE",
    "LGDL": "CHANGE DEFAULT LANGUAGE",
    "LGEA": "ENABLE",
    "LGIF": "LOGIN FAILED",
    "LGIS": "LOGIN SUCCEEDED",
    "LGNM": "NAME CHANGE",
    "LGO": "LOGOUT",
    "NMLG": "NO CREDENTIAL MAP TO LOGIN",
    "PWC": "CHANGE PASSWORD",
    "PWCS": "CHANGE OWN PASSWORD",
    "PWEX": "PASSWORD EXPIRATION",
    "PWMC": "MUST CHANGE PASSWORD",
    "PWPL": "PASSWORD POLICY",
    "PWR": "RESET PASSWORD",
    "PWRS": "RESET OWN PASSWORD",
    "PWU": "UNLOCK ACCOUNT",
    "R": "REVOKE",
    "RC": "RECEIVE",
    "RCM": "RPC COMPLETED",
    "RF": "REFERENCES",
    "RS": "RESTORE",
    "RST": "RPC STARTED",
    "RWC": "REVOKE WITH CASCADE",
    "RWG": "REVOKE WITH GRANT",
    "SL": "SELECT",
    "SN": "SEND",
    "TO": "TAKE OWNERSHIP",
    "TRO": "TRANSFER",
    "UCCP": "COPY PASSWORD",
    "UDAU": "USER DEFINED AUDIT",
    "UP": "UPDATE",
    "USAF": "CHANGE USERS LOGIN AUTO",
    "USLG": "CHANGE USERS LOGIN",
}

LOGINS = frozenset({"LOGIN SUCCEEDED", "DATABASE AUTHENTICATION SUCCEEDED"})
FAILED_LOGINS = frozenset({"LOGIN FAILED", "DATABASE AUTHENTICATION FAILED"})
LOGOUTS = frozenset({"LOGOUT", "DATABASE LOGOUT"})
COMPLETED = frozenset({"BATCH COMPLETED", "RPC COMPLETED"})
"""Actions that are recorded when the work was done, so that its duration and rows are known."""

_OF_THEMSELVES = {
    "SELECT": CommandClass.READ,
    "INSERT": CommandClass.WRITE,
    "UPDATE": CommandClass.WRITE,
    "DELETE": CommandClass.WRITE,
    "EXECUTE": CommandClass.FUNCTION,
}
"""Actions that are the whole operation; of the others the statement may say more."""

_DEFINING = frozenset({"CREATE", "ALTER", "DROP"})
_OF_ROLES = {
    **dict.fromkeys(("ADD MEMBER", "DROP MEMBER"), frozenset({"ALTER ROLE", "ALTER SERVER ROLE"})),
    **dict.fromkeys(("GRANT", "GRANT WITH GRANT"), frozenset({"GRANT"})),
    **dict.fromkeys(("DENY", "DENY WITH CASCADE"), frozenset({"DENY"})),
    **dict.fromkeys(("REVOKE", "REVOKE WITH CASCADE", "REVOKE WITH GRANT"), frozenset({"REVOKE"})),
    "IMPERSONATE": frozenset({"EXECUTE AS"}),
    "TAKE OWNERSHIP": frozenset({"ALTER AUTHORIZATION"}),
    **dict.fromkeys(
        (
            *("CHANGE DEFAULT DATABASE", "CHANGE DEFAULT LANGUAGE", "CHANGE LOGIN CREDENTIAL"),
            *("CREDENTIAL MAP TO LOGIN", "NO CREDENTIAL MAP TO LOGIN", "NAME CHANGE", "ENABLE", "DISABLE"),
            *("CHANGE PASSWORD", "CHANGE OWN PASSWORD", "MUST CHANGE PASSWORD", "PASSWORD EXPIRATION"),
            *("PASSWORD POLICY", "RESET PASSWORD", "RESET OWN PASSWORD", "UNLOCK ACCOUNT", "COPY PASSWORD"),
            *("CHANGE USERS LOGIN", "CHANGE USERS LOGIN AUTO"),
        ),
        frozenset({"ALTER LOGIN", "ALTER USER", "ALTER APPLICATION ROLE"}),
    ),
}
"""Actions on logins, users, roles and permissions besides CREATE, ALTER and DROP of them, each with the
statements that it is recorded of.
"""
_CLASSES = {
    **dict.fromkeys(("RECEIVE", "SEND", "BULK ADMIN"), CommandClass.WRITE),
    "TRANSFER": CommandClass.DDL,
}

_PRINCIPALS = {
    **dict.fromkeys(("LX", "SL", "WL", "WG", "AL", "CL"), "LOGIN"),
    **dict.fromkeys(("US", "SU", "WU", "GU", "AU", "CU"), "USER"),
    "RL": "ROLE",
    "SG": "SERVER ROLE",
    "AR": "APPLICATION ROLE",
}
"""The values of class_type that are a login, a user or a role (sys.dm_audit_class_type_map)."""


def put_operation(
    event: AuditEvent, detail: dict[str, Any], meaning: str, class_type: str | None, statement: str | None
) -> None:
    """Give an event its operation and class, and to its detail all operations of a batch of several.

    ``statement`` is None where it is not known as a whole.
    """
    found = classify(statement, Dialect.SQLSERVER) if statement else _NOTHING
    named = _named(meaning, class_type.rstrip() if class_type else "", found.operations)
    if named is not None:
        event.operation, event.command_class = named
        return
    event.operation = found.operation or meaning
    event.command_class = found.command_class
    found.add_all(detail)


_NOTHING = Operations(None, CommandClass.MISC)


@lru_cache(maxsize=2000)
def _named(meaning: str, class_type: str, by_statement: tuple[str, ...]) -> tuple[str, CommandClass] | None:
    """What the action itself says was done; None where it names no command.

    ``by_statement`` are the operations of the statement: one is taken where it says the same with more words,
    as `ALTER SERVER ROLE` does of ADD MEMBER.
    """
    command_class = _OF_THEMSELVES.get(meaning) or _CLASSES.get(meaning)
    if command_class is not None:
        return meaning, command_class
    statements = _OF_ROLES.get(meaning)
    if statements is not None:
        return next((said for said in by_statement if said in statements), meaning), CommandClass.ROLE
    if meaning not in _DEFINING:
        return None
    principal = _PRINCIPALS.get(class_type)
    if principal is not None:
        return f"{meaning} {principal}", CommandClass.ROLE
    for operation in by_statement:
        found = class_of(operation, Dialect.SQLSERVER)
        if operation.startswith(meaning) and not (class_type and found is CommandClass.ROLE):
            return operation, found
    return meaning, CommandClass.DDL
