"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

from dbaudit.core.clock import now_us
from dbaudit.core.report import CheckStatus, Health, judge_latency
from dbaudit.engine.measuring import median_latency_ms
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.options import Options
from dbaudit.engines.oracle.rights import read_rights

PING = "SELECT 1 FROM dual"


def measure(connection: ServerConnection, options: Options) -> Health:
    """Health measured now. Raises TransientError when the server does not answer any more.

    The free disk space is unknown: the server reports only its tablespaces, and these may grow.
    """
    latency_ms = measure_latency_ms(connection)
    permitted = read_rights(connection, options).suffice
    return Health(
        connectivity=CheckStatus.HEALTHY,
        permissions=CheckStatus.HEALTHY if permitted else CheckStatus.CRITICAL,
        latency=judge_latency(latency_ms),
        disk_space=CheckStatus.UNKNOWN,
        latency_ms=latency_ms,
        measured_at_us=now_us(),
    )


def measure_latency_ms(connection: ServerConnection) -> float:
    """The median of a few round trips, in milliseconds."""
    return median_latency_ms(lambda: connection.value(PING))
