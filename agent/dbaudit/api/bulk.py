"""`/v1/databases/bulk`: all databases of a list brought to what is declared of them, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from flask import Blueprint, Response

from dbaudit.api.acting import acting
from dbaudit.api.answers import json_answer
from dbaudit.api.body import Body
from dbaudit.api.comparisons import Comparisons, holds_secret
from dbaudit.api.database_objects import plan_object
from dbaudit.api.declarations import Wanted, fields_after, wanted_change, wanted_new
from dbaudit.api.engines import Engines
from dbaudit.api.gate import Call, Gate
from dbaudit.api.reach import reaches
from dbaudit.api.validation import MOST_DETAILS, invalid
from dbaudit.core.database import SECRET_FIELDS, AuditStatus, Database
from dbaudit.core.errors import ErrorCode, FieldError, RequestError
from dbaudit.core.secret import Secret
from dbaudit.state import State
from dbaudit.state.databases import Change
from dbaudit.state.own_deeds import dry_run as deed_of_dry_run

_ATTEMPTS = 5
_REQUIRED_FOR_NEW = ("name", "type", "host", "port", "database", "username", "password")
_NO_FIELDS = ("id", "state", "update_password")

_Secrets = Mapping[tuple[str, str], Secret]


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one entry: the change that it needs, or None, and what the answer says about it."""

    id: str | None
    name: str | None
    action: str
    diff: Mapping[str, Any] | None = None
    change: Change | None = None
    address: tuple[str, int, str] | None = None

    def shown(self, after: Database | None) -> dict[str, Any]:
        result: dict[str, Any] = {
            "id": self.id if after is None else after.id,
            "name": self.name if after is None else after.name,
            "action": self.action,
        }
        return result if self.diff is None else {**result, "diff": self.diff}


def bulk_blueprint(gate: Gate, state: State, engines: Engines, comparisons: Comparisons) -> Blueprint:
    """The operation on many databases."""
    blueprint = Blueprint("bulk", __name__)
    gate.bind(blueprint, {"apply_databases": _Bulk(state, engines, comparisons).apply})
    return blueprint


