"""A dry run says what would change, secrets included, and changes nothing."""

from __future__ import annotations

import pytest

from tests.api.conftest import PASSWORD, Api, declaration
from tests.servers.certificates import CertificateAuthority

HIDDEN = "********"


def test_of_a_new_database(api_on_both: Api) -> None:
    body = declaration(tags=["a"], ssl_mode="disable")
    with api_on_both.unchanged():
        answer = api_on_both.post("/v1/databases?dry_run=true", json=body)
    assert answer.status_code == 200
    assert PASSWORD not in answer.get_data(as_text=True)
    plan = answer.json
    assert plan["changed"] is True
    assert plan["diff"].pop("password_changed") is True
    assert plan["diff"]["before"] == {}
    after = plan["diff"]["after"]
    assert after.pop("password") == HIDDEN
    created = api_on_both.post("/v1/databases", json=body).json
    assert after == {field: created[field] for field in after}
    assert set(body) - {"password"} <= set(after)


def test_of_a_change_shows_the_fields_that_differ(api_on_both: Api) -> None:
    database = api_on_both.declared(tags=["a"])
    path = f"/v1/databases/{database['id']}"
    change = {
        "name": "Primary",
        "tags": ["a"],
        "audit_options": {"retention_days": 7},
        "password": "another",
        "audit_status": "paused",
    }
    with api_on_both.unchanged():
        answer = api_on_both.patch(f"{path}?dry_run=true", json=change)
    options = database["audit_options"]
    assert answer.json == {
        "changed": True,
        "diff": {
            "before": {
                "name": "Production PostgreSQL",
                "audit_options": options,
                "audit_status": "initializing",
                "password": HIDDEN,
            },
            "after": {
                "name": "Primary",
                "audit_options": {**options, "retention_days": 7},
                "audit_status": "paused",
                "password": HIDDEN,
            },
            "password_changed": True,
        },
    }
    changed = api_on_both.patch(path, json=change).json
    assert {field: changed[field] for field in ("name", "audit_options", "audit_status")} == {
        field: answer.json["diff"]["after"][field] for field in ("name", "audit_options", "audit_status")
    }
    with api_on_both.unchanged():
        assert api_on_both.patch(f"{path}?dry_run=true", json=change).json["changed"] is False


@pytest.mark.parametrize(("password", "changed"), [(PASSWORD, False), ("another", True), ("", True)])
def test_compares_the_password_where_it_is_stored(api: Api, password: str, changed: bool) -> None:
    path = f"/v1/databases/{api.declared()['id']}"
    plan = api.patch(f"{path}?dry_run=true", json={"password": password}).json
    assert plan["changed"] is changed
    assert plan["diff"].get("password_changed", False) is changed


def test_of_client_certificates(api: Api) -> None:
    pair = CertificateAuthority().client("dbaudit_reader")
    path = f"/v1/databases/{api.declared()['id']}"
    wanted = {"ssl_cert": pair.certificate, "ssl_key": pair.key}
    diff = api.patch(f"{path}?dry_run=true", json=wanted).json["diff"]
    assert diff == {
        "before": {"ssl_cert": None, "ssl_key": None},
        "after": {"ssl_cert": pair.certificate, "ssl_key": HIDDEN},
        "ssl_key_changed": True,
    }
    assert api.patch(path, json=wanted).status_code == 200
    assert api.patch(f"{path}?dry_run=true", json=wanted).json["changed"] is False
    diff = api.patch(f"{path}?dry_run=true", json={"ssl_cert": None, "ssl_key": None}).json["diff"]
    assert diff["after"] == {"ssl_cert": None, "ssl_key": None}
    assert diff["ssl_key_changed"] is True


def test_of_a_removal(api_on_both: Api) -> None:
    database = api_on_both.declared()
    path = f"/v1/databases/{database['id']}"
    with api_on_both.unchanged():
        plan = api_on_both.delete(f"{path}?dry_run=true").json
    assert plan["changed"] is True
    assert plan["diff"]["after"] == {}
    assert plan["diff"]["before"]["name"] == database["name"]


def test_does_not_ask_an_agent(api: Api) -> None:
    with api.agent() as taken:
        assert api.post("/v1/databases?dry_run=true&verify=true", json=declaration()).status_code == 200
    assert taken == []
