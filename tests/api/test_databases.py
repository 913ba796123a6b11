"""Declaring, showing, changing and removing databases, as a client of the specification sees it."""

from __future__ import annotations

import pytest
from dbaudit.core.clock import now_us
from dbaudit.core.database import AuditStatus, ConnectionStatus
from dbaudit.core.event import AuditEvent, EventType, gap
from dbaudit.core.report import CheckStatus, Health
from dbaudit.state import State
from dbaudit.state.collectors import CollectorState, Pulse

from tests.api.conftest import PASSWORD, Api, declaration
from tests.api.contract import pointers
from tests.servers.certificates import CertificateAuthority


def test_a_new_database_is_pending_and_shown_whole_without_secrets(api_on_both: Api) -> None:
    api = api_on_both
    certificate = CertificateAuthority().client("dbaudit_reader")
    body = declaration(
        ssl_mode="verify-full",
        ssl_ca=certificate.certificate,
        ssl_cert=certificate.certificate,
        ssl_key=certificate.key,
        tags=["production", "critical"],
        audit_options={"capture_results": True, "engine": {"mode": "local"}},
    )
    created = api.post("/v1/databases", json=body)
    assert created.status_code == 201
    shown = created.json
    assert shown["id"].startswith("db_")
    assert created.headers["Location"] == f"/v1/databases/{shown['id']}"
    assert shown["status"] == "pending"
    assert shown["audit_status"] == "initializing"
    assert shown["audit_options"] == {
        "capture_queries": True,
        "capture_results": True,
        "mask_sensitive_data": True,
        "retention_days": 90,
        "scope": "database",
        "engine": {"mode": "local"},
    }
    for field in body.keys() - {"password", "ssl_key", "audit_options"}:
        assert shown[field] == body[field]
    details = api.get(created.headers["Location"])
    assert {**shown, "stats": details.json["stats"], "health": details.json["health"]} == details.json
    assert details.json["stats"] == {
        "events_today": 0,
        "events_this_week": 0,
        "alerts_pending": 0,
        "policies_active": 0,
    }
    assert details.json["health"] == {"latency_ms": None, "last_heartbeat": None}
    for answer in (created, details, api.get("/v1/databases")):
        assert PASSWORD not in answer.get_data(as_text=True)
        assert "PRIVATE KEY" not in answer.get_data(as_text=True)
    stored = api.state.databases.target(shown["id"])
    assert stored.password.reveal() == PASSWORD
    assert stored.ssl_key is not None
    assert stored.ssl_key.reveal() == certificate.key


def test_defaults_are_those_of_the_document(api: Api) -> None:
    shown = api.declared()
    assert shown["ssl_mode"] == "require"
    assert shown["tags"] == []
    assert (shown["ssl_ca"], shown["ssl_cert"]) == (None, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("DB.Example.COM", "db.example.com"),
        ("2001:DB8::0001", "2001:db8::1"),
        ("10.1.2.3", "10.1.2.3"),
        ("localhost", "localhost"),
        ("my_db", "my_db"),
    ],
)
def test_a_host_has_one_way_of_writing(api: Api, given: str, kept: str) -> None:
    assert api.declared(host=given)["host"] == kept
    assert api.post("/v1/databases", json=declaration(host=kept)).status_code == 409
    assert [d["host"] for d in api.get(f"/v1/databases?host={given}").json["data"]] == [kept]


def test_the_same_place_twice_is_a_conflict_that_changes_nothing(api_on_both: Api) -> None:
    api = api_on_both
    first = api.declared()
    with api.unchanged():
        for query in ("", "?dry_run=true", "?verify=true"):
            answer = api.post(f"/v1/databases{query}", json=declaration(host=first["host"]))
            assert answer.status_code == 409
            assert answer.json["error"]["code"] == "database_exists"
            assert "/host" in pointers(answer)
    other = api.declared(host=first["host"], database="other")
    with api.unchanged():
        for query in ("", "?dry_run=true", "?verify=true"):
            answer = api.patch(f"/v1/databases/{other['id']}{query}", json={"database": "myapp"})
            assert answer.status_code == 409
    assert api.delete(f"/v1/databases/{first['id']}").status_code == 204
    assert api.patch(f"/v1/databases/{other['id']}", json={"database": "myapp"}).status_code == 200


