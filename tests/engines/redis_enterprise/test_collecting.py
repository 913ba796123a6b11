"""From a cluster's connection to stored events, through a real agent over a real state."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbaudit.core.database import AuditOptions, ConnectionStatus, Database
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engines.redis_enterprise import registry

from tests.agent.conftest import Installation
from tests.engines.redis_enterprise.clusters import free_port
from tests.engines.redis_enterprise.records import AUTH, EVERY_RECORD, NEW_CONN, marked
from tests.patience import PATIENCE_SECONDS
from tests.servers.processes import wait_for


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()


def declare(installation: Installation, port: int, **options: object) -> Database:
    return installation.declare(
        "redis_enterprise",
        host="127.0.0.1",
        port=port,
        database="*",
        username="-",
        # The documentation's notifications are of 2022.
        audit_options=AuditOptions(engine=dict(options), retention_days=3650),
    )


def stored(installation: Installation, database: Database) -> list[AuditEvent]:
    return [found.event for found in installation.events(database)]


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS)


def test_every_documented_notification_is_stored_within_a_second(installation: Installation) -> None:
    database = declare(installation, free_port())
    installation.start()
    installation.wait_for_active(database)
    with connected(database.port) as node:
        node.sendall(b"\n".join(EVERY_RECORD))
        sent = time.monotonic()
        # One more: the documented example has lost the record with the number 2.
        wait_for(lambda: len(stored(installation, database)) == len(EVERY_RECORD) + 1, "storing")
        assert time.monotonic() - sent < 1.0
    events = {event.type: event for event in stored(installation, database)}
    assert events[EventType.GAP].detail is not None
    assert events[EventType.GAP].detail["lost_records"] == 1
    assert events[EventType.QUERY].user == "default"
    assert events[EventType.DISCONNECT].duration_ms == 14_000.0
    collector = installation.collector(database)
    assert (collector.gaps_total, collector.rejected_total) == (1, 0)


def test_what_is_no_notification_is_counted_and_kept_aside(installation: Installation) -> None:
    database = declare(installation, free_port())
    installation.start()
    installation.wait_for_active(database)
    with connected(database.port) as node:
        node.sendall(b"GET / HTTP/1.1\r\n\r\n" + AUTH + b'{"torn":')
    wait_for(lambda: installation.collector(database).rejected_total == 2, "putting aside")
    assert len(stored(installation, database)) == 1


def test_an_agent_that_stops_stores_everything_that_had_arrived(installation: Installation) -> None:
    database = declare(installation, free_port())
    stop = installation.start(poll_interval_seconds=5.0)
    installation.wait_for_active(database)
    with connected(database.port) as node:
        node.sendall(b"".join(marked(number) for number in range(500)))
        node.shutdown(socket.SHUT_WR)
        wait_for(lambda: not unacknowledged(node), "the other kernel's acknowledgement")
        stop()
        assert node.recv(1) == b"", "the agent did not end the connection in order"
    assert len(stored(installation, database)) == 500


def unacknowledged(node: socket.socket) -> bool:
    established, close_wait, fin_wait_1 = 1, 8, 4
    state = node.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state in (established, close_wait, fin_wait_1)


def test_a_change_of_the_options_loses_nothing_that_had_arrived(installation: Installation) -> None:
    database = declare(installation, free_port())
    installation.start()
    installation.wait_for_active(database)
    with connected(database.port) as node:
        node.sendall(NEW_CONN)
        wait_for(lambda: len(stored(installation, database)) == 1, "the first event")
        node.sendall(b"".join(marked(number) for number in range(300)))
        installation.change(database, engine={"max_connections": 7})
        wait_for(lambda: node_is_gone(node), "the end of the old session")
    made: list[socket.socket] = []

    def again() -> bool:
        try:
            made.append(connected(database.port))
        except ConnectionRefusedError:
            return False
        return True

    wait_for(again, "the new session")
    with made[0] as node:
        node.sendall(marked(300))
        wait_for(lambda: len(stored(installation, database)) == 302, "every event")
    numbers = [event.session_id for event in stored(installation, database)][1:]
    assert sorted(map(int, filter(None, numbers))) == list(range(301))


def node_is_gone(node: socket.socket) -> bool:
    node.setblocking(False)
    try:
        return node.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_what_comes_while_the_state_is_locked_is_stored_afterwards(installation: Installation) -> None:
    database = declare(installation, free_port())
    installation.start()
    installation.wait_for_active(database)
    records = 20_000
    stream = b"".join(marked(number) for number in range(records))
    other = installation.open()
    with connected(database.port) as node:
        with other.backend.writing():
            sending = threading.Thread(target=node.sendall, args=(stream,))
            sending.start()
            sending.join(0.3)  # whatever has come by then, nothing of it can be stored
            assert not stored(installation, database)
        sending.join()
        wait_for(lambda: len(stored(installation, database)) == records, "every event")
    other.close()


def test_a_database_on_a_taken_port_says_so_and_collects_once_it_is_free(installation: Installation) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        database = declare(installation, other.getsockname()[1])
        installation.start()
        wait_for(lambda: installation.state.databases.get(database.id).status_code is not None, "the failure")
        failed = installation.state.databases.get(database.id)
        assert failed.status is ConnectionStatus.DISCONNECTED
        assert "Another process listens on" in (failed.status_reason or "")
    installation.wait_for_active(database)


def test_registry_is_left_empty(installation: Installation) -> None:
    database = declare(installation, free_port())
    stop = installation.start()
    installation.wait_for_active(database)
    stop()
    assert not [held for held in registry._live.values() if held.database_id == database.id]
