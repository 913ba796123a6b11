"""A shared server with the collector's role, for tests that read."""

from collections.abc import Iterator

import pytest

from tests.engines.postgresql.collecting import collector_on
from tests.servers.postgresql import PostgresServer


@pytest.fixture(scope="module")
def read_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """PostgreSQL 17 with pgaudit."""
    with collector_on(postgres) as server:
        yield server
