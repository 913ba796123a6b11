"""The operation of a statement: `SELECT`, `CREATE TABLE` ..., by its first words."""

from __future__ import annotations

import re

_BEFORE = re.compile(r"(?:\s+|\(|--[^\n]*(?:\n|\Z)|/\*.*?(?:\*/|\Z))+", re.DOTALL)
_WORDS = re.compile(r"[A-Za-z]+(?:\s+[A-Za-z]+){0,4}")
_ON_A_KIND = frozenset({"CREATE", "ALTER", "DROP"})
_BETWEEN = frozenset(
    {"OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "UNIQUE", "GLOBAL", "LOCAL", "RECURSIVE"}
)
_OF_TWO_WORDS = frozenset({"VIEW", "WRAPPER", "SERVER", "TABLE", "TRIGGER", "DATA", "MAPPING"})


def operation_of(statement: str) -> str | None:
    """The operation in capitals; None for a text that does not start with a word.

    >>> operation_of("/* report */ (select 1)"), operation_of("create or replace view v as select 1")
    ('SELECT', 'CREATE VIEW')
    """
    blank = _BEFORE.match(statement)
    found = _WORDS.match(statement, blank.end() if blank else 0)
    if found is None:
        return None
    first, *rest = found.group().upper().split()
    if first not in _ON_A_KIND:
        return first
    kinds = [word for word in rest if word not in _BETWEEN]
    if not kinds:
        return first
    kind = kinds[0]
    if kind in ("MATERIALIZED", "FOREIGN", "EVENT", "USER") and len(kinds) > 1 and kinds[1] in _OF_TWO_WORDS:
        kind = f"{kind} {kinds[1]}"
    return f"{first} {kind}"
