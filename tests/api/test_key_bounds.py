"""A key with an expiry or networks: refused in time and from elsewhere, and no key frees itself of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from dbaudit.core.clock import format_us, now, now_us
from dbaudit.state.api_keys import Bounds, Scope
from dbaudit.state.schema import api_keys
from sqlalchemy import update
from werkzeug.test import TestResponse

from tests.api.conftest import Api, declaration
from tests.api.contract import pointers
from tests.patience import PATIENCE_SECONDS
from tests.servers.processes import wait_for

HERE, ELSEWHERE = "10.1.2.3", "192.0.2.9"


def asked(
    api: Api, key: str, address: str = HERE, path: str = "/v1/databases", **options: Any
) -> TestResponse:
    return api.get(path, key=key, environ_overrides={"REMOTE_ADDR": address}, **options)


def local_key(api: Api) -> str:
    """A key that reads databases from 10.0.0.0/8."""
    bounds = Bounds(networks=("10.0.0.0/8",))
    return api.state.api_keys.create("x", (Scope.READ_DATABASES,), bounds)[1].reveal()


def later(**span: float) -> str:
    return format_us(now_us() + int(timedelta(**span) / timedelta(microseconds=1)))


def expire(api: Api, key_id: str, at_us: int) -> None:
    with api.state.backend.writing() as connection:
        connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expires_at_us=at_us))


def test_bounds_are_shown_in_one_form_when_made_changed_and_listed(api_on_both: Api) -> None:
    api = api_on_both
    bounds = {
        "expires_at": "2126-01-31T13:00:00+01:00",
        "networks": ["2001:DB8::/32", "10.0.0.1", "10.0.0.1/32"],
    }
    shown = {"expires_at": "2126-01-31T12:00:00Z", "networks": ["2001:db8::/32", "10.0.0.1/32"], "tags": []}
    made = api.post("/v1/keys", json={"name": "x", "scopes": ["read:events"], **bounds}).json
    assert {name: made[name] for name in shown} == shown
    path = f"/v1/keys/{made['id']}"
    assert {**api.patch(path, json={"name": "y"}).json, "name": "x"}.items() <= made.items()
    changed = api.patch(path, json={"networks": []}).json
    assert (changed["networks"], changed["expires_at"]) == ([], shown["expires_at"])
    assert api.patch(path, json={"expires_at": None}).json["expires_at"] is None
    (listed,) = [one for one in api.get("/v1/keys").json["data"] if one["id"] == made["id"]]
    assert (listed["networks"], listed["expires_at"]) == ([], None)


@pytest.mark.parametrize(
    ("fields", "pointer", "remedy"),
    [
        ({"expires_at": "tomorrow"}, "/expires_at", "ISO 8601"),
        ({"expires_at": "2126-01-31"}, "/expires_at", "ISO 8601"),
        ({"expires_at": "2020-01-31T00:00:00Z"}, "/expires_at", "later than now"),
        ({"expires_at": 4102444800}, "/expires_at", "a string or null"),
        ({"networks": ["10.0.0.0/8", "10.0.0.1/8"]}, "/networks/1", "10.0.0.0/8"),
        ({"networks": ["example.com"]}, "/networks/0", "10.1.0.0/16"),
        ({"networks": ["::ffff:10.0.0.0/104"]}, "/networks/0", "10.0.0.0/8"),
        ({"networks": "10.0.0.0/8"}, "/networks", "a list"),
        ({"networks": None}, "/networks", "a list"),
        ({"networks": ["10.0.0.0/8"] * 2}, "/networks/1", "twice"),
        ({"networks": [f"10.0.0.{n}" for n in range(51)]}, "/networks", "50"),
    ],
)
def test_a_wrong_bound_names_the_field_and_what_would_be_right(
    api: Api, fields: dict[str, Any], pointer: str, remedy: str
) -> None:
    key = api.post("/v1/keys", json={"name": "x", "scopes": ["read:events"]}).json
    before = api.get("/v1/keys").json["data"][1:]
    for refused in (
        api.post("/v1/keys", json={"name": "y", "scopes": ["read:events"], **fields}),
        api.patch(f"/v1/keys/{key['id']}", json=fields),
    ):
        assert refused.status_code == 400
        assert remedy in pointers(refused)[pointer]
    assert api.get("/v1/keys").json["data"][1:] == before


def test_an_expired_key_is_refused_at_that_moment_though_it_was_just_used(
    make_api: Callable[..., Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    api = make_api(key_cache_seconds=3600, failed_keys_per_minute=0)
    end = now_us() + 3600 * 1_000_000
    key = api.state.api_keys.create("short", (Scope.READ_DATABASES,), Bounds(expires_at_us=end))[1].reveal()
    monkeypatch.setattr("dbaudit.state.api_keys.now_us", lambda: end - 1)
    assert asked(api, key).status_code == 200
    monkeypatch.setattr("dbaudit.state.api_keys.now_us", lambda: end)
    refused = asked(api, key)
    assert (refused.status_code, refused.json["error"]["code"]) == (401, "unauthorized")
    assert "expired" in refused.json["error"]["message"]
    assert refused.headers["WWW-Authenticate"]


def test_an_expired_key_is_listed_and_can_get_more_time(make_api: Callable[..., Api]) -> None:
    api = make_api(key_cache_seconds=0)
    made = api.post(
        "/v1/keys", json={"name": "x", "scopes": ["read:databases"], "expires_at": later(days=1)}
    ).json
    expire(api, made["id"], now_us() - 1)
    assert asked(api, made["key"]).status_code == 401
    (shown,) = [one for one in api.get("/v1/keys").json["data"] if one["id"] == made["id"]]
    assert datetime.fromisoformat(shown["expires_at"]) < now()
    assert shown["last_used_at"] is None, "a refused request is no use of the key"
    assert api.patch(f"/v1/keys/{made['id']}", json={"expires_at": later(hours=1)}).status_code == 200
    assert asked(api, made["key"]).status_code == 200


@pytest.mark.parametrize("end", ["expiry", "revocation", "network", "scope"])
def test_a_waiting_request_ends_when_its_key_may_do_so_no_more(
    make_api: Callable[..., Api], end: str
) -> None:
    api = make_api(key_cache_seconds=0.2)
    key, secret = api.state.api_keys.create("x", (Scope.READ_EVENTS,))
    answers: list[TestResponse] = []
    path = "/v1/events?order=stored&wait_seconds=30"
    asking = threading.Thread(target=lambda: answers.append(asked(api, secret.reveal(), path=path)))
    asking.start()
    wait_for(lambda: api.state.api_keys.all()[-1].last_used_at_us is not None, "the request")
    changed_at = time.monotonic()
    match end:
        case "expiry":
            expire(api, key.id, now_us())
        case "revocation":
            api.delete(f"/v1/keys/{key.id}")
        case "network":
            api.patch(f"/v1/keys/{key.id}", json={"networks": [ELSEWHERE]})
        case _:
            api.patch(f"/v1/keys/{key.id}", json={"scopes": ["read:databases"]})
    asking.join(PATIENCE_SECONDS)
    assert answers[0].status_code == (401 if end in ("expiry", "revocation") else 403)
    assert time.monotonic() - changed_at < 25, "it waited to its end"


def test_a_key_is_refused_from_outside_its_networks_with_words_of_its_own(api: Api) -> None:
    key = local_key(api)
    for address in (HERE, f"::ffff:{HERE}"):
        assert asked(api, key, address).status_code == 200
    for address in (ELSEWHERE, "::1", f"::ffff:{ELSEWHERE}", "", "/run/api.sock"):
        refused = asked(api, key, address)
        assert (refused.status_code, refused.json["error"]["code"]) == (403, "forbidden")
        assert "from this address" in refused.json["error"]["message"]
        assert "10.0.0.0" not in refused.get_data(as_text=True), "a thief does not learn its place"


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "X-Client-IP", "True-Client-IP"]
)
def test_what_a_header_says_of_the_address_counts_nothing(api: Api, header: str) -> None:
    key = local_key(api)
    said = {header: f"for={HERE}" if header == "Forwarded" else HERE}
    assert asked(api, key, ELSEWHERE, headers=said).status_code == 403
    said = {header: f"for={ELSEWHERE}" if header == "Forwarded" else ELSEWHERE}
    assert asked(api, key, HERE, headers=said).status_code == 200


def test_a_refused_request_changes_nothing_and_is_in_the_log_with_key_and_address(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    key, secret = api.state.api_keys.create("x", (Scope.WRITE_DATABASES,), Bounds(networks=("10.0.0.0/8",)))
    with caplog.at_level(logging.INFO), api.unchanged():
        refused = api.post(
            "/v1/databases",
            key=secret.reveal(),
            json=declaration(),
            environ_overrides={"REMOTE_ADDR": ELSEWHERE},
        )
    assert refused.status_code == 403
    assert f"key {key.id} from {ELSEWHERE}" in caplog.text


def test_an_address_sends_only_so_many_keys_of_other_places(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(failed_keys_per_minute=2, key_cache_seconds=3600)
    key = api.state.api_keys.create("x", (Scope.READ_DATABASES,), Bounds(networks=("10.0.0.0/8",)))[
        1
    ].reveal()
    assert [asked(api, key, ELSEWHERE).status_code for turn in range(3)] == [403, 403, 429]
    assert asked(api, key).status_code == 200


def test_a_stolen_key_takes_no_requests_from_its_holder(
    make_api: Callable[..., Api],
) -> None:
    api = make_api(rate_limit_per_minute=2)
    key = api.state.api_keys.create("x", (Scope.READ_DATABASES,), Bounds(networks=("10.0.0.0/8",)))[
        1
    ].reveal()
    assert [asked(api, key, ELSEWHERE).status_code for turn in range(5)] == [403] * 5
    assert [asked(api, key).status_code for turn in range(3)] == [200, 200, 429]


def test_a_key_cannot_widen_itself_nor_make_a_wider_one(api: Api) -> None:
    end = now_us() + 3600 * 1_000_000
    bounds = Bounds(expires_at_us=end, networks=("10.0.0.0/8",))
    own, secret = api.state.api_keys.create("bound", (Scope.ADMIN,), bounds)
    free, _secret = api.state.api_keys.create("free", (Scope.READ_EVENTS,))
    here = {"key": secret.reveal(), "environ_overrides": {"REMOTE_ADDR": HERE}}
    path = f"/v1/keys/{own.id}"
    new = {"name": "x", "scopes": ["admin"]}
    for refused, wrong in (
        (api.patch(path, **here, json={"expires_at": None}), {"/expires_at"}),
        (api.patch(path, **here, json={"expires_at": later(hours=2)}), {"/expires_at"}),
        (api.patch(path, **here, json={"networks": []}), {"/networks"}),
        (api.patch(path, **here, json={"networks": ["10.0.0.0/8", "192.0.2.0/24"]}), {"/networks"}),
        (api.patch(f"/v1/keys/{free.id}", **here, json={"scopes": ["admin"]}), {"/expires_at", "/networks"}),
        (api.post("/v1/keys", **here, json=new), {"/expires_at", "/networks"}),
        (api.post("/v1/keys", **here, json={**new, "expires_at": format_us(end)}), {"/networks"}),
    ):
        assert refused.status_code == 400
        assert set(pointers(refused)) == wrong
    narrower = {"expires_at": format_us(end), "networks": ["10.1.0.0/16"]}
    assert api.post("/v1/keys", **here, json={**new, **narrower}).status_code == 201
    assert api.patch(path, **here, json=narrower).status_code == 200


def test_a_key_without_admin_changes_no_key_not_even_itself(api: Api) -> None:
    scopes = tuple(scope for scope in Scope if scope is not Scope.ADMIN)
    own, secret = api.state.api_keys.create("x", scopes, Bounds(networks=("10.0.0.0/8",)))
    before = api.state.api_keys.all()
    here = {"key": secret.reveal(), "environ_overrides": {"REMOTE_ADDR": HERE}}
    assert api.patch(f"/v1/keys/{own.id}", **here, json={"networks": []}).status_code == 403
    assert api.post("/v1/keys", **here, json={"name": "x", "scopes": ["admin"]}).status_code == 403
    assert api.delete(f"/v1/keys/{own.id}", **here).status_code == 403
    assert [(one.scopes, one.bounds, one.revoked_at_us) for one in api.state.api_keys.all()] == [
        (one.scopes, one.bounds, one.revoked_at_us) for one in before
    ]
