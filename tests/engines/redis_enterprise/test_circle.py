"""The whole circle: what dbaudit's own sender sends of one installation, this engine collects in another."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbaudit.agent import AgentSettings
from dbaudit.agent.delivery.notifications import connection_id
from dbaudit.core.database import AuditOptions, Database
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.state import State, open_state
from dbaudit.state.encryption import keyring_from_file

from tests.agent.conftest import Installation
from tests.delivery.sending import Sending, numbered
from tests.engines.redis_enterprise.clusters import free_port
from tests.faults.agents import AgentProcess
from tests.host_limits import ANY_FOLDER
from tests.servers.processes import wait_for

KILLS = {"TCP": 6, "local": 2}
SETTINGS = {
    "node_name": "agent",
    "poll_interval_seconds": 0.02,
    "backoff_initial_seconds": 0.05,
    "backoff_max_seconds": 0.2,
    "host_limits": ANY_FOLDER,
}


@pytest.fixture
def sending(tmp_path: Path) -> Iterator[Sending]:
    """The installation that sends."""
    keyring = keyring_from_file(tmp_path / "sender.keys", create=True)
    state: State = open_state(f"sqlite:///{tmp_path}/sender.db", keyring, lease_seconds=600.0)
    with Sending(state) as sending:
        yield sending
    state.close()


@pytest.fixture
def collecting(tmp_path: Path) -> Iterator[Installation]:
    """The installation that collects."""
    installation = Installation(tmp_path)
    yield installation
    installation.close()


Declare = Callable[[], tuple[Database, dict[str, object]]]


@pytest.fixture(params=["TCP", "local"])
def place(request: pytest.FixtureRequest, collecting: Installation, tmp_path: Path) -> Declare:
    """Declares where the second installation listens; returns it with the settings of the first."""

    def declare() -> tuple[Database, dict[str, object]]:
        port, path = free_port(), str(tmp_path / "db_conns.sock")
        tcp = request.param == "TCP"
        options = {} if tcp else {"protocol": "local", "socket_path": path}
        database = collecting.declare(
            "redis_enterprise", host="127.0.0.1", port=port, audit_options=AuditOptions(engine=options)
        )
        return database, {"address": "127.0.0.1", "port": port} if tcp else {"address": path}

    return declare


def what_is_sent(database: Database, number: int) -> tuple[object, ...]:
    """What of an event of the first installation its notification says."""
    event = numbered(number)
    login = event.type is EventType.LOGIN_SUCCESS
    return (
        event.type,
        event.time_us // 1_000_000,
        str(connection_id(database.id, event.session_id or "")),
        event.source_ip,
        event.source_port,
        database.name,
        event.user if login else None,
    )


def what_came(event: AuditEvent) -> tuple[object, ...]:
    login = event.type is EventType.LOGIN_SUCCESS
    return (
        event.type,
        event.time_us // 1_000_000,
        event.session_id,
        event.source_ip,
        event.source_port,
        event.database,
        event.user if login else None,
    )


def stored(installation: Installation, database: Database) -> list[tuple[object, ...]]:
    return [what_came(found.event) for found in installation.events(database)]


def test_every_event_that_was_sent_is_collected_again_in_order(
    sending: Sending, collecting: Installation, place: Declare
) -> None:
    database, settings = place()
    collecting.start()
    collecting.wait_for_active(database)
    sending.to(**settings)  # type: ignore[arg-type]
    source = sending.declare()
    sending.start()
    sending.write(source, 6000)
    wait_for(lambda: len(stored(collecting, database)) >= 6000, "collecting it again")
    sending.stop()
    assert stored(collecting, database) == [what_is_sent(source, number) for number in range(6000)]
    assert collecting.collector(database).rejected_total == 0


def test_agents_that_stop_and_start_lose_nothing(
    sending: Sending, collecting: Installation, place: Declare
) -> None:
    database, settings = place()
    sending.to(**settings)  # type: ignore[arg-type]
    source = sending.declare()
    sending.start()
    for _round in range(5):
        stop = collecting.start()
        before = len(stored(collecting, database))
        sending.write(source, 3000)
        wait_for(lambda before=before: len(stored(collecting, database)) > before, "collecting")  # type: ignore[misc]
        stop()
    collecting.start()
    wanted = {what_is_sent(source, number) for number in range(15_000)}
    wait_for(lambda: wanted <= set(stored(collecting, database)), "every event")
    sending.stop()
    found = stored(collecting, database)
    print(f"{len(found) - len(wanted)} of {len(wanted)} were collected twice")
    assert set(found) == wanted


def test_agents_that_are_killed_at_any_instant_lose_nothing(
    sending: Sending, collecting: Installation, place: Declare, tmp_path: Path
) -> None:
    database, settings = place()
    sending.to(**settings)  # type: ignore[arg-type]
    source = sending.declare()
    sending.start()
    kills = KILLS["TCP" if "port" in settings else "local"]
    settings_of_agents = AgentSettings(**SETTINGS)  # type: ignore[arg-type]
    keys, log = tmp_path / "keys", tmp_path / "agent.log"
    enough = threading.Event()

    def write() -> None:
        while not enough.wait(0.05):
            sending.write(source, 90)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        for _kill in range(kills):
            with AgentProcess(collecting.url, keys, log, settings_of_agents, lease_seconds=0.5):
                before = len(stored(collecting, database))
                wait_for(lambda before=before: len(stored(collecting, database)) > before, "collecting")  # type: ignore[misc]
    finally:
        enough.set()
        writing.join()
    collecting.start()
    wanted = {what_is_sent(source, number) for number in range(sending.written[source.id])}
    wait_for(lambda: wanted <= set(stored(collecting, database)), "every event")
    sending.stop()
    found = Counter(stored(collecting, database))
    assert found.keys() == wanted
    print(f"{kills} kills: none of {len(wanted)} lost, {found.total() - len(wanted)} collected twice")
