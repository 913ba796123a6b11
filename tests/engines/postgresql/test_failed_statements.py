"""A failure is that of the statement that failed, in rows as servers write them."""

from typing import Any

import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engines.postgresql.records import LogFileFormat

from tests.engines.postgresql.logged import CSVLOG, JSONLOG, audit, events_of, failing, record

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
INSERT = {"kind": "WRITE,INSERT"}
DELETE = {"kind": "WRITE,DELETE"}
X = "insert into u values (1)"


def ends(events: list[AuditEvent]) -> list[tuple[str | None, str | None]]:
    for event in events:
        assert (event.outcome is Outcome.FAILURE) == (event.error_code is not None)
    return [(e.query, e.error_code) for e in events if e.type == EventType.QUERY]


@BOTH
def test_statement_whose_text_begins_like_the_one_that_failed_did_not_fail(log_format: LogFileFormat) -> None:
    events = events_of(
        log_format,
        audit("delete from t", **DELETE),
        failing("delete from t_secret", "42501", line=2, ps="DELETE", at_ms=17),
    )
    assert ends(events) == [("delete from t", None), ("delete from t_secret", "42501")]
    assert [(e.operation, e.command_class) for e in events] == [("DELETE", "WRITE")] * 2


@BOTH
def test_statement_before_the_one_of_its_message_that_was_denied_did_not_fail(
    log_format: LogFileFormat,
) -> None:
    message = "select 1; select * from t_secret"
    events = events_of(log_format, audit("select 1"), failing(message, "42501", line=2))
    assert ends(events) == [("select 1", None), (message, "42501")]


@BOTH
def test_second_run_of_a_text_fails_and_the_first_does_not(log_format: LogFileFormat) -> None:
    events = events_of(
        log_format, audit(X, **INSERT), audit(X, 2, line=2, **INSERT), failing(X, line=3, ps="INSERT")
    )
    assert ends(events) == [(X, None), (X, "23505")]


@BOTH
@pytest.mark.parametrize(
    "changes",
    [
        {"code": "42501", "message": "permission denied for table u"},
        {"code": "25P02"},
        {"code": "42P01"},
        {"code": "22P02", "ps": "BIND"},
        {"code": "57014", "ps": "PARSE"},
        {"code": "22P02", "cursor_position": 23},
        {"code": "42501", "context": "unnamed portal with parameters: $1 = '1'"},
    ],
)
def test_error_that_comes_before_a_statement_starts_is_not_that_of_an_earlier_run(
    log_format: LogFileFormat, changes: dict[str, Any]
) -> None:
    """As after SET ROLE, or with other parameters: the same text in the same transaction."""
    events = events_of(log_format, audit(X, **INSERT), failing(X, line=2, **({"ps": "INSERT"} | changes)))
    assert ends(events) == [(X, None), (X, changes["code"])]


@BOTH
@pytest.mark.parametrize(
    "changes",
    [
        {"code": "23503"},
        {"code": "22012"},
        {"code": "57014"},
        {"code": "40001"},
        {"code": "P0001", "context": "PL/pgSQL function check_u() line 3 at RAISE"},
        {"code": "42P01", "context": "PL/pgSQL function f() line 1 at EXECUTE", "internal_query": "select"},
        {"code": "42501", "message": 'new row violates row-level security policy for table "u"'},
        {"code": "42501", "message": "permission denied for function f"},
    ],
)
def test_error_of_a_running_statement_is_its_outcome(
    log_format: LogFileFormat, changes: dict[str, Any]
) -> None:
    events = events_of(
        log_format, audit(X, **INSERT), failing(X, line=2, at_ms=90_000, **({"ps": "INSERT"} | changes))
    )
    assert ends(events) == [(X, changes["code"])]


@BOTH
def test_record_of_pgaudit_with_rows_is_that_of_a_statement_that_ended(log_format: LogFileFormat) -> None:
    events = events_of(log_format, audit(X, rows=1, **INSERT), failing(X, line=2, ps="INSERT"))
    assert ends(events) == [(X, None), (X, "23505")]
    assert [e.rows_affected for e in events] == [1, None]


@BOTH
def test_command_that_pgaudit_records_when_it_has_ended_did_not_fail(log_format: LogFileFormat) -> None:
    create = "create table t (a int)"
    events = events_of(
        log_format,
        audit(create, kind="DDL,CREATE TABLE"),
        failing(create, "42P07", line=2, ps="CREATE TABLE"),
    )
    assert ends(events) == [(create, None), (create, "42P07")]


