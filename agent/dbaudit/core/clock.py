"""Time: always UTC and aware; in events and in the state as whole microseconds since 1970-01-01T00:00:00Z."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def now() -> datetime:
    """The present time, UTC."""
    return datetime.now(UTC)


def now_us() -> int:
    """The present time in microseconds since the epoch."""
    return time.time_ns() // 1000


def to_us(moment: datetime) -> int:
    """Microseconds since the epoch of an aware ``moment``; a naive one is refused with ValueError."""
    if moment.tzinfo is None:
        raise ValueError("a time without a zone is ambiguous")
    return (moment - _EPOCH) // _MICROSECOND


def from_us(time_us: int) -> datetime:
    """The moment ``time_us`` microseconds after the epoch, UTC."""
    return _EPOCH + timedelta(microseconds=time_us)


def format_us(time_us: int, *, whole_seconds: bool = False) -> str:
    """ISO 8601 with Z: whole seconds as in the specification's examples, else with microseconds.

    ``whole_seconds`` leaves the fraction out, for times of which it says nothing.
    """
    return format_time(from_us(time_us - time_us % 1_000_000 if whole_seconds else time_us))


def format_time(moment: datetime) -> str:
    """ISO 8601 with Z: whole seconds as in the specification's examples, else with microseconds."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"


def parse_time(text: str) -> datetime:
    """The moment that an ISO 8601 text names; without a zone it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
