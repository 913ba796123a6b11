"""How many events a second the agent takes from a log of PostgreSQL that lies there, read in local mode."""

from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.state.databases import Declaration

from tests.benchmarks import cores
from tests.benchmarks.backlog import RETENTION_DAYS, Backlog, measure
from tests.benchmarks.figures import figure, say
from tests.benchmarks.limits import measure_limits
from tests.benchmarks.log import AuditLog
from tests.servers.postgresql import PostgresServer

_ROLE, _PASSWORD = "collector", "only for this benchmark"


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    log = AuditLog(records)
    say(
        f"the log: {records} records are {log.events} events; several lines in "
        f"{log.shares['several_lines'] / records:.1%}, quotes or letters beyond ASCII in "
        f"{log.shares['quotes_and_letters'] / records:.1%}"
    )
    with cores.pinned(cores.OF_THE_SERVER), PostgresServer(17, pgaudit=True) as server:
        server.create_collector_role(_ROLE, _PASSWORD)
        largest_mb = max(
            measure(_backlog(server, log, log_format), rounds) for log_format in ("csvlog", "jsonlog")
        )
    figure("ingest_peak_rss_mb", largest_mb, "MB")
    measure_limits(log)


def _backlog(server: PostgresServer, log: AuditLog, log_format: str) -> Backlog:
    options = {
        "log_source": "local",
        "log_directory": str(log.folder),
        "log_format": log_format,
        "start_from": "beginning",
    }
    declaration = Declaration(
        name="benchmark",
        type="postgresql",
        host=server.host,
        port=server.port,
        database="postgres",
        username=_ROLE,
        ssl_mode=SslMode.DISABLE,
        audit_options=AuditOptions(engine=options, retention_days=RETENTION_DAYS, scope=Scope.SERVER),
    )
    return Backlog(log_format, declaration, _PASSWORD, log.events, masked="Müller")