@pytest.mark.parametrize("path", ["", "/status", "/test"])
@pytest.mark.parametrize("unknown", ["db_nosuch", "%00", "%ff", "x" * 65, "db'--", "..%2f", "ä"])
def test_an_unknown_id_is_not_found_everywhere(api_on_both: Api, unknown: str, path: str) -> None:
    api = api_on_both
    for method in {"": ("GET", "PATCH", "DELETE"), "/status": ("GET",), "/test": ("POST",)}[path]:
        body = {"json": {"name": "x"}} if method == "PATCH" else {}
        answer = api.request(method, f"/v1/databases/{unknown}{path}", **body)
        assert answer.status_code == 404
        other_path = "%2f" in unknown
        assert answer.json["error"]["code"] == ("path_not_found" if other_path else "not_found")


def test_a_change_takes_only_what_is_given(api_on_both: Api) -> None:
    api = api_on_both
    before = api.declared(tags=["a"], audit_options={"retention_days": 30, "engine": {"mode": "local"}})
    path = f"/v1/databases/{before['id']}"
    etag = api.get(path).headers["ETag"]
    changed = api.patch(path, json={"name": "Primary", "audit_options": {"capture_results": True}})
    assert changed.status_code == 200
    expected = {
        **before,
        "name": "Primary",
        "audit_options": {**before["audit_options"], "capture_results": True},
        "updated_at": changed.json["updated_at"],
    }
    assert changed.json == expected
    assert changed.json["updated_at"] >= before["updated_at"]
    assert changed.headers["ETag"] != etag
    assert api.state.databases.target(before["id"]).password.reveal() == PASSWORD


def test_the_scope_is_the_database_until_the_whole_server_is_asked_for(api_on_both: Api) -> None:
    api = api_on_both
    before = api.declared(audit_options={"retention_days": 30})
    assert before["audit_options"]["scope"] == "database"
    path = f"/v1/databases/{before['id']}"
    whole = api.patch(path, json={"audit_options": {"scope": "server"}})
    assert whole.json["audit_options"] == {**before["audit_options"], "scope": "server"}
    assert whole.json["status"] == before["status"], "the connection is the same"
    other = api.patch(path, json={"audit_options": {"retention_days": 31}})
    assert other.json["audit_options"] == {**whole.json["audit_options"], "retention_days": 31}
    wrong = api.patch(path, json={"audit_options": {"scope": "everything"}})
    assert set(pointers(wrong)) == {"/audit_options/scope"}
    narrowed = api.patch(path, json={"audit_options": {"scope": "database"}})
    assert narrowed.json["audit_options"]["scope"] == "database"


@pytest.mark.parametrize(
    "nothing",
    [
        {},
        {"name": "Production PostgreSQL", "port": 5432, "type": "postgresql"},
        {"password": PASSWORD},
        {"audit_options": {"retention_days": 90}},
        {"audit_options": {}},
        {"audit_status": "active"},
        {"ssl_ca": None, "ssl_cert": None, "ssl_key": None},
    ],
)
def test_a_change_that_changes_nothing_writes_nothing(api: Api, nothing: dict[str, object]) -> None:
    path = f"/v1/databases/{api.declared()['id']}"
    before = api.get(path).json
    with api.unchanged():
        assert api.patch(path, json=nothing).status_code == 200
        plan = api.patch(f"{path}?dry_run=true", json=nothing).json
    assert plan == {"changed": False, "diff": {"before": {}, "after": {}}}
    assert api.get(path).json == before


