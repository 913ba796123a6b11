"""The traditional trails: DBA_AUDIT_TRAIL (SYS.AUD$) and DBA_FGA_AUDIT_TRAIL (SYS.FGA_LOG$).

Their rows are given the columns of the unified trail, so that they are read and decoded alike. Since 11g a
log-off is a row of its own, with the time at which it was written, and no row is changed afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.position import OWN_SESSIONS_KEPT
from dbaudit.engines.oracle.trail import COLUMNS, CONTAINER, TRADITIONAL, TRADITIONAL_FINE, Trail

VIEW, FINE_VIEW = "dba_audit_trail", "dba_fga_audit_trail"
PROBE = f"SELECT * FROM {VIEW} WHERE 1 = 0"  # noqa: S608  # a name of ours
FINE_PROBE = f"SELECT * FROM {FINE_VIEW} WHERE 1 = 0"  # noqa: S608  # our own names

# By the column of the unified trail, that of each view which holds the same.
_STANDARD = {
    "DBID": "DBID",
    "INSTANCE_ID": "INSTANCE_NUMBER",
    "SESSIONID": "SESSIONID",
    "ENTRY_ID": "ENTRYID",
    "STATEMENT_ID": "STATEMENTID",
    "SCN": "SCN",
    "OS_PROCESS": "OS_PROCESS",
    "ACTION_NAME": "ACTION_NAME",
    "RETURN_CODE": "RETURNCODE",
    "DBUSERNAME": "USERNAME",
    "OS_USERNAME": "OS_USERNAME",
    "USERHOST": "USERHOST",
    "TERMINAL": "TERMINAL",
    "CLIENT_IDENTIFIER": "CLIENT_ID",
    "AUTHENTICATION_TYPE": "COMMENT_TEXT",
    "OBJECT_SCHEMA": "OWNER",
    "OBJECT_NAME": "OBJ_NAME",
    "SYSTEM_PRIVILEGE_USED": "PRIV_USED",
    "SQL_TEXT": "SQL_TEXT",
    "SQL_BINDS": "SQL_BIND",
    "NEW_SCHEMA": "NEW_OWNER",
    "NEW_NAME": "NEW_NAME",
    "TARGET_USER": "GRANTEE",
    "SYSTEM_PRIVILEGE": "SYS_PRIVILEGE",
    "OBJECT_PRIVILEGES": "OBJ_PRIVILEGE",
    "AUDIT_OPTION": "AUDIT_OPTION",
    "CURRENT_USER": "CURRENT_USER",
    "GLOBAL_USERID": "GLOBAL_UID",
    "SES_ACTIONS": "SES_ACTIONS",
}
_FINE_GRAINED = {
    "DBID": "DBID",
    "INSTANCE_ID": "INSTANCE_NUMBER",
    "SESSIONID": "SESSION_ID",
    "ENTRY_ID": "ENTRYID",
    "STATEMENT_ID": "STATEMENTID",
    "SCN": "SCN",
    "OS_PROCESS": "OS_PROCESS",
    "ACTION_NAME": "STATEMENT_TYPE",
    "DBUSERNAME": "DB_USER",
    "EXTERNAL_USERID": "EXT_NAME",
    "OS_USERNAME": "OS_USER",
    "USERHOST": "USERHOST",
    "CLIENT_IDENTIFIER": "CLIENT_ID",
    "OBJECT_SCHEMA": "OBJECT_SCHEMA",
    "OBJECT_NAME": "OBJECT_NAME",
    "SQL_TEXT": "SQL_TEXT",
    "SQL_BINDS": "SQL_BIND",
    "CURRENT_USER": "CURRENT_USER",
    "GLOBAL_USERID": "GLOBAL_UID",
    "FGA_POLICY_NAME": "POLICY_NAME",
}
NEEDED = frozenset({"EXTENDED_TIMESTAMP", "SESSIONID", "ENTRYID", "STATEMENTID", "ACTION_NAME", "USERNAME"})


def traditional(there: frozenset[str], fine: frozenset[str] | None) -> Trail:
    """The trail of a server whose views have the columns ``there`` and ``fine``; without the second where it
    cannot be read.
    """
    rows = _rows(VIEW, TRADITIONAL, _STANDARD, there)
    if fine is not None:
        rows += f" UNION ALL {_rows(FINE_VIEW, TRADITIONAL_FINE, _FINE_GRAINED, fine)}"
    columns = ", ".join(f'"{name}"' for name in COLUMNS)
    own = ", ".join(f":own_{number}" for number in range(OWN_SESSIONS_KEPT))
    return Trail(
        name=VIEW,
        time="recorded",
        select=f"SELECT recorded, {columns}, {CONTAINER} FROM ({rows})"  # noqa: S608  # names of ours
        f" WHERE (dbusername IS NULL OR dbusername <> :own_user OR sessionid NOT IN ({own}))",
        purged_as="STANDARD AUDIT TRAIL",
        by_session=True,
        scanned=True,
    )


def _rows(view: str, audit_type: str, names: Mapping[str, str], there: frozenset[str]) -> str:
    columns = ", ".join(_column(name, audit_type, names.get(name), there) for name in COLUMNS)
    return f"SELECT SYS_EXTRACT_UTC(extended_timestamp) AS recorded, {columns} FROM {view}"  # noqa: S608  # our own names


def _column(name: str, audit_type: str, source: str | None, there: frozenset[str]) -> str:
    if name == "AUDIT_TYPE":
        return f"'{audit_type}' AS \"{name}\""
    if source is None or source not in there:
        return f'NULL AS "{name}"'
    return f'"{source}" AS "{name}"'


def read_traditional(connection: ServerConnection) -> Trail:
    """The queries for this server. Raises ConfigurationError where the view cannot be read."""
    there = frozenset(connection.columns(PROBE))
    try:
        fine = frozenset(connection.columns(FINE_PROBE))
    except ConfigurationError as error:
        if error.code is not ErrorCode.PERMISSION_MISSING:
            raise
        return traditional(there, None)
    return traditional(there, fine)
