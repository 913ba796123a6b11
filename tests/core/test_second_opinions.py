"""What other people's lexers take for a literal never survives masking.

libpg_query has the scanner of PostgreSQL itself; sqlglot has tokenizers for the other dialects. Each
statement is put together at random, with a word of its own in each piece, so that what survived is found
wherever it stands.
"""

import os
import random
from collections.abc import Callable

import pglast
import pytest
import sqlglot
from dbaudit.core.statements import Dialect, mask, mask_all
from sqlglot.errors import SqlglotError
from sqlglot.tokens import TokenType  # type: ignore[attr-defined]  # it is in another module

STATEMENTS = int(os.environ.get("DBAUDIT_MASKED_STATEMENTS", "1000"))
"""How many are tried for each dialect."""

BATCH = 20
WORD = "zq{}qz"
COMMON = [
    *(
        "'{}'",
        "'{}''{}'",
        "N'{}'",
        "X'{}'",
        "b'{}'",
        "{}",
        '"{}"',
        "-- {}\n",
        "/* {} */",
        "/* {} /* */",
        "*/",
    ),
    *(
        "1{}",
        "1.5e-7",
        "0x1F",
        ".5",
        "7.",
        "select",
        "from",
        "where",
        "=",
        "(",
        ")",
        ",",
        ";",
        ".",
        "-",
        "?",
        "||",
    ),
    *("'", "''", "\\", "\\'", "\n", "t", "e", "$1", "a$b", "é", "@", "#", "[", "]"),
]
PIECES = {
    Dialect.POSTGRESQL: [
        *(
            "E'{}\\'{}'",
            "U&'{}'",
            "$${}$$",
            "$a${}$a$",
            "$a${}$$",
            "$$",
            "94357",
            "1$${}$$",
            "::",
            "[",
            "]",
            "$é$",
        ),
    ],
    Dialect.MYSQL: [
        "'{}\\'{}'",
        '"{}\\"{}"',
        "`{}`",
        "# {}\n",
        "/*! {} */",
        "/*!50000 '{}' */",
        "_utf8'{}'",
        "`",
    ],
    Dialect.SQLSERVER: ["[{}]", "[{}]]{}]", "@{}", "#{}", "$5.5", "N'{}''{}'", "/* /* {} */ */"],
    Dialect.ORACLE: [" q'[{}]'", " q'!{}'!'", " nq'({})'", ":{}", " date '{}'", " Q'<{}>'"],
}
_LITERALS = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"})
_TEXTS = frozenset(
    {
        *(TokenType.STRING, TokenType.NATIONAL_STRING, TokenType.RAW_STRING, TokenType.HEX_STRING),
        *(TokenType.BIT_STRING, TokenType.BYTE_STRING, TokenType.HEREDOC_STRING, TokenType.UNICODE_STRING),
        TokenType.NUMBER,
    }
)


def _of_postgresql(statement: str) -> list[str]:
    """The literals in a statement, by PostgreSQL's own scanner."""
    tokens = pglast.scan(statement)
    return [statement[token.start : token.end + 1] for token in tokens if token.name in _LITERALS]


def _of_sqlglot(name: str) -> Callable[[str], list[str]]:
    def literals(statement: str) -> list[str]:
        tokens = sqlglot.tokenize(statement, read=name)
        return [statement[token.start : token.end + 1] for token in tokens if token.token_type in _TEXTS]

    return literals


OPINIONS: dict[Dialect, Callable[[str], list[str]]] = {
    Dialect.POSTGRESQL: _of_postgresql,
    Dialect.MYSQL: _of_sqlglot("mysql"),
    Dialect.SQLSERVER: _of_sqlglot("tsql"),
    Dialect.ORACLE: _of_sqlglot("oracle"),
}


def _statement(chance: random.Random, pieces: list[str]) -> str:
    parts = ["select"]
    for number in range(chance.randrange(1, 12)):
        words = [WORD.format(number * 10 + place + 100) for place in range(2)]
        parts.append(chance.choice(pieces).format(*words))
        parts.append(chance.choice(["", " ", " ", ", "]))
    return "".join(parts)


def _words(text: str) -> set[str]:
    return {part[:3] for part in text.split("zq")[1:] if part[3:5] == "qz"}


@pytest.mark.parametrize("dialect", OPINIONS)
@pytest.mark.timeout(3600)
def test_no_literal_of_a_second_opinion_survives(dialect: Dialect) -> None:
    chance = random.Random(20261128)
    pieces = [*COMMON, *PIECES[dialect] * 3]
    compared = 0
    while compared < STATEMENTS:
        batch = [_statement(chance, pieces) for _each in range(BATCH)]
        for statement, masked in zip(batch, mask_all(batch, dialect), strict=True):
            try:
                literals = OPINIONS[dialect](statement)
            except (pglast.parser.ParseError, SqlglotError):
                continue  # the other one does not read it at all
            compared += 1
            survived = set().union(*map(_words, literals)) & _words(masked)
            assert not survived, (statement, masked, literals)
            assert mask(statement, dialect) == masked
