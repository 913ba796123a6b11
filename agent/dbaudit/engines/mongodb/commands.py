"""Commands of MongoDB: what class each is of, and what it is about."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dbaudit.core import operations
from dbaudit.core.statements import Dialect

OF_THE_CONNECTION = frozenset(
    {"hello", "ismaster", "isMaster", "saslStart", "saslContinue", "authenticate", "ping", "endSessions"}
)
"""What drivers send by themselves to open, keep and close connections: no statement of anybody."""

OF_THE_SESSION = frozenset({"lsid", "$clusterTime", "$configTime", "$topologyTime"})
"""The fields that drivers add to a command."""

ERROR_NAMES = {
    2: "BadValue",
    11: "UserNotFound",
    13: "Unauthorized",
    17: "ProtocolError",
    18: "AuthenticationFailed",
    26: "NamespaceNotFound",
    31: "RoleNotFound",
    48: "NamespaceExists",
    276: "IndexBuildAborted",
    334: "MechanismUnavailable",
    11600: "InterruptedAtShutdown",
    51003: "UserAlreadyExists",
}

_OF_THE_SESSION = tuple(f'"{name}"' for name in sorted(OF_THE_SESSION, reverse=True))
_OBJECT = r"\{[^{}]*+(?:\{[^{}]*+(?:\{[^{}]*+\}[^{}]*+)*+\}[^{}]*+)*+\}"
_AS_DRIVERS_SEND = re.compile(rf',"lsid":{_OBJECT}(?:,"\$clusterTime":{_OBJECT})?+')
_VALUE = re.compile(rf"\s*+:\s*+{_OBJECT}")


def without_session(command: str) -> str:
    """A command as JSON without what drivers add of their session, which differs each time.

    >>> without_session('{"find":"t","lsid":{"id":{"$uuid":"7e69"}},"$db":"shop"}')
    '{"find":"t","$db":"shop"}'
    """
    start = command.find(',"lsid":{')
    if start >= 0:
        both = _AS_DRIVERS_SEND.match(command, start)
        if both is not None:
            command = command[:start] + command[both.end() :]
    if '"lsid"' not in command and 'Time"' not in command:
        return command
    for field in _OF_THE_SESSION:
        start = command.find(field, 1)
        comma = command.rfind(",", 0, start) if start > 0 else -1
        if comma >= 0 and not command[comma + 1 : start].strip():
            value = _VALUE.match(command, start + len(field))
            if value is not None:
                command = command[:comma] + command[value.end() :]
    return command


def class_of(operation: str | None) -> operations.CommandClass:
    """READ, WRITE, DDL, ROLE, or MISC for every other command."""
    return operations.class_of(operation, Dialect.MONGODB)


def error_name(code: int) -> str:
    """The name of an error code where it is one of those that audit records hold, else its number."""
    return ERROR_NAMES.get(code) or str(code)


def database_of(namespace: str | None) -> str | None:
    """The database of ``database.collection``."""
    return namespace.partition(".")[0] or None if namespace else None


def objects_of(namespace: str | None) -> tuple[str, ...] | None:
    """The collection as ``database.collection``; None where the command is about none."""
    if not namespace:
        return None
    collection = namespace.partition(".")[2]
    return (namespace,) if collection and collection != "$cmd" else None


def operation_of(command: Mapping[str, Any]) -> str | None:
    """The name of a command: its first field. A part of an update or a delete starts with ``q``."""
    for name in command:
        return None if name == "q" else name
    return None
