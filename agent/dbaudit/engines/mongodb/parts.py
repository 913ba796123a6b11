"""Parts of updates and deletes in the server's log.

An update or a delete is logged twice: each of its parts with what it did, and after them, as the next
statement of the same connection, the command as a whole, which says no more than the collection. The whole is
left out where a part of it is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from dbaudit.engines.mongodb.connections import Connections

_KINDS = {"update": "update", "remove": "delete"}
"""The commands that have parts, by the type of a part."""
_OF_PARTS = ('"type":"update"', '"type":"remove"')
_STATEMENT = re.compile(
    r'"id":51803,.{0,60}?"ctx":"(conn\d+)".{0,40}?"attr":\{"type":"(\w+)".{0,60}?"ns":"((?:[^"\\]|\\.)*)"'
)


def part(kind: str | None, namespace: str | None) -> str | None:
    """What is remembered of a part of this type: `update shop.t`."""
    command = _KINDS.get(kind or "")
    return f"{command} {namespace}" if command and namespace else None


def note_parts(connections: Connections, lines: Iterable[str], text: str) -> None:
    """Remember which connections' last statement in ``lines`` is a part; ``text`` are the same lines."""
    if not any(kind in text for kind in _OF_PARTS) and not connections.parts():
        return
    for line in lines:
        found = _STATEMENT.search(line)
        if found is not None:
            known = connections.at(found[1])
            known.part = part(found[2], found[3])