class _Bulk:
    def __init__(self, state: State, engines: Engines, comparisons: Comparisons) -> None:
        self._state = state
        self._engines = engines
        self._comparisons = comparisons

    def apply(self, call: Call) -> Response:
        """Apply the list. Reading, comparing and writing are not one transaction: if another request changed
        something in between, all three are repeated.
        """
        assert call.body is not None
        wanted = call.body.checked()
        attempt = 1
        while True:
            try:
                return self._apply(call, wanted, first=attempt == 1)
            except RequestError as error:
                # Not found: another request removed one in between.
                if error.code not in (ErrorCode.CONFLICT, ErrorCode.NOT_FOUND) or attempt == _ATTEMPTS:
                    raise
            attempt += 1

    def _apply(self, call: Call, wanted: Mapping[str, Any], *, first: bool) -> Response:
        entries: Sequence[Mapping[str, Any]] = wanted["databases"]
        everything = self._state.databases.all()
        present = [database for database in everything if reaches(call.bound_to, database)]
        found = _found(entries, present)
        compared = _compared(entries, found)
        if first:
            self._comparisons.admit(compared)
        secrets = self._state.databases.secrets([one.id for one in found if one is not None])
        steps = self._steps(entries, found, secrets, call.bound_to)
        pruned = _pruned(wanted.get("prune"), present, found)
        _check_addresses(steps, pruned, everything, call.bound_to)
        changes = [step.change for step in (*steps, *pruned) if step.change is not None]
        if any(c.declaration is not None and c.declaration.db_conns_auditing for c in changes):
            self._state.db_conns.check(True)
        dry_run = call.query["dry_run"]
        if dry_run and any(map(holds_secret, entries)):
            touched = tuple(one.id for one in found if one is not None)
            fields = {field for entry in entries for field in SECRET_FIELDS if entry.get(field) is not None}
            self._state.own_events.store(acting(), deed_of_dry_run(touched, fields))
        done = [None for ignored in changes] if dry_run else self._state.databases.apply(changes, acting())
        if not dry_run:
            self._comparisons.written(compared & {step.id for step in steps if step.action == "updated"})
        after = iter(done)
        shown = [step.shown(None if step.change is None else next(after)) for step in (*steps, *pruned)]
        return json_answer(
            {"changed": bool(changes), "results": shown[: len(steps)], "pruned": shown[len(steps) :]}
        )

    def _steps(
        self,
        entries: Sequence[Mapping[str, Any]],
        found: Sequence[Database | None],
        secrets: _Secrets,
        bound_to: Sequence[str],
    ) -> list[_Step]:
        by_policy = self._state.db_conns.current().policy
        steps = []
        details: list[FieldError] = []
        for place, (entry, current) in enumerate(zip(entries, found, strict=True)):
            try:
                steps.append(self._step(entry, current, secrets, by_policy, bound_to))
            except RequestError as error:
                if error.code is not ErrorCode.VALIDATION_FAILED:
                    raise
                details += [
                    FieldError(f"/databases/{place}{detail.pointer}", detail.message)
                    for detail in error.details
                ]
        _refuse(details)
        return steps

    def _step(
        self,
        entry: Mapping[str, Any],
        current: Database | None,
        secrets: _Secrets,
        by_policy: bool,
        bound_to: Sequence[str],
    ) -> _Step:
        if entry.get("state") == "absent":
            if current is None:
                return _Step(id=None, name=entry.get("name"), action="unchanged")
            return _removal(current)
        if current is None:
            fields = {name: value for name, value in entry.items() if name not in _NO_FIELDS}
            return self._creation(fields, by_policy, bound_to)
        fields = _given(entry)
        if sorted(fields.get("tags", ())) == sorted(current.tags):
            fields.pop("tags", None)  # only the order differs, which means nothing
        return self._update(fields, current, secrets, bound_to)

    def _creation(self, fields: Mapping[str, Any], by_policy: bool, bound_to: Sequence[str]) -> _Step:
        port = self._engines.default_port(fields.get("type", ""))
        fields = {**({} if port is None else {"port": port}), **fields}
        missing = [field for field in _REQUIRED_FOR_NEW if field not in fields]
        if missing:
            text = "is missing; it is required, because the database is not there yet"
            raise invalid([FieldError(f"/{field}", text) for field in missing])
        wanted = wanted_new(Body.of_entry(fields), self._engines, bound_to)
        asked = wanted.declaration.db_conns_auditing
        after = fields_after(wanted, AuditStatus.INITIALIZING, by_policy if asked is None else asked)
        return _Step(
            id=None,
            name=wanted.declaration.name,
            action="created",
            diff=plan_object(None, after, dict.fromkeys(wanted.secrets, (False, True)))["diff"],
            change=_change(None, wanted, wanted.audit_status),
            address=_address(wanted),
        )

    def _update(
        self, fields: Mapping[str, Any], current: Database, secrets: _Secrets, bound_to: Sequence[str]
    ) -> _Step:
        stored = {field: secrets.get((current.id, field)) for field in SECRET_FIELDS}
        wanted = wanted_change(Body.of_entry(fields), current, stored, self._engines, bound_to)
        asked = wanted.declaration.db_conns_auditing
        after = fields_after(
            wanted, current.audit_status, current.db_conns_auditing if asked is None else asked
        )
        changed = {
            field: (stored[field] is not None, secret is not None)
            for field, secret in wanted.secrets.items()
            if stored[field] != secret
        }
        plan = plan_object(current, after, changed)
        if not plan["changed"]:
            address = (current.host, current.port, current.database)
            return _Step(id=current.id, name=current.name, action="unchanged", address=address)
        return _Step(
            id=current.id,
            name=current.name,
            action="updated",
            diff=plan["diff"],
            change=_change(current, wanted, wanted.audit_status),
            address=_address(wanted),
        )


