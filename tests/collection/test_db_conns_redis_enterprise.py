"""The same modules against a Redis Enterprise cluster, as far as its documentation tells how it answers."""

import base64
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.collection.redis_enterprise import (
    PASSWORD,
    POLICY,
    SETTINGS,
    USERNAME,
    WORDS,
    Bdb,
    Manner,
    Raw,
    RedisEnterprise,
)
from tests.collection.running import run_module

pytestmark = pytest.mark.usefixtures("collections_path")

TCP = {"audit_protocol": "TCP", "audit_address": "127.0.0.1", "audit_port": 12345}
LOCAL = {"audit_protocol": "local", "audit_address": "/var/opt/redislabs/run/db-audit.sock"}
ON = {**TCP, "policy": True, "databases": {"orders": True, "2": True}}
OFF = {"state": "absent", "policy": False, "databases": {"orders": False, "2": False}}

MANNERS = {
    "as documented": Manner(),
    "message": Manner(words="message"),
    "unset is 404": Manner(unset=404),
    "PUT replaces": Manner(merges=False),
    "shows no defaults": Manner(shows_defaults=False),
    "in use is 409": Manner(in_use=409),
    "in use is 400": Manner(in_use=400),
    "8.2": Manner(second_generation=True),
    "8.2, PUT replaces": Manner(second_generation=True, merges=False),
}
Start = Callable[[Manner], RedisEnterprise]


@pytest.fixture(params=MANNERS.values(), ids=MANNERS.keys())
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisEnterprise]:
    """A cluster of each manner, with two databases."""
    with RedisEnterprise(request.param, tmp_path) as cluster:
        cluster.bdbs = {1: Bdb(1, "orders"), 2: Bdb(2, "sessions")}
        yield cluster


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[RedisEnterprise]:
    """A cluster as the documentation says, with two databases."""
    with RedisEnterprise(Manner(), tmp_path) as cluster:
        cluster.bdbs = {1: Bdb(1, "orders"), 2: Bdb(2, "sessions")}
        yield cluster


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def connection(cluster: RedisEnterprise) -> dict[str, Any]:
    return {
        "api_url": cluster.url,
        "api_username": USERNAME,
        "api_password": PASSWORD,
        "ca_path": str(cluster.certificate),
    }


