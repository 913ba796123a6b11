"""A session that collects from a server, and an ordinary user's statements."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pymysql
from dbaudit.engines.mariadb.options import Source
from dbaudit.testing import Collecting

from tests.engines.mariadb.monitored import USER, USER_PASSWORD, MonitoredFile
from tests.servers.mariadb import MariaDBServer


@contextlib.contextmanager
def collecting(
    server: MariaDBServer, source: Source, cursor: Any = None, **options: str
) -> Iterator[Collecting]:
    monitored = MonitoredFile(server, source=source.value, **options)
    with Collecting(monitored, cursor) as reading:
        yield reading


def run(server: MariaDBServer, *statements: str) -> None:
    """As the ordinary user, in a session of its own."""
    connection = server.connect(USER, USER_PASSWORD, database="shop")
    with connection.cursor() as cursor:
        for statement in statements:
            with contextlib.suppress(pymysql.err.ProgrammingError):
                cursor.execute(statement)
    connection.close()
