"""Where database connection events are sent: the settings, and what makes them sound.

The fields are those of the object `db_conns_auditing_config` of Redis Enterprise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.core.event import EventType
from dbaudit.core.hosts import is_host

CAPABILITY = "db_conns_auditing"
"""The word by which an agent announces that it can send."""

CONNECTION_EVENTS = (
    EventType.CONNECTION,
    EventType.LOGIN_SUCCESS,
    EventType.LOGIN_FAILED,
    EventType.DISCONNECT,
)
"""The types of event that are sent."""

LONGEST_SOCKET_PATH = 107
"""So many bytes a unix socket's path may have on Linux (unix(7): 108 with the NUL at the end)."""

_LONGEST = 1 << 31  # so many seconds, or attempts, mean no limit


class AuditProtocol(StrEnum):
    """How the listener is reached: over TCP, or through a unix stream socket."""

    TCP = "TCP"
    LOCAL = "local"


class DbConnsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send, and how often to try.

    ``audit_address`` is a host name or an IP address with `TCP`, and the absolute path of a socket with
    `local`. ``audit_reconnect_interval`` is in seconds; 0 ``audit_reconnect_max_attempts`` means no limit.
    """

    audit_protocol: AuditProtocol
    audit_address: str
    audit_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    audit_reconnect_interval: Annotated[int, msgspec.Meta(ge=1, le=_LONGEST)] = 1
    audit_reconnect_max_attempts: Annotated[int, msgspec.Meta(ge=0, le=_LONGEST)] = 0


class Problem(msgspec.Struct, frozen=True):
    """Why settings cannot be used: the code, the field, and what is wrong with it."""

    code: ErrorCode
    field: str
    message: str


_OF_PROTOCOL = ("audit_address", "audit_port")


def merged(stored: DbConnsSettings | None, given: Mapping[str, Any]) -> DbConnsSettings:
    """The settings after ``given`` came on top of ``stored``.

    Address and port belong to the protocol: where the protocol changes, those that are stored are dropped.
    Raises RequestError with the code of the first problem.
    """
    fields: dict[str, Any] = {} if stored is None else msgspec.structs.asdict(stored)
    if stored is not None and given.get("audit_protocol", stored.audit_protocol) != stored.audit_protocol:
        for field in _OF_PROTOCOL:
            del fields[field]
    fields |= given
    problem = problem_of(fields)
    if problem is not None:
        raise _refused(problem)
    try:
        return typed.convert(fields, DbConnsSettings)
    except msgspec.ValidationError as error:
        raise RequestError(ErrorCode.DB_CONNS_INVALID, f"The settings are not valid: {error}.") from None


def problem_of(fields: Mapping[str, Any]) -> Problem | None:
    """What is wrong with the combination of ``fields``; None where nothing is.

    Types and ranges of single fields are those of ``DbConnsSettings``.
    """
    protocol, address, port = (fields.get(f) for f in ("audit_protocol", *_OF_PROTOCOL))
    if protocol is None:
        return _missing("audit_protocol", "is missing; give TCP or local")
    if address is None:
        wanted = "the path of the listener's socket" if protocol == AuditProtocol.LOCAL else "the listener"
        return _missing("audit_address", f"is missing; with audit_protocol {protocol} it names {wanted}")
    if protocol == AuditProtocol.LOCAL:
        if port is not None:
            return Problem(
                ErrorCode.DB_CONNS_INVALID,
                "audit_port",
                "must not be given with audit_protocol local; a socket has no port",
            )
        return _socket_problem(address)
    if not is_host(address):
        return _bad_address(
            "must be a host name or an IP address, without port and brackets"
            + ("; for the path of a socket give audit_protocol local" if address.startswith("/") else "")
        )
    if port is None:
        return _missing("audit_port", "is missing; with audit_protocol TCP it is the listener's port")
    return None


def _socket_problem(path: str) -> Problem | None:
    if not path.startswith("/"):
        return _bad_address("must be the absolute path of the listener's socket with audit_protocol local")
    if path.endswith("/"):
        return _bad_address("must be the path of the listener's socket, not of a folder")
    if not path.isprintable():
        return _bad_address("must have no control characters")
    if len(path.encode()) > LONGEST_SOCKET_PATH:
        return _bad_address(
            f"must have at most {LONGEST_SOCKET_PATH} bytes, which is the longest path of a unix socket"
        )
    return None


def _missing(field: str, message: str) -> Problem:
    return Problem(ErrorCode.DB_CONNS_INCOMPLETE, field, message)


def _bad_address(message: str) -> Problem:
    return Problem(ErrorCode.DB_CONNS_BAD_ADDRESS, "audit_address", message)


def _refused(problem: Problem) -> RequestError:
    return RequestError(problem.code, f"{problem.field} {problem.message}.")
