"""Every operation of the API is within reach of a playbook, or has a reason not to be."""

from collections import Counter
from importlib import resources
from typing import Any

import httpx
import yaml
from dbaudit.state.api_keys import Scope
from prometheus_client.parser import text_string_to_metric_families

from tests.collection.conftest import REPOSITORY, Service
from tests.collection.running import run_module
from tests.collection.test_databases import entry

FOR_OTHERS = {
    "get_event": "event_info returns events whole",
    "health_live": "ansible.builtin.uri asks it without a key, and so do load balancers",
    "health_ready": "ansible.builtin.uri asks it without a key, and so do load balancers",
    "get_metrics": "Prometheus reads it",
    "get_openapi_document": "a document for programs that make clients of it",
    "show_documentation": "a page for browsers",
}

SENDING = {"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": 1}
# Tasks that together use all there is, in an order in which each has something to do.
TASKS: list[tuple[str, dict[str, Any]]] = [
    ("databases", {"databases": [entry("listed")]}),
    ("database", entry("single")),
    ("database", entry("single", port=5433)),
    ("database_info", {"name": "single", "gather_status": True}),
    ("database_test", {"name": "single", "retries": 0}),
    ("event_info", {}),
    ("db_conns_auditing", {**SENDING, "policy": True, "databases": {"single": True}}),
    ("db_conns_auditing_info", {}),
    ("db_conns_auditing", {"state": "absent", "policy": False, "databases": {"single": False}}),
    ("database", {"name": "single", "state": "absent"}),
    ("api_key", {"name": "operations", "scopes": ["read:events"]}),
    ("api_key", {"name": "operations", "scopes": ["read:databases"]}),
    ("api_key", {"name": "operations", "state": "absent"}),
]
NO_AGENT = {"database_test"}  # fails, because this service has none


def test_every_operation_is_used_by_a_module_or_is_for_others(service: Service) -> None:
    connection = {"api_url": service.url, "api_key": service.new_key(Scope.ADMIN)}
    before = requests(connection)
    for module, arguments in TASKS:
        result = run_module(module, **connection, **arguments)
        assert result.get("failed", False) is (module in NO_AGENT), (module, result)
    (listed,) = service.state.databases.all()
    assert run_module("database_info", **connection, id=listed.id)["databases"]
    used = set(requests(connection) - before)
    assert used - {"get_metrics"} == operations() - set(FOR_OTHERS)


def test_every_module_of_the_api_is_among_the_tasks_and_in_the_action_group() -> None:
    modules = {
        path.stem
        for path in (REPOSITORY / "plugins" / "modules").glob("*.py")
        if "- dbaudit.dbaudit.connection" in path.read_text()
    }
    assert {module for module, _arguments in TASKS} == modules
    runtime = yaml.safe_load((REPOSITORY / "meta" / "runtime.yml").read_text())
    assert runtime["action_groups"] == {"dbaudit": sorted(modules)}


def operations() -> set[str]:
    document = yaml.safe_load(resources.files("dbaudit.api").joinpath("openapi.yaml").read_text("utf-8"))
    return {
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    }


def requests(connection: dict[str, Any]) -> Counter[str]:
    """How often each operation was asked for, as the service itself counts."""
    answer = httpx.get(
        f"{connection['api_url']}/metrics", headers={"Authorization": f"Bearer {connection['api_key']}"}
    )
    counted: Counter[str] = Counter()
    for family in text_string_to_metric_families(answer.raise_for_status().text):
        for sample in family.samples:
            if sample.name == "dbaudit_http_requests_total":
                counted[sample.labels["operation"]] += int(sample.value)
    return counted
