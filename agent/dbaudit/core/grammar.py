"""What of each dialect's grammar is needed to see which operations a text holds.

The lexical rules are those of ``dbaudit.core.dialects``: which texts, names and comments there are.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator

import msgspec

from dbaudit.core.dialects.lexing import end_of_nested_comment
from dbaudit.core.dialects.names import Dialect

END = ""
"""What stands behind the last token."""

_LONGEST_WORD = 64
_COMMENT_OPENS = r"/\*"


class Grammar(msgspec.Struct, frozen=True):
    """``token`` finds words, marks, texts, names and comments; ``between`` are the words that may stand
    between CREATE and the kind of the object; ``kinds`` are the kinds of several words, the longer one first;
    ``further`` are the words that belong to the operation beside its first one, ``synonyms`` other spellings.
    ``rest`` is what stands before the next semicolon, or before a comment that may hold others.
    """

    dialect: Dialect
    token: re.Pattern[str]
    between: frozenset[str]
    kinds: tuple[tuple[str, ...], ...]
    further: dict[str, tuple[tuple[str, ...], ...]]
    synonyms: dict[str, str] = {}
    rest: re.Pattern[str] | None = None


class Tokens:
    """The tokens of a text, one after the other: words in capitals, marks, numbers, texts with a ``'`` and
    names with a ``"`` before them. ``END`` stands for what comes behind the last one.
    """

    def __init__(self, text: str, grammar: Grammar) -> None:
        self._text = text
        self._grammar = grammar
        self._tokens = _tokens(text, 0, grammar.token)
        self._ahead: deque[tuple[str, int]] = deque()

    def take(self) -> str:
        """The next token."""
        return (self._ahead.popleft() if self._ahead else next(self._tokens, _LAST))[0]

    def peek(self, place: int = 0) -> str:
        """The token that is next, or that is ``place`` tokens behind it."""
        while len(self._ahead) <= place:
            self._ahead.append(next(self._tokens, _LAST))
        return self._ahead[place][0]

    def take_statement(self) -> None:
        """All tokens up to a semicolon, quickly."""
        rest = self._grammar.rest
        self.peek()
        position = self._ahead[0][1]
        if rest is None or position < 0:
            while self.take() not in (";", END):
                pass
            return
        text = self._text
        while (found := rest.match(text, position)) is not None:
            position = found.end()
            if not text.startswith("/*", position):
                break
            position = end_of_nested_comment(text, position)
        self._ahead.clear()
        self._tokens = _tokens(text, position + 1, self._grammar.token)

    def take_phrase(self, phrases: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
        """The first of ``phrases`` that comes next, taken; an empty one where none of them does."""
        for phrase in phrases:
            if all(self.peek(place) == word for place, word in enumerate(phrase)):
                for _word in phrase:
                    self.take()
                return phrase
        return ()

    def take_brackets(self) -> list[str]:
        """What stands up to the bracket that closes the one that was taken last."""
        taken: list[str] = []
        depth = 1
        while token := self.take():
            depth += {"(": 1, ")": -1}.get(token, 0)
            if depth == 0:
                break
            if len(taken) < _LONGEST_WORD:
                taken.append(token)
        return taken


def is_word(token: str) -> bool:
    """Whether a token is a word: a keyword, a name without quotes, a variable."""
    return token != END and (token[0].isalpha() or token[0] in "_@#")


def is_text(token: str) -> bool:
    """Whether a token is a text in quotes."""
    return token.startswith("'")


_LAST = (END, -1)


def _tokens(text: str, position: int, token: re.Pattern[str]) -> Iterator[tuple[str, int]]:
    """Each token and where it begins."""
    while True:
        for found in token.finditer(text, position):
            kind = found.lastgroup
            if kind == "word":
                yield found[0][:_LONGEST_WORD].upper(), found.start()
            elif kind == "mark":
                yield found[0][:_LONGEST_WORD], found.start()
            elif kind == "text":
                yield "'" + found[0], found.start()
            elif kind == "name":
                yield '"' + found[0], found.start()
            elif kind == "nesting":
                position = end_of_nested_comment(text, found.start())
                break
        else:
            return


def _token(*, word: str, texts: str, names: str, comments: str, nesting: bool = False) -> re.Pattern[str]:
    return re.compile(
        rf"""
          (?P<comment> {comments} )
        | (?P<nesting> {_COMMENT_OPENS if nesting else "(?!)"} )
        | (?P<text>    {texts} )
        | (?P<name>    {names} )
        | (?P<word>    {word} )
        | (?P<mark>    [0-9][\w.]*+ | [;(),=:.@{{}}?&<>-] )
        """,
        re.VERBOSE | re.DOTALL,
    )


def _phrases(*texts: str) -> tuple[tuple[str, ...], ...]:
    """Phrases of several words, the longer one first."""
    return tuple(sorted((tuple(text.split()) for text in texts), key=len, reverse=True))


_BETWEEN = frozenset(
    {"OR", "REPLACE", "ALTER", "TEMP", "TEMPORARY", "UNIQUE", "GLOBAL", "LOCAL", "CONSTRAINT", "IF", "NOT"}
)

POSTGRESQL = Grammar(
    Dialect.POSTGRESQL,
    _token(
        word=r"[^\W\d][\w$]*+(?!')",
        texts=r"""
              [eE]'(?:[^'\\]|''|\\.)*+(?:'|\\?\Z) | (?:[uU]&|[bBxXnN])?'(?:[^']|'')*+'?
            | \$(?P<tag>(?:[^\W\d]\w*+)?)\$.*?(?:\$(?P=tag)\$|\Z)
        """,
        names=r'"(?:[^"]|"")*+"?',
        comments=r"--[^\n\r]*+",
        nesting=True,
    ),
    _BETWEEN | {"DEFAULT", "UNLOGGED", "RECURSIVE", "TRUSTED", "PROCEDURAL"},
    _phrases(
        *("ACCESS METHOD", "DEFAULT PRIVILEGES", "EVENT TRIGGER", "FOREIGN DATA WRAPPER", "FOREIGN TABLE"),
        *("LARGE OBJECT", "MATERIALIZED VIEW", "OPERATOR CLASS", "OPERATOR FAMILY", "USER MAPPING"),
        *("TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER"),
        *("TEXT SEARCH TEMPLATE", "PROPERTY GRAPH"),
    ),
    {
        "SET": _phrases("SESSION AUTHORIZATION", "LOCAL SESSION AUTHORIZATION", "ROLE", "LOCAL ROLE")
        + _phrases("SESSION ROLE", "SESSION SESSION AUTHORIZATION"),
        "RESET": _phrases("SESSION AUTHORIZATION", "ROLE"),
    },
    {"SET LOCAL ROLE": "SET ROLE", "SET SESSION ROLE": "SET ROLE"}
    | dict.fromkeys(
        ("SET LOCAL SESSION AUTHORIZATION", "SET SESSION SESSION AUTHORIZATION"), "SET SESSION AUTHORIZATION"
    ),
    re.compile(
        r"""
        (?: [^;'"$/-]++ | (?<=[eE])(?<![\w$][eE])'(?:[^'\\]|''|\\.)*+(?:'|\\?\Z) | '(?:[^']|'')*+'?
          | "(?:[^"]|"")*+"? | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*+)?)\$.*?(?:\$(?P=tag)\$|\Z)
          | --[^\n\r]*+ | /(?!\*) | [$-] )*+
        """,
        re.VERBOSE | re.DOTALL,
    ),
)

MYSQL = Grammar(
    Dialect.MYSQL,
    _token(
        word=r"[^\W\d][\w$]*+(?!')",
        texts=r"""(?:[bBxXnN])?'(?:[^'\\]|''|\\.)*+(?:'|\\?\Z) | "(?:[^"\\]|""|\\.)*+(?:"|\\?\Z)""",
        names=r"`(?:[^`]|``)*+`?",
        comments=r"""
              \#[^\n]*+ | --(?=[\s\x00-\x1f]|\Z)[^\n]*+ | /\*(?!M?!).*?(?:\*/|\Z)
            | /\*M?!(?:[0-9]{5,6})? | \*/
        """,
    ),
    _BETWEEN
    | {"IGNORE", "ONLINE", "OFFLINE", "FULLTEXT", "SPATIAL", "VECTOR", "AGGREGATE", "UNDO", "EXTERNAL"},
    _phrases("PACKAGE BODY", "LOGFILE GROUP", "RESOURCE GROUP", "SPATIAL REFERENCE SYSTEM", "INSTANCE"),
    {
        "SET": _phrases("DEFAULT ROLE", "PASSWORD", "ROLE"),
        "EXECUTE": _phrases("IMMEDIATE"),
        "LOAD": _phrases("INDEX"),
        "RENAME": _phrases("USER", "TABLE", "TABLES"),
    },
    {"RENAME TABLES": "RENAME TABLE"},
    re.compile(
        r"""
        (?: [^;'"`\#/-]++ | '(?:[^'\\]|''|\\.)*+(?:'|\\?\Z) | "(?:[^"\\]|""|\\.)*+(?:"|\\?\Z)
          | `(?:[^`]|``)*+`? | \#[^\n]*+ | --(?=[\s\x00-\x1f]|\Z)[^\n]*+ | /\*(?!M?!).*?(?:\*/|\Z)
          | /\*M?! | / | - )*+
        """,
        re.VERBOSE | re.DOTALL,
    ),
)

