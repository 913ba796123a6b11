"""`/v1/databases`: the monitored databases."""

from __future__ import annotations

import re

from flask import Blueprint, Response, g, request

from dbaudit.api.acting import acting
from dbaudit.api.answer_cache import AnswerCache, Kept
from dbaudit.api.answers import json_answer, json_bytes, kept_answer
from dbaudit.api.body import Body
from dbaudit.api.comparisons import Comparisons, holds_secret
from dbaudit.api.connection_tests import ConnectionTests, report_object
from dbaudit.api.database_objects import database_object, details_object, plan_object, status_object
from dbaudit.api.declarations import Wanted, fields_after, wanted_change, wanted_new
from dbaudit.api.engines import Engines
from dbaudit.api.gate import Call, Gate
from dbaudit.api.parameters import Query
from dbaudit.api.reach import reaches
from dbaudit.api.validation import invalid
from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditStatus, ConnectionStatus, Database
from dbaudit.core.errors import ErrorCode, FieldError, RequestError, not_found
from dbaudit.core.hosts import normal_host
from dbaudit.state import State
from dbaudit.state.creations import Creation, creation_of
from dbaudit.state.databases import DatabaseFilter, exists_already
from dbaudit.state.own_deeds import dry_run

_ID = re.compile(r"[A-Za-z0-9_]{1,64}")
_IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
_ATTEMPTS = 5
_DAY_US = 24 * 3600 * 1_000_000


def databases_blueprint(
    gate: Gate, state: State, engines: Engines, tests: ConnectionTests, comparisons: Comparisons
) -> Blueprint:
    """The operations on databases."""
    blueprint = Blueprint("databases", __name__)
    resource = _Databases(state, engines, tests, comparisons)
    gate.bind(
        blueprint,
        {
            "list_databases": resource.list,
            "create_database": resource.create,
            "get_database": resource.get,
            "update_database": resource.update,
            "delete_database": resource.delete,
            "get_database_status": resource.status,
            "test_database": resource.test,
        },
    )
    return blueprint


