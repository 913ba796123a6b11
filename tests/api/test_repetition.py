"""A request with an Idempotency-Key adds one database, however often it is sent."""

from __future__ import annotations

from functools import partial

import pytest
from dbaudit.state.api_keys import Scope

from tests.api.conftest import PASSWORD, Api, declaration
from tests.api.test_concurrency import at_once

KEY = {"Idempotency-Key": "5f0c-1"}


def count(api: Api) -> int:
    total = api.get("/v1/databases").json["pagination"]["total"]
    assert isinstance(total, int)
    return total


def test_a_repetition_gets_what_was_added_as_it_is_now(api_on_both: Api) -> None:
    api = api_on_both
    body = declaration()
    first = api.post("/v1/databases", json=body, headers=KEY)
    assert first.status_code == 201
    api.patch(f"/v1/databases/{first.json['id']}", json={"host": "moved.example.com", "password": PASSWORD})
    again = api.post("/v1/databases", json=body, headers=KEY)
    assert (again.status_code, again.json["id"]) == (201, first.json["id"])
    assert again.json["host"] == "moved.example.com"
    assert again.headers["Location"] == first.headers["Location"]
    assert count(api) == 1


def test_without_a_key_and_with_another_one_it_is_a_request_of_its_own(api: Api) -> None:
    body = declaration()
    assert api.post("/v1/databases", json=body, headers=KEY).status_code == 201
    assert api.post("/v1/databases", json=body).json["error"]["code"] == "database_exists"
    other = api.post("/v1/databases", json=body, headers={"Idempotency-Key": "5f0c-2"})
    assert other.json["error"]["code"] == "database_exists"


def test_a_key_belongs_to_one_request(api: Api) -> None:
    assert api.post("/v1/databases", json=declaration(), headers=KEY).status_code == 201
    other = api.post("/v1/databases", json=declaration(), headers=KEY)
    assert (other.status_code, other.json["error"]["code"]) == (409, "conflict")
    assert "Idempotency-Key" in other.json["error"]["message"]
    assert count(api) == 1


def test_a_key_belongs_to_one_api_key(api: Api) -> None:
    assert api.post("/v1/databases", json=declaration(), headers=KEY).status_code == 201
    stranger = api.key_with(Scope.WRITE_DATABASES)
    assert api.post("/v1/databases", json=declaration(), headers=KEY, key=stranger).status_code == 201


def test_what_was_removed_since_is_not_added_again(api: Api) -> None:
    body = declaration()
    made = api.post("/v1/databases", json=body, headers=KEY).json
    api.delete(f"/v1/databases/{made['id']}")
    again = api.post("/v1/databases", json=body, headers=KEY)
    assert (again.status_code, again.json["error"]["code"]) == (409, "conflict")
    assert count(api) == 0


def test_a_request_that_was_refused_and_a_dry_run_do_not_use_up_the_key(api: Api) -> None:
    body = declaration()
    assert api.post("/v1/databases", json={**body, "port": 0}, headers=KEY).status_code == 400
    assert api.post("/v1/databases?dry_run=true", json=body, headers=KEY).status_code == 200
    assert api.post("/v1/databases", json=body, headers=KEY).status_code == 201


def test_repetitions_at_the_same_moment_get_the_same_database(api_on_both: Api) -> None:
    api = api_on_both
    found: set[str] = set()

    def send(body: object, key: dict[str, str], _number: int) -> int:
        answer = api.post("/v1/databases", json=body, headers=key)
        found.add(answer.json["id"])
        return answer.status_code

    for number in range(5):
        key = {"Idempotency-Key": f"round{number}"}
        assert at_once(4, partial(send, declaration(), key)) == [201] * 4
    assert len(found) == count(api) == 5


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ä"])
def test_a_key_that_is_none_is_refused_by_name(api: Api, key: str) -> None:
    refused = api.post("/v1/databases", json=declaration(), headers={"Idempotency-Key": key})
    assert refused.status_code == 400
    assert [detail["pointer"] for detail in refused.json["error"]["details"]] == ["Idempotency-Key"]
    assert count(api) == 0


def test_no_digest_of_a_secret_is_kept(api: Api) -> None:
    body = declaration()
    assert body["password"] == PASSWORD
    first = api.post("/v1/databases", json=body, headers=KEY)
    again = api.post("/v1/databases", json={**body, "password": "another"}, headers=KEY)
    assert again.json["id"] == first.json["id"]
