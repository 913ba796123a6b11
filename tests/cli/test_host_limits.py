"""An API key gets no code, file or address of the agent's host: through the API, on a real agent."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cli.running import Up, new_key
from tests.conftest import missing_engine_is_told
from tests.engines.mongodb.targets import ROLES
from tests.patience import PATIENCE_SECONDS
from tests.servers.mariadb import MariaDBServer
from tests.servers.mongodb import MongoServer
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

PASSWORD = "of the collector"
_numbers = itertools.count()


class Client:
    """One who holds a key that may read and write databases and events, and nothing else."""

    def __init__(self, up: Up) -> None:
        key = new_key(up.home, "read:databases", "write:databases", "read:events")
        headers = {"Authorization": f"Bearer {key}"}
        self.http = httpx.Client(base_url=up.url, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)

    def declare(self, *, verify: bool = False, **fields: Any) -> httpx.Response:
        plain = {"name": f"database {next(_numbers)}", "host": "127.0.0.1", "port": 1, "database": "d"}
        plain |= {"username": "u", "password": PASSWORD, "ssl_mode": "disable"}
        return self.http.post("/v1/databases", params={"verify": verify}, json=plain | fields)

    def tested(self, **fields: Any) -> dict[str, Any]:
        """The report of a test of a new declaration."""
        made = self.declare(**fields)
        assert made.status_code == 201, made.text
        return self.test(made.json()["id"])

    def test(self, database_id: str) -> dict[str, Any]:
        answer = self.http.post(f"/v1/databases/{database_id}/test")
        assert answer.status_code in (200, 422), answer.text
        self.http.delete(f"/v1/databases/{database_id}")
        report: dict[str, Any] = answer.json().get("report", answer.json())
        return report


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``logs``, which the agent allows, and the file ``secret``, which it does not."""
    place = tmp_path_factory.mktemp("host")
    (place / "secret").write_text("root:secret\n")
    (place / "logs").mkdir()
    (place / "logs" / "out.log").symlink_to(place / "secret")
    (place / "logs" / "up").symlink_to(place)
    return place


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[Client]:
    with Up(place / "home", "--port", "0", DBAUDIT_LOCAL_PATHS=str(place / "logs")) as up:
        up.until_ready()
        yield Client(up)
        up.end()


def engine(**options: Any) -> dict[str, Any]:
    return {"audit_options": {"engine": options, "scope": "server"}}


def collected(engine_type: str, server: Any, database: str) -> dict[str, Any]:
    """The fields of a declaration of a server of the tests."""
    place = {"host": server.host, "port": server.port, "database": database}
    return {"type": engine_type, **place, "username": "collector"}


@pytest.mark.parametrize("way", ["create", "verify", "patch", "bulk"])
@pytest.mark.parametrize("driver", ["/tmp/evil.so", "/etc/shadow", "/nope", "evil.so", "../evil"])
def test_a_driver_by_its_path_is_refused_before_anything_loads_it(
    client: Client, way: str, driver: str
) -> None:
    if way in ("create", "verify"):
        answer = client.declare(type="sqlserver", verify=way == "verify", **engine(odbc_driver=driver))
    else:
        made = client.declare(type="sqlserver", port=next(_numbers) + 10).json()["id"]
        change = {"password": PASSWORD, **engine(odbc_driver=driver)}
        if way == "patch":
            answer = client.http.patch(f"/v1/databases/{made}", json=change)
        else:
            answer = client.http.post("/v1/databases/bulk", json={"databases": [{"id": made, **change}]})
        client.http.delete(f"/v1/databases/{made}")
    assert answer.status_code == 400
    (detail,) = answer.json()["error"]["details"]
    assert detail["pointer"].endswith("/audit_options/engine/odbc_driver")
    assert "odbc_drivers" in detail["message"]


@pytest.mark.parametrize(
    ("engine_type", "option"),
    [
        ("postgresql", "log_file"),
        ("postgresql", "log_directory"),
        ("mysql", "audit_file"),
        ("mariadb", "audit_file"),
        ("mariadb", "syslog_file"),
        ("mongodb", "log_path"),
        ("mongodb", "audit_log_path"),
    ],
)
def test_a_file_elsewhere_is_refused_alike_whether_or_not_it_is_there(
    client: Client, place: Path, engine_type: str, option: str
) -> None:
    told = set()
    for path in ("secret", "missing", "logs/out.log", "logs/up/secret", "logs/up/missing", "home/state.db"):
        report = client.tested(type=engine_type, **engine(**{option: f"{place}/{path}"}))
        assert report["success"] is False
        (diagnosis,) = report["diagnoses"]
        assert diagnosis["code"] == "host_access_refused"
        assert f"audit_options.engine.{option}" in diagnosis["detail"]
        assert "DBAUDIT_LOCAL_PATHS" in diagnosis["remedy"]
        told.add(str(diagnosis).replace(f"{place}/{path}", "PATH"))
    assert len(told) == 1


