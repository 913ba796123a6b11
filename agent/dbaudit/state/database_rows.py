"""From a row of ``databases`` to the database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from dbaudit.core import typed
from dbaudit.core.database import AuditOptions, AuditStatus, ConnectionStatus, Database, SslMode

_decode_tags = typed.decoder(tuple[str, ...])
decode_options = typed.decoder(AuditOptions)


def database_of(row: Row[Any]) -> Database:
    """The database of a row that also has the time of the database's last event."""
    return Database(
        id=row.id,
        name=row.name,
        type=row.type,
        host=row.host,
        port=row.port,
        database=row.database,
        username=row.username,
        ssl_mode=SslMode(row.ssl_mode),
        ssl_ca=row.ssl_ca,
        ssl_cert=row.ssl_cert,
        tags=_decode_tags(row.tags),
        audit_options=decode_options(row.audit_options),
        status=ConnectionStatus(row.status),
        status_code=row.status_code,
        status_reason=row.status_reason,
        audit_status=AuditStatus(row.audit_status),
        db_conns_auditing=row.db_conns_auditing,
        connection_version=row.connection_version,
        created_at_us=row.created_at_us,
        updated_at_us=row.updated_at_us,
        last_event_at_us=row.last_event_time_us,
    )
