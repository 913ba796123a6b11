"""Several declarations that read and empty the general log of one live server: each gets all of it."""

import random
from collections.abc import Iterator
from datetime import timedelta

import pytest
from dbaudit.core.report import Diagnosis
from dbaudit.engines.mysql_protocol import general_log, general_log_readers
from dbaudit.engines.mysql_protocol.connection import ServerConnection

from tests.engines.mysql.collecting import Collecting
from tests.engines.mysql.targets import COLLECTOR
from tests.engines.mysql.test_general_log import USER, _kwdefaults, numbered, retired, server, session
from tests.servers.mysql import MySQLServer

__all__ = ["server"]


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table is retired from 20 rows on."""
    monkeypatch.setattr(general_log.GeneralLogReader.__init__, "__kwdefaults__", _kwdefaults(retired_rows=20))


@pytest.fixture
def shop(server: MySQLServer) -> Iterator[Collecting]:
    with Collecting(server, database_id="db_shop") as collecting:
        yield collecting


@pytest.fixture
def hr(server: MySQLServer) -> Iterator[Collecting]:
    with Collecting(server, database_id="db_hr") as collecting:
        yield collecting


def run_all(server: MySQLServer, statements: list[str]) -> None:
    with session(server) as run:
        for statement in statements:
            run(statement)


def shared(collecting: Collecting) -> Diagnosis:
    (found,) = [one for one in collecting.session.test().diagnoses if one.code == "retired_tables"]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_each_of_several_readers_gets_every_row_once_whoever_empties_the_table(
    server: MySQLServer, shop: Collecting, hr: Collecting, seed: int
) -> None:
    chance = random.Random(seed)
    statements = numbered(0, 400)
    with session(server) as run:
        for statement in statements:
            run(statement)
            for collecting in (shop, hr):
                if chance.random() < 0.1:
                    for _each in range(chance.randrange(1, 4)):
                        collecting.read(chance.choice((300, 3000, 1 << 20)))
                elif chance.random() < 0.02:
                    collecting.reopen()
    for collecting in (shop, hr):
        collecting.until_query(statements[-1])
        assert collecting.gaps == []
        assert [q for q in collecting.queries(USER) if q in statements] == statements
        assert len(set(collecting.keys())) == len(collecting.keys())
        assert collecting.of(COLLECTOR) == []
    of_both = [{(e.key, e.time_us) for e in one.of(USER) if e.query in statements} for one in (shop, hr)]
    assert of_both[0] == of_both[1]
    assert shared(shop).status == "ok"
    for place in range(300):  # whoever retired a table drops it when the next rows are stored
        run_all(server, numbered(1000 + 10 * place, 1010 + 10 * place))
        for collecting in (shop, hr):
            collecting.until_query(f"select {1009 + 10 * place}")
        if len(retired(server)) <= 2:
            break
    assert len(retired(server)) <= 2


def test_table_waits_for_a_reader_that_is_away(server: MySQLServer, shop: Collecting, hr: Collecting) -> None:
    hr.session.close()
    statements = numbered(0, 200)
    for place in range(0, 200, 20):
        run_all(server, statements[place : place + 20])
        shop.until_query(statements[place + 19])
    assert len(retired(server)) > 3
    hr.reopen()
    hr.until_query(statements[-1])
    assert hr.gaps == []
    assert [q for q in hr.queries(USER) if q in statements] == statements


def test_reader_that_stays_away_holds_no_table_back_for_ever_and_is_told_its_loss(
    server: MySQLServer, shop: Collecting, hr: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    hr.session.close()
    monkeypatch.setattr(general_log_readers, "KEPT", timedelta(seconds=0))
    statements = numbered(0, 200)
    for place in range(0, 200, 20):
        run_all(server, statements[place : place + 20])
        shop.until_query(statements[place + 19])
    assert len(retired(server)) <= 2
    found = shared(shop)
    assert found.status == "warning"
    assert found.remedy is not None
    assert "_reader" in found.remedy
    hr.reopen()
    hr.until_query(statements[-1])
    assert len(hr.gaps) == 1
    told = [q for q in hr.queries(USER) if q in statements]
    assert len(told) < len(statements)
    assert told == [q for q in statements if q in told]
    for statement in found.remedy.partition(": ")[2].split(";"):
        if statement.strip():
            server.execute_admin(statement)
    assert shared(shop).status == "ok"


def test_both_empty_the_table_in_the_same_moment(
    server: MySQLServer, shop: Collecting, hr: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def run_more() -> None:
        more = numbered(len(done), len(done) + 15)
        run_all(server, more)
        done.extend(more)

    retire = general_log.GeneralLogReader._retire
    others = [hr]

    def after_the_other(self: general_log.GeneralLogReader, place: general_log.Place) -> general_log.Place:
        while others:
            other = others.pop()
            for _each in range(3):
                run_more()
                other.read()
        return retire(self, place)

    monkeypatch.setattr(general_log.GeneralLogReader, "_retire", after_the_other)
    run_more()
    run_more()
    shop.until(lambda: not others, "emptying the table")
    run_more()
    for collecting in (shop, hr):
        collecting.until_query(done[-1])
        assert collecting.gaps == []
        assert [q for q in collecting.queries(USER) if q in done] == done


def test_table_that_somebody_empties_between_two_is_a_gap(server: MySQLServer, shop: Collecting) -> None:
    run_all(server, numbered(0, 40))
    shop.until_query("select 39")
    shop.until(lambda: not shop.cursor["table"] and shop.cursor["before"], "retiring")
    run_all(server, ["select 'lost'"])
    server.execute_admin("TRUNCATE TABLE mysql.general_log")
    run_all(server, ["select 'after'"])
    shop.until_query("select 'after'")
    assert len(shop.gaps) == 1


def test_only_the_server_says_which_table_came_before() -> None:
    name = "general_log_0123456789_20250203101500000000"
    row = b"2025-02-03 10:15:00\t%b\t%b\t8\t[] @  []\t%b was retired before"
    assert general_log_readers.retired_before(row % (b"0", b"Daemon", name.encode())) == name
    assert general_log_readers.retired_before(row % (b"41", b"Query", name.encode())) == ""
    assert general_log_readers.retired_before(row % (b"0", b"Daemon", b"x")) == ""
    assert general_log_readers.retired_before(None) == ""


def test_retired_table_that_is_dropped_while_a_reader_looks_for_its_next_one_stops_nobody(
    server: MySQLServer, shop: Collecting, hr: Collecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest = "general_log_0123456789_20200101000000000000"
    dropped: list[str] = []

    def listed_and_dropped(connection: ServerConnection) -> list[str]:
        server.execute_admin(f"CREATE TABLE dbaudit.{oldest} LIKE mysql.general_log")
        names = general_log_readers.retired_tables(connection)
        server.execute_admin(f"DROP TABLE dbaudit.{oldest}")
        dropped.extend(name for name in names if name == oldest)
        return names

    monkeypatch.setattr(general_log, "retired_tables", listed_and_dropped)
    statements = numbered(0, 200)
    for place in range(0, 200, 20):
        run_all(server, statements[place : place + 20])
        for collecting in (shop, hr):
            collecting.until_query(statements[place + 19])
    assert dropped
    for collecting in (shop, hr):
        assert collecting.gaps == []
        assert [q for q in collecting.queries(USER) if q in statements] == statements
