"""The server's settings that say what is logged, how, and where."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.host_access import may_read
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.options import LogFormat, LogSource, Options
from dbaudit.engines.postgresql.rights import Rights

CONNECTION_ASPECTS = frozenset({"receipt", "authentication", "authorization"})
"""What log_connections = on stands for, in the words that 18 gave to its parts."""

_NAMES = (
    "data_directory",
    "lc_messages",
    "log_connections",
    "log_destination",
    "log_directory",
    "log_disconnections",
    "log_error_verbosity",
    "log_file_mode",
    "log_filename",
    "log_line_prefix",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_min_messages",
    "log_rotation_age",
    "log_rotation_size",
    "log_statement",
    "log_timezone",
    "log_truncate_on_rotation",
    "logging_collector",
    "pgaudit.log",
    "pgaudit.log_catalog",
    "pgaudit.log_compression",
    "pgaudit.log_connections",
    "pgaudit.log_directory",
    "pgaudit.log_disconnections",
    "pgaudit.log_execution_time",
    "pgaudit.log_filename",
    "pgaudit.log_format",
    "pgaudit.log_level",
    "pgaudit.log_rows",
    "pgaudit.log_statement",
    "pgaudit.role",
    "shared_preload_libraries",
    "syslog_ident",
    "syslog_sequence_numbers",
    "syslog_split_messages",
)

# A row is missing where the role may not see the setting, or the server does not know it.
_SETTINGS = """
    SELECT name, setting, boot_val, source, pending_restart FROM pg_catalog.pg_settings WHERE name = ANY(%s)
"""

_SERVER = """
    SELECT version(),
           current_setting('server_version'),
           (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'pgaudit'),
           (SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'pgaudit'),
           inet_client_port()
"""

_OF_DATABASE_OR_ROLE = """
    SELECT d.datname, r.rolname, split_part(c, '=', 1), substr(c, strpos(c, '=') + 1)
      FROM pg_catalog.pg_db_role_setting s
      CROSS JOIN LATERAL unnest(s.setconfig) AS c
      LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
      LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
     WHERE split_part(c, '=', 1) = ANY(%s)
     ORDER BY 1 NULLS FIRST, 2 NULLS FIRST
"""

_IN_FILES = """
    SELECT DISTINCT ON (name) name, setting FROM pg_catalog.pg_file_settings
     WHERE name = ANY(%s) AND error IS NULL ORDER BY name, seqno DESC
"""

_PER_ROLE = ("log_statement", "pgaudit.log", "pgaudit.role")


class Override(msgspec.Struct, frozen=True):
    """A setting that a database, a role, or a role in a database has for itself; None stands for all."""

    database: str | None
    role: str | None
    name: str
    value: str


class Setting(msgspec.Struct, frozen=True):
    """One row of pg_settings, as the agent's own session sees it."""

    value: str
    default: str | None
    source: str
    pending_restart: bool

    @property
    def of_this_role(self) -> bool:
        """Whether other roles may have another value."""
        return self.source in ("user", "database user")


class LogSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the server logs and where it can be read.

    ``source`` is where the log is read: remote or local, never auto. ``format`` is the log that is read, None
    where the server writes none that can be. ``log_directory`` is the directory as the server's own functions
    take it, None where the role may not see it; ``local_directory`` is its absolute path on this host, in
    local mode, and ``limits`` are what the agent allows there. ``own`` holds the settings as the agent's
    session has them; ``server_wide`` those that a role can have for itself, as all others have them: None for
    one that cannot be known.
    """

    product: str
    version: str
    version_number: int
    options: Options
    source: LogSource
    format: LogFormat | None
    collecting: bool
    destinations: frozenset[str]
    log_directory: str | None
    local_directory: str | None
    log_filename: str | None
    log_timezone: str
    connections: frozenset[str]
    disconnections: bool
    pgaudit_installed: str | None
    pgaudit_created: str | None
    own: Mapping[str, Setting]
    server_wide: Mapping[str, str | None]
    overrides: tuple[Override, ...]
    limits: HostLimits | None = None

    @property
    def major(self) -> int:
        return self.version_number // 10000

    @property
    def written(self) -> frozenset[str]:
        """The formats that are written, those of log_destination and pgauditlogtofile's."""
        return _written(self.destinations, self.own)

    @property
    def pgaudit_loaded(self) -> bool:
        """A setting of a library is known to the server from the moment the library is loaded."""
        return "pgaudit.log" in self.own

    def value(self, name: str) -> str | None:
        """A setting as the agent's session has it; None where the role may not see it."""
        setting = self.own.get(name)
        return None if setting is None else setting.value

    @property
    def line_prefix(self) -> str:
        """What stands before each message of the text log."""
        return self.value("log_line_prefix") or ""

    def path(self, file_name: str) -> str:
        """The path of a log file as pg_read_binary_file takes it."""
        return posixpath.join(self.log_directory or "log", file_name)

    @property
    def log_files_readable(self) -> bool:
        """Whether the log directory on this host can be listed by the agent."""
        return _can_list(self.local_directory, self.limits)


