"""Decoding: bytes in, events out; nothing that a log can hold makes it fail, and nothing vanishes."""

import json
import random
import re

import msgspec
import pytest
from dbaudit.core.event import EventType, Outcome
from dbaudit.engines.postgresql.bulk_decoding import decode
from dbaudit.engines.postgresql.records import LogFileFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.postgresql.logged import (
    CSVLOG,
    JSONLOG,
    block,
    csv,
    decoded,
    events_of,
    failing,
    jsonl,
    record,
    written,
)

BOTH = pytest.mark.parametrize("log_format", [CSVLOG, JSONLOG])
AUDIT = "AUDIT: SESSION,1,1,READ,SELECT,,,{},<not logged>"


# -- one thing that several records tell of


@BOTH
def test_failure_of_a_statement_is_the_outcome_of_its_event(log_format: LogFileFormat) -> None:
    (event,) = events_of(
        log_format, record(AUDIT.format("select f(1)")), failing("select f(1)", line=2, at_ms=9)
    )
    assert (event.query, event.outcome, event.error_code) == ("select f(1)", Outcome.FAILURE, "23505")


@BOTH
def test_failure_long_after_the_start_is_that_of_its_statement_where_both_are_read_at_once(
    log_format: LogFileFormat,
) -> None:
    (event,) = events_of(
        log_format, record(AUDIT.format("select f(1)")), failing("select f(1)", line=2, at_ms=5000)
    )
    assert (event.query, event.outcome) == ("select f(1)", Outcome.FAILURE)


@BOTH
def test_failure_that_is_read_later_than_the_start_is_an_event_of_its_own(log_format: LogFileFormat) -> None:
    (first,) = events_of(log_format, record(AUDIT.format("select f(1)")))
    (second,) = events_of(log_format, failing("select f(1)", line=2, at_ms=5000))
    assert (first.outcome, second.outcome) == (None, Outcome.FAILURE)
    assert first.query == second.query == "select f(1)"


@BOTH
def test_failure_of_the_same_statement_run_again_is_not_that_of_the_first_run(
    log_format: LogFileFormat,
) -> None:
    first, second = events_of(
        log_format,
        record(AUDIT.format("select f(1)")),
        failing("select f(1)", line=2, at_ms=9, vxid="4/12"),
    )
    assert (first.outcome, second.outcome) == (None, Outcome.FAILURE)


@BOTH
def test_part_of_a_statement_string_that_pgaudit_leaves_out_stays(log_format: LogFileFormat) -> None:
    events = events_of(
        log_format,
        record("statement: select 1; insert into t values (1)"),
        record("AUDIT: SESSION,1,1,WRITE,INSERT,,,insert into t values (1),<not logged>", line=2),
    )
    assert [e.query for e in events] == ["select 1; insert into t values (1)", "insert into t values (1)"]


@BOTH
def test_statement_that_pgaudit_does_not_know_stays_beside_what_it_called(log_format: LogFileFormat) -> None:
    events = events_of(
        log_format,
        record("statement: select f()"),
        record("AUDIT: SESSION,1,1,WRITE,INSERT,,,insert into t values (1),<not logged>", line=2),
    )
    assert [e.query for e in events] == ["select f()", "insert into t values (1)"]


@BOTH
def test_text_that_pgaudit_leaves_out_comes_from_log_statement(log_format: LogFileFormat) -> None:
    (event,) = events_of(
        log_format,
        record("statement: select 1 from t"),
        record("AUDIT: SESSION,1,1,READ,SELECT,TABLE,t,<not logged>,<not logged>", line=2),
    )
    assert (event.query, event.command_class, event.objects) == ("select 1 from t", "READ", ("TABLE t",))


@BOTH
def test_password_that_pgaudit_redacts_does_not_come_back_through_log_statement(
    log_format: LogFileFormat,
) -> None:
    (event,) = events_of(
        log_format,
        record("statement: create role r password 'hidden'"),
        record(
            "AUDIT: SESSION,1,1,ROLE,CREATE ROLE,,,create role r password <REDACTED>,<not logged>", line=2
        ),
    )
    assert event.query == "create role r password <REDACTED>"


@BOTH
def test_failure_that_a_parallel_worker_tells_too_is_told_once(log_format: LogFileFormat) -> None:
    (event,) = events_of(
        log_format,
        failing("select 1/v from t", session_id="67a09724.999", backend_type="parallel worker", ps=None),
        failing("select 1/v from t", line=2),
    )
    assert event.session_id == "67a09724.1019"


