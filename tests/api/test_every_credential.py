"""Every operation of the document, asked over a real connection with every kind of credential.

What has to come back follows from the document alone, so a new operation is covered without a line here. The
requests are such that nothing is changed by those that get through: their ids are of nothing, their bodies
are empty.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import httpx
import pytest
from dbaudit.api import ApiServer, ApiSettings, create_app
from dbaudit.api.server import bind
from dbaudit.core.clock import now_us
from dbaudit.core.event import AuditEvent, EventType
from dbaudit.state import State
from dbaudit.state.api_keys import Bounds, Scope

from tests.api.conftest import ENGINES, Api, opened_state
from tests.api.contract import DOCUMENT, check_answer

NOTHING = MappingProxyType({"database_id": "db_nothing", "event_id": "evt_999999", "key_id": "key_nothing"})
BEYOND = (Scope.ADMIN, Scope.VIEW_CLUSTER_INFO, Scope.UPDATE_CLUSTER)
OF_DATABASES = tuple(scope for scope in Scope if scope not in BEYOND)
DAY_US = 24 * 3600 * 1_000_000
GUARDED = sorted(o.id for o in DOCUMENT.operations.values() if o.scopes)
OPEN = sorted(set(DOCUMENT.operations) - set(GUARDED))

Credential = tuple[dict[str, str], dict[str, str]]
"""The headers and the query of a request."""


class Service:
    """A running API, keys of all kinds, and a database with an event that one of the keys does not reach."""

    def __init__(self, api: Api, http: httpx.Client) -> None:
        self.api = api
        self.http = http
        self.hidden = self._hidden()
        one = api.key
        revoked, revoked_text = api.state.api_keys.create("revoked", (Scope.ADMIN,))
        api.state.api_keys.revoke(revoked.id)
        wrong = one[:-1] + ("a" if one[-1] != "a" else "b")
        self.refused: dict[str, Credential] = {
            "no key": ({}, {}),
            "an empty header": ({"Authorization": ""}, {}),
            "a scheme alone": ({"Authorization": "Bearer"}, {}),
            "another scheme": ({"Authorization": f"Token {one}"}, {}),
            "the key without a scheme": ({"Authorization": one}, {}),
            "malformed": bearer("dbaudit_live_%00' or 1=1 --"),
            "wrong": bearer(wrong),
            "a part of a key": bearer(one[:-1]),
            "more than a key": bearer(f"{one}x"),
            "two keys": bearer(f"{one} {one}"),
            "revoked": bearer(revoked_text.reveal()),
            "expired": bearer(self.key(Scope.ADMIN, expires_at_us=now_us() - 1)),
            "expired long ago": bearer(self.key(Scope.ADMIN, expires_at_us=1)),
            "Basic, the key as user": basic(one, ""),
            "Basic, the key as user with a password": basic(one, "x"),
            "Basic, no base64": ({"Authorization": f"Basic {one}"}, {}),
            "in the query": ({}, {"api_key": one}),
            "in the query as access_token": ({}, {"access_token": one}),
            "X-Api-Key": ({"X-Api-Key": one}, {}),
            "a cookie": ({"Cookie": f"api_key={one}; session={one}"}, {}),
            "the id of a key": bearer(revoked.id),
        }
        self.elsewhere = {
            "of another network": bearer(self.key(Scope.ADMIN, networks=("192.0.2.0/24", "2001:db8::/32"))),
            "of another network, forwarded": (
                {
                    **bearer(self.key(Scope.ADMIN, networks=("192.0.2.0/24",)))[0],
                    "X-Forwarded-For": "192.0.2.1",
                    "X-Real-IP": "192.0.2.1",
                    "Forwarded": "for=192.0.2.1",
                },
                {},
            ),
        }
        self.accepted = {
            "Bearer": bearer(one),
            "bearer in small letters": ({"Authorization": f"bearer {one}"}, {}),
            "Basic": basic("anybody", one),
            "Basic without a user": basic("", one),
            "with an expiry to come": bearer(self.key(Scope.ADMIN, expires_at_us=now_us() + DAY_US)),
            "of this network": bearer(self.key(Scope.ADMIN, networks=("127.0.0.0/8",))),
        }
        self.single = {scope: bearer(self.key(scope)) for scope in Scope}
        self.without = {
            scope: bearer(self.key(*(o for o in Scope if o not in (scope, Scope.ADMIN)))) for scope in Scope
        }
        self.of_other_tags = bearer(self.key(*OF_DATABASES, tags=("elsewhere",)))

    def key(self, *scopes: Scope, **bounds: object) -> str:
        return self.api.state.api_keys.create("x", scopes, Bounds(**bounds))[1].reveal()  # type: ignore[arg-type]  # any of its fields

    def _hidden(self) -> dict[str, str]:
        state: State = self.api.state
        database_id = self.api.declared(tags=["here"])["id"]
        lease = next(iter(state.nodes.beat(state.nodes.register("agent-1", "0.1.0", ("postgresql",)))))
        event = AuditEvent(key="1", type=EventType.QUERY, time_us=now_us(), query="SELECT 1")
        state.events.append(lease, state.events.cursor(lease.database_no), {"v": 1}, [event], [])
        return {
            "database_id": database_id,
            "event_id": f"evt_{state.events.last_number()}",
            "key_id": "key_nothing",
        }

    def ask(
        self,
        operation_id: str,
        credential: Credential,
        ids: Mapping[str, str] = NOTHING,
        method: str | None = None,
    ) -> httpx.Response:
        """The checked answer to a request for an operation."""
        operation = DOCUMENT.operations[operation_id]
        headers, query = credential
        answer = self.http.request(
            method or operation.method,
            operation.path.format(**ids),
            headers={**headers, **({} if operation.body is None else {"Content-Type": "application/json"})},
            params=query,
            content=None if operation.body is None else b"{}",
        )
        if method is None:
            check_answer(operation_id, answer.status_code, answer.headers, answer.content)
        return answer


def bearer(key: str) -> Credential:
    return {"Authorization": f"Bearer {key}"}, {}


def basic(user: str, password: str) -> Credential:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}, {}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    settings = ApiSettings(failed_keys_per_minute=0, rate_limit_per_minute=0)
    with opened_state(f"sqlite:///{folder}/state.db", folder) as state:
        api = Api(create_app(state, engines=ENGINES, settings=settings), state)
        server = ApiServer(api.app, "127.0.0.1", 0)
        bind(server)
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as http:
                yield Service(api, http)
        finally:
            server.stop()
            thread.join(30)


@pytest.mark.parametrize("operation_id", GUARDED)
def test_what_is_no_usable_key_is_refused(service: Service, operation_id: str) -> None:
    words = set()
    with service.api.unchanged("events", "event_hours"):
        for name, credential in service.refused.items():
            answer = service.ask(operation_id, credential)
            assert answer.status_code == 401, name
            assert "Bearer" in answer.headers["WWW-Authenticate"]
            if name in ("malformed", "wrong", "revoked", "a part of a key"):
                words.add(answer.text.replace(answer.headers["X-Request-Id"], ""))
            if DOCUMENT.operations[operation_id].method == "GET":
                assert service.ask(operation_id, credential, method="HEAD").status_code == 401, name
    assert len(words) == 1, "a stranger cannot tell a revoked key from one that never was"


@pytest.mark.parametrize("operation_id", GUARDED)
def test_a_key_of_another_network_is_refused(service: Service, operation_id: str) -> None:
    with service.api.unchanged("events", "event_hours"):
        for name, credential in service.elsewhere.items():
            answer = service.ask(operation_id, credential)
            assert answer.status_code == 403, name
            assert "from this address" in answer.text


@pytest.mark.parametrize("operation_id", GUARDED)
def test_every_way_to_send_a_key_gets_the_same_answer(service: Service, operation_id: str) -> None:
    expected = service.ask(operation_id, service.single[Scope.ADMIN]).status_code
    assert expected not in (401, 403, 429, 500)
    for name, credential in service.accepted.items():
        assert service.ask(operation_id, credential).status_code == expected, name


@pytest.mark.parametrize("operation_id", GUARDED)
def test_each_scope_opens_its_operations_and_no_other(service: Service, operation_id: str) -> None:
    scopes = DOCUMENT.operations[operation_id].scopes
    expected = service.ask(operation_id, service.single[Scope.ADMIN]).status_code
    with service.api.unchanged("events", "event_hours", "settings"):
        for scope in Scope:
            opens = scope in scopes or scope is Scope.ADMIN
            status = service.ask(operation_id, service.single[scope]).status_code
            assert status == (expected if opens else 403), scope
            others = [other for other in scopes if other not in (scope, Scope.ADMIN)]
            status = service.ask(operation_id, service.without[scope]).status_code
            assert status == (expected if others else 403), f"all but {scope}"


@pytest.mark.parametrize("operation_id", GUARDED)
def test_a_key_of_other_tags_reaches_nothing(service: Service, operation_id: str) -> None:
    operation = DOCUMENT.operations[operation_id]
    with service.api.unchanged("events", "event_hours"):
        answer = service.ask(operation_id, service.of_other_tags, service.hidden)
    if not set(operation.scopes) & set(OF_DATABASES):
        assert answer.status_code == 403
    elif "{" in operation.path:
        assert answer.status_code == 404
    elif operation.method == "GET":
        assert (answer.status_code, answer.json()["data"]) == (200, [])
    else:
        expected = service.ask(operation_id, service.single[Scope.ADMIN])
        assert (answer.status_code, answer.status_code) == (expected.status_code, 400)


@pytest.mark.parametrize("operation_id", OPEN)
def test_what_is_open_answers_whatever_is_sent_as_a_key(service: Service, operation_id: str) -> None:
    expected = service.ask(operation_id, ({}, {})).status_code
    for name, (headers, _query) in {**service.refused, **service.elsewhere, **service.accepted}.items():
        assert service.ask(operation_id, (headers, {})).status_code == expected, name
