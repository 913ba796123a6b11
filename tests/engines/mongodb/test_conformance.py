"""The conformance suite on MongoDB: the log by getLog and from the disk, and the audit log."""

import contextlib
import itertools
import json
import os
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dbaudit.engine import Secret, SslMode, Target
from dbaudit.engines.mongodb import MongoDBEngine
from dbaudit.engines.mongodb.commands import without_session
from dbaudit.testing import Monitored, Visitor
from dbaudit.testing.suite import Conformance, SourceConformance
from pymongo.errors import OperationFailure

from tests.conftest import missing_engine_is_told
from tests.engines.mongodb.targets import COLLECTOR, PASSWORD, ROLES, target
from tests.servers.mongodb import MongoServer, Tls
from tests.servers.processes import wait_for

USER, USER_PASSWORD, DATABASE = "lena", "right", "shop"
_GRANT = re.compile(
    r'db\.getSiblingDB\("(\w+)"\)\.grantRolesToUser\("(\w+)", \[\{ role: "(\w+)", db: "(\w+)" \}\]\)'
)
_MORE_THAN_THE_SERVER_KEEPS = 1100
_numbers = itertools.count(10)


class Client(Visitor):
    """Its statements are in the server's log, where each operation is told of."""

    user = USER

    def __init__(self, server: MongoServer) -> None:
        self._server = server
        self._client = server.client(
            username=USER, password=USER_PASSWORD, authSource=DATABASE, appname="shop", maxPoolSize=1
        )
        self._client[DATABASE].command("buildInfo")

    def run(self, text: str) -> str:
        self._client[DATABASE]["things"].find_one({"name": text})
        begun = '"command":{"find":"things",'
        line = [found for found in self._server.log_lines() if begun in found][-1]
        begin = line.index(begun) + len('"command":')
        return without_session(line[begin : line.index(',"planSummary"')])

    def leave(self) -> None:
        self._client.close()


class MonitoredLog(Monitored):
    engine = MongoDBEngine()
    rights = ROLES

    def __init__(self, server: MongoServer, **options: str) -> None:
        self.server = server
        self._options = options

    def target(self) -> Target:
        return target(self.server, ssl_mode=SslMode.REQUIRE, options=self._options)

    def visit(self) -> Visitor:
        return Client(self.server)

    def fail_to_log_in(self) -> str:
        with (
            self.server.client(username="nobody", password="x") as client,
            contextlib.suppress(OperationFailure),
        ):
            client.admin.command("buildInfo")
        return "nobody"

    def rotate(self) -> None:
        rotate(self.server)

    def lose(self) -> None:
        # More lines than the server keeps in memory; and the file that holds them is removed.
        with self.server.client() as client:
            for number in range(_MORE_THAN_THE_SERVER_KEEPS):
                client[DATABASE]["others"].find_one({"number": number})
        before = set(self.server.log.parent.iterdir())
        rotate(self.server)
        for path in {*self.server.log.parent.iterdir()} - before:
            lose(path)

    def revoke(self, right: str) -> None:
        with self.server.client() as client:
            client.admin.command("revokeRolesFromUser", COLLECTOR, roles=[right])

    def carry_out(self, remedy: str) -> None:
        found = _GRANT.fullmatch(remedy)
        assert found, remedy
        with self.server.client() as client:
            roles = [{"role": found[3], "db": found[4]}]
            client[found[1]].command("grantRolesToUser", found[2], roles=roles)

    def tls_target(self, mode: SslMode) -> Target:
        return target(self.server, ssl_mode=mode, ssl_ca=self.server.authority.certificate)

    def client_certificate_target(self) -> Target:
        given = self.server.authority.client("collector")
        return target(
            self.server,
            ssl_mode=SslMode.VERIFY_FULL,
            ssl_ca=self.server.authority.certificate,
            ssl_cert=given.certificate,
            ssl_key=Secret(given.key),
            password=Secret(""),
            username="",
        )


class MonitoredFile(MonitoredLog):
    def __init__(self, server: MongoServer, without_tls: MongoServer, **options: str) -> None:
        super().__init__(server, **options)
        self._without_tls = without_tls

    def no_tls_target(self) -> Target:
        return target(self._without_tls, ssl_mode=SslMode.REQUIRE)

    def write_hostile(self, raw: bytes) -> None:
        with self.server.log.open("ab") as log:
            log.write(raw)


