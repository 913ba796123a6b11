"""What is remembered of the connections of the cluster's clients, to complete later notifications of them.

A `close_conn` does not say how long the connection was open, and a `command` does not say which user ran it.
The proxy's notifications of one client's connection come in order over one connection to the agent.
"""

from __future__ import annotations

from dbaudit.engines.redis_enterprise.notifications import SUCCEEDED, Glance, time_us
from dbaudit.engines.redis_enterprise.records import Known

_MOST_CLIENTS = 65_536
_Key = tuple[int | None, str, str]


class Clients:
    """Open connections of clients. If there are too many, the oldest are forgotten."""

    def __init__(self, most: int = _MOST_CLIENTS) -> None:
        self._most = most
        self._known: dict[_Key, Known] = {}

    def note(self, seen: Glance) -> Known | None:
        """Remember what ``seen`` says of a connection; returns what was known before, if that adds to it."""
        if seen.new_conn is not None:
            opened = seen.new_conn
            self._remember(_key(opened.id, opened.srcp, opened.bdb_uid), Known(time_us(seen.ts), None))
            return None
        if seen.close_conn is not None:
            closed = seen.close_conn
            return self._known.pop(_key(closed.id, closed.srcp, closed.bdb_uid), None)
        if seen.action is None or seen.id is None:
            return None
        key = _key(seen.id, seen.srcp, seen.bdb_uid)
        known = self._known.get(key)
        if seen.action != "auth":
            return known
        if seen.status in SUCCEEDED:
            self._remember(key, Known(known.opened_us if known is not None else None, seen.username))
        return None

    def _remember(self, key: _Key, known: Known) -> None:
        self._known.pop(key, None)
        self._known[key] = known
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]


def _key(number: int | None, port: str | int | None, database: str | int | None) -> _Key:
    return number, str(port), str(database)
