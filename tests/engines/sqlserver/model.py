"""What the protocol double has behind it: logins, rights, audits, event sessions and their files, in memory.

The rules are those of Microsoft's documentation: which version has which columns and rights, what a reading
function gives from a place on, and which error it has for one that is not there. No live server was asked.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any
from xml.sax.saxutils import escape

from tests.engines.sqlserver import columns

_TEXTS = ("nvarchar", "sysname", "varchar")

_EMPTY = {
    name: {"varbinary": b"", "uniqueidentifier": ""}.get(kind, "" if kind in _TEXTS else 0)
    for name, kind in columns.AZURE.items()
    if name not in columns.NULLABLE_SINCE_2012 and kind != "datetime2"
}
STARTED = datetime(2026, 11, 20, 8, tzinfo=UTC)

NEW_RIGHTS = frozenset(
    {
        *("VIEW SERVER SECURITY AUDIT", "VIEW ANY SECURITY DEFINITION", "VIEW SERVER SECURITY STATE"),
        "VIEW SERVER PERFORMANCE STATE",
    }
)
_IMPLIED_BY = {
    "VIEW ANY SECURITY DEFINITION": ("VIEW ANY DEFINITION",),
    "VIEW SERVER SECURITY STATE": ("VIEW SERVER STATE",),
    "VIEW SERVER PERFORMANCE STATE": ("VIEW SERVER STATE",),
}
PART_CHARACTERS = 4000


@dataclass
class File:
    """A file with its rows, each with the offset of the buffer that it stands in."""

    path: str
    rows: list[tuple[int, Any]] = field(default_factory=list)

    def matches(self, pattern: str) -> bool:
        return fnmatchcase(self.path, pattern.replace("[", "[[]"))


@dataclass
class FileSet:
    """The files that one audit or one session writes, oldest first."""

    folder: str
    base: str
    suffix: str
    files: list[File] = field(default_factory=list)
    most_files: int = 1000
    rows_a_buffer: int = 3
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(133_000_000_000_000_000, 10_000))
    _in_buffer: int = 0
    _offset: int = 0

    @property
    def current(self) -> str | None:
        return self.files[-1].path if self.files else None

    def write(self, rows: Sequence[Any]) -> None:
        """Append rows; a buffer is full after ``rows_a_buffer``."""
        if not self.files:
            self.roll_over()
        for row in rows:
            if self._in_buffer >= self.rows_a_buffer:
                self.flush()
            self.files[-1].rows.append((self._offset, row))
            self._in_buffer += 1

    def flush(self) -> None:
        """What is written next stands in another buffer."""
        self._offset += 512 * (1 + self._in_buffer)
        self._in_buffer = 0

    def roll_over(self) -> None:
        """Begin a new file, and remove the oldest ones that are too many."""
        self.files.append(File(f"{self.folder}{self.base}_0_{next(self._numbers)}.{self.suffix}"))
        self._offset, self._in_buffer = 5632, 0
        del self.files[: -self.most_files]


@dataclass
class Audit:
    name: str
    files: FileSet
    guid: str
    enabled: bool = True
    status: str = "STARTED"
    groups: tuple[str, ...] = (
        *("SUCCESSFUL_LOGIN_GROUP", "FAILED_LOGIN_GROUP", "LOGOUT_GROUP"),
        "BATCH_COMPLETED_GROUP",
    )
    queue_delay: int = 1000
    on_failure: str = "CONTINUE"


@dataclass
class EventSession:
    name: str
    files: FileSet
    events: tuple[str, ...] = ("login", "logout", "error_reported", "sql_batch_completed", "rpc_completed")
    dropped: int = 0


@dataclass
class Session:
    number: int
    login: str
    application: str
    host: str
    database: str


class Model:
    """One server."""

    def __init__(self, version: tuple[int, int, int] = (16, 0, 4125), *, windows: bool = False) -> None:
        self.version = version
        self.edition = "Standard Edition (64-bit)"
        self.engine_edition = 2
        self.folder = "D:\\Audit Files\\" if windows else "/var/opt/mssql/data/"
        self.passwords: dict[str, str] = {}
        self.rights: dict[str, set[str]] = {}
        self.sysadmins: set[str] = set()
        self.databases = {"master", "shop"}
        self.audits: list[Audit] = []
        self.event_sessions: list[EventSession] = []
        self.volumes = [("/var/opt/mssql", 100_000_000_000, 40_000_000_000)]
        self.sessions: dict[int, Session] = {}
        self.live = False
        """Whether records bear the present time, and not one that is the same in each run."""
        self.records_sessions = True
        """Whether log-ins and log-outs through the protocol are recorded, as a server does."""
        self.refuses_logins: tuple[int, str] | None = None
        self.passed_over: tuple[int, str] | None = None
        """What the reading functions say beside their rows, with its number."""
        self._session_numbers = itertools.count(51)
        self._times = itertools.count()

    # -- who may do what

    def add_login(self, login: str, password: str, *rights: str) -> None:
        self.passwords[login] = password
        self.rights[login] = set(rights)

    def knows(self, right: str) -> bool:
        return self.version[0] >= 16 or right not in NEW_RIGHTS

    def may(self, login: str, right: str) -> bool:
        held = self.rights.get(login, set())
        return (
            login in self.sysadmins
            or "CONTROL SERVER" in held
            or right in held
            or any(wider in held for wider in _IMPLIED_BY.get(right, ()))
        )

    # -- what is recorded

    def add_audit(self, name: str, *, most_files: int = 1000, rows_a_buffer: int = 3) -> Audit:
        guid = str(uuid.uuid5(uuid.NAMESPACE_DNS, name)).upper()
        files = FileSet(
            self.folder, f"{name}_{guid}", "sqlaudit", most_files=most_files, rows_a_buffer=rows_a_buffer
        )
        audit = Audit(name, files, guid)
        self.audits.append(audit)
        return audit

    def add_event_session(self, name: str = "dbaudit") -> EventSession:
        session = EventSession(name, FileSet(self.folder, name, "xel"))
        self.event_sessions.append(session)
        return session

    def audit_columns(self) -> columns.Columns:
        return columns.audit_file(self.version[0], azure=self.azure)

    @property
    def azure(self) -> bool:
        """Whether it is one of the services whose audits fill durations and rows."""
        return self.engine_edition in (5, 8)

    def next_time(self) -> datetime:
        """Some events happen at the same moment."""
        if self.live:
            return datetime.now(UTC)
        return STARTED + timedelta(microseconds=1500 * (next(self._times) // 2))

    def record(self, audit: Audit, action: str, **values: Any) -> None:
        """One audit record: as many rows as its statement has parts of 4000 characters.

        What a record does not have is 0 or an empty text, as in those of live servers.
        """
        statement = values.pop("statement", "")
        base = {
            **_EMPTY,
            "event_time": self.next_time(),
            "action_id": action.ljust(4) if len(action) < 3 else action,
            "succeeded": True,
            "session_id": 60,
            "server_principal_name": "app",
            "session_server_principal_name": "app",
            "database_principal_name": "dbo",
            "database_name": "shop",
            "client_ip": "10.0.0.9",
            "application_name": "shop server",
            "host_name": "web1",
            "sequence_group_id": uuid.uuid4().bytes,
            **values,
        }
        size = PART_CHARACTERS
        starts = range(0, len(statement or ""), size) or range(1)
        parts = [statement[i : i + size] if statement else statement for i in starts]
        audit.files.write(
            [{**base, "sequence_number": n, "statement": part} for n, part in enumerate(parts, start=1)]
        )

    def record_event(self, session: EventSession, name: str, **fields: Any) -> None:
        """One event of Extended Events as the XML text that the server makes of it."""
        when = fields.pop("timestamp", None) or self.next_time()
        stamp = when.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        body = "".join(
            f'<{"action" if key in ACTIONS else "data"} name="{key}"><value>{escape(str(value))}</value>'
            f"</{'action' if key in ACTIONS else 'data'}>"
            for key, value in fields.items()
        )
        text = f'<event name="{name}" package="sqlserver" timestamp="{stamp}">{body}</event>'
        session.files.write([{"object_name": name, "event_data": text, "event_time": when}])

    # -- sessions

    def begin_session(self, login: str, application: str, host: str, database: str) -> Session:
        session = Session(next(self._session_numbers), login, application, host, database)
        self.sessions[session.number] = session
        if self.records_sessions:
            for audit in self.audits:
                said = "-- network protocol: TCP/IP\r\nset ansi_nulls on"
                self.record(audit, "LGIS", **_of(session), statement=said)
            for events in self.event_sessions:
                self.record_event(events, "login", **_event_fields(session))
        return session

    def end_session(self, number: int) -> None:
        session = self.sessions.pop(number, None)
        if session is not None and self.records_sessions:
            for audit in self.audits:
                self.record(audit, "LGO", **_of(session))
            for events in self.event_sessions:
                self.record_event(events, "logout", duration=1000, **_event_fields(session))

    def record_statement(self, number: int, statement: str) -> None:
        """What a session ran, with the audits and sessions that record batches."""
        session = self.sessions[number]
        for audit in self.audits:
            self.record(audit, "BCM", statement=statement, **_of(session))
        for events in self.event_sessions:
            fields = _event_fields(session)
            self.record_event(
                events,
                "sql_batch_completed",
                duration=1500,
                row_count=1,
                result="OK",
                batch_text=statement,
                **fields,
            )

    def fail_login(self, login: str) -> None:
        if self.records_sessions:
            for events in self.event_sessions:
                self.record_event(
                    events,
                    "error_reported",
                    error_number=18456,
                    severity=14,
                    state=8,
                    message=f"Login failed for user '{login}'. [CLIENT: 127.0.0.1]",
                )
            for audit in self.audits:
                self.record(
                    audit,
                    "LGIF",
                    succeeded=False,
                    session_id=0,
                    server_principal_name=login,
                    session_server_principal_name="",
                    database_name="master",
                    application_name="",
                    statement=f"Login failed for user '{login}'. Reason: Password did not match that for the "
                    "login provided. [CLIENT: 127.0.0.1]",
                    additional_information=action_info(error="0x00004818", state=8),
                )


ACTIONS = frozenset(
    {
        *("client_app_name", "client_hostname", "server_principal_name", "session_server_principal_name"),
        *("session_id", "database_name", "username", "sql_text"),
    }
)


def action_info(*, error: str, state: int, address: str = "127.0.0.1") -> str:
    """additional_information of a log-in."""
    return (
        '<action_info xmlns="http://schemas.microsoft.com/sqlserver/2008/sqlaudit_data"><pooled_connection>0'
        f"</pooled_connection><error>{error}</error><state>{state}</state><address>{address}</address>"
        "</action_info>"
    )


def _of(session: Session) -> dict[str, Any]:
    return {
        "session_id": session.number,
        "server_principal_name": session.login,
        "session_server_principal_name": session.login,
        "database_principal_name": "",
        "database_name": session.database,
        "client_ip": "127.0.0.1",
        "application_name": session.application,
        "host_name": session.host,
        "additional_information": action_info(error="0x00000000", state=1),
    }


def _event_fields(session: Session) -> dict[str, Any]:
    return {
        "client_app_name": session.application,
        "client_hostname": session.host,
        "server_principal_name": session.login,
        "session_id": session.number,
        "database_name": session.database,
    }
