"""Whose events a declaration gets on live servers, and what their tests say of the undeclared databases."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

import pymysql
import pytest
from dbaudit.core.database import AuditOptions, Database
from dbaudit.core.event import EventType
from dbaudit.engines.mariadb import MariaDBEngine
from dbaudit.engines.mysql_protocol.general_log import GeneralLogReader
from pymongo.errors import OperationFailure

from tests.agent.conftest import PASSWORD, Installation
from tests.agent.test_scope import undeclared
from tests.conftest import missing_engine_is_told
from tests.engines.mariadb import targets
from tests.servers.mariadb import MariaDBServer
from tests.servers.mongodb import MongoServer
from tests.servers.mysql import MySQLServer

PLAIN = AuditOptions(mask_sensitive_data=False)
NAMES = ("shop", "hr", "old")


@pytest.fixture
def mariadb() -> Iterator[MariaDBServer]:
    with missing_engine_is_told(), MariaDBServer(umask="0644") as server:
        server.create_user("collector", PASSWORD, "SELECT ON *.*")
        for name in NAMES:
            server.execute_admin(f"create database {name}")
            server.execute_admin(f"create table {name}.t (a int)")
        yield server


@pytest.fixture
def mysql(monkeypatch: pytest.MonkeyPatch) -> Iterator[MySQLServer]:
    """A server whose general log is emptied from 20 rows on, by each of its declarations."""
    defaults = {**(GeneralLogReader.__init__.__kwdefaults__ or {}), "retired_rows": 20}
    monkeypatch.setattr(GeneralLogReader.__init__, "__kwdefaults__", defaults)
    with missing_engine_is_told(), MySQLServer() as server:
        for name in (*NAMES, "dbaudit"):
            server.execute_admin(f"create database {name}")
        rights = "SELECT, ALTER, DROP, CREATE, INSERT ON"
        tables = [f"{rights} {name}" for name in ("mysql.general_log", "dbaudit.*")]
        schemas = [f"SELECT ON {name}.*" for name in NAMES]
        server.create_user("collector", PASSWORD, *tables, *schemas)
        server.create_user("mia", "right", *schemas)
        yield server


@pytest.fixture
def mongodb() -> Iterator[MongoServer]:
    with missing_engine_is_told(), MongoServer() as server:
        server.create_user("collector", PASSWORD, ["clusterMonitor"])
        with server.client() as client:
            for name in NAMES:
                client[name].command("profile", 2)
                client[name]["t"].insert_one({})
        yield server


def declare(
    dbaudit: Installation, kind: str, server: MariaDBServer | MongoServer | MySQLServer, **engine: str
) -> list[Database]:
    place = {"host": server.host, "port": server.port, "username": "collector", "password": PASSWORD}
    options = AuditOptions(mask_sensitive_data=False, engine=engine)
    found = [dbaudit.declare(kind, database=name, audit_options=options, **place) for name in NAMES[:2]]
    dbaudit.start()
    for database in found:
        dbaudit.wait_for_active(database)
    return found


def texts(dbaudit: Installation, database: Database, word: str) -> list[str]:
    return [query for query in dbaudit.queries(database) if query and word in query]


def failures(dbaudit: Installation, database: Database) -> int:
    """How many refused log-ins are stored."""
    return [stored.event.type for stored in dbaudit.events(database)].count(EventType.LOGIN_FAILED)


def test_mariadb_by_the_schema_of_the_session(dbaudit: Installation, mariadb: MariaDBServer) -> None:
    shop, hr = declare(dbaudit, "mariadb", mariadb, source="file")
    assert "old." in str(undeclared(dbaudit, hr))
    for schema in (*NAMES, "mysql", None):
        with contextlib.closing(mariadb.connect_admin(database=schema)) as connection:
            connection.cursor().execute(f"select 'probe in {schema}'")
    with pytest.raises(pymysql.err.OperationalError):
        mariadb.connect("nobody", "wrong", database="hr")
    dbaudit.wait_until(lambda: len(texts(dbaudit, hr, "probe")) == 1, "the statement in hr")
    dbaudit.wait_until(lambda: len(texts(dbaudit, shop, "probe")) == 3, "the others")
    assert texts(dbaudit, hr, "probe") == ["select 'probe in hr'"]
    expected = {f"select 'probe in {name}'" for name in ("shop", "mysql", None)}
    assert set(texts(dbaudit, shop, "probe")) == expected

    # The record of a refused log-in has no schema, also where the client asked for one.
    dbaudit.wait_until(lambda: failures(dbaudit, shop) == 1, "the refused log-in")
    assert failures(dbaudit, hr) == 0


def test_mysql_by_the_schema_of_the_log_in_and_each_statement_once(
    dbaudit: Installation, mysql: MySQLServer
) -> None:
    """The general log names the database of a log-in alone: its statements are the server's."""
    shop, hr = declare(dbaudit, "mysql", mysql)
    assert "old." in str(undeclared(dbaudit, hr))
    statements = []
    for number in range(60):
        schema = (*NAMES, None)[number % 4]
        with contextlib.closing(mysql.connect("mia", "right", database=schema)) as connection:
            statements.append(f"select 'probe {number} in {schema}'")
            connection.cursor().execute(statements[-1])
        if number % 20 == 0:
            for refused in (*NAMES, None, "nowhere"):
                with pytest.raises(pymysql.err.OperationalError):
                    mysql.connect("mia", "wrong", database=refused)

    def log_ins(database: Database, kind: EventType) -> Counter[str | None]:
        events = (stored.event for stored in dbaudit.events(database))
        return Counter(event.database for event in events if event.type is kind and event.user == "mia")

    # What belongs to the server is stored by either declaration, perhaps before the other one's own events.
    dbaudit.wait_until(lambda: len(texts(dbaudit, shop, "probe")) >= 60, "the statements")
    for database, kind, number in (
        (shop, EventType.LOGIN_SUCCESS, 30),
        (hr, EventType.LOGIN_SUCCESS, 15),
        (shop, EventType.LOGIN_FAILED, 9),
        (hr, EventType.LOGIN_FAILED, 3),
    ):
        dbaudit.wait_until(
            lambda d=database, k=kind, n=number: log_ins(d, k).total() >= n,  # type: ignore[misc]  # bound now
            f"{number} {kind} of {database.database}",
        )
    assert texts(dbaudit, shop, "probe") == statements
    assert texts(dbaudit, hr, "probe") == []
    assert log_ins(shop, EventType.LOGIN_SUCCESS) == {"shop": 15, None: 15}
    assert log_ins(hr, EventType.LOGIN_SUCCESS) == {"hr": 15}
    assert log_ins(shop, EventType.LOGIN_FAILED) == {"shop": 3, None: 3, "nowhere": 3}
    assert log_ins(hr, EventType.LOGIN_FAILED) == {"hr": 3}
    assert [e for one in (shop, hr) for e in dbaudit.events(one) if e.event.type is EventType.GAP] == []


