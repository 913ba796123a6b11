"""A shared server with the collector's role, and sessions that read a folder of the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from dbaudit.engines.postgresql.records import LogFileFormat

from tests.engines.postgresql.collecting import Collecting, collector_on
from tests.servers.postgresql import PostgresServer

Open = Callable[..., Collecting]


@pytest.fixture(scope="module")
def read_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """PostgreSQL 17 with pgaudit."""
    with collector_on(postgres) as server:
        yield server


@pytest.fixture
def opened(read_server: PostgresServer, tmp_path: Path) -> Iterator[Open]:
    """Opens sessions that read the test's own directory; they begin at its beginning."""
    sessions = []

    def open_session(
        log_format: LogFileFormat, start_from: str = "beginning", cursor: Any = None
    ) -> Collecting:
        collecting = Collecting(
            read_server,
            cursor,
            log_source="local",
            log_directory=str(tmp_path),
            log_format=log_format.value,
            start_from=start_from,
        )
        sessions.append(collecting)
        return collecting

    yield open_session
    for collecting in sessions:
        collecting.session.close()
