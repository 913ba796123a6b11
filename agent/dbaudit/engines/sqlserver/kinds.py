"""The two kinds of records that a server has to offer."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What writes the records."""

    AUDIT = "audit"
    EXTENDED_EVENTS = "extended_events"
