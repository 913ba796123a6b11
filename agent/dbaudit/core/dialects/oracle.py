"""Oracle: the lexical rules are those of the SQL Language Reference, chapter 2 ("Literals", "Comments",
"Database Object Names and Qualifiers"), and of the statements with IDENTIFIED BY.

- Passwords are written like names, so what follows IDENTIFIED BY is masked whatever it looks like, and so is
  the old password after REPLACE.
- The number of a bind variable is masked, because ``json_object('a':1)`` looks the same.
- Hints are comments.
"""

from __future__ import annotations

import re

from dbaudit.core.dialects.lexing import BLANK, MASK, REST_OF_NUMBER, TEXT, Rules
from dbaudit.core.dialects.passwords import Form
from dbaudit.core.secret import HIDDEN

_IN_NAME = r"\w$#\x80-\U0010ffff"
_NOT_IN_NAME = rf"(?<![{_IN_NAME}][0-9])"

_PLAIN_LITERAL = re.compile(
    rf"['0-9]{_NOT_IN_NAME}(?:(?<=')(?<![nNqQ]')(?:{TEXT})|(?<=[0-9]){REST_OF_NUMBER})"
)
_QUOTE_OF_CHOICE = r"""
    [nN]?[qQ]'(?: \[.*?(?:\]'|\Z) | \{.*?(?:\}'|\Z) | \(.*?(?:\)'|\Z) | <.*?(?:>'|\Z)
                | (?-i:(?P<mark>[^\s\[{(<]).*?(?:(?P=mark)'|\Z)) )
"""
# In .5q'[...]' the number ends before the q.
_PART_OF_NUMBER = r"(?:(?![nN]?[qQ]')[\w.$])*+"
_NUMBER = rf"[0-9]{_NOT_IN_NAME}{_PART_OF_NUMBER}(?:(?<=[eE])[-+][0-9]{_PART_OF_NUMBER})?"
_BEFORE_PASSWORD = rf"\bidentified{BLANK}by(?![{_IN_NAME}]){BLANK}(?:values{BLANK}(?=['*]))?"
_BEFORE_NEXT = rf"{BLANK}(?:,|\b(?:replace|set)(?![{_IN_NAME}])){BLANK}"
_LIKE_A_NAME = r"""(?:"[^"]*+(?:""[^"]*+)*+"?|[,;]*+[^\s'",;]++)"""
_LIKE_ANYTHING = r"""(?:"[^"]*+(?:""[^"]*+)*+"?|'(?:[^']|'')*+'?|[,;]*+[^\s'",;]++)++"""

_TOKEN = re.compile(
    rf"""
      (?P<password> {_BEFORE_PASSWORD} )
    | (?P<name>    "[^"]*(?:""[^"]*)*" )
    | (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?:(?<![{_IN_NAME}])|{_NUMBER}){_QUOTE_OF_CHOICE}
    | (?:(?<![{_IN_NAME}])[nN])?'(?:[^']|'')*+'?
    | {_NUMBER}
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_ANY_PASSWORD = re.compile(_LIKE_ANYTHING)
_BEFORE_ANOTHER = re.compile(_BEFORE_NEXT, re.IGNORECASE | re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def mask_lexically(statement: str) -> str:
    parts: list[str] = []
    position = 0
    while token := _TOKEN.search(statement, position):
        parts.append(statement[position : token.start()])
        position = token.end()
        if token["name"]:
            parts.append(token.group())
        elif token["comment"]:
            parts.append(" ")
        elif token["password"]:
            position = _mask_passwords(statement, token, parts)
        else:
            parts.append(MASK)
    parts.append(statement[position:])
    return "".join(parts)


def _mask_passwords(statement: str, before: re.Match[str], parts: list[str]) -> int:
    """Mask one password, and those that follow it in a list or after REPLACE; returns where they end."""
    parts.append(_COMMENT.sub(" ", before.group()))
    position = before.end()
    while password := _ANY_PASSWORD.match(statement, position):
        parts.append(MASK)
        position = password.end()
        following = _BEFORE_ANOTHER.match(statement, position)
        if following is None:
            break
        parts.append(_COMMENT.sub(" ", following.group()))
        position = following.end()
    return position


RULES = Rules(
    plain_literal=_PLAIN_LITERAL,
    name_quote='"',
    name_left_alone=re.compile(r'"[^"\'?\0]*"'),
    marks=("'", '"', "--", "/*"),
    lower_marks=("identified",),
    lexically=mask_lexically,
)

# The quotes may be doubled, those of a statement in a literal.
_HIDABLE = rf"(?:''(?=[^\s'),;:|])(?:[^']|'{{4}})*+(?:''|'|\Z)|'(?:[^']|'')*+(?:'|\Z)|{_LIKE_A_NAME})"

PASSWORD_FORMS = (
    Form(
        ("identified",),
        re.compile(
            rf"({_BEFORE_PASSWORD}){_HIDABLE}(?:{_BEFORE_NEXT}{_HIDABLE})*+", re.IGNORECASE | re.DOTALL
        ),
        rf"\1{HIDDEN}",
    ),
)
