"""What can be done with monitored databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from dbaudit.core import typed
from dbaudit.core.secret import Secret
from dbaudit.sdk.database_results import Database, DatabaseListResult, DatabaseStatus, DryRun, TestReport
from dbaudit.sdk.methods import AsyncResource, Resource, async_call, async_listing, call, listing
from dbaudit.sdk.pages import Page
from dbaudit.sdk.request import Repeat, Reply, Request, segment, understood_as

_PATH = "/v1/databases"
_PAGE_SIZE = 100
_TEST_TIMEOUT_SECONDS = 75.0
_BULK_TIMEOUT_SECONDS = 300.0


class _Pagination(msgspec.Struct, frozen=True):
    total: int
    page: int
    per_page: int


class _Listing(msgspec.Struct, frozen=True):
    data: tuple[Database, ...]
    pagination: _Pagination


def list_databases(
    *,
    status: str | None = None,
    type: str | None = None,  # noqa: A002  # the API's word
    tags: Sequence[str] | None = None,
    name: str | None = None,
    host: str | None = None,
) -> Request[Page[Database]]:
    """The databases that match every filter given, in the order of their creation; ``tags`` means all of
    them. Iterate over it; each page is fetched when it is reached.
    """
    words = ",".join(tags) if tags else None
    return _page({"status": status, "type": type, "tags": words, "name": name, "host": host}, 1)


def _page(filters: Mapping[str, Any], page: int) -> Request[Page[Database]]:
    def understand(reply: Reply) -> Page[Database]:
        found = typed.decode(reply.content, _Listing)
        at = found.pagination
        more = at.page * at.per_page < at.total
        return Page(found.data, at.total, _page(filters, at.page + 1) if more else None)

    query = {**filters, "page": page, "per_page": _PAGE_SIZE}
    return Request(method="GET", path=_PATH, query=query, understand=understand)


def create_database(
    *,
    name: str,
    type: str,  # noqa: A002  # the API's word
    host: str,
    port: int,
    database: str,
    username: str,
    password: str | Secret,
    ssl_mode: str | UnsetType = UNSET,
    ssl_ca: str | UnsetType | None = UNSET,
    ssl_cert: str | UnsetType | None = UNSET,
    ssl_key: str | Secret | UnsetType | None = UNSET,
    tags: Sequence[str] | UnsetType = UNSET,
    audit_options: Mapping[str, Any] | UnsetType = UNSET,
    audit_status: Literal["active", "paused"] | UnsetType = UNSET,
    db_conns_auditing: bool | UnsetType = UNSET,
    verify: bool = False,
    idempotency_key: str | None = None,
) -> Request[Database]:
    """Add a database; what is not given is as the API has it by default.

    ``verify`` has the connection tested first: nothing is stored when it fails, and
    ConnectionTestFailedError has the report. ``idempotency_key``, 1 to 255 characters of your own, lets you
    repeat the call after a crash of your program and get the same database; without it the client makes one
    for its own retries.
    """
    body = {
        "name": name,
        "type": type,
        "host": host,
        "port": port,
        "database": database,
        "username": username,
        "password": password,
        "ssl_mode": ssl_mode,
        "ssl_ca": ssl_ca,
        "ssl_cert": ssl_cert,
        "ssl_key": ssl_key,
        "tags": tags,
        "audit_options": audit_options,
        "audit_status": audit_status,
        "db_conns_auditing": db_conns_auditing,
    }
    return Request(
        method="POST",
        path=_PATH,
        query={"verify": verify or None},
        body=body,
        headers={} if idempotency_key is None else {"Idempotency-Key": idempotency_key},
        understand=_database,
        repeat=Repeat.BY_KEY,
        timeout_seconds=_TEST_TIMEOUT_SECONDS if verify else None,
    )


def preview_create_database(**fields: Any) -> Request[DryRun]:
    """What ``create`` with these fields would do; nothing is changed."""
    return Request(
        method="POST", path=_PATH, query={"dry_run": True}, body=fields, understand=understood_as(DryRun)
    )


def apply_databases(
    databases: Sequence[Mapping[str, Any]],
    *,
    prune: Mapping[str, Any] | UnsetType = UNSET,
    dry_run: bool = False,
) -> Request[DatabaseListResult]:
    """Declare many databases at once: all of them, or none if one has an error.

    An entry of ``databases`` has the fields of ``create`` and may have ``id``, ``state`` (`present` or
    `absent`) and ``update_password`` (`always` or `on_create`). Fields that are left out stay as they are.
    ``prune`` removes those that the list does not name: ``{"tags": [...], "limit": 10}``. ``dry_run`` changes
    nothing and returns what would be done. Doing it twice is the same as doing it once.
    """
    return Request(
        method="POST",
        path=f"{_PATH}/bulk",
        query={"dry_run": dry_run or None},
        body={"databases": databases, "prune": prune},
        understand=understood_as(DatabaseListResult),
        timeout_seconds=_BULK_TIMEOUT_SECONDS,
    )


def get_database(database_id: str) -> Request[Database]:
    """The database with its statistics and health."""
    return Request(method="GET", path=_path(database_id), understand=_database)


def update_database(
    database_id: str,
    *,
    name: str | UnsetType = UNSET,
    type: str | UnsetType = UNSET,  # noqa: A002  # the API's word
    host: str | UnsetType = UNSET,
    port: int | UnsetType = UNSET,
    database: str | UnsetType = UNSET,
    username: str | UnsetType = UNSET,
    password: str | Secret | UnsetType = UNSET,
    ssl_mode: str | UnsetType = UNSET,
    ssl_ca: str | UnsetType | None = UNSET,
    ssl_cert: str | UnsetType | None = UNSET,
    ssl_key: str | Secret | UnsetType | None = UNSET,
    tags: Sequence[str] | UnsetType = UNSET,
    audit_options: Mapping[str, Any] | UnsetType = UNSET,
    audit_status: Literal["active", "paused"] | UnsetType = UNSET,
    db_conns_auditing: bool | UnsetType = UNSET,
    verify: bool = False,
    if_match: str | None = None,
) -> Request[Database]:
    """Change the fields that are given, and return the database as it is then; None removes a certificate or
    key. ``type`` is accepted where it is the same.

    ``verify`` has a changed connection tested first. ``if_match`` is the ``etag`` of the database as you saw
    it: if another client has changed it since, ConflictError is raised and nothing is changed.
    """
    body = {
        "name": name,
        "type": type,
        "host": host,
        "port": port,
        "database": database,
        "username": username,
        "password": password,
        "ssl_mode": ssl_mode,
        "ssl_ca": ssl_ca,
        "ssl_cert": ssl_cert,
        "ssl_key": ssl_key,
        "tags": tags,
        "audit_options": audit_options,
        "audit_status": audit_status,
        "db_conns_auditing": db_conns_auditing,
    }
    return Request(
        method="PATCH",
        path=_path(database_id),
        query={"verify": verify or None},
        body=body,
        headers={} if if_match is None else {"If-Match": if_match},
        understand=_database,
        # Once it is done, the etag is another one, and the second time would be a conflict.
        repeat=Repeat.FREELY if if_match is None else Repeat.NEVER,
        timeout_seconds=_TEST_TIMEOUT_SECONDS if verify else None,
    )


def preview_update_database(database_id: str, **changes: Any) -> Request[DryRun]:
    """What ``update`` with these fields would do; nothing is changed."""
    return Request(
        method="PATCH",
        path=_path(database_id),
        query={"dry_run": True},
        body=changes,
        understand=understood_as(DryRun),
    )


def delete_database(database_id: str, *, if_match: str | None = None) -> Request[None]:
    """Remove the database from monitoring. Its events stay until their retention ends.

    ``if_match`` is the ``etag`` of the database as you saw it; raises ConflictError when it was changed since
    then.
    """
    return Request(
        method="DELETE",
        path=_path(database_id),
        headers={} if if_match is None else {"If-Match": if_match},
        understand=_nothing,
        repeat=Repeat.UNTIL_GONE,
    )


def preview_delete_database(database_id: str) -> Request[DryRun]:
    """What ``delete`` would do; nothing is changed."""
    return Request(
        method="DELETE",
        path=_path(database_id),
        query={"dry_run": True},
        understand=understood_as(DryRun),
    )


def get_database_status(database_id: str) -> Request[DatabaseStatus]:
    """The state of connection and collecting."""
    return Request(
        method="GET", path=f"{_path(database_id)}/status", understand=understood_as(DatabaseStatus)
    )


def test_database(database_id: str) -> Request[TestReport]:
    """Have an agent test the connection now.

    Raises ConnectionTestFailedError, with the report, when the database was not reached or the log-in
    refused.
    """
    return Request(
        method="POST",
        path=f"{_path(database_id)}/test",
        understand=understood_as(TestReport),
        repeat=Repeat.NEVER,
        timeout_seconds=_TEST_TIMEOUT_SECONDS,
    )


test_database.__test__ = False  # type: ignore[attr-defined]  # no test, whatever its name says to pytest


def _path(database_id: str) -> str:
    return f"{_PATH}/{segment(database_id)}"


def _database(reply: Reply) -> Database:
    found = typed.decode(reply.content, Database)
    return msgspec.structs.replace(found, etag=reply.headers.get("ETag"))


def _nothing(reply: Reply) -> None:
    """The answer to a removal says nothing."""


class Databases(Resource):
    """``client.databases``. Every method raises ``dbaudit.sdk.ApiError``."""

    list = listing(list_databases)
    create = call(create_database)
    preview_create = call(preview_create_database)
    apply = call(apply_databases)
    get = call(get_database)
    update = call(update_database)
    preview_update = call(preview_update_database)
    delete = call(delete_database)
    preview_delete = call(preview_delete_database)
    get_status = call(get_database_status)
    test = call(test_database)


class AsyncDatabases(AsyncResource):
    """``client.databases`` of an AsyncClient. Every method raises ``dbaudit.sdk.ApiError``."""

    list = async_listing(list_databases)
    create = async_call(create_database)
    preview_create = async_call(preview_create_database)
    apply = async_call(apply_databases)
    get = async_call(get_database)
    update = async_call(update_database)
    preview_update = async_call(preview_update_database)
    delete = async_call(delete_database)
    preview_delete = async_call(preview_delete_database)
    get_status = async_call(get_database_status)
    test = async_call(test_database)
