"""The owner of the events on dbaudit itself: a row of `databases` that counts as removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    names = ("id", "name", "type", "host", "database", "username", "ssl_mode", "tags", "audit_options")
    numbers = ("no", "port", "connection_version", "created_at_us", "updated_at_us", "deleted_at_us")
    databases = sa.table(
        "databases", *map(sa.column, (*names, "status", "audit_status")), *map(sa.column, numbers)
    )
    texts = dict.fromkeys(names, "") | {"id": "db_dbaudit", "name": "dbaudit", "type": "dbaudit"}
    owner = {
        **texts,
        **dict.fromkeys(numbers, 0),
        "ssl_mode": "disable",
        "tags": "[]",
        "audit_options": "{}",
        "status": "pending",
        "audit_status": "paused",
    }
    op.bulk_insert(databases, [owner])
