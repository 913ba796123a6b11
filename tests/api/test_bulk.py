"""A list of databases is brought to what is declared, in one transaction, or nothing is changed."""

from __future__ import annotations

from typing import Any

import pytest
from dbaudit.state.api_keys import Scope
from dbaudit.state.databases import DatabaseFilter
from werkzeug.test import TestResponse

from tests.api.conftest import PASSWORD, Api, declaration

PATH = "/v1/databases/bulk"


def applied(api: Api, entries: list[dict[str, Any]], *, dry_run: bool = False, **more: Any) -> TestResponse:
    return api.post(f"{PATH}?dry_run={str(dry_run).lower()}", json={"databases": entries, **more})


def entries_of(count: int) -> list[dict[str, Any]]:
    return [declaration(name=f"db {number}") for number in range(count)]


def actions(answer: TestResponse) -> list[str]:
    assert answer.status_code == 200, answer.json
    return [result["action"] for result in answer.json["results"]]


def names(api: Api) -> list[str]:
    return [one.name for one in api.state.databases.page(DatabaseFilter(), per_page=100)[0]]


def test_a_list_is_declared_and_declared_again_changes_nothing(api_on_both: Api) -> None:
    entries = entries_of(3)
    first = applied(api_on_both, entries)
    assert actions(first) == ["created"] * 3
    assert first.json["changed"] is True
    assert PASSWORD not in first.get_data(as_text=True)
    assert names(api_on_both) == ["db 0", "db 1", "db 2"]
    target = api_on_both.state.databases.target(first.json["results"][2]["id"])
    assert target.password.reveal() == PASSWORD
    with api_on_both.unchanged():
        again = applied(api_on_both, entries)
    assert actions(again) == ["unchanged"] * 3
    assert again.json["changed"] is False
    assert [r["id"] for r in again.json["results"]] == [r["id"] for r in first.json["results"]]


def test_what_differs_is_shown_and_secrets_are_not(api_on_both: Api) -> None:
    entries = entries_of(3)
    applied(api_on_both, entries)
    entries[1] |= {"port": 5433, "password": "another secret"}
    entries[2] |= {"state": "absent"}
    with api_on_both.unchanged():
        planned = applied(api_on_both, entries, dry_run=True)
    assert actions(planned) == ["unchanged", "updated", "removed"]
    assert planned.json["results"][1]["diff"] == {
        "before": {"port": 5432, "password": "********"},
        "after": {"port": 5433, "password": "********"},
        "password_changed": True,
    }
    assert "another secret" not in planned.get_data(as_text=True)
    done = applied(api_on_both, entries)
    assert done.json["results"] == planned.json["results"]
    assert names(api_on_both) == ["db 0", "db 1"]


def test_a_password_is_left_alone_with_on_create(api_on_both: Api) -> None:
    entries = entries_of(1)
    applied(api_on_both, entries)
    changed = [{**entries[0], "password": "another secret", "update_password": "on_create"}]
    assert actions(applied(api_on_both, changed)) == ["unchanged"]


def test_fields_that_are_left_out_stay(api_on_both: Api) -> None:
    options = {"retention_days": 7, "scope": "server"}
    entries = [declaration(name="db", tags=["b", "a"], audit_options=options)]
    applied(api_on_both, entries)
    assert actions(applied(api_on_both, [{"name": "db", "tags": ["a", "b"]}])) == ["unchanged"]
    done = applied(api_on_both, [{"name": "db", "audit_options": {"capture_results": True}}])
    after = done.json["results"][0]["diff"]["after"]["audit_options"]
    assert (after["retention_days"], after["capture_results"], after["scope"]) == (7, True, "server")


def test_one_wrong_field_in_a_long_list_changes_nothing_and_is_pointed_at(api_on_both: Api) -> None:
    entries = entries_of(800)
    entries[731]["port"] = 70_000
    with api_on_both.unchanged():
        refused = applied(api_on_both, entries)
    assert refused.status_code == 400
    assert [d["pointer"] for d in refused.json["error"]["details"]] == ["/databases/731/port"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"host": "no host"}, "/databases/1/host"),
        ({"type": "dbase"}, "/databases/1/type"),
        ({"ssl_ca": "none"}, "/databases/1/ssl_ca"),
        ({"audit_options": {"engine": {"mode": "upside down"}}}, "/databases/1/audit_options/engine/mode"),
        ({"nmae": "x"}, "/databases/1/nmae"),
        ({"id": "db_unknown"}, "/databases/1/id"),
        ({"password": None}, "/databases/1/password"),
    ],
)
def test_every_check_of_one_database_holds_for_each_of_a_list(
    api: Api, change: dict[str, Any], pointer: str
) -> None:
    entries = entries_of(2)
    entries[1] |= change
    with api.unchanged():
        refused = applied(api, entries)
    assert refused.status_code == 400
    assert pointer in [d["pointer"] for d in refused.json["error"]["details"]]


