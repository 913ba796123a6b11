"""How many events a second the agent makes of rows of Oracle's UNIFIED_AUDIT_TRAIL: read, decoded, protected,
stored.

There is no Oracle to read from, so this is the client's side alone: the agent as it runs, on one core with
its default settings, whose driver's cursor gives rows that were drawn beforehand. Fetching rows over the
network comes on top. The events go to SQLite with ``synchronous = FULL`` on a real disk.
"""

import datetime
import statistics as averages
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from dbaudit.agent import Agent, AgentSettings
from dbaudit.core.database import AuditOptions, SslMode, Target
from dbaudit.core.report import Health, TestReport
from dbaudit.core.secret import Secret
from dbaudit.engine import DriverStatus, Session
from dbaudit.engine.manager import EngineRegistry, InstalledEngine
from dbaudit.engines.oracle import OracleEngine, reading, trail
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.loop import OwnLoop
from dbaudit.engines.oracle.options import Options
from dbaudit.engines.oracle.session import OracleSession
from dbaudit.state import open_state
from dbaudit.state.databases import Declaration
from dbaudit.state.encryption import keyring_from_file

from tests.benchmarks import cores
from tests.benchmarks.backlog import RETENTION_DAYS
from tests.benchmarks.figures import figure, say
from tests.benchmarks.statements import Statements
from tests.servers.cache import cache_folder

_SEED = 7
_DRAWN = 50_000
_SESSION = 0.04
_STARTED = datetime.datetime(2026, 11, 20, 8)  # noqa: DTZ001  # the driver's times bear no zone
_USERS = ("APP", "ETL", "REPORT", "SVC_PAY", "ALICE", "NIGHTLY")
_ACTIONS = {"READ": "SELECT", "WRITE": "UPDATE", "DDL": "CREATE TABLE"}
_LOOK_SECONDS, _PATIENCE_SECONDS = 0.05, 600.0


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    rows = _Trail().rows(min(records, _DRAWN))
    with cores.pinned(cores.OF_THE_AGENT):
        rates = [_ingest(rows, records) for _ignored in range(rounds)]
    figure("ingest_unified_audit_trail_events_per_second", averages.median(rates), "events/s")


def _ingest(rows: list[tuple[Any, ...]], records: int) -> float:
    events = sum(_events_of(rows[number % len(rows)]) for number in range(records))
    with tempfile.TemporaryDirectory(dir=cache_folder()) as folder:
        path = Path(folder)
        state = open_state(f"sqlite:///{path}/state.db", keyring_from_file(path / "keys", create=True))
        declaration = Declaration(
            name="benchmark",
            type="oracle",
            host="db.example",
            port=1521,
            database="shop",
            username="dbaudit",
            ssl_mode=SslMode.DISABLE,
            audit_options=AuditOptions(engine={"start_from": "beginning"}, retention_days=RETENTION_DAYS),
        )
        database = state.databases.create(declaration, {"password": Secret("only for this benchmark")})
        engine = _RecordedEngine(rows, records)
        registry = EngineRegistry({"oracle": InstalledEngine(engine, "benchmark", "0")}, [])
        agent = Agent(state, registry, AgentSettings(node_name="benchmark"))
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
        f"{records} rows, {events} events in {seconds:.2f} s, {cpu:.2f} s of the core, "
        f"{events / cpu:.0f} events per second of it"
    )
    return events / seconds


def _events_of(row: tuple[Any, ...]) -> int:
    """One, and for a log-in that worked that of its connection beside it."""
    place = 1 + trail.COLUMNS.index("ACTION_NAME")
    code = 1 + trail.COLUMNS.index("RETURN_CODE")
    return 2 if row[place] == "LOGON" and not row[code] else 1


class _RecordedEngine(OracleEngine):
    """Oracle's engine, whose rows come from memory."""

    def __init__(self, rows: list[tuple[Any, ...]], records: int) -> None:
        self._rows = rows
        self._records = records

    def driver_status(self) -> DriverStatus:
        return DriverStatus("none", version="0")

    def open(self, target: Target) -> Session:
        return _RecordedSession(
            ServerConnection(_Connection(self._rows, self._records), OwnLoop(), target),
            Options.of(target.options),
        )


