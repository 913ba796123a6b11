"""The declared databases and their secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from dbaudit.core.clock import now_us
from dbaudit.core.database import (
    CONNECTION_FIELDS,
    SECRET_FIELDS,
    AuditOptions,
    AuditStatus,
    ConnectionStatus,
    Database,
    SslMode,
    Target,
)
from dbaudit.core.errors import ErrorCode, FieldError, RequestError, not_found
from dbaudit.core.secret import Secret
from dbaudit.state.backend import Backend
from dbaudit.state.creations import Creation, find_earlier, remember
from dbaudit.state.database_rows import database_of, decode_options
from dbaudit.state.db_conns import DbConnsStore
from dbaudit.state.deliveries import DeliveryStore
from dbaudit.state.events import EventStore
from dbaudit.state.identifiers import new_id
from dbaudit.state.nodes import Lease
from dbaudit.state.own_deeds import change_of_database, creation_of_database, removal_of_database
from dbaudit.state.own_events import OWN_DATABASE_NO, Act, changing, record
from dbaudit.state.schema import collectors, database_tags, databases, leases
from dbaudit.state.secrets import SecretStore
from dbaudit.state.servers import remember_server
from dbaudit.state.tags import having_tags
from dbaudit.state.targets import target_of
from dbaudit.state.wakeup import Topic, Wakeup

_ROW = (*(c for c in databases.c if c.name != "deleted_at_us"), collectors.c.last_event_time_us)
_ROW_OF = databases.outerjoin(collectors, collectors.c.database_no == databases.c.no)
_LIVE = databases.c.deleted_at_us.is_(None)


class DatabaseFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which databases a list shows; None does not narrow. ``tags`` means all of them."""

    status: ConnectionStatus | None = None
    type: str | None = None
    tags: tuple[str, ...] = ()
    name: str | None = None
    host: str | None = None


EVERY_DATABASE = DatabaseFilter()


