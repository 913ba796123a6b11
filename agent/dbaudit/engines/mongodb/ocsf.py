"""Records of the audit log in the schema `OCSF` (8.0 and later) to events.

What is in them was taken from the vendor's documentation; no such server could be had to try it with. A
record of a log-in holds no result: it succeeded where the actor is the user that logs in.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.mongodb.addresses import endpoint_of
from dbaudit.engines.mongodb.commands import (
    OF_THE_CONNECTION,
    class_of,
    database_of,
    error_name,
    objects_of,
    without_session,
)
from dbaudit.engines.mongodb.records import Context

_AUTHENTICATION, _NETWORK_ACTIVITY, _API_ACTIVITY = 3002, 4001, 6003
_LOG_ON = 1
_ACTIVITIES = {
    500101: "addShard",
    100799: "applicationMessage",
    500201: "auditConfigure",
    500203: "auditConfigure",
    300401: "create",
    300403: "rename",
    300404: "drop",
    300101: "createUser",
    300100: "directAuthMutation",
    300106: "dropUser",
    300107: "grantRolesToUser",
    300108: "revokeRolesFromUser",
    300199: "updateUser",
    300202: "logout",
    100701: "startup",
    100702: "shutdown",
}
"""The schema names kinds of activity and not actions; where a record has no `unmapped.atype`, these words."""


class Person(msgspec.Struct, frozen=True, gc=False):
    """``name`` is the database and the user: ``admin.root``."""

    name: str | None = None


class Actor(msgspec.Struct, frozen=True, gc=False):
    user: Person = Person()


class Metadata(msgspec.Struct, frozen=True, gc=False):
    correlation_uid: str | None = None


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    ip: Any = None
    port: Any = None


class Request(msgspec.Struct, frozen=True, gc=False):
    uid: str | None = None


class Response(msgspec.Struct, frozen=True, gc=False):
    code: int = 0
    error: str | None = None


class Api(msgspec.Struct, frozen=True, gc=False):
    operation: str | None = None
    request: Request = Request()
    response: Response = Response()


class OcsfRecord(msgspec.Struct, gc=False):
    """A record; ``time`` is in milliseconds."""

    class_uid: int
    type_uid: int
    time: int | dict[str, Any]
    activity_id: int = 0
    metadata: Metadata = Metadata()
    actor: Actor = Actor()
    src_endpoint: Endpoint = Endpoint()
    user: Person = Person()
    auth_protocol: str | None = None
    api: Api | None = None
    entity: dict[str, Any] = {}
    unmapped: msgspec.Raw = msgspec.Raw(b"")


class Unmapped(msgspec.Struct, gc=False):
    atype: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")
    application: Any = None


_decode_unmapped = msgspec.json.Decoder(Unmapped).decode


def event_of(
    record: OcsfRecord, key: str, context: Context, detail: dict[str, Any] | None
) -> AuditEvent | None:
    """None for what is told elsewhere, or is the agent's own."""
    unmapped = _unmapped(record.unmapped)
    ip, port = endpoint_of(record.src_endpoint.ip, record.src_endpoint.port)
    user, user_database = _split(record.actor.user.name)
    event = AuditEvent(
        key,
        EventType.QUERY,
        _time_us(record.time),
        outcome=Outcome.SUCCESS,
        user=user,
        session_id=record.metadata.correlation_uid,
        source_ip=ip,
        source_port=port,
        detail=detail,
    )
    own = ip == context.own_ip
    if record.class_uid == _AUTHENTICATION and record.activity_id == _LOG_ON:
        return _login(record, event, own=own, context=context)
    if own and user == context.own_user:
        return None
    if record.class_uid == _NETWORK_ACTIVITY:
        application = unmapped.application
        name = application.get("name") if isinstance(application, dict) else None
        event.type = EventType.CONNECTION
        event.application = name if isinstance(name, str) else None
        return None if context.logged or (own and name == context.own_application) else event
    if record.class_uid == _API_ACTIVITY and record.api is not None:
        return _check(record.api, event, unmapped)
    action = unmapped.atype or _ACTIVITIES.get(record.type_uid) or f"activity {record.type_uid}"
    event.operation, event.command_class = action, class_of(action)
    event.database = user_database
    named = record.entity.get("name")
    if isinstance(named, str):
        event.objects, event.database = objects_of(named), database_of(named)
    event.query = bytes(record.unmapped).decode(errors="replace") or None
    return event


def _login(record: OcsfRecord, event: AuditEvent, *, own: bool, context: Context) -> AuditEvent | None:
    succeeded = record.user.name is not None and record.user.name == record.actor.user.name
    event.user, event.database = _split(record.user.name)
    if succeeded:
        event.type = EventType.LOGIN_SUCCESS
        if own and event.user == context.own_user:
            return None
    else:
        event.type, event.outcome = EventType.LOGIN_FAILED, Outcome.FAILURE
        event.severity, event.error_code = Severity.WARNING, "AuthenticationFailed"
    if record.auth_protocol:
        event.detail = {**(event.detail or {}), "mechanism": record.auth_protocol}
    return event


def _check(api: Api, event: AuditEvent, unmapped: Unmapped) -> AuditEvent | None:
    if api.operation in OF_THE_CONNECTION:
        return None
    event.operation, event.command_class = api.operation, class_of(api.operation)
    event.database, event.objects = database_of(api.request.uid), objects_of(api.request.uid)
    event.query = without_session(bytes(unmapped.args).decode(errors="replace")) or None
    if api.response.code != 0:
        event.outcome, event.severity = Outcome.FAILURE, Severity.WARNING
        event.error_code = api.response.error or error_name(api.response.code)
    return event


def _unmapped(raw: msgspec.Raw) -> Unmapped:
    try:
        return _decode_unmapped(raw) if raw else Unmapped()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unmapped()


def _time_us(time: int | dict[str, Any]) -> int:
    if isinstance(time, dict):
        date = time.get("$date", time.get("$numberLong", 0))
        time = int(date) if isinstance(date, int | str) and str(date).lstrip("-").isdecimal() else 0
    return time * 1000


def _split(name: str | None) -> tuple[str | None, str | None]:
    """User and database of ``database.user``."""
    if name is None:
        return None, None
    database, dot, user = name.partition(".")
    return (user, database) if dot else (name, None)


@lru_cache(maxsize=65_536)
def uuid_text(binary: str) -> str | None:
    """The UUID that base64 holds, as text; None for anything else."""
    try:
        return str(uuid.UUID(bytes=base64.b64decode(binary, validate=True)))
    except (binascii.Error, ValueError):
        return None
