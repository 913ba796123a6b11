"""Reading the trail: every row once, whatever its time, when it comes, and what is purged meanwhile."""

import datetime
import json
from typing import Any

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode, TransientError
from dbaudit.engine.base import Chunk
from dbaudit.engine.options import StartFrom
from dbaudit.engines.oracle import decoding, trail
from dbaudit.engines.oracle.options import Options
from dbaudit.engines.oracle.reading import TrailReader
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.oracle.recorded import BEGIN, COLUMNS_OF, RecordedServer, connect, database_error

MINUTE = datetime.timedelta(minutes=1)


class Agent:
    """Reads as an agent does, and keeps what it decoded; ``restart`` loses all but the cursor."""

    def __init__(self, server: RecordedServer, look_back_every_seconds: float = 0.0, **options: Any) -> None:
        self.server = server
        self.options = Options(**options)
        self.every_seconds = look_back_every_seconds
        self.cursor: Any = None
        self.events: list[Any] = []
        self.gaps: list[Any] = []
        self.restart()
        self.read()

    def restart(self) -> None:
        self.connection = connect(self.server)
        self.reader = TrailReader(self.connection, self.options, trail.read_unified, self.every_seconds)

    def close(self) -> None:
        self.reader.close()
        self.connection.close()

    def read(self, limit_bytes: int = 1_000_000) -> Chunk:
        chunk = self.reader.read(self.cursor, limit_bytes)
        self.cursor = json.loads(json.dumps(chunk.cursor))
        decoded = decoding.decode(chunk.records)
        assert decoded.rejected == []
        self.events += decoded.events
        self.gaps += chunk.gaps
        return chunk

    def drain(self, limit_bytes: int = 1_000_000) -> list[int]:
        for _attempt in range(1000):
            if not self.read(limit_bytes).more:
                return self.statements()
        raise AssertionError("there is always more")

    def statements(self) -> list[int]:
        return [int(event.key.split(".")[3]) for event in self.events]


@pytest.fixture
def server() -> RecordedServer:
    return RecordedServer()


def entries(*rows: dict[str, Any]) -> list[int]:
    return [row["ENTRY_ID"] for row in rows]


@pytest.mark.parametrize("version", COLUMNS_OF)
def test_rows_are_read_once_on_every_version(version: str) -> None:
    server = RecordedServer(version)
    server.record()
    agent = Agent(server)
    rows = [server.record() for _n in range(5)]
    assert agent.drain() == entries(*rows)
    later = server.record()
    assert agent.drain() == entries(*rows, later)
    assert agent.gaps == []


def test_a_query_that_names_a_column_which_is_not_there_is_refused() -> None:
    server = RecordedServer("12.1.0.2.0")
    connection = connect(server)
    newer = trail.unified(COLUMNS_OF["19.21.0.0.0"])
    with pytest.raises(ConfigurationError) as raised:
        TrailReader(connection, Options(start_from=StartFrom.BEGINNING), lambda _connection: newer).read(
            {"v": 1, "start_us": 0, "front_us": 0}, 1000
        )
    assert "EVENT_TIMESTAMP_UTC" in raised.value.message or "CURRENT_USER" in raised.value.message
    connection.close()


@pytest.mark.parametrize("limit_bytes", [1, 1000, 10**6])
def test_rows_are_read_once_whatever_the_size_of_a_chunk(server: RecordedServer, limit_bytes: int) -> None:
    agent = Agent(server)
    same = [server.record(TIME=BEGIN + MINUTE) for _n in range(7)]
    rows = [server.record(TIME=BEGIN + MINUTE * 2, SQL_TEXT="select 1") for _n in range(3)]
    assert agent.drain(limit_bytes) == entries(*same, *rows)


def test_a_backlog_is_not_asked_for_again_with_each_chunk(server: RecordedServer) -> None:
    agent = Agent(server, look_back_every_seconds=600)
    rows = [server.record() for _n in range(50)]
    before = server.queries
    assert agent.drain(limit_bytes=1) == entries(*rows)
    assert server.queries - before <= 4


def test_from_the_beginning_everything_that_is_there_is_read(server: RecordedServer) -> None:
    rows = [server.record(TIME=BEGIN - datetime.timedelta(days=400)), server.record()]
    assert Agent(server, start_from=StartFrom.BEGINNING).drain() == entries(*rows)


def test_rows_that_share_the_newest_time_are_not_lost_between_two_reads(server: RecordedServer) -> None:
    agent = Agent(server)
    first = server.record()
    agent.drain()
    second = server.record(TIME=first["TIME"])
    assert agent.drain() == entries(first, second)