def test_a_path_that_climbs_is_refused_by_the_api(client: Client, place: Path) -> None:
    answer = client.declare(type="mysql", **engine(audit_file=f"{place}/logs/../secret"))
    assert answer.status_code == 400
    assert "without .." in answer.text


def test_a_host_may_be_a_unix_socket_below_the_allowed_folders(tmp_path: Path) -> None:
    with (
        missing_engine_is_told(),
        PostgresServer(17) as server,
        Up(tmp_path / "home", "--port", "0", DBAUDIT_LOCAL_PATHS=str(server.socket_directory)) as up,
    ):
        server.create_collector_role("collector", PASSWORD)
        client = Client(up.until_ready())
        declared = {
            "type": "postgresql",
            "port": server.port,
            "database": "postgres",
            "username": "collector",
        }
        report = client.tested(**declared, host=f"{server.socket_directory}/")
        assert report["error_code"] is None
        assert report["version"].startswith("PostgreSQL 17")
        elsewhere = client.tested(**declared, host=str(tmp_path))
        assert [found["code"] for found in elsewhere["diagnoses"]] == ["host_access_refused"]
        climbing = client.declare(**declared, host=f"{server.socket_directory}/../x")
        assert climbing.status_code == 400


def test_what_a_server_names_as_its_log_is_not_believed(client: Client) -> None:
    with (
        missing_engine_is_told(),
        PostgresServer(17, settings={"log_statement": "all"}) as server,
    ):
        server.create_collector_role("collector", PASSWORD)
        declared = collected("postgresql", server, "postgres")
        report = client.tested(**declared, **engine(log_source="local"))
        refused = {d["code"]: d for d in report["diagnoses"] if d["status"] == "failed"}
        assert not report["success"]
        assert "is not below a folder" in refused["log_files"]["detail"]
        assert "DBAUDIT_LOCAL_PATHS" in refused["log_files"]["remedy"]
        # A database that is collected already stops for the same reason, and says so.
        made = client.declare(**declared, **engine(log_source="local")).json()["id"]
        wait_for(
            lambda: client.http.get(f"/v1/databases/{made}").json()["status"] == "error",
            "the error",
        )
        assert "local_paths" in client.http.get(f"/v1/databases/{made}/status").text
        assert client.http.get("/v1/events", params={"database_id": made}).json()["data"] == []


def test_logs_below_the_allowed_folders_are_collected(tmp_path: Path) -> None:
    with (
        missing_engine_is_told(),
        PostgresServer(17, settings={"log_statement": "all"}) as server,
        Up(tmp_path / "home", "--port", "0", DBAUDIT_LOCAL_PATHS=str(server.log_directory)) as up,
    ):
        server.create_collector_role("collector", PASSWORD)
        client = Client(up.until_ready())
        declared = collected("postgresql", server, "postgres")
        made = client.declare(**declared, **engine(log_source="local")).json()["id"]
        wait_for(
            lambda: client.http.get(f"/v1/databases/{made}").json()["audit_status"] == "active",
            "collecting",
        )
        with server.connect_admin() as connection:
            connection.execute("SELECT 'a mark'")
        wait_for(
            lambda: "SELECT " in client.http.get("/v1/events", params={"database_id": made}).text,
            "the statement",
        )
        assert up.end() == 0


def test_a_mongodb_whose_log_lies_elsewhere_is_read_over_the_connection(client: Client) -> None:
    with missing_engine_is_told(), MongoServer() as server:
        server.create_user("collector", PASSWORD, ROLES)
        report = client.tested(**collected("mongodb", server, "admin"))
    (log,) = [d for d in report["diagnoses"] if d["code"] == "server_log"]
    assert log["status"] == "warning"
    assert "local_paths" in log["remedy"]


def test_a_mariadb_whose_file_lies_elsewhere_is_not_read_from_the_disk(client: Client) -> None:
    with missing_engine_is_told(), MariaDBServer(umask="0644") as server:
        server.create_user("collector", PASSWORD)
        declared = collected("mariadb", server, "information_schema")
        report = client.tested(**declared, **engine(source="file"))
    assert not report["success"]
    (refused,) = [d for d in report["diagnoses"] if d["status"] == "failed"]
    assert "is not below a folder" in refused["detail"]


def test_redis_enterprise_listens_only_where_the_agent_allows(client: Client, place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for host in ("0.0.0.0", "::", "0x0"):
        (diagnosis,) = client.tested(type="redis_enterprise", host=host, port=port)["diagnoses"]
        assert diagnosis["code"] == "host_access_refused"
        assert "DBAUDIT_LISTEN_ADDRESSES" in diagnosis["remedy"]
    made = f"{place}/made.sock"
    (diagnosis,) = client.tested(type="redis_enterprise", **engine(protocol="local", socket_path=made))[
        "diagnoses"
    ]
    assert diagnosis["code"] == "host_access_refused"
    assert not Path(made).exists()
    assert client.tested(type="redis_enterprise", host="127.0.0.1", port=port)["success"]
