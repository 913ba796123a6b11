"""The notifications that a listener gets: those of Redis Enterprise, one JSON object a line.

They are of the first generation: `new_conn` and `close_conn` are objects named by the event, `auth` is flat
with an ``action``; ports are texts, and ``acl-rules`` has a hyphen (Redis Enterprise documentation, "Audit
connection events").
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from functools import lru_cache
from typing import Any

import msgspec

from dbaudit.core.event import AuditEvent, EventType, Outcome
from dbaudit.state.deliveries import Delivery

_SECOND_US = 1_000_000
_encode = msgspec.json.Encoder().encode


class AuthStatus(IntEnum):
    """The results of a log-in that dbaudit knows; the numbers are those of the documentation."""

    AUTHENTICATION_FAILED = 0
    AUTHENTICATION_NOT_REQUIRED = 2
    AUTHENTICATION_OK = 8


def notification(delivery: Delivery, event: AuditEvent) -> bytes:
    """The line for one event of the database that ``delivery`` is of."""
    connection = {
        "id": connection_id(delivery.database_id, event.session_id or event.key),
        "srcip": event.source_ip or "",
        "srcp": "" if event.source_port is None else str(event.source_port),
        "trgip": delivery.host,
        "trgp": str(delivery.port),
        "hname": event.source_host or "",
        "bdb_name": delivery.database_name,
        "bdb_uid": delivery.database_id,
    }
    seconds = event.time_us // _SECOND_US
    if event.type == EventType.CONNECTION:
        return _line({"ts": seconds, "new_conn": connection})
    if event.type == EventType.DISCONNECT:
        return _line({"ts": seconds, "close_conn": connection})
    user = event.user or ""
    return _line(
        {
            "ts": seconds,
            "action": "auth",
            **connection,
            "status": _status(event).value,
            "username": user,
            "identity": f"user:{(event.detail or {}).get('identity') or user}",
            "acl-rules": "",
        }
    )


@lru_cache(maxsize=100_000)
def connection_id(database_id: str, session_id: str) -> int:
    """The number of a session, the same for all its events and from every agent; 63 bits."""
    digest = hashlib.blake2b(f"{database_id}\0{session_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def _status(event: AuditEvent) -> AuthStatus:
    if event.outcome == Outcome.FAILURE or event.type == EventType.LOGIN_FAILED:
        return AuthStatus.AUTHENTICATION_FAILED
    if (event.detail or {}).get("method") == "trust":
        return AuthStatus.AUTHENTICATION_NOT_REQUIRED
    return AuthStatus.AUTHENTICATION_OK


def _line(value: dict[str, Any]) -> bytes:
    return _encode(value) + b"\n"
