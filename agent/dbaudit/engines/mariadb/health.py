"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

from pathlib import PurePosixPath

from dbaudit.core.clock import now_us
from dbaudit.core.report import CheckStatus, Health, judge_disk, judge_latency
from dbaudit.engine.measuring import free_ratio as free_ratio_of
from dbaudit.engines.mariadb.options import Options, Source
from dbaudit.engines.mariadb.rights import read_rights
from dbaudit.engines.mariadb.settings import AuditSettings, read_settings
from dbaudit.engines.mariadb.sources import ChosenSource, local_path, unreadable
from dbaudit.engines.mysql_protocol.connection import ServerConnection

_DISKS = "SELECT Path, Used, Available FROM information_schema.DISKS"


def measure(connection: ServerConnection, options: Options, sources: ChosenSource) -> Health:
    """Health measured now. Raises TransientError when the server does not answer any more.

    The free disk space is that of the data directory, as the plugin DISKS reports it to accounts with the
    right FILE. Without it, it is that of the file of server_audit if this is on the agent's host.
    """
    latency_ms = connection.measure_latency_ms()
    settings = read_settings(connection)
    source = sources.of(settings)
    permitted = source is not None and all(
        there for there, grant in read_rights(connection).needed(source).values()
    )
    permitted = permitted and unreadable(source, connection, settings, options) is None
    free_ratio = _server_free_ratio(connection, settings)
    if free_ratio is None and source is Source.FILE:
        folder = PurePosixPath(local_path(source, connection, settings, options)).parent
        free_ratio = free_ratio_of(folder, connection.target.limits)
    return Health(
        connectivity=CheckStatus.HEALTHY,
        permissions=CheckStatus.HEALTHY if permitted else CheckStatus.CRITICAL,
        latency=judge_latency(latency_ms),
        disk_space=CheckStatus.UNKNOWN if free_ratio is None else judge_disk(free_ratio),
        latency_ms=latency_ms,
        disk_free_ratio=free_ratio,
        measured_at_us=now_us(),
    )


def _server_free_ratio(connection: ServerConnection, settings: AuditSettings) -> float | None:
    if connection.refusal(f"{_DISKS} LIMIT 0") is not None:
        return None
    data = PurePosixPath(settings.value("datadir"))
    disks = [
        (len(PurePosixPath(path).parts), used, available)
        for path, used, available in connection.rows(_DISKS)
        if data.is_relative_to(PurePosixPath(path)) and used + available > 0
    ]
    if not disks:
        return None
    _depth, used, available = max(disks)
    return float(available) / float(used + available)
