"""kill -9 of the API, under requests that change the state while the agent stores events into it."""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import httpx
from dbaudit.api import ApiServer, EngineDescription, create_app
from dbaudit.core.event import EventType
from dbaudit.core.secret import Secret
from dbaudit.state import open_state
from dbaudit.state.api_keys import Scope
from dbaudit.state.databases import DatabaseFilter
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.events import EventOrder, EventQuery

from tests.faults.agents import end_with_the_tests
from tests.faults.lane import Lane
from tests.faults.plan import RANDOM_OF_API
from tests.faults.workload import Workload
from tests.forking import fork_server
from tests.servers.postgresql import HOST, PostgresServer
from tests.servers.processes import wait_for

CLIENTS = 2
PASSWORD = "password-of-declaration-{}"


def test_api_killed_at_random_instants_loses_no_answered_change_and_leaves_none_half_done(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer
) -> None:
    chance = random.Random(23)
    (lane,) = lanes(1)
    key = lane.state.api_keys.create("fault tests", (Scope.ADMIN,))[1].reveal()
    with lane.agent() as agent, closing(socket.create_server((HOST, 0))) as listener:
        lane.wait_until_collecting()
        with Workload(monitored, "load") as workload:
            clients = _Clients(f"http://{HOST}:{listener.getsockname()[1]}", key)
            for _kill in range(RANDOM_OF_API):
                api = _start_api(lane, listener)
                answered = len(clients.changed)
                wait_for(lambda answered=answered: len(clients.changed) > answered, "an answer")  # type: ignore[misc]
                time.sleep(chance.uniform(0.0, 0.15))
                api.kill()
                api.join()
            api = _start_api(lane, listener)
            clients.stop()
            api.kill()
        lane.check_exactly_once(workload)
        assert agent.terminate() == 0
    _check_declarations(lane, clients)


class _Clients:
    """Declare a database and then change its tags, one after the other.

    ``declared`` and ``changed`` are the names for which the API answered; ``tried`` are all.
    """

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self._key = key
        self._stop = threading.Event()
        self.tried: set[str] = set()
        self.declared: set[str] = set()
        self.changed: set[str] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(f"client{c}",), daemon=True) for c in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, prefix: str) -> None:
        number = 0
        headers = {"Authorization": f"Bearer {self._key}"}
        while not self._stop.is_set():
            number += 1
            try:
                with httpx.Client(base_url=self._url, headers=headers, trust_env=False) as client:
                    self._declare(client, f"{prefix}-{number}")
            except httpx.TransportError:
                self._stop.wait(0.01)

    def _declare(self, client: httpx.Client, name: str) -> None:
        self.tried.add(name)
        body = {
            "name": name,
            "type": "postgresql",
            "host": f"{name}.example.com",
            "port": 5432,
            "database": "app",
            "username": "reader",
            "password": PASSWORD.format(name),
            "audit_status": "paused",
        }
        answer = client.post("/v1/databases", json=body)
        assert answer.status_code == 201, answer.text
        self.declared.add(name)
        answer = client.patch(f"/v1/databases/{answer.json()['id']}", json={"tags": [name, "changed"]})
        assert answer.status_code == 200, answer.text
        self.changed.add(name)


def _check_declarations(lane: Lane, clients: _Clients) -> None:
    found = {d.name: d for d in lane.state.databases.all() if d.id != lane.database.id}
    assert clients.declared <= found.keys(), "an answered declaration is lost"
    assert found.keys() <= clients.tried
    did = _own_events(lane)
    for name, database in found.items():
        changed = ["changed"] if database.tags else []
        assert did.pop(database.id) == ["created", *changed], "a change without its event, or the other way"
        password = Secret(PASSWORD.format(name))
        assert lane.state.databases.secret_equals(database.id, "password", password), "half a declaration"
        if name in clients.changed:
            assert database.tags == (name, "changed"), "an answered change is lost"
        _tagged, number = lane.state.databases.page(DatabaseFilter(tags=(name,)))
        assert number == len(database.tags) / 2, "half a change"
    assert did == {}, "an event without its change"


def _own_events(lane: Lane) -> dict[str, list[str]]:
    """What was done to each declaration, by the events on it."""
    did: dict[str, list[str]] = {}
    after: tuple[int, int] | None = (0, 0)
    more = True
    while more:
        wanted = EventQuery(types=(EventType.API,), order=EventOrder.STORED, after=after, limit=1000)
        page = lane.state.events.query(wanted)
        for event in (stored.event for stored in page.events):
            assert event.objects is not None
            assert event.detail is not None
            did.setdefault(event.objects[0], []).append(event.detail["action"])
        after, more = page.end, page.more
    return did


def _start_api(lane: Lane, listener: socket.socket) -> ForkServerProcess:
    process = fork_server.Process(target=_be_the_api, args=(lane.url, lane.keys, lane.log, listener))
    process.start()
    return process


def _be_the_api(url: str, keys: Path, log: Path, listener: socket.socket) -> None:
    end_with_the_tests()
    logging.basicConfig(filename=log, level="INFO")
    state = open_state(url, keyring_from_file(keys, create=False))
    engine = EngineDescription(
        type="postgresql", display_name="PostgreSQL", default_port=5432, options_schema={}
    )
    server = ApiServer(create_app(state, engines=[engine]), HOST, 0, listener=listener)
    server.prepare()
    server.serve()