class Declaration(msgspec.Struct, frozen=True, kw_only=True):
    """What a user declares of a database. Secrets are passed separately, by their field's name.

    ``db_conns_auditing`` None: a new database gets what the policy says, an existing one stays as it is.
    """

    name: str
    type: str
    host: str
    port: int
    database: str
    username: str
    ssl_mode: SslMode
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    tags: tuple[str, ...] = ()
    audit_options: AuditOptions = AuditOptions()
    db_conns_auditing: bool | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One of several changes that are made together: a new database if ``database_id`` is None, the removal
    of one if ``declaration`` is None. The rest is as for ``DatabaseStore.create`` and ``update``.
    """

    database_id: str | None
    declaration: Declaration | None
    secrets: Mapping[str, Secret | None] = {}
    audit_status: AuditStatus | None = None
    unless_changed_since_us: int | None = None


class DatabaseStore:
    """Declares, changes, finds and removes databases."""

    def __init__(
        self,
        backend: Backend,
        secrets: SecretStore,
        wakeup: Wakeup,
        *,
        events: EventStore,
        db_conns: DbConnsStore,
        deliveries: DeliveryStore,
    ) -> None:
        self._backend = backend
        self._secrets = secrets
        self._wakeup = wakeup
        self._events = events
        self._db_conns = db_conns
        self._deliveries = deliveries

    def page(
        self, wanted: DatabaseFilter = EVERY_DATABASE, *, page: int = 1, per_page: int = 20
    ) -> tuple[list[Database], int]:
        """One page of the databases, in the order of their creation, and how many there are in all."""
        condition = _condition(wanted)
        with self._backend.reading() as connection:
            total = connection.execute(
                select(func.count()).select_from(databases).where(condition)
            ).scalar_one()
            rows = connection.execute(
                _rows()
                .where(condition)
                .order_by(databases.c.no)
                .limit(per_page)
                .offset((page - 1) * per_page)
            ).all()
        return [database_of(row) for row in rows], total

    def all(self) -> list[Database]:
        """Every database, in the order of creation."""
        with self._backend.reading() as connection:
            return [
                database_of(row) for row in connection.execute(_rows().where(_LIVE).order_by(databases.c.no))
            ]

    def retentions(self) -> list[tuple[int, int]]:
        """The number and the retention in days of every declared database, the deleted ones too."""
        declared = select(databases.c.no, databases.c.audit_options).where(databases.c.no != OWN_DATABASE_NO)
        with self._backend.reading() as connection:
            rows = connection.execute(declared).all()
        return [(row.no, decode_options(row.audit_options).retention_days) for row in rows]

    def get(self, database_id: str) -> Database:
        """One database. Raises RequestError (`not_found`)."""
        with self._backend.reading() as connection:
            return database_of(_row(connection, database_id))

    def find(self, host: str, port: int, database: str) -> Database | None:
        """The database with this address, or None."""
        with self._backend.reading() as connection:
            row = connection.execute(
                _rows().where(
                    _LIVE,
                    databases.c.host == host,
                    databases.c.port == port,
                    databases.c.database == database,
                )
            ).one_or_none()
        return None if row is None else database_of(row)

    def on_server(self, engine_type: str, host: str, port: int) -> list[Database]:
        """The declarations of a server, in the order of their creation."""
        with self._backend.reading() as connection:
            rows = connection.execute(
                _rows()
                .where(
                    _LIVE,
                    databases.c.type == engine_type,
                    databases.c.host == host,
                    databases.c.port == port,
                )
                .order_by(databases.c.no)
            ).all()
        return [database_of(row) for row in rows]

    def create(
        self,
        declaration: Declaration,
        secrets: Mapping[str, Secret],
        *,
        audit_status: AuditStatus = AuditStatus.INITIALIZING,
        creation: Creation | None = None,
        act: Act | None = None,
    ) -> Database:
        """Declare a database; it is `pending` until an agent has tested it.

        ``creation`` is remembered, for ``created_by``. Raises RequestError (`database_exists`) when host,
        port and database are declared already or the creation is, and what ``DbConnsStore.admit`` raises.
        """
        last_event = self._events.last_number()
        try:
            with changing(self._backend) as connection:
                created = self._create(connection, declaration, secrets, audit_status, last_event)
                record(connection, act, creation_of_database(created, secrets))
                if creation is not None:
                    remember(connection, creation, created.id)
        except IntegrityError:
            raise exists_already(declaration) from None
        self._wakeup.notify(Topic.DATABASES)
        return created

    def created_by(self, creation: Creation, bound_to: Sequence[str] = ()) -> Database | None:
        """The database that this request has added before; None where it has not.

        Raises RequestError (`conflict`) when its key belongs to another request, or the database is removed
        or has not all the tags ``bound_to`` any more.
        """
        with self._backend.reading() as connection:
            earlier = find_earlier(connection, creation)
            if earlier is None:
                return None
            if earlier.request_digest != creation.request_digest:
                raise RequestError(
                    ErrorCode.CONFLICT,
                    "This Idempotency-Key was used for another request.",
                    remedy="Send a new key with every new request.",
                )
            made = earlier.database_id
            database = None if made is None else database_of(_row(connection, made))
            if database is None or not set(bound_to) <= set(database.tags):
                raise RequestError(
                    ErrorCode.CONFLICT,
                    "The database that this request has added was removed since.",
                    remedy="Send a new Idempotency-Key to add it again.",
                )
            return database

    def _create(
        self,
        connection: Connection,
        declaration: Declaration,
        secrets: Mapping[str, Secret | None],
        audit_status: AuditStatus,
        last_event: int,
    ) -> Database:
        now = now_us()
        database_id = new_id("db")
        switched_on = self._db_conns.admit(connection, declaration.db_conns_auditing)
        number = connection.execute(
            insert(databases)
            .values(
                id=database_id,
                status=ConnectionStatus.PENDING.value,
                audit_status=audit_status.value,
                connection_version=1,
                created_at_us=now,
                updated_at_us=now,
                **(_columns(declaration) | {"db_conns_auditing": switched_on}),
            )
            .returning(databases.c.no)
        ).scalar_one()
        _write_tags(connection, number, declaration.tags)
        remember_server(connection, number, declaration.type, declaration.host, declaration.port)
        connection.execute(insert(collectors).values(database_no=number, state="waiting", since_us=now))
        if switched_on:
            self._deliveries.begin(connection, number, last_event)
        for field, secret in secrets.items():
            if secret is not None:
                self._secrets.put(connection, _record_id(database_id, field), secret)
        return database_of(_row(connection, database_id))

    def update(
        self,
        database_id: str,
        declaration: Declaration,
        secrets: Mapping[str, Secret | None],
        *,
        audit_status: AuditStatus | None = None,
        unless_changed_since_us: int | None = None,
        act: Act | None = None,
    ) -> Database:
        """Change a database to ``declaration``; of ``secrets`` only those given, None removes one.

        A change of a connection field makes it `pending` again. When nothing differs, nothing is written.
        ``unless_changed_since_us`` is the ``updated_at_us`` that the caller saw: RequestError (`conflict`)
        when the declaration is another one by now. Raises what ``DbConnsStore.admit`` raises where the
        sending of connection events is switched on; it begins with the events from now on.
        """
        last_event = self._events.last_number() if declaration.db_conns_auditing else 0
        try:
            with changing(self._backend) as connection:
                change = Change(
                    database_id=database_id,
                    declaration=declaration,
                    secrets=secrets,
                    audit_status=audit_status,
                    unless_changed_since_us=unless_changed_since_us,
                )
                before = _row(connection, database_id, lock=True)
                after = self._update(connection, before, declaration, change, last_event, act, before)
        except IntegrityError:
            raise exists_already(declaration) from None
        if after.updated_at_us != before.updated_at_us:
            self._wakeup.notify(Topic.DATABASES)
        return after

    def _update(
        self,
        connection: Connection,
        row: Row[Any],
        declaration: Declaration,
        change: Change,
        last_event: int,
        act: Act | None,
        seen: Row[Any],
    ) -> Database:
        """``seen`` is ``row`` as others see it, where its address was moved aside in this transaction."""
        before = database_of(row)
        _require_unchanged(row, change.unless_changed_since_us)
        changed_secrets = {
            field: secret
            for field, secret in change.secrets.items()
            if self._secrets.get(connection, _record_id(before.id, field)) != secret
        }
        values = {k: v for k, v in _columns(declaration).items() if getattr(row, k) != v}
        if change.audit_status is not None and change.audit_status is not before.audit_status:
            values["audit_status"] = change.audit_status.value
        if not values and not changed_secrets:
            return before
        if values.get("db_conns_auditing"):
            self._db_conns.admit(connection, True)
            self._deliveries.begin(connection, row.no, last_event)
        if not set(CONNECTION_FIELDS).isdisjoint([*values, *changed_secrets]):
            values |= {
                "status": ConnectionStatus.PENDING.value,
                "status_code": None,
                "status_reason": None,
                "connection_version": before.connection_version + 1,
            }
            if before.audit_status is AuditStatus.ACTIVE and "audit_status" not in values:
                values["audit_status"] = AuditStatus.INITIALIZING.value
        connection.execute(
            update(databases)
            .where(databases.c.no == row.no)
            .values(updated_at_us=max(now_us(), before.updated_at_us + 1), **values)
        )
        if not {"host", "port"}.isdisjoint(values):
            remember_server(connection, row.no, row.type, declaration.host, declaration.port)
        if "tags" in values:
            connection.execute(delete(database_tags).where(database_tags.c.database_no == row.no))
            _write_tags(connection, row.no, declaration.tags)
        for field, secret in changed_secrets.items():
            if secret is None:
                self._secrets.remove(connection, _record_id(before.id, field))
            else:
                self._secrets.put(connection, _record_id(before.id, field), secret)
        after = database_of(_row(connection, before.id))
        record(connection, act, change_of_database(database_of(seen), after, changed_secrets))
        return after

    def delete(
        self, database_id: str, *, unless_changed_since_us: int | None = None, act: Act | None = None
    ) -> None:
        """Stop monitoring a database and forget its secrets; its events stay until their retention ends.
        Raises RequestError (`conflict`) where it was changed after ``unless_changed_since_us``.
        """
        with changing(self._backend) as connection:
            row = _row(connection, database_id, lock=True)
            _require_unchanged(row, unless_changed_since_us)
            self._delete(connection, row, act)
        self._wakeup.notify(Topic.DATABASES)

    def _delete(self, connection: Connection, row: Row[Any], act: Act | None) -> None:
        record(connection, act, removal_of_database(database_of(row)))
        connection.execute(update(databases).where(databases.c.no == row.no).values(deleted_at_us=now_us()))
        self._secrets.remove(connection, *(_record_id(row.id, field) for field in SECRET_FIELDS))

    def apply(self, changes: Sequence[Change], act: Act | None = None) -> list[Database | None]:
        """Make all of ``changes`` or none; returns each database as it is then, None for one that ended.

        Databases may take over the addresses of others that end or move in the same call. Raises
        RequestError: `conflict` if another request came first, `not_found`, and what ``create`` raises.
        """
        last_event = self._events.last_number()
        after: dict[int, Database | None] = {}
        try:
            with changing(self._backend) as connection:
                rows = _locked_rows(connection, [c.database_id for c in changes if c.database_id is not None])
                for place, change in enumerate(changes):
                    if change.declaration is None and change.database_id is not None:
                        row = rows[change.database_id]
                        _require_unchanged(row, change.unless_changed_since_us)
                        self._delete(connection, row, act)
                        after[place] = None
                seen = dict(rows)
                _make_way(connection, rows, changes)
                for place, change in enumerate(changes):
                    if change.declaration is None:
                        continue
                    if change.database_id is None:
                        status = change.audit_status or AuditStatus.INITIALIZING
                        created = self._create(
                            connection, change.declaration, change.secrets, status, last_event
                        )
                        record(connection, act, creation_of_database(created, change.secrets))
                        after[place] = created
                    else:
                        row = rows[change.database_id]
                        after[place] = self._update(
                            connection, row, change.declaration, change, last_event, act, seen[row.id]
                        )
        except IntegrityError:
            raise RequestError(
                ErrorCode.CONFLICT, "One of the addresses was declared by somebody else meanwhile."
            ) from None
        if changes:
            self._wakeup.notify(Topic.DATABASES)
        return [after[place] for place in range(len(changes))]

    def secrets(self, database_ids: Sequence[str]) -> dict[tuple[str, str], Secret]:
        """The stored secrets of these databases, by id and field, to be compared with others."""
        names = {_record_id(one, field): (one, field) for one in database_ids for field in SECRET_FIELDS}
        with self._backend.reading() as connection:
            found = self._secrets.get_many(connection, list(names))
        return {names[record_id]: secret for record_id, secret in found.items()}

    def secret_equals(self, database_id: str, field: str, value: Secret | None) -> bool:
        """Whether the stored secret is this one; the comparison stays here, no verifier leaves the state."""
        with self._backend.reading() as connection:
            return self._secrets.get(connection, _record_id(database_id, field)) == value

    def target(self, database_id: str) -> Target:
        """What an engine needs to connect, secrets included. For agents only."""
        return target_of(database_id, *self.with_secrets(database_id))

    def with_secrets(self, database_id: str) -> tuple[Database, Mapping[str, Secret | None]]:
        """One database and its secrets by field, as of one moment. Raises RequestError (`not_found`)."""
        with self._backend.reading() as connection:
            database = database_of(_row(connection, database_id))
            return database, {
                f: self._secrets.get(connection, _record_id(database_id, f)) for f in SECRET_FIELDS
            }

    def set_status(
        self,
        database_id: str,
        connection_version: int,
        status: ConnectionStatus,
        *,
        code: str | None = None,
        reason: str | None = None,
        audit_status: AuditStatus | None = None,
        lease: Lease | None = None,
    ) -> bool:
        """Write what an agent found out. Ignored (returns False) if the connection was changed meanwhile, or
        if another node has a newer lease than ``lease``.

        ``audit_status`` does not override `paused`, which the user has set.
        """
        with self._backend.writing() as connection:
            values: dict[str, Any] = {"status": status.value, "status_code": code, "status_reason": reason}
            if audit_status is not None:
                values["audit_status"] = case(
                    (databases.c.audit_status == AuditStatus.PAUSED.value, AuditStatus.PAUSED.value),
                    else_=audit_status.value,
                )
            done = connection.execute(
                update(databases)
                .where(
                    _LIVE,
                    databases.c.id == database_id,
                    databases.c.connection_version == connection_version,
                    *([] if lease is None else [~_newer_lease(lease)]),
                )
                .values(**values)
            )
        return done.rowcount == 1


def _newer_lease(lease: Lease) -> ColumnElement[bool]:
    return exists().where(leases.c.database_no == lease.database_no, leases.c.token > lease.token)


def _rows() -> Select[Any]:
    return select(*_ROW).select_from(_ROW_OF)


def _row(connection: Connection, database_id: str, *, lock: bool = False) -> Row[Any]:
    query = _rows().where(_LIVE, databases.c.id == database_id)
    row = connection.execute(
        query.with_for_update(of=databases, key_share=True) if lock else query
    ).one_or_none()
    if row is None:
        raise not_found("database", database_id)
    return row


def _require_unchanged(row: Row[Any], seen_us: int | None) -> None:
    if seen_us not in (None, row.updated_at_us):
        raise changed_meanwhile()


def _locked_rows(connection: Connection, database_ids: Sequence[str]) -> dict[str, Row[Any]]:
    # In a fixed order, not that of the changes, so that two calls at a time do not wait for each other.
    return {one: _row(connection, one, lock=True) for one in sorted(database_ids)}


def _make_way(connection: Connection, rows: dict[str, Row[Any]], changes: Sequence[Change]) -> None:
    """Move databases that change their address aside, so that another one can take it in any order."""
    for change in changes:
        wanted = change.declaration
        if change.database_id is None or wanted is None:
            continue
        row = rows[change.database_id]
        if (row.host, row.port, row.database) != (wanted.host, wanted.port, wanted.database):
            connection.execute(
                update(databases).where(databases.c.no == row.no).values(host=f"moving/{row.id}")
            )
            rows[row.id] = _row(connection, row.id)


def _condition(wanted: DatabaseFilter) -> Any:
    conditions: list[ColumnElement[bool]] = [_LIVE]
    if wanted.status is not None:
        conditions.append(databases.c.status == wanted.status.value)
    for column, value in (
        (databases.c.type, wanted.type),
        (databases.c.name, wanted.name),
        (databases.c.host, None if wanted.host is None else wanted.host.lower()),
    ):
        if value is not None:
            conditions.append(column == value)
    conditions.extend(having_tags(databases.c.no, wanted.tags))
    return and_(*conditions)


def _columns(declaration: Declaration) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "name": declaration.name,
        "type": declaration.type,
        "host": declaration.host,
        "port": declaration.port,
        "database": declaration.database,
        "username": declaration.username,
        "ssl_mode": declaration.ssl_mode.value,
        "ssl_ca": declaration.ssl_ca,
        "ssl_cert": declaration.ssl_cert,
        "tags": msgspec.json.encode(declaration.tags).decode(),
        "audit_options": msgspec.json.encode(declaration.audit_options, order="deterministic").decode(),
    }
    if declaration.db_conns_auditing is not None:
        columns["db_conns_auditing"] = declaration.db_conns_auditing
    return columns


def _write_tags(connection: Connection, number: int, tags: Sequence[str]) -> None:
    if tags:
        connection.execute(insert(database_tags), [{"tag": tag, "database_no": number} for tag in set(tags)])


def _record_id(database_id: str, field: str) -> str:
    return f"{database_id}/{field}"


def changed_meanwhile() -> RequestError:
    """The error for a database that is no longer what the caller saw."""
    return RequestError(ErrorCode.CONFLICT, "The database was changed by somebody else meanwhile.")


def exists_already(declaration: Declaration) -> RequestError:
    """The error for a declaration whose host, port and database are declared already."""
    place = f"{declaration.host}:{declaration.port}/{declaration.database}"
    remedy = "Host, port and database together have to be new; change the existing one."
    return RequestError(
        ErrorCode.DATABASE_EXISTS, f"{place} is declared already.", details=[FieldError("/host", remedy)]
    )
