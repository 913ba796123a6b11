"""`dbaudit api` and `dbaudit agent` apart from each other, on one state; and rotating its keys meanwhile."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dbaudit as package
import pytest

from tests.cli.running import DBAUDIT, dbaudit, environment, get
from tests.patience import PATIENCE_SECONDS
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import is_alive, wait_for

ROLE = "cli_state"
PASSWORD = "Pl4nted-st4te"
COLLECTOR = "services_collector"
COLLECTOR_PASSWORD = "Pl4nted-services"


@contextmanager
def service(log: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running `dbaudit api` or `dbaudit agent` with its output in ``log``."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [DBAUDIT, *arguments],
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def address(log: Path) -> str:
    """Where the API of ``log`` says that it listens."""
    wait_for(lambda: "listening on " in log.read_text(), "the API listening")
    return log.read_text().partition("listening on ")[2].split()[0]


@pytest.fixture(params=["sqlite", "postgresql"])
def state(
    request: pytest.FixtureRequest, tmp_path: Path, postgres: PostgresServer
) -> Iterator[dict[str, str]]:
    """The variables of a new state of each kind."""
    variables = {"DBAUDIT_HOME": str(tmp_path / "home"), "DBAUDIT_LEASE_SECONDS": "2"}
    if request.param == "sqlite":
        yield variables
        return
    postgres.create_role(ROLE, PASSWORD)
    postgres.create_database("cli_state")
    postgres.execute_admin("alter database cli_state owner to cli_state")
    variables["DBAUDIT_STATE_URL"] = (
        f"postgresql://{ROLE}:{PASSWORD}@{postgres.host}:{postgres.port}/cli_state"
    )
    assert dbaudit("secrets", "init", **variables).returncode == 0
    yield variables
    postgres.execute_admin("drop database cli_state with (force)")
    postgres.execute_admin("drop role cli_state")


def test_two_apis_and_two_agents_share_a_state_and_each_ends_cleanly(
    state: dict[str, str], postgres: PostgresServer, tmp_path: Path
) -> None:
    postgres.create_collector_role(f"{COLLECTOR}_{len(state)}", COLLECTOR_PASSWORD)
    with ExitStack() as running:
        logs = [tmp_path / f"{name}.log" for name in ("api1", "api2", "agent1", "agent2")]
        apis = [running.enter_context(service(log, "api", "--port", "0", **state)) for log in logs[:2]]
        agents = [running.enter_context(service(log, "agent", **state)) for log in logs[2:]]
        urls = [address(log) for log in logs[:2]]
        for url in urls:
            wait_for(lambda url=url: get(f"{url}/health/ready").status_code == 200, "ready")  # type: ignore[misc]  # bound now
        made = dbaudit("keys", "create", "--name", "t", "--scope", "admin", **state)
        key = made.stdout.strip()
        first, second = (running.enter_context(package.Client(api_url=url, api_key=key)) for url in urls)
        database = first.databases.create(
            name="shared",
            type="postgresql",
            host=postgres.host,
            port=postgres.port,
            database="postgres",
            username=f"{COLLECTOR}_{len(state)}",
            password=COLLECTOR_PASSWORD,
            ssl_mode="disable",
        )
        assert second.databases.test(database.id).success
        wait_for(lambda: second.databases.get(database.id).audit_status == "active", "collecting")
        rotated = dbaudit("secrets", "rotate", "--output", "json", **state)
        assert rotated.returncode == 0, rotated.stderr
        assert json.loads(rotated.stdout)["rotated"] >= 1
        assert "of" in rotated.stderr
        assert first.databases.test(database.id).success
        assert second.databases.test(database.id).success
        for process in (*apis, *agents):
            process.send_signal(signal.SIGTERM)
        assert [process.wait(PATIENCE_SECONDS) for process in (*apis, *agents)] == [0, 0, 0, 0]
        for log in logs:
            assert "Traceback" not in log.read_text(), log.read_text()
            assert "Pl4nted" not in log.read_text()
            assert key not in log.read_text()


def test_a_state_on_postgresql_makes_no_key_of_its_own(tmp_path: Path) -> None:
    done = dbaudit(
        "agent",
        DBAUDIT_HOME=str(tmp_path / "home"),
        DBAUDIT_STATE_URL=f"postgresql://u:{PASSWORD}@127.0.0.1:1/state",
    )
    assert done.returncode == 3
    assert "dbaudit secrets init" in done.stderr
    assert PASSWORD not in done.stderr
    assert not (tmp_path / "home" / "encryption.keys").exists()


def test_init_does_not_touch_a_key_file_that_is_there(tmp_path: Path) -> None:
    assert dbaudit("secrets", "init", "--home", tmp_path).returncode == 0
    before = (tmp_path / "encryption.keys").read_bytes()
    again = dbaudit("secrets", "init", "--home", tmp_path)
    assert again.returncode == 3
    assert "dbaudit secrets rotate" in again.stderr
    assert (tmp_path / "encryption.keys").read_bytes() == before


def test_an_agent_that_is_interrupted_twice_still_ends_cleanly(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    with service(log, "agent", "--home", str(tmp_path / "home")) as agent:
        wait_for(lambda: "is running" in log.read_text(), "the agent")
        os.kill(agent.pid, signal.SIGINT)
        os.kill(agent.pid, signal.SIGTERM)
        assert agent.wait(PATIENCE_SECONDS) == 0
        assert not is_alive(agent.pid)
    assert "has stopped" in log.read_text()


def test_json_logs_are_one_json_object_a_line(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    with service(
        log, "agent", "--home", str(tmp_path / "home"), DBAUDIT_LOG_FORMAT="json", DBAUDIT_LOG_LEVEL="debug"
    ) as agent:
        wait_for(lambda: "is running" in log.read_text(), "the agent")
        agent.terminate()
        assert agent.wait(PATIENCE_SECONDS) == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"time", "level", "process", "logger", "message"} <= lines[0].keys()
    assert {line["process"] for line in lines} == {"agent"}
