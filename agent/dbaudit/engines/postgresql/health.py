"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

import shutil
import statistics
import time

from dbaudit.core.clock import now_us
from dbaudit.core.report import CheckStatus, Health, judge_disk, judge_latency
from dbaudit.engines.postgresql.connection import ServerConnection
from dbaudit.engines.postgresql.options import LogSource, Options
from dbaudit.engines.postgresql.rights import read_rights
from dbaudit.engines.postgresql.settings import read_settings

_ROUND_TRIPS = 5


def measure(connection: ServerConnection, options: Options) -> Health:
    """Health measured now. Raises TransientError when the server does not answer any more.

    The free disk space is known in local mode only: no function of the server tells it.
    """
    latency_ms = measure_latency_ms(connection)
    rights = read_rights(connection)
    settings = read_settings(connection, rights, options)
    permitted = rights.suffice(settings.source)
    free_ratio = None
    if settings.source is LogSource.LOCAL:
        permitted = permitted and settings.log_files_readable
        free_ratio = _free_ratio(settings.local_directory)
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
    """The median of five round trips of a trivial statement, in milliseconds."""
    durations: list[float] = []
    while len(durations) < _ROUND_TRIPS:
        started = time.perf_counter()
        connection.value("SELECT 1")
        durations.append((time.perf_counter() - started) * 1000)
    return statistics.median(durations)


def _free_ratio(directory: str | None) -> float | None:
    if directory is None:
        return None
    try:
        usage = shutil.disk_usage(directory)
    except OSError:
        return None
    # What the server's account can still use, as df counts it: blocks kept for root are not free for it.
    return usage.free / (usage.used + usage.free)
