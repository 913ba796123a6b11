"""Opening a state: from every earlier schema to the present one, and refused by name where that cannot be."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from dbaudit.core.database import AuditOptions, Scope
from dbaudit.core.errors import ConfigurationError, ErrorCode, RequestError
from dbaudit.state import migrations, open_state
from dbaudit.state.backend import Backend
from dbaudit.state.encryption import Keyring
from dbaudit.state.events import EventQuery
from dbaudit.state.migrations import migrate
from dbaudit.state.schema import metadata
from psycopg import sql
from sqlalchemy import text

from tests.servers.account import server_account
from tests.servers.postgresql import PostgresServer
from tests.state.conftest import url_of
from tests.state.workers import open_and_close, open_as_another, workers

SCRIPTS = ScriptDirectory(str(Path(migrations.__file__).parent))
REVISIONS = [script.revision for script in SCRIPTS.walk_revisions()]


@contextmanager
def backend(url: str) -> Iterator[Backend]:
    opened = Backend(url)
    try:
        yield opened
    finally:
        opened.close()


def schema(url: str) -> list[str]:
    """Every table, column and index, and the revision."""
    with backend(url) as opened, opened.reading() as connection:
        if opened.is_sqlite:
            found = [
                str(row)
                for row in connection.execute(text("SELECT * FROM sqlite_master ORDER BY name")).all()
            ]
            versioned = any("alembic_version" in row for row in found)
        else:
            columns = "SELECT table_name, column_name, data_type FROM information_schema.columns"
            where = "WHERE table_schema = 'public' ORDER BY 1, 2"
            found = [str(row) for row in connection.execute(text(f"{columns} {where}")).all()]
            versioned = any("alembic_version" in row for row in found)
        if versioned:
            found.append(str(connection.execute(text("SELECT * FROM alembic_version")).all()))
        return found


def refused(url: str, keyring: Keyring) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        open_state(url, keyring)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("revision", [None, *REVISIONS])
def test_every_earlier_schema_is_brought_to_the_present_one(empty_url: str, revision: str | None) -> None:
    with backend(empty_url) as opened:
        if revision is not None:
            migrate(opened, revision)
        migrate(opened)
        with opened.reading() as connection:
            context = MigrationContext.configure(
                connection, opts={"compare_type": True, "compare_server_default": True}
            )
            assert context.get_current_revision() == SCRIPTS.get_current_head()
            assert compare_metadata(context, metadata) == []


def declare(opened: Backend, database_id: str, **fields: object) -> None:
    """A row as the first schema had it."""
    row = {
        **dict.fromkeys(("id", "name", "database", "username"), database_id),
        "type": "postgresql",
        "host": "db.example.com",
        "port": 5432,
        "ssl_mode": "require",
        "tags": "[]",
        "audit_options": "{}",
        "status": "pending",
        "audit_status": "active",
        "connection_version": 1,
        "created_at_us": 1,
        "updated_at_us": 1,
        **fields,
    }
    columns = ", ".join(f'"{name}"' for name in row)
    values = ", ".join(f":{name}" for name in row)
    with opened.writing() as connection:
        connection.execute(text(f"INSERT INTO databases ({columns}) VALUES ({values})"), row)


def test_databases_that_were_removed_earlier_are_in_reach_of_keys_by_their_last_tags(
    empty_url: str, keyring: Keyring
) -> None:
    with backend(empty_url) as opened:
        migrate(opened, "0005")
        declare(opened, "gone", tags='["shop", "ü \'"]', deleted_at_us=2)
        declare(opened, "bare", deleted_at_us=2)
        declare(opened, "there", tags='["shop"]', port=5433)
        with opened.writing() as connection:
            connection.execute(text("INSERT INTO database_tags (tag, database_no) VALUES ('shop', 3)"))
    state = open_state(empty_url, keyring)
    try:
        with state.backend.reading() as connection:
            tags = connection.execute(text("SELECT database_no, tag FROM database_tags ORDER BY 1, 2"))
            assert [tuple(found) for found in tags] == [(1, "shop"), (1, "ü '"), (3, "shop")]
        for tag, ids in (("shop", {"gone", "there"}), ("ü '", {"gone"}), ("other", set())):
            for database_id in ("gone", "bare", "there"):
                wanted = EventQuery(database_id=database_id, bound_to=(tag,))
                if database_id in ids:
                    assert state.events.query(wanted).events == []
                else:
                    with pytest.raises(RequestError, match="no database"):
                        state.events.query(wanted)
    finally:
        state.close()


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_databases_that_were_declared_before_there_was_a_scope_keep_the_whole_server(
    empty_url: str, revision: str, keyring: Keyring
) -> None:
    options = {"capture_queries": False, "retention_days": 7, "engine": {"mode": "ü"}}
    with backend(empty_url) as opened:
        migrate(opened, revision)
        declare(opened, "shop", audit_options=json.dumps(options))
    state = open_state(empty_url, keyring)
    try:
        kept = state.databases.get("shop").audit_options
        assert kept == AuditOptions(
            capture_queries=False, retention_days=7, scope=Scope.SERVER, engine={"mode": "ü"}
        )
        with state.backend.reading() as connection:
            servers = connection.execute(text("SELECT type, host, port, database_no FROM database_servers"))
            assert [tuple(found) for found in servers] == [("postgresql", "db.example.com", 5432, 1)]
    finally:
        state.close()


def test_the_revisions_are_one_line_of_descent() -> None:
    assert len(SCRIPTS.get_bases()) == len(SCRIPTS.get_heads()) == 1


def test_a_schema_newer_than_the_program_is_refused_and_left_as_it_is(url: str, keyring: Keyring) -> None:
    with backend(url) as opened, opened.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_future'"))
        connection.execute(text("CREATE TABLE of_the_future (x integer)"))
    before = schema(url)
    error = refused(url, keyring)
    assert error.code is ErrorCode.STATE_NEWER_THAN_PROGRAM
    assert "9999_future" in error.message
    assert "Upgrade dbaudit" in str(error.remedy)
    assert schema(url) == before


def test_many_processes_that_start_at_once_migrate_once(empty_url: str, key_file: Path) -> None:
    with workers(6, open_and_close, empty_url, key_file) as starting:
        assert [worker.receive() for worker in starting] == ["ready"] * 6
        for worker in starting:
            worker.tell("go")
        assert [worker.receive() for worker in starting] == [0] * 6
    assert schema(empty_url)[-1] == f"[('{SCRIPTS.get_current_head()}',)]"


def test_a_migration_that_fails_leaves_nothing_behind(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dbaudit.state.migrations.command.upgrade", lambda config, revision: _broken(config))
    with backend(empty_url) as opened, pytest.raises(RuntimeError):
        migrate(opened)
    assert schema(empty_url) == []


def _broken(config: Config) -> None:
    connection = config.attributes["connection"]
    connection.execute(text("CREATE TABLE half (x integer)"))
    raise RuntimeError("half way")


def test_a_database_of_another_program_is_refused_and_left_as_it_is(empty_url: str, keyring: Keyring) -> None:
    with backend(empty_url) as opened, opened.writing() as connection:
        connection.execute(text("CREATE TABLE events (mine integer)"))
    before = schema(empty_url)
    error = refused(empty_url, keyring)
    assert error.code is ErrorCode.CONFIGURATION_INVALID
    assert "events" in error.message
    assert schema(empty_url) == before


@pytest.mark.parametrize(
    "content", [b"this is no database, but some text " * 40, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(
    tmp_path: Path, keyring: Keyring, content: bytes
) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    error = refused(f"sqlite:///{path}", keyring)
    assert error.code is ErrorCode.CONFIGURATION_INVALID
    assert str(path) in error.message
    assert path.read_bytes() == content


def test_an_empty_file_becomes_a_state(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "state.db"
    path.touch()
    open_state(f"sqlite:///{path}", keyring).close()
    assert path.stat().st_size > 0


def test_a_new_state_and_its_folder_are_for_their_owner_alone(tmp_path: Path, keyring: Keyring) -> None:
    path = tmp_path / "a" / "b" / "state.db"
    state = open_state(f"sqlite:///{path}", keyring)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}
    state.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes.pop("state.db-wakeup") == 0o700
    assert set(modes) >= {"state.db", "state.db-wal"}
    assert set(modes.values()) == {0o600}


def test_a_folder_in_the_place_of_the_file_or_a_file_in_that_of_the_folder_is_refused(
    tmp_path: Path, keyring: Keyring
) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "state.db"):
        error = refused(f"sqlite:///{path}", keyring)
        assert error.code is ErrorCode.CONFIGURATION_INVALID
        assert str(path) in error.message


@pytest.mark.parametrize("place", ["file", "folder"])
def test_a_state_that_the_user_may_not_write_is_refused(
    tmp_path_factory: pytest.TempPathFactory, place: str
) -> None:
    # As another account: nothing is forbidden to root.
    account = server_account()
    folder = tmp_path_factory.mktemp("unwritable")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    path = folder / "state.db"
    if place == "file":
        path.touch()
        account.own([folder])
        path.chmod(0o444)
    elif account.user_id is None:
        folder.chmod(0o555)
    with workers(1, open_as_another, f"sqlite:///{path}", account.user_id) as (other,):
        code, message, remedy = other.receive()
    assert code is ErrorCode.CONFIGURATION_INVALID
    assert str(path) in message
    assert "may write" in remedy


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("nonsense", "sqlite:////absolute"),
        ("sqlite:///relative.db", "four slashes"),
        ("sqlite://", "four slashes"),
        ("mysql://u:tiger@h/d", "postgresql"),
    ],
)
def test_a_url_that_names_no_state_is_refused_with_what_would_be_right(url: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Backend(url)
    assert caught.value.code is ErrorCode.CONFIGURATION_INVALID
    assert remedy in str(caught.value.remedy)
    assert "tiger" not in f"{caught.value} {caught.value.remedy}"


def test_a_user_without_the_right_to_make_tables_gets_the_grant_that_mends_it(
    state_server: PostgresServer, keyring: Keyring
) -> None:
    state_server.create_role("Limited user", "pw")
    state_server.create_database("limited")
    url = f"postgresql://Limited%20user:pw@{state_server.host}:{state_server.port}/limited"
    error = refused(url, keyring)
    assert error.code is ErrorCode.CONFIGURATION_INVALID
    assert error.remedy == 'GRANT CREATE ON SCHEMA public TO "Limited user"'
    state_server.execute_admin(sql.SQL(error.remedy), database="limited")
    open_state(url, keyring).close()


def test_a_database_that_cannot_hold_every_text_is_refused(
    state_server: PostgresServer, keyring: Keyring
) -> None:
    statement = "create database latin encoding 'LATIN1' locale 'C' template template0"
    state_server.execute_admin(statement)
    error = refused(url_of(state_server, "latin"), keyring)
    assert error.code is ErrorCode.CONFIGURATION_INVALID
    assert "LATIN1" in error.message
