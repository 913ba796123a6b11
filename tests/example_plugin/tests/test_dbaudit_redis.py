"""The engine on a real Redis: the conformance suite, and what Redis alone has."""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from dbaudit.engine import Secret, SslMode, Target, TransientError
from dbaudit.testing import CertificateAuthority, Collecting, Monitored, Visitor
from dbaudit.testing.suite import Conformance
from dbaudit_redis import Connection, RedisEngine

REDIS_SERVER = os.environ.get("REDIS_SERVER", "redis-server")
HOST = "127.0.0.1"
AUTHORITY = CertificateAuthority()
CONFIGURATION = """
port {port}
tls-port {tls_port}
bind 127.0.0.1
dir {folder}
save ""
tls-cert-file {folder}/server.crt
tls-key-file {folder}/server.key
tls-ca-cert-file {folder}/ca.crt
tls-auth-clients optional
slowlog-log-slower-than 0
slowlog-max-len 10000
user default on >admin-password ~* &* +@all
user dbaudit on >collector-password resetkeys resetchannels -@all +ping +info +slowlog|get +client|setname
"""


class Client(Visitor):
    user = None  # the slow log does not name it

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, text: str) -> str:
        self._connection.ask("ECHO", text)
        return "ECHO '" + text.replace("'", "''") + "'"

    def leave(self) -> None:
        self._connection.close()


class MonitoredRedis(Monitored):
    engine = RedisEngine()
    rights = ("ping", "info", "slowlog|get", "client|setname")
    # The slow log keeps 128 bytes of an argument.
    texts = ("ünïcödé — 日本 🐘", 'O\'Brien says "hi"', "two\r\nlines", "a \\ backslash", "\x00\x01\x1b\x7f")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port, self._tls_port = free_port(), free_port()
        credential = AUTHORITY.server(HOST, "localhost")
        (folder / "server.crt").write_text(credential.certificate)
        (folder / "server.key").write_text(credential.key)
        (folder / "ca.crt").write_text(AUTHORITY.certificate)
        self.start()

    def start(self) -> None:
        text = CONFIGURATION.format(port=self.port, tls_port=self._tls_port, folder=self._folder)
        self._process = subprocess.Popen(
            [REDIS_SERVER, "-"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode())
        self._process.stdin.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(TransientError):
                self.admin().close()
                return
            time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def admin(self) -> Connection:
        return Connection(self._as("default", "admin-password"))

    def target(self) -> Target:
        return self._as("dbaudit", "collector-password")

    def visit(self) -> Visitor:
        return Client(self.admin())

    def lose(self) -> None:
        with contextlib.closing(self.admin()) as admin:
            admin.ask("SLOWLOG", "RESET")

    def revoke(self, right: str) -> None:
        self.carry_out(f"ACL SETUSER dbaudit -{right}")

    def carry_out(self, remedy: str) -> None:
        with contextlib.closing(self.admin()) as admin:
            admin.ask(*remedy.split())

    def tls_target(self, mode: SslMode) -> Target:
        if mode is SslMode.DISABLE:
            return self.target()
        return self._as("dbaudit", "collector-password", mode)

    def no_tls_target(self) -> Target:
        return msgspec.structs.replace(self.target(), ssl_mode=SslMode.REQUIRE)

    def client_certificate_target(self) -> Target:
        client = AUTHORITY.client("dbaudit")
        return self._as(
            "dbaudit", "collector-password", SslMode.VERIFY_FULL, client.certificate, Secret(client.key)
        )

    def _as(
        self,
        user: str,
        password: str,
        mode: SslMode = SslMode.DISABLE,
        certificate: str | None = None,
        key: Secret | None = None,
    ) -> Target:
        return Target(
            database_id="db_redis",
            host=HOST,
            port=self.port if mode is SslMode.DISABLE else self._tls_port,
            database="0",
            username=user,
            password=Secret(password),
            ssl_mode=mode,
            ssl_ca=None if mode is SslMode.DISABLE else AUTHORITY.certificate,
            ssl_cert=certificate,
            ssl_key=key,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MonitoredRedis]:
    redis = MonitoredRedis(tmp_path_factory.mktemp("redis"))
    try:
        yield redis
    finally:
        redis.stop()


class TestRedis(Conformance):
    """All that every engine does."""


def test_slow_log_that_is_too_short_is_a_gap_of_as_many_commands(monitored: MonitoredRedis) -> None:
    with contextlib.closing(monitored.admin()) as admin, Collecting(monitored) as reading:
        admin.ask("CONFIG", "SET", "slowlog-max-len", 5)
        for number in range(20):
            admin.ask("ECHO", number)
        following = reading.cursor["following"]
        reading.read()
        admin.ask("CONFIG", "SET", "slowlog-max-len", 10000)
    (gap,) = reading.gaps
    first = int(reading.events[0].key.rpartition(":")[2])
    assert gap.detail is not None
    assert gap.detail["lost_records"] == first - following > 0
    assert reading.queries() == [f"ECHO '{number}'" for number in range(15, 20)]


def test_restart_is_a_gap_and_collecting_goes_on(monitored: MonitoredRedis) -> None:
    with Collecting(monitored) as reading:
        monitored.stop()
        monitored.start()
        reading.reopen()
        visitor = monitored.visit()
        reading.until_query(visitor.run("after the restart"))
        visitor.leave()
    assert len(reading.gaps) == 1


def test_slow_log_of_slow_commands_alone_is_told_with_its_remedy(monitored: MonitoredRedis) -> None:
    monitored.carry_out("CONFIG SET slowlog-log-slower-than 1000000")
    with monitored.engine.open(monitored.target()) as session:
        (found,) = (d for d in session.test().diagnoses if d.code == "slow_log")
        assert found.remedy is not None
        monitored.carry_out(found.remedy)
        assert session.test().warnings == []


def test_ignored_commands_are_not_reported(monitored: MonitoredRedis) -> None:
    target = msgspec.structs.replace(monitored.target(), options={"ignored_commands": ["TIME"]})
    with (
        contextlib.closing(monitored.admin()) as admin,
        Collecting(monitored, target=target) as reading,
    ):
        admin.ask("TIME")
        admin.ask("ECHO", "the end")
        reading.until_query("ECHO 'the end'")
    assert "TIME" not in reading.queries()
