"""The module ``database_info`` against the real API."""

from typing import Any

import pytest

from tests.collection.conftest import Service
from tests.collection.running import run_module


def read(service: Service, **arguments: Any) -> Any:
    result = run_module("database_info", api_url=service.url, api_key=service.key, **arguments)
    assert result["changed"] is False
    return result["databases"]


def names(databases: list[dict[str, Any]]) -> list[str]:
    return sorted(database["name"] for database in databases)


def declare(service: Service, name: str, **fields: Any) -> str:
    declaration = {
        "name": name,
        "type": "postgresql",
        "host": f"{name}.example.com",
        "database": "app",
        "username": "dbaudit",
        "password": "planted-password-5f1c",
        **fields,
    }
    result = run_module("database", api_url=service.url, api_key=service.key, **declaration)
    identifier = result["database"]["id"]
    assert isinstance(identifier, str)
    return identifier


def test_every_page_is_read(service: Service) -> None:
    expected = sorted(f"db{number:03}" for number in range(201))
    for name in expected:
        declare(service, name)
    assert names(read(service)) == expected


def test_filters_have_to_fit_all(service: Service) -> None:
    declare(service, "a", tags=["x", "y"])
    declare(service, "b", tags=["x"])
    declare(service, "c", tags=["y"], host="a.example.com", port=5433)

    assert names(read(service)) == ["a", "b", "c"]
    assert names(read(service, tags=["x"])) == ["a", "b"]
    assert names(read(service, tags=["x", "y"])) == ["a"]
    assert names(read(service, host="a.example.com")) == ["a", "c"]
    assert names(read(service, host="a.example.com", tags=["y"], name="c")) == ["c"]
    assert names(read(service, type="postgresql", status="pending")) == ["a", "b", "c"]
    assert read(service, status="connected") == []
    assert read(service, name="A") == []


def test_one_database_is_read_by_its_id(service: Service) -> None:
    declare(service, "a")
    identifier = declare(service, "b")
    (found,) = read(service, id=identifier)
    assert found["name"] == "b"
    assert "current_status" not in found


def test_an_unknown_id_is_an_empty_list(service: Service) -> None:
    assert read(service, id="db_0000000000000000") == []


def test_the_status_comes_along_when_asked_for(service: Service) -> None:
    declare(service, "a")
    declare(service, "b")
    for found in read(service, gather_status=True):
        assert found["current_status"]["id"] == found["id"]
        assert set(found["current_status"]["health_checks"]) == {
            "connectivity",
            "permissions",
            "latency",
            "disk_space",
            "audit_source",
        }


def test_an_id_and_a_filter_exclude_each_other(service: Service) -> None:
    result = run_module("database_info", api_url=service.url, api_key=service.key, id="db_1", name="a")
    assert "mutually exclusive" in result["msg"]


@pytest.mark.parametrize("tag", ["a,b", ""])
def test_a_tag_that_cannot_be_is_no_filter_for_others(service: Service, tag: str) -> None:
    declare(service, "c", tags=["a", "b"])
    result = run_module("database_info", api_url=service.url, api_key=service.key, tags=[tag])
    assert result["failed"]
    assert "tags" in result["msg"]
