"""How many events a second the agent makes of rows of SQL Server's sys.fn_get_audit_file.

There is no SQL Server to read from, so this is the client's side alone, behind the driver: decoded, protected
and stored by the agent as it runs, on one core with its default settings, whose engine is given rows that
were drawn beforehand, in chunks as large as a read gives. Fetching rows over the network and through ODBC
comes on top. The events go to SQLite with ``synchronous = FULL`` on a real disk.
"""

import statistics as averages
from collections.abc import Sequence
from random import Random
from typing import Any

from dbaudit.core.database import Target
from dbaudit.core.report import Health, TestReport
from dbaudit.engine import Chunk, Cursor, DriverStatus, Session
from dbaudit.engines.sqlserver import SQLServerEngine
from dbaudit.engines.sqlserver.kinds import Kind
from dbaudit.engines.sqlserver.queries import AUDIT_COLUMNS
from dbaudit.engines.sqlserver.records import Rows

from tests.benchmarks import cores
from tests.benchmarks.figures import figure
from tests.benchmarks.recorded_rows import ingest
from tests.benchmarks.statements import Statements

_SEED = 7
_BLOCKS, _ROWS_A_BLOCK, _ROWS_A_BUFFER = 40, 1500, 20
_PART = 4000
_STARTED_US = 1_795_161_600_000_000
_USERS = ("app", "etl", "report", "svc_pay", "alice", "o'brien", "nightly")
_ACTIONS = {"READ": "SL  ", "WRITE": "UP  "}
_LONG, _SESSION = 0.01, 0.04
_LOGIN_XML = (
    '<action_info xmlns="http://schemas.microsoft.com/sqlserver/2008/sqlaudit_data"><pooled_connection>0'
    "</pooled_connection><error>0x00000000</error><state>1</state><address>{}</address></action_info>"
)


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    blocks = _Audit().blocks()
    chunks = max(1, records // _ROWS_A_BLOCK)
    with cores.pinned(cores.OF_THE_AGENT):
        rates = [_ingest(blocks, chunks) for _ignored in range(rounds)]
    figure("ingest_fn_get_audit_file_events_per_second", averages.median(rates), "events/s")


def _ingest(blocks: Sequence[list[tuple[Any, ...]]], chunks: int) -> float:
    events = sum(_events_of(blocks[number % len(blocks)]) for number in range(chunks))
    return ingest(_RecordedEngine(blocks, chunks), events)


def _events_of(rows: list[tuple[Any, ...]]) -> int:
    """An event for each record, whatever its parts, and one of the connection beside a log-in."""
    log_in = AUDIT_COLUMNS.index("action_id")
    return sum(row[3] == 1 for row in rows) + sum(row[log_in] == "LGIS" for row in rows)


class _RecordedEngine(SQLServerEngine):
    """SQL Server's engine, whose rows come from memory."""

    def __init__(self, blocks: Sequence[list[tuple[Any, ...]]], chunks: int) -> None:
        self._blocks = blocks
        self._chunks = chunks

    def driver_status(self) -> DriverStatus:
        return DriverStatus("none", version="0")

    def open(self, target: Target) -> Session:
        return _RecordedSession(self._blocks, self._chunks)


class _RecordedSession(Session):
    def __init__(self, blocks: Sequence[list[tuple[Any, ...]]], chunks: int) -> None:
        self._blocks = blocks
        self._chunks = chunks

    def test(self) -> TestReport:
        return TestReport(reachable=True, success=True)

    def health(self) -> Health:
        return Health()

    def read(self, cursor: Cursor | None, limit_bytes: int) -> Chunk:
        number = 0 if cursor is None else int(cursor["chunk"])
        if number >= self._chunks:
            return Chunk(records=[], cursor={"v": 1, "chunk": number})
        file = f"/var/opt/mssql/data/shop_{number:08}-0000-4000-8000-000000000000_0_1.sqlaudit"
        # As from a driver: every row is a new one, and the file names are not those of the last chunk.
        rows = [(file, *row[1:]) for row in self._blocks[number % len(self._blocks)]]
        block = Rows(kind=Kind.AUDIT, rows=rows, own_login="dbaudit", own_application="dbaudit-agent")
        return Chunk(records=[block], cursor={"v": 1, "chunk": number + 1}, more=True)

    def close(self) -> None:
        pass


class _Audit:
    """Draws rows of audit files of 2022: log-ins, accesses to objects, batches, some in parts."""

    def __init__(self) -> None:
        self._random = Random(_SEED)
        self._statements = Statements(self._random, 0.05, 0.10)
        self._time_us = _STARTED_US

    def blocks(self) -> list[list[tuple[Any, ...]]]:
        """Each as many rows as one chunk has; no record is cut by the end of a block."""
        return [self._block() for _ignored in range(_BLOCKS)]

    def _block(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        while len(rows) < _ROWS_A_BLOCK:
            written = self._record()
            if len(rows) + len(written) <= _ROWS_A_BLOCK:
                rows += written
        return [("", 5632 + 4096 * (number // _ROWS_A_BUFFER), *row) for number, row in enumerate(rows)]

    def _record(self) -> list[tuple[Any, ...]]:
        random = self._random
        self._time_us += int(random.expovariate(1 / 2000))
        address = f"10.0.{random.randrange(250)}.{random.randrange(1, 250)}"
        if random.random() < _SESSION:
            action, statement = random.choice((("LGIS", "-- network protocol: TCP/IP\r\n"), ("LGO ", None)))
            return [self._row(action, statement, None, address, _LOGIN_XML.format(address), 1)]
        template, text = self._statements.draw()
        if random.random() < _LONG:
            text += "/*" + "x" * random.randrange(_PART, 3 * _PART) + "*/"
        action = random.choice((_ACTIONS.get(template.command_class, "BCM "), "BCM "))
        table = template.table if action != "BCM " else None
        parts = [text[start : start + _PART] for start in range(0, len(text), _PART)]
        session = random.randrange(51, 250)
        return [
            self._row(action, part, table, address, "", number, session)
            for number, part in enumerate(parts, start=1)
        ]

    def _row(
        self,
        action: str,
        statement: str | None,
        table: str | None,
        address: str,
        information: str,
        number: int,
        session: int = 51,
    ) -> tuple[Any, ...]:
        user = self._random.choice(_USERS) if number == 1 else "app"
        schema, _dot, name = (table or "").partition(".")
        return (
            *(self._time_us, number, action, True, session, user, user, "dbo", "", "", "shop"),
            *(schema or None, name or None, statement, information, b"0123456789abcdef", 0),
            *(address, "shop server", "web1", None, None, None, None),
            "U " if table else "DB",
        )
