"""How many events a second the agent makes of rows of Oracle's UNIFIED_AUDIT_TRAIL: read, decoded, protected,
stored.

There is no Oracle to read from, so this is the client's side alone: the agent as it runs, on one core with
its default settings, whose driver's cursor gives rows that were drawn beforehand. Fetching rows over the
network comes on top. The events go to SQLite with ``synchronous = FULL`` on a real disk.
"""

import datetime
import statistics as averages
from collections.abc import Mapping
from random import Random
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.report import Health, TestReport
from dbaudit.engine import DriverStatus, Session
from dbaudit.engines.oracle import OracleEngine, reading, trail
from dbaudit.engines.oracle.connection import ServerConnection
from dbaudit.engines.oracle.loop import OwnLoop
from dbaudit.engines.oracle.options import Options
from dbaudit.engines.oracle.session import OracleSession

from tests.benchmarks import cores
from tests.benchmarks.figures import figure
from tests.benchmarks.recorded_rows import ingest
from tests.benchmarks.statements import Statements

_SEED = 7
_DRAWN = 50_000
_SESSION = 0.04
_STARTED = datetime.datetime(2026, 11, 20, 8)  # noqa: DTZ001  # the driver's times bear no zone
_USERS = ("APP", "ETL", "REPORT", "SVC_PAY", "ALICE", "NIGHTLY")
_ACTIONS = {"READ": "SELECT", "WRITE": "UPDATE", "DDL": "CREATE TABLE"}


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    rows = _Trail().rows(min(records, _DRAWN))
    with cores.pinned(cores.OF_THE_AGENT):
        rates = [_ingest(rows, records) for _ignored in range(rounds)]
    figure("ingest_unified_audit_trail_events_per_second", averages.median(rates), "events/s")


def _ingest(rows: list[tuple[Any, ...]], records: int) -> float:
    events = sum(_events_of(rows[number % len(rows)]) for number in range(records))
    return ingest(_RecordedEngine(rows, records), events, start_from="beginning")


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
        elif "dba_audit_mgmt_last_arch_ts" in query:
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
