"""What an engine is given to open a session to a server of the tests."""

from typing import Any

import msgspec
from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret

from tests.servers.mysql import MySQLServer, quoted

COLLECTOR = "dbaudit"  # 5.6 takes 16 characters
PASSWORD = "c0llect;'\\ mé"  # with what a statement has to quote
HOST = "127.0.0.1"
ACCOUNT = f"{quoted(COLLECTOR)}@{quoted(HOST)}"

DOCUMENTED = (
    "CREATE DATABASE IF NOT EXISTS dbaudit",
    f"GRANT SELECT, ALTER, DROP, CREATE, INSERT ON mysql.general_log TO {ACCOUNT}",
    f"GRANT SELECT, ALTER, DROP, CREATE, INSERT ON dbaudit.* TO {ACCOUNT}",
)
"""The grants of the documentation for the general log."""


def create_collector(server: MySQLServer, *statements: str) -> None:
    """The collector's account, with the documented grants or with what ``statements`` give it."""
    server.create_user(COLLECTOR, PASSWORD, host=HOST)
    for statement in statements or DOCUMENTED:
        server.execute_admin(statement)


def target(server: MySQLServer, **changes: Any) -> Target:
    """The collector's target on a server; ``changes`` are fields of Target."""
    return msgspec.structs.replace(
        Target(
            database_id="db_test",
            host=server.host,
            port=server.port,
            database="",
            username=COLLECTOR,
            password=Secret(PASSWORD),
            ssl_mode=SslMode.DISABLE,
        ),
        **changes,
    )


def nobody(port: int, **changes: Any) -> Target:
    """A target on a port where no MySQL is."""
    return msgspec.structs.replace(
        Target(
            database_id="db_test",
            host=HOST,
            port=port,
            database="",
            username=COLLECTOR,
            password=Secret(PASSWORD),
            ssl_mode=SslMode.REQUIRE,
            connect_timeout_seconds=1.0,
        ),
        **changes,
    )
