"""Whether reading the source makes progress: a collector that reads without progress is not healthy."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from dbaudit.core.report import CheckStatus

_MANY_REJECTED = 20
_IN_VAIN = 3
"""After so many reads in a row without progress the source is reported."""
_PLACES = 64
"""So many of the latest cursors are remembered, to notice that one comes back."""


class Finding(msgspec.Struct, frozen=True):
    """How the reading of the source goes; ``reason`` says what is wrong with it."""

    status: CheckStatus
    reason: str | None = None


class Flow:
    """Watches the reads of one session."""

    def __init__(self) -> None:
        self._rejected = 0
        self._standing = 0
        self._returned = 0
        self._places: OrderedDict[bytes, None] = OrderedDict()
        self._read = False

    def nothing(self, *, more: bool) -> None:
        """Note a read that returned no records and the same cursor; ``more`` is that of its chunk."""
        self._read = True
        self._standing = self._standing + 1 if more else 0

    def saw(
        self,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any],
        *,
        records: int,
        events: int,
        rejected: int,
        new: int,
        more: bool,
    ) -> None:
        """Note a read from the cursor ``before`` to ``after``, which returned so many ``records``.

        ``events`` is the number of events decoded from them, also of other databases, without gaps; ``new``
        of them were stored for the first time. ``more`` is that of the chunk.
        """
        self._read = True
        if events:
            self._rejected = 0
        else:
            self._rejected += rejected
        if after == before:
            self._standing = self._standing + 1 if more or records else 0
            return
        self._standing = 0
        if new:
            self._returned = 0
        if before is not None:
            self._remember(_name(before))
        place = _name(after)
        if place in self._places and not new:
            self._returned += 1
        self._remember(place)

    def _remember(self, place: bytes) -> None:
        self._places[place] = None
        self._places.move_to_end(place)
        if len(self._places) > _PLACES:
            self._places.popitem(last=False)

    @property
    def gets_nowhere(self) -> bool:
        """Whether reading again at once would make no progress."""
        return max(self._standing, self._returned) >= _IN_VAIN

    def finding(self) -> Finding:
        """What the reads so far say."""
        if self._standing >= _IN_VAIN:
            return Finding(
                CheckStatus.CRITICAL,
                "The source says that it has more, and reading it does not get on: its place stays the same.",
            )
        if self._returned >= _IN_VAIN:
            return Finding(
                CheckStatus.CRITICAL,
                "The source is read in circles: reading comes back to where it was, and nothing new comes.",
            )
        if self._rejected:
            return Finding(
                CheckStatus.CRITICAL if self._rejected >= _MANY_REJECTED else CheckStatus.WARNING,
                "The source gives nothing but records that cannot be understood: the last"
                f" {self._rejected} were put aside.",
            )
        return Finding(CheckStatus.HEALTHY if self._read else CheckStatus.UNKNOWN)


def _name(place: Mapping[str, Any]) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(place, order="sorted"), digest_size=16).digest()
