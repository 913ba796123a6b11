"""Which request with an Idempotency-Key has added which database, so that a repeated request is recognised.

A row is written in the transaction that adds the database and is removed with the database's own row. So
there is nothing to clean up, and a repeated request is never taken for a new one, however late it comes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select

from dbaudit.core.clock import now_us
from dbaudit.core.database import SECRET_FIELDS
from dbaudit.state.schema import creations, databases


class Creation(msgspec.Struct, frozen=True):
    """What identifies a repeated request: its key, and everything that it said except secrets."""

    key_digest: str
    request_digest: str


class Earlier(msgspec.Struct, frozen=True):
    """What an earlier request with the same key has added; None where it has been removed since."""

    request_digest: str
    database_id: str | None


def creation_of(api_key_id: str, idempotency_key: str, fields: Mapping[str, Any]) -> Creation:
    """The identity of a request of one API key. Without secrets: they could be guessed from a digest."""
    said = {name: value for name, value in fields.items() if name not in SECRET_FIELDS}
    return Creation(
        hashlib.sha256(f"{api_key_id}\0{idempotency_key}".encode()).hexdigest(),
        hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest(),
    )


def remember(connection: Connection, creation: Creation, database_id: str) -> None:
    """Write which request adds this database. Raises IntegrityError where its key has been used."""
    connection.execute(
        insert(creations).values(
            key_digest=creation.key_digest,
            request_digest=creation.request_digest,
            database_no=select(databases.c.no).where(databases.c.id == database_id).scalar_subquery(),
            created_at_us=now_us(),
        )
    )


def find_earlier(connection: Connection, creation: Creation) -> Earlier | None:
    """The earlier request with the same key, or None."""
    row = connection.execute(
        select(creations.c.request_digest, databases.c.id, databases.c.deleted_at_us)
        .join(databases, databases.c.no == creations.c.database_no)
        .where(creations.c.key_digest == creation.key_digest)
    ).one_or_none()
    return None if row is None else Earlier(row.request_digest, None if row.deleted_at_us else row.id)
