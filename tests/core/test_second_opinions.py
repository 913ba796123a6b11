"""What other people's lexers take for a literal never survives masking.

libpg_query has the scanner of PostgreSQL itself; sqlglot has tokenizers for the other dialects. Each
statement is put together at random, with a word of its own in each piece, so that what survived is found
wherever it stands.
"""

import itertools
import json
import os
import random
import re
from collections.abc import Callable, Iterator

import pglast
import pytest
import sqlglot
from dbaudit.core.statements import Dialect, mask, mask_all, remove_passwords
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


FORMS_OF_PASSWORDS = [
    *("password", "pwd", "secret", "passphrase", "password = ", "pwd=", "secret =>", "passwd:", "://u:"),
    *("identified by", "IDENTIFIED", "identified with x by", "identified by password", "old_password("),
    *("using", "encrypt using", "to", "=", ":=", "(", ")", ",", ";", "set", "alter user u", "create user"),
    *("create login l with", "alter role r", "set password for", "for", "execute immediate", "begin", "end"),
    *("update t set", "select", "from", "where", "administer key management", "with secret", "replace"),
    *("exec sp_addlogin", "dbms_cloud.create_credential(", "pgp_sym_encrypt(", "options (", "connection"),
    *(
        "my.secret",
        "api_token",
        "private_key =",
        "\n",
        "--",
        "/*",
        "*/",
        "x",
        "'",
        '"',
        "\\",
        "''",
        "$$",
        "`",
    ),
    *("'password={}'", "'identified by {}'", "'identified by ''{}'''", "'host=h password=''{}'' x'"),
    *("\"password='{}'\"", "'\\'{}\\''", "'://u:{}@h'", "{}", "@{}", "{}", "@", "||"),
]


@pytest.mark.parametrize("dialect", OPINIONS)
def test_what_is_removed_in_the_looser_setting_is_not_shown_by_the_stricter_one(dialect: Dialect) -> None:
    chance = random.Random(1128)
    pieces = [*COMMON, *PIECES[dialect] * 2, *FORMS_OF_PASSWORDS * 2]
    for _number in range(STATEMENTS):
        statement = _statement(chance, pieces)
        masked, kept = mask(statement, dialect), remove_passwords(statement, dialect)
        assert _words(masked) <= _words(kept), (statement, masked, kept)


def _command(chance: random.Random, words: Iterator[str], depth: int = 0) -> object:
    """A value of a command, with a word of its own in each text and in each number."""
    match chance.randrange(9 if depth < 4 else 5):
        case 0 | 1:
            return next(words)
        case 2:
            return f'{next(words)}"\\{{": {next(words)}é'
        case 3:
            return {"$oid": next(words)}
        case 4:
            return chance.choice([None, True, 4_711_001, -0.4711001])
        case 5 | 6:
            return [_command(chance, words, depth + 1) for _item in range(chance.randrange(4))]
    keys = chance.sample(["a", "$in", "pwd", "x:y", "$date", "k,", "payload", "b[", "$binary"], 3)
    return {key: _command(chance, words, depth + 1) for key in keys}


def test_no_value_of_a_command_of_mongodb_survives_by_the_opinion_of_a_reader_of_json() -> None:
    chance = random.Random(1128)
    for _number in range(STATEMENTS):
        words = map(WORD.format, itertools.count(100))
        command = {
            chance.choice(["find", "insert", "ping"]): "shown",
            **{f"f{place}": _command(chance, words) for place in range(3)},
            "$db": "shown",
        }
        text = json.dumps(command, ensure_ascii=False, separators=chance.choice([(",", ":"), (", ", ": ")]))
        masked = mask(text, Dialect.MONGODB)
        read = json.loads(re.sub(r"(?<=[\[:, ])\?", "null", masked))
        assert set(_values(read)) <= {None, "shown"}, (text, masked)
        cut = text[: chance.randrange(len(text))]
        for shown in (masked, mask(cut, Dialect.MONGODB)):
            assert not _words(shown), (text, shown)
            assert "4711001" not in shown, (text, shown)


def _values(read: object) -> Iterator[object]:
    if isinstance(read, dict):
        for value in read.values():
            yield from _values(value)
    elif isinstance(read, list):
        for value in read:
            yield from _values(value)
    else:
        yield read
