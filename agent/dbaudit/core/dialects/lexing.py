"""What the SQL dialects share: plain literals masked in one pass over a whole batch, the rest lexed one by
one.

A statement of a program seldom holds more than ``'...'`` and numbers beside words. One regular expression
masks these in all statements of a batch at once. Whatever else it could have misread (a name in quotes, a
comment, an escape) leaves a mark, because the first such thing outside of literals is always left as it is:
everything before it was read rightly. Only statements with a mark are lexed by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

MASK = "?"

# NUL stands between the statements of a batch; none of them holds it.
BETWEEN = "\0"

TEXT = r"[^'\0]*(?:''[^'\0]*)*'?"
"""What follows the opening quote of '...' with '' inside, closed or cut off."""

REST_OF_NUMBER = r"[\w.$]*(?:(?<=[eE])[-+][0-9][\w.$]*)?"
"""What follows a digit directly belongs to the number, or to what looks like one."""

BLANK = r"(?:\s|/\*.{0,200}?\*/|--[^\n]{0,200}\n)*+"
"""Blanks and comments between two words, for patterns with re.DOTALL."""


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """How a dialect is masked.

    ``plain_literal`` is what the pass over a batch masks. ``name_left_alone`` is a name in quotes in which
    nothing was masked, beginning with ``name_quote``: had it been misread as something else, a ``?`` would
    stand in it. ``marks`` in what is left, ``left`` in what is left, ``source_mark`` in the statement and
    ``lower_marks`` in the statement in lower case each mean that the statement is lexed by itself, with
    ``lexically``. ``afterwards`` changes the batch that was masked.
    """

    plain_literal: re.Pattern[str]
    name_quote: str
    name_left_alone: re.Pattern[str]
    marks: tuple[str, ...]
    lexically: Callable[[str], str]
    left: re.Pattern[str] | None = None
    source_mark: str = ""
    lower_marks: tuple[str, ...] = ()
    afterwards: Callable[[str], str] | None = None


def mask_joined(joined: str, statements: Sequence[str], rules: Rules) -> list[str]:
    """Mask ``statements``, which are ``joined`` with NUL between them.

    The same as ``rules.lexically`` for each of them.
    """
    masked = rules.plain_literal.sub(MASK, joined)
    if rules.afterwards is not None:
        masked = rules.afterwards(masked)
    beside_names = rules.name_left_alone.sub(" ", masked) if rules.name_quote in masked else masked
    marks = [mark for mark in rules.marks if mark in beside_names]
    left = rules.left if rules.left is not None and rules.left.search(beside_names) else None
    source_mark = rules.source_mark
    in_source = bool(source_mark) and source_mark in joined
    lower = joined.lower() if rules.lower_marks else ""
    in_lower = [mark for mark in rules.lower_marks if mark in lower]
    texts = masked.split(BETWEEN)
    if not marks and left is None and not in_source and not in_lower:
        return texts
    lexically = rules.lexically
    return [
        lexically(statement)
        if any(map(rest.__contains__, marks))
        or (left is not None and left.search(rest))
        or (in_source and source_mark in statement)
        or (in_lower and any(map(statement.lower().__contains__, in_lower)))
        else text
        for statement, text, rest in zip(statements, texts, beside_names.split(BETWEEN), strict=True)
    ]


_COMMENT_MARK = re.compile(r"/\*|\*/")


def end_of_nested_comment(statement: str, start: int) -> int:
    """Where the block comment that opens at ``start`` ends, for dialects whose comments hold comments."""
    depth = 0
    for mark in _COMMENT_MARK.finditer(statement, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(statement)
