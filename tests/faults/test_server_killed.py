"""kill -9 of the monitored server, with the agent held at every step and at random instants."""

import random
import time
from collections.abc import Callable

from tests.faults.lane import Lane
from tests.faults.plan import RANDOM_OF_SERVER, STEPS_OF_SERVER
from tests.faults.steps import Step
from tests.faults.workload import Workload
from tests.servers.postgresql import PostgresServer

LANES = 4
LONG_LEASE_SECONDS = 60.0


def test_server_killed_at_any_step_of_the_agent_loses_nothing_and_stores_nothing_twice(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer
) -> None:
    (lane,) = lanes(1, lease_seconds=LONG_LEASE_SECONDS)
    _begin(lane)
    with Workload(monitored, "load") as workload:
        for step in Step:
            for passings in range(1, STEPS_OF_SERVER + 1):
                with lane.agent(step, passings) as agent:
                    agent.wait_until_stopped()
                    monitored.kill(spare_logger=True)
                    monitored.start()
                    agent.resume()
                    lane.wait_until_stored(workload, more=5)
                    assert agent.terminate() == 0
    with lane.agent():
        lane.check_exactly_once(workload)
        lane.check_cursor(monitored)


def test_server_killed_at_random_instants_loses_nothing_and_stores_nothing_twice(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer
) -> None:
    chance = random.Random(21)
    (lane,) = lanes(1)
    _begin(lane)
    with lane.agent(), Workload(monitored, "load") as workload:
        for _kill in range(RANDOM_OF_SERVER):
            time.sleep(chance.uniform(0.0, 0.7))
            monitored.kill(spare_logger=True)
            monitored.start()
        workload.stop()
        lane.check_exactly_once(workload)
        lane.check_cursor(monitored)


def _begin(lane: Lane) -> None:
    with lane.agent() as agent:
        lane.wait_until_collecting()
        assert agent.terminate() == 0
