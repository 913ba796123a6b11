"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

import statistics
import time

from dbaudit.core.clock import now_us
from dbaudit.core.report import CheckStatus, Health, judge_latency
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.rights import read_rights

PING = "SELECT 1 FROM dual"
_ROUND_TRIPS = 5


def measure(connection: ServerConnection) -> Health:
    """Health measured now. Raises TransientError when the server does not answer any more.

    The free disk space is unknown: the server tells of its tablespaces, and these may grow.
    """
    latency_ms = measure_latency_ms(connection)
    permitted = read_rights(connection).trail is not None
    return Health(
        connectivity=CheckStatus.HEALTHY,
        permissions=CheckStatus.HEALTHY if permitted else CheckStatus.CRITICAL,
        latency=judge_latency(latency_ms),
        disk_space=CheckStatus.UNKNOWN,
        latency_ms=latency_ms,
        measured_at_us=now_us(),
    )


def measure_latency_ms(connection: ServerConnection) -> float:
    """The median of five round trips of a trivial statement, in milliseconds."""
    durations: list[float] = []
    while len(durations) < _ROUND_TRIPS:
        started = time.perf_counter()
        connection.value(PING)
        durations.append((time.perf_counter() - started) * 1000)
    return statistics.median(durations)
