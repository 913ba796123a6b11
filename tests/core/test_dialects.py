"""Masking in the dialects beside PostgreSQL's: no literal survives, names do, and the hash stays."""

import re

import pytest
from dbaudit.core.dialects import mysql, oracle, sqlserver
from dbaudit.core.statements import Dialect, Fingerprints, mask, mask_all
from hypothesis import example, given, settings
from hypothesis import strategies as st

SENSITIVE = "tiger"
NUMBER = "777777"
SQL = {
    Dialect.MYSQL: mysql.mask_lexically,
    Dialect.SQLSERVER: sqlserver.mask_lexically,
    Dialect.ORACLE: oracle.mask_lexically,
}
OTHERS = [*SQL, Dialect.MONGODB]


def quoted(form: str, inner: st.SearchStrategy[str], **replaced: str) -> st.SearchStrategy[str]:
    """``form`` with a text in the place of ``{}``, in which some characters are written otherwise."""

    def written(text: str) -> str:
        text = text.replace("\0", "").replace("\\", "\\\\" if "slash" in replaced else "/")
        for quote in ("'", '"'):
            if f"{quote}{{}}" in form:
                text = text.replace(quote, quote * 2)
        return form.format(text + SENSITIVE)

    return inner.map(written)


TEXTS = st.text(max_size=12)
PLAIN = TEXTS.map(lambda s: re.sub(r"[\[\]{}()<>!'\"\0\\]", "", s))
LITERALS = {
    Dialect.MYSQL: st.one_of(
        quoted("'{}'", TEXTS, slash="doubled"),
        quoted('"{}"', TEXTS, slash="doubled"),
        quoted("N'{}'", TEXTS, slash="doubled"),
        quoted("_utf8mb4'{}'", TEXTS, slash="doubled"),
        st.sampled_from([f"'{SENSITIVE}''s'", f'"{SENSITIVE}""s"', "x'7469676572'", "b'01'", "0x7469676572"]),
    ),
    Dialect.SQLSERVER: st.one_of(
        quoted("'{}'", TEXTS),
        quoted("N'{}'", TEXTS),
        quoted('"{}"', TEXTS),
        st.sampled_from(["0x7469676572", f"${NUMBER}.50", f"$-{NUMBER}", f"£{NUMBER}", "'a\\\n b'"]),
    ),
    Dialect.ORACLE: st.one_of(
        quoted("'{}'", TEXTS),
        quoted("n'{}'", TEXTS),
        *(
            quoted(form, PLAIN)
            for form in ("q'[{}]'", "Q'{{{}}}'", "q'({})'", "nq'<{}>'", "q'!{}!'", "q'\"{}\"'")
        ),
        st.sampled_from([f"q'[it's ] {SENSITIVE}]'", f"q'xX'{SENSITIVE}x'", f"date '{SENSITIVE}'"]),
    ),
}
NUMBERS = st.sampled_from([NUMBER, "7e-5", "7.7E+10", "0x1F", "-7", "+7.25", ".5", "7."])
NAMES = {
    Dialect.MYSQL: ["alpha", "`Beta 7`", "`with ``ticks`` 5`", "`it's`", '`a"b`', "v$7", "größe", "ünï9"],
    Dialect.SQLSERVER: ["alpha", "[Beta 7]", "[with ]] 5]", "[it's]", '[a"b]', "@p1", "#t7", "a$7", "größe"],
    Dialect.ORACLE: ["alpha", '"Beta 7"', '"it\'s"', "v$session", "a#7", "größe", ":name", "t7"],
}
COMMENTS = {
    Dialect.MYSQL: [f"-- {SENSITIVE}\n", f"# {SENSITIVE}\n", f"/* {SENSITIVE} ' */", f"/*+ {SENSITIVE} */"],
    Dialect.SQLSERVER: [f"-- {SENSITIVE}\n", f"/* a /* {SENSITIVE} */ '{SENSITIVE}' */", "-- it's\n"],
    Dialect.ORACLE: [f"-- {SENSITIVE}\n", f"/* {SENSITIVE} ' */", f"/*+ {SENSITIVE} */", "-- it's\n"],
}
KEYWORDS = ["select", "from", "where", "and", "in", "(", ")", ",", "=", "->>", "?", ";", "*", "||"]
ALPHABETS = {
    Dialect.MYSQL: "'\"\\`aeNx_&019.-/*#!M\n\r\0 é",
    Dialect.SQLSERVER: "'\"\\[]aeNx@$£&019.-/*\n\r\0 é",
    Dialect.ORACLE: "'\"\\[]qaeNx:$&019.-/*\n\r\0 é",
    Dialect.MONGODB: "'\"\\{}[],:$ae019.-\n\r\0 é?",
}


