"""The collection as others get it: built, installed, documented, and tried by Ansible's own tools."""

import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.collection.conftest import Service
from tests.collection.running import run_playbook
from tests.collection.test_database import PASSWORD, SHOP
from tests.collection_copies import (
    ABOUT,
    PROGRAMS,
    build_and_install,
    copy_checkout,
    environment,
)

# What Galaxy wants of a collection, and what this one brings; anything else at the top is there by mistake.
IN_THE_ARTIFACT = {
    *("FILES.json", "LICENSE", "MANIFEST.json", "README.md"),
    *("changelogs", "docs", "meta", "playbooks", "plugins", "roles", "tests"),
}

# Plugins that have no page of their own in the documentation; that of an action plugin is its module's.
WITHOUT_PAGES = {"action", "doc_fragments", "module_utils", "plugin_utils"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def installed(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for ``ANSIBLE_COLLECTIONS_PATH`` with nothing but the built collection."""
    root = tmp_path_factory.mktemp("controller")
    build_and_install(checkout, root)
    return root


def test_an_empty_controller_declares_databases_again_and_again(
    service: Service, installed: Path, tmp_path: Path
) -> None:
    databases = [{**SHOP, "name": f"shop{number}", "host": f"pg{number}.example.com"} for number in range(20)]
    variables = tmp_path / "databases.yml"

    def run(*options: str) -> str:
        variables.write_text(yaml.safe_dump({"dbaudit_databases": databases}))
        done = run_playbook(
            f"{ABOUT['namespace']}.{ABOUT['name']}.databases",
            installed,
            *("-e", f"@{variables}", *options),
            environment={"DBAUDIT_API_URL": service.url, "DBAUDIT_API_KEY": service.key},
        )
        assert done.returncode == 0, done.stdout
        assert PASSWORD not in done.stdout
        assert service.key not in done.stdout
        return done.stdout

    assert "changed=1 " in run()
    assert len(service.state.databases.all()) == len(databases)
    assert "changed=0 " in run()

    databases[7] = {**databases[7], "port": 5433, "password": PASSWORD + "2"}
    planned = run("--check", "--diff")
    assert "changed=1 " in planned
    assert '+        "password_changed": true' in planned
    assert '+        "port": 5433' in planned
    assert "shop8" not in planned
    assert {database.port for database in service.state.databases.all()} == {5432}


def test_the_artifact_holds_the_collection_and_nothing_else(installed: Path) -> None:
    (archive,) = installed.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    # The first release makes the changelog.
    assert {name.split("/")[0] for name in names} - {"CHANGELOG.rst"} == IN_THE_ARTIFACT
    assert [name for name in names if name.startswith("tests/")] == ["tests/config.yml"]
    assert not [name for name in names if "/." in name or name.startswith(".")]


def test_every_plugin_and_role_is_documented_without_a_warning(checkout: Path) -> None:
    documented = {"role": [path.name for path in (checkout / "roles").iterdir()]}
    for folder in set((checkout / "plugins").iterdir()) - {
        checkout / "plugins" / name for name in WITHOUT_PAGES
    }:
        documented[folder.name.removesuffix("s")] = [path.stem for path in folder.glob("*.py")]
    assert documented.keys() >= {"module", "inventory", "lookup"}
    for kind, names in documented.items():
        qualified = [f"{ABOUT['namespace']}.{ABOUT['name']}.{name}" for name in sorted(names)]
        shown = subprocess.run(
            [PROGRAMS / "ansible-doc", "--type", kind, *qualified],
            env={**environment(), "ANSIBLE_COLLECTIONS_PATH": str(checkout.parents[2])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (shown.returncode, shown.stderr) == (0, "")
        for name in qualified:
            assert name in shown.stdout


def test_an_execution_environment_gets_what_the_collection_asks_for(checkout: Path) -> None:
    """As ansible-builder finds it, which passes over files that are missing."""
    about = yaml.safe_load((checkout / "meta" / "execution-environment.yml").read_text())
    for file in about["dependencies"].values():
        assert (checkout / file).is_file()
    done = subprocess.run(
        [PROGRAMS / "ansible-builder", "introspect", checkout.parents[2]],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert yaml.safe_load(done.stdout) == {"python": [], "system": []}
