"""The engine's own audit options: `audit_options.engine` of a MariaDB database."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dbaudit.engine.options import StartFrom, read_options, start_from_schema, wrong_option


class Source(StrEnum):
    """Where the server's activity is read."""

    AUTO = "auto"
    FILE = "file"
    REMOTE_FILE = "remote_file"
    SYSLOG = "syslog"
    GENERAL_LOG = "general_log"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    source: Source = Source.AUTO
    audit_file: str | None = None
    syslog_file: str | None = None
    start_from: StartFrom = StartFrom.NOW

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        options = read_options(given, cls)
        for name, path in (("audit_file", options.audit_file), ("syslog_file", options.syslog_file)):
            if path is not None and not path.startswith("/"):
                raise wrong_option(f"/{name}", "must be an absolute path on the agent's host")
        if options.source is Source.SYSLOG and options.syslog_file is None:
            raise wrong_option("/syslog_file", "is needed for source syslog, such as /var/log/syslog")
        return options


OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "source": {
            "enum": [source.value for source in Source],
            "default": Source.AUTO.value,
            "description": (
                "Where the server's activity is read: `file` is the file of server_audit on the disk of the "
                "agent's host, `remote_file` the same file through LOAD_FILE over the connection, `syslog` "
                "the file that syslog writes on the agent's host, `general_log` the table "
                "mysql.general_log; `auto` is the first of them that the server has and that can be read."
            ),
        },
        "audit_file": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/",
            "description": (
                "The absolute path of the file of server_audit on the agent's host; overrides what the "
                "server says, for a folder that is mounted elsewhere."
            ),
        },
        "syslog_file": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/",
            "description": (
                "The absolute path of the file on the agent's host into which syslog writes what "
                "server_audit sends it, such as /var/log/syslog."
            ),
        },
        "start_from": start_from_schema(
            now="what is logged",
            beginning="everything that is still there",
        ),
    },
}
