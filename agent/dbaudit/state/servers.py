"""The declarations of one server: which of them are its databases, and which keeps the server's own events.

A server is a type, a host and a port. What belongs to none of its databases is stored once, under its
*keeper*: the oldest live declaration that is not paused, and of those with the scope `server` the oldest.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from sqlalchemy import Connection, Select, and_, exists, insert, select

from dbaudit.core import typed
from dbaudit.core.database import AuditOptions, AuditStatus, Scope
from dbaudit.state.schema import database_servers, databases

_decode_options = typed.decoder(AuditOptions)


class Server(msgspec.Struct, frozen=True):
    """Where the events of a server that belong to no database go to.

    ``keeper_no`` and ``keeper_id`` name the keeper; ``declared`` are the numbers of the live declarations of
    single databases by the database's name; ``ever`` selects the numbers of all that were ever on the server.
    """

    keeper_no: int
    keeper_id: str
    declared: Mapping[str, int]
    ever: Select[tuple[int]]


def remember_server(connection: Connection, database_no: int, engine_type: str, host: str, port: int) -> None:
    """Note that a declaration is on this server from now on."""
    there = {"type": engine_type, "host": host, "port": port, "database_no": database_no}
    known = exists().where(*(database_servers.c[name] == value for name, value in there.items()))
    if not connection.execute(select(known)).scalar_one():
        connection.execute(insert(database_servers).values(**there))


def server_of(connection: Connection, database_no: int) -> Server:
    """The server that a declaration is on, in the caller's transaction."""
    mine = connection.execute(
        select(databases.c.no, databases.c.id, databases.c.type, databases.c.host, databases.c.port).where(
            databases.c.no == database_no
        )
    ).one()
    rows = connection.execute(
        select(
            databases.c.no,
            databases.c.id,
            databases.c.database,
            databases.c.audit_options,
            databases.c.audit_status,
        )
        .where(
            databases.c.type == mine.type,
            databases.c.host == mine.host,
            databases.c.port == mine.port,
            databases.c.deleted_at_us.is_(None),
        )
        .order_by(databases.c.no)
    ).all()
    whole = {row.no for row in rows if _decode_options(row.audit_options).scope is Scope.SERVER}
    collected = [row for row in rows if row.audit_status != AuditStatus.PAUSED.value]
    keeper = min(collected, key=lambda row: (row.no not in whole, row.no), default=mine)
    ever = select(database_servers.c.database_no).where(
        and_(
            database_servers.c.type == mine.type,
            database_servers.c.host == mine.host,
            database_servers.c.port == mine.port,
        )
    )
    declared = {row.database: row.no for row in rows if row.no not in whole}
    return Server(keeper.no, keeper.id, declared, ever)
