"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

from dbaudit.core.clock import now_us
from dbaudit.core.report import CheckStatus, Health, judge_disk, judge_latency
from dbaudit.engine.measuring import free_ratio as free_ratio_of
from dbaudit.engine.measuring import median_latency_ms
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.options import LogSource
from dbaudit.engines.postgresql.rights import Rights
from dbaudit.engines.postgresql.settings import LogSettings


def measure(connection: ServerConnection, rights: Rights, settings: LogSettings) -> Health:
    """Health measured now. Raises TransientError when the server does not answer any more.

    The free disk space is known in local mode only: no function of the server returns it.
    """
    latency_ms = measure_latency_ms(connection)
    permitted = rights.suffice(settings.source)
    free_ratio = None
    if settings.source is LogSource.LOCAL:
        permitted = permitted and settings.log_files_readable
        free_ratio = free_ratio_of(settings.local_directory, connection.target.limits)
    return Health(
        connectivity=CheckStatus.HEALTHY,
        permissions=CheckStatus.HEALTHY if permitted else CheckStatus.CRITICAL,
        latency=judge_latency(latency_ms),
        disk_space=CheckStatus.UNKNOWN if free_ratio is None else judge_disk(free_ratio),
        latency_ms=latency_ms,
        disk_free_ratio=free_ratio,
        measured_at_us=now_us(),
    )


def measure_latency_ms(connection: ServerConnection) -> float:
    """The median of a few round trips, in milliseconds."""
    return median_latency_ms(lambda: connection.value("SELECT 1"))
