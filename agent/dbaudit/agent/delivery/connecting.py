"""Connecting in a thread of its own: a name server may take a minute and not answer."""

from __future__ import annotations

import threading

from dbaudit.agent.delivery.listener import Listener
from dbaudit.core.db_conns import DbConnsSettings
from dbaudit.core.errors import TransientError
from dbaudit.core.host_limits import HostLimits


class Connecting(threading.Thread):
    """One attempt."""

    def __init__(self, settings: DbConnsSettings, limits: HostLimits) -> None:
        super().__init__(name="connecting", daemon=True)
        self._settings = settings
        self._limits = limits
        self._lock = threading.Lock()
        self._outcome: Listener | TransientError | None = None
        self._abandoned = False

    def run(self) -> None:
        """Connect."""
        outcome: Listener | TransientError
        try:
            outcome = Listener(self._settings, self._limits)
        except TransientError as error:
            outcome = error
        with self._lock:
            self._outcome = outcome
            if self._abandoned:
                self._close()

    def outcome(self, timeout_seconds: float) -> Listener | TransientError | None:
        """The connection, or the error if it failed; None if neither came within ``timeout_seconds``."""
        self.join(timeout_seconds)
        with self._lock:
            return self._outcome

    def abandon(self) -> None:
        """Close the connection, now or as soon as it is made: it is not needed any more."""
        with self._lock:
            self._abandoned = True
            self._close()

    def _close(self) -> None:
        if isinstance(self._outcome, Listener):
            self._outcome.close()
