"""How fast the agent takes what MySQL writes: the audit log of Enterprise in JSON, the general log.

Sessions come one over another: log-in, statements that work or fail, log-out; or they are refused. Everything
is drawn from a fixed seed. What an element of the audit log looks like was taken from the manual: no such
server could be had. The table is that of a real server, which has it on its disk when it starts.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.state.databases import Declaration

from tests.benchmarks import cores, statements
from tests.benchmarks.backlog import RETENTION_DAYS, Backlog, measure
from tests.benchmarks.figures import figure, say
from tests.benchmarks.statements import Statements
from tests.servers.account import server_account
from tests.servers.cache import once
from tests.servers.mysql import MySQLServer
from tests.servers.processes import wait_for

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
_USER, _PASSWORD = "collector", "only for this benchmark"
_JSON, _TABLE, _SUMMARY = "audit.json", "general_log.CSV", "summary.json"
_encode = json.JSONEncoder(ensure_ascii=False).encode
_CSV_ESCAPES = str.maketrans({'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r"})


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    folder = _folder(records)
    events = json.loads((folder / _SUMMARY).read_text())
    say(
        f"MySQL: {records} records are {events[_JSON]} events in the audit log, {events[_TABLE]} in the table"
    )
    with cores.pinned(cores.OF_THE_SERVER), MySQLServer(settings={"general_log": 0}) as server:
        server.create_user(_USER, _PASSWORD)
        options = {"audit_file": str(folder / _JSON), "start_from": "beginning"}
        backlog = _backlog("mysql_json_audit", server, options, events[_JSON])
        figure("ingest_mysql_json_audit_peak_rss_mb", measure(backlog, rounds), "MB")
        server.execute_admin(f"GRANT SELECT ON mysql.general_log TO {_USER}@'127.0.0.1'")
        server.stop()
        table = server.data_directory / "mysql" / _TABLE
        shutil.copyfile(folder / _TABLE, table)
        server_account().own([table])
        server.start()
        _log_from_now_on(server)
        # One more: that the session ended which switched it on.
        options = {"source": "general_log", "start_from": "beginning"}
        backlog = _backlog("general_log", server, options, events[_TABLE] + 1)
        figure("ingest_general_log_peak_rss_mb", measure(backlog, rounds), "MB")


def _log_from_now_on(server: MySQLServer) -> None:
    connection = server.connect_admin()
    with connection, connection.cursor() as cursor:

        def alone() -> bool:
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'root'")
            return bool(cursor.fetchone() == (1,))

        # Or the end of the session that waited for the start would be logged, or not.
        wait_for(alone, "the end of every other session")
        cursor.execute("SET GLOBAL general_log = ON")


def _backlog(name: str, server: MySQLServer, options: dict[str, str], events: int) -> Backlog:
    declaration = Declaration(
        name="benchmark",
        type="mysql",
        host=server.host,
        port=server.port,
        database="information_schema",
        username=_USER,
        ssl_mode=SslMode.DISABLE,
        audit_options=AuditOptions(engine=options, retention_days=RETENTION_DAYS, scope=Scope.SERVER),
    )
    return Backlog(name, declaration, _PASSWORD, events, masked="Müller")


def _folder(records: int) -> Path:
    written_by = Path(__file__).read_bytes() + Path(statements.__file__).read_bytes()
    version = hashlib.sha256(written_by).hexdigest()[:8]
    return once(f"benchmark-mysql-{records}-{version}", lambda folder: write(records, folder))


def write(records: int, folder: Path) -> None:
    """Writes both, and a summary of what is in them."""
    say(f"writing what MySQL tells in {records} records")
    counts = {}
    for name, line in ((_JSON, _element), (_TABLE, _row)):
        server = _Sessions()
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            file.writelines(server.lines(records, line))
        counts[name] = server.events
    (folder / _SUMMARY).write_text(json.dumps(counts))


class _Record(NamedTuple):
    """Something that happened in a session; a log-in and its refusal are two events."""

    what: str
    user: str
    address: str
    connection: int
    database: str
    text: str = ""
    status: int = 0

    @property
    def events(self) -> int:
        return 2 if self.what == "connect" else 1


class _Sessions:
    """Many sessions, one log; counts the events that its records are."""

    def __init__(self) -> None:
        self._random = Random(_SEED)
        connecting = 2 / (_STATEMENTS_A_SESSION + 2)
        self._statements = Statements(
            self._random, _SEVERAL_LINES / (1 - connecting), _QUOTES_AND_LETTERS / (1 - connecting)
        )
        self._now = _STARTED
        self._connections = 100
        self.events = 0

    def lines(self, records: int, line: Callable[[_Record, datetime, int], str]) -> Iterator[str]:
        """As many records as wanted, in the order of the log."""
        sessions = [self._session() for _ignored in range(_SESSIONS_AT_ONCE)]
        second, number = None, 0
        while records:
            self._now += timedelta(seconds=self._random.expovariate(1 / _MEAN_PAUSE_SECONDS))
            place = self._random.randrange(len(sessions))
            record = next(sessions[place], None)
            if record is None:
                sessions[place] = self._session()
                continue
            number = number + 1 if self._now.replace(microsecond=0) == second else 0
            second = self._now.replace(microsecond=0)
            records -= 1
            self.events += record.events
            yield line(record, self._now, number)

    def _session(self) -> Iterator[_Record]:
        random = self._random
        self._connections += 1
        address = f"10.0.{random.randrange(250)}.{random.randrange(1, 250)}"
        who = random.choice(_USERS), address, self._connections, random.choice(_DATABASES)
        if random.random() < _REFUSED:
            yield _Record("connect", *who, status=1045)
            return
        yield _Record("connect", *who)
        for _number in range(1 + int(random.expovariate(1 / _STATEMENTS_A_SESSION))):
            _template, text = self._statements.draw()
            yield _Record("query", *who, text=text, status=1146 if random.random() < _FAILING else 0)
        yield _Record("disconnect", *who)


def _element(record: _Record, now: datetime, number: int) -> str:
    """An element of the array of the audit log, as MySQL Enterprise writes it."""
    login = {"user": record.user, "os": "", "ip": record.address, "proxy": ""}
    element: dict[str, object] = {
        "timestamp": f"{now:%Y-%m-%d %H:%M:%S}",
        "id": number,
        "class": "general" if record.what == "query" else "connection",
        "event": "status" if record.what == "query" else record.what,
        "connection_id": record.connection,
        "account": {"user": record.user, "host": "10.0.0.%"},
        "login": login,
    }
    if record.what == "query":
        data = {"command": "Query", "sql_command": "select", "query": record.text, "status": record.status}
        element["general_data"] = data
    else:
        attributes = {"_pid": "4211", "_client_name": "libmysql", "program_name": "shop"}
        data = {"connection_type": "ssl", "status": record.status, "db": record.database}
        element["connection_data"] = {**data, "connection_attributes": attributes}
    return _encode(element) + ",\n"


def _row(record: _Record, now: datetime, number: int) -> str:
    """A row of the table's file; of a refused log-in two rows, as the server writes them."""
    who = f"{record.user}[{record.user}] @  [{record.address}]"

    def row(who: str, command: str, argument: str) -> str:
        text = argument.translate(_CSV_ESCAPES)
        return f'"{now:%Y-%m-%d %H:%M:%S.%f}","{who}",{record.connection},1,"{command}","{text}"\n'

    if record.what == "query":
        return row(who, "Query", record.text)
    if record.what == "disconnect":
        return row(who, "Quit", "")
    host = f"{record.user}@{record.address}"
    opened = row(who[len(record.user) :], "Connect", f"{host} on {record.database} using SSL/TLS")
    if not record.status:
        return opened
    denied = f"Access denied for user '{record.user}'@'{record.address}' (using password: YES)"
    return opened + row(who, "Connect", denied)
