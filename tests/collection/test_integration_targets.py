"""``ansible-test integration``, as contributors to Ansible collections run it, against a running service."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.collection.conftest import Installation
from tests.collection_copies import PROGRAMS, copy_checkout, environment


def test_every_target_passes(installation: Installation, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path)
    given = {"dbaudit_api_url": installation.url, "dbaudit_api_key": installation.new_key("admin")}
    integration = checkout / "tests" / "integration"
    template = yaml.safe_load((integration / "integration_config.yml.template").read_text())
    assert set(template) == set(given)
    (integration / "integration_config.yml").write_text(yaml.safe_dump(given))

    run = subprocess.run(
        [
            *(PROGRAMS / "ansible-test", "integration", "--color", "no", "--allow-root"),
            *("--python", f"{sys.version_info.major}.{sys.version_info.minor}"),
        ],
        cwd=checkout,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stdout
    for target in (integration / "targets").iterdir():
        assert f"Running {target.name} integration test role" in run.stdout
    assert "failed=0" in run.stdout
