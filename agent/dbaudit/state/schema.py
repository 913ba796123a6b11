"""The tables of the state. Migrations bring a state to this form; a test holds the two against each other.

Times are microseconds since the epoch, UTC. JSON is stored as text, the same on SQLite and PostgreSQL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The text as in the index: a query has to use the same text to be answered from it.
OF_CONNECTIONS = (
    "type IN ('database.connection', 'user.login_success', 'user.login_failed', 'database.disconnect')"
)

# SQLite numbers rows by itself only where the key is exactly INTEGER.
_Number = BigInteger().with_variant(Integer, "sqlite")

databases = Table(
    "databases",
    metadata,
    Column("no", _Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("database", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("ssl_mode", Text, nullable=False),
    Column("ssl_ca", Text),
    Column("ssl_cert", Text),
    Column("tags", Text, nullable=False),
    Column("audit_options", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("status_code", Text),
    Column("status_reason", Text),
    Column("audit_status", Text, nullable=False),
    Column("connection_version", Integer, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("deleted_at_us", BigInteger),
    Column("db_conns_auditing", Boolean, nullable=False, server_default=false()),
    sqlite_autoincrement=True,
)
_LIVE = databases.c.deleted_at_us.is_(None)
Index(
    "uq_databases_host_port_database",
    databases.c.host,
    databases.c.port,
    databases.c.database,
    unique=True,
    sqlite_where=_LIVE,
    postgresql_where=_LIVE,
)
Index(
    "ix_databases_live",
    databases.c.no,
    databases.c.status,
    databases.c.type,
    sqlite_where=_LIVE,
    postgresql_where=_LIVE,
)

database_tags = Table(
    "database_tags",
    metadata,
    Column("tag", Text, primary_key=True),
    Column("database_no", _Number, ForeignKey(databases.c.no, ondelete="CASCADE"), primary_key=True),
)

# Every server that a declaration was on, also before it was changed or removed: its events are there.
database_servers = Table(
    "database_servers",
    metadata,
    Column("type", Text, primary_key=True),
    Column("host", Text, primary_key=True),
    Column("port", Integer, primary_key=True, autoincrement=False),
    Column(
        "database_no",
        _Number,
        ForeignKey(databases.c.no, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
)

creations = Table(
    "creations",
    metadata,
    Column("key_digest", Text, primary_key=True),
    Column("request_digest", Text, nullable=False),
    Column(
        "database_no", _Number, ForeignKey(databases.c.no, ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("created_at_us", BigInteger, nullable=False),
)

secrets = Table(
    "secrets",
    metadata,
    Column("record_id", Text, primary_key=True),
    Column("key_id", Text, nullable=False, index=True),
    Column("nonce", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("capabilities", Text, nullable=False),
    Column("started_at_us", BigInteger, nullable=False),
    Column("heartbeat_at_us", BigInteger, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("database_no", _Number, ForeignKey(databases.c.no, ondelete="CASCADE"), primary_key=True),
    Column("node_id", Text, nullable=False, index=True),
    Column("token", BigInteger, nullable=False),
    Column("expires_at_us", BigInteger, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("no", _Number, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("declaration", Text, nullable=False),
    Column("node_id", Text),
    Column("created_at_us", BigInteger, nullable=False),
    Column("deadline_us", BigInteger, nullable=False),
    Column("started_at_us", BigInteger),
    Column("finished_at_us", BigInteger),
    Column("result", Text),
    Index("ix_tasks_status_no", "status", "no"),
    sqlite_autoincrement=True,
)

cursors = Table(
    "cursors",
    metadata,
    Column("database_no", _Number, ForeignKey(databases.c.no, ondelete="CASCADE"), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("cursor", Text, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)

collectors = Table(
    "collectors",
    metadata,
    Column("database_no", _Number, ForeignKey(databases.c.no, ondelete="CASCADE"), primary_key=True),
    Column("node_id", Text),
    Column("version", Text),
    Column("state", Text, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("started_at_us", BigInteger),
    Column("heartbeat_at_us", BigInteger),
    Column("next_try_at_us", BigInteger),
    Column("error_code", Text),
    Column("error", Text),
    Column("events_per_second", Float, nullable=False, server_default=text("0")),
    Column("events_total", BigInteger, nullable=False, server_default=text("0")),
    Column("gaps_total", BigInteger, nullable=False, server_default=text("0")),
    Column("rejected_total", BigInteger, nullable=False, server_default=text("0")),
    Column("last_event_time_us", BigInteger),
    Column("last_event_type", Text),
    Column("last_event_user", Text),
    Column("health", Text),
    Column("report", Text),
    Column("report_at_us", BigInteger),
    Column("left_out", Text),
)

events = Table(
    "events",
    metadata,
    Column("seq", _Number, primary_key=True, autoincrement=True),
    Column("database_no", _Number, ForeignKey(databases.c.no), nullable=False),
    Column("key", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("time_us", BigInteger, nullable=False),
    Column("severity", Text, nullable=False),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("user", Text),
    Column("database", Text),
    Column("application", Text),
    Column("session_id", Text),
    Column("source_ip", Text),
    Column("source_port", Integer),
    Column("source_host", Text),
    Column("operation", Text),
    Column("command_class", Text),
    Column("query", Text),
    Column("query_hash", Text),
    Column("duration_ms", Float),
    Column("rows_affected", BigInteger),
    Column("objects", Text),
    Column("parameters", Text),
    Column("detail", Text),
    # The order of one database's events, and the way to recognise a replay (see event_rows.py).
    Index("ix_events_database_no_time_us", "database_no", "time_us"),
    Index("ix_events_time_us", "time_us"),
    # The way to the events that are sent to a listener: few among the many.
    Index(
        "ix_events_connections",
        "database_no",
        "seq",
        sqlite_where=text(OF_CONNECTIONS),
        postgresql_where=text(OF_CONNECTIONS),
    ),
    sqlite_autoincrement=True,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("database_no", _Number, ForeignKey(databases.c.no, ondelete="CASCADE"), primary_key=True),
    Column("sent_seq", BigInteger, nullable=False),
    Column("confirmed_seq", BigInteger, nullable=False),
    Column("sent_total", BigInteger, nullable=False, server_default=text("0")),
    Column("reconnects_total", BigInteger, nullable=False, server_default=text("0")),
    Column("expired_total", BigInteger, nullable=False, server_default=text("0")),
    Column("state", Text, nullable=False),
    Column("since_us", BigInteger, nullable=False),
    Column("node_id", Text),
    Column("revision", BigInteger),
    Column("error_code", Text),
    Column("error", Text),
    Column("updated_at_us", BigInteger, nullable=False),
)

event_hours = Table(
    "event_hours",
    metadata,
    Column("database_no", _Number, ForeignKey(databases.c.no), primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    Column("events", BigInteger, nullable=False),
)

rejected_records = Table(
    "rejected_records",
    metadata,
    Column("no", _Number, primary_key=True, autoincrement=True),
    Column("database_no", _Number, ForeignKey(databases.c.no), nullable=False),
    Column("position", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("secret_id", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    UniqueConstraint("database_no", "position"),
)

settings = Table(
    "settings",
    metadata,
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("key_hash", Text, nullable=False, unique=True),
    Column("scopes", Text, nullable=False),
    Column("created_at_us", BigInteger, nullable=False),
    Column("last_used_at_us", BigInteger),
    Column("revoked_at_us", BigInteger),
    Column("expires_at_us", BigInteger),
    Column("networks", Text, nullable=False, server_default=text("''")),
    Column("tags", Text, nullable=False, server_default=text("'[]'")),
)
