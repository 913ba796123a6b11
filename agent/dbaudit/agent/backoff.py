"""How long to wait after a failure: longer each time, with chance, so that many agents do not come back at
once."""

from __future__ import annotations

import random


class Backoff:
    """Doubles from ``initial_seconds`` to ``max_seconds``; a delay is between half and the whole of it."""

    def __init__(self, initial_seconds: float, max_seconds: float) -> None:
        self._initial_seconds = initial_seconds
        self._max_seconds = max_seconds
        self._failures = 0

    def next_seconds(self, asked_seconds: float | None = None) -> float:
        """The delay after one more failure; ``asked_seconds`` is what the other side wants, and is kept."""
        full = min(self._max_seconds, self._initial_seconds * float(2**self._failures))
        self._failures = min(self._failures + 1, 30)
        delay = full * random.uniform(0.5, 1.0)  # noqa: S311  # spreads load, hides nothing
        return max(delay, asked_seconds or 0.0)

    def reset(self) -> None:
        """It works again."""
        self._failures = 0
