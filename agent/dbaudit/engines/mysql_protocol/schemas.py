"""What an event belongs to, by the schema that it names."""

from __future__ import annotations

from dbaudit.core.errors import DbauditError
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.engines.mysql_protocol.connection import ServerConnection
from dbaudit.engines.mysql_protocol.general_log_readers import SCHEMA

_OF_THE_SERVER = frozenset({"mysql", "performance_schema", "information_schema", "sys"})
_NO_SUCH_DATABASE = "1049"


def is_of_server(event: AuditEvent) -> bool:
    """Whether an event is the server's: work in its own schemas, a log-in to a schema that is not there."""
    if event.type is EventType.LOGIN_FAILED and event.error_code == _NO_SUCH_DATABASE:
        return True
    return event.database is not None and event.database.lower() in _OF_THE_SERVER


def names(connection: ServerConnection) -> list[str]:
    """The schemas that the agent's account sees, without those of the server and the agent's own."""
    rows = connection.rows("SELECT schema_name FROM information_schema.schemata")
    return [str(name) for (name,) in rows if str(name).lower() not in (*_OF_THE_SERVER, SCHEMA)]


def is_declared(connection: ServerConnection, name: str, declared: str) -> bool:
    """Whether a record's schema is the declared one.

    If only the case of letters differs, the server is asked whether case matters. True if it cannot answer.
    """
    if name == declared or name.lower() != declared.lower():
        return name == declared
    try:
        return bool(connection.value("SELECT @@lower_case_table_names <> 0"))
    except DbauditError:
        return True  # the connection is lost: one event too many, rather than one that is missing
