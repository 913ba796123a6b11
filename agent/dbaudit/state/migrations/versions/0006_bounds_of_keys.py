"""What API keys are bound to, and the tags of databases that were removed, for the keys that reach them."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expires_at_us", sa.BigInteger()))
    op.add_column("api_keys", sa.Column("networks", sa.Text(), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("tags", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    databases = sa.table(
        "databases",
        sa.column("no", _number),
        sa.column("tags", sa.Text()),
        sa.column("deleted_at_us", sa.BigInteger()),
    )
    tags = sa.table("database_tags", sa.column("tag", sa.Text()), sa.column("database_no", _number))
    connection = op.get_bind()
    removed = sa.select(databases.c.no, databases.c.tags).where(databases.c.deleted_at_us.is_not(None))
    for number, written in connection.execute(removed).all():
        for tag in set(json.loads(written)):
            connection.execute(tags.insert().values(tag=tag, database_no=number))
