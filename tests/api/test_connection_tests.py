"""Connections are tested by agents: the API asks, waits, and answers with the report or the error."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dbaudit.api.application import WAITING_ROOM
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.state.tasks import Task
from dbaudit.state.wakeup import Topic

from tests.api.conftest import PASSWORD, REACHED, REFUSED, Api, declaration
from tests.patience import PATIENCE_SECONDS

LACKING = TestReport(
    reachable=True,
    success=False,
    latency_ms=2.0,
    version="PostgreSQL 16.1",
    permissions={"select": True, "pg_monitor": False},
    diagnoses=(
        Diagnosis(
            "pg_monitor_missing",
            DiagnosisStatus.FAILED,
            "The user lacks pg_monitor.",
            "GRANT pg_monitor TO dbaudit_reader;",
        ),
        Diagnosis("log_connections", DiagnosisStatus.SKIPPED, "Not looked at."),
    ),
)


def test_the_report_of_a_stored_database(api_on_both: Api) -> None:
    api = api_on_both
    database = api.declared(ssl_mode="disable")
    with api.agent() as taken:
        answer = api.post(f"/v1/databases/{database['id']}/test")
    assert answer.status_code == 200
    assert answer.json == {
        "success": True,
        "latency_ms": 1.5,
        "version": "PostgreSQL 16.1",
        "permissions": {"select": True, "pg_read_all_stats": True, "pg_monitor": True},
        "warnings": [],
        "diagnoses": [],
        "audit_source": "csvlog",
        "error_code": None,
        "error": None,
    }
    (task,) = taken
    assert (task.engine_type, task.database_id) == ("postgresql", database["id"])
    assert (task.target.host, task.target.password.reveal()) == (database["host"], PASSWORD)


def test_a_missing_right_is_a_report_with_its_remedy(api: Api) -> None:
    database = api.declared()
    with api.agent(lambda task: LACKING):
        answer = api.post(f"/v1/databases/{database['id']}/test")
    assert answer.status_code == 200
    assert answer.json["success"] is False
    assert answer.json["warnings"] == [
        "The user lacks pg_monitor. Remedy: GRANT pg_monitor TO dbaudit_reader;"
    ]
    assert [d["status"] for d in answer.json["diagnoses"]] == ["failed", "skipped"]


def test_a_refused_login_is_422_with_the_report(api_on_both: Api) -> None:
    api = api_on_both
    database = api.declared()
    with api.agent(lambda task: REFUSED):
        answer = api.post(f"/v1/databases/{database['id']}/test")
    assert answer.status_code == 422
    assert answer.json["error"]["code"] == "connection_test_failed"
    assert "The password of dbaudit_reader is wrong." in answer.json["error"]["message"]
    assert answer.json["report"]["error_code"] == "authentication_failed"
    assert answer.json["report"]["success"] is False


def test_a_new_database_is_verified_before_it_is_stored(api_on_both: Api) -> None:
    api = api_on_both
    body = declaration()
    with api.agent(lambda task: REFUSED) as taken:
        refused = api.post("/v1/databases?verify=true", json=body)
    assert refused.status_code == 422
    assert api.get("/v1/databases").json["data"] == []
    assert taken[0].target.password.reveal() == PASSWORD
    # Neither the candidate's row nor its secrets stay.
    assert api.dump()["secrets"] == []
    with api.agent():
        created = api.post("/v1/databases?verify=true", json=body)
    assert created.status_code == 201
    assert api.get("/v1/databases").json["pagination"]["total"] == 1


def test_a_change_is_verified_with_what_is_stored_and_what_is_new(api: Api) -> None:
    database = api.declared()
    path = f"/v1/databases/{database['id']}"
    with api.agent(lambda task: REFUSED) as taken:
        refused = api.patch(f"{path}?verify=true", json={"username": "other"})
    assert refused.status_code == 422
    assert (taken[0].target.username, taken[0].target.password.reveal()) == ("other", PASSWORD)
    assert api.get(path).json["username"] == "dbaudit_reader"
    with api.agent() as taken:
        assert api.patch(f"{path}?verify=true", json={"password": "new"}).status_code == 200
    assert taken[0].target.password.reveal() == "new"


def test_no_test_of_what_is_stored_copies_a_secret(api: Api) -> None:
    database = api.declared()
    path = f"/v1/databases/{database['id']}"
    stored = api.dump()["secrets"]
    seen: list[list[object]] = []

    def look(task: Task) -> TestReport:
        seen.append(list(api.dump()["secrets"]))
        return REACHED

    with api.agent(look):
        assert api.post(f"{path}/test").status_code == 200
        assert api.patch(f"{path}?verify=true", json={"username": "other"}).status_code == 200
    assert seen == [stored, stored]


def test_a_database_that_is_removed_before_the_agent_looks_is_404(api: Api) -> None:
    database = api.declared()
    path = f"/v1/databases/{database['id']}"
    api.state.nodes.register("agent-1", "0.1.0", ("postgresql",))
    answers = []
    seen = api.state.wakeup.count(Topic.TASK_NEW)
    waiting = threading.Thread(target=lambda: answers.append(api.post(f"{path}/test")))
    waiting.start()
    assert api.state.wakeup.wait(Topic.TASK_NEW, seen, 30)
    assert api.delete(path).status_code == 204
    with api.agent():
        waiting.join(PATIENCE_SECONDS)
    assert answers[0].status_code == 404
    assert answers[0].json["error"]["code"] == "not_found"


def test_a_change_that_another_request_overtook_is_verified_again(api: Api) -> None:
    database = api.declared()
    path = f"/v1/databases/{database['id']}"
    api.state.nodes.register("agent-1", "0.1.0", ("postgresql",))
    answers = []
    seen = api.state.wakeup.count(Topic.TASK_NEW)
    waiting = threading.Thread(
        target=lambda: answers.append(api.patch(f"{path}?verify=true", json={"username": "other"}))
    )
    waiting.start()
    assert api.state.wakeup.wait(Topic.TASK_NEW, seen, 30)
    assert api.patch(path, json={"host": "moved.example.com", "password": "moved"}).status_code == 200
    with api.agent() as taken:
        waiting.join(PATIENCE_SECONDS)
    assert answers[0].status_code == 200
    assert [(t.target.host, t.target.password.reveal()) for t in taken] == [("moved.example.com", "moved")]


def test_without_a_live_agent_it_is_503_and_nothing_is_stored(api_on_both: Api) -> None:
    api = api_on_both
    database = api.declared()
    with api.unchanged():
        for answer in (
            api.post(f"/v1/databases/{database['id']}/test"),
            api.post("/v1/databases?verify=true", json=declaration()),
            api.patch(f"/v1/databases/{database['id']}?verify=true", json={"username": "other"}),
        ):
            assert answer.status_code == 503
            assert answer.json["error"]["code"] == "no_agent_available"
            assert int(answer.headers["Retry-After"]) >= 1


def test_an_agent_that_never_answers_is_given_up(make_api: Callable[..., Api]) -> None:
    api = make_api(test_timeout_seconds=0.3)
    database = api.declared()
    api.state.nodes.register("agent-1", "0.1.0", ("postgresql",))
    answer = api.post(f"/v1/databases/{database['id']}/test")
    assert answer.status_code == 503
    assert answer.json["error"]["code"] == "no_agent_available"
    assert "0.3 seconds" in answer.json["error"]["message"]


def test_no_more_requests_wait_than_there_are_places(make_api: Callable[..., Api]) -> None:
    api = make_api(waiting_for_tests=1)
    database = api.declared()
    path = f"/v1/databases/{database['id']}/test"
    reached, go_on = threading.Event(), threading.Event()

    def hang(task: Task) -> TestReport:
        reached.set()
        assert go_on.wait(PATIENCE_SECONDS)
        return REACHED

    with api.agent(hang):
        first: list[int] = []
        waiting = threading.Thread(target=lambda: first.append(api.post(path).status_code))
        waiting.start()
        assert reached.wait(PATIENCE_SECONDS)
        second = api.post(path)
        go_on.set()
        waiting.join()
        assert second.status_code == 503
        assert "waiting" in second.json["error"]["message"]
        assert first == [200]
        assert api.post(path).status_code == 200


def test_stopping_ends_the_wait(api: Api) -> None:
    database = api.declared()
    api.state.nodes.register("agent-1", "0.1.0", ("postgresql",))
    answers = []
    seen = api.state.wakeup.count(Topic.TASK_NEW)
    waiting = threading.Thread(
        target=lambda: answers.append(api.post(f"/v1/databases/{database['id']}/test"))
    )
    waiting.start()
    assert api.state.wakeup.wait(Topic.TASK_NEW, seen, 30)
    api.app.extensions[WAITING_ROOM].close()
    waiting.join(PATIENCE_SECONDS)
    assert answers[0].status_code == 503
    assert answers[0].json["error"]["code"] == "shutting_down"
