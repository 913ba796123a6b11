"""What was sent on a connection and is not known to be read: it is sent again when that breaks."""

from __future__ import annotations

from bisect import bisect_right

import msgspec

from dbaudit.state.nodes import Lease


class Batch(msgspec.Struct, frozen=True):
    """Some events of one database on their way: their numbers, and where their bytes end."""

    lease: Lease
    numbers: tuple[int, ...]
    end: int


class Window:
    """The batches of a connection in the order of sending; bytes count from its beginning."""

    def __init__(self) -> None:
        self._batches: list[Batch] = []
        self._ends: list[int] = []
        self._read = 0
        self._handed = 0
        self._written = 0

    @property
    def open_bytes(self) -> int:
        """How many bytes were added and are not known to be read."""
        return self._written - self._read

    def add(self, lease: Lease, numbers: tuple[int, ...], size: int) -> None:
        """A batch of ``size`` bytes is about to be sent."""
        self._written += size
        self._batches.append(Batch(lease, numbers, self._written))
        self._ends.append(self._written)

    def handed(self, taken: int) -> list[Batch]:
        """The batches that the other side's host has taken whole since this was asked last."""
        until = bisect_right(self._ends, taken)
        new = self._batches[self._handed : until]
        self._handed = max(self._handed, until)
        return new

    def read(self, taken: int) -> list[Batch]:
        """The batches that were read for sure, because all bytes up to ``taken`` were; they are forgotten."""
        until = bisect_right(self._ends, taken)
        done = self._batches[:until]
        if done:
            self._read = done[-1].end
        del self._batches[:until], self._ends[:until]
        self._handed = max(0, self._handed - until)
        return done