@BOTH
def test_slow_statement_that_pgaudit_recorded_when_it_started_has_one_event(
    log_format: LogFileFormat,
) -> None:
    started = record(AUDIT.format("select pg_sleep(2)"))
    ended = record("duration: 2000.123 ms  statement: select pg_sleep(2)", line=2, at_ms=2000)
    other = record("duration: 2000.123 ms  statement: create index on t (a)", line=3, at_ms=4000)
    events = events_of(log_format, started, ended, other)
    assert [(e.query, e.duration_ms) for e in events] == [
        ("select pg_sleep(2)", 2000.123),
        ("create index on t (a)", 2000.123),
    ]
    audited = frozenset({"read", "write"})
    assert [e.query for e in events_of(log_format, ended, other, audited=audited)] == [
        "create index on t (a)"
    ]
    assert len(events_of(log_format, ended, other)) == 2


# -- sessions

OWN = {"user": "agent", "application_name": "dbaudit-agent", "session_id": "67a09724.aaa"}


@BOTH
def test_nothing_of_the_agents_own_sessions_shows(log_format: LogFileFormat) -> None:
    opening = {"session_id": "67a09724.aaa", "application_name": None}
    received = record("connection received: host=10.0.0.9 port=1", user=None, dbname=None, **opening)
    authorized = "connection authorized: user=agent database=shop application_name=dbaudit-agent"
    events = events_of(
        log_format,
        received,
        record(
            'connection authenticated: identity="agent" method=md5 (f:1)', line=2, user="agent", **opening
        ),
        record(authorized, line=3, user="agent", **opening),
        record("statement: select 1", line=4, **OWN),
        failing("select nosuch", line=5, **OWN),
        record("disconnection: session time: 0:00:01.000 user=agent", line=6, **OWN),
    )
    assert events == []


@BOTH
def test_session_that_reads_is_known_even_where_the_log_does_not_name_its_application(
    log_format: LogFileFormat,
) -> None:
    received = record(
        "connection received: host=h port=1", user=None, application_name=None, session_id="1.aaa"
    )
    authenticated = 'connection authenticated: identity="agent" method=md5 (f:1)'
    records = (
        received,
        record(authenticated, line=2, user="agent", application_name=None, session_id="1.aaa"),
    )
    assert events_of(log_format, *records, own_session="1.aaa") == []
    kinds = [e.type for e in events_of(log_format, *records, own_session="1.bbb")]
    assert kinds == [EventType.CONNECTION, EventType.LOGIN_SUCCESS]


@BOTH
def test_foreign_session_of_the_agents_user_shows(log_format: LogFileFormat) -> None:
    authorized = "connection authorized: user=agent database=shop application_name=psql"
    events = events_of(
        log_format,
        record(authorized, user="agent", application_name=None),
        record("statement: select 1", line=2, user="agent", application_name="psql"),
        record(
            "disconnection: session time: 0:00:01.000 user=agent",
            line=3,
            user="agent",
            application_name="psql",
        ),
    )
    kinds = [EventType.LOGIN_SUCCESS, EventType.QUERY, EventType.DISCONNECT]
    assert [(e.type, e.application) for e in events] == [(kind, "psql") for kind in kinds]


@BOTH
@pytest.mark.parametrize("authorized", [False, True])
def test_failed_log_in_of_the_agents_user_shows(log_format: LogFileFormat, authorized: bool) -> None:
    opening = {"user": "agent", "application_name": None}
    before = [
        record("connection authorized: user=agent database=x application_name=dbaudit-agent", **opening)
    ]
    refused = record(
        'database "x" does not exist',
        line=2,
        ps="startup",
        error_severity="FATAL",
        state_code="3D000",
        **opening,
    )
    (event,) = events_of(log_format, *(before if authorized else []), refused)
    assert (event.type, event.error_code) == (EventType.LOGIN_FAILED, "3D000")


@BOTH
def test_refused_log_in_is_known_where_the_server_sets_no_process_title(log_format: LogFileFormat) -> None:
    opening = {"ps": None, "application_name": None}
    (event,) = events_of(
        log_format,
        record("connection authorized: user=app database=shop", **opening),
        record("permission denied", line=2, error_severity="FATAL", state_code="42501", **opening),
    )
    assert (event.type, event.error_code) == (EventType.LOGIN_FAILED, "42501")


