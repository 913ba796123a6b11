"""The example of a plugin, as its author has it: installed with pip, listed, and held to the suite.

The tutorial's code is the example's: nothing on the page was not run here.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dbaudit import Client
from dbaudit.testing import Monitored

from tests.cli.running import Up, dbaudit, new_key
from tests.conftest import missing_engine_is_told
from tests.patience import PATIENCE_SECONDS
from tests.servers import redis
from tests.servers.processes import wait_for

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "tests" / "example_plugin"
TUTORIAL = REPOSITORY / "docs" / "plugins.md"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the distribution outside of the repository."""
    folder = tmp_path_factory.mktemp("example") / "dbaudit-redis"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="module")
def site(example: Path) -> Path:
    """A folder into which pip has built and installed the example, and nothing else."""
    folder = example.with_name("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--no-index", "--no-build-isolation", "--target", folder, example],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_installed_plugin_appears_among_the_engines(site: Path) -> None:
    found = json.loads(dbaudit("engines", "--output", "json", PYTHONPATH=str(site)).stdout)
    (engine,) = (engine for engine in found["engines"] if engine["type"] == "redis")
    assert (engine["distribution"], engine["distribution_version"]) == ("dbaudit-redis", "1.0.0")
    assert engine["driver"].get("problem") is None
    assert "ignored_commands" in engine["options_schema"]["properties"]
    assert found["broken"] == []
    table = dbaudit("engines", PYTHONPATH=str(site))
    assert "dbaudit-redis" in table.stdout


def test_plugin_that_is_not_installed_is_not_there() -> None:
    found = json.loads(dbaudit("engines", "--output", "json").stdout)
    assert "redis" not in [engine["type"] for engine in found["engines"]]


def test_installed_plugin_passes_its_own_tests(site: Path, example: Path) -> None:
    with missing_engine_is_told():
        server = redis.program()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"],
        cwd=example,
        env={**os.environ, "PYTHONPATH": str(site), "REDIS_SERVER": str(server)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 50


def test_installed_plugin_is_collected_like_any_other(site: Path, tmp_path: Path) -> None:
    with (
        missing_engine_is_told(),
        redis.RedisServer() as server,
        Up(tmp_path / "home", "--port", "0", PYTHONPATH=str(site)) as up,
    ):
        up.until_ready()
        with Client(api_url=up.url, api_key=new_key(up.home)) as client:
            made = client.databases.create(
                name="cache",
                type="redis",
                host=server.host,
                port=server.port,
                database="0",
                username="dbaudit",
                password=server.collector_password,
                ssl_mode="disable",
                audit_options={"engine": {"ignored_commands": ["TIME"]}},
            )
            wait_for(lambda: client.databases.get(made.id).audit_status == "active", "collecting")
            server.run_as_admin("SET greeting hello", "TIME", "ECHO bye")

            def queries() -> list[str | None]:
                return [event.query for event in client.events.list(database_id=made.id)]

            wait_for(lambda: "ECHO ?" in queries(), "the events")
            assert queries().count("SET ? ?") == 1
            assert "TIME" not in queries()
            report = client.databases.test(made.id)
            assert report.success
            assert report.version == f"Redis {redis.VERSION}.15"
        assert up.end() == 0


def test_every_piece_of_code_in_the_tutorial_is_the_examples() -> None:
    files = {
        path.name: path.read_text() for path in EXAMPLE.rglob("*") if path.is_file() and "__" not in path.name
    }
    blocks = re.findall(r"^```(?:python|toml)\n(.*?)^```", TUTORIAL.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) > 5
    strange = [block for block in blocks if not any(block.strip() in text for text in files.values())]
    assert strange == []


def test_tutorial_names_every_method_that_an_author_may_give() -> None:
    page = TUTORIAL.read_text()
    given = [name for name in vars(Monitored) if not name.startswith("_")]
    assert [name for name in given if f"`{name}" not in page] == []
