"""How many events a second the agent takes from a log that lies there: read, decoded, protected, stored.

It is the agent as it runs, in a process of its own on one core, with its default settings. The PostgreSQL
engine logs in to a real server, tests it, and reads the log in local mode from its beginning; the events go
to SQLite with ``synchronous = FULL`` on a real disk. Another core watches the state grow.
"""

import multiprocessing
import resource
import statistics
import tempfile
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

from dbaudit.agent import Agent, AgentSettings
from dbaudit.core.database import AuditOptions, Database, SslMode
from dbaudit.core.secret import Secret
from dbaudit.engine.manager import load_engines
from dbaudit.state import State, open_state
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.events import EventQuery

from tests.benchmarks import cores
from tests.benchmarks.figures import figure, say
from tests.benchmarks.limits import measure_limits
from tests.benchmarks.log import AuditLog
from tests.servers.cache import cache_folder
from tests.servers.postgresql import PostgresServer

_ROLE, _PASSWORD = "collector", "only for this benchmark"
_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 600.0


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    log = AuditLog(records)
    say(
        f"the log: {records} records are {log.events} events; several lines in "
        f"{log.shares['several_lines'] / records:.1%}, quotes or letters beyond ASCII in "
        f"{log.shares['quotes_and_letters'] / records:.1%}"
    )
    largest_mb = 0.0
    with cores.pinned(cores.OF_THE_SERVER), PostgresServer(17, pgaudit=True) as server:
        server.create_collector_role(_ROLE, _PASSWORD)
        for log_format in ("csvlog", "jsonlog"):
            rates = []
            for _ignored in range(rounds):
                seconds, cpu_seconds, peak_mb = _ingest(server, log, log_format)
                rates.append(log.events / seconds)
                largest_mb = max(largest_mb, peak_mb)
                say(
                    f"{log_format}: {log.events} events in {seconds:.2f} s, {cpu_seconds:.2f} s of the core, "
                    f"{log.events / cpu_seconds:.0f} events per second of it; {peak_mb:.0f} MB"
                )
            figure(f"ingest_{log_format}_events_per_second", statistics.median(rates), "events/s")
    figure("ingest_peak_rss_mb", largest_mb, "MB")
    measure_limits(log)


def _ingest(server: PostgresServer, log: AuditLog, log_format: str) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of the core, and the agent's largest resident size in megabytes."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        state = _open(Path(folder))
        database = _declare(state, server, log, log_format)
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        agent = context.Process(target=_be_an_agent, args=(there, Path(folder)), daemon=True)
        agent.start()
        try:
            here.recv()
            here.send("begin")
            begin = time.perf_counter()
            seconds = _until_stored(state, database, log.events) - begin
        finally:
            here.send("stop")
        cpu_seconds, peak_mb = here.recv()
        agent.join(30)
        _check(state, database, log)
        state.close()
    return seconds, cpu_seconds, peak_mb


def _be_an_agent(pipe: Connection, folder: Path) -> None:
    cores.pin(cores.OF_THE_AGENT)
    state = _open(folder)
    agent = Agent(state, load_engines(), AgentSettings(node_name="benchmark"))
    stop = threading.Event()
    pipe.send("ready")
    pipe.recv()
    before = time.process_time()
    working = threading.Thread(target=agent.run, args=(stop,))
    working.start()
    pipe.recv()
    cpu_seconds = time.process_time() - before
    stop.set()
    working.join()
    state.close()
    pipe.send((cpu_seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6))


def _open(folder: Path) -> State:
    return open_state(f"sqlite:///{folder}/state.db", keyring_from_file(folder / "keys", create=True))


def _declare(state: State, server: PostgresServer, log: AuditLog, log_format: str) -> Database:
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
        # The log has fixed dates, and must not be too old in a later year.
        audit_options=AuditOptions(engine=options, retention_days=36_500),
    )
    return state.databases.create(declaration, {"password": Secret(_PASSWORD)})


def _until_stored(state: State, database: Database, events: int) -> float:
    """The moment when that many events were stored."""
    deadline = time.perf_counter() + _PATIENCE_SECONDS
    while (stored := state.collectors.get(database.id).events_total) < events:
        if time.perf_counter() > deadline:
            collector = state.collectors.get(database.id)
            raise TimeoutError(
                f"{stored} of {events} events were stored: {collector.state} {collector.error}"
            )
        time.sleep(_LOOK_SECONDS)
    return time.perf_counter()


def _check(state: State, database: Database, log: AuditLog) -> None:
    """Every record became the events it should, none twice, none put aside."""
    collector = state.collectors.get(database.id)
    assert collector.events_total == log.events, f"{collector.events_total} events, not {log.events}"
    assert collector.rejected_total == collector.gaps_total == 0
    found = state.backend.engine.connect()
    with found:
        rows, keys = found.exec_driver_sql("select count(*), count(distinct key) from events").one()
    assert rows == keys == log.events, f"{rows} rows with {keys} keys, not {log.events}"
    unmasked = EventQuery(database_id=database.id, query_contains="Müller", limit=1)
    assert not state.events.query(unmasked).events, "a literal was not masked"
