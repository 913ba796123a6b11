"""How often a client may send requests: each has a bucket of requests, which refills evenly."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

import msgspec

_TIDY_ABOVE = 10_000


class Allowance(msgspec.Struct, frozen=True):
    """Whether a request is allowed, and where the bucket stands after it; durations in whole seconds."""

    allowed: bool
    limit: int
    remaining: int
    full_after_seconds: int
    retry_after_seconds: int


class RateLimiter:
    """Allows ``per_minute`` requests a minute to each name, all at once if need be; 0 sets no limit.

    Counted in this process: several API processes allow as many times as much. ``clock`` gives seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._per_second = per_minute / 60
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str) -> Allowance | None:
        """Take one request from the bucket of ``name``; None where there is no limit."""
        if not self.per_minute:
            return None
        now = self._clock()
        with self._lock:
            left, since = self._buckets.get(name, (float(self.per_minute), now))
            left = min(float(self.per_minute), left + (now - since) * self._per_second)
            allowed = left >= 1
            if allowed:
                left -= 1
            self._buckets[name] = (left, now)
            if len(self._buckets) > _TIDY_ABOVE:
                self._tidy(now)
        return Allowance(
            allowed,
            self.per_minute,
            int(left),
            math.ceil((self.per_minute - left) / self._per_second),
            0 if allowed else max(1, math.ceil((1 - left) / self._per_second)),
        )

    def give_back(self, name: str) -> None:
        """Put the last request of ``name`` back: it is not to be counted."""
        with self._lock:
            if name in self._buckets:
                left, since = self._buckets[name]
                self._buckets[name] = (min(float(self.per_minute), left + 1), since)

    def _tidy(self, now: float) -> None:
        self._buckets = {
            name: (left, since)
            for name, (left, since) in self._buckets.items()
            if left + (now - since) * self._per_second < self.per_minute
        }