class AuditedClient(Visitor):
    """Its records are written as MongoDB Enterprise writes them."""

    user = USER

    def __init__(self, audit_log: Path) -> None:
        self._audit_log = audit_log
        self._uuid = uuid.uuid4()
        self._write("authenticate", {"user": USER, "db": DATABASE, "mechanism": "SCRAM-SHA-256"})

    def run(self, text: str) -> str:
        args = {"find": "things", "filter": {"name": text}, "$db": DATABASE}
        self._write("authCheck", {"command": "find", "ns": f"{DATABASE}.things", "args": args})
        return json.dumps(args)

    def leave(self) -> None:
        self._write(
            "logout",
            {"reason": "Implicit logout due to client connection closure", "initialUsers": [{"user": USER}]},
        )

    def _write(self, action: str, param: Any) -> None:
        write_record(self._audit_log, action, param, 0, self._uuid)


class MonitoredAuditLog(MonitoredLog):
    def __init__(self, server: MongoServer, audit_log: Path) -> None:
        super().__init__(server, log_source="local", audit_log_path=str(audit_log))
        self._audit_log = audit_log

    def visit(self) -> Visitor:
        return AuditedClient(self._audit_log)

    def fail_to_log_in(self) -> str:
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1"):
            param = {"user": "nobody", "db": "admin", "mechanism": mechanism}
            write_record(self._audit_log, "authenticate", param, 18, uuid.UUID(int=7))
        return "nobody"

    def rotate(self) -> None:
        self._audit_log.rename(f"{self._audit_log}.2026-11-22T10-00-{next(_numbers):02}")
        self._audit_log.touch()

    def lose(self) -> None:
        self.rotate()
        lose(max(self._audit_log.parent.glob("audit.json.*")))

    def write_hostile(self, raw: bytes) -> None:
        with self._audit_log.open("ab") as log:
            log.write(raw)


def lose(path: Path) -> None:
    """So that a reader who holds the file open finds nothing in it."""
    os.truncate(path, 0)
    path.unlink()


def write_record(path: Path, action: str, param: Any, result: int, connection: uuid.UUID) -> None:
    record = {
        "atype": action,
        "ts": {"$date": datetime.now(UTC).isoformat(timespec="milliseconds")},
        "uuid": {"$binary": _base64(connection.bytes), "$type": "04"},
        "local": {"ip": "127.0.0.1", "port": 27017},
        "remote": {"ip": "192.0.2.7", "port": 51514},
        "users": [] if action == "authenticate" else [{"user": USER, "db": DATABASE}],
        "roles": [],
        "param": param,
        "result": result,
    }
    with path.open("a") as log:
        log.write(json.dumps(record) + "\n")


def _base64(data: bytes) -> str:
    return msgspec.json.encode(data).decode().strip('"')


def rotate(server: MongoServer) -> None:
    """Rotated files are named by the second: the next one is waited for, or the server would refuse."""

    def rotated() -> bool:
        try:
            server.rotate_log()
        except OperationFailure:
            return False
        return True

    wait_for(rotated, "the rotation of the log")


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[MongoServer]:
    with missing_engine_is_told(), MongoServer(tls=Tls.OFFERED, arguments=arguments) as server:
        server.create_user(COLLECTOR, PASSWORD, ROLES)
        server.create_user(USER, USER_PASSWORD, ["readWrite"], database=DATABASE)
        server.create_user(
            "CN=collector", None, [{"role": "clusterMonitor", "db": "admin"}], database="$external"
        )
        yield server


@pytest.fixture(scope="module")
def server() -> Iterator[MongoServer]:
    """Every operation is slower than 0 milliseconds."""
    with running("--slowms", "-1") as started:
        yield started


@pytest.fixture(scope="module")
def without_tls() -> Iterator[MongoServer]:
    with missing_engine_is_told(), MongoServer() as started:
        started.create_user(COLLECTOR, PASSWORD, ROLES)
        yield started


@pytest.fixture(scope="module")
def quiet() -> Iterator[MongoServer]:
    """A server that has no audit log of its own, and says nothing of connections."""
    with running("--quiet") as started:
        yield started


class TestTheLogFromTheDisk(Conformance):
    @pytest.fixture
    def monitored(self, server: MongoServer, without_tls: MongoServer) -> Monitored:
        return MonitoredFile(server, without_tls, log_source="local")


class TestTheLogByGetLog(SourceConformance):
    @pytest.fixture
    def monitored(self, server: MongoServer) -> Monitored:
        return MonitoredLog(server, log_source="remote")


class TestTheAuditLog(SourceConformance):
    @pytest.fixture
    def monitored(self, quiet: MongoServer, tmp_path: Path) -> Monitored:
        audit_log = tmp_path / "audit.json"
        audit_log.touch()
        return MonitoredAuditLog(quiet, audit_log)
