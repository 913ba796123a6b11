"""Copies of the collection at the place where Ansible's tools want it, below ``ansible_collections``."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAMS = Path(sys.executable).parent
# The tools keep what they install and remember in a home folder of their own.
HOME = REPOSITORY / ".cache" / "sanity"

ABOUT = yaml.safe_load((REPOSITORY / "galaxy.yml").read_text())
PLACE = Path("ansible_collections", ABOUT["namespace"], ABOUT["name"])


def environment(*path: str | Path) -> dict[str, str]:
    """This process's environment without settings of Ansible and Python.

    :param path: folders of programs that come before all others but those of this virtual environment.
    """
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE", "PYTHON"))
    }
    folders = [PROGRAMS, *path] if path else [PROGRAMS, os.environ["PATH"]]
    return {**inherited, "HOME": str(HOME), "PATH": os.pathsep.join(map(str, folders))}


def copy_checkout(root: Path) -> Path:
    """What git has or would take of the checkout, in a repository of its own below ``root``."""
    listed = output(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], REPOSITORY)
    collection = root / PLACE
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).exists():
            (collection / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, collection / name)
    output(["git", "init", "--quiet", "--initial-branch=main"], collection)
    output(["git", "add", "--all"], collection)
    return collection


def build_and_install(checkout: Path, root: Path) -> Path:
    """The collection as ``ansible-galaxy`` builds it of ``checkout`` and installs it below ``root``."""
    galaxy = PROGRAMS / "ansible-galaxy"
    output([galaxy, "collection", "build", "--output-path", root], checkout)
    archive = next(root.glob("*.tar.gz"))
    output([galaxy, "collection", "install", archive, "--offline", "--collections-path", root], root)
    return root / PLACE


def output(command: Sequence[str | Path], folder: Path, variables: Mapping[str, str] | None = None) -> str:
    """What the command writes to its standard output.

    :raises SystemExit: the command failed; all that it wrote is the reason.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables or environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout
