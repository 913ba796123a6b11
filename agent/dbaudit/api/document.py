"""The OpenAPI document. It is the source of the API: requests are checked against it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from importlib import resources
from typing import Any
from urllib.parse import quote

import msgspec
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

_URI = "urn:dbaudit:openapi"
_METHODS = ("get", "post", "put", "patch", "delete")


def _is_integer(checker: object, value: object) -> bool:
    # Unlike in JSON Schema, 5432.0 is not an integer. Nor is true, which is an int in Python.
    return isinstance(value, int) and not isinstance(value, bool)


def _short_enough(instance: Any, schema: Mapping[str, Any]) -> bool:
    return not isinstance(instance, list) or len(instance) <= schema.get("maxItems", len(instance))


def _unless_too_long(keyword: str) -> Callable[..., Iterator[ValidationError]]:
    """The check of a keyword of lists, skipped for a list that is refused for its length already."""
    check = Draft202012Validator.VALIDATORS[keyword]

    def checked(
        validator: Any, wanted: Any, instance: Any, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        if _short_enough(instance, schema):
            yield from check(validator, wanted, instance, schema) or ()

    return checked


def _unless_checked_before(keyword: str) -> Callable[..., Iterator[ValidationError]]:
    """The check of a keyword of objects, skipped where `x-checked-before` says that it would find nothing: it
    is slow for many small values.
    """
    check = Draft202012Validator.VALIDATORS[keyword]

    def checked(
        validator: Any, wanted: Any, instance: Any, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        if not schema.get("x-checked-before"):
            yield from check(validator, wanted, instance, schema) or ()

    return checked


StrictValidator: Any = extend(  # type: ignore[no-untyped-call]  # jsonschema has no types
    Draft202012Validator,
    validators={
        **{keyword: _unless_too_long(keyword) for keyword in ("items", "uniqueItems", "prefixItems")},
        **{keyword: _unless_checked_before(keyword) for keyword in ("additionalProperties", "propertyNames")},
    },
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of the query: its schema with references resolved, and the validator of its value."""

    name: str
    schema: Mapping[str, Any]
    validator: Validator


PARAMETER = "parameter"
"""What rules call the converter of a path's parameters."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of the document.

    ``rule`` is its path as Flask writes it. A key needs one of ``scopes``; none: no key is asked for.
    ``max_body_bytes`` is how large its body may be; None: as large as any. ``produces`` are the media types
    of its good answers. ``pointer`` is where it stands in the document.
    """

    id: str
    method: str
    path: str
    rule: str
    scopes: tuple[str, ...]
    query: tuple[Parameter, ...]
    body: Validator | None
    max_body_bytes: int | None
    produces: tuple[str, ...]
    pointer: str


class Document:
    """The document of this package, or the one given as ``text`` (YAML)."""

    def __init__(self, text: str | None = None) -> None:
        if text is None:
            text = resources.files(__package__).joinpath("openapi.yaml").read_text(encoding="utf-8")
        self.content: dict[str, Any] = yaml.safe_load(text)
        resource = Resource.from_contents(self.content, default_specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource(_URI, resource)
        self.operations = {operation.id: operation for operation in self._operations()}

    @cached_property
    def json(self) -> bytes:
        """The document as JSON."""
        return msgspec.json.encode(self.content)

    @property
    def words_beside_parameters(self) -> set[str]:
        """The segments of paths that stand where another path has a parameter: they are no value of it."""
        paths = [path.split("/") for path in self.content["paths"]]
        return {
            word
            for path in paths
            for place, word in enumerate(path)
            for other in paths
            if other[:place] == path[:place] and other[place : place + 1] != [word]
            if not word.startswith("{") and "".join(other[place : place + 1]).startswith("{")
        }

    def validator(self, pointer: str) -> Validator:
        """The validator of the schema at a JSON pointer into the document."""
        validator: Validator = StrictValidator({"$ref": f"{_URI}#{quote(pointer)}"}, registry=self._registry)
        return validator

    def resolved(self, node: Any) -> Any:
        """``node``, or what it refers to; keywords beside a reference come on top of it."""
        while isinstance(node, Mapping) and "$ref" in node:
            target: Any = self.content
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part.replace("~1", "/").replace("~0", "~")]
            node = {**target, **{k: v for k, v in node.items() if k != "$ref"}}
        return node

    def _operations(self) -> Iterator[Operation]:
        for path, item in self.content["paths"].items():
            for method in _METHODS:
                if method in item:
                    yield self._operation(path, method, item)

    def _operation(self, path: str, method: str, item: Mapping[str, Any]) -> Operation:
        content = item[method]
        pointer = f"/paths/{path.replace('~', '~0').replace('/', '~1')}/{method}"
        parameters = [self.resolved(p) for p in (*item.get("parameters", ()), *content.get("parameters", ()))]
        security = content.get("security", self.content["security"])
        produces = {
            media_type
            for status, response in content["responses"].items()
            if status.startswith("2")
            for media_type in self.resolved(response).get("content", {})
        }
        return Operation(
            id=content["operationId"],
            method=method.upper(),
            path=path,
            rule=path.replace("{", f"<{PARAMETER}:").replace("}", ">"),
            scopes=tuple(
                dict.fromkeys(scope for way in security for scopes in way.values() for scope in scopes)
            ),
            query=tuple(self._parameter(p) for p in parameters if p["in"] == "query"),
            body=(
                self.validator(f"{pointer}/requestBody/content/application~1json/schema")
                if "requestBody" in content
                else None
            ),
            max_body_bytes=content.get("x-max-body-bytes"),
            produces=tuple(sorted(produces)) or ("application/json",),
            pointer=pointer,
        )

    def _parameter(self, content: Mapping[str, Any]) -> Parameter:
        schema = self.resolved(content["schema"])
        if "items" in schema:
            schema = {**schema, "items": self.resolved(schema["items"])}
        return Parameter(content["name"], schema, StrictValidator(schema))
