"""Nobody finds a stored password by asking whether a guess would change it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dbaudit.api.comparisons import PER_MINUTE
from werkzeug.test import TestResponse

from tests.api.conftest import PASSWORD, REFUSED, Api

Ask = Callable[[Api, str, str], TestResponse]


def by_dry_run(api: Api, database_id: str, guess: str) -> TestResponse:
    return api.patch(f"/v1/databases/{database_id}?dry_run=true", json={"password": guess})


def by_dry_run_of_the_list(api: Api, database_id: str, guess: str) -> TestResponse:
    body = {"databases": [{"id": database_id, "password": guess}]}
    return api.post("/v1/databases/bulk?dry_run=true", json=body)


def by_list_that_fails(api: Api, database_id: str, guess: str) -> TestResponse:
    broken = {"name": "incomplete"}
    return api.post(
        "/v1/databases/bulk", json={"databases": [{"id": database_id, "password": guess}, broken]}
    )


def by_verification(api: Api, database_id: str, guess: str) -> TestResponse:
    with api.agent(lambda task: REFUSED):
        return api.patch(f"/v1/databases/{database_id}?verify=true", json={"password": guess})


def by_private_key(api: Api, database_id: str, guess: str) -> TestResponse:
    return api.patch(f"/v1/databases/{database_id}?dry_run=true", json={"ssl_key": guess})


WAYS = (by_dry_run, by_dry_run_of_the_list, by_list_that_fails, by_verification, by_private_key)


@pytest.mark.parametrize("ask", WAYS)
def test_guesses_end_with_429_for_one_key_and_one_database(api: Api, ask: Ask) -> None:
    database, other = api.declared(), api.declared(database="other")
    for number in range(PER_MINUTE):
        assert ask(api, database["id"], f"guess {number}").status_code != 429
    with api.unchanged():
        refused = [ask(api, database["id"], guess) for guess in ("one more", PASSWORD)]
    for answer in refused:
        assert answer.status_code == 429
        assert answer.json["error"]["code"] == "rate_limit_exceeded"
        assert int(answer.headers["Retry-After"]) in range(1, 7)
    assert ask(api, other["id"], "guess").status_code != 429


def test_the_ways_to_guess_share_one_limit(api: Api) -> None:
    database = api.declared()
    answers = [
        (by_dry_run if number % 2 else by_dry_run_of_the_list)(api, database["id"], "guess").status_code
        for number in range(PER_MINUTE + 1)
    ]
    assert answers == [200] * PER_MINUTE + [429]


def test_repeating_the_right_password_is_limited_although_nothing_is_written(api: Api) -> None:
    path = f"/v1/databases/{api.declared()['id']}"
    answers = [api.patch(path, json={"password": PASSWORD}).status_code for _turn in range(PER_MINUTE + 1)]
    assert answers == [200] * PER_MINUTE + [429]


@pytest.mark.parametrize("listed", [False, True])
def test_passwords_that_are_written_are_not_counted(api: Api, listed: bool) -> None:
    database = api.declared()

    def write(password: str) -> TestResponse:
        if listed:
            entry = {"id": database["id"], "password": password}
            return api.post("/v1/databases/bulk", json={"databases": [entry]})
        return api.patch(f"/v1/databases/{database['id']}", json={"password": password})

    assert {write(f"new {number}").status_code for number in range(3 * PER_MINUTE)} == {200}


@pytest.mark.parametrize(
    "entry", [{"tags": ["a"]}, {"password": "guess", "update_password": "on_create"}, {"state": "absent"}]
)
def test_dry_runs_that_compare_no_secret_are_not_counted(api: Api, entry: dict[str, Any]) -> None:
    body = {"databases": [{"id": api.declared()["id"], **entry}]}
    answers = {
        api.post("/v1/databases/bulk?dry_run=true", json=body).status_code for _turn in range(3 * PER_MINUTE)
    }
    assert answers == {200}
