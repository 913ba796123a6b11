"""kill -9 of an agent that collects MongoDB: at every step of collecting, while the server's log rotates; and
ten times in a row by somebody who is not its engine.
"""

import contextlib
import os
import signal
import subprocess
import sys
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
from tests.faults.workload import Workload
from tests.host_limits import ANY_FOLDER_VARIABLE
from tests.patience import PATIENCE_SECONDS
from tests.servers.mongodb import MongoServer
from tests.servers.processes import children, wait_for

PROGRAM = Path(sys.executable).with_name("dbaudit")
KILLS = 10
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


def test_database_is_not_held_back_for_kills_from_outside(tmp_path: Path, mongodb: MongoServer) -> None:
    lane = Lane(tmp_path / "lane", mongodb)
    with contextlib.closing(lane), supervised_agent(lane) as parent:
        lane.wait_until_collecting()
        with rotating(mongodb), Workload(mongodb, "load") as workload:
            for _kill in range(KILLS):
                lane.wait_until_stored(workload, more=5)
                (agent,) = children(parent.pid)
                os.kill(agent, signal.SIGKILL)
                wait_for(lambda: children(parent.pid) not in ([], [agent]), "another agent")  # noqa: B023
            lane.wait_until_stored(workload, more=5)
        lane.check_exactly_once(workload)
        parent.terminate()
        assert parent.wait(PATIENCE_SECONDS) == 0
    told = lane.log.read_text()
    assert told.count("was ended by SIGKILL") >= KILLS
    assert "in a row" not in told
    assert "one of the databases that may be why" not in told


@contextlib.contextmanager
def supervised_agent(lane: Lane) -> Iterator[subprocess.Popen[bytes]]:
    """`dbaudit agent` on the lane's state, with the parent process that starts the agent again."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBAUDIT_")}
    environment |= ANY_FOLDER_VARIABLE | {
        "DBAUDIT_STATE_URL": lane.url,
        "DBAUDIT_ENCRYPTION_KEY_FILE": str(lane.keys),
        "DBAUDIT_POLL_INTERVAL_SECONDS": "0.02",
    }
    with lane.log.open("ab") as log:
        process = subprocess.Popen(
            [PROGRAM, "agent", "--home", lane.home],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        for process_id in children(process.pid):
            os.kill(process_id, signal.SIGKILL)
        process.kill()
        process.wait()
