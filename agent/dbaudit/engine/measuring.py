"""What the connection test and the health check measure of every server."""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections.abc import Callable

from dbaudit.core.errors import ConfigurationError
from dbaudit.core.host_limits import HostLimits
from dbaudit.engine.host_access import real_path

_ROUND_TRIPS = 5


def median_latency_ms(round_trip: Callable[[], object]) -> float:
    """The median of five calls of ``round_trip``, a trivial statement or command, in milliseconds."""
    durations: list[float] = []
    while len(durations) < _ROUND_TRIPS:
        started = time.perf_counter()
        round_trip()
        durations.append((time.perf_counter() - started) * 1000)
    return statistics.median(durations)


def free_ratio(path: str | os.PathLike[str] | None, limits: HostLimits | None) -> float | None:
    """The free share, from 0 to 1, of this host's disk that holds ``path``; None where it is not here,
    or where ``limits`` (``Target.limits``) do not allow to look."""
    if path is None:
        return None
    try:
        usage = shutil.disk_usage(real_path(path, limits))
    except (OSError, ConfigurationError):
        return None
    # What the server's account can still use, as df counts it: blocks kept for root are not free for it.
    return usage.free / (usage.used + usage.free)
