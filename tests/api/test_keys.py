"""API keys are made, changed and revoked through the API itself, by administrators."""

from __future__ import annotations

from dbaudit.state.api_keys import Scope

from tests.api.conftest import Api, declaration


def test_a_new_key_works_and_is_shown_only_once(api_on_both: Api) -> None:
    made = api_on_both.post("/v1/keys", json={"name": "ci", "scopes": ["read:events", "read:databases"]})
    assert made.status_code == 201
    key = made.json["key"]
    assert key.startswith("dbaudit_live_")
    assert made.json["scopes"] == ["read:databases", "read:events"]
    assert api_on_both.get("/v1/databases", key=key).status_code == 200
    assert api_on_both.post("/v1/databases", key=key, json=declaration()).status_code == 403
    listed = api_on_both.get("/v1/keys")
    assert key not in listed.get_data(as_text=True)
    (shown,) = [one for one in listed.json["data"] if one["name"] == "ci"]
    assert {**shown, "last_used_at": None} == {n: v for n, v in made.json.items() if n != "key"}


def test_scopes_and_name_of_a_key_can_change(api_on_both: Api) -> None:
    made = api_on_both.post("/v1/keys", json={"name": "ci", "scopes": ["read:events"]}).json
    path = f"/v1/keys/{made['id']}"
    changed = api_on_both.patch(path, json={"scopes": ["read:databases"]}).json
    assert (changed["name"], changed["scopes"]) == ("ci", ["read:databases"])
    assert api_on_both.patch(path, json={"name": "other"}).json["scopes"] == ["read:databases"]
    assert api_on_both.get("/v1/databases", key=made["key"]).status_code == 200
    assert api_on_both.get("/v1/events", key=made["key"]).status_code == 403


def test_a_revoked_key_is_useless_and_stays_so(api_on_both: Api) -> None:
    made = api_on_both.post("/v1/keys", json={"name": "ci", "scopes": ["admin"]}).json
    path = f"/v1/keys/{made['id']}"
    assert api_on_both.delete(path).status_code == 204
    (shown,) = [one for one in api_on_both.get("/v1/keys").json["data"] if one["id"] == made["id"]]
    assert api_on_both.delete(path).status_code == 204
    assert api_on_both.get("/v1/keys", key=made["key"]).status_code == 401
    refused = api_on_both.patch(path, json={"name": "x"})
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "conflict")
    (again,) = [one for one in api_on_both.get("/v1/keys").json["data"] if one["id"] == made["id"]]
    assert shown["revoked_at"] is not None
    assert again["revoked_at"] == shown["revoked_at"]


def test_wrong_requests_name_the_field_and_make_no_key(api: Api) -> None:
    before = {key.id for key in api.state.api_keys.all()}
    for body, pointer in (
        ({"scopes": ["admin"]}, "/name"),
        ({"name": "  ", "scopes": ["admin"]}, "/name"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["all"]}, "/scopes/0"),
        ({"name": "x", "scopes": ["admin"], "key": "dbaudit_live_mine"}, "/key"),
    ):
        refused = api.post("/v1/keys", json=body)
        assert refused.status_code == 400
        assert [detail["pointer"] for detail in refused.json["error"]["details"]] == [pointer]
    assert api.patch("/v1/keys/key_unknown", json={"name": "x"}).status_code == 404
    assert api.delete("/v1/keys/key_unknown").status_code == 404
    assert {key.id for key in api.state.api_keys.all()} == before


def test_only_administrators_see_and_make_keys(api: Api) -> None:
    key = api.key_with(*(scope for scope in Scope if scope is not Scope.ADMIN))
    assert api.get("/v1/keys", key=key).status_code == 403
    assert api.post("/v1/keys", key=key, json={"name": "x", "scopes": ["admin"]}).status_code == 403
