"""Waiting for and insisting on the connection test: a real agent and a real PostgreSQL."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.collection.conftest import Installation, Service
from tests.collection.faults import free_port
from tests.collection.running import run_module
from tests.collection.test_database import SHOP
from tests.servers.postgresql import HOST, PostgresServer

PASSWORD = "planted-password-5f1c"
WRONG_PASSWORD = "planted-password-0bad"
Declare = Callable[..., dict[str, Any]]


@pytest.fixture
def declare(installation: Installation, postgres: PostgresServer, request: pytest.FixtureRequest) -> Declare:
    """The module with the declaration of a database of its own, named like the test."""
    name = request.node.name[:50]
    postgres.create_database(name)
    postgres.create_collector_role(name, PASSWORD, name)

    def run(*, check: bool = False, **changes: Any) -> dict[str, Any]:
        declaration = {
            "name": name,
            "type": "postgresql",
            "host": HOST,
            "port": postgres.port,
            "database": name,
            "username": name,
            "password": PASSWORD,
            "ssl_mode": "disable",
        }
        return run_module(
            "database",
            api_url=installation.url,
            api_key=installation.key,
            _ansible_check_mode=check,
            **{**declaration, **changes},
        )

    return run


def stored(installation: Installation, name: str) -> list[dict[str, Any]]:
    found = run_module("database_info", api_url=installation.url, api_key=installation.key, name=name)
    databases = found["databases"]
    assert isinstance(databases, list)
    return databases


def test_waiting_ends_with_the_connection(declare: Declare) -> None:
    first = declare(wait=True)
    assert first["changed"]
    assert first["database"]["status"] == "connected"
    again = declare(wait=True)
    assert not again["changed"]
    assert again["database"]["status"] == "connected"


def test_waiting_ends_with_a_failure_and_its_reason(declare: Declare) -> None:
    failed = declare(wait=True, password=WRONG_PASSWORD)
    assert failed["failed"]
    assert failed["changed"], "the declaration is stored"
    assert failed["database"]["status"] == "error"
    assert failed["database"]["status_reason"] in failed["msg"]
    assert WRONG_PASSWORD not in json.dumps(failed)

    mended = declare(wait=True)
    assert mended["diff"]["after"]["password_changed"] is True
    assert mended["database"]["status"] == "connected"


def test_check_mode_does_not_wait(declare: Declare) -> None:
    planned = declare(check=True, wait=True, password=WRONG_PASSWORD)
    assert planned["changed"]
    assert "failed" not in planned


def test_an_insisted_connection_that_fails_stores_nothing(
    declare: Declare, installation: Installation
) -> None:
    failed = declare(verify=True, password=WRONG_PASSWORD)
    assert failed["failed"]
    assert failed["status"] == 422
    assert failed["error_code"]
    assert failed["report"]["success"] is False
    assert failed["report"]["diagnoses"]
    assert WRONG_PASSWORD not in json.dumps(failed)
    assert declare(check=True)["changed"], "something was stored"

    name = declare(verify=True)["database"]["name"]
    (before,) = stored(installation, name)
    assert declare(verify=True, port=free_port())["status"] == 422
    (after,) = stored(installation, name)
    assert after["port"] == before["port"]
    assert after["updated_at"] == before["updated_at"]


def test_without_an_agent_waiting_ends_in_time(service: Service) -> None:
    failed = run_module(
        "database", api_url=service.url, api_key=service.key, wait=True, wait_timeout=1, **SHOP
    )
    assert failed["failed"]
    assert failed["changed"]
    assert "pending after 1 second" in failed["msg"]
    assert "agent" in failed["msg"]


def test_without_an_agent_an_insisted_connection_is_refused(service: Service) -> None:
    failed = run_module("database", api_url=service.url, api_key=service.key, verify=True, retries=0, **SHOP)
    assert failed["status"] == 503
    assert failed["error_code"] == "no_agent_available"
    assert service.state.databases.all() == []