def test_a_new_database_needs_all_that_adding_one_needs(api: Api) -> None:
    refused = applied(api, [{"name": "new", "type": "postgresql"}])
    pointers = [d["pointer"] for d in refused.json["error"]["details"]]
    assert pointers == [f"/databases/0/{field}" for field in ("host", "database", "username", "password")]


def test_two_entries_of_one_name_or_one_address_are_refused(api_on_both: Api) -> None:
    twins = entries_of(2)
    twins[1]["name"] = twins[0]["name"]
    neighbours = entries_of(2)
    neighbours[1]["host"] = neighbours[0]["host"].upper()
    with api_on_both.unchanged():
        same_name = applied(api_on_both, twins)
        same_address = applied(api_on_both, neighbours)
    assert same_name.status_code == 400
    assert same_name.json["error"]["details"][0]["pointer"] == "/databases/1/name"
    assert same_address.status_code == 409
    assert same_address.json["error"]["details"][0]["pointer"] == "/databases/1/host"


def test_an_address_that_another_database_has_is_refused_by_its_name(api_on_both: Api) -> None:
    there = declaration(name="already there")
    applied(api_on_both, [there])
    refused = applied(api_on_both, [{**there, "name": "new"}])
    assert refused.status_code == 409
    assert "already there" in refused.json["error"]["details"][0]["message"]


def test_databases_can_exchange_their_addresses(api_on_both: Api) -> None:
    first, second, third = entries_of(3)
    applied(api_on_both, [first, second, third])
    moved = [
        {"name": first["name"], "host": second["host"], "password": PASSWORD},
        {"name": second["name"], "host": first["host"], "port": 5433, "password": PASSWORD},
        {"name": third["name"], "port": 5434, "password": PASSWORD},
    ]
    assert actions(applied(api_on_both, moved)) == ["updated"] * 3
    shown = {one["name"]: (one["host"], one["port"]) for one in api_on_both.get("/v1/databases").json["data"]}
    assert shown == {
        first["name"]: (second["host"], 5432),
        second["name"]: (first["host"], 5433),
        third["name"]: (third["host"], 5434),
    }


def test_a_new_database_can_take_the_address_of_one_that_goes(api_on_both: Api) -> None:
    old = declaration(name="old")
    applied(api_on_both, [old])
    done = applied(api_on_both, [{**old, "name": "new"}, {"name": "old", "state": "absent"}])
    assert actions(done) == ["created", "removed"]


def test_prune_removes_what_the_list_does_not_name_and_nothing_else(api_on_both: Api) -> None:
    entries = [declaration(name=f"db {n}", tags=["managed"] if n else []) for n in range(4)]
    applied(api_on_both, entries)
    done = applied(api_on_both, entries[:2], prune={"tags": ["managed"]})
    assert actions(done) == ["unchanged"] * 2
    assert [(one["name"], one["action"]) for one in done.json["pruned"]] == [
        ("db 2", "removed"),
        ("db 3", "removed"),
    ]
    assert names(api_on_both) == ["db 0", "db 1"]
    assert [one["name"] for one in applied(api_on_both, entries[1:2], prune={}).json["pruned"]] == ["db 0"]


def test_prune_refuses_to_empty_everything_by_mistake(api_on_both: Api) -> None:
    entries = entries_of(4)
    applied(api_on_both, entries)
    with api_on_both.unchanged():
        empty = applied(api_on_both, [], prune={"limit": 100})
        too_many = applied(api_on_both, entries[:1], prune={"limit": 2})
    assert (empty.status_code, empty.json["error"]["details"][0]["pointer"]) == (400, "/databases")
    assert (too_many.status_code, too_many.json["error"]["code"]) == (409, "prune_limit_exceeded")


def test_a_key_that_may_only_read_changes_nothing(api: Api) -> None:
    key = api.key_with(Scope.READ_DATABASES)
    with api.unchanged():
        refused = api.post(PATH, json={"databases": entries_of(1)}, key=key)
    assert refused.status_code == 403


def test_a_list_may_be_longer_than_any_other_body(api: Api) -> None:
    entries = [declaration(name=f"{number:04}" + "x" * 190, username="u" * 100) for number in range(3000)]
    assert len(str(entries)) > 1_048_576
    assert set(actions(applied(api, entries))) == {"created"}
