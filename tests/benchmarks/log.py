"""A log of PostgreSQL 17 with pgaudit as a server writes it, in both formats, with the same records in each.

Sessions come one over another: connect, run statements, now and then fail, disconnect; or are refused.
Everything is drawn from a fixed seed. What a line looks like was taken from a real server's.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from tests.benchmarks import statements
from tests.benchmarks.figures import say
from tests.benchmarks.statements import Statements, Template
from tests.servers.cache import once

SEVERAL_LINES = 0.05
QUOTES_AND_LETTERS = 0.10
SUMMARY = "summary.json"
_SEED = 7
_SESSIONS_AT_ONCE = 60
_STATEMENTS_A_SESSION = 25
_REFUSED = 0.1
_FAILING = 0.005
_OBJECT_AUDITED = 0.05
# No session begins so near the end: an open log-in would make the reader wait for its next record.
_QUIET_END = 500
_STARTED = datetime(2026, 11, 20, 8, tzinfo=UTC)
_MEAN_PAUSE_SECONDS = 0.002
_USERS = ("app", "etl", "report", "svc_pay", "alice", "o'brien", "nightly")
_DATABASES = ("appdb", "sales", "hr")
_APPLICATIONS = ("", "psql", "app server", "PostgreSQL JDBC Driver", "pgbench")
_HBA = "/var/lib/postgresql/17/main/pg_hba.conf"
Record = dict[str, Any]
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class AuditLog:
    """The log with ``records`` records, written when it is not in the cache yet.

    ``events`` is how many events it holds: what the server writes in one go, such as `connection
    authenticated` and `connection authorized`, or what pgaudit says of a session and of an object, is one.
    """

    def __init__(self, records: int) -> None:
        written_by = Path(__file__).read_bytes() + Path(statements.__file__).read_bytes()
        version = hashlib.sha256(written_by).hexdigest()[:8]
        self.folder = once(f"benchmark-log-{records}-{version}", lambda folder: write(records, folder))
        self.csv = self.folder / "postgresql.csv"
        self.json = self.folder / "postgresql.json"
        self.records = records
        self.shares: dict[str, float] = json.loads((self.folder / SUMMARY).read_text())
        self.events = int(self.shares["events"])


def write(records: int, folder: Path) -> None:
    """Writes the log in both formats, and a summary of what is in it."""
    say(f"writing a log of {records} records in both formats")
    server = _Server(records)
    with (
        (folder / "postgresql.csv").open("w", encoding="utf-8", newline="") as csv_file,
        (folder / "postgresql.json").open("w", encoding="utf-8", newline="") as json_file,
    ):
        for record in server.records():
            csv_file.write(_csv(record))
            json_file.write(_json(record))
    (folder / SUMMARY).write_text(json.dumps(server.counted))


class _Server:
    """Many sessions, one log."""

    def __init__(self, records: int) -> None:
        self._wanted = records
        self._left = records
        self._random = Random(_SEED)
        connecting = 4 / (_STATEMENTS_A_SESSION + 4)
        self._statements = Statements(
            self._random, SEVERAL_LINES / (1 - connecting), QUOTES_AND_LETTERS / (1 - connecting)
        )
        self._now = _STARTED
        self._next_process = 20_000
        self.counted = {"events": 0, "several_lines": 0, "quotes_and_letters": 0}

    def records(self) -> Iterator[Record]:
        """As many as wanted, in the order of the log."""
        sessions = [self._session() for ignored in range(_SESSIONS_AT_ONCE)]
        while self._left:
            self._now += timedelta(seconds=self._random.expovariate(1 / _MEAN_PAUSE_SECONDS))
            place = self._random.randrange(len(sessions))
            written = next(sessions[place], None)
            if written is None or (self._ends() and written[0]["line_num"] == 1):
                sessions[place] = self._session()
            elif len(written) <= self._left:
                self._left -= len(written)
                self._count(written)
                yield from written

    def _ends(self) -> bool:
        return self._left < min(_QUIET_END, self._wanted // 2)

    def _count(self, written: list[Record]) -> None:
        self.counted["events"] += 1
        for record in written:
            message = record["message"]
            self.counted["several_lines"] += "\n" in message
            self.counted["quotes_and_letters"] += '""' in message or not message.isascii()

    def _session(self) -> Iterator[list[Record]]:
        """What one session writes, in the pieces that it writes at once."""
        random = self._random
        self._next_process += 1
        process, started = self._next_process, self._now
        user, database = random.choice(_USERS), random.choice(_DATABASES)
        application = random.choice(_APPLICATIONS)
        host, port = (
            f"10.0.{random.randrange(250)}.{random.randrange(1, 250)}",
            random.randrange(32768, 60999),
        )
        line = 0
        transaction = random.randrange(1, 1000)

        def record(message: str, ps: str, **values: Any) -> Record:
            nonlocal line
            line += 1
            return {
                "timestamp": f"{self._now:%Y-%m-%d %H:%M:%S}.{self._now.microsecond // 1000:03d} UTC",
                "user": user,
                "dbname": database,
                "pid": process,
                "remote_host": host,
                "remote_port": port,
                "session_id": f"{int(started.timestamp()):x}.{process:x}",
                "line_num": line,
                "ps": ps,
                "session_start": f"{started:%Y-%m-%d %H:%M:%S} UTC",
                "vxid": f"{process % 60}/{transaction}",
                "txid": 0,
                "error_severity": "LOG",
                "message": message,
                "application_name": "" if ps == "authentication" else application,
                "backend_type": "client backend",
                "query_id": 0,
                **values,
            }

        nobody = {"user": None, "dbname": None, "vxid": None, "backend_type": "not initialized"}
        yield [record(f"connection received: host={host} port={port}", "", **nobody, application_name="")]
        if random.random() < _REFUSED:
            matched = f'Connection matched file "{_HBA}" line 127: "host all all 10.0.0.0/8 scram-sha-256"'
            yield [
                record(
                    f'password authentication failed for user "{user}"',
                    "authentication",
                    error_severity="FATAL",
                    state_code="28P01",
                    detail=matched,
                )
            ]
            return
        identity = f'identity="{user}" method=scram-sha-256 ({_HBA}:127)'
        named = f" application_name={application}" if application else ""
        tls = " SSL enabled (protocol=TLSv1.3, cipher=TLS_AES_256_GCM_SHA384, bits=256)"
        yield [
            record(f"connection authenticated: {identity}", "authentication"),
            record(f"connection authorized: user={user} database={database}{named}{tls}", "authentication"),
        ]
        for number in range(1, 2 + int(random.expovariate(1 / _STATEMENTS_A_SESSION))):
            transaction += 1
            template, text = self._statements.draw()
            if random.random() < _FAILING:
                yield [
                    record(
                        'relation "public.order" does not exist',
                        template.command,
                        error_severity="ERROR",
                        state_code="42P01",
                        statement=text,
                        cursor_position=15,
                    )
                ]
                continue
            ps = "BIND" if "$1" in text else template.command
            audited = [record(_audit("SESSION", number, template, text), ps)]
            if template.command_class in ("READ", "WRITE") and random.random() < _OBJECT_AUDITED:
                audited.append(record(_audit("OBJECT", number, template, text), ps))
            yield audited
        seconds = (self._now - started).total_seconds()
        yield [
            record(
                f"disconnection: session time: {int(seconds) // 3600}:{int(seconds) // 60 % 60:02d}:"
                f"{seconds % 60:06.3f} user={user} database={database} host={host} port={port}",
                "idle",
                vxid=None,
            )
        ]


def _audit(kind: str, number: int, template: Template, text: str) -> str:
    table = template.table if kind == "OBJECT" or template.command_class == "DDL" else ""
    object_type = ("INDEX" if "INDEX" in template.command else "TABLE") if table else ""
    statement = f'"{text.replace(chr(34), chr(34) * 2)}"' if any(c in text for c in ',"\r\n') else text
    return (
        f"AUDIT: {kind},{number},1,{template.command_class},{template.command},{object_type},{table},"
        f"{statement},<not logged>"
    )


def _csv(r: Record) -> str:
    """A line of csvlog.c."""
    return (
        f"{r['timestamp']},{_quoted(r['user'])},{_quoted(r['dbname'])},{r['pid']},"
        f'"{r["remote_host"]}:{r["remote_port"]}",{r["session_id"]},{r["line_num"]},{_quoted(r["ps"])},'
        f"{r['session_start']},{r['vxid'] or ''},{r['txid']},{r['error_severity']},"
        f"{r.get('state_code', '00000')},{_quoted(r['message'])},{_quoted(r.get('detail'))},,,,,"
        f"{_quoted(r.get('statement'))},"
        f"{r.get('cursor_position', '')},,{_quoted(r['application_name'])},{_quoted(r['backend_type'])},,0\n"
    )


def _quoted(text: str | None) -> str:
    return "" if text is None else f'"{text.replace(chr(34), chr(34) * 2)}"'


_ORDER = (
    *("timestamp", "user", "dbname", "pid", "remote_host", "remote_port", "session_id", "line_num", "ps"),
    *("session_start", "vxid", "txid", "error_severity", "state_code", "message", "detail", "statement"),
    *("cursor_position", "application_name", "backend_type", "query_id"),
)


def _json(r: Record) -> str:
    """A line of jsonlog.c."""
    kept = {name: r[name] for name in _ORDER if r.get(name) is not None and (r[name] != "" or name == "ps")}
    return _encode(kept) + "\n"