@pytest.mark.parametrize(
    "change",
    [
        {"host": "elsewhere.example.com", "password": PASSWORD},
        {"port": 5433, "password": PASSWORD},
        {"database": "other"},
        {"username": "somebody"},
        {"password": "another"},
        {"ssl_mode": "disable", "password": PASSWORD},
    ],
)
def test_a_change_of_the_connection_makes_it_pending_again(api: Api, change: dict[str, object]) -> None:
    database = api.declared()
    _connect(api.state, database["id"])
    changed = api.patch(f"/v1/databases/{database['id']}", json=change).json
    assert (changed["status"], changed["audit_status"]) == ("pending", "initializing")


def test_another_change_leaves_it_connected(api: Api) -> None:
    database = api.declared()
    _connect(api.state, database["id"])
    changed = api.patch(f"/v1/databases/{database['id']}", json={"name": "x", "tags": ["y"]}).json
    assert (changed["status"], changed["audit_status"]) == ("connected", "active")


def test_collecting_is_paused_and_goes_on(api: Api) -> None:
    database = api.declared()
    path = f"/v1/databases/{database['id']}"
    _connect(api.state, database["id"])
    assert api.patch(path, json={"audit_status": "paused"}).json["audit_status"] == "paused"
    # What an agent finds meanwhile does not end the pause.
    _connect(api.state, database["id"])
    assert api.get(path).json["audit_status"] == "paused"
    assert api.patch(path, json={"audit_status": "active"}).json["audit_status"] == "active"


def test_a_database_that_was_never_reached_begins_anew_after_a_pause(api: Api) -> None:
    database = api.declared(audit_status="paused")
    assert database["audit_status"] == "paused"
    changed = api.patch(f"/v1/databases/{database['id']}", json={"audit_status": "active"}).json
    assert changed["audit_status"] == "initializing"


def test_null_takes_certificates_away(api: Api) -> None:
    certificate = CertificateAuthority().client("dbaudit_reader")
    database = api.declared(
        ssl_ca=certificate.certificate, ssl_cert=certificate.certificate, ssl_key=certificate.key
    )
    path = f"/v1/databases/{database['id']}"
    without = {"ssl_ca": None, "ssl_cert": None, "ssl_key": None, "password": PASSWORD}
    cleared = api.patch(path, json=without).json
    assert (cleared["ssl_ca"], cleared["ssl_cert"]) == (None, None)
    assert api.state.databases.target(database["id"]).ssl_key is None


def test_if_match_refuses_a_change_of_what_was_not_seen(api: Api) -> None:
    path = f"/v1/databases/{api.declared()['id']}"
    seen = api.get(path).headers["ETag"]
    changed = api.patch(path, json={"name": "first"}, headers={"If-Match": seen})
    assert changed.status_code == 200
    with api.unchanged():
        answer = api.patch(path, json={"name": "second"}, headers={"If-Match": seen})
    assert answer.status_code == 409
    assert answer.json["error"]["code"] == "conflict"
    again = api.patch(path, json={"name": "second"}, headers={"If-Match": changed.headers["ETag"]})
    assert again.status_code == 200
    assert again.headers["ETag"] == api.get(path).headers["ETag"]


@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_if_match_refuses_to_remove_what_was_not_seen(api_on_both: Api, query: str) -> None:
    api = api_on_both
    path = f"/v1/databases/{api.declared()['id']}"
    seen = api.get(path).headers["ETag"]
    changed = api.patch(path, json={"name": "first"}, headers={"If-Match": seen})
    with api.unchanged():
        answer = api.delete(path + query, headers={"If-Match": seen})
    assert (answer.status_code, answer.json["error"]["code"]) == (409, "conflict")
    assert api.delete(path, headers={"If-Match": changed.headers["ETag"]}).status_code == 204
    anything = f"/v1/databases/{api.declared()['id']}"
    assert api.delete(anything, headers={"If-Match": "*"}).status_code == 204


