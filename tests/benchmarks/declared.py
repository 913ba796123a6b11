"""A server's database, declared to a running service through its API."""

import time

import httpx

from tests.demo.service import Service
from tests.servers.postgresql import PostgresServer

ROLE = "collector"
_PASSWORD = "only for this benchmark"
_PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.05


def declare(service: Service, server: PostgresServer) -> str:
    """Declares the database `postgres`, read remotely; returns its id."""
    server.create_collector_role(ROLE, _PASSWORD)
    answer = service.client().post(
        "/v1/databases",
        json={
            "name": "benchmark",
            "type": "postgresql",
            "host": server.host,
            "port": server.port,
            "database": "postgres",
            "username": ROLE,
            "password": _PASSWORD,
            "ssl_mode": "disable",
            "audit_options": {"engine": {"log_source": "remote"}},
        },
    )
    answer.raise_for_status()
    identifier = str(answer.json()["id"])
    _wait_until_active(service, identifier)
    return identifier


def wait_until_caught_up(service: Service, server: PostgresServer) -> None:
    """Returns when a statement that is run now is found in the API: everything before it was read, too."""
    mark = f"caught_up_{time.monotonic_ns()}"
    with server.connect_admin() as connection:
        connection.execute(f"select 1 as {mark}")
    with service.client() as client:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not _found(client, mark):
            if time.monotonic() > deadline:
                raise TimeoutError("the agent does not catch up with the log")
            time.sleep(_LOOK_SECONDS)


def _found(client: httpx.Client, mark: str) -> bool:
    answer = client.get("/v1/events", params={"type": "database.query", "limit": 100})
    answer.raise_for_status()
    return any(mark in (event["query"] or "") for event in answer.json()["data"])


def _wait_until_active(service: Service, identifier: str) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (database := service.get(f"/v1/databases/{identifier}"))["audit_status"] != "active":
        if time.monotonic() > deadline:
            raise TimeoutError(f"the database did not become active: {database}")
        time.sleep(_LOOK_SECONDS)