SQLSERVER = Grammar(
    Dialect.SQLSERVER,
    _token(
        word=r"[^\W\d][\w@\#$]*+(?!')|[@\#][\w@\#$]*+",
        texts=r"""[nN]?'(?:[^']|'')*+'?""",
        names=r'"(?:[^"]|"")*+"? | \[(?:[^\]]|\]\])*+\]?',
        comments=r"--[^\n]*+",
        nesting=True,
    ),
    _BETWEEN
    | {"CLUSTERED", "NONCLUSTERED", "COLUMNSTORE", "ORDERED", "PRIMARY", "SPATIAL", "SELECTIVE", "JSON"}
    | {"VECTOR"},
    _phrases(
        *("APPLICATION ROLE", "SERVER ROLE", "ASYMMETRIC KEY", "SYMMETRIC KEY", "AVAILABILITY GROUP"),
        *("BROKER PRIORITY", "COLUMN ENCRYPTION KEY", "COLUMN MASTER KEY", "CRYPTOGRAPHIC PROVIDER"),
        *("DATABASE AUDIT SPECIFICATION", "DATABASE ENCRYPTION KEY", "DATABASE SCOPED CONFIGURATION"),
        *("DATABASE SCOPED CREDENTIAL", "EVENT NOTIFICATION", "EVENT SESSION", "EXTERNAL DATA SOURCE"),
        *("EXTERNAL FILE FORMAT", "EXTERNAL LANGUAGE", "EXTERNAL LIBRARY", "EXTERNAL MODEL"),
        *("EXTERNAL RESOURCE POOL", "EXTERNAL TABLE", "FULLTEXT CATALOG", "FULLTEXT INDEX"),
        *("FULLTEXT STOPLIST", "MASTER KEY", "MESSAGE TYPE", "PARTITION FUNCTION", "PARTITION SCHEME"),
        *("REMOTE SERVICE BINDING", "RESOURCE GOVERNOR", "RESOURCE POOL", "SEARCH PROPERTY LIST"),
        *("SECURITY POLICY", "SERVER AUDIT", "SERVER AUDIT SPECIFICATION", "SERVER CONFIGURATION"),
        *("SERVICE MASTER KEY", "WORKLOAD GROUP", "WORKLOAD CLASSIFIER", "XML INDEX"),
        *("XML SCHEMA COLLECTION",),
    ),
    {
        "UPDATE": _phrases("STATISTICS"),
        "BULK": _phrases("INSERT"),
        "ENABLE": _phrases("TRIGGER"),
        "DISABLE": _phrases("TRIGGER"),
    },
    {
        "EXEC": "EXECUTE",
        **{
            f"{verb} {short}": f"{verb} {long}"
            for verb in ("CREATE", "ALTER", "DROP")
            for short, long in (("PROC", "PROCEDURE"), ("FULLTEXT INDEX", "INDEX"), ("XML INDEX", "INDEX"))
        },
    },
)