@BOTH
def test_session_ended_by_an_administrator_is_no_failed_log_in(log_format: LogFileFormat) -> None:
    ended = record("terminating connection", ps="idle", error_severity="FATAL", state_code="57P01")
    assert [(e.type, e.error_code) for e in events_of(log_format, ended)] == [(EventType.DISCONNECT, "57P01")]


# -- what no server should write


def hostile() -> list[bytes]:
    plain = jsonl(record("statement: select 1"))
    deep = b"[" * 100_000 + b"]" * 100_000
    replaced = [
        (b'"line_num":1', b'"line_num":' + b"9" * 5000),
        (b'"line_num":1', b'"line_num":-1.5'),
        (b'"remote_port":51514', b'"remote_port":' + b"9" * 30),
        (b'"remote_port":51514', b'"remote_port":-1'),
        (b'"query_id":0', b'"query_id":' + deep),
        (b"select 1", b"\\ud83d"),
        (b"select 1", b"\\udc00\\ud800"),
        (b"select 1", b"\xff\xfe\xed\xa0\x80"),
        (b"select 1", b"\\u0000\x7f"),
        (b"2026-11-21 19:00:00.000 UTC", b"99999-11-21 19:00:00.000 UTC"),
        (b"2026-11-21 19:00:00.000 UTC", b"0001-01-01 00:00:00.000 +15"),
        (b"2026-11-21 19:00:00.000 UTC", b"9999-12-31 23:59:59.999 -15"),
        (b"2026-11-21 19:00:00.000 UTC", b"2026-11-21 19:00:00.abc UTC"),
        (b"2026-11-21 19:00:00.000 UTC", b"2026-02-30 19:00:00.000 UTC"),
        (b"2026-11-21 19:00:00.000 UTC", b"2026-11-21 19:00:00.000 +99"),
        (b"2026-11-21 19:00:00.000 UTC", b"2026-11-21 19:00:00.000 CET"),
        (b"2026-11-21 19:00:00.000 UTC", b""),
        (b"statement: select 1", b"disconnection: session time: " + b"9" * 400 + b":00:00.000"),
        (b"statement: select 1", b"duration: " + b"9" * 400 + b" ms"),
        (b"statement: select 1", b"duration: 1.2.3 ms  statement: select 1"),
        (b"statement: select 1", b"AUDIT: "),
        (b"statement: select 1", b"AUDIT: OBJECT,x,y,READ,SELECT,,,a,<not logged>"),
        (b"statement: select 1", b'AUDIT: SESSION,1,1,READ,SELECT,,,\\r,\\n,\\"x'),
        (b"statement: select 1", b"AUDIT: SESSION,1,1,READ,SELECT,,,a,<none>," + b"9" * 5000),
        (b"statement: select 1", b"execute "),
        (b"statement: select 1", b""),
    ]
    records = [plain.replace(old, new) for old, new in replaced]
    records += [csv({**json.loads(r), "ps": "idle"}) for r in records if _is_json(r)]
    return [
        *records,
        b"\0" * 4096 + b"\n",
        b"\r\r\n",
        b'"' * 999 + b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"\n",
        b"",
    ]


def _is_json(raw: bytes) -> bool:
    try:
        json.loads(raw).items()
        raw.decode()
    except (ValueError, AttributeError, RecursionError):
        return False
    return b"\\ud" not in raw


@BOTH
@pytest.mark.parametrize("raw", hostile(), ids=range(len(hostile())))
def test_hostile_record_is_decoded_or_put_aside_and_its_neighbours_are_decoded(
    log_format: LogFileFormat, raw: bytes
) -> None:
    before, after = record("statement: select 'before'"), record("statement: select 'after'", line=3)
    data = written(log_format, [before]) + raw + written(log_format, [after])
    events, rejected = decoded(log_format, data)
    queries = [e.query for e in events]
    assert "select 'before'" in queries
    assert "select 'after'" in queries
    msgspec.json.encode([events, rejected])  # it can be stored
    for event in events:
        assert -(2**63) <= event.time_us < 2**63
        assert event.source_port is None or 0 <= event.source_port < 2**16


@given(data=st.binary(max_size=400), log_format=st.sampled_from([CSVLOG, JSONLOG]))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_decoding_fail(data: bytes, log_format: LogFileFormat) -> None:
    decode([block(log_format, data)])


