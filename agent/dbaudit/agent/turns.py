"""How many databases are opened and tested at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_AT_ONCE = 8
_LONGEST_SECONDS = 0.5
_LOOK_SECONDS = 1.0


class Turns:
    """Limits how many databases start at once: a thousand would keep an agent from its heartbeat.

    A turn that lasts long, because its server does not answer, is not counted any more. So servers that hang
    cannot delay the others much: about sixteen of them a second get a turn.
    """

    def __init__(self) -> None:
        self._free = threading.Semaphore(_AT_ONCE)
        self._taken: dict[threading.Event, float] = {}

    @contextmanager
    def taken(self, stopping: threading.Event) -> Iterator[bool]:
        """Wait for a turn; False if ``stopping`` was set before. ``stopping`` also identifies the caller."""
        while not stopping.is_set():
            if self._free.acquire(timeout=_LOOK_SECONDS):
                self._taken[stopping] = time.monotonic()
                break
        try:
            yield stopping in self._taken
        finally:
            self.give_back(stopping)

    def give_back(self, stopping: threading.Event) -> None:
        """The turn is over, if it was not before."""
        if self._taken.pop(stopping, None) is not None:
            self._free.release()

    def give_back_late(self) -> None:
        """End the turns that last too long."""
        late = time.monotonic() - _LONGEST_SECONDS
        for stopping, since in list(self._taken.items()):
            if since < late:
                self.give_back(stopping)
