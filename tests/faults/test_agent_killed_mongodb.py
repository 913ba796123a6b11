"""kill -9 of an agent that collects MongoDB, at every step of collecting, while the server's log rotates."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from tests.conftest import missing_engine_is_told
from tests.faults.lane import Lane
from tests.faults.load import kill_at_steps, under_load
from tests.faults.monitored import COLLECTOR
from tests.faults.plan import STEPS_OF_AGENT_ON_MONGODB
from tests.faults.steps import Step
from tests.servers.mongodb import MongoServer

LANES = 2
ROTATED_EVERY_SECONDS = 1.1


@pytest.fixture
def mongodb() -> Iterator[MongoServer]:
    """Every operation is in its log."""
    with missing_engine_is_told(), MongoServer(arguments=["--slowms", "-1"]) as server:
        server.create_user(*COLLECTOR, ["clusterMonitor"])
        yield server


@contextlib.contextmanager
def rotating(server: MongoServer) -> Iterator[None]:
    stop = threading.Event()

    def rotate() -> None:
        while not stop.wait(ROTATED_EVERY_SECONDS):
            # The files are named by the second: one that is there already is refused.
            with contextlib.suppress(OperationFailure):
                server.rotate_log()

    thread = threading.Thread(target=rotate)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_agent_killed_at_any_step_loses_nothing_and_stores_nothing_twice(
    tmp_path: Path, mongodb: MongoServer
) -> None:
    kills = [(step, passings) for step in Step for passings in range(1, STEPS_OF_AGENT_ON_MONGODB + 1)]
    with ExitStack() as open_lanes:
        lanes = [Lane(tmp_path / f"lane-{place}", mongodb) for place in range(LANES)]
        for lane in lanes:
            open_lanes.callback(lane.close)
        with rotating(mongodb):
            under_load(lanes, mongodb, kill_at_steps, kills)
