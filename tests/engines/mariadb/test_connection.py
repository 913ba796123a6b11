"""Reaching a server and logging in: what is not as with MySQL, whose tests have the rest."""

from tests.engines.crowded import version_asked_among_many_sockets
from tests.engines.mariadb.targets import target
from tests.servers.mariadb import MariaDBServer


def test_agent_with_thousands_of_open_sockets_still_connects(mariadb: MariaDBServer) -> None:
    assert "MariaDB" in version_asked_among_many_sockets(target(mariadb))
