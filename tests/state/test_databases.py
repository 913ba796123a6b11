"""Declared databases: created, changed, found and removed, on both backends and under concurrency."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from dbaudit.core.database import AuditOptions, AuditStatus, ConnectionStatus, Database, SslMode
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.core.secret import Secret
from dbaudit.state import State
from dbaudit.state.databases import DatabaseFilter
from dbaudit.state.wakeup import Topic

from tests.state.conftest import Open
from tests.state.samples import PASSWORD, create, declaration


def test_a_created_database_is_pending_and_read_back_as_declared(store: State) -> None:
    declared = declaration(
        "größe 😀",
        ssl_ca="-----BEGIN CERTIFICATE-----\n…",
        tags=("prod", "eu"),
        audit_options=AuditOptions(retention_days=7, engine={"source": "csvlog"}),
        db_conns_auditing=False,
    )
    seen = store.wakeup.count(Topic.DATABASES)
    created = store.databases.create(declared, {"password": PASSWORD, "ssl_key": Secret("PEM")})
    assert (
        created
        == store.databases.get(created.id)
        == store.databases.find(declared.host, 5432, declared.database)
    )
    assert store.databases.all() == [created]
    assert {f: getattr(created, f) for f in declared.__struct_fields__} == {
        f: getattr(declared, f) for f in declared.__struct_fields__
    }
    assert created.status is ConnectionStatus.PENDING
    assert created.audit_status is AuditStatus.INITIALIZING
    assert created.connection_version == 1
    assert created.created_at_us == created.updated_at_us > 0
    assert store.wakeup.count(Topic.DATABASES) > seen
    target = store.databases.target(created.id)
    assert target.password.reveal() == PASSWORD.reveal()
    assert target.ssl_key is not None
    assert target.ssl_key.reveal() == "PEM"
    assert target.options == {"source": "csvlog"}


def test_the_same_address_cannot_be_declared_twice_but_again_after_a_delete(store: State) -> None:
    first = create(store)
    with pytest.raises(RequestError) as caught:
        create(store)
    assert caught.value.code is ErrorCode.DATABASE_EXISTS
    assert store.databases.page()[1] == 1
    other = create(store, "other")
    with pytest.raises(RequestError) as caught:
        store.databases.update(other.id, declaration("orders"), {"password": Secret("changed")})
    assert caught.value.code is ErrorCode.DATABASE_EXISTS
    assert store.databases.get(other.id) == other
    assert store.databases.secret_equals(other.id, "password", PASSWORD)
    store.databases.delete(first.id)
    assert create(store).id != first.id


def test_of_two_that_declare_the_same_address_at_once_exactly_one_succeeds(open_store: Open) -> None:
    stores = [open_store() for turn in range(4)]
    for number in range(5):
        barrier = Barrier(len(stores))

        def attempt(store: State, number: int = number, barrier: Barrier = barrier) -> str:
            barrier.wait()
            try:
                return create(store, f"db{number}").id
            except RequestError as error:
                return error.code

        with ThreadPoolExecutor(len(stores)) as pool:
            results = list(pool.map(attempt, stores))
        assert sorted(r == ErrorCode.DATABASE_EXISTS for r in results) == [False, True, True, True]
    assert stores[0].databases.page()[1] == 5


def test_an_unknown_or_deleted_database_is_not_found_by_any_call(store: State) -> None:
    gone = create(store)
    store.databases.delete(gone.id)
    for database_id in ("db_unknown", gone.id):
        calls: list[Any] = [
            lambda i=database_id: store.databases.get(i),
            lambda i=database_id: store.databases.target(i),
            lambda i=database_id: store.databases.delete(i),
            lambda i=database_id: store.databases.update(i, declaration(), {}),
            lambda i=database_id: store.collectors.get(i),
        ]
        for call in calls:
            with pytest.raises(RequestError) as caught:
                call()
            assert caught.value.code is ErrorCode.NOT_FOUND
    assert not store.databases.set_status(gone.id, 1, ConnectionStatus.CONNECTED)
    assert store.databases.all() == []
    assert store.databases.find("db.example.com", 5432, "orders") is None


def test_filters_narrow_by_every_field_and_by_all_tags(store: State) -> None:
    a = create(store, "a", tags=("prod", "eu"), host="one")
    b = create(store, "b", tags=("prod", "us"), host="two", type="mysql")
    c = create(store, "c", tags=("eu",), host="one")
    store.databases.set_status(c.id, 1, ConnectionStatus.CONNECTED)

    def found(**wanted: Any) -> list[str]:
        page, total = store.databases.page(DatabaseFilter(**wanted))
        assert total == len(page)
        return [database.id for database in page]

    assert found() == [a.id, b.id, c.id]
    assert found(tags=("prod",)) == [a.id, b.id]
    assert found(tags=("prod", "eu")) == [a.id]
    assert found(tags=("eu", "prod", "us")) == []
    assert found(tags=("pro",)) == []
    assert found(host="one") == [a.id, c.id]
    assert found(host="ONE") == [a.id, c.id]
    assert found(type="mysql") == [b.id]
    assert found(name="c") == [c.id]
    assert found(status=ConnectionStatus.CONNECTED) == [c.id]
    assert found(status=ConnectionStatus.PENDING, tags=("eu",)) == [a.id]
    store.databases.update(a.id, declaration("a", host="one", tags=("eu",)), {})
    assert found(tags=("prod",)) == [b.id]
    assert found(tags=("eu",)) == [a.id, c.id]
    store.databases.delete(c.id)
    assert found(tags=("eu",)) == [a.id]


def test_pages_are_exact_while_others_create_databases(open_store: Open) -> None:
    reader, writer = open_store(), open_store()
    before = [create(writer, f"before{n}").id for n in range(9)]
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(lambda: [create(writer, f"during{n}").id for n in range(40)])
        while not writing.done():
            page, total = reader.databases.page(page=1, per_page=100)
            assert len(page) == total, "the rows and their number are of one moment"
            assert [d.id for d in page][:9] == before
            walked: list[Database] = []
            for number in range(1, 4):
                walked += reader.databases.page(page=number, per_page=3)[0]
            assert [d.id for d in walked] == before
        during = writing.result()
    page, total = reader.databases.page(page=2, per_page=9)
    assert ([d.id for d in page], total) == (during[:9], 49)
    assert reader.databases.page(page=50, per_page=9) == ([], 49)


def test_an_update_that_changes_nothing_writes_nothing(store: State) -> None:
    options = AuditOptions(engine={"a": 1, "b": [2]})
    created = create(store, tags=("x", "y"), audit_options=options)
    before = _written(store)
    seen = store.wakeup.count(Topic.DATABASES)
    reordered = AuditOptions(engine={"b": [2], "a": 1})
    again = declaration(tags=("x", "y"), audit_options=reordered)
    same = store.databases.update(created.id, again, {"password": PASSWORD, "ssl_key": None})
    assert same == created
    assert _written(store) == before
    if store.backend.is_sqlite:  # on PostgreSQL the notice of create() may come back any time later
        assert store.wakeup.count(Topic.DATABASES) == seen


def _written(store: State) -> object:
    """Differs after any row was written."""
    if store.backend.is_sqlite:
        return store.changes.stamp()
    with store.backend.reading() as connection:
        query = "SELECT max(xmin::text::bigint) FROM {}"
        tables = ("databases", "secrets", "database_tags", "settings", "collectors")
        return [connection.exec_driver_sql(query.format(table)).scalar_one() for table in tables]


CONNECTION_CHANGES: dict[str, Any] = {
    "host": "other.example.com",
    "port": 6543,
    "database": "other",
    "username": "other",
    "ssl_mode": SslMode.VERIFY_FULL,
    "ssl_ca": "PEM",
    "ssl_cert": "PEM",
}


@pytest.mark.parametrize("field", CONNECTION_CHANGES)
def test_a_changed_connection_makes_a_database_pending_and_outdates_older_tests(
    store: State, field: str
) -> None:
    created = create(store)
    assert store.databases.set_status(
        created.id, 1, ConnectionStatus.CONNECTED, audit_status=AuditStatus.ACTIVE, code="c", reason="r"
    )
    assert store.databases.get(created.id).status_reason == "r"
    changed = store.databases.update(created.id, declaration(**{field: CONNECTION_CHANGES[field]}), {})
    assert getattr(changed, field) == CONNECTION_CHANGES[field]
    assert (changed.status, changed.status_code, changed.status_reason) == (
        ConnectionStatus.PENDING,
        None,
        None,
    )
    assert changed.audit_status is AuditStatus.INITIALIZING
    assert changed.connection_version == 2
    assert changed.updated_at_us > created.updated_at_us
    assert not store.databases.set_status(created.id, 1, ConnectionStatus.ERROR, reason="of the old address")
    assert store.databases.get(created.id) == changed
    assert store.databases.set_status(created.id, 2, ConnectionStatus.CONNECTED)


@pytest.mark.parametrize(
    "secrets", [{"password": Secret("new")}, {"password": None}, {"ssl_key": Secret("new")}]
)
def test_a_changed_secret_makes_a_database_pending(store: State, secrets: dict[str, Secret | None]) -> None:
    created = create(store)
    store.databases.set_status(created.id, 1, ConnectionStatus.CONNECTED)
    changed = store.databases.update(created.id, declaration(), secrets)
    assert changed.status is ConnectionStatus.PENDING
    assert changed.connection_version == 2
    for field, secret in secrets.items():
        assert store.databases.secret_equals(created.id, field, secret)


@pytest.mark.parametrize(
    "changes", [{"name": "x"}, {"tags": ("t",)}, {"audit_options": AuditOptions(retention_days=1)}]
)
def test_a_change_beside_the_connection_leaves_the_status(store: State, changes: dict[str, Any]) -> None:
    created = create(store)
    store.databases.set_status(created.id, 1, ConnectionStatus.CONNECTED, audit_status=AuditStatus.ACTIVE)
    changed = store.databases.update(created.id, declaration(**({"database": "orders"} | changes)), {})
    assert (changed.status, changed.audit_status) == (ConnectionStatus.CONNECTED, AuditStatus.ACTIVE)
    assert changed.connection_version == 1
    assert changed.updated_at_us > created.updated_at_us


def test_paused_is_the_users_word_until_the_user_takes_it_back(store: State) -> None:
    created = create(store)
    paused = store.databases.update(created.id, declaration(), {}, audit_status=AuditStatus.PAUSED)
    assert paused.audit_status is AuditStatus.PAUSED
    store.databases.set_status(created.id, 1, ConnectionStatus.CONNECTED, audit_status=AuditStatus.ACTIVE)
    seen = store.databases.get(created.id)
    assert (seen.status, seen.audit_status) == (ConnectionStatus.CONNECTED, AuditStatus.PAUSED)
    moved = store.databases.update(created.id, declaration(host="elsewhere"), {})
    assert moved.audit_status is AuditStatus.PAUSED
    resumed = store.databases.update(
        created.id, declaration(host="elsewhere"), {}, audit_status=AuditStatus.ACTIVE
    )
    assert resumed.audit_status is AuditStatus.ACTIVE


def test_a_change_based_on_an_outdated_view_is_refused_and_changes_nothing(store: State) -> None:
    seen = create(store)
    current = store.databases.update(seen.id, declaration(tags=("mine",)), {})
    with pytest.raises(RequestError) as caught:
        store.databases.update(
            seen.id, declaration(tags=("yours",)), {}, unless_changed_since_us=seen.updated_at_us
        )
    assert caught.value.code is ErrorCode.CONFLICT
    assert store.databases.get(seen.id) == current


def test_concurrent_updates_each_get_a_connection_version_of_their_own(open_store: Open) -> None:
    stores = [open_store() for turn in range(4)]
    created = create(stores[0])

    def change(store: State) -> list[int]:
        versions = []
        for number in range(10):
            secret = Secret(f"{id(store)} {number}")
            versions.append(
                store.databases.update(created.id, declaration(), {"password": secret}).connection_version
            )
        return versions

    with ThreadPoolExecutor(len(stores)) as pool:
        versions = [v for several in pool.map(change, stores) for v in several]
    assert sorted(versions) == list(range(2, 42))
    assert stores[0].databases.get(created.id).connection_version == 41


def test_deleting_forgets_the_secrets_and_keeps_the_retention(store: State) -> None:
    created = create(store, audit_options=AuditOptions(retention_days=3))
    assert store.databases.secret_equals(created.id, "password", PASSWORD)
    store.databases.delete(created.id)
    assert store.databases.secret_equals(created.id, "password", None)
    assert [days for other, days in store.databases.retentions()] == [3]
