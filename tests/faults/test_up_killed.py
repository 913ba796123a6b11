"""kill -9 of the processes of `dbaudit up`: each child, and the whole."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.faults.lane import Lane
from tests.faults.plan import CHILDREN_OF_UP
from tests.faults.workload import Workload
from tests.host_limits import ANY_FOLDER_VARIABLE
from tests.patience import PATIENCE_SECONDS
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import children, title, wait_for

PROGRAM = Path(sys.executable).with_name("dbaudit")


def test_children_of_up_come_back_from_kill_9_with_nothing_lost_and_nothing_twice(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer, tmp_path: Path
) -> None:
    chance = random.Random(24)
    (lane,) = lanes(1)
    with _up(lane, tmp_path) as up:
        lane.wait_until_collecting()
        with Workload(monitored, "load") as workload:
            for number in range(CHILDREN_OF_UP):
                command = ("agent", "api")[number % 2]
                process_id = _child(up, command)
                time.sleep(chance.uniform(0.0, 0.3))
                os.kill(process_id, signal.SIGKILL)
                wait_for(lambda: _child(up, command) != process_id, f"the start of another {command}")  # noqa: B023
            lane.wait_until_stored(workload, more=5)
        lane.check_exactly_once(workload)
        url = (lane.home / "api.url").read_text().strip()
        wait_for(lambda: _answers(url), "answers of the API")
        up.terminate()
        assert up.wait(PATIENCE_SECONDS) == 0


def test_up_killed_as_a_whole_goes_on_when_it_is_started_again(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer, tmp_path: Path
) -> None:
    (lane,) = lanes(1)
    with _up(lane, tmp_path) as up:
        lane.wait_until_collecting()
        family = [_child(up, "agent"), _child(up, "api")]
        with Workload(monitored, "load") as workload:
            lane.wait_until_stored(workload, more=5)
            up.kill()
            up.wait()
            wait_for(lambda: not any(title(member) for member in family), "the end of its children")
    with _up(lane, tmp_path) as up:
        lane.check_exactly_once(workload)
        up.terminate()
        assert up.wait(PATIENCE_SECONDS) == 0


@contextmanager
def _up(lane: Lane, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`dbaudit up` on the lane's state."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DBAUDIT_")}
    environment |= ANY_FOLDER_VARIABLE | {
        "DBAUDIT_STATE_URL": lane.url,
        "DBAUDIT_ENCRYPTION_KEY_FILE": str(lane.keys),
        "DBAUDIT_LEASE_SECONDS": "1",
        "DBAUDIT_POLL_INTERVAL_SECONDS": "0.02",
    }
    with lane.log.open("ab") as log:
        process = subprocess.Popen(
            [PROGRAM, "up", "--home", lane.home, "--port", "0"],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _child(up: subprocess.Popen[bytes], command: str) -> int:
    """The process of ``dbaudit COMMAND`` under ``up``, as soon as there is one."""
    found: list[int] = []

    def look() -> bool:
        assert up.poll() is None, "dbaudit up has ended"
        found[:] = [child for child in children(up.pid) if f"dbaudit\0{command}\0" in title(child)]
        return len(found) == 1

    wait_for(look, f"dbaudit {command}")
    return found[0]


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
