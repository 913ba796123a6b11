"""Reading what real servers write, from each of the sources."""

import contextlib
import os
import random
import time
from pathlib import Path

import msgspec
import pymysql
import pytest
from dbaudit.core.clock import now_us
from dbaudit.core.errors import ConfigurationError, ErrorCode
from dbaudit.core.event import EventType, Outcome
from dbaudit.core.report import CheckStatus
from dbaudit.engines.mariadb.options import Source
from dbaudit.engines.mysql_protocol.general_log import GeneralLogReader
from dbaudit.testing import Collecting

from tests.engines.mariadb.conftest import Start
from tests.engines.mariadb.monitored import USER, USER_PASSWORD, MonitoredMariaDB
from tests.engines.mariadb.reading import collecting, run
from tests.engines.mariadb.syslog import syslog_into
from tests.engines.mariadb.targets import COLLECTOR, GENERAL_LOG_GRANTS, PASSWORD
from tests.servers.mariadb import MariaDBServer
from tests.truth.mariadb_clients import Client

STATEMENTS = (
    "create table `t,1` (id int primary key, v varchar(2000))",
    "insert into `t,1` values (1, 'O''Brien says \"hi\", back\\\\slash')",
    "select *\nfrom `t,1`\r\n\twhere v like '%x\\'y'  -- c",
    "insert into `t,1` values (2, 'ünï 🐘')",
    "drop table `t,1`",
)


@pytest.mark.parametrize("source", [Source.FILE, Source.REMOTE_FILE])
def test_everything_that_a_session_does_is_told(
    mariadb_of_each_release: MariaDBServer, source: Source
) -> None:
    server = mariadb_of_each_release
    with collecting(server, source) as reading:
        run(server, *STATEMENTS, "select * from nosuch")
        with contextlib.suppress(pymysql.err.OperationalError):
            server.connect(USER, "wrong")
        reading.until(lambda: reading.of(USER, EventType.LOGIN_FAILED), "the refusal")
        events = reading.of(USER)
    told = [e.query for e in events if e.query and not e.query.startswith("SET NAMES")]
    assert told == [*STATEMENTS, "select * from nosuch"]
    failed = next(e for e in events if e.query == "select * from nosuch")
    assert (failed.outcome, failed.error_code, failed.database) == (Outcome.FAILURE, "1146", "shop")
    assert {e.source_ip for e in events} == {"127.0.0.1"}
    assert all(abs(e.time_us - now_us()) < 60_000_000 for e in events)
    tables = [(e.operation, e.objects) for e in events if e.detail and e.detail.get("record") == "table"]
    assert ("CREATE", ("shop.t,1",)) in tables
    assert ("WRITE", ("shop.t,1",)) in tables
    assert {e.type for e in events} == {
        *(EventType.CONNECTION, EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED),
        *(EventType.DISCONNECT, EventType.QUERY),
    }
    assert reading.rejected == []
    assert reading.of(COLLECTOR) == []


def test_long_statement_is_told_cut(mariadb_of_each_release: MariaDBServer) -> None:
    server = mariadb_of_each_release
    texts = ["select '" + "A" * 1500 + "'", "select '" + "é" * 800 + "'", "select '" + "''" * 600 + "'"]
    with collecting(server, Source.FILE) as reading:
        run(server, *texts, "select 'end'")
        reading.until_query("select 'end'")
    cut = [e for e in reading.events if (e.detail or {}).get("truncated")]
    assert len(cut) == 3
    for event, text in zip(cut, texts, strict=True):
        assert event.query is not None
        assert text.startswith(event.query)
        assert len(event.query) > 400


def test_password_does_not_stand_in_what_the_server_writes(mariadb: MariaDBServer) -> None:
    with collecting(mariadb, Source.FILE) as reading:
        mariadb.execute_admin("create user temp@localhost identified by 'sesame-open'")
        mariadb.execute_admin("drop user temp@localhost")
        reading.until_query("drop user temp@localhost")
    assert not [e for e in reading.events if e.query and "sesame-open" in e.query]


@pytest.mark.parametrize("source", [Source.FILE, Source.REMOTE_FILE])
@pytest.mark.parametrize("rotations", [9, 20, 100])
def test_rotation_under_load_loses_and_repeats_nothing(
    started: Start, source: Source, rotations: int
) -> None:
    sizes = {"server_audit_file_rotate_size": 3000, "server_audit_file_rotations": rotations}
    settings = {**sizes, "server_audit_events": "QUERY", "server_audit_excl_users": COLLECTOR}
    server = started("10.11", "FILE ON *.*", umask="0644", settings=settings)
    marks = [f"select 'mark {number:04d}'" for number in range(200)]
    with collecting(server, source) as reading:
        for first in range(0, len(marks), 10):
            run(server, *marks[first : first + 10])
            if first % 40 == 0:
                reading.until_query(marks[first + 9], limit_bytes=500)
            if first % 60 == 0:
                reading.reopen()
        reading.until_query(marks[-1], limit_bytes=700)
        told = [q for q in reading.queries() if q and q.startswith("select 'mark")]
    assert told == marks
    assert reading.gaps == []
    assert reading.rejected == []


