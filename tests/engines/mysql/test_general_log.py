"""The general log of live servers: what becomes of its rows, and that emptying its table loses nothing."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pymysql
import pytest
from dbaudit.core.event import EventType, Outcome
from dbaudit.engines.mysql_protocol import general_log

from tests.engines.mysql import targets
from tests.engines.mysql.collecting import Collecting
from tests.engines.mysql.targets import ACCOUNT, COLLECTOR
from tests.servers.mysql import MySQLServer

USER, PASSWORD = "mia", "right"


@pytest.fixture
def server(mysql_of_each_release: MySQLServer) -> Iterator[MySQLServer]:
    """A shared server of each release, with a schema of mia's, whose log nobody reads."""
    server = mysql_of_each_release
    _drop_tables(server)
    server.execute_admin("TRUNCATE TABLE mysql.general_log")
    server.execute_admin("CREATE DATABASE shop")
    server.create_user(USER, PASSWORD, "ALL ON shop.*")
    yield server
    server.drop_user(USER)
    server.execute_admin("DROP DATABASE shop")
    _drop_tables(server)


def _drop_tables(server: MySQLServer) -> None:
    """Retired tables, and those of readers, which retired ones would wait for."""
    for (table,) in server.execute_admin("SHOW TABLES FROM dbaudit"):
        server.execute_admin(f"DROP TABLE dbaudit.{table}")


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is retired from 20 rows on."""
    monkeypatch.setattr(general_log.GeneralLogReader.__init__, "__kwdefaults__", _kwdefaults(retired_rows=20))


def _kwdefaults(**changes: Any) -> dict[str, Any]:
    return {**(general_log.GeneralLogReader.__init__.__kwdefaults__ or {}), **changes}


@contextlib.contextmanager
def session(server: MySQLServer, **options: Any) -> Iterator[Callable[[str], None]]:
    """Runs statements as mia."""
    connection = server.connect(USER, PASSWORD, **options)

    def run(statement: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    try:
        yield run
    finally:
        connection.close()


def retired(server: MySQLServer) -> list[str]:
    tables = [str(row[0]) for row in server.execute_admin("SHOW TABLES FROM dbaudit")]
    return [table for table in tables if not table.endswith("_reader")]


def numbered(begin: int, end: int) -> list[str]:
    return [f"select {number}" for number in range(begin, end)]


# -- what becomes of the rows


def test_session_becomes_its_events(server: MySQLServer) -> None:
    with Collecting(server) as collecting:
        with session(server, database="shop") as run:
            run("select 1")
        collecting.until(lambda: collecting.of(USER, EventType.DISCONNECT), "the log-out")
        connection, log_in, names, query, log_out = collecting.of(USER)
        assert (connection.type, connection.source_ip) == (EventType.CONNECTION, "127.0.0.1")
        assert (log_in.type, log_in.outcome) == (EventType.LOGIN_SUCCESS, Outcome.SUCCESS)
        assert (log_in.database, log_in.source_ip) == ("shop", "127.0.0.1")
        assert names.query == "SET NAMES utf8mb4"
        assert (query.query, query.operation, query.outcome) == ("select 1", "SELECT", None)
        assert log_out.session_id == query.session_id == log_in.session_id


def test_refused_log_in_is_told_once_and_no_success(server: MySQLServer) -> None:
    with Collecting(server) as collecting:
        with contextlib.suppress(pymysql.err.OperationalError):
            server.connect(USER, "wrong")
        with contextlib.suppress(pymysql.err.OperationalError):
            server.connect(USER, PASSWORD, database="mysql")
        with session(server) as run:
            run("select 'end'")
        collecting.until_query("select 'end'")
        found = [(e.type, e.error_code) for e in collecting.of(USER) if e.query is None]
        assert found[:6] == [
            (EventType.CONNECTION, None),
            (EventType.LOGIN_FAILED, "1045"),
            (EventType.CONNECTION, None),
            (EventType.LOGIN_FAILED, "1044"),
            (EventType.CONNECTION, None),
            (EventType.LOGIN_SUCCESS, None),
        ]


def test_log_in_alone_is_told_though_nothing_follows_it(server: MySQLServer) -> None:
    with Collecting(server) as collecting, session(server):
        collecting.until(lambda: collecting.of(USER, EventType.LOGIN_SUCCESS), "the log-in")


def test_log_in_that_nothing_confirms_has_no_outcome(server: MySQLServer) -> None:
    """The server writes no refusal for a database that is not there: only later rows tell them apart."""
    server.execute_admin(f"GRANT ALL ON *.* TO '{USER}'@'127.0.0.1'")
    with Collecting(server) as collecting:
        with pytest.raises(pymysql.err.OperationalError, match="1049"):
            server.connect(USER, PASSWORD, database="nosuch")
        collecting.until(lambda: collecting.of(USER, EventType.LOGIN_SUCCESS), "the log-in")
        (log_in,) = collecting.of(USER, EventType.LOGIN_SUCCESS)
        assert (log_in.database, log_in.outcome) == ("nosuch", None)
        assert "no later row" in (log_in.detail or {})["unconfirmed"]


def test_use_that_was_refused_is_one_failure(server: MySQLServer) -> None:
    with Collecting(server) as collecting, session(server) as run:
        for _each in range(2):
            with contextlib.suppress(pymysql.err.OperationalError):
                run("use mysql")
        run("use shop")
        run("select 'end'")
        collecting.until_query("select 'end'")
        found = [
            (e.query, e.error_code) for e in collecting.of(USER, EventType.QUERY) if e.operation == "USE"
        ]
        assert found == [("use mysql", "1044"), ("use mysql", "1044"), ("use shop", None)]


def test_names_that_read_as_the_rest_of_a_row_are_told_as_names(server: MySQLServer) -> None:
    names = ("Access denied", "u on b using TCP", "a@1.2.3.4 on db")  # 5.6 takes 16 characters
    databases = ("a on b using c", "x'@'10.9.9.9", "on x using SSL/TLS")
    for name in names:
        server.create_user(name, PASSWORD, "ALL ON `on x using SSL/TLS`.*")
    server.execute_admin("CREATE DATABASE `on x using SSL/TLS`")
    try:
        with Collecting(server) as collecting:
            for name in names:
                for password, database in (
                    (PASSWORD, None),
                    ("wrong", None),
                    *((PASSWORD, d) for d in databases),
                ):
                    with contextlib.suppress(pymysql.err.OperationalError):
                        server.connect(name, password, database=database).close()
            with session(server) as run:
                run("select 'end'")
            collecting.until_query("select 'end'")
        for name in names:
            found = [
                (e.type, e.error_code, e.database, e.source_ip)
                for e in collecting.of(name, EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED)
            ]
            assert found == [
                (EventType.LOGIN_SUCCESS, None, None, "127.0.0.1"),
                (EventType.LOGIN_FAILED, "1045", None, "127.0.0.1"),
                (EventType.LOGIN_FAILED, "1044", databases[0], "127.0.0.1"),
                (EventType.LOGIN_FAILED, "1044", databases[1], "127.0.0.1"),
                (EventType.LOGIN_SUCCESS, None, databases[2], "127.0.0.1"),
            ]
    finally:
        for name in names:
            server.drop_user(name)
        server.execute_admin("DROP DATABASE `on x using SSL/TLS`")


def test_time_of_a_session_with_a_zone_of_its_own_is_right(server: MySQLServer) -> None:
    with Collecting(server) as collecting, session(server) as run:
        for zone in ("+05:30", "-11:00", "SYSTEM"):
            run(f"set time_zone = '{zone}'")
            run(f"select '{zone}'")
        last = collecting.until_query("select 'SYSTEM'")
        times = [e.time_us for e in collecting.of(USER, EventType.QUERY)]
        # 5.6 keeps whole seconds, and the window that a row was written in is known to about two more.
        assert all(abs(time_us - last.time_us) < 5_000_000 for time_us in times)


def test_statements_of_prepared_ones_are_told_with_their_values(server: MySQLServer) -> None:
    with Collecting(server) as collecting, session(server) as run:
        run("prepare p from 'select ?, 2'")
        run("set @value = 1")
        run("execute p using @value")
        collecting.until_query("select 1, 2")


def test_bytes_that_are_no_text_are_told_and_stop_nothing(server: MySQLServer) -> None:
    with Collecting(server) as collecting:
        connection = server.connect(USER, PASSWORD)
        connection.query(b"set @a = '\xff\xfe'")  # type: ignore[arg-type]
        connection.close()
        collecting.until(lambda: collecting.of(USER, EventType.DISCONNECT), "the log-out")
        assert [q for q in collecting.queries(USER) if q and q.lower().startswith(r"set @a = '\xff\xfe'")]


# -- emptying the table


@pytest.mark.usefixtures("few_rows")
def test_table_is_emptied_as_it_is_read_and_nothing_is_lost(server: MySQLServer) -> None:
    run_statements = numbered(0, 200)
    with Collecting(server, start_from="beginning") as collecting, session(server) as run:
        for statement in run_statements:
            run(statement)
            collecting.read()
        collecting.until_query(run_statements[-1])
        assert [q for q in collecting.queries(USER) if q in run_statements] == run_statements
        assert len(set(collecting.keys())) == len(collecting.keys())
        assert collecting.gaps == []
        assert server.execute_admin("SELECT COUNT(*) < 60 FROM mysql.general_log") == [(1,)]
        collecting.until(lambda: not retired(server), "dropping what was read")


@pytest.mark.usefixtures("few_rows")
def test_retired_table_is_there_until_it_is_acknowledged(server: MySQLServer) -> None:
    with Collecting(server, start_from="beginning", acknowledging=False) as collecting:
        with session(server) as run:
            for statement in numbered(0, 40):
                run(statement)
        collecting.until(lambda: collecting.cursor["finished"], "the end of a retired table")
        (table,) = collecting.cursor["finished"]
        assert retired(server) == [table]
        collecting.session.acknowledge(collecting.cursor)
        assert retired(server) == []


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize("reads", range(1, 8))
def test_crash_after_any_read_repeats_and_loses_nothing(server: MySQLServer, reads: int) -> None:
    """The agent dies with what it has read but not stored; another one goes on from the stored cursor."""
    run_statements = numbered(0, 60)
    with Collecting(server, start_from="beginning") as collecting, session(server) as run:
        for place, statement in enumerate(run_statements):
            run(statement)
            if place % reads == 0:
                stored = collecting.cursor
                with contextlib.suppress(AssertionError):
                    # Read, perhaps even retired, and nothing of it stored.
                    collecting.session.read(stored, 300)
                collecting.reopen()
                collecting.read(1000)
        collecting.until_query(run_statements[-1])
    assert [q for q in collecting.queries(USER) if q in run_statements] == run_statements
    assert len(set(collecting.keys())) == len(collecting.keys())
    assert collecting.gaps == []


@pytest.mark.usefixtures("few_rows")
def test_rows_from_before_the_declaration_are_not_thrown_away(server: MySQLServer) -> None:
    with session(server) as run:
        run("select 'before'")
    with Collecting(server) as collecting, session(server) as run:
        for statement in numbered(0, 60):
            run(statement)
        collecting.until_query("select 59")
        (kept,) = retired(server)
        rows = server.execute_admin(f"SELECT CAST(argument AS CHAR) FROM dbaudit.{kept}")
        assert ("select 'before'",) in rows
        assert "select 'before'" not in collecting.queries()


def test_without_the_right_to_empty_it_the_table_is_read_as_it_is(
    mysql_server: Callable[..., MySQLServer],
) -> None:
    server = mysql_server("5.6", f"GRANT SELECT ON mysql.general_log TO {ACCOUNT}")
    server.create_user(USER, PASSWORD)
    run_statements = numbered(0, general_log.RETIRED_ROWS + 100)
    with Collecting(server) as collecting, session(server) as run:
        emptied = next(d for d in collecting.session.test().diagnoses if d.code == "general_log_emptied")
        for statement in run_statements:
            run(statement)
        collecting.until_query(run_statements[-1])
        assert [q for q in collecting.queries(USER) if q in run_statements] == run_statements
        collecting.reopen()
        run("select 'after'")
        collecting.until_query("select 'after'")
        assert collecting.gaps == []
    assert emptied.remedy is not None
    for statement in filter(str.strip, emptied.remedy.split(";")):
        server.execute_admin(statement)
    with Collecting(server, collecting.cursor) as later, session(server) as run:
        # Now it is emptied, in the middle of what was read without that.
        run("select 'later'")
        later.until_query("select 'later'")
        later.until(lambda: not later.cursor["table"] and later.cursor["row"] < 100, "emptying the table")
        assert later.gaps == []
        assert later.queries(USER).count("select 'later'") == 1


def test_emptying_is_kept_out_of_the_binary_log(mysql_server: Callable[..., MySQLServer]) -> None:
    server = mysql_server("5.6", settings={"log_bin": "binlog", "server_id": 1})
    with Collecting(server) as collecting:
        report = collecting.session.test()
    assert report.permissions["empty_general_log"] is False
    (found,) = [d for d in report.diagnoses if d.code == "general_log_emptied"]
    assert found.remedy == f"GRANT SUPER ON *.* TO {ACCOUNT};"
    server.execute_admin(found.remedy)
    with Collecting(server) as collecting:
        assert collecting.session.test().permissions["empty_general_log"] is True
        connection = server.connect_admin()
        with connection.cursor() as cursor:
            for _each in range(general_log.RETIRED_ROWS):
                cursor.execute("do 0")
        connection.close()
        collecting.until(lambda: collecting.cursor["table"] or retired(server), "emptying the table")
    logged = [str(row[5]) for row in server.execute_admin("SHOW BINLOG EVENTS")]
    assert [text for text in logged if "general_log" in text and "GRANT" not in text] == []


def test_agents_own_sessions_are_left_out(server: MySQLServer) -> None:
    with Collecting(server) as collecting:
        for _each in range(3):
            collecting.session.test()
            collecting.session.health()
            collecting.reopen()
        with session(server) as run:
            run("select 'end'")
        collecting.until_query("select 'end'")
        assert collecting.of(COLLECTOR) == []


def test_somebody_else_with_the_agents_account_is_told(server: MySQLServer) -> None:
    with Collecting(server) as collecting:
        connection = server.connect(COLLECTOR, targets.PASSWORD.encode())  # type: ignore[arg-type]
        with connection.cursor() as cursor:
            cursor.execute("select 'not the agent'")
        connection.close()
        assert collecting.until_query("select 'not the agent'").user == COLLECTOR


def test_backlog_comes_whole_and_in_order_whatever_was_fetched_ahead(
    server: MySQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(general_log, "_BACKLOG_ROWS", 10)
    monkeypatch.setattr(general_log, "_FETCHED_BYTES", 20_000)
    run_statements = [f"select {n}, '{'x' * (n % 7 * 300)}'" for n in range(400)]
    with Collecting(server) as collecting, session(server) as run:
        for statement in run_statements:
            run(statement)
        collecting.until_query(run_statements[-1], limit_bytes=5000)
        assert [q for q in collecting.queries(USER) if q in run_statements] == run_statements
        assert collecting.gaps == []


def test_row_larger_than_what_is_fetched_loses_nothing(
    server: MySQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(general_log, "_FETCHED_BYTES", 1000)
    run_statements = [f"select {n}, '{'x' * 3000}'" for n in range(general_log.RETIRED_ROWS // 25)]
    with Collecting(server) as collecting, session(server) as run:
        for statement in run_statements:
            run(statement)
        collecting.until_query(run_statements[-1])
        assert [q for q in collecting.queries(USER) if q in run_statements] == run_statements


def test_refusal_far_from_the_end_of_what_is_read_is_no_success(
    server: MySQLServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk ends behind the first row of a log-in; its refusal comes with the next one, and others."""

    def behind_log_in(rows: list[bytes], limit_bytes: int) -> int:
        opening = (
            n for n, row in enumerate(rows, 1) if b"\tConnect\t" in row and b"Access denied" not in row
        )
        return next(opening, len(rows))

    monkeypatch.setattr(general_log, "_within", behind_log_in)
    with Collecting(server) as collecting, session(server) as run:
        for _each in range(5):
            with contextlib.suppress(pymysql.err.OperationalError):
                server.connect(USER, "wrong")
            for statement in numbered(0, 5):
                run(statement)
        run("select 'end'")
        collecting.until_query("select 'end'")
        collecting.until(lambda: not collecting.cursor["undecided"], "knowing what became of each log-in")
        found = [e.type for e in collecting.of(USER)]
        assert found.count(EventType.LOGIN_FAILED) == 5
        assert found.count(EventType.LOGIN_SUCCESS) == 1