def tokens(dialect: Dialect) -> st.SearchStrategy[list[str]]:
    token = st.one_of(
        st.sampled_from(KEYWORDS),
        st.sampled_from(NAMES[dialect]),
        NUMBERS,
        LITERALS[dialect],
        st.sampled_from(COMMENTS[dialect]),
    )
    return st.lists(token, max_size=12)


JSON_VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.just(777777),
        st.floats(allow_nan=False),
        TEXTS.map(lambda s: s + SENSITIVE),
        st.just({"$oid": SENSITIVE}),
        st.just({"$date": {"$numberLong": NUMBER}}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b.c", "$gt", 'k"']), inner)
    ),
    max_leaves=8,
)


@st.composite
def commands(draw: st.DrawFn) -> str:
    import json

    command = {"find": "users", "filter": draw(JSON_VALUES), "$db": "shop"}
    return json.dumps(command, ensure_ascii=draw(st.booleans()), separators=draw(separators()))


def separators() -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")])


def statements(dialect: Dialect) -> st.SearchStrategy[str]:
    return commands() if dialect is Dialect.MONGODB else tokens(dialect).map(" ".join)


def anything(dialect: Dialect) -> st.SearchStrategy[str]:
    whole = statements(dialect)
    return st.one_of(
        st.text(max_size=60),
        st.text(alphabet=ALPHABETS[dialect], max_size=40),
        whole,
        st.builds(lambda s, n: s[:n], whole, st.integers(0, 80)),
    )


OF_A_DIALECT = st.sampled_from(OTHERS).flatmap(lambda d: st.tuples(st.just(d), anything(d)))


@given(st.sampled_from(OTHERS).flatmap(lambda d: st.tuples(st.just(d), st.lists(anything(d), max_size=6))))
@settings(max_examples=400, deadline=None)
def test_a_batch_is_masked_as_each_statement_alone(batch: tuple[Dialect, list[str]]) -> None:
    dialect, many = batch
    assert mask_all(many, dialect) == [mask(statement, dialect) for statement in many]


@given(st.sampled_from([*SQL]).flatmap(lambda d: st.tuples(st.just(d), anything(d))))
@settings(max_examples=600, deadline=None)
@example((Dialect.SQLSERVER, "select N'x', columnN'x', [N'x'], N?"))
@example((Dialect.ORACLE, "seq'x' q' x' nq'[x]'"))
@example((Dialect.MYSQL, 'N"'))
@example((Dialect.SQLSERVER, 'N"'))
@example((Dialect.MYSQL, "select `a\"b`, n'x', 'a' /*! 'b' */"))
def test_the_short_cut_for_plain_statements_masks_as_the_lexer_does(given_: tuple[Dialect, str]) -> None:
    dialect, statement = given_
    statement = statement.replace("\0", "\\x00")
    assert mask(statement, dialect) == SQL[dialect](statement)


@given(st.sampled_from(OTHERS).flatmap(lambda d: st.tuples(st.just(d), statements(d))), st.integers(0, 300))
@settings(max_examples=800, deadline=None)
def test_no_literal_and_no_comment_survives_whole_or_cut_off(
    given_: tuple[Dialect, str], length: int
) -> None:
    dialect, statement = given_
    for text in (statement, statement[:length]):
        masked = mask(text, dialect)
        assert SENSITIVE not in masked
        assert NUMBER not in masked


@given(OF_A_DIALECT)
@settings(max_examples=800, deadline=None)
def test_masking_what_is_masked_changes_nothing(given_: tuple[Dialect, str]) -> None:
    dialect, statement = given_
    masked = mask(statement, dialect)
    assert mask(masked, dialect) == masked


