r"""MySQL and MariaDB: the lexical rules are those of the MySQL reference manual, chapter 11 ("Language
Structure"), and of the MariaDB knowledge base ("Comment Syntax").

- ``"..."`` is a literal, or a name with sql_mode ANSI_QUOTES: it is masked.
- A backslash escapes, unless sql_mode has NO_BACKSLASH_ESCAPES. Where ``\'`` stands in a literal, both
  readings are tried; what follows is read with escapes only where the other reading cannot be (it leaves a
  literal open, or a backslash outside of one). Otherwise all that follows is masked.
- What stands in ``/*! ... */`` and ``/*M! ... */`` is run by servers, so it is read as part of the statement.
- A word that begins with a digit may be a name, and is masked.
- ``$js$ ... $js$`` is the body of a routine in another language.
- In gbk, big5 and sjis a letter can end in the byte of a backslash. Where ``\'`` stands behind a letter
  beyond ASCII, however it was written down, the text may end there: all that follows is masked.
"""

from __future__ import annotations

import re

from dbaudit.core.dialects.lexing import BLANK, MASK, REST_OF_NUMBER, TEXT, Rules
from dbaudit.core.dialects.passwords import Form
from dbaudit.core.secret import HIDDEN

_IN_NAME = r"\w$\x80-\U0010ffff"
_NOT_IN_NAME = rf"(?<![{_IN_NAME}][0-9])"
_TEXT_IN_DOUBLE_QUOTES = TEXT.replace("'", '"')

_PLAIN_LITERAL = re.compile(
    rf"""['"0-9]{_NOT_IN_NAME}(?:(?<=')(?<![nNbBxX]')(?:{TEXT})|(?<=")(?<![nNbBxX]")(?:{_TEXT_IN_DOUBLE_QUOTES})"""
    rf"|(?<=[0-9]){REST_OF_NUMBER})"
)

_NAME = r"`[^`]*(?:``[^`]*)*`"
_COMMENT = r"\#[^\n]* | --(?=[\s\x00-\x1f]|\Z)[^\n]* | /\*(?!M?!).*?(?:\*/|\Z)"
_TOKEN = re.compile(
    rf"""
      (?P<kept>    {_NAME} )
    | (?P<run>     /\*M?![0-9]* )
    | (?P<end>     \*/ )
    | (?P<comment> {_COMMENT} )
    | (?:(?<![{_IN_NAME}])[bBxXnN])?(?P<text> '(?:[^'\\]|''|\\.)*+(?P<closed>'?)\\?
                                            | "(?:[^"\\]|""|\\.)*+(?P<closed_too>"?)\\? )
    | (?<![{_IN_NAME}])\$(?![0-9])(?P<tag>\w*+)\$.*?(?:\$(?P=tag)\$|\Z)
    | [0-9]{_NOT_IN_NAME}{REST_OF_NUMBER}
    """,
    re.VERBOSE | re.DOTALL,
)
_WITHOUT_ESCAPES = {"'": re.compile(r"'(?:[^']|'')*+'?"), '"': re.compile(r'"(?:[^"]|"")*+"?')}
# What a text with NO_BACKSLASH_ESCAPES cannot hold: a literal left open, a backslash outside of literals.
_READ_WITHOUT_ESCAPES = re.compile(
    rf"""{_NAME} | {_COMMENT} | '[^']*' | "[^"]*" | (?P<impossible>['"\\])""", re.VERBOSE | re.DOTALL
)
_AFTER_LITERAL = re.compile(
    r"\s*(?:[,);=<>!+*/|&%^@`#-]|\Z|(?:and|or|xor|not|is|in|like|rlike|regexp|sounds|between|collate|div|mod"
    r"|as|from|where|group|having|order|limit|offset|union|except|intersect|on|using|for|into|then|when|else|end"
    r"|escape|separator|comment|default|primary|unique|key|asc|desc|at|time|identified|require|account|password"
    r"|terminated|enclosed|escaped|lines|fields|columns|starting|optionally|by|set|values|returning|partition)"
    r"(?![\w$]))",
    re.IGNORECASE,
)


_MAY_END_IN_A_LETTER = re.compile(r"""(?:[\x80-\U0010ffff]|\\x[89a-fA-F][0-9a-fA-F])\\+['"]""")


def mask_lexically(statement: str) -> str:
    parts: list[str] = []
    position = 0
    in_run_comment = False
    escapes_are_sure: bool | None = None
    while token := _TOKEN.search(statement, position):
        parts.append(statement[position : token.start()])
        text = token.group()
        position = token.end()
        if token["kept"] or token["run"] or token["end"]:
            in_run_comment = not token["end"] and (in_run_comment or bool(token["run"]))
            parts.append(text)
            continue
        parts.append(" " if token["comment"] else MASK)
        if in_run_comment and "*/" in text:
            # A server of another version ends the comment there.
            return "".join(parts)
        if token["text"] and _is_ambiguous(statement, token):
            if _MAY_END_IN_A_LETTER.search(token["text"]):
                return "".join(parts)
            if escapes_are_sure is None:
                escapes_are_sure = _cannot_be_without_escapes(statement, token.start("text"))
            closed = token["closed"] or token["closed_too"]
            if not escapes_are_sure or not closed or not _AFTER_LITERAL.match(statement, position):
                return "".join(parts)
    parts.append(statement[position:])
    return "".join(parts)


def _is_ambiguous(statement: str, token: re.Match[str]) -> bool:
    text = token["text"]
    if "\\" + text[0] not in text:
        return False
    other = _WITHOUT_ESCAPES[text[0]].match(statement, token.start("text"))
    return other is None or other.end() != token.end()


def _cannot_be_without_escapes(statement: str, start: int) -> bool:
    return any(found["impossible"] for found in _READ_WITHOUT_ESCAPES.finditer(statement, start))


RULES = Rules(
    plain_literal=_PLAIN_LITERAL,
    name_quote="`",
    name_left_alone=re.compile(r"`[^`'\"?\0]*`"),
    marks=("'", '"', "`", "#", "--", "/*"),
    left=re.compile(r"\$(?![0-9])(?<![\w$\x80-\U0010ffff]\$)"),
    source_mark="\\",
    lexically=mask_lexically,
)

# Of the readings with and without escapes the longer one, also where the quotes are those of an outer text.
_QUOTED = (
    r"""(?:'(?:[^'\\]|\\''|''|\\.)*+(?:'|\\?\Z)|"(?:[^"\\]|\\""|""|\\.)*+(?:"|\\?\Z)"""
    r"""|\\'(?:[^'\\]|\\\\.|\\[^'])*+(?:\\'|'|\\?\Z)|0x\w++)"""
)

PASSWORD_FORMS = (
    Form(
        ("identified", "password"),
        re.compile(
            rf"""
            ( \b(?:with|via|or)\b{BLANK}["'`]?\w+["'`]?{BLANK}\b(?:as|using|by)\b{BLANK}
                (?:password{BLANK}\({BLANK})?
            | \bpassword{BLANK}(?:for\b[^=]{{1,300}}={BLANK}(?:\w{{1,64}}{BLANK}\({BLANK})?|\({BLANK})
            | \breplace{BLANK}
            | \bidentified{BLANK}by{BLANK}(?:password{BLANK})?
            ){_QUOTED}
            """,
            re.IGNORECASE | re.DOTALL | re.VERBOSE,
        ),
        rf"\1'{HIDDEN}'",
    ),
)
