"""Holds every answer of the tests against the document, byte for byte what a client sees."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dbaudit.api.document import Document
from jsonschema import FormatChecker
from jsonschema.protocols import Validator

DOCUMENT = Document()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_TELLING = ("ETag", "Location", "Retry-After")
_formats = FormatChecker(formats=())


@_formats.checks("date-time")
def _is_time(value: object) -> bool:
    if not isinstance(value, str):
        return True
    return value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None


def check_answer(operation_id: str | None, status: int, headers: Mapping[str, str], content: bytes) -> None:
    """Fails unless the document allows this answer; ``operation_id`` None: the path or method is unknown."""
    assert _REQUEST_ID.fullmatch(headers["X-Request-Id"])
    assert headers["X-Content-Type-Options"] == "nosniff"
    media_type = headers.get("Content-Type", "").partition(";")[0]
    if status >= 400:
        assert media_type == "application/json"
        # /health/ready answers 503 with its checks.
        if "error" in json.loads(content):
            assert json.loads(content)["error"]["request_id"] == headers["X-Request-Id"]
    if operation_id is None:
        assert status in (404, 405), content
        form = "ClusterError" if "error_code" in json.loads(content) else "Error"
        _check(DOCUMENT.validator(f"/components/schemas/{form}"), content)
        return
    operation = DOCUMENT.operations[operation_id]
    item = DOCUMENT.content["paths"][operation.path][operation.method.lower()]
    documented = item["responses"]
    assert str(status) in documented, (
        f"{operation_id} answered {status}, which is not documented: {content!r}"
    )
    answer = DOCUMENT.resolved(documented[str(status)])
    described = answer.get("headers", {})
    for name, header in described.items():
        required = DOCUMENT.resolved(header).get("required", False)
        assert name in headers or not required, f"{operation_id} {status} lacks the header {name}"
    if status < 300 or status == 429:
        telling = {name for name in dict(headers) if name in _TELLING or name.startswith("X-RateLimit-")}
        unknown = telling - described.keys()
        assert not unknown, f"{operation_id} {status} does not describe the headers {unknown}"
    if "content" not in answer:
        assert content == b""
        assert not media_type
        return
    assert media_type in answer["content"]
    if media_type == "application/json":
        reference = documented[str(status)].get("$ref", "").removeprefix("#")
        pointer = reference or f"{operation.pointer}/responses/{status}"
        _check(DOCUMENT.validator(f"{pointer}/content/application~1json/schema"), content)


def _check(validator: Validator, content: bytes) -> None:
    checked = validator.evolve(format_checker=_formats)
    problems = [f"{error.json_path}: {error.message}" for error in checked.iter_errors(json.loads(content))]
    assert not problems, problems


def pointers(answer: Any) -> dict[str, str]:
    """The details of an error: message by pointer."""
    return {detail["pointer"]: detail["message"] for detail in answer.json["error"]["details"]}
