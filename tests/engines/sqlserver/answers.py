"""Answers to the statements that the engine sends: recognised by their text, answered from the model.

A statement that is not known, or that names a column which this version has not, is an error, as it would be
on a server.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from tests.engines.sqlserver.model import EventSession, Model, Session, microseconds
from tests.engines.sqlserver.tds_server import SqlError
from tests.engines.sqlserver.tds_tokens import Column, Login, Result

_BIGINTS = frozenset(
    {
        *("time_us", "audit_file_offset", "file_offset", "transaction_id", "duration_milliseconds"),
        *("affected_rows", "response_rows", "now_seconds", "total_bytes", "available_bytes"),
    }
)
_INTS = frozenset({"session_id", "sequence_number", "engine_edition", "sysadmin", "row_count", "one"})
_BITS = frozenset({"succeeded", "is_state_enabled"})
_COLUMN = re.compile(
    r"CONVERT\(\w+(?:\(\d+\))?, NULL\) AS (?P<missing>\w+)|.* AS (?P<named>\w+)\Z|(?P<plain>\w+)\Z",
    re.DOTALL,
)
_ROWS = re.compile(
    r"SELECT TOP \((?P<top>\?|0)\) (?P<columns>.*?) FROM sys\.(?P<function>fn_\w+)\((?P<arguments>[^)]*)\)"
    r"(?: WHERE (?P<where>.*?))?(?: OPTION \(MAXDOP 1\))?\Z",
    re.DOTALL,
)
_END = re.compile(r"SELECT TOP \(2\) .*, \w+, COUNT\(\*\) AS row_count FROM sys\.(?P<function>fn_\w+)\(")
_PARAMETER = re.compile(r"@P\d+")

ACTIONS = {
    "LGIS": "LOGIN SUCCEEDED",
    "LGIF": "LOGIN FAILED",
    "LGO": "LOGOUT",
    "DBL": "DATABASE LOGOUT",
    "SL": "SELECT",
    "IN": "INSERT",
    "UP": "UPDATE",
    "DL": "DELETE",
    "EX": "EXECUTE",
    "BCM": "BATCH COMPLETED",
    "CR": "CREATE",
    "G": "GRANT",
    "DBAS": "DATABASE AUTHENTICATION SUCCEEDED",
}


class Answers:
    """``log_in``, ``answer`` and ``log_out`` of a Backend."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.statements: deque[tuple[str, list[Any]]] = deque(maxlen=20)
        self.visitors: set[str] = set()
        """Logins whose statements, whatever they are, are recorded and answered with a row."""
        self.failing: Callable[[str], None] | None = None
        """Called with each statement before it is answered; may raise."""
        self._known: list[tuple[str, Callable[[Session, str, Sequence[Any]], Result | None]]] = [
            ("SELECT 1 AS one", lambda session, sql, values: _result(["one"], [[1]])),
            ("@@SPID", self._facts),
            ("HAS_PERMS_BY_NAME", self._rights),
            ("FROM sys.server_file_audits", self._audits),
            ("FROM sys.dm_server_audit_status", self._status),
            ("sys.dm_xe_session_targets", self._targets),
            ("sys.dm_xe_session_events", self._events),
            ("sys.server_audit_specification_details", self._groups),
            ("N'BATCH_COMPLETED_GROUP'", self._batch_group),
            ("FROM sys.dm_audit_actions", self._actions),
            ("sys.dm_os_volume_stats", self._volumes),
            ("COUNT(*) AS row_count", self._end),
            ("SELECT TOP (", self._rows),
        ]

    def log_in(self, login: Login) -> tuple[int, str]:
        model = self.model
        if model.refuses_logins is not None:
            raise SqlError(*model.refuses_logins, severity=14)
        if model.passwords.get(login.user) != login.password:
            model.fail_login(login.user)
            raise SqlError(18456, f"Login failed for user '{login.user}'.", 14)
        database = login.database or "master"
        if database not in model.databases:
            text = f'Cannot open database "{database}" requested by the login. The login failed.'
            raise SqlError(4060, text, 11)
        session = model.begin_session(login.user, login.application, login.host, database)
        return session.number, database

    def log_out(self, number: int) -> None:
        self.model.end_session(number)

    def answer(self, number: int, sql: str, values: Sequence[Any]) -> Result | None:
        text = " ".join(_PARAMETER.sub("?", sql).split())
        if text.lower().startswith(("set ", "sp_datatype_info", "exec sp_datatype_info")):
            return None
        self.statements.append((text, list(values)))
        if self.failing is not None:
            self.failing(text)
        if self.model.sessions[number].login in self.visitors:
            self.model.record_statement(number, sql)
            return _result(["one"], [[1]])
        for mark, handler in self._known:
            if mark in text:
                return handler(self.model.sessions[number], text, values)
        raise SqlError(102, f"Incorrect syntax near '{text[:40]}'.", 15)

    # -- the server and the login

    def _facts(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        model = self.model
        row = [
            session.number,
            session.login,
            session.application,
            session.database,
            ".".join(str(part) for part in (*model.version, 3)),
            model.edition,
            model.engine_edition,
            microseconds(model.next_time()) // 1_000_000,
        ]
        return _result(_names(sql), [row])

    def _rights(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        model = self.model
        asked = re.findall(r"HAS_PERMS_BY_NAME\(NULL, NULL, N'([^']*)'\)", sql)
        held = [int(model.may(session.login, right)) if model.knows(right) else None for right in asked]
        row = [session.login, int(session.login in model.sysadmins), *held]
        kinds = ["nvarchar", *("int" for _ignored in row[1:])]
        columns = [Column(name, kind) for name, kind in zip(_names(sql), kinds, strict=True)]
        return Result(columns, [row])

    def _volumes(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        self._need(session, "VIEW SERVER PERFORMANCE STATE", "VIEW SERVER STATE")
        return _result(["volume_mount_point", "total_bytes", "available_bytes"], self.model.volumes)

    def _need(self, session: Session, right: str, older: str) -> None:
        wanted = right if self.model.knows(right) else older
        if not self.model.may(session.login, wanted):
            text = f"{wanted} permission was denied on object 'server', database 'master'."
            raise SqlError(300, text, 14)

    # -- audits and sessions

    def _audits(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        names = ["name", "guid", "log_file_path", "is_state_enabled", "queue_delay"]
        names += ["on_failure_desc", "max_file_size", "max_rollover_files"]
        kinds = ["nvarchar", "nvarchar", "nvarchar", "bit", "int", "nvarchar", "bigint", "int"]
        may = any(
            self.model.may(session.login, right)
            for right in ("ALTER ANY SERVER AUDIT", "VIEW ANY DEFINITION", "VIEW ANY SECURITY DEFINITION")
        )
        rows = [
            [a.name, a.guid, a.files.folder, a.enabled, a.queue_delay, a.on_failure, 256, a.files.most_files]
            for a in self.model.audits
            if may
        ]
        return Result([Column(name, kind) for name, kind in zip(names, kinds, strict=True)], rows)

    def _status(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        self._need(session, "VIEW SERVER SECURITY STATE", "VIEW SERVER STATE")
        rows = [[a.name, a.status, a.files.current] for a in self.model.audits]
        return _result(["name", "status_desc", "audit_file_path"], rows)

    def _targets(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        self._need(session, "VIEW SERVER PERFORMANCE STATE", "VIEW SERVER STATE")
        rows = [[s.name, _target_data(s)] for s in self.model.event_sessions if s.name == values[0]]
        return Result([Column("name"), Column("target_data", "max")], rows)

    def _events(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        self._need(session, "VIEW SERVER PERFORMANCE STATE", "VIEW SERVER STATE")
        return _result(
            ["event_name"], [[e] for s in self.model.event_sessions if s.name == values[0] for e in s.events]
        )

    def _groups(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        return _result(
            ["name", "audit_action_name"], [[a.name, group] for a in self.model.audits for group in a.groups]
        )

    def _batch_group(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        return _result(["name"], [["BATCH_COMPLETED_GROUP"]] if self.model.version[0] >= 16 else [])

    def _actions(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        return _result(["action_id", "name"], list(ACTIONS.items()))

    # -- the reading functions

    def _end(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        match = _END.match(sql)
        assert match, sql
        audit = match["function"] == "fn_get_audit_file"
        rows = self._read(session, audit, values[0], None, None)
        counts: dict[tuple[str, int], int] = {}
        for path, offset, _row in rows:
            counts[path, offset] = counts.get((path, offset), 0) + 1
        latest = sorted(counts, reverse=True)[:2]
        offset_name = "audit_file_offset" if audit else "file_offset"
        found = [[path, offset, counts[path, offset]] for path, offset in latest]
        return _result(["file_name", offset_name, "row_count"], found)

    def _rows(self, session: Session, sql: str, values: Sequence[Any]) -> Result:
        match = _ROWS.match(sql)
        assert match, sql
        audit = match["function"] == "fn_get_audit_file"
        rest = list(values)
        top = rest.pop(0) if match["top"] == "?" else 0
        arguments = [rest.pop(0) if word.strip() == "?" else None for word in match["arguments"].split(",")]
        if not audit:
            del arguments[1]  # the metadata file, which is always NULL
        rows = self._read(session, audit, *arguments)
        if match["where"] and audit:
            file, offset = rest
            rows = [row for row in rows if row[0] != file or row[1] >= offset]
        elif match["where"]:
            later, file, offset = rest
            rows = [row for row in rows if row[0] > later or (row[0] == file and row[1] >= offset)]
        if match["columns"] == "*":
            return _result(sorted(self.model.audit_columns()), [])
        columns = _split(match["columns"])
        names = [self._column(each, audit=audit) for each in columns]
        missing = {_COLUMN.match(each)["missing"] for each in columns}  # type: ignore[index]
        cells = [
            [None if name in missing else _cell(name, path, offset, row) for name in names]
            for path, offset, row in rows[:top]
        ]
        return Result([Column(name, _kind(name)) for name in names], cells, self.model.passed_over)

    def _column(self, expression: str, *, audit: bool) -> str:
        match = _COLUMN.match(expression)
        assert match, expression
        if match["missing"] or match["named"]:
            return match["missing"] or match["named"]
        of_events = {"file_name", "file_offset", "object_name", "event_data"}
        there = self.model.audit_columns() if audit else of_events
        if match["plain"] not in there:
            raise SqlError(207, f"Invalid column name '{match['plain']}'.")
        return match["plain"]

    def _read(
        self, session: Session, audit: bool, pattern: str, first: str | None, offset: int | None
    ) -> list[tuple[str, int, dict[str, Any]]]:
        if audit:
            self._need(session, "VIEW SERVER SECURITY AUDIT", "CONTROL SERVER")
        else:
            self._need(session, "VIEW SERVER PERFORMANCE STATE", "VIEW SERVER STATE")
        written = self.model.audits if audit else self.model.event_sessions
        files = [file for each in written for file in each.files.files if file.matches(pattern)]
        if not files:
            raise _NO_FILES_OF_AUDIT if audit else _NO_FILES_OF_EVENTS
        if not audit and (first is None) != (offset is None):
            raise SqlError(25719, "Initial file name and initial offset must be specified as a pair.")
        if first is not None:
            place = next((number for number, file in enumerate(files) if file.path == first), None)
            if place is None or (offset is not None and offset not in {o for o, _row in files[place].rows}):
                raise _NO_SUCH_PLACE if audit else _NO_SUCH_OFFSET
            files = files[place:]
        return [
            (file.path, at, row)
            for file in files
            for at, row in file.rows
            if offset is None or file.path != first or at > offset
        ]


_NO_FILES_OF_AUDIT = SqlError(
    33224,
    "The specified pattern did not return any files or does not represent a valid file share. Verify the "
    "pattern parameter and rerun the command.",
)
_NO_SUCH_PLACE = SqlError(
    33225,
    "The specified values for initial_file_name and audit_record_offset do not represent a valid location "
    "within the audit file set. Verify the file name and offset location, and then rerun the command.",
)
_NO_FILES_OF_EVENTS = SqlError(
    25718,
    'The log file name "x" is invalid. Verify that the file exists and that the SQL Server service account '
    "has access to it.",
)
_NO_SUCH_OFFSET = SqlError(
    25722,
    'The offset 1 is invalid for log file "x". Specify an offset that exists in the log file and retry.',
)


def _target_data(session: EventSession) -> str:
    file = session.files.current or f"{session.files.folder}{session.name}_0_1.xel"
    return (
        f'<EventFileTarget truncated="0"><Buffers logged="9" dropped="{session.dropped}"/>'
        f'<File name="{file}"/></EventFileTarget>'
    )


def _cell(name: str, path: str, offset: int, row: dict[str, Any]) -> Any:
    if name == "file_name":
        return path
    if name in ("audit_file_offset", "file_offset"):
        return offset
    if name == "time_us":
        return microseconds(row["event_time"])
    return row.get(name)


def _names(sql: str) -> list[str]:
    return re.findall(r" AS (\w+)(?:,|$| FROM)", sql)


def _split(columns: str) -> list[str]:
    """At the commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(columns):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(columns[start:place].strip())
            start = place + 1
    return [*parts, columns[start:].strip()]


def _kind(name: str) -> str:
    if name in _BIGINTS:
        return "bigint"
    if name in _INTS:
        return "int"
    if name in _BITS:
        return "bit"
    if name == "sequence_group_id":
        return "varbinary"
    return "max" if name == "event_data" else "nvarchar"


def _result(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Result:
    return Result([Column(name, _kind(name)) for name in names], rows)
