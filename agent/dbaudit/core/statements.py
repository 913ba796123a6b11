"""Statements: literals masked, passwords removed, and a hash that is the same for statements that differ in
literals only.

The lexical rules are those of the vendors' manuals (PostgreSQL manual, chapter 4.1, "Lexical Structure").
Where a text can be read in two ways, as in ``'\\'`` with and without standard_conforming_strings, the reading
that masks more wins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from enum import StrEnum

MASK = "?"


class Dialect(StrEnum):
    """How a family of servers quotes."""

    POSTGRESQL = "postgresql"


# PostgreSQL refuses NUL in a text, so it can stand between the statements of a batch.
_BETWEEN = "\0"

# What a plain statement holds: '...' with '' inside, closed or cut off, and numbers that are not part of a
# name or $1.
_PLAIN_LITERAL = re.compile(r"'[^'\0]*(?:''[^'\0]*)*'?|\d(?<![\w$].)[\w.]*")

# Anything beside that (names in quotes, $tags$, backslashes, comments) goes through the full lexer.
_NOT_PLAIN = re.compile(r"[\"\\]|\$(?!\d)|--|/\*|[UuBbXx]&?'")

_TOKEN = re.compile(
    r"""
      (?P<name>  "(?:[^"]|"")*"? )
    | (?P<e>     (?<![\w$])[eE]'(?:[^'\\]|''|\\.)*(?:'|\\?\Z) )
    | (?P<text>  (?:(?<![\w$])(?:[uU]&|[bBxXnN]))?'(?:[^']|'')*(?:'|\Z) )
    | (?P<tag>   (?<![\w$])\$(?P<word>[^\W\d]\w*)?\$.*?(?:\$(?P=word)\$|\Z) )
    | (?P<bare>  (?<![\w$])\$\$.*?(?:\$\$|\Z) )
    | (?P<line>  --[^\n]* )
    | (?P<block> /\* )
    | (?P<param> \$\d+ )
    | (?P<word2> [^\W\d][\w$]* )
    | (?P<number> \.?\d[\w.]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_COMMENT_MARK = re.compile(r"/\*|\*/")

_SPACE = re.compile(r"\s+")
_LIST = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")
_ROWS = re.compile(r"\(\?\)(?:\s*,\s*\(\?\))+")

_LITERAL = r"""(?:[eEnN]?'(?:[^'\\]|''|\\.)*(?:'|\Z)|"(?:[^"]|"")*(?:"|\Z)|\$(\w*)\$.*?(?:\$\2\$|\Z))"""
_PASSWORD_CLAUSE = re.compile(
    rf"(\b(?:password|passwd|pwd|identified\s+by|secret)\b\s*(?:=|:|\bto\b|\bas\b)?\s*){_LITERAL}",
    re.IGNORECASE | re.DOTALL,
)
_PASSWORD_SETTING = re.compile(
    r"(\b(?:password|passwd|pwd|sslpassword|secret)\s*=\s*)([^\s'\";,)]+)", re.IGNORECASE
)
_PASSWORD_IN_URL = re.compile(r"(://[^\s:/@'\"]*:)([^\s@'\"]+)(@)")
_MAY_HOLD_PASSWORD = re.compile(r"pass|pwd|identified|secret|://", re.IGNORECASE)


def mask(statement: str) -> str:
    """The statement with every literal replaced by ``?`` and every comment by a blank.

    >>> mask("select * from t1 where name = 'O''Brien' and id in (1, 2) -- note")
    'select * from t1 where name = ? and id in (?, ?) '
    """
    return mask_all([statement])[0]


def mask_all(statements: Sequence[str]) -> list[str]:
    """Mask many statements; the same as ``mask`` for each of them, several times faster for plain ones."""
    if not statements:
        return []
    joined = _BETWEEN.join(statements)
    if not _NOT_PLAIN.search(joined) and joined.count(_BETWEEN) == len(statements) - 1:
        return _PLAIN_LITERAL.sub(MASK, joined).split(_BETWEEN)
    plain = [s for s in statements if not _NOT_PLAIN.search(s) and _BETWEEN not in s]
    masked_plain = iter(_PLAIN_LITERAL.sub(MASK, _BETWEEN.join(plain)).split(_BETWEEN))
    return [
        _mask_lexically(s) if _NOT_PLAIN.search(s) or _BETWEEN in s else next(masked_plain)
        for s in statements
    ]


def _mask_lexically(statement: str) -> str:
    parts: list[str] = []
    position = 0
    while token := _TOKEN.search(statement, position):
        parts.append(statement[position : token.start()])
        position = token.end()
        kind = token.lastgroup
        text = token.group()
        if kind in ("name", "param", "word2"):
            parts.append(text)
        elif kind == "line":
            parts.append(" ")
        elif kind == "block":
            position = _end_of_block_comment(statement, token.start())
            parts.append(" ")
        else:
            parts.append(MASK)
            if kind == "text" and "\\'" in text:
                # With standard_conforming_strings off this literal goes on past the quote: mask all that
                # follows.
                return "".join(parts)
    parts.append(statement[position:])
    return "".join(parts)


def _end_of_block_comment(statement: str, start: int) -> int:
    depth = 0
    for mark in _BLOCK_COMMENT_MARK.finditer(statement, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(statement)


def remove_passwords(statement: str) -> str:
    """The statement as it is, but with the passwords in it replaced by ``********``.

    >>> remove_passwords("ALTER ROLE app PASSWORD 'tiger' VALID UNTIL '2030-01-01'")
    "ALTER ROLE app PASSWORD '********' VALID UNTIL '2030-01-01'"
    """
    if not _MAY_HOLD_PASSWORD.search(statement):
        return statement
    statement = _PASSWORD_CLAUSE.sub(r"\1'********'", statement)
    statement = _PASSWORD_SETTING.sub(r"\1********", statement)
    return _PASSWORD_IN_URL.sub(r"\1********\3", statement)


class Fingerprints:
    """Hashes of statements that were masked; remembers the latest, because programs repeat themselves."""

    def __init__(self, remembered: int = 20_000) -> None:
        self._remembered = remembered
        self._known: dict[str, str] = {}

    def of(self, masked: str) -> str:
        """16 hexadecimal digits: equal for statements that differ in literals, blanks, comments or list
        lengths only.
        """
        known = self._known.get(masked)
        if known is None:
            if len(self._known) >= self._remembered:
                self._known.clear()
            normal = _ROWS.sub("(?)", _LIST.sub("(?)", _SPACE.sub(" ", masked).strip(" ;")))
            known = hashlib.sha256(normal.encode("utf-8", "surrogatepass")).hexdigest()[:16]
            self._known[masked] = known
        return known
