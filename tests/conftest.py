"""Real servers as fixtures; tests/servers starts them."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.servers.errors import EngineMissingError
from tests.servers.installations import MAJORS, PGAUDIT_MAJORS, Client, Installation, client, localised
from tests.servers.postgresql import PostgresServer

# A distribution of its own, whose tests are run where it is installed: engine/test_example_plugin.py.
collect_ignore = ["example_plugin"]

DEFAULT_MAJOR = 17


@contextmanager
def missing_engine_is_told() -> Iterator[None]:
    """A server that cannot be had skips the test on a laptop and fails it in CI."""
    try:
        yield
    except EngineMissingError as missing:
        if os.environ.get("CI"):
            pytest.fail(str(missing), pytrace=False)
        pytest.skip(str(missing))


@pytest.fixture
def postgres_server() -> Iterator[Callable[..., PostgresServer]]:
    """Starts servers for one test: ``postgres_server(15, pgaudit=True)`` takes what PostgresServer takes."""
    with ExitStack() as running:

        def start(major: int = DEFAULT_MAJOR, **options: object) -> PostgresServer:
            with missing_engine_is_told():
                return running.enter_context(PostgresServer(major, **options))  # type: ignore[arg-type]

        yield start


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server with pgaudit that tests share: each makes databases and roles of its own."""
    with missing_engine_is_told(), PostgresServer(DEFAULT_MAJOR, pgaudit=True) as server:
        yield server


@pytest.fixture(scope="session", params=MAJORS, ids="postgresql-{}".format)
def postgres_of_each_major(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A shared server of every major in turn, with pgaudit where there is one."""
    major = request.param
    with missing_engine_is_told(), PostgresServer(major, pgaudit=major in PGAUDIT_MAJORS) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_client() -> Client:
    """pgbench and psql."""
    with missing_engine_is_told():
        return client()


@pytest.fixture(scope="session")
def postgres_localised() -> Installation:
    """Programs for ``postgres_server(15, installed=..., settings={"lc_messages": "de_DE.UTF-8"})``."""
    with missing_engine_is_told():
        return localised()
