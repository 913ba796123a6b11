"""The disk of an SQLite state is full: collecting waits, and goes on when there is room again."""

import resource
from collections.abc import Callable

from dbaudit.core.database import ConnectionStatus

from tests.faults.agents import AgentProcess
from tests.faults.lane import Lane
from tests.faults.workload import Workload
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

ROOM_BYTES = 100_000


def test_full_disk_makes_collecting_wait_and_loses_nothing(
    lanes: Callable[..., list[Lane]], monitored: PostgresServer
) -> None:
    """The kernel lets the agent's files grow no further, which SQLite meets as it meets a full disk."""
    (lane,) = lanes(1)
    with lane.agent() as agent:
        lane.wait_until_collecting()
        with Workload(monitored, "load") as workload:
            _fill_and_make_room(lane, agent, workload)
        lane.check_exactly_once(workload)
        lane.check_cursor(monitored)
    assert "Traceback" not in lane.log.read_text()


def _fill_and_make_room(lane: Lane, agent: AgentProcess, workload: Workload) -> None:
    size = max(file.stat().st_size for file in lane.home.glob("state.db*") if file.is_file())
    _limit(agent.process_id, size + ROOM_BYTES)
    wait_for(lambda: "collecting waits" in lane.log.read_text(), "waiting for room")
    answered = len(workload.answered)
    wait_for(lambda: len(workload.answered) > answered + 100, "more statements")
    assert lane.state.databases.get(lane.database.id).status is ConnectionStatus.CONNECTED
    _limit(agent.process_id, resource.RLIM_INFINITY)
    lane.wait_until_stored(workload, more=5)


def _limit(process_id: int, largest_bytes: int) -> None:
    hard = resource.prlimit(process_id, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(process_id, resource.RLIMIT_FSIZE, (largest_bytes, hard))
