"""Servers and engines that never answer: the others go on, the state tells of it, the agent ends in time."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from dbaudit.core.database import ConnectionStatus, SslMode
from dbaudit.core.report import CheckStatus
from dbaudit.core.secret import Secret
from dbaudit.state.collectors import CollectorState
from dbaudit.state.databases import Declaration

from tests.agent.conftest import Installation
from tests.agent.unruly import Hanging
from tests.patience import PATIENCE_SECONDS
from tests.servers.postgresql import HOST, PostgresServer
from tests.servers.processes import children

SHUTDOWN_SECONDS = 1.0


@pytest.mark.parametrize("call", ["open", "test", "read", "health", "acknowledge", "close"])
def test_call_that_never_returns_is_given_up_and_tried_again(
    call: str, dbaudit: Installation, hanging: Hanging
) -> None:
    dbaudit.unruly.source, dbaudit.orderly.source = ["select 1"], ["select 1"]
    dbaudit.unruly.instead[call] = hanging
    if call == "close":
        dbaudit.unruly.instead["read"] = lambda: "nonsense"
    stuck, other = dbaudit.declare(), dbaudit.declare("orderly")
    # On a slow machine, too, the engine has to be mended before three threads hang in it.
    end = dbaudit.start(call_seconds=0.5, misconfigured_retry_seconds=6.0, shutdown_seconds=SHUTDOWN_SECONDS)
    assert hanging.entered.wait(PATIENCE_SECONDS)
    dbaudit.wait_for_active(other)
    collector = dbaudit.wait_for_error(stuck, f"has not returned from {call}() for 0.5 seconds")
    assert collector.error_code == "engine_failed"
    dbaudit.wait_for_status(stuck, ConnectionStatus.ERROR)
    dbaudit.orderly.source.append("select 2")
    dbaudit.wait_until(lambda: len(dbaudit.queries(other)) == 2, "the other database's events")
    dbaudit.unruly.instead.clear()
    dbaudit.wait_for_active(stuck)
    hanging.end()
    dbaudit.wait_until(lambda: dbaudit.collector(stuck).state is CollectorState.RUNNING, "running")
    assert dbaudit.queries(stuck) == ["select ?"]
    end()


def test_engine_that_hangs_each_time_is_not_given_one_thread_after_the_other(
    dbaudit: Installation, hanging: Hanging
) -> None:
    dbaudit.unruly.instead["read"] = hanging
    stuck = dbaudit.declare()
    dbaudit.start(call_seconds=0.1, misconfigured_retry_seconds=0.01, shutdown_seconds=SHUTDOWN_SECONDS)
    dbaudit.wait_for_error(stuck, "Restart the agent")
    opened = len(dbaudit.unruly.targets)
    beat = dbaudit.state.nodes.all()[0].heartbeat_at_us
    dbaudit.wait_until(
        lambda: dbaudit.state.nodes.all()[0].heartbeat_at_us > beat + 1_000_000, "a second more"
    )
    assert len(dbaudit.unruly.targets) == opened == 3


def test_agent_ends_in_time_although_an_engine_hangs(dbaudit: Installation, hanging: Hanging) -> None:
    dbaudit.unruly.instead["read"] = hanging
    stuck = dbaudit.declare()
    end = dbaudit.start(shutdown_seconds=SHUTDOWN_SECONDS)
    assert hanging.entered.wait(PATIENCE_SECONDS)
    started = time.monotonic()
    end()
    assert time.monotonic() - started < SHUTDOWN_SECONDS + 10
    assert dbaudit.state.nodes.all() == [], "the agent did not sign off"
    dbaudit.unruly.source = ["select 1"]
    dbaudit.unruly.instead.clear()
    dbaudit.start()
    dbaudit.wait_for_active(stuck)
    hanging.end()
    assert dbaudit.queries(stuck) == ["select ?"], "what came back from the hanging call was stored, too"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a listener that takes connections and never says a word."""
    with closing(socket.create_server((HOST, 0), backlog=16)) as listener:
        yield listener.getsockname()[1]


