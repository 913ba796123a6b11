"""A stored password or key is never used at a place that its owner did not name, whichever way is tried."""

from __future__ import annotations

from typing import Any

import pytest
from dbaudit.state.tasks import Task
from werkzeug.test import TestResponse

from tests.api.conftest import REACHED, Api, declaration
from tests.api.contract import pointers
from tests.servers.certificates import CertificateAuthority

AUTHORITY = CertificateAuthority()
ELSEWHERE: list[dict[str, Any]] = [
    {"host": "attacker.example.com"},
    {"port": 18401},
    {"ssl_mode": "disable"},
    {"ssl_mode": "require"},
    {"ssl_ca": None},
    {"ssl_ca": CertificateAuthority().certificate},
    {"audit_options": {"engine": {"proxy": "attacker.example.com"}}},
    {"host": "attacker.example.com", "ssl_mode": "disable", "name": "renamed"},
]
SAME_PLACE: list[dict[str, Any]] = [
    {"name": "renamed"},
    {"database": "other"},
    {"username": "other"},
    {"ssl_mode": "verify-full"},
    {"tags": ["production"]},
    {"audit_options": {"retention_days": 7}},
    {"audit_options": {"engine": {"mode": "local"}}},
    {"audit_status": "paused"},
]


@pytest.fixture
def declared(api: Api) -> dict[str, Any]:
    database: dict[str, Any] = api.declared(ssl_mode="verify-ca", ssl_ca=AUTHORITY.certificate)
    return database


def by_patch(api: Api, database: dict[str, Any], change: dict[str, Any]) -> TestResponse:
    return api.patch(f"/v1/databases/{database['id']}", json=change)


def by_dry_run(api: Api, database: dict[str, Any], change: dict[str, Any]) -> TestResponse:
    return api.patch(f"/v1/databases/{database['id']}?dry_run=true", json=change)


def by_verification(api: Api, database: dict[str, Any], change: dict[str, Any]) -> TestResponse:
    return api.patch(f"/v1/databases/{database['id']}?verify=true", json=change)


def by_bulk(api: Api, database: dict[str, Any], change: dict[str, Any]) -> TestResponse:
    return api.post("/v1/databases/bulk", json={"databases": [{"id": database["id"], **change}]})


def by_bulk_that_keeps_passwords(api: Api, database: dict[str, Any], change: dict[str, Any]) -> TestResponse:
    entry = {"id": database["id"], "password": "guessed", "update_password": "on_create", **change}
    return api.post("/v1/databases/bulk", json={"databases": [entry]})


WAYS = (by_patch, by_dry_run, by_verification, by_bulk, by_bulk_that_keeps_passwords)


@pytest.mark.parametrize("change", ELSEWHERE, ids="+".join)
@pytest.mark.parametrize("way", WAYS)
def test_a_change_of_the_destination_without_the_password_is_refused_and_changes_nothing(
    api: Api, declared: dict[str, Any], way: Any, change: dict[str, Any]
) -> None:
    with api.agent() as contacted:
        answer = way(api, declared, change)
    assert not contacted
    assert answer.status_code == 400
    assert [pointer.rpartition("/")[2] for pointer in pointers(answer)] == ["password"]
    assert "has to be given again" in answer.get_data(as_text=True)
    assert api.get(f"/v1/databases/{declared['id']}").json["updated_at"] == declared["updated_at"]


@pytest.mark.parametrize("change", ELSEWHERE, ids="+".join)
@pytest.mark.parametrize("way", [by_patch, by_dry_run, by_bulk])
def test_a_change_of_the_destination_with_a_password_uses_that_one(
    api: Api, declared: dict[str, Any], way: Any, change: dict[str, Any]
) -> None:
    assert way(api, declared, {**change, "password": "new-place"}).status_code == 200
    stored = api.state.databases.target(declared["id"]).password.reveal()
    assert stored == (declaration()["password"] if way is by_dry_run else "new-place")


@pytest.mark.parametrize("change", SAME_PLACE, ids="+".join)
@pytest.mark.parametrize("way", [by_patch, by_bulk])
def test_other_changes_keep_the_stored_password(
    api: Api, declared: dict[str, Any], way: Any, change: dict[str, Any]
) -> None:
    assert way(api, declared, change).status_code == 200
    assert api.state.databases.target(declared["id"]).password.reveal() == declaration()["password"]


def test_the_same_host_in_another_spelling_is_no_other_destination(api: Api) -> None:
    database = api.declared(host="db.example.com")
    assert by_patch(api, database, {"host": "DB.example.com"}).status_code == 200


def test_a_stored_private_key_does_not_follow_to_another_host(api: Api) -> None:
    client = AUTHORITY.client("dbaudit_reader")
    database = api.declared(password="", ssl_cert=client.certificate, ssl_key=client.key)
    refused = by_patch(api, database, {"host": "attacker.example.com"})
    assert refused.status_code == 400
    assert list(pointers(refused)) == ["/ssl_key"]
    moved = {"host": "new.example.com", "ssl_cert": client.certificate, "ssl_key": client.key}
    assert by_patch(api, database, moved).status_code == 200


def test_a_verified_move_sends_only_the_password_of_the_request(api: Api, declared: dict[str, Any]) -> None:
    seen: list[str] = []

    def answer(task: Task) -> Any:
        seen.append(task.target.password.reveal())
        return REACHED

    with api.agent(answer):
        change = {"host": "new.example.com", "password": "of-the-request"}
        assert by_verification(api, declared, change).status_code == 200
    assert seen == ["of-the-request"]
