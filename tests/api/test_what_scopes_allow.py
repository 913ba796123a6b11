"""What docs/security.md says that each scope allows: where one allows more or less, its table is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

from dbaudit.state.api_keys import Scope

from tests.api.conftest import PASSWORD, Api, declaration
from tests.api.test_events import Collected, query_event

ROOT = Path(__file__).parents[2]


def test_reading_databases_shows_hosts_users_certificates_and_reports_but_no_secret(api: Api) -> None:
    made = api.declared(username="collector", tags=["shop"])
    key = api.key_with(Scope.READ_DATABASES)
    shown = api.get(f"/v1/databases/{made['id']}", key=key)
    for field in ("host", "port", "database", "username", "ssl_ca", "ssl_cert", "tags", "status_reason"):
        assert shown.json[field] == made[field]
    report = api.get(f"/v1/databases/{made['id']}/status", key=key).json
    assert {"last_error", "node"} <= report["collector"].keys()
    assert {"timestamp", "type", "user"} >= (report["last_event"] or {}).keys()
    assert PASSWORD not in shown.get_data(as_text=True)


def test_writing_databases_does_not_read_them_but_shows_the_one_that_it_changes(api: Api) -> None:
    key = api.key_with(Scope.WRITE_DATABASES)
    made = api.declared()
    path = f"/v1/databases/{made['id']}"
    assert api.get("/v1/databases", key=key).status_code == 403
    assert api.get(path, key=key).status_code == 403
    assert api.patch(path, key=key, json={}).json["host"] == made["host"]
    entry = {"name": made["name"], "state": "absent"}
    removed = api.post("/v1/databases/bulk?dry_run=true", key=key, json={"databases": [entry]}).json
    assert removed["results"][0]["diff"]["before"]["host"] == made["host"]


def test_writing_databases_can_end_or_thin_out_auditing(api: Api) -> None:
    key = api.key_with(Scope.WRITE_DATABASES)
    path = f"/v1/databases/{api.declared()['id']}"
    fewer = {"retention_days": 1, "capture_queries": False}
    changed = api.patch(path, key=key, json={"audit_status": "paused", "audit_options": fewer}).json
    assert changed["audit_status"] == "paused"
    assert fewer.items() <= changed["audit_options"].items()
    assert api.delete(path, key=key).status_code == 204


def test_testing_databases_shows_the_report_and_nothing_else(api: Api) -> None:
    made = api.declared()
    key = api.key_with(Scope.TEST_DATABASES)
    path = f"/v1/databases/{made['id']}"
    with api.agent() as taken, api.unchanged("nodes", "tasks", "secrets"):
        report = api.post(f"{path}/test", key=key)
        assert {"version", "permissions", "diagnoses", "latency_ms"} <= report.json.keys()
        assert made["host"] not in report.get_data(as_text=True)
        for suffix in ("", "?verify=true", "?dry_run=true"):
            assert api.post(f"/v1/databases{suffix}", key=key, json=declaration()).status_code == 403
            assert api.patch(path + suffix, key=key, json={"name": "x"}).status_code == 403
        assert api.get(path, key=key).status_code == 403
        assert api.get(f"{path}/status", key=key).status_code == 403
    assert [task.database_id for task in taken] == [made["id"]]


def test_reading_events_shows_statements_users_and_addresses(api: Api) -> None:
    collected = Collected(api)
    said = {"query": "SELECT 'a secret of somebody'", "source_ip": "10.0.0.7", "parameters": ("4111",)}
    collected.store(query_event(1, 1_700_000_000_000_000, **said))
    answer = api.get(f"/v1/events?database_id={collected.id}", key=api.key_with(Scope.READ_EVENTS))
    (event,) = answer.json["data"]
    assert (event["query"], event["source_ip"], event["parameters"]) == (said["query"], "10.0.0.7", ["4111"])


def test_reading_events_shows_who_used_the_api_and_from_where(api: Api) -> None:
    api.declared()
    answer = api.get("/v1/events?type=dbaudit.api", key=api.key_with(Scope.READ_EVENTS))
    assert {"user", "source_ip", "operation"} <= answer.json["data"][0].keys()
    assert answer.json["data"][0]["source_ip"] == "127.0.0.1"


def test_viewing_the_cluster_shows_agents_listener_and_figures_of_each_database(api: Api) -> None:
    made = api.declared()
    key = api.key_with(Scope.VIEW_CLUSTER_INFO)
    listener = {"audit_protocol": "TCP", "audit_address": "10.9.8.7", "audit_port": 12345}
    assert api.put("/v1/cluster/auditing/db_conns", json=listener).status_code == 200
    with api.agent():
        assert api.get("/v1/nodes", key=key).json["data"][0]["name"] == "agent-1"
    assert api.get("/v1/cluster/auditing/db_conns", key=key).json["audit_address"] == "10.9.8.7"
    assert made["id"] in api.get("/metrics", key=key).get_data(as_text=True)
    assert api.get("/v1/databases", key=key).status_code == 403


def test_updating_the_cluster_sends_connection_events_to_any_address(api: Api) -> None:
    key = api.key_with(Scope.UPDATE_CLUSTER)
    listener = {"audit_protocol": "TCP", "audit_address": "192.0.2.66", "audit_port": 1}
    assert api.put("/v1/cluster/auditing/db_conns", key=key, json=listener).status_code == 200
    assert api.put("/v1/cluster/policy", key=key, json={"db_conns_auditing": True}).status_code == 200
    assert api.declared()["db_conns_auditing"] is True


def test_an_administrator_makes_keys_with_every_scope(api: Api) -> None:
    for scope in Scope:
        assert api.post("/v1/keys", json={"name": "x", "scopes": [scope]}).status_code == 201


def test_every_line_of_the_table_of_scopes_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    table = page.partition("### What each scope allows\n")[2].partition("\n### ")[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    scopes = set()
    for row in rows:
        scopes.add(row[0].strip("|` "))
        path, _colons, name = row[-1].strip("|` ").partition("::")
        defined = (ROOT / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {re.escape(name)}\(", defined, re.MULTILINE), row[-1]
    assert scopes == set(Scope), json.dumps(sorted(scopes))
