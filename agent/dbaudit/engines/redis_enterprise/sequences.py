"""Losses that `audit_seq` shows: each worker of a proxy numbers what it reports, sent or not.

Within one connection every missing number is a loss. From one connection to the next of the same worker it
is one where the earlier connection has ended; while both are open they may be workers of two nodes behind
one address, and nothing can be said.
"""

from __future__ import annotations

from collections.abc import Mapping

from dbaudit.core.event import AuditEvent, gap

_MOST_WORKERS = 1024
"""Kept of those whose connection has ended, and for the cursor."""
_MOST_WORKERS_OF_A_CONNECTION = 256
_NUMBERS = range(1 << 63)


class _Stream:
    """One open connection: its sender, and the last number of each worker."""

    def __init__(self, sender: str) -> None:
        self.sender = sender
        self.last: dict[int, int] = {}


class Sequences:
    """The last number of every worker, by connection and, once that has ended, by sender."""

    def __init__(self) -> None:
        self._open: dict[int, _Stream] = {}
        self._ended: dict[str, int] = {}

    def restore(self, last: Mapping[str, int]) -> None:
        """Continue with the numbers that a cursor holds."""
        self._ended = dict(last)

    def last(self) -> dict[str, int]:
        """The last number of each worker, for the cursor."""
        found = dict(self._ended)
        for stream in self._open.values():
            for worker, number in stream.last.items():
                found[_name(stream.sender, worker)] = number
        return dict(list(found.items())[-_MOST_WORKERS:])

    def note(
        self, instance: str, connection: int, sender: str, worker: int, number: int, time_us: int
    ) -> AuditEvent | None:
        """Take the ``number`` of a record; returns the gap before it, if there is one."""
        if worker not in _NUMBERS or number not in _NUMBERS:
            return None
        stream = self._open.get(connection)
        if stream is None:
            stream = self._open[connection] = _Stream(sender)
        last = stream.last.get(worker)
        if last is None:
            last = self._ended.pop(_name(sender, worker), None)
            if len(stream.last) >= _MOST_WORKERS_OF_A_CONNECTION:
                del stream.last[next(iter(stream.last))]
        stream.last[worker] = number
        if last is None or number in (0, last, last + 1):
            return None
        if number > last:
            first_lost, reason = last + 1, "The sender's numbers show that notifications did not arrive."
        else:
            first_lost, reason = (
                0,
                "The sender's worker was restarted; its first notifications did not arrive.",
            )
        return gap(
            f"gap:{instance}:{connection}:{worker}:{number}",
            time_us,
            reason,
            source=f"{sender}, worker {worker}",
            lost_records=number - first_lost,
            first_lost=first_lost,
            last_lost=number - 1,
            last_received=last,
        )

    def end(self, connection: int) -> None:
        """A connection has ended."""
        stream = self._open.pop(connection, None)
        if stream is None:
            return
        for worker, number in stream.last.items():
            name = _name(stream.sender, worker)
            self._ended.pop(name, None)
            self._ended[name] = number
        while len(self._ended) > _MOST_WORKERS:
            del self._ended[next(iter(self._ended))]


def _name(sender: str, worker: int) -> str:
    return f"{sender}/{worker}"
