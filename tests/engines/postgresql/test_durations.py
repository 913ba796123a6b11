"""One statement is one event, whatever records it, and has its own duration."""

import pytest
from dbaudit.core.event import Outcome
from dbaudit.engines.postgresql.records import LogFileFormat

from tests.engines.postgresql.logged import CSVLOG, JSONLOG, audit, events_of, record

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
QUERY, INSERT = "select pg_sleep($1)", "insert into t values ($1)"


@BOTH
def test_duration_of_a_step_before_is_not_that_of_the_statement(log_format: LogFileFormat) -> None:
    (event,) = events_of(
        log_format,
        record("duration: 0.306 ms", ps="PARSE"),
        audit(QUERY, line=2, ps="BIND"),
        record("duration: 0.121 ms", line=3, ps="BIND"),
        record("duration: 321.664 ms", line=4, at_ms=321),
    )
    assert (event.duration_ms, event.outcome) == (321.664, Outcome.SUCCESS)


@BOTH
def test_statement_that_has_not_ended_has_no_duration(log_format: LogFileFormat) -> None:
    bound = record(f"duration: 0.1 ms  bind <unnamed>: {QUERY}", line=2, ps="BIND")
    (event,) = events_of(log_format, audit(QUERY, ps="BIND"), bound)
    assert (event.duration_ms, event.outcome) == (None, None)


@BOTH
def test_all_records_of_a_statement_are_one_event_in_the_extended_protocol(log_format: LogFileFormat) -> None:
    detail = "Parameters: $1 = '0.32'"
    query, insert = events_of(
        log_format,
        record("duration: 0.306 ms", ps="PARSE"),
        audit(QUERY, line=2, ps="BIND"),
        record("duration: 0.121 ms", line=3, ps="BIND"),
        record(f"execute <unnamed>: {QUERY}", line=4, detail=detail),
        record("duration: 321.664 ms", line=5, at_ms=321),
        record("duration: 0.306 ms", line=6, ps="PARSE", at_ms=400),
        record("duration: 0.1 ms", line=7, ps="BIND", at_ms=400),
        record(f"execute S_1: {INSERT}", line=8, detail=detail, ps="INSERT", at_ms=400),
        audit(INSERT, 2, line=9, kind="WRITE,INSERT", at_ms=400),
        record("duration: 1.5 ms", line=10, ps="INSERT", at_ms=401),
    )
    for event, duration_ms in ((query, 321.664), (insert, 1.5)):
        assert (event.duration_ms, event.parameters) == (duration_ms, ("0.32",))


@BOTH
@pytest.mark.parametrize("rows", [None, 4])
def test_log_min_duration_statement_adds_to_the_event_of_pgaudit(
    log_format: LogFileFormat, rows: int | None
) -> None:
    (event,) = events_of(
        log_format,
        record(f"duration: 0.1 ms  parse p: {QUERY}", ps="PARSE"),
        audit(QUERY, line=2, rows=rows, ps="BIND" if rows is None else "SELECT"),
        record(f"duration: 319.346 ms  execute p: {QUERY}", line=3, at_ms=319, vxid="4/0"),
    )
    assert (event.duration_ms, event.rows_affected) == (319.346, rows)


@BOTH
def test_duration_of_a_statement_that_is_not_recorded_is_not_that_of_the_one_before(
    log_format: LogFileFormat,
) -> None:
    (event,) = events_of(log_format, audit("select 1"), record("duration: 0.1 ms", line=2, ps="SAVEPOINT"))
    assert event.duration_ms is None


@BOTH
def test_duration_of_several_statements_is_that_of_none_of_them(log_format: LogFileFormat) -> None:
    events = events_of(
        log_format,
        audit("select 1"),
        audit("select 2", 2, line=2),
        record("duration: 9.0 ms  statement: select 1; select 2", line=3),
    )
    assert [(e.query, e.duration_ms) for e in events] == [("select 1", None), ("select 2", None)]


SLOW = record("duration: 319.346 ms  statement: select pg_sleep(0.31)")
AUDITED = frozenset({"read", "write", "function"})


@BOTH
def test_slow_statement_that_was_stored_when_it_started_is_known_by_who_ran_it(
    log_format: LogFileFormat,
) -> None:
    own = {"exempt_roles": frozenset({"dbaudit"}), "audited": AUDITED, "catalogs_exempt": True}
    assert events_of(log_format, SLOW, **own) == []
    assert len(events_of(log_format, SLOW | {"user": "dbaudit"}, **own)) == 1
    assert len(events_of(log_format, SLOW, audited=AUDITED, exempt_databases=frozenset({"shop"}))) == 1
    assert len(events_of(log_format, SLOW)) == 1
    on_catalogs = record("duration: 900 ms  statement: select count(*) from pg_class a, pg_class b")
    assert len(events_of(log_format, on_catalogs, **own)) == 1
    assert events_of(log_format, on_catalogs, audited=AUDITED) == []
    several = record("duration: 900 ms  statement: select 1; vacuum t")
    assert len(events_of(log_format, several, **own)) == 1
