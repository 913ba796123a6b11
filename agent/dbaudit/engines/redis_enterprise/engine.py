"""Redis Enterprise, as the agent and the documentation see it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Capability, Decoded, DriverStatus, Engine, Session
from dbaudit.engines.redis_enterprise.options import OPTIONS_SCHEMA


class RedisEnterpriseEngine(Engine):
    """Clusters of Redis Enterprise Software that send db_conns notifications to the agent.

    Here `host` and `port` are where the agent listens; `database`, `username` and `password` mean nothing.
    """

    type = "redis_enterprise"
    display_name = "Redis Enterprise (db_conns notifications)"
    default_port = 12345
    supported_versions = ("6.2.18+", "6.4", "7.2", "7.4", "7.8", "7.22", "8.0", "8.2")
    capabilities = frozenset(
        {
            Capability.CONNECTIONS,
            Capability.LOGIN_FAILURES,
            Capability.DISCONNECTS,
            Capability.QUERIES,
        }
    )
    dialect = Dialect.POSTGRESQL
    source_is_database = True
    """Never used: a notification names a command and its keys and holds no statement."""
    options_schema = OPTIONS_SCHEMA

    def driver_status(self) -> DriverStatus:
        return DriverStatus("Python's own sockets", version=platform.python_version())

    def open(self, target: Target) -> Session:
        from dbaudit.engines.redis_enterprise.session import RedisEnterpriseSession

        return RedisEnterpriseSession.open(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        from dbaudit.engines.redis_enterprise.decoding import decode

        return decode(records)
