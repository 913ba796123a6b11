"""The text of `execute NAME: STATEMENT`, where the client chooses the name and may write anything into it.

The server quotes neither the name nor the statement, so every `: ` may be where the statement begins. What
begins there has to be a whole statement of the server's; where several are, the row itself cannot say which.
"""

from __future__ import annotations

import re

_BEGINNING = re.compile(
    r"""
      (?:\s|--[^\n]*\n|/\*.*?\*/|[(;])*
      (?:abort|alter|analy[sz]e|begin|call|checkpoint|close|cluster|comment|commit|copy|create|deallocate|declare
        |delete|discard|do|drop|end|execute|explain|fetch|grant|import|insert|listen|load|lock|merge|move|notify
        |prepare|reassign|refresh|reindex|release|reset|revoke|rollback|savepoint|security|select|set|show|start
        |table|truncate|unlisten|update|vacuum|values|with)\b
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_WHOLE = re.compile(
    r"""(?: [eE]'(?:[^'\\]|''|\\.)*+' | '(?:[^']|'')*+' | "(?:[^"]|"")++" | --[^\n]*+
          | (?<![\w$])\$(?P<tag>[^\W\d]\w*|)\$.*?\$(?P=tag)\$ | /\*.*?\*/ | [^'"] )*+\Z""",
    re.VERBOSE | re.DOTALL,
)
_AFTER_NAME = ": "
_MOST_READINGS = 100


def readings(text: str) -> list[str]:
    """The statements that ``text``, the rest of a message behind `execute `, may be of, longest first.

    Where no reading is a statement of the server's, what follows the shortest name is all there is; empty
    where the text has no name at all.
    """
    found: list[str] = []
    first = None
    position = text.find(_AFTER_NAME)
    for _number in range(_MOST_READINGS):
        if position < 0:
            break
        statement = text[position + len(_AFTER_NAME) :]
        first = statement if first is None else first
        if _BEGINNING.match(statement):
            found.append(statement)
        position = text.find(_AFTER_NAME, position + 1)
    if len(found) > 1:
        found = [statement for statement in found if _WHOLE.match(statement)] or found[:1]
    if found:
        return found
    return [] if first is None else [first]
