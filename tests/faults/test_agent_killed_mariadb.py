"""kill -9 of an agent that collects MariaDB, at every step of collecting, while server_audit rotates."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import missing_engine_is_told
from tests.faults.lane import Lane
from tests.faults.load import kill_at_steps, under_load
from tests.faults.monitored import COLLECTOR
from tests.faults.plan import STEPS_OF_AGENT_ON_MARIADB
from tests.faults.steps import Step
from tests.servers.mariadb import MariaDBServer

LANES = 2


@pytest.fixture
def mariadb() -> Iterator[MariaDBServer]:
    """It begins a new file every hundred statements, and keeps more of them than the slowest run writes."""
    settings = {"server_audit_file_rotate_size": 20_000, "server_audit_file_rotations": 999}
    with missing_engine_is_told(), MariaDBServer(settings=settings) as server:  # type: ignore[arg-type]
        server.create_user(*COLLECTOR)
        yield server


def test_agent_killed_at_any_step_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, mariadb: MariaDBServer
) -> None:
    kills = [(step, passings) for step in Step for passings in range(1, STEPS_OF_AGENT_ON_MARIADB + 1)]
    with ExitStack() as open_lanes:
        lanes = [Lane(tmp_path / f"lane-{place}", mariadb) for place in range(LANES)]
        for lane in lanes:
            open_lanes.callback(lane.close)
        under_load(lanes, mariadb, kill_at_steps, kills)
