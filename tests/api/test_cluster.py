"""`/v1/cluster` and `/v1/nodes`: every code of the specification through real state, and nothing changed by
what is refused.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from dbaudit.core.db_conns import CAPABILITY, DbConnsSettings
from dbaudit.core.event import EventType
from dbaudit.state.api_keys import Scope
from dbaudit.state.deliveries import DeliveryState, Sent
from dbaudit.state.nodes import Lease, Node
from werkzeug.test import TestResponse

from tests.api.conftest import Api, declaration
from tests.api.contract import DOCUMENT
from tests.state.samples import append, event

SETTINGS = "/v1/cluster/auditing/db_conns"
STATUS = f"{SETTINGS}/status"
POLICY = "/v1/cluster/policy"
TCP = {"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": 12345}
LOCAL = {"audit_protocol": "local", "audit_address": "/run/audit/listener.sock"}
WHOLE = {
    "audit_address": "127.0.0.1",
    "audit_port": 12345,
    "audit_protocol": "TCP",
    "audit_reconnect_interval": 1,
    "audit_reconnect_max_attempts": 0,
}
ON = {"db_conns_auditing": True}
OFF = {"db_conns_auditing": False}


def refused(answer: TestResponse, status: int, code: str) -> str:
    """The message of a refusal in the form of the cluster's paths."""
    found: dict[str, Any] = answer.json
    assert (answer.status_code, found["error_code"]) == (status, code), found
    assert set(found) == {"error_code", "message"}
    return str(found["message"])


def code(answer: TestResponse) -> str:
    """The code of an error in the form of all other paths."""
    return str(answer.json["error"]["code"])


def two_nodes(api: Api) -> tuple[Node, Node]:
    """Two live nodes; the second is of before the time of this feature."""
    able = api.state.nodes.register("able", "0.2.0", (CAPABILITY, "engine:postgresql"))
    return able, api.state.nodes.register("old", "0.1.0", ("engine:postgresql",))


# The settings


def test_nothing_is_set_at_first(api: Api) -> None:
    assert api.get(SETTINGS).json == {}
    assert api.get(POLICY).json == OFF


def test_the_example_of_the_specification_is_answered_as_it_says(api_on_both: Api) -> None:
    assert api_on_both.put(SETTINGS, json=WHOLE).json == WHOLE
    assert api_on_both.get(SETTINGS).json == WHOLE
    answer = api_on_both.delete(SETTINGS)
    assert (answer.status_code, answer.json) == (200, {})
    assert api_on_both.get(SETTINGS).json == {}


def test_put_answers_the_whole_object_with_defaults(api: Api) -> None:
    assert api.put(SETTINGS, json=TCP).json == WHOLE
    assert api.put(SETTINGS, json={"audit_reconnect_interval": 30}).json == WHOLE | {
        "audit_reconnect_interval": 30
    }
    assert api.put(SETTINGS, json={}).json == WHOLE | {"audit_reconnect_interval": 30}


def test_one_put_changes_the_protocol_and_drops_the_port(api: Api) -> None:
    api.put(SETTINGS, json=TCP | {"audit_reconnect_max_attempts": 5})
    local = api.put(SETTINGS, json=LOCAL).json
    assert local == LOCAL | {"audit_reconnect_interval": 1, "audit_reconnect_max_attempts": 5}
    assert api.get(SETTINGS).json == local
    assert api.put(SETTINGS, json=TCP).json == WHOLE | {"audit_reconnect_max_attempts": 5}


