"""Records of the audit log in the schema `OCSF` (8.0 and later) to events.

Their fields are those of the vendor's documentation and of the source of its writer. It was not tried with a
real server: none was available. Only an `authCheck` holds a result. A log-in succeeded if the actor is the
user that logs in. Whether a view was really created or dropped is not recorded.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.engines.mongodb.addresses import endpoint_of
from dbaudit.engines.mongodb.commands import (
    OF_THE_CONNECTION,
    class_of,
    error_name,
    with_detail,
    without_session,
)
from dbaudit.engines.mongodb.records import Context
from dbaudit.engines.mongodb.targets import (
    account,
    accounts_of,
    database_of,
    objects_of,
    of_several,
    targets_of,
)

_ACCOUNT_CHANGE, _AUTHENTICATION, _NETWORK_ACTIVITY, _API_ACTIVITY = 3001, 3002, 4001, 6003
_LOG_ON, _LOG_OFF = 1, 2
IMPLICIT_LOGOUT = "Implicit logout due to client connection closure"
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
    300103: "updateUser",
    300106: "dropUser",
    300107: "grantRolesToUser",
    300108: "revokeRolesFromUser",
    300199: "updateUser",
    300202: "logout",
    100701: "startup",
    100702: "shutdown",
}
"""The schema names kinds of activity and not actions; where a record has no `unmapped.atype`, these words."""
_ACTIONS_ON_ENTITIES = {
    "create_collection": "createCollection",
    "create_database": "createDatabase",
    "create_index": "createIndex",
    "create_view": "createView",
    "drop_collection": "dropCollection",
    "drop_database": "dropDatabase",
    "drop_index": "dropIndex",
    "drop_view": "dropView",
    "import_collection": "importCollection",
    "rename_collection_source": "renameCollection",
    "rename_collection_destination": "renameCollection",
}
"""By the type of the entity, or of the resulting entity."""
_OF_UNKNOWN_OUTCOME = frozenset({"createView", "dropView"})
_BUILD_STATE = "IndexBuildState: "
_BUILT = frozenset({"IndexBuildStarted", "IndexBuildSucceeded"})


class Person(msgspec.Struct, frozen=True, gc=False):
    """``name`` is the database and the user: ``admin.root``."""

    name: str | None = None
    groups: Any = None


class Entity(msgspec.Struct, frozen=True, gc=False):
    """A database, a collection, a view; or ``index@database.collection``, of which ``data`` is the whole."""

    name: str | None = None
    type: str | None = None
    data: Any = None


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
    entity: Entity = Entity()
    entity_result: Entity = Entity()
    message: Any = None
    comment: Any = None
    unmapped: msgspec.Raw = msgspec.Raw(b"")


class Unmapped(msgspec.Struct, gc=False):
    atype: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")
    application: Any = None
    role: Any = None
    roles: Any = None
    ns: Any = None
    db: Any = None
    all_users_from: Any = msgspec.field(default=None, name="allUsersFromDatabase")
    mutation: Any = msgspec.field(default=None, name="directAuthMutation")


_decode_unmapped = typed.decoder(Unmapped)


def event_of(
    record: OcsfRecord, key: str, context: Context, detail: dict[str, Any] | None
) -> AuditEvent | None:
    """The event of a record; None if another source records it too, or if it is the agent's own work."""
    unmapped = _unmapped(record.unmapped)
    ip, port = endpoint_of(record.src_endpoint.ip, record.src_endpoint.port)
    user, _database = _split(record.actor.user.name)
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
        _check(record.api, event, unmapped)
        return event
    if _is_implicit_logout(record):
        event.type = EventType.DISCONNECT
        event.user = user or _split(record.user.name)[0]
        return None if context.logged else event
    _action(record, event, unmapped)
    return event


def _is_implicit_logout(record: OcsfRecord) -> bool:
    """Whether a client closed its connection, without logging out."""
    is_logout = record.class_uid == _AUTHENTICATION and record.activity_id == _LOG_OFF
    return is_logout and isinstance(record.message, str) and IMPLICIT_LOGOUT in record.message