ORACLE = Grammar(
    Dialect.ORACLE,
    _token(
        word=r"[^\W\d][\w$\#]*+(?!')",
        texts=r"""
              [nN]?[qQ]'(?: \[.*?(?:\]'|\Z) | \{.*?(?:\}'|\Z) | \(.*?(?:\)'|\Z) | <.*?(?:>'|\Z)
                          | (?P<quote>[^\s\[{(<]).*?(?:(?P=quote)'|\Z) )
            | [nN]?'(?:[^']|'')*+'?
        """,
        names=r'"(?:[^"]|"")*+"?',
        comments=r"--[^\n]*+ | /\*.*?(?:\*/|\Z)",
    ),
    _BETWEEN
    | {"EDITIONABLE", "NONEDITIONABLE", "EDITIONING", "FORCE", "NO", "BITMAP", "MULTIVALUE", "SHARDED"}
    | {"DUPLICATED", "PRIVATE", "IMMUTABLE", "BLOCKCHAIN", "BIGFILE", "SMALLFILE", "UNDO", "SHARED", "AND"}
    | {"PUBLIC", "RESOLVE", "COMPILE", "SHARING", "VECTOR", "EXTERNAL", "HYBRID"},
    _phrases(
        *("ANALYTIC VIEW", "ATTRIBUTE DIMENSION", "AUDIT POLICY", "DATABASE LINK", "DATABASE DICTIONARY"),
        *("FLASHBACK ARCHIVE", "INMEMORY JOIN GROUP", "JAVA SOURCE", "JAVA CLASS", "JAVA RESOURCE"),
        *("LOCKDOWN PROFILE", "MATERIALIZED VIEW", "MATERIALIZED VIEW LOG", "MATERIALIZED ZONEMAP"),
        *("MINING MODEL", "PACKAGE BODY", "PLUGGABLE DATABASE", "PROPERTY GRAPH", "PUBLIC DATABASE LINK"),
        *(
            "PUBLIC SYNONYM",
            "RESOURCE COST",
            "RESTORE POINT",
            "ROLLBACK SEGMENT",
            "TYPE BODY",
            "TABLESPACE SET",
        ),
    ),
    {
        "ADMINISTER": _phrases("KEY MANAGEMENT"),
        "EXECUTE": _phrases("IMMEDIATE"),
        "SET": _phrases("ROLE"),
        "FLASHBACK": _phrases("TABLE", "DATABASE"),
    },
)

OF_DIALECT = {grammar.dialect: grammar for grammar in (POSTGRESQL, MYSQL, SQLSERVER, ORACLE)}
