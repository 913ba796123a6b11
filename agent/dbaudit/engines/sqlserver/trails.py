"""The trails of a server: what writes records into files, and which files those are.

A trail is a server audit that writes to files, or the event_file target of an Extended Events session.
"""

from __future__ import annotations

import re
from html import unescape

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.engines.sqlserver.connection import ServerConnection
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.names import quoted
from dbaudit.engines.sqlserver.options import Options, Source
from dbaudit.engines.sqlserver.rights import Rights


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one audit or event session.

    ``pattern`` is what the server's reading function takes for all files of the trail; ``current`` is the
    file that is written now, None if the server does not say.
    """

    kind: Kind
    key: str
    name: str
    pattern: str
    current: str | None = None
    enabled: bool = True
    status: str | None = None
    queue_delay_ms: int | None = None
    on_failure: str | None = None
    max_file_mb: int | None = None
    max_rollover_files: int | None = None
    dropped_buffers: int | None = None


_AUDITS = """
    SELECT a.name, CONVERT(nvarchar(36), a.audit_guid) AS guid, a.log_file_path, a.is_state_enabled,
           a.queue_delay, a.on_failure_desc, a.max_file_size, a.max_rollover_files
    FROM sys.server_file_audits AS a ORDER BY a.name
"""
_AUDIT_STATUS = """
    SELECT s.name, s.status_desc, s.audit_file_path FROM sys.dm_server_audit_status AS s
"""
_SESSION = """
    SELECT s.name, CONVERT(nvarchar(max), t.target_data) AS target_data
    FROM sys.dm_xe_sessions AS s
    JOIN sys.dm_xe_session_targets AS t ON t.event_session_address = s.address
    WHERE t.target_name = N'event_file' AND s.name = ?
"""
_AUDIT_FILE = re.compile(r"(.*_[0-9A-Fa-f]{8}-[0-9A-Fa-f-]{27})_.*\.sqlaudit\Z", re.DOTALL)
_EVENT_FILE = re.compile(r"(.*_0_)\d+\.xel\Z", re.DOTALL)
_TARGET_FILE = re.compile(r'<File name="([^"]*)"')
_DROPPED = re.compile(r'<Buffers[^>]* dropped="(\d+)"')


def chosen_kind(connection: ServerConnection, rights: Rights, options: Options) -> Kind:
    """What is read: as the options say or, for `auto`, audits if there are any that may be read."""
    if options.source is not Source.AUTO:
        return Kind(options.source.value)
    if rights.read_audit.there and rights.see_audits.there and file_audits(connection, rights, options):
        return Kind.AUDIT
    if rights.see_state.there and event_sessions(connection, options):
        return Kind.EXTENDED_EVENTS
    # There is neither: report what is missing for the one that needs the lesser right on this server.
    return Kind.AUDIT if rights.read_audit.there or rights.finer else Kind.EXTENDED_EVENTS


def trails_of(connection: ServerConnection, rights: Rights, options: Options, kind: Kind) -> list[Trail]:
    """Every trail of that kind that the options want, enabled or not.

    Raises ConfigurationError if there is no trail, or a right to see them is missing.
    """
    needed = (rights.read_audit, rights.see_audits) if kind is Kind.AUDIT else (rights.see_state,)
    for right in needed:
        if not right.there:
            raise ConfigurationError(
                ErrorCode.PERMISSION_MISSING,
                f"The login {rights.login!r} lacks the right {right.name}.",
                remedy=right.grant,
            )
    if kind is Kind.AUDIT:
        found = file_audits(connection, rights, options)
    else:
        found = event_sessions(connection, options)
    if not found:
        raise no_trail(options, kind)
    return found


def no_trail(options: Options, kind: Kind) -> ConfigurationError:
    """The error for a server that records nothing that could be read."""
    if kind is Kind.EXTENDED_EVENTS:
        name = quoted(options.event_session)
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            f"No Extended Events session {options.event_session!r} with an event_file target is running.",
            remedy=f"ALTER EVENT SESSION {name} ON SERVER STATE = START; -- after CREATE EVENT SESSION "
            f"{name}, as the documentation shows",
        )
    wanted = f"no audit {options.audit!r}" if options.audit else "no server audit"
    return ConfigurationError(
        ErrorCode.AUDIT_SOURCE_MISSING,
        f"The server has {wanted} that writes to files.",
        remedy=create_audit(options.audit or "dbaudit"),
    )


def create_audit(name: str) -> str:
    """The statements that make an audit, to be run once by an administrator."""
    audit, specification = quoted(name), quoted(f"{name}_sessions")
    return (
        f"USE master; CREATE SERVER AUDIT {audit} TO FILE (FILEPATH = N'/var/opt/mssql/data/', "
        "MAXSIZE = 256 MB, MAX_ROLLOVER_FILES = 20) WITH (QUEUE_DELAY = 1000, ON_FAILURE = CONTINUE); "
        f"CREATE SERVER AUDIT SPECIFICATION {specification} FOR SERVER AUDIT {audit} "
        "ADD (SUCCESSFUL_LOGIN_GROUP), ADD (FAILED_LOGIN_GROUP), ADD (LOGOUT_GROUP) WITH (STATE = ON); "
        f"ALTER SERVER AUDIT {audit} WITH (STATE = ON);"
    )


def file_audits(connection: ServerConnection, rights: Rights, options: Options) -> list[Trail]:
    """The server audits that write to files, as far as the login may see them."""
    status = {}
    if rights.see_audit_status.there:
        status = {name: (state, path) for name, state, path in connection.rows(_AUDIT_STATUS)}
    found = []
    for name, guid, path, enabled, delay, on_failure, size, files in connection.rows(_AUDITS):
        if options.audit is not None and options.audit != name:
            continue
        state, current = status.get(name, (None, None))
        own = _AUDIT_FILE.match(current) if current else None
        found.append(
            Trail(
                kind=Kind.AUDIT,
                key=f"audit:{guid}",
                name=name,
                pattern=f"{own[1]}_*" if own else f"{_folder(path)}{name}_{guid}_*",
                current=current,
                enabled=bool(enabled),
                status=state,
                queue_delay_ms=delay,
                on_failure=on_failure,
                max_file_mb=size,
                max_rollover_files=files,
            )
        )
    return found


def event_sessions(connection: ServerConnection, options: Options) -> list[Trail]:
    """The Extended Events session that the options name, where it runs and writes to a file."""
    found = []
    for name, data in connection.rows(_SESSION, [options.event_session]):
        file = _TARGET_FILE.search(data or "")
        path = unescape(file[1]) if file else ""
        own = _EVENT_FILE.match(path)
        dropped = _DROPPED.search(data or "")
        if own:
            found.append(
                Trail(
                    kind=Kind.EXTENDED_EVENTS,
                    key=f"event_session:{name}",
                    name=name,
                    pattern=f"{own[1]}*.xel",
                    current=path,
                    dropped_buffers=int(dropped[1]) if dropped else None,
                )
            )
    return found


def _folder(path: str) -> str:
    if path.endswith(("/", "\\")):
        return path
    return f"{path}/" if path.startswith("/") else f"{path}\\"