def run(cluster: RedisEnterprise, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    given = {**connection(cluster), **arguments}
    return run_module("db_conns_auditing", **given, _ansible_check_mode=check)


def switches(cluster: RedisEnterprise) -> dict[str, bool]:
    return {bdb.name: bdb.on for bdb in cluster.bdbs.values()}


def test_everything_goes_on_and_off_in_order_and_once(cluster: RedisEnterprise) -> None:
    assert run(cluster, check=True, **ON)["changed"]
    assert cluster.changes == []

    applied = run(cluster, **ON)
    assert applied["changed"], applied
    assert TCP.items() <= applied["config"].items()
    assert applied["policy"] is True
    assert applied["databases"][1] == {"id": "2", "name": "sessions", "db_conns_auditing": True}
    assert cluster.changes == [f"PUT {SETTINGS}", f"PUT {POLICY}", "PUT /v1/bdbs/1", "PUT /v1/bdbs/2"]
    assert switches(cluster) == {"orders": True, "sessions": True}

    cluster.requests.clear()
    for check in (False, True):
        assert not run(cluster, check=check, **ON)["changed"]
        assert not run(cluster, check=check, **TCP, audit_reconnect_interval=1)["changed"]
    assert cluster.changes == []

    assert run(cluster, check=True, **OFF)["changed"]
    assert cluster.changes == []
    removed = run(cluster, **OFF)
    assert removed["changed"]
    assert removed["config"] == {}
    assert cluster.changes == [
        "PUT /v1/bdbs/2",
        "PUT /v1/bdbs/1",
        f"PUT {POLICY}",
        f"DELETE {SETTINGS}",
    ]
    assert (cluster.config, cluster.policy) == ({}, False)
    assert switches(cluster) == {"orders": False, "sessions": False}

    cluster.requests.clear()
    for check in (False, True):
        assert not run(cluster, check=check, **OFF)["changed"]
        assert not run(cluster, check=check, state="absent")["changed"]
    assert cluster.changes == []


def test_what_is_left_out_stays_whether_a_change_is_merged_or_replaces(cluster: RedisEnterprise) -> None:
    run(cluster, **TCP, audit_reconnect_interval=30)
    if cluster.manner.second_generation:
        cluster.config["audit_queue_max_bytes"] = 1048576
    changed = run(cluster, audit_reconnect_max_attempts=9)["config"]
    assert TCP.items() <= changed.items()
    assert changed["audit_reconnect_interval"] == 30
    assert changed["audit_reconnect_max_attempts"] == 9
    if cluster.manner.second_generation:
        assert changed["audit_queue_max_bytes"] == 1048576


def test_defaults_are_no_change_where_an_answer_leaves_them_out(cluster: RedisEnterprise) -> None:
    cluster.config = dict(TCP)
    assert not run(cluster, **TCP, audit_reconnect_interval=1, audit_reconnect_max_attempts=0)["changed"]
    assert not run(cluster)["changed"]
    assert run(cluster, audit_reconnect_interval=2)["changed"]


def test_one_task_goes_from_a_port_to_a_socket_and_back(cluster: RedisEnterprise) -> None:
    run(cluster, **TCP)
    there = run(cluster, **LOCAL)
    assert there["changed"], there
    assert "audit_port" not in there["config"]
    assert not run(cluster, **LOCAL)["changed"]
    assert run(cluster, **TCP)["config"]["audit_port"] == 12345
    assert not run(cluster, **TCP)["changed"]


def test_the_info_module_shows_settings_policy_and_switches(cluster: RedisEnterprise) -> None:
    assert run_module("db_conns_auditing_info", **connection(cluster))["config"] == {}
    run(cluster, **ON)
    cluster.requests.clear()
    found = run_module("db_conns_auditing_info", **connection(cluster))
    assert not found["changed"]
    assert TCP.items() <= found["config"].items()
    assert found["policy"] is True
    assert found["databases"] == [
        {"id": "1", "name": "orders", "db_conns_auditing": True},
        {"id": "2", "name": "sessions", "db_conns_auditing": True},
    ]
    assert not {"nodes", "sending"} & set(found)
    assert cluster.changes == []


# The codes, each with its words


def _incapable(cluster: RedisEnterprise) -> None:
    cluster.capable = False


def _set(cluster: RedisEnterprise) -> None:
    cluster.config = dict(TCP)


def _set_and_used(cluster: RedisEnterprise) -> None:
    cluster.config = dict(TCP)
    cluster.bdbs[1].on = True


def _policy_on_after_a_look(cluster: RedisEnterprise) -> None:
    """The first reading says that it is off."""
    cluster.config, cluster.policy = dict(TCP), True
    cluster.instead[f"GET {POLICY}"] = deque([Raw(200, b'{"db_conns_auditing": false}')])


def _unset_after_a_look(cluster: RedisEnterprise) -> None:
    cluster.instead[f"GET {SETTINGS}"] = deque([Raw(200, json.dumps(TCP).encode())])


def _put_refused(code: str) -> Callable[[RedisEnterprise], None]:
    def arrange(cluster: RedisEnterprise) -> None:
        told = {"error_code": code, cluster.manner.words: WORDS[code]}
        cluster.instead[f"PUT {SETTINGS}"] = deque([Raw(400, json.dumps(told).encode())])

    return arrange


@pytest.mark.parametrize(
    ("arrange", "arguments", "code"),
    [
        (_incapable, TCP, "db_conns_auditing_unsupported_by_capability"),
        (_policy_on_after_a_look, {"state": "absent"}, "cannot_delete_audit_config_when_policy_enabled"),
        (_set_and_used, {"state": "absent"}, "cannot_delete_audit_config_when_bdb_enabled"),
        (_unset_after_a_look, {"databases": {"orders": True}}, "db_conns_auditing_config_missing"),
        (_set, {**LOCAL, "audit_address": "no/path"}, "db_conns_auditing_bad_address"),
        (
            _put_refused("db_conns_auditing_missing_config"),
            TCP,
            "db_conns_auditing_missing_config",
        ),
        (_put_refused("db_conns_auditing_bad_config"), TCP, "db_conns_auditing_bad_config"),
        (_put_refused("invalid_schema"), TCP, "invalid_schema"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_code_is_shown_with_its_words(
    cluster: RedisEnterprise,
    arrange: Callable[[RedisEnterprise], None],
    arguments: dict[str, Any],
    code: str,
) -> None:
    arrange(cluster)
    failed = run(cluster, **arguments)
    assert failed["failed"]
    assert not failed.get("changed")
    assert failed["error_code"] == code
    assert WORDS[code] in failed["msg"]
    assert "\n" not in failed["msg"]


@pytest.mark.parametrize("status", [404, 406, 400, 409])
def test_settings_that_vanished_meanwhile_are_absent_by_the_code_whatever_the_status(
    plain: RedisEnterprise, status: int
) -> None:
    plain.config = dict(TCP)
    told = {"error_code": "db_conns_audit_config_not_found", "description": "Unable to find it"}
    plain.instead[f"DELETE {SETTINGS}"] = deque([Raw(status, json.dumps(told).encode())])
    plain.instead[f"GET {SETTINGS}"] = deque([Raw(200, json.dumps(TCP).encode())])
    assert not run(plain, state="absent")["changed"]


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize(
    "answer",
    [
        Raw(404),
        Raw(404, b"<html>not here</html>"),
        Raw(404, b'{"error_code": "no_such_path"}'),
        Raw(404, b"[]"),
    ],
    ids=lambda raw: raw.body.decode() or "empty",
)
def test_a_404_without_the_code_is_a_wrong_address_or_an_old_version_and_not_absence(
    plain: RedisEnterprise, answer: Raw, state: str
) -> None:
    plain.instead[f"GET {SETTINGS}"] = deque([answer])
    failed = run(plain, state=state, **(TCP if state == "present" else {}))
    assert failed["failed"]
    assert failed["status"] == 404
    assert "api_url is wrong" in failed["msg"]
    assert "6.2.18" in failed["msg"]


def test_a_deletion_that_answers_a_bare_404_is_a_failure(plain: RedisEnterprise) -> None:
    plain.config = dict(TCP)
    plain.instead[f"DELETE {SETTINGS}"] = deque([Raw(404)])
    assert run(plain, state="absent")["status"] == 404
    assert run(plain, state="absent")["changed"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Forbidden"),
        (b"<html><h1>403</h1></html>", "Forbidden"),
        (b"role lacks\n permission", "role lacks permission"),
        (b'{"description": "role lacks permission"}', "role lacks permission"),
        (b'{"message": "role lacks permission"}', "role lacks permission"),
        (b'{"error_code": "no_permission"}', "no_permission"),
        (b"\xff\xfe", "403"),
        (b"null", "Forbidden"),
        (b"x" * 100_000, "x" * 300),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_error_of_any_form_becomes_one_line(plain: RedisEnterprise, body: bytes, words: str) -> None:
    plain.instead[f"PUT {SETTINGS}"] = deque([Raw(403, body)])
    failed = run(plain, **TCP)
    assert failed["status"] == 403
    assert words in failed["msg"]
    assert "\n" not in failed["msg"]
    assert len(failed["msg"]) < 400


@pytest.mark.parametrize("body", [b"", b"{}", b"\n", b"OK", b"null"])
def test_a_success_is_told_by_its_status_whatever_it_answers(plain: RedisEnterprise, body: bytes) -> None:
    plain.policy = True
    plain.instead[f"PUT {SETTINGS}"] = deque([Raw(200, body)])
    plain.instead[f"GET {SETTINGS}"] = deque([Raw(200, b"{}"), Raw(200, json.dumps(TCP).encode())])
    assert run(plain, **TCP)["changed"]
    plain.instead[f"PUT {POLICY}"] = deque([Raw(200, body)])
    plain.config = dict(TCP)
    failed = run(plain, policy=False)
    assert "still true" in failed["msg"], "the policy was not read again"


def test_a_wrong_password_is_refused_in_one_line_and_never_shown(plain: RedisEnterprise) -> None:
    failed = run(plain, **TCP, api_password="planted-wrong-password")
    assert failed["status"] == 401
    assert "planted" not in json.dumps(failed)
    assert plain.changes == []


def test_a_proxy_that_shows_the_request_does_not_get_the_credentials_shown(plain: RedisEnterprise) -> None:
    sent = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode())
    plain.instead[f"GET {SETTINGS}"] = deque([Raw(502, b"you sent Basic " + sent)] * 4)
    failed = run(plain, **TCP, retries=0)
    assert "you sent" in failed["msg"]
    assert sent.decode() not in json.dumps(failed)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"api_username": "a:b"}, "colon"),
        ({"api_password": "a\n"}, "control"),
        ({"api_password": None}, "api_password"),
    ],
    ids=str,
)
def test_a_user_that_cannot_be_sent_is_refused(
    plain: RedisEnterprise, wrong: dict[str, Any], words: str
) -> None:
    given = {name: value for name, value in {**connection(plain), **wrong}.items() if value is not None}
    assert words in run_module("db_conns_auditing", **given, **TCP)["msg"]
    assert plain.requests == []


