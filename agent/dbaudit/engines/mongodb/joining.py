"""Several records of one failed log-in.

A driver that does not know how a user is authenticated tries SCRAM-SHA-256 and then SCRAM-SHA-1. If the user
does not exist, the server logs both attempts.
"""

from __future__ import annotations

from dbaudit.core.event import AuditEvent

_WITHIN_US = 500_000


class FailedLogins:
    """Failed log-ins over the connections of a block.

    ``superseded`` holds the ``id()`` of each event that a later one repeats.
    """

    def __init__(self) -> None:
        self.superseded: set[int] = set()
        self._last: dict[str | None, tuple[AuditEvent, str | None]] = {}

    def add(self, event: AuditEvent, mechanism: str | None) -> None:
        """Add a failed log-in. If the one before on this connection, of the same user, was a moment ago and
        used another mechanism, both are one attempt: the earlier one is superseded.
        """
        before = self._last.get(event.session_id)
        self._last[event.session_id] = (event, mechanism)
        if before is None or event.session_id is None:
            return
        earlier, other = before
        if (
            (earlier.user, earlier.database) == (event.user, event.database)
            and other != mechanism
            and 0 <= event.time_us - earlier.time_us <= _WITHIN_US
        ):
            self.superseded.add(id(earlier))
