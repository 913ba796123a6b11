"""The engine's own audit options: `audit_options.engine` of a MongoDB database."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dbaudit.engine.options import StartFrom, read_options, start_from_schema, wrong_option


class LogSource(StrEnum):
    """Where the server's log is read."""

    AUTO = "auto"
    REMOTE = "remote"
    LOCAL = "local"


class Members(StrEnum):
    """Which members of a replica set are read."""

    ALL = "all"
    DECLARED = "declared"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    log_source: LogSource = LogSource.AUTO
    log_path: str | None = None
    audit_log_path: str | None = None
    auth_source: str | None = None
    members: Members = Members.ALL
    start_from: StartFrom = StartFrom.NOW

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        options = read_options(given, cls)
        for name in ("log_path", "audit_log_path"):
            path = getattr(options, name)
            if path is not None and not path.startswith("/"):
                raise wrong_option(
                    f"/{name}", "must be an absolute path, such as /var/log/mongodb/mongod.log"
                )
            if path is not None and options.log_source is LogSource.REMOTE:
                raise wrong_option(
                    f"/{name}", "is for log_source local or auto; remotely no file can be read"
                )
        return options


OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "log_source": {
            "enum": [source.value for source in LogSource],
            "default": LogSource.AUTO.value,
            "description": (
                "Where the server's log is read: `local` from the disk of the agent's host, which must be "
                "the server's, `remote` through the command getLog; `auto` is local for the members that run "
                "on the agent's host and whose log can be read, else remote. The audit log is a file, and is "
                "read where the log is local."
            ),
        },
        "log_path": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/",
            "description": (
                "The absolute path of the log of the declared server on the agent's host; overrides what the "
                "server says (systemLog.path), for a file that is mounted elsewhere."
            ),
        },
        "audit_log_path": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/",
            "description": (
                "The same for the audit log (auditLog.path) of MongoDB Enterprise or Percona Server."
            ),
        },
        "auth_source": {
            "type": "string",
            "minLength": 1,
            "description": (
                "The database that the agent's user is defined in; without it that is the field database."
            ),
        },
        "members": {
            "enum": [members.value for members in Members],
            "default": Members.ALL.value,
            "description": (
                "Which members of a replica set are read: `all` that the declared one names, or only the "
                "`declared` one."
            ),
        },
        "start_from": start_from_schema(
            now="what happens", beginning="everything that the server still keeps"
        ),
    },
}