def test_rows_that_are_alike_in_every_column_have_keys_of_their_own(server: RecordedServer) -> None:
    agent = Agent(server)
    alike = [server.record(TIME=BEGIN + MINUTE, ENTRY_ID=7, SCN=1, STATEMENT_ID=1) for _n in range(3)]
    agent.drain(limit_bytes=1)
    agent.restart()
    agent.drain()
    assert len({event.key for event in agent.events}) == len(agent.events) == len(alike)


def test_a_late_row_is_read(server: RecordedServer) -> None:
    agent = Agent(server)
    rows = [server.record(TIME=BEGIN + MINUTE * n) for n in range(1, 6)]
    agent.drain()
    late = server.record(TIME=BEGIN + MINUTE * 3 + datetime.timedelta(seconds=5))
    assert agent.drain() == entries(*rows, late)


def test_a_late_row_that_came_while_the_agent_was_away_is_read(server: RecordedServer) -> None:
    agent = Agent(server)
    for n in range(1, 6):
        server.record(TIME=BEGIN + MINUTE * n)
    agent.drain()
    agent.close()
    late = server.record(TIME=BEGIN + MINUTE * 3)
    agent.restart()
    assert late["ENTRY_ID"] in agent.drain()
    keys = {(event.time_us, event.key) for event in agent.events}
    assert len(keys) == 6, "a row that is given again must have the same key"


def test_late_rows_of_a_long_minute_come_in_several_chunks(server: RecordedServer) -> None:
    agent = Agent(server)
    early = [server.record(TIME=BEGIN + MINUTE + datetime.timedelta(milliseconds=n)) for n in range(10)]
    last = server.record(TIME=BEGIN + MINUTE * 4)
    agent.drain()
    late = [
        server.record(TIME=BEGIN + MINUTE + datetime.timedelta(milliseconds=n, microseconds=1))
        for n in range(9)
    ]
    assert sorted(agent.drain(limit_bytes=1)) == sorted(entries(*early, last, *late))


def test_a_row_later_than_the_window_is_left_out(server: RecordedServer) -> None:
    agent = Agent(server, late_rows_minutes=2)
    row = server.record(TIME=BEGIN + MINUTE * 60)
    agent.drain()
    server.record(TIME=BEGIN + MINUTE * 30)
    assert agent.drain() == entries(row)


def test_what_was_recorded_before_the_start_is_never_taken_for_late(server: RecordedServer) -> None:
    before = [server.record() for _n in range(4)]
    agent = Agent(server)
    row = server.record()
    assert agent.drain() == entries(row)
    assert not set(entries(*before)) & set(agent.drain())


def test_own_activity_is_left_out_but_not_a_failed_log_in_under_the_own_name(server: RecordedServer) -> None:
    agent = Agent(server)
    own = {"DBUSERNAME": "DBAUDIT", "CLIENT_PROGRAM_NAME": "dbaudit-agent"}
    server.record("SELECT", **own)
    failed = server.record("LOGON", RETURN_CODE=1017, **own)
    other = server.record("SELECT", **{**own, "CLIENT_PROGRAM_NAME": "sqlplus"})
    nameless = server.record("SELECT", **{**own, "CLIENT_PROGRAM_NAME": None})
    assert agent.drain() == entries(failed, other, nameless)
    agent.close()


def test_a_purge_of_what_was_read_is_no_gap(server: RecordedServer) -> None:
    agent = Agent(server)
    rows = [server.record(TIME=BEGIN + MINUTE * n) for n in range(1, 6)]
    agent.drain()
    server.purge(BEGIN + MINUTE * 4)
    later = server.record(TIME=BEGIN + MINUTE * 6)
    assert agent.drain() == entries(*rows, later)
    assert agent.gaps == []


def test_a_purge_beyond_what_was_read_is_one_gap(server: RecordedServer) -> None:
    agent = Agent(server)
    read = server.record(TIME=BEGIN + MINUTE)
    agent.drain()
    agent.close()
    server.record(TIME=BEGIN + MINUTE * 2)
    server.purge(BEGIN + MINUTE * 3)
    left = server.record(TIME=BEGIN + MINUTE * 4)
    agent.restart()
    assert agent.drain() == entries(read, left)
    agent.restart()
    agent.drain()
    (gap,) = agent.gaps
    assert "purged" in gap.detail["reason"]
    assert gap.detail["last_archive_time_us"] == int(
        (BEGIN + MINUTE * 3).replace(tzinfo=datetime.UTC).timestamp() * 1e6
    )
    # The row that came after the gap is the anchor of the next purge.
    server.purge(BEGIN + MINUTE * 5)
    agent.drain()
    assert len(agent.gaps) == 2