def _given(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that an entry asks for of a database that is there."""
    fields = {name: value for name, value in entry.items() if name not in _NO_FIELDS}
    if entry.get("update_password") == "on_create":
        fields.pop("password", None)
    return fields


def _change(current: Database | None, wanted: Wanted, audit_status: AuditStatus | None) -> Change:
    return Change(
        database_id=None if current is None else current.id,
        declaration=wanted.declaration,
        secrets=wanted.secrets,
        audit_status=audit_status,
        unless_changed_since_us=None if current is None else current.updated_at_us,
    )


def _removal(database: Database) -> _Step:
    return _Step(
        id=database.id,
        name=database.name,
        action="removed",
        diff=plan_object(database, None, {})["diff"],
        change=Change(
            database_id=database.id, declaration=None, unless_changed_since_us=database.updated_at_us
        ),
    )


def _address(wanted: Wanted) -> tuple[str, int, str]:
    declaration = wanted.declaration
    return declaration.host, declaration.port, declaration.database


def _found(entries: Sequence[Mapping[str, Any]], present: Sequence[Database]) -> list[Database | None]:
    """The database of each entry, found by its id, else by its name; None if it does not exist."""
    by_id = {database.id: database for database in present}
    by_name = {database.name: database for database in present}
    names = Counter(database.name for database in present)
    found: list[Database | None] = []
    first: dict[str, int] = {}
    details = []
    for place, entry in enumerate(entries):
        field = "id" if "id" in entry else "name"
        pointer = f"/databases/{place}/{field}"
        current = by_id.get(entry["id"]) if field == "id" else by_name.get(entry["name"])
        if field == "id" and current is None and entry.get("state") != "absent":
            details.append(FieldError(pointer, "is not known; leave it out to declare a new database"))
        if field == "name" and names[entry["name"]] > 1:
            details.append(FieldError(pointer, "is the name of several databases; give the id of one"))
        same = entry[field] if current is None else current.id
        if same in first:
            details.append(FieldError(pointer, f"is the same database as entry {first[same]} of the list"))
        first.setdefault(same, place)
        found.append(current)
    _refuse(details)
    return found


def _compared(entries: Sequence[Mapping[str, Any]], found: Sequence[Database | None]) -> set[str]:
    """The databases whose stored secrets are compared with those of their entries."""
    return {
        current.id
        for entry, current in zip(entries, found, strict=True)
        if current is not None and entry.get("state") != "absent" and holds_secret(_given(entry))
    }


def _pruned(
    prune: Mapping[str, Any] | None, present: Sequence[Database], found: Sequence[Database | None]
) -> list[_Step]:
    """The ends of the databases that the list does not name."""
    if prune is None:
        return []
    if not found:
        text = (
            "must not be empty with prune, which would remove everything; remove databases with state absent"
        )
        raise invalid([FieldError("/databases", text)])
    named = {database.id for database in found if database is not None}
    tags = set(prune.get("tags", ()))
    steps = [_removal(one) for one in present if one.id not in named and tags <= set(one.tags)]
    limit = prune.get("limit", 10)
    if len(steps) > limit:
        raise RequestError(
            ErrorCode.PRUNE_LIMIT_EXCEEDED,
            f"{len(steps)} databases are not in the list, and prune may remove {limit} at the most.",
            remedy="Complete the list, or raise the limit of prune if they shall go.",
        )
    return steps


def _check_addresses(
    steps: Sequence[_Step], pruned: Sequence[_Step], present: Sequence[Database], bound_to: Sequence[str]
) -> None:
    """No two databases may have one address once everything is done. One that the key of the request does not
    reach is not named.
    """
    touched = {step.id for step in (*steps, *pruned) if step.id is not None}
    taken: dict[tuple[str, int, str], str] = {
        (one.host, one.port, one.database): (
            f"the database {one.name!r}" if reaches(bound_to, one) else "another declaration"
        )
        for one in present
        if one.id not in touched
    }
    details = []
    for place, step in enumerate(steps):
        if step.address is None:
            continue
        if step.address in taken:
            text = f"with port and database is the address of {taken[step.address]} too; it has to be its own"
            details.append(FieldError(f"/databases/{place}/host", text))
        taken.setdefault(step.address, f"entry {place} of the list")
    if details:
        raise RequestError(
            ErrorCode.DATABASE_EXISTS, "Some addresses are declared twice.", details=details[:MOST_DETAILS]
        )


def _refuse(details: Sequence[FieldError]) -> None:
    if details:
        raise invalid(details)
