"""The engine's own audit options: `audit_options.engine` of an Oracle database."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from dbaudit.engine.options import StartFrom, read_options, start_from_schema

LONGEST_WINDOW_MINUTES = 120


class Source(StrEnum):
    """Which of the server's trails are read."""

    UNIFIED = "unified"
    TRADITIONAL = "traditional"
    BOTH = "both"

    @property
    def trails(self) -> tuple[Source, ...]:
        """The trails, each by itself."""
        return (Source.UNIFIED, Source.TRADITIONAL) if self is Source.BOTH else (self,)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of one database; OPTIONS_SCHEMA describes them."""

    source: Source = Source.UNIFIED
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
        "source": {
            "enum": [source.value for source in Source],
            "default": Source.UNIFIED.value,
            "description": (
                "Which trails are read: `unified` the view UNIFIED_AUDIT_TRAIL, `traditional` what the "
                "server writes into SYS.AUD$ and SYS.FGA_LOG$ by its parameter audit_trail (up to 21c), "
                "`both` in turn: what both of them record comes twice."
            ),
        },
        "start_from": start_from_schema(
            now="what is recorded", beginning="everything that the trails still hold"
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
