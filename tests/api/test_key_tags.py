"""A key that is bound to tags: whatever is outside does not exist for it, by any way in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.state.api_keys import Bounds, Scope
from dbaudit.state.wakeup import Topic
from werkzeug.test import TestResponse

from tests.api.conftest import PASSWORD, Api, declaration
from tests.api.contract import pointers

SCOPES = (Scope.READ_DATABASES, Scope.WRITE_DATABASES, Scope.READ_EVENTS)
TAGS = ("shop", "prod")
HIDDEN = "hidden-7d1f"
PLACE = {"host": f"{HIDDEN}.example.com", "port": 5432, "database": f"{HIDDEN}-db"}


class World:
    """Databases with and without the tags of one key, each with events, and some that were removed."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.key = api.state.api_keys.create("bound", SCOPES, Bounds(tags=TAGS))[1].reveal()
        hidden = {"username": HIDDEN, "name": f"{HIDDEN}-name"}
        self.own = api.declared(name="own", tags=["prod", "eu", "shop"])
        self.hidden = [
            api.declared(**PLACE, **hidden, tags=[HIDDEN]),
            api.declared(**hidden, tags=["prod", HIDDEN]),
            api.declared(**hidden),
        ]
        self.removed = api.declared(name="own, removed", tags=list(TAGS))
        self.hidden_removed = api.declared(**hidden, tags=["shop", HIDDEN])
        node = api.state.nodes.register("writer", "0.1.0", ("postgresql",))
        self.leases = {lease.database_id: lease for lease in api.state.nodes.beat(node)}
        self.events = {
            one["id"]: self.store(one["id"], one is self.own or one is self.removed) for one in self.all
        }
        for one in (self.removed, self.hidden_removed):
            assert api.delete(f"/v1/databases/{one['id']}").status_code == 204

    @property
    def all(self) -> list[dict[str, Any]]:
        return [self.own, *self.hidden, self.removed, self.hidden_removed]

    def store(self, database_id: str, own: bool, number: int = 0) -> str:
        """Stores an event of a database as its agent does, and returns its id."""
        state, lease = self.api.state, self.leases[database_id]
        text = "own" if own else HIDDEN
        event = AuditEvent(
            key=f"{database_id}{number}",
            type=EventType.QUERY,
            time_us=1_700_000_000_000_000 + number,
            user=text,
            query=f"SELECT '{text}'",
        )
        cursor = state.events.cursor(lease.database_no)
        state.events.append(lease, cursor, {"v": cursor.revision}, [event], [])
        state.wakeup.notify(Topic.EVENTS)
        return f"evt_{state.events.last_number()}"

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        """The answer to the bound key, which has nothing of what is hidden from it."""
        answer = self.api.request(method, path, key=self.key, **options)
        assert HIDDEN not in answer.get_data(as_text=True)
        assert not any(
            one["id"] in answer.get_data(as_text=True) for one in self.hidden if one["id"] not in path
        )
        return answer

    def ids(self, query: str = "") -> list[str]:
        answer = self.ask("GET", f"/v1/databases?{query}").json
        assert answer["pagination"]["total"] == len(answer["data"])
        return [one["id"] for one in answer["data"]]

    def event_ids(self, query: str = "") -> list[str]:
        answer = self.ask("GET", f"/v1/events?{query}")
        return [event["id"] for event in answer.json["data"]]


@pytest.fixture
def world(api_on_both: Api) -> World:
    return World(api_on_both)


def test_lists_counts_and_pages_have_only_what_the_key_reaches(world: World) -> None:
    own = [world.own["id"]]
    assert world.ids() == own
    assert world.ids("tags=eu") == own
    assert world.ids("tags=shop,prod") == own
    for nothing in (
        f"tags={HIDDEN}",
        f"name={HIDDEN}-name",
        f"host={PLACE['host']}",
        "status=connected",
        "page=2&per_page=1",
    ):
        answer = world.ask("GET", f"/v1/databases?{nothing}").json
        assert answer["data"] == []
        assert answer["pagination"]["total"] == (1 if nothing.startswith("page") else 0)


def test_the_same_question_of_another_key_is_not_answered_from_the_same_cache(world: World) -> None:
    for _turn in range(2):
        assert len(world.api.get("/v1/databases").json["data"]) == 4
        assert world.ids() == [world.own["id"]]
        hidden = world.hidden[0]["id"]
        assert world.api.get(f"/v1/databases/{hidden}").status_code == 200
        assert world.ask("GET", f"/v1/databases/{hidden}").status_code == 404


