"""What the engine is given to open a session to a server of the tests, and the accounts that are used."""

from typing import Any

import msgspec
from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret

from tests.servers.mysql import MySQLServer

COLLECTOR = "dbaudit_collector"
PASSWORD = "c0llect;'\\ me"  # with what a statement has to quote
GENERAL_LOG_GRANTS = (
    "SELECT, ALTER, DROP, CREATE, INSERT ON mysql.general_log",
    "SELECT, ALTER, DROP, CREATE, INSERT ON dbaudit.*",
)


def target(server: MySQLServer, **changes: Any) -> Target:
    """The collector's target on a server; ``changes`` are fields of Target."""
    return msgspec.structs.replace(
        Target(
            database_id="db_test",
            host=server.host,
            port=server.port,
            database="information_schema",
            username=COLLECTOR,
            password=Secret(PASSWORD),
            ssl_mode=SslMode.DISABLE,
        ),
        **changes,
    )
