"""The engine's own audit options: `audit_options.engine` of an Oracle database."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from dbaudit.core.errors import ConfigurationError, ErrorCode, FieldError

LONGEST_WINDOW_MINUTES = 120


class StartFrom(StrEnum):
    """What of the trail is read when the database is new to the agent."""

    NOW = "now"
    BEGINNING = "beginning"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    start_from: StartFrom = StartFrom.NOW
    late_rows_minutes: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_WINDOW_MINUTES)] = 10

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        try:
            return msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            raise ConfigurationError(
                ErrorCode.VALIDATION_FAILED,
                f"The engine's options are wrong: {error}",
                details=[FieldError("/audit_options/engine", str(error))],
            ) from None


OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "start_from": {
            "enum": [start.value for start in StartFrom],
            "default": StartFrom.NOW.value,
            "description": (
                "What is read of a database that is new to the agent: `now` only what is recorded from now "
                "on, `beginning` everything that the unified audit trail still holds."
            ),
        },
        "late_rows_minutes": {
            "type": "integer",
            "minimum": 1,
            "maximum": LONGEST_WINDOW_MINUTES,
            "default": 10,
            "description": (
                "How long before the newest row that was read the agent looks for rows that came late: from "
                "another instance of a cluster, or from queues and files of the server."
            ),
        },
    },
}