class _RecordedSession(OracleSession):
    def test(self) -> TestReport:
        return TestReport(reachable=True, success=True)

    def health(self) -> Health:
        return Health()


class _Connection:
    """The driver's border: a connection whose cursors give rows."""

    version = "19.21.0.0.0"

    def __init__(self, rows: list[tuple[Any, ...]], records: int) -> None:
        self.rows = rows
        self.records = records

    def cursor(self) -> "_Cursor":
        return _Cursor(self)

    async def close(self) -> None:
        pass


class _Cursor:
    arraysize = prefetchrows = 0

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._next = self._end = 0
        self._single: list[tuple[Any, ...]] = []
        self.description = [(name,) for name in (*trail.COLUMNS, "EVENT_TIMESTAMP_UTC")]

    def setinputsizes(self, **sizes: Any) -> None:
        pass

    async def execute(self, query: str, binds: Mapping[str, Any], *, fetch_lobs: bool) -> None:
        if query == reading.NOW:
            self._single = [(_STARTED,)]
        elif query == reading.PURGED_UNTIL:
            self._single = [(None,)]
        elif "ORDER BY" in query:
            since = binds["low"] - _STARTED
            # One row a millisecond: the time of a row says where it is.
            self._next = max(0, since // datetime.timedelta(milliseconds=1))
            self._end = min(self._next + trail.ROWS_A_QUERY, self._connection.records)

    async def fetchmany(self, size: int) -> list[tuple[Any, ...]]:
        if self._single:
            return [self._single.pop()]
        rows, drawn = self._connection.rows, len(self._connection.rows)
        first, self._next = self._next, min(self._next + size, self._end)
        # As from a driver: every row is a new one.
        return [
            (_STARTED + datetime.timedelta(milliseconds=n), row[1], row[2], row[3], n, *row[5:])
            for n in range(first, self._next)
            for row in (rows[n % drawn],)
        ]

    def close(self) -> None:
        pass


class _Trail:
    """Draws rows: log-ins, and statements with their texts and bind values."""

    def __init__(self) -> None:
        self._random = Random(_SEED)
        self._statements = Statements(self._random, 0.05, 0.10)

    def rows(self, number: int) -> list[tuple[Any, ...]]:
        return [self._row(number) for number in range(number)]

    def _row(self, number: int) -> tuple[Any, ...]:
        random = self._random
        client = random.randrange(200)
        known: dict[str, Any] = {
            "DBID": 1234567890,
            "INSTANCE_ID": 1,
            "SESSIONID": 3111222000 + client,
            "ENTRY_ID": number,
            "STATEMENT_ID": number,
            "SCN": 5_000_000 + number,
            "OS_PROCESS": str(4000 + client),
            "AUDIT_TYPE": "Standard",
            "RETURN_CODE": 0 if random.random() < 0.995 else 942,
            "DBUSERNAME": random.choice(_USERS),
            "OS_USERNAME": "oracle",
            "USERHOST": f"ws{client}",
            "CLIENT_PROGRAM_NAME": "JDBC Thin Client",
            "UNIFIED_AUDIT_POLICIES": "DBAUDIT_STATEMENTS",
            "AUTHENTICATION_TYPE": (
                f"(TYPE=(DATABASE));(CLIENT ADDRESS=((PROTOCOL=tcp)(HOST=10.0.0.{client})"
                f"(PORT={40000 + client})));"
            ),
        }
        if random.random() < _SESSION:
            known["ACTION_NAME"] = random.choice(("LOGON", "LOGOFF"))
        else:
            template, text = self._statements.draw()
            schema, _dot, name = (template.table or "").partition(".")
            known |= {
                "ACTION_NAME": _ACTIONS.get(template.command_class, "EXECUTE"),
                "SQL_TEXT": text,
                "SQL_BINDS": " #1(2):42" if random.random() < 0.3 else None,
                "OBJECT_SCHEMA": schema.upper() or None,
                "OBJECT_NAME": name.upper() or None,
            }
        return (_STARTED, *(known.get(name) for name in trail.COLUMNS), "SHOP")
