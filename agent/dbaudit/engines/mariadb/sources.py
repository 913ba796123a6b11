"""Which of the sources that the server has is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.file_kinds import unreadable_kind
from dbaudit.engine.host_access import listed, reading
from dbaudit.engine.rotation import rotated_files
from dbaudit.engines.mariadb.options import Options, Source
from dbaudit.engines.mariadb.remote_file import RemoteFile
from dbaudit.engines.mariadb.settings import AuditSettings, rotations
from dbaudit.engines.mariadb.times import Beginning, beginning_of
from dbaudit.engines.mysql_protocol.connection import ServerConnection

FILE_REMEDY = (
    "Put the account of the agent into the group of the server: usermod --append --groups mysql "
    "ACCOUNT_OF_THE_AGENT; and start the agent again. Its setting local_paths has to name the folder."
)
LOAD_PLUGIN = (
    "INSTALL SONAME 'server_audit'; SET GLOBAL server_audit_events = 'CONNECT,QUERY'; "
    "SET GLOBAL server_audit_logging = ON; -- and the same in the server's configuration file"
)
GENERAL_LOG_ON = "SET GLOBAL log_output = 'TABLE'; SET GLOBAL general_log = ON;"
_SYSLOG_FILES = ("/var/log/syslog", "/var/log/messages", "/var/log/user.log")
_LOOKED_AT_BYTES = 1 << 20
_FILES_LOOKED_AT = 2
_BEGINNING_BYTES = 16


class ChosenSource:
    """The source of one session: it stays the same as long as it can be read.

    What proves that a file is this server's is the log-in of the session, which soon lies far back in it.
    """

    def __init__(self, connection: ServerConnection, options: Options) -> None:
        self._connection = connection
        self._options = options
        self._kind: Source | None = None

    def of(self, settings: AuditSettings) -> Source | None:
        """The source that is declared, or the best one that can be read; None if none can be read."""
        kind = self._kind
        if kind is None or unreadable(kind, self._connection, settings, self._options) is not None:
            self._kind = _chosen_source(self._connection, settings, self._options)
        return self._kind


def _chosen_source(connection: ServerConnection, settings: AuditSettings, options: Options) -> Source | None:
    if options.source is not Source.AUTO:
        return options.source
    return next(_readable(connection, settings, options), None)


def _readable(connection: ServerConnection, settings: AuditSettings, options: Options) -> Iterator[Source]:
    if settings.to_file:
        if options.audit_file or is_of_this_server(connection, settings, settings.audit_file):
            yield Source.FILE
        elif remote_file(connection, settings).readable():
            yield Source.REMOTE_FILE
    if settings.to_syslog and (options.syslog_file or syslog_file(connection, settings)):
        yield Source.SYSLOG
    if settings.general_log_in_table:
        yield Source.GENERAL_LOG


def remote_file(
    connection: ServerConnection, settings: AuditSettings, beginning: Beginning = beginning_of
) -> RemoteFile:
    """The file of server_audit through LOAD_FILE."""
    return RemoteFile(connection, settings.audit_file, lambda: rotations(connection), beginning)


def local_path(kind: Source, connection: ServerConnection, settings: AuditSettings, options: Options) -> str:
    """Where the file of a local source is on this host. Raises ConfigurationError."""
    if kind is Source.FILE:
        return options.audit_file or settings.audit_file
    path = options.syslog_file or syslog_file(connection, settings)
    if path is None:
        raise no_source(settings)
    return path


def syslog_file(connection: ServerConnection, settings: AuditSettings) -> str | None:
    """The file of syslog on this host that has the agent's own log-in; None if no file has it."""
    found = (path for path in _SYSLOG_FILES if is_of_this_server(connection, settings, path))
    return next(found, None)


def is_of_this_server(connection: ServerConnection, settings: AuditSettings, path: str) -> bool:
    """Whether a file on this host is where the server writes: the agent's own log-in is in it, or in the
    one before it.
    """
    own = ",".join((settings.value("hostname"), connection.target.username, connection.client_host))
    mark = re.compile(rb"%b(?::\d+)?,%d,\d+,[A-Z]" % (re.escape(own.encode()), connection.connection_id))
    live, limits = Path(path), connection.target.limits
    try:
        latest = (rotated_files(live, limits=limits) or [])[-_FILES_LOOKED_AT:]
        return any(mark.search(_end_of(live.with_name(file.name), limits)) for file in latest)
    except (OSError, ConfigurationError):
        return False


def _end_of(path: Path, limits: HostLimits | None) -> bytes:
    with reading(path, limits) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _LOOKED_AT_BYTES))
        return file.read()


def no_source(settings: AuditSettings) -> ConfigurationError:
    """The error for a server that records nothing, or whose records the agent cannot read."""
    if not settings.plugin_on and not settings.general_log_in_table:
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            "The server records nothing: server_audit is not on, and the general log is not in a table.",
            remedy=LOAD_PLUGIN,
        )
    return ConfigurationError(
        ErrorCode.AUDIT_SOURCE_MISSING,
        "What server_audit writes cannot be read: not from this host's disk, and not over the connection.",
        remedy=f"{FILE_REMEDY} Or read the general log: {GENERAL_LOG_ON}",
    )


def unreadable(
    source: Source | None, connection: ServerConnection, settings: AuditSettings, options: Options
) -> ConfigurationError | None:
    """Why the records of a source cannot be read; None where they can."""
    if source is None:
        return no_source(settings)
    if source is Source.GENERAL_LOG:
        if settings.general_log_in_table:
            return None
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            "The general log is off, or does not go to its table.",
            remedy=GENERAL_LOG_ON,
        )
    wanted = "SYSLOG" if source is Source.SYSLOG else "FILE"
    if not (settings.to_syslog if source is Source.SYSLOG else settings.to_file):
        remedy = f"SET GLOBAL server_audit_output_type = '{wanted}'; SET GLOBAL server_audit_logging = ON;"
        if not settings.plugin_loaded:
            remedy = f"INSTALL SONAME 'server_audit'; {remedy}"
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            f"server_audit is not loaded, or off, or does not write to {wanted}.",
            remedy=remedy,
        )
    if source is Source.REMOTE_FILE:
        remote = remote_file(connection, settings)
        return None if remote.readable() else remote.unreadable()
    return _unreadable_file(local_path(source, connection, settings, options), connection.target.limits)


def _unreadable_file(path: str, limits: HostLimits | None) -> ConfigurationError | None:
    try:
        with reading(path, limits) as file:
            kind = unreadable_kind(file.read(_BEGINNING_BYTES))
        with listed(Path(path).parent, limits) as entries:  # following rotation lists the folder
            next(entries, None)
    except ConfigurationError as error:
        return error
    except PermissionError as error:
        return ConfigurationError(
            ErrorCode.PERMISSION_MISSING,
            f"{error.filename or path} cannot be read by the agent's account.",
            remedy=FILE_REMEDY,
        )
    except OSError as error:
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            f"{path} cannot be read: {error.strerror}.",
            remedy="Run the agent on the server's host, or set the option audit_file (or syslog_file) to "
            "where the file is here.",
        )
    if kind is not None:
        return ConfigurationError(
            ErrorCode.AUDIT_SOURCE_MISSING,
            f"{path} is {kind}: it cannot be read as it is.",
            remedy="Name the file that server_audit writes itself in the option audit_file (or syslog_file).",
        )
    return None