@pytest.mark.parametrize("dialect", SQL)
@given(st.data())
@settings(max_examples=100, deadline=None)
def test_names_survive(dialect: Dialect, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(NAMES[dialect]), min_size=1, max_size=6))
    text = data.draw(LITERALS[dialect])
    masked = mask(f" {text} 5 ".join(names), dialect)
    position = 0
    for name in names:
        position = masked.index(name, position) + len(name)


@given(OF_A_DIALECT)
@settings(max_examples=200, deadline=None)
def test_every_text_has_a_hash(given_: tuple[Dialect, str]) -> None:
    dialect, statement = given_
    assert re.fullmatch("[0-9a-f]{16}", Fingerprints().of(mask(statement, dialect)))


@pytest.mark.parametrize(
    ("dialect", "statement", "masked"),
    [
        (Dialect.MYSQL, "select 'it\\'s', a from t where b = 'it\\'s'", "select ?, a from t where b = ?"),
        (Dialect.MYSQL, "select 'a\\\\', b, 'c'", "select ?, b, ?"),
        (Dialect.MYSQL, 'select "it\\"s", `a``b`', "select ?, `a``b`"),
        (Dialect.MYSQL, "insert into t values ('{\\\"a\\\": 1}', 5)", "insert into t values (?, ?)"),
        # With NO_BACKSLASH_ESCAPES: 'C:\' is whole.
        (Dialect.MYSQL, "select 'C:\\' and b = 'secret'", "select ?"),
        (Dialect.MYSQL, "select 'C:\\' and b = 'secr", "select ?"),
        (Dialect.MYSQL, "select 'it\\'s' and b = 'secr", "select ?"),
        (Dialect.MYSQL, "select 1 # a\nfrom t -- b\n--5", "select ?  \nfrom t  \n--?"),
        (Dialect.MYSQL, "/*!50003 drop table t */ 'x'", "/*!50003 drop table t */ ?"),
        (Dialect.MYSQL, "/*M!100300 set x = 5 */", "/*M!100300 set x = ? */"),
        (Dialect.MYSQL, "/*! select 'a */ b' */ c", "/*! select ?"),
        (Dialect.MYSQL, "select x'4D', 0x4D, b'1', N'n', _utf8'u'", "select ?, ?, ?, ?, _utf8?"),
        (Dialect.SQLSERVER, "select N'it''s', [a'b], 0xFF, $5.50", "select ?, [a'b], ?, ?"),
        (Dialect.SQLSERVER, 'select "a""b" from [t]]x] where c = @p1', "select ? from [t]]x] where c = @p1"),
        (Dialect.SQLSERVER, "select 0xAB\\\nCDEF, 'x'", "select ?, ?"),
        (Dialect.SQLSERVER, "select 1 /* a /* b */ 'c' */ - 2 -- x", "select ?   - ?  "),
        (Dialect.SQLSERVER, "exec sp_addlogin bob, tiger; select a", "exec sp_addlogin ?; select a"),
        (Dialect.SQLSERVER, "exec [sp_password] N'a', tiger", "exec [sp_password] ?"),
        (
            Dialect.SQLSERVER,
            "create login a with password = 0x02 hashed",
            "create login a with password = ? hashed",
        ),
        (Dialect.ORACLE, "select q'[it's]', nq'{a}', n'b' from \"T\"", 'select ?, ?, ? from "T"'),
        (Dialect.ORACLE, "select .5q'[it's]', 1e-3nq'!a'b!', t5q'c' x", "select .?, ?, t5q? x"),
        (Dialect.ORACLE, "select date '2030-01-01', 1.5f, :1 from dual", "select date ?, ?, :? from dual"),
        (Dialect.ORACLE, "select /*+ full(t) */ q'!cut off", "select   ?"),
        (Dialect.ORACLE, "alter user a identified by tiger", "alter user a identified by ?"),
        (
            Dialect.ORACLE,
            'alter user a identified by "ti ger" account lock',
            "alter user a identified by ? account lock",
        ),
        (Dialect.ORACLE, "alter user a identified by x replace y", "alter user a identified by ? replace ?"),
        (
            Dialect.ORACLE,
            "alter user a identified by values 'S:1;T:2'",
            "alter user a identified by values ?",
        ),
        (
            Dialect.ORACLE,
            "grant connect to a, b identified by p, q",
            "grant connect to a, b identified by ?, ?",
        ),
        (
            Dialect.ORACLE,
            "grant connect to a, b identified by p,q;",
            "grant connect to a, b identified by ?;",
        ),
        (Dialect.MONGODB, '{"find":"t","filter":{"a":"x"}}', '{"find":"t","filter":{"a":?}}'),
        (Dialect.MONGODB, '{"filter":{"find":"x"}}', '{"filter":{"find":?}}'),
        (Dialect.MONGODB, '{"find":"t","filter":{"a":"x\\"y', '{"find":"t","filter":{"a":?'),
        (
            Dialect.MONGODB,
            '{"insert":"t","documents":[{"a":-1.5e3},{"a":true}]',
            '{"insert":"t","documents":[{"a":?},{"a":?}]',
        ),
        (Dialect.MONGODB, '{"_id":{"$oid":"5f"},"d":{"$date":{"$numberLong":"1"}}}', '{"_id":?,"d":?}'),
        (Dialect.MONGODB, '{"a":{"$regex":"^x","$options":"i"}}', '{"a":{"$regex":?,"$options":?}}'),
        (Dialect.MONGODB, "no json at all", "? ? ? ?"),
    ],
)
def test_statements_are_masked_as_their_server_reads_them(
    dialect: Dialect, statement: str, masked: str
) -> None:
    assert mask(statement, dialect) == masked