def test_the_environment_names_address_and_user_and_the_user_wins_over_a_key(
    plain: RedisEnterprise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBAUDIT_API_URL", f"{plain.url}/v1")
    monkeypatch.setenv("DBAUDIT_API_USERNAME", USERNAME)
    monkeypatch.setenv("DBAUDIT_API_PASSWORD", PASSWORD)
    monkeypatch.setenv("DBAUDIT_API_KEY", "dbaudit_live_of_another_service")
    assert run_module("db_conns_auditing", ca_path=str(plain.certificate), **TCP)["changed"]


def test_a_certificate_of_the_clusters_own_is_trusted_only_when_it_is_given(plain: RedisEnterprise) -> None:
    given = {name: value for name, value in connection(plain).items() if name != "ca_path"}
    refused = run_module("db_conns_auditing", **given, **TCP)
    assert "cannot be trusted" in refused["msg"]
    assert "ca_path" in refused["msg"]
    assert plain.requests == [], "the password was sent"
    assert run_module("db_conns_auditing", **given, validate_certs=False, **TCP)["changed"]
    assert not run_module("db_conns_auditing", **given, ca_path=str(plain.certificate), **TCP)["changed"]


# Databases are changed behind the answer


@pytest.mark.usefixtures("no_sleep")
@pytest.mark.parametrize("early", [False, True])
def test_a_busy_database_is_asked_again_and_a_change_is_awaited(plain: RedisEnterprise, early: bool) -> None:
    plain.bdbs[1].early = early
    plain.bdbs[1].busy, plain.bdbs[1].slow = 3, 4
    assert run(plain, **TCP, databases={"orders": True})["changed"]
    assert plain.changes == [f"PUT {SETTINGS}"] + ["PUT /v1/bdbs/1"] * 4
    assert plain.bdbs[1].on

    plain.requests.clear()
    plain.bdbs[1].busy, plain.bdbs[1].slow = 2, 5
    assert run(plain, state="absent", databases={"orders": False})["changed"]
    assert plain.requests.index(f"DELETE {SETTINGS}") > plain.requests.index("GET /v1/bdbs/1")
    assert not plain.bdbs[1].on


def test_waiting_for_a_database_ends_in_time(plain: RedisEnterprise) -> None:
    plain.bdbs[1].busy = 10**9
    failed = run(plain, **TCP, databases={"orders": True}, wait_timeout=0)
    assert failed["changed"], "the settings are stored"
    assert failed["status"] == 409
    assert "wait_timeout" in failed["msg"]

    plain.bdbs[1].busy, plain.bdbs[1].slow = 0, 10**9
    failed = run(plain, databases={"orders": True}, wait_timeout=0)
    assert "orders" in failed["msg"]
    assert "active-change-pending" in failed["msg"]


def test_a_uid_that_is_another_databases_name_is_not_guessed(plain: RedisEnterprise) -> None:
    plain.bdbs[3] = Bdb(3, "2")
    failed = run(plain, **TCP, databases={"2": True})
    assert "fits several" in failed["msg"]
    assert plain.changes == []


def test_a_user_who_may_see_no_databases_can_manage_the_settings(plain: RedisEnterprise) -> None:
    plain.instead["GET /v1/bdbs"] = deque([Raw(403, b"")] * 9)
    assert run(plain, **TCP, policy=True)["changed"]
    assert run(plain, state="absent", policy=False)["changed"]
    assert run(plain, **TCP, databases={"orders": True})["status"] == 403


@pytest.mark.parametrize(
    ("request_name", "body"),
    [
        (f"GET {POLICY}", b'{"default_shards_placement": "dense"}'),
        ("GET /v1/bdbs", b'[{"uid": 1, "name": "orders"}]'),
    ],
    ids=["policy", "databases"],
)
def test_a_version_from_before_this_feature_is_named(
    plain: RedisEnterprise, request_name: str, body: bytes
) -> None:
    plain.instead[request_name] = deque([Raw(200, body)] * 2)
    failed = run(plain, **TCP, databases={"orders": True})
    assert "6.2.18" in failed["msg"]
    assert plain.changes == []


@pytest.mark.parametrize("request_name", [f"GET {SETTINGS}", f"GET {POLICY}", "GET /v1/bdbs"])
@pytest.mark.parametrize("body", [b'"a"', b"<html>welcome</html>", b"7"])
def test_an_answer_of_something_else_is_an_error_and_no_crash(
    plain: RedisEnterprise, request_name: str, body: bytes
) -> None:
    plain.instead[request_name] = deque([Raw(200, body)] * 2)
    failed = run(plain, **TCP, databases={"orders": True})
    assert failed["failed"]
    assert "exception" not in failed
    assert plain.changes == []