class _Databases:
    def __init__(
        self, state: State, engines: Engines, tests: ConnectionTests, comparisons: Comparisons
    ) -> None:
        self._state = state
        self._engines = engines
        self._tests = tests
        self._comparisons = comparisons
        self._cache = AnswerCache(state.changes)

    def list(self, call: Call) -> Response:
        asked = ("list", call.bound_to, *call.query.items())
        return kept_answer(self._cache.get(asked, lambda: self._page(call.query, call.bound_to)))

    def _page(self, query: Query, bound_to: tuple[str, ...]) -> Kept:
        status = query.get("status")
        wanted = DatabaseFilter(
            status=None if status is None else ConnectionStatus(status),
            type=query.get("type"),
            tags=(*query.get("tags", ()), *bound_to),
            name=query.get("name"),
            host=None if "host" not in query else normal_host(query["host"]),
        )
        page, per_page = query["page"], query["per_page"]
        found, total = self._state.databases.page(wanted, page=page, per_page=per_page)
        shown = {
            "data": [database_object(database) for database in found],
            "pagination": {"total": total, "page": page, "per_page": per_page},
        }
        return Kept(json_bytes(shown))

    def create(self, call: Call) -> Response:
        assert call.body is not None
        wanted = wanted_new(call.body, self._engines, call.bound_to)
        creation = None if call.query["dry_run"] else _creation(call.body)
        if creation is None:
            return self._create(call, wanted, None)
        earlier = self._state.databases.created_by(creation, call.bound_to)
        try:
            return self._create(call, wanted, creation) if earlier is None else _created(earlier)
        except RequestError as error:
            # The same request may have been quicker on another connection.
            if error.code is not ErrorCode.DATABASE_EXISTS:
                raise
            earlier = self._state.databases.created_by(creation, call.bound_to)
            if earlier is None:
                raise
            return _created(earlier)

    def _create(self, call: Call, wanted: Wanted, creation: Creation | None) -> Response:
        declaration = wanted.declaration
        if self._state.databases.find(declaration.host, declaration.port, declaration.database) is not None:
            raise exists_already(declaration)
        switched_on = self._state.db_conns.check(declaration.db_conns_auditing)
        if call.query["dry_run"]:
            self._record_dry_run(wanted, (declaration.name,))
            after = fields_after(wanted, AuditStatus.INITIALIZING, switched_on)
            return json_answer(plan_object(None, after, dict.fromkeys(wanted.secrets, (False, True))))
        secrets = {field: secret for field, secret in wanted.secrets.items() if secret is not None}
        if call.query["verify"]:
            self._tests.run(declaration, secrets)
        created = self._state.databases.create(
            declaration,
            secrets,
            audit_status=wanted.audit_status or AuditStatus.INITIALIZING,
            creation=creation,
            act=acting(),
        )
        return _created(created)

    def get(self, call: Call) -> Response:
        database_id = _id(call)
        today = now_us() // _DAY_US
        asked = ("get", call.bound_to, database_id, today)
        return kept_answer(self._cache.get(asked, lambda: self._details(call)))

    def _details(self, call: Call) -> Kept:
        database = self._database(call)
        database_id = database.id
        collector = self._state.collectors.get(database_id)
        counts = self._state.events.counts(database_id)
        return Kept(json_bytes(details_object(database, collector, counts)), _etag(database))

    def update(self, call: Call) -> Response:
        """Change a declaration. Reading, merging and writing are not one transaction: if another request
        changed it in between, all three are repeated.
        """
        assert call.body is not None
        if holds_secret(call.body.sound):
            self._comparisons.admit([self._database(call).id])
        attempt = 1
        while True:
            try:
                return self._update(call)
            except RequestError as error:
                if error.code is not ErrorCode.CONFLICT or _is_conditional() or attempt == _ATTEMPTS:
                    raise
            attempt += 1

    def _update(self, call: Call) -> Response:
        assert call.body is not None
        current = self._database(call)
        _require_match(current)
        target = self._state.databases.target(current.id)
        stored = {"password": target.password, "ssl_key": target.ssl_key}
        wanted = wanted_change(call.body, current, stored, self._engines, call.bound_to)
        declaration = wanted.declaration
        same_place = self._state.databases.find(declaration.host, declaration.port, declaration.database)
        if same_place is not None and same_place.id != current.id:
            raise exists_already(declaration)
        asked = declaration.db_conns_auditing
        switched_on = current.db_conns_auditing if asked is None else asked
        if switched_on and not current.db_conns_auditing:
            self._state.db_conns.check(asked)
        if call.query["dry_run"]:
            self._record_dry_run(wanted, (current.id, current.name))
            changed = {
                field: (stored[field] is not None, secret is not None)
                for field, secret in wanted.secrets.items()
                if not self._state.databases.secret_equals(current.id, field, secret)
            }
            after = fields_after(wanted, current.audit_status, switched_on)
            return json_answer(plan_object(current, after, changed))
        if call.query["verify"]:
            self._tests.run(declaration, wanted.secrets, current)
        updated = self._state.databases.update(
            current.id,
            declaration,
            wanted.secrets,
            audit_status=wanted.audit_status,
            unless_changed_since_us=current.updated_at_us,
            act=acting(),
        )
        if holds_secret(wanted.secrets):
            if updated.updated_at_us == current.updated_at_us:
                self._record_dry_run(wanted, (current.id, current.name))
            else:
                self._comparisons.written([current.id])
        return _shown(updated)

    def _record_dry_run(self, wanted: Wanted, objects: tuple[str, ...]) -> None:
        if wanted.secrets:
            self._state.own_events.store(acting(), dry_run(objects, wanted.secrets))

    def delete(self, call: Call) -> Response:
        database = self._database(call)
        _require_match(database)
        if call.query["dry_run"]:
            return json_answer(plan_object(database, None, {}))
        as_seen = _is_conditional() or call.bound_to  # without its tags it would be out of reach
        self._state.databases.delete(
            database.id,
            unless_changed_since_us=database.updated_at_us if as_seen else None,
            act=acting(),
        )
        answer = Response(status=204)
        del answer.headers["Content-Type"]
        return answer

    def status(self, call: Call) -> Response:
        database = self._database(call)
        collector = self._state.collectors.get(database.id)
        nodes = {node.id: node for node in self._state.nodes.all(alive_only=True)}
        return json_answer(status_object(database, collector, nodes.get(collector.node_id or "")))

    def test(self, call: Call) -> Response:
        return json_answer(report_object(self._tests.run_stored(self._database(call))))

    def _database(self, call: Call) -> Database:
        database = self._state.databases.get(_id(call))
        if not reaches(call.bound_to, database):
            raise not_found("database", database.id)
        return database


def _id(call: Call) -> str:
    database_id = call.path["database_id"]
    if not _ID.fullmatch(database_id):
        raise RequestError(ErrorCode.NOT_FOUND, "There is no database with this id.")
    return database_id


def _creation(body: Body) -> Creation | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise invalid([FieldError("Idempotency-Key", "must be 1 to 255 printable ASCII characters")])
    return creation_of(g.api_key_id, key, body.checked())


def _created(database: Database) -> Response:
    answer = _shown(database, 201)
    answer.headers["Location"] = f"/v1/databases/{database.id}"
    return answer


def _shown(database: Database, status: int = 200) -> Response:
    answer = json_answer(database_object(database), status)
    answer.headers["ETag"] = _etag(database)
    return answer


def _etag(database: Database) -> str:
    return f'"{database.updated_at_us}"'


def _is_conditional() -> bool:
    """Whether the request names versions of the database; `*` is whatever is there."""
    return request.headers.get("If-Match", "*") != "*"


def _require_match(database: Database) -> None:
    wanted = request.headers.get("If-Match", "*")
    if wanted != "*" and _etag(database) not in [tag.strip() for tag in wanted.split(",")]:
        raise RequestError(
            ErrorCode.CONFLICT,
            "The database is no longer what If-Match names.",
            remedy="Read it again, and send the ETag of that answer.",
        )