def read_settings(connection: ServerConnection, rights: Rights, options: Options) -> LogSettings:
    """Ask the server for everything that concerns its log."""
    own = {name: Setting(*rest) for name, *rest in connection.rows(_SETTINGS, [list(_NAMES)])}
    product, version, created, installed, client_port = connection.row(_SERVER)
    overrides = tuple(Override(*row) for row in connection.rows(_OF_DATABASE_OR_ROLE, [list(_PER_ROLE)]))
    destinations = frozenset(
        part.strip().lower() for part in own["log_destination"].value.split(",") if part.strip()
    )
    directory_setting = _directory_setting(options)
    directory = own[directory_setting].value if directory_setting in own else None
    local_directory = _local_directory(connection, own, options, client_port)
    limits = connection.target.limits
    source = _source(rights, options, readable=_can_list(local_directory, limits))
    return LogSettings(
        product=product,
        version=version.split()[0],
        version_number=connection.version_number,
        options=options,
        source=source,
        format=_format(_written(destinations, own), options),
        collecting=_collecting(own, options),
        destinations=destinations,
        log_directory=directory,
        local_directory=local_directory if source is LogSource.LOCAL else None,
        log_filename=_log_filename(own, options),
        log_timezone=own["log_timezone"].value,
        connections=_connection_aspects(own["log_connections"].value),
        disconnections=own["log_disconnections"].value == "on",
        pgaudit_installed=installed,
        pgaudit_created=created,
        own=own,
        server_wide=_server_wide(connection, rights, own, overrides),
        overrides=overrides,
        limits=limits,
    )


def _log_filename(own: Mapping[str, Setting], options: Options) -> str | None:
    if options.log_file is not None:
        return posixpath.basename(options.log_file)
    name = "pgaudit.log_filename" if options.log_format is LogFormat.PGAUDIT_FILE else "log_filename"
    return own[name].value if name in own else None


def _directory_setting(options: Options) -> str:
    return "pgaudit.log_directory" if options.log_format is LogFormat.PGAUDIT_FILE else "log_directory"


def _collecting(own: Mapping[str, Setting], options: Options) -> bool:
    """Whether the log that is read is written to files."""
    collected = options.log_file is None and options.log_format is not LogFormat.PGAUDIT_FILE
    return not collected or own["logging_collector"].value == "on"


def _written(destinations: frozenset[str], own: Mapping[str, Setting]) -> frozenset[str]:
    """The formats that are written; that of pgauditlogtofile where it is loaded and not switched off."""
    names = ("pgaudit.log_directory", "pgaudit.log_filename")
    apart = all(name in own and own[name].value for name in names)
    return destinations | {LogFormat.PGAUDIT_FILE.value} if apart else destinations


def _format(destinations: frozenset[str], options: Options) -> LogFormat | None:
    wanted = (
        (LogFormat.JSONLOG, LogFormat.CSVLOG, LogFormat.STDERR)
        if options.log_format is LogFormat.AUTO
        else (options.log_format,)
    )
    return next((log_format for log_format in wanted if log_format.value in destinations), None)


def _source(rights: Rights, options: Options, *, readable: bool) -> LogSource:
    if options.log_source is not LogSource.AUTO:
        return options.log_source
    return LogSource.LOCAL if readable and not rights.suffice(LogSource.REMOTE) else LogSource.REMOTE


def _can_list(directory: str | None, limits: HostLimits | None) -> bool:
    return may_read(directory, limits, os.R_OK | os.X_OK)


def _local_directory(
    connection: ServerConnection, own: Mapping[str, Setting], options: Options, client_port: int | None
) -> str | None:
    if options.log_source is LogSource.REMOTE:
        return None
    if options.log_source is LogSource.AUTO and not _on_this_host(connection, client_port):
        return None
    if options.log_directory is not None:
        return options.log_directory
    directory = _directory_setting(options)
    if "data_directory" not in own or directory not in own:
        return None
    return os.path.join(own["data_directory"].value, own[directory].value)  # noqa: PTH118  # a name, not a file


def _on_this_host(connection: ServerConnection, client_port: int | None) -> bool:
    """Whether the process that serves this session runs here: its title names the port of our end."""
    if connection.target.host.startswith("/"):
        return True
    try:
        title = Path(f"/proc/{connection.backend_process_id}/cmdline").read_bytes()
    except OSError:
        return False
    return title.startswith(b"postgres:") and f"({client_port})".encode() in title


def _connection_aspects(value: str) -> frozenset[str]:
    """log_connections: a boolean up to 17; from 18 on a list of aspects that still takes a boolean."""
    words = frozenset(word.strip().lower() for word in value.split(",") if word.strip())
    if words & {"on", "true", "yes", "1"}:
        return CONNECTION_ASPECTS
    if words & {"off", "false", "no", "0"}:
        return frozenset()
    return CONNECTION_ASPECTS | {"setup_durations"} if "all" in words else words


def _server_wide(
    connection: ServerConnection, rights: Rights, own: Mapping[str, Setting], overrides: tuple[Override, ...]
) -> dict[str, str | None]:
    known: dict[str, str | None] = {}
    hidden = [name for name in _PER_ROLE if name in own and own[name].of_this_role]
    in_files: dict[str, Any] = (
        dict(connection.rows(_IN_FILES, [hidden])) if hidden and rights.file_settings else {}
    )
    of_database = {o.name: o.value for o in overrides if o.role is None and o.database == rights.database}
    for name in _PER_ROLE:
        if name not in own:
            known[name] = None
        elif name not in hidden:
            known[name] = own[name].value
        elif name in of_database:
            known[name] = of_database[name]
        else:
            known[name] = in_files.get(name, own[name].default) if rights.file_settings else None
    return known