@pytest.mark.parametrize("source", [Source.FILE, Source.REMOTE_FILE])
def test_history_that_was_overwritten_while_nobody_read_is_told(started: Start, source: Source) -> None:
    sizes = {"server_audit_file_rotate_size": 2000, "server_audit_file_rotations": 2}
    settings = {**sizes, "server_audit_events": "QUERY", "server_audit_excl_users": COLLECTOR}
    server = started("10.11", "FILE ON *.*", umask="0644", settings=settings)
    with collecting(server, source) as reading:
        run(server, "select 'first'")
        reading.until_query("select 'first'")
        reading.session.close()
        run(server, *(f"select 'lost {number}'" for number in range(200)), "select 'last'")
        reading.reopen()
        reading.until_query("select 'last'")
    assert len(reading.gaps) == 1


def test_reading_goes_on_remotely_where_it_was_on_the_disk(mariadb_of_each_release: MariaDBServer) -> None:
    server = mariadb_of_each_release
    cursor = None
    for number, source in enumerate((Source.FILE, Source.REMOTE_FILE, Source.FILE)):
        run(server, f"select 'between {number}'")
        with collecting(server, source, cursor) as reading:
            if cursor is not None:
                reading.until_query(f"select 'between {number}'")
            assert reading.gaps == []
            cursor = reading.cursor


def test_another_source_is_a_gap(started: Start) -> None:
    server = started("10.11", *GENERAL_LOG_GRANTS, settings={"general_log": 1})
    server.execute_admin("create database dbaudit")
    with collecting(server, Source.FILE) as reading:
        cursor = reading.cursor
    with collecting(server, Source.GENERAL_LOG, cursor) as reading:
        reading.read()
        assert len(reading.gaps) == 1
        run(server, "select 'in the table'")
        reading.until_query("select 'in the table'")
        assert len(reading.gaps) == 1


def test_general_log_is_the_fallback(started: Start) -> None:
    server = started("10.11", *GENERAL_LOG_GRANTS, audit=False, settings={"general_log": 1})
    server.execute_admin("create database dbaudit")
    with Collecting(MonitoredMariaDB(server)) as reading:
        # The table holds no letters of more than three bytes.
        statements = [statement.replace("🐘", "日本") for statement in STATEMENTS]
        run(server, *statements)
        with contextlib.suppress(pymysql.err.OperationalError):
            server.connect(USER, "wrong")
        reading.until(lambda: reading.of(USER, EventType.LOGIN_FAILED), "the refusal")
    assert [e.query for e in reading.of(USER, EventType.QUERY) if e.query in statements] == statements
    assert reading.of(COLLECTOR) == []


