"""Who did what: each operation of the document leaves its event, or stands on the list of the others."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from dbaudit.state.api_keys import Bounds, Scope

from tests.api.conftest import PASSWORD, REFUSED, Api, declaration

LISTENER = {"audit_protocol": "TCP", "audit_address": "10.0.0.5", "audit_port": 9000}

NOT_RECORDED = {
    "list_databases",
    "get_database",
    "get_database_status",
    "get_db_conns_auditing",
    "get_db_conns_auditing_status",
    "get_cluster_policy",
    "list_nodes",
    "list_keys",
    "health_live",
    "health_ready",
    "get_metrics",
    "get_openapi_document",
    "show_documentation",
}
"""Operations that change nothing and read no events."""


def own_events(api: Api) -> list[dict[str, Any]]:
    """All of them, in the order of storing, as an administrator reads them."""
    path = "/v1/events?type=dbaudit.api&order=stored&limit=1000"
    found: list[dict[str, Any]] = api.get(path).json["data"]
    return found


def _created(api: Api) -> None:
    api.declared()


def _applied(api: Api) -> None:
    assert api.post("/v1/databases/bulk", json={"databases": [declaration()]}).json["changed"]


def _updated(api: Api) -> None:
    assert api.patch(f"/v1/databases/{api.declared()['id']}", json={"name": "new"}).status_code == 200


def _deleted(api: Api) -> None:
    assert api.delete(f"/v1/databases/{api.declared()['id']}").status_code == 204


def _tested(api: Api) -> None:
    with api.agent():
        assert api.post(f"/v1/databases/{api.declared()['id']}/test").status_code == 200


def _listed(api: Api) -> None:
    assert api.get("/v1/events").status_code == 200


def _shown(api: Api) -> None:
    api.declared()
    assert api.get(f"/v1/events/{own_events(api)[0]['id']}").status_code == 200


def _put_settings(api: Api) -> None:
    assert api.put("/v1/cluster/auditing/db_conns", json=LISTENER).status_code == 200


def _deleted_settings(api: Api) -> None:
    _put_settings(api)
    assert api.delete("/v1/cluster/auditing/db_conns").status_code == 200


def _put_policy(api: Api) -> None:
    _put_settings(api)
    assert api.put("/v1/cluster/policy", json={"db_conns_auditing": True}).status_code == 200


def _made_key(api: Api) -> str:
    made: str = api.post("/v1/keys", json={"name": "ci", "scopes": ["read:events"]}).json["id"]
    return made


def _updated_key(api: Api) -> None:
    assert api.patch(f"/v1/keys/{_made_key(api)}", json={"scopes": ["admin"]}).status_code == 200


def _revoked_key(api: Api) -> None:
    assert api.delete(f"/v1/keys/{_made_key(api)}").status_code == 204


RECORDED: dict[str, Callable[[Api], object]] = {
    "create_database": _created,
    "apply_databases": _applied,
    "update_database": _updated,
    "delete_database": _deleted,
    "test_database": _tested,
    "list_events": _listed,
    "get_event": _shown,
    "put_db_conns_auditing": _put_settings,
    "delete_db_conns_auditing": _deleted_settings,
    "put_cluster_policy": _put_policy,
    "create_key": _made_key,
    "update_key": _updated_key,
    "revoke_key": _revoked_key,
}
"""Every other operation, with a way to use it."""


def test_every_operation_of_the_document_is_recorded_or_on_the_list(api: Api) -> None:
    described = {
        operation["operationId"]
        for path in api.get("/v1/openapi.json").json["paths"].values()
        for method, operation in path.items()
        if method in ("get", "post", "put", "patch", "delete")
    }
    assert described == NOT_RECORDED | RECORDED.keys()
    assert not NOT_RECORDED & RECORDED.keys()


@pytest.mark.parametrize("operation", RECORDED)
def test_an_operation_leaves_its_event(api_on_both: Api, operation: str) -> None:
    api = api_on_both
    RECORDED[operation](api)
    last = own_events(api)[-1]
    key = next(k for k in api.state.api_keys.all() if "admin" in k.scopes and k.name == "test")
    assert last["operation"] == operation
    assert (last["type"], last["database_id"], last["database_name"]) == (
        "dbaudit.api",
        "db_dbaudit",
        "dbaudit",
    )
    assert last["user"] == key.name
    assert last["detail"]["key_id"] == key.id
    assert last["detail"]["by"] == "api key"
    assert last["source_ip"] == "127.0.0.1"


def test_a_change_says_what_it_changed_and_no_secret(api_on_both: Api) -> None:
    api = api_on_both
    made = api.declared(name="shop", tags=["a"])
    path = f"/v1/databases/{made['id']}"
    changed = {"tags": ["b"], "password": "Lion-77-planted", "audit_options": {"retention_days": 1}}
    answer = api.patch(path, json=changed, headers={"User-Agent": "pipeline/1", "X-Request-Id": "r-1"})
    assert answer.status_code == 200
    assert api.patch(path, json={"tags": ["b"]}).status_code == 200
    create, update, *rest = own_events(api)
    assert rest == []
    assert create["objects"] == update["objects"] == [made["id"], "shop"]
    assert create["detail"]["after"]["host"] == made["host"]
    assert create["detail"]["password_changed"] is True
    assert update["detail"]["before"]["tags"] == ["a"]
    assert update["detail"]["after"]["tags"] == ["b"]
    assert update["detail"]["after"]["audit_options"]["retention_days"] == 1
    assert update["detail"]["password_changed"] is True
    assert update["detail"].keys() == {
        "action",
        "by",
        "key_id",
        "request_id",
        "before",
        "after",
        "password_changed",
    }
    assert update["detail"]["request_id"] == "r-1"
    assert (update["application"], update["outcome"], update["rows_affected"]) == ("pipeline/1", "success", 1)
    text = api.get("/v1/events?type=dbaudit.api").get_data(as_text=True)
    assert PASSWORD not in text
    assert "Lion-77" not in text


def test_each_declaration_of_a_list_has_its_own_event(api_on_both: Api) -> None:
    api = api_on_both
    kept, moved, gone = api.declared(name="kept"), api.declared(name="moved"), api.declared(name="gone")
    swapped = {
        "databases": [
            {"name": "kept", "host": kept["host"]},
            {"name": "moved", "host": "new.example.com", "password": PASSWORD},
            {"name": "gone", "state": "absent"},
            declaration(name="added"),
        ]
    }
    before = len(own_events(api))
    assert api.post("/v1/databases/bulk?dry_run=true", json=swapped).status_code == 200
    assert api.post("/v1/databases/bulk", json=swapped).status_code == 200
    assert api.post("/v1/databases/bulk", json={"databases": [{"name": "kept"}]}).json["changed"] is False
    new = [e for e in own_events(api)[before:] if e["operation"] == "apply_databases"]
    assert [(e["detail"]["action"], e["objects"][-1]) for e in new] == [
        ("dry run", gone["id"]),
        ("removed", "gone"),
        ("changed", "moved"),
        ("created", "added"),
    ]
    assert new[2]["detail"]["before"] == {"host": moved["host"]}
    assert new[2]["detail"]["after"] == {"host": "new.example.com"}


def test_a_reading_says_the_filter_and_the_number_of_rows(api_on_both: Api) -> None:
    api = api_on_both
    for _step in range(3):
        api.declared()
    path = "/v1/events?type=dbaudit.api&severity=info&user=test&start_date=2020-01-01&limit=2"
    page = api.get(path).json
    shown = api.get(f"/v1/events/{page['data'][0]['id']}").json
    listed, got = own_events(api)[-2:]
    assert (listed["operation"], listed["rows_affected"]) == ("list_events", 2)
    assert listed["detail"]["filter"] == {
        "type": ["dbaudit.api"],
        "severity": "info",
        "user": "test",
        "start_date": "2020-01-01T00:00:00Z",
    }
    assert (listed["detail"]["limit"], listed["detail"]["cursor"]) == (2, False)
    assert (got["operation"], got["rows_affected"], got["objects"]) == ("get_event", 1, [shown["id"]])


def test_followers_of_everything_do_not_feed_each_other(api_on_both: Api) -> None:
    api = api_on_both
    api.declared()
    cursors = []
    for _reader in range(2):
        page = api.get("/v1/events?order=stored&cursor=end").json["pagination"]
        cursors.append(page["next_cursor"])
    rounds = 0
    while True:
        rows = 0
        for reader in range(2):
            page = api.get(f"/v1/events?order=stored&cursor={cursors[reader]}").json
            rows += len(page["data"])
            cursors[reader] = page["pagination"]["next_cursor"]
        rounds += 1
        if rows == 0:
            break
        assert rounds < 5


def test_a_follower_does_not_begin_with_the_record_of_its_beginning(api_on_both: Api) -> None:
    api = api_on_both
    cursor = api.get("/v1/events?order=stored&cursor=end&severity=info").json["pagination"]["next_cursor"]
    assert api.get(f"/v1/events?order=stored&severity=info&cursor={cursor}").json["data"] == []
    (began,) = own_events(api)
    assert began["detail"]["filter"] == {"severity": "info"}


def test_reading_page_by_page_ends_however_small_the_pages(api: Api) -> None:
    for _step in range(3):
        api.declared()
    cursor, pages = "", 0
    while True:
        page = api.get(f"/v1/events?order=oldest&limit=1{cursor}").json
        pages += 1
        if not page["pagination"]["has_more"]:
            break
        cursor = f"&cursor={page['pagination']['next_cursor']}"
        assert pages < 20


def test_what_a_known_key_may_not_do_is_recorded_and_a_stranger_is_not(api_on_both: Api) -> None:
    api = api_on_both
    weak = api.key_with(Scope.READ_DATABASES)
    assert api.get("/v1/events", key=weak).status_code == 403
    assert api.delete("/v1/databases/db_x", key=weak).status_code == 403
    with api.unchanged():
        assert api.get("/v1/events", key="dbaudit_live_" + "x" * 32).status_code == 401
    refused = own_events(api)
    assert [(e["operation"], e["outcome"], e["error_code"], e["detail"]["action"]) for e in refused] == [
        ("list_events", "failure", "forbidden", "refused"),
        ("delete_database", "failure", "forbidden", "refused"),
    ]


def test_a_key_bound_to_tags_reads_no_own_events(api_on_both: Api) -> None:
    api = api_on_both
    api.declared(tags=["a"])
    bound = api.state.api_keys.create("bound", (Scope.READ_EVENTS,), Bounds(tags=("a",)))[1].reveal()
    assert api.get("/v1/events?type=dbaudit.api", key=bound).json["data"] == []
    (created, read) = own_events(api)
    assert api.get(f"/v1/events/{created['id']}", key=bound).status_code == 404
    assert (read["operation"], read["user"], read["rows_affected"]) == ("list_events", "bound", 0)


def test_a_key_from_outside_its_networks_is_recorded_and_an_expired_one_too(api_on_both: Api) -> None:
    api = api_on_both
    for bounds in (Bounds(networks=("10.0.0.0/8",)), Bounds(expires_at_us=1)):
        key = api.state.api_keys.create("bound", (Scope.ADMIN,), bounds)[1].reveal()
        assert api.get("/v1/databases", key=key).status_code in (401, 403)
    refused = own_events(api)
    assert [one["error_code"] for one in refused] == ["forbidden", "unauthorized"]
    assert {one["user"] for one in refused} == {"bound"}


def test_a_test_of_a_connection_is_recorded_though_it_fails(api_on_both: Api) -> None:
    api = api_on_both
    with api.agent(lambda task: REFUSED):
        assert api.post("/v1/databases?verify=true", json=declaration(name="new")).status_code == 422
    (tested,) = own_events(api)
    assert (tested["operation"], tested["detail"]["action"]) == ("create_database", "connection test")
    assert tested["objects"] == ["new"]
    assert tested["detail"]["target"]["username"] == "dbaudit_reader"


def test_guessing_a_password_is_recorded(api_on_both: Api) -> None:
    api = api_on_both
    made = api.declared()
    path = f"/v1/databases/{made['id']}"
    assert api.patch(f"{path}?dry_run=true", json={"password": "guess"}).status_code == 200
    assert api.patch(path, json={"password": PASSWORD}).status_code == 200
    assert api.patch(f"{path}?dry_run=true", json={"name": "no secret"}).status_code == 200
    _create, *guesses = own_events(api)
    assert [(e["detail"]["action"], e["detail"]["given"]) for e in guesses] == [("dry run", ["password"])] * 2


def test_no_declaration_can_take_the_place_of_the_owner_of_these_events(api_on_both: Api) -> None:
    api = api_on_both
    api.declared()
    assert api.get("/v1/events?database_id=db_dbaudit").json["data"]
    for method, path in (
        ("GET", ""),
        ("GET", "/status"),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/test"),
    ):
        body = {"json": {"audit_options": {"retention_days": 1}}} if method == "PATCH" else {}
        assert api.request(method, f"/v1/databases/db_dbaudit{path}", **body).status_code == 404
    absent = {"databases": [{"id": "db_dbaudit", "state": "absent"}]}
    assert api.post("/v1/databases/bulk", json=absent).json["changed"] is False
    assert [d["id"] for d in api.get("/v1/databases").json["data"]] != ["db_dbaudit"]
    assert "db_dbaudit" not in api.get("/metrics").get_data(as_text=True)


def test_many_readings_at_once_are_recorded_each(api_on_both: Api) -> None:
    api = api_on_both
    client = api.app.test_client

    def read() -> None:
        for _step in range(5):
            headers = {"Authorization": f"Bearer {api.key}"}
            assert client().get("/v1/events?type=collector.gap", headers=headers).status_code == 200

    readers = [threading.Thread(target=read) for _reader in range(8)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert len(own_events(api)) == 40


def test_an_unfiltered_list_has_them_like_every_other_event(api: Api) -> None:
    api.declared()
    assert [e["type"] for e in api.get("/v1/events").json["data"]] == ["dbaudit.api"]
