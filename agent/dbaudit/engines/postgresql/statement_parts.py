"""The statements that one message of a client holds."""

from __future__ import annotations

import re
from functools import lru_cache

BLANKS = " \t\r\n\f\v;"

_TOKEN = re.compile(
    r"""
      \b[eE]'(?:[^'\\]|''|\\.)*(?:'|\Z) | '(?P<text>(?:[^']|'')*)(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z)
      | (?<![\w$])\$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z) | --[^\n]*
      | (?P<comment>/\*) | (?P<end>;) | (?P<body>\bbegin\s+atomic\b)
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


@lru_cache(maxsize=256)
def parts(message: str) -> tuple[str, ...]:
    """The statements of a message, in order and without what stands between them.

    A message that can be parted in more than one way (a routine with a body of statements, a backslash at the
    end of a text) is one part.
    """
    if ";" not in message.rstrip(BLANKS):
        return _not_empty([message])
    found, begin, position = [], 0, 0
    while (token := _TOKEN.search(message, position)) is not None:
        position = token.end()
        if token["end"]:
            found.append(message[begin : token.start()])
            begin = position
        elif token["comment"]:
            position = _after_comment(message, token.start())
        elif token["body"] or (token["text"] or "").endswith("\\"):
            return _not_empty([message])
    return _not_empty([*found, message[begin:]])


def bare(statement: str) -> str:
    """A statement without what stands around it: blanks and semicolons, and comments in front of it, which
    pgaudit records up to 17 only.
    """
    text = statement.strip(BLANKS)
    begin = 0
    while text.startswith(("--", "/*"), begin):
        line = text[begin] == "-"
        begin = text.find("\n", begin) + 1 or len(text) if line else _after_comment(text, begin)
        while begin < len(text) and text[begin] in BLANKS:
            begin += 1
    return text[begin:]


def _not_empty(texts: list[str]) -> tuple[str, ...]:
    return tuple(text for text in map(bare, texts) if text)


def _after_comment(message: str, start: int) -> int:
    """Where the comment ends that starts at ``start``: comments hold comments."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(message, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(message)
