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

from dbaudit.core.secret import HIDDEN

MASK = "?"


class Dialect(StrEnum):
    """How a family of servers quotes."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    """MySQL and MariaDB."""
    SQLSERVER = "sqlserver"
    ORACLE = "oracle"
    MONGODB = "mongodb"
    """A command as JSON text."""


# PostgreSQL refuses NUL in a text, so it can stand between the statements of a batch.
_BETWEEN = "\0"
_NUL_SHOWN = "\\x00"

# What belongs to a name: every character beyond ASCII does.
_IN_NAME = r"\w$\x80-\U0010ffff"
_TEXT = r"[^'\0]*(?:''[^'\0]*)*'?"
# A digit that stands in a name or in $1 is no number; what follows one directly belongs to it.
_NOT_IN_NAME = rf"(?<![{_IN_NAME}][0-9])"
_REST_OF_NUMBER = r"[\w.$]*(?:(?<=[eE])[-+][0-9][\w.$]*)?"

# What a plain statement holds: '...' with '' inside, closed or cut off, and numbers; not E'...' and its like.
# It starts with one set of characters because the search for a set is several times faster than that for
# alternatives.
_PLAIN_LITERAL = re.compile(
    rf"['0-9]{_NOT_IN_NAME}(?:(?<=')(?<![eEnNbBxX&]')(?:{_TEXT})|(?<=[0-9]){_REST_OF_NUMBER})"
)

# What is left of anything beside that once plain literals are masked. Inside of literals these marks mean
# nothing, and the first one outside of them is always left, because everything before it was read rightly.
_NOT_PLAIN = ("'", '"', "--", "/*")
_TAG = re.compile(r"\$(?![0-9])")
# A name in quotes in which nothing was masked: had it been misread as something else, a ? would stand in it.
_NAME_LEFT_ALONE = re.compile(r'"[^"\'?\0]*"')
_BACKSLASH = "\\"

_TOKEN = re.compile(
    rf"""
      (?P<name>    "[^"\0]*(?:""[^"\0]*)*" )
    | (?P<comment> --[^\n\r\0]* | /\*[^\0]*?(?:\*/|(?=\0)|\Z) )
    | (?<![{_IN_NAME}])[eE]'[^'\\\0]*(?:(?:''|\\[^\0])[^'\\\0]*)*(?:'|\\?(?=\0|\Z))
    | (?P<text>    (?:(?<![{_IN_NAME}])(?:[uU]&|[bBxXnN]))?'{_TEXT} )
    | (?<![A-Za-z_$\x80-\U0010ffff])\$(?P<tag>(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*)?)\$
      [^\0]*?(?:\$(?P=tag)\$|(?=\0)|\Z)
    | [0-9]{_NOT_IN_NAME}{_REST_OF_NUMBER}
    """,
    re.VERBOSE,
)
_COMMENT_MARK = re.compile(r"/\*|\*/")


def mask(statement: str) -> str:
    """The statement with every literal replaced by ``?`` and every comment by a blank.

    >>> mask("select * from t1 where name = 'O''Brien' and id in (1, 2) -- note")
    'select * from t1 where name = ? and id in (?, ?)  '
    """
    return mask_all([statement])[0]


def mask_all(statements: Sequence[str]) -> list[str]:
    """Mask many statements; the same as ``mask`` for each of them, several times faster for plain ones."""
    if not statements:
        return []
    joined = _BETWEEN.join(statements)
    if joined.count(_BETWEEN) != len(statements) - 1:
        return mask_all([s.replace(_BETWEEN, _NUL_SHOWN) for s in statements])
    masked = _PLAIN_LITERAL.sub(MASK, joined)
    beside_names = _NAME_LEFT_ALONE.sub(" ", masked) if '"' in masked else masked
    marks = [mark for mark in _NOT_PLAIN if mark in beside_names]
    tagged = _TAG.search(beside_names) is not None
    escaped = _BACKSLASH in joined
    if not marks and not tagged and not escaped:
        return masked.split(_BETWEEN)
    texts, left = masked.split(_BETWEEN), beside_names.split(_BETWEEN)
    return [
        _mask_lexically(statement)
        if any(map(rest.__contains__, marks))
        or (tagged and _TAG.search(rest))
        or (escaped and _BACKSLASH in statement)
        else text
        for statement, text, rest in zip(statements, texts, left, strict=True)
    ]


def _mask_lexically(statement: str) -> str:
    if "\\" not in statement and statement.count("/*") < 2:
        return _TOKEN.sub(_replacement, statement)
    parts: list[str] = []
    position = 0
    while token := _TOKEN.search(statement, position):
        parts.append(statement[position : token.start()])
        parts.append(_replacement(token))
        position = token.end()
        text = token.group()
        if token.lastgroup == "text" and "\\'" in text:
            # With standard_conforming_strings off this literal goes on past the quote: mask all that
            # follows.
            return "".join(parts)
        if text.startswith("/*"):
            position = _end_of_block_comment(statement, token.start())
    parts.append(statement[position:])
    return "".join(parts)


def _replacement(token: re.Match[str]) -> str:
    kind = token.lastgroup
    if kind == "name":
        return token.group()
    return " " if kind == "comment" else MASK


def _end_of_block_comment(statement: str, start: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(statement, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(statement)


_BLANK = r"(?:\s|/\*.{0,200}?\*/|--[^\n]{0,200}\n)*+"
# Of the two readings of \'' the longer one, whichever of them the server had.
_QUOTED = r"'(?:[^'\\]|\\''|''|\\.)*+(?:'|\\?\Z)"
# 'host=h password=''...''': the quotes of a setting inside a text. An empty text is followed by no letter.
_DOUBLED = r"''(?=[^\s'),;:|])(?:[^'\\]|\\''|\\.|'{4})*+(?:''|'|\\?\Z)"
_DOUBLED_FOR_SURE = re.compile(_DOUBLED.replace(r"(?=[^\s'),;:|])", ""), re.DOTALL)
_PASSWORD = re.compile(
    rf"""
    ( (?:password|passwd|passphrase|pwd|secret|\bidentified\s{{1,99}}by)\b
      (?: ["']?{_BLANK}(?P<setting>:=|=>|=|:){_BLANK}
        | ["']{_BLANK}(?:,{_BLANK})?
        | {_BLANK}(?:(?:to|as)\b{_BLANK})?
      )
      (?:[\w.]{{1,64}}+{_BLANK}\({_BLANK}){{0,3}}          # password = crypt('...
    )
    (?: (?P<doubled> {_DOUBLED} )
      | (?P<escaped> \\'(?:[^'\\]|\\\\\\'|\\[^'])*+(?:\\'|'|\\?\Z) )
      | (?P<quoted>  (?:[en]|u&)?{_QUOTED}(?:[^\S\n]*\n\s*{_QUOTED})*+ )
      | (?P<name>    "(?:[^"\\]|""|\\.)*+(?:"|\\?\Z) )
      | (?P<dollars> \$(?P<tag>[^\W\d]?\w*)\$.*?(?:\$(?P=tag)\$|\Z) )
      | (?P<bare>    (?(setting)(?!\$\d|\?)(?:''|\\.|[^\s'\\])++|(?!)) )
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
_MAY_HOLD_PASSWORD = ("pass", "pwd", "identified", "secret", "://")


def remove_passwords(statement: str) -> str:
    """The statement as it is, but with the passwords in it replaced by ``********``.

    >>> remove_passwords("ALTER ROLE app PASSWORD 'tiger' VALID UNTIL '2030-01-01'")
    "ALTER ROLE app PASSWORD '********' VALID UNTIL '2030-01-01'"
    """
    lower = statement.lower()
    if not any(map(lower.__contains__, _MAY_HOLD_PASSWORD)):
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


_BYTES_BESIDE = 200  # what a remembered text costs beside its characters
# A sign belongs to the literal where no operand stands before it.
_SIGN = re.compile(
    r"((?:[=<>(,*/%|+\[-]|\b(?:select|where|and|or|not|in|between|like|then|else|when|values|returning|by|limit"
    r"|offset|set|return|case)\b)\s*)[-+]\s*\?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?<![\w\")\]])\.\?")
_LIST = re.compile(r"([(\[])\s*(?:\?|\$\d+)(?:\s*,\s*(?:\?|\$\d+))*+\s*(?=[)\]])")
_ROWS = re.compile(r"\(\?\)(?:\s*,\s*\(\?\))+")


class Fingerprints:
    """Hashes of statements that were masked; remembers the latest, because programs repeat themselves.

    ``remembered_characters`` bounds the texts that it keeps.
    """

    def __init__(self, remembered_characters: int = 4_000_000) -> None:
        self._remembered_characters = remembered_characters
        self._left = remembered_characters
        self._known: dict[str, str] = {}
        self._bare: dict[str, str] = {}

    def of(self, masked: str) -> str:
        """16 hexadecimal digits: equal for statements that differ in literals, blanks, comments or list
        lengths only.
        """
        known = self._known.get(masked)
        if known is None:
            known = hashlib.sha256(_normal(masked).encode("utf-8", "surrogatepass")).hexdigest()[:16]
            if self._has_room(masked):
                self._known[masked] = known
        return known

    def of_bare(self, statement: str) -> str | None:
        """The hash of a statement that was seen to hold nothing to mask; None when that is not known."""
        return self._bare.get(statement)

    def remember_bare(self, statement: str, fingerprint: str) -> None:
        """Masking left ``statement`` as it was."""
        if self._has_room(statement):
            self._bare[statement] = fingerprint

    def _has_room(self, text: str) -> bool:
        size = len(text) + _BYTES_BESIDE
        if size > self._remembered_characters // 100:
            return False
        self._left -= size
        if self._left < 0:
            self._known.clear()
            self._bare.clear()
            self._left = self._remembered_characters - size
        return True


def _normal(masked: str) -> str:
    text = " ".join(masked.split()).strip(" ;")
    if ".?" in text:
        text = _FRACTION.sub(MASK, text)
    if "-" in text or "+" in text:
        text = _SIGN.sub(r"\1?", text)
    if "," in text or "$" in text or "[" in text:
        text = _ROWS.sub("(?)", _LIST.sub(r"\1?", text))
    return text