def _action(record: OcsfRecord, event: AuditEvent, unmapped: Unmapped) -> None:
    """What was done to which users, roles, collections and databases."""
    types = (record.entity_result.type, record.entity.type)
    on_entity = next((_ACTIONS_ON_ENTITIES[t] for t in types if t in _ACTIONS_ON_ENTITIES), None)
    action = unmapped.atype or on_entity or _ACTIVITIES.get(record.type_uid) or f"activity {record.type_uid}"
    event.operation, event.command_class = action, class_of(action)
    event.query = bytes(record.unmapped).decode(errors="replace") or None
    if record.class_uid == _ACCOUNT_CHANGE:
        _account_change(record, event, unmapped)
    elif record.entity.name is not None:
        _entities(record, event)
    elif isinstance(unmapped.ns, str):
        event.database, event.objects = database_of(unmapped.ns), objects_of(unmapped.ns)
    if action in _OF_UNKNOWN_OUTCOME:
        event.outcome = None


def _account_change(record: OcsfRecord, event: AuditEvent, unmapped: Unmapped) -> None:
    """Whom it changes: a role, all of a database, a document of the collection of users, or a user."""
    role = unmapped.role if isinstance(unmapped.role, str) else None
    of_all = next((name for name in (unmapped.db, unmapped.all_users_from) if isinstance(name, str)), None)
    changed = unmapped.mutation.get("namespace") if isinstance(unmapped.mutation, dict) else None
    name, database = _split(role or record.user.name)
    roles = unmapped.roles
    if not isinstance(roles, list):
        groups = record.user.groups if isinstance(record.user.groups, list) else []
        roles = [group.get("name") for group in groups if isinstance(group, dict)]
    event.detail = with_detail(event.detail, account(event.operation, name, database, ()))
    if roles:
        # They are named with their databases here.
        names = [role for role in roles if isinstance(role, str)]
        event.detail = with_detail(event.detail, {"roles": names})
    if isinstance(changed, str):
        event.database, event.objects = database_of(changed), objects_of(changed)
    else:
        event.database = database or of_all
        event.objects = (f"{database}.{name}" if database else name,) if name else None


def _entities(record: OcsfRecord, event: AuditEvent) -> None:
    """The collections, the old name before the new one, the view before what it is on; or an index."""
    entity, result = record.entity, record.entity_result
    name = entity.name or ""
    if entity.type in ("create_index", "drop_index"):
        _index(entity, event)
        build = record.comment.partition(_BUILD_STATE)[2] if isinstance(record.comment, str) else ""
        if build and build not in _BUILT:
            event.outcome, event.severity = Outcome.FAILURE, Severity.WARNING
            event.detail = with_detail(event.detail, {"reason": build})
        return
    names = [name]
    if result.name:
        names = [result.name, name] if event.operation in _OF_UNKNOWN_OUTCOME else [name, result.name]
    event.database = of_several(None, names)[0]
    event.objects = tuple(one for one in names if objects_of(one)) or None


def _index(entity: Entity, event: AuditEvent) -> None:
    """The name of an index may hold anything, so that it may not be known where the collection begins."""
    whole = entity.name or ""
    known = entity.data.get("name") if isinstance(entity.data, dict) else None
    if isinstance(known, str) and whole.startswith(f"{known}@"):
        index, namespace = known, whole[len(known) + 1 :]
    elif whole.count("@") == 1:
        index, _at, namespace = whole.partition("@")
    else:
        event.detail = with_detail(event.detail, {"index": whole})
        return
    event.detail = with_detail(event.detail, {"index": index})
    event.database, event.objects = database_of(namespace), objects_of(namespace)


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
        event.detail = with_detail(event.detail, {"mechanism": record.auth_protocol})
    return event


def command_of_the_connection(record: OcsfRecord) -> str | None:
    """The command that a driver sent by itself, if a record is one of such."""
    operation = None if record.class_uid != _API_ACTIVITY or record.api is None else record.api.operation
    return operation if operation in OF_THE_CONNECTION else None


def _check(api: Api, event: AuditEvent, unmapped: Unmapped) -> None:
    event.query = query = without_session(bytes(unmapped.args).decode(errors="replace")) or None
    event.operation, event.command_class = api.operation, class_of(api.operation, query)
    event.database, event.objects = targets_of(api.operation, api.request.uid, query)
    event.detail = with_detail(event.detail, accounts_of(api.operation, event.database, query))
    if api.response.code != 0:
        event.outcome, event.severity = Outcome.FAILURE, Severity.WARNING
        event.error_code = api.response.error or error_name(api.response.code)


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
