"""A host for the roles `server` and `agent`: folders in place of /opt, /etc and /var, and wheels."""

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.collection.running import run_playbook
from tests.patience import PATIENCE_SECONDS
from tests.servers.account import server_account
from tests.servers.cache import once

REPOSITORY = Path(__file__).resolve().parents[2]
CONFINEMENT = Path(__file__).with_name("confinement.py")
EXTRAS = ("server", "postgresql")
SUITABLE = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"


@cache
def python() -> Path:
    """A Python for virtual environments that the services' account can run."""
    candidates = [Path(sys.base_prefix) / "bin" / "python3", Path("/usr/bin/python3")]
    for candidate in candidates:
        command: list[str | Path] = ["env", candidate, "-c", SUITABLE]
        if server_account().run(command, {"PATH": os.defpath}, Path("/")).returncode == 0:
            return candidate
    raise FileNotFoundError(
        f"none of {candidates} is a Python 3.11 with the module venv that {server_account().name} can run"
    )


def wheels(folder: Path) -> Path:
    """A folder with the wheel of this checkout and, fetched once, those of all that it needs."""
    pip = [sys.executable, "-m", "pip", "--python", str(python())]
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(REPOSITORY)], check=True)
    own = next(folder.glob("*.whl"))

    def fetch(into: Path) -> None:
        wanted = f"{own}[{','.join(EXTRAS)}]"
        subprocess.run([*pip, "download", "--quiet", "--dest", str(into), wanted], check=True)
        (into / own.name).unlink()

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    needed = [sys.version_info[:2], str(python()), project["dependencies"], project["optional-dependencies"]]
    for wheel in once(f"wheels-{hashlib.sha256(repr(needed).encode()).hexdigest()[:12]}", fetch).iterdir():
        (folder / wheel.name).symlink_to(wheel)
    return folder


def need_systemd_analyze() -> str:
    """The program that knows what units mean; without it, a test is skipped on a laptop and fails in CI."""
    program = shutil.which("systemd-analyze")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("systemd-analyze is not installed", pytrace=False)
        pytest.skip("systemd-analyze is not installed")
    return program


class Host:
    """One host.

    Args:
        folder: of everything that the roles make; its account is that of the test servers.
        installations: the folder of the virtual environments, which several hosts may share.
        wheels: what is installed from, without any package index.
        collections_path: where the collection is.
    """

    def __init__(self, folder: Path, installations: Path, wheels: Path, collections_path: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.configuration = folder / "etc"
        self.units = folder / "units"
        self.admin_key_file = folder / "admin.key"
        self._collections_path = collections_path
        self.variables: dict[str, Any] = {
            "ansible_python_interpreter": sys.executable,
            "dbaudit_wheels": str(wheels),
            "dbaudit_pip_environment": {"PIP_NO_COMPILE": "1"},
            "dbaudit_python": str(python()),
            "dbaudit_system_packages": [],
            "dbaudit_drivers": ["postgresql"],
            "dbaudit_user": server_account().name,
            "dbaudit_manage_user": False,
            "dbaudit_manage_service": False,
            "dbaudit_install_dir": str(installations),
            "dbaudit_config_dir": str(self.configuration),
            "dbaudit_home": str(self.home),
            "dbaudit_unit_dir": str(self.units),
            "dbaudit_server_port": 0,
            "dbaudit_server_admin_key_file": str(self.admin_key_file),
        }
        self.units.mkdir()

    def play(self, playbook: str | Path, *options: str, fails: bool = False, **variables: Any) -> str:
        """The output of a playbook at high verbosity, which has to succeed, or to fail where that is said."""
        file = self.folder / "variables.yml"
        file.write_text(yaml.safe_dump({**self.variables, **variables}))
        inventory = self.folder / "inventory.yml"
        localhost = {"hosts": {"localhost": {"ansible_connection": "local"}}}
        inventory.write_text(yaml.safe_dump(dict.fromkeys(("dbaudit_servers", "dbaudit_agents"), localhost)))
        given = ["-vvv", "-i", str(inventory), "-e", f"@{file}"]
        faster = {"ANSIBLE_PIPELINING": "true"}
        done = run_playbook(playbook, self._collections_path, *given, *options, environment=faster)
        assert (done.returncode != 0) is fails, done.stdout[-5000:]
        return done.stdout

    def role(self, name: str, *options: str, fails: bool = False, **variables: Any) -> str:
        """The output of a play with one role."""
        playbook = self.folder / f"{name}.yml"
        play = {"hosts": "localhost", "gather_facts": False, "roles": [f"dbaudit.dbaudit.{name}"]}
        playbook.write_text(yaml.safe_dump([play]))
        return self.play(playbook, *options, fails=fails, **variables)

    def unit(self, name: str) -> Path:
        return self.units / f"{name}.service"

    @contextmanager
    def running(self, name: str) -> Iterator[Path]:
        """The service, started as its unit says and by its account; what it writes is in the file given."""
        need_systemd_analyze()
        assert f"\nUser={server_account().name}\n" in self.unit(name).read_text()
        log = self.folder / f"{name}.log"
        command: list[str | Path] = [python(), "-c", CONFINEMENT.read_text(), self.unit(name)]
        service = server_account().spawn(command, {"PATH": os.defpath}, Path("/"), log)
        try:
            yield log
            assert service.poll() is None, log.read_text()
            assert "Seccomp:\t2" in Path(f"/proc/{service.pid}/status").read_text()
        finally:
            service.terminate()
            service.wait(PATIENCE_SECONDS)
