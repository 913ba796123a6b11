"""Drops events whose retention has ended."""

from __future__ import annotations

import logging
import threading

from dbaudit.core.clock import now_us
from dbaudit.core.errors import DbauditError
from dbaudit.core.tracebacks import safe_traceback
from dbaudit.state import State
from dbaudit.state.own_events import OWN_DATABASE_NO

_log = logging.getLogger(__name__)
_DAY_US = 24 * 3600 * 1_000_000
_BATCH = 5000
_PAUSE_SECONDS = 0.05


class Retention(threading.Thread):
    """Removes events whose retention has ended: every ``interval_seconds``, for every database, deleted ones
    too, in small batches with pauses between. ``own_days`` is the retention of the events on dbaudit itself.
    """

    def __init__(self, state: State, interval_seconds: float, own_days: int) -> None:
        super().__init__(name="retention", daemon=True)
        self._state = state
        self._interval_seconds = interval_seconds
        self._own_days = own_days
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the present batch."""
        self._stopping.set()

    def run(self) -> None:
        """Drop until stopped."""
        while not self._stopping.is_set():
            try:
                self.drop_once()
            except DbauditError as error:
                _log.warning("old events cannot be dropped: %s", error)
            except Exception as error:  # noqa: BLE001  # outermost handler: tried again at the next interval
                _log.error("old events cannot be dropped: %s", safe_traceback(error, ()))
            self._stopping.wait(self._interval_seconds)

    def drop_once(self) -> int:
        """Drop everything that is too old now; returns how many events that were."""
        total = 0
        for database_no, retention_days in [
            *self._state.databases.retentions(),
            (OWN_DATABASE_NO, self._own_days),
        ]:
            before_us = now_us() - retention_days * _DAY_US
            while not self._stopping.is_set():
                dropped = self._state.events.drop_before(database_no, before_us, _BATCH)
                total += dropped
                if dropped < _BATCH:
                    break
                self._stopping.wait(_PAUSE_SECONDS)
        return total
