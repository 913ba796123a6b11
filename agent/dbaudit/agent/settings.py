"""How an agent works: intervals and sizes."""

from __future__ import annotations

import msgspec

from dbaudit.core.host_limits import HostLimits


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one agent process.

    ``node_name`` is its name for people. ``poll_interval_seconds`` is the pause between two reads of a
    database that had nothing new. ``chunk_bytes`` is about how much one read fetches. After a failure the
    agent waits ``backoff_initial_seconds`` and then longer and longer, up to ``backoff_max_seconds``; while
    the state is away, up to ``state_retry_max_seconds``. A database whose configuration is wrong is tried
    again every ``misconfigured_retry_seconds``, and at once when it is changed. A call into an engine that
    has not returned after ``call_seconds`` is abandoned, and another thread tries again. A source that
    returned nothing for ``quiet_seconds`` is tested again, as if its database had just been declared.
    Events on dbaudit itself are kept for ``api_event_retention_days``. ``host_limits`` are what declarations
    may use of this host.
    """

    node_name: str
    poll_interval_seconds: float = 0.1
    chunk_bytes: int = 1 << 20
    health_interval_seconds: float = 30.0
    backoff_initial_seconds: float = 0.5
    backoff_max_seconds: float = 60.0
    state_retry_max_seconds: float = 5.0
    misconfigured_retry_seconds: float = 60.0
    call_seconds: float = 120.0
    quiet_seconds: float = 300.0
    retention_interval_seconds: float = 300.0
    api_event_retention_days: int = 365
    shutdown_seconds: float = 10.0
    host_limits: HostLimits = HostLimits()
