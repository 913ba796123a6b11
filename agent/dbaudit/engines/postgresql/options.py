"""The engine's own audit options: `audit_options.engine` of a PostgreSQL database."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dbaudit.engine.options import StartFrom, read_options, start_from_schema, wrong_option


class LogSource(StrEnum):
    """Where the log files are read."""

    AUTO = "auto"
    REMOTE = "remote"
    LOCAL = "local"


class LogFormat(StrEnum):
    """Which of the server's log formats is read; the words are those of `log_destination`."""

    AUTO = "auto"
    JSONLOG = "jsonlog"
    CSVLOG = "csvlog"
    STDERR = "stderr"
    SYSLOG = "syslog"
    PGAUDIT_FILE = "pgaudit_file"


_METHODS = "(none|password|md5|scram-sha-256|gss|sspi)"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    log_source: LogSource = LogSource.AUTO
    log_format: LogFormat = LogFormat.AUTO
    log_directory: str | None = None
    log_file: str | None = None
    require_auth: str | None = None
    start_from: StartFrom = StartFrom.NOW

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        options = read_options(given, cls)
        if options.log_directory is not None and not options.log_directory.startswith("/"):
            raise wrong_option(
                "/log_directory", "must be an absolute path, such as /var/lib/postgresql/17/main/log"
            )
        if options.log_directory is not None and options.log_source is LogSource.REMOTE:
            raise wrong_option(
                "/log_directory", "is for log_source local; remotely the server says where its log is"
            )
        if options.log_format is LogFormat.SYSLOG and options.log_file is None:
            raise wrong_option("/log_format", "needs log_file, the file that the syslog daemon writes")
        if options.log_format is LogFormat.PGAUDIT_FILE:
            if options.log_source is LogSource.REMOTE:
                raise wrong_option("/log_format", "is read from the disk: not with log_source remote")
            options = msgspec.structs.replace(options, log_source=LogSource.LOCAL)
        return options if options.log_file is None else _of_a_file(options, options.log_file)


def _of_a_file(options: Options, log_file: str) -> Options:
    """The options for a log that the server's logging collector does not write."""
    directory, name = posixpath.split(log_file)
    if not directory.startswith("/") or not name:
        raise wrong_option(
            "/log_file", "must be an absolute path, such as /var/log/postgresql/postgresql-17-main.log"
        )
    if options.log_directory is not None or options.log_source is LogSource.REMOTE:
        raise wrong_option("/log_file", "is read from the disk: not with log_directory or log_source remote")
    log_format = LogFormat.STDERR if options.log_format is LogFormat.AUTO else options.log_format
    if log_format not in (LogFormat.STDERR, LogFormat.SYSLOG):
        raise wrong_option("/log_file", "is a text log: log_format is stderr or syslog")
    return msgspec.structs.replace(
        options, log_source=LogSource.LOCAL, log_format=log_format, log_directory=directory
    )


OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "log_source": {
            "enum": [source.value for source in LogSource],
            "default": LogSource.AUTO.value,
            "description": (
                "Where the log files are read: `remote` through pg_read_binary_file over the connection, "
                "`local` from the disk of the agent's host, which must be the server's; `auto` is remote "
                "where the rights for it are there, else local where the server runs on the agent's host."
            ),
        },
        "log_format": {
            "enum": [log_format.value for log_format in LogFormat],
            "default": LogFormat.AUTO.value,
            "description": (
                "Which log is read: `jsonlog` (servers from 15 on), `csvlog`, or `stderr`, the text log, "
                "which says no more than its log_line_prefix; `auto` is the first of these that the server "
                "writes. `syslog` is the text log in the file of a syslog daemon, `log_file`; `pgaudit_file` "
                "is what the extension pgauditlogtofile writes to its files, read from the disk."
            ),
        },
        "log_directory": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/",
            "description": (
                "The absolute path of the log directory on the agent's host, for log_source local; overrides "
                "what the server says, for a directory that is mounted elsewhere."
            ),
        },
        "log_file": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/.*[^/]$",
            "description": (
                "The absolute path of a text log on this host that the server's logging collector does "
                "not write, such as its redirected standard error or the file of a syslog daemon; log_source "
                "is local then, and log_format stderr unless it is syslog."
            ),
        },
        "require_auth": {
            "type": "string",
            "pattern": f"^{_METHODS}(,{_METHODS})*$",
            "x-destination": True,  # it decides in what form the password is sent
            "description": (
                "Ways of logging in that the server may ask for, with commas between: `none`, `password`, "
                "`md5`, `scram-sha-256`, `gss`, `sspi`. Without it all of them with ssl_mode verify-ca and "
                "verify-full and through a unix socket. Below these any server in between could ask for the "
                "password itself (`password`) or for a hash that is as good (`md5`), so neither is answered "
                "unless it is named here."
            ),
        },
        "start_from": start_from_schema(
            now="what is logged", beginning="every log file that the server still keeps"
        ),
    },
}