@BOTH
@pytest.mark.parametrize("rows", [None, 0])
def test_block_that_fails_inside_is_what_fails_and_not_what_ran_in_it(
    log_format: LogFileFormat, rows: int | None
) -> None:
    do, first = (
        "do $$ begin insert into t values(5); insert into u values (1); end $$",
        "insert into t values(5)",
    )
    inside = [audit(first, 1, 2, line=2, **{**INSERT, "ps": "DO"}, rows=None if rows is None else 1)]
    if rows is None:
        inside.append(audit(X, 1, 3, line=3, **{**INSERT, "ps": "DO"}))
    context = f'SQL statement "{X}"\nPL/pgSQL function inline_code_block line 1 at SQL statement'
    events = events_of(
        log_format,
        audit(do, kind="FUNCTION,DO", rows=rows),
        *inside,
        failing(do, line=4, ps="DO", context=context),
    )
    assert ends(events) == [(do, "23505"), *((e.query, None) for e in events[1:])]
    assert events[0].rows_affected is None


@BOTH
def test_query_fails_rather_than_the_call_of_the_function_in_it(log_format: LogFileFormat) -> None:
    query = "select f(0)"
    events = events_of(
        log_format,
        audit(query, ps="BIND"),
        audit(query, 1, 2, line=2, kind="FUNCTION,EXECUTE", ps="BIND"),
        failing(query, "P0001", line=3, context="PL/pgSQL function f(integer) line 1 at RAISE"),
    )
    assert [(e.operation, e.error_code) for e in events] == [("SELECT", "P0001"), ("EXECUTE", None)]


@BOTH
def test_failure_at_the_commit_is_that_of_the_commit(log_format: LogFileFormat) -> None:
    events = events_of(log_format, audit(X, **INSERT), failing("commit", "23503", line=2, ps="COMMIT"))
    assert ends(events) == [(X, None), ("commit", "23503")]


@BOTH
def test_check_of_a_deferred_key_does_not_end_the_statement_that_fails_by_it(
    log_format: LogFileFormat,
) -> None:
    check = 'SELECT 1 FROM ONLY "public"."u" x WHERE "i" OPERATOR(pg_catalog.=) $1 FOR KEY SHARE OF x'
    events = events_of(
        log_format,
        audit(X, **INSERT),
        audit(check, 2, line=2, ps="INSERT"),
        failing(X, "23503", line=3, ps="INSERT"),
    )
    assert ends(events) == [(X, "23503"), (check, None)]


@BOTH
@pytest.mark.parametrize("whole_text", [False, True])
@pytest.mark.parametrize(
    ("message", "recorded", "ps", "code", "failed"),
    [
        (f"select 1; {X}; {X}; select 2", [X, X], "INSERT", "23505", True),
        (f"begin; {X}; commit", [X], "INSERT", "23505", True),
        (f"begin; {X}; commit", [X], "COMMIT", "23503", False),
        (f"{X}; create unique index on u (i)", [X], "CREATE INDEX", "23505", False),
        ("set statement_timeout = 9; select pg_sleep(1)", ["select pg_sleep(1)"], "SELECT", "57014", True),
        ("select a / b from t; select 1 / 0", ["select a / b from t"], "SELECT", "22012", False),
        (
            f"{X}; with d as (delete from t returning a) insert into u select a from d",
            [X],
            "INSERT",
            "23505",
            True,
        ),
        (
            f"{X}; with d as (delete from t returning a) insert into u select a from d",
            [X],
            "INSERT",
            "22012",
            False,
        ),
    ],
)
def test_failure_of_a_part_of_a_message_is_its_outcome_where_it_is_certain_which_part_it_is(
    log_format: LogFileFormat,
    whole_text: bool,
    message: str,
    recorded: list[str],
    ps: str,
    code: str,
    failed: bool,
) -> None:
    """Up to 14 pgaudit records each part with the text of the whole message."""
    records = [
        audit(
            message if whole_text else text,
            number,
            line=number,
            kind="READ,SELECT" if text.startswith("select") else "WRITE,INSERT",
        )
        for number, text in enumerate(recorded, 1)
    ]
    events = events_of(log_format, *records, failing(message, code, line=9, ps=ps))
    codes = [e.error_code for e in events]
    assert codes == ([None] * (len(recorded) - 1) + [code] if failed else [None] * len(recorded) + [code])
    if not failed:
        assert events[-1].query == message


