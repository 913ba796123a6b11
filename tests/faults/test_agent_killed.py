"""kill -9 of the agent, at every step of collecting and at random instants, under load."""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import Any

from tests.faults.lane import Lane
from tests.faults.plan import RANDOM_OF_AGENT, STEPS_OF_AGENT_ON_SQLITE
from tests.faults.steps import Step
from tests.faults.workload import Pgbench, Workload
from tests.servers.installations import Client
from tests.servers.postgresql import PostgresServer

LANES = 4


def test_agent_killed_at_any_step_loses_nothing_and_stores_nothing_twice(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer
) -> None:
    kills = [(step, passings) for step in Step for passings in range(1, STEPS_OF_AGENT_ON_SQLITE + 1)]

    def kill(lane: Lane, share: Iterable[tuple[Step, int]]) -> None:
        for step, passings in share:
            with lane.agent(step, passings) as agent:
                agent.wait_until_stopped()
                agent.kill()

    _under_load(lanes(LANES), monitored, kill, kills)


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

    _under_load(lanes(LANES), monitored, kill, delays, pgbench)


def _under_load(
    lanes: Sequence[Lane],
    server: PostgresServer,
    kill: Callable[[Lane, Iterable[Any]], None],
    kills: Sequence[Any],
    pgbench: Pgbench | None = None,
) -> None:
    """Spread the kills over the lanes, all at once; then let an agent finish, and count."""
    for lane in lanes:
        with lane.agent() as agent:
            lane.wait_until_collecting()
            assert agent.terminate() == 0
    with (
        pgbench or nullcontext(),
        Workload(server, "load") as workload,
        ThreadPoolExecutor(len(lanes)) as pool,
    ):
        for done in [pool.submit(kill, lane, kills[place :: len(lanes)]) for place, lane in enumerate(lanes)]:
            done.result()
    with ExitStack() as agents:
        for lane in lanes:
            agents.enter_context(lane.agent())
        for lane in lanes:
            lane.check_exactly_once(workload)
            if pgbench is not None:
                lane.check_pgbench_exactly_once(pgbench)
        for lane in lanes:
            lane.check_cursor(server)
