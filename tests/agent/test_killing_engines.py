"""An engine that ends the whole process: the other databases go on, the API shows what happened."""

import itertools
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from dbaudit import Client
from dbaudit.core.database import AuditOptions, ConnectionStatus, Database
from dbaudit.sdk import ApiError

from tests.agent.conftest import Installation
from tests.cli.running import DBAUDIT, Up, environment, new_key
from tests.patience import PATIENCE_SECONDS
from tests.servers.processes import children, is_alive, wait_for

REPOSITORY = Path(__file__).parents[2]
HOW = {"leave": "ended with code 3", "fault": "was ended by SIGSEGV", "kill": "was ended by SIGKILL"}
_numbers = itertools.count(1)


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that has the plugin; nothing but its restart is quicker than a lease."""
    info = tmp_path / "plugins" / "deadly-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[dbaudit]\ndeadly = tests.agent.deadly\n")
    path = os.pathsep.join([str(info.parent), str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path, "DBAUDIT_LEASE_SECONDS": "3600", "DBAUDIT_POLL_INTERVAL_SECONDS": "0.02"}


@contextmanager
def agent(folder: Path, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """`dbaudit agent` on the state of ``folder``."""
    places = {
        "DBAUDIT_STATE_URL": f"sqlite:///{folder}/state.db",
        "DBAUDIT_ENCRYPTION_KEY_FILE": str(folder / "keys"),
    }
    with (folder / "agent.log").open("wb") as log:
        process = subprocess.Popen(
            [DBAUDIT, "agent", "--home", folder],
            env=environment(**variables, **places),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def options(folder: Path, dies_in: str = "", way: str = "leave") -> dict[str, str]:
    """The options of a database of the plugin, with one statement to read."""
    file = folder / f"statements{next(_numbers)}"
    file.write_text("select 1\n")
    (folder / "fuse").touch()
    return {"file": str(file), "fuse": str(folder / "fuse"), "dies_in": dies_in, "way": way}


def declare(dbaudit: Installation, folder: Path, dies_in: str = "", way: str = "leave") -> Database:
    return dbaudit.declare("deadly", audit_options=AuditOptions(engine=options(folder, dies_in, way)))


def write(database: Database, statement: str) -> None:
    with Path(database.audit_options.engine["file"]).open("a") as file:
        file.write(f"{statement}\n")


@pytest.mark.parametrize(
    ("dies_in", "way"),
    [
        ("open", "leave"),
        ("test", "fault"),
        ("read", "fault"),
        ("read", "kill"),
        ("decode", "leave"),
        ("thread", "leave"),
        ("thread", "fault"),
    ],
)
def test_engine_that_ends_the_process_is_told_of_and_the_others_go_on(
    dies_in: str, way: str, dbaudit: Installation, tmp_path: Path, variables: dict[str, str]
) -> None:
    calm = [declare(dbaudit, tmp_path) for _database in range(2)]
    with agent(tmp_path, variables) as process:
        for database in calm:
            dbaudit.wait_for_active(database)
        nodes = [node.id for node in dbaudit.state.nodes.all()]
        deadly = declare(dbaudit, tmp_path, dies_in, way)
        place = "by a thread of the engine" if dies_in == "thread" else f"in {dies_in}() of the engine"
        told = f"The agent's process {HOW[way]}"
        shown = dbaudit.wait_for_error(deadly, told)
        assert shown.error_code == "engine_failed"
        dbaudit.wait_for_status(deadly, ConnectionStatus.ERROR)
        for database in calm:
            write(database, "select 2")
        for database in calm:
            dbaudit.wait_until(lambda: len(dbaudit.queries(database)) == 2, "the others' events")  # noqa: B023
        dbaudit.wait_for_error(deadly, place)
        assert [node.id for node in dbaudit.state.nodes.all()] == nodes, "it came back as another node"
        (tmp_path / "fuse").unlink()
        dbaudit.wait_for_active(deadly)
        for database in calm:
            dbaudit.wait_for_active(database)
        for database in (deadly, *calm):
            write(database, "select 3")
        dbaudit.wait_until(lambda: len(dbaudit.queries(deadly)) == 2, "its own events")
        for database in calm:
            dbaudit.wait_until(lambda: len(dbaudit.queries(database)) == 3, "each event once")  # noqa: B023
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0


def test_agent_that_was_asked_to_end_leaves_no_process(
    dbaudit: Installation, tmp_path: Path, variables: dict[str, str]
) -> None:
    database = declare(dbaudit, tmp_path)
    with agent(tmp_path, variables) as process:
        dbaudit.wait_for_active(database)
        (child,) = children(process.pid)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
        assert not is_alive(child)
    assert dbaudit.state.nodes.all() == []


def test_agent_whose_parent_is_killed_ends_and_gives_its_databases_back(
    dbaudit: Installation, tmp_path: Path, variables: dict[str, str]
) -> None:
    database = declare(dbaudit, tmp_path)
    with agent(tmp_path, variables) as process:
        dbaudit.wait_for_active(database)
        (child,) = children(process.pid)
        process.kill()
        wait_for(lambda: not is_alive(child), "the end of the agent")
    assert dbaudit.state.nodes.all() == []


def test_api_shows_which_database_ended_the_process_and_a_test_that_does_is_answered(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    home = tmp_path / "home"
    with Up(home, "--port", "0", **variables) as up:
        up.until_ready()
        with Client(api_url=up.url, api_key=new_key(home)) as client:

            def create(name: str, given: dict[str, str]) -> str:
                return client.databases.create(
                    name=name,
                    type="deadly",
                    host=f"{name}.example.com",
                    port=1,
                    database="app",
                    username="reader",
                    password="no password needed",
                    ssl_mode="disable",
                    audit_options={"engine": given},
                ).id

            calm = create("calm", options(tmp_path))
            deadly = create("deadly", options(tmp_path, "open", "fault"))
            wait_for(lambda: "SIGSEGV in open()" in (client.databases.get(deadly).status_reason or ""), "it")
            assert client.databases.get(deadly).status == "error"
            failure = client.databases.get_status(deadly).collector.last_error
            assert failure is not None
            assert failure.code == "engine_failed"
            with pytest.raises(ApiError, match="SIGSEGV in open"):
                client.databases.test(deadly)
            wait_for(lambda: client.databases.get(calm).audit_status == "active", "the other one")
        assert "deadly.py" in up.output, "the log does not say where"
        assert up.end(signal.SIGTERM) == 0
