"""Health, metrics, and how everything that is not an answer looks: no trace of the inside, one form."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from dbaudit.api import create_app
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from tests.api.conftest import ENGINES, PASSWORD, Api, declaration, opened_state
from tests.servers.postgresql import PostgresServer


def test_ready_with_state_and_agent(api_on_both: Api) -> None:
    with api_on_both.agent():
        answer = api_on_both.get("/health/ready", key=None)
    assert answer.status_code == 200
    assert answer.json == {"status": "ready", "checks": {"state": "ok", "agent": "ok"}}


def test_not_ready_without_an_agent_and_says_so(api: Api) -> None:
    answer = api.get("/health/ready", key=None)
    assert answer.status_code == 503
    assert answer.json["checks"]["state"] == "ok"
    assert "dbaudit agent" in answer.json["checks"]["agent"]


def test_metrics_count_requests_and_read_the_state(api_on_both: Api) -> None:
    api = api_on_both
    database = api.declared()
    api.get("/v1/databases")
    api.get("/v1/databases")
    api.get("/v1/databases/db_nosuch")
    api.get("/nosuch")
    lease = next(iter(api.state.nodes.beat(api.state.nodes.register("agent-7", "2.4.1", ("postgresql",)))))
    cursor = api.state.events.cursor(lease.database_no)
    api.state.events.append(lease, cursor, {"v": 1}, [], [], left_out={"Close stmt": 4})
    with api.agent():
        answer = api.get("/metrics")
    assert answer.status_code == 200
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.get_data(as_text=True))
        for sample in family.samples
    }
    assert samples["dbaudit_http_requests_total", "list_databases", "200"] == 2
    assert samples["dbaudit_http_requests_total", "get_database", "404"] == 1
    assert samples["dbaudit_http_requests_total", "", "404"] == 1
    assert samples["dbaudit_http_request_duration_seconds_count", "list_databases"] == 2
    assert samples["dbaudit_databases", "pending"] == 1
    assert samples["dbaudit_databases", "connected"] == 0
    assert samples["dbaudit_events_stored_total", database["id"]] == 0
    assert samples["dbaudit_gaps_total", database["id"]] == 0
    assert samples["dbaudit_rejected_records_total", database["id"]] == 0
    assert samples["dbaudit_left_out_records_total", "Close stmt", database["id"]] == 4
    assert [name for name, *ignored in samples].count("dbaudit_node_heartbeat_age_seconds") == 2


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/databases/", "/v1/nosuch", "/v1/databases/a/b"])
def test_an_unknown_path_is_404_in_the_form_of_all_errors(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 404
    assert answer.json["error"]["code"] == "path_not_found"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/databases", "GET, HEAD, POST"),
        ("DELETE", "/v1/databases", "GET, HEAD, POST"),
        ("OPTIONS", "/v1/databases", "GET, HEAD, POST"),
        ("POST", "/v1/databases/db_x", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/v1/databases/db_x/test", "POST"),
        ("POST", "/v1/events", "GET, HEAD"),
        ("GET", "/v1/databases/bulk", "POST"),
        ("DELETE", "/v1/databases/bulk", "POST"),
        ("BREW", "/health/live", "GET, HEAD"),
    ],
)
def test_a_method_that_a_path_does_not_know_is_405(api: Api, method: str, path: str, allowed: str) -> None:
    answer = api.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed
    assert answer.json["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("application/json", 200),
        ("*/*", 200),
        ("application/*;q=0.5, text/html", 200),
        ("text/html,application/xhtml+xml,*/*;q=0.1", 200),
        ("text/html", 406),
        ("application/xml, text/plain", 406),
        ("application/json;q=0", 406),
    ],
)
def test_accept_may_exclude_the_answer(api: Api, accept: str, status: int) -> None:
    assert api.get("/v1/databases", headers={"Accept": accept}).status_code == status


def test_metrics_are_text(api: Api) -> None:
    assert api.get("/metrics", headers={"Accept": "text/plain"}).status_code == 200
    assert (
        api.get("/metrics", headers={"Accept": "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}).status_code == 200
    )


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/xml",
        "application/json; charset=latin-1",
        "application/merge-patch+json",
        "nonsense",
    ],
)
def test_a_body_of_another_kind_is_415(api: Api, content_type: str | None) -> None:
    database = api.declared()
    with api.unchanged():
        for method, path in (("POST", "/v1/databases"), ("PATCH", f"/v1/databases/{database['id']}")):
            answer = api.request(method, path, data=b"{}", content_type=content_type)
            assert answer.status_code == 415
            assert answer.json["error"]["code"] == "unsupported_media_type"


def test_a_compressed_body_is_415(api: Api) -> None:
    headers = {"Content-Encoding": "gzip"}
    assert api.post("/v1/databases", json=declaration(), headers=headers).status_code == 415


def test_json_may_name_its_charset(api: Api) -> None:
    body = json.dumps(declaration(name="Bücher"), ensure_ascii=False).encode()
    answer = api.post("/v1/databases", data=body, content_type="Application/JSON; charset=UTF-8")
    assert answer.status_code == 201
    assert answer.json["name"] == "Bücher"


def test_a_body_over_the_limit_is_413_and_changes_nothing(make_api: Callable[..., Api]) -> None:
    api = make_api(max_body_bytes=1000)
    with api.unchanged():
        answer = api.post("/v1/databases", json=declaration(name="x" * 1000))
    assert answer.status_code == 413
    assert answer.json["error"]["code"] == "payload_too_large"
    assert api.post("/v1/databases", json=declaration()).status_code == 201


@pytest.mark.parametrize("given", ["abc-1.2_X", "x" * 128])
def test_a_sane_request_id_is_taken_over(api: Api, given: str) -> None:
    answer = api.get("/v1/databases/db_nosuch", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] == given
    assert answer.json["error"]["request_id"] == given


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "<script>", "a;b", "ä"])
def test_another_request_id_is_replaced(api: Api, given: str) -> None:
    answer = api.get("/v1/databases/db_nosuch", headers={"X-Request-Id": given})
    assert answer.headers["X-Request-Id"] != given
    assert len(answer.headers["X-Request-Id"]) == 32


def test_head_answers_without_a_body(api: Api) -> None:
    answer = api.app.test_client().head("/v1/databases", headers={"Authorization": f"Bearer {api.key}"})
    assert answer.status_code == 200
    assert answer.get_data() == b""
    assert api.app.test_client().head("/v1/databases").status_code == 401


def test_an_error_of_the_state_does_not_leave_in_its_own_words(api: Api) -> None:
    with api.state.backend.writing() as connection:
        connection.execute(text("ALTER TABLE collectors RENAME TO elsewhere"))
    answer = api.get("/v1/databases")
    assert answer.status_code == 500
    assert "collectors" not in answer.get_data(as_text=True)
    assert "SELECT" not in answer.get_data(as_text=True)


def test_postgresql_gone_is_503_and_not_ready_and_comes_back(
    tmp_path: object, postgres_server: Callable[..., object], caplog: pytest.LogCaptureFixture
) -> None:

    assert isinstance(tmp_path, Path)
    server = postgres_server(17)
    assert isinstance(server, PostgresServer)
    url = f"postgresql://{server.superuser}:{server.superuser_password}@{server.host}:{server.port}/postgres"
    with opened_state(url, tmp_path) as state:
        api = Api(create_app(state, engines=ENGINES), state)
        database = api.declared()
        assert api.get("/v1/databases").status_code == 200
        server.stop()
        for answer in (
            api.get("/v1/databases"),
            api.get(f"/v1/databases/{database['id']}"),
            api.get("/v1/events"),
            api.get("/metrics"),
            api.post("/v1/databases", json=declaration()),
        ):
            assert answer.status_code == 503
            assert answer.json["error"]["code"] == "state_unavailable"
            assert str(server.port) not in answer.get_data(as_text=True)
            assert int(answer.headers["Retry-After"]) >= 1
        ready = api.get("/health/ready", key=None)
        assert ready.status_code == 503
        assert ready.json["checks"]["state"] == "the state cannot be reached"
        assert api.get("/health/live", key=None).status_code == 200
        server.start()
        assert api.get(f"/v1/databases/{database['id']}").status_code == 200
        assert api.get("/v1/databases").json["pagination"]["total"] == 1


def test_a_fault_is_500_with_a_line_in_the_log_and_nothing_in_the_answer(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    database = api.declared()
    with api.state.backend.writing() as connection:
        connection.execute(text("UPDATE secrets SET ciphertext = key_id"))
    with caplog.at_level(logging.ERROR):
        answer = api.patch(f"/v1/databases/{database['id']}", json={"password": "another-planted"})
    assert answer.status_code == 500
    error = answer.json["error"]
    assert error["code"] == "internal_error"
    assert set(error) == {"code", "message", "request_id", "details"}
    for inside in ("Traceback", "decrypt", "secrets", "key"):
        assert inside not in error["message"]
    assert error["request_id"] in caplog.text
    assert "another-planted" not in caplog.text
    assert PASSWORD not in caplog.text


def test_a_request_in_the_log_has_its_key_and_its_address(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        api.get("/v1/databases")
        api.app.test_client().get("/v1/databases")
    (own_key,) = (key.id for key in api.state.api_keys.all())
    with_key, without = (line for line in caplog.messages if line.startswith("GET /v1/databases "))
    assert with_key.endswith(f" key {own_key} from 127.0.0.1")
    assert without.endswith(" key - from 127.0.0.1")


def test_no_secret_reaches_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        database = api.declared()
        path = f"/v1/databases/{database['id']}"
        api.patch(path, json={"password": "another-planted"})
        api.post("/v1/databases", json=declaration(port=0))
        api.post("/v1/databases", data=b'{"password": "another-planted', content_type="application/json")
        api.get(f"/v1/databases?name={PASSWORD}")
        with api.agent():
            api.post(f"{path}/test")
            api.post("/v1/databases?verify=true", json=declaration())
    for secret in (PASSWORD, "another-planted", api.key):
        assert secret not in caplog.text
