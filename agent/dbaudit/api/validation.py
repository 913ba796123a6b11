"""What is wrong with a JSON value, field by field, in words of our own: a value is never repeated in them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator

from dbaudit.core.errors import ErrorCode, FieldError, RequestError

_TYPE_NAMES = {
    "string": "a string",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "object": "an object",
    "array": "a list",
    "null": "null",
}
_SHOWN_NAME_CHARACTERS = 80
MOST_DETAILS = 100
"""So many wrong fields are named at most: the time for one error stays in proportion to its request."""


def invalid(details: Sequence[FieldError]) -> RequestError:
    """The error of a request whose fields are wrong."""
    count = len(details)
    message = "One field is not valid." if count == 1 else f"{count} fields are not valid."
    if count >= MOST_DETAILS:
        message = f"Many fields are not valid; the first {MOST_DETAILS} are named."
    return RequestError(ErrorCode.VALIDATION_FAILED, message, details=details[:MOST_DETAILS])


def field_errors(validator: Validator, value: Any, base: str = "") -> list[FieldError]:
    """The errors that ``validator`` finds in ``value``, sorted by field; at most MOST_DETAILS of them.

    ``base`` is the JSON pointer of the value within the request.
    """
    found: dict[str, FieldError] = {}
    # Only the first error of a field is reported; that it is empty comes before its pattern.
    errors = islice(validator.iter_errors(value), MOST_DETAILS)
    for error in sorted(errors, key=lambda error: error.validator == "pattern"):
        for detail in islice(_details(error, base + pointer_of(error.absolute_path)), MOST_DETAILS):
            found.setdefault(detail.pointer, detail)
    return sorted(found.values(), key=lambda detail: detail.pointer)[:MOST_DETAILS]


def pointer_of(path: Any) -> str:
    """The JSON pointer (RFC 6901) of a path of names and positions; long names are cut."""
    return "".join(
        "/" + str(part)[:_SHOWN_NAME_CHARACTERS].replace("~", "~0").replace("/", "~1") for part in path
    )


def _details(error: ValidationError, pointer: str) -> Iterator[FieldError]:
    wanted: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    match error.validator:
        case "required":
            for name in wanted:
                if name not in instance:
                    yield FieldError(f"{pointer}/{name}", "is missing; it is required")
        case "additionalProperties" | "unevaluatedProperties":
            known = schema.get("properties", {})
            for name in instance:
                if name not in known:
                    yield FieldError(pointer + pointer_of([name]), _unknown(name, list(known)))
        case "uniqueItems":
            seen: set[bytes] = set()
            for position, item in enumerate(instance):
                written = msgspec.json.encode(item, order="sorted")
                if written in seen:
                    yield FieldError(f"{pointer}/{position}", "stands in the list twice")
                seen.add(written)
        case _:
            yield FieldError(pointer, _message(error, wanted, schema))


def _message(error: ValidationError, wanted: Any, schema: Mapping[str, Any]) -> str:
    match error.validator:
        case "type":
            return f"must be {_types(wanted)}, not {_type_of(error.instance)}"
        case "enum":
            return f"must be {_alternatives([str(w) for w in wanted if w is not None])}"
        case "const":
            return f"must be {wanted}"
        case "minimum" | "maximum":
            if "minimum" in schema and "maximum" in schema:
                return f"must be from {schema['minimum']} to {schema['maximum']}"
            return f"must be {'at least' if error.validator == 'minimum' else 'at most'} {wanted}"
        case "minLength":
            return "must not be empty" if wanted == 1 else f"must have at least {wanted} characters"
        case "maxLength":
            return f"must have at most {wanted} characters"
        case "minItems":
            return "must not be empty" if wanted == 1 else f"must have at least {wanted} entries"
        case "maxItems":
            return f"must have at most {wanted} entries"
        case "x-host":
            return error.message
        case "pattern":
            return str(schema.get("x-remedy", f"must match the pattern {wanted}"))
        case keyword:
            about = schema.get("description") if isinstance(schema, Mapping) else None
            return f"does not fit what its schema says under {keyword}" + (f": {about}" if about else "")


def _unknown(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name[:_SHOWN_NAME_CHARACTERS], known, n=1)
    if close:
        return f"is not known; did you mean {close[0]}?"
    return f"is not known; known are {', '.join(known)}" if known else "is not known"


def _types(wanted: str | Sequence[str]) -> str:
    names = [wanted] if isinstance(wanted, str) else wanted
    return " or ".join(_TYPE_NAMES[name] for name in names)


def _type_of(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "an integer"
        case float():
            return "a number with a fraction"
        case str():
            return "a string"
        case list() | tuple():
            return "a list"
        case _:
            return "an object"


def _alternatives(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
