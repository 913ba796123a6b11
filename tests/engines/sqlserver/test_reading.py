"""Reading from place to place: buffers, parts of statements, rollover, losses, several audits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engine import Session
from dbaudit.engines.sqlserver import SQLServerEngine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.sqlserver.double import (
    LOGIN,
    SqlServerDouble,
    server_2016,
    server_2022,
    server_with_events,
)
from tests.engines.sqlserver.model import Audit, Model

ENGINE = SQLServerEngine()
Start = Callable[..., SqlServerDouble]

pytestmark = pytest.mark.usefixtures("freetds")


class Reading:
    """What an agent would have: the cursor after JSON, the events and gaps that came."""

    def __init__(self, double: SqlServerDouble, **options: Any) -> None:
        self._target = double.target("FreeTDS", options=options)
        self.session: Session = ENGINE.open(self._target)
        self.cursor: Any = None
        self.events: list[AuditEvent] = []
        self.gaps: list[AuditEvent] = []

    def read(self, limit_bytes: int = 1 << 20) -> bool:
        chunk = self.session.read(self.cursor, limit_bytes)
        self.cursor = json.loads(json.dumps(chunk.cursor))
        decoded = ENGINE.decode(chunk.records)
        assert decoded.rejected == []
        self.events += decoded.events
        self.gaps += chunk.gaps
        return chunk.more

    def all(self, limit_bytes: int = 1 << 20) -> None:
        while self.read(limit_bytes):
            pass

    def reopen(self) -> None:
        self.session.close()
        self.session = ENGINE.open(self._target)

    @property
    def statements(self) -> list[str | None]:
        return [event.query for event in self.events if event.type is EventType.QUERY]


@contextmanager
def reading(double: SqlServerDouble, **options: Any) -> Iterator[Reading]:
    """Begun: only what is recorded from now on comes, unless the options say otherwise."""
    begun = Reading(double, **options)
    try:
        begun.read()
        yield begun
    finally:
        begun.session.close()


def quiet(model: Model) -> Model:
    model.records_sessions = False
    return model


def record(model: Model, *statements: str, audit: Audit | None = None, **columns: Any) -> None:
    for statement in statements:
        model.record(audit or model.audits[0], "BCM", statement=statement, **columns)


def test_new_database_begins_with_what_is_recorded_from_now_on(start: Start) -> None:
    model = quiet(server_2022())
    record(model, *(f"old {n}" for n in range(7)))
    with reading(start(model)) as got:
        record(model, "new 1", "new 2")
        got.all()
        assert got.statements == ["new 1", "new 2"]


def test_new_database_can_begin_with_everything_that_is_still_there(start: Start) -> None:
    model = quiet(server_2022())
    record(model, *(f"old {n}" for n in range(7)))
    model.audits[0].files.roll_over()
    record(model, "in the second file")
    with reading(start(model), start_from="beginning") as got:
        got.all()
        assert got.statements == [*(f"old {n}" for n in range(7)), "in the second file"]


@pytest.mark.parametrize("written_before", [False, True])
def test_audit_whose_current_file_is_empty_is_read_from_its_first_record(
    start: Start, written_before: bool
) -> None:
    model = quiet(server_2022())
    if written_before:
        record(model, "old")
        model.audits[0].files.roll_over()
    with reading(start(model)) as got:
        got.all()
        record(model, *(f"new {n}" for n in range(5)))
        got.all()
        assert got.statements == [f"new {n}" for n in range(5)]
        assert got.gaps == []


def test_buffer_that_grows_after_it_was_read_loses_and_repeats_nothing(start: Start) -> None:
    model = quiet(server_2022())
    model.audits[0].files.rows_a_buffer = 1000
    with reading(start(model)) as got:
        for number in range(20):
            record(model, f"s{number}")
            got.all()
        assert got.statements == [f"s{number}" for number in range(20)]
        assert len({event.key for event in got.events}) == 20


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows_a_buffer=st.integers(1, 5),
    limit_bytes=st.sampled_from([1, 700, 5000, 1 << 20]),
    steps=st.lists(st.sampled_from(["write", "long", "roll", "read", "reopen", "flush"]), max_size=25),
)
def test_whatever_is_written_when_comes_once_and_in_order(
    start: Start, rows_a_buffer: int, limit_bytes: int, steps: list[str]
) -> None:
    model = quiet(server_2022())
    files = model.audits[0].files
    files.rows_a_buffer = rows_a_buffer
    written: list[str] = []
    with SqlServerDouble(model) as double, reading(double) as got:
        for step in [*steps, "end"]:
            match step:
                case "write" | "end":
                    written.append(f"statement {len(written)}")
                    record(model, written[-1])
                case "long":
                    written.append(f"statement {len(written)} " + "x" * 9000)
                    record(model, written[-1])
                case "roll":
                    files.roll_over()
                case "flush" if files.files:
                    files.flush()
                case "read":
                    got.read(limit_bytes)
                case "reopen":
                    got.reopen()
        got.all(limit_bytes)
        assert got.statements == written
        assert got.gaps == []
        keys = [event.key for event in got.events]
        assert len(set(keys)) == len(keys)


def test_statement_in_parts_comes_whole_however_little_is_read(start: Start) -> None:
    model = quiet(server_2022())
    long = "insert into t values " + "('äöü')," * 3000
    with reading(start(model)) as got:
        record(model, "before", long, "after")
        got.all(limit_bytes=1)
        assert got.statements == ["before", long, "after"]


def test_parts_of_two_sessions_between_each_other_are_told_apart(start: Start) -> None:
    model = quiet(server_2022())
    files = model.audits[0].files
    with reading(start(model)) as got:
        record(model, "a" * 8500, session_id=61)
        record(model, "b" * 8500, session_id=62)
        rows = [row for file in files.files for _offset, row in file.rows]
        files.files[-1].rows.clear()
        files.write([rows[0], rows[3], rows[1], rows[4], rows[2], rows[5]])
        got.all()
        assert sorted(map(str, got.statements)) == ["a" * 8500, "b" * 8500]


def test_part_that_never_comes_is_waited_for_and_then_not_any_more(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbaudit.engines.sqlserver.reading._WAIT_FOR_PARTS_SECONDS", 0.0)
    model = quiet(server_2022())
    with reading(start(model)) as got:
        record(model, "x" * 4000)
        record(model, "of another session", session_id=99)
        got.read()
        assert got.statements == []
        got.read()
        assert got.statements == ["x" * 4000, "of another session"]


def test_file_that_was_removed_unread_is_told_as_a_gap_and_the_rest_is_read(start: Start) -> None:
    model = quiet(server_2022())
    files = model.audits[0].files
    with reading(start(model)) as got:
        record(model, "read")
        got.all()
        record(model, "lost")
        files.roll_over()
        record(model, "kept")
        del files.files[0]
        got.all()
        got.all()
        assert got.statements == ["read", "kept"]
        (gap,) = got.gaps
        assert gap.detail is not None
        assert gap.detail["goes_on_in"] == files.files[0].path


def test_rollover_that_only_removed_what_was_read_is_no_gap(start: Start) -> None:
    model = quiet(server_2022())
    model.audits[0].files.most_files = 2
    with reading(start(model)) as got:
        for number in range(12):
            if number % 2 == 0:
                model.audits[0].files.roll_over()
            record(model, f"s{number}")
            got.all()
        assert got.statements == [f"s{number}" for number in range(12)]
        assert got.gaps == []


def test_file_that_was_replaced_under_its_name_is_told_as_a_gap(start: Start) -> None:
    model = quiet(server_2022())
    with reading(start(model)) as got:
        record(model, *(f"s{n}" for n in range(8)))
        got.all()
        file = model.audits[0].files.files[0]
        file.rows[:] = [(90_000, {**file.rows[0][1], "statement": "of another file"})]
        got.all()
        got.all()
        assert got.statements[-1] == "of another file"
        assert len(got.gaps) == 1


def test_files_that_cannot_be_found_just_now_are_waited_for(start: Start) -> None:
    model = quiet(server_2022())
    with reading(start(model)) as got:
        record(model, "before")
        got.all()
        files, model.audits[0].files.files = model.audits[0].files.files, []
        with pytest.raises(TransientError) as raised:
            got.read()
        assert raised.value.code is ErrorCode.AUDIT_SOURCE_MISSING
        model.audits[0].files.files = files
        record(model, "after")
        got.all()
        assert got.statements == ["before", "after"]
        assert got.gaps == []


def test_records_that_the_server_passes_over_are_told_once(start: Start) -> None:
    model = quiet(server_2022())
    with reading(start(model)) as got:
        said = "The fn_get_audit_file function is skipping records from 'a.sqlaudit' at offset 512."
        model.passed_over = (33226, said)
        record(model, "one")
        got.all()
        record(model, "two")
        got.all()
        assert got.statements == ["one", "two"]
        (gap,) = got.gaps
        assert gap.detail is not None
        assert said in gap.detail["said"]


def test_every_audit_is_read_and_a_named_one_alone(start: Start) -> None:
    model = quiet(server_2022())
    other = model.add_audit("logins only")
    double = start(model)
    with reading(double) as both, reading(double, audit="logins only") as one:
        for number in range(6):
            record(model, f"a{number}")
            record(model, f"b{number}", audit=other)
        both.all()
        one.all()
        assert sorted(map(str, both.statements)) == sorted(
            [*(f"a{n}" for n in range(6)), *(f"b{n}" for n in range(6))]
        )
        assert one.statements == [f"b{n}" for n in range(6)]


def test_audit_that_is_made_later_is_read_from_its_beginning_and_one_that_is_dropped_is_told(
    start: Start,
) -> None:
    model = quiet(server_2022())
    with reading(start(model)) as got:
        record(model, "first")
        got.all()
        later = model.add_audit("later")
        record(model, "of the later one", audit=later)
        got.reopen()
        got.all()
        assert got.statements == ["first", "of the later one"]
        del model.audits[0]
        got.reopen()
        got.all()
        assert len(got.gaps) == 1
        record(model, "still", audit=later)
        got.all()
        assert got.statements[-1] == "still"


def test_right_that_is_taken_away_does_not_change_the_source(start: Start) -> None:
    model = quiet(server_2022())
    model.add_event_session()
    with reading(start(model)) as got:
        model.rights[LOGIN].remove("VIEW SERVER SECURITY AUDIT")
        got.reopen()
        with pytest.raises(ConfigurationError) as raised:
            got.read()
        assert raised.value.code is ErrorCode.PERMISSION_MISSING
        assert raised.value.remedy == "USE master; GRANT VIEW SERVER SECURITY AUDIT TO [dbaudit];"
        model.rights[LOGIN].add("VIEW SERVER SECURITY AUDIT")
        record(model, "meanwhile")
        got.all()
        assert got.statements == ["meanwhile"]
        assert got.gaps == []


def test_other_source_by_the_options_begins_now_and_is_told(start: Start) -> None:
    model = quiet(server_2022())
    events = model.add_event_session()
    model.record_event(events, "sql_batch_completed", batch_text="old", result="OK")
    double = start(model)
    with reading(double) as audits:
        record(model, "by the audit")
        audits.all()
        cursor = audits.cursor
    changed = Reading(double, source="extended_events")
    changed.cursor = cursor
    changed.all()
    model.record_event(events, "sql_batch_completed", batch_text="by the session", result="OK")
    changed.all()
    assert changed.statements == ["by the session"]
    assert len(changed.gaps) == 1
    changed.session.close()


@pytest.mark.parametrize("make", [server_2022, server_2016, server_with_events])
def test_what_the_agent_does_is_left_out_and_what_others_do_with_its_login_is_not(
    start: Start, make: Callable[[], Model]
) -> None:
    model = make()
    double = start(model)
    with reading(double) as got:
        number = next(number for number, session in model.sessions.items() if session.login == LOGIN)
        model.record_statement(number, "select of the agent")
        got.session.test()
        got.all()
        assert got.events == []
        other = model.begin_session(LOGIN, "a stolen password", "elsewhere", "master")
        model.record_statement(other.number, "select of somebody else")
        got.all()
        assert got.statements == ["select of somebody else"]
        assert [one.type for one in got.events[:2]] == [EventType.CONNECTION, EventType.LOGIN_SUCCESS]


def test_sessions_of_the_agent_before_a_restart_are_left_out_on_2016(start: Start) -> None:
    model = server_2016()
    with reading(start(model)) as got:
        number = next(iter(model.sessions))
        model.record_statement(number, "select of the agent before")
        got.reopen()
        got.all()
        assert [event.query for event in got.events] == []


def test_statement_with_half_of_a_character_is_read(start: Start, driver: str) -> None:
    model = quiet(server_2022())
    double = start(model)
    with ENGINE.open(double.target(driver)) as session:
        cursor = session.read(None, 1).cursor
        record(model, *(f"s{n}" for n in range(450)), "half \ud83d of a character", "after")
        events = []
        for _each in range(3):
            chunk = session.read(cursor, 1 << 20)
            cursor = chunk.cursor
            events += ENGINE.decode(chunk.records).events
    assert [event.query for event in events] == [
        *(f"s{n}" for n in range(450)),
        "half \ufffd of a character",
        "after",
    ]


def test_files_are_left_alone_for_a_while_when_nothing_was_new(start: Start) -> None:
    model = quiet(server_2022())
    double = start(model)
    with reading(double, poll_seconds=60) as got:
        got.all()
        record(model, "waits")
        before = len(double.answers.statements)
        for _each in range(5):
            got.read()
        assert len(double.answers.statements) == before
        assert got.statements == []
