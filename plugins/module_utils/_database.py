# Copyright (c) 2026, The dbaudit authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to this collection: it can change with every release.

"""A database as a task declares it, and how it becomes requests."""

from __future__ import annotations

import time
from typing import Any, Dict, Mapping

from ansible_collections.dbaudit.dbaudit.plugins.module_utils._errors import ClientError
from ansible_collections.dbaudit.dbaudit.plugins.module_utils._resource import Outcome, Resource

# The path of the databases and their word in messages.
DATABASES = ("/v1/databases", "database")
POLL_SECONDS = 0.5

DEFAULT_PORTS = {
    "postgresql": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "sqlserver": 1433,
    "oracle": 1521,
    "mongodb": 27017,
    "redis_enterprise": 12345,
}

# What a task declares of a database; each is a field of the API with the same name.
FIELDS = {
    "name": {"type": "str"},
    "type": {"type": "str"},
    "host": {"type": "str"},
    "port": {"type": "int"},
    "database": {"type": "str"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True},
    "ssl_mode": {"type": "str", "choices": ["disable", "require", "verify-ca", "verify-full"]},
    "ssl_ca": {"type": "str"},
    "ssl_cert": {"type": "str"},
    "ssl_key": {"type": "str", "no_log": True},
    "tags": {"type": "list", "elements": "str"},
    "audit_options": {
        "type": "dict",
        "options": {
            "capture_queries": {"type": "bool"},
            "capture_results": {"type": "bool"},
            "mask_sensitive_data": {"type": "bool"},
            "retention_days": {"type": "int"},
            "scope": {"type": "str", "choices": ["database", "server"]},
            "engine": {"type": "dict"},
        },
    },
    "audit_status": {"type": "str", "choices": ["active", "paused"]},
    "db_conns_auditing": {"type": "bool"},
}

# How the declaration of one database is meant.
HOW = {
    "id": {"type": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "update_password": {"type": "str", "choices": ["always", "on_create"], "default": "always", "no_log": False},
}

REQUIRED_FOR_NEW = ("name", "type", "host", "port", "database", "username", "password")

# An empty text takes them away: null to the API.
REMOVABLE = ("ssl_ca", "ssl_cert", "ssl_key")


class ConnectionFailed(ClientError):
    """The database is declared, and the test of its connection failed or did not end in time."""

    def __init__(self, message: str, database: Mapping[str, Any], changed: bool) -> None:
        super().__init__(message, database=dict(database), changed=changed)


def ensure(databases: Resource, params: Mapping[str, Any], check_mode: bool) -> Dict[str, Any]:
    """Brings one database to the state that a task declares, and returns the result of the module.

    :param params: the options of the module ``database``.
    :raises ClientError: it could not be done.
    """
    current = databases.get(params["id"]) if params["id"] is not None else databases.named(params["name"])
    if params["state"] == "absent":
        if current is None:
            return {"changed": False, "database": None, "diff": {"before": {}, "after": {}}}
        outcome = databases.delete(current, check_mode)
    else:
        if current is None and params["id"] is not None:
            raise ClientError("There is no database with the id %s; to declare a new one, leave id out." % params["id"])
        body = given_fields(params)
        query = {"verify": "true"} if params["verify"] else {}
        if current is None:
            outcome = databases.create(_complete(body), query, check_mode)
        else:
            if params["update_password"] == "on_create":
                body.pop("password", None)
            if sorted(body.get("tags") or ()) == sorted(current["tags"]):
                body.pop("tags", None)  # only the order differs, which means nothing
            outcome = databases.update(current, body, query, check_mode)
        if params["wait"] and not check_mode:
            outcome = outcome._replace(resource=_tested(databases, outcome, params["wait_timeout"]))
    return {"changed": outcome.changed, "database": outcome.resource, "diff": outcome.diff}


def given_fields(params: Mapping[str, Any]) -> Dict[str, Any]:
    """The fields of the API that a task gives of a database."""
    body = {field: params[field] for field in FIELDS if params[field] is not None}
    if "audit_options" in body:
        body["audit_options"] = {name: value for name, value in body["audit_options"].items() if value is not None}
    for field in REMOVABLE:
        if body.get(field) == "":
            body[field] = None
    return body


def _complete(body: Mapping[str, Any]) -> Dict[str, Any]:
    """What a new database is made of, with the usual port.

    :raises ClientError: something is missing.
    """
    port = DEFAULT_PORTS.get(body.get("type"))
    body = dict({} if port is None else {"port": port}, **body)
    missing = [field for field in REQUIRED_FOR_NEW if field not in body]
    if missing:
        raise ClientError("There is no database named %s, and a new one needs %s too." % (body["name"], ", ".join(missing)))
    return body


def _tested(databases: Resource, outcome: Outcome, timeout_seconds: float) -> Dict[str, Any]:
    """The database once an agent has tried its connection.

    :raises ConnectionFailed: the connection failed, or the time is over.
    """
    deadline = time.monotonic() + timeout_seconds
    database = outcome.resource
    while database["status"] != "connected":
        if database["status"] == "error":
            reason = database.get("status_reason") or "the API gives no reason"
            raise ConnectionFailed("The connection to %s failed: %s" % (database["name"], reason), database, outcome.changed)
        if time.monotonic() >= deadline:
            raise ConnectionFailed(
                "%s is still %s after %d seconds (option wait_timeout). Is an agent running?"
                % (database["name"], database["status"], timeout_seconds),
                database,
                outcome.changed,
            )
        time.sleep(POLL_SECONDS)
        database = databases.get(database["id"])
        if database is None:
            raise ClientError("%s was removed while the test of its connection was awaited." % outcome.resource["name"])
    return database
