"""Settings, API keys, and what is known of collecting."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from dbaudit.core.errors import ErrorCode, RequestError
from dbaudit.core.report import CheckStatus, Health, TestReport
from dbaudit.state import State
from dbaudit.state.api_keys import KEY_PREFIX, Scope
from dbaudit.state.collectors import CollectorState, Pulse
from sqlalchemy import text

from tests.state.conftest import Open
from tests.state.samples import create, leased, node


@pytest.mark.parametrize(
    "value", [None, True, 2**53 + 1, "ü\0\n", [1, {"a": None}], {"nested": {"b": [1.5]}}]
)
def test_a_setting_comes_back_as_it_was_set_until_it_is_removed(store: State, value: Any) -> None:
    assert store.settings.get("key") is None
    store.settings.put("key", "before")
    store.settings.put("key", value)
    store.settings.put("other", 1)
    assert store.settings.get("key") == value
    store.settings.remove("key")
    assert store.settings.get("key") is None
    assert store.settings.get("other") == 1


def test_a_setting_written_by_many_at_once_is_one_of_theirs(open_store: Open) -> None:
    stores = [open_store() for turn in range(4)]

    def write(store: State) -> None:
        for number in range(10):
            store.settings.put("key", {"number": number})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, stores))
    assert stores[0].settings.get("key") == {"number": 9}


def test_a_key_is_shown_once_and_only_its_hash_is_stored(store: State) -> None:
    key, secret = store.api_keys.create("ci", (Scope.READ_EVENTS, Scope.WRITE_DATABASES))
    shown = secret.reveal()
    assert re.fullmatch(rf"{KEY_PREFIX}[A-Za-z0-9]{{32}}", shown)
    with store.backend.reading() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys")).all()
    assert shown not in str(rows)
    assert shown.removeprefix(KEY_PREFIX) not in str(rows)
    found = store.api_keys.verify(shown)
    assert found == key
    assert key.scopes == ("read:events", "write:databases")
    assert shown not in f"{key} {secret!r} {found}"


def test_only_the_exact_key_is_accepted(store: State) -> None:
    shown = store.api_keys.create("ci", (Scope.ADMIN,))[1].reveal()
    for wrong in (
        "",
        shown[:-1],
        f"{shown} ",
        shown.upper(),
        shown.removeprefix(KEY_PREFIX),
        "\ud800",
        "%",
        "\0",
    ):
        assert store.api_keys.verify(wrong) is None


def test_a_revoked_key_is_useless_at_once_and_still_listed(open_store: Open) -> None:
    store, other = open_store(), open_store()
    (one, first), (two, second) = (store.api_keys.create(name, (Scope.ADMIN,)) for name in ("one", "two"))
    assert store.api_keys.count() == 2
    store.api_keys.revoke(one.id)
    assert other.api_keys.verify(first.reveal()) is None
    assert other.api_keys.verify(second.reveal()) == two
    assert store.api_keys.count() == 1
    (listed, still) = other.api_keys.all()
    assert (listed.id, still.id) == (one.id, two.id)
    assert listed.revoked_at_us is not None
    store.api_keys.revoke(one.id)
    assert store.api_keys.all()[0] == listed, "revoked once, at that moment"
    with pytest.raises(RequestError) as caught:
        store.api_keys.revoke("key_unknown")
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_the_use_of_a_key_is_remembered_but_not_written_each_time(store: State) -> None:
    secret = store.api_keys.create("ci", ())[1]
    key = store.api_keys.verify(secret.reveal())
    assert key is not None
    assert key.last_used_at_us is None
    store.api_keys.mark_used(key)
    used = store.api_keys.verify(secret.reveal())
    assert used is not None
    assert used.last_used_at_us is not None
    before = store.changes.stamp()
    store.api_keys.mark_used(used)
    assert store.changes.stamp() == before


def test_a_new_database_waits_and_its_collector_tells_what_its_agent_wrote(store: State) -> None:
    database, lease = leased(store)
    assert store.collectors.get(database.id).state is CollectorState.WAITING
    store.collectors.set_state(lease, CollectorState.STARTING, node_id="node_1", version="0.1.0")
    store.collectors.set_state(lease, CollectorState.RUNNING, node_id="node_1")
    store.collectors.beat([Pulse(lease, 12345, 17.5)])
    health = Health(connectivity=CheckStatus.HEALTHY, latency_ms=0.5, measured_at_us=7)
    report = TestReport(reachable=True, success=True, version="PostgreSQL 17.2")
    store.collectors.set_health(lease, health)
    store.collectors.set_report(lease, report)
    seen = store.collectors.get(database.id)
    assert store.collectors.all() == [seen]
    assert (seen.state, seen.node_id, seen.version) == (CollectorState.RUNNING, "node_1", "0.1.0")
    assert (seen.heartbeat_at_us, seen.events_per_second) == (12345, 17.5)
    assert (seen.health, seen.report) == (health, report)
    assert seen.started_at_us is not None
    store.collectors.set_state(
        lease, CollectorState.FAILED, node_id="node_1", error_code="c", error="e", next_try_at_us=99
    )
    failed = store.collectors.get(database.id)
    assert (failed.state, failed.error_code, failed.error, failed.next_try_at_us) == (
        CollectorState.FAILED,
        "c",
        "e",
        99,
    )
    assert failed.events_per_second == 0
    assert failed.started_at_us == seen.started_at_us


def test_a_node_that_lost_its_lease_does_not_write_over_what_its_successor_found(store: State) -> None:
    database = create(store)
    first, second = node(store, "first"), node(store, "second")
    (old,) = store.nodes.beat(first)
    store.nodes.leave(first)
    (new,) = store.nodes.beat(second)
    store.collectors.set_state(new, CollectorState.RUNNING, node_id=second.id)
    store.collectors.set_state(old, CollectorState.FAILED, node_id=first.id, error="of the past")
    store.collectors.beat([Pulse(old, 1, 99.0), Pulse(new, 2, 1.0)])
    seen = store.collectors.get(database.id)
    assert (seen.state, seen.node_id, seen.error) == (CollectorState.RUNNING, second.id, None)
    assert (seen.heartbeat_at_us, seen.events_per_second) == (2, 1.0)