@pytest.mark.parametrize(
    ("method", "suffix", "options"),
    [
        ("GET", "", {}),
        ("GET", "/status", {}),
        ("POST", "/test", {}),
        ("PATCH", "", {"json": {"name": "taken over"}}),
        ("PATCH", "", {"json": {"tags": list(TAGS)}}),
        ("PATCH", "", {"json": {"password": PASSWORD}}),
        ("PATCH", "?dry_run=true", {"json": {"password": PASSWORD}}),
        ("PATCH", "?verify=true", {"json": {"name": "x"}}),
        ("PATCH", "", {"json": {"name": "x"}, "headers": {"If-Match": '"1"'}}),
        ("PATCH", "", {"json": {"port": "wrong"}}),
        ("DELETE", "", {}),
        ("DELETE", "?dry_run=true", {}),
        ("DELETE", "", {"headers": {"If-Match": '"1"'}}),
    ],
)
def test_what_is_out_of_reach_answers_exactly_as_what_is_not_there(
    world: World, method: str, suffix: str, options: dict[str, Any]
) -> None:
    def answer(database_id: str) -> tuple[int, str]:
        asked = world.ask(method, f"/v1/databases/{database_id}{suffix}", **options)
        text = asked.get_data(as_text=True).replace(database_id, "ID")
        return asked.status_code, text.replace(asked.headers["X-Request-Id"], "")

    with world.api.agent(), world.api.unchanged("nodes", "tasks"):
        nothing = answer("db_0123456789abcdef")
        assert nothing[0] == 404
        for one in (*world.hidden, world.hidden_removed):
            assert answer(one["id"]) == nothing


def test_own_databases_are_read_changed_tested_and_removed(world: World) -> None:
    path = f"/v1/databases/{world.own['id']}"
    assert world.ask("GET", path).json["stats"]["events_today"] == 0
    assert world.ask("GET", f"{path}/status").status_code == 200
    assert world.ask("PATCH", path, json={"name": "renamed"}).json["name"] == "renamed"
    assert world.ask("PATCH", path, json={"tags": ["shop", "new", "prod"]}).json["tags"] == [
        "shop",
        "new",
        "prod",
    ]
    with world.api.agent():
        assert world.ask("POST", f"{path}/test").status_code == 200
    assert world.ask("DELETE", path).status_code == 204


def test_no_declaration_is_made_outside_and_none_gets_away(world: World) -> None:
    own = f"/v1/databases/{world.own['id']}"
    entry = {"id": world.own["id"]}
    with world.api.unchanged():
        for tags in (None, [], ["shop"], ["prod", "Shop"], [HIDDEN]):
            body = declaration() if tags is None else declaration(tags=tags)
            for suffix in ("", "?dry_run=true", "?verify=true"):
                refused = world.ask("POST", f"/v1/databases{suffix}", json=body)
                assert refused.status_code == 400
                assert "bound to" in pointers(refused)["/tags"]
            refused = world.ask("POST", "/v1/databases/bulk", json={"databases": [body]})
            assert "bound to" in pointers(refused)["/databases/0/tags"]
            if tags is None:
                continue
            for suffix in ("", "?dry_run=true", "?verify=true"):
                refused = world.ask("PATCH", own + suffix, json={"tags": tags})
                assert (refused.status_code, list(pointers(refused))) == (400, ["/tags"])
            refused = world.ask("POST", "/v1/databases/bulk", json={"databases": [{**entry, "tags": tags}]})
            assert "bound to" in pointers(refused)["/databases/0/tags"]
    made = world.ask("POST", "/v1/databases", json=declaration(tags=["prod", "shop"]))
    assert made.status_code == 201
    assert made.json["id"] in world.ids()


def test_a_taken_address_is_refused_without_saying_by_what(world: World) -> None:
    body = {**declaration(tags=list(TAGS)), **PLACE}
    with world.api.unchanged():
        for suffix in ("", "?dry_run=true", "?verify=true"):
            refused = world.api.post(f"/v1/databases{suffix}", key=world.key, json=body)
            assert (refused.status_code, refused.json["error"]["code"]) == (409, "database_exists")
            moved = world.api.patch(
                f"/v1/databases/{world.own['id']}{suffix}",
                key=world.key,
                json={**PLACE, "password": PASSWORD},
            )
            assert (moved.status_code, moved.json["error"]["code"]) == (409, "database_exists")
            listed = world.api.post(
                f"/v1/databases/bulk{'?dry_run=true' if 'dry' in suffix else ''}",
                key=world.key,
                json={"databases": [{**body, "name": "new"}]},
            )
            assert listed.status_code == 409
            for answer in (refused, moved, listed):
                text = answer.get_data(as_text=True)
                assert f"{HIDDEN}-name" not in text
                assert not any(one["id"] in text for one in world.hidden)