def test_a_purge_before_the_first_row_was_read_is_told_by_the_view_of_purges(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record(TIME=BEGIN + MINUTE)
    server.purge(BEGIN + MINUTE * 3)
    left = server.record(TIME=BEGIN + MINUTE * 4)
    assert agent.drain() == entries(left)
    agent.restart()
    agent.drain()
    assert len(agent.gaps) == 1


def test_a_purge_is_told_where_the_view_of_purges_is_not_granted(server: RecordedServer) -> None:
    server.granted.discard("dba_audit_mgmt_last_arch_ts")
    agent = Agent(server)
    server.record(TIME=BEGIN + MINUTE)
    agent.drain()
    server.purge(BEGIN + MINUTE * 3)
    agent.drain()
    assert [gap.detail["last_archive_time_us"] for gap in agent.gaps] == [None]


def test_the_same_cursor_gives_the_same_rows_again_in_one_session(server: RecordedServer) -> None:
    agent = Agent(server)
    start = agent.cursor
    rows = [server.record(TIME=BEGIN + MINUTE * n) for n in range(1, 4)]
    assert agent.drain(limit_bytes=1) == entries(*rows)
    late = server.record(TIME=BEGIN + MINUTE * 2)
    agent.cursor, agent.events = start, []
    assert sorted(agent.drain()) == sorted(entries(*rows, late))


def test_a_connection_that_breaks_in_the_middle_loses_nothing(server: RecordedServer) -> None:
    agent = Agent(server)
    rows = [server.record() for _n in range(5)]
    agent.read(limit_bytes=1)
    server.broken = database_error("ORA-03113: end-of-file on communication channel")
    agent.reader.close()
    with pytest.raises(TransientError) as raised:
        agent.drain(limit_bytes=1)
    assert raised.value.code is ErrorCode.CONNECTION_LOST
    server.broken = None
    agent.restart()
    assert agent.drain() == entries(*rows)


def test_a_trail_that_may_not_be_read_is_told_with_the_grant(server: RecordedServer) -> None:
    server.granted.discard("unified_audit_trail")
    with pytest.raises(ConfigurationError) as raised:
        Agent(server)
    assert raised.value.code is ErrorCode.PERMISSION_MISSING
    assert raised.value.remedy == "GRANT AUDIT_VIEWER TO DBAUDIT;"


@pytest.mark.parametrize(
    "cursor",
    [
        {},
        {"v": 2},
        {"v": 1, "start_us": 0, "front_us": -1},
        {"v": 1, "start_us": 0, "front_us": 0, "minutes": {"x": 1}},
    ],
)
def test_a_cursor_of_another_engine_is_refused(server: RecordedServer, cursor: Any) -> None:
    agent = Agent(server)
    with pytest.raises(ConfigurationError) as raised:
        agent.reader.read(cursor, 1000)
    assert raised.value.code is ErrorCode.CURSOR_INVALID


def test_the_cursor_stays_small(server: RecordedServer) -> None:
    agent = Agent(server)
    for n in range(3000):
        server.record(TIME=BEGIN + MINUTE * (n // 10))
    agent.drain()
    assert len(json.dumps(agent.cursor)) < 2000


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("record"), st.integers(0, 240)),
        st.tuples(st.just("late"), st.integers(1, 400)),
        st.tuples(st.just("read"), st.sampled_from([1, 900, 10**6])),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=40,
)


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_every_row_is_read_whatever_comes_when(steps: list[tuple[str, int]]) -> None:
    server = RecordedServer()
    agent = Agent(server)
    started = server.now
    clock = started
    rows: list[dict[str, Any]] = []
    for what, number in steps:
        if what == "record":
            clock += datetime.timedelta(seconds=number)
            rows.append(server.record(TIME=clock))
        elif what == "late":
            time = max(clock - datetime.timedelta(seconds=number), started)
            rows.append(server.record(TIME=time))
        elif what == "read":
            agent.read(number)
        else:
            agent.restart()
    agent.drain()
    read = [event.key for event in agent.events]
    assert {key_of(row) for row in rows} <= set(read)
    assert agent.gaps == []


def key_of(row: dict[str, Any]) -> str:
    return trail.key_of((None, *(row.get(name) for name in trail.COLUMNS), None))
