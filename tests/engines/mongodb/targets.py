"""What an engine is given to open a session to a server of the tests."""

from typing import Any

import msgspec
from dbaudit.core.database import SslMode, Target
from dbaudit.core.secret import Secret

from tests.servers.mongodb import MongoServer

COLLECTOR = "dbaudit_collector"
PASSWORD = "c0llect;'\\ me%40/:@"  # with what a URI has to quote
ROLES = ("clusterMonitor",)


def target(server: MongoServer, **changes: Any) -> Target:
    """The collector's target on a server; ``changes`` are fields of Target."""
    return msgspec.structs.replace(
        Target(
            database_id="db_test",
            host=server.host,
            port=server.port,
            database="admin",
            username=COLLECTOR,
            password=Secret(PASSWORD),
            ssl_mode=SslMode.DISABLE,
        ),
        **changes,
    )
