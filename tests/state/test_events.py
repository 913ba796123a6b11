"""The event store: all or nothing, every event once, exact pages, filters, retention."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from dbaudit.core.clock import now, now_us, to_us
from dbaudit.core.errors import ErrorCode, RequestError, TransientError
from dbaudit.core.event import AuditEvent, EventType, Outcome, Rejected, Severity, gap
from dbaudit.state import State
from dbaudit.state.events import EventOrder, EventQuery, StoredCursor
from dbaudit.state.nodes import Lease
from sqlalchemy import text

from tests.state.conftest import Open
from tests.state.samples import append, create, event, leased, let_pass, node
from tests.state.workers import append_numbered, workers

LARGEST = 2**63 - 1


def keys(store: State, **wanted: Any) -> list[str]:
    return [stored.event.key for stored in store.events.query(EventQuery(**wanted)).events]


def walk(store: State, order: EventOrder, limit: int) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = store.events.query(EventQuery(order=order, after=after, limit=limit))
        assert len(page.events) <= limit
        found += [stored.event.key for stored in page.events]
        if not page.more:
            return found
        after = page.end


def refused(store: State, *arguments: Any) -> ErrorCode:
    with pytest.raises(TransientError) as caught:
        store.events.append(*arguments)
    return caught.value.code


def test_an_event_comes_back_with_every_field_as_it_was(store: State) -> None:
    database, lease = leased(store)
    full = AuditEvent(
        key="file.csv:1234",
        type=EventType.QUERY,
        time_us=LARGEST,
        severity=Severity.CRITICAL,
        outcome=Outcome.FAILURE,
        error_code="42P01",
        user="Ünï 😀",
        database="data base",
        application="\x01\x1f\x7f\r\n\t",
        session_id="65a.1",
        source_ip="::1",
        source_port=65535,
        source_host="host",
        operation="SELECT",
        command_class="READ",
        query="select 'it''s' -- \\ \" % _",
        query_hash="0123456789abcdef",
        duration_ms=0.1 + 0.2,
        rows_affected=2**53 + 1,
        objects=("public.t", "a,b", ""),
        parameters=("1", None, ""),
        detail={"n": 2**53 + 1, "big": 2**63, "nested": {"a": [None, True, 1.5, "\0"]}},
    )
    bare = AuditEvent(key="", type=EventType.CONNECTION, time_us=0)
    append(store, lease, full, bare)
    page = store.events.query(EventQuery())
    assert [stored.event for stored in page.events] == [full, bare]
    assert {(stored.database_id, stored.database_name) for stored in page.events} == {(database.id, "orders")}
    assert page.more is False
    for stored in page.events:
        assert re.fullmatch("evt_[0-9]+", stored.id)
        assert store.events.get(stored.id) == stored


def test_an_unknown_event_is_not_found(store: State) -> None:
    lease = leased(store)[1]
    append(store, lease, event("k"))
    (stored,) = store.events.query(EventQuery()).events
    number = stored.id.removeprefix("evt_")
    others = ["", "evt_", "evt_0", "evt_999", f"evt_0{number}", f"evt_-{number}", f"{stored.id} ", number]
    for event_id in [*others, "evt_\N{ARABIC-INDIC DIGIT ONE}", "evt_" + "9" * 40]:
        with pytest.raises(RequestError) as caught:
            store.events.get(event_id)
        assert caught.value.code is ErrorCode.NOT_FOUND


def test_the_cursor_moves_with_the_events_and_only_from_where_it_was(store: State) -> None:
    lease = leased(store)[1]
    start = store.events.cursor(lease.database_no)
    assert start == StoredCursor(None, 0)
    cursor = {"v": 1, "file": "ü\n", "offset": 2**53 + 1}
    done = store.events.append(lease, start, cursor, [event("a")], [])
    assert (done.stored, done.replayed, done.revision) == (1, 0, 1)
    assert store.events.cursor(lease.database_no) == StoredCursor(cursor, 1)
    late = (lease, start, {"v": 1}, [event("lost")], [Rejected("p", b"", "r")])
    assert refused(store, *late) is ErrorCode.STATE_CHANGED_ELSEWHERE
    early = (lease, StoredCursor(None, 2), {"v": 1}, [event("lost")], [Rejected("p", b"", "r")])
    assert refused(store, *early) is ErrorCode.STATE_CHANGED_ELSEWHERE
    assert store.events.cursor(lease.database_no) == StoredCursor(cursor, 1)
    assert keys(store) == ["a"]
    done = store.events.append(lease, StoredCursor(cursor, 1), {"v": 2}, [], [])
    assert (done.stored, done.revision) == (0, 2)
    assert store.events.cursor(lease.database_no).cursor == {"v": 2}


def test_of_two_that_append_after_the_same_cursor_exactly_one_stores(open_store: Open) -> None:
    stores = [open_store() for turn in range(3)]
    lease = leased(stores[0])[1]
    for number in range(10):
        after = stores[0].events.cursor(lease.database_no)

        def attempt(store: State, after: StoredCursor = after, number: int = number) -> str:
            try:
                store.events.append(lease, after, {"v": 1}, [event(f"{number} of {id(store)}")], [])
            except TransientError as error:
                return error.code
            return "stored"

        with ThreadPoolExecutor(3) as pool:
            results = sorted(pool.map(attempt, stores))
        assert results == ["state_changed_elsewhere", "state_changed_elsewhere", "stored"]
    assert len(keys(stores[0])) == 10


def test_nothing_is_stored_once_the_lease_is_lost(open_store: Open) -> None:
    store = open_store()
    first = node(store)
    create(store)
    (lease,) = store.nodes.beat(first)
    append(store, lease, event("in time"))
    after = store.events.cursor(lease.database_no)
    let_pass(store.nodes.lease_seconds + 1, store)
    assert refused(store, lease, after, {"v": 1}, [event("lapsed")], []) is ErrorCode.LEASE_LOST
    other = open_store()
    (taken,) = other.nodes.beat(node(other))
    assert taken.token > lease.token
    assert (
        refused(store, lease, after, {"v": 1}, [event("taken")], [Rejected("p", b"", "")])
        is ErrorCode.LEASE_LOST
    )
    other.events.append(taken, after, {"v": 1}, [event("of the new holder")], [])
    other.nodes.leave(other.nodes.all()[-1])
    assert refused(store, taken, after, {"v": 1}, [event("given back")], []) is ErrorCode.LEASE_LOST
    assert sorted(keys(store)) == ["in time", "of the new holder"]
    assert store.collectors.all()[0].rejected_total == 0


def test_a_replay_is_recognised_event_by_event_and_counted_once(store: State) -> None:
    database, lease = leased(store)
    at = now_us()
    a, b, c = (event(key, time_us=at) for key in "abc")
    lost = gap("gap:1", at, "the file is gone", lost_bytes=5)
    append(store, lease, a, b, lost)
    after = store.events.cursor(lease.database_no)
    later = event("a", time_us=at + 1)
    done = store.events.append(lease, after, {"v": 1}, [b, lost, c, c, later], [])
    assert (done.stored, done.replayed) == (2, 3)
    assert sorted((e.event.key, e.event.time_us) for e in store.events.query(EventQuery()).events) == sorted(
        [("a", at), ("b", at), ("c", at), ("gap:1", at), ("a", at + 1)]
    )
    collector = store.collectors.get(database.id)
    assert (collector.events_total, collector.gaps_total) == (5, 1)
    assert store.events.counts(database.id).today == 5
    other, its_lease = leased(store, "other")
    append(store, its_lease, a)
    assert store.collectors.get(other.id).events_total == 1, "keys are unique within a database only"


def test_a_long_replay_among_many_events_of_the_same_times_stores_nothing_twice(store: State) -> None:
    lease = leased(store)[1]
    events = [event(f"k{n}", time_us=n // 50) for n in range(3000)]
    append(store, lease, *events)
    after = store.events.cursor(lease.database_no)
    done = store.events.append(lease, after, {"v": 1}, [*events[1490:1510], event("new", time_us=30)], [])
    assert (done.stored, done.replayed) == (1, 20)


def left_out(store: State, lease: Lease, after: StoredCursor, counts: dict[str, int]) -> None:
    cursor = {"v": 1, "n": after.revision + 1}
    store.events.append(lease, after, cursor, [event(f"n{after.revision}")], [], left_out=counts)


def test_records_left_out_are_counted_once_with_the_cursor(store: State) -> None:
    database, lease = leased(store)
    assert store.collectors.get(database.id).left_out == {}
    first = store.events.cursor(lease.database_no)
    left_out(store, lease, first, {"Ping": 2, "Prepare": 1})
    with pytest.raises(TransientError):
        left_out(
            store, lease, first, {"Ping": 2}
        )  # the same chunk again, by one who missed that it is stored
    left_out(store, lease, store.events.cursor(lease.database_no), {"Ping": 5, "message": 1 << 40})
    assert store.collectors.get(database.id).left_out == {"Ping": 7, "Prepare": 1, "message": 1 << 40}


def test_classes_without_end_do_not_fill_the_state(store: State) -> None:
    database, lease = leased(store)
    for number in range(5):
        classes = {f"class {n}": 1 for n in range(number * 100, number * 100 + 100)}
        left_out(store, lease, store.events.cursor(lease.database_no), {"Ping": 1, **classes})
    counts = store.collectors.get(database.id).left_out
    assert (counts["Ping"], counts["other"]) == (5, 301)
    assert len(counts) == 201


def test_counters_and_the_last_event_follow_what_is_stored(store: State) -> None:
    database, lease = leased(store)
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    moments = {
        "now": now(),
        "midnight": midnight,
        "yesterday": midnight - timedelta(microseconds=1),
        "six days ago": midnight - timedelta(days=6),
        "before": midnight - timedelta(days=6, microseconds=1),
    }
    append(store, lease, *(event(k, time_us=to_us(m), user=k) for k, m in moments.items()))
    counts = store.events.counts(database.id)
    assert (counts.today, counts.week) == (2, 4)
    append(store, lease, event("late arrival", time_us=5, user="late"))
    collector = store.collectors.get(database.id)
    assert (collector.events_total, collector.gaps_total, collector.rejected_total) == (6, 0, 0)
    assert (
        collector.last_event_time_us
        == to_us(moments["now"])
        == store.databases.get(database.id).last_event_at_us
    )
    assert (collector.last_event_type, collector.last_event_user) == ("database.query", "now")
    assert store.events.counts("db_unknown").week == 0


def test_pages_show_every_event_once_and_in_order(store: State) -> None:
    lease = leased(store)[1]
    times = [5, 3, 3, 9, 1, 3, 5, 5, 2, 9] * 3
    events = [event(f"{n:02}", time_us=time_us) for n, time_us in enumerate(times)]
    append(store, lease, *events)
    stored = [(e.time_us, e.key) for e in events]
    expected = {
        EventOrder.STORED: [key for other, key in stored],
        EventOrder.OLDEST: [key for other, key in sorted(stored)],
        EventOrder.NEWEST: [key for other, key in sorted(stored, reverse=True)],
    }
    for limit in (1, 7, 1000):
        assert {order: walk(store, order, limit) for order in EventOrder} == expected


def test_an_empty_page_goes_on_where_it_was(store: State) -> None:
    lease = leased(store)[1]
    assert store.events.query(EventQuery()).end is None
    assert store.events.last_number() == 0
    append(store, lease, event("a", time_us=1))
    page = store.events.query(EventQuery(order=EventOrder.STORED))
    assert page.end == (1, store.events.last_number())
    again = store.events.query(EventQuery(order=EventOrder.STORED, after=page.end))
    assert (again.events, again.end, again.more) == ([], page.end, False)
    append(store, lease, event("b", time_us=0))
    assert keys(store, order=EventOrder.STORED, after=page.end) == ["b"]


def test_following_misses_nothing_while_several_processes_append(
    store: State, url: str, key_file: Any
) -> None:
    leases = [leased(store, f"db{n}")[1] for n in range(3)]
    followed: list[str] = []
    with (
        workers(1, append_numbered, url, key_file, leases[0], 0, 40) as one,
        workers(1, append_numbered, url, key_file, leases[1], 1000, 40) as two,
        workers(1, append_numbered, url, key_file, leases[2], 2000, 40) as three,
    ):
        appending = one + two + three
        assert [worker.receive() for worker in appending] == ["ready"] * 3
        for worker in appending:
            worker.tell("go")
        after = (0, 0)
        while True:
            appending = [w for w in appending if not (w.has_told() and w.receive() == "done")]
            page = store.events.query(EventQuery(order=EventOrder.STORED, after=after, limit=50))
            followed += [stored.event.key for stored in page.events]
            after = page.end or after
            if not appending and not page.events:
                break
    expected = [f"k{first + n}.{part}" for first in (0, 1000, 2000) for n in range(40) for part in range(3)]
    assert sorted(followed) == sorted(expected)


def test_pages_by_time_stay_exact_while_newer_events_arrive(open_store: Open) -> None:
    store, writer = open_store(), open_store()
    lease = leased(store)[1]
    append(store, lease, *(event(f"{n:03}", time_us=n) for n in range(100)))
    seen: list[str] = []
    after = None
    for arrival in range(1000, 1010):
        page = store.events.query(EventQuery(after=after, limit=10))
        seen += [stored.event.key for stored in page.events]
        after = page.end
        append(writer, lease, event(f"new{arrival}", time_us=arrival))
    assert seen == [f"{n:03}" for n in reversed(range(100))]


FILTERED: dict[str, dict[str, Any]] = {
    "a": {"time_us": 10, "user": "ann", "type": EventType.QUERY, "query": "SELECT 100% FROM a_b"},
    "b": {"time_us": 20, "user": "Ann", "type": EventType.LOGIN_FAILED, "severity": Severity.WARNING},
    "c": {"time_us": 30, "user": "ann", "type": EventType.QUERY, "query": "select 100x from axb -- C:\\temp"},
    "d": {"time_us": 40, "user": None, "type": EventType.QUERY, "query": "update GRÖSSE set É = 'Straße /x'"},
}


def test_filters_narrow_events(store: State) -> None:
    lease = leased(store)[1]
    append(store, lease, *(event(key, **values) for key, values in FILTERED.items()))
    expected: list[tuple[dict[str, Any], str]] = [
        ({}, "abcd"),
        ({"user": "ann"}, "ac"),
        ({"types": ("database.query",)}, "acd"),
        ({"types": ("database.query", "user.login_failed")}, "abcd"),
        ({"types": ("no.such",)}, ""),
        ({"severity": "warning"}, "b"),
        ({"start_us": 20}, "bcd"),
        ({"end_us": 20}, "ab"),
        ({"start_us": 20, "end_us": 30}, "bc"),
        ({"start_us": 31, "end_us": 30}, ""),
        ({"user": "ann", "types": ("database.query",), "start_us": 20}, "c"),
        ({"query_contains": "select"}, "ac"),
        ({"query_contains": "SELECT 100"}, "ac"),
        ({"query_contains": "100%"}, "a"),
        ({"query_contains": "a_b"}, "a"),
        ({"query_contains": "%"}, "a"),
        ({"query_contains": "_"}, "a"),
        ({"query_contains": ":\\TEMP"}, "c"),
        ({"query_contains": "\\"}, "c"),
        ({"query_contains": "/x"}, "d"),
        ({"query_contains": "'"}, "d"),
        ({"query_contains": "größe"}, ""),
        ({"query_contains": "GRÖSSE"}, "d"),
        ({"query_contains": "grösse"}, "d"),
        ({"query_contains": "set é"}, "d"),
        ({"query_contains": "straße"}, "d"),
        ({"query_contains": ""}, "acd"),
        ({"query_contains": "select", "limit": 1}, "c"),
    ]
    found = [(wanted, "".join(sorted(keys(store, **wanted)))) for wanted, other in expected]
    assert found == expected


def test_events_are_found_by_database_also_after_it_was_deleted(store: State) -> None:
    one, lease = leased(store, "one")
    two, other = leased(store, "two")
    append(store, lease, event("a", time_us=1))
    append(store, other, event("b", time_us=2))
    assert keys(store, database_id=one.id) == ["a"]
    store.databases.delete(one.id)
    assert keys(store, database_id=one.id) == ["a"]
    assert keys(store) == ["b", "a"]
    page = store.events.query(EventQuery(database_id=one.id))
    assert (page.events[0].database_id, page.events[0].database_name) == (one.id, "one")
    assert store.events.get(page.events[0].id).event.key == "a"
    assert keys(store, database_id=two.id) == ["b"]
    with pytest.raises(RequestError) as caught:
        store.events.query(EventQuery(database_id="db_unknown"))
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_retention_drops_the_oldest_in_batches_and_keeps_the_counts_exact(store: State) -> None:
    database, lease = leased(store)
    other, its_lease = leased(store, "other")
    start = now_us() // 3_600_000_000 * 3_600_000_000 - 3_600_000_000
    events = [event(f"{n:02}", time_us=start + n * 60_000_000) for n in range(40)]
    append(store, lease, *events)
    append(store, its_lease, event("old", time_us=start))
    border = events[25].time_us
    week = store.events.counts(database.id).week
    assert week == 40
    assert store.events.drop_before(lease.database_no, border, 10) == 10
    assert store.events.counts(database.id).week == 30
    assert store.events.drop_before(lease.database_no, border, 10) == 10
    assert store.events.drop_before(lease.database_no, border, 10) == 5
    assert store.events.drop_before(lease.database_no, border, 10) == 0
    assert store.events.counts(database.id).week == 15
    assert keys(store, database_id=database.id, order=EventOrder.OLDEST) == [f"{n:02}" for n in range(25, 40)]
    assert keys(store, database_id=other.id) == ["old"]
    assert store.collectors.get(database.id).events_total == 40, "what was collected stays counted"
    newest = store.events.last_number()
    assert store.events.drop_before(lease.database_no, LARGEST, 1000) == 15
    append(store, lease, event("after all"))
    assert store.events.last_number() > newest, "numbers are never given twice"


def test_a_rejected_record_is_put_aside_encrypted_and_only_once(store: State) -> None:
    database, lease = leased(store)
    aside = [Rejected("file:5", b"raw \x00\xff tiger", "no columns"), Rejected("file:9", b"", "cut off")]
    after = store.events.cursor(lease.database_no)
    store.events.append(lease, after, {"v": 1}, [], aside)
    store.events.append(lease, store.events.cursor(lease.database_no), {"v": 1}, [event("a")], aside)
    assert store.collectors.get(database.id).rejected_total == 2
    with store.backend.reading() as connection:
        rows = connection.execute(
            text("SELECT position, reason, secret_id FROM rejected_records ORDER BY no")
        ).all()
        assert [(row.position, row.reason) for row in rows] == [
            ("file:5", "no columns"),
            ("file:9", "cut off"),
        ]
        assert store.secrets.get_bytes(connection, rows[0].secret_id) == b"raw \x00\xff tiger"
        assert store.secrets.get_bytes(connection, rows[1].secret_id) == b""
    list(store.secrets.rotate())
    with store.backend.reading() as connection:
        assert store.secrets.get_bytes(connection, rows[0].secret_id) == b"raw \x00\xff tiger"
    store.events.drop_before(lease.database_no, now_us() + 1, 100)
    with store.backend.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM rejected_records")).scalar_one() == 0
        assert store.secrets.get_bytes(connection, rows[0].secret_id) is None


UNFIT: dict[str, AuditEvent] = {
    "half a pair": event("k", user="\ud800"),
    "time beyond 64 bits": event("k", time_us=2**63),
    "rows beyond 64 bits": event("k", rows_affected=2**64),
    "no key": event(None),  # type: ignore[arg-type]
    "no time": AuditEvent(key="k", type=EventType.QUERY, time_us=None),  # type: ignore[arg-type]
    "unknown type": event("k", type="no.such"),
    "type as a text": event("k", type="database.query"),
    "unknown severity": event("k", severity="loud"),
    "unknown outcome": event("k", outcome="maybe"),
    "detail that is no JSON": event("k", detail={"x": object()}),
    "text that is a list": event("k", user=["a"]),
}


def test_an_event_that_the_state_cannot_hold_is_refused_with_all_of_its_chunk(store: State) -> None:
    lease = leased(store)[1]
    append(store, lease, event("before"))
    after = store.events.cursor(lease.database_no)
    for name, unfit in UNFIT.items():
        with pytest.raises(Exception) as caught:  # noqa: PT011  # the agent mends or puts aside whatever it is
            store.events.append(lease, after, {"v": 2}, [event("good"), unfit], [Rejected("p", b"", "r")])
        assert not isinstance(caught.value, TransientError), f"{name} would be tried for ever"
        assert keys(store) == ["before"], name
        assert store.events.cursor(lease.database_no) == after
        assert store.collectors.all()[0].rejected_total == 0
    append(store, lease, event("good"))
    assert sorted(keys(store)) == ["before", "good"]


def test_a_nul_in_a_text_is_refused_or_kept_but_never_cuts_anything_off(store: State) -> None:
    lease = leased(store)[1]
    hostile = event("k", query="select 'a\0b' Needle", user="a\0b")
    if store.backend.is_sqlite:
        append(store, lease, hostile)
        (stored,) = store.events.query(EventQuery(query_contains="nEEDLE", user="a\0b")).events
        assert stored.event == hostile
    else:
        with pytest.raises(Exception, match="NUL"):
            append(store, lease, hostile)
        assert keys(store) == []