def test_a_list_finds_changes_and_prunes_only_what_the_key_reaches(world: World) -> None:
    hidden = world.hidden[0]
    with world.api.unchanged():
        refused = world.ask(
            "POST", "/v1/databases/bulk", json={"databases": [{"id": hidden["id"], "name": "x"}]}
        )
        assert "not known" in pointers(refused)["/databases/0/id"]
        absent = {"databases": [{"id": hidden["id"], "state": "absent"}]}
        answer = world.ask("POST", "/v1/databases/bulk", json=absent).json
        assert (answer["changed"], answer["results"][0]["action"]) == (False, "unchanged")
        by_name = {"databases": [{"name": hidden["name"], "state": "absent"}]}
        answer = world.api.post("/v1/databases/bulk", key=world.key, json=by_name).json
        assert (answer["changed"], answer["results"][0]["id"]) == (False, None)
    new = declaration(name=hidden["name"], tags=list(TAGS))
    answer = world.api.post("/v1/databases/bulk", key=world.key, json={"databases": [new]}).json
    assert answer["results"][0]["action"] == "created", "the name of a hidden one is free"
    made = answer["results"][0]["id"]
    for prune in ({}, {"tags": ["shop"]}, {"limit": 1}):
        listed = {"databases": [{"id": made, "name": "new"}], "prune": prune}
        answer = world.api.post("/v1/databases/bulk?dry_run=true", key=world.key, json=listed).json
        assert [one["id"] for one in answer["pruned"]] == [world.own["id"]]
    assert world.api.post("/v1/databases/bulk", key=world.key, json=listed).json["changed"]
    left = [one["id"] for one in world.api.get("/v1/databases").json["data"]]
    assert left == [*(one["id"] for one in world.hidden), made]


def test_a_repeated_request_does_not_show_what_has_left_the_reach(world: World) -> None:
    body, headers = declaration(tags=list(TAGS)), {"Idempotency-Key": "once"}
    made = world.ask("POST", "/v1/databases", json=body, headers=headers).json
    again = world.ask("POST", "/v1/databases", json=body, headers=headers)
    assert (again.status_code, again.json["id"]) == (201, made["id"])
    world.api.patch(f"/v1/databases/{made['id']}", json={"tags": [HIDDEN]})
    gone = world.ask("POST", "/v1/databases", json=body, headers=headers)
    assert (gone.status_code, gone.json["error"]["code"]) == (409, "conflict")
    assert made["id"] not in gone.get_data(as_text=True)
    assert "removed" in gone.json["error"]["message"]


@pytest.mark.parametrize("order", ["newest", "oldest", "stored"])
def test_events_are_those_of_its_databases_also_of_removed_ones_on_every_page(
    world: World, order: str
) -> None:
    mine = sorted([world.events[world.own["id"]], world.events[world.removed["id"]]])
    assert sorted(world.event_ids(f"order={order}")) == mine
    found, cursor = [], ""
    for _page in range(5):
        answer = world.ask("GET", f"/v1/events?order={order}&limit=1{cursor}").json
        found += [event["id"] for event in answer["data"]]
        if not answer["pagination"]["has_more"]:
            break
        cursor = f"&cursor={answer['pagination']['next_cursor']}"
    assert sorted(found) == mine
    of_others = world.api.get(f"/v1/events?order={order}&limit=1").json["pagination"]["next_cursor"]
    assert set(world.event_ids(f"order={order}&cursor={of_others}")) <= set(mine)


def test_no_filter_finds_an_event_that_is_out_of_reach(world: World) -> None:
    nothing = world.ask("GET", "/v1/events?database_id=db_0123456789abcdef")
    assert nothing.status_code == 404
    for one in (*world.hidden, world.hidden_removed):
        assert world.ask("GET", f"/v1/events?database_id={one['id']}").status_code == 404
    for query in (f"user={HIDDEN}", "query_contains=hidden", "type=user.login_failed", "severity=critical"):
        assert world.event_ids(query) == []
    assert len(world.event_ids("query_contains=select&user=own")) == 2
    assert len(world.event_ids(f"database_id={world.removed['id']}")) == 1


def test_an_event_is_shown_by_its_id_only_where_its_database_is_in_reach(world: World) -> None:
    for one in world.all:
        status = 200 if one in (world.own, world.removed) else 404
        assert world.ask("GET", f"/v1/events/{world.events[one['id']]}").status_code == status


