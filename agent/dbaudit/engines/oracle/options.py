"""The engine's own audit options: `audit_options.engine` of an Oracle database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from dbaudit.engine.options import StartFrom, read_options, start_from_schema

LONGEST_WINDOW_MINUTES = 120


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    start_from: StartFrom = StartFrom.NOW
    late_rows_minutes: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_WINDOW_MINUTES)] = 10

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Raises ConfigurationError naming the option that is wrong."""
        return read_options(given, cls)


OPTIONS_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "start_from": start_from_schema(
            now="what is recorded", beginning="everything that the unified audit trail still holds"
        ),
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
