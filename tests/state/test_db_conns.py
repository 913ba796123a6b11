"""Settings, policy and switches hold together in the state, whoever changes them at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dbaudit.core.db_conns import CAPABILITY
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.core.event import EventType
from dbaudit.state import State
from dbaudit.state.wakeup import Topic

from tests.patience import PATIENCE_SECONDS
from tests.state.conftest import Open
from tests.state.samples import append, create, declaration, event, let_pass

TCP = {"audit_protocol": "TCP", "audit_address": "10.0.0.7", "audit_port": 7000}
ROUNDS = 25


def code_of(action: Callable[[], object]) -> ErrorCode | None:
    """The code that ``action`` is refused with; None where it is done."""
    try:
        action()
    except RequestError as error:
        return error.code
    return None


def switch(state: State, database_id: str, on: bool) -> None:
    present = state.databases.get(database_id)
    state.databases.update(
        database_id, declaration(present.name, db_conns_auditing=on), {}, unless_changed_since_us=None
    )


def at_once(*actions: Callable[[], object]) -> list[ErrorCode | None]:
    """The codes of ``actions`` that begin at the same moment."""
    gate = threading.Barrier(len(actions))
    results: list[Any] = [NotImplemented] * len(actions)

    def run(place: int, action: Callable[[], object]) -> None:
        gate.wait(PATIENCE_SECONDS)
        results[place] = code_of(action)

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert NotImplemented not in results
    return results


def test_nothing_is_set_in_a_new_state(store: State) -> None:
    present = store.db_conns.current()
    assert (present.settings, present.policy, present.revision) == (None, False, 0)
    assert not create(store).db_conns_auditing


def test_each_put_has_a_new_revision_and_tells_the_senders(store: State, open_store: Open) -> None:
    other = open_store()
    seen = other.wakeup.count(Topic.DB_CONNS)
    first = store.db_conns.put(TCP)
    again = store.db_conns.put({})
    assert again.settings == first.settings == store.db_conns.current().settings
    assert (first.revision, again.revision) == (1, 2)
    assert again.changed_at_us > first.changed_at_us
    assert other.wakeup.wait(Topic.DB_CONNS, seen, 10)
    gone = store.db_conns.delete()
    assert (gone.settings, gone.revision) == (None, 3)
    assert store.db_conns.put(TCP).revision == 4


def test_a_refused_put_keeps_settings_and_revision(store: State) -> None:
    before = store.db_conns.put(TCP)
    assert code_of(lambda: store.db_conns.put({"audit_address": "/x"})) is ErrorCode.DB_CONNS_BAD_ADDRESS
    assert store.db_conns.current() == before


def test_many_changes_of_different_fields_at_once_are_all_there_afterwards(open_store: Open) -> None:
    one, two = open_store(), open_store()
    one.db_conns.put(TCP)
    for number in range(1, ROUNDS):
        at_once(
            lambda: one.db_conns.put({"audit_port": number}),  # noqa: B023  # it runs in this round
            lambda: two.db_conns.put({"audit_reconnect_interval": number}),  # noqa: B023
        )
        settings = one.db_conns.current().settings
        assert settings is not None
        assert (settings.audit_port, settings.audit_reconnect_interval) == (number, number)


def test_a_database_is_never_switched_on_while_the_settings_are_deleted(open_store: Open) -> None:
    one, two = open_store(), open_store()
    database = create(one)
    seen = set()
    for _round in range(ROUNDS):
        one.db_conns.put(TCP)
        enabled, deleted = at_once(lambda: switch(one, database.id, True), two.db_conns.delete)
        on = one.databases.get(database.id).db_conns_auditing
        settings = one.db_conns.current().settings
        assert (enabled is None) == on == (settings is not None)
        assert (enabled, deleted) in (
            (None, ErrorCode.DB_CONNS_ON_FOR_DATABASE),
            (ErrorCode.DB_CONNS_NOT_CONFIGURED, None),
        )
        seen.add(enabled)
        if on:
            switch(one, database.id, False)
            one.db_conns.delete()
    assert seen <= {None, ErrorCode.DB_CONNS_NOT_CONFIGURED}


def test_settings_cannot_be_deleted_before_the_switching_on_of_a_database_has_ended(
    store: State, open_store: Open
) -> None:
    store.db_conns.put(TCP)
    database = create(store)
    other = open_store()
    results: list[ErrorCode | None] = []
    deleting = threading.Thread(target=lambda: results.append(code_of(other.db_conns.delete)))
    original = store.deliveries.begin

    def begin(*arguments: Any) -> None:
        original(*arguments)
        deleting.start()
        deleting.join(0.5)  # it has all the time to do the wrong thing

    store.databases._deliveries.begin = begin  # type: ignore[method-assign]
    switch(store, database.id, True)
    deleting.join()
    assert results == [ErrorCode.DB_CONNS_ON_FOR_DATABASE]
    assert store.db_conns.current().settings is not None


def test_the_policy_is_never_on_without_settings(open_store: Open) -> None:
    one, two = open_store(), open_store()
    for _round in range(ROUNDS):
        one.db_conns.put(TCP)
        turned_on, deleted = at_once(lambda: one.db_conns.set_policy(True), two.db_conns.delete)
        assert (turned_on, deleted) in (
            (None, ErrorCode.DB_CONNS_ON_BY_POLICY),
            (ErrorCode.DB_CONNS_NOT_CONFIGURED, None),
        )
        present = one.db_conns.current()
        assert present.policy == (present.settings is not None)
        one.db_conns.set_policy(False)
        if present.settings is not None:
            one.db_conns.delete()


def test_a_new_database_gets_what_the_policy_says_unless_it_is_told(store: State) -> None:
    store.db_conns.put(TCP)
    store.db_conns.set_policy(True)
    assert create(store, "a").db_conns_auditing
    assert not create(store, "b", db_conns_auditing=False).db_conns_auditing
    store.db_conns.set_policy(False)
    assert not create(store, "c").db_conns_auditing
    assert create(store, "d", db_conns_auditing=True).db_conns_auditing
    assert [d.database_name for d in store.deliveries.all()] == ["a", "d"]


def test_a_refused_database_is_not_declared(store: State) -> None:
    refused = code_of(lambda: create(store, db_conns_auditing=True))
    assert refused is ErrorCode.DB_CONNS_NOT_CONFIGURED
    assert store.databases.all() == []


def test_a_removed_database_does_not_keep_the_settings(store: State) -> None:
    store.db_conns.put(TCP)
    database = create(store, db_conns_auditing=True)
    assert code_of(store.db_conns.delete) is ErrorCode.DB_CONNS_ON_FOR_DATABASE
    store.databases.delete(database.id)
    assert store.deliveries.all() == []
    assert code_of(store.db_conns.delete) is None


def test_a_change_that_does_not_name_the_switch_leaves_it(store: State) -> None:
    store.db_conns.put(TCP)
    database = create(store, db_conns_auditing=True)
    first = store.deliveries.all()
    changed = store.databases.update(database.id, declaration(name="orders", host="other.example.com"), {})
    assert changed.db_conns_auditing
    again = store.databases.update(
        database.id, declaration(host="other.example.com", db_conns_auditing=True), {}
    )
    assert again == changed
    assert [d.sent_seq for d in store.deliveries.all()] == [d.sent_seq for d in first]


def test_switching_on_starts_with_the_events_from_then_on(store: State) -> None:
    store.db_conns.put(TCP)
    database = create(store)
    (lease,) = store.nodes.beat(store.nodes.register("able", "0.1.0", (CAPABILITY,)))
    append(store, lease, event("before", type=EventType.CONNECTION))
    switch(store, database.id, True)
    append(store, lease, event("after", type=EventType.CONNECTION))
    (delivery,) = store.deliveries.of([lease])
    unsent = store.events.connections_after(lease.database_no, delivery.sent_seq, 10)
    assert [one.event.key for one in unsent] == ["after"]
    switch(store, database.id, False)
    assert store.deliveries.of([lease]) == []
    append(store, lease, event("while off", type=EventType.CONNECTION))
    switch(store, database.id, True)
    append(store, lease, event("on again", type=EventType.CONNECTION))
    (delivery,) = store.deliveries.of([lease])
    unsent = store.events.connections_after(lease.database_no, delivery.sent_seq, 10)
    assert [one.event.key for one in unsent] == ["on again"]


def test_a_live_node_that_cannot_send_refuses_switching_on_and_nothing_else(store: State) -> None:
    store.db_conns.put(TCP)
    database = create(store, db_conns_auditing=True)
    able = store.nodes.register("able", "0.2.0", (CAPABILITY,))
    assert code_of(store.db_conns.get) is None
    old = store.nodes.register("old", "0.1.0", ("engine:postgresql",))
    for refused in (
        store.db_conns.get,
        lambda: store.db_conns.put(TCP),
        lambda: store.db_conns.set_policy(True),
        lambda: create(store, "b", db_conns_auditing=True),
    ):
        assert code_of(refused) is ErrorCode.DB_CONNS_UNSUPPORTED
    switch(store, database.id, False)
    store.db_conns.set_policy(False)
    assert code_of(store.db_conns.delete) is None
    store.nodes.leave(old)
    assert code_of(lambda: store.db_conns.put(TCP)) is None
    store.nodes.leave(able)


def test_a_silent_node_does_not_count(open_store: Open) -> None:
    state = open_store()
    state.nodes.register("old", "0.1.0", ())
    assert code_of(state.db_conns.get) is ErrorCode.DB_CONNS_UNSUPPORTED
    let_pass(state.nodes.lease_seconds + 1, state)
    assert code_of(state.db_conns.get) is None


def test_the_policy_holds_for_a_new_database_whatever_the_nodes_can(store: State) -> None:
    store.db_conns.put(TCP)
    store.db_conns.set_policy(True)
    store.nodes.register("old", "0.1.0", ())
    assert create(store).db_conns_auditing