def test_following_waits_until_there_is_an_event_in_reach(world: World) -> None:
    cursor = world.ask("GET", "/v1/events?order=stored").json["pagination"]["next_cursor"]
    answers: list[TestResponse] = []
    path = f"/v1/events?order=stored&cursor={cursor}&wait_seconds=30"
    follower = threading.Thread(target=lambda: answers.append(world.ask("GET", path)))
    follower.start()
    for number in range(1, 4):
        world.store(world.hidden[0]["id"], own=False, number=number)
        follower.join(0.3)
        assert follower.is_alive()
    stored = world.store(world.own["id"], own=True, number=9)
    follower.join(30)
    assert [event["id"] for event in answers[0].json["data"]] == [stored]
    at_end = world.ask("GET", "/v1/events?order=stored&cursor=end").json["pagination"]["next_cursor"]
    world.store(world.hidden[0]["id"], own=False, number=10)
    assert world.event_ids(f"order=stored&cursor={at_end}") == []


def test_a_follower_sees_no_more_than_its_key_reaches_by_now(make_api: Callable[..., Api]) -> None:
    api = make_api(key_cache_seconds=0)
    world = World(api)
    (key_id,) = [key.id for key in api.state.api_keys.all() if key.name == "bound"]
    cursor = world.ask("GET", "/v1/events?order=stored").json["pagination"]["next_cursor"]
    answers: list[TestResponse] = []
    path = f"/v1/events?order=stored&cursor={cursor}&wait_seconds=4"
    follower = threading.Thread(target=lambda: answers.append(world.ask("GET", path)))
    follower.start()
    follower.join(0.5)
    assert api.patch(f"/v1/keys/{key_id}", json={"tags": ["other"]}).status_code == 200
    follower.join(1.5)
    world.store(world.own["id"], own=True, number=1)
    follower.join(30)
    assert answers[0].json["data"] == []


def test_a_change_of_tags_takes_a_database_out_of_reach_or_brings_it_in(world: World) -> None:
    hidden = world.hidden[1]["id"]
    assert world.api.patch(f"/v1/databases/{world.own['id']}", json={"tags": ["shop"]}).status_code == 200
    assert world.ids() == []
    assert world.event_ids() == [world.events[world.removed["id"]]]
    tags = {"tags": ["shop", "prod"], "name": "now own", "username": "x"}
    assert world.api.patch(f"/v1/databases/{hidden}", json={**tags, "password": PASSWORD}).status_code == 200
    answer = world.api.get("/v1/databases", key=world.key).json
    assert [one["id"] for one in answer["data"]] == [hidden]
    assert world.api.get(f"/v1/events/{world.events[hidden]}", key=world.key).status_code == 200


def test_a_key_with_tags_has_no_scope_that_reaches_more(api: Api) -> None:
    for scope in (Scope.ADMIN, Scope.VIEW_CLUSTER_INFO, Scope.UPDATE_CLUSTER):
        new = {"name": "x", "scopes": ["read:events", scope], "tags": ["shop"]}
        assert scope in pointers(api.post("/v1/keys", json=new))["/tags"]
    made = api.post("/v1/keys", json={"name": "x", "scopes": ["read:events"], "tags": ["shop", "eu"]}).json
    assert made["tags"] == ["shop", "eu"]
    path = f"/v1/keys/{made['id']}"
    assert "admin" in pointers(api.patch(path, json={"scopes": ["admin"]}))["/tags"]
    admin = api.post("/v1/keys", json={"name": "y", "scopes": ["admin"]}).json
    assert "admin" in pointers(api.patch(f"/v1/keys/{admin['id']}", json={"tags": ["shop"]}))["/tags"]
    assert api.patch(path, json={"scopes": ["admin"], "tags": []}).json["tags"] == []
    for wrong in ([""], [" a"], ["a,b"], ["a", "a"], "shop", ["x" * 65]):
        assert (
            api.post("/v1/keys", json={"name": "x", "scopes": ["read:events"], "tags": wrong}).status_code
            == 400
        )


def test_a_key_with_tags_sees_no_agents_keys_settings_or_figures(world: World) -> None:
    for path in ("/v1/nodes", "/v1/keys", "/metrics", "/v1/cluster/policy", "/v1/cluster/auditing/db_conns"):
        assert world.ask("GET", path).status_code == 403


def test_a_tag_with_odd_characters_binds_as_it_is_written(api_on_both: Api) -> None:
    odd = 'it\'s 100% "ü" \\ ; -- \U0001d54f'
    own = api_on_both.declared(tags=[odd])
    api_on_both.declared(tags=['it\'s 100_ "ü" \\ ; -- \U0001d54f'])
    made = api_on_both.post("/v1/keys", json={"name": "x", "scopes": ["read:databases"], "tags": [odd]}).json
    listed = api_on_both.get("/v1/databases", key=made["key"]).json
    assert [one["id"] for one in listed["data"]] == [own["id"]]
