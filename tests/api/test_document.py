"""The document is sound, whole, and says the same words as the domain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from dbaudit.core.database import AuditOptions, AuditStatus, ConnectionStatus, Database, SslMode
from dbaudit.core.errors import HTTP_STATUS
from dbaudit.core.event import AuditEvent, EventType, Outcome, Severity
from dbaudit.core.report import CheckStatus, DiagnosisStatus
from dbaudit.state.api_keys import Scope
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.api.conftest import Api, declaration
from tests.api.contract import DOCUMENT, pointers

SCHEMAS = DOCUMENT.content["components"]["schemas"]
# The table of the specification: method, path, scope.
SPECIFIED = [
    ("GET", "/v1/databases", "read:databases"),
    ("POST", "/v1/databases", "write:databases"),
    ("GET", "/v1/databases/{database_id}", "read:databases"),
    ("PATCH", "/v1/databases/{database_id}", "write:databases"),
    ("DELETE", "/v1/databases/{database_id}", "write:databases"),
    ("GET", "/v1/databases/{database_id}/status", "read:databases"),
    ("POST", "/v1/databases/{database_id}/test", "write:databases"),
]
WITHOUT_KEY = {"health_live", "health_ready", "get_openapi_document", "show_documentation"}


def test_is_a_valid_openapi_3_1_document() -> None:
    validate(DOCUMENT.content)


def test_every_schema_is_a_valid_json_schema() -> None:
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_has_every_endpoint_of_the_specification_with_its_scope() -> None:
    declared = {(o.method, o.path, o.scopes[0]) for o in DOCUMENT.operations.values() if o.scopes}
    assert declared.issuperset(SPECIFIED)


def test_every_operation_has_a_view_and_every_route_an_operation(api: Api) -> None:
    routes = {}
    for rule in api.app.url_map.iter_rules():
        methods = (rule.methods or set()) - {"HEAD", "OPTIONS"}
        routes[rule.endpoint.rpartition(".")[2]] = (methods, rule.rule)
    page = routes.pop("show")
    assert page[1].startswith("/v1/docs/")
    expected = {o.id: ({o.method}, o.rule) for o in DOCUMENT.operations.values()}
    del expected["show_documentation"]
    assert routes == expected


def test_every_text_of_a_request_says_that_it_takes_no_nul() -> None:
    asked = [p.schema for operation in DOCUMENT.operations.values() for p in operation.query]
    operations = [method for item in DOCUMENT.content["paths"].values() for method in item.values()]
    bodies = [
        operation["requestBody"]["content"]["application/json"]["schema"]
        for operation in operations
        if "requestBody" in operation
    ]
    texts = [text for schema in (*asked, *bodies) for text in _texts(schema, set())]
    assert len(texts) >= 30
    for text in texts:
        if "enum" not in text and text.get("format") != "date-time":
            errors = Draft202012Validator(text).iter_errors("a\0b")
            assert "pattern" in {error.validator for error in errors}, text


def _texts(schema: Any, seen: set[str]) -> Iterator[dict[str, Any]]:
    """The schemas of texts in a schema of a request."""
    if reference := schema.get("$ref"):
        if reference in seen:
            return
        seen.add(reference)
        schema = DOCUMENT.resolved(schema)
    kinds = schema.get("type")
    if "string" in (kinds if isinstance(kinds, list) else [kinds]):
        yield schema
    below = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    below += [schema[key] for key in ("items", "additionalProperties") if isinstance(schema.get(key), dict)]
    for each in below:
        yield from _texts(each, seen)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"password": "a\0b"}, "/password"),
        ({"name": "a\0b"}, "/name"),
        ({"ssl_ca": "\0"}, "/ssl_ca"),
        ({"audit_options": {"engine": {"a": [{"b": "\0"}]}}}, "/audit_options/engine/a/0/b"),
        ({"audit_options": {"engine": {"a\0": 1}}}, "/audit_options/engine"),
    ],
)
def test_nul_is_refused_by_the_service_and_by_the_document(
    api: Api, change: dict[str, Any], pointer: str
) -> None:
    answer = api.post("/v1/databases", json={**declaration(), **change})
    assert answer.status_code == 400
    assert list(pointers(answer)) == [pointer]
    # As others read it, who do not know our own keywords.
    schema = Draft202012Validator({**DOCUMENT.content, "$ref": "#/components/schemas/DatabaseCreate"})
    assert list(schema.iter_errors({**declaration(), **change}))
    assert not list(schema.iter_errors(declaration()))


@pytest.mark.parametrize("question", ["databases?name=a%00", "events?user=%00", "events?cursor=%00"])
def test_nul_in_a_question_is_refused(api: Api, question: str) -> None:
    assert api.get(f"/v1/{question}").status_code == 400


def test_answers_have_the_headers_that_the_document_describes(api: Api) -> None:
    created = api.post("/v1/databases", json=declaration())
    path = created.headers["Location"]
    changed = api.patch(path, json={"name": "changed"})
    assert created.headers["ETag"] != changed.headers["ETag"] == api.get(path).headers["ETag"]
    assert "ETag" not in api.patch(f"{path}?dry_run=true", json={"name": "again"}).headers
    for answer in (created, changed, api.get("/v1/events"), api.get("/v1/nodes")):
        assert {name for name in dict(answer.headers) if name.startswith("X-RateLimit-")} == {
            f"X-RateLimit-{name}" for name in ("Limit", "Remaining", "Reset")
        }


def test_only_these_operations_need_no_key() -> None:
    assert {o.id for o in DOCUMENT.operations.values() if not o.scopes} == WITHOUT_KEY


@pytest.mark.parametrize("operation_id", sorted(DOCUMENT.operations))
def test_each_operation_is_described_and_documents_its_errors(operation_id: str) -> None:
    operation = DOCUMENT.operations[operation_id]
    content = DOCUMENT.content["paths"][operation.path][operation.method.lower()]
    assert content["summary"]
    errors = {"400", "500"}
    if operation.scopes:
        errors |= {"401", "403", "429", "503"}
        assert set(operation.scopes) <= set(Scope)
        ways = [{way: [scope]} for scope in operation.scopes for way in ("bearer", "basic")]
        assert content["security"] == ways
    if operation.body is not None:
        errors |= {"413", "415"}
    if "{" in operation.path:
        errors |= {"404"}
    assert errors <= set(content["responses"])


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("ConnectionStatus", ConnectionStatus),
        ("AuditStatus", AuditStatus),
        ("SslMode", SslMode),
        ("EventType", EventType),
        ("Severity", Severity),
        ("CheckStatus", CheckStatus),
    ],
)
def test_enumerations_have_the_words_of_the_domain(schema: str, words: type[object]) -> None:
    assert sorted(SCHEMAS[schema]["enum"]) == sorted(words)  # type: ignore[call-overload]


def test_outcome_and_diagnosis_have_the_words_of_the_domain() -> None:
    assert set(SCHEMAS["Event"]["properties"]["outcome"]["enum"]) == {*Outcome, None}
    diagnosis = SCHEMAS["TestReport"]["properties"]["diagnoses"]["items"]
    assert set(diagnosis["properties"]["status"]["enum"]) == set(DiagnosisStatus)


def test_database_shows_every_field_of_the_domain_but_secrets() -> None:
    fields = {field.removesuffix("_us") for field in Database.__struct_fields__} - {"connection_version"}
    assert set(SCHEMAS["Database"]["properties"]) == fields
    assert set(SCHEMAS["Database"]["required"]) == fields


def test_event_shows_every_field_of_the_domain() -> None:
    fields = set(AuditEvent.__struct_fields__) - {"key", "time_us"}
    assert set(SCHEMAS["Event"]["properties"]) == fields | {"id", "timestamp", "database_id", "database_name"}
    assert set(SCHEMAS["Event"]["required"]) == set(SCHEMAS["Event"]["properties"])


def test_audit_options_have_the_defaults_of_the_domain() -> None:
    properties = SCHEMAS["AuditOptionsInput"]["properties"]
    assert {name: schema["default"] for name, schema in properties.items()} == msgspec.structs.asdict(
        AuditOptions()
    )


def test_a_change_takes_every_field_of_a_new_database() -> None:
    assert set(SCHEMAS["DatabaseCreate"]["properties"]) == set(SCHEMAS["DatabaseUpdate"]["properties"])


def test_every_error_status_is_documented_for_some_operation() -> None:
    documented = {
        int(status)
        for item in DOCUMENT.content["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
        for status in operation["responses"]
    }
    # These are refused before it is known which operation is meant.
    assert set(HTTP_STATUS.values()) - {405, 414, 431, 505} <= documented


def test_document_and_page_are_served_without_a_key_and_load_nothing_from_elsewhere(api: Api) -> None:
    served = api.get("/v1/openapi.json", key=None)
    assert served.json == DOCUMENT.content
    page = api.get("/v1/docs/", key=None)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    text = page.get_data(as_text=True)
    assert '"/v1/openapi.json"' in text
    for part in text.split('src="')[1:] + text.split('href="')[1:]:
        address = part.partition('"')[0]
        assert address.startswith("/v1/docs/")
        assert api.app.test_client().get(address).status_code == 200


def test_docs_without_the_slash_leads_to_the_page(api: Api) -> None:
    answer = api.app.test_client().get("/v1/docs?deep=1", headers={"Host": "elsewhere.example"})
    assert answer.status_code == 308
    assert answer.headers["Location"] == "/v1/docs/?deep=1"
