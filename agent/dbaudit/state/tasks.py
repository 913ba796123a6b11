"""Tasks: work that the API asks of an agent. Today that is the test of a connection."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
from sqlalchemy import Connection, and_, delete, insert, or_, select, update

from dbaudit.core import typed
from dbaudit.core.clock import now_us
from dbaudit.core.database import SECRET_FIELDS, AuditOptions, Database, Scope, SslMode, Target
from dbaudit.core.errors import RequestError
from dbaudit.core.report import TestReport, failed_test
from dbaudit.core.secret import Secret
from dbaudit.state.backend import Backend
from dbaudit.state.databases import DatabaseStore, Declaration, changed_meanwhile
from dbaudit.state.identifiers import new_id
from dbaudit.state.nodes import NodeStore, engine_capability
from dbaudit.state.own_deeds import test_of_connection
from dbaudit.state.own_events import Act, Deed, changing, record
from dbaudit.state.schema import tasks
from dbaudit.state.secrets import SecretStore
from dbaudit.state.targets import target_of
from dbaudit.state.wakeup import Topic, Wakeup

_KEEP_FINISHED_US = 3600 * 1_000_000
_LOOK_AGAIN_SECONDS = 1.0
_STORED = "test_stored"
_NOT_STORED = "test"  # also what versions before 1.0 wrote for stored databases, with all secrets


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One test of a connection: which engine, and the target with its secrets. For agents only.

    At ``deadline_us`` (microseconds since the epoch) the caller stops waiting.
    """

    id: str
    deadline_us: int
    engine_type: str
    database_id: str | None
    target: Target
    scope: Scope = Scope.DATABASE


class _OfStored(msgspec.Struct, frozen=True, kw_only=True):
    """The test of a database as it is stored when an agent takes the task."""

    type: str
    database_id: str


class _OfDeclaration(msgspec.Struct, frozen=True, kw_only=True):
    """The test of what is not stored yet. The agent takes ``stored_secrets`` from the database
    ``database_id``, if nothing of it was changed after ``seen_us``; the others lie with the task.
    """

    database_id: str | None
    seen_us: int | None = None
    stored_secrets: tuple[str, ...] = ()
    name: str
    type: str
    host: str
    port: int
    database: str
    username: str
    ssl_mode: SslMode
    ssl_ca: str | None = None
    ssl_cert: str | None = None
    audit_options: AuditOptions = AuditOptions()


_Asked = _OfStored | _OfDeclaration
_TESTED_FIELDS = tuple(f for f in _OfDeclaration.__struct_fields__ if f in Declaration.__struct_fields__)


