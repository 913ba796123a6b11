"""A state that is full, locked, read-only or away: TransientError, nothing half done, and then it goes on."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dbaudit.core.errors import ErrorCode, TransientError
from dbaudit.core.event import Rejected
from dbaudit.state import State, open_state
from dbaudit.state.encryption import Keyring
from dbaudit.state.events import EventQuery
from dbaudit.state.wakeup import Topic
from psycopg import sql
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import text

from tests.servers.postgresql import PostgresServer
from tests.servers.processes import wait_for
from tests.state.conftest import Open, url_of
from tests.state.samples import append, create, event, leased
from tests.state.workers import fill_up, workers


@contextmanager
def unavailable() -> Iterator[None]:
    with pytest.raises(TransientError) as caught:
        yield
    assert caught.value.code is ErrorCode.STATE_UNAVAILABLE
    assert "\n" not in caught.value.message


def set_pragma(store: State, pragma: str) -> None:
    """For every connection from now on."""
    store.backend.engine.dispose()
    sqlalchemy_event.listen(
        store.backend.engine, "connect", lambda connection, record: connection.execute(f"PRAGMA {pragma}")
    )


ON_SQLITE = pytest.mark.parametrize("backend_name", ["sqlite"], indirect=True)


@ON_SQLITE
def test_a_full_state_stores_nothing_of_a_chunk_and_takes_it_later(store: State) -> None:
    database, lease = leased(store)
    append(store, lease, event("before"))
    with store.backend.reading() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    chunk = [event(f"k{n}", query="x" * 500) for n in range(2000)]
    after = store.events.cursor(lease.database_no)
    set_pragma(store, f"max_page_count = {pages + 20}")
    for _turn in range(2):
        with unavailable():
            store.events.append(lease, after, {"v": 1, "n": 2}, chunk, [Rejected("p", b"raw", "r")])
        assert store.events.cursor(lease.database_no) == after
        assert [s.event.key for s in store.events.query(EventQuery()).events] == ["before"]
        collector = store.collectors.get(database.id)
        assert (collector.events_total, collector.rejected_total) == (1, 0)
        assert store.events.counts(database.id).today == 1
    set_pragma(store, "max_page_count = 1000000")
    assert (
        store.events.append(lease, after, {"v": 1, "n": 2}, chunk, [Rejected("p", b"raw", "r")]).stored
        == 2000
    )
    assert store.collectors.get(database.id).events_total == 2001


@ON_SQLITE
def test_a_process_that_may_not_write_a_larger_file_stores_whole_chunks_only(
    store: State, url: str, key_file: Path
) -> None:
    lease = leased(store)[1]
    size = Path(url.removeprefix("sqlite:///")).stat().st_size
    with workers(1, fill_up, url, key_file, lease, size + 400_000) as (filling,):
        stored, code = filling.receive()
    assert code is ErrorCode.STATE_UNAVAILABLE
    assert stored > 0
    with store.backend.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM events")).scalar_one() == stored
        assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"
    assert store.events.cursor(lease.database_no).cursor == {"v": 1, "n": stored}
    append(store, lease, event("later"))


@ON_SQLITE
def test_a_locked_state_is_waited_for_and_readers_go_on_meanwhile(open_store: Open) -> None:
    store, other = open_store(), open_store()
    created = create(store)
    set_pragma(store, "busy_timeout = 50")
    with other.backend.writing() as connection:
        connection.execute(text("UPDATE databases SET name = 'half done'"))
        with unavailable():
            create(store, "more")
        assert store.databases.get(created.id).name == "orders"
    assert store.databases.get(created.id).name == "half done"
    create(store, "more")
    set_pragma(store, "busy_timeout = 30000")
    with ThreadPoolExecutor(1) as pool:
        with other.backend.writing() as connection:
            connection.execute(text("UPDATE databases SET name = 'done'"))
            waiting = pool.submit(create, store, "waited for")
        assert waiting.result().name == "waited for"


def test_when_every_connection_is_busy_the_error_says_so(
    store: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.backend.engine.pool, "_timeout", 0.05)
    with ExitStack() as busy:
        for _turn in range(30):
            busy.enter_context(store.backend.reading())
        with unavailable():
            store.databases.all()
    assert store.databases.all() == []


def test_an_error_inside_a_transaction_undoes_all_of_it(store: State) -> None:
    insert = text("INSERT INTO settings (key, value, updated_at_us) VALUES ('k', '1', :at)")
    with pytest.raises(ZeroDivisionError), store.backend.writing() as connection:
        connection.execute(insert, {"at": 1 // int(connection.execute(insert, {"at": 0}).rowcount == 0)})
    assert store.settings.get("k") is None
    abandoned = store.backend.writing()
    connection = abandoned.__enter__()
    connection.execute(insert, {"at": 0})
    del connection, abandoned
    gc.collect()
    store.settings.put("k", 2)
    assert store.settings.get("k") == 2


CALLS: list[Callable[[State], Any]] = [
    lambda store: store.databases.all(),
    lambda store: create(store, "new"),
    lambda store: store.settings.put("k", 1),
    lambda store: store.tasks.claim("node"),
    lambda store: store.tasks.wait("task_x", 0),
    lambda store: store.nodes.all(),
    lambda store: store.api_keys.verify("x"),
    lambda store: store.events.query(EventQuery()),
    lambda store: store.changes.stamp(),
]


def test_a_postgresql_that_goes_away_and_comes_back(
    postgres_server: Callable[..., PostgresServer], keyring: Keyring
) -> None:
    server = postgres_server(durable=True)
    state = open_state(url_of(server, "postgres"), keyring, lease_seconds=3600)
    other = open_state(url_of(server, "postgres"), keyring)
    lease = leased(state)[1]
    append(state, lease, event("before"))
    after = state.events.cursor(lease.database_no)
    server.stop("immediate")
    for call in CALLS:
        with unavailable():
            call(state)
    with unavailable():
        state.events.append(lease, after, {"v": 1}, [event("while away")], [])
    state.wakeup.notify(Topic.EVENTS)
    with unavailable():
        open_state(url_of(server, "postgres"), keyring)
    server.start()
    for call in CALLS:
        call(state)
    assert state.events.cursor(lease.database_no) == after
    state.events.append(lease, after, {"v": 1}, [event("back")], [])
    assert [s.event.key for s in state.events.query(EventQuery()).events] == ["back", "before"]

    def heard() -> bool:
        seen = other.wakeup.count(Topic.TASK_NEW)
        state.wakeup.notify(Topic.TASK_NEW)
        return other.wakeup.wait(Topic.TASK_NEW, seen, 0.1)

    wait_for(heard, "a notice after the server came back")
    state.close()
    other.close()


def test_connections_that_the_server_ended_are_replaced(
    state_server: PostgresServer, keyring: Keyring
) -> None:
    state_server.create_database("ended")
    state = open_state(url_of(state_server, "ended"), keyring)
    for _turn in range(3):
        for call in CALLS[:1] + CALLS[2:]:
            call(state)
        ended = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity where datname = 'ended'"
        assert state_server.execute_admin(ended)[0][0] >= 2
    assert state.settings.get("k") == 1
    seen = state.wakeup.count(Topic.EVENTS)
    state.wakeup.notify(Topic.EVENTS)
    assert state.wakeup.wait(Topic.EVENTS, seen, 0)
    state.close()


def test_a_postgresql_that_takes_no_writes_is_waited_for(
    state_server: PostgresServer, keyring: Keyring
) -> None:
    state_server.create_database("standby")
    state = open_state(url_of(state_server, "standby"), keyring)
    switch = sql.SQL("alter database standby set default_transaction_read_only = {}")
    state_server.execute_admin(switch.format(sql.Literal(True)))
    state.backend.engine.dispose()
    with unavailable():
        create(state)
    assert state.databases.all() == []
    state_server.execute_admin(switch.format(sql.Literal(False)))
    state.backend.engine.dispose()
    create(state)
    state.close()
