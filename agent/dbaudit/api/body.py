"""Reads a JSON body strictly: UTF-8, one object, no name twice, no NUL, no endless depth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Self

from jsonschema.protocols import Validator

from dbaudit.api.validation import MOST_DETAILS, field_errors, invalid, pointer_of
from dbaudit.core.database import SECRET_FIELDS
from dbaudit.core.errors import ErrorCode, FieldError, RequestError
from dbaudit.core.secret import Secret

MAX_DEPTH = 32


class Body:
    """The fields of a request, checked against their schema, for the checks that a schema cannot express.

    All errors of a request are reported at once, so a wrong field does not raise yet: ``sound`` has the other
    fields, and ``checked`` raises.
    """

    def __init__(self, raw: bytes, validator: Validator) -> None:
        self._fields = parse_object(raw)
        self._details = field_errors(validator, self._fields)
        self.sound: Mapping[str, Any] = _sound(self._fields, _wrong(self._details))

    @classmethod
    def of_entry(cls, fields: Mapping[str, Any]) -> Self:
        """One entry of a body that fits its schema, as a body of its own."""
        body = cls.__new__(cls)
        body._fields, body._details, body.sound = dict(fields), [], fields
        return body

    @property
    def secrets(self) -> list[Secret]:
        """The secrets among the fields, and among those of its entries."""
        entries = self.sound.get("databases", ())
        found = [
            fields.get(field)
            for fields in (self.sound, *(e for e in entries if isinstance(e, dict)))
            for field in SECRET_FIELDS
        ]
        return [Secret(value) for value in found if isinstance(value, str)]

    def checked(self, more: Sequence[FieldError] = ()) -> Mapping[str, Any]:
        """All fields. Raises RequestError where the schema or ``more`` has anything against them."""
        details = [*self._details, *more]
        if details:
            raise invalid(sorted(details, key=lambda detail: detail.pointer))
        return self._fields


def _wrong(details: Sequence[FieldError]) -> dict[str, Any]:
    """The pointers of ``details`` as a tree of their parts; a part without any below it is wrong itself."""
    tree: dict[str, Any] = {}
    for detail in details:
        branch = tree
        for part in detail.pointer.split("/")[1:]:
            branch = branch.setdefault(part, {})
    return tree


def _sound(fields: Mapping[str, Any], wrong: Mapping[str, Any]) -> dict[str, Any]:
    if not wrong:
        return dict(fields)
    kept = {}
    for name, value in fields.items():
        below = wrong.get(pointer_of([name])[1:])
        if below and isinstance(value, dict):
            value = _sound(value, below)
        elif below is not None:
            continue
        kept[name] = value
    return kept


class _Object(dict[str, Any]):
    repeated: tuple[str, ...] = ()


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``. Raises RequestError: `invalid_json` or `validation_failed`."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_json(f"it is not UTF-8 at byte {error.start}") from None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError:
        raise _not_json(f"it is nested more than {MAX_DEPTH} levels deep") from None
    except json.JSONDecodeError as error:
        raise _not_json(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except ValueError as error:
        raise _not_json(
            str(error) if isinstance(error, _ConstantError) else "it has a number too long"
        ) from None
    if not isinstance(value, dict):
        raise invalid([FieldError("", "must be an object")])
    problems = _problems(value)
    if problems:
        raise invalid(problems)
    return value


class _ConstantError(ValueError):
    """A constant that JSON does not have."""


def _refuse_constant(name: str) -> None:
    raise _ConstantError(f"it has {name}, which JSON does not know")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = _Object(pairs)
    if len(value) != len(pairs):
        counts = Counter(name for name, ignored in pairs)
        value.repeated = tuple(name for name, count in counts.items() if count > 1)
    return value


def _problems(value: dict[str, Any]) -> list[FieldError]:
    found: list[FieldError] = []
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while waiting:
        item, path = waiting.pop()
        if isinstance(item, str):
            problem = _text_problem(item)
            if problem:
                found.append(FieldError(pointer_of(path), problem))
        elif isinstance(item, (dict, list)):
            if len(path) >= MAX_DEPTH:
                raise _not_json(f"it is nested more than {MAX_DEPTH} levels deep")
            if isinstance(item, list):
                waiting.extend((entry, (*path, position)) for position, entry in enumerate(item))
                continue
            if isinstance(item, _Object):
                found.extend(
                    FieldError(pointer_of((*path, name)), "is given twice")
                    for name in item.repeated[:MOST_DETAILS]
                )
            for name, entry in item.items():
                if _text_problem(name):
                    found.append(FieldError(pointer_of(path), "has a field whose name is not valid text"))
                else:
                    waiting.append((entry, (*path, name)))
        if len(found) >= MOST_DETAILS:
            break
    return sorted(found, key=lambda detail: detail.pointer)


def _text_problem(text: str) -> str | None:
    if "\0" in text:
        return "must not contain the character NUL"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "must not contain half of a surrogate pair"
    return None


def _not_json(why: str) -> RequestError:
    return RequestError(ErrorCode.INVALID_JSON, f"The body is not JSON as it is needed here: {why}.")
