"""The text of `execute NAME: STATEMENT`, where the client chooses the name and may write anything into it.

The server quotes neither the name nor the statement, so every `: ` may be where the statement begins. What
begins there has to be a whole statement of the server's; where several are, the row itself cannot say which.
"""

from __future__ import annotations

import re

_BEGINNING = re.compile(
    r"""
      (?>\s|--[^\n]*\n|/\*.*?\*/|[(;])*+
      (?:abort|alter|analy[sz]e|begin|call|checkpoint|close|cluster|comment|commit|copy|create|deallocate|declare
        |delete|discard|do|drop|end|execute|explain|fetch|grant|import|insert|listen|load|lock|merge|move|notify
        |prepare|reassign|refresh|reindex|release|reset|revoke|rollback|savepoint|security|select|set|show|start
        |table|truncate|unlisten|update|vacuum|values|with)\b
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_AFTER_NAME = ": "
_MOST_READINGS = 20
_LONGEST_LOOKED_THROUGH = 100_000

_OPENING = re.compile(
    r"""(?P<escaped>\b[eE]') | (?P<text>') | (?P<name>") | (?P<line>--) | (?P<comment>/\*)
      | (?<![\w$])(?P<dollar>\$(?:[^\W\d]\w*|)\$)""",
    re.VERBOSE,
)
_ENDS = {
    "escaped": re.compile(r"(?:[^'\\]|''|\\.)*+'", re.DOTALL),
    "text": re.compile(r"(?:[^']|'')*+'"),
    "name": re.compile(r'(?:[^"]|"")*+"'),
}


def readings(text: str) -> list[str]:
    """The statements that ``text``, the rest of a message behind `execute `, may be of, longest first.

    Where no reading is a statement of the server's, what follows the shortest name is all there is; empty
    where the text has no name at all.
    """
    found: list[str] = []
    first = None
    position = text.find(_AFTER_NAME)
    while position >= 0 and len(found) < _MOST_READINGS:
        begin = position + len(_AFTER_NAME)
        first = text[begin:] if first is None else first
        if _BEGINNING.match(text, begin):
            found.append(text[begin:])
        position = text.find(_AFTER_NAME, position + 1)
    if len(found) > 1 and len(text) <= _LONGEST_LOOKED_THROUGH:
        found = [statement for statement in found if _is_whole(statement)] or found[:1]
    if found:
        return found
    return [] if first is None else [first]


def _is_whole(statement: str) -> bool:
    """Whether each literal, name and comment that a text opens is closed in it."""
    position = 0
    while (opening := _OPENING.search(statement, position)) is not None:
        kind = opening.lastgroup or ""
        if kind == "line":
            end = statement.find("\n", opening.end())
            if end < 0:
                return True
        elif kind == "comment":
            end = statement.find("*/", opening.end()) + 1
        elif kind == "dollar":
            end = statement.find(opening[0], opening.end()) + len(opening[0]) - 1
            if end < opening.end():
                return False
        else:
            closed = _ENDS[kind].match(statement, opening.end())
            end = closed.end() - 1 if closed else 0
        if end <= 0:
            return False
        position = end + 1
    return True
