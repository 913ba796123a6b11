"""A parameter that was rendered to nothing never makes a task touch more than its author meant."""

from typing import Any

import pytest

from tests.collection.conftest import Service
from tests.collection.running import run_module
from tests.collection.test_database import SHOP

EMPTY = pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])


@pytest.fixture
def connection(service: Service) -> dict[str, str]:
    connection = {"api_url": service.url, "api_key": service.new_key("admin")}
    assert run_module("database", **connection, **SHOP)["changed"]
    return connection


@EMPTY
@pytest.mark.parametrize("state", ["absent", "present"])
@pytest.mark.parametrize("by", ["name", "id"])
@pytest.mark.parametrize("check", [False, True])
def test_a_database_without_a_name_is_not_the_only_one_there_is(
    service: Service, connection: dict[str, str], by: str, state: str, nothing: Any, check: bool
) -> None:
    before = service.state.databases.all()
    other = {"host": "elsewhere.example.com", "password": "another"}
    given = {**(SHOP if state == "present" else {}), **other, by: nothing, "state": state}
    result = run_module("database", **connection, **given, _ansible_check_mode=check)
    assert f"{by} is empty" in result["msg"]
    assert service.state.databases.all() == before


@EMPTY
@pytest.mark.parametrize("by", ["name", "id"])
def test_a_connection_test_without_a_name_tests_nothing(
    connection: dict[str, str], by: str, nothing: Any
) -> None:
    assert f"{by} is empty" in run_module("database_test", **connection, **{by: nothing})["msg"]


@EMPTY
@pytest.mark.parametrize("by", ["id", "name", "host", "type", "status", "tags"])
def test_a_filter_that_is_empty_does_not_find_everything(
    connection: dict[str, str], by: str, nothing: Any
) -> None:
    result = run_module("database_info", **connection, **{by: nothing})
    assert f"{by} is empty" in result["msg"] or "must be one of" in result["msg"]


@pytest.mark.parametrize("nothing", [None, "", []], ids=["null", "empty", "list"])
@pytest.mark.parametrize("by", ["database_id", "type", "user", "query_contains", "start_date"])
def test_an_event_filter_that_is_empty_does_not_find_everything(
    connection: dict[str, str], by: str, nothing: Any
) -> None:
    result = run_module("event_info", **connection, **{by: nothing})
    assert result["failed"]
    assert "is empty" in result["msg"] or "is not a valid event" in result["msg"] or by in result["msg"]


@EMPTY
@pytest.mark.parametrize("state", ["absent", "present"])
def test_a_key_without_a_name_is_none(connection: dict[str, str], state: str, nothing: Any) -> None:
    result = run_module("api_key", **connection, name=nothing, scopes=["read:events"], state=state)
    assert "name is empty" in result["msg"]


def test_a_list_is_not_pruned_by_tags_that_are_empty(service: Service, connection: dict[str, str]) -> None:
    other = {**SHOP, "name": "other", "host": "other.example.com"}
    result = run_module("databases", **connection, databases=[other], prune=True, prune_tags=None)
    assert "prune_tags" in result["msg"]
    assert [one.name for one in service.state.databases.all()] == ["shop"]


@EMPTY
def test_an_entry_without_a_name_changes_nothing(
    service: Service, connection: dict[str, str], nothing: Any
) -> None:
    before = service.state.databases.all()
    result = run_module("databases", **connection, databases=[{"name": nothing, "state": "absent"}])
    assert result["failed"]
    assert service.state.databases.all() == before


@EMPTY
def test_a_key_of_the_api_that_is_empty_is_named(service: Service, nothing: Any) -> None:
    result = run_module("database_info", api_url=service.url, api_key=nothing or "")
    assert "api_key is empty" in result["msg"]


def test_a_404_of_another_path_is_not_taken_for_gone(service: Service, connection: dict[str, str]) -> None:
    (database,) = service.state.databases.all()
    wrong = {**connection, "api_url": f"{service.url}/typo"}
    for module, arguments in (
        ("database", {"id": database.id, "state": "absent"}),
        ("database_info", {"id": database.id}),
    ):
        assert run_module(module, **wrong, **arguments)["failed"]
    assert [one.id for one in service.state.databases.all()] == [database.id]
