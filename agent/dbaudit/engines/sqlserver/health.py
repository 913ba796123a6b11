"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

from dbaudit.core.clock import now_us
from dbaudit.core.errors import ConfigurationError
from dbaudit.core.report import CheckStatus, Health, judge_disk, judge_latency
from dbaudit.engine.measuring import median_latency_ms
from dbaudit.engines.sqlserver.connection import ServerConnection
from dbaudit.engines.sqlserver.options import Options
from dbaudit.engines.sqlserver.rights import Rights, read_rights
from dbaudit.engines.sqlserver.trails import chosen_kind, trails_of

_VOLUMES = """
    SELECT DISTINCT v.volume_mount_point, v.total_bytes, v.available_bytes
    FROM sys.master_files AS f CROSS APPLY sys.dm_os_volume_stats(f.database_id, f.file_id) AS v
"""


def measure(connection: ServerConnection, options: Options) -> Health:
    """Health measured now. Raises TransientError when the server does not answer any more."""
    latency_ms = measure_latency_ms(connection)
    rights = read_rights(connection)
    free_ratio = lowest_free_ratio(connection, rights)
    return Health(
        connectivity=CheckStatus.HEALTHY,
        permissions=_permissions(connection, rights, options),
        latency=judge_latency(latency_ms),
        disk_space=CheckStatus.UNKNOWN if free_ratio is None else judge_disk(free_ratio),
        latency_ms=latency_ms,
        disk_free_ratio=free_ratio,
        measured_at_us=now_us(),
    )


def measure_latency_ms(connection: ServerConnection) -> float:
    """The median of a few round trips, in milliseconds."""
    return median_latency_ms(lambda: connection.row("SELECT 1 AS one"))


def lowest_free_ratio(connection: ServerConnection, rights: Rights) -> float | None:
    """The free share (0 to 1) of the fullest volume that holds files of databases; None without the right.

    The server reports only these volumes. That of the audit's files may not be among them.
    """
    if not rights.see_state.there:
        return None
    ratios = [free / total for _mount, total, free in connection.rows(_VOLUMES) if total]
    return min(ratios, default=None)


def _permissions(connection: ServerConnection, rights: Rights, options: Options) -> CheckStatus:
    try:
        trails_of(connection, rights, options, chosen_kind(connection, rights, options))
    except ConfigurationError:
        return CheckStatus.CRITICAL
    return CheckStatus.HEALTHY