def test_declarations_that_empty_one_general_log_each_get_all_of_it(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = {**(GeneralLogReader.__init__.__kwdefaults__ or {}), "retired_rows": 20}
    monkeypatch.setattr(GeneralLogReader.__init__, "__kwdefaults__", defaults)
    server = started("10.11", *GENERAL_LOG_GRANTS, audit=False, settings={"general_log": 1})
    server.execute_admin("create database dbaudit")
    monitored = MonitoredMariaDB(server)
    other = msgspec.structs.replace(monitored.target(), database_id="db_other")
    statements = [f"select {number}" for number in range(300)]
    with Collecting(monitored) as first, Collecting(monitored, target=other) as second:
        for place in range(0, 300, 10):
            run(server, *statements[place : place + 10])
            (first, second)[place // 10 % 2].read()
        for reading in (first, second):
            reading.until_query(statements[-1])
            assert reading.gaps == []
            assert [e.query for e in reading.of(USER) if e.query in statements] == statements
            assert reading.of(COLLECTOR) == []


@pytest.mark.parametrize("zone", ["UTC", "XST8", "XST5XDT,M3.2.0,M11.1.0", "<+0545>-5:45"])
def test_local_time_of_the_server_is_not_taken_for_utc(started: Start, zone: str) -> None:
    server = started("10.11", time_zone=zone, settings={"default_time_zone": "+03:00"})
    with collecting(server, Source.FILE) as reading:
        run(server, "select 'now'")
        found = reading.until_query("select 'now'")
    assert abs(found.time_us - now_us()) < 60_000_000


def test_source_that_proves_to_be_this_servers_is_chosen(mariadb: MariaDBServer) -> None:
    with Collecting(MonitoredMariaDB(mariadb)) as reading:
        assert reading.cursor["source"] == "file"


def test_file_that_may_be_another_servers_is_not_read_unasked(started: Start) -> None:
    """Nothing of the agent stands in it."""
    settings = {"server_audit_events": "QUERY", "server_audit_excl_users": COLLECTOR}
    server = started("10.11", "FILE ON *.*", umask="0644", settings=settings)
    with Collecting(MonitoredMariaDB(server)) as reading:
        assert reading.cursor["source"] == "remote_file"
        run(server, "select 'remotely'")
        reading.until_query("select 'remotely'")


def test_source_stays_the_same_while_the_proof_of_it_sinks_back(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent's own log-in, by which the file is known as this server's, is far from its end soon."""
    monkeypatch.setattr("dbaudit.engines.mariadb.reading._SETTINGS_HOLD_SECONDS", 0.0)
    server = started("10.11")
    with Collecting(MonitoredMariaDB(server)) as reading:
        with server.audit_file.open("ab") as file:
            file.write(b"20261122 10:15:00,db1,app,10.0.0.7,41,0,DISCONNECT,shop,,0\n" * 40_000)
        server.execute_admin("set global server_audit_query_log_limit = 2048")
        run(server, "select 'the same source'")
        reading.until_query("select 'the same source'")
        assert reading.cursor["source"] == "file"
        assert reading.gaps == []
        assert reading.session.test().success
        assert reading.session.health().permissions is CheckStatus.HEALTHY


def test_server_that_records_nothing_is_told_with_the_remedy(started: Start) -> None:
    server = started("10.11", audit=False)
    with pytest.raises(ConfigurationError) as raised, Collecting(MonitoredMariaDB(server)):
        pass
    assert raised.value.code is ErrorCode.AUDIT_SOURCE_MISSING
    assert "INSTALL SONAME 'server_audit'" in (raised.value.remedy or "")


def test_records_that_the_server_failed_to_write_are_a_gap(mariadb: MariaDBServer) -> None:
    with collecting(mariadb, Source.FILE) as reading:
        reading.cursor["writes_failed"] -= 3  # as if the server had counted three more since
        reading.read()
        reading.read()
    assert [(gap.detail or {})["lost_records"] for gap in reading.gaps] == [3]


def test_user_name_with_line_breaks_forges_no_event(mariadb: MariaDBServer) -> None:
    forged = f"{time.strftime('%Y%m%d %H:%M:%S', time.gmtime())},vm,root,localhost,1,0,CONNECT,mysql,,0"
    with collecting(mariadb, Source.FILE) as reading:
        for name in (forged.partition(",vm,")[2] + "\nx", "x\ny"):
            with contextlib.suppress(pymysql.err.OperationalError):
                mariadb.connect(name, "wrong")
        run(mariadb, "select 'after'")
        reading.until_query("select 'after'")
    assert not [e for e in reading.events if e.user == "root" and e.source_host == "localhost"]
    refusals = [e for e in reading.events if e.type is EventType.LOGIN_FAILED]
    assert len(refusals) == 2
    assert all("suspect" in (e.detail or {}) for e in refusals)


def test_user_changed_on_a_connection_while_the_general_log_is_on_has_no_made_up_database(
    started: Start,
) -> None:
    """The server's own writing to mysql.general_log leaves its database there."""
    server = started("10.11", settings={"general_log": 1})
    client = Client(server, USER, USER, "shop", random.Random(1))
    with collecting(server, Source.FILE) as reading:
        client.connect("shop")
        assert client.change(USER, USER_PASSWORD, "shop") is None
        assert client.change(USER, "wrong", None) == "1045"
        with contextlib.suppress(pymysql.err.OperationalError):
            server.connect(USER, USER_PASSWORD, database="mysql")
        connection = server.connect(USER, USER_PASSWORD)
        with pytest.raises(pymysql.err.OperationalError):
            connection.query("use mysql")
        connection.query("select 'the end'")
        connection.close()
        reading.until_query("select 'the end'")
    changed = [e for e in reading.events if (e.detail or {}).get("change_user")]
    assert [(e.type, e.user, e.database, e.error_code) for e in changed] == [
        (EventType.LOGIN_SUCCESS, USER, None, None),
        (EventType.LOGIN_FAILED, USER, None, "1045"),
    ]
    denied = next(e for e in reading.events if e.query == "use mysql")
    assert (denied.user, denied.database, denied.error_code) == (USER, None, "1044")
    assert "message of an error" in (denied.detail or {})["database"]
    assert not [e for e in reading.events if e.objects == ("mysql.general_log",)]
    assert reading.rejected == []


@pytest.mark.skipif(
    os.geteuid() != 0 or Path("/dev/log").exists(), reason="needs root, and no syslog that listens already"
)
def test_syslog(started: Start, tmp_path: Path) -> None:
    file = tmp_path / "syslog"
    with syslog_into(file):
        settings = {"server_audit_output_type": "syslog"}
        server = started("10.11", settings=settings)
        with collecting(server, Source.SYSLOG, syslog_file=str(file)) as reading:
            run(server, *STATEMENTS)
            reading.until_query(STATEMENTS[-1])
            assert [q for q in reading.queries() if q in STATEMENTS] == list(STATEMENTS)
            assert reading.of(COLLECTOR) == []
            assert all(abs(e.time_us - now_us()) < 60_000_000 for e in reading.events)
            assert reading.rejected == []
    assert PASSWORD not in file.read_text()
