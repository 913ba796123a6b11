"""Masking: no literal survives, names do, and statements that differ in literals only hash the same."""

import re

import pytest
from dbaudit.core.dialects import postgresql
from dbaudit.core.statements import Fingerprints, mask, mask_all
from hypothesis import example, given, settings
from hypothesis import strategies as st

SENSITIVE = "tiger"
NUMBER = "777777"


def literal(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Literals of every form that PostgreSQL has, each with the sensitive word in it."""
    plain = inner.map(lambda s: s.replace("'", "''").replace("\\", "/").replace("\0", ""))
    escaped = inner.map(lambda s: s.replace("\\", "\\\\").replace("'", "\\'").replace("\0", ""))
    tagged = inner.map(lambda s: s.replace("$", "").replace("\0", ""))
    tags = st.sampled_from(["", "a", "fn_1", "körper", "€"])
    return st.one_of(
        plain.map(lambda s: f"'{s}{SENSITIVE}'"),
        plain.map(lambda s: f"N'{SENSITIVE}{s}'"),
        escaped.map(lambda s: f"E'{s}{SENSITIVE}'"),
        escaped.map(lambda s: f"e'{SENSITIVE}{s}'"),
        plain.map(lambda s: f"U&'{SENSITIVE} {s}'"),
        plain.map(lambda s: f"U&'{SENSITIVE} {s}' UESCAPE '!'"),
        st.builds(lambda s, t: f"${t}${s}{SENSITIVE}${t}$", tagged, tags),
        st.just("X'7469676572'"),
        st.just("b'0101'"),
    )


NUMBERS = st.sampled_from(
    [NUMBER, "7e-5", "7.7E+10", "0x1F", "0b101", "0o17", "1_000_000", "-7", "+7.25", ".5", "7."]
)
NAMES = st.sampled_from(
    [
        "alpha",
        '"Beta 7"',
        '"with ""quotes"" 5"',
        "gamma_7",
        "delta7",
        "v$session",
        "größe",
        "ünï9",
        "$1",
        "$12",
    ]
)
COMMENTS = st.sampled_from(
    [
        f"-- {SENSITIVE}\n",
        f"/* {SENSITIVE} */",
        f"/* a /* {SENSITIVE} */ '{SENSITIVE}' */",
        "-- it's\n",
        "/* ' */",
    ]
)
KEYWORDS = st.sampled_from(
    ["select", "from", "where", "and", "in", "(", ")", ",", "=", "::", "->>", "?", ";", "[", "]", "*", "||"]
)
LITERALS = literal(st.text(max_size=12))
TOKENS = st.lists(st.one_of(KEYWORDS, NAMES, NUMBERS, LITERALS, COMMENTS), max_size=12)
STATEMENTS = TOKENS.map(" ".join)
ANYTHING = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="'\"\\$aeEnUx&019.-/*\n\r\0 é€_", max_size=40),
    STATEMENTS,
    st.builds(lambda s, n: s[:n], STATEMENTS, st.integers(0, 80)),
)


@given(st.lists(ANYTHING, max_size=6))
@settings(max_examples=400, deadline=None)
@example(["select 'a\0b'", "select 1"])
@example(['select "a', "'b\\'", "c'"])
@example(["select $a$ x", "y $a$"])
@example(["/* open", "select 'x'", "*/"])
def test_a_batch_is_masked_as_each_statement_alone(batch: list[str]) -> None:
    assert mask_all(batch) == [mask(statement) for statement in batch]


@given(ANYTHING)
@settings(max_examples=400, deadline=None)
@example("'e'")
@example("like'x'")
@example("1e-5 'Bob' .5 0x1F")
def test_the_short_cut_for_plain_statements_masks_as_the_lexer_does(statement: str) -> None:
    statement = statement.replace("\0", "\\x00")
    assert mask(statement) == postgresql.mask_lexically(statement)


@given(STATEMENTS)
@settings(max_examples=400, deadline=None)
def test_no_literal_and_no_comment_survives(statement: str) -> None:
    masked = mask(statement)
    assert SENSITIVE not in masked
    assert NUMBER not in masked
    assert "'" not in masked


@given(TOKENS, st.integers(0, 200))
@settings(max_examples=400, deadline=None)
def test_a_statement_cut_off_anywhere_shows_no_literal(tokens: list[str], length: int) -> None:
    masked = mask(" ".join(tokens)[:length])
    assert SENSITIVE not in masked
    assert "'" not in masked


@given(ANYTHING)
@settings(max_examples=400, deadline=None)
def test_masking_what_is_masked_changes_nothing(statement: str) -> None:
    masked = mask(statement)
    assert mask(masked) == masked


@given(st.lists(NAMES, min_size=1, max_size=6), LITERALS, NUMBERS)
@settings(max_examples=200, deadline=None)
def test_names_and_parameters_survive(names: list[str], text: str, number: str) -> None:
    masked = mask(f" {text} {number} ".join(names))
    position = 0
    for name in names:
        position = masked.index(name, position) + len(name)


@pytest.mark.parametrize(
    ("statement", "masked"),
    [
        ("select 1e-5, 0x1F, 1_000, -3, .5", "select ?, ?, ?, -?, .?"),
        ("select 'it''s', E'it\\'s', U&'d\\0061t', N'n', b'1', X'FF'", "select ?, ?, ?, ?, ?, ?"),
        ("select $$a$$, secret from t", "select ?, secret from t"),
        ("select $f$ a $g$ b $$ c $f$, d", "select ?, d"),
        ("select $€$ a $€$, d", "select ?, d"),
        ("select /* a /* b */ 'c' */ d", "select   d"),
        ('select "it\'s", \'x\' from "t 1"', 'select "it\'s", ? from "t 1"'),
        ("select a1, t.b2, v$x9, é5 from t3 where c = $1", "select a1, t.b2, v$x9, é5 from t3 where c = $1"),
        ("select 'cut off", "select ?"),
        ("select $$ cut off", "select ?"),
        ("select E'cut off \\", "select ?"),
        ("select 1 -- cut off 'x", "select ?  "),
        ("select 'a\\' , 'b'", "select ?"),
        ("select 'C:\\dir', 5", "select ?, ?"),
        ("select 1\r-- note\rfrom t", "select ?\r \rfrom t"),
        ("", ""),
    ],
)
def test_statements_are_masked_as_postgresql_reads_them(statement: str, masked: str) -> None:
    assert mask(statement) == masked


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select * from t where a = 1", "select * from t where a = 22222"),
        ("select * from t where a = 'x'", "select * from t where a = E'it\\'s'"),
        ("select * from t where a = 'x'", "select * from t where a = $$y$$"),
        ("select * from t where a = 1e-5", "select * from t where a = 0.00001"),
        ("select * from t where a = .5", "select * from t where a = 0.5"),
        ("select * from t where a = -5", "select * from t where a = 5"),
        ("select * from t limit -1", "select * from t limit 10"),
        ("select * from t where a in (1)", "select * from t where a in (1, 2, 3)"),
        ("select * from t where a in (-1, 2)", "select * from t where a in (1,-2, - 3)"),
        ("select * from t where a in ($1)", "select * from t where a in ($1, $2, $3)"),
        ("select * from t where a = any(array[1])", "select * from t where a = any(array[1, 2])"),
        ("insert into t values (1, 'a')", "insert into t values (1, 'a'), (2, 'b'), (3, 'c');"),
        ("select 1", "select  1 -- comment"),
        ("select 1 from t", "select 1 /* a /* b */ */\n from\tt ;"),
    ],
)
def test_statements_that_differ_in_literals_only_hash_the_same(one: str, other: str) -> None:
    hashes = Fingerprints()
    assert hashes.of(mask(one)) == hashes.of(mask(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select a from t", "select b from t"),
        ('select "a" from t', 'select "A" from t'),
        ("select a - 1 from t", "select a from t"),
        ("select f($1) from t", "select g($1) from t"),
        ("select a - 1", "select a + 1"),
    ],
)
def test_statements_that_do_something_else_hash_otherwise(one: str, other: str) -> None:
    hashes = Fingerprints()
    assert hashes.of(mask(one)) != hashes.of(mask(other))


@given(ANYTHING)
@settings(max_examples=200, deadline=None)
@example("\ud800 half a pair")
def test_every_text_has_a_hash_of_sixteen_digits_that_remembering_does_not_change(statement: str) -> None:
    few = Fingerprints(remembered_characters=1)
    first = few.of(mask(statement))
    few.of("something else")
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert few.of(mask(statement)) == first == Fingerprints().of(mask(statement))


@pytest.mark.parametrize(
    "piece",
    [
        "'",
        '"',
        "\\'",
        "$a$",
        "$$",
        "/*",
        "*/",
        "--",
        "e'",
        "1e-",
        "(?,",
        "$1,",
        "''",
        "-?",
        ".?",
        "a ",
        "/*-",
        "$a",
    ],
)
def test_masking_and_hashing_take_linear_time_whatever_is_repeated(piece: str) -> None:
    # A pattern that backtracks would run for hours here; the time limit of the test run is what would end it.
    hostile = "select " + piece * (400_000 // len(piece))
    Fingerprints().of(mask(hostile))
    Fingerprints().of(hostile)
