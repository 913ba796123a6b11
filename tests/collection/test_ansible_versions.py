"""The target ``smoke`` and the documentation on every ansible-core that meta/runtime.yml promises."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.release import __version__ as own_version

from tests.collection.conftest import REPOSITORY, Installation
from tests.collection.running import run_playbook
from tests.collection_copies import PROGRAMS, environment
from tests.run_sanity import interpreters

# ansible-core to the Pythons that it runs on as the controller, as its documentation has them.
PYTHONS = {
    "2.16": ("3.10", "3.11", "3.12"),
    "2.17": ("3.10", "3.11", "3.12"),
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}
INSTALLED = REPOSITORY / ".cache" / "ansible-core"


def test_the_lowest_version_that_is_promised_is_the_first_that_is_tried() -> None:
    promised = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())["requires_ansible"]
    assert promised == f">={next(iter(PYTHONS))}.0"
    assert ".".join(own_version.split(".")[:2]) in PYTHONS


@pytest.fixture(scope="module")
def service(installation: Installation) -> dict[str, str]:
    """The variables of the target ``smoke``."""
    return {"dbaudit_api_url": installation.url, "dbaudit_api_key": installation.new_key("admin")}


@pytest.mark.parametrize("version", PYTHONS)
def test_everything_runs_and_is_documented(
    version: str, service: dict[str, str], collections_path: Path, tmp_path: Path
) -> None:
    programs = programs_of(version)
    playbook, variables = tmp_path / "smoke.yml", tmp_path / "variables.yml"
    smoke = REPOSITORY / "tests" / "integration" / "targets" / "smoke"
    playbook.write_text(
        yaml.safe_dump([{"hosts": "localhost", "gather_facts": False, "roles": [{"role": str(smoke)}]}])
    )
    variables.write_text(yaml.safe_dump(service))

    run = run_playbook(playbook, collections_path, "-e", f"@{variables}", programs=programs)

    assert run.returncode == 0, run.stdout
    assert "failed=0" in run.stdout
    assert "[WARNING]" not in run.stdout
    assert "[DEPRECATION" not in run.stdout

    documented = subprocess.run(
        [programs / "ansible-doc", "--metadata-dump", "dbaudit.dbaudit"],
        env={**environment(), "ANSIBLE_COLLECTIONS_PATH": str(collections_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert documented.returncode == 0, documented.stderr
    found = json.loads(documented.stdout)["all"]
    modules = {f"dbaudit.dbaudit.{path.stem}" for path in (REPOSITORY / "plugins" / "modules").glob("*.py")}
    assert set(found["module"]) == modules


def programs_of(version: str) -> Path:
    """The folder with the programs of this ansible-core, which is installed when it is not yet."""
    if own_version.startswith(f"{version}."):
        return PROGRAMS
    programs = INSTALLED / version / "bin"
    if (programs / "ansible-playbook").exists():
        return programs
    present = dict(interpreters())
    suitable = [present[known] for known in PYTHONS[version] if known in present]
    if not suitable:
        pytest.skip(f"ansible-core {version} needs Python {' or '.join(PYTHONS[version])}")
    subprocess.run([suitable[-1], "-m", "venv", "--clear", programs.parent], check=True)
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*pip, f"ansible-core=={version}.*"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        missing = f"ansible-core {version} cannot be installed: {done.stderr}"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        pytest.skip(missing)
    return programs
