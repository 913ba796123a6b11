"""The engine's own audit options: `audit_options.engine` of a MongoDB database."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError


class LogSource(StrEnum):
    """Where the server's log is read."""

    AUTO = "auto"
    REMOTE = "remote"
    LOCAL = "local"


class Members(StrEnum):
    """Which members of a replica set are read."""

    ALL = "all"
    DECLARED = "declared"


class StartFrom(StrEnum):
    """What is read when the database is new to the agent."""

    NOW = "now"
    BEGINNING = "beginning"


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
        try:
            options = msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            raise _wrong("", str(error)) from None
        for name in ("log_path", "audit_log_path"):
            path = getattr(options, name)
            if path is not None and not path.startswith("/"):
                raise _wrong(f"/{name}", "must be an absolute path, such as /var/log/mongodb/mongod.log")
            if path is not None and options.log_source is LogSource.REMOTE:
                raise _wrong(f"/{name}", "is for log_source local or auto; remotely no file can be read")
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
            "pattern": "^/",
            "description": (
                "The absolute path of the log of the declared server on the agent's host; overrides what the "
                "server says (systemLog.path), for a file that is mounted elsewhere."
            ),
        },
        "audit_log_path": {
            "type": "string",
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
        "start_from": {
            "enum": [start.value for start in StartFrom],
            "default": StartFrom.NOW.value,
            "description": (
                "What is read of a database that is new to the agent: `now` only what happens from now on, "
                "`beginning` everything that the server still keeps."
            ),
        },
    },
}


def _wrong(pointer: str, message: str) -> ConfigurationError:
    return ConfigurationError(
        ErrorCode.VALIDATION_FAILED,
        f"The engine's options are wrong: {pointer.lstrip('/')} {message}".replace(":  ", ": "),
        details=[FieldError(f"/audit_options/engine{pointer}", message)],
    )
