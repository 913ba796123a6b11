"""The module ``databases`` against the real API."""

import json
from typing import Any

import pytest

from tests.collection.conftest import Service
from tests.collection.running import run_module

PASSWORD = "planted-password-77aa"


def entry(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": "postgresql",
        "host": f"{name}.example.com",
        "database": "shop",
        "username": "dbaudit",
        "password": PASSWORD,
        **changes,
    }


class Databases:
    """The module with the connection to one API."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def __call__(self, *entries: dict[str, Any], check: bool = False, **options: Any) -> dict[str, Any]:
        return run_module(
            "databases",
            api_url=self.service.url,
            api_key=self.service.key,
            databases=list(entries),
            _ansible_check_mode=check,
            **options,
        )

    def names(self) -> list[str]:
        return [database.name for database in self.service.state.databases.all()]


@pytest.fixture
def databases(service: Service) -> Databases:
    return Databases(service)


def actions(result: dict[str, Any]) -> list[str]:
    assert not result.get("failed"), result
    return [one["action"] for one in result["results"]]


def test_a_list_is_declared_once_and_check_mode_tells_so_before(databases: Databases) -> None:
    listed = [entry("a"), entry("b", port=5433)]
    planned = databases(*listed, check=True)
    assert (planned["changed"], actions(planned), databases.names()) == (True, ["created"] * 2, [])
    done = databases(*listed)
    assert done["diff"] == planned["diff"]
    assert set(done["diff"]["after"]) == {"a", "b"}
    assert databases.names() == ["a", "b"]
    assert [one.port for one in databases.service.state.databases.all()] == [5432, 5433]
    again = databases(*listed)
    assert (again["changed"], actions(again)) == (False, ["unchanged"] * 2)
    assert again["diff"] == {"before": {}, "after": {}}


def test_nothing_secret_is_in_any_result(databases: Databases) -> None:
    listed = [entry("a")]
    for result in (
        databases(*listed, check=True),
        databases(*listed),
        databases(entry("a", password="another-planted")),
        databases(entry("a", port=0)),
    ):
        shown = json.dumps({name: value for name, value in result.items() if name != "invocation"})
        assert PASSWORD not in shown
        assert "another-planted" not in shown
        assert PASSWORD not in json.dumps(result)


def test_a_changed_password_shows_in_the_diff_as_changed(databases: Databases) -> None:
    databases(entry("a"))
    changed = databases(entry("a", password="another"), check=True)
    assert changed["diff"]["after"] == {"a": {"password": "********", "password_changed": True}}


def test_the_entry_at_fault_is_named_and_nothing_is_changed(databases: Databases) -> None:
    listed = [entry(f"db{number}") for number in range(800)]
    listed[731]["host"] = "not a host"
    listed[732]["port"] = 70_000
    refused = databases(*listed)
    assert refused["failed"]
    assert refused["msg"].startswith("Nothing was changed. db731 (entry 731): host must be")
    assert "db732 (entry 732): port must be from 1 to 65535" in refused["msg"]
    assert [one["database"] for one in refused["details"]] == ["db731", "db732"]
    assert databases.names() == []


@pytest.mark.parametrize(
    ("change", "field"),
    [({"port": "many"}, "port"), ({"state": "gone"}, "state"), ({"nmae": "x"}, "nmae")],
)
def test_what_ansible_itself_refuses_is_named_too(
    databases: Databases, change: dict[str, Any], field: str
) -> None:
    refused = databases(entry("a"), entry("b", **change))
    assert refused["failed"]
    assert field in refused["msg"]
    assert "This is entry 1 of databases, b." in refused["msg"]


def test_two_entries_of_one_name_or_address_are_named(databases: Databases) -> None:
    same_name = databases(entry("a"), entry("a", host="other.example.com"))
    assert "a (entry 1): name is the same database as entry 0" in same_name["msg"]
    same_address = databases(entry("a"), entry("b", host="a.example.com"))
    assert "b (entry 1): host with port and database is the address of entry 0" in same_address["msg"]


def test_prune_removes_what_is_not_listed_within_its_bounds(databases: Databases) -> None:
    databases(*[entry(name, tags=["x"]) for name in "abcd"], entry("e"))
    too_many = databases(entry("a"), prune=True, prune_tags=["x"], prune_limit=2)
    assert too_many["failed"]
    assert too_many["error_code"] == "prune_limit_exceeded"
    empty = databases(prune=True)
    assert "must not be empty with prune" in empty["msg"]
    assert databases.names() == ["a", "b", "c", "d", "e"]
    done = databases(entry("a"), prune=True, prune_tags=["x"])
    assert [one["name"] for one in done["pruned"]] == ["b", "c", "d"]
    assert databases.names() == ["a", "e"]


def test_waiting_without_an_agent_ends_and_says_so(databases: Databases) -> None:
    waited = databases(entry("a"), wait=True, wait_timeout=1)
    assert waited["failed"]
    assert "1 of 1 are not connected after 1 seconds" in waited["msg"]
    assert waited["results"][0]["status"] == "pending"


def test_an_entry_needs_a_name_or_an_id(databases: Databases) -> None:
    refused = databases({"type": "postgresql"})
    assert refused["failed"]
    assert "one of the following is required: name, id" in refused["msg"]
