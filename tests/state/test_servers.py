"""Several declarations of one server: its own events are stored once, whatever is declared meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditOptions, AuditStatus, Database, Scope
from dbaudit.core.event import AuditEvent, EventType, Rejected, gap
from dbaudit.state import State
from dbaudit.state.databases import Declaration
from dbaudit.state.events import EventOrder, EventQuery, OfServer
from dbaudit.state.nodes import Lease, Node

from tests.state.samples import create, event, node

WHOLE = AuditOptions(scope=Scope.SERVER)
START_US = now_us() - 3_600_000_000


class Reader:
    """What collects one declaration: it reads the server's events, each named by its number."""

    def __init__(self, state: State, collecting: Node, name: str, **fields: Any) -> None:
        self.database = create(state, name, **fields)
        self._state = state
        self._node = collecting

    @property
    def lease(self) -> Lease:
        found = self._state.nodes.beat(self._node)
        return next(lease for lease in found if lease.database_id == self.database.id)

    def read(
        self, numbers: Iterable[int] = (), own: Iterable[int] = (), rejected: Iterable[Rejected] = ()
    ) -> None:
        """Store events of the server, and some of the declared database, in the order of their numbers."""
        own, numbers = set(own), set(numbers)
        chunk = [event(str(n), time_us=START_US + n) for n in sorted(own | numbers)]
        places = frozenset(i for i, e in enumerate(chunk) if int(e.key) in numbers)
        self.append(chunk, OfServer(places), tuple(rejected))

    def append(
        self, chunk: list[AuditEvent], of_server: OfServer | None, rejected: Iterable[Rejected] = ()
    ) -> None:
        lease = self.lease
        after = self._state.events.cursor(lease.database_no)
        self._state.events.append(lease, after, {"v": 1, "n": after.revision}, chunk, [*rejected], of_server)

    def change(self, *, status: AuditStatus | None = None, **fields: Any) -> None:
        change(self._state, self.database, status=status, **fields)


def change(state: State, database: Database, *, status: AuditStatus | None = None, **fields: Any) -> None:
    now = state.databases.get(database.id)
    values = {name: getattr(now, name) for name in Declaration.__struct_fields__}
    state.databases.update(database.id, Declaration(**(values | fields)), {}, audit_status=status)


def keys(state: State, reader: Reader | None = None) -> list[str]:
    """The events stored for a declaration, or for all that live, in the order of storing."""
    wanted = None if reader is None else reader.database.id
    page = state.events.query(EventQuery(database_id=wanted, order=EventOrder.STORED, limit=1000))
    return [found.event.key for found in page.events]


@pytest.fixture
def collecting(store: State) -> Node:
    return node(store)


def test_the_servers_events_are_stored_once_for_its_oldest_declaration(
    store: State, collecting: Node
) -> None:
    shop, hr = (Reader(store, collecting, name) for name in ("shop", "hr"))
    hr.read(range(3), own=[10])
    shop.read(range(5), own=[11])
    hr.read(range(3, 5))
    assert keys(store, shop) == ["0", "1", "2", "3", "4", "11"]
    assert keys(store, hr) == ["10"]


def test_one_declaration_keeps_the_order_in_which_the_source_has_them(store: State, collecting: Node) -> None:
    shop = Reader(store, collecting, "shop")
    shop.read([0, 2, 4], own=[1, 3])
    assert keys(store, shop) == ["0", "1", "2", "3", "4"]


def test_counters_follow_the_declaration_that_an_event_is_stored_for(store: State, collecting: Node) -> None:
    shop, hr = (Reader(store, collecting, name) for name in ("shop", "hr"))
    hr.append([gap("g", START_US, "rotated"), event("1", time_us=START_US + 1)], OfServer(frozenset({0})))
    kept, own = (store.collectors.get(one.database.id) for one in (shop, hr))
    assert (kept.events_total, kept.gaps_total, kept.last_event_type) == (1, 1, EventType.GAP)
    assert (own.events_total, own.gaps_total, own.last_event_type) == (1, 0, EventType.QUERY)
    assert store.events.counts(shop.database.id).week == store.events.counts(hr.database.id).week == 1


