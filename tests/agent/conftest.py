"""An agent in this process, over a real state, with real servers and with engines that misbehave."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dbaudit.agent import Agent, AgentSettings
from dbaudit.core.database import AuditOptions, AuditStatus, ConnectionStatus, Database, SslMode
from dbaudit.core.secret import Secret
from dbaudit.engine.manager import EngineRegistry, InstalledEngine, load_engines
from dbaudit.state import State, open_state
from dbaudit.state.collectors import Collector
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.events import EventOrder, EventQuery, StoredEvent

from tests.agent.unruly import Hanging, Unruly
from tests.host_limits import ANY_FOLDER
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

PASSWORD = "password-of-the-collector"
_numbers = itertools.count(1)


class Installation:
    """A state and the agents that run on it. ``unruly`` and ``orderly`` are two engines in memory."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder}/state.db"
        self._keys = folder / "keys"
        self.state = self.open()
        self.unruly = Unruly("unruly")
        self.orderly = Unruly("orderly")
        engines = dict(load_engines().installed)
        for engine in (self.unruly, self.orderly):
            engines[engine.type] = InstalledEngine(engine, "unruly-plugin", "1.0")
        self.registry = EngineRegistry(engines, ())
        self._agents: list[tuple[threading.Event, threading.Thread]] = []

    def open(self, *, lease_seconds: float = 10.0) -> State:
        """The state, as another process would open it."""
        return open_state(self.url, keyring_from_file(self._keys, create=True), lease_seconds=lease_seconds)

    def start(
        self, state: State | None = None, *, without: str | None = None, **settings: Any
    ) -> Callable[[], None]:
        """Start an agent, ``without`` one of the engines; what is returned stops it."""
        engines = {name: found for name, found in self.registry.installed.items() if name != without}
        quick: dict[str, Any] = {
            "node_name": "agent",
            "poll_interval_seconds": 0.02,
            "backoff_initial_seconds": 0.05,
            "backoff_max_seconds": 0.2,
            "state_retry_max_seconds": 0.2,
            "host_limits": ANY_FOLDER,
        }
        agent = Agent(state or self.state, EngineRegistry(engines, ()), AgentSettings(**(quick | settings)))
        stop = threading.Event()
        thread = threading.Thread(target=agent.run, args=(stop,), name="agent")
        thread.start()
        self._agents.append((stop, thread))

        def end() -> None:
            stop.set()
            thread.join()

        return end

    def close(self) -> None:
        for stop, _thread in self._agents:
            stop.set()
        for _stop, thread in self._agents:
            thread.join()
        self.state.close()

    # -- databases

    def declare(self, engine_type: str = "unruly", **fields: Any) -> Database:
        """Declare a database of an engine in memory."""
        password = fields.pop("password", "no password needed")
        audit_status = fields.pop("audit_status", AuditStatus.INITIALIZING)
        number = next(_numbers)
        declaration = {
            "name": f"{engine_type}-{number}",
            "type": engine_type,
            "host": f"host{number}.example.com",
            "port": 1,
            "database": "app",
            "username": "reader",
            "ssl_mode": SslMode.DISABLE,
        } | fields
        return self.state.databases.create(
            Declaration(**declaration), {"password": Secret(password)}, audit_status=audit_status
        )

    def declare_server(self, server: PostgresServer, **fields: Any) -> Database:
        """Declare a server with a collector role of its own."""
        role = f"collector_{next(_numbers)}"
        server.create_collector_role(role, PASSWORD)
        place = {"host": server.host, "port": server.port, "database": "postgres", "username": role}
        return self.declare("postgresql", **({"password": PASSWORD} | place | fields))

    def change(
        self, database: Database, secrets: dict[str, Secret | None] | None = None, **fields: Any
    ) -> None:
        """Change the declaration; ``audit_status`` and the fields of the audit options are fields too."""
        now = self.state.databases.get(database.id)
        audit_status = fields.pop("audit_status", None)
        values = {name: getattr(now, name) for name in Declaration.__struct_fields__}
        options = {name: getattr(now.audit_options, name) for name in AuditOptions.__struct_fields__}
        options |= {name: fields.pop(name) for name in tuple(fields) if name in options}
        declaration = Declaration(**(values | fields | {"audit_options": AuditOptions(**options)}))
        self.state.databases.update(database.id, declaration, secrets or {}, audit_status=audit_status)

    # -- what came of it

    def collector(self, database: Database) -> Collector:
        return self.state.collectors.get(database.id)

    def status(self, database: Database) -> ConnectionStatus:
        return self.state.databases.get(database.id).status

    def wait_until(self, condition: Callable[[], bool], what: str) -> None:
        wait_for(condition, what)

    def wait_for_status(self, database: Database, status: ConnectionStatus) -> Database:
        self.wait_until(lambda: self.status(database) is status, f"the status {status}")
        return self.state.databases.get(database.id)

    def wait_for_active(self, database: Database) -> None:
        self.wait_for_status(database, ConnectionStatus.CONNECTED)
        self.wait_until(
            lambda: self.state.databases.get(database.id).audit_status is AuditStatus.ACTIVE, "collecting"
        )

    def wait_for_error(self, database: Database, words: str) -> Collector:
        self.wait_until(lambda: words in (self.collector(database).error or ""), f"the error {words!r}")
        return self.collector(database)

    def events(self, database: Database) -> list[StoredEvent]:
        """Everything stored of a database, in the order of storing."""
        found: list[StoredEvent] = []
        after, more = None, True
        while more:
            page = self.state.events.query(
                EventQuery(database_id=database.id, order=EventOrder.STORED, after=after, limit=1000)
            )
            found += page.events
            after, more = page.end, page.more
        return found

    def queries(self, database: Database) -> list[str | None]:
        """The statements stored of a database, in the order of storing."""
        return [
            found.event.query for found in self.events(database) if found.event.operation or found.event.query
        ]


@pytest.fixture
def dbaudit(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()


@pytest.fixture
def hanging(dbaudit: Installation) -> Iterator[Hanging]:
    """Ends before the agent is stopped."""
    hanging = Hanging()
    with ExitStack() as end:
        end.callback(hanging.end)
        yield hanging
