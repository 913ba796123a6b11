"""The base install alone: clients work without the packages of the server; services say what to install."""

from pathlib import Path

import pytest

from tests.cli.conftest import Installation
from tests.cli.running import dbaudit

OF_SERVER = (
    "alembic apsw cheroot cryptography flask flask_swagger_ui prometheus_client psycopg sqlalchemy yaml"
)
# Python runs a module of this name when it starts.
SITECUSTOMIZE = f"""
import importlib.metadata, sys
missing = {OF_SERVER.split()!r}

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

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
    (tmp_path / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return {"PYTHONPATH": str(tmp_path)}


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
