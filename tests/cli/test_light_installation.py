"""The base install alone: clients work without the packages of the server; services say what to install."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.cli.conftest import Installation
from tests.cli.running import dbaudit, environment
from tests.patience import PATIENCE_SECONDS

OF_SERVER = "alembic apsw cryptography flask flask_swagger_ui prometheus_client psycopg sqlalchemy yaml"
# Python runs a module of this name when it starts.
OF_THE_COMMAND_LINE = "click jsonschema pluggy rich"
SITECUSTOMIZE = """
import importlib.metadata, sys
missing = MISSING

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
find = importlib.metadata.distribution

def distribution(name):
    if name.replace("-", "_") in [*missing, "pyyaml"]:
        raise importlib.metadata.PackageNotFoundError(name)
    return find(name)

importlib.metadata.distribution = distribution
"""


@pytest.fixture
def light(tmp_path: Path) -> dict[str, str]:
    """Variables with which Python finds no package of the server."""
    return without(OF_SERVER, tmp_path)


def without(packages: str, folder: Path) -> dict[str, str]:
    """Variables with which Python finds none of ``packages``."""
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE.replace("MISSING", repr(packages.split())))
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def base(tmp_path: Path) -> dict[str, str]:
    """Variables with which Python finds what the base install has, and nothing else."""
    return without(f"{OF_SERVER} {OF_THE_COMMAND_LINE}", tmp_path)


def test_the_base_install_requires_what_the_sdk_imports_and_no_more() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    required = {re.split(r"\W", requirement)[0] for requirement in project["dependencies"]}
    assert required == {"httpx", "msgspec"}


def test_the_sdk_works_on_the_base_install(base: dict[str, str], installation: Installation) -> None:
    program = "import dbaudit; print(list(dbaudit.Client().databases.list()), dbaudit.AsyncClient())"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(**base, **installation.variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] AsyncClient(")


def test_the_command_says_what_it_needs_on_the_base_install(base: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dbaudit", "databases", "list"],
        env=environment(**base),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 3
    assert "pip install 'dbaudit[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_clients_need_no_package_of_the_server(light: dict[str, str], installation: Installation) -> None:
    for command in (["databases", "list"], ["events"], ["config", "show"]):
        done = dbaudit(*command, **light, **installation.variables)
        assert done.returncode == 0, done.stderr


def test_engines_says_which_driver_is_missing(light: dict[str, str]) -> None:
    done = dbaudit("engines", **light)
    assert done.returncode == 0, done.stderr
    assert "No module named" in done.stdout


@pytest.mark.parametrize("command", [["up"], ["api"], ["agent"], ["keys", "list"], ["secrets", "rotate"]])
def test_services_name_what_is_missing_and_how_to_install_it(
    light: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    done = dbaudit(*command, "--home", tmp_path / "home", **light)
    assert done.returncode == 3
    assert "flask" in done.stderr
    assert "pip install 'dbaudit[server]'" in done.stderr
    assert not (tmp_path / "home").exists()
