"""Every operation needs a key with its scope, but for those that are documented to need none."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pytest
from dbaudit.api.authentication import Authenticator
from dbaudit.api.rate_limit import RateLimiter
from dbaudit.core.errors import RequestError
from dbaudit.state import State
from dbaudit.state.api_keys import Scope

from tests.api.conftest import Api, declaration
from tests.api.contract import DOCUMENT

GUARDED = sorted(o.id for o in DOCUMENT.operations.values() if o.scopes)
OPEN = sorted(set(DOCUMENT.operations) - set(GUARDED))


def call(api: Api, operation_id: str, key: str | None) -> int:
    """The status of a sound request for an operation, on a database of its own."""
    operation = DOCUMENT.operations[operation_id]
    path = operation.path
    if "{" in path:
        path = path.format(
            database_id=api.declared()["id"],
            event_id="evt_1",
            key_id=api.post("/v1/keys", json={"name": "x", "scopes": ["admin"]}).json["id"],
        )
    body = {
        "create_database": declaration(),
        "create_key": {"name": "x", "scopes": ["admin"]},
        "update_key": {"name": "x"},
        "apply_databases": {"databases": [declaration()]},
        "update_database": {"name": "x"},
        "put_db_conns_auditing": {"audit_protocol": "local", "audit_address": "/run/listener.sock"},
        "put_cluster_policy": {"db_conns_auditing": False},
    }.get(operation_id)
    options = {} if body is None else {"json": body}
    return api.request(operation.method, path, key=key, **options).status_code


@pytest.mark.parametrize("scope", sorted(Scope))
@pytest.mark.parametrize("operation_id", GUARDED)
def test_a_key_may_do_what_its_scope_says_and_nothing_else(api: Api, operation_id: str, scope: Scope) -> None:
    status = call(api, operation_id, api.key_with(scope))
    if scope in (*DOCUMENT.operations[operation_id].scopes, Scope.ADMIN):
        # There is no agent to test with, and nothing set that could be deleted.
        without = {"test_database": 503, "delete_db_conns_auditing": 404}
        assert status in ({without[operation_id]} if operation_id in without else {200, 201, 204})
    else:
        assert status == 403


@pytest.mark.parametrize("operation_id", GUARDED)
def test_without_a_key_nothing_is_answered(api: Api, operation_id: str) -> None:
    assert call(api, operation_id, None) == 401


@pytest.mark.parametrize("operation_id", OPEN)
def test_what_is_open_needs_no_key(api: Api, operation_id: str) -> None:
    assert call(api, operation_id, None) == (503 if operation_id == "health_ready" else 200)


def test_metrics_can_be_opened(make_api: Callable[..., Api]) -> None:
    api = make_api(open_metrics=True)
    assert api.get("/metrics", key=None).status_code == 200
    assert api.get("/v1/databases", key=None).status_code == 401


def test_several_scopes_add_up(api: Api) -> None:
    key = api.key_with(Scope.READ_DATABASES, Scope.READ_EVENTS)
    assert api.get("/v1/databases", key=key).status_code == 200
    assert api.get("/v1/events", key=key).status_code == 200
    assert api.post("/v1/databases", key=key, json=declaration()).status_code == 403


def test_a_forbidden_request_changes_nothing_even_when_it_is_sound(api: Api) -> None:
    database = api.declared()
    key = api.key_with(Scope.READ_DATABASES)
    with api.unchanged():
        for method, path, body in (
            ("POST", "/v1/databases", declaration()),
            ("PATCH", f"/v1/databases/{database['id']}", {"name": "x"}),
            ("DELETE", f"/v1/databases/{database['id']}", None),
        ):
            answer = api.request(method, path, key=key, **({} if body is None else {"json": body}))
            assert answer.status_code == 403
            assert "write:databases" in answer.json["error"]["message"]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_the_key_may_be_the_password_of_basic(api: Api) -> None:
    for header in (
        basic("anybody", api.key),
        basic("", api.key),
        f"bearer {api.key}",
        f"Bearer   {api.key} ",
    ):
        assert api.get("/v1/databases", headers={"Authorization": header}).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer dbaudit_live_00000000000000000000000000000000",
        "Bearer ",
        "Bearer",
        "Basic",
        "Basic %%%",
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Digest username=x",
        "Bearer " + "x" * 5000,
        "Bearer dbaudit_live_\xe4",
        "nonsense",
    ],
)
def test_what_is_no_key_is_refused(api: Api, header: str) -> None:
    answer = api.get("/v1/databases", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.json["error"]["code"] == "unauthorized"
    assert "Bearer" in answer.headers["WWW-Authenticate"]
    assert "Basic" in answer.headers["WWW-Authenticate"]
    presented = header.partition(" ")[2]
    assert not presented or presented not in answer.get_data(as_text=True)


def test_a_revoked_key_ends_when_the_cache_forgets_it(state: State) -> None:
    clock = [1000.0]
    keys = Authenticator(state.api_keys, RateLimiter(0), 5.0, lambda: clock[0])
    key, text = state.api_keys.create("test", (Scope.ADMIN,))
    header = f"Bearer {text.reveal()}"
    assert keys.identify(header, "127.0.0.1").id == key.id
    state.api_keys.revoke(key.id)
    clock[0] += 5.1
    with pytest.raises(RequestError, match="revoked"):
        keys.identify(header, "127.0.0.1")


def test_a_revoked_key_is_refused(make_api: Callable[..., Api]) -> None:
    api = make_api(key_cache_seconds=0)
    key, text = api.state.api_keys.create("test", (Scope.ADMIN,))
    assert api.get("/v1/databases", key=text.reveal()).status_code == 200
    api.state.api_keys.revoke(key.id)
    assert api.get("/v1/databases", key=text.reveal()).status_code == 401


def test_the_last_use_of_a_key_is_written_once_a_minute(make_api: Callable[..., Api]) -> None:
    api = make_api(key_cache_seconds=0)

    def last_used() -> int | None:
        return api.state.api_keys.all()[0].last_used_at_us

    assert last_used() is None
    assert api.get("/v1/databases").status_code == 200
    first = last_used()
    assert first is not None
    assert api.get("/v1/databases").status_code == 200
    assert last_used() == first


def test_a_key_has_so_many_requests_a_minute(make_api: Callable[..., Api]) -> None:
    api = make_api(rate_limit_per_minute=3)
    left = []
    for _ignored in range(3):
        answer = api.get("/v1/databases")
        assert answer.status_code == 200
        assert answer.headers["X-RateLimit-Limit"] == "3"
        assert re.fullmatch("[0-9]{10,}", answer.headers["X-RateLimit-Reset"])
        left.append(answer.headers["X-RateLimit-Remaining"])
    assert left == ["2", "1", "0"]
    refused = api.get("/v1/databases")
    assert refused.status_code == 429
    error = refused.json["error"]
    assert error["code"] == "rate_limit_exceeded"
    assert 1 <= error["retry_after"] <= 20
    assert refused.headers["Retry-After"] == str(error["retry_after"])
    assert api.get("/v1/databases", key=api.key_with(Scope.ADMIN)).status_code == 200
    assert api.get("/health/live", key=None).status_code == 200


def test_no_limit_sends_no_headers_of_it(make_api: Callable[..., Api]) -> None:
    answer = make_api(rate_limit_per_minute=0).get("/v1/databases")
    assert not [name for name, ignored in answer.headers.items() if name.startswith("X-RateLimit")]


def test_an_address_has_so_many_invalid_keys_a_minute(make_api: Callable[..., Api]) -> None:
    api = make_api(failed_keys_per_minute=2)
    wrong = {"Authorization": "Bearer wrong"}
    assert [api.get("/v1/databases", headers=wrong).status_code for ignored in range(3)] == [401, 401, 429]
    other = api.get("/v1/databases", headers=wrong, environ_overrides={"REMOTE_ADDR": "10.0.0.9"})
    assert other.status_code == 401
    # Who has a valid key is not locked out by others behind the same address.
    assert api.get("/v1/databases").status_code == 200


def test_a_bucket_refills_evenly() -> None:
    clock = [0.0]
    limiter = RateLimiter(60, lambda: clock[0])
    for _ignored in range(60):
        assert limiter.take("x").allowed  # type: ignore[union-attr]
    refused = limiter.take("x")
    assert refused is not None
    assert (refused.allowed, refused.remaining, refused.retry_after_seconds) == (False, 0, 1)
    assert refused.full_after_seconds == 60
    clock[0] = 1.0
    assert limiter.take("x").allowed  # type: ignore[union-attr]
    assert not limiter.take("x").allowed  # type: ignore[union-attr]
    clock[0] = 1000.0
    assert limiter.take("x").remaining == 59  # type: ignore[union-attr]