class TaskStore:
    """Stores tasks, lets agents take each one once, and returns the result to the waiting caller."""

    def __init__(
        self,
        backend: Backend,
        secrets: SecretStore,
        wakeup: Wakeup,
        *,
        nodes: NodeStore,
        databases: DatabaseStore,
    ) -> None:
        self._backend = backend
        self._nodes = nodes
        self._databases = databases
        self._secrets = secrets
        self._wakeup = wakeup

    def request_stored_test(
        self, database: Database, *, timeout_seconds: float = 30.0, act: Act | None = None
    ) -> str:
        """Ask for a test of a stored database; returns the task's id. The task only names it: the agent
        that takes it reads the declaration and the secrets itself.
        """
        asked = _OfStored(type=database.type, database_id=database.id)
        return self._request(asked, {}, timeout_seconds, act, test_of_connection(database, database))

    def request_test(
        self,
        declaration: Declaration,
        secrets: Mapping[str, Secret | None],
        *,
        change_of: Database | None = None,
        timeout_seconds: float = 30.0,
        act: Act | None = None,
    ) -> str:
        """Ask for a test of ``declaration``, which is not stored; returns the task's id.

        ``secrets`` are stored encrypted with the task and forgotten when it ends. For the ``change_of`` a
        stored database, the agent takes the secrets that ``secrets`` does not name from the state, unless
        that database is changed meanwhile. An agent that takes the task after ``timeout_seconds`` drops it:
        the caller does not wait any more.
        """
        tested = {field: getattr(declaration, field) for field in _TESTED_FIELDS}
        asked = _OfDeclaration(database_id=None, **tested)
        if change_of is not None:
            asked = msgspec.structs.replace(
                asked,
                database_id=change_of.id,
                seen_us=change_of.updated_at_us,
                stored_secrets=tuple(field for field in SECRET_FIELDS if field not in secrets),
            )
        return self._request(asked, secrets, timeout_seconds, act, test_of_connection(declaration, change_of))

    def _request(
        self,
        asked: _Asked,
        secrets: Mapping[str, Secret | None],
        timeout_seconds: float,
        act: Act | None,
        deed: Deed,
    ) -> str:
        now = now_us()
        task_id = new_id("task")
        with changing(self._backend) as connection:
            record(connection, act, deed)
            old = (
                connection.execute(select(tasks.c.id).where(tasks.c.created_at_us < now - _KEEP_FINISHED_US))
                .scalars()
                .all()
            )
            if old:
                self._secrets.remove(connection, *(f"{t}/{f}" for t in old for f in SECRET_FIELDS))
                connection.execute(delete(tasks).where(tasks.c.id.in_(old)))
            connection.execute(
                insert(tasks).values(
                    id=task_id,
                    kind=_STORED if isinstance(asked, _OfStored) else _NOT_STORED,
                    status="queued",
                    declaration=msgspec.json.encode(asked).decode(),
                    created_at_us=now,
                    deadline_us=now + int(timeout_seconds * 1_000_000),
                )
            )
            for field, secret in secrets.items():
                if secret is not None:
                    self._secrets.put(connection, f"{task_id}/{field}", secret)
        self._wakeup.notify(Topic.TASK_NEW)
        return task_id

    def claim(self, node_id: str) -> Task | None:
        """Claim the oldest free task for this node; None if there is no free task.

        A task is for the nodes that have its engine; if no live node has it, any node takes it and reports
        that. A task of a node that has stopped sending heartbeats is free again. Tasks whose deadline has
        passed are dropped, and their secrets with them. One whose database was removed or changed meanwhile
        ends here, with that as its result.
        """
        while (taken := self._take(node_id)) is not None:
            task_id, deadline_us, asked, secrets = taken
            try:
                target, scope = self._tested(task_id, asked, secrets)
            except RequestError as error:
                self.finish(task_id, failed_test(error.code, error.message, error.remedy))
                continue
            return Task(
                id=task_id,
                deadline_us=deadline_us,
                engine_type=asked.type,
                database_id=asked.database_id,
                target=target,
                scope=scope,
            )
        return None

    def _take(self, node_id: str) -> tuple[str, int, _Asked, Mapping[str, Secret | None]] | None:
        now = now_us()
        free = or_(
            tasks.c.status == "queued",
            and_(tasks.c.status == "running", tasks.c.node_id.in_(self._nodes.silent())),
        )
        with self._backend.reading() as connection:  # an idle agent takes no lock for writing
            if connection.execute(select(tasks.c.no).where(free).limit(1)).first() is None:
                return None
        with self._backend.writing() as connection:
            self._drop_expired(connection, now)
            waiting = (
                select(tasks.c.no, tasks.c.kind, tasks.c.declaration)
                .where(free, tasks.c.deadline_us > now)
                .order_by(tasks.c.no)
            )
            capabilities = self._nodes.capabilities(connection)
            number = None
            for found in connection.execute(waiting).all():
                if _is_for(node_id, _asked(found.kind, found.declaration), capabilities):
                    locked = select(tasks.c.no).where(free, tasks.c.no == found.no)
                    locked = locked.with_for_update(skip_locked=True)
                    number = connection.execute(locked).scalar_one_or_none()
                if number is not None:
                    break
            if number is None:
                return None
            row = connection.execute(
                update(tasks)
                .where(tasks.c.no == number)
                .values(status="running", node_id=node_id, started_at_us=now)
                .returning(tasks.c.id, tasks.c.kind, tasks.c.declaration, tasks.c.deadline_us)
            ).one()
            secrets = {f: self._secrets.get(connection, f"{row.id}/{f}") for f in SECRET_FIELDS}
        return row.id, row.deadline_us, _asked(row.kind, row.declaration), secrets

    def _tested(
        self, task_id: str, asked: _Asked, secrets: Mapping[str, Secret | None]
    ) -> tuple[Target, Scope]:
        """What is tested. Raises RequestError where its database was removed or changed meanwhile."""
        if isinstance(asked, _OfStored):
            database, stored = self._databases.with_secrets(asked.database_id)
            return target_of(database.id, database, stored), database.audit_options.scope
        if asked.database_id is not None and asked.stored_secrets:
            database, stored = self._databases.with_secrets(asked.database_id)
            # The secrets of a newer declaration may be for another server than the one that is tested.
            if database.updated_at_us != asked.seen_us:
                raise changed_meanwhile()
            secrets = {**secrets, **{field: stored.get(field) for field in asked.stored_secrets}}
        declaration = Declaration(**{field: getattr(asked, field) for field in _TESTED_FIELDS})
        return target_of(asked.database_id or task_id, declaration, secrets), declaration.audit_options.scope

    def release(self, node_id: str) -> None:
        """What a node took and did not finish before its process ended may be taken again."""
        with self._backend.writing() as connection:
            connection.execute(
                update(tasks)
                .where(tasks.c.node_id == node_id, tasks.c.status == "running")
                .values(status="queued", node_id=None, started_at_us=None)
            )
        self._wakeup.notify(Topic.TASK_NEW)

    def _drop_expired(self, connection: Connection, now: int) -> None:
        expired = select(tasks.c.id).where(tasks.c.status == "queued", tasks.c.deadline_us <= now)
        ids = connection.execute(expired.with_for_update(skip_locked=True)).scalars().all()
        if ids:
            connection.execute(update(tasks).where(tasks.c.id.in_(ids)).values(status="expired"))
            self._secrets.remove(connection, *(f"{task_id}/{f}" for task_id in ids for f in SECRET_FIELDS))

    def finish(self, task_id: str, report: TestReport) -> None:
        """Write the result of a task, delete its secrets, and wake the caller that waits for it. Only the
        first result is kept. An id of no task changes nothing, not even the secrets of a database with it.
        """
        with self._backend.writing() as connection:
            done = connection.execute(
                update(tasks)
                .where(tasks.c.id == task_id, tasks.c.status != "done")
                .values(status="done", finished_at_us=now_us(), result=msgspec.json.encode(report).decode())
            )
            if done.rowcount == 0:
                return
            self._secrets.remove(connection, *(f"{task_id}/{field}" for field in SECRET_FIELDS))
        self._wakeup.notify(Topic.TASK_DONE)

    def result(self, task_id: str) -> TestReport | None:
        """The result of a task; None while it has none."""
        with self._backend.reading() as connection:
            result = connection.execute(
                select(tasks.c.result).where(tasks.c.id == task_id)
            ).scalar_one_or_none()
        return None if result is None else typed.decode(result, TestReport)

    def wait(self, task_id: str, timeout_seconds: float) -> TestReport | None:
        """The result of a task as soon as it is there; None when the time ran out."""
        deadline = time.monotonic() + timeout_seconds
        while True:
            seen = self._wakeup.count(Topic.TASK_DONE)
            report = self.result(task_id)
            if report is not None:
                return report
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._wakeup.wait(Topic.TASK_DONE, seen, min(left, _LOOK_AGAIN_SECONDS))


def _asked(kind: str, text: str) -> _Asked:
    return typed.decode(text, _OfStored) if kind == _STORED else typed.decode(text, _OfDeclaration)


def _is_for(node_id: str, asked: _Asked, capabilities: Mapping[str, Sequence[str]]) -> bool:
    wanted = engine_capability(asked.type)
    able = [node for node, found in capabilities.items() if wanted in found]
    return node_id in able or not able
