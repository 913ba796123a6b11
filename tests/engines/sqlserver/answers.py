"""Answers to the statements that the engine sends: run on the objects that Microsoft documents, with the rows
and the rules of the model.

A statement that names an object, a column or a function which this version has not is an error, as it would
be on a server.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tests.engines.sqlserver import columns
from tests.engines.sqlserver.model import EventSession, Model, Session
from tests.engines.sqlserver.tds_server import SqlError
from tests.engines.sqlserver.tds_tokens import Column, Login, Result
from tests.engines.sqlserver.tsql import Functions, Table, run

_PARAMETER = re.compile(r"@P\d+")

_SYSTEM_DATABASES = ("master", "tempdb", "model", "msdb")
ACTIONS = {
    "LGIS": "LOGIN SUCCEEDED",
    "LGIF": "LOGIN FAILED",
    "LGO": "LOGOUT",
    "DBL": "DATABASE LOGOUT",
    "APRL": "ADD MEMBER",
    "DPRL": "DROP MEMBER",
    "AL": "ALTER",
    "DR": "DROP",
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
        session = self.model.sessions[number]
        if session.login in self.visitors:
            self.model.record_statement(number, sql)
            return Result([Column("one", "int")], [[1]])
        result = run(sql, values, partial(self._object, session), self._functions(session))
        if " sys.fn_" in text:
            result = replace(result, said=self.model.passed_over)
        return result

    # -- the server and the login

    def _functions(self, session: Session) -> Functions:
        model = self.model
        properties = {
            "ProductVersion": ".".join(str(part) for part in (*model.version, 3)),
            "Edition": model.edition,
            "EngineEdition": model.engine_edition,
        }

        def has_permission(_securable: None, _class: None, right: str) -> int | None:
            return int(model.may(session.login, right)) if model.knows(right) else None

        return {
            "@@SPID": ("smallint", 0, lambda: session.number),
            "ORIGINAL_LOGIN": ("sysname", 0, lambda: session.login),
            "APP_NAME": ("nvarchar", 0, lambda: session.application),
            "DB_NAME": ("nvarchar", 0, lambda: session.database),
            "SYSUTCDATETIME": ("datetime2", 0, lambda: f"{model.next_time():%Y-%m-%d %H:%M:%S.%f}"),
            "SERVERPROPERTY": ("sql_variant", 1, properties.get),
            "IS_SRVROLEMEMBER": ("int", 1, lambda _role: int(session.login in model.sysadmins)),
            "HAS_PERMS_BY_NAME": ("int", 3, has_permission),
        }

    def _need(self, session: Session, right: str, older: str) -> None:
        wanted = right if self.model.knows(right) else older
        if not self.model.may(session.login, wanted):
            text = f"{wanted} permission was denied on object 'server', database 'master'."
            raise SqlError(300, text, 14)

    # -- the objects

    def _object(self, session: Session, name: str, arguments: list[Any]) -> Table:
        if name == "fn_get_audit_file":
            rows = self._read(session, True, *arguments)
            return Table(
                self.model.audit_columns(),
                [{**row, "file_name": path, "audit_file_offset": at} for path, at, row in rows],
            )
        if name == "fn_xe_file_target_read_file":
            pattern, _metadata, first, offset = arguments
            rows = self._read(session, False, pattern, first, offset)
            there = columns.EVENT_FILE if self.model.version[0] >= 14 else columns.EVENT_FILE_2016
            return Table(there, [{**row, "file_name": path, "file_offset": at} for path, at, row in rows])
        if name not in columns.VIEWS:
            raise SqlError(208, f"Invalid object name 'sys.{name}'.")
        return Table(columns.VIEWS[name], list(self._view(session, name)))

    def _view(self, session: Session, name: str) -> Iterator[dict[str, Any]]:
        model = self.model
        if name.startswith(("dm_xe", "dm_os")):
            self._need(session, "VIEW SERVER PERFORMANCE STATE", "VIEW SERVER STATE")
        elif name == "dm_server_audit_status":
            self._need(session, "VIEW SERVER SECURITY STATE", "VIEW SERVER STATE")
        seen = [
            right
            for right in ("ALTER ANY SERVER AUDIT", "VIEW ANY DEFINITION", "VIEW ANY SECURITY DEFINITION")
            if model.may(session.login, right)
        ]
        for number, audit in enumerate(model.audits, start=65536):
            known = {"audit_id": number, "name": audit.name}
            state = {"audit_guid": audit.guid, "is_state_enabled": audit.enabled}
            match name:
                case "server_audits" | "server_file_audits" if seen:
                    yield {
                        **known,
                        **state,
                        "queue_delay": audit.queue_delay,
                        "on_failure_desc": audit.on_failure,
                        "max_file_size": 256,
                        "max_rollover_files": audit.files.most_files,
                        "log_file_path": audit.files.folder,
                    }
                case "server_audit_specifications" if seen:
                    yield {"server_specification_id": number, **state, "is_state_enabled": True}
                case "server_audit_specification_details" if seen:
                    for group in audit.groups:
                        yield {"server_specification_id": number, "audit_action_name": group}
                case "dm_server_audit_status":
                    yield {**known, "status_desc": audit.status, "audit_file_path": audit.files.current}
        for number, events in enumerate(model.event_sessions):
            address = number.to_bytes(8, "big")
            match name:
                case "dm_xe_sessions":
                    yield {"address": address, "name": events.name}
                case "dm_xe_session_targets":
                    yield {
                        "event_session_address": address,
                        "target_name": "event_file",
                        "target_data": _target_data(events),
                    }
                case "dm_xe_session_events":
                    for event in events.events:
                        yield {"event_session_address": address, "event_name": event}
        for number, (mount, total, free) in enumerate(model.volumes, start=1):
            if name == "master_files":
                yield {"database_id": number, "file_id": 1}
            elif name == "dm_os_volume_stats":
                sizes = {"volume_mount_point": mount, "total_bytes": total, "available_bytes": free}
                yield {"database_id": number, "file_id": 1, **sizes}
        if name == "databases":
            others = sorted(model.databases - set(_SYSTEM_DATABASES))
            for number, each in enumerate([*_SYSTEM_DATABASES, *others], start=1):
                yield {"name": each, "database_id": number, "state_desc": "ONLINE"}
        if name == "dm_audit_actions":
            for action, meaning in ACTIONS.items():
                yield {"action_id": action.ljust(4), "name": meaning}
            if model.version[0] >= 16:
                yield {"action_id": "BCMG", "name": "BATCH_COMPLETED_GROUP"}

    # -- the reading functions

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
