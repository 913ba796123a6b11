"""Commands as the server writes them into messages, in the notation of its shell."""

from __future__ import annotations

import re

_STRING_OR_NAME = re.compile(r'"(?:[^"\\]|\\.)*+"?|([{,]\s*)([A-Za-z_$][\w$.]*)(?=\s*:)')


def as_json(text: str) -> str:
    """The same with the names of fields in quotes: JSON but for values such as ``UUID("...")``.

    >>> as_json('{ find: "t: {a: 1}", limit: 1, $db: "x" }')
    '{ "find": "t: {a: 1}", "limit": 1, "$db": "x" }'
    """
    return _STRING_OR_NAME.sub(_quoted, text)


def _quoted(found: re.Match[str]) -> str:
    return f'{found[1]}"{found[2]}"' if found[2] else found[0]
