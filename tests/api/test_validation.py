"""Bad input: the documented error with the pointer to each field, and nothing changed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from tests.api.conftest import Api, declaration
from tests.api.contract import pointers
from tests.servers.certificates import CertificateAuthority

CREDENTIAL = CertificateAuthority().client("dbaudit_reader")
OTHER = CertificateAuthority().client("somebody")
LOCKED_KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"passphrase"))
    .decode()
)
SECRET = "Pl4nted-s3cret"

BAD_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"name": 5}, "/name", "a string, not an integer"),
    ({"name": ""}, "/name", "not be empty"),
    ({"name": "  "}, "/name", "not blank"),
    ({"name": "a\nb"}, "/name", "one line"),
    ({"name": "x" * 201}, "/name", "at most 200"),
    ({"name": None}, "/name", "not null"),
    ({"type": "nosuch"}, "/type", "installed: mysql, postgresql"),
    ({"type": "redis"}, "/type", "ImportError: no redis"),
    ({"type": "Not A Type"}, "/type", "lower case"),
    ({"type": 1}, "/type", "a string"),
    ({"host": ""}, "/host", "not be empty"),
    ({"host": "db.example.com:5432"}, "/host", "without port"),
    ({"host": "[::1]"}, "/host", "host name or an IP address"),
    ({"host": "a b"}, "/host", "host name or an IP address"),
    ({"host": "999.1.2.3"}, "/host", "host name or an IP address"),
    ({"host": "-a.example.com"}, "/host", "host name or an IP address"),
    ({"host": "a..b"}, "/host", "host name or an IP address"),
    ({"host": "bücher.example"}, "/host", "xn--"),
    ({"host": "x" * 300}, "/host", "at most 253"),
    ({"host": "/var/run/../postgresql"}, "/host", "without .."),
    ({"host": "/var/run\n"}, "/host", "absolute path without .. and control characters"),
    ({"host": "/var/run/mysqld/mysqld.sock", "type": "mysql"}, "/host", "mysql takes no path of a socket"),
    ({"port": 0}, "/port", "from 1 to 65535"),
    ({"port": 65536}, "/port", "from 1 to 65535"),
    ({"port": -1}, "/port", "from 1 to 65535"),
    ({"port": "5432"}, "/port", "an integer, not a string"),
    ({"port": 5432.0}, "/port", "an integer, not a number with a fraction"),
    ({"port": True}, "/port", "an integer, not true or false"),
    ({"port": None}, "/port", "an integer, not null"),
    ({"port": 10**30}, "/port", "from 1 to 65535"),
    ({"database": ""}, "/database", "not be empty"),
    ({"database": "a\tb"}, "/database", "control characters"),
    ({"username": ""}, "/username", "not be empty"),
    ({"username": ["x"]}, "/username", "a string, not a list"),
    ({"password": None}, "/password", "a string, not null"),
    ({"password": 12345}, "/password", "a string, not an integer"),
    ({"password": SECRET * 1000}, "/password", "at most 4096"),
    ({"password": f"{SECRET}\0"}, "/password", "NUL"),
    ({"ssl_mode": "prefer"}, "/ssl_mode", "disable, require, verify-ca or verify-full"),
    ({"ssl_mode": None}, "/ssl_mode", "a string, not null"),
    ({"ssl_ca": "-----BEGIN CERTIFICATE-----..."}, "/ssl_ca", "not a PEM certificate"),
    ({"ssl_ca": ""}, "/ssl_ca", "not a PEM certificate"),
    ({"ssl_ca": CREDENTIAL.key}, "/ssl_ca", "private key"),
    ({"ssl_ca": 5}, "/ssl_ca", "a string or null"),
    ({"ssl_cert": CREDENTIAL.certificate}, "/ssl_key", "needs its private key"),
    ({"ssl_key": CREDENTIAL.key}, "/ssl_cert", "needs its certificate"),
    ({"ssl_cert": CREDENTIAL.certificate, "ssl_key": SECRET}, "/ssl_key", "not a PEM private key"),
    (
        {"ssl_cert": CREDENTIAL.certificate, "ssl_key": CREDENTIAL.certificate},
        "/ssl_key",
        "not a PEM private",
    ),
    ({"ssl_cert": CREDENTIAL.certificate, "ssl_key": LOCKED_KEY}, "/ssl_key", "passphrase"),
    ({"ssl_cert": CREDENTIAL.certificate, "ssl_key": OTHER.key}, "/ssl_key", "does not belong"),
    ({"tags": "production"}, "/tags", "a list, not a string"),
    ({"tags": [1]}, "/tags/0", "a string, not an integer"),
    ({"tags": ["ok", ["nested"]]}, "/tags/1", "a string, not a list"),
    ({"tags": ["a", "b", "a"]}, "/tags/2", "twice"),
    ({"tags": ["x" * 65]}, "/tags/0", "at most 64"),
    ({"tags": ["a,b"]}, "/tags/0", "no comma"),
    ({"tags": [""]}, "/tags/0", "not be empty"),
    ({"tags": [" a"]}, "/tags/0", "space at its ends"),
    ({"tags": [f"t{n}" for n in range(51)]}, "/tags", "at most 50"),
    ({"audit_options": []}, "/audit_options", "an object, not a list"),
    ({"audit_options": {"retention_days": 0}}, "/audit_options/retention_days", "from 1 to 3650"),
    ({"audit_options": {"retention_days": 3651}}, "/audit_options/retention_days", "from 1 to 3650"),
    ({"audit_options": {"retention_days": 1.5}}, "/audit_options/retention_days", "an integer"),
    ({"audit_options": {"capture_queries": "yes"}}, "/audit_options/capture_queries", "true or false"),
    (
        {"audit_options": {"capture_querys": True}},
        "/audit_options/capture_querys",
        "did you mean capture_queries",
    ),
    ({"audit_options": {"engine": {"mode": "x"}}}, "/audit_options/engine/mode", "remote or local"),
    ({"audit_options": {"engine": {"nosuch": 1}}}, "/audit_options/engine/nosuch", "known are mode"),
    ({"audit_options": {"engine": 5}}, "/audit_options/engine", "an object"),
    ({"audit_status": "initializing"}, "/audit_status", "active or paused"),
    ({"hots": "x"}, "/hots", "did you mean host?"),
    ({"id": "db_x"}, "/id", "is not known"),
    ({"a/b~c": 1}, "/a~1b~0c", "is not known"),
    ({"status": "connected"}, "/status", "is not known"),
]


@pytest.mark.parametrize(
    ("fields", "pointer", "words"), BAD_FIELDS, ids=[str(n) for n in range(len(BAD_FIELDS))]
)
def test_a_bad_field_is_named_and_changes_nothing(
    api: Api, fields: dict[str, Any], pointer: str, words: str
) -> None:
    database = api.declared()
    path = f"/v1/databases/{database['id']}"
    with api.unchanged():
        answers = [
            api.post(f"/v1/databases{query}", json=declaration(**fields)) for query in ("", "?dry_run=true")
        ]
        if "type" not in fields:
            answers += [
                api.patch(f"{path}{query}", json=fields) for query in ("", "?dry_run=true", "?verify=true")
            ]
    for answer in answers:
        assert answer.status_code == 400
        assert answer.json["error"]["code"] == "validation_failed"
        assert words in pointers(answer)[pointer]
        assert SECRET not in answer.get_data(as_text=True)


@pytest.mark.parametrize("field", ["name", "type", "host", "port", "database", "username", "password"])
def test_each_required_field_is_missed(api: Api, field: str) -> None:
    body = declaration()
    del body[field]
    with api.unchanged():
        answer = api.post("/v1/databases", json=body)
    assert pointers(answer) == {f"/{field}": "is missing; it is required"}


def test_all_errors_are_told_at_once(api: Api) -> None:
    body = declaration(
        port=0,
        host="a b",
        type="nosuch",
        tags=[1],
        ssl_ca="none",
        audit_options={"retention_days": 0, "capture_results": 1},
        hots="x",
    )
    del body["name"]
    answer = api.post("/v1/databases", json=body)
    assert set(pointers(answer)) == {
        "/audit_options/capture_results",
        "/audit_options/retention_days",
        "/host",
        "/hots",
        "/name",
        "/port",
        "/ssl_ca",
        "/tags/0",
        "/type",
    }
    body = declaration(audit_options={"retention_days": 0, "engine": {"mode": 1}})
    found = pointers(api.post("/v1/databases", json=body))
    assert set(found) == {"/audit_options/retention_days", "/audit_options/engine/mode"}


def test_the_type_of_a_database_cannot_change(api: Api) -> None:
    database = api.declared()
    with api.unchanged():
        answer = api.patch(f"/v1/databases/{database['id']}", json={"type": "mysql"})
    assert answer.status_code == 400
    assert "remove the database" in pointers(answer)["/type"]


def test_a_stored_key_is_held_against_a_new_certificate(api: Api) -> None:
    database = api.declared(ssl_cert=CREDENTIAL.certificate, ssl_key=CREDENTIAL.key)
    path = f"/v1/databases/{database['id']}"
    with api.unchanged():
        assert (
            "does not belong" in pointers(api.patch(path, json={"ssl_cert": OTHER.certificate}))["/ssl_key"]
        )
        assert "needs its private key" in pointers(api.patch(path, json={"ssl_key": None}))["/ssl_key"]
        assert "needs its certificate" in pointers(api.patch(path, json={"ssl_cert": None}))["/ssl_cert"]
    pair = {"ssl_cert": OTHER.certificate, "ssl_key": OTHER.key}
    assert api.patch(path, json=pair).status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "line 1, column 2"),
        (b"nonsense", "line 1"),
        (b"{'name': 'x'}", "line 1"),
        (b'{"name": "\xff"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"name": "x"}', "not JSON"),
        ('{"name": "x"}'.encode("utf-16"), "not UTF-8"),
        (b'{"port": NaN}', "NaN"),
        (b'{"port": Infinity}', "Infinity"),
        (b'{"port": ' + b"9" * 5000 + b"}", "number too long"),
        (b'{"a":' * 200_000, "nested"),
        (b'{"tags":' + b"[" * 50 + b"]" * 50 + b"}", "nested more than 32"),
        (b'{"name": "x"} {}', "line 1"),
    ],
)
def test_a_body_that_is_no_json_is_refused(api: Api, body: bytes, words: str) -> None:
    database = api.declared()
    with api.unchanged():
        for method, path in (("POST", "/v1/databases"), ("PATCH", f"/v1/databases/{database['id']}")):
            answer = api.request(method, path, data=body, content_type="application/json")
            assert answer.status_code == 400
            assert answer.json["error"]["code"] == "invalid_json"
            assert words in answer.json["error"]["message"]


@pytest.mark.parametrize("body", ["[]", '"x"', "5", "null", "true", "[{}]"])
def test_a_body_that_is_no_object_is_refused(api: Api, body: str) -> None:
    with api.unchanged():
        answer = api.post("/v1/databases", data=body, content_type="application/json")
    assert pointers(answer) == {"": "must be an object"}


def test_a_field_given_twice_is_refused(api: Api) -> None:
    body = (
        json.dumps(declaration())[:-1] + ', "name": "second", "audit_options": {"engine": {}, "engine": {}}}'
    )
    with api.unchanged():
        answer = api.post("/v1/databases", data=body, content_type="application/json")
    assert pointers(answer) == {"/name": "is given twice", "/audit_options/engine": "is given twice"}


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\udfff x"])
def test_text_that_cannot_be_stored_is_refused_wherever_it_stands(api: Api, text: str) -> None:
    with api.unchanged():
        for fields in ({"name": text}, {"password": text}, {"tags": [text]}, {text: 1}):
            body = json.dumps(declaration(**fields))
            answer = api.post("/v1/databases", data=body, content_type="application/json")
            assert answer.status_code == 400
            assert answer.json["error"]["details"]


@pytest.mark.parametrize(
    ("query", "pointer", "words"),
    [
        ("per_page=101", "per_page", "from 1 to 100"),
        ("per_page=0", "per_page", "from 1 to 100"),
        ("per_page=", "per_page", "an integer"),
        ("per_page=ten", "per_page", "an integer"),
        ("per_page=1e1", "per_page", "an integer"),
        ("per_page=%D9%A1", "per_page", "an integer"),
        ("per_page=" + "9" * 5000, "per_page", "an integer"),
        ("page=0", "page", "from 1"),
        ("page=-1", "page", "from 1"),
        ("page=1000000001", "page", "from 1"),
        ("status=online", "status", "connected, disconnected, pending or error"),
        ("status=", "status", "connected"),
        ("type=Not%20A%20Type", "type", "lower case"),
        ("tags=", "tags", "not be empty"),
        ("tags=a,,b", "tags", "not be empty"),
        ("tags=%20a", "tags", "space"),
        ("name=", "name", "not be empty"),
        ("name=" + "x" * 201, "name", "at most 200"),
        ("host=", "host", "not be empty"),
        ("page=1&page=2", "page", "twice"),
        ("pgae=1", "pgae", "known are status"),
        ("dry_run=true", "dry_run", "is not a parameter"),
        ("name=%ff", "", "not UTF-8"),
        ("name=\xff", "", "not UTF-8"),
        ("name=a%00b", "", "NUL"),
        ("&".join(f"a{n}=1" for n in range(200)), "", "more than 100"),
    ],
)
def test_a_bad_query_is_named(api: Api, query: str, pointer: str, words: str) -> None:
    # As the server hands it over; the test client would mend it.
    answer = api.get("/v1/databases", environ_overrides={"QUERY_STRING": query})
    assert answer.status_code == 400
    assert words in pointers(answer)[pointer]


@pytest.mark.parametrize("value", ["1", "True", "", "yes"])
def test_dry_run_and_verify_are_true_or_false(api: Api, value: str) -> None:
    database = api.declared()
    with api.unchanged():
        for parameter in ("dry_run", "verify"):
            answer = api.post(f"/v1/databases?{parameter}={value}", json=declaration())
            assert pointers(answer) == {parameter: "must be true or false"}
        answer = api.delete(f"/v1/databases/{database['id']}?dry_run={value}")
        assert pointers(answer) == {"dry_run": "must be true or false"}


@pytest.mark.parametrize(
    "path",
    ["/v1/databases/{id}", "/v1/databases/{id}/status", "/v1/events/evt_1", "/health/live", "/metrics"],
)
def test_operations_without_parameters_take_none(api: Api, path: str) -> None:
    answer = api.get(path.format(id=api.declared()["id"]) + "?verbose=1")
    assert pointers(answer) == {"verbose": "is not a parameter; this operation takes none"}
