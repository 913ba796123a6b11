"""Parts of updates and deletes in the server's log.

An update or a delete is logged twice: each of its parts with what it did, and after them, as the next
statement of the same connection, the command as a whole, which says no more than the collection. The line of
the whole command is skipped if one of its parts was recorded.
"""

from __future__ import annotations

import re

from dbaudit.engines.mongodb.connections import Connections

_KINDS = {"update": "update", "remove": "delete"}
"""The commands that have parts, by the type of a part."""
_OF_PARTS = ('"type":"update"', '"type":"remove"')
_STATEMENT = re.compile(
    r'"id":51803,.{0,60}?"ctx":"(conn\d+)".{0,40}?"attr":\{"type":"(\w+)".{0,60}?"ns":"((?:[^"\\]|\\.)*)"'
)


def part(kind: str | None, namespace: str | None) -> str | None:
    """The text that is remembered of a part of this type: `update shop.t`."""
    command = _KINDS.get(kind or "")
    return f"{command} {namespace}" if command and namespace else None


def may_have_parts(connections: Connections, text: str) -> bool:
    """Whether lines have to be looked at one by one: some are parts, or follow one of an earlier reading."""
    return any(kind in text for kind in _OF_PARTS) or bool(connections.parts())


def note_part(connections: Connections, line: str) -> None:
    """Remember whether the last statement of a connection is a part."""
    found = _STATEMENT.search(line)
    if found is not None:
        connections.at(found[1]).part = part(found[2], found[3])
