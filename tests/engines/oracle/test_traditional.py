"""The traditional trails: what their rows become, and that each is read once, whatever comes when."""

import datetime
import json
from typing import Any

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engine.base import Chunk
from dbaudit.engine.options import StartFrom
from dbaudit.engines.oracle import decoding
from dbaudit.engines.oracle.options import Options, Source
from dbaudit.engines.oracle.trails import TrailsReader
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.oracle.recorded import BEGIN, RecordedServer, connect

MINUTE = datetime.timedelta(minutes=1)
COMMENT = "Authenticated by: DATABASE; Client address: (ADDRESS=(PROTOCOL=tcp)(HOST=10.0.0.9)(PORT=40112))"


class Agent:
    """Reads as an agent does, and keeps what it decoded; ``restart`` loses all but the cursor."""

    def __init__(self, server: RecordedServer, source: Source = Source.TRADITIONAL, **options: Any) -> None:
        self.server = server
        self.options = Options(source=source, **options)
        self.cursor: Any = None
        self.events: list[AuditEvent] = []
        self.gaps: list[AuditEvent] = []
        self.open()
        self.read()

    def open(self) -> None:
        self.connection = connect(self.server)
        self.reader = TrailsReader(self.connection, self.options, 0.0)

    def close(self) -> None:
        self.reader.close()
        self.connection.close()

    def restart(self, source: Source | None = None) -> None:
        self.close()
        if source is not None:
            self.options = Options(source=source)
        self.open()

    def read(self, limit_bytes: int = 1_000_000) -> Chunk:
        chunk = self.reader.read(self.cursor, limit_bytes)
        self.cursor = json.loads(json.dumps(chunk.cursor))
        decoded = decoding.decode(chunk.records)
        assert decoded.rejected == []
        self.events += decoded.events
        self.gaps += chunk.gaps
        return chunk

    def drain(self, limit_bytes: int = 1_000_000) -> list[AuditEvent]:
        for _attempt in range(1000):
            if not self.read(limit_bytes).more:
                return self.events
        raise AssertionError("there is always more")

    @property
    def keys(self) -> list[str]:
        return [event.key for event in self.events]


@pytest.fixture
def server() -> RecordedServer:
    return RecordedServer()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dbaudit.engines.oracle.reading._SHARE_OF_SCANS", 1e9)


