"""How many events a second: the mean over the last minute."""

from __future__ import annotations

from collections import deque

_WINDOW_SECONDS = 60.0


class Rate:
    """Counts events; ``started`` is when counting began, on the clock that the calls use."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._counts: deque[tuple[float, int]] = deque()

    def add(self, moment: float, events: int) -> None:
        """``events`` came at ``moment``."""
        if self._counts and moment - self._counts[-1][0] < 1.0:
            last, earlier = self._counts.pop()
            self._counts.append((last, earlier + events))
        else:
            self._counts.append((moment, events))

    def per_second(self, moment: float) -> float:
        """The mean over the last minute, or since the start where that is shorter."""
        while self._counts and self._counts[0][0] < moment - _WINDOW_SECONDS:
            self._counts.popleft()
        seconds = max(1.0, min(_WINDOW_SECONDS, moment - self._started))
        return round(sum(number for when, number in self._counts) / seconds, 3)
