"""Many at once: no page with gaps, no declaration twice, no change lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.api.conftest import PASSWORD, Api, declaration
from tests.patience import PATIENCE_SECONDS


def at_once(count: int, work: Callable[[int], int]) -> list[int]:
    """Runs ``work`` in ``count`` threads that all begin at the same moment."""
    start = threading.Barrier(count)

    def run(number: int) -> int:
        start.wait(PATIENCE_SECONDS)
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_of_simultaneous_declarations_of_one_place_one_wins(api_on_both: Api) -> None:
    api = api_on_both
    for number in range(5):
        body = declaration(host=f"contested{number}.example.com")
        statuses = at_once(4, lambda ignored, body=body: api.post("/v1/databases", json=body).status_code)  # type: ignore[misc]
        assert sorted(statuses) == [201, 409, 409, 409]
    assert api.get("/v1/databases").json["pagination"]["total"] == 5


def test_simultaneous_changes_of_different_fields_all_stay(api_on_both: Api) -> None:
    api = api_on_both
    path = f"/v1/databases/{api.declared()['id']}"
    for round_ in range(5):
        port = {"port": 6000 + round_, "password": PASSWORD}
        changes = [{"name": f"n{round_}"}, {"tags": [f"t{round_}"]}, port]
        statuses = at_once(3, lambda n: api.patch(path, json=changes[n]).status_code)  # noqa: B023
        assert statuses == [200, 200, 200]
        shown = api.get(path).json
        assert (shown["name"], shown["tags"], shown["port"]) == (f"n{round_}", [f"t{round_}"], 6000 + round_)


def test_with_if_match_one_of_two_changes_wins(api_on_both: Api) -> None:
    api = api_on_both
    path = f"/v1/databases/{api.declared()['id']}"
    for round_ in range(5):
        match = {"If-Match": api.get(path).headers["ETag"]}
        statuses = at_once(
            2,
            lambda n: api.patch(path, json={"name": f"{round_}-{n}"}, headers=match).status_code,  # noqa: B023
        )
        assert sorted(statuses) == [200, 409]


def test_a_database_is_removed_once(api_on_both: Api) -> None:
    api = api_on_both
    path = f"/v1/databases/{api.declared()['id']}"
    assert sorted(at_once(3, lambda ignored: api.delete(path).status_code)) == [204, 404, 404]


def test_pages_have_no_gap_and_no_double_while_databases_are_added(api_on_both: Api) -> None:
    api = api_on_both
    before = [api.declared()["id"] for ignored in range(20)]
    done = threading.Event()

    def add(ignored: int) -> int:
        for _ignored in range(20):
            assert api.post("/v1/databases", json=declaration()).status_code == 201
        return 0

    def walk(ignored: int) -> int:
        walks = 0
        while walks < 3 or not done.is_set():
            seen: list[str] = []
            page = 1
            while True:
                answer = api.get(f"/v1/databases?page={page}&per_page=7").json
                data = answer["data"]
                # The count and the rows are of one moment.
                assert len(data) == max(0, min(7, answer["pagination"]["total"] - 7 * (page - 1)))
                seen += [database["id"] for database in data]
                if not data:
                    break
                page += 1
            assert seen[:20] == before
            assert len(seen) == len(set(seen))
            walks += 1
        return walks

    with ThreadPoolExecutor(3) as pool:
        walkers = [pool.submit(walk, n) for n in range(2)]
        pool.submit(add, 0).result(PATIENCE_SECONDS)
        done.set()
        for walker in walkers:
            assert walker.result(PATIENCE_SECONDS) >= 3
    assert api.get("/v1/databases").json["pagination"]["total"] == 40
