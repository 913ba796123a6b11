"""Requests with an Idempotency-Key that have added a database."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "creations",
        sa.Column("key_digest", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.Text(), nullable=False),
        sa.Column("database_no", _number, nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["database_no"], ["databases.no"], name=op.f("fk_creations_database_no"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_digest", name=op.f("pk_creations")),
    )
    op.create_index(op.f("ix_creations_database_no"), "creations", ["database_no"])
