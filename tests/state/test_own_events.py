"""The events on dbaudit itself: with the change or not at all, in the order of committing, as long as the
operator says.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from dbaudit.agent.retention import Retention
from dbaudit.core.clock import now_us
from dbaudit.core.errors import RequestError
from dbaudit.state import State
from dbaudit.state.api_keys import Scope
from dbaudit.state.databases import Change
from dbaudit.state.events import EventOrder, EventQuery, StoredEvent
from dbaudit.state.own_events import Act, Action, By, Deed
from dbaudit.state.schema import events
from sqlalchemy import text, update
from sqlalchemy.exc import ProgrammingError

from tests.state.conftest import Open
from tests.state.samples import PASSWORD, append, create, declaration, event, leased

ACT = Act(operation="update_database", by=By.API_KEY, user="ci", key_id="key_1", client="curl\x1b[2J")
READ = Deed(action=Action.READ, rows=3)
DAY_US = 24 * 3600 * 1_000_000


def stored(state: State) -> list[StoredEvent]:
    wanted = EventQuery(types=("dbaudit.api",), order=EventOrder.STORED, limit=1000)
    return state.events.query(wanted).events


@contextmanager
def no_event_can_be_stored(state: State) -> Iterator[None]:
    with state.backend.writing() as connection:
        connection.execute(text("ALTER TABLE events RENAME TO elsewhere"))
    yield
    with state.backend.writing() as connection:
        connection.execute(text("ALTER TABLE elsewhere RENAME TO events"))


def test_a_change_that_fails_leaves_no_event(store: State) -> None:
    one, two = create(store, "one"), create(store, "two")
    with pytest.raises(RequestError, match="declared already"):
        store.databases.create(declaration("one"), {}, act=ACT)
    with pytest.raises(RequestError, match="declared already"):
        store.databases.update(two.id, declaration("one"), {}, act=ACT)
    with pytest.raises(RequestError, match="changed by somebody else"):
        store.databases.delete(one.id, unless_changed_since_us=1, act=ACT)
    removal = Change(database_id=one.id, declaration=None)
    with pytest.raises(RequestError, match="changed by somebody else"):
        store.databases.apply(
            [removal, Change(database_id=two.id, declaration=declaration("x"), unless_changed_since_us=1)],
            ACT,
        )
    with pytest.raises(RequestError):
        store.db_conns.delete(act=ACT)
    with pytest.raises(RequestError):
        store.api_keys.revoke("key_nosuch", act=ACT)
    assert stored(store) == []


def test_a_change_whose_event_cannot_be_stored_is_not_made(store: State) -> None:
    made = create(store)
    key, _secret = store.api_keys.create("ci", (Scope.ADMIN,))
    with no_event_can_be_stored(store):
        with pytest.raises(ProgrammingError):
            store.databases.update(made.id, declaration("renamed"), {}, act=ACT)
        with pytest.raises(ProgrammingError):
            store.databases.delete(made.id, act=ACT)
        with pytest.raises(ProgrammingError):
            store.api_keys.create("other", (Scope.ADMIN,), act=ACT)
        with pytest.raises(ProgrammingError):
            store.api_keys.revoke(key.id, act=ACT)
        with pytest.raises(ProgrammingError):
            store.db_conns.put(
                {"audit_protocol": "TCP", "audit_address": "10.0.0.5", "audit_port": 9000}, act=ACT
            )
        with pytest.raises(ProgrammingError):
            store.own_events.store(ACT, READ)
    assert store.databases.get(made.id) == made
    assert store.api_keys.all() == [key]
    assert store.db_conns.current().settings is None
    store.own_events.store(ACT, READ)
    assert [one.event.rows_affected for one in stored(store)] == [3]


def test_what_changes_nothing_leaves_no_event(store: State) -> None:
    made = create(store)
    key, _secret = store.api_keys.create("ci", (Scope.ADMIN,))
    store.databases.update(made.id, declaration(), {"password": PASSWORD}, act=ACT)
    store.databases.apply([], ACT)
    store.api_keys.update(key.id, lambda present: present, act=ACT)
    store.db_conns.set_policy(False, act=ACT)
    store.api_keys.revoke(key.id)
    store.api_keys.revoke(key.id, act=ACT)
    assert stored(store) == []


def test_a_declaration_that_takes_over_an_address_is_shown_as_it_was(store: State) -> None:
    one, two = create(store, "one"), create(store, "two")
    swapped = [
        Change(database_id=one.id, declaration=declaration("one", database="two")),
        Change(database_id=two.id, declaration=declaration("two", database="one")),
    ]
    store.databases.apply(swapped, ACT)
    details = [one.event.detail or {} for one in stored(store)]
    assert [detail["before"] for detail in details] == [{"database": "one"}, {"database": "two"}]
    assert [detail["after"] for detail in details] == [{"database": "two"}, {"database": "one"}]


def test_what_a_client_calls_itself_has_no_control_characters(store: State) -> None:
    store.own_events.store(ACT, READ)
    (one,) = stored(store)
    assert one.event.application == "curl\N{REPLACEMENT CHARACTER}[2J"


def test_following_misses_none_while_changes_readings_and_collecting_happen_at_once(open_store: Open) -> None:
    follower, *writers = [open_store() for _process in range(4)]
    database, lease = leased(follower)

    def change() -> None:
        for number in range(20):
            writers[0].databases.update(database.id, declaration(tags=(f"t{number}",)), {}, act=ACT)

    def read() -> None:
        for _step in range(20):
            writers[1].own_events.store(ACT, READ)

    def collect() -> None:
        for number in range(20):
            append(writers[2], lease, event(f"{number}"))

    followed: list[str] = []
    after: tuple[int, int] | None = (0, 0)
    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(work) for work in (change, read, collect)]
        while True:
            done = all(one.done() for one in working)
            page = follower.events.query(EventQuery(order=EventOrder.STORED, after=after, limit=7))
            followed += [one.id for one in page.events]
            after = page.end or after
            if done and not page.more:
                break
        for one in working:
            one.result()
    everything = follower.events.query(EventQuery(order=EventOrder.STORED, limit=1000)).events
    assert len(everything) == 60
    assert followed == [one.id for one in everything]


def test_their_retention_is_that_of_the_operator_whatever_databases_say(store: State) -> None:
    create(store)
    for _step in range(2):
        store.own_events.store(ACT, READ)
    old, new = (int(one.id.removeprefix("evt_")) for one in stored(store))
    with store.backend.writing() as connection:
        connection.execute(update(events).where(events.c.seq == old).values(time_us=now_us() - 400 * DAY_US))
    assert Retention(store, 300, own_days=401).drop_once() == 0
    assert Retention(store, 300, own_days=399).drop_once() == 1
    assert [one.id for one in stored(store)] == [f"evt_{new}"]