def test_listener_that_never_answers_is_disconnected_and_delays_nobody(
    dbaudit: Installation, silent: int, postgres: PostgresServer
) -> None:
    mute = dbaudit.declare("postgresql", host=HOST, port=silent)
    good = dbaudit.declare_server(postgres)
    end = dbaudit.start(shutdown_seconds=SHUTDOWN_SECONDS)
    dbaudit.wait_for_active(good)
    assert dbaudit.status(mute) is ConnectionStatus.PENDING, (
        "the other database had to wait for the silent one"
    )
    shown = dbaudit.wait_for_status(mute, ConnectionStatus.DISCONNECTED)
    assert shown.status_code == "connection_timeout"
    health = dbaudit.collector(mute).health
    assert health is not None
    assert health.connectivity is CheckStatus.CRITICAL
    end()


def test_server_that_hangs_while_collected_delays_nobody_and_goes_on(
    dbaudit: Installation, postgres_server: Callable[..., PostgresServer], postgres: PostgresServer
) -> None:
    frozen_server = postgres_server(17, pgaudit=True)
    frozen, other = dbaudit.declare_server(frozen_server), dbaudit.declare_server(postgres)
    dbaudit.start()
    dbaudit.wait_for_active(frozen)
    dbaudit.wait_for_active(other)
    family = [frozen_server.process_id, *children(frozen_server.process_id)]
    for member in family:
        os.kill(member, signal.SIGSTOP)
    try:
        postgres.execute_admin("select 'while the other one hangs'")
        dbaudit.change(other, mask_sensitive_data=False)
        dbaudit.wait_until(
            lambda: any(
                event.event.operation == "SELECT" and event.event.user == "postgres"
                for event in dbaudit.events(other)
            ),
            "the other server's events",
        )
        beat = dbaudit.collector(frozen).heartbeat_at_us
        other_beat = dbaudit.collector(other).heartbeat_at_us
        dbaudit.wait_until(
            lambda: (dbaudit.collector(other).heartbeat_at_us or 0) > (other_beat or 0) + 1_000_000,
            "the other collector's heartbeat",
        )
        assert dbaudit.collector(frozen).heartbeat_at_us == beat, "a collector that hangs seems to be alive"
    finally:
        for member in family:
            os.kill(member, signal.SIGCONT)
    frozen_server.execute_admin("select 'after it woke'")
    dbaudit.wait_until(lambda: "select ?" in dbaudit.queries(frozen), "events of the server that woke")
    assert dbaudit.collector(frozen).gaps_total == 0


def test_sixteen_hanging_connection_tests_keep_the_next_from_nothing(
    dbaudit: Installation, hanging: Hanging
) -> None:
    dbaudit.unruly.instead["open"] = hanging
    dbaudit.start()
    tasks = dbaudit.state.tasks
    late = [tasks.request_test(_declaration("unruly"), {}, timeout_seconds=4.0) for _test in range(16)]
    assert hanging.entered.wait(PATIENCE_SECONDS)
    # Its report can only come once a place is free.
    good = tasks.request_test(_declaration("orderly"), {"password": Secret("x")}, timeout_seconds=20.0)
    report = tasks.wait(good, 20.0)
    assert report is not None
    assert report.success
    for task in late:
        report = tasks.wait(task, 10.0)
        assert report is not None
        assert (report.success, report.error_code) == (False, "connection_timeout")
    hanging.end()
    assert tasks.wait(late[0], 0.0) == report, "a late end wrote over the report"


def _declaration(engine_type: str) -> Declaration:
    return Declaration(
        name="tested",
        type=engine_type,
        host="tested.example.com",
        port=1,
        database="app",
        username="reader",
        ssl_mode=SslMode.DISABLE,
    )
