"""When to connect again, and when to stop trying."""

from __future__ import annotations

import time

from dbaudit.core.db_conns import DbConnsSettings

_FIRST_PAUSE_SECONDS = 0.02


class Attempts:
    """The failures in a row, by the settings of the moment.

    The first failure is followed by at most ``audit_reconnect_max_attempts`` attempts more. A connection that
    got nothing through is a failure, too.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._not_before = 0.0

    def reset(self) -> None:
        """Forget all failures: after new settings, or when something was delivered."""
        self._failures, self._not_before = 0, 0.0

    def refused(self, settings: DbConnsSettings) -> None:
        """No connection could be made: the next one after the interval of the settings."""
        self._failures += 1
        self._not_before = time.monotonic() + settings.audit_reconnect_interval

    def cut_short(self, settings: DbConnsSettings) -> None:
        """A connection ended and had delivered nothing: connect again soon, then after growing pauses, up to
        the interval of the settings.
        """
        self._failures += 1
        pause_seconds = _FIRST_PAUSE_SECONDS * 2 ** min(self._failures, 32)
        self._not_before = time.monotonic() + min(settings.audit_reconnect_interval, pause_seconds)

    def given_up(self, settings: DbConnsSettings) -> bool:
        """Whether there were as many as the settings allow."""
        return 0 < settings.audit_reconnect_max_attempts < self._failures

    def due(self, settings: DbConnsSettings) -> bool:
        """Whether to connect now."""
        return not self.given_up(settings) and time.monotonic() >= self._not_before
