"""Agents as nodes: their heartbeats, and the leases by which exactly one of them collects a database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, insert, or_, select, update

from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditStatus
from dbaudit.state.backend import Backend
from dbaudit.state.identifiers import new_id
from dbaudit.state.schema import databases, leases, nodes

FORGET_NODE_AFTER_US = 24 * 3600 * 1_000_000


def engine_capability(engine_type: str) -> str:
    """The capability of an agent that has the engine of this type."""
    return f"engine:{engine_type}"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One agent process."""

    id: str
    name: str
    version: str
    capabilities: tuple[str, ...]
    started_at_us: int
    heartbeat_at_us: int


class Lease(msgspec.Struct, frozen=True):
    """The right of one node to collect one database. ``token`` rises with every new holder."""

    database_id: str
    database_no: int
    token: int


class NodeStore:
    """Registers nodes and hands out leases.

    ``lease_seconds`` is how long a lease holds without being renewed; a node whose heartbeat is older than
    that is not alive.
    """

    def __init__(self, backend: Backend, lease_seconds: float) -> None:
        self._backend = backend
        self.lease_seconds = lease_seconds

    def register(
        self, name: str, version: str, capabilities: tuple[str, ...], *, node_id: str | None = None
    ) -> Node:
        """A new node, alive from now on; nodes that were silent for a day are forgotten.

        With ``node_id`` it takes the place of that one, whose process has ended, and its leases.
        """
        now = now_us()
        node = Node(
            id=node_id or new_id("node"),
            name=name,
            version=version,
            capabilities=capabilities,
            started_at_us=now,
            heartbeat_at_us=now,
        )
        with self._backend.writing() as connection:
            forgotten = or_(nodes.c.heartbeat_at_us < now - FORGET_NODE_AFTER_US, nodes.c.id == node.id)
            connection.execute(delete(nodes).where(forgotten))
            connection.execute(
                insert(nodes).values(
                    id=node.id,
                    name=name,
                    version=version,
                    capabilities=" ".join(capabilities),
                    started_at_us=now,
                    heartbeat_at_us=now,
                )
            )
        return node

    def all(self, *, alive_only: bool = False) -> list[Node]:
        """The nodes, oldest first; ``alive_only`` leaves out those that are silent."""
        query = select(nodes).order_by(nodes.c.started_at_us)
        if alive_only:
            query = query.where(nodes.c.heartbeat_at_us >= self._silent_before())
        with self._backend.reading() as connection:
            return [
                Node(
                    id=row.id,
                    name=row.name,
                    version=row.version,
                    capabilities=tuple(row.capabilities.split()),
                    started_at_us=row.started_at_us,
                    heartbeat_at_us=row.heartbeat_at_us,
                )
                for row in connection.execute(query)
            ]

    def holdings(self) -> dict[str, list[str]]:
        """The ids of the databases that each node holds a lease for, by the node's id."""
        held: dict[str, list[str]] = {}
        with self._backend.reading() as connection:
            for node_id, database_id in connection.execute(
                select(leases.c.node_id, databases.c.id)
                .join(databases, databases.c.no == leases.c.database_no)
                .where(leases.c.expires_at_us > now_us(), databases.c.deleted_at_us.is_(None))
                .order_by(databases.c.no)
            ):
                held.setdefault(node_id, []).append(database_id)
        return held

    def live_without(self, connection: Connection, capability: str) -> list[str]:
        """The names of the live nodes that lack ``capability``, in the caller's transaction."""
        alive = connection.execute(
            select(nodes.c.name, nodes.c.capabilities).where(nodes.c.heartbeat_at_us >= self._silent_before())
        )
        return sorted(row.name for row in alive if capability not in row.capabilities.split())

    def capabilities(self, connection: Connection) -> dict[str, list[str]]:
        """The capabilities of each live node, in the caller's transaction."""
        alive = connection.execute(
            select(nodes.c.id, nodes.c.capabilities).where(nodes.c.heartbeat_at_us >= self._silent_before())
        )
        return {row.id: row.capabilities.split() for row in alive}

    def silent(self) -> Select[tuple[str]]:
        """The ids of the nodes that are known and not alive."""
        return select(nodes.c.id).where(nodes.c.heartbeat_at_us < self._silent_before())

    def beat(self, node: Node) -> list[Lease]:
        """Record that the node is alive, renew its leases, take free ones up to its share, and list them.

        The databases of an engine are shared by the nodes that have it.
        A node that has more than its share gives the surplus back, so that a new node gets work.
        """
        with self._backend.writing() as connection:
            self._backend.serialize(connection, "leases")
            # A transaction that stores events locks the row of its lease. Read the clock after that wait.
            connection.execute(select(leases.c.database_no).with_for_update()).all()
            now = now_us()
            expires = now + int(self.lease_seconds * 1_000_000)
            done = connection.execute(update(nodes).where(nodes.c.id == node.id).values(heartbeat_at_us=now))
            if done.rowcount == 0:  # forgotten after a day's sleep
                connection.execute(
                    insert(nodes).values(
                        id=node.id,
                        name=node.name,
                        version=node.version,
                        capabilities=" ".join(node.capabilities),
                        started_at_us=node.started_at_us,
                        heartbeat_at_us=now,
                    )
                )
            wanted = connection.execute(
                select(
                    databases.c.no,
                    databases.c.id,
                    databases.c.type,
                    leases.c.node_id,
                    leases.c.token,
                    leases.c.expires_at_us,
                )
                .select_from(databases.outerjoin(leases, leases.c.database_no == databases.c.no))
                .where(
                    databases.c.deleted_at_us.is_(None), databases.c.audit_status != AuditStatus.PAUSED.value
                )
                .order_by(databases.c.no)
            ).all()
            alive = connection.execute(
                select(nodes.c.id, nodes.c.capabilities).where(
                    or_(nodes.c.heartbeat_at_us >= self._silent_before(), nodes.c.id == node.id)
                )
            ).all()
            capabilities = {row.id: row.capabilities.split() for row in alive}
            kept, taken = [], []
            for engine_type in dict.fromkeys(r.type for r in wanted):
                # If no node has the engine, any node takes the database, to report that.
                able = [
                    other for other in capabilities if engine_capability(engine_type) in capabilities[other]
                ]
                rows = [r for r in wanted if r.type == engine_type]
                kept_rows, taken_rows = _share(rows, node.id, able or list(capabilities), now)
                kept += kept_rows
                taken += taken_rows
            connection.execute(
                delete(leases).where(
                    leases.c.node_id == node.id, leases.c.database_no.not_in([r.no for r in kept])
                )
            )
            if kept:
                connection.execute(
                    update(leases).where(leases.c.node_id == node.id).values(expires_at_us=expires)
                )
            result = [Lease(r.id, r.no, r.token) for r in kept]
            for row in taken:
                token = max(now, (row.token or 0) + 1)
                connection.execute(delete(leases).where(leases.c.database_no == row.no))
                connection.execute(
                    insert(leases).values(
                        database_no=row.no, node_id=node.id, token=token, expires_at_us=expires
                    )
                )
                result.append(Lease(row.id, row.no, token))
        return result

    def leave(self, node: Node) -> None:
        """Give every lease back and sign off: the last act of a clean shutdown."""
        with self._backend.writing() as connection:
            connection.execute(delete(leases).where(leases.c.node_id == node.id))
            connection.execute(delete(nodes).where(nodes.c.id == node.id))

    def _silent_before(self) -> int:
        return now_us() - int(self.lease_seconds * 1_000_000)


def _share(rows: Sequence[Any], node_id: str, able: Sequence[str], now: int) -> tuple[list[Any], list[Any]]:
    """Of the databases of one engine: those that a node keeps, and the free ones that it takes.

    Some may have one more than the others, but no more of them than the division leaves over.
    """
    if node_id not in able:
        return [], []
    held = Counter([r.node_id for r in rows if r.node_id is not None and r.expires_at_us > now])
    share, left_over = divmod(len(rows), len(able))
    if sum(held[other] > share for other in able if other != node_id) < left_over:
        share += 1
    kept = [r for r in rows if r.node_id == node_id and r.expires_at_us > now][:share]
    free = [r for r in rows if r.node_id is None or r.expires_at_us <= now]
    return kept, free[: share - len(kept)]