@pytest.mark.parametrize("reason", ["paused", "removed", "moved"])
def test_the_next_one_keeps_them_and_repeats_none_when_the_keeper_goes(
    store: State, collecting: Node, reason: str
) -> None:
    shop, hr = (Reader(store, collecting, name) for name in ("shop", "hr"))
    shop.read(range(3))
    match reason:
        case "paused":
            shop.change(status=AuditStatus.PAUSED)
        case "removed":
            store.databases.delete(shop.database.id)
        case _:
            shop.change(host="other.example.com")
    hr.read(range(5))
    assert keys(store, hr) == ["3", "4"]
    assert Counter(keys(store)) == Counter(map(str, range(5)))


def test_the_servers_events_are_not_repeated_after_a_pause(store: State, collecting: Node) -> None:
    shop, hr = (Reader(store, collecting, name) for name in ("shop", "hr"))
    shop.change(status=AuditStatus.PAUSED)
    hr.read(range(3))
    shop.change(status=AuditStatus.ACTIVE)
    shop.read(range(5))
    assert keys(store, hr) == ["0", "1", "2"]
    assert keys(store, shop) == ["3", "4"]


def test_a_declaration_of_the_whole_server_keeps_them_and_has_everything(
    store: State, collecting: Node
) -> None:
    shop = Reader(store, collecting, "shop")
    shop.read(range(2))
    whole = Reader(store, collecting, "all", audit_options=WHOLE)
    shop.read(range(2, 4), own=[7])
    whole.append([event(str(n), time_us=START_US + n) for n in (2, 3, 4, 7)], None)
    shop.read([4])
    assert keys(store, shop) == ["0", "1", "7"]
    assert keys(store, whole) == ["2", "3", "4", "7"]


def test_an_event_of_another_declared_database_is_stored_for_that_one(store: State, collecting: Node) -> None:
    shop, hr = (Reader(store, collecting, name) for name in ("shop", "hr"))
    chunk = [event("1", time_us=START_US, database="hr"), event("2", time_us=START_US, database="none")]
    shop.append(chunk, OfServer(frozenset({0, 1})))
    hr.append(chunk[:1], None)
    assert (keys(store, hr), keys(store, shop)) == (["1"], ["2"])


def test_what_one_reader_took_for_the_servers_is_not_repeated_as_a_databases_own(
    store: State, collecting: Node
) -> None:
    shop, hr = (Reader(store, collecting, name) for name in ("shop", "hr"))
    connection = event("1", time_us=START_US, type=EventType.CONNECTION)
    shop.append([connection], OfServer(frozenset({0})))
    hr.append([connection], OfServer(frozenset(), frozenset({0})))
    assert (keys(store, shop), keys(store, hr)) == (["1"], [])


def test_servers_are_told_apart_by_host_and_port_and_type(store: State, collecting: Node) -> None:
    shop = Reader(store, collecting, "shop")
    others = [
        Reader(store, collecting, "shop", host="other.example.com"),
        Reader(store, collecting, "shop", port=5433),
        Reader(store, collecting, "other", type="mysql"),
    ]
    for one in (shop, *others):
        one.read([1])
        assert keys(store, one) == ["1"]


def test_a_record_that_cannot_be_decoded_is_put_aside_once_for_the_server(
    store: State, collecting: Node
) -> None:
    shop, hr = (Reader(store, collecting, name) for name in ("shop", "hr"))
    record = Rejected("file:12", b"what is this", "not a record")
    hr.read(rejected=[record])
    shop.read(rejected=[record])
    hr.change(status=AuditStatus.PAUSED)
    found = [store.collectors.get(one.database.id).rejected_total for one in (shop, hr)]
    assert found == [1, 0]
