"""The store suite runs on SQLite and on PostgreSQL; ``store`` and ``open_store`` open the state of a test."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dbaudit.state import State, open_state
from dbaudit.state.encryption import Keyring, keyring_from_file
from psycopg import sql

from tests.conftest import DEFAULT_MAJOR, missing_engine_is_told
from tests.servers.postgresql import PostgresServer

TEMPLATE = "state_template"
_numbers = itertools.count()

Open = Callable[..., State]


@pytest.fixture(scope="session")
def state_server() -> Iterator[PostgresServer]:
    """A server that logs no statements, for states alone."""
    settings = {"log_connections": False, "log_disconnections": False, "max_connections": 300}
    with missing_engine_is_told(), PostgresServer(DEFAULT_MAJOR, settings=settings) as server:
        yield server


def url_of(server: PostgresServer, database: str) -> str:
    password = server.superuser_password
    return f"postgresql://{server.superuser}:{password}@{server.host}:{server.port}/{database}"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated state, to be copied: a migration takes longer than most tests."""
    folder = tmp_path_factory.mktemp("template")
    open_state(f"sqlite:///{folder}/state.db", keyring_from_file(folder / "keys", create=True)).close()
    return folder / "state.db"


@pytest.fixture(scope="session")
def postgresql_template(state_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    keys = tmp_path_factory.mktemp("template") / "keys"
    state_server.create_database(TEMPLATE)
    open_state(url_of(state_server, TEMPLATE), keyring_from_file(keys, create=True)).close()
    return TEMPLATE


@pytest.fixture(params=["sqlite", "postgresql"])
def backend_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def empty_url(backend_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a database that holds nothing yet."""
    if backend_name == "sqlite":
        yield f"sqlite:///{tmp_path}/state.db"
    else:
        yield from _postgresql_database(request.getfixturevalue("state_server"), "template0")


@pytest.fixture
def url(backend_name: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a migrated state without anything in it."""
    if backend_name == "sqlite":
        shutil.copyfile(request.getfixturevalue("sqlite_template"), tmp_path / "state.db")
        yield f"sqlite:///{tmp_path}/state.db"
    else:
        template = request.getfixturevalue("postgresql_template")
        yield from _postgresql_database(request.getfixturevalue("state_server"), template)


def _postgresql_database(server: PostgresServer, template: str) -> Iterator[str]:
    name = f"state_{next(_numbers)}"
    create = sql.SQL("create database {} template {} strategy file_copy")
    server.execute_admin(create.format(sql.Identifier(name), sql.Identifier(template)))
    yield url_of(server, name)
    server.execute_admin(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "encryption.keys"
    keyring_from_file(path, create=True)
    return path


@pytest.fixture
def keyring(key_file: Path) -> Keyring:
    return keyring_from_file(key_file, create=False)


@pytest.fixture
def open_store(url: str, key_file: Path) -> Iterator[Open]:
    """Opens the state once more, as another process would; closed at the end of the test. Its leases last
    until then, however slow the machine is, unless a test asks otherwise.
    """
    opened: list[State] = []

    def open_it(*, lease_seconds: float = 3600.0) -> State:
        keyring = keyring_from_file(key_file, create=False)
        opened.append(open_state(url, keyring, lease_seconds=lease_seconds))
        return opened[-1]

    yield open_it
    for state in opened:
        state.close()


@pytest.fixture
def store(open_store: Open) -> State:
    return open_store()
