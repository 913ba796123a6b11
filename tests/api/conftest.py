"""The application over a real state, asked by a client that holds every answer against the document."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbaudit.api import ApiSettings, EngineDescription, create_app
from dbaudit.api.application import WAITING_ROOM
from dbaudit.api.visit import Parked, visit_in
from dbaudit.api.waiting import WaitingRoom
from dbaudit.core.event import EventType
from dbaudit.core.report import TestReport
from dbaudit.state import State, open_state
from dbaudit.state.api_keys import Scope
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.schema import events, metadata
from dbaudit.state.tasks import Task
from dbaudit.state.wakeup import Topic
from flask import Flask
from flask.testing import FlaskClient
from psycopg import sql
from sqlalchemy import select
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from tests.api.contract import check_answer
from tests.servers.postgresql import PostgresServer

ENGINES = [
    EngineDescription(
        type="postgresql",
        display_name="PostgreSQL",
        default_port=5432,
        unix_sockets=True,
        options_schema={
            "type": "object",
            "properties": {
                "mode": {"enum": ["remote", "local"]},
                "log_directory": {"type": "string", "minLength": 1},
                "proxy": {"type": "string", "x-destination": True},
            },
            "additionalProperties": False,
        },
    ),
    EngineDescription(
        type="mysql",
        display_name="MySQL",
        default_port=3306,
        options_schema={"type": "object", "additionalProperties": False},
    ),
    EngineDescription(
        type="redis",
        display_name="Redis",
        default_port=6379,
        options_schema={},
        problem="ImportError: no redis",
    ),
]
PASSWORD = "Tiger-5c1d0d7e-planted"
REACHED = TestReport(
    reachable=True,
    success=True,
    latency_ms=1.5,
    version="PostgreSQL 16.1",
    permissions={"select": True, "pg_read_all_stats": True, "pg_monitor": True},
    audit_source="csvlog",
)
REFUSED = TestReport(
    reachable=False,
    success=False,
    error_code="authentication_failed",
    error="The password of dbaudit_reader is wrong.",
)
_numbers = itertools.count(1)


def declaration(**fields: Any) -> dict[str, Any]:
    """The body of a new database with an address of its own."""
    return {
        "name": "Production PostgreSQL",
        "type": "postgresql",
        "host": f"db{next(_numbers)}.example.com",
        "port": 5432,
        "database": "myapp",
        "username": "dbaudit_reader",
        "password": PASSWORD,
        **fields,
    }


class Waiting(FlaskClient):
    """Runs a request again that its view has handed back, as the server does."""

    def run_wsgi_app(self, environ: dict[str, Any], buffered: bool = False) -> Any:
        visit_in(environ)
        room: WaitingRoom = self.application.extensions[WAITING_ROOM]
        while True:
            try:
                return super().run_wsgi_app(environ, buffered)
            except Parked as parked:
                environ["wsgi.input"].seek(0)
                again = threading.Event()
                room.park(parked, again.set)
                assert again.wait(60)


class Api:
    """Asks ``app`` with the key ``key`` (that of an administrator), and checks every answer."""

    def __init__(self, app: Flask, state: State) -> None:
        self.app = app
        self.state = state
        self.key = self.key_with(Scope.ADMIN)
        app.test_client_class = Waiting
        self._client = app.test_client()

    def key_with(self, *scopes: Scope) -> str:
        """A new key."""
        return self.state.api_keys.create("test", scopes)[1].reveal()

    def request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = "",
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> TestResponse:
        """The checked answer; ``key`` None sends none, "" the administrator's."""
        sent = dict(headers or {})
        if key is not None:
            sent.setdefault("Authorization", f"Bearer {key or self.key}")
        answer = self._client.open(path, method=method, headers=sent, **options)
        check_answer(self._operation(method, path), answer.status_code, answer.headers, answer.get_data())
        return answer

    def _operation(self, method: str, path: str) -> str | None:
        try:
            endpoint, _ignored = self.app.url_map.bind("localhost").match(path.partition("?")[0], method)
        except HTTPException:
            return None
        name = endpoint.rpartition(".")[2]
        return "show_documentation" if name == "show" else name  # Swagger UI names its view itself

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> TestResponse:
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        return self.request("DELETE", path, **options)

    def declared(self, **fields: Any) -> dict[str, Any]:
        """A database that has just been declared."""
        answer = self.post("/v1/databases", json=declaration(**fields))
        assert answer.status_code == 201, answer.get_data()
        found: dict[str, Any] = answer.json
        return found

    def dump(self, *but: str) -> dict[str, list[tuple[Any, ...]]]:
        """Everything in the state but the API keys, who has asked, and the tables ``but``."""
        with self.state.backend.reading() as connection:
            return {
                table.name: sorted(
                    (
                        tuple(row)
                        for row in connection.execute(select(table))
                        if not (table is events and row.type == EventType.API)
                    ),
                    key=repr,
                )
                for table in metadata.sorted_tables
                if table.name not in ("api_keys", *but)
            }

    @contextmanager
    def unchanged(self, *but: str) -> Iterator[None]:
        """What happens inside changes nothing in the state but in the tables ``but``."""
        before = self.dump(*but)
        yield
        assert self.dump(*but) == before

    @contextmanager
    def agent(self, answer: Callable[[Task], TestReport] = lambda task: REACHED) -> Iterator[list[Task]]:
        """A live agent as far as the state can tell: it takes tasks and finishes them with ``answer``."""
        state, taken, stop = self.state, [], threading.Event()
        node = state.nodes.register("agent-1", "0.1.0", ("postgresql",))

        def work() -> None:
            while not stop.is_set():
                seen = state.wakeup.count(Topic.TASK_NEW)
                task = state.tasks.claim(node.id)
                if task is None:
                    state.wakeup.wait(Topic.TASK_NEW, seen, 0.2)
                else:
                    taken.append(task)
                    state.tasks.finish(task.id, answer(task))

        worker = threading.Thread(target=work)
        worker.start()
        try:
            yield taken
        finally:
            stop.set()
            worker.join()
            state.nodes.leave(node)


@contextmanager
def opened_state(url: str, folder: Path) -> Iterator[State]:
    """A new state at ``url`` with keys in ``folder``."""
    state = open_state(url, keyring_from_file(folder / "keys", create=True))
    try:
        yield state
    finally:
        state.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with opened_state(f"sqlite:///{tmp_path}/state.db", tmp_path) as opened:
        yield opened


@pytest.fixture
def make_api(state: State) -> Callable[..., Api]:
    """The API over ``state`` with other settings."""
    return lambda **settings: Api(create_app(state, engines=ENGINES, settings=ApiSettings(**settings)), state)


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()


@pytest.fixture(params=["sqlite", "postgresql"])
def api_on_both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Api]:
    """The API over a state on SQLite, and over one on PostgreSQL."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/state.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"api_{tmp_path.name}_{next(_numbers)}".lower()
        server.create_role(name, "state")
        server.create_database(name)
        statement = sql.SQL("alter database {name} owner to {name}")
        server.execute_admin(statement.format(name=sql.Identifier(name)))
        url = f"postgresql://{name}:state@{server.host}:{server.port}/{name}"
    with opened_state(url, tmp_path) as opened:
        yield Api(create_app(opened, engines=ENGINES), opened)
