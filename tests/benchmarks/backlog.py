"""How many events a second the agent takes from records that lie there: read, decoded, protected, stored.

It is the agent as it runs, in a process of its own on one core, with its default settings. The engine logs in
to a real server, tests it, and reads from the beginning; the events go to SQLite with ``synchronous = FULL``
on a real disk. Another core watches the state grow.
"""

import multiprocessing
import resource
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from dbaudit.agent import Agent, AgentSettings
from dbaudit.core.database import Database
from dbaudit.core.secret import Secret
from dbaudit.engine.manager import load_engines
from dbaudit.state import State, open_state
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file
from dbaudit.state.events import EventQuery

from tests.benchmarks import cores
from tests.benchmarks.figures import figure, say
from tests.host_limits import ANY_FOLDER
from tests.servers.cache import cache_folder

RETENTION_DAYS = 36_500
"""The records have fixed dates, and must not be too old in a later year."""

_LOOK_SECONDS = 0.05
_PATIENCE_SECONDS = 600.0


@dataclass(frozen=True)
class Backlog:
    """Records that wait where an engine reads them: how the database is declared, and what they become.

    ``name`` is that of the format in the figure. ``masked`` is a word that stands in literals alone.
    """

    name: str
    declaration: Declaration
    password: str
    events: int
    masked: str


def measure(backlog: Backlog, rounds: int) -> float:
    """Prints ``ingest_NAME_events_per_second``, by the clock and by the agent's own time on its core; returns
    its largest resident size in megabytes.
    """
    rates, of_the_core = [], []
    largest_mb = 0.0
    for _ignored in range(rounds):
        seconds, cpu_seconds, peak_mb = _ingest(backlog)
        rates.append(backlog.events / seconds)
        of_the_core.append(backlog.events / cpu_seconds)
        largest_mb = max(largest_mb, peak_mb)
        say(
            f"{backlog.name}: {backlog.events} events in {seconds:.2f} s, {cpu_seconds:.2f} s of the core, "
            f"{backlog.events / cpu_seconds:.0f} events per second of it; {peak_mb:.0f} MB"
        )
    figure(f"ingest_{backlog.name}_events_per_second", statistics.median(rates), "events/s")
    name = f"ingest_{backlog.name}_events_per_core_second"
    figure(name, statistics.median(of_the_core), "events/s")
    return largest_mb


def _ingest(backlog: Backlog) -> tuple[float, float, float]:
    """Seconds on the clock, seconds of the core, and the agent's largest resident size in megabytes."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        state = _open(Path(folder))
        database = state.databases.create(backlog.declaration, {"password": Secret(backlog.password)})
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        agent = context.Process(target=_be_an_agent, args=(there, Path(folder)), daemon=True)
        agent.start()
        try:
            here.recv()
            here.send("begin")
            begin = time.perf_counter()
            seconds = _until_stored(state, database, backlog.events) - begin
        finally:
            here.send("stop")
        cpu_seconds, peak_mb = here.recv()
        agent.join(30)
        _check(state, database, backlog)
        state.close()
    return seconds, cpu_seconds, peak_mb


def _be_an_agent(pipe: Connection, folder: Path) -> None:
    cores.pin(cores.OF_THE_AGENT)
    state = _open(folder)
    agent = Agent(state, load_engines(), AgentSettings(node_name="benchmark", host_limits=ANY_FOLDER))
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


def _check(state: State, database: Database, backlog: Backlog) -> None:
    """Every record became the events it should, none twice, none put aside."""
    collector = state.collectors.get(database.id)
    assert collector.events_total == backlog.events, f"{collector.events_total} events, not {backlog.events}"
    assert collector.rejected_total == collector.gaps_total == 0
    found = state.backend.engine.connect()
    with found:
        rows, keys = found.exec_driver_sql("select count(*), count(distinct key) from events").one()
    assert rows == keys == backlog.events, f"{rows} rows with {keys} keys, not {backlog.events}"
    unmasked = EventQuery(database_id=database.id, query_contains=backlog.masked, limit=1)
    assert not state.events.query(unmasked).events, "a literal was not masked"
