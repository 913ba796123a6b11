"""Seeing that reading goes in circles: it comes back to a file that it began before, again and again."""

from __future__ import annotations

import msgspec

_LONGEST_CIRCLE = 2048
"""More files than a log has."""
_MOST_RETURNS = 3
"""How often a file may be begun again, such as after it was truncated and written once more."""


class Trail(msgspec.Struct, frozen=True):
    """What a cursor remembers of the files that were begun: one of them, and for how many ``steps`` it is the
    one. After ``limit`` steps it is replaced by the latest, and the limit doubled, so that a circle of any
    length is seen (Brent's way). ``returns`` is how often reading came back to it.
    """

    mark: str = ""
    steps: int = 0
    limit: int = 1
    returns: int = 0

    def with_file(self, head: str) -> Trail:
        """The trail after a file with the fingerprint ``head`` was begun; an empty fingerprint is ignored."""
        if not head:
            return self
        if head == self.mark:
            return Trail(self.mark, 0, self.limit, self.returns + 1)
        if self.steps + 1 >= self.limit:
            return Trail(head, 0, min(self.limit * 2, _LONGEST_CIRCLE))
        return msgspec.structs.replace(self, steps=self.steps + 1)

    @property
    def is_circle(self) -> bool:
        return self.returns > _MOST_RETURNS
