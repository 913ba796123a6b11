"""Kills under load, over several installations at once, and what has to hold afterwards."""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import Any

from tests.faults.lane import Lane
from tests.faults.steps import Step
from tests.faults.workload import Pgbench, Workload


def under_load(
    lanes: Sequence[Lane],
    server: Any,
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


def kill_at_steps(lane: Lane, share: Iterable[tuple[Step, int]]) -> None:
    """Start an agent, and kill it once it has come to a step for the so-many-th time; for each of them."""
    for step, passings in share:
        with lane.agent(step, passings) as agent:
            agent.wait_until_stopped()
            agent.kill()
