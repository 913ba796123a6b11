"""kill -9 of the PostgreSQL server that holds the state, under load."""

import random
import time
from pathlib import Path

from tests.conftest import DEFAULT_MAJOR
from tests.faults.lane import Lane
from tests.faults.plan import RANDOM_OF_STATE_SERVER
from tests.faults.test_two_agents import state_url
from tests.faults.workload import Workload
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for


def test_state_server_killed_at_random_instants_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, monitored: PostgresServer
) -> None:
    chance = random.Random(22)
    with PostgresServer(DEFAULT_MAJOR, durable=True) as holder:
        lane = Lane(tmp_path, monitored, url=state_url(holder))
        try:
            with lane.agent() as agent:
                lane.wait_until_collecting()
                with Workload(monitored, "load") as workload:
                    for _kill in range(RANDOM_OF_STATE_SERVER):
                        time.sleep(chance.uniform(0.0, 0.7))
                        holder.kill()
                        time.sleep(chance.uniform(0.0, 0.3))
                        holder.start()
                wait_for(lane.state_answers, "the state's coming back")
                lane.check_exactly_once(workload)
                lane.check_cursor(monitored)
                assert agent.terminate() == 0
        finally:
            lane.close()
