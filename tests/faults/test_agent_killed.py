"""kill -9 of the agent, at every step of collecting and at random instants, under load."""

import random
import time
from collections.abc import Callable, Iterable

from tests.faults.lane import Lane
from tests.faults.load import kill_at_steps, under_load
from tests.faults.plan import RANDOM_OF_AGENT, STEPS_OF_AGENT_ON_SQLITE
from tests.faults.steps import Step
from tests.faults.workload import Pgbench
from tests.servers.installations import Client
from tests.servers.postgresql import PostgresServer

LANES = 4


def test_agent_killed_at_any_step_loses_nothing_and_stores_nothing_twice(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer
) -> None:
    kills = [(step, passings) for step in Step for passings in range(1, STEPS_OF_AGENT_ON_SQLITE + 1)]
    under_load(lanes(LANES), monitored, kill_at_steps, kills)


def test_agent_killed_at_random_instants_loses_nothing_and_stores_nothing_twice(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer, postgres_client: Client
) -> None:
    pgbench = Pgbench(monitored, postgres_client.pgbench)
    chance = random.Random(20)
    # The lease of the one before has to lapse first, so most of these hit reading and storing.
    delays = [chance.uniform(0.0, 1.2) for _kill in range(RANDOM_OF_AGENT)]

    def kill(lane: Lane, share: Iterable[float]) -> None:
        for delay in share:
            with lane.agent() as agent:
                time.sleep(delay)
                agent.kill()

    under_load(lanes(LANES), monitored, kill, delays, pgbench)
