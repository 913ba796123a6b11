"""Secrets in the state: never in clear, bound to their record, and rotated while everybody goes on."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest
from dbaudit.core.errors import ConfigurationError, ErrorCode, RequestError, TransientError
from dbaudit.core.event import Rejected
from dbaudit.core.secret import Secret
from dbaudit.state import State, open_state
from dbaudit.state.encryption import Encrypted, Keyring, keyring_from_file, keyring_from_text
from sqlalchemy import text

from tests.patience import PATIENCE_SECONDS
from tests.servers.postgresql import PostgresServer
from tests.state.conftest import Open
from tests.state.samples import PASSWORD, create, declaration, leased
from tests.state.workers import workers, write_and_read_secrets


def _dump(store: State) -> str:
    """Every value of every table."""
    with store.backend.reading() as connection:
        if store.backend.is_sqlite:
            tables = (
                connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'"))
                .scalars()
                .all()
            )
        else:
            query = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            tables = connection.execute(text(query)).scalars().all()
        rows = [row for table in tables for row in connection.execute(text(f"SELECT * FROM {table}")).all()]
        return "\n".join(
            str(tuple(bytes(v) if isinstance(v, memoryview) else v for v in row)) for row in rows
        )


def _keys_in_use(store: State) -> set[str]:
    with store.backend.reading() as connection:
        return set(connection.execute(text("SELECT DISTINCT key_id FROM secrets")).scalars())


def test_no_secret_is_in_any_table_in_clear(store: State) -> None:
    database, lease = leased(store)
    store.databases.update(database.id, declaration(), {"ssl_key": Secret("private-4711")})
    store.tasks.request_test(declaration(), {"password": PASSWORD})
    cursor = store.events.cursor(lease.database_no)
    store.events.append(lease, cursor, {"v": 1}, [], [Rejected("p", b"raw-4711", "broken")])
    key, shown = store.api_keys.create("k", ())
    dump = _dump(store)
    assert "4711" not in dump
    assert shown.reveal() not in dump
    assert key.id in dump


def test_no_secret_is_in_the_files_of_the_state_in_clear(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    state = open_state(f"sqlite:///{tmp_path}/state.db", keyring_from_file(keys, create=True))
    database = create(state)
    state.databases.update(database.id, declaration(), {"password": Secret("other-4711")})
    kept_open = [p.read_bytes() for p in tmp_path.glob("state.db-*") if p.is_file()]
    state.close()
    assert all(b"4711" not in content for content in [*kept_open, (tmp_path / "state.db").read_bytes()])
    assert b"db.example.com" in (tmp_path / "state.db").read_bytes()


def test_a_secret_moved_to_another_record_or_changed_is_refused(store: State) -> None:
    one, two = create(store, "one"), create(store, "two")
    with store.backend.writing() as connection:
        connection.execute(text("DELETE FROM secrets WHERE record_id = :r"), {"r": f"{two.id}/password"})
        move = text("UPDATE secrets SET record_id = :new WHERE record_id = :old")
        connection.execute(move, {"new": f"{two.id}/password", "old": f"{one.id}/password"})
    with pytest.raises(ConfigurationError) as caught:
        store.databases.target(two.id)
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_INVALID
    assert f"{two.id}/password" in caught.value.message


@pytest.mark.parametrize("value", ["", "ünï 😀 'quoted' \\ \n", "\0", "x" * 100_000])
def test_a_secret_of_any_text_comes_back_as_it_was(store: State, value: str) -> None:
    database = store.databases.create(declaration(), {"password": Secret(value)})
    assert store.databases.target(database.id).password.reveal() == value
    assert store.databases.secret_equals(database.id, "password", Secret(value))
    assert not store.databases.secret_equals(database.id, "password", Secret(value + "x"))


def test_rotation_leaves_nothing_under_the_old_key_and_shows_its_progress(
    open_store: Open, key_file: Path, url: str
) -> None:
    store, other = open_store(), open_store()
    databases = [create(store, f"db{n}") for n in range(5)]
    before = key_file.read_text()
    progress = list(store.secrets.rotate())
    assert progress[0] == (0, 5)
    assert progress[-1] == (5, 5)
    after = key_file.read_text()
    assert len(after.splitlines()) == 1
    assert after != before
    assert _keys_in_use(store) == {after.partition(":")[0]}
    for state in (store, other, open_store()):
        assert state.databases.target(databases[0].id).password == PASSWORD
    database = create(other, "written by a process that knew the old key only")
    assert _keys_in_use(store) == {after.partition(":")[0]}
    assert store.databases.target(database.id).password == PASSWORD
    with pytest.raises(ConfigurationError) as caught:
        open_state(url, keyring_from_text(before.strip(), "v")).databases.target(database.id)
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_MISSING


def test_rotations_go_on_while_other_processes_write_and_read(store: State, url: str, key_file: Path) -> None:
    ids = [[create(store, f"db{who}.{n}").id for n in range(3)] for who in range(2)]
    for n in range(40):
        create(store, f"more{n}")
    with (
        workers(1, write_and_read_secrets, url, key_file, ids[0]) as first,
        workers(1, write_and_read_secrets, url, key_file, ids[1]) as second,
    ):
        others = first + second
        assert [worker.receive() for worker in others] == ["ready", "ready"]
        for _turn in range(4):
            list(store.secrets.rotate())
            key_id = key_file.read_text().partition(":")[0]
            assert _keys_in_use(store) == {key_id}
        assert all(worker.end() > 0 for worker in others)
    assert _keys_in_use(store) == {key_id}
    assert len(key_file.read_text().splitlines()) == 1


def test_a_password_changed_during_a_rotation_is_not_put_back(open_store: Open) -> None:
    store, other = open_store(), open_store()
    databases = [create(store, f"db{n}") for n in range(3)]
    rotation = store.secrets.rotate()
    next(rotation)
    other.databases.update(databases[0].id, declaration("db0"), {"password": Secret("new")})
    other.databases.delete(databases[1].id)
    list(rotation)
    assert store.databases.target(databases[0].id).password == Secret("new")
    assert store.databases.secret_equals(databases[1].id, "password", None)
    assert store.databases.target(databases[2].id).password == PASSWORD


def test_a_password_written_while_the_old_one_is_re_encrypted_stays(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = open_store(), open_store()
    database = create(store)
    decrypt = Keyring.decrypt
    writing: list[Thread] = []

    def decrypt_while_another_writes(keys: Keyring, value: Encrypted, record_id: str) -> bytes:
        plain = decrypt(keys, value, record_id)
        if not writing:
            change = (database.id, declaration(), {"password": Secret("new")})
            writing.append(Thread(target=other.databases.update, args=change))
            writing[0].start()
            writing[0].join(0.3)  # it has to wait for the rotation; without its lock it would be done by now
        return plain

    rotation = store.secrets.rotate()
    next(rotation)
    monkeypatch.setattr(Keyring, "decrypt", decrypt_while_another_writes)
    list(rotation)
    writing[0].join(PATIENCE_SECONDS)
    assert store.databases.target(database.id).password == Secret("new")
    assert len(_keys_in_use(store)) == 1


def test_no_secret_is_written_under_a_key_that_is_being_retired(open_store: Open, key_file: Path) -> None:
    store, other = open_store(), open_store()
    create(store)
    rotating = Thread(target=lambda: list(store.secrets.rotate()))
    with other.backend.writing() as connection:
        other.secrets.put(connection, "first", Secret("a"))
        rotating.start()
        rotating.join(0.3)  # it has to wait for this transaction
        other.secrets.put(connection, "second", Secret("b"))
    rotating.join(PATIENCE_SECONDS)
    assert _keys_in_use(store) == {key_file.read_text().partition(":")[0]}
    with store.backend.reading() as connection:
        assert store.secrets.get(connection, "second") == Secret("b")


def test_of_two_rotations_the_later_one_finishes_and_no_secret_is_lost(
    open_store: Open, key_file: Path
) -> None:
    first, second = open_store(), open_store()
    database = create(first)
    earlier, later = first.secrets.rotate(), second.secrets.rotate()
    next(earlier)
    next(later)
    with pytest.raises(RequestError) as caught:
        list(earlier)
    assert caught.value.code is ErrorCode.CONFLICT
    list(later)
    assert len(key_file.read_text().splitlines()) == 1
    assert open_store().databases.target(database.id).password == PASSWORD


def test_an_interrupted_rotation_loses_nothing_and_the_next_one_makes_it_good(
    open_store: Open, key_file: Path
) -> None:
    store = open_store()
    database = create(store)
    rotation = store.secrets.rotate()
    next(rotation)
    rotation.close()
    assert len(key_file.read_text().splitlines()) == 2
    assert open_store().databases.target(database.id).password == PASSWORD
    list(open_store().secrets.rotate())
    assert len(key_file.read_text().splitlines()) == 1
    assert _keys_in_use(store) == {key_file.read_text().partition(":")[0]}
    assert store.databases.target(database.id).password == PASSWORD


def test_rotation_with_keys_from_a_variable_needs_a_new_one_in_front(url: str, key_file: Path) -> None:
    old = key_file.read_text().strip()
    new = f"new:{'A' * 43}="
    state = open_state(url, keyring_from_text(old, "v"))
    database = create(state)
    with pytest.raises(ConfigurationError, match="no new encryption key") as caught:
        list(state.secrets.rotate())
    assert caught.value.remedy is not None
    state.close()
    # Processes that know both keys, in whichever order, go on during the rotation.
    waiting = open_state(url, keyring_from_text(f"{old},{new}", "v"))
    rotating = open_state(url, keyring_from_text(f"{new},{old}", "v"))
    list(rotating.secrets.rotate())
    assert _keys_in_use(rotating) == {"new"}
    assert waiting.databases.target(database.id).password == PASSWORD
    assert waiting.databases.target(create(waiting, "later").id).password == PASSWORD
    assert _keys_in_use(rotating) == {"new"}
    waiting.close()
    rotating.close()


def test_rotation_stops_with_an_error_when_a_secret_cannot_be_read_and_keeps_every_key(
    store: State, key_file: Path
) -> None:
    broken, good = create(store, "broken"), create(store, "good")
    with store.backend.writing() as connection:
        change = text("UPDATE secrets SET nonce = :n WHERE record_id = :r")
        connection.execute(change, {"n": b"x" * 12, "r": f"{broken.id}/password"})
    with pytest.raises(ConfigurationError) as caught:
        list(store.secrets.rotate())
    assert caught.value.code is ErrorCode.ENCRYPTION_KEY_INVALID
    assert broken.id in caught.value.message
    assert len(key_file.read_text().splitlines()) == 2
    assert store.databases.target(good.id).password == PASSWORD


def test_a_refused_login_shows_no_password_of_the_url(key_file: Path, state_server: PostgresServer) -> None:
    url = f"postgresql://postgres:hidden-4711@127.0.0.1:{state_server.port}/postgres"
    with pytest.raises(TransientError) as caught:
        open_state(url, keyring_from_file(key_file, create=False))
    assert caught.value.code is ErrorCode.STATE_UNAVAILABLE
    assert "4711" not in f"{caught.value} {caught.value.__cause__}"
