"""The health of a monitored server, measured over the agent's own connection."""

from __future__ import annotations

from dbaudit.core.clock import now_us
from dbaudit.core.report import CheckStatus, Health, judge_disk, judge_latency
from dbaudit.engine.measuring import free_ratio as free_ratio_of
from dbaudit.engines.mysql.options import Options
from dbaudit.engines.mysql.server import ask
from dbaudit.engines.mysql_protocol.connection import ServerConnection


def measure(connection: ServerConnection, options: Options) -> Health:
    """Health measured now. Raises TransientError when the server does not answer any more.

    The free disk space is known only if the audit file is on the agent's host: no statement returns it.
    """
    latency_ms = connection.measure_latency_ms()
    source = ask(connection).source(options)
    free_ratio = free_ratio_of(options.audit_file, connection.target.limits)
    return Health(
        connectivity=CheckStatus.HEALTHY,
        permissions=CheckStatus.CRITICAL if source is None else CheckStatus.HEALTHY,
        latency=judge_latency(latency_ms),
        disk_space=CheckStatus.UNKNOWN if free_ratio is None else judge_disk(free_ratio),
        latency_ms=latency_ms,
        disk_free_ratio=free_ratio,
        measured_at_us=now_us(),
    )
