"""Sending connection events to a listener: settings, the switch of each database, and how far it has got."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_of_connections = sa.text(
    "type IN ('database.connection', 'user.login_success', 'user.login_failed', 'database.disconnect')"
)


def upgrade() -> None:
    op.add_column(
        "databases",
        sa.Column("db_conns_auditing", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.create_table(
        "deliveries",
        sa.Column("database_no", _number, nullable=False),
        sa.Column("sent_seq", sa.BigInteger(), nullable=False),
        sa.Column("confirmed_seq", sa.BigInteger(), nullable=False),
        sa.Column("sent_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("reconnects_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("expired_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["database_no"], ["databases.no"], name=op.f("fk_deliveries_database_no"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("database_no", name=op.f("pk_deliveries")),
    )
    op.create_index(
        "ix_events_connections",
        "events",
        ["database_no", "seq"],
        unique=False,
        sqlite_where=_of_connections,
        postgresql_where=_of_connections,
    )
    # The row that every transaction on these settings locks: it is always there.
    settings = sa.table("settings", sa.column("key"), sa.column("value"), sa.column("updated_at_us"))
    nothing = '{"settings":null,"policy":false,"revision":0,"changed_at_us":0}'
    op.bulk_insert(settings, [{"key": "db_conns", "value": nothing, "updated_at_us": 0}])