@BOTH
def test_semicolon_in_a_literal_or_a_comment_ends_no_statement(log_format: LogFileFormat) -> None:
    for message in (
        "select ';delete from t'",
        "select 1 -- ;delete from t",
        "select $$;delete from t$$ /* ; */",
    ):
        events = events_of(
            log_format, audit("delete from t", **DELETE), failing(message, line=2, ps="SELECT")
        )
        assert ends(events) == [("delete from t", None), (message, "23505")]


@BOTH
@pytest.mark.parametrize("comment", ["-- a\n", "/* a /* b */ ; */ ", "\n-- a; b\n  /* c */\n"])
def test_comment_before_a_statement_is_no_part_of_its_text(log_format: LogFileFormat, comment: str) -> None:
    """pgaudit for 18 leaves it out, others do not."""
    for recorded in (X, (comment + X).lstrip()):
        (event,) = events_of(
            log_format, audit(recorded, **INSERT), failing(f"{comment}{X};", line=2, ps="INSERT")
        )
        assert (event.query, event.error_code) == (recorded, "23505")
        message = f"{comment}select 1; {comment}{X}"
        first, second = events_of(
            log_format,
            audit("select 1"),
            audit(recorded, 2, line=2, **INSERT),
            failing(message, line=3, ps="INSERT"),
        )
        assert (first.error_code, second.error_code) == (None, "23505")


@BOTH
def test_prepared_statement_of_sql_fails_when_it_is_executed(log_format: LogFileFormat) -> None:
    prepare = "prepare p as insert into u values($1)"
    (event,) = events_of(
        log_format,
        audit(prepare, kind="WRITE,INSERT", ps="EXECUTE"),
        failing("execute p(1)", line=2, ps="EXECUTE"),
    )
    assert event.error_code == "23505"


@BOTH
def test_message_of_log_statement_takes_any_failure_of_it(log_format: LogFileFormat) -> None:
    denied = "select 1; select * from t_secret"
    events = events_of(
        log_format,
        record("statement: " + X, ps="idle"),
        audit(X, line=2, **INSERT),
        record("statement: " + denied, line=3, ps="idle"),
        audit("select 1", 2, line=4),
        failing(denied, "42501", line=5),
    )
    assert sorted(ends(events), key=str) == sorted(
        [(X, None), (denied, "42501"), ("select 1", None)], key=str
    )


@BOTH
def test_failure_whose_start_may_have_been_stored_before_says_so(log_format: LogFileFormat) -> None:
    late = failing("select pg_sleep(9)", "57014", at_ms=9000)
    audited = frozenset({"read", "write"})
    (event,) = events_of(log_format, late, audited=audited)
    assert event.detail == {"start": "may be an event of its own, without an outcome"}
    denied = failing("select * from t_secret", "42501")
    for row, context in ((denied, {}), (late, {"recorded_at_end": True}), (late, {"audited": frozenset()})):
        (event,) = events_of(log_format, row, **({"audited": audited} | context))
        assert event.detail is None


@BOTH
def test_session_ended_by_the_server_is_no_clean_end(log_format: LogFileFormat) -> None:
    fatal = failing(
        None, "25P03", message="terminating connection", error_severity="FATAL", ps="idle in transaction"
    )
    (event,) = events_of(
        log_format, fatal, record("disconnection: session time: 0:00:00.229 user=app", line=2)
    )
    assert (event.type, event.outcome, event.error_code) == (EventType.DISCONNECT, Outcome.FAILURE, "25P03")
    assert event.duration_ms == 229.0
    (event,) = events_of(log_format, fatal)
    assert (event.type, event.error_code) == (EventType.DISCONNECT, "25P03")


@BOTH
def test_statement_that_is_terminated_fails_and_ends_its_session(log_format: LogFileFormat) -> None:
    events = events_of(
        log_format,
        audit("select pg_sleep(9)"),
        failing("select pg_sleep(9)", "57P01", line=2, error_severity="FATAL"),
        record("disconnection: session time: 0:00:01.000 user=app", line=3),
    )
    assert [(e.type, e.error_code) for e in events] == [
        (EventType.QUERY, "57P01"),
        (EventType.DISCONNECT, "57P01"),
    ]
