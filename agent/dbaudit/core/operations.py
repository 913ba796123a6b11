"""The operation of a statement: `SELECT`, `CREATE TABLE` ..., by its first words."""

from __future__ import annotations

import re
from collections.abc import Iterator

_BLANK = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z))*")
_OPEN = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|\()*")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_WORD = re.compile(r"[A-Za-z]+")
_ON_A_KIND = frozenset({"CREATE", "ALTER", "DROP"})
_BETWEEN = frozenset(
    {
        *("OR", "REPLACE", "ALTER", "TEMP", "TEMPORARY", "UNLOGGED", "UNIQUE", "GLOBAL", "LOCAL"),
        *("RECURSIVE", "CONSTRAINT", "TRUSTED", "PROCEDURAL"),
    }
)
_OF_SEVERAL_WORDS = (
    *("ACCESS METHOD", "DEFAULT PRIVILEGES", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "FOREIGN TABLE"),
    *("LARGE OBJECT", "MATERIALIZED VIEW", "OPERATOR CLASS", "OPERATOR FAMILY", "USER MAPPING"),
    *("TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE"),
)
_WORDS_LOOKED_AT = 7

# What can hold a word that is none of the statement's own: literals, names in quotes, comments, and brackets,
# for which the query of a WITH is searched outside of them.
_HIDING = re.compile(
    r"""'(?:[^'\\]|''|\\.)*(?:'|\Z) | "(?:[^"]|"")*(?:"|\Z) | \$(\w*)\$.*?(?:\$\1\$|\Z) | --[^\n]* | /\*.*?\*/
      | (?P<open>\() | (?P<close>\)) | (?P<main>\b(?:SELECT|INSERT|UPDATE|DELETE|MERGE|VALUES|TABLE)\b) """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)


def operation_of(statement: str) -> str | None:
    """The operation in capitals; None for a text that does not start with a word.

    >>> operation_of("/* report */ (select 1)"), operation_of("create or replace view v as select 1")
    ('SELECT', 'CREATE VIEW')
    >>> operation_of("with x as (select 1) insert into t select * from x")
    'INSERT'
    """
    words = _words(statement)
    first = next(words, None)
    if first == "WITH":
        return _after_with(statement)
    if first not in _ON_A_KIND:
        return first
    kinds = [word for word in words if word not in _BETWEEN]
    if kinds[:1] == ["DEFAULT"] and kinds[1:2] != ["PRIVILEGES"]:
        kinds = kinds[1:]
    if not kinds:
        return first
    text = " ".join(kinds) + " "
    kind = next((several for several in _OF_SEVERAL_WORDS if text.startswith(several + " ")), kinds[0])
    return f"{first} {kind}"


def _words(statement: str) -> Iterator[str]:
    """The words that the statement starts with, in capitals."""
    position = _after_blank(statement, 0, _OPEN)
    for _number in range(_WORDS_LOOKED_AT):
        word = _WORD.match(statement, position)
        if word is None:
            return
        yield word.group().upper()
        position = _after_blank(statement, word.end(), _BLANK)


def _after_blank(statement: str, position: int, blank: re.Pattern[str]) -> int:
    """Behind blanks and comments; comments hold comments, as in PostgreSQL."""
    while True:
        found = blank.match(statement, position)
        position = found.end() if found else position
        if not statement.startswith("/*", position):
            return position
        depth = 0
        for mark in _COMMENT_MARK.finditer(statement, position):
            depth += 1 if mark.group() == "/*" else -1
            if depth == 0:
                position = mark.end()
                break
        else:
            return len(statement)


def _after_with(statement: str) -> str:
    """The operation that the queries of a WITH are for."""
    depth = 0
    for found in _HIDING.finditer(statement):
        if found["open"]:
            depth += 1
        elif found["close"]:
            depth -= 1
        elif found["main"] and depth == 0:
            return found["main"].upper()
    return "WITH"
