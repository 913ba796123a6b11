"""The statements that read the files of a trail.

Both functions return their rows in the order of the files and of the buffers in them. They take the name of a
file with the offset of a buffer, and begin after that buffer. The statements prevent parallel plans, which
would return the rows in another order.
"""

from __future__ import annotations

from collections.abc import Collection

from dbaudit.engines.sqlserver.kinds import Kind

# Since the epoch in microseconds, in whole numbers and in a way that every version knows.
_TIME_US = (
    "(CONVERT(bigint, DATEDIFF(day, '19700101', event_time)) * 86400 + DATEDIFF(second, "
    "CONVERT(datetime2(7), CONVERT(date, event_time)), event_time)) * 1000000 "
    "+ DATEPART(microsecond, event_time)"
)

# Columns that some versions lack, with the type that they have where they are.
_PERHAPS_MISSING = {
    "sequence_group_id": "varbinary(85)",
    "transaction_id": "bigint",
    "client_ip": "nvarchar(128)",
    "application_name": "nvarchar(128)",
    "host_name": "nvarchar(128)",
    "duration_milliseconds": "bigint",
    "affected_rows": "bigint",
    "response_rows": "bigint",
    "user_defined_information": "nvarchar(4000)",
}
AUDIT_COLUMNS = (
    "file_name",
    "audit_file_offset",
    "time_us",
    "sequence_number",
    "action_id",
    "succeeded",
    "session_id",
    "server_principal_name",
    "session_server_principal_name",
    "database_principal_name",
    "target_server_principal_name",
    "target_database_principal_name",
    "database_name",
    "schema_name",
    "object_name",
    "statement",
    "additional_information",
    *_PERHAPS_MISSING,
    "class_type",
)
# A path in a code page would come in that of the driver's locale.
_FILE_NAME = "CONVERT(nvarchar(260), file_name) AS file_name"
EVENT_COLUMNS = ("file_name", "file_offset", "object_name", "event_data")
FILE, OFFSET = 0, 1
"""Where every row has its place, whichever function gave it."""


def columns_query() -> str:
    """The columns that sys.fn_get_audit_file has on this server; takes the pattern."""
    return "SELECT TOP (0) * FROM sys.fn_get_audit_file(?, DEFAULT, DEFAULT)"


def actions_query() -> str:
    """The names of all actions, by their ids."""
    return "SELECT DISTINCT RTRIM(action_id) AS action_id, name FROM sys.dm_audit_actions"


def rows_query(kind: Kind, known: Collection[str], *, after: bool = False, floor: bool = False) -> str:
    """Reads rows; takes their number and the pattern, then:

    - with ``after``: the file and the offset of the buffer after which to begin;
    - with ``floor``: file, file and offset of the buffer at which to begin, for when the one before it is
    gone;
    - else nothing: it begins with the oldest file.
    """
    if kind is Kind.AUDIT:
        columns = ", ".join(_audit_column(name, known) for name in AUDIT_COLUMNS)
        start = "?, ?" if after else "?, DEFAULT" if floor else "DEFAULT, DEFAULT"
        where = "WHERE file_name <> ? OR audit_file_offset >= ?" if floor else ""
        source = f"sys.fn_get_audit_file(?, {start})"
    else:
        columns = ", ".join(EVENT_COLUMNS)
        # A file without an offset is refused here, so that the files before it are passed over.
        where = "WHERE file_name > ? OR (file_name = ? AND file_offset >= ?)" if floor else ""
        source = f"sys.fn_xe_file_target_read_file(?, NULL, {'?, ?' if after else 'NULL, NULL'})"
    return f"SELECT TOP (?) {columns} FROM {source} {where} OPTION (MAXDOP 1)"  # noqa: S608  # constants


def end_query(kind: Kind) -> str:
    """The last two buffers of the files that a pattern names, latest first, each with its number of rows."""
    return _ENDS[kind]


_ENDS = {
    Kind.AUDIT: (
        "SELECT TOP (2) CONVERT(nvarchar(260), file_name) AS file_name, audit_file_offset, "
        "COUNT(*) AS row_count "
        "FROM sys.fn_get_audit_file(?, DEFAULT, DEFAULT) GROUP BY file_name, audit_file_offset "
        "ORDER BY file_name DESC, audit_file_offset DESC"
    ),
    Kind.EXTENDED_EVENTS: (
        "SELECT TOP (2) file_name, file_offset, COUNT(*) AS row_count "
        "FROM sys.fn_xe_file_target_read_file(?, NULL, NULL, NULL) GROUP BY file_name, file_offset "
        "ORDER BY file_name DESC, file_offset DESC"
    ),
}


def _audit_column(name: str, known: Collection[str]) -> str:
    if name == "time_us":
        return f"{_TIME_US} AS time_us"
    if name == "file_name":
        return _FILE_NAME
    if name in _PERHAPS_MISSING and name not in known:
        return f"CONVERT({_PERHAPS_MISSING[name]}, NULL) AS {name}"
    return name
