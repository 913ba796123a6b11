"""How far sending has got: never back, never by somebody else, and counted."""

from __future__ import annotations

import random

import pytest
from dbaudit.core.clock import now_us
from dbaudit.core.db_conns import CAPABILITY, CONNECTION_EVENTS
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.state import State
from dbaudit.state.deliveries import Delivery, DeliveryState, Sent
from dbaudit.state.event_rows import _CONNECTIONS_AFTER
from dbaudit.state.nodes import Lease
from sqlalchemy import text

from tests.state.samples import append, create, event

TCP = {"audit_protocol": "TCP", "audit_address": "10.0.0.7", "audit_port": 7000}


@pytest.fixture
def lease(store: State) -> Lease:
    """The lease of a database that is switched on."""
    store.db_conns.put(TCP)
    create(store, db_conns_auditing=True)
    (held,) = store.nodes.beat(store.nodes.register("node", "0.1.0", (CAPABILITY,)))
    return held


def delivery(store: State) -> Delivery:
    (found,) = store.deliveries.all()
    return found


def test_a_new_delivery_waits_and_says_whose_it_is(store: State, lease: Lease) -> None:
    found = delivery(store)
    assert found.state is DeliveryState.WAITING
    assert (found.database_id, found.database_no) == (lease.database_id, lease.database_no)
    assert (found.database_name, found.host, found.port) == ("orders", "db.example.com", 5432)
    assert (found.sent_seq, found.sent_total, found.reconnects_total, found.expired_total) == (0, 0, 0, 0)
    assert store.deliveries.of([lease]) == [found]
    assert store.deliveries.of([]) == []


def test_progress_goes_forward_only(store: State, lease: Lease) -> None:
    assert store.deliveries.advance([Sent(lease, 7, 5, 4)]) == []
    assert store.deliveries.advance([Sent(lease, 3, 0, 2)]) == []
    assert store.deliveries.advance([]) == []
    found = delivery(store)
    assert (found.sent_seq, found.confirmed_seq, found.sent_total) == (7, 4, 5)
    assert store.deliveries.advance([Sent(lease, 7, 0, 7)]) == []
    found = delivery(store)
    assert (found.sent_seq, found.confirmed_seq, found.sent_total) == (7, 7, 5)


def test_who_lost_the_lease_writes_nothing_and_is_told(store: State, lease: Lease) -> None:
    newer = Lease(lease.database_id, lease.database_no, lease.token - 1)
    assert store.deliveries.advance([Sent(newer, 9, 9, 9)]) == [newer]
    old = store.nodes.all()[0]
    store.nodes.leave(old)
    assert store.deliveries.advance([Sent(lease, 9, 9, 9)]) == [lease]
    (taken,) = store.nodes.beat(store.nodes.register("next", "0.1.0", (CAPABILITY,)))
    assert store.deliveries.advance([Sent(taken, 4, 4, 4), Sent(lease, 9, 9, 9)]) == [lease]
    store.deliveries.report([lease], DeliveryState.GIVEN_UP, node_id=old.id, revision=1, error="late")
    found = delivery(store)
    assert (found.sent_seq, found.sent_total, found.state) == (4, 4, DeliveryState.WAITING)


def test_a_report_is_shown_and_a_state_has_the_time_of_its_beginning(store: State, lease: Lease) -> None:
    tell = store.deliveries.report
    tell(
        [lease],
        DeliveryState.RETRYING,
        node_id="node_1",
        revision=1,
        error_code="connection_refused",
        error="The listener at 10.0.0.7:7000 refused.",
        reconnects=1,
    )
    first = delivery(store)
    assert (first.state, first.node_id, first.revision) == (DeliveryState.RETRYING, "node_1", 1)
    assert (first.error_code, first.error) == (
        "connection_refused",
        "The listener at 10.0.0.7:7000 refused.",
    )
    tell([lease], DeliveryState.RETRYING, node_id="node_1", revision=1, error="again", reconnects=2)
    second = delivery(store)
    assert (second.reconnects_total, second.since_us) == (3, first.since_us)
    tell([lease], DeliveryState.CONNECTED, node_id="node_1", revision=2)
    third = delivery(store)
    assert (third.state, third.error, third.revision) == (DeliveryState.CONNECTED, None, 2)
    assert third.since_us > first.since_us
    tell([], DeliveryState.STOPPED, node_id="node_1", revision=2)


def test_many_databases_advance_in_one_transaction(store: State) -> None:
    store.db_conns.put(TCP)
    for number in range(20):
        create(store, f"d{number}", db_conns_auditing=True)
    leases = store.nodes.beat(store.nodes.register("node", "0.1.0", (CAPABILITY,)))
    shuffled = random.Random(4).sample(leases, len(leases))
    assert store.deliveries.advance([Sent(one, one.database_no * 2, 1, 0) for one in shuffled]) == []
    store.deliveries.report(shuffled, DeliveryState.CONNECTED, node_id="n", revision=1)
    found = store.deliveries.all()
    assert [d.sent_seq for d in found] == [d.database_no * 2 for d in found]
    assert {d.state for d in found} == {DeliveryState.CONNECTED}


