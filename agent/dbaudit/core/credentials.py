"""Hides passwords that are written like words or names, and the values of settings that are written so.

It reads tokens, so comments, quotes and line breaks between two words make no difference. It serves both
modes: masked statements, in which only words and names are left, and statements that are kept as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from dbaudit.core.dialects.lexing import MASK, end_of_nested_comment
from dbaudit.core.dialects.names import Dialect
from dbaudit.core.grammar import OF_DIALECT
from dbaudit.core.secret import HIDDEN

MASKED_MARKS = ("pass", "pwd", "secret", "identified", "://", "crypt")
"""One of these, in lower case, is in a masked statement that may still hold a password."""
MARKS = (*MASKED_MARKS, "credential", "wallet", "authentication", "bind_s", "token", "private")
"""The same for a statement that was not masked."""

_SETTINGS = {
    Dialect.POSTGRESQL: re.compile(r"[\0;]\s*+(?:set|alter|create)\b"),
    Dialect.MYSQL: re.compile(r"[\0;]\s*+set\b"),
}

# Almost all statements are queries and changes of rows. Once their literals are masked they hold no password,
# unless one is written like a name. Each pattern begins with a constant, which makes searching for it fast.
_NOT_PLAIN = re.compile(r"\0(?!(?:select|insert|update|delete|commit|begin|rollback)\b)")
_SECOND_STATEMENT = re.compile(r";(?!\s*+(?:\0|\Z))")
_ASSIGNABLE = ("passw", "passphrase", "pwd", "secret")
_ASSIGNED = re.compile(
    r"(?:password|passwd|passphrase|pwd|secret)[\"`\]]?\s*+(?::=|=>?)\s*+[a-z_\"`\[\x80-\U0010ffff]"
)
_ODD_NAME = re.compile(r'"\s*+\w++\s*+(?:=|://)')


def hide_in_masked(masked: list[str], dialect: Dialect) -> list[str]:
    """``masked`` statements, with the passwords and values of settings hidden that are written like names.

    Returns as many statements as it got, in their order.
    """
    # Programs repeat their statements, so that far fewer texts than statements are looked at.
    texts = set(masked)
    joined = "\0" + "\0".join(texts).lower()
    if not (
        _NOT_PLAIN.search(joined)
        or (";" in joined and _SECOND_STATEMENT.search(joined))
        or ('"' in joined and _ODD_NAME.search(joined))
        or (any(map(joined.__contains__, _ASSIGNABLE)) and _ASSIGNED.search(joined))
    ):
        return masked
    marks = [mark for mark in MASKED_MARKS if mark in joined]
    setting = _SETTINGS.get(dialect)
    if setting is not None and not setting.search(joined):
        setting = None
    if not marks and setting is None:
        return masked
    hidden: dict[str, str] = {}
    for text in texts:
        lower = "\0" + text.lower()
        if any(map(lower.__contains__, marks)) or (setting is not None and setting.search(lower)):
            without = hide(text, dialect, masked=True)
            if without != text:
                hidden[text] = without
    return [hidden.get(text, text) for text in masked] if hidden else masked


_LONGEST_WORD = 64
_LONGEST_NAME = 12  # in tokens
_MOST_WRAPPERS = 4


class _Token(msgspec.Struct, frozen=True, gc=False):
    kind: str
    word: str
    start: int
    end: int


_QUERIES = frozenset(
    {
        *("SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "WITH", "VALUES", "TABLE", "EXPLAIN"),
        *("COPY", "DECLARE", "BEGIN", "DO", "CALL", "EXEC", "EXECUTE", "PREPARE", "IF", "SHOW", "DESCRIBE"),
        *("COMMENT", "ANALYZE", "DESC"),
    }
)
_OTHER_KINDS = frozenset(
    {
        *("TABLE", "VIEW", "INDEX", "FUNCTION", "PROCEDURE", "PROC", "TRIGGER", "TYPE", "POLICY", "SEQUENCE"),
        *("PACKAGE", "EVENT", "STATISTICS", "AGGREGATE", "DOMAIN", "PROFILE", "MATERIALIZED"),
    }
)
_PASSWORD = re.compile(r"\w*(?:PASSWORD|PASSWD|PASSPHRASE|PWD|SECRET)")
_SECRET_NAME = re.compile(r"PASS(?!WORD_ENCRYPTION)|PWD|SECRET|TOKEN|CREDENTIAL|PRIVATE|API_?KEY")
_KEPT = frozenset(
    {"NULL", "EXPIRE", "HISTORY", "REUSE", "REQUIRE", "IS", "ON", "OFF", "FROM", "ROTATE", "FILE", "END"}
    | {"TO", "FOR", "SET", "WITH", "AND", "OR", "IN", "WHERE", "CASCADE", "RESTRICT"}
)
_NO_VALUES = frozenset({",", ")", ".", MASK})
_AFTER_IDENTIFIED = frozenset({"BY", "AS", "USING"})
_NO_PASSWORD = frozenset({"EXTERNALLY", "GLOBALLY", "RANDOM"})
_KEPT_VALUES = frozenset({"DEFAULT", "ON", "OFF", "TRUE", "FALSE", "CURRENT", ",", MASK})
_BEHIND_SET = frozenset({"ROLE", "AUTHORIZATION", "TRANSACTION", "CONSTRAINTS", "CHARACTERISTICS"})
_CALLS = frozenset(
    {
        *("CREATE_CREDENTIAL", "UPDATE_CREDENTIAL", "SET_CREDENTIAL", "SET_WALLET", "SET_AUTHENTICATION"),
        *("SIMPLE_BIND_S", "PWDENCRYPT", "PWDCOMPARE", "ENCRYPTBYPASSPHRASE", "DECRYPTBYPASSPHRASE"),
        *("PGP_SYM_ENCRYPT", "PGP_SYM_DECRYPT", "PGP_SYM_ENCRYPT_BYTEA", "PGP_SYM_DECRYPT_BYTEA"),
        *("AES_ENCRYPT", "AES_DECRYPT", "DES_ENCRYPT", "DES_DECRYPT", "OLD_PASSWORD", "ENCRYPT"),
    }
)
# A statement in a text: what follows in that text is hidden; where nothing follows, the texts that are put
# behind it.
_INSIDE = re.compile(
    r"""\bidentified\s+(?:(?:with|via)\s+\S+\s+)?(?:by|as|using)\s*+(?:password\s*+)?
      | \b(?:user|role|login|group)\b[^;]{0,300}?\bpassword\b\s*+=?\s*+
      | \b(?:password|passwd|passphrase|pwd|secret)\s*+(?:=|:=)?\s*+(?=['"]{0,4}\Z)""",
    re.IGNORECASE | re.VERBOSE,
)
_IN_NAME = re.compile(r"(?:pass\w{0,20}+|pwd|secret)\s{0,20}+=|://[^/\s:]{0,99}+:", re.IGNORECASE)
_QUOTES = re.compile(r"""(?:[A-Za-z&]{0,2}["']|[nN]?[qQ]'.|\$\w*\$)""", re.DOTALL)


def hide(text: str, dialect: Dialect, *, masked: bool) -> str:
    """``text`` with the passwords and values of settings hidden.

    ``masked`` says that its literals and comments were replaced before. What is hidden becomes ``?`` then,
    and ``********`` otherwise.

    >>> hide("ALTER USER app PASSWORD tiger", Dialect.POSTGRESQL, masked=True)
    'ALTER USER app PASSWORD ?'
    >>> hide("SET my.setting TO tiger", Dialect.POSTGRESQL, masked=True)
    'SET my.setting TO ?'
    """
    if dialect is Dialect.MONGODB:
        return text
    spans: list[tuple[int, int]] = []
    statement: list[_Token] = []
    for token in _tokens(text, dialect):
        if token.word == ";":
            _Hiding(text, statement, token.start, dialect, masked, spans).all()
            statement = []
        else:
            statement.append(token)
    _Hiding(text, statement, len(text), dialect, masked, spans).all()
    return _without(text, spans, MASK if masked else HIDDEN)


def _tokens(text: str, dialect: Dialect) -> list[_Token]:
    pattern = OF_DIALECT[dialect].token
    tokens: list[_Token] = []
    position = 0
    while True:
        for found in pattern.finditer(text, position):
            kind = found.lastgroup or ""
            if kind == "nesting":
                position = end_of_nested_comment(text, found.start())
                break
            if kind != "comment":
                word = found[0][:_LONGEST_WORD].upper() if kind in ("word", "mark") else ""
                tokens.append(_Token(kind, word, found.start(), found.end()))
        else:
            return tokens


def _without(text: str, spans: list[tuple[int, int]], hidden: str) -> str:
    parts: list[str] = []
    position = 0
    for start, end in sorted(spans):
        if end <= position:
            continue
        if start >= position:
            parts += (text[position:start], _shown(text, start, end, hidden))
        position = end
    return "".join([*parts, text[position:]])


def _shown(text: str, start: int, end: int, hidden: str) -> str:
    """What is put in the place of a value, which keeps its quotes."""
    quote = text[start]
    if hidden == HIDDEN and quote in "'\"" and text[end - 1] == quote and end - start > 1:
        return f"{quote}{hidden}{quote}"
    return hidden


class _Hiding:
    """One statement: its tokens, and where it ends."""

    def __init__(
        self,
        text: str,
        tokens: Sequence[_Token],
        end: int,
        dialect: Dialect,
        masked: bool,
        spans: list[tuple[int, int]],
    ) -> None:
        self._text = text
        self._tokens = tokens
        self._end = end
        self._dialect = dialect
        self._masked = masked
        self._spans = spans
        self._arguments_to = 0  # the place up to which arguments were hidden
        beginning = [token.word for token in tokens[:10] if token.kind == "word"]
        self._first = beginning[0] if beginning else ""
        self._accounts = self._first not in _QUERIES and not (
            self._first in ("CREATE", "ALTER", "DROP") and not _OTHER_KINDS.isdisjoint(beginning[1:6])
        )

    def all(self) -> None:
        if not self._tokens:
            return
        if self._first in ("SET", "ALTER", "CREATE"):
            self._setting()
        for place, token in enumerate(self._tokens):
            if self._spans and token.start < self._spans[-1][1]:
                continue  # hidden already; looking at it again would take the square of the time
            if token.kind == "word":
                if token.word == "IDENTIFIED":
                    self._identified(place + 1)
                elif _PASSWORD.fullmatch(token.word):
                    self._password(place + 1)
                elif token.word == "USING" and (
                    self._first == "ADMINISTER" or self._word(place - 1) in ("ENCRYPT", "DECRYPT")
                ):
                    self._key(place + 1)
                elif token.word in _CALLS and not self._masked:
                    self._arguments(place + 1)
            elif token.kind == "text" and not self._masked:
                self._statement_inside(place)
            elif (
                token.kind == "name" and self._masked and _IN_NAME.search(self._text, token.start, token.end)
            ):
                self._spans.append((token.start, token.end))

    # -- values

    def _at(self, place: int) -> _Token | None:
        return self._tokens[place] if place < len(self._tokens) else None

    def _word(self, place: int) -> str:
        token = self._at(place)
        return token.word if token is not None else ""

    def _hide_rest(self, place: int) -> None:
        """From behind the token before to the end of the statement, unless all of that is kept."""
        behind = place
        while (token := self._at(behind)) is not None and token.word in _KEPT_VALUES:
            behind += 1
        if token is None:
            return
        start, end = self._tokens[place - 1].end, self._end
        while start < end and self._text[start].isspace():
            start += 1
        while end > start and self._text[end - 1].isspace():
            end -= 1
        self._spans.append((start, end))

    def _hide_value(self, place: int) -> None:
        """A value after a keyword: a text with those that go on behind it, or all that follows."""
        token = self._at(place)
        if token is None or token.word in _KEPT or token.word in _NO_VALUES:
            return
        if token.kind != "text":
            self._hide_rest(place)
            return
        if self._masked:
            return
        ambiguous = self._dialect is Dialect.MYSQL and "\\" in self._text[token.start : token.end]
        while (following := self._at(place)) is not None and following.kind == "text":
            self._spans.append((following.start, len(self._text) if ambiguous else following.end))
            place += 1

    def _hide_like_a_name(self, place: int) -> None:
        """A value of Oracle: a name in quotes or not, whatever it looks like."""
        token = self._at(place)
        if token is None or token.word in ("ALGORITHM", "TAG"):
            return
        start, end = token.start, token.end
        before = self._text[self._tokens[place - 1].end : start].lstrip()
        if before and not before.startswith(("--", "/*")):
            start -= len(before)  # no token, but no comment either
            if before.startswith(HIDDEN):
                return
        if token.kind not in ("text", "name"):
            while end < self._end and not self._text[end].isspace() and self._text[end] not in ",;)'\"":
                end += 1
        if self._text[start:end] != MASK:
            self._spans.append((start, end))

    # -- where they stand

    def _identified(self, place: int) -> None:
        if self._dialect is Dialect.ORACLE:
            return  # by the forms of its dialect
        if self._word(place) in ("WITH", "VIA"):
            for behind in range(place + 1, min(place + 4, len(self._tokens))):
                if self._word(behind) in _AFTER_IDENTIFIED:
                    self._hide_identified(behind + 1)
            return
        if self._word(place) in _AFTER_IDENTIFIED:
            self._hide_identified(place + 1)
        elif self._word(place) not in _NO_PASSWORD:
            self._hide_value(place)

    def _hide_identified(self, place: int) -> None:
        while self._word(place) in ("PASSWORD", "VALUES", "(", "="):
            place += 1
        if self._word(place) not in _NO_PASSWORD:
            self._hide_value(place)

    def _password(self, place: int) -> None:
        if self._first == "ADMINISTER":
            if self._word(place - 1) == "SECRET":
                self._key(place)
            return
        if self._first == "SET" and place == len(("SET", "PASSWORD")) and self._word(place) == "FOR":
            account = place + 1
            while self._at(place) is not None and self._word(place) not in ("=", "TO"):
                place += 1
            if self._at(place) is None:
                self._hide_rest(account + (3 if self._word(account + 1) == "@" else 1))
                return
        explicit = False
        while self._word(place) in _CONNECTING or (self._first == "SET" and self._word(place) == "TO"):
            explicit = explicit or self._word(place) in ("=", ">")
            place += 1
        for _wrapper in range(_MOST_WRAPPERS):
            place += self._accounts and self._word(place) in ("PASSWORD", "OLD_PASSWORD", "(")
        token = self._at(place)
        if token is None:
            return
        if explicit and not self._accounts and token.kind in ("name", "word") and self._masked:
            self._hide_operand(place)
        elif explicit and token.kind == "name" and not self._masked:
            self._spans.append((token.start, token.end))
        elif token.kind == "text" or (self._accounts and (explicit or self._dialect is not Dialect.ORACLE)):
            self._hide_value(place)

    def _hide_operand(self, place: int) -> None:
        """`SET password = tiger`: a name, which a server took for that of a column and refused."""
        while (token := self._at(place)) is not None and token.kind in ("name", "word"):
            start, end = token.start, token.end
            while self._word(place + 1) == "." and (part := self._at(place + 2)) is not None:
                end, place = part.end, place + 2
            if self._word(place + 1) == "(":
                place += 2  # a function of it
                continue
            if token.word not in _KEPT:
                self._spans.append((start, end))
            return

    def _key(self, place: int) -> None:
        if self._word(place) == "=":
            place += 1
        self._hide_like_a_name(place)

    def _arguments(self, place: int) -> None:
        if self._word(place) != "(" or place < self._arguments_to:
            return
        depth = 0
        while (token := self._at(place)) is not None:
            depth += {"(": 1, ")": -1}.get(token.word, 0)
            if depth == 0:
                break
            if token.kind == "text":
                self._spans.append((token.start, token.end))
            place += 1
        self._arguments_to = place

    def _statement_inside(self, place: int) -> None:
        token = self._tokens[place]
        text = self._text[token.start : token.end]
        opening = _QUOTES.match(text)
        begin = opening.end() if opening else 1
        closed = len(text) - 1 if text[-1] in "'\"$" and len(text) > begin else len(text)
        found = None
        for match in _INSIDE.finditer(text, begin, closed):
            found = match
        if found is None:
            return
        if found.end() < closed:
            first = _INSIDE.search(text, begin, closed)
            if first is not None and text[first.start() : first.start() + 4].lower() != "pass":
                self._spans.append((token.start + first.end(), token.start + closed))
        if not text[found.end() : closed].strip("'\" \t\r\n="):
            self._hide_all_texts(place + 1)

    def _hide_all_texts(self, place: int) -> None:
        while (token := self._at(place)) is not None:
            if token.kind == "text":
                self._spans.append((token.start, token.end))
            place += 1

    def _settings_of_mysql(self) -> None:
        """`SET GLOBAL a = b, c = d`: each value that consists of words and names."""
        name = self._tokens[0]
        for place, token in enumerate(self._tokens):
            if token.kind in ("word", "name"):
                name = token
            elif token.word == "=" and (
                self._masked or _SECRET_NAME.search(self._text[name.start : name.end].upper())
            ):
                self._hide_words(place + 1)

    def _hide_words(self, place: int) -> None:
        """Words and names with dots and dashes between them, unless they are an operand or a function."""
        first = last = self._at(place)
        if first is None or first.kind not in ("word", "name") or first.word in _KEPT_VALUES:
            return
        while (token := self._at(place)) is not None and (
            token.kind in ("word", "name") or token.word in (".", "-")
        ):
            last = token
            place += 1
        if last is not None and self._word(place) in ("", ","):
            self._spans.append((first.start, last.end))

    def _setting(self) -> None:
        """`SET a.b TO c`, `ALTER ROLE r SET a.b = "c"`: the value is a text, however it is written."""
        if self._dialect is Dialect.MYSQL:
            if self._first == "SET":
                self._settings_of_mysql()
            return
        if self._dialect is not Dialect.POSTGRESQL:
            return
        tokens = self._tokens
        for place, token in enumerate(tokens):
            if token.word != "SET" or token.kind != "word":
                continue
            behind = place + 1
            while (
                (following := self._at(behind)) is not None
                and (following.kind in ("word", "name") or following.word == ".")
                and behind < place + _LONGEST_NAME
            ):
                if following.kind == "word" and following.word in ("TO", *_BEHIND_SET):
                    break
                behind += 1
            if self._word(behind) not in ("=", "TO") or behind == place + 1:
                continue
            name = self._text[tokens[place + 1].start : tokens[behind].start].upper()
            if self._at(behind + 1) is not None and (self._masked or _SECRET_NAME.search(name)):
                self._hide_setting(behind + 1)
                if self._first != "CREATE":
                    return

    def _hide_setting(self, place: int) -> None:
        if self._first != "CREATE":
            self._hide_rest(place)
            return
        while (token := self._at(place)) is not None and token.kind != "mark":
            if token.word not in _KEPT_VALUES:
                self._spans.append((token.start, token.end))
            place += 1
            if self._word(place) != ",":
                return
            place += 1


_CONNECTING = frozenset({"=", ":", ">", "AS", "BY", "USING"})
