"""What is known of the connections of a server: the user and application of ``conn12``.

A line of the log names only its connection; which user logged in over it, and with which application, is in
earlier lines.
"""

from __future__ import annotations

import msgspec

_MOST = 65_536


class Known(msgspec.Struct, gc=False):
    """A connection: its client's address and application, and the user that logged in over it.

    Up to 5.0 more users can log in over it, one of each database: ``others``, with their databases. ``part``
    is the last statement that was logged of it, if that was a part of an update or a delete (parts.py).
    """

    ip: str | None = None
    port: int | None = None
    application: str | None = None
    user: str | None = None
    user_database: str | None = None
    opened_us: int | None = None
    uuid: str | None = None
    own: bool = False
    others: tuple[tuple[str | None, str | None], ...] = ()
    part: str | None = None

    def log_in(self, user: str | None, database: str | None, *, single: bool) -> None:
        """Another user logs in. ``single``: it replaces the user before, whatever their databases."""
        if single or self.user is None or self.user_database == database:
            self.user, self.user_database = user, database
            return
        others = tuple(other for other in self.others if other[1] != database)
        self.others = (*others, (user, database))


class Connections:
    """The open connections of one process of the server. If there are too many, the oldest are forgotten."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: dict[str, Known] = {}

    def get(self, name: str) -> Known | None:
        return self._known.get(name)

    def put(self, name: str, known: Known) -> None:
        """Remember a connection; it replaces an earlier one of the same name."""
        self._known.pop(name, None)
        self._known[name] = known
        if len(self._known) > self._most:
            del self._known[next(iter(self._known))]

    def at(self, name: str) -> Known:
        """The connection of this name; a new one is remembered if it was not known."""
        known = self._known.get(name)
        if known is None:
            known = Known()
            self.put(name, known)
        return known

    def forget(self, name: str) -> Known | None:
        return self._known.pop(name, None)

    def clear(self) -> None:
        """Forget all connections: a new process of the server counts them from 1 again."""
        self._known.clear()

    def of(self, names: set[str]) -> dict[str, Known]:
        """Copies of the connections with these names."""
        return {name: msgspec.structs.replace(self._known[name]) for name in names if name in self._known}

    def parts(self) -> dict[str, str]:
        """The parts of the connections whose last statement is a part, by name."""
        return {name: known.part for name, known in self._known.items() if known.part is not None}

    def own(self) -> list[str]:
        """The names of the agent's own connections."""
        return [name for name, known in self._known.items() if known.own]