@pytest.mark.parametrize(
    ("dialect", "one", "other"),
    [
        (Dialect.MYSQL, "select * from t where a = 'O\\'Brien'", 'select * from t where a = "x"'),
        (Dialect.MYSQL, "insert into t values (1, 'a')", "insert into t values (0x1F, 'it\\'s'), (2, 'b')"),
        (Dialect.SQLSERVER, "select a from t where b = 'x'", "select a from t where b = N'it''s'"),
        (Dialect.SQLSERVER, "select a from t where b = 5", "select a from t where b = $5.50"),
        (Dialect.ORACLE, "select a from t where b in (:1)", "select a from t where b in (:1, :2, :3)"),
        (Dialect.ORACLE, "select a from t where b = 'x'", "select a from t where b = q'[it's]'"),
        (Dialect.MONGODB, '{"find":"t","filter":{"a":5}}', '{"find": "t", "filter": {"a": {"$oid": "5f"}}}'),
        (
            Dialect.MONGODB,
            '{"insert":"t","documents":[{"a":1}]}',
            '{"insert":"t","documents":[{"a":"x"},{"a":true}]}',
        ),
    ],
)
def test_statements_that_differ_in_literals_only_hash_the_same(
    dialect: Dialect, one: str, other: str
) -> None:
    hashes = Fingerprints()
    unspaced = [re.sub(r"\s*([:,{}])\s*", r"\1", mask(text, dialect)) for text in (one, other)]
    assert hashes.of(unspaced[0]) == hashes.of(unspaced[1])


def test_commands_on_other_collections_hash_otherwise() -> None:
    hashes = Fingerprints()
    one, other = (mask(f'{{"find":"{name}"}}', Dialect.MONGODB) for name in ("users", "orders"))
    assert hashes.of(one) != hashes.of(other)


@pytest.mark.parametrize("dialect", OTHERS)
@pytest.mark.parametrize(
    "piece",
    [
        *(
            "'",
            '"',
            "\\'",
            '\\"',
            "`",
            "[",
            "]]",
            "/*",
            "*/",
            "--",
            "#",
            "q'",
            "q'[",
            "n'",
            "0x1\\\n",
            "1e-",
            "$5",
        ),
        *(
            "/*!",
            "/*M!5 '",
            "'a\\' ",
            "identified by ",
            "identified by a, ",
            "identified",
            "identified by a replace ",
        ),
        *(
            "sp_addlogin ",
            "sp_addlogin a '",
            '{"',
            '{"a":',
            '"a":"',
            '"$oid":',
            '{"$date":{',
            '{"find":"a"',
            ":?,",
        ),
        *("{},", '{"a":?},'),
    ],
)
def test_masking_and_hashing_take_linear_time_whatever_is_repeated(dialect: Dialect, piece: str) -> None:
    # A pattern that backtracks would run for hours here; the time limit of the test run is what would end it.
    hostile = "select " + piece * (200_000 // len(piece))
    Fingerprints().of(mask(hostile, dialect))
    Fingerprints().of(hostile)
