"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key_hash", sa.Text(), nullable=False),
        sa.Column("scopes", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("last_used_at_us", sa.BigInteger(), nullable=True),
        sa.Column("revoked_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_table(
        "databases",
        sa.Column("no", _number, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=False),
        sa.Column("ssl_mode", sa.Text(), nullable=False),
        sa.Column("ssl_ca", sa.Text(), nullable=True),
        sa.Column("ssl_cert", sa.Text(), nullable=True),
        sa.Column("tags", sa.Text(), nullable=False),
        sa.Column("audit_options", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("status_code", sa.Text(), nullable=True),
        sa.Column("status_reason", sa.Text(), nullable=True),
        sa.Column("audit_status", sa.Text(), nullable=False),
        sa.Column("connection_version", sa.Integer(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at_us", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_databases")),
        sa.UniqueConstraint("id", name=op.f("uq_databases_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_databases_live",
        "databases",
        ["no", "status", "type"],
        unique=False,
        sqlite_where=sa.text("deleted_at_us IS NULL"),
        postgresql_where=sa.text("deleted_at_us IS NULL"),
    )
    op.create_index(
        "uq_databases_host_port_database",
        "databases",
        ["host", "port", "database"],
        unique=True,
        sqlite_where=sa.text("deleted_at_us IS NULL"),
        postgresql_where=sa.text("deleted_at_us IS NULL"),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("capabilities", sa.Text(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=False),
        sa.Column("heartbeat_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "secrets",
        sa.Column("record_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("record_id", name=op.f("pk_secrets")),
    )
    op.create_index(op.f("ix_secrets_key_id"), "secrets", ["key_id"], unique=False)
    op.create_table(
        "settings",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_settings")),
    )
    op.create_table(
        "tasks",
        sa.Column("no", _number, autoincrement=True, nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("declaration", sa.Text(), nullable=False),
        sa.Column("node_id", sa.Text(), nullable=True),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("deadline_us", sa.BigInteger(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("finished_at_us", sa.BigInteger(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_tasks")),
        sa.UniqueConstraint("id", name=op.f("uq_tasks_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_tasks_status_no", "tasks", ["status", "no"], unique=False)
    op.create_table(
        "collectors",
        sa.Column("database_no", _number, nullable=False),
        sa.Column("node_id", sa.Text(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("since_us", sa.BigInteger(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat_at_us", sa.BigInteger(), nullable=True),
        sa.Column("next_try_at_us", sa.BigInteger(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("events_per_second", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("events_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("gaps_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected_total", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_event_time_us", sa.BigInteger(), nullable=True),
        sa.Column("last_event_type", sa.Text(), nullable=True),
        sa.Column("last_event_user", sa.Text(), nullable=True),
        sa.Column("health", sa.Text(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("report_at_us", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["database_no"], ["databases.no"], name=op.f("fk_collectors_database_no"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("database_no", name=op.f("pk_collectors")),
    )
    op.create_table(
        "cursors",
        sa.Column("database_no", _number, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["database_no"], ["databases.no"], name=op.f("fk_cursors_database_no"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("database_no", name=op.f("pk_cursors")),
    )
    op.create_table(
        "database_tags",
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("database_no", _number, nullable=False),
        sa.ForeignKeyConstraint(
            ["database_no"], ["databases.no"], name=op.f("fk_database_tags_database_no"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tag", "database_no", name=op.f("pk_database_tags")),
    )
    op.create_table(
        "event_hours",
        sa.Column("database_no", _number, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["database_no"], ["databases.no"], name=op.f("fk_event_hours_database_no")),
        sa.PrimaryKeyConstraint("database_no", "hour", name=op.f("pk_event_hours")),
    )
    op.create_table(
        "events",
        sa.Column("seq", _number, autoincrement=True, nullable=False),
        sa.Column("database_no", _number, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("time_us", sa.BigInteger(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("user", sa.Text(), nullable=True),
        sa.Column("database", sa.Text(), nullable=True),
        sa.Column("application", sa.Text(), nullable=True),
        sa.Column("session_id", sa.Text(), nullable=True),
        sa.Column("source_ip", sa.Text(), nullable=True),
        sa.Column("source_port", sa.Integer(), nullable=True),
        sa.Column("source_host", sa.Text(), nullable=True),
        sa.Column("operation", sa.Text(), nullable=True),
        sa.Column("command_class", sa.Text(), nullable=True),
        sa.Column("query", sa.Text(), nullable=True),
        sa.Column("query_hash", sa.Text(), nullable=True),
        sa.Column("duration_ms", sa.Float(), nullable=True),
        sa.Column("rows_affected", sa.BigInteger(), nullable=True),
        sa.Column("objects", sa.Text(), nullable=True),
        sa.Column("parameters", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["database_no"], ["databases.no"], name=op.f("fk_events_database_no")),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_database_no_time_us", "events", ["database_no", "time_us"], unique=False)
    op.create_index("ix_events_time_us", "events", ["time_us"], unique=False)
    op.create_table(
        "leases",
        sa.Column("database_no", _number, nullable=False),
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["database_no"], ["databases.no"], name=op.f("fk_leases_database_no"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("database_no", name=op.f("pk_leases")),
    )
    op.create_index(op.f("ix_leases_node_id"), "leases", ["node_id"], unique=False)
    op.create_table(
        "rejected_records",
        sa.Column("no", _number, autoincrement=True, nullable=False),
        sa.Column("database_no", _number, nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("secret_id", sa.Text(), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["database_no"], ["databases.no"], name=op.f("fk_rejected_records_database_no")
        ),
        sa.PrimaryKeyConstraint("no", name=op.f("pk_rejected_records")),
        sa.UniqueConstraint("database_no", "position", name=op.f("uq_rejected_records_database_no_position")),
    )
