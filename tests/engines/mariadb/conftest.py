"""Servers with the collector's account and an ordinary user."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.conftest import missing_engine_is_told
from tests.engines.mariadb.monitored import USER, USER_PASSWORD
from tests.engines.mariadb.targets import COLLECTOR, PASSWORD
from tests.servers.mariadb import DEFAULT_RELEASE, RELEASES, MariaDBServer

Start = Callable[..., MariaDBServer]


@pytest.fixture
def started() -> Iterator[Start]:
    """Starts servers for one test: ``started(release, *grants, **options)``."""
    with ExitStack() as running:

        def start(release: str = DEFAULT_RELEASE, *grants: str, **options: Any) -> MariaDBServer:
            with missing_engine_is_told():
                server = running.enter_context(MariaDBServer(release, **options))
            _prepare(server, *grants)
            return server

        yield start


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDBServer]:
    """A shared server whose audit file LOAD_FILE gives; the collector has no right but to log in."""
    with missing_engine_is_told(), MariaDBServer(umask="0644") as server:
        _prepare(server)
        yield server


@pytest.fixture(scope="session", params=RELEASES, ids="mariadb-{}".format)
def mariadb_of_each_release(request: pytest.FixtureRequest) -> Iterator[MariaDBServer]:
    """A shared server of every release in turn; the collector has the right FILE."""
    with missing_engine_is_told(), MariaDBServer(request.param, umask="0644") as server:
        _prepare(server, "FILE ON *.*")
        yield server


def _prepare(server: MariaDBServer, *grants: str) -> None:
    server.create_user(COLLECTOR, PASSWORD, *grants)
    server.execute_admin("create database shop")
    server.create_user(USER, USER_PASSWORD, "ALL ON shop.*")
