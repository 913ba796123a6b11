"""How fast the agent takes rows that were drawn beforehand, for servers that cannot be had.

It is the agent as it runs, in this process, with its default settings; the rows of its engine come from
memory.
"""

import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from dbaudit.agent import Agent, AgentSettings
from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.core.secret import Secret
from dbaudit.engine import Engine
from dbaudit.engine.manager import EngineRegistry, InstalledEngine
from dbaudit.state import open_state
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file

from tests.benchmarks.backlog import RETENTION_DAYS
from tests.benchmarks.figures import say
from tests.host_limits import ANY_FOLDER
from tests.servers.cache import cache_folder

_LOOK_SECONDS, _PATIENCE_SECONDS = 0.05, 600.0


def ingest(engine: Engine, events: int, **options: Any) -> float:
    """How many of its ``events`` a second are stored; ``options`` are the engine's own."""
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        path = Path(folder)
        state = open_state(f"sqlite:///{path}/state.db", keyring_from_file(path / "keys", create=True))
        declaration = Declaration(
            name="benchmark",
            type=engine.type,
            host="db.example",
            port=engine.default_port,
            database="benchmark",
            username="dbaudit",
            ssl_mode=SslMode.DISABLE,
            audit_options=AuditOptions(engine=options, retention_days=RETENTION_DAYS, scope=Scope.SERVER),
        )
        database = state.databases.create(declaration, {"password": Secret("only for this benchmark")})
        registry = EngineRegistry({engine.type: InstalledEngine(engine, "benchmark", "0")}, [])
        agent = Agent(state, registry, AgentSettings(node_name="benchmark", host_limits=ANY_FOLDER))
        stop = threading.Event()
        working = threading.Thread(target=agent.run, args=(stop,))
        begin, cpu = time.perf_counter(), time.process_time()
        working.start()
        try:
            while (stored := state.collectors.get(database.id).events_total) < events:
                if time.perf_counter() - begin > _PATIENCE_SECONDS:
                    raise TimeoutError(f"{stored} of {events} events were stored")
                time.sleep(_LOOK_SECONDS)
            seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        finally:
            stop.set()
            working.join()
        collector = state.collectors.get(database.id)
        assert collector.events_total == events
        assert collector.rejected_total == collector.gaps_total == 0
        with state.backend.engine.connect() as connection:
            found, keys = connection.exec_driver_sql("select count(*), count(distinct key) from events").one()
        assert found == keys == events
        state.close()
    say(
        f"{events} events in {seconds:.2f} s, {cpu:.2f} s of the core, "
        f"{events / cpu:.0f} events per second of it"
    )
    return events / seconds
