"""Tasks: each taken once, answered to whoever waits in any process, and forgotten with their secrets."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dbaudit.core.database import AuditOptions, Scope, SslMode
from dbaudit.core.report import Diagnosis, DiagnosisStatus, TestReport
from dbaudit.core.secret import Secret
from dbaudit.state import State
from dbaudit.state.nodes import engine_capability
from dbaudit.state.wakeup import Topic
from sqlalchemy import text

from tests.state.conftest import Open
from tests.state.samples import PASSWORD, create, declaration, let_pass
from tests.state.workers import answer_tasks, workers

REPORT = TestReport(
    reachable=True,
    success=False,
    latency_ms=0.5,
    version="PostgreSQL 17.2",
    permissions={"select": True},
    diagnoses=(Diagnosis("audit_source", DiagnosisStatus.FAILED, "lögging off", "ALTER SYSTEM …"),),
)


def _secrets(store: State) -> int:
    with store.backend.reading() as connection:
        return int(connection.execute(text("SELECT count(*) FROM secrets")).scalar_one())


def test_an_agent_gets_the_declaration_with_its_secrets_and_the_asker_gets_the_report(store: State) -> None:
    declared = declaration(
        ssl_mode=SslMode.VERIFY_FULL,
        ssl_ca="CA",
        audit_options=AuditOptions(capture_results=True, engine={"a": 1}),
    )
    task_id = store.tasks.request_test(declared, {"password": PASSWORD, "ssl_key": Secret("PEM")})
    task = store.tasks.claim("node_1")
    assert task is not None
    assert (task.id, task.engine_type, task.database_id) == (task_id, "postgresql", None)
    target = task.target
    assert (target.host, target.port, target.database, target.username) == (
        "db.example.com",
        5432,
        "orders",
        "collector",
    )
    assert (target.ssl_mode, target.ssl_ca, target.options) == (SslMode.VERIFY_FULL, "CA", {"a": 1})
    assert target.capture_results
    assert target.password == PASSWORD
    assert target.ssl_key == Secret("PEM")
    assert store.tasks.wait(task_id, 0) is None
    store.tasks.finish(task_id, REPORT)
    assert store.tasks.wait(task_id, 0) == REPORT
    assert _secrets(store) == 0
    store.tasks.finish(task_id, TestReport(reachable=False, success=False))
    assert store.tasks.wait(task_id, 0) == REPORT, "the first result stays"


def test_a_test_of_a_stored_database_names_it_and_carries_no_secret(store: State) -> None:
    database = create(store)
    before = _secrets(store)
    store.tasks.request_stored_test(database)
    assert _secrets(store) == before
    with store.backend.reading() as connection:
        kind, written = connection.execute(text("SELECT kind, declaration FROM tasks")).one()
    assert (kind, json.loads(written)) == ("test_stored", {"type": "postgresql", "database_id": database.id})
    task = store.tasks.claim("node_1")
    assert task is not None
    assert task.database_id == task.target.database_id == database.id
    assert task.target == store.databases.target(database.id)


def test_a_stored_database_is_tested_as_it_is_when_the_agent_takes_the_task(store: State) -> None:
    database = create(store)
    task_id = store.tasks.request_stored_test(database)
    moved = declaration(host="moved.example.com", audit_options=AuditOptions(scope=Scope.SERVER))
    store.databases.update(database.id, moved, {"password": Secret("of-the-new-place")})
    task = store.tasks.claim("node_1")
    assert task is not None
    assert task.id == task_id
    assert (task.target.host, task.target.password.reveal()) == ("moved.example.com", "of-the-new-place")
    assert task.scope is Scope.SERVER


def test_a_database_that_was_removed_meanwhile_is_reported_and_the_next_task_is_taken(store: State) -> None:
    database, other = create(store), create(store, "other")
    removed = store.tasks.request_stored_test(database)
    changed = store.tasks.request_test(declaration(username="x"), {}, change_of=database)
    store.tasks.request_stored_test(other)
    store.databases.delete(database.id)
    task = store.tasks.claim("node_1")
    assert task is not None
    assert task.database_id == other.id
    for task_id in (removed, changed):
        report = store.tasks.wait(task_id, 0)
        assert report is not None
        assert (report.reachable, report.error_code) == (False, "not_found")


def test_a_test_of_a_change_carries_the_secrets_of_the_request_alone(store: State) -> None:
    database = create(store, ssl_cert="CERT", ssl_key=Secret("PEM"))
    before = _secrets(store)
    store.tasks.request_test(declaration(username="x"), {}, change_of=database)
    assert _secrets(store) == before
    store.tasks.request_test(declaration(), {"password": Secret("new")}, change_of=database)
    assert _secrets(store) == before + 1
    store.tasks.request_test(declaration(), {"ssl_key": None}, change_of=database)
    assert _secrets(store) == before + 1
    seen = []
    while task := store.tasks.claim("node_1"):
        key = task.target.ssl_key
        seen.append((task.target.username, task.target.password.reveal(), key and key.reveal()))
        store.tasks.finish(task.id, REPORT)
    assert seen == [
        ("x", PASSWORD.reveal(), "PEM"),
        ("collector", "new", "PEM"),
        ("collector", PASSWORD.reveal(), None),
    ]
    assert _secrets(store) == before


def test_a_password_that_is_stored_later_is_not_sent_where_an_earlier_one_may_go(store: State) -> None:
    database = create(store)
    task_id = store.tasks.request_test(declaration(username="x"), {}, change_of=database)
    moved = declaration(host="moved.example.com")
    store.databases.update(database.id, moved, {"password": Secret("of-the-new-place")})
    assert store.tasks.claim("node_1") is None
    report = store.tasks.wait(task_id, 0)
    assert report is not None
    assert report.error_code == "conflict"


@pytest.mark.parametrize("of_stored", [True, False])
def test_a_task_of_an_earlier_version_still_runs_with_the_secrets_that_it_carries(
    store: State, of_stored: bool
) -> None:
    database = create(store)
    task_id = store.tasks.request_test(declaration("old"), {"password": Secret("with-the-task")})
    with store.backend.writing() as connection:  # the form of 0.1.0
        written = json.loads(connection.execute(text("SELECT declaration FROM tasks")).scalar_one())
        del written["seen_us"], written["stored_secrets"]
        written["database_id"] = database.id if of_stored else None
        connection.execute(text("UPDATE tasks SET declaration = :old"), {"old": json.dumps(written)})
    task = store.tasks.claim("node_1")
    assert task is not None
    assert task.target.password.reveal() == "with-the-task"
    assert task.target.database_id == (database.id if of_stored else task_id)


def test_finishing_what_is_no_task_leaves_the_secrets_of_a_database_alone(store: State) -> None:
    database = create(store)
    before = store.databases.target(database.id).password.reveal()
    assert before
    store.tasks.finish(database.id, TestReport(reachable=False, success=False))
    assert store.databases.target(database.id).password.reveal() == before


def test_tasks_are_taken_in_their_order_and_each_of_them_once(open_store: Open) -> None:
    stores = [open_store() for turn in range(4)]
    ids = [stores[0].tasks.request_test(declaration(f"d{n}"), {"password": PASSWORD}) for n in range(40)]

    def take_all(store: State) -> list[str]:
        taken = []
        while task := store.tasks.claim(f"node {id(store)}"):
            taken.append(task.id)
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(take_all, stores))
    assert sorted(task_id for several in taken for task_id in several) == sorted(ids)
    for several in taken:
        assert several == sorted(several, key=ids.index)


def test_the_result_wakes_whoever_waits_in_another_process(
    store: State, url: str, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody looks for himself in time: only a notice can wake the agents and the waiting process.
    monkeypatch.setattr("dbaudit.state.tasks._LOOK_AGAIN_SECONDS", 3600.0)
    with workers(2, answer_tasks, url, key_file, "agent") as agents:
        assert [agent.receive() for agent in agents] == ["ready", "ready"]
        ids = []
        for number in range(20):
            ids.append(store.tasks.request_test(declaration(f"d{number}"), {"password": PASSWORD}))
            report = store.tasks.wait(ids[-1], 30)
            assert report is not None
            assert report.version == f"agent saw {PASSWORD.reveal()}"
        for agent in agents:
            agent.tell("stop")
        store.wakeup.notify(Topic.TASK_NEW)
        taken = [task_id for agent in agents for task_id in agent.receive()]
    assert sorted(taken) == sorted(ids)


def test_a_task_that_nobody_waits_for_any_more_is_dropped_with_its_secrets(store: State) -> None:
    expired = store.tasks.request_test(declaration("a"), {"password": PASSWORD}, timeout_seconds=0)
    wanted = store.tasks.request_test(declaration("b"), {"password": PASSWORD})
    assert _secrets(store) == 2
    task = store.tasks.claim("node_1")
    assert task is not None
    assert task.id == wanted
    assert _secrets(store) == 1
    assert store.tasks.claim("node_1") is None
    assert store.tasks.wait(expired, 0) is None


def test_waiting_ends_at_its_time_for_a_task_without_an_agent_and_for_none_at_all(store: State) -> None:
    task_id = store.tasks.request_test(declaration(), {"password": PASSWORD})
    assert store.tasks.wait(task_id, 0.05) is None
    assert store.tasks.wait("task_unknown", 0.05) is None


def test_tasks_of_the_past_are_removed_with_their_secrets_when_new_ones_come(store: State) -> None:
    for number in range(3):
        store.tasks.request_test(declaration(f"d{number}"), {"password": PASSWORD})
    taken = store.tasks.claim("a node that died")
    assert taken is not None
    with store.backend.writing() as connection:
        connection.execute(text("UPDATE tasks SET created_at_us = created_at_us - 3601000000"))
    new = store.tasks.request_test(declaration("new"), {"password": PASSWORD})
    assert _secrets(store) == 1
    task = store.tasks.claim("node_1")
    assert task is not None
    assert task.id == new
    store.tasks.finish(taken.id, REPORT)
    assert store.tasks.wait(taken.id, 0) is None


def test_an_agent_without_work_takes_no_lock_for_writing(store: State) -> None:
    with store.backend.writing() as connection:
        connection.execute(text("DELETE FROM tasks"))
        assert store.tasks.claim("node_1") is None


def test_a_task_is_taken_by_a_node_that_has_the_engine_or_by_any_where_none_has_it(store: State) -> None:
    other = store.nodes.register("other", "1", (engine_capability("mysql"),))
    first = store.tasks.request_test(declaration(), {"password": PASSWORD})
    task = store.tasks.claim(other.id)
    assert task is not None
    assert task.id == first, "nobody says that the engine is missing"
    able = store.nodes.register("able", "1", (engine_capability("postgresql"),))
    second = store.tasks.request_test(declaration("second"), {"password": PASSWORD})
    assert store.tasks.claim(other.id) is None
    task = store.tasks.claim(able.id)
    assert task is not None
    assert task.id == second


def test_a_task_of_a_node_that_fell_silent_is_taken_by_another_one(open_store: Open) -> None:
    store = open_store()
    dead, heir = (store.nodes.register(name, "1", (engine_capability("postgresql"),)) for name in "ab")
    task_id = store.tasks.request_test(declaration(), {"password": PASSWORD})
    assert store.tasks.claim(dead.id) is not None
    assert store.tasks.claim(heir.id) is None
    let_pass(store.nodes.lease_seconds + 1, store)
    store.nodes.beat(heir)
    task = store.tasks.claim(heir.id)
    assert task is not None
    assert task.id == task_id


def test_a_node_that_comes_back_releases_what_it_had_taken(store: State) -> None:
    task_id = store.tasks.request_test(declaration(), {"password": PASSWORD})
    assert store.tasks.claim("node_1") is not None
    store.tasks.release("node_2")
    assert store.tasks.claim("node_1") is None
    store.tasks.release("node_1")
    task = store.tasks.claim("node_2")
    assert task is not None
    assert task.id == task_id
    assert task.target.password == PASSWORD
