"""The engine's own audit options: `audit_options.engine` of a SQL Server database."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dbaudit.engine.options import StartFrom, read_options, start_from_schema, wrong_option

DEFAULT_EVENT_SESSION = "dbaudit"


class Source(StrEnum):
    """Which of the server's records are read."""

    AUTO = "auto"
    AUDIT = "audit"
    EXTENDED_EVENTS = "extended_events"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    source: Source = Source.AUTO
    audit: str | None = None
    event_session: str = DEFAULT_EVENT_SESSION
    odbc_driver: str | None = None
    password_in_clear: bool = False
    start_from: StartFrom = StartFrom.NOW
    poll_seconds: float = 1.0

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        options = read_options(given, cls)
        for name in ("audit", "event_session", "odbc_driver"):
            value = getattr(options, name)
            if value is not None and (not value or len(value) > 260 or not value.isprintable()):
                raise wrong_option(f"/{name}", "must be a name of 1 to 260 printable characters")
        if not 0 <= options.poll_seconds <= 3600:
            raise wrong_option("/poll_seconds", "must be between 0 and 3600")
        if options.audit is not None and options.source is Source.EXTENDED_EVENTS:
            raise wrong_option("/audit", "is for the source audit; extended_events reads event_session")
        return options


_NAME = {"type": "string", "minLength": 1, "maxLength": 260}

OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "source": {
            "enum": [source.value for source in Source],
            "default": Source.AUTO.value,
            "description": (
                "Which records are read: `audit` the files of SQL Server Audit, `extended_events` the files "
                "of an Extended Events session; `auto` is audit where the login may read it and there is "
                "one, else extended_events."
            ),
        },
        "audit": {
            **_NAME,
            "description": "The only server audit to read; without it, every audit that writes to files.",
        },
        "event_session": {
            **_NAME,
            "default": DEFAULT_EVENT_SESSION,
            "description": "The Extended Events session to read; it must have an event_file target.",
        },
        "odbc_driver": {
            **_NAME,
            "x-destination": True,  # the driver gets the password
            "x-host": "driver",
            "description": (
                "The ODBC driver: a name of odbcinst.ini, such as `FreeTDS` or `ODBC Driver 18 for SQL "
                "Server`, or a name that the agent's configuration has in `odbc_drivers`. "
                "Without it, the newest of Microsoft's, else FreeTDS; FreeTDS first for what only it can do "
                "(ssl_ca, verify-ca)."
            ),
        },
        "password_in_clear": {
            "type": "boolean",
            "default": False,
            "x-destination": True,  # it decides in what form the password is sent
            "description": (
                "With ssl_mode `disable` a log-in sends the password readable: it is only written in another "
                "way, which anybody can undo. So it is refused there, unless this option is true."
            ),
        },
        "start_from": start_from_schema(
            now="what is recorded", beginning="every file that the server still keeps"
        ),
        "poll_seconds": {
            "type": "number",
            "minimum": 0,
            "maximum": 3600,
            "default": 1.0,
            "description": (
                "The pause before files in which nothing was new are opened again, in seconds. The server "
                "itself writes its records with a delay of a second or more (QUEUE_DELAY)."
            ),
        },
    },
}
