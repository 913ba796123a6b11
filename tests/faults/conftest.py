"""A monitored server and installations of dbaudit for the fault tests."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEFAULT_MAJOR, missing_engine_is_told
from tests.faults.lane import Lane
from tests.faults.monitored import COLLECTOR
from tests.servers.postgresql import PostgresServer


@pytest.fixture
def monitored() -> Iterator[PostgresServer]:
    """A server that may be killed: what it has told its logger survives it."""
    with missing_engine_is_told(), PostgresServer(DEFAULT_MAJOR, pgaudit=True, durable=True) as server:
        server.create_collector_role(*COLLECTOR)
        yield server


@pytest.fixture
def lanes(tmp_path: Path, monitored: PostgresServer) -> Iterator[Callable[..., list[Lane]]]:
    """Makes so many installations that all collect the one server; ``options`` are those of Lane."""
    with ExitStack() as open_lanes:

        def make(number: int, **options: Any) -> list[Lane]:
            made = [Lane(tmp_path / f"lane-{place}", monitored, **options) for place in range(number)]
            for lane in made:
                open_lanes.callback(lane.close)
            return made

        yield make
