"""The queries on a trail, and those on the view UNIFIED_AUDIT_TRAIL: which of its columns there are.

The view belongs to the container that the session is in. Its columns differ by version: EVENT_TIMESTAMP_UTC,
for one, is not in 12.1, so that they are asked for and never guessed.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import msgspec

from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.position import OWN_SESSIONS_KEPT

VIEW = "unified_audit_trail"
PROBE = f"SELECT * FROM {VIEW} WHERE 1 = 0"  # noqa: S608  # a name of ours

# A native record is a row of these, in this order, beginning with the time in UTC and ending with the name of
# the container. A column that the server does not have is NULL.
COLUMNS = (
    "DBID",
    "INSTANCE_ID",
    "SESSIONID",
    "ENTRY_ID",
    "STATEMENT_ID",
    "SCN",
    "OS_PROCESS",
    "AUDIT_TYPE",
    "ACTION_NAME",
    "RETURN_CODE",
    "DBUSERNAME",
    "DBPROXY_USERNAME",
    "EXTERNAL_USERID",
    "OS_USERNAME",
    "USERHOST",
    "TERMINAL",
    "CLIENT_PROGRAM_NAME",
    "CLIENT_IDENTIFIER",
    "AUTHENTICATION_TYPE",
    "OBJECT_SCHEMA",
    "OBJECT_NAME",
    "SYSTEM_PRIVILEGE_USED",
    "UNIFIED_AUDIT_POLICIES",
    "SQL_TEXT",
    "SQL_BINDS",
    # What only some kinds of records have.
    "NEW_SCHEMA",
    "NEW_NAME",
    "ROLE",
    "TARGET_USER",
    "SYSTEM_PRIVILEGE",
    "OBJECT_PRIVILEGES",
    "AUDIT_OPTION",
    "EXCLUDED_USER",
    "CURRENT_USER",
    "GLOBAL_USERID",
    "DBLINK_INFO",
    "ADDITIONAL_INFO",
    "FGA_POLICY_NAME",
    "DV_ACTION_NAME",
    "DV_ACTION_OBJECT_NAME",
    "DV_RULE_SET_NAME",
    "DV_RETURN_CODE",
    "DV_GRANTEE",
    "DV_COMMENT",
    "DV_FACTOR_CONTEXT",
    "DV_OBJECT_STATUS",
    "RMAN_OPERATION",
    "RMAN_OBJECT_TYPE",
    "RMAN_DEVICE_TYPE",
    "RMAN_SESSION_RECID",
    "RMAN_SESSION_STAMP",
    "DP_TEXT_PARAMETERS1",
    "DP_BOOLEAN_PARAMETERS1",
    "DP_WARNINGS1",
    "DIRECT_PATH_NUM_COLUMNS_LOADED",
    # Of the traditional trail alone.
    "SES_ACTIONS",
)
NEEDED = frozenset(
    {
        "DBID",
        "INSTANCE_ID",
        "SESSIONID",
        "ENTRY_ID",
        "STATEMENT_ID",
        "ACTION_NAME",
        "RETURN_CODE",
        "DBUSERNAME",
    }
)
WIDTH = len(COLUMNS) + 2
KEY = slice(1, 8)
SQL_TEXT = COLUMNS.index("SQL_TEXT") + 1
_AUDIT_TYPE = COLUMNS.index("AUDIT_TYPE") + 1
CONTAINER = "SYS_CONTEXT('USERENV', 'CON_NAME')"
TRADITIONAL, TRADITIONAL_FINE = "Traditional", "Traditional fine-grained"
"""What stands as AUDIT_TYPE in rows of the traditional trails, which have no such column."""
NO_SESSION = -1
EVERYWHERE = COLUMNS.index("SQL_BINDS") + 2
"""How many values every kind of record may have: those before the columns that only some have."""

_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001  # the driver's times bear no zone
_MICROSECOND = datetime.timedelta(microseconds=1)
ROWS_A_QUERY = 100_000


def microseconds(time: datetime.datetime) -> int:
    """A time of the server in UTC as microseconds since the epoch."""
    return (time - _EPOCH) // _MICROSECOND


def time_of(time_us: int) -> datetime.datetime:
    """A time in microseconds since the epoch as the driver takes it: UTC, without a zone."""
    return _EPOCH + datetime.timedelta(microseconds=time_us)


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """The queries on one trail of a server, by the columns that it has there.

    ``time`` is what rows are compared and sorted by, and ``select`` the rows without a limit, those of the
    agent left out: by its user and program, or ``by_session`` by its user and the numbers of its sessions.
    ``purged_as`` is what the trail is called where purges are noted. ``scanned``: every query reads the whole
    trail, which has no index.
    """

    name: str
    time: str
    select: str
    purged_as: str
    by_session: bool = False
    scanned: bool = False

    @property
    def following(self) -> str:
        """The rows from a time on."""
        return (
            f"{self.select} AND {self.time} >= :low ORDER BY {self.time}, sessionid, entry_id, statement_id"
            f" FETCH FIRST {ROWS_A_QUERY} ROWS ONLY"
        )

    @property
    def between(self) -> str:
        """The rows from a time on that are before another time."""
        return (
            f"{self.select} AND {self.time} >= :low AND {self.time} < :high"
            f" ORDER BY {self.time}, sessionid, entry_id, statement_id"
        )

    @property
    def counts(self) -> str:
        """How many rows of each minute are before a time, and how many bear that time itself."""
        time = self.time
        rows = self.select.partition(" FROM ")[2]
        minute = f"TO_CHAR({time}, 'YYYY-MM-DD HH24:MI')"
        return (
            f"SELECT {minute}, SUM(CASE WHEN {time} < :front THEN 1 ELSE 0 END),"  # noqa: S608  # our own names
            f" SUM(CASE WHEN {time} = :front THEN 1 ELSE 0 END)"
            f" FROM {rows} AND {time} >= :low AND {time} <= :front GROUP BY {minute}"
        )

    @property
    def purged_until(self) -> str:
        """Until when the server noted that the trail was purged."""
        return (
            "SELECT MAX(SYS_EXTRACT_UTC(last_archive_ts)) FROM dba_audit_mgmt_last_arch_ts"  # noqa: S608  # our own names
            f" WHERE audit_trail = '{self.purged_as}'"
        )

    def own(self, user: str, program: str, sessions: Sequence[int]) -> dict[str, Any]:
        """The values of the variables by which the agent is known in the queries."""
        if not self.by_session:
            return {"own_user": user, "own_program": program}
        known = [*sessions[-OWN_SESSIONS_KEPT:], *[NO_SESSION] * OWN_SESSIONS_KEPT][:OWN_SESSIONS_KEPT]
        return {"own_user": user, **{f"own_{n}": number for n, number in enumerate(known)}}


def unified(there: frozenset[str]) -> Trail:
    """The unified trail of a server whose view has the columns ``there``.

    The times that are compared are never changed by a function, because the server would read every partition
    of the trail then.
    """
    if "EVENT_TIMESTAMP_UTC" in there:
        time_column, time = "event_timestamp_utc", "event_timestamp_utc"
    else:
        # In the time zone of the session, which is UTC.
        time_column, time = (
            "event_timestamp",
            "SYS_EXTRACT_UTC(FROM_TZ(CAST(event_timestamp AS TIMESTAMP), 'UTC'))",
        )
    columns = ", ".join(f'"{name}"' if name in there else f'NULL AS "{name}"' for name in COLUMNS)
    program = "client_program_name" if "CLIENT_PROGRAM_NAME" in there else "NULL"
    return Trail(
        name=VIEW,
        time=time_column,
        select=f"SELECT {time}, {columns}, {CONTAINER} FROM {VIEW}"  # noqa: S608  # names of ours
        f" WHERE (dbusername IS NULL OR dbusername <> :own_user OR {program} IS NULL"
        f" OR {program} <> :own_program OR (action_name = 'LOGON' AND return_code <> 0))",
        purged_as="UNIFIED AUDIT TRAIL",
    )


def read_unified(connection: ServerConnection) -> Trail:
    """The queries for this server. Raises ConfigurationError where the view cannot be read."""
    return unified(frozenset(connection.columns(PROBE)))


_key = "{}.{}.{}.{}.{}.{}.{}".format
_PREFIXES = {TRADITIONAL: "aud.", TRADITIONAL_FINE: "fga."}


def key_of(row: tuple[Any, ...]) -> str:
    """What names a row beside its time, in whichever trail. A row that is equal to an earlier one of its time
    has one field more, the number of those before it.
    """
    key = _PREFIXES.get(row[_AUDIT_TYPE], "") + _key(*row[KEY])
    return key if len(row) == WIDTH else f"{key}.{row[WIDTH]}"
