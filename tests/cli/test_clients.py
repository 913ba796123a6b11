"""Commands that ask the API: databases, events, and the exit code of every kind of failure."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dbaudit as package
import pytest

from tests.cli.conftest import Installation
from tests.cli.running import DBAUDIT, Up, dbaudit, environment, new_key
from tests.patience import PATIENCE_SECONDS
from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for

PASSWORD = "Pl4nted-c0llector"
COLLECTOR = "cli_collector"


@pytest.fixture
def client(installation: Installation) -> Iterator[package.Client]:
    with package.Client(api_url=installation.url, api_key=installation.key) as client:
        yield client
        for database in client.databases.list():
            client.databases.delete(database.id)


@pytest.fixture(scope="module")
def server(postgres: PostgresServer) -> PostgresServer:
    postgres.create_collector_role(COLLECTOR, PASSWORD)
    return postgres


def declare(client: package.Client, server: PostgresServer, name: str, password: str = PASSWORD) -> str:
    """Declare the server, and wait until the agent has tried it; the id."""
    made = client.databases.create(
        name=name,
        type="postgresql",
        host=server.host,
        port=server.port,
        database="postgres",
        username=COLLECTOR,
        password=password,
        ssl_mode="disable",
    )
    wait_for(lambda: client.databases.get(made.id).status != "pending", "the agent's test")
    return made.id


def one_line(text: str) -> bool:
    return len(text.splitlines()) == 1 and "Traceback" not in text


def test_databases_are_listed_shown_and_tested_by_id_and_by_name(
    client: package.Client, server: PostgresServer, installation: Installation
) -> None:
    database_id = declare(client, server, "Orders [prod]")
    variables = installation.variables
    table = dbaudit("databases", "list", **variables)
    assert table.returncode == 0, table.stderr
    assert database_id in table.stdout
    assert "Orders [prod]" in table.stdout
    assert "connected" in table.stdout
    (listed,) = json.loads(
        dbaudit("databases", "list", "--status", "connected", "--output", "json", **variables).stdout
    )
    assert listed["id"] == database_id
    assert (
        json.loads(dbaudit("databases", "list", "--tag", "none", "--output", "json", **variables).stdout)
        == []
    )
    for wanted in (database_id, "Orders [prod]"):
        shown = json.loads(dbaudit("databases", "show", wanted, "--output", "json", **variables).stdout)
        assert shown["id"] == database_id
        assert shown["collector"]["state"]
        assert PASSWORD not in json.dumps(shown)
    tested = dbaudit("databases", "test", "Orders [prod]", "--output", "json", **variables)
    assert tested.returncode == 0, tested.stderr
    assert json.loads(tested.stdout)["version"].startswith("PostgreSQL 17")
    assert "permission_pg_read_binary_file" in dbaudit("databases", "test", database_id, **variables).stdout


def test_records_left_out_are_shown_by_their_class(
    client: package.Client, server: PostgresServer, installation: Installation
) -> None:
    database_id = declare(client, server, "Orders")
    with contextlib.closing(
        sqlite3.connect(installation.home / "state.db", timeout=PATIENCE_SECONDS)
    ) as state:
        state.execute("UPDATE collectors SET left_out = ?", ['{"general/Ping":3,"Close_stmt":1}'])
        state.commit()
    collector = client.databases.get_status(database_id).collector
    assert collector.left_out == {"general/Ping": 3, "Close_stmt": 1}
    shown = dbaudit("databases", "show", database_id, **installation.variables).stdout.splitlines()
    assert ["collector.left_out.general/Ping", "3"] in [line.split() for line in shown]


def test_a_refused_log_in_is_a_failure_with_the_report_and_without_the_password(
    client: package.Client, server: PostgresServer, installation: Installation
) -> None:
    database_id = declare(client, server, "Orders", password=f"{PASSWORD}-wrong")
    done = dbaudit("databases", "test", database_id, "--output", "json", **installation.variables)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["success"] is False
    assert report["error_code"] == "authentication_failed"
    assert one_line(done.stderr)
    assert PASSWORD not in done.stdout + done.stderr


def test_events_come_oldest_first_and_can_be_narrowed(
    client: package.Client, server: PostgresServer, installation: Installation
) -> None:
    database_id = declare(client, server, "Orders")
    stream = client.events.follow(database_id=database_id, query_contains="cli_narrow")
    for table in ("cli_narrow_1", "cli_narrow_2", "cli_narrow_3"):
        server.execute_admin(f"create temp table {table} (a int)")  # type: ignore[arg-type]
    for number, event in enumerate(stream, start=1):
        assert event.type == "database.query"
        if number == 3:
            break
    variables = installation.variables
    arguments = ["events", "--database", "Orders", "--contains", "CLI_NARROW", "--since", "10m"]
    found = json.loads(dbaudit(*arguments, "--output", "json", **variables).stdout)
    assert [event["query"].split()[3] for event in found] == ["cli_narrow_1", "cli_narrow_2", "cli_narrow_3"]
    latest = dbaudit(*arguments, "--limit", "1", **variables)
    assert one_line(latest.stdout)
    assert "cli_narrow_3" in latest.stdout
    assert "\x1b" not in latest.stdout
    assert dbaudit(*arguments, "--type", "user.login_failed", **variables).stdout == ""
    assert dbaudit(*arguments, "--until", "2001-02-03", **variables).returncode == 7


def test_following_outlives_a_restart_of_the_api_and_shows_each_event_once(
    server: PostgresServer, tmp_path: Path
) -> None:
    with Up(tmp_path / "home", "--port", "0", DBAUDIT_LOG_LEVEL="warning") as up:
        up.until_ready()
        key = new_key(up.home)
        with package.Client(api_url=up.url, api_key=key) as client:
            declare(client, server, "Orders")
        output = tmp_path / "followed.jsonl"
        with output.open("wb") as file:
            following = subprocess.Popen(
                [DBAUDIT, "events", "-f", "--since", "1h", "--contains", "cli_follow", "--output", "json"],
                env=environment(DBAUDIT_API_URL=up.url, DBAUDIT_API_KEY=key),
                stdout=file,
                stderr=subprocess.PIPE,
                text=True,
            )
        try:
            server.execute_admin("create temp table cli_follow_1 (a int)")
            wait_for(lambda: "cli_follow_1" in output.read_text(), "the first event")
            os.kill(up.child("api"), signal.SIGKILL)
            server.execute_admin("create temp table cli_follow_2 (a int)")
            wait_for(lambda: "cli_follow_2" in output.read_text(), "the second event")
            following.send_signal(signal.SIGINT)
            words = following.communicate(timeout=PATIENCE_SECONDS)[1]
        finally:
            following.kill()
        assert following.returncode == 130
        assert "Traceback" not in words
        found = [json.loads(line)["query"].split()[3] for line in output.read_text().splitlines()]
        assert found == ["cli_follow_1", "cli_follow_2"]
        assert up.end() == 0


def test_a_reader_that_has_seen_enough_ends_the_command_quietly(
    client: package.Client, server: PostgresServer, installation: Installation
) -> None:
    declare(client, server, "Orders")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [DBAUDIT, "databases", "list"],
        env=environment(**installation.variables),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


def test_clients_find_the_api_of_a_home(installation: Installation) -> None:
    done = dbaudit("databases", "list", "--home", installation.home, DBAUDIT_API_KEY=installation.key)
    assert done.returncode == 0, done.stderr


def test_an_unknown_address_is_a_matter_of_configuration(tmp_path: Path) -> None:
    done = dbaudit("databases", "list", "--home", tmp_path, DBAUDIT_API_KEY="x")
    assert done.returncode == 3
    assert "DBAUDIT_API_URL" in done.stderr
    assert one_line(done.stderr)


def test_an_api_that_is_away_is_named_with_the_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    done = dbaudit("databases", "list", DBAUDIT_API_URL=url, DBAUDIT_API_KEY="Pl4nted")
    assert done.returncode == 4
    assert url in done.stderr
    assert "DBAUDIT_API_URL" in done.stderr
    assert one_line(done.stderr)
    assert "Pl4nted" not in done.stderr


def test_following_an_api_that_was_never_there_fails_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert dbaudit("events", "-f", DBAUDIT_API_URL=url, DBAUDIT_API_KEY="x").returncode == 4


def test_a_missing_a_wrong_and_a_narrow_key_are_not_allowed(installation: Installation) -> None:
    missing = dbaudit("databases", "list", DBAUDIT_API_URL=installation.url)
    assert missing.returncode == 5
    assert "dbaudit keys create" in missing.stderr
    wrong = dbaudit("databases", "list", DBAUDIT_API_URL=installation.url, DBAUDIT_API_KEY="Pl4nted")
    assert wrong.returncode == 5
    assert "Pl4nted" not in wrong.stderr
    narrow = new_key(installation.home, "read:events")
    forbidden = dbaudit("databases", "list", DBAUDIT_API_URL=installation.url, DBAUDIT_API_KEY=narrow)
    assert forbidden.returncode == 5
    assert "read:databases" in forbidden.stderr
    assert one_line(missing.stderr)
    assert one_line(wrong.stderr)
    assert one_line(forbidden.stderr)


def test_something_unknown_and_something_ambiguous(
    client: package.Client, server: PostgresServer, installation: Installation
) -> None:
    unknown = dbaudit("databases", "show", "nothing", **installation.variables)
    assert unknown.returncode == 6
    assert "nothing" in unknown.stderr
    twins = [
        client.databases.create(
            name="twin",
            type="postgresql",
            host=host,
            port=server.port,
            database="postgres",
            username=COLLECTOR,
            password=PASSWORD,
            ssl_mode="disable",
        ).id
        for host in ("127.0.0.1", "localhost")
    ]
    ambiguous = dbaudit("databases", "show", "twin", **installation.variables)
    assert ambiguous.returncode == 7
    assert all(twin in ambiguous.stderr for twin in twins)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["databases", "list", "--status", "fine"],
        ["events", "--since", "yesterday"],
        ["events", "--limit", "0"],
        ["events", "--follow", "--until", "1d"],
        ["databases", "show"],
    ],
)
def test_a_wrong_use_is_told_with_code_2(arguments: list[str]) -> None:
    done = dbaudit(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_state_that_is_away_has_its_own_code(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    assert dbaudit("secrets", "init", DBAUDIT_ENCRYPTION_KEY_FILE=str(keys)).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    done = dbaudit(
        "keys",
        "list",
        DBAUDIT_STATE_URL=f"postgresql://u:Pl4nted@127.0.0.1:{port}/state",
        DBAUDIT_ENCRYPTION_KEY_FILE=str(keys),
    )
    assert done.returncode == 8
    assert one_line(done.stderr)
    assert "Pl4nted" not in done.stderr


def test_agents_are_listed(installation: Installation) -> None:
    table = dbaudit("nodes", "list", **installation.variables)
    assert table.returncode == 0, table.stderr
    assert "alive" in table.stdout
    (node,) = json.loads(dbaudit("nodes", "list", "--output", "json", **installation.variables).stdout)
    assert "db_conns_auditing" in node["capabilities"]
    assert "engine:postgresql" in node["capabilities"]


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["up"],
        ["api"],
        ["agent"],
        ["keys"],
        ["keys", "create"],
        ["keys", "list"],
        ["keys", "revoke"],
        ["databases"],
        ["databases", "list"],
        ["databases", "show"],
        ["databases", "test"],
        ["nodes"],
        ["nodes", "list"],
        ["events"],
        ["engines"],
        ["secrets"],
        ["secrets", "init"],
        ["secrets", "rotate"],
        ["config"],
        ["config", "show"],
        ["config", "check"],
    ],
)
def test_every_command_explains_itself_and_is_documented(command: list[str]) -> None:
    done = dbaudit(*command, "--help")
    assert done.returncode == 0
    assert "Usage: dbaudit" in done.stdout
    document = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
    assert " ".join(["dbaudit", *command]) in document.read_text()
