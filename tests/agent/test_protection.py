"""Protection: what an event is stored as does not depend on what was protected before it."""

import pytest
from dbaudit.agent.protection import protect
from dbaudit.core.database import AuditOptions
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.statements import Dialect, Fingerprints, mask
from hypothesis import example, given, settings
from hypothesis import strategies as st

STATEMENTS = st.text(alphabet="select from t where a=$1?'\"-/*\\E\n0 7é", max_size=40)


def protected(
    statement: str, options: AuditOptions, fingerprints: Fingerprints
) -> tuple[str | None, str | None]:
    event = AuditEvent(key="1", type=EventType.QUERY, time_us=0, query=statement)
    protect([event], options, fingerprints)
    return event.query, event.query_hash


@given(st.lists(STATEMENTS, max_size=6), STATEMENTS)
@settings(max_examples=300, deadline=None)
@example(["select 7"], "select ?")
@example(["select $1", "select $1"], "select $1")
def test_a_statement_is_masked_and_hashed_alike_whatever_came_before(
    earlier: list[str], statement: str
) -> None:
    fingerprints = Fingerprints()
    for one in [*earlier, *[mask(one) for one in earlier]]:
        protected(one, AuditOptions(), fingerprints)
    expected = (mask(statement), Fingerprints().of(mask(statement)))
    assert protected(statement, AuditOptions(), fingerprints) == expected
    assert protected(statement, AuditOptions(), fingerprints) == expected


@pytest.mark.parametrize("statement", ["select $1", "select 1", "alter role a password 'tiger'", ""])
@pytest.mark.parametrize("masking", [True, False])
def test_the_hash_is_the_same_whatever_of_the_statement_is_stored(statement: str, masking: bool) -> None:
    fingerprints = Fingerprints()
    _ignored, expected = protected(statement, AuditOptions(), fingerprints)
    for capturing in (True, False):
        options = AuditOptions(mask_sensitive_data=masking, capture_queries=capturing)
        text, found = protected(statement, options, fingerprints)
        assert found == expected
        assert (text is None) == (not capturing)
        assert "tiger" not in (text or "")


def test_remembered_statements_never_take_more_than_their_room() -> None:
    fingerprints = Fingerprints(remembered_characters=100_000)
    fingerprints.remember_bare("select a from t", "0" * 16)
    fingerprints.remember_bare("x" * 2000, "1" * 16)
    assert fingerprints.of_bare(["select a from t"]) == ["0" * 16]
    assert fingerprints.of_bare(["x" * 2000]) == [None]
    for number in range(1000):
        fingerprints.of(f"select a from t{number}")
    assert fingerprints.of_bare(["select a from t"]) == [None]


MESSAGES = [
    (
        Dialect.POSTGRESQL,
        "message",
        'invalid value for parameter "work_mem": "t1ger"',
        'parameter "work_mem"',
    ),
    (Dialect.POSTGRESQL, "message", "ungültiger Wert für Parameter »work_mem«: »t1ger«", "»work_mem«"),
    (
        Dialect.POSTGRESQL,
        "message",
        '777777 kB is outside the valid range for parameter "work_mem"',
        "work_mem",
    ),
    (Dialect.POSTGRESQL, "message", "invalid command-line argument for server process: t1ger", "invalid"),
    (Dialect.POSTGRESQL, "context", "SQL statement \"select 't1ger'\"\nPL/pgSQL function f() line 1", "SQL"),
    (Dialect.MYSQL, "argument", "t '777777t1ger'", "t "),
    (
        Dialect.SQLSERVER,
        "message",
        "Conversion failed when converting the varchar value 't1ger' to int.",
        "int",
    ),
    (
        Dialect.SQLSERVER,
        "message",
        "The duplicate key value is (t1ger, 777777).",
        "The duplicate key value is",
    ),
    (Dialect.SQLSERVER, "user_defined", "t1ger", "?"),
]


@pytest.mark.parametrize(("dialect", "field", "text", "kept"), MESSAGES)
def test_words_of_the_server_show_no_value_of_a_user(
    dialect: Dialect, field: str, text: str, kept: str
) -> None:
    kind = EventType.LOGIN_FAILED if dialect is Dialect.POSTGRESQL else EventType.QUERY
    event = AuditEvent(key="1", type=kind, time_us=0, detail={field: text, "other": 7})
    protect([event], AuditOptions(), Fingerprints(), dialect)
    assert event.detail is not None
    assert "t1ger" not in event.detail[field]
    assert "777777" not in event.detail[field]
    assert kept in event.detail[field]
    assert event.detail["other"] == 7


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        (Dialect.POSTGRESQL, 'password authentication failed for user "app"'),
        (Dialect.POSTGRESQL, 'database "x" does not exist'),
        (Dialect.MYSQL, "Access denied for user 'app'@'10.0.0.9' (using password: YES)"),
        (Dialect.SQLSERVER, "Login failed for user 'app'. Reason: x. [CLIENT: 10.0.0.9]"),
    ],
)
def test_who_was_refused_stays_in_the_words_of_the_server(dialect: Dialect, text: str) -> None:
    event = AuditEvent(key="1", type=EventType.LOGIN_FAILED, time_us=0, detail={"message": text})
    protect([event], AuditOptions(), Fingerprints(), dialect)
    assert event.detail == {"message": text}


def test_words_of_the_server_show_no_password_where_nothing_is_masked() -> None:
    event = AuditEvent(
        "1", EventType.LOGIN_FAILED, 0, detail={"message": "no such option: password=t1ger", "other": "x"}
    )
    protect([event], AuditOptions(mask_sensitive_data=False), Fingerprints())
    assert event.detail == {"message": "no such option: password=********", "other": "x"}
