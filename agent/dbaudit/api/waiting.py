"""Requests that wait: how many may at once, and what ends them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from dbaudit.core.errors import ErrorCode, TransientError

_SLICE_SECONDS = 1.0

Found = TypeVar("Found")


class WaitingRoom:
    """Lets at most ``places`` requests wait at once, so that those that do not wait always find a thread."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._closed = threading.Event()

    def close(self) -> None:
        """End all waiting: the service stops."""
        self._closed.set()

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Whether there is a place; it is given back at the end."""
        taken = self._places.acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._places.release()

    def wait(self, look: Callable[[float], Found | None], timeout_seconds: float) -> Found | None:
        """What ``look`` finds; None when the time is over.

        ``look`` gets the seconds that it may wait by itself. Raises TransientError (`shutting_down`) on
        ``close``.
        """
        deadline = time.monotonic() + timeout_seconds
        while True:
            if self._closed.is_set():
                raise TransientError(ErrorCode.SHUTTING_DOWN, "The service is stopping; try again.")
            left = deadline - time.monotonic()
            found = look(max(0.0, min(left, _SLICE_SECONDS)))
            if found is not None or left <= 0:
                return found
