"""Passwords in statements, whatever the dialect, and the forms that single dialects have beside these.

A password is looked for in the whole text, inside of literals too, because statements hold statements.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from dbaudit.core.dialects.lexing import BLANK
from dbaudit.core.secret import HIDDEN


class Form(msgspec.Struct, frozen=True):
    """How one dialect writes passwords: ``pattern`` is replaced by ``replacement`` where one of ``marks``, in
    lower case, is in the statement.
    """

    marks: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str


# Of the two readings of \'' the longer one, whichever of them the server had.
_QUOTED = r"'(?:[^'\\]|\\''|''|\\.)*+(?:'|\\?\Z)"
# 'host=h password=''...''': the quotes of a setting inside a text. An empty text is followed by no letter.
_DOUBLED = r"''(?=[^\s'),;:|])(?:[^'\\]|\\''|\\.|'{4})*+(?:''|'|\\?\Z)"
_DOUBLED_FOR_SURE = re.compile(_DOUBLED.replace(r"(?=[^\s'),;:|])", ""), re.DOTALL)
_CALL = rf"(?:[\w.]{{1,64}}+{BLANK}\({BLANK})"
# A parameter, or what masking left.
_NO_VALUE = rf"\$\d|\?|{_CALL}{{1,3}}+(?:\$\d+|\?)\s*+(?:[,)]|\Z)"
_PASSWORD = re.compile(
    rf"""
    ( (?:password|passwd|passphrase|pwd|secret|\bidentified\s{{1,99}}by)\b
      (?: ["']?{BLANK}(?P<setting>:=|=>|=|:){BLANK}
        | ["']{BLANK}(?:,{BLANK})?
        | {BLANK}(?:(?:to|as)\b{BLANK})?
      )
      {_CALL}{{0,3}}          # password = crypt('...
    )
    (?: (?P<doubled> {_DOUBLED} )
      | (?P<escaped> \\'(?:[^'\\]|\\\\\\'|\\[^'])*+(?:\\'|'|\\?\Z) )
      | (?P<quoted>  (?:[en]|u&)?{_QUOTED}(?:[^\S\n]*\n\s*{_QUOTED})*+ )
      | (?P<name>    "(?:[^"\\]|""|\\.)*+(?:"|\\?\Z) )
      | (?P<dollars> \$(?P<tag>[^\W\d]?\w*)\$.*?(?:\$(?P=tag)\$|\Z) )
      | (?P<bare>    (?(setting)(?!{_NO_VALUE})(?:''|\\.|[^\s'\\])++|(?!)) )
    )
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_HIDDEN_AS = {
    "doubled": f"''{HIDDEN}''",
    "escaped": rf"\'{HIDDEN}\'",
    "quoted": f"'{HIDDEN}'",
    "name": f'"{HIDDEN}"',
    "dollars": f"'{HIDDEN}'",
    "bare": HIDDEN,
}
_URL = re.compile(r"://[^\s'\"]++")
MARKS = ("pass", "pwd", "identified", "secret", "://")
"""One of these, in lower case, is in a statement with a password of the forms that all dialects have."""


def remove_passwords(statement: str, forms: Sequence[Form] = ()) -> str:
    """The statement with the passwords in it hidden: those of ``forms`` and those that all dialects have."""
    lower = statement.lower()
    for form in forms:
        if any(map(lower.__contains__, form.marks)):
            statement = form.pattern.sub(form.replacement, statement)
    if not any(map(lower.__contains__, MARKS)):
        return statement
    return _URL.sub(_hide_password_of_url, _hide_passwords(statement))


def _hide_passwords(statement: str) -> str:
    parts: list[str] = []
    position = quotes = 0
    while found := _PASSWORD.search(statement, position):
        kind = next(kind for kind in _HIDDEN_AS if found[kind] is not None)
        start, end = found.span(kind)
        quotes += statement.count("'", position, start)
        inside_text = quotes % 2 == 1
        if inside_text and (doubled := _DOUBLED_FOR_SURE.match(statement, start)):
            kind, end = "doubled", max(end, doubled.end())
        quotes += statement.count("'", start, end)
        parts += (statement[position:start], _HIDDEN_AS[kind])
        position = end
    return "".join([*parts, statement[position:]])


def _hide_password_of_url(found: re.Match[str]) -> str:
    login, at, rest = found[0].rpartition("@")
    if found.end() == len(found.string):
        login, at, rest = found[0], "", ""  # cut off, maybe in the middle of the password
    name, colon, password = login[3:].partition(":")
    if not colon or not password or "/" in name:
        return found[0]
    return f"://{name}:{HIDDEN}{at}{rest}"