def test_a_removed_database_is_gone_and_its_secrets_with_it(api_on_both: Api) -> None:
    api = api_on_both
    database = api.declared()
    assert api.delete(f"/v1/databases/{database['id']}").status_code == 204
    assert api.get(f"/v1/databases/{database['id']}").status_code == 404
    assert api.get("/v1/databases").json["pagination"]["total"] == 0
    assert api.dump()["secrets"] == []
    again = api.declared(host=database["host"])
    assert again["id"] != database["id"]


def test_the_list_is_filtered_by_everything_that_is_given(api_on_both: Api) -> None:
    api = api_on_both
    one = api.declared(name="one", tags=["a", "b"])
    two = api.declared(name="two", tags=["b", "ü ä"], type="mysql")
    three = api.declared(name="three", tags=[])
    _connect(api.state, three["id"])

    def found(query: str) -> list[str]:
        answer = api.get(f"/v1/databases?{query}")
        assert answer.json["pagination"]["total"] == len(answer.json["data"])
        return [database["name"] for database in answer.json["data"]]

    assert found("") == ["one", "two", "three"]
    assert found("tags=b") == ["one", "two"]
    assert found("tags=a,b") == ["one"]
    assert found("tags=b,%C3%BC%20%C3%A4") == ["two"]
    assert found("tags=a,nosuch") == []
    assert found("type=mysql") == ["two"]
    assert found("type=mysql&tags=a") == []
    assert found("status=pending") == ["one", "two"]
    assert found("status=connected") == ["three"]
    assert found("name=one") == ["one"]
    assert found("name=on") == []
    assert found(f"host={two['host']}") == ["two"]
    assert found(f"host={one['host']}&name=one&status=pending&type=postgresql&tags=a") == ["one"]


def test_pages_follow_each_other_in_the_order_of_creation(api_on_both: Api) -> None:
    api = api_on_both
    names = [api.declared(name=f"{number}")["name"] for number in range(7)]
    seen = []
    for page in (1, 2, 3):
        answer = api.get(f"/v1/databases?page={page}&per_page=3").json
        assert answer["pagination"] == {"total": 7, "page": page, "per_page": 3}
        seen += [database["name"] for database in answer["data"]]
    assert seen == names
    assert api.get("/v1/databases?page=4&per_page=3").json["data"] == []
    assert api.get("/v1/databases?page=1000000000&per_page=100").json["data"] == []
    assert api.get("/v1/databases").json["pagination"] == {"total": 7, "page": 1, "per_page": 20}


def test_status_of_a_database_that_nobody_collects(api: Api) -> None:
    database = api.declared()
    assert api.get(f"/v1/databases/{database['id']}/status").json == {
        "id": database["id"],
        "connection_status": "pending",
        "audit_status": "initializing",
        "status_code": None,
        "status_reason": None,
        "collector": {
            "version": None,
            "uptime_seconds": 0,
            "events_per_second": 0.0,
            "state": "waiting",
            "node": None,
            "last_error": None,
            "gaps": 0,
            "rejected": 0,
            "left_out": {},
        },
        "health_checks": dict.fromkeys(
            ("connectivity", "permissions", "latency", "disk_space", "audit_source"), "unknown"
        ),
        "last_event": None,
    }


