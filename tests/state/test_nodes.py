"""Nodes and leases: a database has exactly one holder, lapsed leases are taken over, the work is shared."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditStatus
from dbaudit.state import State
from dbaudit.state.nodes import Lease, Node
from sqlalchemy import text

from tests.state.conftest import Open
from tests.state.samples import create, declaration, let_pass, node
from tests.state.workers import beat, workers


def ids(leases: list[Lease]) -> list[str]:
    return [lease.database_id for lease in leases]


def test_one_node_gets_every_database_and_keeps_the_same_leases(store: State) -> None:
    databases = [create(store, f"d{n}") for n in range(3)]
    only = node(store)
    first = store.nodes.beat(only)
    assert ids(first) == [database.id for database in databases]
    assert store.nodes.beat(only) == first
    database = create(store, "new")
    assert ids(store.nodes.beat(only)) == [*ids(first), database.id]


def test_paused_and_deleted_databases_lose_their_lease_and_resumed_ones_get_a_new_one(store: State) -> None:
    paused, deleted, kept = (create(store, name) for name in ("paused", "deleted", "kept"))
    only = node(store)
    tokens = {lease.database_id: lease.token for lease in store.nodes.beat(only)}
    store.databases.update(paused.id, declaration("paused"), {}, audit_status=AuditStatus.PAUSED)
    store.databases.delete(deleted.id)
    assert ids(store.nodes.beat(only)) == [kept.id]
    with store.backend.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM leases")).scalar_one() == 1
    store.databases.update(paused.id, declaration("paused"), {}, audit_status=AuditStatus.ACTIVE)
    again = {lease.database_id: lease.token for lease in store.nodes.beat(only)}
    assert again[kept.id] == tokens[kept.id]
    assert again[paused.id] > tokens[paused.id]


def test_two_nodes_share_the_databases_and_none_has_two_holders_at_any_time(store: State) -> None:
    databases = {create(store, f"d{n}").id for n in range(5)}
    first, second = node(store, "first"), node(store, "second")
    held: dict[str, list[str]] = {first.id: ids(store.nodes.beat(first)), second.id: []}
    for _turn in range(3):
        for one in (second, first):
            held[one.id] = ids(store.nodes.beat(one))
            assert len(set(held[first.id]) & set(held[second.id])) == 0
    assert sorted(len(some) for some in held.values()) == [2, 3]
    assert set(held[first.id]) | set(held[second.id]) == databases


def test_every_number_of_nodes_shares_every_number_of_databases_evenly(store: State) -> None:
    nodes: list[Node] = []
    for number in range(7):
        create(store, f"d{number}")
        nodes.append(node(store, f"n{number}"))
        for count in range(1, len(nodes) + 1):
            for left in nodes[count:]:
                store.nodes.leave(left)
            for _turn in range(3):  # those that have too many give back, then the others take
                held = [len(store.nodes.beat(one)) for one in nodes[:count]]
            held = [len(store.nodes.beat(one)) for one in nodes[:count]]
            assert sum(held) == number + 1
            assert max(held) - min(held) <= 1, (number + 1, count)


def test_a_lapsed_lease_is_taken_over_with_a_higher_token_and_not_before(store: State) -> None:
    create(store)
    first, second = node(store, "first"), node(store, "second")
    (lease,) = store.nodes.beat(first)
    assert store.nodes.beat(second) == []
    let_pass(store.nodes.lease_seconds / 2, store)
    assert store.nodes.beat(second) == []
    let_pass(store.nodes.lease_seconds / 2, store)
    (taken,) = store.nodes.beat(second)
    assert taken.database_id == lease.database_id
    assert taken.token > lease.token
    assert store.nodes.beat(first) == []


def test_a_node_that_overslept_gets_its_own_lease_back_under_a_new_token(store: State) -> None:
    create(store)
    only = node(store)
    (lease,) = store.nodes.beat(only)
    let_pass(store.nodes.lease_seconds, store)
    (again,) = store.nodes.beat(only)
    assert again.token > lease.token


def test_leaving_gives_every_lease_back_at_once(store: State) -> None:
    databases = [create(store, f"d{n}").id for n in range(4)]
    first, second = node(store, "first"), node(store, "second")
    store.nodes.beat(first)
    store.nodes.beat(second)
    store.nodes.leave(first)
    assert sorted(ids(store.nodes.beat(second))) == sorted(databases)
    assert [n.id for n in store.nodes.all()] == [second.id]


def test_silent_nodes_are_not_alive_and_are_forgotten_after_a_day(store: State) -> None:
    silent = store.nodes.register("silent", "0.1.0", ("postgresql", "db_conns"))
    let_pass(store.nodes.lease_seconds + 1, store)
    alive = node(store, "alive")
    assert [n.id for n in store.nodes.all()] == [silent.id, alive.id]
    assert store.nodes.all()[0].capabilities == ("postgresql", "db_conns")
    assert [n.id for n in store.nodes.all(alive_only=True)] == [alive.id]
    let_pass(24 * 3600, store)
    node(store, "new")
    assert [n.name for n in store.nodes.all()] == ["new"]
    store.nodes.beat(silent)
    assert {n.name for n in store.nodes.all(alive_only=True)} == {"new", "silent"}, (
        "a beat brings a node back"
    )


def test_a_dead_nodes_share_goes_to_the_others(store: State) -> None:
    databases = [create(store, f"d{n}").id for n in range(4)]
    first, second = node(store, "first"), node(store, "second")
    for one in (first, second, first, second):
        store.nodes.beat(one)
    assert len(store.nodes.beat(second)) == 2
    let_pass(store.nodes.lease_seconds + 1, store)
    assert sorted(ids(store.nodes.beat(second))) == sorted(databases)


def test_nodes_that_beat_at_once_never_hold_the_same_database(open_store: Open) -> None:
    stores = [open_store(lease_seconds=60) for turn in range(4)]
    nodes: list[Node] = [node(store, f"n{number}") for number, store in enumerate(stores)]
    databases = {create(stores[0], f"d{n}").id for n in range(9)}
    for _turn in range(5):
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda pair: pair[0].nodes.beat(pair[1]), zip(stores, nodes, strict=True)))
    held = [lease.database_id for s, n in zip(stores, nodes, strict=True) for lease in s.nodes.beat(n)]
    assert len(held) == len(set(held))
    with stores[0].backend.reading() as connection:
        rows = connection.execute(text("SELECT database_no, node_id FROM leases")).all()
    assert len(rows) == len(databases)
    assert sorted(Counter([row.node_id for row in rows]).values()) == [2, 2, 2, 3]


def test_leases_of_processes_that_are_killed_and_started_again_have_one_holder_each(
    store: State, url: str, key_file: Path
) -> None:
    databases = {create(store, f"d{n}").id for n in range(4)}
    tokens: dict[str, int] = {}
    with workers(3, beat, url, key_file, 60.0) as nodes:
        assert [n.receive() for n in nodes] == ["ready"] * 3
        for _turn in range(4):
            for one in nodes:
                one.tell("beat")
            held = [pair for one in nodes for pair in one.receive()]
            assert len(held) == len({database_id for database_id, other in held})
            for database_id, token in held:
                assert token >= tokens.get(database_id, 0)
                tokens[database_id] = token
    with workers(1, beat, url, key_file, 60.0) as (late,):
        late.receive()
        late.tell("beat")
        assert late.receive() == [], "the killed ones hold theirs until they lapse"
        let_pass(61, store)
        for expected in (databases, databases):
            late.tell("beat")
            taken = dict(late.receive())
            assert set(taken) == expected
        assert all(taken[database_id] > tokens[database_id] for database_id in databases)
        late.tell("stop")
    assert now_us() > max(taken.values()) - 1
