"""A client chooses the name of a prepared statement, and hides nothing by it."""

import pytest
from dbaudit.engines.postgresql.prepared_names import readings
from dbaudit.engines.postgresql.records import LogFileFormat

from tests.engines.postgresql.logged import CSVLOG, JSONLOG, audit, events_of, record

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
DELETE = "delete from payroll where i=$1"


@BOTH
@pytest.mark.parametrize("duration", ["", "duration: 0.013 ms  "])
@pytest.mark.parametrize(
    "name",
    [
        "<unnamed>",
        "S_1",
        "a:b",
        "py:0x7fde12d61b80",
        "a: b",
        "a: b/c: d",
        ": ",
        "é\n: ",
        "x: select 1 /*",
        "x: select '",
    ],
)
def test_statement_shows_whatever_its_name_is(log_format: LogFileFormat, duration: str, name: str) -> None:
    row = record(f"{duration}execute {name}: {DELETE}", detail="Parameters: $1 = '7'", ps="DELETE")
    (event,) = events_of(log_format, row)
    assert (event.query, event.operation, event.command_class) == (DELETE, "DELETE", "WRITE")
    assert (event.parameters, event.detail) == (("7",), None)


@BOTH
@pytest.mark.parametrize("duration", ["", "duration: 0.013 ms  "])
@pytest.mark.parametrize("name", ["x: select 1 --", "select: values (1);"])
def test_name_that_is_a_statement_itself_hides_nothing(
    log_format: LogFileFormat, duration: str, name: str
) -> None:
    (event,) = events_of(log_format, record(f"{duration}execute {name}: {DELETE}", ps="DELETE"))
    assert event.query is not None
    assert event.query.endswith(DELETE)
    assert (event.operation, event.command_class) == ("DELETE", "WRITE")
    assert event.detail is not None
    assert "DELETE" in event.detail["operations"]
    assert event.detail["ambiguous"]


@BOTH
def test_record_of_pgaudit_says_where_the_statement_begins(log_format: LogFileFormat) -> None:
    query = "select pay from payroll where i=$1"
    (event,) = events_of(
        log_format,
        audit(query, ps="BIND"),
        record(f"execute x: select 1 --: {query}", line=2, detail="Parameters: $1 = '7'"),
        record("duration: 3.000 ms", line=3),
    )
    assert (event.query, event.parameters, event.duration_ms) == (query, ("7",), 3.0)


def test_literals_and_names_in_a_statement_begin_no_other_one() -> None:
    for statement in (
        "insert into notes values ('todo: delete old rows')",
        'select "a: select b" from t',
        "select $$x: drop table t $$",
        """insert into j values ('{"a": 1, "set": 2}')""",
        "select E'\\': update t set a = 1'",
    ):
        assert readings(f"<unnamed>: {statement}") == [statement]


def test_text_of_many_colons_is_read_in_no_time() -> None:
    assert readings("x: " + "select '': " * 20_000)
    assert readings("<unnamed>: select 1 -- " + "- $a /* ' : select " * 5_000)
