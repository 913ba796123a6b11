"""The SDK's client, and the real API over a real socket for it."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dbaudit
import pytest
from dbaudit.api import ApiServer, EngineDescription, create_app
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.report import TestReport
from dbaudit.engine.manager import load_engines
from dbaudit.state import State, open_state
from dbaudit.state.api_keys import Scope
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.wakeup import Topic

PASSWORD = "Pl4nted-sdk"
DATABASE: dict[str, Any] = {
    "name": "Production PostgreSQL",
    "type": "postgresql",
    "host": "prod-db.example.com",
    "port": 5432,
    "database": "myapp",
    "username": "dbaudit_reader",
    "password": PASSWORD,
    "ssl_mode": "verify-full",
}
_numbers = itertools.count(1)


@dataclass
class Api:
    """A running API with a state of its own."""

    state: State
    server: ApiServer
    key: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def key_with(self, *scopes: Scope) -> str:
        return self.state.api_keys.create("test", scopes)[1].reveal()

    def store(self, database_id: str, *queries: str) -> None:
        """Store an event for each of ``queries``, as an agent does."""
        state = self.state
        node = state.nodes.register("agent-1", "0.1.0", ("engine:postgresql",))
        try:
            (lease,) = [lease for lease in state.nodes.beat(node) if lease.database_id == database_id]
            events = [
                AuditEvent(
                    key=f"k{number}",
                    type=EventType.QUERY,
                    time_us=1_700_000_000_000_000 + number,
                    user="app",
                    query=query,
                )
                for query in queries
                for number in [next(_numbers)]
            ]
            after = state.events.cursor(lease.database_no)
            state.events.append(lease, after, {"v": 1, "n": next(_numbers)}, events, [])
            state.wakeup.notify(Topic.EVENTS)
        finally:
            state.nodes.leave(node)

    @contextmanager
    def agent(self, report: TestReport) -> Iterator[None]:
        """A live agent as far as the state can tell, which answers every test with ``report``."""
        state, stop = self.state, threading.Event()
        node = state.nodes.register("agent-1", "0.1.0", ("engine:postgresql",))

        def work() -> None:
            while not stop.is_set():
                seen = state.wakeup.count(Topic.TASK_NEW)
                task = state.tasks.claim(node.id)
                if task is None:
                    state.wakeup.wait(Topic.TASK_NEW, seen, 0.2)
                else:
                    state.tasks.finish(task.id, report)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield
        finally:
            stop.set()
            worker.join()
            state.nodes.leave(node)


@contextmanager
def serving(state: State, key: str, listener: socket.socket | None = None) -> Iterator[Api]:
    """The API over ``state``, on a copy of ``listener`` where one is given."""
    engines = [
        EngineDescription(
            type=found.engine.type,
            display_name=found.engine.display_name,
            default_port=found.engine.default_port,
            options_schema=found.engine.options_schema,
        )
        for found in load_engines().installed.values()
    ]
    server = ApiServer(
        create_app(state, engines=engines),
        "127.0.0.1",
        0,
        listener=None if listener is None else listener.dup(),
        threads=8,
    )
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield Api(state, server, key)
    finally:
        server.stop()
        thread.join()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path}/state.db", keyring_from_file(tmp_path / "keys", create=True))
    yield opened
    opened.close()


@pytest.fixture
def api(state: State) -> Iterator[Api]:
    key = state.api_keys.create("tests", (Scope.ADMIN,))[1].reveal()
    with serving(state, key) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Iterator[dbaudit.Client]:
    with dbaudit.Client(api_url=api.url, api_key=api.key) as client:
        yield client


@pytest.fixture
def create(client: dbaudit.Client) -> Callable[..., dbaudit.sdk.Database]:
    """Declares a database with an address of its own; takes what ``databases.create`` takes."""

    def make(**fields: Any) -> dbaudit.sdk.Database:
        return client.databases.create(**{**DATABASE, "host": f"db{next(_numbers)}.example.com", **fields})

    return make
