"""What an engine is given to open a session to a server of the tests."""

from collections.abc import Callable
from typing import Any

import msgspec
from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret

from tests.servers.postgresql import PostgresServer

COLLECTOR = "dbaudit_collector"
PASSWORD = "c0llect;'\\ me"  # with what a connection string has to quote


def target(server: PostgresServer, **changes: Any) -> Target:
    """The collector's target on a server; ``changes`` are fields of Target."""
    return msgspec.structs.replace(
        Target(
            database_id="db_test",
            host=server.host,
            port=server.port,
            database="postgres",
            username=COLLECTOR,
            password=Secret(PASSWORD),
            ssl_mode=SslMode.DISABLE,
        ),
        **changes,
    )


def changing(server: PostgresServer) -> Callable[..., PostgresServer]:
    """What gives the server other settings, and returns it."""

    def change(**settings: str) -> PostgresServer:
        server.configure(**settings)
        server.reload()
        return server

    return change


def nobody(port: int, **changes: Any) -> Target:
    """A target on a port where no PostgreSQL is."""
    return msgspec.structs.replace(
        Target(
            database_id="db_test",
            host="127.0.0.1",
            port=port,
            database="postgres",
            username=COLLECTOR,
            password=Secret(PASSWORD),
            ssl_mode=SslMode.REQUIRE,
            connect_timeout_seconds=1.0,
        ),
        **changes,
    )
