"""How soon a database that had nothing new is read again."""

from __future__ import annotations

_READS_PER_SECOND = 500
"""So many empty reads a second cost an agent about a fifth of a core."""
_SHARE_OF_THE_QUIET = 0.1


class Pace:
    """Shared by the collectors of an agent. Few databases are read every ``poll_interval_seconds``; the more
    there are, the longer the quiet ones wait between reads, each at most a tenth of its quiet time.
    """

    def __init__(self, poll_interval_seconds: float) -> None:
        self._poll_interval_seconds = poll_interval_seconds
        self.databases = 0

    def pause_seconds(self, quiet_seconds: float) -> float:
        """The pause before the next read of a database that had nothing new for ``quiet_seconds``."""
        fair = min(self.databases / _READS_PER_SECOND, quiet_seconds * _SHARE_OF_THE_QUIET)
        return max(self._poll_interval_seconds, fair)
