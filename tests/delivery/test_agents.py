"""Whole agents: from a real server to the listener, killed, sharing the work, and with their state away."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dbaudit.agent import AgentSettings
from dbaudit.core.database import Database
from dbaudit.core.event import AuditEvent
from dbaudit.state import State, open_state
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.nodes import Lease
from dbaudit.state.schema import leases
from dbaudit.state.wakeup import Topic
from sqlalchemy import select

from tests.agent.conftest import Installation
from tests.delivery.sending import Listener, Sending, numbered, numbers_in
from tests.faults.agents import AgentProcess
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for
from tests.state.samples import append, create

PASSWORD = "planted-password-of-the-user"
LEASE_SECONDS = 3.0


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()


def test_real_connections_reach_the_listener(
    installation: Installation, postgres: PostgresServer, listener: Listener
) -> None:
    installation.state.db_conns.put(
        {"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": listener.port}
    )
    database = installation.declare_server(postgres, db_conns_auditing=True)
    postgres.create_role("person", PASSWORD)
    installation.start()
    installation.wait_for_active(database)

    def of_person(number: int) -> list[dict[str, Any]]:
        """All notifications of the session of the ``number``-th log-in."""
        lines = [json.loads(line) for line in listener.lines()]
        ids = [line["id"] for line in lines if line.get("username") == "person"]
        return [
            line
            for line in lines
            if len(ids) > number
            and (line.get("new_conn") or line.get("close_conn") or line)["id"] == ids[number]
        ]

    with psycopg.connect(postgres.conninfo("person", PASSWORD)) as connection:
        wait_for(lambda: len(of_person(0)) == 2, "connection and log-in")
        port = connection.execute("select inet_client_port()").fetchone()
    wait_for(lambda: len(of_person(0)) == 3, "disconnection")
    opened, log_in, closed = of_person(0)
    assert port is not None
    assert opened["new_conn"]["srcp"] == log_in["srcp"] == closed["close_conn"]["srcp"] == str(port[0])
    assert (log_in["status"], log_in["bdb_uid"], log_in["trgp"]) == (8, database.id, str(postgres.port))
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(postgres.conninfo("person", PASSWORD + "-mistyped"))
    wait_for(lambda: any(line.get("status") == 0 for line in of_person(1)), "the failure")
    assert PASSWORD.encode() not in b"".join(listener.lines())


class Agents:
    """Agent processes on one state, without a monitored server: the tests store events in their place."""

    def __init__(self, url: str, keys: Path, log: Path) -> None:
        self._url, self._keys, self._log = url, keys, log
        self.state: State = open_state(url, keyring_from_file(keys, create=True), lease_seconds=LEASE_SECONDS)
        self.written: dict[str, int] = {}

    def agent(self, name: str) -> AgentProcess:
        settings = AgentSettings(node_name=name, misconfigured_retry_seconds=3600, backoff_initial_seconds=60)
        return AgentProcess(self._url, self._keys, self._log, settings, lease_seconds=LEASE_SECONDS)

    def declare(self, listener: Listener, number: int) -> list[Database]:
        self.state.db_conns.put(
            {"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": listener.port}
        )
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            port = nobody.getsockname()[1]
        return [
            create(self.state, f"d{n}", host="127.0.0.1", port=port, db_conns_auditing=True)
            for n in range(number)
        ]

    def lease(self, database: Database) -> Lease | None:
        """That of the agent which holds the database."""
        numbers = {found.database_id: found.database_no for found in self.state.deliveries.all()}
        with self.state.backend.reading() as connection:
            row = connection.execute(
                select(leases).where(leases.c.database_no == numbers[database.id])
            ).one_or_none()
        lease = None if row is None else Lease(database.id, row.database_no, row.token)
        return lease if lease is not None and self.state.deliveries.of([lease]) else None

    def write(self, database: Database, events: int) -> None:
        """Store events as the agent that holds the database would."""
        wait_for(lambda: self.lease(database) is not None, "an agent taking the database")
        lease = self.lease(database)
        assert lease is not None
        first = self.written.get(database.id, 0)
        rows: list[AuditEvent] = [numbered(n) for n in range(first, first + events)]
        append(self.state, lease, *rows)
        self.written[database.id] = first + events
        self.state.wakeup.notify(Topic.EVENTS)

    def all_sent(self) -> bool:
        return all(
            found.sent_seq >= self.state.events.last_number()
            or not self.state.events.connections_waiting({found.database_no: found.sent_seq})
            for found in self.state.deliveries.all()
        )


@pytest.fixture
def agents(tmp_path: Path) -> Iterator[Agents]:
    agents = Agents(f"sqlite:///{tmp_path}/state.db", tmp_path / "keys", tmp_path / "log")
    yield agents
    agents.state.close()


@pytest.fixture
def on_postgresql(
    postgres_server: Callable[..., PostgresServer], tmp_path: Path
) -> Iterator[tuple[Agents, PostgresServer]]:
    server = postgres_server()
    server.create_role("dbaudit", "state")
    server.execute_admin("create database dbaudit owner dbaudit")
    url = f"postgresql://dbaudit:state@{server.host}:{server.port}/dbaudit"
    agents = Agents(url, tmp_path / "keys", tmp_path / "log")
    yield agents, server
    agents.state.close()


def test_an_agent_that_is_killed_while_it_sends_loses_nothing(agents: Agents, listener: Listener) -> None:
    (database,) = agents.declare(listener, 1)
    with agents.agent("first"):
        agents.write(database, 40_000)
    for turn in range(4):
        sent = max(listener.numbers(database), default=0)
        with agents.agent(f"agent{turn}") as agent:
            wait_for(
                lambda sent=sent: (
                    max(listener.numbers(database), default=0) >= min(39_999, sent + 4000)  # type: ignore[misc]
                ),
                "some events",
            )
            agent.kill()
    with agents.agent("last") as agent:
        wait_for(lambda: 39_999 in listener.numbers(database), "the last event")
        assert agent.terminate() == 0
    for received in listener.connections:
        numbers = numbers_in(bytes(received.data)).get(database.id, [])
        assert not numbers or numbers == list(range(numbers[0], numbers[-1] + 1))
    came = listener.numbers(database)
    firsts = list(dict.fromkeys(came))
    assert firsts == list(range(40_000))
    print(f"\nkilled agents: {len(came) - len(firsts)} of 40000 events sent twice")


def test_with_two_agents_exactly_one_sends_a_database(on_postgresql: tuple[Agents, PostgresServer]) -> None:
    agents, _server = on_postgresql
    with Listener() as listener, agents.agent("first") as first:
        databases = agents.declare(listener, 6)
        for database in databases:
            agents.write(database, 1000)
        wait_for(agents.all_sent, "sending by one agent")
        with agents.agent("second"):
            wait_for(
                lambda: sorted(map(len, agents.state.nodes.holdings().values())) == [3, 3], "sharing the work"
            )
            wait_for(
                lambda: len({found.node_id for found in agents.state.deliveries.all()}) == 2,
                "both sending",
            )
            _wait_until_quiet(agents, listener)
            before = {database.id: len(listener.numbers(database)) for database in databases}
            for _turn in range(10):
                for database in databases:
                    agents.write(database, 100)
            listener.wait_for_lines(sum(before.values()) + 6000)
            for database in databases:
                assert listener.numbers(database)[before[database.id] :] == list(range(1000, 2000))
            parts = [set(numbers_in(bytes(received.data))) for received in listener.connections]
            nodes = {found.database_id: found.node_id for found in agents.state.deliveries.all()}
            assert len({frozenset(nodes[found] for found in part) for part in parts[1:]} - {frozenset()}) <= 2
            first.kill()
            for database in databases:
                agents.write(database, 10)
            wait_for(
                lambda: all(2009 in listener.numbers(database) for database in databases),
                "the other one sending everything",
            )
        for database in databases:
            assert list(dict.fromkeys(listener.numbers(database))) == list(range(2010))


def _wait_until_quiet(agents: Agents, listener: Listener) -> None:
    """Until whoever took a database over has repeated what nobody had confirmed."""
    wait_for(
        lambda: (
            agents.all_sent()
            and all(
                max(listener.numbers(database), default=-1) == agents.written[database.id] - 1
                for database in agents.state.databases.all()
            )
        ),
        "calm",
    )


def test_a_state_that_is_away_is_waited_for(
    on_postgresql: tuple[Agents, PostgresServer], caplog: pytest.LogCaptureFixture, listener: Listener
) -> None:
    agents, server = on_postgresql
    with Sending(agents.state) as sending, closing(listener):
        sending.to(str(listener.address), listener.port)
        database = sending.declare()
        sending.start()
        sending.write(database, 3)
        listener.wait_for_lines(3)
        server.stop("fast")
        wait_for(lambda: "connection events are not sent" in caplog.text, "noticing")
        server.start()

        def renewed() -> bool:
            sending.leases = sending.state.nodes.beat(sending.node)
            return bool(sending.leases)

        wait_for(renewed, "the lease of the database")
        sending.write(database, 3)
        listener.wait_for_lines(6)
        assert set(listener.numbers(database)) == set(range(6))