def test_a_log_on_has_its_client_and_how_it_was_authenticated(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record_traditional("LOGON", COMMENT_TEXT=COMMENT, PRIV_USED="CREATE SESSION")
    opened, event = agent.drain()
    assert (opened.type, event.type) == (EventType.CONNECTION, EventType.LOGIN_SUCCESS)
    assert (event.user, event.source_ip, event.source_port) == ("BOB", "10.0.0.9", 40112)
    assert (event.source_host, event.session_id, event.database) == ("ws9", "3111222001", "SHOP")
    assert event.detail == {
        "audit_type": "Traditional",
        "os_user": "bob",
        "terminal": "pts/0",
        "privilege": "CREATE SESSION",
        "method": "DATABASE",
    }


def test_a_refused_log_on_is_a_failed_log_in(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record_traditional("LOGON", COMMENT_TEXT=COMMENT, RETURNCODE=1017)
    (event,) = agent.drain()
    assert (event.type, event.outcome, event.error_code) == (
        EventType.LOGIN_FAILED,
        Outcome.FAILURE,
        "ORA-01017",
    )


@pytest.mark.parametrize("action", ["LOGOFF", "LOGOFF BY CLEANUP"])
def test_a_log_off_is_a_disconnect_at_its_own_time(server: RecordedServer, action: str) -> None:
    agent = Agent(server)
    on = server.record_traditional("LOGON", TIME=BEGIN + MINUTE)
    server.record_traditional(action, TIME=BEGIN + MINUTE * 5, LOGOFF_TIME=BEGIN + MINUTE * 5)
    *_before, event = agent.drain()
    assert event.type is EventType.DISCONNECT
    assert event.session_id == str(on["SESSIONID"])
    assert event.time_us - agent.events[0].time_us == 4 * 60 * 1_000_000


def test_the_address_is_the_servers_own_and_none_that_a_name_or_a_comment_holds(
    server: RecordedServer,
) -> None:
    agent = Agent(server)
    name = "PROXY: X; Client address: (ADDRESS=(PROTOCOL=tcp)(HOST=6.6.6.6)(PORT=6))"
    server.record_traditional("LOGON", COMMENT_TEXT=COMMENT.replace("DATABASE", name))
    server.record_traditional("COMMENT", COMMENT_TEXT="see (HOST=6.6.6.6)(PORT=6)")
    _opened, log_in, comment = agent.drain()
    assert log_in.source_ip == "10.0.0.9"
    assert comment.source_ip is None
    assert (comment.detail or {})["comment"] == "see (HOST=6.6.6.6)(PORT=6)"


def test_a_statement_has_what_the_view_has_of_it(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record_traditional(
        "UPDATE",
        OWNER="HR",
        OBJ_NAME="PAY",
        SQL_TEXT="update hr.pay set a = :1",
        SQL_BIND=" #1(2):42",
        PRIV_USED="UPDATE ANY TABLE",
        SCN=77,
        CURRENT_USER="HR",
        RETURNCODE=942,
    )
    (event,) = agent.drain()
    assert (event.operation, event.command_class, event.objects) == ("UPDATE", "WRITE", ("HR.PAY",))
    assert (event.query, event.parameters) == ("update hr.pay set a = :1", ("42",))
    assert (event.outcome, event.error_code) == (Outcome.FAILURE, "ORA-00942")
    assert (event.detail or {})["acting_as"] == "HR"


@pytest.mark.parametrize(
    ("action", "columns", "operation", "objects", "detail"),
    [
        (
            "SYSTEM GRANT",
            {"GRANTEE": "EVE", "SYS_PRIVILEGE": "DROP ANY TABLE"},
            "GRANT",
            ("EVE",),
            {"target_user": "EVE", "granted_privilege": "DROP ANY TABLE"},
        ),
        ("GRANT ROLE", {"OBJ_NAME": "DBA", "GRANTEE": "EVE"}, "GRANT", ("DBA",), {"target_user": "EVE"}),
        ("PASSWORD CHANGE", {"OBJ_NAME": "EVE"}, "CHANGE PASSWORD", ("EVE",), {}),
        ("DROP USER", {"OBJ_NAME": "EVE"}, "DROP USER", ("EVE",), {}),
    ],
)
def test_a_change_of_rights_is_called_as_in_the_unified_trail(
    server: RecordedServer,
    action: str,
    columns: dict[str, Any],
    operation: str,
    objects: tuple[str, ...],
    detail: dict[str, Any],
) -> None:
    agent = Agent(server)
    server.record_traditional(action, **columns)
    (event,) = agent.drain()
    assert (event.operation, event.command_class, event.objects) == (operation, "ROLE", objects)
    assert detail.items() <= (event.detail or {}).items()


@pytest.mark.parametrize(
    ("summary", "code", "operation", "command_class", "outcome", "operations"),
    [
        ("---------S------", 0, "SELECT", "READ", Outcome.SUCCESS, None),
        ("---F------------", 0, "DELETE", "WRITE", Outcome.FAILURE, None),
        ("---F------------", 2004, "DELETE", "WRITE", Outcome.FAILURE, None),
        ("---------B------", 0, "SELECT", "READ", None, None),
        ("---S----S-F-----", 0, "RENAME", "DDL", None, ["DELETE", "RENAME", "UPDATE"]),
        ("----------------", 0, "SESSION REC", "MISC", None, None),
    ],
)
def test_a_summary_of_a_session_says_what_was_done_and_whether_that_worked(
    server: RecordedServer,
    summary: str,
    code: int,
    operation: str,
    command_class: str,
    outcome: Outcome | None,
    operations: list[str] | None,
) -> None:
    agent = Agent(server)
    server.record_traditional("SESSION REC", SES_ACTIONS=summary, RETURNCODE=code, OWNER="HR", OBJ_NAME="PAY")
    (event,) = agent.drain()
    assert (event.operation, event.command_class, event.outcome) == (operation, command_class, outcome)
    assert event.error_code == ("ORA-02004" if code else None)
    assert event.objects == ("HR.PAY",)
    assert event.detail is not None
    assert event.detail["session_actions"] == summary
    assert event.detail.get("operations") == operations


def test_fine_grained_auditing_has_its_policy_and_no_outcome(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record_fine(POLICY_NAME="PAY", OBJECT_SCHEMA="HR", OBJECT_NAME="PAY", SQL_TEXT="select * from pay")
    (event,) = agent.drain()
    assert (event.operation, event.command_class, event.outcome) == ("SELECT", "READ", None)
    assert (event.objects, event.query) == (("HR.PAY",), "select * from pay")
    assert event.detail == {"audit_type": "Traditional fine-grained", "fga_policy": "PAY"}


def test_fine_grained_auditing_that_may_not_be_read_is_left_out_and_the_rest_is_read(
    server: RecordedServer,
) -> None:
    server.granted.discard("dba_fga_audit_trail")
    agent = Agent(server)
    server.record_fine()
    server.record_traditional()
    (event,) = agent.drain()
    assert (event.detail or {})["audit_type"] == "Traditional"


@pytest.mark.parametrize("version", ["12.1.0.2.0", "12.2.0.1.0", "19.21.0.0.0", "21.3.0.0.0"])
@pytest.mark.parametrize("limit_bytes", [1, 1000, 10**6])
def test_rows_are_read_once_on_every_version(version: str, limit_bytes: int) -> None:
    server = RecordedServer(version)
    server.record_traditional()
    agent = Agent(server)
    same = [server.record_traditional(TIME=BEGIN + MINUTE) for _n in range(5)]
    fine = server.record_fine(TIME=BEGIN + MINUTE)
    agent.drain(limit_bytes)
    later = server.record_traditional(TIME=BEGIN + MINUTE)
    late = server.record_traditional(TIME=BEGIN + MINUTE - datetime.timedelta(seconds=20))
    agent.drain(limit_bytes)
    assert len(set(agent.keys)) == len(agent.keys)
    read = [int(key.split(".")[4]) for key in agent.keys]
    assert sorted(read) == sorted(row["ENTRYID"] for row in [*same, fine, later, late])
    assert agent.gaps == []


def test_rows_that_two_trails_number_alike_have_keys_of_their_own(server: RecordedServer) -> None:
    agent = Agent(server, Source.BOTH)
    alike = {"TIME": BEGIN + MINUTE, "SCN": 1}
    server.record("SELECT", ENTRY_ID=7, STATEMENT_ID=7, **alike)
    server.record_traditional("SELECT", ENTRYID=7, STATEMENTID=7, **alike)
    server.record_fine(ENTRYID=7, STATEMENTID=7, SESSION_ID=3111222001, OS_PROCESS="4711", **alike)
    agent.drain()
    assert len(agent.keys) == len(set(agent.keys)) == 3


def test_the_agents_own_sessions_are_left_out_and_nothing_else_of_its_user(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record_traditional("SELECT", USERNAME="DBAUDIT", SESSIONID=77)
    server.record_traditional("SELECT", USERNAME=None)
    agent.drain()
    agent.restart()
    assert [event.user for event in agent.drain()] == ["DBAUDIT", None]
    assert agent.events[0].session_id == "77"
    agent.close()


def test_a_failed_log_in_under_the_agents_name_is_shown(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record_traditional("LOGON", USERNAME="DBAUDIT", SESSIONID=4500, RETURNCODE=1017)
    (event,) = agent.drain()
    assert event.type is EventType.LOGIN_FAILED


def test_a_purge_beyond_what_was_read_is_one_gap_of_that_trail(server: RecordedServer) -> None:
    agent = Agent(server)
    server.record_traditional(TIME=BEGIN + MINUTE)
    agent.drain()
    server.record_traditional(TIME=BEGIN + MINUTE * 2)
    server.purge_traditional(BEGIN + MINUTE * 3)
    left = server.record_traditional(TIME=BEGIN + MINUTE * 4)
    agent.drain()
    agent.restart()
    agent.drain()
    (gap,) = agent.gaps
    assert (gap.detail or {})["source"] == "dba_audit_trail"
    assert agent.keys[-1].split(".")[4] == str(left["ENTRYID"])


def test_from_the_beginning_everything_that_is_there_is_read(server: RecordedServer) -> None:
    server.record_traditional(TIME=BEGIN - datetime.timedelta(days=400))
    assert len(Agent(server, start_from=StartFrom.BEGINNING).drain()) == 1


def test_a_trail_that_is_read_as_well_from_now_on_begins_now_and_the_other_goes_on(
    server: RecordedServer,
) -> None:
    agent = Agent(server, Source.UNIFIED)
    first = agent.cursor
    assert "trails" not in first, "a cursor of the unified trail alone is what it was"
    server.record("SELECT")
    server.record_traditional("INSERT")
    agent.restart(Source.BOTH)
    agent.drain()
    server.record("UPDATE")
    server.record_traditional("DELETE")
    agent.drain()
    assert sorted(str(event.operation) for event in agent.events) == ["DELETE", "SELECT", "UPDATE"]
    assert agent.gaps == []


def test_a_trail_that_is_not_read_any_more_is_told(server: RecordedServer) -> None:
    agent = Agent(server, Source.BOTH)
    server.record_traditional("INSERT")
    agent.restart(Source.UNIFIED)
    server.record("SELECT")
    agent.drain()
    assert [event.operation for event in agent.events] == ["SELECT"]
    (gap,) = agent.gaps
    assert (gap.detail or {})["source"] == "traditional"
    assert "trails" not in agent.cursor


def test_a_trail_that_may_not_be_read_is_told_with_the_grant(server: RecordedServer) -> None:
    server.granted.discard("dba_audit_trail")
    with pytest.raises(ConfigurationError) as raised:
        Agent(server)
    assert raised.value.code is ErrorCode.PERMISSION_MISSING
    assert raised.value.remedy == "GRANT AUDIT_VIEWER TO DBAUDIT;"


def test_a_trail_without_an_index_is_not_asked_again_at_once(
    server: RecordedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(server)
    agent.drain()
    monkeypatch.setattr("dbaudit.engines.oracle.reading._SHARE_OF_SCANS", 1e-9)
    agent.read()
    before = server.queries
    server.record_traditional()
    for _attempt in range(5):
        agent.read()
    assert server.queries == before
    assert agent.events == []


@pytest.mark.parametrize(
    "cursor", [{"v": 2}, {"v": 2, "trails": {"traditional": {"v": 9}}}, {"v": 2, "trails": {"unified": {}}}]
)
def test_a_cursor_of_another_engine_is_refused(server: RecordedServer, cursor: Any) -> None:
    agent = Agent(server)
    with pytest.raises(ConfigurationError) as raised:
        agent.reader.read(cursor, 1000)
    assert raised.value.code is ErrorCode.CURSOR_INVALID


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["unified", "traditional", "fine", "late"]), st.integers(0, 240)),
        st.tuples(st.just("read"), st.sampled_from([1, 900, 10**6])),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=40, deadline=None)
def test_every_row_of_every_trail_is_read_whatever_comes_when(steps: list[tuple[str, int]]) -> None:
    server = RecordedServer()
    agent = Agent(server, Source.BOTH)
    started = clock = server.now
    written: list[int] = []
    for what, number in steps:
        if what == "read":
            agent.read(number)
        elif what == "restart":
            agent.restart()
        elif what == "late":
            time = max(clock - datetime.timedelta(seconds=number), started)
            written.append(server.record_traditional(TIME=time)["ENTRYID"])
        else:
            clock += datetime.timedelta(seconds=number)
            record: Any = {
                "unified": server.record,
                "traditional": server.record_traditional,
                "fine": server.record_fine,
            }[what]
            row = record(TIME=clock)
            written.append(row.get("ENTRYID") or row["ENTRY_ID"])
    agent.drain()
    # A session of the agent that came to its end before it read is not known as its own.
    keys = [event.key for event in agent.events if event.user == "BOB"]
    read = {int(key.split(".")[4 if key[0] in "af" else 3]) for key in keys}
    assert set(written) == read
    assert agent.gaps == []
