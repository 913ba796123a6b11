"""Detecting that reading goes in circles: it repeatedly comes back to a file that it has read before."""

from __future__ import annotations

import msgspec

_LONGEST_CIRCLE = 2048
"""More files than a log has."""
_MOST_RETURNS = 3
"""How often reading may start a file again, for example after it was truncated and rewritten."""


class Trail(msgspec.Struct, frozen=True):
    """What a cursor remembers of the files whose reading was started.

    ``mark`` is the fingerprint of one of them, and ``steps`` counts the files that were started since. After
    ``limit`` steps the latest file becomes the mark and the limit is doubled, so that a circle of any length
    is found (Brent's algorithm). ``returns`` is how often reading came back to the mark.
    """

    mark: str = ""
    steps: int = 0
    limit: int = 1
    returns: int = 0

    def with_file(self, head: str) -> Trail:
        """The trail after reading started a file with the fingerprint ``head``; an empty one is ignored."""
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
