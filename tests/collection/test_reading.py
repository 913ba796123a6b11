"""The modules that test, read and make keys, the inventory plugin and the lookup, against the real API."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from dbaudit.core.event import AuditEvent, EventType, Severity
from dbaudit.state import State
from dbaudit.state.api_keys import Scope

from tests.collection.conftest import Installation, Service
from tests.collection.running import run_module, run_playbook
from tests.collection.test_databases import PASSWORD, entry
from tests.servers.postgresql import PostgresServer


def declare(service: Service, *entries: dict[str, Any]) -> None:
    result = run_module("databases", api_url=service.url, api_key=service.key, databases=list(entries))
    assert not result.get("failed"), result


def append(state: State, events: list[AuditEvent]) -> str:
    """Stores events of the only database as an agent does; returns its id."""
    node = state.nodes.register("writer", "1", ("engine:postgresql",))
    (lease,) = state.nodes.beat(node)
    cursor = state.events.cursor(lease.database_no)
    state.events.append(lease, cursor, {"v": 1}, events, [])
    state.nodes.leave(node)
    return lease.database_id


def test_a_test_without_an_agent_says_so(service: Service) -> None:
    declare(service, entry("a"))
    result = run_module("database_test", api_url=service.url, api_key=service.key, name="a", retries=0)
    assert result["failed"]
    assert result["error_code"] == "no_agent_available"


def test_a_test_of_an_unknown_database_says_so(service: Service) -> None:
    result = run_module("database_test", api_url=service.url, api_key=service.key, name="nobody")
    assert result["msg"] == "There is no database nobody."


def test_a_test_returns_the_report_and_fails_with_the_remedy(
    installation: Installation, postgres: PostgresServer
) -> None:
    connection = {"api_url": installation.url, "api_key": installation.key}
    postgres.create_collector_role("tester", PASSWORD)
    declared = {
        **entry("tested", username="tester", ssl_mode="disable"),
        "host": postgres.host,
        "port": postgres.port,
        "database": "postgres",
    }
    assert run_module("databases", **connection, databases=[declared], wait=True)["changed"]
    report = run_module("database_test", **connection, name="tested")["report"]
    assert report["success"]
    assert report["version"].startswith("PostgreSQL")
    declared |= {"password": "wrong"}
    failed = run_module("databases", **connection, databases=[declared], wait=True)
    assert failed["failed"]
    assert "tested: " in failed["msg"]
    result = run_module("database_test", **connection, name="tested")
    assert (result["failed"], result["status"]) == (True, 422)
    assert result["report"]["error_code"] == "authentication_failed"
    run_module("databases", **connection, databases=[{"name": "tested", "state": "absent"}])


def test_events_are_read_page_by_page_and_no_more_than_asked_for(service: Service) -> None:
    declare(service, entry("a"))
    database_id = append(
        service.state,
        [
            AuditEvent(
                key=f"k{n}",
                type=EventType.LOGIN_FAILED if n % 2 else EventType.QUERY,
                time_us=1_700_000_000_000_000 + n,
                severity=Severity.WARNING,
                user="app",
            )
            for n in range(2500)
        ],
    )
    connection = {"api_url": service.url, "api_key": service.new_key(Scope.READ_EVENTS)}
    everything = run_module("event_info", **connection, database_id=database_id, max_events=5000)
    assert (len(everything["events"]), everything["truncated"]) == (2500, False)
    failed = run_module(
        "event_info", **connection, database_id=database_id, type=["user.login_failed"], max_events=1100
    )
    assert (len({one["id"] for one in failed["events"]}), failed["truncated"]) == (1100, True)
    assert {one["type"] for one in failed["events"]} == {"user.login_failed"}
    refused = run_module("event_info", **connection, start_date="yesterday")
    assert "start_date" in refused["msg"]


def test_keys_are_made_changed_replaced_and_revoked(service: Service) -> None:
    connection = {"api_url": service.url, "api_key": service.new_key(Scope.ADMIN)}

    def key(**options: Any) -> dict[str, Any]:
        return run_module("api_key", **connection, name="reports", **options)

    assert key(scopes=["read:events"], _ansible_check_mode=True)["changed"]
    made = key(scopes=["read:events"])
    assert made["key"].startswith("dbaudit_live_")
    again = key(scopes=["read:events"])
    assert not again["changed"]
    assert "key" not in again
    assert key(scopes=["read:databases"])["info"]["id"] == made["info"]["id"]
    replaced = key(scopes=["read:databases"], replace=True)
    assert replaced["key"] != made["key"]
    assert service.state.api_keys.verify(made["key"]) is None
    assert service.state.api_keys.verify(replaced["key"]) is not None
    assert key(state="absent")["changed"]
    assert not key(state="absent")["changed"]
    assert service.state.api_keys.verify(replaced["key"]) is None


def test_a_key_is_bound_and_stays_so_where_the_task_does_not_say_otherwise(service: Service) -> None:
    connection = {"api_url": service.url, "api_key": service.new_key(Scope.ADMIN)}
    bounds = {
        "expires_at": "2126-01-31T12:00:00Z",
        "networks": ["10.1.2.3", "127.0.0.0/8"],
        "tags": ["shop", "prod"],
    }
    shown = {**bounds, "networks": ["10.1.2.3/32", "127.0.0.0/8"]}

    def key(**options: Any) -> dict[str, Any]:
        return run_module("api_key", **connection, name="bound", **options)

    made = key(scopes=["read:events"], **bounds)
    assert shown.items() <= made["info"].items()
    assert not key(scopes=["read:events"], **bounds)["changed"]
    changed = key(scopes=["test:databases"])
    assert changed["changed"]
    assert shown.items() <= changed["info"].items()
    replaced = key(scopes=["test:databases"], replace=True)
    assert replaced["info"]["id"] != made["info"]["id"]
    assert shown.items() <= replaced["info"].items()
    freed = key(scopes=["test:databases"], expires_at="never", networks=[], tags=[])
    assert freed["diff"]["before"][replaced["info"]["id"]]["networks"] == shown["networks"]
    assert (freed["info"]["expires_at"], freed["info"]["networks"], freed["info"]["tags"]) == (None, [], [])
    assert "tags is empty" in key(scopes=["test:databases"], tags=None)["msg"]
    assert "networks" in key(scopes=["test:databases"], networks=["10.1.2.3/8"])["details"][0]["pointer"]
    assert "2027-01-31T12:00:00Z" in key(scopes=["test:databases"], expires_at="2027-01-31")["msg"]
    for nothing in (None, ""):
        assert "networks is empty" in key(scopes=["test:databases"], networks=nothing)["msg"]
        assert "expires_at is empty" in key(scopes=["test:databases"], expires_at=nothing)["msg"]


def inventory(service: Service, collections_path: Path, folder: Path, **options: Any) -> Any:
    source = folder / "all.dbaudit.yml"
    source.write_text(json.dumps({"plugin": "dbaudit.dbaudit.databases", "api_url": service.url, **options}))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", source, "--list"],
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "ANSIBLE_COLLECTIONS_PATH": str(collections_path),
            "DBAUDIT_API_KEY": service.key,
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        },
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert service.key not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr


def test_the_inventory_has_every_database_in_its_groups(
    service: Service, collections_path: Path, tmp_path: Path
) -> None:
    listed = [entry(f"db{n}", tags=["even"] if n % 2 == 0 else ["odd one"]) for n in range(120)]
    declare(service, *listed)
    found = inventory(
        service,
        collections_path,
        tmp_path,
        compose={"audit_port": "dbaudit_database.port"},
        keyed_groups=[{"key": "dbaudit_database.ssl_mode", "prefix": "tls"}],
        groups={"first": "dbaudit_database.name == 'db0'"},
    )
    assert len(found["dbaudit_type_postgresql"]["hosts"]) == 120
    assert len(found["dbaudit_tag_even"]["hosts"]) == 60
    assert len(found["dbaudit_tag_odd_one"]["hosts"]) == 60
    assert len(found["tls_require"]["hosts"]) == 120
    assert found["first"]["hosts"] == ["db0"]
    variables = found["_meta"]["hostvars"]["db7"]
    assert variables["audit_port"] == 5432
    # What comes from outside is no template to Ansible.
    assert variables["ansible_host"] == {"__ansible_unsafe": "db7.example.com"}
    some = inventory(service, collections_path, tmp_path, filters={"tags": ["even"]}, hostname="id")
    assert len(some["_meta"]["hostvars"]) == 60


def test_the_inventory_takes_what_the_cache_has(
    service: Service, collections_path: Path, tmp_path: Path
) -> None:
    cached = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
    }
    declare(service, entry("first"))
    assert set(inventory(service, collections_path, tmp_path, **cached)["_meta"]["hostvars"]) == {"first"}
    declare(service, entry("second"))
    assert set(inventory(service, collections_path, tmp_path, **cached)["_meta"]["hostvars"]) == {"first"}


def test_the_inventory_says_what_is_wrong(service: Service, collections_path: Path, tmp_path: Path) -> None:
    wrong_filter = inventory(service, collections_path, tmp_path, filters={"tag": "x"})
    assert "tag is not known" in wrong_filter
    away = inventory(service, collections_path, tmp_path, api_url="http://127.0.0.1:1", retries=0)
    assert "cannot be reached" in away


LOOKUP = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.assert:
        that: lookup('dbaudit.dbaudit.database', 'shop').port == 5432
    - ansible.builtin.debug:
        msg: "{{ lookup('dbaudit.dbaudit.database', 'nobody') }}"
"""


@pytest.mark.parametrize("name", ["shop"])
def test_the_lookup_finds_a_database_and_fails_for_none(
    service: Service, collections_path: Path, tmp_path: Path, name: str
) -> None:
    declare(service, entry(name))
    playbook = tmp_path / "lookup.yml"
    playbook.write_text(LOOKUP)
    environment = {"DBAUDIT_API_URL": service.url, "DBAUDIT_API_KEY": service.key}
    run = run_playbook(playbook, collections_path, environment=environment)
    assert "ok=1 " in run.stdout, run.stdout
    assert "There is no database named nobody." in run.stdout
