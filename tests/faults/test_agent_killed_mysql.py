"""kill -9 of an agent that collects MySQL, at every step of collecting, while it empties the general log."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import missing_engine_is_told
from tests.engines.mysql.documented import documented
from tests.faults.lane import Lane
from tests.faults.load import kill_at_steps, under_load
from tests.faults.monitored import COLLECTOR, client
from tests.faults.plan import STEPS_OF_AGENT_ON_MYSQL
from tests.faults.steps import Step
from tests.servers.mysql import MySQLServer, quoted

FILLER_PAUSE_SECONDS = 0.0005


@pytest.fixture
def mysql() -> Iterator[MySQLServer]:
    """It writes its general log into a file, too, to compare with; the table fills up every few seconds."""
    settings = {"log_output": "TABLE,FILE"}
    with missing_engine_is_told(), MySQLServer("5.6", settings=settings) as server:
        for statement in documented("general log account"):
            own = statement.replace("dbaudit@'127.0.0.1'", f"{COLLECTOR[0]}@'127.0.0.1'")
            server.execute_admin(own.replace("'a long random password'", quoted(COLLECTOR[1])))
        with filled_up(server):
            yield server


@contextlib.contextmanager
def filled_up(server: MySQLServer) -> Iterator[None]:
    """Rows that nobody asks for: from 5,000 on the agent retires the table."""
    stop = threading.Event()

    def fill() -> None:
        with client(server) as execute:
            while not stop.wait(FILLER_PAUSE_SECONDS):
                execute("do 0")

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_agent_killed_at_any_step_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, mysql: MySQLServer
) -> None:
    kills = [(step, passings) for passings in range(1, STEPS_OF_AGENT_ON_MYSQL + 1) for step in Step]
    # One alone: two declarations that empty one general log take its rows from each other.
    lane = Lane(tmp_path / "lane", mysql)
    try:
        under_load([lane], mysql, kill_at_steps, kills)
        lane.wait_until_collecting()
    finally:
        lane.close()
    # What there was before the declaration is kept, in the one table that was never dropped.
    assert len(mysql.execute_admin("SHOW TABLES FROM dbaudit")) <= 2
    assert "general_log_" in str(mysql.execute_admin("SHOW TABLES FROM dbaudit"))
