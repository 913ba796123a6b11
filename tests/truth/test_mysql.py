"""MySQL's general log and error log, and MariaDB's general log: what the clients did, against the events."""

import contextlib
import random

import pymysql
import pytest
from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.engine import Target
from dbaudit.engines.mysql import MySQLEngine
from dbaudit.testing import Monitored

from tests.conftest import missing_engine_is_told
from tests.engines.mariadb import targets as mariadb_targets
from tests.engines.mariadb.monitored import MonitoredGeneralLog as MariaDBGeneralLog
from tests.engines.mysql.targets import COLLECTOR, carry_out, create_collector, target
from tests.servers.mariadb import MariaDBServer
from tests.servers.mysql import MySQLServer
from tests.truth.collecting import collected, now
from tests.truth.facts import differences
from tests.truth.mysql_clients import LAST, Recording, clients, try_to_log_in, work_at_once

STEPS, TRIES = 40, 60
MYSQL = Recording(unparsed=False, apart=True, prepared=False)
MARIADB = Recording(unparsed=True, apart=False, prepared=True)
KINDS = frozenset(
    {
        *(EventType.CONNECTION, EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED),
        *(EventType.QUERY, EventType.DISCONNECT),
    }
)


class Log(Monitored):
    """The source that the server offers."""

    engine = MySQLEngine()

    def __init__(self, server: MySQLServer) -> None:
        self._server = server

    def target(self) -> Target:
        return target(self._server)


def all_is_true(server: MySQLServer, log: Monitored, recording: Recording, seed: int) -> None:
    chance = random.Random(seed)
    with clients(server, recording, chance) as working:
        begin = now(log)
        work_at_once(server, working, STEPS)
        facts = [fact for client in working for fact in client.facts]
        events = collected(log, begin, chance, last_is_gone)
        found = differences(facts, events, kinds=KINDS)
        assert not found, f"{found}"
        for event in events:
            if event.type is EventType.LOGIN_SUCCESS:
                assert (event.outcome, event.source_ip) == (Outcome.SUCCESS, "127.0.0.1")


def last_is_gone(events: list[AuditEvent]) -> bool:
    return any(e.type is EventType.DISCONNECT and e.user == LAST for e in events)


@pytest.mark.parametrize("release", ["9.7", pytest.param("5.6", marks=pytest.mark.many_seeds)])
def test_general_log_is_what_the_clients_did(release: str, seed: int) -> None:
    with missing_engine_is_told(), MySQLServer(release) as server:
        create_collector(server)
        all_is_true(server, Log(server), MYSQL, seed)


@pytest.mark.parametrize(
    "release",
    ["10.11", *(pytest.param(release, marks=pytest.mark.many_seeds) for release in ("10.5", "11.8"))],
)
def test_general_log_of_mariadb_is_what_the_clients_did(release: str, seed: int) -> None:
    with missing_engine_is_told(), MariaDBServer(release, settings={"general_log": 1}) as server:
        server.execute_admin("create database dbaudit")
        server.create_user(
            mariadb_targets.COLLECTOR, mariadb_targets.PASSWORD, *mariadb_targets.GENERAL_LOG_GRANTS
        )
        all_is_true(server, MariaDBGeneralLog(server, source="general_log"), MARIADB, seed)


def test_error_log_has_every_refused_log_in_with_its_names(seed: int) -> None:
    chance = random.Random(seed)
    with missing_engine_is_told(), MySQLServer("9.7", settings={"general_log": 0}) as server:
        carry_out(server, "error log account")
        log = Log(server)
        with clients(server, MYSQL, chance):
            begin = now(log)
            facts = try_to_log_in(server, chance, TRIES)
            with contextlib.suppress(pymysql.err.OperationalError):
                server.connect(LAST, "wrong")
            events = collected(log, begin, chance, lambda found: any(e.user == LAST for e in found))
            assert facts
            assert differences(facts, events) == []
            assert {e.source_ip for e in events} == {"127.0.0.1"}
            assert COLLECTOR not in {e.user for e in events}
