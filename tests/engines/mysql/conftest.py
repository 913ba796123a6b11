"""Real servers as fixtures."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import missing_engine_is_told
from tests.engines.mysql.targets import create_collector
from tests.servers.mysql import RELEASES, MySQLServer, Tls


@pytest.fixture
def mysql_server() -> Iterator[Callable[..., MySQLServer]]:
    """Starts servers for one test, with the collector's account: takes what MySQLServer takes."""
    with ExitStack() as running:

        def start(release: str = RELEASES[0], *statements: str, **options: object) -> MySQLServer:
            with missing_engine_is_told():
                server = running.enter_context(MySQLServer(release, **options))  # type: ignore[arg-type]
            create_collector(server, *statements)
            return server

        yield start


@pytest.fixture(scope="session")
def mysql() -> Iterator[MySQLServer]:
    """A 9.7 that tests share, with the documented account and TLS offered."""
    with missing_engine_is_told(), MySQLServer(RELEASES[0], tls=Tls.OFFERED) as server:
        create_collector(server)
        yield server


@pytest.fixture(scope="session")
def mysql_oldest() -> Iterator[MySQLServer]:
    """A 5.6 that tests share, with the documented account."""
    with missing_engine_is_told(), MySQLServer(RELEASES[-1]) as server:
        create_collector(server)
        yield server


@pytest.fixture(params=RELEASES, ids="mysql-{}".format)
def mysql_of_each_release(request: pytest.FixtureRequest) -> MySQLServer:
    """A shared server of every release in turn."""
    server: MySQLServer = request.getfixturevalue("mysql" if request.param == "9.7" else "mysql_oldest")
    return server