INCOMPLETE = [
    ({}, "db_conns_auditing_missing_config", "audit_protocol"),
    ({"audit_protocol": "local"}, "db_conns_auditing_missing_config", "audit_address"),
]
WRONG = [
    ({"audit_protocol": "TCP"}, "db_conns_auditing_missing_config", "audit_address"),
    (
        {"audit_protocol": "TCP", "audit_address": "h"},
        "db_conns_auditing_missing_config",
        "audit_port",
    ),
    (LOCAL | {"audit_port": 1}, "db_conns_auditing_bad_config", "audit_port"),
    (TCP | {"audit_port": 0}, "db_conns_auditing_bad_config", "audit_port"),
    (TCP | {"audit_port": 65536}, "db_conns_auditing_bad_config", "audit_port"),
    (TCP | {"audit_port": "12345"}, "db_conns_auditing_bad_config", "audit_port"),
    (TCP | {"audit_port": 12345.0}, "db_conns_auditing_bad_config", "audit_port"),
    (TCP | {"audit_port": True}, "db_conns_auditing_bad_config", "audit_port"),
    (TCP | {"audit_port": None}, "db_conns_auditing_bad_config", "audit_port"),
    (TCP | {"audit_protocol": "UDP"}, "db_conns_auditing_bad_config", "audit_protocol"),
    (TCP | {"audit_protocol": "tcp"}, "db_conns_auditing_bad_config", "audit_protocol"),
    (TCP | {"audit_address": 7}, "db_conns_auditing_bad_config", "audit_address"),
    (TCP | {"audit_reconnect_interval": 0}, "db_conns_auditing_bad_config", "audit_reconnect_interval"),
    (
        TCP | {"audit_reconnect_max_attempts": -1},
        "db_conns_auditing_bad_config",
        "audit_reconnect_max_attempts",
    ),
    (TCP | {"audit_address": ""}, "db_conns_auditing_bad_address", "audit_address"),
    (TCP | {"audit_address": "[::1]"}, "db_conns_auditing_bad_address", "audit_address"),
    (TCP | {"audit_address": "/run/a.sock"}, "db_conns_auditing_bad_address", "local"),
    (LOCAL | {"audit_address": "run/a.sock"}, "db_conns_auditing_bad_address", "absolute"),
    (LOCAL | {"audit_address": "/" + "x" * 107}, "db_conns_auditing_bad_address", "107"),
    (TCP | {"audit-port": 1}, "validation_failed", "audit-port"),
    (TCP | {"audit_queue_max_bytes": 1}, "validation_failed", "audit_queue_max_bytes"),
]


@pytest.mark.parametrize(
    ("stored", "given", "expected", "named"),
    [*((None, *case) for case in INCOMPLETE + WRONG), *((LOCAL, *case) for case in WRONG)],
)
def test_wrong_settings_have_their_code_name_the_field_and_change_nothing(
    api: Api, stored: dict[str, Any] | None, given: dict[str, Any], expected: str, named: str
) -> None:
    if stored is not None:
        assert api.put(SETTINGS, json=stored).status_code == 200
    with api.unchanged():
        assert named in refused(api.put(SETTINGS, json=given), 400, expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[]", "validation_failed"),
        (b"null", "validation_failed"),
        (b'{"audit_address": "\xff"}', "invalid_json"),
        (b'{"audit_address": "a\\u0000b"}', "validation_failed"),
        (b'{"audit_port": 1, "audit_port": 2}', "validation_failed"),
        (b'{"audit_port": NaN}', "invalid_json"),
    ],
)
@pytest.mark.parametrize("path", [SETTINGS, POLICY])
def test_malformed_bodies_are_refused_in_the_form_of_the_cluster(
    api: Api, path: str, content: bytes, expected: str
) -> None:
    with api.unchanged():
        answer = api.put(path, data=content, content_type="application/json")
        refused(answer, 400, expected)


def test_errors_that_every_path_has_come_in_the_form_of_the_cluster(api: Api) -> None:
    reader = api.key_with(Scope.VIEW_CLUSTER_INFO)
    refused(api.get(SETTINGS, key=None), 401, "unauthorized")
    refused(api.put(SETTINGS, json=TCP, key="dbaudit_live_wrong"), 401, "unauthorized")
    assert "update_cluster" in refused(api.put(SETTINGS, json=TCP, key=reader), 403, "forbidden")
    refused(api.delete(SETTINGS, key=reader), 403, "forbidden")
    refused(api.put(POLICY, json=ON, key=reader), 403, "forbidden")
    refused(api.get("/v1/cluster/nothing"), 404, "path_not_found")
    answer = api.post(SETTINGS, json=TCP)
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "DELETE, GET, HEAD, PUT"
    refused(api.get(SETTINGS, headers={"Accept": "text/html"}), 406, "not_acceptable")
    refused(api.put(SETTINGS, data=b"{}", content_type="text/plain"), 415, "unsupported_media_type")
    assert "nothing" in refused(api.get(f"{SETTINGS}?nothing=1"), 400, "validation_failed")
    assert api.get(SETTINGS, key=reader).status_code == 200


