"""The events that were sent on a connection and are unconfirmed: they are sent again if it breaks."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from itertools import accumulate

import msgspec

from dbaudit.state.nodes import Lease


class Part(msgspec.Struct, frozen=True):
    """Some events of one database, by their numbers, in the order of sending."""

    lease: Lease
    numbers: Sequence[int]


class _Batch(msgspec.Struct):
    lease: Lease
    numbers: Sequence[int]
    ends: list[int]
    handed: int = 0
    read: int = 0


class Window:
    """The events on a connection in the order of sending, and where the bytes of each of them end.

    Bytes count from the connection's beginning.
    """

    def __init__(self) -> None:
        self._unhanded: deque[_Batch] = deque()
        self._unread: deque[_Batch] = deque()
        self._written = 0
        self._read = 0

    @property
    def open_bytes(self) -> int:
        """How many bytes were added and are not known to be read."""
        return self._written - self._read

    def add(self, lease: Lease, numbers: Sequence[int], lines: Sequence[bytes]) -> None:
        """These events are about to be sent."""
        ends = list(accumulate(map(len, lines), initial=self._written))[1:]
        batch = _Batch(lease, numbers, ends)
        self._written = ends[-1]
        self._unhanded.append(batch)
        self._unread.append(batch)

    def handed(self, taken: int) -> list[Part]:
        """The events that the other side's host has taken whole since this was asked last."""
        parts = []
        while self._unhanded:
            batch = self._unhanded[0]
            until = bisect_right(batch.ends, taken)
            if until > batch.handed:
                parts.append(Part(batch.lease, batch.numbers[batch.handed : until]))
                batch.handed = until
            if until < len(batch.ends):
                break
            self._unhanded.popleft()
        return parts

    def read(self, taken: int) -> list[Part]:
        """The events that were read whole for sure, because all bytes up to ``taken`` were, since this was
        asked last.
        """
        parts = []
        while self._unread:
            batch = self._unread[0]
            until = bisect_right(batch.ends, taken)
            if until > batch.read:
                parts.append(Part(batch.lease, batch.numbers[batch.read : until]))
                self._read = batch.ends[until - 1]
                batch.read = until
            if until < len(batch.ends):
                break
            self._unread.popleft()
        return parts

    def not_handed(self) -> set[Lease]:
        """The databases with events that the other side's host has not taken yet."""
        return {batch.lease for batch in self._unhanded}
