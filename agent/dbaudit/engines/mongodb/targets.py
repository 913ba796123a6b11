"""What a command is about: the database, the collections, the user or the role.

A name-space is ``database.collection``. Commands that are about none, or about several, have one that
no collection has: ``shop.$cmd``, ``shop.$cmd.listCollections``, ``admin.$cmd.bulkWrite``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dbaudit.core import typed
from dbaudit.engines.mongodb.commands import parsed

_PSEUDO = "$cmd"
_ON_A_COLLECTION = frozenset(
    {
        *("find", "aggregate", "count", "distinct", "mapReduce", "mapreduce", "insert", "update", "delete"),
        *(
            "findAndModify",
            "findandmodify",
            "create",
            "drop",
            "createIndexes",
            "dropIndexes",
            "deleteIndexes",
        ),
        *("collMod", "convertToCapped", "cloneCollectionAsCapped", "reIndex", "compact", "validate"),
        *("collStats", "listIndexes", "createSearchIndexes", "dropSearchIndex", "updateSearchIndex"),
    }
)
"""Commands whose first value is the name of a collection."""
_ON_A_NAMESPACE = frozenset(
    {"renameCollection", "shardCollection", "reshardCollection", "refineCollectionShardKey"}
)
"""Commands whose first value is database and collection; the second of the first one is in ``to``."""
_ON_A_USER = frozenset({"createUser", "updateUser", "dropUser", "grantRolesToUser", "revokeRolesFromUser"})
_ON_A_ROLE = frozenset(
    {
        *("createRole", "updateRole", "dropRole", "grantRolesToRole", "revokeRolesFromRole"),
        *("grantPrivilegesToRole", "revokePrivilegesFromRole", "dropPrivilegesToRole"),
    }
)
_OF_ACCOUNTS = _ON_A_USER | _ON_A_ROLE

_FIRST_VALUE = re.compile(r'\{\s*"\w+"\s*:\s*("(?:[^"\\]|\\.)*+")', re.DOTALL)
_RENAMED_TO = re.compile(r',\s*"to"\s*:\s*("(?:[^"\\]|\\.)*+")', re.DOTALL)
_decode_text = typed.decoder(str)

Targets = tuple[str | None, tuple[str, ...] | None]
"""The database, and the objects as ``database.name``; None if unknown or absent."""


def database_of(namespace: str | None) -> str | None:
    """The database of ``database.collection``."""
    return namespace.partition(".")[0] or None if namespace else None


def objects_of(namespace: str | None) -> tuple[str, ...] | None:
    """The collection as ``database.collection``; None where the command is about none."""
    if not namespace:
        return None
    collection = namespace.partition(".")[2]
    return (namespace,) if collection and collection[:4] != _PSEUDO else None


def targets_of(operation: str | None, namespace: str | None, command: str | None) -> Targets:
    """What a command in ``namespace`` is about; ``command`` is its text as JSON, whole or cut."""
    if objects_of(namespace) is None:
        return _of_command(operation, namespace, command)
    if operation in _OF_ACCOUNTS or operation in _ON_A_NAMESPACE:
        return _of_command(operation, namespace, command)
    return database_of(namespace), objects_of(namespace)


def _of_command(operation: str | None, namespace: str | None, text: str | None) -> Targets:
    database = database_of(namespace)
    if operation == "bulkWrite":
        return of_several(database, _namespaces_of_bulk(parsed(text) or {}))
    if (
        operation not in _ON_A_COLLECTION
        and operation not in _ON_A_NAMESPACE
        and operation not in _OF_ACCOUNTS
    ):
        return database, None
    name = _first_value(text)
    if not name:
        return database, None
    if operation in _ON_A_NAMESPACE:
        to = _RENAMED_TO.search(text or "") if operation == "renameCollection" else None
        return of_several(database, [name, _unquoted(to[1])] if to else [name])
    return database, (f"{database}.{name}",) if database else None


def _first_value(text: str | None) -> str | None:
    """The text that is the value of a command's first field; the end of the command may be missing."""
    found = _FIRST_VALUE.match(text or "")
    return _unquoted(found[1]) if found else None


def _unquoted(text: str) -> str:
    try:
        return _decode_text(text)
    except (msgspec.DecodeError, UnicodeError):
        return text[1:-1]


def of_several(database: str | None, namespaces: Iterable[str]) -> Targets:
    """Several collections, and their database if they share one. Without collections: ``database``."""
    names = tuple(dict.fromkeys(name for name in namespaces if name))
    if not names:
        return database, None
    databases = {database_of(name) for name in names}
    return databases.pop() if len(databases) == 1 else None, names


def _namespaces_of_bulk(command: Mapping[str, Any]) -> list[str]:
    described = command.get("nsInfo")
    if not isinstance(described, list):
        return []
    found = [one.get("ns") for one in described if isinstance(one, dict)]
    return [name for name in found if isinstance(name, str)]


# -- users and roles


def accounts_of(operation: str | None, database: str | None, command: str | None) -> dict[str, Any]:
    """Which user or role a command changes and what it grants, for ``detail``; empty for other commands."""
    if operation not in _OF_ACCOUNTS:
        return {}
    roles = (parsed(command) or {}).get("roles")
    return account(operation, _first_value(command), database, roles)


def account(operation: str | None, name: str | None, database: str | None, roles: object) -> dict[str, Any]:
    """The same, from the parts of a command; ``roles`` is a list of names, or of {role, db}."""
    fields: dict[str, Any] = {}
    if name:
        full = f"{database}.{name}" if database else name
        fields["target_role" if operation in _ON_A_ROLE else "target_user"] = full
    granted = [role for role in (_role(one, database) for one in _items(roles)) if role]
    if granted:
        fields["roles"] = granted
    return fields


def _role(role: object, database: str | None) -> str | None:
    if isinstance(role, str):
        return f"{database}.{role}" if database else role
    if isinstance(role, dict) and isinstance(role.get("role"), str):
        return f"{role['db']}.{role['role']}" if isinstance(role.get("db"), str) else role["role"]
    return None


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def other_users(users: Iterable[tuple[str | None, str | None]]) -> dict[str, Any]:
    """All users of a connection as ``database.user``, for ``detail``, where they are more than one (up to
    5.0); each is a name and its database.
    """
    names = [f"{database}.{name}" if database else name for name, database in users if name]
    return {"users": names} if len(names) > 1 else {}