def test_too_large_too_often_and_a_fault_come_in_the_form_of_the_cluster(
    make_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api()
    refused(api.put(SETTINGS, json=TCP | {"audit_address": "x" * 70_000}), 413, "payload_too_large")
    busy = make_api(rate_limit_per_minute=1)
    assert busy.get(SETTINGS).status_code == 200
    limited = busy.get(SETTINGS)
    refused(limited, 429, "rate_limit_exceeded")
    assert int(limited.headers["Retry-After"]) > 0
    monkeypatch.setattr(api.state.db_conns, "get", lambda: 1 // 0)
    assert "division" not in refused(api.get(SETTINGS), 500, "internal_error")


def test_each_operation_has_the_scope_of_its_permission(api: Api) -> None:
    viewer, updater = api.key_with(Scope.VIEW_CLUSTER_INFO), api.key_with(Scope.UPDATE_CLUSTER)
    for path in (SETTINGS, STATUS, POLICY, "/v1/nodes"):
        assert api.get(path, key=viewer).status_code == 200
        assert api.get(path, key=updater).status_code == 403
    assert api.put(SETTINGS, json=TCP, key=updater).status_code == 200
    assert api.put(POLICY, json=OFF, key=updater).status_code == 200
    assert api.delete(SETTINGS, key=updater).status_code == 200


def test_basic_authentication_is_taken_as_existing_cluster_tools_send_it(api: Api) -> None:
    assert api.get(SETTINGS, key=None, auth=("admin@example.com", api.key)).status_code == 200


def test_the_document_has_the_ranges_of_the_domain() -> None:
    described = msgspec.json.schema(DbConnsSettings)["$defs"]["DbConnsSettings"]["properties"]
    documented = DOCUMENT.content["components"]["schemas"]["DbConnsSettings"]["properties"]
    assert set(described) == set(documented)
    for field, node in documented.items():
        choices = [described[field], *described[field].get("anyOf", ())]
        for word in ("minimum", "maximum"):
            assert node.get(word) == next((c[word] for c in choices if word in c), None), (field, word)
        if "default" in node:
            assert node["default"] == described[field]["default"]


# The codes of the specification, through real state


def test_a_node_without_the_capability_refuses_get_and_put(api_on_both: Api) -> None:
    api = api_on_both
    able, old = two_nodes(api)
    with api.unchanged():
        for answer in (api.get(SETTINGS), api.put(SETTINGS, json=TCP)):
            message = refused(answer, 406, "db_conns_auditing_unsupported_by_capability")
            assert "old" in message
            assert "able" not in message.replace("capability", "")
    api.state.nodes.leave(old)
    assert api.put(SETTINGS, json=TCP).json == WHOLE
    api.state.nodes.leave(able)


def test_delete_is_refused_while_nothing_is_set_the_policy_or_a_database_is_on(api_on_both: Api) -> None:
    api = api_on_both
    refused(api.delete(SETTINGS), 404, "db_conns_audit_config_not_found")
    api.put(SETTINGS, json=TCP)
    assert api.put(POLICY, json=ON).json == ON
    database = api.declared()
    assert database["db_conns_auditing"]
    with api.unchanged():
        message = refused(api.delete(SETTINGS), 406, "cannot_delete_audit_config_when_policy_enabled")
        assert POLICY in message
    api.put(POLICY, json=OFF)
    with api.unchanged():
        message = refused(api.delete(SETTINGS), 406, "cannot_delete_audit_config_when_bdb_enabled")
        assert database["id"] in message
    assert not api.patch(f"/v1/databases/{database['id']}", json=OFF).json["db_conns_auditing"]
    assert api.delete(SETTINGS).status_code == 200
    refused(api.delete(SETTINGS), 404, "db_conns_audit_config_not_found")


def test_a_removed_database_does_not_keep_the_settings(api: Api) -> None:
    api.put(SETTINGS, json=TCP)
    database = api.declared(**ON)
    refused(api.delete(SETTINGS), 406, "cannot_delete_audit_config_when_bdb_enabled")
    assert api.delete(f"/v1/databases/{database['id']}").status_code == 204
    assert api.delete(SETTINGS).status_code == 200


def test_nothing_can_be_switched_on_before_the_settings_are_there(api_on_both: Api) -> None:
    api = api_on_both
    path = f"/v1/databases/{api.declared()['id']}"
    with api.unchanged():
        message = refused(api.put(POLICY, json=ON), 406, "db_conns_auditing_config_missing")
        assert SETTINGS in message
        for answer in (
            api.post("/v1/databases", json=declaration(**ON)),
            api.post("/v1/databases?dry_run=true", json=declaration(**ON)),
            api.patch(path, json=ON),
            api.patch(f"{path}?dry_run=true", json=ON),
        ):
            assert (answer.status_code, code(answer)) == (406, "db_conns_auditing_config_missing")
    assert api.put(POLICY, json=OFF).json == OFF
    assert api.patch(path, json=OFF).status_code == 200


def test_a_database_is_not_tested_before_it_is_refused(api: Api) -> None:
    with api.agent() as taken:
        answer = api.post("/v1/databases?verify=true", json=declaration(**ON))
    assert answer.status_code == 406
    assert taken == []


def test_nothing_can_be_switched_on_while_a_node_lacks_the_capability(api: Api) -> None:
    api.put(SETTINGS, json=TCP)
    on = api.declared(**ON)
    off = api.declared()
    two_nodes(api)
    expected = "db_conns_auditing_unsupported_by_capability"
    with api.unchanged():
        refused(api.put(POLICY, json=ON), 406, expected)
        for answer in (
            api.post("/v1/databases", json=declaration(**ON)),
            api.patch(f"/v1/databases/{off['id']}", json=ON),
            api.patch(f"/v1/databases/{off['id']}?dry_run=true", json=ON),
        ):
            assert (answer.status_code, code(answer)) == (406, expected)
    assert api.patch(f"/v1/databases/{on['id']}", json=ON | {"name": "same switch"}).status_code == 200
    assert api.patch(f"/v1/databases/{on['id']}?dry_run=true", json=ON).json["changed"] is False
    assert api.patch(f"/v1/databases/{on['id']}", json=OFF).status_code == 200
    assert api.delete(SETTINGS).status_code == 200


# The policy and the databases


def test_the_policy_is_the_default_of_new_databases_and_changes_no_other(api: Api) -> None:
    before = api.declared()
    api.put(SETTINGS, json=TCP)
    api.put(POLICY, json=ON)
    assert api.get(POLICY).json == ON
    assert api.put(POLICY, json={}).json == ON
    new, told = api.declared(), api.declared(**OFF)
    shown = {d["id"]: d["db_conns_auditing"] for d in api.get("/v1/databases").json["data"]}
    assert shown == {before["id"]: False, new["id"]: True, told["id"]: False}
    assert api.get(f"/v1/databases/{new['id']}").json["db_conns_auditing"]


@pytest.mark.parametrize("given", [{"db_conns_auditing": None}, {"db_conns_auditing": "enabled"}, {"x": 1}])
def test_a_wrong_policy_is_refused_and_changes_nothing(api: Api, given: dict[str, Any]) -> None:
    api.put(SETTINGS, json=TCP)
    with api.unchanged():
        message = refused(api.put(POLICY, json=given), 400, "validation_failed")
        assert next(iter(given)) in message


def test_switching_a_database_leaves_its_connection_alone(api: Api) -> None:
    api.put(SETTINGS, json=TCP)
    database = api.declared()
    path = f"/v1/databases/{database['id']}"
    dry = api.patch(f"{path}?dry_run=true", json=ON).json
    assert dry == {"changed": True, "diff": {"before": OFF, "after": ON}}
    before_us = api.state.databases.get(database["id"]).updated_at_us
    changed = api.patch(path, json=ON).json
    assert changed["db_conns_auditing"]
    assert api.state.databases.get(database["id"]).updated_at_us > before_us
    assert api.state.databases.get(database["id"]).connection_version == 1
    assert api.patch(path, json=ON).json == changed
    assert api.patch(path, json={"name": "renamed"}).json["db_conns_auditing"]


def test_a_dry_run_of_a_new_database_shows_what_the_policy_gives(api: Api) -> None:
    api.put(SETTINGS, json=TCP)
    api.put(POLICY, json=ON)
    plan = api.post("/v1/databases?dry_run=true", json=declaration()).json
    assert plan["diff"]["after"]["db_conns_auditing"] is True
    plan = api.post("/v1/databases?dry_run=true", json=declaration(**OFF)).json
    assert plan["diff"]["after"]["db_conns_auditing"] is False


# The agents, and how sending goes


def test_nodes_are_listed_with_what_they_can_and_hold(api_on_both: Api) -> None:
    api = api_on_both
    assert api.get("/v1/nodes").json == {"data": []}
    database = api.declared()
    able, old = two_nodes(api)
    api.state.nodes.beat(able)
    first, second = api.get("/v1/nodes").json["data"]
    assert (first["id"], first["name"], first["version"]) == (able.id, "able", "0.2.0")
    assert first["alive"] is second["alive"] is True
    assert first["capabilities"] == ["db_conns_auditing", "engine:postgresql"]
    assert first["databases"] == [database["id"]]
    assert (second["name"], second["databases"]) == ("old", [])
    assert first["last_heartbeat"] >= first["started_at"]
    api.state.nodes.leave(old)
    assert [node["name"] for node in api.get("/v1/nodes").json["data"]] == ["able"]


@pytest.fixture
def sending(api: Api) -> tuple[Lease, Node]:
    """A database that is switched on, and the node that holds it."""
    api.put(SETTINGS, json=TCP)
    api.declared(**ON)
    api.declared()
    node = api.state.nodes.register("agent-1", "0.2.0", (CAPABILITY,))
    return api.state.nodes.beat(node)[0], node


def test_status_tells_what_was_sent_and_what_waits(api: Api, sending: tuple[Lease, Node]) -> None:
    lease, node = sending
    status = api.get(STATUS).json
    assert (status["pending"], status["oldest_unsent_seconds"]) == (0, 0)
    (shown,) = status["databases"]
    assert (shown["database_id"], shown["state"], shown["node"]) == (lease.database_id, "waiting", None)
    append(
        api.state,
        lease,
        event("a", type=EventType.CONNECTION),
        event("b", type=EventType.LOGIN_SUCCESS, time_us=1_000_000),
        event("q"),
        event("c", type=EventType.DISCONNECT, time_us=1 << 60),
    )
    first = api.state.events.connections_after(lease.database_no, 0, 1)[0].seq
    api.state.deliveries.advance([Sent(lease, first, 1, 0)])
    api.state.deliveries.report(
        [lease],
        DeliveryState.RETRYING,
        node_id=node.id,
        revision=1,
        error_code="connection_refused",
        error="127.0.0.1:12345 refused the connection.",
        reconnects=4,
    )
    status = api.get(STATUS).json
    (shown,) = status["databases"]
    for figures in (status, shown):
        assert (figures["sent"], figures["pending"], figures["reconnects"]) == (1, 2, 4)
        assert figures["oldest_unsent_seconds"] > 1_000_000_000
    assert (shown["state"], shown["node"]) == ("retrying", "agent-1")
    assert shown["last_error"]["code"] == "connection_refused"
    figures = api.get("/metrics").get_data(as_text=True)
    label = f'{{database_id="{lease.database_id}"}}'
    assert f"dbaudit_db_conns_sent_total{label} 1.0" in figures
    assert f"dbaudit_db_conns_pending{label} 2.0" in figures
    assert f"dbaudit_db_conns_reconnects_total{label} 4.0" in figures
    assert f"dbaudit_db_conns_expired_total{label} 0.0" in figures
    assert f"dbaudit_db_conns_oldest_unsent_seconds{label}" in figures


def test_an_event_of_the_future_is_no_debt(api: Api, sending: tuple[Lease, Node]) -> None:
    append(api.state, sending[0], event("a", type=EventType.CONNECTION, time_us=1 << 60))
    status = api.get(STATUS).json
    assert (status["pending"], status["oldest_unsent_seconds"]) == (1, 0)


def test_status_of_an_agent_that_is_gone_is_waiting(api: Api, sending: tuple[Lease, Node]) -> None:
    lease, node = sending
    api.state.deliveries.report([lease], DeliveryState.CONNECTED, node_id=node.id, revision=1)
    assert api.get(STATUS).json["databases"][0]["state"] == "connected"
    api.state.nodes.leave(node)
    shown = api.get(STATUS).json["databases"][0]
    assert (shown["state"], shown["node"]) == ("waiting", None)
