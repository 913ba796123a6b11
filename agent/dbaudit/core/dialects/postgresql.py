"""PostgreSQL: the lexical rules are those of its manual, chapter 4.1, "Lexical Structure".

``'\\'`` is one literal with standard_conforming_strings and the beginning of a longer one without: the
reading that masks more wins.
"""

from __future__ import annotations

import re

from dbaudit.core.dialects.lexing import MASK, TEXT, Rules, end_of_nested_comment

# What belongs to a name: every character beyond ASCII does.
_IN_NAME = r"\w$\x80-\U0010ffff"
# A digit that stands in a name or in $1 is no number.
_NOT_IN_NAME = rf"(?<![{_IN_NAME}][0-9])"

# A dollar sign behind a number is not part of it: it begins a text, or a parameter.
_REST_OF_NUMBER = r"[\w.]*(?:(?<=[eE])[-+][0-9][\w.]*)?"

# What a plain statement holds: '...' with '' inside, closed or cut off, and numbers; not E'...' and its like.
# It starts with one set of characters because the search for a set is several times faster than that for
# alternatives.
_PLAIN_LITERAL = re.compile(
    rf"['0-9]{_NOT_IN_NAME}(?:(?<=')(?<![eEnNbBxX&]')(?:{TEXT})|(?<=[0-9]){_REST_OF_NUMBER})"
)

_TAG = r"\$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?\$"

_TOKENS = rf"""
      (?P<name>    "[^"\0]*(?:""[^"\0]*)*" )
    | (?P<comment> --[^\n\r\0]* | /\*[^\0]*?(?:\*/|(?=\0)|\Z) )
    | (?<![{_IN_NAME}])[eE]'[^'\\\0]*(?:(?:''|\\[^\0])[^'\\\0]*)*(?:'|\\?(?=\0|\Z))
    | (?P<text>    (?:(?<![{_IN_NAME}])(?:[uU]&|[bBxXnN]))?'{TEXT} )
    | (?<![A-Za-z_$\x80-\U0010ffff])(?={_TAG})
      (?:\$(?P<tag>{_TAG[2:-2]})\$[^\0]*?\$(?P=tag)\$(?:[0-9][\w.]*)?)*+(?:{_TAG}[^\0]*)?
    | [0-9]{_NOT_IN_NAME}{_REST_OF_NUMBER}
"""
_TOKEN = re.compile(_TOKENS, re.VERBOSE)
# A name can hold dollar signs: where there are some, names are read as well.
_DOLLAR = re.compile(r"\$(?![0-9])")
_TOKEN_BESIDE_NAMES = re.compile(
    rf"(?P<word> (?![eEbBxXnN]'|[uU]&')[A-Za-z_\x80-\U0010ffff][{_IN_NAME}]*+ ) | {_TOKENS}", re.VERBOSE
)


def mask_lexically(statement: str) -> str:
    pattern = _TOKEN_BESIDE_NAMES if _DOLLAR.search(statement) else _TOKEN
    if "\\" not in statement and statement.count("/*") < 2:
        return pattern.sub(_replacement, statement)
    parts: list[str] = []
    position = 0
    while token := pattern.search(statement, position):
        parts.append(statement[position : token.start()])
        parts.append(_replacement(token))
        position = token.end()
        text = token.group()
        if token.lastgroup == "text" and "\\'" in text:
            # With standard_conforming_strings off this literal goes on past the quote: mask all that
            # follows.
            return "".join(parts)
        if text.startswith("/*"):
            position = end_of_nested_comment(statement, token.start())
    parts.append(statement[position:])
    return "".join(parts)


def _replacement(token: re.Match[str]) -> str:
    kind = token.lastgroup
    if kind in ("name", "word"):
        return token.group()
    return " " if kind == "comment" else MASK


RULES = Rules(
    plain_literal=_PLAIN_LITERAL,
    name_quote='"',
    name_left_alone=re.compile(r'"[^"\'?\0]*"'),
    marks=("'", '"', "--", "/*"),
    left=_DOLLAR,
    source_mark="\\",
    lexically=mask_lexically,
)
