"""Two agents on one PostgreSQL state: the one that collects is killed or frozen, the other takes over."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import DEFAULT_MAJOR
from tests.faults.lane import Lane
from tests.faults.plan import STEPS_OF_AGENT_ON_POSTGRESQL
from tests.faults.steps import Step
from tests.faults.workload import Workload
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

PASSWORD = "password-of-the-state"
LEASE_SECONDS = 2.0  # an agent that is alive keeps them, on a slow machine too


@pytest.fixture
def lane(tmp_path: Path, monitored: PostgresServer) -> Iterator[Lane]:
    """An installation with its state on a PostgreSQL server of its own."""
    with ExitStack() as running:
        server = running.enter_context(PostgresServer(DEFAULT_MAJOR))
        lane = Lane(tmp_path, monitored, url=state_url(server), lease_seconds=LEASE_SECONDS)
        running.callback(lane.close)
        yield lane


def state_url(server: PostgresServer) -> str:
    """A new database for a state, and the way to it."""
    server.create_role("dbaudit", PASSWORD)
    server.execute_admin("create database dbaudit owner dbaudit")
    return f"postgresql://dbaudit:{PASSWORD}@{server.host}:{server.port}/dbaudit"


def test_other_agent_takes_over_from_one_killed_at_any_step(lane: Lane, monitored: PostgresServer) -> None:
    _begin(lane)
    with Workload(monitored, "load") as workload:
        for step in Step:
            for passings in range(1, STEPS_OF_AGENT_ON_POSTGRESQL + 1):
                with lane.agent(step, passings, name="killed") as killed:
                    killed.wait_until_stopped()
                    with lane.agent(name="heir") as heir:
                        killed.kill()
                        lane.wait_until_stored(workload, more=5)
                        assert heir.terminate() == 0
    with lane.agent():
        lane.check_exactly_once(workload)
        lane.check_cursor(monitored)


@pytest.mark.parametrize("step", Step, ids=lambda step: step.name.lower())
def test_agent_frozen_past_its_lease_stores_nothing_when_it_wakes(
    step: Step, lane: Lane, monitored: PostgresServer
) -> None:
    _begin(lane)
    with Workload(monitored, "load") as workload, lane.agent(step, 2, name="frozen") as frozen:
        frozen.wait_until_stopped()
        asleep = lane.node_id()
        with lane.agent(name="heir"):
            wait_for(lambda: lane.node_id() not in (None, asleep), "the other agent taking over")
            heir = lane.node_id()
            frozen.resume()
            lane.wait_until_stored(workload, more=50)
            wait_for(lambda: len(lane.state.nodes.all(alive_only=True)) == 2, "the life of the one that woke")
            assert lane.node_id() == heir, "the agent that woke up wrote over what its heir had written"
            workload.stop()
            lane.check_exactly_once(workload)


def _begin(lane: Lane) -> None:
    with lane.agent() as agent:
        lane.wait_until_collecting()
        assert agent.terminate() == 0
