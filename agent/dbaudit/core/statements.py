"""Statements: literals masked, passwords removed, and a hash that is the same for statements that differ in
literals only.

The lexical rules of each dialect are in ``dbaudit.core.dialects``. Where a text can be read in two ways, the
reading that masks more wins.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain

from dbaudit.core import credentials
from dbaudit.core.dialects import mongodb, mysql, oracle, passwords, postgresql, sqlserver
from dbaudit.core.dialects.lexing import BETWEEN, MASK, mask_joined
from dbaudit.core.dialects.names import Dialect

__all__ = ["MASK", "Dialect", "Fingerprints", "mask", "mask_all", "remove_passwords"]

_NUL_SHOWN = "\\x00"


_RULES = {
    Dialect.POSTGRESQL: postgresql.RULES,
    Dialect.MYSQL: mysql.RULES,
    Dialect.SQLSERVER: sqlserver.RULES,
    Dialect.ORACLE: oracle.RULES,
}
_PASSWORD_FORMS = {
    Dialect.POSTGRESQL: (),
    Dialect.MYSQL: mysql.PASSWORD_FORMS,
    Dialect.SQLSERVER: sqlserver.PASSWORD_FORMS,
    Dialect.ORACLE: oracle.PASSWORD_FORMS,
    Dialect.MONGODB: mongodb.PASSWORD_FORMS,
}
_REMOVAL_MARKS = {
    dialect: [(mark, mark.encode()) for mark in {*passwords.MARKS, *chain(*(form.marks for form in forms))}]
    for dialect, forms in _PASSWORD_FORMS.items()
}
"""One of these, in lower case, is in a statement of which ``remove_passwords`` removes more than literals."""
_WORD = re.compile(r"\w+")
_KEYWORDS = frozenset(
    {
        *("select", "insert", "update", "delete", "values", "set", "from", "where", "and", "or", "not", "in"),
        *("as", "by", "to", "for", "on", "with", "using", "null", "replace", "identified", "password"),
        *("hashed", "must_change", "check_policy", "check_expiration", "default_database"),
    }
)
"""What ``remove_passwords`` may take away beside a password, and what stays."""


def mask(statement: str, dialect: Dialect = Dialect.POSTGRESQL) -> str:
    """The statement with every literal replaced by ``?`` and every comment by a blank.

    >>> mask("select * from t1 where name = 'O''Brien' and id in (1, 2) -- note")
    'select * from t1 where name = ? and id in (?, ?)  '
    >>> mask('{"find": "t1", "filter": {"id": {"$gt": 5}}, "$db": "shop"}', Dialect.MONGODB)
    '{"find": "t1", "filter": {"id": {"$gt": ?}}, "$db": "shop"}'
    """
    return mask_all([statement], dialect)[0]


def mask_all(statements: Sequence[str], dialect: Dialect = Dialect.POSTGRESQL) -> list[str]:
    """Mask many statements; the same as ``mask`` for each of them, several times faster for plain ones."""
    if not statements:
        return []
    joined = BETWEEN.join(statements)
    if joined.count(BETWEEN) != len(statements) - 1:
        return mask_all([s.replace(BETWEEN, _NUL_SHOWN) for s in statements], dialect)
    if dialect is Dialect.MONGODB:
        return mongodb.mask_joined(joined).split(BETWEEN)  # which leaves no value at all
    masked = credentials.hide_in_masked(mask_joined(joined, statements, _RULES[dialect]), dialect)
    lower = joined.encode("utf-8", "surrogatepass").lower()  # beyond ASCII far faster than joined.lower()
    marks = [mark for mark, written in _REMOVAL_MARKS[dialect] if written in lower]
    if not marks:
        return masked
    return [
        _mask_removed(statement, text, dialect) if any(map(statement.lower().__contains__, marks)) else text
        for statement, text in zip(statements, masked, strict=True)
    ]


def _mask_removed(statement: str, masked: str, dialect: Dialect) -> str:
    """``masked`` without the words that ``remove_passwords`` removes, whatever masking took them for: the
    stricter setting never shows more.
    """
    kept = remove_passwords(statement, dialect)
    if kept == statement:
        return masked
    left = Counter(_WORD.findall(kept))
    shown = Counter(_WORD.findall(masked))
    removed = {word for word in shown if shown[word] > left[word] and word.lower() not in _KEYWORDS}
    return _WORD.sub(lambda found: MASK if found[0] in removed else found[0], masked) if removed else masked


def remove_passwords(statement: str, dialect: Dialect = Dialect.POSTGRESQL) -> str:
    """The statement as it is, but with the passwords in it replaced by ``********``.

    >>> remove_passwords("ALTER ROLE app PASSWORD 'tiger' VALID UNTIL '2030-01-01'")
    "ALTER ROLE app PASSWORD '********' VALID UNTIL '2030-01-01'"
    """
    marked = any(map(statement.lower().__contains__, credentials.MARKS))
    if marked and dialect is Dialect.MYSQL:
        # It takes the longer one of the two readings of a backslash, and the forms take a part of each.
        statement = credentials.hide(statement, dialect, masked=False)
    statement = passwords.remove_passwords(statement, _PASSWORD_FORMS[dialect])
    return credentials.hide(statement, dialect, masked=False) if marked else statement


_BYTES_BESIDE = 200  # what a remembered text costs beside its characters
# A sign belongs to the literal where no operand stands before it.
_SIGN = re.compile(
    r"((?:[=<>(,*/%|+\[-]|\b(?:select|where|and|or|not|in|between|like|then|else|when|values|returning|by|limit"
    r"|offset|set|return|case)\b)\s*)[-+]\s*\?",
    re.IGNORECASE,
)
_FRACTION = re.compile(r"(?<![\w\")\]])\.\?")
_LIST = re.compile(r"([(\[])\s*(?::?\?|\$\d+)(?:\s*,\s*(?::?\?|\$\d+))*+\s*(?=[)\]])")
_ROWS = re.compile(r"\(\?\)(?:\s*,\s*\(\?\))+")
_DOCUMENTS = re.compile(r"(\{[^{}]*\})(?:\s*,\s*\1)+")


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
        return self.of_all([masked])[0]

    def of_all(self, masked: Sequence[str]) -> list[str]:
        """The hash of each statement."""
        known = self._known.get
        return [known(text) or self._added(text) for text in masked]

    def of_bare(self, statements: Sequence[str]) -> list[str | None]:
        """The hash of each statement that was seen to hold nothing to mask; None where that is not known."""
        return list(map(self._bare.get, statements))

    def _added(self, masked: str) -> str:
        added = hashlib.sha256(_normal(masked).encode("utf-8", "surrogatepass")).hexdigest()[:16]
        if self._has_room(masked):
            self._known[masked] = added
        return added

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
    if "," in text or "$" in text or "[" in text or ":?" in text:
        text = _ROWS.sub("(?)", _LIST.sub(r"\1?", text))
        if "}" in text:
            text = _DOCUMENTS.sub(r"\1", text)
    return text
