"""The OpenAPI document and both SDKs know the same: each operation, parameter, field and error code.

A difference that is meant is named here, with its reason; anything else is something that somebody forgot.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import dbaudit
import msgspec
import pytest
import yaml
from dbaudit import sdk
from dbaudit.core.errors import HTTP_STATUS, ErrorCode
from dbaudit.sdk import cluster, databases, events, keys, nodes, service
from dbaudit.sdk.request import Request
from dbaudit.sdk.streams import Following

NODE = Path(__file__).parents[2] / "sdk" / "node" / "src"
DOCUMENT = yaml.safe_load(resources.files("dbaudit.api").joinpath("openapi.yaml").read_text("utf-8"))
DESCRIPTIONS: dict[str, Callable[..., Any]] = {
    name: found
    for module in (cluster, databases, events, keys, nodes, service)
    for name, found in vars(module).items()
    if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_")
}
NOT_OPERATIONS = {
    "show_documentation": "a page for browsers",
}
NOT_IN_DOCUMENT = {
    "follow_events": "list_events, again and again",
    "preview_create_database": "create_database as a dry run",
    "preview_update_database": "update_database as a dry run",
    "preview_delete_database": "delete_database as a dry run",
}
# Parameters of the API that the SDK sends by itself, or offers in another form.
HANDLED = {
    "page": "iteration over pages",
    "per_page": "iteration over pages",
    "cursor": "iteration over pages",
    "limit": "page_size",
    "wait_seconds": "follow_events",
    "dry_run": "the methods preview_...",
}
RESULTS: dict[str, type] = {
    "AuditOptions": sdk.AuditOptions,
    "ClusterPolicy": sdk.ClusterPolicy,
    "DatabaseDetails": sdk.Database,
    "DatabaseListResult": sdk.DatabaseListResult,
    "DatabaseStatus": sdk.DatabaseStatus,
    "DbConnsSettings": sdk.DbConnsSettings,
    "DbConnsStatus": sdk.DbConnsStatus,
    "DryRun": sdk.DryRun,
    "Event": sdk.Event,
    "Key": sdk.Key,
    "NewKey": sdk.NewKey,
    "NodeList": nodes._Listing,
    "Readiness": sdk.Readiness,
    "TestReport": sdk.TestReport,
}
BESIDE_THE_BODY = {"etag"}  # comes as a header


def operations() -> Iterator[tuple[str, str, str, dict[str, Any], list[dict[str, Any]]]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
                yield operation["operationId"], method, path, operation, [resolved(p) for p in parameters]


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found = DOCUMENT
        for step in node["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        node = {**found, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


OPERATIONS = {name: rest for name, *rest in operations() if name not in NOT_OPERATIONS}


def described(name: str) -> Request[Any]:
    """A request of an operation, with something for each argument that is needed."""
    describe = DESCRIPTIONS[name]
    needed = {
        parameter.name: "x"
        for parameter in inspect.signature(describe).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    }
    made = describe(**needed)
    assert isinstance(made, Request)
    return made


def test_every_operation_is_in_the_sdk_and_nothing_else() -> None:
    assert set(DESCRIPTIONS) == set(OPERATIONS) | set(NOT_IN_DOCUMENT)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_the_path_and_the_method_of_the_document(name: str) -> None:
    method, path, _operation, _parameters = OPERATIONS[name]
    request = described(name)
    assert (request.method.lower(), request.path) == (method, re.sub(r"\{\w+\}", "x", path))


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_has_every_parameter_and_field(name: str) -> None:
    _method, _path, operation, parameters = OPERATIONS[name]
    wanted = {p["name"].lower().replace("-", "_") for p in parameters}
    if "requestBody" in operation:
        body = resolved(operation["requestBody"]["content"]["application/json"]["schema"])
        wanted |= set(body["properties"])
    taken = set(inspect.signature(DESCRIPTIONS[name]).parameters)
    assert taken - {"page_size"} == {field for field in wanted if field not in HANDLED or field in taken}
    assert wanted <= taken | set(HANDLED)


@pytest.mark.parametrize("client", [dbaudit.Client, dbaudit.AsyncClient])
def test_both_clients_have_a_method_for_every_description(client: type) -> None:
    made = client(api_url="http://127.0.0.1:1", api_key="x")
    methods = [
        method
        for part, resource in vars(made).items()
        for name in dir(resource)
        if not part.startswith("_")
        and not name.startswith("_")
        and callable(method := getattr(resource, name))
    ]
    assert {method.describe for method in methods} == set(DESCRIPTIONS.values())
    for method in methods:
        shown = list(inspect.signature(method).parameters)
        assert shown == list(inspect.signature(method.describe).parameters)
        assert inspect.getdoc(method)


def test_following_is_described_as_such() -> None:
    assert isinstance(events.follow_events(cursor=None), Following)


@pytest.mark.parametrize("schema", RESULTS)
def test_a_result_has_every_field_of_the_document(schema: str) -> None:
    _compare(DOCUMENT["components"]["schemas"][schema], RESULTS[schema], schema)


def _compare(node: dict[str, Any], kind: Any, where: str) -> None:
    node = resolved(node)
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for one in kinds:
        if isinstance(one, type) and issubclass(one, msgspec.Struct):
            hints = typing.get_type_hints(one)
            assert set(hints) - BESIDE_THE_BODY == set(node["properties"]), where
            for name, child in node["properties"].items():
                _compare(child, hints[name], f"{where}.{name}")
        elif typing.get_origin(one) is tuple and "items" in node:
            _compare(node["items"], typing.get_args(one)[0], where)


def test_every_code_that_the_api_answers_with_has_a_class_of_its_own() -> None:
    codes = [*HTTP_STATUS, ErrorCode.INTERNAL_ERROR, ErrorCode.API_UNREACHABLE]
    classes = [sdk.errors.error_class(code) for code in codes]
    assert len(set(classes)) == len(codes)
    for kind in classes:
        assert getattr(sdk, kind.__name__) is getattr(sdk.errors, kind.__name__) is kind
        assert issubclass(kind, sdk.ApiError)
        assert kind.__doc__
    assert "DatabaseExistsError" in dir(sdk)


# The SDK for Node.js, by its text: the compiler holds the text to be true, see test_node.py.


def text(name: str) -> str:
    return (NODE / f"{name}.ts").read_text()


def camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def interface(name: str) -> set[str]:
    """The fields of an interface of TypeScript, at its own level, with those of the one it extends."""
    found = re.search(
        rf"export interface {name}(?: extends (\w+))? \{{\n(.*?)\n\}}", text("types"), re.DOTALL
    )
    assert found, name
    return set(re.findall(r"^  readonly (\w+)\??:", found[2], re.MULTILINE)) | (
        interface(found[1]) if found[1] and found[1] != "DatabaseUpdate" else set()
    )


@pytest.mark.parametrize(
    "schema",
    [
        *(name for name in RESULTS if name != "NodeList"),
        "Database",
        "DatabaseCreate",
        "DatabaseResult",
        "Difference",
        "KeyCreate",
    ],
)
def test_a_type_of_the_node_sdk_has_every_field_of_the_document(schema: str) -> None:
    fields = {camel(field) for field in resolved(DOCUMENT["components"]["schemas"][schema])["properties"]}
    assert interface(schema) - BESIDE_THE_BODY == fields


def test_agents_and_list_entries_of_the_node_sdk_have_every_field() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    agent = resolved(schemas["NodeList"]["properties"]["data"]["items"])["properties"]
    assert interface("AgentNode") == {camel(field) for field in agent}
    entry = set(schemas["DatabaseListEntry"]["properties"]) - set(schemas["DatabaseCreate"]["properties"])
    assert interface("DatabaseListEntry") == {camel(field) for field in entry}


def test_the_node_sdk_has_the_methods_of_the_python_sdk() -> None:
    client = dbaudit.Client(api_url="http://127.0.0.1:1", api_key="x")
    python = {
        f"{part}.{camel(name)}"
        for part, resource in vars(client).items()
        if not part.startswith("_")
        for name in dir(resource)
        if not name.startswith("_")
    }
    methods = set()
    for module in ("cluster", "databases", "events", "keys"):
        for part, body in re.findall(r"export class (\w+) \{\n(.*?)\n\}", text(module), re.DOTALL):
            found = re.findall(r"^  (?:async )?(\w+)\(.*\{$", body, re.MULTILINE)
            methods |= {f"{part.lower()}.{name}" for name in found if name != "constructor"}
    assert methods == python


def test_the_node_sdk_has_every_error_code() -> None:
    listed = re.search(r"ERROR_CODES = \[(.*?)\]", text("errors"), re.DOTALL)
    assert listed
    codes = {
        *HTTP_STATUS,
        ErrorCode.INTERNAL_ERROR,
        ErrorCode.API_UNREACHABLE,
        ErrorCode.CONFIGURATION_INVALID,
    }
    assert set(re.findall(r"'(\w+)'", listed[1])) == {str(code) for code in codes}
