"""Finding events: filters, pages, following, and what becomes of a removed database's."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from dbaudit.api.application import WAITING_ROOM
from dbaudit.core.clock import format_us, now_us
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity, gap
from dbaudit.state.nodes import Lease
from dbaudit.state.wakeup import Topic

from tests.api.conftest import Api
from tests.api.contract import pointers
from tests.patience import PATIENCE_SECONDS

MINUTE_US = 60_000_000
CRITICAL = Severity.CRITICAL


class Collected:
    """A database with events in it, stored as an agent stores them."""

    def __init__(self, api: Api, name: str = "shop") -> None:
        self.api = api
        self.database = api.declared(name=name)
        self.id = self.database["id"]
        self.lease = self._lease()

    def _lease(self) -> Lease:
        node = self.api.state.nodes.register("agent-1", "0.1.0", ("postgresql",))
        leases = {lease.database_id: lease for lease in self.api.state.nodes.beat(node)}
        return leases[self.id]

    def store(self, *events: AuditEvent) -> None:
        store = self.api.state.events
        cursor = store.cursor(self.lease.database_no)
        store.append(self.lease, cursor, {"v": 1, "revision": cursor.revision}, events, [])
        self.api.state.wakeup.notify(Topic.EVENTS)


def query_event(number: int, time_us: int, **fields: object) -> AuditEvent:
    values = {"type": EventType.QUERY, "user": "app", "query": f"SELECT {number}", **fields}
    return AuditEvent(key=str(number), time_us=time_us, **values)  # type: ignore[arg-type]


def found(api: Api, query: str) -> list[str]:
    """The events of databases; those on dbaudit itself are left out."""
    answer = api.get(f"/v1/events?{query}")
    assert answer.status_code == 200, answer.json
    return [
        event["query"] or event["type"] for event in answer.json["data"] if event["type"] != "dbaudit.api"
    ]


def test_an_event_is_shown_whole(api_on_both: Api) -> None:
    collected = Collected(api_on_both)
    whole = AuditEvent(
        key="1",
        type=EventType.QUERY,
        time_us=1_700_000_000_123_456,
        severity=Severity.WARNING,
        outcome=Outcome.FAILURE,
        error_code="42P01",
        user="app",
        database="myapp",
        application="psql",
        session_id="65a.1",
        source_ip="10.0.0.7",
        source_port=50123,
        source_host="web1",
        operation="SELECT",
        command_class="READ",
        query="SELECT 'ä' FROM t",
        query_hash="abc",
        duration_ms=1.25,
        rows_affected=3,
        objects=("public.t",),
        parameters=("1", None),
        detail={"line": 7},
    )
    collected.store(whole)
    (shown,) = api_on_both.get(f"/v1/events?database_id={collected.id}").json["data"]
    assert shown == {
        "id": shown["id"],
        "type": "database.query",
        "timestamp": "2023-11-14T22:13:20.123456Z",
        "database_id": collected.id,
        "database_name": "shop",
        "severity": "warning",
        "outcome": "failure",
        "error_code": "42P01",
        "user": "app",
        "database": "myapp",
        "application": "psql",
        "session_id": "65a.1",
        "source_ip": "10.0.0.7",
        "source_port": 50123,
        "source_host": "web1",
        "operation": "SELECT",
        "command_class": "READ",
        "query": "SELECT 'ä' FROM t",
        "query_hash": "abc",
        "duration_ms": 1.25,
        "rows_affected": 3,
        "objects": ["public.t"],
        "parameters": ["1", None],
        "detail": {"line": 7},
    }
    assert api_on_both.get(f"/v1/events/{shown['id']}").json == shown


@pytest.mark.parametrize(
    "unknown", ["evt_99999", "evt_", "evt_x", "nosuch", "evt_" + "9" * 60, "%00", "evt_-1"]
)
def test_an_unknown_event_is_not_found(api_on_both: Api, unknown: str) -> None:
    assert api_on_both.get(f"/v1/events/{unknown}").status_code == 404


def test_every_filter_narrows(api_on_both: Api) -> None:
    api = api_on_both
    shop, bank = Collected(api), Collected(api, "bank")
    now = now_us()
    shop.store(
        query_event(1, now - 3 * MINUTE_US),
        query_event(
            2, now - 2 * MINUTE_US, user="admin", query="DROP TABLE Orders", severity=Severity.CRITICAL
        ),
        AuditEvent(
            key="3",
            type=EventType.LOGIN_FAILED,
            time_us=now - MINUTE_US,
            user="eve",
            severity=Severity.WARNING,
        ),
        gap("4", now, "the file is gone", lost_bytes=7),
    )
    bank.store(query_event(5, now - 2 * MINUTE_US + 1, query="100%_sure"))
    everything = ["collector.gap", "user.login_failed", "100%_sure", "DROP TABLE Orders", "SELECT 1"]
    assert found(api, "") == everything
    assert found(api, "order=oldest") == everything[::-1]
    assert found(api, f"database_id={bank.id}") == ["100%_sure"]
    assert found(api, "type=database.query") == ["100%_sure", "DROP TABLE Orders", "SELECT 1"]
    assert found(api, "type=user.login_failed,collector.gap") == ["collector.gap", "user.login_failed"]
    assert found(api, "user=admin") == ["DROP TABLE Orders"]
    assert found(api, "user=adm") == []
    assert found(api, "severity=critical") == ["DROP TABLE Orders"]
    assert found(api, "query_contains=table%20orders") == ["DROP TABLE Orders"]
    assert found(api, "query_contains=%25_s") == ["100%_sure"]
    assert found(api, "query_contains=0%25") == ["100%_sure"]
    assert found(api, "query_contains=_") == ["100%_sure"]
    second = format_us(now - 2 * MINUTE_US)
    assert found(api, f"start_date={second}&end_date={second}") == ["DROP TABLE Orders"]
    assert found(api, f"end_date={second}") == ["DROP TABLE Orders", "SELECT 1"]
    assert found(api, f"start_date={format_us(now - MINUTE_US)}") == ["collector.gap", "user.login_failed"]
    today = second[:10]
    assert found(api, f"end_date={today}") == found(api, f"end_date={today}T23:59:59.999999Z")
    assert found(api, f"end_date={today}T00:00:00Z") == found(api, f"end_date={today}T00:00Z")
    assert found(api, "start_date=2000-01-01&end_date=2000-01-02T00:00:00%2B02:00") == []
    assert found(api, "type=database.query&user=app&severity=info&query_contains=select&limit=1") == [
        "SELECT 1"
    ]


@pytest.mark.parametrize("order", ["newest", "oldest", "stored"])
def test_pages_show_every_event_once(api_on_both: Api, order: str) -> None:
    api = api_on_both
    collected = Collected(api)
    now = now_us()
    # Several at the same instant, and stored in another order than they happened.
    times = [now - (number % 7) * MINUTE_US for number in range(25)]
    collected.store(*[query_event(number, time) for number, time in enumerate(times)])
    seen: list[str] = []
    query = f"order={order}&limit=4&type=database.query"
    cursor = ""
    while True:
        answer = api.get(f"/v1/events?{query}{cursor}").json
        seen += [event["query"] for event in answer["data"]]
        if not answer["pagination"]["has_more"]:
            break
        cursor = f"&cursor={answer['pagination']['next_cursor']}"
    assert len(seen) == 25
    assert sorted(seen) == sorted(f"SELECT {number}" for number in range(25))
    numbers = [int(query.split()[1]) for query in seen]
    if order == "stored":
        assert numbers == list(range(25))
        assert answer["pagination"]["next_cursor"] is not None
    else:
        assert [times[n] for n in numbers] == sorted(times, reverse=order == "newest")
        assert answer["pagination"]["next_cursor"] is None


def test_following_gives_what_is_stored_since_each_once(api_on_both: Api) -> None:
    api = api_on_both
    collected = Collected(api)
    collected.store(query_event(1, now_us()))
    pagination = api.get("/v1/events?order=stored&cursor=end&type=database.query").json["pagination"]
    seen = []
    for number in (2, 3):
        # An event that happened long ago and is stored now is new to a follower.
        collected.store(query_event(number, now_us() - number * 1_000_000_000))
        answer = api.get(
            f"/v1/events?order=stored&type=database.query&cursor={pagination['next_cursor']}"
        ).json
        pagination = answer["pagination"]
        seen += [event["query"] for event in answer["data"]]
    answer = api.get(f"/v1/events?order=stored&type=database.query&cursor={pagination['next_cursor']}").json
    assert answer == {"data": [], "pagination": {**pagination, "has_more": False}}
    assert seen == ["SELECT 2", "SELECT 3"]


@contextmanager
def asking(api: Api, path: str) -> Iterator[list[dict[str, object]]]:
    answers: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: answers.append(api.get(path).json))
    thread.start()
    yield answers
    thread.join(PATIENCE_SECONDS)


def test_a_follower_that_waits_is_woken_by_the_next_event(api_on_both: Api) -> None:
    api = api_on_both
    collected = Collected(api)
    with asking(api, "/v1/events?order=stored&type=database.query&wait_seconds=30") as answers:
        collected.store(query_event(1, now_us()))
    assert [event["query"] for event in answers[0]["data"]] == ["SELECT 1"]  # type: ignore[attr-defined]


def test_a_follower_that_waits_in_vain_gets_an_empty_page(api: Api) -> None:
    answer = api.get("/v1/events?order=stored&wait_seconds=1").json
    assert answer["data"] == []
    assert answer["pagination"]["has_more"] is False


def test_a_follower_is_let_go_when_the_service_stops(api: Api) -> None:
    api.app.extensions[WAITING_ROOM].close()
    answer = api.get("/v1/events?order=stored&wait_seconds=30")
    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "shutting_down"


def test_events_of_a_removed_database_stay_readable(api_on_both: Api) -> None:
    api = api_on_both
    collected = Collected(api)
    collected.store(query_event(1, now_us()))
    assert api.delete(f"/v1/databases/{collected.id}").status_code == 204
    (event,) = api.get(f"/v1/events?database_id={collected.id}").json["data"]
    assert (event["database_id"], event["database_name"]) == (collected.id, "shop")
    assert api.get(f"/v1/events/{event['id']}").status_code == 200


def test_events_of_an_unknown_database_are_not_found(api_on_both: Api) -> None:
    assert api_on_both.get("/v1/events?database_id=db_nosuch").status_code == 404


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ("limit=0", "limit", "from 1 to 1000"),
        ("limit=1001", "limit", "from 1 to 1000"),
        ("limit=x", "limit", "an integer"),
        ("severity=high", "severity", "info, warning or critical"),
        ("type=query", "type", "database.query"),
        ("type=", "type", "not be empty"),
        ("type=database.query,", "type", "database.query"),
        ("start_date=yesterday", "start_date", "ISO 8601"),
        ("start_date=", "start_date", "ISO 8601"),
        ("end_date=2026-02-30", "end_date", "ISO 8601"),
        ("end_date=0001-01-01T00:00:00%2B23:00", "end_date", "ISO 8601"),
        ("start_date=2026-02-02&end_date=2026-02-01", "start_date", "after end_date"),
        ("cursor=nonsense", "cursor", "next_cursor"),
        ("cursor=", "cursor", "not be empty"),
        ("cursor=WyJzdG9yZWQiLDAsMF0", "cursor", "same order"),
        ("cursor=WyJuZXdlc3QiLDAsLTFd", "cursor", "next_cursor"),
        ("cursor=" + "A" * 513, "cursor", "at most 512"),
        ("cursor=end", "cursor", "next_cursor"),
        ("order=random", "order", "newest, oldest or stored"),
        ("wait_seconds=31&order=stored", "wait_seconds", "from 0 to 30"),
        ("wait_seconds=5", "wait_seconds", "order=stored"),
        ("user=", "user", "not be empty"),
        ("query_contains=", "query_contains", "not be empty"),
        ("database_id=", "database_id", "not be empty"),
        ("page=2", "page", "is not a parameter"),
    ],
)
def test_a_bad_filter_is_named(api: Api, query: str, pointer: str, words: str) -> None:
    answer = api.get("/v1/events", environ_overrides={"QUERY_STRING": query})
    assert answer.status_code == 400
    assert words in pointers(answer)[pointer]


def test_a_cursor_with_numbers_out_of_all_bounds_is_refused(api: Api) -> None:
    for value in (b'["newest",99999999999999999999999,1]', b'["newest",1,99999999999999999999]', b"[]", b"5"):
        cursor = base64.urlsafe_b64encode(value).decode().rstrip("=")
        assert api.get(f"/v1/events?cursor={cursor}").status_code == 400
