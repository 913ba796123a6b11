"""An audit log as MongoDB Enterprise writes it (schema mongo, JSON), and how fast the agent takes it.

Sessions come one over another: metadata, log-in, statements that are allowed or refused, log-out; or they are
refused. Everything is drawn from a fixed seed. What a record looks like was taken from the documentation: no
such server could be had. The agent logs in to a real server of the Community edition.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.state.databases import Declaration

from tests.benchmarks import cores
from tests.benchmarks.backlog import RETENTION_DAYS, Backlog, measure
from tests.benchmarks.figures import figure, say
from tests.servers.cache import once
from tests.servers.mongodb import MongoServer

_SEED = 7
_SESSIONS_AT_ONCE = 60
_STATEMENTS_A_SESSION = 25
_REFUSED = 0.1
_FAILING = 0.005
_QUOTES_AND_LETTERS = 0.10
_MEAN_PAUSE_SECONDS = 0.002
_STARTED = datetime(2026, 11, 20, 8, tzinfo=UTC)
_USERS = ("app", "etl", "report", "svc_pay", "alice", "o'brien", "nightly")
_DATABASES = ("appdb", "sales", "hr")
_USER, _PASSWORD = "collector", "only for this benchmark"
_FILE, _SUMMARY = "audit.json", "summary.json"
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def main(records: int, rounds: int) -> None:
    """Measures and prints."""
    folder = _folder(records)
    events = json.loads((folder / _SUMMARY).read_text())["events"]
    say(f"the audit log of MongoDB: {records} records are {events} events")
    with (
        cores.pinned(cores.OF_THE_SERVER),
        MongoServer(arguments=["--quiet", "--slowms", "3600000"]) as server,
    ):
        server.create_user(_USER, _PASSWORD, ["clusterMonitor"])
        options = {
            "log_source": "local",
            "audit_log_path": str(folder / _FILE),
            "start_from": "beginning",
        }
        declaration = Declaration(
            name="benchmark",
            type="mongodb",
            host=server.host,
            port=server.port,
            database="admin",
            username=_USER,
            ssl_mode=SslMode.DISABLE,
            audit_options=AuditOptions(engine=options, retention_days=RETENTION_DAYS, scope=Scope.SERVER),
        )
        backlog = Backlog("mongodb_json", declaration, _PASSWORD, events, masked="Müller")
        figure("ingest_mongodb_json_peak_rss_mb", measure(backlog, rounds), "MB")


def _folder(records: int) -> Path:
    version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]
    return once(f"benchmark-mongodb-audit-{records}-{version}", lambda folder: write(records, folder))


def write(records: int, folder: Path) -> None:
    """Writes the file, and a summary of what is in it."""
    say(f"writing an audit log of MongoDB with {records} records")
    with (folder / _FILE).open("w", encoding="utf-8", newline="") as file:
        file.writelines(_Server().lines(records))
    # Each record is one event.
    (folder / _SUMMARY).write_text(json.dumps({"events": records}))


class _Server:
    """Many sessions, one file."""

    def __init__(self) -> None:
        self._random = Random(_SEED)
        self._now = _STARTED

    def lines(self, records: int) -> Iterator[str]:
        """As many as wanted, in the order of the file."""
        sessions = [self._session() for _ignored in range(_SESSIONS_AT_ONCE)]
        while records:
            self._now += timedelta(seconds=self._random.expovariate(1 / _MEAN_PAUSE_SECONDS))
            place = self._random.randrange(len(sessions))
            record = next(sessions[place], None)
            if record is None:
                sessions[place] = self._session()
                continue
            records -= 1
            yield _encode(record) + "\n"

    def _session(self) -> Iterator[dict[str, Any]]:
        random = self._random
        connection = base64.b64encode(random.randbytes(16)).decode()
        remote = {
            "ip": f"10.0.{random.randrange(250)}.{random.randrange(1, 250)}",
            "port": random.randrange(32768, 60999),
        }
        user, database = random.choice(_USERS), random.choice(_DATABASES)
        session = base64.b64encode(random.randbytes(16)).decode()
        users: list[dict[str, str]] = []

        def record(action: str, param: dict[str, Any], result: int = 0) -> dict[str, Any]:
            return {
                "atype": action,
                "ts": {"$date": self._now.isoformat(timespec="milliseconds")},
                "uuid": {"$binary": connection, "$type": "04"},
                "local": {"ip": "10.0.0.5", "port": 27017},
                "remote": remote,
                "users": users,
                "roles": [{"role": "readWrite", "db": database}] if users else [],
                "param": param,
                "result": result,
            }

        driver = {"name": "PyMongo", "version": "4.20.0"}
        yield record("clientMetadata", {"driver": driver, "application": {"name": f"{database} server"}})
        login = {"user": user, "db": "admin", "mechanism": "SCRAM-SHA-256"}
        if random.random() < _REFUSED:
            yield record("authenticate", login, 18)
            return
        users = [{"user": user, "db": "admin"}]
        yield record("authenticate", login)
        for _number in range(1 + int(random.expovariate(1 / _STATEMENTS_A_SESSION))):
            collection, args = self._command()
            command, *_parameters = args
            args |= {
                "lsid": {"id": {"$binary": session, "$type": "04"}},
                "$clusterTime": {
                    "clusterTime": {"$timestamp": {"t": int(self._now.timestamp()), "i": 1}},
                    "signature": {"hash": {"$binary": session, "$type": "00"}, "keyId": 7},
                },
                "$db": database,
            }
            param = {"command": command, "ns": f"{database}.{collection}", "args": args}
            yield record("authCheck", param, 13 if random.random() < _FAILING else 0)
        reason = "Implicit logout due to client connection closure"
        yield record("logout", {"reason": reason, "initialUsers": users, "updatedUsers": []})

    def _command(self) -> tuple[str, dict[str, Any]]:
        random = self._random
        n, m = random.randrange(1, 1_000_000), random.randrange(1, 100_000)
        if random.random() < _QUOTES_AND_LETTERS:
            query = {"name": f"Müller {n}", "city": "北京", "note": 'says "hi"\n€'}
            return "customers", {"find": "customers", "filter": query, "limit": 1}
        match random.randrange(8):
            case 0 | 1:
                return "orders", {"find": "orders", "filter": {"customer": n, "status": "OPEN"}, "limit": 50}
            case 2:
                found = {"customer": n, "day": {"$gte": f"2026-11-{n % 20 + 10}"}}
                steps = [{"$match": found}, {"$group": {"_id": "$sku", "sum": {"$sum": "$price"}}}]
                return "orders", {"aggregate": "orders", "pipeline": steps, "cursor": {}}
            case 3 | 4:
                document = {
                    "_id": n,
                    "sku": f"SKU-{m}",
                    "quantity": 3,
                    "price": 19.99,
                    "note": f"Express {n}",
                }
                return "orders", {"insert": "orders", "documents": [document], "ordered": True}
            case 5:
                changes = [{"q": {"_id": n}, "u": {"$inc": {"balance": m}}, "upsert": False}]
                return "accounts", {"update": "accounts", "updates": changes, "ordered": True}
            case 6:
                return "sessions", {"delete": "sessions", "deletes": [{"q": {"_id": n}, "limit": 1}]}
            case _:
                return "salaries", {
                    "find": "salaries",
                    "filter": {"employee": {"$in": list(range(n, n + m % 20))}},
                }
