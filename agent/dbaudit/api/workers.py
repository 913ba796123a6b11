"""The threads that answer requests."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable

from dbaudit.api.connection import Connection

_LATER_SECONDS = 0.5
"""By so much later is a request that has waited already thought to have come: a thousand of them that are run
again at once do not hold up the others."""


class Workers:
    """Runs ``answer`` for connections in ``number`` threads."""

    def __init__(self, number: int, answer: Callable[[Connection], None]) -> None:
        self._number = number
        self._answer = answer
        self._turns = itertools.count()
        self._queue: queue.PriorityQueue[tuple[float, int, Connection | None]] = queue.PriorityQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._number):
            self._start(f"worker {number + 1}")

    def put(self, connection: Connection) -> None:
        """Have the request of ``connection`` answered."""
        due = time.monotonic() + (0.0 if connection.parked is None else _LATER_SECONDS)
        self._queue.put((due, next(self._turns), connection))

    def stop(self, timeout_seconds: float) -> None:
        """End the threads when they have answered what was put."""
        deadline = time.monotonic() + timeout_seconds
        for _thread in self._threads:
            self._queue.put((float("inf"), next(self._turns), None))
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self, name: str) -> None:
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        goes_on = False
        try:
            while True:
                goes_on = True
                connection = self._queue.get()[2]
                if connection is None:
                    goes_on = False
                    return
                self._answer(connection)
        finally:
            if goes_on:  # by a fault, which is shown by the hook of threading: another thread takes over
                self._threads.remove(threading.current_thread())
                self._start(threading.current_thread().name)
