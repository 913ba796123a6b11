"""Settings and policy of sending connection events to a listener, and the rules that keep them consistent
with the databases.

They are in one row, which every transaction that applies these rules locks. So of two changes that contradict
each other, such as deleting the settings and switching a database on, only one succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from dbaudit.core import typed
from dbaudit.core.clock import now_us
from dbaudit.core.db_conns import CAPABILITY, DbConnsSettings, merged
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.state.backend import Backend
from dbaudit.state.nodes import NodeStore
from dbaudit.state.own_events import Act, Action, Deed, changing, differing, record
from dbaudit.state.schema import databases, settings
from dbaudit.state.wakeup import Topic, Wakeup

_KEY = "db_conns"


class DbConns(msgspec.Struct, frozen=True, kw_only=True):
    """The present settings and policy; ``settings`` None: nothing is set.

    ``policy`` is what a new database gets. ``revision`` increases with every change of the settings, also if
    the same ones are put again or if they are deleted; ``changed_at_us`` is the time of the last change.
    """

    settings: DbConnsSettings | None
    policy: bool
    revision: int
    changed_at_us: int


class DbConnsStore:
    """Reads and changes settings and policy. Every refusal is a RequestError, and nothing was changed then.

    `db_conns_auditing_unsupported_by_capability`: a live node cannot send. Turning off is never refused for
    it.
    """

    def __init__(self, backend: Backend, nodes: NodeStore, wakeup: Wakeup) -> None:
        self._backend = backend
        self._nodes = nodes
        self._wakeup = wakeup

    def current(self) -> DbConns:
        """The present settings and policy, whatever the nodes can do."""
        with self._backend.reading() as connection:
            return _read(connection)

    def get(self) -> DbConns:
        """The present settings and policy, if every live node can send."""
        with self._backend.reading() as connection:
            self._require_capability(connection)
            return _read(connection)

    def put(self, given: Mapping[str, Any], *, act: Act | None = None) -> DbConns:
        """Change the settings: ``given`` is merged into what is stored (see ``merged``)."""
        with changing(self._backend) as connection:
            self._require_capability(connection)
            before = _read(connection, lock=True)
            after = _changed(before, merged(before.settings, given))
            _write(connection, after)
            record(connection, act, _deed(Action.CHANGED, before, after))
        self._wakeup.notify(Topic.DB_CONNS)
        return after

    def delete(self, *, act: Act | None = None) -> DbConns:
        """Forget the settings.

        Raises `db_conns_audit_config_not_found` when nothing is set,
        `cannot_delete_audit_config_when_policy_enabled` and `cannot_delete_audit_config_when_bdb_enabled`
        while the policy or a database is on.
        """
        with changing(self._backend) as connection:
            before = _read(connection, lock=True)
            if before.settings is None:
                raise RequestError(ErrorCode.DB_CONNS_NOT_FOUND, "There is no auditing configuration.")
            if before.policy:
                raise RequestError(
                    ErrorCode.DB_CONNS_ON_BY_POLICY,
                    "The cluster policy switches auditing on for new databases.",
                    remedy='PUT /v1/cluster/policy {"db_conns_auditing": false} first.',
                )
            on = connection.execute(
                select(databases.c.name, databases.c.id)
                .where(databases.c.deleted_at_us.is_(None), databases.c.db_conns_auditing)
                .order_by(databases.c.no)
                .limit(1)
            ).first()
            if on is not None:
                raise RequestError(
                    ErrorCode.DB_CONNS_ON_FOR_DATABASE,
                    f"Auditing is switched on for the database {on.name} ({on.id}), and maybe for others.",
                    remedy='PATCH /v1/databases/{id} {"db_conns_auditing": false} for each of them first.',
                )
            after = _changed(before, None)
            _write(connection, after)
            record(connection, act, _deed(Action.REMOVED, before, after))
        self._wakeup.notify(Topic.DB_CONNS)
        return after

    def set_policy(self, enabled: bool, *, act: Act | None = None) -> DbConns:
        """Set what new databases get; those that exist stay as they are.

        Raises `db_conns_auditing_config_missing` when nothing is set yet: no database could be added.
        """
        with changing(self._backend) as connection:
            before = _read(connection, lock=True)
            if enabled == before.policy:
                return before
            if enabled:
                self._require_ready(connection, before)
            after = msgspec.structs.replace(before, policy=enabled)
            _write(connection, after)
            record(connection, act, _deed(Action.CHANGED, before, after))
        return after

    def admit(self, connection: Connection, asked: bool | None) -> bool:
        """Whether a database is to be switched on. Called in the transaction that switches it: the settings
        cannot change before that ends.

        ``asked`` None means a new database whose request does not say: it gets what the policy says. Raises
        `db_conns_auditing_config_missing` when nothing is set.
        """
        if asked is False:
            return False
        present = _read(connection, share=True)
        if asked is None:
            return present.policy
        self._require_ready(connection, present)
        return True

    def check(self, asked: bool | None) -> bool:
        """What ``admit`` would return now; changes nothing."""
        with self._backend.reading() as connection:
            if asked:
                self._require_ready(connection, _read(connection))
            return _read(connection).policy if asked is None else asked

    def _require_ready(self, connection: Connection, present: DbConns) -> None:
        self._require_capability(connection)
        if present.settings is None:
            raise RequestError(
                ErrorCode.DB_CONNS_NOT_CONFIGURED,
                "Unable to enable DB Connections Auditing before feature configurations are set.",
                remedy="PUT /v1/cluster/auditing/db_conns first.",
            )

    def _require_capability(self, connection: Connection) -> None:
        lacking = self._nodes.live_without(connection, CAPABILITY)
        if lacking:
            raise RequestError(
                ErrorCode.DB_CONNS_UNSUPPORTED,
                f"Not all nodes support DB Connections Auditing capability: {', '.join(lacking)}.",
                remedy="Upgrade or stop these agents; GET /v1/nodes lists all of them.",
            )


def _deed(action: Action, before: DbConns, after: DbConns) -> Deed:
    return Deed(action=action, rows=1, detail=differing(_shown(before), _shown(after)))


def _shown(present: DbConns) -> dict[str, Any]:
    fields = {} if present.settings is None else msgspec.structs.asdict(present.settings)
    return {"db_conns_auditing": present.policy, **fields}


def _changed(before: DbConns, wanted: DbConnsSettings | None) -> DbConns:
    return DbConns(
        settings=wanted,
        policy=before.policy,
        revision=before.revision + 1,
        changed_at_us=max(now_us(), before.changed_at_us + 1),
    )


def _read(connection: Connection, *, lock: bool = False, share: bool = False) -> DbConns:
    query = select(settings.c.value).where(settings.c.key == _KEY)
    if lock or share:
        query = query.with_for_update(read=share)
    return typed.decode(connection.execute(query).scalar_one(), DbConns)


def _write(connection: Connection, present: DbConns) -> None:
    value = msgspec.json.encode(present).decode()
    connection.execute(
        update(settings).where(settings.c.key == _KEY).values(value=value, updated_at_us=now_us())
    )
