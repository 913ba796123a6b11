"""MongoDB, as the agent and the documentation see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.core.statements import Dialect
from dbaudit.engine.base import Capability, Decoded, DriverStatus, Engine, Session
from dbaudit.engine.drivers import require_driver
from dbaudit.engines.mongodb.commands import DATABASES_OF_THE_SERVER
from dbaudit.engines.mongodb.options import OPTIONS_SCHEMA

_OF_SESSIONS = frozenset(
    {EventType.CONNECTION, EventType.DISCONNECT, EventType.LOGIN_SUCCESS, EventType.LOGIN_FAILED}
)


class MongoDBEngine(Engine):
    """Servers 5 to 8: the audit log, the server log on the disk or through getLog, and the profiler."""

    type = "mongodb"
    display_name = "MongoDB"
    default_port = 27017
    supported_versions = ("5", "6", "7", "8")
    capabilities = frozenset(
        {
            Capability.CONNECTIONS,
            Capability.LOGIN_FAILURES,
            Capability.DISCONNECTS,
            Capability.QUERIES,
            Capability.ROW_COUNTS,
            Capability.DISK_SPACE,
            Capability.LOCAL_FILES,
            Capability.CLIENT_CERTIFICATES,
            Capability.UNIX_SOCKETS,
        }
    )
    dialect = Dialect.MONGODB
    options_schema = OPTIONS_SCHEMA

    def driver_status(self) -> DriverStatus:
        try:
            import cryptography  # noqa: F401  # checks the PEM that the driver is given
            import pymongo
        except ImportError as error:
            return DriverStatus("pymongo", problem=str(error).splitlines()[0])
        return DriverStatus("pymongo", version=pymongo.version)

    def open(self, target: Target) -> Session:
        require_driver(self)
        from dbaudit.engines.mongodb.session import MongoDBSession

        return MongoDBSession.open(target)

    def decode(self, records: Sequence[Any]) -> Decoded:
        from dbaudit.engines.mongodb.decoding import decode

        return decode(records)

    def is_of_server(self, event: AuditEvent) -> bool:
        # A log-in names the database in which the user is defined, which may not be the one that is used.
        return event.type in _OF_SESSIONS or event.database in DATABASES_OF_THE_SERVER
