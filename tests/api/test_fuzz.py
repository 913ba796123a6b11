"""Whatever comes, the answer is one that the document allows, and never a fault of the service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbaudit.api import ApiSettings, create_app
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.conftest import ENGINES, Api, declaration, opened_state
from tests.api.contract import DOCUMENT

FIELDS = [*DOCUMENT.content["components"]["schemas"]["DatabaseUpdate"]["properties"], "id", "nosuch", ""]
PARAMETERS = sorted({p.name for o in DOCUMENT.operations.values() for p in o.query} | {"x", ""})
# With lone surrogates and NUL: what json.dumps writes and a client may send.
TEXTS = st.text(st.characters(exclude_categories=()), max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
PLAUSIBLE = {
    "name": st.text(max_size=30),
    "type": st.sampled_from(["postgresql", "mysql", "redis"]),
    "host": st.sampled_from(["localhost", "::1", "10.0.0.1", "a.example.com"]) | st.text(max_size=10),
    "port": st.integers(-1, 70000),
    "database": st.text(max_size=10),
    "username": st.text(max_size=10),
    "password": st.text(max_size=10),
    "ssl_mode": st.sampled_from(["disable", "require", "verify-ca", "verify-full"]),
    "tags": st.lists(st.text(max_size=5), max_size=4),
    "audit_options": st.fixed_dictionaries(
        {},
        optional={
            "retention_days": st.integers(-1, 5000),
            "engine": st.dictionaries(TEXTS, VALUES, max_size=2),
        },
    ),
    "audit_status": st.sampled_from(["active", "paused"]),
}
BODIES = (
    st.fixed_dictionaries({}, optional=PLAUSIBLE)
    | st.fixed_dictionaries(PLAUSIBLE)
    | st.dictionaries(st.sampled_from(FIELDS) | TEXTS, VALUES, max_size=8)
    | VALUES
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(PARAMETERS),
        st.sampled_from(
            ["", "1", "0", "-1", "true", "a,b", "2026-01-01", "%ff", "%00", "stored", "end", "%", "+"]
        )
        | st.text("0123456789abcT:-Z%,=&", max_size=12),
    ),
    max_size=5,
)
SEARCH = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ALLOWED = {200, 201, 204, 400, 404, 409, 415, 503}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """One application for all examples: what an earlier one left behind may be the trouble of a later one."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with opened_state(f"sqlite:///{folder}/state.db", folder) as state:
        unlimited = ApiSettings(rate_limit_per_minute=0, failed_keys_per_minute=0)
        fuzzed = Api(create_app(state, engines=ENGINES, settings=unlimited), state)
        fuzzed.declared(name="first")
        yield fuzzed


@SEARCH
@given(body=BODIES, query=st.sampled_from(["", "?dry_run=true", "?verify=true"]))
def test_any_json_to_a_new_database(api: Api, body: Any, query: str) -> None:
    answer = api.post(f"/v1/databases{query}", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in ALLOWED


@SEARCH
@given(body=BODIES, query=st.sampled_from(["", "?dry_run=true", "?verify=true"]))
def test_any_json_to_a_change(api: Api, body: Any, query: str) -> None:
    database_id = api.get("/v1/databases?name=first").json["data"] or [api.declared(name="first")]
    path = f"/v1/databases/{database_id[0]['id']}"
    answer = api.patch(f"{path}{query}", data=json.dumps(body), content_type="application/json")
    assert answer.status_code in ALLOWED | {429}  # comparisons with a stored secret are rationed
    if answer.status_code == 200 and not query:
        # What was taken is what is shown.
        assert api.get(path).json["updated_at"] == answer.json["updated_at"]


@SEARCH
@given(body=st.binary(max_size=60) | TEXTS.map(lambda t: t.encode("utf-8", "surrogatepass")))
def test_any_bytes_as_a_body(api: Api, body: bytes) -> None:
    answer = api.post("/v1/databases", data=body, content_type="application/json")
    assert answer.status_code == 400


@SEARCH
@given(
    query=QUERIES, path=st.sampled_from(["/v1/databases", "/v1/events", "/v1/databases/db_x", "/health/live"])
)
def test_any_query(api: Api, query: list[tuple[str, str]], path: str) -> None:
    pairs = [pair for pair in query if pair[0] != "wait_seconds"]
    text = "&".join(f"{name}={value}" for name, value in pairs)
    answer = api.get(path, environ_overrides={"QUERY_STRING": text})
    assert answer.status_code in {200, 400, 404}


@SEARCH
@given(
    header=st.sampled_from(["Accept", "Authorization", "If-Match", "X-Request-Id", "Content-Type", "Host"]),
    value=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=30),
)
def test_any_header(api: Api, header: str, value: str) -> None:
    answer = api.get("/v1/databases", headers={header: value})
    assert answer.status_code in {200, 401, 406}


@SEARCH
@given(part=st.text(max_size=20))
def test_any_id(api: Api, part: str) -> None:
    for path in (f"/v1/databases/{part}", f"/v1/databases/{part}/status", f"/v1/events/{part}"):
        environ = {"PATH_INFO": path.encode("utf-8").decode("latin-1"), "QUERY_STRING": ""}
        answer = api.app.test_client().get(
            "/", headers={"Authorization": f"Bearer {api.key}"}, environ_overrides=environ
        )
        assert answer.status_code in {200, 404}


def test_the_service_is_as_before(api: Api) -> None:
    """Runs after the others on the same application: it still answers, and everything stored can be shown."""
    total = api.get("/v1/databases").json["pagination"]["total"]
    shown = [
        database["id"]
        for page in range(1, total // 100 + 2)
        for database in api.get(f"/v1/databases?per_page=100&page={page}").json["data"]
    ]
    assert len(shown) == total
    for database_id in shown:
        assert api.get(f"/v1/databases/{database_id}").status_code == 200
    assert api.post("/v1/databases", json=declaration()).status_code == 201
