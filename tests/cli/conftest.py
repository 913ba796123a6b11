"""One running installation that the tests of client commands share."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.running import Up, new_key


@dataclass(frozen=True)
class Installation:
    """Its home, its address, an administrator's key, and the variables by which clients find it."""

    home: Path
    url: str
    key: str

    @property
    def variables(self) -> dict[str, str]:
        return {"DBAUDIT_API_URL": self.url, "DBAUDIT_API_KEY": self.key}


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    home = tmp_path_factory.mktemp("installation") / "home"
    with Up(home, "--port", "0") as up:
        up.until_ready()
        yield Installation(home, up.url, new_key(home))
        up.end()