def test_mongodb_by_the_database_of_the_command(dbaudit: Installation, mongodb: MongoServer) -> None:
    shop, hr = declare(dbaudit, "mongodb", mongodb, log_source="local", auth_source="admin")
    assert "old." in str(undeclared(dbaudit, hr))
    with mongodb.client() as client:
        for name in NAMES:
            client[name]["t"].insert_one({"probe": name})
    refused = mongodb.client(username="nobody", password="wrong")
    with refused as client, contextlib.suppress(OperationFailure):
        client["hr"].command("ping")

    def inserted(database: Database) -> list[str | None]:
        events = (stored.event for stored in dbaudit.events(database))
        return [event.database for event in events if event.operation == "insert"]

    for database, name in ((shop, "shop"), (hr, "hr")):
        dbaudit.wait_until(lambda d=database: len(inserted(d)) > 0, f"the command in {name}")  # type: ignore[misc]
        assert inserted(database) == [name]
    # It names the database that keeps the user, which nobody has declared.
    dbaudit.wait_until(lambda: failures(dbaudit, shop) == 1, "the refused log-in")
    assert failures(dbaudit, hr) == 0


def test_mariadb_tells_schemas_apart_by_case_as_the_server_does() -> None:
    with missing_engine_is_told():
        for setting, same in ((0, False), (1, True)):
            with MariaDBServer(settings={"lower_case_table_names": setting}) as server:
                server.create_user(targets.COLLECTOR, targets.PASSWORD)
                with MariaDBEngine().open(targets.target(server)) as session:
                    assert session.is_declared("shop", "Shop") is same
                    assert session.is_declared("Shop", "Shop")
                    assert not session.is_declared("hr", "Shop")