@given(
    seed=st.randoms(use_true_random=False),
    log_format=st.sampled_from([CSVLOG, JSONLOG]),
    edits=st.integers(1, 6),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_damage_to_a_real_log_makes_decoding_fail(
    seed: random.Random, log_format: LogFileFormat, edits: int
) -> None:
    records = [
        record("connection received: host=1 port=2", user=None),
        record("connection authorized: user=app database=shop application_name=x", line=2),
        record(AUDIT.format('"select ""a"", b"'), line=3),
        failing('select "a", b', line=4),
        record("duration: 1.000 ms  execute p: select\n1", line=5, detail="Parameters: $1 = 'x', $2 = NULL"),
        record("disconnection: session time: 0:00:00.001", line=6),
    ]
    data = bytearray(written(log_format, records))
    for _edit in range(edits):
        place = seed.randrange(len(data))
        data[place : place + seed.choice([0, 1, 40])] = seed.choice(
            [b'"', b"\n", b",", b"\\", b"{", b"9" * 30, b""]
        )
    decode([block(log_format, bytes(data))])


@BOTH
def test_record_torn_by_a_crash_is_put_aside_and_the_one_glued_to_it_is_decoded(
    log_format: LogFileFormat,
) -> None:
    whole = record("statement: select 'glued',\n\"it\"", line=9)
    torn = written(log_format, [record("statement: select 'torn'\n, 'in the second line'")])
    after = written(log_format, [whole, record("statement: select 'next'", line=10)])
    for length in range(40, len(torn) - 1):
        events, rejected = decoded(log_format, torn[:length] + after)
        assert [e.query for e in events][-2:] == ["select 'glued',\n\"it\"", "select 'next'"], length
        assert [r.raw for r in rejected] == [torn[:length]], length


def test_statement_that_looks_like_records_stays_one_statement_behind_a_torn_record() -> None:
    fake = csv(record("statement: drop table t", line=77)).decode()
    background = csv(
        record("checkpoint", user=None, dbname=None, remote_host=None, remote_port=None, ps=None)
    ).decode()
    statement = f"select '\n{fake}{background}', 1"
    torn = csv(record("statement: torn")).partition(b"torn")[0]
    events, rejected = decoded(CSVLOG, torn + csv(record(f"statement: {statement}")))
    assert [e.query for e in events] == [statement]
    assert [r.raw for r in rejected] == [torn]


def test_what_is_put_aside_is_bounded_and_says_so() -> None:
    _events, (rejected,) = decoded(JSONLOG, b'{"timestamp":"x' + b"y" * 3_000_000 + b"\n")
    assert len(rejected.raw) <= 64 * 1024
    assert "3000016 bytes" in rejected.reason


def test_reasons_and_positions_of_rejected_records_hold_nothing_of_the_record() -> None:
    for raw in (b'{"timestamp":"secret', b'{"secret":1}', b'"secret', b"secret,secret"):
        for log_format in (CSVLOG, JSONLOG):
            _events, rejected = decoded(log_format, raw + b"\n")
            assert rejected
            assert not [r for r in rejected if "secret" in r.reason + r.position]


def test_same_place_of_another_file_with_the_same_name_is_another_position() -> None:
    positions = {decoded(JSONLOG, raw)[1][0].position for raw in (b"{a\n", b"{b\n")}
    assert len(positions) == 2


def test_texts_in_another_encoding_are_kept_as_far_as_they_can_be_read() -> None:
    for log_format in (CSVLOG, JSONLOG):
        data = written(log_format, [record("statement: select 'x'"), record("statement: select 2", line=2)])
        events, rejected = decoded(log_format, data.replace(b"'x'", "'ü'".encode("latin-1")))
        assert [e.query for e in events] == [r"select '\xfc'", "select 2"]
        assert not rejected


@pytest.mark.parametrize(
    ("host", "port", "expected"),
    [
        ("::1", 5432, ("::1", 5432, None)),
        ("fe80::1%eth0", 1, ("fe80::1%eth0", 1, None)),
        ("[local]", None, (None, None, "[local]")),
        ("db-1.example.com", 40112, (None, 40112, "db-1.example.com")),
    ],
)
@BOTH
def test_client_is_its_address_or_its_name(
    log_format: LogFileFormat,
    host: str,
    port: int | None,
    expected: tuple[str | None, int | None, str | None],
) -> None:
    (event,) = events_of(log_format, record("statement: select 1", remote_host=host, remote_port=port))
    assert (event.source_ip, event.source_port, event.source_host) == expected


def test_keys_are_made_of_what_the_server_numbers() -> None:
    (event,) = events_of(JSONLOG, record("statement: select 1", line=12))
    assert re.fullmatch(r"[0-9a-f]+\.[0-9a-f]+:12", event.key)
