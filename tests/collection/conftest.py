"""The collection where Python and Ansible find it: below ``ansible_collections/dbaudit/dbaudit``."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ("galaxy.yml", "meta", "plugins", "roles", "playbooks")


@pytest.fixture(scope="session")
def collections_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for ``ANSIBLE_COLLECTIONS_PATH``, from which this process can import the modules too."""
    path = tmp_path_factory.mktemp("collections")
    collection = path / "ansible_collections" / "dbaudit" / "dbaudit"
    collection.mkdir(parents=True)
    for part in PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, collection / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, collection / part)
    sys.path.insert(0, str(path))
    yield path
    sys.path.remove(str(path))