def test_connection_events_come_whole_in_stored_order_and_nothing_else_does(
    store: State, lease: Lease
) -> None:
    whole = AuditEvent(
        key="whole",
        type=EventType.LOGIN_FAILED,
        time_us=now_us(),
        severity=Severity.WARNING,
        outcome=Outcome.FAILURE,
        error_code="28P01",
        user="größe",
        database="shop",
        application="psql",
        session_id="64c.1",
        source_ip="2001:db8::7",
        source_port=4711,
        source_host="client.example.com",
        detail={"method": "scram", "n": [1, None]},
    )
    others = [event(f"o{n}", type=word) for n, word in enumerate(EventType) if word not in CONNECTION_EVENTS]
    wanted = [event(f"w{n}", type=word, time_us=now_us() - n) for n, word in enumerate(CONNECTION_EVENTS)]
    append(store, lease, whole, *others, *wanted)
    found = store.events.connections_after(lease.database_no, 0, 100)
    assert [one.event for one in found] == [whole, *wanted]
    assert [one.seq for one in found] == sorted(one.seq for one in found)
    for one in found:
        assert store.events.get(f"evt_{one.seq}").event == one.event
    rest = store.events.connections_after(lease.database_no, found[0].seq, 2)
    assert rest == found[1:3]
    assert store.events.connections_after(lease.database_no, found[-1].seq, 100) == []
    assert store.events.connections_after(lease.database_no + 1, 0, 100) == []


def test_a_backlog_has_what_waits_and_the_time_of_the_first(store: State, lease: Lease) -> None:
    times = [now_us() - 5_000_000, now_us() - 9_000_000]
    append(
        store,
        lease,
        event("q"),
        event("a", type=EventType.CONNECTION, time_us=times[0]),
        event("b", type=EventType.DISCONNECT, time_us=times[1]),
    )
    number = lease.database_no
    all_of_it = store.events.backlogs({number: 0, number + 1: 0})
    assert (all_of_it[number].events, all_of_it[number].oldest_time_us) == (2, times[0])
    assert (all_of_it[number + 1].events, all_of_it[number + 1].oldest_time_us) == (0, None)
    first = store.events.connections_after(number, 0, 1)[0].seq
    assert store.events.backlogs({number: first})[number].oldest_time_us == times[1]
    assert store.events.backlogs({}) == {}


def test_events_whose_retention_ends_unsent_are_counted(store: State, lease: Lease) -> None:
    old = now_us() - 10_000_000
    append(
        store,
        lease,
        *(event(f"c{n}", type=EventType.CONNECTION, time_us=old + n) for n in range(5)),
        event("q", time_us=old),
        event("new", type=EventType.CONNECTION),
    )
    sent = store.events.connections_after(lease.database_no, 0, 100)[1].seq
    store.deliveries.advance([Sent(lease, sent, 2, sent)])
    assert store.events.drop_before(lease.database_no, old + 1_000_000, 100) == 6
    assert delivery(store).expired_total == 3
    assert store.events.drop_before(lease.database_no, old + 1_000_000, 100) == 0
    assert delivery(store).expired_total == 3


def test_reading_connection_events_uses_their_index(store: State, lease: Lease) -> None:
    append(store, lease, *(event(str(n)) for n in range(50)), event("c", type=EventType.CONNECTION))
    with store.backend.writing() as connection:
        if store.backend.is_sqlite:
            prefix = "EXPLAIN QUERY PLAN "
        else:
            prefix = "EXPLAIN "
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # a page of rows needs no index
        plan = connection.execute(
            text(prefix + _CONNECTIONS_AFTER.text), {"no": lease.database_no, "after": 0, "limit": 10}
        ).all()
    assert "ix_events_connections" in str(plan)


def test_which_databases_have_something_to_send(store: State) -> None:
    store.db_conns.put(TCP)
    for number in range(3):
        create(store, f"d{number}", db_conns_auditing=True)
    first, second, third = store.nodes.beat(store.nodes.register("node", "0.1.0", (CAPABILITY,)))
    for held in (first, second):
        append(store, held, event("a", type=CONNECTION_EVENTS[0]), event("b"))
    last = store.events.last_number()
    numbers = [held.database_no for held in (first, second, third)]
    assert store.events.connections_waiting(dict.fromkeys(numbers, 0)) == set(numbers[:2])
    assert store.events.connections_waiting({numbers[0]: last, numbers[1]: 0}) == {numbers[1]}
    assert store.events.connections_waiting({numbers[2]: 0}) == set()
    assert store.events.connections_waiting({}) == set()


def test_who_lost_the_lease_is_told_of_nothing_to_send(store: State, lease: Lease) -> None:
    older = Lease(lease.database_id, lease.database_no, lease.token - 1)
    assert store.deliveries.of([older]) == []
    assert [found.database_id for found in store.deliveries.of([lease])] == [lease.database_id]
