"""The newest lines of the server's log: which of them wait for the line that explains them.

The server logs a connection a moment before the application that made it, and the failed log-in of an
unknown user twice. If the second line may still come, the first one waits for the next reading, once.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_LOOKED_AT = 64
_ACCEPTED = re.compile(r'"id":22943,.*?"connectionId":(\d+)')
_UNKNOWN_USER = re.compile(r'"id":(?:20249|5286307),.*?"ctx":"(conn\d+)".*UserNotFound')


def first_waiting(lines: Sequence[str]) -> int | None:
    """Return the index of the first line that waits for another one, or None if no line waits."""
    first = None
    start = max(0, len(lines) - _LOOKED_AT)
    for place in range(start, len(lines)):
        line = lines[place]
        accepted = _ACCEPTED.search(line)
        unknown = None if accepted else _UNKNOWN_USER.search(line)
        if accepted is None and unknown is None:
            continue
        name = f"conn{accepted[1]}" if accepted else (unknown[1] if unknown else "")
        mark = f'"ctx":"{name}"'
        if not any(mark in later for later in lines[place + 1 :]):
            first = place
            break
    return first
