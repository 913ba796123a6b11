"""The folder of a run: `.run` of the checkout, which `make clean` removes."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.account import server_account

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS_OF_THE_COLLECTION = ("galaxy.yml", "meta", "plugins", "roles", "playbooks")
# A socket's path holds 107 bytes; the server's own part of it is about 60 of them.
LONGEST_FOLDER = 45


@contextmanager
def run_folder() -> Iterator[Path]:
    """A new, empty folder; the server's own goes into it too, where its account can enter and its socket
    fits."""
    folder = REPOSITORY / ".run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    before = tempfile.tempdir
    if len(str(folder)) <= LONGEST_FOLDER and _can_enter(folder):
        tempfile.tempdir = str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = before


def _can_enter(folder: Path) -> bool:
    if os.geteuid() != 0:
        return True
    done = server_account().run(["test", "-x", folder], {"PATH": os.defpath}, Path("/"))
    return done.returncode == 0


def collections_path(folder: Path) -> Path:
    """A copy of the checkout's collection where Ansible looks for it."""
    path = folder / "collections"
    collection = path / "ansible_collections" / "dbaudit" / "dbaudit"
    for part in PARTS_OF_THE_COLLECTION:
        source = REPOSITORY / part
        target = collection / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    return path