def test_status_and_details_show_what_the_agent_measured(api_on_both: Api) -> None:
    state = api_on_both.state
    database = api_on_both.declared()
    node = state.nodes.register("agent-7", "2.4.1", ("postgresql",))
    lease = state.nodes.beat(node)[0]
    _connect(state, database["id"])
    for collector_state in (CollectorState.STARTING, CollectorState.RUNNING):
        state.collectors.set_state(lease, collector_state, node_id=node.id, version="2.4.1")
    state.collectors.beat([Pulse(lease, now_us(), 42.5)])
    healthy = CheckStatus.HEALTHY
    health = Health(
        connectivity=healthy,
        permissions=healthy,
        latency=healthy,
        disk_space=CheckStatus.WARNING,
        latency_ms=12.0,
        measured_at_us=now_us(),
    )
    state.collectors.set_health(lease, health)
    now = now_us()
    events = [
        gap("0", now - 2, "file rotated away", lost_bytes=10),
        AuditEvent(key="1", type=EventType.QUERY, time_us=now, user="app_user"),
    ]
    cursor = state.events.cursor(lease.database_no)
    state.events.append(lease, cursor, {"v": 1}, events, [], left_out={"Ping": 3, "server_startup": 1})

    path = f"/v1/databases/{database['id']}"
    details = api_on_both.get(path).json
    assert details["stats"]["events_today"] == 2
    assert details["stats"]["events_this_week"] == 2
    assert details["health"]["latency_ms"] == 12.0
    assert details["health"]["last_heartbeat"] is not None
    status = api_on_both.get(f"{path}/status").json
    assert (status["connection_status"], status["audit_status"]) == ("connected", "active")
    collector = status["collector"]
    assert collector.pop("uptime_seconds") >= 0
    assert collector == {
        "version": "2.4.1",
        "events_per_second": 42.5,
        "state": "running",
        "node": "agent-7",
        "last_error": None,
        "gaps": 1,
        "rejected": 0,
        "left_out": {"Ping": 3, "server_startup": 1},
    }
    assert status["health_checks"]["disk_space"] == "warning"
    assert status["last_event"] == {
        "timestamp": details["last_event_at"],
        "type": "database.query",
        "user": "app_user",
    }

    # A dead agent's word is not repeated as if it were still true.
    state.nodes.leave(node)
    status = api_on_both.get(f"{path}/status").json
    assert set(status["health_checks"].values()) == {"unknown"}
    assert (status["collector"]["state"], status["collector"]["events_per_second"]) == ("waiting", 0.0)
    assert status["last_event"]["user"] == "app_user"


def test_status_names_the_last_error(api: Api) -> None:
    state = api.state
    database = api.declared()
    node = state.nodes.register("agent-7", "2.4.1", ("postgresql",))
    state.collectors.set_state(
        state.nodes.beat(node)[0],
        CollectorState.BACKING_OFF,
        node_id=node.id,
        error_code="connection_refused",
        error="Nothing listens on port 5432.",
    )
    state.databases.set_status(
        database["id"],
        1,
        ConnectionStatus.ERROR,
        code="connection_refused",
        reason="Nothing listens on port 5432.",
    )
    status = api.get(f"/v1/databases/{database['id']}/status").json
    assert status["collector"]["state"] == "backing_off"
    assert status["collector"]["last_error"] == {
        "code": "connection_refused",
        "message": "Nothing listens on port 5432.",
    }
    shown = api.get(f"/v1/databases/{database['id']}").json
    assert (shown["status"], shown["status_code"]) == ("error", "connection_refused")
    assert shown["status_reason"] == "Nothing listens on port 5432."


def test_an_answer_is_never_older_than_the_last_change(api_on_both: Api) -> None:
    """Answers are kept between changes; whoever changes the state, the next answer shows it."""
    api = api_on_both
    path = f"/v1/databases/{api.declared()['id']}"
    for number in range(20):
        api.patch(path, json={"name": f"name {number}"})
        assert api.get(path).json["name"] == f"name {number}"
        assert api.get(path).json["name"] == f"name {number}"
        assert api.get("/v1/databases").json["data"][0]["name"] == f"name {number}"
        _connect(api.state, path.rpartition("/")[2])
        assert api.get("/v1/databases").json["data"][0]["status"] == "connected"
        api.patch(path, json={"port": 6000 + number, "password": PASSWORD})
        assert api.get("/v1/databases?per_page=50").json["data"][0]["status"] == "pending"


def _connect(state: State, database_id: str) -> None:
    version = state.databases.get(database_id).connection_version
    assert state.databases.set_status(
        database_id, version, ConnectionStatus.CONNECTED, audit_status=AuditStatus.ACTIVE
    )
