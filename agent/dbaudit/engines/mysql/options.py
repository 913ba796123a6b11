"""The engine's own audit options: `audit_options.engine` of a MySQL database."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dbaudit.engine.options import StartFrom, read_options, start_from_schema, wrong_option


class Source(StrEnum):
    """Where audit records are read."""

    AUTO = "auto"
    AUDIT_LOG = "audit_log"
    AUDIT_FILE = "audit_file"
    GENERAL_LOG = "general_log"
    ERROR_LOG = "error_log"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    source: Source = Source.AUTO
    audit_file: str | None = None
    start_from: StartFrom = StartFrom.NOW

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        options = read_options(given, cls)
        if options.audit_file is not None and not options.audit_file.startswith("/"):
            raise wrong_option("/audit_file", "must be an absolute path, such as /var/lib/mysql/audit.log")
        if options.source is Source.AUDIT_FILE and options.audit_file is None:
            raise wrong_option(
                "/audit_file", "is needed for source audit_file, such as /var/lib/mysql/audit.log"
            )
        if options.audit_file is not None and options.source not in (Source.AUTO, Source.AUDIT_FILE):
            raise wrong_option("/audit_file", "is for source audit_file")
        return options

    @property
    def wanted(self) -> Source:
        """The source that was chosen; ``auto`` where the server is to be asked what it offers."""
        return Source.AUDIT_FILE if self.audit_file is not None else self.source


OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "source": {
            "enum": [source.value for source in Source],
            "default": Source.AUTO.value,
            "description": (
                "Where audit records are read: `audit_log` through the function audit_log_read() of MySQL "
                "Enterprise or Percona, `audit_file` from the file of an audit plugin on the disk of the "
                "agent's host, `general_log` from the table mysql.general_log, `error_log` from "
                "performance_schema.error_log, which has failed log-ins only. `auto` is the first of "
                "audit_log, general_log and error_log that the server offers and grants."
            ),
        },
        "audit_file": {
            "type": "string",
            "x-host": "path",
            "pattern": "^/",
            "description": (
                "The absolute path, on the agent's host, of the file that the audit plugin writes now: JSON, "
                "XML or CSV."
            ),
        },
        "start_from": start_from_schema(
            now="what is recorded", beginning="everything that the source still keeps"
        ),
    },
}
