"""Reads and checks the query of a request by what the document says of its parameters."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from dbaudit.api.document import Parameter
from dbaudit.api.validation import field_errors, invalid
from dbaudit.core.clock import parse_time
from dbaudit.core.errors import FieldError

_DATE = re.compile(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}|[0-9]{4}-?W[0-9]{2}-?[0-9]")
_REST_OF_DAY = timedelta(days=1, microseconds=-1)
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_MAX_PARAMETERS = 100
_CACHED_QUERIES = 256
_CACHED_QUERY_BYTES = 512

Query = Mapping[str, Any]


def query_reader(parameters: tuple[Parameter, ...]) -> Callable[[bytes], Query]:
    """What reads the query strings of one operation; it raises RequestError with every wrong parameter.

    Reading depends on nothing but the bytes, so the answers to the latest short ones are kept.
    """
    known = {parameter.name: parameter for parameter in parameters}
    defaults = {p.name: p.schema["default"] for p in parameters if "default" in p.schema}
    nothing: Query = MappingProxyType(defaults)

    def read(raw: bytes) -> Query:
        found, details = {}, []
        for name, text in _pairs(raw):
            parameter = known.get(name)
            if parameter is None:
                choice = f"known are {', '.join(known)}" if known else "this operation takes none"
                details.append(FieldError(name[:80], f"is not a parameter; {choice}"))
            elif name in found:
                details.append(FieldError(name, "is given twice"))
            else:
                value, problems = _value(parameter, text)
                found[name] = value
                details.extend(problems)
        if details:
            raise invalid(sorted(set(details), key=lambda detail: detail.pointer))
        return MappingProxyType({**defaults, **found})

    cached = lru_cache(_CACHED_QUERIES)(read)

    def read_query(raw: bytes) -> Query:
        if not raw:
            return nothing
        return cached(raw) if len(raw) <= _CACHED_QUERY_BYTES else read(raw)

    return read_query


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except UnicodeDecodeError:
        raise invalid([FieldError("", "the query is not UTF-8")]) from None
    except ValueError:
        raise invalid([FieldError("", f"the query has more than {_MAX_PARAMETERS} parameters")]) from None
    if any("\0" in name or "\0" in value for name, value in pairs):
        raise invalid([FieldError("", "the query must not contain the character NUL")])
    return pairs


def _value(parameter: Parameter, text: str) -> tuple[Any, list[FieldError]]:
    name = parameter.name
    match parameter.schema.get("type"):
        case "integer":
            if not _INTEGER.fullmatch(text):
                return None, [FieldError(name, "must be an integer")]
            value: Any = int(text)
        case "boolean":
            if text not in ("true", "false"):
                return None, [FieldError(name, "must be true or false")]
            return text == "true", []
        case "array":
            value = text.split(",") if text else []
        case _ if parameter.schema.get("format") == "date-time":
            try:
                time = parse_time(text)
                if parameter.schema.get("x-whole-day") and _DATE.fullmatch(text):
                    time += _REST_OF_DAY
                return time, []
            except (ValueError, OverflowError):
                return None, [FieldError(name, "must be a time in ISO 8601, such as 2026-01-31T12:00:00Z")]
        case _:
            value = text
    problems = [FieldError(name, problem.message) for problem in field_errors(parameter.validator, value)]
    return tuple(value) if isinstance(value, list) else value, problems
