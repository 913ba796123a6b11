"""What an engine is given to open a session to a server of the tests."""

from typing import Any

import msgspec
from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret

from tests.engines.mysql.documented import documented
from tests.servers.mysql import MySQLServer, quoted

COLLECTOR = "dbaudit"  # 5.6 takes 16 characters
PASSWORD = "c0llect;'\\ mé"  # with what a statement has to quote
HOST = "127.0.0.1"
ACCOUNT = f"{quoted(COLLECTOR)}@{quoted(HOST)}"


def create_collector(server: MySQLServer, *statements: str) -> None:
    """The collector's account, as the documentation has it or with what ``statements`` give it."""
    if not statements:
        carry_out(server, "general log account")
        return
    server.create_user(COLLECTOR, PASSWORD, host=HOST)
    for statement in statements:
        server.execute_admin(statement)


def carry_out(server: MySQLServer, block: str) -> None:
    """Run what the documentation says, with the tests' password."""
    for statement in documented(block):
        own = statement.replace("'a long random password'", quoted(PASSWORD))
        server.execute_admin(own)


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
