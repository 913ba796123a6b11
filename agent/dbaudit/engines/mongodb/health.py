"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dbaudit.core.clock import now_us
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.report import CheckStatus, Health, judge_disk, judge_latency
from dbaudit.engine.measuring import median_latency_ms
from dbaudit.engines.mongodb.connection import MemberConnection
from dbaudit.engines.mongodb.members import Member
from dbaudit.engines.mongodb.rights import read_rights


def measure(member: Member) -> Health:
    """Health of the declared server measured now. Raises TransientError when it does not answer any more.

    The free disk space is that of the file system of the server's data, as dbStats reports it; a mongos
    reports none.
    """
    connection = member.connection()
    latency_ms = measure_latency_ms(connection)
    database = member.target.database
    rights = read_rights(connection, database)
    free_ratio = None
    if rights.permissions["dbStats"]:
        try:
            free_ratio = _free_ratio(connection.command({"dbStats": 1}, database))
        except ConfigurationError:
            free_ratio = None
    return Health(
        connectivity=CheckStatus.HEALTHY,
        permissions=CheckStatus.HEALTHY if rights.suffice() else CheckStatus.CRITICAL,
        latency=judge_latency(latency_ms),
        disk_space=CheckStatus.UNKNOWN if free_ratio is None else judge_disk(free_ratio),
        latency_ms=latency_ms,
        disk_free_ratio=free_ratio,
        measured_at_us=now_us(),
    )


def measure_latency_ms(connection: MemberConnection) -> float:
    """The median of a few round trips, in milliseconds."""
    return median_latency_ms(lambda: connection.command({"ping": 1}))


def _free_ratio(stats: Mapping[str, Any]) -> float | None:
    used, total = stats.get("fsUsedSize"), stats.get("fsTotalSize")
    if not isinstance(used, int | float) or not isinstance(total, int | float):
        return None
    if not (math.isfinite(used) and math.isfinite(total)) or total <= 0:
        return None
    return min(1.0, max(0.0, 1 - used / total))
