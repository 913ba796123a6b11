"""The collection where Python and Ansible find it, and the real API for its modules to talk to."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from dbaudit.api import ApiServer, EngineDescription, create_app
from dbaudit.engine.manager import load_engines
from dbaudit.state import State, open_state
from dbaudit.state.api_keys import Scope
from dbaudit.state.encryption import keyring_from_file

from tests.host_limits import ANY_FOLDER_VARIABLE
from tests.patience import PATIENCE_SECONDS
from tests.servers.certificates import CertificateAuthority, Credential
from tests.servers.processes import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
PARTS = ("galaxy.yml", "meta", "plugins", "roles", "playbooks")


@dataclass(frozen=True)
class Service:
    """A running API with an empty state: its address and a key that may read and write databases."""

    url: str
    key: str
    state: State

    def new_key(self, *scopes: str) -> str:
        """Another key with these scopes."""
        return self.state.api_keys.create("another", tuple(Scope(scope) for scope in scopes))[1].reveal()


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


@pytest.fixture(scope="session")
def engines() -> list[EngineDescription]:
    """The installed engines, as the API is told of them."""
    return [
        EngineDescription(
            type=engine.type,
            display_name=engine.display_name,
            default_port=engine.default_port,
            options_schema=engine.options_schema,
        )
        for engine in (installed.engine for installed in load_engines().installed.values())
    ]


@pytest.fixture(scope="session")
def running_service(
    collections_path: Path, engines: list[EngineDescription], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The API on a free port, with a state of its own."""
    home = tmp_path_factory.mktemp("service")
    state = open_state(f"sqlite:///{home / 'state.db'}", keyring_from_file(home / "secrets.key", create=True))
    server = ApiServer(create_app(state, engines=engines), "127.0.0.1", 0, threads=4)
    server.prepare()
    thread = threading.Thread(target=server.serve, name="API")
    thread.start()
    try:
        key = state.api_keys.create("tests", (Scope.READ_DATABASES, Scope.WRITE_DATABASES))[1].reveal()
        yield Service(f"http://127.0.0.1:{server.port}", key, state)
    finally:
        server.stop()
        thread.join()
        state.close()


@pytest.fixture
def service(running_service: Service) -> Service:
    """The API without any database."""
    for database in running_service.state.databases.all():
        running_service.state.databases.delete(database.id)
    return running_service


@dataclass(frozen=True)
class Installation:
    """A running ``dbaudit up``: its API's address and a key that may read and write databases."""

    url: str
    key: str
    home: Path

    def new_key(self, *scopes: str) -> str:
        """Another key with these scopes."""
        return _create_key(self.home, *scopes)


@pytest.fixture(scope="session")
def installation(collections_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """API and agent as a user starts them."""
    home = tmp_path_factory.mktemp("installation")
    dbaudit = Path(sys.executable).with_name("dbaudit")
    log = home / "output.log"
    with log.open("wb") as output:
        running = subprocess.Popen(
            [dbaudit, "up", "--home", home, "--port", "0"],
            stderr=output,
            env=os.environ | ANY_FOLDER_VARIABLE,
        )
    try:
        wait_for(lambda: running.poll() is not None or "\nready" in log.read_text(), "dbaudit up")
        assert running.poll() is None, log.read_text()
        key = _create_key(home, "read:databases", "write:databases")
        yield Installation((home / "api.url").read_text().strip(), key, home)
    finally:
        running.terminate()
        running.wait(PATIENCE_SECONDS)


def _create_key(home: Path, *scopes: str) -> str:
    dbaudit = Path(sys.executable).with_name("dbaudit")
    wanted = [option for scope in scopes for option in ("--scope", scope)]
    return subprocess.run(
        [dbaudit, "keys", "create", "--home", home, "--name", "tests", *wanted],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.fixture(scope="session")
def authority() -> CertificateAuthority:
    return CertificateAuthority()


@pytest.fixture(scope="session")
def certificate(authority: CertificateAuthority) -> Credential:
    """A client's certificate and key."""
    return authority.client("dbaudit")
