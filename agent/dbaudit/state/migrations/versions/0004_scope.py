"""Whose events a declaration gets, and the servers that declarations are on; those that exist keep all."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "database_servers",
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("database_no", _number, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["database_no"],
            ["databases.no"],
            name=op.f("fk_database_servers_database_no"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("type", "host", "port", "database_no", name=op.f("pk_database_servers")),
    )
    op.execute(
        "INSERT INTO database_servers (type, host, port, database_no)"
        " SELECT type, host, port, no FROM databases"
    )
    databases = sa.table("databases", sa.column("no", _number), sa.column("audit_options", sa.Text()))
    connection = op.get_bind()
    for number, options in connection.execute(sa.select(databases.c.no, databases.c.audit_options)).all():
        kept = {"scope": "server", **json.loads(options)}
        connection.execute(
            databases.update()
            .where(databases.c.no == number)
            .values(audit_options=json.dumps(kept, ensure_ascii=False, separators=(",", ":"), sort_keys=True))
        )
