"""Servers of each release, with the collector's user."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from dbaudit.engine import EventType
from dbaudit.engines.mongodb import MongoDBEngine
from dbaudit.testing import Collecting, Monitored

from tests.conftest import missing_engine_is_told
from tests.engines.mongodb.targets import COLLECTOR, PASSWORD, ROLES, target
from tests.servers.mongodb import MongoServer, replica_set

USER, USER_PASSWORD, DATABASE = "lena", "right", "shop"


class OnServer(Monitored):
    engine = MongoDBEngine()

    def __init__(self, server: MongoServer, **options: str) -> None:
        self._server = server
        self._options = options

    def target(self) -> Any:
        return target(self._server, options=self._options)


def collecting(server: MongoServer, cursor: Any = None, **options: str) -> Collecting:
    return Collecting(OnServer(server, **options), cursor)


def told(reading: Collecting, *types: EventType) -> list[tuple[Any, ...]]:
    """The user, application, outcome and error of each event of these types, without the superuser's."""
    return [
        (e.user, e.application, e.outcome and e.outcome.value, e.error_code)
        for e in reading.events
        if e.type in types and e.user != "root"
    ]


def with_users(server: MongoServer) -> None:
    server.create_user(COLLECTOR, PASSWORD, ROLES)
    server.create_user(USER, USER_PASSWORD, ["readWrite"], database=DATABASE)


@pytest.fixture(scope="module", params=["4.4.2", "5.0.4", "6.0.5"])
def each_release(request: pytest.FixtureRequest) -> Iterator[MongoServer]:
    with missing_engine_is_told(), MongoServer(request.param) as server:
        with_users(server)
        with server.client() as client:
            client[DATABASE].command("profile", 2)
        yield server


@pytest.fixture(scope="module")
def members() -> Iterator[list[MongoServer]]:
    """A replica set of three, the primary first."""
    with contextlib.ExitStack() as running, missing_engine_is_told():
        servers = running.enter_context(replica_set())
        with_users(servers[0])
        yield servers
