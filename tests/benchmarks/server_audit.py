"""A file of MariaDB's server_audit as a server writes it, and how fast the agent takes it.

Sessions come one over another: connect, run statements, now and then fail, disconnect; or are refused.
Everything is drawn from a fixed seed. What a line looks like was taken from a real server's.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.state.databases import Declaration

from tests.benchmarks import cores, statements
from tests.benchmarks.backlog import RETENTION_DAYS, Backlog, measure
from tests.benchmarks.figures import figure, say
from tests.benchmarks.statements import Statements
from tests.servers.cache import once
from tests.servers.mariadb import MariaDBServer

_SEED = 7
_SESSIONS_AT_ONCE = 60
_STATEMENTS_A_SESSION = 25
_REFUSED = 0.1
_FAILING = 0.005
_SEVERAL_LINES, _QUOTES_AND_LETTERS = 0.05, 0.10
_MEAN_PAUSE_SECONDS = 0.002
_STARTED = datetime(2026, 11, 20, 8, tzinfo=UTC)
_USERS = ("app", "etl", "report", "svc_pay", "alice", "o'brien", "nightly")
_DATABASES = ("appdb", "sales", "hr")
_ESCAPES = str.maketrans({"'": "\\'", "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_USER, _PASSWORD = "collector", "only for this benchmark"
_FILE, _SUMMARY = "server_audit.log", "summary.json"


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    folder = _folder(records)
    events = json.loads((folder / _SUMMARY).read_text())["events"]
    say(f"the file of server_audit: {records} records are {events} events")
    with cores.pinned(cores.OF_THE_SERVER), MariaDBServer() as server:
        server.create_user(_USER, _PASSWORD)
        options = {
            "source": "file",
            "audit_file": str(folder / _FILE),
            "start_from": "beginning",
        }
        declaration = Declaration(
            name="benchmark",
            type="mariadb",
            host=server.host,
            port=server.port,
            database="information_schema",
            username=_USER,
            ssl_mode=SslMode.DISABLE,
            audit_options=AuditOptions(engine=options, retention_days=RETENTION_DAYS, scope=Scope.SERVER),
        )
        backlog = Backlog("server_audit", declaration, _PASSWORD, events, masked="Müller")
        figure("ingest_server_audit_peak_rss_mb", measure(backlog, rounds), "MB")


def _folder(records: int) -> Path:
    written_by = Path(__file__).read_bytes() + Path(statements.__file__).read_bytes()
    version = hashlib.sha256(written_by).hexdigest()[:8]
    return once(f"benchmark-server-audit-{records}-{version}", lambda folder: write(records, folder))


def write(records: int, folder: Path) -> None:
    """Writes the file, and a summary of what is in it."""
    say(f"writing a file of server_audit with {records} records")
    server = _Server()
    with (folder / _FILE).open("w", encoding="utf-8", newline="") as file:
        file.writelines(server.lines(records))
    (folder / _SUMMARY).write_text(json.dumps({"events": server.events}))


class _Server:
    """Many sessions, one file; counts the events that its records are."""

    def __init__(self) -> None:
        self._random = Random(_SEED)
        connecting = 2 / (_STATEMENTS_A_SESSION + 2)
        self._statements = Statements(
            self._random, _SEVERAL_LINES / (1 - connecting), _QUOTES_AND_LETTERS / (1 - connecting)
        )
        self._now = _STARTED
        self._connections = 0
        self._queries = 0
        self.events = 0

    def lines(self, records: int) -> Iterator[str]:
        """As many as wanted, in the order of the file."""
        sessions = [self._session() for _ignored in range(_SESSIONS_AT_ONCE)]
        while records:
            self._now += timedelta(seconds=self._random.expovariate(1 / _MEAN_PAUSE_SECONDS))
            place = self._random.randrange(len(sessions))
            written = next(sessions[place], None)
            if written is None:
                sessions[place] = self._session()
                continue
            line, events = written
            records -= 1
            self.events += events
            yield f"{self._now:%Y%m%d %H:%M:%S},db1,{line}\n"

    def _session(self) -> Iterator[tuple[str, int]]:
        """What one session writes: lines without their stamps, and how many events each is."""
        random = self._random
        self._connections += 1
        host = f"10.0.{random.randrange(250)}.{random.randrange(1, 250)}"
        who = f"{random.choice(_USERS)},{host},{self._connections}"
        database = random.choice(_DATABASES)
        if random.random() < _REFUSED:
            yield f"{who},0,FAILED_CONNECT,,,1045", 2
            yield f"{who},0,DISCONNECT,,,0", 1
            return
        yield f"{who},0,CONNECT,{database},,0", 2
        for _number in range(1 + int(random.expovariate(1 / _STATEMENTS_A_SESSION))):
            _template, text = self._statements.draw()
            self._queries += 1
            code = 1146 if random.random() < _FAILING else 0
            yield f"{who},{self._queries},QUERY,{database},'{text.translate(_ESCAPES)[:1024]}',{code}", 1
        yield f"{who},0,DISCONNECT,{database},,0", 1
