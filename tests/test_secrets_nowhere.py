"""Plants a unique secret in every place that takes one, and then looks for it in every place that could leak.

What is looked for is the core of the secret, letters and digits only: no quoting or escaping can hide it.
"""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import httpx
import psycopg
import pytest

from tests.cli.running import Up, dbaudit, get, new_key
from tests.conftest import DEFAULT_MAJOR, missing_engine_is_told
from tests.patience import PATIENCE_SECONDS
from tests.planted import Planted, core
from tests.servers.certificates import CertificateAuthority
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import PROC, wait_for

VISIBLE = "visible" + secrets.token_hex(8)
"""In a statement without a secret: it has to be found, or the search finds nothing at all."""


PLUGIN = """
    from dbaudit.engine import *

    class Leaky(Engine):
        type = "leaky"
        display_name = "Leaky"
        default_port = 1
        supported_versions = ("1",)
        capabilities = frozenset({Capability.QUERIES})
        dialect = Dialect.POSTGRESQL

        def driver_status(self):
            return DriverStatus("none", version="1")

        def open(self, target):
            password, key = target.password.reveal(), target.ssl_key.reveal()
            if target.database == "raises":
                raise ValueError(f"cannot log in to leaky://user:{password}@host with {key!r}")
            if target.database == "refuses":
                raise ConfigurationError(
                    ErrorCode.AUTHENTICATION_FAILED, f"wrong: {password}", remedy=f"not {password!r} {key}"
                )
            return LeakySession(password)

        def decode(self, records):
            return Decoded([])

    class LeakySession(Session):
        def __init__(self, password):
            self.password = password

        def test(self):
            found = Diagnosis("permission", DiagnosisStatus.FAILED, f"as {self.password}", self.password)
            return TestReport(reachable=True, success=False, version=self.password, diagnoses=(found,))

        def health(self):
            raise ValueError(self.password)

        def read(self, cursor, limit_bytes):
            raise ValueError(self.password)

        def close(self):
            raise ValueError(self.password)

    @hookimpl
    def dbaudit_engines():
        yield Leaky()
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder with the distribution of a plugin that tells secrets wherever it can."""
    folder = tmp_path / "plugins"
    info = folder / "leaky-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "leaky.py").write_text(dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dbaudit]\nleaky = leaky\n")
    return folder


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server whose statements reach the log as they are: nothing is redacted there."""
    with (
        missing_engine_is_told(),
        PostgresServer(DEFAULT_MAJOR, settings={"log_statement": "all"}) as server,
    ):
        yield server


def test_no_planted_secret_is_found_anywhere(tmp_path: Path, server: PostgresServer, plugins: Path) -> None:
    planted = Planted()
    home = tmp_path / "home"
    credential = CertificateAuthority().client("collector")
    collector_password = planted.plant("the password of a database")
    server.create_collector_role("collector", collector_password)
    planted.cores["the key of a client certificate"] = credential.key.splitlines()[2]
    certificate = {"ssl_cert": credential.certificate, "ssl_key": credential.key}
    place = {"type": "postgresql", "host": server.host, "port": server.port, "username": "collector"}
    leaky = {"type": "leaky", "host": "leaky.example.com", "port": 1, "username": "reader"}
    leaky |= {"password": planted.plant("the password that a plugin tells"), **certificate}
    with Up(home, "--port", "0", DBAUDIT_LOG_LEVEL="debug", PYTHONPATH=_import_path(plugins)) as up:
        up.until_ready()
        key = planted.cores["an API key"] = new_key(home)
        wrong_key = planted.plant("an API key that is none")
        assert get(f"{up.url}/v1/databases", key="dbaudit_live_" + wrong_key.split()[0]).status_code == 401
        with httpx.Client(
            base_url=up.url,
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=PATIENCE_SECONDS,
        ) as client:
            answers = _Answers(client)
            masked = answers.declare(
                name="masked",
                database="postgres",
                password=collector_password,
                audit_options={"scope": "server"},
                **place,
            )
            plain = answers.declare(
                name="plain",
                database="template1",
                password=collector_password,
                audit_options={"mask_sensitive_data": False, "scope": "server"},
                **certificate,
                **place,
            )
            refused = answers.declare(
                name="refused", database="other", password=planted.plant("a wrong password"), **place
            )
            told = [
                answers.declare(name=way, database=way, **leaky) for way in ("raises", "refuses", "reports")
            ]
            answers.send(
                "POST", "/v1/databases", json={"name": "bad", "password": planted.plant("a refused one")}
            )
            answers.send(
                "POST", "/v1/databases", content=b'{"password": "' + planted.plant("no JSON").encode()
            )
            for database in (masked, plain):
                answers.wait_for_status(database, "connected")
            for database in (refused, *told):
                answers.wait_for_status(database, "error")
            changed = planted.plant("a changed password")
            answers.send("PATCH", f"/v1/databases/{refused}?dry_run=true", json={"password": changed})
            answers.send("PATCH", f"/v1/databases/{refused}", json={"password": changed})
            _run_statements(server, planted)
            _malform_log(server, planted)
            wait_for(
                lambda: VISIBLE in answers.read(f"/v1/events?database_id={plain}&limit=1000"),
                "events",
            )
            wait_for(
                lambda: '"rejected":1' in answers.read(f"/v1/databases/{plain}/status"),
                "putting aside",
            )
            for database in (masked, plain, refused, *told):
                for path in ("", "/status"):
                    answers.read(f"/v1/databases/{database}{path}")
                answers.send("POST", f"/v1/databases/{database}/test")
            for path in (
                "/v1/databases?per_page=100",
                "/v1/events?limit=1000",
                "/v1/nodes",
                "/metrics",
                "/v1/openapi.json",
            ):
                answers.read(path)
        places: dict[str, bytes] = dict(answers.kept)
        places |= _outputs_of_commands(home, up.url, key)
        places |= _processes(up)
        places |= {f"{file} while running": file.read_bytes() for file in _files(home)}
        assert up.end() == 0
    places |= {str(file): file.read_bytes() for file in _files(home)}
    places["the log"] = up.output.encode()
    for number, encryption_key in enumerate((home / "encryption.keys").read_text().split()):
        planted.cores[f"encryption key {number}"] = encryption_key.partition(":")[2].rstrip("=")
    _check_the_search(places, planted)
    leaks = {place: found for place, content in places.items() if (found := planted.found_in(content))}
    assert leaks.pop(str(home / "encryption.keys")) == ["encryption key 0"]
    leaks.pop(f"{home / 'encryption.keys'} while running")
    assert leaks == {}, "\n".join(f"{place}: {found}" for place, found in leaks.items())
    assert (home / "encryption.keys").stat().st_mode & 0o077 == 0


class _Answers:
    """Asks the API, and keeps every answer."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.kept: dict[str, bytes] = {}

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._client.request(method, path, **options)
        heads = "".join(f"{name}: {value}\n" for name, value in answer.headers.items())
        self.kept[f"answer {len(self.kept)} to {method} {path}"] = heads.encode() + answer.content
        return answer

    def read(self, path: str) -> str:
        answer = self.send("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def declare(self, **body: Any) -> str:
        answer = self.send("POST", "/v1/databases", json={"ssl_mode": "disable", **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def wait_for_status(self, database: str, status: str) -> None:
        wait_for(
            lambda: json.loads(self.read(f"/v1/databases/{database}"))["status"] == status,
            status,
        )


def _run_statements(server: PostgresServer, planted: Planted) -> None:
    with server.connect_admin("template1") as connection:
        connection.execute(f"select '{VISIBLE}'")
        for number, statement in enumerate(
            (
                "create role planted{0} login password '{1}'",
                "alter role planted0 password '{1}'",
                "alter role planted0 password E'\\x41{1}'",
                "create role broken{0} password '{1}' no such word",
                "alter role nobody{0} password '{1}'",
                "do $$ begin execute 'alter role planted0 password ''{2}'''; end $$",
            )
        ):
            word = planted.cores[f"a password in statement {number}"] = core()
            with suppress(psycopg.Error):
                connection.execute(statement.format(number, f'{word} "@/', word))


def _malform_log(server: PostgresServer, planted: Planted) -> None:
    """A line as a crash or a hand may leave it, whole and yet no record, with another after it."""
    line = json.dumps({"timestamp": "never", "message": planted.plant("a malformed record")})
    for log in (server.current_log("jsonlog"), server.current_log("csvlog")):
        with log.open("a") as file:
            file.write(f"{line}\n")
    server.execute_admin("select 'after the malformed record'")


def _outputs_of_commands(home: Path, url: str, key: str) -> Mapping[str, bytes]:
    clients = {"DBAUDIT_API_URL": url, "DBAUDIT_API_KEY": key}
    outputs = {}
    for arguments in (
        ("databases", "list"),
        ("databases", "show", "plain", "--output", "json"),
        ("databases", "show", "raises"),
        ("databases", "test", "refuses"),
        ("databases", "test", "reports", "--output", "json"),
        ("events", "--output", "json"),
        ("config", "show"),
        ("config", "show", "--output", "json"),
        ("keys", "list", "--home", str(home)),
        ("engines",),
    ):
        done = dbaudit(*arguments, **clients)
        outputs[f"dbaudit {' '.join(arguments)}"] = (done.stdout + done.stderr).encode()
    return outputs


def _processes(up: Up) -> Mapping[str, bytes]:
    """What the system shows of our processes."""
    family = [up.process_id, *up.children()]
    assert len(family) >= 3
    return {
        f"/proc/{process_id}/{kind}": (PROC / str(process_id) / kind).read_bytes()
        for process_id in family
        for kind in ("cmdline", "environ")
    }


def _files(home: Path) -> list[Path]:
    return [file for file in home.rglob("*") if file.is_file()]


def _check_the_search(places: Mapping[str, bytes], planted: Planted) -> None:
    """What has to be found is found; without that, finding nothing would mean nothing."""
    holding = [place for place, content in places.items() if VISIBLE.encode() in content]
    assert any("state.db" in place for place in holding)
    assert any("/v1/events" in place for place in holding)
    assert "dbaudit events --output json" in holding
    log = places["the log"].decode()
    assert "ValueError: cannot log in to leaky://user:********@host" in log, "the plugin was not heard"
    assert len(planted.cores) >= 16


def _import_path(plugins: Path) -> str:
    return os.pathsep.join(filter(None, (str(plugins), os.environ.get("PYTHONPATH"))))
